//! The writing side of a resync: compares mapped entities with the ledger and the catalog, and upserts what
//! changed, in batches filled across units.

mod requests;

use std::{sync::Arc, time::Duration};

use berth_core::{
    Adoption, BlueprintId, EntityKey, LedgerEntry, Problem, ProblemCode, Producer, Producers, Unit, UnitId,
    UpsertOptions, UpsertOutcome,
};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::mpsc, time::Instant};
use tracing::Instrument;

use crate::{
    Approved, Change, ChangeRecord, Event, ForeignIdentifier, Observer, Refusal, UnitCounts, WriteArbiter,
    catalog_access::CatalogAccess,
    content::{change_digest, is_comparable, key_digest},
    index::{EntryIndex, PerUnit, UnitIndex},
    ledger_view::{Freshness, KeyedLedgerEntry, LedgerView},
    order::Order,
    owned::Owned,
    pending::{PendingEntity, RetryQueue},
    problems::{ProblemLog, Problems, warn_if},
    progress::ProgressTracker,
    queue::{CatalogRequest, EntityBatch, WriteQueue},
    written::WriteSummary,
};

/// How long a batch waits for more entities before it is sent.
const LINGER: Duration = Duration::from_millis(40);
// The texts about problems.
const FOREIGN: &str = "another owner has an entity with this identifier; it stays unchanged";
const REFUSED: &str = "the catalog rejected an entity";
/// Comparisons and upserts to run at once: enough to keep the catalog busy without overloading it.
const IN_FLIGHT: usize = 8;

/// Runs until the channel closes and everything is written.
pub(crate) struct Writer {
    pub(crate) catalog: CatalogAccess,
    /// Entities that fit into one request to the catalog.
    pub(crate) upsert_batch: usize,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) options: UpsertOptions,
    pub(crate) units: Arc<[Arc<Unit>]>,
    pub(crate) owned: Arc<Owned>,
    pub(crate) progress: Arc<ProgressTracker>,
    /// The ledger, if there is one.
    pub(crate) ledger: Option<Arc<LedgerView>>,
    /// Whether the entities of each resource mapping come from one account only.
    pub(crate) single_account: Vec<bool>,
    /// Which entities of other owners may be taken over.
    pub(crate) adoption: Adoption,
    /// The only changes to make, if a plan is applied.
    pub(crate) approved: Option<Arc<Approved>>,
    /// Receives records of what the catalog confirms.
    pub(crate) records: Option<mpsc::Sender<KeyedLedgerEntry>>,
    /// What live events write meanwhile.
    pub(crate) write_arbiter: Arc<WriteArbiter>,
    pub(crate) problems: Arc<Problems>,
}

enum Step {
    Compared(BlueprintId, Vec<(PendingEntity, Result<Change, Problem>)>),
    /// A batch with its results, and what was not sent.
    Upserted(BlueprintId, EntityBatch, Vec<UpsertOutcome>, Unsent),
}

/// Entities of a batch that are not sent.
#[derive(Default)]
struct Unsent {
    /// A live event has written or deleted them meanwhile.
    superseded: EntityBatch,
    /// Another owner has an entity with that identifier.
    foreign: EntityBatch,
    /// The owner is unknown.
    refused: Vec<(PendingEntity, Problem)>,
}

/// The producer of what a unit yields; `None` when it is not known where the unit reads.
pub(crate) fn producer_of(unit: &UnitId) -> Option<Producer> {
    let place = unit.place.clone()?;
    Some(Producer { account: unit.account.clone(), place, kind: unit.kind.clone() })
}

