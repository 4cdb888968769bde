//! The writing side of a resync: compares mapped entities with what is known and what the catalog
//! holds, and upserts what changed, in batches filled across units.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use berth_core::{
    BlueprintId, Catalog, Entity, EntityKey, FieldSet, Known, Origin, Problem, Unit, UnitId, UpsertOptions,
    UpsertOutcome, UpsertReport,
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use siphasher::sip::SipHasher13;
use tokio::{sync::mpsc, time::Instant};
use tracing::Instrument;

use crate::{
    Change, ChangeRecord, Event, Journal, Mode, Observer, Refusal, UnitCounts,
    content::key_digest,
    diff::diff,
    known::{Belief, Entry, Memory},
    mapped::{Mapped, Waiting},
    order::{Order, identifiers},
    queue::{Batch, Queue, Request},
    tally::Tally,
};

/// How long a batch waits for more entities before it goes out as it is.
const LINGER: Duration = Duration::from_millis(40);
/// Comparisons and upserts under way at once: what keeps the catalog busy without flooding it.
const IN_FLIGHT: usize = 8;

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
    pub(crate) relates_to: Targets,
    /// Identifiers that more than one resource mapped to: a count, and one of them.
    pub(crate) duplicates: (u64, Option<EntityKey>),
    /// The entities whose relation is a search query, by blueprint and relation: only the catalog
    /// knows what they relate to.
    pub(crate) searching: BTreeMap<BlueprintId, BTreeMap<String, Vec<String>>>,
    /// Blueprints of which some entity is known by a search query alone, with its unit: any entity
    /// may be the one.
    pub(crate) unresolved: BTreeMap<BlueprintId, UnitId>,
    /// How many entities the catalog did not find by their search query, by entry of `resources[]`.
    pub(crate) not_found: BTreeMap<usize, u64>,
    /// Digests of their keys.
    twice: HashSet<u128>,
    /// What is to be recorded.
    entries: Vec<Entry>,
}

/// What relates to what: digests of target identifiers by blueprint and relation.
pub(crate) type Targets = BTreeMap<BlueprintId, BTreeMap<String, HashSet<u64>>>;

impl Written {
    /// Remembers an entity to the end; tells whether it is mapped for the first time.
    fn note(&mut self, digest: u128, entity: &Entity) -> bool {
        note_targets(&mut self.relates_to, entity);
        if entity.search.is_none() {
            self.note_searching(entity, &entity.key.identifier);
        }
        let first = self.seen.insert(digest);
        if !first {
            self.twice.insert(digest);
            self.duplicates.0 += 1;
            self.duplicates.1.get_or_insert_with(|| entity.key.clone());
        }
        first
    }

    fn note_searching(&mut self, entity: &Entity, identifier: &str) {
        for relation in entity.searched_relations() {
            let relations = self.searching.entry(entity.key.blueprint.clone()).or_default();
            relations.entry(relation.to_owned()).or_default().push(identifier.to_owned());
        }
    }
}

/// Whether something relates to an entity of that identifier through that relation.
pub(crate) fn relates(targets: &Targets, from: &BlueprintId, relation: &str, identifier: &str) -> bool {
    targets
        .get(from)
        .and_then(|relations| relations.get(relation))
        .is_some_and(|targets| targets.contains(&digest_text(identifier)))
}

/// Adds what an entity relates to.
pub(crate) fn note_targets(targets: &mut Targets, entity: &Entity) {
    for (relation, value) in &entity.relations {
        for identifier in identifiers(value) {
            note_target(targets, &entity.key.blueprint, relation, identifier);
        }
    }
}

/// Names are cloned only the first time that a relation of a blueprint is met.
fn note_target(targets: &mut Targets, from: &BlueprintId, relation: &str, identifier: &str) {
    let known = targets.get_mut(from).and_then(|relations| relations.get_mut(relation));
    let identifiers = match known {
        Some(identifiers) => identifiers,
        None => targets.entry(from.clone()).or_default().entry(relation.to_owned()).or_default(),
    };
    identifiers.insert(digest_text(identifier));
}

/// Runs until the channel closes and everything is written.
pub(crate) struct Writer {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) mode: Mode,
    pub(crate) options: UpsertOptions,
    pub(crate) units: Arc<[Arc<Unit>]>,
    pub(crate) owned: Arc<Owned>,
    pub(crate) tally: Arc<Tally>,
    /// What is known from earlier resyncs.
    pub(crate) memory: Option<Arc<Memory>>,
    /// Where what the catalog confirms is recorded.
    pub(crate) records: Option<mpsc::Sender<Entry>>,
    /// What live events write meanwhile.
    pub(crate) journal: Arc<Journal>,
}

