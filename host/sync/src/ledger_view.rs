//! The ledger during a resync: when it is trusted, and how it is updated.

use std::{collections::HashSet, sync::Arc, time::Duration};

use berth_core::{
    Entity, Ledger, LedgerEntry, LedgerReader, LedgerSession, MissingScopes, OpenedLedger, Problem,
    ProblemCode, Producer, Producers,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::{blocking::blocking, order::Order, owned::Owned};

/// How long records wait for more, and how many are written at once. Each write waits for the disk, and keeps
/// a copy of its pages while the resync reads the former state, so writes are rare. Records that a killed
/// process had not written only cost another comparison.
const LINGER: Duration = Duration::from_secs(1);
const BATCH: usize = 16_384;

/// How a mapped entity compares with what the ledger records for the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The catalog holds exactly this.
    Same,
    /// The catalog holds something else.
    Changed,
    /// The ledger cannot tell; the catalog must be queried.
    Unsure,
}

/// An open ledger of a plan or of a resync.
#[derive(Debug, Clone)]
enum LedgerAccess {
    Read(Arc<dyn LedgerReader>),
    Write(Arc<dyn LedgerSession>),
}

/// An open ledger.
#[derive(Debug, Clone)]
pub(crate) struct LedgerHandle {
    access: LedgerAccess,
    may_block: bool,
}

impl LedgerHandle {
    /// Opens a ledger for a plan or for a resync. Without a usable ledger, the resync continues with a note.
    pub(crate) async fn open(
        ledger: Arc<dyn Ledger>,
        catalog: String,
        reads_only: bool,
        notes: &mut Vec<String>,
    ) -> Option<Self> {
        let may_block = ledger.may_block();
        let open = move || {
            if reads_only {
                let OpenedLedger { session, notes } = ledger.read(&catalog)?;
                Ok((LedgerAccess::Read(session), notes))
            } else {
                let OpenedLedger { session, notes } = ledger.begin(&catalog)?;
                Ok((LedgerAccess::Write(session), notes))
            }
        };
        match blocking(may_block, open).await {
            Ok((access, more)) => {
                notes.extend(more);
                Some(Self { access, may_block })
            }
            Err(problem) => {
                tracing::warn!(%problem, "cannot use the ledger");
                notes.push(format!("everything is compared with the catalog: {problem}"));
                None
            }
        }
    }

    fn reader(&self) -> &dyn LedgerReader {
        match &self.access {
            LedgerAccess::Read(reader) => &**reader,
            LedgerAccess::Write(session) => &**session,
        }
    }

    /// Returns the writer; `None` in a plan.
    fn writer(&self) -> Option<LedgerWriter> {
        match &self.access {
            LedgerAccess::Read(_) => None,
            LedgerAccess::Write(session) => {
                Some(LedgerWriter { session: Arc::clone(session), may_block: self.may_block })
            }
        }
    }
}

/// Records the results of a resync.
#[derive(Debug, Clone)]
pub(crate) struct LedgerWriter {
    session: Arc<dyn LedgerSession>,
    may_block: bool,
}

impl LedgerWriter {
    /// Makes a call on a thread that may block.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(Arc<dyn LedgerSession>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let session = Arc::clone(&self.session);
        blocking(self.may_block, move || call(session)).await
    }

    /// Records entries in one write, and waits for it.
    pub(crate) async fn record(&self, entries: Vec<KeyedLedgerEntry>) -> Result<(), Problem> {
        if entries.is_empty() {
            return Ok(());
        }
        self.record_batch(entries).await.map(drop)
    }

    /// Records a batch, and returns it empty.
    async fn record_batch(
        &self,
        mut entries: Vec<KeyedLedgerEntry>,
    ) -> Result<Vec<KeyedLedgerEntry>, Problem> {
        let written = self.call(move |session| {
            session.record(&entries)?;
            entries.clear();
            Ok(entries)
        });
        written.await
    }

    /// Replaces producers in one write, and waits for it.
    pub(crate) async fn record_producers(&self, entries: Vec<(u128, Producers)>) -> Result<(), Problem> {
        if entries.is_empty() {
            return Ok(());
        }
        self.call(move |session| session.record_producers(&entries)).await
    }

    /// Records that everything was recorded, and which scopes are missing.
    pub(crate) async fn end(self, missing: MissingScopes) -> Result<(), Problem> {
        self.call(move |session| session.end(&missing)).await
    }
}

