//! The file: how it is opened, shared and, when it is damaged, replaced.

use std::{
    fmt, fs, io,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use berth_core::Problem;
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    StorageError, TableError, TransactionError, WriteTransaction,
};

use crate::{
    Access, LedgerConfig, Result,
    record::{FORMAT, FORMAT_KEY, META, READABLE_FORMATS},
    session,
};

const FILE: &str = "ledger.redb";
/// What a damaged file is called from then on; only the last one is kept.
const DAMAGED: &str = "ledger.damaged.redb";
/// Memory for pages. What is looked up is spread evenly, so more would help little.
const CACHE: usize = 32 << 20;
/// How long another process may take to end, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);

/// An opened file.
pub(crate) enum Store {
    Writable {
        database: Database,
        /// The resync that began last, the only one that may write. Changes within transactions only.
        current_run: AtomicU32,
    },
    Readable(ReadOnlyDatabase),
    /// There is none to read.
    Absent,
}

impl Store {
    /// A view of the file as it is now; `None` when there is none.
    pub(crate) fn read(&self) -> Result<Option<ReadTransaction>, TransactionError> {
        match self {
            Self::Writable { database, .. } => database.begin_read().map(Some),
            Self::Readable(database) => database.begin_read().map(Some),
            Self::Absent => Ok(None),
        }
    }

    /// Begins a transaction; waits for the one before.
    pub(crate) fn write(&self) -> Result<WriteTransaction> {
        match self {
            Self::Writable { database, .. } => Ok(database.begin_write()?),
            Self::Readable(_) | Self::Absent => {
                Err(redb::Error::Io(io::Error::other("the ledger was opened for reading")))
            }
        }
    }

    /// The number of the resync that began last in this process.
    pub(crate) fn current_run(&self) -> u32 {
        match self {
            Self::Writable { current_run, .. } => current_run.load(Ordering::Acquire),
            Self::Readable(_) | Self::Absent => 0,
        }
    }

    /// From now on only the resync with this number writes.
    pub(crate) fn set_current_run(&self, run: u32) {
        if let Self::Writable { current_run, .. } = self {
            current_run.store(run, Ordering::Release);
        }
    }
}

/// A table, unless the file has none of that name.
pub(crate) fn optional<T>(opened: Result<T, TableError>) -> Result<Option<T>> {
    match opened {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writable { .. } => "Writable",
            Self::Readable(_) => "Readable",
            Self::Absent => "Absent",
        })
    }
}

/// Opens the file of a directory. The second value holds remarks for the operator.
pub(crate) fn open(config: &LedgerConfig) -> Result<(Store, Vec<String>), Problem> {
    let path = config.dir.join(FILE);
    match config.access {
        Access::Write => {
            fs::create_dir_all(&config.dir).map_err(|error| unusable(&config.dir, &error.to_string()))?;
            write(&config.dir, &path)
        }
        Access::Read => read(&path),
    }
}

fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_concurrency_mode(mode).set_check_integrity_on_open(true);
    builder
}

/// Why a file cannot be opened.
enum OpenError {
    /// It has this format, and this version does not know it.
    Format(String),
    Database(DatabaseError),
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

fn write(dir: &Path, path: &Path) -> Result<(Store, Vec<String>), Problem> {
    // Even a file that is opened for writing and closed again changes. One that cannot be read this way
    // is looked at again below.
    if let Ok(database) = open_for_reading(path)
        && let Some(format) = unknown_format(&database).ok().flatten()
    {
        return Err(newer(path, &format));
    }
    let mut notes = Vec::new();
    let database = match patiently(path) {
        Err(OpenError::Database(error)) if is_damage(&error) => {
            let moved = dir.join(DAMAGED);
            fs::rename(path, &moved).map_err(|error| unusable(dir, &error.to_string()))?;
            tracing::warn!(%error, moved_to = %moved.display(), "the ledger is damaged; it is started over");
            notes.push(format!(
                "the ledger in {} was damaged ({error}); it was moved to {DAMAGED} and started over, and everything is compared with the catalog",
                dir.display()
            ));
            patiently(path)
        }
        opened => opened,
    };
    let database = database.map_err(|error| match error {
        OpenError::Format(format) => newer(path, &format),
        OpenError::Database(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => Problem::new(format!(
            "the state directory {} is in use by another process",
            dir.display()
        ))
        .remedy("wait until that process has ended, or give this one a state directory of its own (`--state-dir`, OCEAN__STATE_DIR, BERTH_STATE_DIR)"),
        OpenError::Database(other) => unusable(dir, &other.to_string()),
    })?;
    Ok((Store::Writable { database, current_run: AtomicU32::new(0) }, notes))
}

/// Opens a file for writing, and waits for a process that is about to end.
fn patiently(path: &Path) -> Result<Database, OpenError> {
    let start = Instant::now();
    let mut mode = ConcurrencyMode::SingleWriter;
    loop {
        match builder(mode).create(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            // Not every system lets others read while one writes.
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

/// Makes the file one of the current format, with all tables, so that no later reader misses one.
/// Tables of another form are damage, unless the format is newer.
fn prepare(database: Database) -> Result<Database, OpenError> {
    let prepare = || {
        if let Some(format) = unknown_format(&database)? {
            return Ok(Some(format));
        }
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        session::create_tables(&transaction)?;
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

/// The format of a file, if this version cannot read it.
fn unknown_format(database: &impl ReadableDatabase) -> Result<Option<String>> {
    let transaction = database.begin_read()?;
    let Some(meta) = optional(transaction.open_table(META))? else { return Ok(None) };
    let format = meta.get(FORMAT_KEY)?.map(|format| format.value().to_owned());
    Ok(format.filter(|format| !READABLE_FORMATS.contains(&format.as_str())))
}

fn newer(path: &Path, format: &str) -> Problem {
    Problem::new(format!(
        "the ledger {} has format {format}; this version of Berth knows formats up to {FORMAT}",
        path.display()
    ))
    .remedy("use the version of Berth that wrote it, or another state directory (`--state-dir`, OCEAN__STATE_DIR, BERTH_STATE_DIR)")
}

/// Whether a file is to be replaced: it is no ledger, or not a sound one.
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

fn unusable(dir: &Path, cause: &str) -> Problem {
    Problem::new(format!("the state directory {} cannot be used: {cause}", dir.display())).remedy(
        "give a directory on a local disk that Berth may write to (`--state-dir`, OCEAN__STATE_DIR, BERTH_STATE_DIR)",
    )
}

/// Opens a file for reading. One that cannot be read is as good as none.
fn read(path: &Path) -> Result<(Store, Vec<String>), Problem> {
    let cannot_be_read = |error: &dyn fmt::Display| {
        let path = path.display();
        let note =
            format!("the ledger {path} cannot be read ({error}); everything is compared with the catalog");
        (Store::Absent, vec![note])
    };
    let database = match open_for_reading(path) {
        Ok(database) => database,
        Err(DatabaseError::Storage(StorageError::Io(error))) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Store::Absent, Vec::new()));
        }
        Err(error) => return Ok(cannot_be_read(&error)),
    };
    match unknown_format(&database) {
        Ok(None) => Ok((Store::Readable(database), Vec::new())),
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
