//! Files that only their owner can read, and bounded reads of files from outside.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    path::Path,
};

/// Opens a file to overwrite it. It names resources of the accounts, so only its owner can read it, even if
/// it existed before.
///
/// # Errors
/// Returns why it cannot be written.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(0o600).open(path)?;
        // A device or a pipe, such as /dev/stdout, keeps its mode.
        if file.metadata()?.is_file() {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// Reads a regular file of at most `limit` bytes. Does not wait for a pipe's writer, and does not read
/// endless devices.
///
/// # Errors
/// Returns why it was not read.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let file = options.read(true).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    // The file may grow after its length was read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}

/// Does the same for a text.
///
/// # Errors
/// Returns why it was not read.
pub(crate) fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(all(test, unix))]
mod tests {
    use std::{io::Write as _, os::unix::fs::PermissionsExt as _, process::Command};

    use super::*;

    #[test]
    fn a_private_file_is_so_even_if_it_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (new, old, link) = (dir.path().join("new"), dir.path().join("old"), dir.path().join("link"));
        std::fs::write(&old, "a longer text").unwrap();
        std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&old, &link).unwrap();
        for (path, file) in [(&new, &new), (&link, &old)] {
            create_private(path).unwrap().write_all(b"text").unwrap();
            assert_eq!((mode(file), std::fs::read(file).unwrap().as_slice()), (0o600, &b"text"[..]));
        }
        assert!(create_private(Path::new("/dev/null")).is_ok(), "a device is written to as it is");
    }

    #[test]
    fn only_regular_files_within_the_bound_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (file, pipe) = (dir.path().join("file"), dir.path().join("pipe"));
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        assert!(read_text(&file, 4).unwrap_err().to_string().contains("more than 4 bytes"));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, Path::new("/dev/zero"), dir.path()] {
            let refused = read(path, 1 << 20).unwrap_err().to_string();
            assert!(refused.contains("not a regular file"), "{}: {refused}", path.display());
        }
        assert_eq!(read(&dir.path().join("none"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
