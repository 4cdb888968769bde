//! The writing side of a resync: compares mapped entities with what the catalog holds and upserts
//! what changed, in batches filled across units.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use berth_core::{
    BlueprintId, Catalog, Entity, EntityKey, FieldSet, Problem, UnitId, UpsertOptions, UpsertOutcome,
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::Value;
use siphasher::sip128::{Hasher128, SipHasher13};
use tokio::{sync::mpsc, time::Instant};

use crate::{Change, ChangeRecord, Event, Mode, Observer, Refusal, UnitCounts, diff::diff, tally::Tally};

/// How long a batch waits for more entities before it goes out as it is.
const LINGER: Duration = Duration::from_millis(40);
/// Comparisons and upserts under way at once: what keeps the catalog busy without flooding it.
const IN_FLIGHT: usize = 8;
/// Entities compared with one call; a multiple of what catalogs take per request.
const COMPARE: usize = 100;

/// A 128-bit digest of an entity's key: all that is remembered of an entity to the end.
pub(crate) fn digest(key: &EntityKey) -> u128 {
    let mut hasher = SipHasher13::new();
    key.hash(&mut hasher);
    hasher.finish128().as_u128()
}

fn digest_text(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What the catalog held for this integration when the resync began.
#[derive(Debug)]
pub(crate) enum Owned {
    /// Digests of all keys.
    Known(HashSet<u128>),
    /// It could not be listed: every entity may be held, and nothing may be deleted.
    Unknown(Problem),
}

/// A mapped entity on its way to the catalog.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// The unit that produced it, by position.
    pub(crate) unit: usize,
    /// The fields its mapping sets.
    pub(crate) fields: Arc<FieldSet>,
    /// The entity.
    pub(crate) entity: Entity,
    /// Whether the catalog did not hold it for this integration.
    pub(crate) new: bool,
}

/// What the writer knows at the end.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Created, updated, unchanged and refused, by unit.
    pub(crate) counts: Vec<UnitCounts>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) changes: Vec<ChangeRecord>,
    /// Digests of every mapped entity, written or refused.
    pub(crate) seen: HashSet<u128>,
    /// What the mapped entities relate to: digests of identifiers by blueprint and relation.
    pub(crate) relates_to: BTreeMap<BlueprintId, BTreeMap<String, HashSet<u64>>>,
    /// Identifiers that more than one resource mapped to: a count, and one of them.
    pub(crate) duplicates: (u64, Option<EntityKey>),
}

impl Written {
    /// Whether a mapped entity relates to an entity of that identifier through that relation.
    pub(crate) fn relates(&self, from: &BlueprintId, relation: &str, identifier: &str) -> bool {
        self.relates_to
            .get(from)
            .and_then(|relations| relations.get(relation))
            .is_some_and(|targets| targets.contains(&digest_text(identifier)))
    }

    fn note(&mut self, digest: u128, entity: &Entity) {
        if !self.seen.insert(digest) {
            self.duplicates.0 += 1;
            self.duplicates.1.get_or_insert_with(|| entity.key.clone());
        }
        for (relation, value) in &entity.relations {
            match value {
                Value::String(one) => self.note_target(&entity.key.blueprint, relation, one),
                Value::Array(many) => {
                    for one in many.iter().filter_map(Value::as_str) {
                        self.note_target(&entity.key.blueprint, relation, one);
                    }
                }
                _ => {}
            }
        }
    }

    /// Names are cloned only the first time that a relation of a blueprint is met.
    fn note_target(&mut self, from: &BlueprintId, relation: &str, identifier: &str) {
        let known = self.relates_to.get_mut(from).and_then(|relations| relations.get_mut(relation));
        let targets = match known {
            Some(targets) => targets,
            None => self.relates_to.entry(from.clone()).or_default().entry(relation.to_owned()).or_default(),
        };
        targets.insert(digest_text(identifier));
    }
}

/// Runs until the channel closes and everything is written.
pub(crate) struct Writer {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) mode: Mode,
    pub(crate) options: UpsertOptions,
    pub(crate) units: Arc<[UnitId]>,
    pub(crate) owned: Arc<Owned>,
    pub(crate) tally: Arc<Tally>,
}

type Batch = Vec<Mapped>;

enum Step {
    Compared(Vec<(Mapped, Change)>),
    Upserted(Batch, Vec<UpsertOutcome>),
}

