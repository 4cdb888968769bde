//! The file: how it is opened, shared and, when it is damaged, replaced.

use std::{
    fmt, fs, io,
    path::Path,
    time::{Duration, Instant},
};

use berth_core::Problem;
use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    StorageError, TransactionError,
};

use crate::{Access, LedgerConfig, record};

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
    Writable(Database),
    Readable(ReadOnlyDatabase),
    /// There is none to read.
    Absent,
}

impl Store {
    /// A view of the file as it is now; `None` when there is none.
    pub(crate) fn read(&self) -> Result<Option<ReadTransaction>, TransactionError> {
        match self {
            Self::Writable(database) => database.begin_read().map(Some),
            Self::Readable(database) => database.begin_read().map(Some),
            Self::Absent => Ok(None),
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Writable(_) => "Writable",
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
        Access::Read => Ok(read(&path)),
    }
}

fn builder(mode: ConcurrencyMode) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_concurrency_mode(mode).set_check_integrity_on_open(true);
    builder
}

fn write(dir: &Path, path: &Path) -> Result<(Store, Vec<String>), Problem> {
    let mut notes = Vec::new();
    let database = match patiently(path) {
        Err(error) if is_damage(&error) => {
            let aside = dir.join(DAMAGED);
            fs::rename(path, &aside).map_err(|error| unusable(dir, &error.to_string()))?;
            tracing::warn!(%error, moved_to = %aside.display(), "the ledger is damaged; it is started anew");
            notes.push(format!(
                "the ledger in {} was damaged ({error}); it was moved to {DAMAGED} and started anew, and everything is compared with the catalog",
                dir.display()
            ));
            patiently(path)
        }
        opened => opened,
    };
    let database = database.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Problem::new(format!(
            "the state directory {} is in use by another process",
            dir.display()
        ))
        .remedy("wait until that process has ended, or give this one a state directory of its own (`--state-dir`, OCEAN__STATE_DIR, BERTH_STATE_DIR)"),
        other => unusable(dir, &other.to_string()),
    })?;
    Ok((Store::Writable(database), notes))
}

/// Opens a file for writing, and waits for a process that is about to end.
fn patiently(path: &Path) -> Result<Database, DatabaseError> {
    let start = Instant::now();
    let mut mode = ConcurrencyMode::SingleWriter;
    loop {
        match builder(mode).create(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < PATIENCE => std::thread::sleep(LOOK),
            // Not every system lets readers in beside a writer.
            Err(DatabaseError::Storage(StorageError::Unsupported))
                if mode == ConcurrencyMode::SingleWriter =>
            {
                mode = ConcurrencyMode::ExclusiveWriter;
            }
            Ok(database) => return prepare(database),
            Err(error) => return Err(error),
        }
    }
}

/// Creates the tables, so that no later reader misses one; tables of another form are damage, too.
fn prepare(database: Database) -> Result<Database, DatabaseError> {
    let create = || {
        let transaction = database.begin_write()?;
        transaction.open_table(record::META)?;
        transaction.open_table(record::RUNS)?;
        transaction.open_table(record::UNITS)?;
        transaction.open_table(record::UNIT_NUMBERS)?;
        transaction.open_table(record::ENTITIES)?;
        transaction.commit()?;
        Ok(())
    };
    let created: Result<(), redb::Error> = create();
    match created {
        Ok(()) => Ok(database),
        Err(redb::Error::Io(error)) => Err(error.into()),
        Err(other) => Err(StorageError::Corrupted(other.to_string()).into()),
    }
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
fn read(path: &Path) -> (Store, Vec<String>) {
    let open = |mode| builder(mode).open_read_only(path);
    let opened = open(ConcurrencyMode::SingleWriter).or_else(|error| match error {
        DatabaseError::Storage(StorageError::Unsupported) => open(ConcurrencyMode::ExclusiveWriter),
        other => Err(other),
    });
    match opened {
        Ok(database) => (Store::Readable(database), Vec::new()),
        Err(DatabaseError::Storage(StorageError::Io(error))) if error.kind() == io::ErrorKind::NotFound => {
            (Store::Absent, Vec::new())
        }
        Err(error) => {
            let path = path.display();
            let note = format!(
                "the ledger {path} cannot be read ({error}); everything is compared with the catalog"
            );
            (Store::Absent, vec![note])
        }
    }
}
