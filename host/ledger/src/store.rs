//! The file in use, across faults of its disk.
//!
//! redb closes the file permanently after a fault, although most faults are temporary: a full disk is
//! freed, a volume comes back. Therefore the file is opened again when it is next needed.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use berth_core::{Problem, ProblemCode};
use redb::{ReadTransaction, WriteTransaction};

use crate::{
    Access, LedgerConfig, Result,
    file::{self, File},
};

/// The minimum time between attempts to reopen the file between resyncs: opening verifies the whole file.
const REOPEN: Duration = Duration::from_secs(30);

/// The file of a directory, which is reopened after a fault.
#[derive(Debug)]
pub(crate) struct Store {
    config: LedgerConfig,
    file: RwLock<File>,
    fault: Mutex<Option<Fault>>,
    /// The turn of the session that may write: the latest one since the file was opened.
    turn: AtomicU32,
}

/// Why the file must be opened again.
#[derive(Debug, Clone)]
struct Fault {
    /// The first failure: later ones only report that there was one.
    cause: String,
    remedy: String,
    /// The last failed attempt to open the file, if any.
    tried: Option<Instant>,
}

/// Why an operation on the file failed.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The file was opened for reading.
    ReadOnly,
    /// Another resync has begun in the meantime.
    Superseded,
    File(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

/// The operation that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Reading,
    Writing,
}

impl Store {
    /// Opens the file. Also returns warnings for the operator.
    ///
    /// # Errors
    /// See [`FileLedger::open`](crate::FileLedger::open).
    pub(crate) fn open(config: LedgerConfig) -> Result<(Self, Vec<String>), Problem> {
        let (file, notes) = file::open(&config)?;
        let (file, fault) = (RwLock::new(file), Mutex::default());
        Ok((Self { config, file, fault, turn: AtomicU32::new(0) }, notes))
    }

    pub(crate) const fn config(&self) -> &LedgerConfig {
        &self.config
    }

    /// Opens the file again if it has a fault. Sessions that began earlier can no longer write. Returns
    /// warnings for the operator.
    ///
    /// # Errors
    /// The [`Problem`] for which the file still cannot be used.
    pub(crate) fn reopen(&self) -> Result<Vec<String>, Problem> {
        let mut fault = lock(&self.fault);
        let Some(known) = &mut *fault else { return Ok(Vec::new()) };
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        // Close it first: a file can be open for writing only once.
        *file = File::Absent;
        self.turn.fetch_add(1, Ordering::AcqRel);
        match file::open(&self.config) {
            Ok((opened, mut notes)) => {
                let dir = self.config.dir.display();
                tracing::info!(dir = %dir, after = known.cause, "reopened the ledger after a disk fault");
                notes.push(format!("reopened the ledger in {dir} after a disk fault ({})", known.cause));
                *file = opened;
                *fault = None;
                Ok(notes)
            }
            Err(problem) => {
                known.tried = Some(Instant::now());
                Err(problem)
            }
        }
    }

    /// Does the same between resyncs, at most once per interval.
    ///
    /// # Errors
    /// The [`Problem`] for which the file cannot be used.
    pub(crate) fn reopen_in_time(&self) -> Result<Vec<String>, Problem> {
        let known = lock(&self.fault).clone();
        match known {
            Some(Fault { cause, remedy, tried: Some(tried) }) if tried.elapsed() < REOPEN => {
                Err(Problem::new(ProblemCode::StateUnusable, format!("the ledger cannot be used: {cause}"))
                    .remedy(remedy))
            }
            _ => self.reopen(),
        }
    }

    /// Returns a view of the current file; `None` if there is none.
    pub(crate) fn read(&self) -> Result<Option<ReadTransaction>> {
        Ok(self.file.read().unwrap_or_else(PoisonError::into_inner).read()?)
    }

    /// Begins a transaction; waits for the previous one.
    pub(crate) fn write(&self) -> Result<WriteTransaction, StoreError> {
        match &*self.file.read().unwrap_or_else(PoisonError::into_inner) {
            File::Writable(database) => Ok(database.begin_write()?),
            File::Absent if self.config.access == Access::Write => Err(redb::Error::DatabaseClosed.into()),
            File::Readable(_) | File::Absent => Err(StoreError::ReadOnly),
        }
    }

    /// Begins a transaction of the session with this turn.
    pub(crate) fn write_in_turn(&self, turn: u32) -> Result<WriteTransaction, StoreError> {
        let transaction = self.write()?;
        // Turns change only within transactions.
        if self.turn.load(Ordering::Acquire) == turn { Ok(transaction) } else { Err(StoreError::Superseded) }
    }

    /// Starts a new turn: from now on, only the session with this turn can write. Call it within a
    /// transaction.
    pub(crate) fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// Returns the problem of a failure. A failure of the file is remembered as a fault.
    pub(crate) fn failed(&self, failing: Use, error: &StoreError) -> Problem {
        let error = match error {
            StoreError::ReadOnly => {
                return Problem::new(ProblemCode::Internal, "the ledger was opened for reading");
            }
            StoreError::Superseded => {
                return Problem::new(ProblemCode::ResyncSuperseded, "another resync is using the ledger now");
            }
            StoreError::File(error) => error,
        };
        let mut fault = lock(&self.fault);
        let fault = fault.get_or_insert_with(|| {
            let dir = self.config.dir.display();
            let helps = file::remedy(&self.config.dir, error)
                .unwrap_or_else(|| format!("check the state directory {dir} and its disk"));
            let remedy = format!("{helps}; the next resync opens the ledger again");
            Fault { cause: error.to_string(), remedy, tried: None }
        });
        let verb = if failing == Use::Reading { "read" } else { "written" };
        Problem::new(ProblemCode::StateUnusable, format!("the ledger cannot be {verb}: {}", fault.cause))
            .remedy(fault.remedy.clone())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