/// Entities waiting, by blueprint.
#[derive(Default)]
struct Buffers(HashMap<BlueprintId, Batch>);

impl Buffers {
    fn push(&mut self, mapped: Mapped) {
        if let Some(batch) = self.0.get_mut(&mapped.entity.key.blueprint) {
            batch.push(mapped);
        } else {
            self.0.insert(mapped.entity.key.blueprint.clone(), vec![mapped]);
        }
    }

    /// Takes a batch that is full, or, when nothing more is to be waited for, any batch.
    fn take(&mut self, size: usize, any: bool) -> Option<(BlueprintId, Batch)> {
        let blueprint = self
            .0
            .iter()
            .find(|(_, batch)| batch.len() >= size || (any && !batch.is_empty()))
            .map(|(blueprint, _)| blueprint.clone())?;
        let batch = self.0.get_mut(&blueprint)?;
        let rest = batch.split_off(batch.len().min(size));
        let taken = std::mem::replace(batch, rest);
        Some((blueprint, taken))
    }

    fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

impl Writer {
    pub(crate) async fn run(self, mut entities: mpsc::Receiver<Mapped>) -> Written {
        let mut written =
            Written { counts: vec![UnitCounts::default(); self.units.len()], ..Written::default() };
        let upsert_size = self.catalog.upsert_batch().max(1);
        let (mut compare, mut send) = (Buffers::default(), Buffers::default());
        let mut waiting: Batch = Vec::new();
        let mut retried = false;
        let mut running: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        let mut open = true;
        let mut last_arrival = Instant::now();
        loop {
            let quiet = !open || last_arrival.elapsed() >= LINGER;
            while running.len() < IN_FLIGHT {
                if let Some((blueprint, batch)) = send.take(upsert_size, quiet && compare.is_empty()) {
                    running.push(Box::pin(self.upsert(blueprint, batch)));
                } else if let Some((blueprint, batch)) = compare.take(COMPARE, quiet) {
                    running.push(Box::pin(self.compare(blueprint, batch)));
                } else {
                    break;
                }
            }
            let idle = running.is_empty() && compare.is_empty() && send.is_empty();
            if !open && idle {
                // Relations whose target came later in this very resync are tried once more, now
                // that everything else is there.
                if retried || waiting.is_empty() {
                    break;
                }
                retried = true;
                waiting.drain(..).for_each(|mapped| send.push(mapped));
                continue;
            }
            let buffered = !compare.is_empty() || !send.is_empty();
            tokio::select! {
                mapped = entities.recv(), if open && running.len() < IN_FLIGHT => match mapped {
                    None => open = false,
                    Some(mapped) => {
                        last_arrival = Instant::now();
                        let digest = digest(&mapped.entity.key);
                        written.note(digest, &mapped.entity);
                        let held = match &*self.owned {
                            Owned::Known(keys) => keys.contains(&digest),
                            Owned::Unknown(_) => true,
                        };
                        if held { compare.push(mapped) } else { self.changed(mapped, Change::Create, &mut send, &mut written) }
                    }
                },
                Some(step) = running.next(), if !running.is_empty() => match step {
                    Step::Compared(results) => {
                        for (mapped, change) in results {
                            self.changed(mapped, change, &mut send, &mut written);
                        }
                    }
                    Step::Upserted(batch, outcomes) => {
                        self.account(batch, outcomes, retried, &mut waiting, &mut written);
                    }
                },
                () = tokio::time::sleep_until(last_arrival + LINGER), if open && buffered && !quiet => {}
            }
        }
        written
    }

    /// Counts one entity that needs no more work.
    fn settle(&self, unit: usize, counts: UnitCounts, written: &mut Written) {
        if let Some(slot) = written.counts.get_mut(unit) {
            slot.add(&counts);
        }
        self.tally.settled(unit, &counts);
    }

    fn changed(&self, mut mapped: Mapped, change: Change, send: &mut Buffers, written: &mut Written) {
        if change == Change::Unchanged {
            self.settle(mapped.unit, UnitCounts { unchanged: 1, ..UnitCounts::default() }, written);
            self.observer.event(&Event::Written { created: 0, updated: 0, unchanged: 1, refused: 0 });
            return;
        }
        match self.mode {
            Mode::Apply => {
                mapped.new = change == Change::Create;
                send.push(mapped);
            }
            Mode::Plan => {
                let counts = match change {
                    Change::Create => UnitCounts { created: 1, ..UnitCounts::default() },
                    _ => UnitCounts { updated: 1, ..UnitCounts::default() },
                };
                self.settle(mapped.unit, counts, written);
                if let Some(unit) = self.units.get(mapped.unit) {
                    written.changes.push(ChangeRecord {
                        entity: mapped.entity.key,
                        unit: unit.clone(),
                        change,
                    });
                }
            }
        }
    }

