//! Writes what events change, in few requests: a catalog counts requests, not entities.
//!
//! What is ready waits a moment for more of its group, and for the group's request that is under way. An
//! entity is in one request of its group at most, so that two events about it are written in their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth_core::{
    Adoption, BlueprintId, Catalog, Entity, EntityKey, EventDocuments, Kind, Problem, UpsertOptions,
    UpsertOutcome,
};
use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

/// How long the first of a batch waits for more.
const LINGER: Duration = Duration::from_millis(20);
/// Requests that one batch fills at most.
const REQUESTS: usize = 5;

/// What may go in one request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Entities { blueprint: BlueprintId, merge: bool, create_missing_related_entities: bool },
    Documents(Kind),
}

/// What became of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Written {
    /// It was sent.
    Sent(UpsertOutcome),
    /// Somebody else owns one with its identifier: it was not sent.
    Foreign,
    /// It is not known how it ended, or whose it is.
    Unknown(Problem),
}

/// Something to write, and who waits for it.
enum Item {
    Entity(Entity, oneshot::Sender<Written>),
    Documents(EventDocuments, oneshot::Sender<Result<(), Problem>>),
}

impl Item {
    /// Whether nobody waits for it any more, so that it must not be written.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Entity(_, reply) => reply.is_closed(),
            Self::Documents(_, reply) => reply.is_closed(),
        }
    }

    fn key(&self) -> Option<&EntityKey> {
        match self {
            Self::Entity(entity, _) => Some(&entity.key).filter(|_| entity.search.is_none()),
            Self::Documents(..) => None,
        }
    }
}

/// Items of a group, and since when the first of them waits.
struct Pending {
    since: Instant,
    items: Vec<Item>,
}

/// Takes what events change, and writes it while [`run`](Self::run) is polled.
pub(super) struct BatchWriter {
    catalog: Arc<dyn Catalog>,
    /// Which entities of others may be taken over.
    adoption: Adoption,
    pending: Mutex<BTreeMap<Group, Pending>>,
    wake: Notify,
}

