//! Updates the catalog with what was read of a resource: writes entities, or sends documents to a catalog
//! that maps by itself.

use std::{collections::BTreeMap, sync::Arc};

use berth_core::{
    Adoption, BlueprintId, Entity, EntityKey, FieldSet, Ledger, Problem, ProblemCode, Processing, Producer,
    Producers, UnitId, UpsertOptions, UpsertOutcome,
};
use tokio::sync::MutexGuard;

use super::{
    limits::LiveLimits,
    refresh::{EventChanges, Miss, RefreshOutcome, Refresher, Rules, Upsert},
    writer::WriteResult,
};
use crate::{
    blocking::blocking,
    content::{add_fields, key_digest},
    deletion::{DeletionPolicy, Facts, LimitOptions, MappingFacts as DeletionEntry, Proof, Stale},
};

impl Refresher {
    /// Writes the changes of an event, as entities or as documents.
    pub(super) async fn write(&self, changes: EventChanges) -> Result<RefreshOutcome, Miss> {
        match changes.rules.processing {
            Processing::Entities => self.write_entities(&changes).await,
            Processing::EntitiesAndDocuments => {
                let done = self.write_entities(&changes).await?;
                let EventChanges { rules, documents, gone, .. } = changes;
                let deleted = matches!(done, RefreshOutcome::Deleted(_));
                let gone = gone.into_iter().filter(|_| deleted);
                for documents in documents.into_iter().chain(gone) {
                    if let Err(problem) = self.writer.send(&rules.catalog, documents).await {
                        tracing::warn!(%problem, "the catalog rejected documents of a live event");
                    }
                }
                Ok(done)
            }
            Processing::Documents => self.hand_over(changes).await,
        }
    }

    /// Sends the documents of the resource to a catalog that maps by itself.
    async fn hand_over(&self, changes: EventChanges) -> Result<RefreshOutcome, Miss> {
        let (mut written, mut deleted) = (0, 0);
        let deletable = !changes.gone.is_empty() && self.catalog_may_delete(&changes).await?;
        let EventChanges { rules, producer, documents, gone, doomed, .. } = changes;
        for documents in documents {
            written += documents.documents.len();
            self.writer.send(&rules.catalog, documents).await.map_err(Miss::Again)?;
        }
        if deletable {
            for documents in gone {
                deleted += documents.documents.len();
                self.writer.send(&rules.catalog, documents).await.map_err(Miss::Again)?;
            }
            self.limits.lock().await.deleted(&producer, doomed.len() as u64);
        }
        Ok(match (written, deleted) {
            (0, 0) => RefreshOutcome::Unchanged,
            (0, deleted) => RefreshOutcome::Deleted(deleted),
            (written, _) => RefreshOutcome::Upserted(written),
        })
    }

    /// Returns whether a catalog that maps by itself may learn that the resource is gone. It does not know
    /// the event's account and region: its entities of other resources with the same identifier must be kept.
    async fn catalog_may_delete(&self, changes: &EventChanges) -> Result<bool, Miss> {
        let EventChanges { rules, producer, doomed, .. } = changes;
        let keys: Vec<EntityKey> = doomed.iter().cloned().collect();
        if keys.is_empty() {
            return Ok(false);
        }
        let (_, unproven) = self.provable(rules, producer, keys.clone(), false).await?;
        if unproven > 0 {
            return Ok(false);
        }
        let foreign = rules.catalog.foreign(&keys, &Adoption::Never).await;
        if let Some(foreign) = foreign.map_err(|error| Miss::Again(error.0))?.first() {
            tracing::info!(
                entity = %foreign.key,
                "not deleted: another owner has an entity with this identifier"
            );
            return Ok(false);
        }
        Ok(self.is_within_limits(rules, producer, &keys, 0).await?.is_some())
    }