    async fn compare(&self, blueprint: BlueprintId, batch: Batch) -> Step {
        let mut fields = FieldSet::default();
        let mut keys = Vec::with_capacity(batch.len());
        for mapped in &batch {
            fields.extend(&mapped.fields);
            keys.push(mapped.entity.key.clone());
        }
        let held: HashMap<String, Entity> = match self.catalog.current(&keys, &fields).await {
            Ok(held) => held.into_iter().map(|entity| (entity.key.identifier.clone(), entity)).collect(),
            Err(error) => {
                // Sending too much is safe, sending too little is not.
                tracing::warn!(%blueprint, %error, "could not compare with the catalog; sending all of the batch");
                let unknown = |mapped| (mapped, Change::Update { fields: Vec::new() });
                return Step::Compared(batch.into_iter().map(unknown).collect());
            }
        };
        let results = batch
            .into_iter()
            .map(|mapped| {
                let change = diff(&mapped.entity, held.get(&mapped.entity.key.identifier));
                (mapped, change)
            })
            .collect();
        Step::Compared(results)
    }

    async fn upsert(&self, blueprint: BlueprintId, mut batch: Batch) -> Step {
        // The same entity twice in one request would be written in no certain order: the later wins.
        let mut latest = HashMap::new();
        for (index, mapped) in batch.iter().enumerate() {
            latest.insert(mapped.entity.key.identifier.clone(), index);
        }
        if latest.len() < batch.len() {
            let mut index = 0;
            batch.retain(|mapped| {
                let keep = latest.get(&mapped.entity.key.identifier) == Some(&index);
                index += 1;
                if !keep {
                    self.tally.settled(mapped.unit, &UnitCounts::default());
                }
                keep
            });
        }
        let mut entities = Vec::with_capacity(batch.len());
        for mapped in &mut batch {
            let key = mapped.entity.key.clone();
            entities.push(std::mem::replace(
                &mut mapped.entity,
                Entity { key, ..Entity::new(blueprint.clone(), "") },
            ));
        }
        let report = self.catalog.upsert(&blueprint, &entities, self.options).await;
        for (mapped, entity) in batch.iter_mut().zip(entities) {
            mapped.entity = entity;
        }
        Step::Upserted(batch, report.outcomes)
    }

    fn account(
        &self,
        batch: Batch,
        outcomes: Vec<UpsertOutcome>,
        retried: bool,
        waiting: &mut Batch,
        written: &mut Written,
    ) {
        let (mut created, mut updated, mut refused) = (0, 0, 0);
        let missing = || UpsertOutcome::Refused(Problem::new("the catalog did not answer for this entity"));
        let outcomes = outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (mapped, outcome) in batch.into_iter().zip(outcomes) {
            let (unit, mut counts) = (mapped.unit, UnitCounts::default());
            match outcome.unwrap_or_else(missing) {
                // New to this integration, although a relation of another entity may have made
                // the catalog create it a moment before.
                UpsertOutcome::Updated if !mapped.new => {
                    counts.updated += 1;
                    updated += 1;
                }
                UpsertOutcome::Created | UpsertOutcome::Updated => {
                    counts.created += 1;
                    created += 1;
                }
                UpsertOutcome::MissingRelation(_) if !retried => {
                    waiting.push(mapped);
                    continue;
                }
                UpsertOutcome::Refused(problem) | UpsertOutcome::MissingRelation(problem) => {
                    counts.refused += 1;
                    refused += 1;
                    if let Some(unit) = self.units.get(mapped.unit) {
                        tracing::warn!(
                            account = %unit.account, kind = %unit.kind, entity = %mapped.entity.key, %problem,
                            "the catalog refused an entity"
                        );
                        written.refusals.push(Refusal {
                            entity: mapped.entity.key,
                            unit: unit.clone(),
                            problem,
                        });
                    }
                }
            }
            self.settle(unit, counts, written);
        }
        self.observer.event(&Event::Written { created, updated, unchanged: 0, refused });
    }
}
