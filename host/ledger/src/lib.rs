//! Remembers the state of a catalog between resyncs: a transactional file in a directory that the operator
//! chooses.
//!
//! [`FileLedger`] implements [`Ledger`] with such a file. For each entity it stores a digest of its key, a
//! digest of the content that the catalog confirmed, the number of the set of units that produced it, and
//! the number of the resync that recorded it: 40 bytes, from which the catalog's content cannot be read.
//! Each set of units is stored once, so entities with several producers need no more space than others.
//!
//! # Invariants
//! - One process writes; others may read at the same time. A second writer is refused. Of the sessions of a
//!   process, only the latest writes.
//! - A resync that did not [end](berth_core::LedgerSession::end) makes all contents uncertain that were
//!   recorded before it began: it may have sent entities that it did not record.
//! - Contents that were recorded longer ago than the verification interval are uncertain, too.
//! - A resync that did not end never reduces the producers of an entity. Its records are added to the known
//!   producers; unknown producers stay unknown. The age of a record and the certainty of its content do not
//!   affect the producers.
//! - A set of producers is unknown if one of its members cannot be read.
//! - A file belongs to one catalog, including the organization. If it does not include the organization
//!   yet, its producers are used and its contents are not; the data of a file of another catalog is not
//!   used at all.
//! - A file of a newer format is refused and left unchanged.
//! - Opening the file for writing verifies the checksum of every page. A damaged file is moved aside, and
//!   Berth queries the catalog again.
//! - After a disk fault, sessions that have begun no longer use the file. The next session opens it again.
//! - Nothing here reads the environment or keeps global state.

mod file;
mod identity;
mod producers;
mod record;
mod runs;
mod session;
mod store;
mod tables;
mod view;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use berth_core::{
    AccountId, Kind, Ledger, LedgerEntry, LedgerReader, LedgerSession, OpenedLedger, Problem, Producer,
};

use crate::{
    identity::Held,
    session::{FileLedgerSession, LedgerSnapshot},
    store::{Store, StoreError, Use},
    view::View,
};

/// Any failure of the file.
type Result<T, E = redb::Error> = std::result::Result<T, E>;

/// The default time for which recorded contents count.
pub const VERIFY_INTERVAL: Duration = Duration::from_hours(24);

/// How a ledger is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// For reading and writing; excludes other writers.
    #[default]
    Write,
    /// For reading only, also while another process writes. Creates nothing.
    Read,
}

/// The location of a ledger, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerConfig {
    /// Its directory; created if it is missing.
    pub dir: PathBuf,
    /// How it is opened.
    pub access: Access,
    /// The time after which an entity is compared with the catalog again, even if nothing seems to have
    /// changed. Zero: in every resync.
    pub verify_interval: Duration,
}

impl LedgerConfig {
    /// Returns the configuration of a writable ledger in this directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), access: Access::Write, verify_interval: VERIFY_INTERVAL }
    }
}

/// A file that implements [`Ledger`]. Open it once per process.
#[derive(Debug)]
pub struct FileLedger {
    store: Arc<Store>,
    /// Warnings about opening the file, until the next resync begins.
    notes: Mutex<Vec<String>>,
}

impl FileLedger {
    /// Opens the ledger of a directory. May block: verifies the whole file, and waits for another process
    /// that is ending.
    ///
    /// # Errors
    /// A [`Problem`] if the directory cannot be used, another process writes to it, or a newer version of
    /// Berth wrote it in an unsupported format. A damaged file is not an error: it is moved aside, and the
    /// next [`begin`](Ledger::begin) returns a warning.
    pub fn open(config: LedgerConfig) -> Result<Self, Problem> {
        let (store, notes) = Store::open(config)?;
        Ok(Self { store: Arc::new(store), notes: Mutex::new(notes) })
    }

    /// Keeps these warnings for the next resync.
    fn keep(&self, notes: Vec<String>) {
        store::lock(&self.notes).extend(notes);
    }

    /// Returns a view of the current file; `None` if it has no data about this catalog.
    fn view(&self, catalog: &str) -> Result<Option<View>> {
        let Some(transaction) = self.store.read()? else { return Ok(None) };
        let interval = self.store.config().verify_interval;
        Ok(View::for_catalog(&transaction, catalog, interval, now())?.1)
    }

    /// Returns the warnings about a file of another catalog. `begins`: a resync assigns the file to the
    /// requested catalog.
    fn notes(&self, held: Held, begins: bool) -> Vec<String> {
        let dir = self.store.config().dir.display();
        let note = match (held, begins) {
            (Held::Nothing | Held::Same, _) => None,
            (Held::WithoutOrganization, true) => Some(format!(
                "the ledger in {dir} did not include the organization of its catalog and does now; all contents are compared with the catalog once"
            )),
            (Held::WithoutOrganization, false) => Some(format!(
                "the ledger in {dir} does not include the organization of its catalog; all contents are compared with the catalog"
            )),
            (Held::Other(other), true) => Some(format!(
                "the ledger in {dir} belongs to another catalog ({other}); starting over with an empty one"
            )),
            (Held::Other(other), false) => {
                Some(format!("the ledger in {dir} belongs to another catalog ({other}); not using it"))
            }
        };
        let mut notes = std::mem::take(&mut *store::lock(&self.notes));
        notes.extend(note);
        notes
    }
}

impl Ledger for FileLedger {
    fn read(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerReader>>, Problem> {
        self.keep(self.store.reopen()?);
        let interval = self.store.config().verify_interval;
        let (reader, held) = LedgerSnapshot::open(&self.store, catalog, interval, now())
            .map_err(|error| self.store.failed(Use::Reading, &error))?;
        Ok(OpenedLedger { session: Arc::new(reader), notes: self.notes(held, false) })
    }

    fn begin(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerSession>>, Problem> {
        self.keep(self.store.reopen()?);
        let interval = self.store.config().verify_interval;
        let (session, held) = FileLedgerSession::begin(&self.store, catalog, interval, now())
            .map_err(|error| self.store.failed(Use::Writing, &error))?;
        Ok(OpenedLedger { session: Arc::new(session), notes: self.notes(held, true) })
    }

    fn invalidate(&self, catalog: &str, keys: &[(u128, Option<Producer>)]) -> Result<(), Problem> {
        self.keep(self.store.reopen_in_time()?);
        session::invalidate(&self.store, catalog, keys)
            .map_err(|error| self.store.failed(Use::Writing, &error))
    }

    fn entries(&self, catalog: &str, keys: &[u128]) -> Result<Vec<Option<LedgerEntry>>, Problem> {
        self.keep(self.store.reopen_in_time()?);
        let read = || match self.view(catalog)? {
            Some(view) => keys.iter().map(|key| view.entry(*key)).collect(),
            None => Ok(vec![None; keys.len()]),
        };
        read().map_err(|error| self.store.failed(Use::Reading, &StoreError::File(error)))
    }

    fn totals(&self, catalog: &str) -> Result<BTreeMap<(AccountId, Kind), u64>, Problem> {
        self.keep(self.store.reopen_in_time()?);
        let read = || self.view(catalog)?.map_or_else(|| Ok(BTreeMap::new()), |view| view.totals());
        read().map_err(|error| self.store.failed(Use::Reading, &StoreError::File(error)))
    }
}

/// Returns the time in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
