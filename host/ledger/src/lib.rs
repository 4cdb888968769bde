//! What Berth remembers of a catalog from one resync to the next: a transactional file in a
//! directory of the operator's choice.
//!
//! [`FileLedger`] is such a file as a [`Ledger`]. Of each entity it holds a digest of its key, a
//! digest of what the catalog confirmed, the number of the set of units that produced it, and the number
//! of the resync that recorded it: 40 bytes, and nothing that the catalog holds can be read from it.
//! Sets of units are held once each, so entities with several producers cost no more than others.
//!
//! # Invariants
//! - One process writes; others may read meanwhile. A second writer is refused. Of the sessions of a
//!   process only the one that began last writes.
//! - A resync that did not [end](berth_core::LedgerSession::end) makes all contents uncertain that were
//!   recorded before it began: it may have sent what it did not record.
//! - Contents that were recorded longer ago than the interval of verification are uncertain, too.
//! - Producers never become fewer by a resync that did not end. What it recorded is added to what was
//!   known; where nothing was known, the producers stay unknown. Neither does the age of a record matter
//!   to them, nor that its content is uncertain.
//! - A set of producers of which one cannot be read is unknown as a whole.
//! - A file is about one catalog, organization included. One that does not name its organization yet
//!   gives producers, and no contents; one about any other catalog gives nothing.
//! - A file of a newer format is refused, and stays as it is.
//! - Every page is checked against its checksum when the file is opened for writing. A damaged file
//!   is moved aside, and everything is looked up in the catalog again.
//! - A fault of the disk ends the use of the file for the sessions that have begun. The next one opens it again.
//! - Nothing here reads the environment or keeps global state.

mod file;
mod identity;
mod producers;
mod record;
mod runs;
mod session;
mod store;
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
    session::{Reader, Session},
    store::{Store, StoreError, Use},
    view::View,
};

/// Any failure of the file.
type Result<T, E = redb::Error> = std::result::Result<T, E>;

/// How long what is known counts, unless the operator says otherwise.
pub const VERIFY_INTERVAL: Duration = Duration::from_hours(24);

/// What a ledger is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Reading and writing; excludes other writers.
    #[default]
    Write,
    /// Reading only, also while another process writes. Nothing is created.
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
    store: Arc<Store>,
    /// Remarks about the opening, until the next resync begins.
    notes: Mutex<Vec<String>>,
}

impl FileLedger {
    /// Opens the ledger of a directory. May block: the whole file is checked, and another process
    /// that is just ending is waited for.
    ///
    /// # Errors
    /// A [`Problem`] when the directory cannot be used, another process writes to it, or a newer version
    /// of Berth wrote it in a format that this one does not know. A damaged file is no error: it is moved
    /// aside, and the next [`begin`](Ledger::begin) says so.
    pub fn open(config: LedgerConfig) -> Result<Self, Problem> {
        let (store, notes) = Store::open(config)?;
        Ok(Self { store: Arc::new(store), notes: Mutex::new(notes) })
    }

    /// Has the next resync tell these remarks.
    fn keep(&self, notes: Vec<String>) {
        store::lock(&self.notes).extend(notes);
    }

    /// The file as it is now; `None` when it holds nothing about this catalog.
    fn view(&self, catalog: &str) -> Result<Option<View>> {
        let Some(transaction) = self.store.read()? else { return Ok(None) };
        let interval = self.store.config().verify_interval;
        Ok(View::for_catalog(&transaction, catalog, interval, now())?.1)
    }

    /// The remarks of a file that was about something else than the catalog at hand. `begins`: a resync makes
    /// it one about that catalog.
    fn notes(&self, held: Held, begins: bool) -> Vec<String> {
        let dir = self.store.config().dir.display();
        let note = match (held, begins) {
            (Held::Nothing | Held::Same, _) => None,
            (Held::WithoutOrganization, true) => Some(format!(
                "the ledger in {dir} did not name the organization of its catalog and does now; all contents are compared with the catalog once"
            )),
            (Held::WithoutOrganization, false) => Some(format!(
                "the ledger in {dir} does not name the organization of its catalog; all contents are compared with the catalog"
            )),
            (Held::Other(other), true) => {
                Some(format!("the ledger in {dir} is that of another catalog ({other}); it was started over"))
            }
            (Held::Other(other), false) => {
                Some(format!("the ledger in {dir} is that of another catalog ({other}); it is not used"))
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
        let (reader, held) = Reader::open(&self.store, catalog, interval, now())
            .map_err(|error| self.store.failed(Use::Reading, &error))?;
        Ok(OpenedLedger { session: Arc::new(reader), notes: self.notes(held, false) })
    }

    fn begin(&self, catalog: &str) -> Result<OpenedLedger<Arc<dyn LedgerSession>>, Problem> {
        self.keep(self.store.reopen()?);
        let interval = self.store.config().verify_interval;
        let (session, held) = Session::begin(&self.store, catalog, interval, now())
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

/// The time in seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