/// What the ledger knows about the catalog.
#[derive(Debug)]
pub(crate) struct LedgerView {
    ledger: LedgerHandle,
    /// Whether the catalog could be listed. If not, it is unknown what it still holds.
    reliable: bool,
    /// Entities that the ledger knows but the catalog no longer holds: someone deleted them. The catalog has
    /// then removed them from the relations of others, too.
    vanished: HashSet<u128>,
}

impl LedgerView {
    /// Compares the ledger with what the catalog holds.
    pub(crate) async fn of(ledger: LedgerHandle, owned: Arc<Owned>) -> Self {
        let handle = ledger.clone();
        let read = blocking(ledger.may_block, move || {
            let mut vanished = HashSet::new();
            let Owned::Known(owned) = &*owned else { return Ok(None) };
            handle.reader().each_key(&mut |key| {
                if !owned.contains(&key) {
                    vanished.insert(key);
                }
            })?;
            Ok(Some(vanished))
        });
        let vanished = match read.await {
            Ok(vanished) => vanished,
            Err(problem) => {
                tracing::warn!(%problem, "cannot read the ledger; comparing everything with the catalog");
                None
            }
        };
        Self { ledger, reliable: vanished.is_some(), vanished: vanished.unwrap_or_default() }
    }

    /// Returns whether relations of entities may have lost their targets.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.vanished.is_empty()
    }

    /// Returns known entities that the catalog did not hold when the resync started.
    pub(crate) fn vanished(&self) -> &HashSet<u128> {
        &self.vanished
    }

    /// Returns what is known about an entity.
    pub(crate) fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.ledger.reader().look_up(key)
    }

    /// Compares an entity that the catalog holds with its record. `content` is the digest of the current
    /// mapping's result, `producer` the unit that mapped it.
    pub(crate) fn judge(
        &self,
        known: Option<&LedgerEntry>,
        content: Option<u128>,
        producer: Option<&Producer>,
        entity: &Entity,
        order: &Order,
    ) -> Freshness {
        let Some(LedgerEntry { content: Some(confirmed), producers }) = known else {
            return Freshness::Unsure;
        };
        let moved = producers.known().is_some_and(|known| producer.is_none_or(|own| !known.contains(own)));
        if !self.reliable || moved || self.may_have_gaps(entity, order) {
            return Freshness::Unsure;
        }
        match content {
            None => Freshness::Unsure,
            Some(content) if content == *confirmed => Freshness::Same,
            Some(_) => Freshness::Changed,
        }
    }

    fn may_have_gaps(&self, entity: &Entity, order: &Order) -> bool {
        self.has_gaps()
            && order
                .targets(entity)
                .any(|(_, target)| target.is_none_or(|target| self.vanished.contains(&target)))
    }

    /// Returns how many complete resyncs in a row before this one scopes were missing in.
    pub(crate) fn missing_scopes(&self) -> MissingScopes {
        self.ledger.reader().missing_scopes().unwrap_or_else(|problem| {
            tracing::warn!(%problem, "cannot read the ledger; counting removed scopes from the start");
            MissingScopes::new()
        })
    }
}

/// What is recorded about an entity, by the digest of its key.
pub(crate) type KeyedLedgerEntry = (u128, Option<LedgerEntry>);

/// Records what the catalog confirms, in parallel with the writer: no entity waits for the disk.
pub(crate) struct Recorder {
    pub(crate) sender: mpsc::Sender<KeyedLedgerEntry>,
    writer: LedgerWriter,
    task: JoinHandle<Result<(), Problem>>,
}

impl Recorder {
    /// Starts it; `None` in a plan, which records nothing.
    pub(crate) fn start(ledger: &LedgerView) -> Option<Self> {
        let writer = ledger.ledger.writer()?;
        let (sender, mut entries) = mpsc::channel(2 * BATCH);
        let session = writer.clone();
        let task = tokio::spawn(async move {
            let mut batch = Vec::new();
            while entries.recv_many(&mut batch, BATCH).await > 0 {
                let deadline = Instant::now() + LINGER;
                while batch.len() < BATCH {
                    let room = BATCH - batch.len();
                    tokio::select! {
                        biased;
                        more = entries.recv_many(&mut batch, room) => if more == 0 { break },
                        () = sleep_until(deadline) => break,
                    }
                }
                batch = session.record_batch(batch).await?;
            }
            Ok(())
        });
        Some(Self { sender, writer, task })
    }

    /// Waits until everything is recorded. All other senders must be dropped.
    pub(crate) async fn finish(self) -> Result<LedgerWriter, Problem> {
        drop(self.sender);
        self.task
            .await
            .unwrap_or_else(|error| Err(Problem::from_error(ProblemCode::StateUnusable, &error)))?;
        Ok(self.writer)
    }
}
