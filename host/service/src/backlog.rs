//! Live events that wait when the service ends, stored in the state directory for its next start.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use berth_sync::Backlog;

const FILE: &str = "live-events.json";
/// The temporary file.
const PART: &str = "live-events.json.part";

/// The path of the file.
#[derive(Debug, Clone)]
pub(crate) struct BacklogFile(PathBuf);

impl BacklogFile {
    /// Returns the file in a state directory.
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self(dir.join(FILE))
    }

    /// Reads the stored events. A file that cannot be read is logged, and counts as empty.
    pub(crate) fn read(&self) -> Backlog {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Backlog::default(),
            Err(error) => {
                self.warn_unread(&error.to_string());
                return Backlog::default();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            self.warn_unread(&error.to_string());
            Backlog::default()
        })
    }

    fn warn_unread(&self, problem: &str) {
        let file = self.0.display();
        tracing::warn!(
            %file, problem,
            "cannot read the live events of the last run; the next resync reads their resources"
        );
    }

    /// Stores the waiting events, readable for this user only; removes the file if nothing waits.
    pub(crate) fn write(&self, backlog: &Backlog) {
        let written = if backlog.is_empty() { remove(&self.0) } else { self.replace(backlog) };
        match written {
            Ok(()) if backlog.is_empty() => {}
            Ok(()) => {
                tracing::info!("stored {} resources of live events for the next start", backlog.len());
            }
            Err(error) => {
                let file = self.0.display();
                tracing::warn!(
                    %file, %error,
                    "cannot store {} resources of live events; the next resync reads them", backlog.len()
                );
            }
        }
    }

    fn replace(&self, backlog: &Backlog) -> io::Result<()> {
        // The file is private to this user; the former file stays until the new one is complete.
        let dir = self.0.parent().unwrap_or(Path::new("."));
        // A killed process leaves its temporary file, which has a fixed name so that such files do not pile
        // up.
        remove(&dir.join(PART))?;
        let part = tempfile::Builder::new().prefix(PART).rand_bytes(0).tempfile_in(dir)?;
        let mut to = io::BufWriter::new(part.as_file());
        serde_json::to_writer(&mut to, backlog)?;
        to.flush()?;
        drop(to);
        part.as_file().sync_all()?;
        part.persist(&self.0)?;
        Ok(())
    }
}

/// Removes a file, if it exists.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backlog() -> Backlog {
        let text = r#"{"resources": [{"kind": "A::B::C", "account": "111111111111", "region": "eu-west-1",
            "resource": "r", "reported": "gone", "event": {"eventName": "Delete"}}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_waits_is_kept_for_this_user_only_and_removed_when_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let file = BacklogFile::in_dir(dir.path());
        assert!(file.read().is_empty());
        file.write(&Backlog::default());
        file.write(&backlog());
        assert_eq!(file.read(), backlog());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        file.write(&Backlog::default());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_was_writing_does_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = BacklogFile::in_dir(dir.path());
        fs::write(dir.path().join(PART), "{\"resou").unwrap();
        file.write(&backlog());
        assert_eq!(file.read(), backlog());
        let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(left, [FILE]);
    }

    #[test]
    fn a_damaged_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(BacklogFile::in_dir(dir.path()).read().is_empty());
    }
}