enum Step {
    Compared(BlueprintId, Vec<(Mapped, Change)>),
    /// A batch with its outcomes, and what live events keep from being written.
    Upserted(BlueprintId, Batch, Vec<UpsertOutcome>, Batch),
}

impl Writer {
    pub(crate) async fn run(self, mut entities: mpsc::Receiver<Mapped>, order: Order) -> Written {
        let mut written =
            Written { counts: vec![UnitCounts::default(); self.units.len()], ..Written::default() };
        let mut queue = Queue::new(order, self.catalog.upsert_batch());
        let mut waiting = Waiting::default();
        let mut running: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        let mut open = true;
        let mut last_arrival = Instant::now();
        loop {
            let quiet = !open || last_arrival.elapsed() >= LINGER;
            while running.len() < IN_FLIGHT
                && let Some(request) = queue.next(quiet)
            {
                match request {
                    Request::Compare(blueprint, batch) => {
                        let span = tracing::debug_span!("compare", %blueprint, entities = batch.len());
                        running.push(Box::pin(self.compare(blueprint, batch).instrument(span)));
                    }
                    Request::Upsert(blueprint, mut batch) => {
                        for mapped in &mut batch {
                            mapped.fate.tried = waiting.written;
                        }
                        let span = tracing::debug_span!("upsert", %blueprint, entities = batch.len());
                        running.push(Box::pin(self.upsert(blueprint, batch).instrument(span)));
                    }
                }
            }
            if !open && running.is_empty() && queue.is_empty() {
                // Relations whose target came later in this very resync are tried again, now that
                // everything else is there, and as long as that brings anything.
                let round = waiting.round(queue.order());
                if round.is_empty() {
                    break;
                }
                for mapped in round {
                    queue.send(mapped);
                }
                continue;
            }
            tokio::select! {
                mapped = entities.recv(), if open && running.len() < IN_FLIGHT && !queue.is_full() => match mapped {
                    None => open = false,
                    Some(mapped) => {
                        last_arrival = Instant::now();
                        self.arrived(mapped, &mut queue, &mut written);
                    }
                },
                Some(step) = running.next(), if !running.is_empty() => match step {
                    Step::Compared(blueprint, results) => {
                        queue.done(&blueprint);
                        for (mapped, change) in results {
                            self.compared(mapped, change, &mut queue, &mut written);
                        }
                    }
                    Step::Upserted(blueprint, batch, outcomes, superseded) => {
                        queue.done(&blueprint);
                        for mapped in superseded {
                            if mapped.entity.search.is_some() {
                                self.unresolved(&mapped, &mut written);
                            }
                            self.unchanged(&mapped, &mut written);
                        }
                        self.account(batch, outcomes, &mut waiting, &mut written);
                    }
                },
                () = tokio::time::sleep_until(last_arrival + LINGER), if open && !queue.is_empty() && !quiet => {}
            }
            self.record(&mut written.entries).await;
        }
        let refused = waiting.entities.len() as u64;
        for (mapped, problem) in waiting.entities {
            self.refuse(mapped, problem, &mut written);
        }
        if refused > 0 {
            self.observer.event(&Event::Written { created: 0, updated: 0, unchanged: 0, refused });
        }
        self.record(&mut written.entries).await;
        written
    }

    fn unit(&self, index: usize) -> Option<&UnitId> {
        Some(&self.units.get(index)?.id)
    }

    fn origin(&self, unit: usize) -> Option<Origin> {
        Origin::of(self.unit(unit)?)
    }

    /// Hands on what is to be recorded. The other side is gone only after a failure that it tells.
    async fn record(&self, entries: &mut Vec<Entry>) {
        for entry in entries.drain(..) {
            if let Some(records) = &self.records {
                _ = records.send(entry).await;
            }
        }
    }

    /// Finds out what has to be done about an entity, as far as that is known without the catalog.
    fn arrived(&self, mut mapped: Mapped, queue: &mut Queue, written: &mut Written) {
        let digest = key_digest(&mapped.entity.key);
        let first = written.note(digest, &mapped.entity);
        if mapped.entity.search.is_some() {
            // Which entity it is shows when it is written; a plan never knows.
            if self.mode == Mode::Plan {
                self.unresolved(&mapped, written);
            }
            self.changed(mapped, Change::Update { fields: Vec::new() }, queue, written);
            return;
        }
        if !first && self.memory.is_some() {
            // Which of them the catalog will hold in the end is not certain, nor whose it is.
            written.entries.push((digest, Some(Known::default())));
        }
        let held = match &*self.owned {
            Owned::Known(keys) => keys.contains(&digest),
            Owned::Unknown(_) => true,
        };
        if !held {
            self.changed(mapped, Change::Create, queue, written);
            return;
        }
        let belief = match &self.memory {
            Some(memory) if first => {
                let known = memory.look_up(digest);
                mapped.fate.shared = known.as_ref().is_some_and(|known| known.origin.is_none());
                let origin = self.origin(mapped.unit);
                memory.judge(known.as_ref(), mapped.content, origin.as_ref(), &mapped.entity, queue.order())
            }
            _ => Belief::Unsure,
        };
        // What a search query finds may have changed without any of this.
        let belief = if mapped.entity.is_comparable() { belief } else { Belief::Changed };
        match (belief, self.mode) {
            (Belief::Same, _) => self.unchanged(&mapped, written),
            (Belief::Changed, Mode::Apply) => {
                self.changed(mapped, Change::Update { fields: Vec::new() }, queue, written);
            }
            (Belief::Changed, Mode::Plan) => {
                mapped.fate.changed = true;
                queue.compare(mapped);
            }
            (Belief::Unsure, _) => queue.compare(mapped),
        }
    }

