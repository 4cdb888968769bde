//! The file while it is in use, over faults of its disk.
//!
//! A fault closes the file for good in the eyes of redb, although most pass: a full disk is freed, a
//! volume comes back. So the file is opened again when it is next needed.

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

/// How often a file with a fault is opened again between resyncs, at most: the whole of it is checked.
const REOPEN: Duration = Duration::from_secs(30);

/// The file of a directory, from one fault to the next.
#[derive(Debug)]
pub(crate) struct Store {
    config: LedgerConfig,
    file: RwLock<File>,
    fault: Mutex<Option<Fault>>,
    /// Whose turn it is to write: the session that began last, of those since the file was opened.
    turn: AtomicU32,
}

/// Why the file has to be opened again.
#[derive(Debug, Clone)]
struct Fault {
    /// The first failure: all later ones only say that there was one.
    cause: String,
    remedy: String,
    /// When the file was last opened in vain, if it was.
    tried: Option<Instant>,
}

/// Why the file does not do what it is asked.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// It was opened for reading.
    ReadOnly,
    /// Another resync has begun since.
    Superseded,
    File(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::File(error.into())
    }
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Reading,
    Writing,
}

impl Store {
    /// Opens the file. The second value holds remarks for the operator.
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

    /// Opens the file again if it has a fault. Sessions that have begun before write no more.
    /// Gives remarks for the operator.
    ///
    /// # Errors
    /// The [`Problem`] for which it still cannot be used.
    pub(crate) fn reopen(&self) -> Result<Vec<String>, Problem> {
        let mut fault = lock(&self.fault);
        let Some(known) = &mut *fault else { return Ok(Vec::new()) };
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        // Closed before: a file is opened for writing once.
        *file = File::Absent;
        self.turn.fetch_add(1, Ordering::AcqRel);
        match file::open(&self.config) {
            Ok((opened, mut notes)) => {
                let dir = self.config.dir.display();
                tracing::info!(dir = %dir, after = known.cause, "the ledger is used again");
                notes.push(format!(
                    "the ledger in {dir} is used again, after a fault of its disk ({})",
                    known.cause
                ));
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

    /// The same between resyncs, where it is not done as often as something is asked.
    ///
    /// # Errors
    /// The [`Problem`] for which it cannot be used.
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

    /// A view of the file as it is now; `None` when there is none.
    pub(crate) fn read(&self) -> Result<Option<ReadTransaction>> {
        Ok(self.file.read().unwrap_or_else(PoisonError::into_inner).read()?)
    }

    /// Begins a transaction; waits for the one before.
    pub(crate) fn write(&self) -> Result<WriteTransaction, StoreError> {
        match &*self.file.read().unwrap_or_else(PoisonError::into_inner) {
            File::Writable(database) => Ok(database.begin_write()?),
            File::Absent if self.config.access == Access::Write => Err(redb::Error::DatabaseClosed.into()),
            File::Readable(_) | File::Absent => Err(StoreError::ReadOnly),
        }
    }

    /// Begins a transaction of the session that had this turn.
    pub(crate) fn write_in_turn(&self, turn: u32) -> Result<WriteTransaction, StoreError> {
        let transaction = self.write()?;
        // Turns change within transactions only.
        if self.turn.load(Ordering::Acquire) == turn { Ok(transaction) } else { Err(StoreError::Superseded) }
    }

    /// From now on only the session writes that is given this turn. To be called within a transaction.
    pub(crate) fn next_turn(&self) -> u32 {
        self.turn.fetch_add(1, Ordering::AcqRel).wrapping_add(1)
    }

    /// What a failure means to the operator. One of the file is a fault from now on.
    pub(crate) fn failed(&self, failing: Use, error: &StoreError) -> Problem {
        let error = match error {
            StoreError::ReadOnly => {
                return Problem::new(ProblemCode::Internal, "the ledger was opened for reading");
            }
            StoreError::Superseded => {
                return Problem::new(
                    ProblemCode::ResyncSuperseded,
                    "another resync has begun to use the ledger",
                );
            }
            StoreError::File(error) => error,
        };
        let mut fault = lock(&self.fault);
        let fault = fault.get_or_insert_with(|| {
            let dir = self.config.dir.display();
            let helps = file::remedy(&self.config.dir, error)
                .unwrap_or_else(|| format!("check the state directory {dir} and its disk"));
            let remedy = format!("{helps}; the ledger is opened again at the next resync");
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
