//! Finds stale entities, collects the facts for the rules, and deletes what they allow.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use berth_core::{
    AccountId, BlueprintId, Dependent, EntityKey, FieldSet, KindReads, MapperSnapshot, Problem, ProblemCode,
    Producers, Region, ResourceReader, Scope, Unit, UnitId, UnitState,
};
use futures::StreamExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    Basis, Counts, Decision, DeletionPolicy, Doomed, HeldBack, Keep, LimitOptions, Limited, Mistaken, Proof,
    Stale, Units, apply_limits, check_total,
};
use crate::{
    Approved, Deletion, Event, Gone, Kept, Observer, ResolvedResource, UnitReport, WriteArbiter,
    catalog_access::CatalogAccess,
    content::key_digest,
    index::EntryIndex,
    ledger_view::LedgerView,
    owned::Owned,
    written::{Targets, WriteSummary, note_targets, relates},
};

/// Entities to look up with one call.
const LOOK_UP: usize = 50;
/// How often to query dependents: each time something is kept, less is deleted.
const ROUNDS: usize = 5;

/// The units of a resync as the rules see them.
pub(crate) struct Reports<'a>(pub(crate) &'a [UnitReport]);

impl Units for Reports<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn id(&self, position: usize) -> &UnitId {
        &self.0[position].unit
    }

    fn proof(&self, position: usize) -> Proof {
        let report = &self.0[position];
        match (&report.state, report.counts.unmapped) {
            (UnitState::Complete, 0) => Proof::Complete,
            (UnitState::Complete, resources) => Proof::Unmapped(resources),
            (UnitState::Skipped(_) | UnitState::Failed(_), _) => Proof::Incomplete,
        }
    }
}

/// The settings of deletion in a resync.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeletionOptions {
    pub(crate) limits: LimitOptions,
    pub(crate) delete_dependents: bool,
    /// Whether the catalog creates the targets of relations.
    pub(crate) creates_targets: bool,
    /// The only deletions to make, if a plan is applied.
    pub(crate) approved: Option<Arc<Approved>>,
}

/// The state of one resync's deletion.
pub(crate) struct StaleEntities<'a, 'p> {
    pub(crate) catalog: &'a CatalogAccess,
    pub(crate) reader: &'a dyn ResourceReader,
    pub(crate) mapper: &'a dyn MapperSnapshot,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) write_arbiter: &'a WriteArbiter,
    pub(crate) resources: &'a [ResolvedResource],
    pub(crate) units: &'a [Arc<Unit>],
    pub(crate) reports: &'a [UnitReport],
    pub(crate) policy: &'a mut DeletionPolicy<'p>,
    pub(crate) written: &'a WriteSummary,
    pub(crate) ledger: Option<&'a LedgerView>,
    pub(crate) settings: DeletionOptions,
    pub(crate) begun: Instant,
    pub(crate) deletion: Deletion,
}

/// What is known about one stale entity.
pub(super) struct StaleEntity {
    key: EntityKey,
    producers: Producers,
    account: Option<AccountId>,
    region: Option<Region>,
    /// Whether the catalog has confirmed that this integration owns it.
    owned: bool,
}

impl StaleEntity {
    pub(super) fn stale(&self) -> Stale<'_> {
        Stale {
            key: &self.key,
            producers: &self.producers,
            account: self.account.as_ref(),
            region: self.region.as_ref(),
        }
    }
}

impl StaleEntities<'_, '_> {
    /// Deletes entities that are stale and proven to be gone. The result says what is kept, and why.
    pub(crate) async fn delete(mut self, owned: &Owned) -> Deletion {
        let owned = match owned {
            Owned::Known(owned) => owned,
            Owned::Unknown(problem) => return self.stopped(unlisted(problem)),
        };
        self.deletion.owned = owned.len() as u64;
        if owned.iter().all(|key| self.written.seen.contains_key(key)) {
            return self.deletion;
        }
        match self.delete_stale(owned).await {
            Ok(()) => self.deletion,
            Err(problem) => self.stopped(problem),
        }
    }

    fn stopped(mut self, problem: Problem) -> Deletion {
        self.deletion.stopped = Some(problem);
        self.deletion
    }

    fn keep(&mut self, keys: impl IntoIterator<Item = EntityKey>, keep: &Keep) {
        let kept = keys.into_iter().map(|entity| Kept { entity, keep: keep.clone() });
        self.deletion.kept.extend(kept);
    }