impl Writer {
    pub(crate) async fn run(self, mut entities: mpsc::Receiver<PendingEntity>, order: Order) -> WriteSummary {
        let mut written = WriteSummary {
            counts: PerUnit::new(self.units.len(), UnitCounts::default),
            held: PerUnit::new(self.units.len(), || 0),
            ..WriteSummary::default()
        };
        let mut queue = WriteQueue::new(order, self.upsert_batch);
        let mut waiting = RetryQueue::default();
        let mut running: FuturesUnordered<BoxFuture<'_, Step>> = FuturesUnordered::new();
        let mut open = true;
        let mut last_arrival = Instant::now();
        loop {
            let quiet = !open || last_arrival.elapsed() >= LINGER;
            while running.len() < IN_FLIGHT
                && let Some(request) = queue.next(quiet, !open || running.is_empty())
            {
                running.push(self.step(request, waiting.written));
            }
            if !open && running.is_empty() && queue.is_empty() {
                // Relations whose target arrived later in this resync are retried, now that everything else
                // exists, as long as that makes progress.
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
                biased;
                Some(step) = running.next(), if !running.is_empty() => {
                    self.finished(step, &mut queue, &mut waiting, &mut written);
                }
                mapped = entities.recv(), if open && running.len() < IN_FLIGHT && !queue.is_full() => match mapped {
                    None => open = false,
                    Some(mapped) => {
                        last_arrival = Instant::now();
                        self.arrived(mapped, &mut queue, &mut written);
                    }
                },
                () = tokio::time::sleep_until(last_arrival + LINGER), if open && !queue.is_empty() && !quiet => {}
            }
            self.record(&mut written.entries).await;
        }
        self.refuse_all(waiting.entities, &mut written);
        self.record(&mut written.entries).await;
        written
    }

