//! What the ledger says during a resync: when it is relied on, and how it is kept up.

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

use crate::{blocking::blocking, order::Order, written::Owned};

/// How long records wait for more, and how many are written at once. Each writing waits for the disk,
/// and leaves a copy of the pages that it touches for as long as the resync reads what was known
/// before, so it is done seldom. What a killed process had not written is only compared again.
const LINGER: Duration = Duration::from_secs(1);
const BATCH: usize = 16_384;

/// How a mapped entity compares with what the ledger says that the catalog holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// The catalog holds exactly this.
    Same,
    /// The catalog holds something else.
    Changed,
    /// The catalog has to be asked.
    Unsure,
}

/// An open ledger, as a plan or as a resync has it.
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
    /// Opens a ledger, to read it or for a resync. One that cannot be used is done without, with a note.
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
                tracing::warn!(%problem, "the ledger cannot be used");
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

    /// What records; `None` in a plan.
    fn writer(&self) -> Option<LedgerWriter> {
        match &self.access {
            LedgerAccess::Read(_) => None,
            LedgerAccess::Write(session) => {
                Some(LedgerWriter { session: Arc::clone(session), may_block: self.may_block })
            }
        }
    }
}

/// Records what a resync finds out.
#[derive(Debug, Clone)]
pub(crate) struct LedgerWriter {
    session: Arc<dyn LedgerSession>,
    may_block: bool,
}

impl LedgerWriter {
    /// Calls it where it may block.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(Arc<dyn LedgerSession>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let session = Arc::clone(&self.session);
        blocking(self.may_block, move || call(session)).await
    }

    /// Records in one go, and waits for it.
    pub(crate) async fn record(&self, entries: Vec<Entry>) -> Result<(), Problem> {
        if entries.is_empty() {
            return Ok(());
        }
        self.record_batch(entries).await.map(drop)
    }

    /// Records a batch, and gives it back empty.
    async fn record_batch(&self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Problem> {
        let written = self.call(move |session| {
            session.record(&entries)?;
            entries.clear();
            Ok(entries)
        });
        written.await
    }

    /// Replaces producers in one go, and waits for it.
    pub(crate) async fn record_producers(&self, entries: Vec<(u128, Producers)>) -> Result<(), Problem> {
        if entries.is_empty() {
            return Ok(());
        }
        self.call(move |session| session.record_producers(&entries)).await
    }

    /// Says that all that was sent is recorded, and which scopes are missing.
    pub(crate) async fn end(self, missing: MissingScopes) -> Result<(), Problem> {
        self.call(move |session| session.end(&missing)).await
    }
}

/// What the ledger says of the catalog.
#[derive(Debug)]
pub(crate) struct LedgerView {
    ledger: LedgerHandle,
    /// Whether the catalog could be listed. If not, nobody knows what it still holds.
    reliable: bool,
    /// Of these something is known, but the catalog holds them no more: somebody deleted them. The
    /// catalog has then taken them out of the relations of others, too.
    vanished: HashSet<u128>,
}

impl LedgerView {
    /// Holds what is known against what the catalog holds.
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
                tracing::warn!(%problem, "what is known is not relied on");
                None
            }
        };
        Self { ledger, reliable: vanished.is_some(), vanished: vanished.unwrap_or_default() }
    }

    /// Whether relations of entities may have lost their targets.
    pub(crate) fn has_gaps(&self) -> bool {
        !self.vanished.is_empty()
    }

    /// Known entities that the catalog did not hold when the resync began.
    pub(crate) fn vanished(&self) -> &HashSet<u128> {
        &self.vanished
    }

    /// What is known of an entity.
    pub(crate) fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.ledger.reader().look_up(key)
    }

    /// Compares an entity that the catalog holds with what is recorded of it. `content` is the digest
    /// of what is mapped now, `producer` the unit that mapped it.
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

    /// In how many complete resyncs in a row before this one scopes were missing.
    pub(crate) fn missing_scopes(&self) -> MissingScopes {
        self.ledger.reader().missing_scopes().unwrap_or_else(|problem| {
            tracing::warn!(%problem, "the ledger cannot be read; removed scopes are counted from the start");
            MissingScopes::new()
        })
    }
}

/// What is recorded of an entity, by the digest of its key.
pub(crate) type Entry = (u128, Option<LedgerEntry>);

/// Records what the catalog confirms, beside the writer: no entity waits for the disk.
pub(crate) struct Recorder {
    pub(crate) sender: mpsc::Sender<Entry>,
    writer: LedgerWriter,
    task: JoinHandle<Result<(), Problem>>,
}

impl Recorder {
    /// `None` in a plan, which records nothing.
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

    /// Waits until everything is recorded. All other senders must be gone.
    pub(crate) async fn finish(self) -> Result<LedgerWriter, Problem> {
        drop(self.sender);
        self.task
            .await
            .unwrap_or_else(|error| Err(Problem::from_error(ProblemCode::StateUnusable, &error)))?;
        Ok(self.writer)
    }
}
