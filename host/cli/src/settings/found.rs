//! Settings files that are found in the working directory: whoever may write there must not control a program
//! that has credentials.

use std::{io, path::Path};

/// Reads a file that nobody named. Returns `None` if it does not exist.
///
/// # Errors
/// Returns why the file is not used, and the remedy.
pub(super) fn read(file: &Path) -> Result<Option<String>, (String, String)> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err((
                format!("cannot read the file: {error}"),
                "make it readable for the user that runs Berth, or remove it".into(),
            ));
        }
    };
    match distrust(file) {
        Some(objection) => Err(objection),
        None => Ok(Some(text)),
    }
}

#[cfg(unix)]
fn distrust(file: &Path) -> Option<(String, String)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(file).ok()?;
    objection(metadata.uid(), metadata.mode(), rustix::process::geteuid().as_raw())
}

/// Other systems have no mode bits to check.
#[cfg(not(unix))]
fn distrust(_: &Path) -> Option<(String, String)> {
    None
}

/// Returns why a process of this user must not use a file with this owner and mode.
#[cfg(unix)]
fn objection(owner: u32, mode: u32, user: u32) -> Option<(String, String)> {
    const ROOT: u32 = 0;
    const ANYBODY_WRITES: u32 = 0o002;
    if owner != user && owner != ROOT {
        return Some((
            format!(
                "the file is in the working directory and belongs to another user ({owner}), so Berth does \
                not use it"
            ),
            format!(
                "make user {user} or root its owner, name it with `--config` if you trust it, or run Berth \
                in another directory"
            ),
        ));
    }
    (mode & ANYBODY_WRITES != 0).then(|| {
        (
            "the file is in the working directory and everyone may write to it, so Berth does not use it"
                .into(),
            "remove that permission (`chmod o-w`)".into(),
        )
    })
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_ones_own_files_and_those_of_root_are_used() {
        for (owner, mode, user, used) in [
            (1000, 0o100_600, 1000, true),
            (1000, 0o100_664, 1000, true),
            (1000, 0o100_666, 1000, false),
            (1000, 0o100_602, 1000, false),
            (0, 0o100_644, 1000, true),
            (0, 0o100_646, 1000, false),
            (1001, 0o100_600, 1000, false),
            (1000, 0o100_644, 0, false),
            (0, 0o100_644, 0, true),
        ] {
            assert_eq!(objection(owner, mode, user).is_none(), used, "{owner} {mode:o} {user}");
        }
    }

    #[test]
    fn a_file_that_everybody_may_write_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        assert_eq!(read(&file), Ok(None));
        std::fs::write(&file, "A=b").unwrap();
        assert_eq!(read(&file), Ok(Some("A=b".into())));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(read(&file).unwrap_err().1.contains("chmod o-w"));
    }
}