    async fn write_entities(&self, changes: &EventChanges) -> Result<RefreshOutcome, Miss> {
        let EventChanges { rules, producer, upserts, doomed, read, .. } = changes;
        let keys: Vec<u128> = upserts.keys().chain(doomed).map(key_digest).collect();
        if keys.is_empty() {
            return Ok(RefreshOutcome::Unchanged);
        }
        let _lock = self.write_arbiter.lock(keys, *read).await;
        // Other producers of an entity that several accounts list are for a resync to find.
        let written =
            upserts.iter().map(|(key, upsert)| (key_digest(key), upsert.single.then(|| producer.clone())));
        let touched = written.chain(doomed.iter().map(|key| (key_digest(key), None)));
        self.invalidate(rules, touched.collect()).await?;
        let written = self.upsert(rules, upserts).await?;
        let deleted = self.delete(changes).await?;
        Ok(match (written, deleted) {
            (0, 0) => RefreshOutcome::Unchanged,
            (0, deleted) => RefreshOutcome::Deleted(deleted),
            (written, _) => RefreshOutcome::Upserted(written),
        })
    }

    /// Invalidates the ledger's records of these entities.
    async fn invalidate(&self, rules: &Rules, keys: Vec<(u128, Option<Producer>)>) -> Result<(), Miss> {
        self.ask_ledger(rules, move |ledger, catalog| ledger.invalidate(catalog, &keys)).await.map(drop)
    }

