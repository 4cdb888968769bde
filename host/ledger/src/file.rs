//! The file: opens it, shares it and replaces it if it is damaged.

use std::{
    fmt, fs, io,
    panic::{self, AssertUnwindSafe},
    path::Path,
    time::{Duration, Instant},
};

use berth_core::{Problem, ProblemCode};
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    StorageError, TransactionError,
};

use crate::{
    Access, LedgerConfig, Result,
    record::{FORMAT, FORMAT_KEY, META, READABLE_FORMATS},
    tables,
};

const FILE: &str = "ledger.redb";
/// The new name of a damaged file; only the last one is kept.
const DAMAGED: &str = "ledger.damaged.redb";
/// The page cache. Look-ups are spread evenly, so more memory would help little.
const CACHE: usize = 32 << 20;
/// The maximum wait for another process to end, and the interval of the checks.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);

/// An opened file.
pub(crate) enum File {
    Writable(Database),
    Readable(ReadOnlyDatabase),
    /// There is no file to read.
    Absent,
}

impl File {
    /// Returns a view of the current file; `None` if there is none.
    pub(crate) fn read(&self) -> Result<Option<ReadTransaction>, TransactionError> {
        match self {
            Self::Writable(database) => database.begin_read().map(Some),
            Self::Readable(database) => database.begin_read().map(Some),
            Self::Absent => Ok(None),
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writable(_) => "Writable",
            Self::Readable(_) => "Readable",
            Self::Absent => "Absent",
        })
    }
}

/// Opens the file of a directory. Also returns warnings for the operator.
pub(crate) fn open(config: &LedgerConfig) -> Result<(File, Vec<String>), Problem> {
    let path = config.dir.join(FILE);
    match config.access {
        Access::Write => {
            create(&config.dir, &path).map_err(|error| unusable(&config.dir, &error.into()))?;
            write(&config.dir, &path)
        }
        Access::Read => read(&path),
    }
}

/// Creates missing directories and files for the user of this process only, because an inventory is
/// confidential. redb treats an empty file as a new one.
fn create(dir: &Path, path: &Path) -> io::Result<()> {
    let mut directories = fs::DirBuilder::new();
    let mut files = fs::OpenOptions::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        directories.mode(0o700);
        files.mode(0o600);
    }
    directories.recursive(true).create(dir)?;
    files.append(true).create(true).open(path).map(drop)
}

fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_concurrency_mode(mode).set_check_integrity_on_open(true);
    builder
}

