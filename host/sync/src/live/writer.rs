//! Writes what events change, in few requests: catalogs limit requests, not entities.
//!
//! An item waits briefly for more of its group, and for the group's current request. An entity is in at most
//! one request of its group at a time, so that two events about it are written in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth_core::{
    Adoption, BlueprintId, Entity, EntityKey, EventDocuments, EventSession, Kind, Problem, ProblemCode,
    UpsertOptions, UpsertOutcome,
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

/// How long the first item of a batch waits for more.
const LINGER: Duration = Duration::from_millis(20);
/// The most requests that one batch fills.
const REQUESTS: usize = 5;

/// The result for an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WriteResult {
    /// It was sent.
    Sent(UpsertOutcome),
    /// Another owner has an entity with its identifier: it was not sent.
    Foreign,
    /// The result or the owner is unknown.
    Unknown(Problem),
}

/// Entities that can share a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct EntityGroup {
    blueprint: BlueprintId,
    merge: bool,
    create_missing_related_entities: bool,
}

/// Collects what events change, and writes it while [`run`](Self::run) is polled.
pub(super) struct BatchWriter {
    /// Entities or documents that fill a request.
    full: usize,
    /// Which entities of other owners may be taken over.
    adoption: Adoption,
    entities: Batches<EntityGroup, Entity, WriteResult>,
    documents: Batches<Kind, EventDocuments, Result<(), Problem>>,
}

impl BatchWriter {
    pub(super) fn new(full: usize, adoption: Adoption) -> Self {
        let named = |entity: &Entity| entity.search.is_none().then(|| entity.key.clone());
        Self { full: full.max(1), adoption, entities: Batches::new(named), documents: Batches::new(|_| None) }
    }

    /// Writes entities of one blueprint; returns the result of each.
    pub(super) async fn upsert(
        &self,
        catalog: &Arc<dyn EventSession>,
        blueprint: &BlueprintId,
        entities: Vec<Entity>,
        options: UpsertOptions,
    ) -> Vec<WriteResult> {
        let UpsertOptions { merge, create_missing_related_entities } = options;
        let group = EntityGroup { blueprint: blueprint.clone(), merge, create_missing_related_entities };
        let written: Vec<_> =
            entities.into_iter().map(|entity| self.entities.add(group.clone(), catalog, entity)).collect();
        let silence = |_| {
            WriteResult::Unknown(Problem::new(
                ProblemCode::PortInvalidAnswer,
                "the catalog did not return a result for this entity",
            ))
        };
        join_all(written).await.into_iter().map(|written| written.unwrap_or_else(silence)).collect()
    }

    /// Sends documents of a resource.
    ///
    /// # Errors
    /// Why the catalog must not get them.
    pub(super) async fn send(
        &self,
        catalog: &Arc<dyn EventSession>,
        documents: EventDocuments,
    ) -> Result<(), Problem> {
        let sent = self.documents.add(documents.config.kind.clone(), catalog, documents).await;
        sent.unwrap_or_else(|_| {
            Err(Problem::new(
                ProblemCode::PortInvalidAnswer,
                "the catalog did not return a result for these documents",
            ))
        })
    }

    /// Writes everything that arrives. Dropping it abandons the current requests.
    pub(super) async fn run(&self) -> Infallible {
        tokio::select! {
            biased;
            never = self.entities.run(self.full, |group, batch| self.write_entities(group, batch)) => never,
            never = self.documents.run(self.full, write_documents) => never,
        }
    }

    async fn write_entities(&self, group: EntityGroup, batch: Batch<Entity, WriteResult>) {
        let EntityGroup { blueprint, merge, create_missing_related_entities } = group;
        let Batch { catalog, items } = batch;
        let named = items.iter().filter(|(entity, _)| entity.search.is_none());
        let keys: Vec<EntityKey> = named.map(|(entity, _)| entity.key.clone()).collect();
        let foreign =
            if keys.is_empty() { Ok(BTreeSet::new()) } else { self.foreign(&*catalog, &keys).await };
        let (mut own, mut replies) = (Vec::new(), Vec::new());
        for (entity, reply) in items {
            let barred = match &foreign {
                _ if entity.search.is_some() => None,
                Ok(foreign) => foreign.contains(&entity.key).then_some(WriteResult::Foreign),
                Err(problem) => Some(WriteResult::Unknown(problem.clone())),
            };
            if let Some(barred) = barred {
                // The receiver may be gone.
                _ = reply.send(barred);
                continue;
            }
            own.push(entity);
            replies.push(reply);
        }
        if own.is_empty() {
            return;
        }
        let options = UpsertOptions { merge, create_missing_related_entities };
        let outcomes = catalog.upsert(&blueprint, &own, options).await.outcomes;
        for (reply, outcome) in replies.into_iter().zip(outcomes) {
            _ = reply.send(WriteResult::Sent(outcome));
        }
    }