    fn compared(&self, mapped: Mapped, change: Change, queue: &mut Queue, written: &mut Written) {
        match change {
            // A comparison does not look at everything that is sent.
            Change::Unchanged if mapped.fate.changed => {
                self.changed(mapped, Change::Update { fields: Vec::new() }, queue, written);
            }
            Change::Unchanged => {
                self.confirmed(&mapped, written);
                self.unchanged(&mapped, written);
            }
            change => self.changed(mapped, change, queue, written),
        }
    }

    /// Counts one entity that needs no more work.
    fn settle(&self, unit: usize, counts: UnitCounts, written: &mut Written) {
        if let Some(slot) = written.counts.get_mut(unit) {
            slot.add(&counts);
        }
        self.tally.settled(unit, &counts);
    }

    fn unchanged(&self, mapped: &Mapped, written: &mut Written) {
        self.settle(mapped.unit, UnitCounts { unchanged: 1, ..UnitCounts::default() }, written);
        self.observer.event(&Event::Written { created: 0, updated: 0, unchanged: 1, refused: 0 });
    }

    fn changed(&self, mut mapped: Mapped, change: Change, queue: &mut Queue, written: &mut Written) {
        match self.mode {
            Mode::Apply => {
                mapped.fate.new = change == Change::Create;
                queue.send(mapped);
            }
            Mode::Plan => {
                let counts = match change {
                    Change::Create => UnitCounts { created: 1, ..UnitCounts::default() },
                    _ => UnitCounts { updated: 1, ..UnitCounts::default() },
                };
                self.settle(mapped.unit, counts, written);
                if let Some(unit) = self.unit(mapped.unit) {
                    written.changes.push(ChangeRecord {
                        entity: mapped.entity.key,
                        unit: unit.clone(),
                        change,
                    });
                }
            }
        }
    }

    /// The catalog holds what this entity says.
    fn confirmed(&self, mapped: &Mapped, written: &mut Written) {
        if self.memory.is_none() {
            return;
        }
        let digest = key_digest(&mapped.entity.key);
        let known = if written.twice.contains(&digest) {
            Known::default()
        } else {
            let origin = self.origin(mapped.unit).filter(|_| !mapped.fate.shared).map(Arc::new);
            Known { content: mapped.content, origin }
        };
        written.entries.push((digest, Some(known)));
    }

    /// The catalog found an entity by its search query: this one.
    fn found(&self, mapped: Mapped, identifier: String, written: &mut Written) {
        written.note_searching(&mapped.entity, &identifier);
        let digest = key_digest(&EntityKey { blueprint: mapped.entity.key.blueprint, identifier });
        written.seen.insert(digest);
        if self.memory.is_some() {
            // Another unit may map it by its identifier.
            written.entries.push((digest, Some(Known::default())));
        }
    }

    fn unresolved(&self, mapped: &Mapped, written: &mut Written) {
        if let Some(unit) = self.unit(mapped.unit) {
            written.unresolved.entry(mapped.entity.key.blueprint.clone()).or_insert_with(|| unit.clone());
        }
    }