    /// Starts a request to the catalog. `written` is the number of entities written before it.
    fn step(&self, request: CatalogRequest, written: u64) -> BoxFuture<'_, Step> {
        match request {
            CatalogRequest::Compare(blueprint, batch) => {
                let span = tracing::debug_span!("compare", %blueprint, entities = batch.len());
                Box::pin(self.compare(blueprint, batch).instrument(span))
            }
            CatalogRequest::Upsert(blueprint, mut batch) => {
                for mapped in &mut batch {
                    mapped.state.tried = written;
                }
                let span = tracing::debug_span!("upsert", %blueprint, entities = batch.len());
                Box::pin(self.upsert(blueprint, batch).instrument(span))
            }
        }
    }

    /// Processes the result of a request to the catalog.
    fn finished(
        &self,
        step: Step,
        queue: &mut WriteQueue,
        waiting: &mut RetryQueue,
        written: &mut WriteSummary,
    ) {
        match step {
            Step::Compared(blueprint, results) => {
                queue.done(&blueprint);
                for (mapped, change) in results {
                    self.compared(mapped, change, queue, written);
                }
            }
            Step::Upserted(blueprint, batch, outcomes, Unsent { superseded, foreign, refused }) => {
                queue.done(&blueprint);
                self.refuse_all(refused, written);
                for mapped in foreign {
                    self.leave_alone(mapped, written);
                }
                for mapped in superseded {
                    if mapped.entity.search.is_some() {
                        self.unresolved(&mapped, written);
                    }
                    self.unchanged(&mapped, written);
                }
                self.account(batch, outcomes, waiting, written);
            }
        }
    }

    fn unit(&self, unit: UnitIndex) -> Option<&UnitId> {
        Some(&self.units.get(unit.position())?.id)
    }

    fn producer(&self, unit: UnitIndex) -> Option<Producer> {
        producer_of(self.unit(unit)?)
    }

    /// Returns the producers until all units have ended: all former ones, and this unit. The second value
    /// says whether to check them again then.
    fn producers(
        &self,
        mapped: &PendingEntity,
        known: Option<&LedgerEntry>,
        written: &mut WriteSummary,
    ) -> (Producers, bool) {
        let own = match &written.last_producer {
            Some((unit, own)) if *unit == mapped.unit => own.clone(),
            _ => {
                let own = self.producer(mapped.unit).map(Producers::one).unwrap_or_default();
                written.last_producer = Some((mapped.unit, own.clone()));
                own
            }
        };
        let Some([producer]) = own.known() else { return (Producers::Unknown, true) };
        let single = self.unit(mapped.unit).and_then(|unit| self.single_account.get(unit.resource));
        match known.map(|known| &known.producers) {
            Some(Producers::SomebodyElse) => (Producers::SomebodyElse, false),
            Some(known @ Producers::Known(set)) => {
                let same = matches!(&**set, [only] if only == producer);
                (known.and(producer), !same)
            }
            Some(Producers::Unknown) | None if single == Some(&true) => (own, false),
            Some(Producers::Unknown) | None => (Producers::Unknown, true),
        }
    }

    /// Returns these producers, and all other units that produced the entity in this resync.
    fn with_others(&self, producers: Producers, digest: u128, written: &WriteSummary) -> Producers {
        let units = written.units_of(digest).filter_map(|unit| self.producer(unit));
        units.fold(producers, |all, unit| all.and(&unit))
    }

    /// Sends entries to be recorded. The receiver is only gone after a failure, which it reports.
    async fn record(&self, entries: &mut Vec<KeyedLedgerEntry>) {
        for entry in entries.drain(..) {
            if let Some(records) = &self.records {
                _ = records.send(entry).await;
            }
        }
    }

    /// Determines what to do with an entity, as far as possible without the catalog.
    fn arrived(&self, mut mapped: PendingEntity, queue: &mut WriteQueue, written: &mut WriteSummary) {
        let digest = key_digest(&mapped.entity.key);
        let entry = self.unit(mapped.unit).map(EntryIndex::of);
        let first = written.note(digest, mapped.unit, entry, &mapped.entity);
        if mapped.entity.search.is_some() {
            // The write shows which entity it is; a plan never knows.
            if self.catalog.is_plan() {
                self.unresolved(&mapped, written);
            }
            self.changed(mapped, Change::Update { fields: Vec::new() }, queue, written);
            return;
        }
        let known = self.ledger.as_ref().and_then(|ledger| ledger.look_up(digest));
        if self.ledger.is_some() {
            let (producers, unsettled) = self.producers(&mapped, known.as_ref(), written);
            if first && unsettled || !first && written.also_seen_by.get(&digest).is_some_and(|o| o.len() == 1)
            {
                let blueprint = &mapped.entity.key.blueprint;
                match written.unsettled.get_mut(blueprint) {
                    Some(digests) => digests.push(digest),
                    None => drop(written.unsettled.insert(blueprint.clone(), vec![digest])),
                }
            }
            let producers = if first { producers } else { self.with_others(producers, digest, written) };
            if !first {
                // It is not certain which of them the catalog will hold in the end.
                written
                    .entries
                    .push((digest, Some(LedgerEntry { content: None, producers: producers.clone() })));
            }
            mapped.state.producers = producers;
        }
        let held = match &*self.owned {
            Owned::Known(keys) => keys.contains(&digest),
            Owned::Unknown(_) => true,
        };
        if held && first {
            if let Some(count) = written.held.get_mut(mapped.unit) {
                *count += 1;
            }
            let blueprint = &mapped.entity.key.blueprint;
            match written.held_by_blueprint.get_mut(blueprint) {
                Some(count) => *count += 1,
                None => drop(written.held_by_blueprint.insert(blueprint.clone(), 1)),
            }
        }
        if !held {
            match &self.catalog {
                CatalogAccess::Write(_) => self.changed(mapped, Change::Create, queue, written),
                // A comparison shows whether another owner has it.
                CatalogAccess::Read(_) => {
                    mapped.state.new = true;
                    queue.compare(mapped);
                }
            }
            return;
        }
        let freshness = match &self.ledger {
            Some(ledger) if first => {
                let producer = self.producer(mapped.unit);
                let order = queue.order();
                ledger.judge(known.as_ref(), mapped.content, producer.as_ref(), &mapped.entity, order)
            }
            _ => Freshness::Unsure,
        };
        // What a search query finds may have changed without any of this.
        let freshness = if is_comparable(&mapped.entity) { freshness } else { Freshness::Changed };
        match (freshness, &self.catalog) {
            (Freshness::Same, _) => self.unchanged(&mapped, written),
            (Freshness::Changed, CatalogAccess::Write(_)) => {
                self.changed(mapped, Change::Update { fields: Vec::new() }, queue, written);
            }
            (Freshness::Changed, CatalogAccess::Read(_)) => {
                mapped.state.changed = true;
                queue.compare(mapped);
            }
            (Freshness::Unsure, _) => queue.compare(mapped),
        }
    }

    fn compared(
        &self,
        mapped: PendingEntity,
        change: Result<Change, Problem>,
        queue: &mut WriteQueue,
        written: &mut WriteSummary,
    ) {
        let change = match change {
            Ok(change) => change,
            Err(problem) => return self.refuse_all(vec![(mapped, problem)], written),
        };
        match change {
            Change::Foreign => self.leave_alone(mapped, written),
            // A comparison does not cover everything that is sent.
            Change::Unchanged if mapped.state.changed => {
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
    fn settle(&self, unit: UnitIndex, counts: UnitCounts, written: &mut WriteSummary) {
        if let Some(slot) = written.counts.get_mut(unit) {
            slot.add(&counts);
        }
        self.progress.finished(unit, &counts);
    }

    fn unchanged(&self, mapped: &PendingEntity, written: &mut WriteSummary) {
        self.settle(mapped.unit, UnitCounts { unchanged: 1, ..UnitCounts::default() }, written);
        self.observer.event(&Event::Written { created: 0, updated: 0, unchanged: 1, refused: 0 });
    }

    fn changed(
        &self,
        mut mapped: PendingEntity,
        change: Change,
        queue: &mut WriteQueue,
        written: &mut WriteSummary,
    ) {
        match &self.catalog {
            CatalogAccess::Write(_)
                if self.approved.as_ref().is_some_and(|plan| !plan.allows(&mapped.entity)) =>
            {
                self.unchanged(&mapped, written);
            }
            CatalogAccess::Write(_) => {
                mapped.state.new = matches!(change, Change::Create | Change::Adopt);
                queue.send(mapped);
            }
            CatalogAccess::Read(_) => {
                let counts = match change {
                    Change::Create | Change::Adopt => UnitCounts { created: 1, ..UnitCounts::default() },
                    _ => UnitCounts { updated: 1, ..UnitCounts::default() },
                };
                self.settle(mapped.unit, counts, written);
                if let Some(unit) = self.unit(mapped.unit) {
                    written.changes.push(ChangeRecord {
                        digest: change_digest(&mapped.entity),
                        entity: mapped.entity.key,
                        unit: unit.clone(),
                        change,
                    });
                }
            }
        }
    }

    /// Records that the catalog holds this entity's content.
    fn confirmed(&self, mapped: &PendingEntity, written: &mut WriteSummary) {
        if self.ledger.is_none() {
            return;
        }
        let digest = key_digest(&mapped.entity.key);
        let content = mapped.content.filter(|_| !written.also_seen_by.contains_key(&digest));
        written
            .entries
            .push((digest, Some(LedgerEntry { content, producers: mapped.state.producers.clone() })));
    }

    /// Records the identifier that the catalog found by an entity's search query.
    fn found(&self, mapped: PendingEntity, identifier: String, written: &mut WriteSummary) {
        written.note_searching(&mapped.entity, &identifier);
        let digest = key_digest(&EntityKey { blueprint: mapped.entity.key.blueprint, identifier });
        written.seen.entry(digest).or_insert(UnitIndex::SOMEBODY);
        if self.ledger.is_some() {
            let entry = LedgerEntry { content: None, producers: Producers::SomebodyElse };
            written.entries.push((digest, Some(entry)));
        }
    }

    fn unresolved(&self, mapped: &PendingEntity, written: &mut WriteSummary) {
        if let Some(unit) = self.unit(mapped.unit) {
            written.unresolved.entry(mapped.entity.key.blueprint.clone()).or_insert_with(|| unit.clone());
        }
    }

    /// Records that the catalog may or may not hold this entity's content.
    fn uncertain(&self, mapped: &PendingEntity, written: &mut WriteSummary) {
        let Some(ledger) = &self.ledger else { return };
        let digest = key_digest(&mapped.entity.key);
        if ledger.look_up(digest).is_some() && !written.also_seen_by.contains_key(&digest) {
            let entry = LedgerEntry { content: None, producers: mapped.state.producers.clone() };
            written.entries.push((digest, Some(entry)));
        }
    }

    fn account(
        &self,
        batch: EntityBatch,
        outcomes: Vec<UpsertOutcome>,
        waiting: &mut RetryQueue,
        written: &mut WriteSummary,
    ) {
        let (mut created, mut updated, mut refused) = (0, 0, 0);
        let missing = || {
            UpsertOutcome::Refused(Problem::new(
                ProblemCode::PortInvalidAnswer,
                "the catalog did not return a result for this entity",
            ))
        };
        let outcomes = outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
        for (mut mapped, outcome) in batch.into_iter().zip(outcomes) {
            let part = mapped.whole();
            let outcome = outcome.unwrap_or_else(missing);
            if matches!(outcome, UpsertOutcome::Created | UpsertOutcome::Updated | UpsertOutcome::Found(_)) {
                waiting.written += 1;
                if part {
                    let problem = Problem::new(
                        ProblemCode::PortRefused,
                        "the relations of a relation cycle were not written",
                    );
                    waiting.entities.push((mapped, problem));
                    continue;
                }
                if mapped.entity.search.is_none() {
                    self.confirmed(&mapped, written);
                }
            }
            match outcome {
                // It is new to this integration, although a relation of another entity may have made the
                // catalog create it a moment ago.
                UpsertOutcome::Updated if !mapped.state.new => {
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
                        *written.not_found.entry(EntryIndex::of(unit)).or_default() += 1;
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

    fn upserted(&self, unit: UnitIndex, entity: &EntityKey, created: bool) {
        if let Some(unit) = self.unit(unit) {
            self.observer.event(&Event::Upserted { entity, unit, created });
        }
    }

    /// Leaves an entity to its owner.
    fn leave_alone(&self, mapped: PendingEntity, written: &mut WriteSummary) {
        self.settle(mapped.unit, UnitCounts::default(), written);
        if let Some(unit) = self.unit(mapped.unit) {
            warn_if!(
                self.problems.should_log((FOREIGN, ProblemLog::ByName), Some(&unit.kind), "", &[]),
                account = %unit.account, kind = %unit.kind, entity = %mapped.entity.key, "{FOREIGN}"
            );
            written.foreign.push(ForeignIdentifier { entity: mapped.entity.key, unit: unit.clone() });
        }
    }

    /// Drops entities with an error.
    fn refuse_all(&self, entities: Vec<(PendingEntity, Problem)>, written: &mut WriteSummary) {
        let refused = entities.len() as u64;
        for (mapped, problem) in entities {
            self.refuse(mapped, problem, written);
        }
        if refused > 0 {
            self.observer.event(&Event::Written { created: 0, updated: 0, unchanged: 0, refused });
        }
    }

    fn refuse(&self, mapped: PendingEntity, problem: Problem, written: &mut WriteSummary) {
        self.uncertain(&mapped, written);
        if mapped.entity.search.is_some() {
            self.unresolved(&mapped, written);
        }
        self.settle(mapped.unit, UnitCounts { refused: 1, ..UnitCounts::default() }, written);
        if let Some(unit) = self.unit(mapped.unit) {
            let names = [mapped.entity.key.identifier.as_str(), unit.account.as_str()];
            warn_if!(
                self.problems.should_log((REFUSED, ProblemLog::ByName), Some(&unit.kind), &problem.message, &names),
                account = %unit.account, kind = %unit.kind, entity = %mapped.entity.key, %problem, "{REFUSED}"
            );
            let refusal = Refusal { entity: mapped.entity.key, unit: unit.clone(), problem };
            self.observer.event(&Event::Refused { refusal: &refusal });
            written.refusals.push(refusal);
        }
    }
}