    async fn delete_stale(&mut self, owned: &HashSet<u128>) -> Result<(), Problem> {
        let stale = self.stale(owned).await?;
        let mut known = Vec::new();
        for (blueprint, keys) in stale {
            if let Some(unit) = self.written.unresolved.get(&blueprint) {
                let keep = Keep::Incomplete { unit: unit.clone() };
                self.keep(keys, &keep);
                continue;
            }
            for keys in keys.chunks(LOOK_UP) {
                known.extend(self.known(&blueprint, keys).await);
            }
        }
        self.note_accounts(&known);
        let mut doomed = Vec::new();
        let mut removed: BTreeMap<EntityKey, Keep> = BTreeMap::new();
        let mut facts: HashMap<EntityKey, StaleEntity> = HashMap::new();
        for known in known {
            match self.policy.decide(&known.stale()) {
                Decision::Delete(basis) => {
                    doomed.push(Doomed { key: known.key.clone(), basis });
                    facts.insert(known.key.clone(), known);
                }
                Decision::Keep(keep @ Keep::ScopeRemoved { .. }) => {
                    removed.insert(known.key, keep);
                }
                Decision::Keep(keep) => self.keep([known.key], &keep),
            }
        }
        if self.settings.creates_targets {
            self.keep_targets(&mut doomed).await?;
            // These need no decision: the catalog created them as targets, and would create them again.
            let mut left =
                removed.keys().map(|key| Doomed { key: key.clone(), basis: Basis::default() }).collect();
            self.keep_targets(&mut left).await?;
            let left: HashSet<EntityKey> = left.into_iter().map(|doomed| doomed.key).collect();
            removed.retain(|key, _| left.contains(key));
        }
        for (key, keep) in removed {
            self.keep([key], &keep);
        }
        let mut doomed = self.limit(doomed);
        self.look_again(&mut doomed, &facts).await;
        self.keep_foreign(&mut doomed, &facts).await?;
        let (granted, _lease) =
            self.write_arbiter.lease(doomed.iter().map(|doomed| (key_digest(&doomed.key), self.begun)));
        if granted.contains(&false) {
            // Live events have handled these since the resync started.
            let mut granted = granted.into_iter();
            doomed.retain(|_| granted.next() == Some(true));
        }
        if self.settings.delete_dependents {
            self.add_dependents(&mut doomed).await?;
            if self.catalog.is_plan() {
                self.add_dependents_held_back().await?;
            }
        }
        if !doomed.is_empty() && self.is_allowed(&doomed)? {
            self.carry_out(doomed).await;
        }
        Ok(())
    }

    /// Returns the keys of owned entities that were not seen, by blueprint. Lists them a second time, because
    /// only digests of the first list were kept.
    async fn stale(&self, owned: &HashSet<u128>) -> Result<BTreeMap<BlueprintId, Vec<EntityKey>>, Problem> {
        let mut stale: BTreeMap<BlueprintId, Vec<EntityKey>> = BTreeMap::new();
        let mut pages = self.catalog.view().owned();
        while let Some(page) = pages.next().await {
            for entity in page.map_err(|error| unlisted(&error.0))? {
                let digest = key_digest(&entity.key);
                // An entity that did not exist at the start was created by someone else meanwhile.
                if owned.contains(&digest) && !self.written.seen.contains_key(&digest) {
                    stale.entry(entity.key.blueprint.clone()).or_default().push(entity.key);
                }
            }
        }
        Ok(stale)
    }