impl BatchWriter {
    pub(super) fn new(catalog: Arc<dyn Catalog>, adoption: Adoption) -> Self {
        Self { catalog, adoption, pending: Mutex::default(), wake: Notify::new() }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<Group, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes entities of one blueprint; says what became of each.
    pub(super) async fn upsert(
        &self,
        blueprint: &BlueprintId,
        entities: Vec<Entity>,
        options: UpsertOptions,
    ) -> Vec<Written> {
        let UpsertOptions { merge, create_missing_related_entities } = options;
        let group = Group::Entities { blueprint: blueprint.clone(), merge, create_missing_related_entities };
        let replies = entities.into_iter().map(|entity| {
            let (reply, written) = oneshot::channel();
            self.push(group.clone(), Item::Entity(entity, reply));
            written
        });
        let replies: Vec<_> = replies.collect();
        let silence = |_| Written::Unknown(Problem::new("the catalog did not answer for this entity"));
        join_all(replies).await.into_iter().map(|reply| reply.unwrap_or_else(silence)).collect()
    }

    /// Hands documents of a resource over.
    ///
    /// # Errors
    /// Why the catalog may not have them.
    pub(super) async fn send(&self, documents: EventDocuments) -> Result<(), Problem> {
        let (reply, sent) = oneshot::channel();
        let group = Group::Documents(documents.config.kind.clone());
        self.push(group, Item::Documents(documents, reply));
        sent.await.unwrap_or_else(|_| Err(Problem::new("the catalog did not answer for these documents")))
    }

    fn push(&self, group: Group, item: Item) {
        let since = Instant::now();
        let mut pending = self.pending();
        pending.entry(group).or_insert_with(|| Pending { since, items: Vec::new() }).items.push(item);
        drop(pending);
        self.wake.notify_one();
    }

    /// Writes whatever comes. What is under way is given up when it is dropped.
    pub(super) async fn run(&self) -> Infallible {
        let mut busy: BTreeSet<Group> = BTreeSet::new();
        let mut running: FuturesUnordered<BoxFuture<'_, Group>> = FuturesUnordered::new();
        loop {
            while let Some((group, batch)) = self.take(&busy) {
                busy.insert(group.clone());
                running.push(Box::pin(self.write(group, batch)));
            }
            let due = self.next_due(&busy);
            tokio::select! {
                Some(group) = running.next(), if !running.is_empty() => {
                    busy.remove(&group);
                }
                () = self.wake.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn full(&self) -> usize {
        self.catalog.upsert_batch().max(1)
    }

    /// A batch of a group that has waited long enough, or that fills a request.
    fn take(&self, busy: &BTreeSet<Group>) -> Option<(Group, Vec<Item>)> {
        let full = self.full();
        let mut pending = self.pending();
        let ready = |(group, waiting): &(&Group, &Pending)| {
            !busy.contains(group) && (waiting.items.len() >= full || waiting.since.elapsed() >= LINGER)
        };
        let group = pending.iter().find(ready)?.0.clone();
        let waiting = pending.get_mut(&group)?;
        let mut keys: BTreeSet<EntityKey> = BTreeSet::new();
        let (mut batch, mut later) = (Vec::new(), Vec::new());
        for item in std::mem::take(&mut waiting.items) {
            // Twice in one request would be written in no certain order.
            let again = item.key().is_some_and(|key| !keys.insert(key.clone()));
            if again || batch.len() == full * REQUESTS {
                later.push(item);
            } else {
                batch.push(item);
            }
        }
        waiting.items = later;
        if waiting.items.is_empty() {
            pending.remove(&group);
        }
        Some((group, batch))
    }

    /// When the next batch has waited long enough that only waits for time.
    fn next_due(&self, busy: &BTreeSet<Group>) -> Option<Instant> {
        let pending = self.pending();
        let idle = pending.iter().filter(|(group, _)| !busy.contains(*group));
        idle.map(|(_, waiting)| waiting.since + LINGER).min()
    }

    async fn write(&self, group: Group, batch: Vec<Item>) -> Group {
        let batch = batch.into_iter().filter(|item| !item.is_abandoned());
        match &group {
            Group::Entities { blueprint, merge, create_missing_related_entities } => {
                let options = UpsertOptions {
                    merge: *merge,
                    create_missing_related_entities: *create_missing_related_entities,
                };
                let entities = batch.filter_map(|item| match item {
                    Item::Entity(entity, reply) => Some((entity, reply)),
                    Item::Documents(..) => None,
                });
                self.write_entities(blueprint, entities.collect(), options).await;
            }
            Group::Documents(kind) => {
                let documents = batch.filter_map(|item| match item {
                    Item::Documents(documents, reply) => Some((documents, reply)),
                    Item::Entity(..) => None,
                });
                let (documents, replies): (Vec<_>, Vec<_>) = documents.unzip();
                if !documents.is_empty() {
                    let sent = self.catalog.event_documents(kind, &documents).await.map_err(|error| error.0);
                    for reply in replies {
                        // Whoever waited may have gone.
                        _ = reply.send(sent.clone());
                    }
                }
            }
        }
        group
    }

    async fn write_entities(
        &self,
        blueprint: &BlueprintId,
        entities: Vec<(Entity, oneshot::Sender<Written>)>,
        options: UpsertOptions,
    ) {
        let named = entities.iter().filter(|(entity, _)| entity.search.is_none());
        let keys: Vec<EntityKey> = named.map(|(entity, _)| entity.key.clone()).collect();
        let foreign = if keys.is_empty() { Ok(BTreeSet::new()) } else { self.foreign(&keys).await };
        let (mut own, mut replies) = (Vec::new(), Vec::new());
        for (entity, reply) in entities {
            let barred = match &foreign {
                _ if entity.search.is_some() => None,
                Ok(foreign) => foreign.contains(&entity.key).then_some(Written::Foreign),
                Err(problem) => Some(Written::Unknown(problem.clone())),
            };
            match barred {
                // Whoever waited may have gone.
                Some(barred) => _ = reply.send(barred),
                None => {
                    own.push(entity);
                    replies.push(reply);
                }
            }
        }
        if own.is_empty() {
            return;
        }
        let outcomes = self.catalog.upsert(blueprint, &own, options).await.outcomes;
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            _ = reply.send(Written::Sent(outcome));
        }
    }

    /// Those of these entities that somebody else owns.
    async fn foreign(&self, keys: &[EntityKey]) -> Result<BTreeSet<EntityKey>, Problem> {
        let foreign = self.catalog.foreign(keys, &self.adoption).await.map_err(|error| error.0)?;
        Ok(foreign.into_iter().filter(|entity| !entity.adoptable).map(|entity| entity.key).collect())
    }
}