    /// Returns those of these entities that another owner has.
    async fn foreign(
        &self,
        catalog: &dyn EventSession,
        keys: &[EntityKey],
    ) -> Result<BTreeSet<EntityKey>, Problem> {
        let foreign = catalog.foreign(keys, &self.adoption).await.map_err(|error| error.0)?;
        Ok(foreign.into_iter().filter(|entity| !entity.adoptable).map(|entity| entity.key).collect())
    }
}

async fn write_documents(kind: Kind, batch: Batch<EventDocuments, Result<(), Problem>>) {
    let (documents, replies): (Vec<_>, Vec<_>) = batch.items.into_iter().unzip();
    let sent = batch.catalog.documents(&kind, &documents).await.map_err(|error| error.0);
    for reply in replies {
        // The receiver may be gone.
        _ = reply.send(sent.clone());
    }
}

/// The content of one request, or a few.
struct Batch<T, R> {
    /// The catalog as it was opened last.
    catalog: Arc<dyn EventSession>,
    items: Vec<PendingItem<T, R>>,
}

/// An item to write, and the sender for its result.
type PendingItem<T, R> = (T, oneshot::Sender<R>);

/// Collects what may share a request, by group.
struct Batches<G, T, R> {
    /// The key of an item. A batch holds only one item with the same key: the order of two in one request is
    /// undefined.
    key: fn(&T) -> Option<EntityKey>,
    pending: Mutex<BTreeMap<G, Pending<T, R>>>,
    wake: Notify,
}

/// Items of a group, and since when the first of them waits.
struct Pending<T, R> {
    since: Instant,
    /// The catalog as it was opened last.
    catalog: Arc<dyn EventSession>,
    items: Vec<PendingItem<T, R>>,
}

impl<G: Clone + Ord, T, R> Batches<G, T, R> {
    fn new(key: fn(&T) -> Option<EntityKey>) -> Self {
        Self { key, pending: Mutex::default(), wake: Notify::new() }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<G, Pending<T, R>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item. Dropping the receiver before the item is written cancels it.
    fn add(&self, group: G, catalog: &Arc<dyn EventSession>, item: T) -> oneshot::Receiver<R> {
        let (reply, written) = oneshot::channel();
        let since = Instant::now();
        let mut pending = self.pending();
        let waiting = pending.entry(group).or_insert_with(|| Pending {
            since,
            catalog: Arc::clone(catalog),
            items: Vec::new(),
        });
        waiting.catalog = Arc::clone(catalog);
        waiting.items.push((item, reply));
        drop(pending);
        self.wake.notify_one();
        written
    }

    /// Writes batches, one of a group at a time. `full` items fill a request.
    async fn run<F>(&self, full: usize, write: impl Fn(G, Batch<T, R>) -> F) -> Infallible
    where
        F: Future<Output = ()>,
    {
        let mut busy: BTreeSet<G> = BTreeSet::new();
        let mut running = FuturesUnordered::new();
        loop {
            while let Some((group, batch)) = self.take(full, &busy) {
                busy.insert(group.clone());
                let written = write(group.clone(), batch);
                running.push(async move {
                    written.await;
                    group
                });
            }
            let due = self.next_due(&busy);
            tokio::select! {
                biased;
                Some(group) = running.next(), if !running.is_empty() => {
                    busy.remove(&group);
                }
                () = self.wake.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Takes a batch of a group that has waited long enough, or that fills a request.
    fn take(&self, full: usize, busy: &BTreeSet<G>) -> Option<(G, Batch<T, R>)> {
        let mut pending = self.pending();
        for waiting in pending.values_mut() {
            waiting.items.retain(|(_, reply)| !reply.is_closed());
        }
        pending.retain(|_, waiting| !waiting.items.is_empty());
        let ready = |(group, waiting): &(&G, &Pending<T, R>)| {
            !busy.contains(*group) && (waiting.items.len() >= full || waiting.since.elapsed() >= LINGER)
        };
        let group = pending.iter().find(ready)?.0.clone();
        let waiting = pending.get_mut(&group)?;
        let mut keys: BTreeSet<EntityKey> = BTreeSet::new();
        let (mut batch, mut later) = (Vec::new(), Vec::new());
        for item in std::mem::take(&mut waiting.items) {
            let again = (self.key)(&item.0).is_some_and(|key| !keys.insert(key));
            if again || batch.len() == full * REQUESTS {
                later.push(item);
            } else {
                batch.push(item);
            }
        }
        waiting.items = later;
        Some((group, Batch { catalog: Arc::clone(&waiting.catalog), items: batch }))
    }

    /// Returns when the next batch that only waits for time has waited long enough.
    fn next_due(&self, busy: &BTreeSet<G>) -> Option<Instant> {
        let pending = self.pending();
        let idle = pending.iter().filter(|(group, _)| !busy.contains(*group));
        idle.map(|(_, waiting)| waiting.since + LINGER).min()
    }
}