    /// Returns what the ledger has about stale entities, and what the others state about themselves.
    async fn known(&self, blueprint: &BlueprintId, keys: &[EntityKey]) -> Vec<StaleEntity> {
        let recorded = |key: &EntityKey| {
            let entry = self.ledger.and_then(|ledger| ledger.look_up(key_digest(key)));
            entry.map_or(Producers::Unknown, |entry| entry.producers)
        };
        let mut known: Vec<StaleEntity> = keys
            .iter()
            .map(|key| StaleEntity {
                key: key.clone(),
                producers: recorded(key),
                account: None,
                region: None,
                owned: false,
            })
            .collect();
        let rules = self.policy.rules(blueprint);
        let fields = rules.fields();
        let unrecorded: Vec<EntityKey> = known
            .iter()
            .filter(|known| known.producers == Producers::Unknown)
            .map(|known| known.key.clone())
            .collect();
        if fields == FieldSet::default() || unrecorded.is_empty() {
            return known;
        }
        match self.catalog.view().current(&unrecorded, &fields).await {
            Ok(entities) => {
                let stated: HashMap<String, _> = entities
                    .into_iter()
                    .map(|entity| {
                        let stated = (rules.account(&entity), rules.region(&entity));
                        (entity.key.identifier, stated)
                    })
                    .collect();
                for known in &mut known {
                    if let Some((account, region)) = stated.get(&known.key.identifier) {
                        known.account.clone_from(account);
                        known.region.clone_from(region);
                        known.owned = true;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%blueprint, %error, "cannot read which account stale entities belong to");
            }
        }
        known
    }

    /// Looks for accounts that are no longer listed.
    fn note_accounts(&mut self, known: &[StaleEntity]) {
        for stale in known {
            for producer in stale.producers.known().unwrap_or_default() {
                self.policy.note_account(&producer.account);
            }
            if let Some(account) = &stale.account {
                self.policy.note_account(account);
            }
            // The entity of an account itself.
            let accounts = self.resources.iter().any(|resource| {
                resource.blueprint.as_ref() == Some(&stale.key.blueprint)
                    && resource.mapping.as_ref().is_ok_and(|(kind, _)| kind.scope == Scope::Account)
            });
            if accounts && let Ok(account) = AccountId::new(&stale.key.identifier) {
                self.policy.note_account(&account);
            }
        }
    }

    /// Skips deletions that look like a mistake, unless they were approved.
    fn limit(&mut self, doomed: Vec<Doomed>) -> Vec<Doomed> {
        if let Some(approved) = &self.settings.approved {
            return doomed.into_iter().filter(|doomed| approved.deletes(&doomed.key)).collect();
        }
        let counts = self.counts();
        let Limited { allowed, held_back } = apply_limits(doomed, &counts);
        self.deletion.held_back.extend(held_back);
        allowed
    }

    fn counts(&self) -> Counts {
        let mut counts =
            Counts { kept_by_blueprint: self.written.held_by_blueprint.clone(), ..Counts::default() };
        for (report, held) in self.reports.iter().zip(self.written.held.iter()).filter(|(_, held)| **held > 0)
        {
            let UnitId { kind, account, .. } = &report.unit;
            *counts.kept.entry((kind.clone(), account.clone())).or_default() += held;
        }
        let mut entries: BTreeMap<EntryIndex, (u64, u64)> = BTreeMap::new();
        for report in self.reports {
            let (resources, identifiers) = entries.entry(EntryIndex::of(&report.unit)).or_default();
            *resources += report.counts.mapped + report.counts.unmapped;
            *identifiers += report.counts.mapped;
        }
        let mut repeated = self.written.repeated.clone();
        for unit in self.written.also_seen_by.values().flatten() {
            let Some(report) = self.reports.get(unit.position()) else { continue };
            let entry = EntryIndex::of(&report.unit);
            // Several units produce the same entity if accounts share a resource; otherwise it is a mistake.
            let kind =
                self.resources.get(entry.position()).and_then(|resource| resource.mapping.as_ref().ok());
            if kind.is_some_and(|(kind, _)| kind.single_account()) {
                *repeated.entry(entry).or_default() += 1;
            }
        }
        for (entry, (resources, mut identifiers)) in entries {
            identifiers -= repeated.get(&entry).copied().unwrap_or(0).min(identifiers);
            if let Some(resource) =
                self.resources.get(entry.position()).filter(|_| identifiers * 2 < resources)
            {
                counts.mistaken.push(Mistaken {
                    entry: entry.position(),
                    kind: resource.config.kind.clone(),
                    blueprint: resource.blueprint.clone(),
                    resources,
                    identifiers,
                });
            }
        }
        counts
    }

    /// Keeps entities that are not exactly this integration's own.
    async fn keep_foreign(
        &mut self,
        doomed: &mut Vec<Doomed>,
        facts: &HashMap<EntityKey, StaleEntity>,
    ) -> Result<(), Problem> {
        let unsure: Vec<EntityKey> = doomed
            .iter()
            .filter(|doomed| facts.get(&doomed.key).is_none_or(|known| !known.owned))
            .map(|doomed| doomed.key.clone())
            .collect();
        if unsure.is_empty() {
            return Ok(());
        }
        let owned = self.catalog.view().current(&unsure, &FieldSet::default()).await.map_err(|error| {
            Problem::new(
                ProblemCode::DeletionUnproven,
                format!("cannot read the owner of stale entities: {}", error.0.message),
            )
        })?;
        let owned: HashSet<EntityKey> = owned.into_iter().map(|entity| entity.key).collect();
        let foreign: HashSet<EntityKey> = unsure.into_iter().filter(|key| !owned.contains(key)).collect();
        doomed.retain(|doomed| !foreign.contains(&doomed.key));
        self.keep(foreign, &Keep::NotOwned);
        Ok(())
    }

    /// Finds what the catalog would also delete. An own entity that is kept must not be deleted with another,
    /// so that one is kept, too.
    async fn add_dependents(&mut self, doomed: &mut Vec<Doomed>) -> Result<(), Problem> {
        for _ in 0..ROUNDS {
            if doomed.is_empty() {
                return Ok(());
            }
            let keys: Vec<EntityKey> = doomed.iter().map(|doomed| doomed.key.clone()).collect();
            let dependents = self.dependents(&keys).await?;
            let roots: HashSet<&EntityKey> = keys.iter().collect();
            let above: HashMap<&EntityKey, &EntityKey> =
                dependents.iter().map(|dependent| (&dependent.entity, &dependent.depends_on)).collect();
            let root = |dependent: &Dependent| {
                let mut at = &dependent.depends_on;
                // No chain is longer than the number of dependents.
                for _ in 0..dependents.len() {
                    if roots.contains(at) {
                        break;
                    }
                    at = above.get(at).copied().unwrap_or(at);
                }
                at.clone()
            };
            let needed: BTreeSet<EntityKey> =
                dependents.iter().filter(|dependent| dependent.owned).map(root).collect();
            if needed.is_empty() {
                self.deletion.dependents = dependents;
                return Ok(());
            }
            doomed.retain(|doomed| !needed.contains(&doomed.key));
            self.keep(needed, &Keep::Related);
        }
        Err(Problem::new(
            ProblemCode::DeletionUnproven,
            "kept entities of this integration depend on too many of the entities to delete",
        ))
    }

    /// Finds, when a plan is applied, what the catalog would delete along with skipped deletions.
    async fn add_dependents_held_back(&mut self) -> Result<(), Problem> {
        let mut held_back = std::mem::take(&mut self.deletion.held_back);
        for held in &mut held_back {
            held.dependents = self.dependents(&held.entities).await?;
        }
        self.deletion.held_back = held_back;
        Ok(())
    }

    async fn dependents(&self, keys: &[EntityKey]) -> Result<Vec<Dependent>, Problem> {
        self.catalog.view().dependents(keys).await.map_err(|error| {
            Problem::new(
                ProblemCode::DeletionUnproven,
                format!("cannot read what depends on the entities to delete: {}", error.0.message),
            )
        })
    }

    /// Checks all pending deletions against the limits of the whole, or against the applied plan.
    fn is_allowed(&mut self, doomed: &[Doomed]) -> Result<bool, Problem> {
        if let Some(approved) = &self.settings.approved {
            let more = self.deletion.dependents.iter().find(|dependent| !approved.deletes(&dependent.entity));
            return match more {
                None => Ok(true),
                Some(Dependent { entity, depends_on, .. }) => Err(Problem::new(
                    ProblemCode::DeletionUnproven,
                    format!("{entity} now depends on {depends_on}, and the plan does not list it"),
                )
                .remedy("make a new plan with `berth plan --out FILE`")),
            };
        }
        let count = (doomed.len() + self.deletion.dependents.len()) as u64;
        let Err(problem) = check_total(count, self.deletion.owned, &self.settings.limits) else {
            return Ok(true);
        };
        let entities = doomed.iter().map(|doomed| doomed.key.clone()).collect();
        let dependents = std::mem::take(&mut self.deletion.dependents);
        self.deletion.held_back.push(HeldBack { entities, problem, dependents });
        Ok(false)
    }

    async fn carry_out(&mut self, doomed: Vec<Doomed>) {
        let mut bases: HashMap<EntityKey, Basis> = HashMap::new();
        let mut keys = Vec::with_capacity(doomed.len());
        for Doomed { key, basis } in doomed {
            bases.insert(key.clone(), basis);
            keys.push(key);
        }
        let resources = self.resources;
        let gone = |entity: EntityKey| {
            let part = bases.get(&entity).and_then(|basis| basis.parts.first());
            let filling = || {
                let mut filling =
                    resources.iter().filter(|r| r.blueprint.as_ref() == Some(&entity.blueprint));
                filling.next().map(|resource| resource.config.kind.clone())
            };
            Gone {
                kind: part.and_then(|part| part.kind.clone()).or_else(filling),
                account: part.and_then(|part| part.account.clone()),
                entity,
            }
        };
        match self.catalog {
            CatalogAccess::Read(_) => self.deletion.deleted = keys.into_iter().map(gone).collect(),
            CatalogAccess::Write(session) => {
                self.observer.event(&Event::Deleting { count: keys.len() });
                let span = tracing::debug_span!("delete", entities = keys.len());
                let delete = session.delete(&keys, self.settings.delete_dependents);
                let report = delete.instrument(span).await;
                self.deletion.deleted = report.deleted.into_iter().map(gone).collect();
                for gone in &self.deletion.deleted {
                    self.observer.event(&Event::Deleted { gone });
                }
                self.deletion.failed = report.failed;
            }
        }
    }

    /// Keeps stale entities that mapped entities relate to: the catalog would create them again.
    async fn keep_targets(&mut self, doomed: &mut Vec<Doomed>) -> Result<(), Problem> {
        if doomed.is_empty() {
            return Ok(());
        }
        let mut pointing: BTreeMap<BlueprintId, Vec<(&BlueprintId, String)>> = BTreeMap::new();
        let mut found = Targets::new();
        let sources: BTreeSet<&BlueprintId> =
            self.written.relates_to.keys().chain(self.written.searching.keys()).collect();
        for from in sources {
            let relations = self.catalog.view().relations(from).await.map_err(|error| {
                Problem::new(
                    ProblemCode::DeletionUnproven,
                    format!("cannot read the relations of blueprint `{from}`: {}", error.0.message),
                )
            })?;
            for (name, target) in relations.into_iter().flatten() {
                if doomed.iter().any(|doomed| doomed.key.blueprint == target) {
                    self.look_up_targets(from, &name, &mut found).await?;
                    pointing.entry(target).or_default().push((from, name));
                }
            }
        }
        let related = |key: &EntityKey| {
            pointing.get(&key.blueprint).is_some_and(|from| {
                from.iter().any(|(from, name)| {
                    [&self.written.relates_to, &found]
                        .iter()
                        .any(|targets| relates(targets, from, name, &key.identifier))
                })
            })
        };
        let (kept, left): (Vec<Doomed>, Vec<Doomed>) =
            std::mem::take(doomed).into_iter().partition(|doomed| related(&doomed.key));
        *doomed = left;
        self.keep(kept.into_iter().map(|doomed| doomed.key), &Keep::Related);
        Ok(())
    }

    /// Asks the catalog for the targets of relations that are search queries.
    async fn look_up_targets(
        &self,
        from: &BlueprintId,
        relation: &str,
        found: &mut Targets,
    ) -> Result<(), Problem> {
        let searching = self.written.searching.get(from).and_then(|relations| relations.get(relation));
        let fields = FieldSet { relations: BTreeSet::from([relation.to_owned()]), ..FieldSet::default() };
        for identifiers in searching.map(Vec::as_slice).unwrap_or_default().chunks(LOOK_UP) {
            let keys: Vec<EntityKey> = identifiers
                .iter()
                .map(|identifier| EntityKey { blueprint: from.clone(), identifier: identifier.clone() })
                .collect();
            let entities = self.catalog.view().current(&keys, &fields).await.map_err(|error| {
                Problem::new(
                    ProblemCode::DeletionUnproven,
                    format!("cannot read what `{relation}` of `{from}` found: {}", error.0.message),
                )
            })?;
            for entity in &entities {
                note_targets(found, entity);
            }
        }
        Ok(())
    }
}

fn unlisted(problem: &Problem) -> Problem {
    Problem::new(
        ProblemCode::DeletionUnproven,
        format!("cannot list the catalog's entities: {}", problem.message),
    )
}
