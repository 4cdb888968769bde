//! What Berth remembers of a catalog from one resync to the next: a transactional file in a
//! directory of the operator's choice.
//!
//! [`FileLedger`] is such a file as a [`Ledger`]. Of each entity it holds a digest of its key, a
//! digest of what the catalog confirmed, the unit that produced it, and the number of the resync
//! that recorded it: 40 bytes, and nothing that the catalog holds can be read from it.
//!
//! # Invariants
//! - One process writes; others may read meanwhile. A second writer is refused.
//! - A resync that did not [end](berth_core::LedgerSession::end) makes everything doubtful that was
//!   recorded before it began: it may have sent what it did not record.
//! - What was recorded longer ago than the interval of verification is doubtful, too.
//! - Every page is checked against its checksum when the file is opened for writing. A damaged file
//!   is moved aside, and everything is looked up in the catalog again.
//! - Nothing here reads the environment or keeps global state.

mod file;
mod record;
mod session;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use berth_core::{Intent, Ledger, Opened, Problem};

use crate::{file::Store, session::Session};

/// How long what is known counts, unless the operator says otherwise.
pub const VERIFY_INTERVAL: Duration = Duration::from_hours(24);

/// What a ledger is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Reading and writing; excludes other writers.
    #[default]
    Write,
    /// Reading only, beside a writer if there is one. Nothing is created.
    Read,
}

/// Where a ledger is, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// The directory that holds it; created where it is missing.
    pub dir: PathBuf,
    /// What it is opened for.
    pub access: Access,
    /// After how long an entity is looked at in the catalog again, although nothing seems to have
    /// changed. Zero: in every resync.
    pub verify_interval: Duration,
}

impl LedgerConfig {
    /// A ledger to write to, in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), access: Access::Write, verify_interval: VERIFY_INTERVAL }
    }
}

/// A file as a [`Ledger`]. Open it once per process.
#[derive(Debug)]
pub struct FileLedger {
    config: LedgerConfig,
    store: Arc<Store>,
    /// What there is to say about the opening, until somebody asks.
    notes: Mutex<Vec<String>>,
}

impl FileLedger {
    /// Opens the ledger of a directory. May block: the whole file is checked, and another process
    /// that is just ending is waited for.
    ///
    /// # Errors
    /// A [`Problem`] when the directory cannot be used, or another process writes to it. A damaged
    /// file is no error: it is moved aside, and said so at the next [`begin`](Ledger::begin).
    pub fn open(config: LedgerConfig) -> Result<Self, Problem> {
        let (store, notes) = file::open(&config)?;
        Ok(Self { config, store: Arc::new(store), notes: Mutex::new(notes) })
    }
}

impl Ledger for FileLedger {
    fn begin(&self, catalog: &str, intent: Intent) -> Result<Opened, Problem> {
        let interval = self.config.verify_interval;
        let begun = Session::begin(&self.store, catalog, intent, interval, SystemTime::now());
        let (session, other) = begun.map_err(|error| {
            Problem::new(format!("{}: the ledger cannot be read: {error}", self.config.dir.display()))
                .remedy("if this lasts, remove the directory: everything is looked up in the catalog again")
        })?;
        let mut notes = std::mem::take(&mut *self.notes.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(other) = other {
            let dir = self.config.dir.display();
            let what = match intent {
                Intent::Write => "it was started anew",
                Intent::ReadOnly => "it is not used",
            };
            notes.push(format!("the ledger in {dir} is that of another catalog ({other}); {what}"));
        }
        Ok(Opened { session: Arc::new(session), notes })
    }

    fn doubt(&self, catalog: &str, keys: &[u128]) -> Result<(), Problem> {
        session::doubt(&self.store, catalog, keys).map_err(|error| session::unwritten(&error))
    }
}