/// Why a file cannot be opened.
enum OpenError {
    /// It has this format, which this version does not support.
    Format(String),
    Database(DatabaseError),
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

fn write(dir: &Path, path: &Path) -> Result<(File, Vec<String>), Problem> {
    // Opening a file for writing changes it, even without a write. A file that cannot be opened for reading
    // is checked again below.
    if let Ok(database) = open_for_reading(path)
        && let Some(format) = unknown_format_of(&database).ok().flatten()
    {
        return Err(newer(path, &format));
    }
    let mut notes = Vec::new();
    let database = match patiently(path) {
        Err(OpenError::Database(error)) if is_damage(&error) => {
            let moved = dir.join(DAMAGED);
            let moving = fs::rename(path, &moved).and_then(|()| create(dir, path));
            moving.map_err(|error| unusable(dir, &error.into()))?;
            tracing::warn!(%error, moved_to = %moved.display(), "the ledger is damaged; starting over with an empty one");
            notes.push(format!(
                "the ledger in {} was damaged ({error}); Berth moved it to {DAMAGED}, starts over with an empty one, and compares everything with the catalog",
                dir.display()
            ));
            patiently(path)
        }
        opened => opened,
    };
    let database = database.map_err(|error| match error {
        OpenError::Format(format) => newer(path, &format),
        OpenError::Database(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => Problem::new(ProblemCode::StateInUse, format!(
            "the state directory {} is in use by another process",
            dir.display()
        ))
        .remedy("wait until that process has ended, or set a separate state directory for this one (`--state-dir`, OCEAN__STATE_DIR, BERTH_STATE_DIR)"),
        OpenError::Database(other) => unusable(dir, &other.into()),
    })?;
    Ok((File::Writable(database), notes))
}

/// Opens a file for writing, and waits for another process that is ending.
fn patiently(path: &Path) -> Result<Database, OpenError> {
    let start = Instant::now();
    let mut mode = ConcurrencyMode::SingleWriter;
    loop {
        match builder(mode).create(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            // Some systems do not allow reading while another process writes.
            Err(DatabaseError::Storage(StorageError::Unsupported))
                if mode == ConcurrencyMode::SingleWriter =>
            {
                mode = ConcurrencyMode::ExclusiveWriter;
            }
            Ok(database) => return prepare(database),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Upgrades the file to the current format, with all tables, so that no later reader misses one. Tables of
/// another type are damage, unless the format is newer.
fn prepare(database: Database) -> Result<Database, OpenError> {
    let prepare = || {
        if let Some(format) = unknown_format(&database)? {
            return Ok(Some(format));
        }
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        tables::create_tables(&transaction)?;
        transaction.commit()?;
        Ok(None)
    };
    let prepared: Result<Option<String>> = prepare();
    match prepared {
        Ok(None) => Ok(database),
        Ok(Some(format)) => Err(OpenError::Format(format)),
        Err(redb::Error::Io(error)) => Err(DatabaseError::from(error).into()),
        Err(other) => Err(DatabaseError::from(StorageError::Corrupted(other.to_string())).into()),
    }
}

/// Returns the format of a file if this version cannot read it.
fn unknown_format(database: &impl ReadableDatabase) -> Result<Option<String>> {
    let transaction = database.begin_read()?;
    let Some(meta) = tables::optional(transaction.open_table(META))? else { return Ok(None) };
    let format = meta.get(FORMAT_KEY)?.map(|format| format.value().to_owned());
    Ok(format.filter(|format| !READABLE_FORMATS.contains(&format.as_str())))
}

/// Does the same for a file that was opened for reading. Such a file is not checked, and redb panics on
/// unexpected damage.
fn unknown_format_of(database: &ReadOnlyDatabase) -> Result<Option<String>> {
    let format = panic::catch_unwind(AssertUnwindSafe(|| unknown_format(database)));
    format.unwrap_or_else(|_| Err(StorageError::Corrupted("its pages are inconsistent".into()).into()))
}

fn newer(path: &Path, format: &str) -> Problem {
    Problem::new(ProblemCode::StateNewer, format!(
        "the ledger {} has format {format}; this version of Berth supports formats up to {FORMAT}",
        path.display()
    ))
    .remedy("use the version of Berth that wrote it, or set another state directory (`--state-dir`, OCEAN__STATE_DIR, BERTH_STATE_DIR)")
}

/// Returns whether to replace a file: it is not a ledger, or it is damaged.
fn is_damage(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::UpgradeRequired(_)
        | DatabaseError::RepairAborted
        | DatabaseError::Storage(StorageError::Corrupted(_)) => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn unusable(dir: &Path, error: &redb::Error) -> Problem {
    let problem = Problem::new(
        ProblemCode::StateUnusable,
        format!("cannot use the state directory {}: {error}", dir.display()),
    );
    problem.remedy(remedy(dir, error).unwrap_or_else(|| {
        "set a directory on a local disk to which Berth can write (`--state-dir`, OCEAN__STATE_DIR, BERTH_STATE_DIR)"
            .to_owned()
    }))
}

/// Returns the remedy for an error of the directory's disk.
pub(crate) fn remedy(dir: &Path, error: &redb::Error) -> Option<String> {
    let redb::Error::Io(error) = error else { return None };
    let dir = dir.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Some(format!("free space on the disk of the state directory {dir}"))
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("give Berth write access to the state directory {dir} and the files in it"))
        }
        _ => None,
    }
}

/// Opens a file for reading. An unreadable file counts as missing.
fn read(path: &Path) -> Result<(File, Vec<String>), Problem> {
    let cannot_be_read = |error: &dyn fmt::Display| {
        let path = path.display();
        let note = format!("cannot read the ledger {path} ({error}); comparing everything with the catalog");
        (File::Absent, vec![note])
    };
    let database = match open_for_reading(path) {
        Ok(database) => database,
        Err(DatabaseError::Storage(StorageError::Io(error))) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((File::Absent, Vec::new()));
        }
        Err(error) => return Ok(cannot_be_read(&error)),
    };
    match unknown_format_of(&database) {
        Ok(None) => Ok((File::Readable(database), Vec::new())),
        Ok(Some(format)) => Err(newer(path, &format)),
        Err(error) => Ok(cannot_be_read(&error)),
    }
}

fn open_for_reading(path: &Path) -> Result<ReadOnlyDatabase, DatabaseError> {
    let open = |mode| builder(mode).open_read_only(path);
    open(ConcurrencyMode::SingleWriter).or_else(|error| match error {
        DatabaseError::Storage(StorageError::Unsupported) => open(ConcurrencyMode::ExclusiveWriter),
        other => Err(other),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_fits_the_error() {
        let remedy_of = |kind: io::ErrorKind| remedy(Path::new("/state"), &redb::Error::Io(kind.into()));
        for (kind, helps) in [
            (io::ErrorKind::StorageFull, "free space on the disk of the state directory /state"),
            (io::ErrorKind::QuotaExceeded, "free space on the disk of the state directory /state"),
            (io::ErrorKind::PermissionDenied, "give Berth write access to the state directory /state"),
            (io::ErrorKind::ReadOnlyFilesystem, "give Berth write access to the state directory /state"),
        ] {
            assert!(remedy_of(kind).is_some_and(|remedy| remedy.starts_with(helps)), "{kind:?}");
        }
        assert_eq!(remedy_of(io::ErrorKind::BrokenPipe), None);
        assert_eq!(remedy(Path::new("/state"), &redb::Error::PreviousIo), None);
    }
}
