//! Decides which directories and files can be trusted: code that someone else could have put there would
//! run outside the sandbox.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Why a path is not used, with a remedy.
#[derive(Debug)]
pub(super) struct Untrusted {
    reason: String,
    remedy: String,
}

impl Untrusted {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }
}

impl std::fmt::Display for Untrusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

const ANOTHER: &str = "or set another directory with `cache_dir` (BERTH_CACHE_DIR)";

/// Creates a directory for this user only, if it does not exist.
///
/// # Errors
/// Why it cannot be created.
pub(super) fn create(dir: &Path) -> Result<(), Untrusted> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let created = builder.recursive(true).create(dir);
    created.map_err(|error| {
        Untrusted::new(error.to_string(), format!("give Berth permission to create it, {ANOTHER}"))
    })
}

/// Returns the directory without symbolic links, if nobody but this user (or root, who can do anything) can
/// write files there or replace the directory.
///
/// # Errors
/// Who else can, with a remedy.
#[cfg(unix)]
pub(super) fn trusted(dir: &Path) -> Result<PathBuf, Untrusted> {
    use std::os::unix::fs::MetadataExt as _;
    const STICKY: u32 = 0o1000;
    let unreadable = |error: io::Error| {
        Untrusted::new(
            error.to_string(),
            format!("make it a directory that Berth can read and write, {ANOTHER}"),
        )
    };
    let dir = dir.canonicalize().map_err(unreadable)?;
    let us = rustix::process::geteuid().as_raw();
    for (above, part) in dir.ancestors().enumerate() {
        let found = fs::metadata(part).map_err(unreadable)?;
        let shown = part.display();
        if !found.is_dir() {
            return Err(Untrusted::new("it is not a directory", format!("remove it, {ANOTHER}")));
        }
        if found.uid() != us && found.uid() != 0 {
            return Err(Untrusted::new(
                format!("{shown} belongs to user {}, not to user {us} or root", found.uid()),
                format!("change its owner, {ANOTHER}"),
            ));
        }
        // Many systems give each user a group with the same number, and let that group write to new files.
        let alone = above > 0 && found.uid() == us && found.gid() == us;
        let open = found.mode() & if alone { 0o002 } else { 0o022 } != 0;
        // In a sticky directory such as /tmp, nobody can replace files of others.
        let lenient = above > 0 && (found.mode() & STICKY != 0 || is_volume(part, &found));
        if open && !lenient {
            let mode = if above == 0 { "700" } else { "755" };
            return Err(Untrusted::new(
                format!("others can write to {shown} (mode {:03o})", found.mode() & 0o777),
                format!("give it mode {mode}, {ANOTHER}"),
            ));
        }
    }
    Ok(dir)
}

/// Returns whether a directory is the root of a volume that root owns. Kubernetes lets every process of a
/// pod write to such a root, and the contents of the volume cannot be elsewhere. Another process that can
/// write there still cannot create files that belong to this user.
#[cfg(unix)]
fn is_volume(dir: &Path, found: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let above = dir.parent().and_then(|above| fs::metadata(above).ok());
    found.uid() == 0 && above.is_some_and(|above| above.dev() != found.dev())
}

#[cfg(not(unix))]
pub(super) fn trusted(dir: &Path) -> Result<PathBuf, Untrusted> {
    dir.canonicalize().map_err(|error| Untrusted::new(error.to_string(), ANOTHER))
}

/// Opens a file of a trusted directory, if nobody but this user or root can have written it.
///
/// # Errors
/// Why it is not used.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
        let found = file.metadata()?;
        let us = rustix::process::geteuid().as_raw();
        if !found.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        if (found.uid() != us && found.uid() != 0) || found.mode() & 0o022 != 0 {
            return Err(io::Error::other(format!(
                "others can have written it (user {}, mode {:03o})",
                found.uid(),
                found.mode() & 0o777
            )));
        }
        Ok(file)
    }
    #[cfg(not(unix))]
    options.open(path)
}

/// Reads a file of a trusted directory, of at most `limit` bytes.
///
/// # Errors
/// Why it is not used.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Err(io::Error::other(format!("it has {size} bytes, more than {limit}")));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file atomically.
///
/// # Errors
/// Why it could not be written; no part of it remains then.
pub(super) fn write(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    // Code is not secret: root compiles the code of an image, and another user runs it.
    #[cfg(unix)]
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    #[cfg(unix)]
    builder.permissions(readable);
    let mut file = builder.tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// The prefix of the names of files that are being written.
pub(super) const UNFINISHED: &str = ".unfinished-";