    /// The catalog may or may not hold what this entity says.
    fn doubted(&self, mapped: &Mapped, written: &mut Written) {
        let Some(memory) = &self.memory else { return };
        let digest = key_digest(&mapped.entity.key);
        if let Some(known) = memory.look_up(digest)
            && !written.twice.contains(&digest)
        {
            written.entries.push((digest, Some(Known { content: None, ..known })));
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
                return Step::Compared(blueprint, batch.into_iter().map(unknown).collect());
            }
        };
        let results = batch
            .into_iter()
            .map(|mapped| {
                let change = diff(&mapped.entity, held.get(&mapped.entity.key.identifier));
                (mapped, change)
            })
            .collect();
        Step::Compared(blueprint, results)
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
        // A live event that read it later has written it, or deleted it.
        let (granted, _claim) =
            self.journal.claim(batch.iter().map(|mapped| (key_digest(&mapped.entity.key), mapped.since)));
        let mut superseded = Batch::new();
        if granted.contains(&false) {
            let (kept, left): (Vec<_>, Vec<_>) =
                batch.into_iter().zip(granted).partition(|(_, granted)| *granted);
            batch = kept.into_iter().map(|(mapped, _)| mapped).collect();
            superseded.extend(left.into_iter().map(|(mapped, _)| mapped));
        }
        let mut entities = Vec::with_capacity(batch.len());
        for mapped in &mut batch {
            let key = mapped.entity.key.clone();
            entities.push(std::mem::replace(
                &mut mapped.entity,
                Entity { key, ..Entity::new(blueprint.clone(), "") },
            ));
        }
        let report = if entities.is_empty() {
            UpsertReport::default()
        } else {
            self.catalog.upsert(&blueprint, &entities, self.options).await
        };
        for (mapped, entity) in batch.iter_mut().zip(entities) {
            mapped.entity = entity;
        }
        Step::Upserted(blueprint, batch, report.outcomes, superseded)
    }

    fn account(
        &self,
        batch: Batch,
        outcomes: Vec<UpsertOutcome>,
        waiting: &mut Waiting,
        written: &mut Written,
    ) {
        let (mut created, mut updated, mut refused) = (0, 0, 0);
        let missing = || UpsertOutcome::Refused(Problem::new("the catalog did not answer for this entity"));
        let outcomes = outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (mut mapped, outcome) in batch.into_iter().zip(outcomes) {
            let part = mapped.whole();
            let outcome = outcome.unwrap_or_else(missing);
            if matches!(outcome, UpsertOutcome::Created | UpsertOutcome::Updated | UpsertOutcome::Found(_)) {
                waiting.written += 1;
                if part {
                    let problem = Problem::new("the relations to entities that relate back were not written");
                    waiting.entities.push((mapped, problem));
                    continue;
                }
                if mapped.entity.search.is_none() {
                    self.confirmed(&mapped, written);
                }
            }
            match outcome {
                // New to this integration, although a relation of another entity may have made
                // the catalog create it a moment before.
                UpsertOutcome::Updated if !mapped.fate.new => {
                    updated += 1;
                    self.settle(mapped.unit, UnitCounts { updated: 1, ..UnitCounts::default() }, written);
                    self.upserted(mapped.unit, &mapped.entity.key, false);
                }
                UpsertOutcome::Created | UpsertOutcome::Updated => {
                    created += 1;
                    self.settle(mapped.unit, UnitCounts { created: 1, ..UnitCounts::default() }, written);
                    self.upserted(mapped.unit, &mapped.entity.key, true);
                }
                UpsertOutcome::Found(identifier) => {
                    updated += 1;
                    self.settle(mapped.unit, UnitCounts { updated: 1, ..UnitCounts::default() }, written);
                    let key = EntityKey { blueprint: mapped.entity.key.blueprint.clone(), identifier };
                    self.upserted(mapped.unit, &key, false);
                    self.found(mapped, key.identifier, written);
                }
                UpsertOutcome::NotFound => {
                    self.settle(mapped.unit, UnitCounts::default(), written);
                    if let Some(unit) = self.unit(mapped.unit) {
                        *written.not_found.entry(unit.resource).or_default() += 1;
                    }
                }
                UpsertOutcome::MissingRelation(problem) => waiting.entities.push((mapped, problem)),
                UpsertOutcome::Refused(problem) => {
                    refused += 1;
                    self.refuse(mapped, problem, written);
                }
            }
        }
        self.observer.event(&Event::Written { created, updated, unchanged: 0, refused });
    }

    fn upserted(&self, unit: usize, entity: &EntityKey, created: bool) {
        if let Some(unit) = self.unit(unit) {
            self.observer.event(&Event::Upserted { entity, unit, created });
        }
    }

    /// Gives an entity up.
    fn refuse(&self, mapped: Mapped, problem: Problem, written: &mut Written) {
        self.doubted(&mapped, written);
        if mapped.entity.search.is_some() {
            self.unresolved(&mapped, written);
        }
        self.settle(mapped.unit, UnitCounts { refused: 1, ..UnitCounts::default() }, written);
        if let Some(unit) = self.unit(mapped.unit) {
            tracing::warn!(
                account = %unit.account, kind = %unit.kind, entity = %mapped.entity.key, %problem,
                "the catalog refused an entity"
            );
            let refusal = Refusal { entity: mapped.entity.key, unit: unit.clone(), problem };
            self.observer.event(&Event::Refused { refusal: &refusal });
            written.refusals.push(refusal);
        }
    }
}