    /// Calls the ledger, if there is one.
    async fn ask_ledger<T: Send + 'static>(
        &self,
        rules: &Rules,
        ask: impl FnOnce(&dyn Ledger, &str) -> Result<T, Problem> + Send + 'static,
    ) -> Result<Option<T>, Miss> {
        let Some(ledger) = &self.ledger else { return Ok(None) };
        let (ledger, catalog) = (Arc::clone(ledger), rules.identity.clone());
        let answer = blocking(ledger.may_block(), move || ask(&*ledger, &catalog)).await;
        answer.map(Some).map_err(Miss::Again)
    }

    async fn upsert(&self, rules: &Rules, entities: &BTreeMap<EntityKey, Upsert>) -> Result<usize, Miss> {
        let options = UpsertOptions {
            merge: rules.config.enable_merge_entity,
            create_missing_related_entities: rules.config.create_missing_related_entities,
        };
        let mut batches: BTreeMap<(&BlueprintId, bool), Vec<Entity>> = BTreeMap::new();
        for (key, Upsert { entity, partial, .. }) in entities {
            batches.entry((&key.blueprint, *partial)).or_default().push(entity.clone());
        }
        let mut miss = None;
        let mut found = Vec::new();
        for ((blueprint, partial), same) in batches {
            // Fields that are left out must not be emptied.
            let options = UpsertOptions { merge: options.merge || partial, ..options };
            for written in self.writer.upsert(&rules.catalog, blueprint, same, options).await {
                match written {
                    WriteResult::Sent(
                        UpsertOutcome::Created | UpsertOutcome::Updated | UpsertOutcome::NotFound,
                    ) => {}
                    WriteResult::Sent(UpsertOutcome::Found(identifier)) => {
                        let key = EntityKey { blueprint: blueprint.clone(), identifier };
                        found.push((key_digest(&key), None));
                    }
                    WriteResult::Sent(UpsertOutcome::Refused(problem)) => miss = Some(Miss::Never(problem)),
                    // Its target may come with another event, or with the next resync.
                    WriteResult::Sent(UpsertOutcome::MissingRelation(problem))
                    | WriteResult::Unknown(problem) => {
                        _ = miss.get_or_insert(Miss::Again(problem));
                    }
                    WriteResult::Foreign => {
                        let problem = Problem::new(
                            ProblemCode::PortForeignOwner,
                            "another owner has an entity with the same identifier",
                        );
                        miss.get_or_insert(Miss::Never(problem));
                    }
                }
            }
        }
        if !found.is_empty() {
            self.invalidate(rules, found).await?;
        }
        match miss {
            Some(miss) => Err(miss),
            None => Ok(entities.len()),
        }
    }

    async fn delete(&self, changes: &EventChanges) -> Result<usize, Miss> {
        let EventChanges { rules, producer, doomed, .. } = changes;
        if doomed.is_empty() {
            return Ok(0);
        }
        let doomed: Vec<EntityKey> = doomed.iter().cloned().collect();
        let (keys, _) = self.provable(rules, producer, doomed, true).await?;
        if keys.is_empty() {
            return Ok(0);
        }
        let delete_dependents = rules.config.delete_dependent_entities;
        let dependents = if delete_dependents {
            rules.catalog.dependents(&keys).await.map_err(|error| Miss::Again(error.0))?
        } else {
            Vec::new()
        };
        if let Some(own) = dependents.iter().find(|dependent| dependent.owned) {
            tracing::info!(
                entity = %own.entity, depends_on = %own.depends_on,
                "not deleted: another entity of this integration depends on it"
            );
            return Ok(0);
        }
        for dependent in &dependents {
            tracing::warn!(
                entity = %dependent.entity, depends_on = %dependent.depends_on,
                "also deleted, as a dependent"
            );
        }
        let Some(mut limits) = self.is_within_limits(rules, producer, &keys, dependents.len() as u64).await?
        else {
            return Ok(0);
        };
        let report = rules.catalog.delete(&keys, delete_dependents).await;
        limits.deleted(producer, report.deleted.len() as u64);
        match report.failed.into_iter().next() {
            Some((_, problem)) => Err(Miss::Again(problem)),
            None => Ok(report.deleted.len()),
        }
    }

    /// Checks whether this many entities may be deleted, including dependents; the caller records the
    /// deletions.
    async fn is_within_limits(
        &self,
        rules: &Rules,
        producer: &Producer,
        keys: &[EntityKey],
        dependents: u64,
    ) -> Result<Option<MutexGuard<'_, LiveLimits>>, Miss> {
        let mut limits = self.limits.lock().await;
        let ended = self.write_arbiter.resyncs_ended();
        if limits.counted_at != Some(ended) {
            limits.start(ended, self.ask_ledger(rules, |ledger, catalog| ledger.totals(catalog)).await?);
        }
        let options =
            LimitOptions { threshold: rules.config.entity_deletion_threshold, maximum: self.max_deletions };
        if let Err(reason) = limits.check(producer, keys, dependents, &options) {
            tracing::warn!(reason, "skipped a deletion until the next resync");
            return Ok(None);
        }
        Ok(Some(limits))
    }

    /// Returns those of these entities that certainly belong to this integration, and to the event's account
    /// and region: as they state it or, with `recorded`, as the ledger records it. Also returns how many of
    /// its own do not.
    async fn provable(
        &self,
        rules: &Rules,
        producer: &Producer,
        keys: Vec<EntityKey>,
        recorded: bool,
    ) -> Result<(Vec<EntityKey>, usize), Miss> {
        let facts = Facts {
            entries: rules.resources.iter().map(|resource| DeletionEntry::clone(&resource.entry)).collect(),
            ..Facts::default()
        };
        let units: Vec<(UnitId, Proof)> = Vec::new();
        let policy = DeletionPolicy::new(&facts, &units);
        let mut fields = FieldSet::default();
        for key in &keys {
            add_fields(&mut fields, &policy.rules(&key.blueprint).fields());
        }
        let owned = rules.catalog.current(&keys, &fields).await.map_err(|error| Miss::Again(error.0))?;
        let digests: Vec<u128> = owned.iter().map(|entity| key_digest(&entity.key)).collect();
        let recorded = if recorded {
            self.ask_ledger(rules, move |ledger, catalog| ledger.entries(catalog, &digests)).await?
        } else {
            None
        };
        let mut recorded = recorded.unwrap_or_default().into_iter();
        let (mut allowed, mut unproven) = (Vec::new(), 0);
        for entity in owned {
            let producers = recorded.next().flatten().map_or(Producers::Unknown, |entry| entry.producers);
            let attribution = policy.rules(&entity.key.blueprint);
            let (account, region) = (attribution.account(&entity), attribution.region(&entity));
            let stale = Stale {
                key: &entity.key,
                producers: &producers,
                account: account.as_ref(),
                region: region.as_ref(),
            };
            if policy.allows_event(&stale, producer) {
                allowed.push(entity.key);
            } else {
                unproven += 1;
                tracing::info!(
                    entity = %entity.key,
                    "not deleted: it does not certainly belong only to the event's account and region"
                );
            }
        }
        Ok((allowed, unproven))
    }
}
