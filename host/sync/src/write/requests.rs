//! The requests of the writing side: comparisons with the catalog, and upserts.

use std::collections::HashMap;

use berth_core::{
    BlueprintId, Entity, EntityKey, FieldSet, Problem, ProblemCode, UnitCounts, UpsertOptions, UpsertReport,
};

use super::{Step, Unsent, Writer};
use crate::{
    Change,
    catalog_access::CatalogAccess,
    content::{add_fields, key_digest},
    diff::diff,
    pending::PendingEntity,
    queue::EntityBatch,
};

impl Writer {
    pub(super) async fn compare(&self, blueprint: BlueprintId, batch: EntityBatch) -> Step {
        let mut fields = FieldSet::default();
        let mut keys = Vec::with_capacity(batch.len());
        for mapped in batch.iter().filter(|mapped| !mapped.state.new) {
            add_fields(&mut fields, &mapped.fields);
            keys.push(mapped.entity.key.clone());
        }
        let current =
            if keys.is_empty() { Ok(Vec::new()) } else { self.catalog.view().current(&keys, &fields).await };
        let held: HashMap<String, Entity> = match current {
            Ok(held) => held.into_iter().map(|entity| (entity.key.identifier.clone(), entity)).collect(),
            Err(error) => {
                // Sending too much is safe, sending too little is not. The owner is checked again before
                // sending.
                tracing::warn!(
                    %blueprint, %error,
                    "could not compare with the catalog; sending all of the batch"
                );
                let unknown = |mut mapped: PendingEntity| {
                    mapped.state.unowned = true;
                    (mapped, Ok(Change::Update { fields: Vec::new() }))
                };
                return Step::Compared(blueprint, batch.into_iter().map(unknown).collect());
            }
        };
        let results = batch
            .into_iter()
            .map(|mapped| {
                let change = diff(&mapped.entity, held.get(&mapped.entity.key.identifier));
                (mapped, Ok(change))
            })
            .collect();
        match &self.catalog {
            CatalogAccess::Write(_) => Step::Compared(blueprint, results),
            CatalogAccess::Read(_) => Step::Compared(blueprint, self.owners(results).await),
        }
    }

    /// Finds the owners of what a plan would create.
    async fn owners(
        &self,
        results: Vec<(PendingEntity, Result<Change, Problem>)>,
    ) -> Vec<(PendingEntity, Result<Change, Problem>)> {
        let creates = |change: &Result<Change, Problem>| matches!(change, Ok(Change::Create));
        let created = results.iter().filter(|(_, change)| creates(change)).map(|(mapped, _)| mapped);
        let owners = self.foreign(created).await;
        results
            .into_iter()
            .map(|(mapped, change)| {
                if !creates(&change) {
                    return (mapped, change);
                }
                let owner = match &owners {
                    Ok(owners) => Ok(owners.get(&mapped.entity.key.identifier).copied()),
                    Err(problem) => Err(problem.clone()),
                };
                let change = owner.map(|adoptable| match adoptable {
                    None => Change::Create,
                    Some(true) => Change::Adopt,
                    Some(false) => Change::Foreign,
                });
                (mapped, change)
            })
            .collect()
    }

    /// Returns which of these entities another owner has, and whether those may be taken over.
    async fn foreign<'m>(
        &self,
        created: impl Iterator<Item = &'m PendingEntity>,
    ) -> Result<HashMap<String, bool>, Problem> {
        let keys: Vec<EntityKey> = created.map(|mapped| mapped.entity.key.clone()).collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.catalog.view().foreign(&keys, &self.adoption).await.map_err(|error| {
            Problem::new(
                ProblemCode::PortForeignOwner,
                format!("not written, because its owner is unknown: {}", error.0.message),
            )
        })?;
        Ok(found.into_iter().map(|entity| (entity.key.identifier, entity.adoptable)).collect())
    }

    pub(super) async fn upsert(&self, blueprint: BlueprintId, mut batch: EntityBatch) -> Step {
        // The order of two equal entities in one request is undefined: the later one wins.
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
                    self.progress.finished(mapped.unit, &UnitCounts::default());
                }
                keep
            });
        }
        // A live event that read it later has written it, or deleted it.
        let (granted, _claim) = self
            .write_arbiter
            .lease(batch.iter().map(|mapped| (key_digest(&mapped.entity.key), mapped.since)));
        let mut unsent = Unsent::default();
        if granted.contains(&false) {
            let (kept, left): (Vec<_>, Vec<_>) =
                batch.into_iter().zip(granted).partition(|(_, granted)| *granted);
            batch = kept.into_iter().map(|(mapped, _)| mapped).collect();
            unsent.superseded.extend(left.into_iter().map(|(mapped, _)| mapped));
        }
        batch = self.own(batch, &mut unsent).await;
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
            let partial: Vec<bool> = batch.iter().map(|mapped| mapped.partial).collect();
            self.send(&blueprint, &entities, &partial).await
        };
        for (mapped, entity) in batch.iter_mut().zip(entities) {
            mapped.entity = entity;
        }
        Step::Upserted(blueprint, batch, report.outcomes, unsent)
    }

    /// Sends entities; those with fields left out are merged into the catalog's entities.
    async fn send(&self, blueprint: &BlueprintId, entities: &[Entity], partial: &[bool]) -> UpsertReport {
        // A plan never gets here.
        let Some(session) = self.catalog.session() else { return UpsertReport::default() };
        if self.options.merge || !partial.contains(&true) {
            return session.upsert(blueprint, entities, self.options).await;
        }
        let of = |wanted: bool| -> Vec<Entity> {
            entities
                .iter()
                .zip(partial)
                .filter(|(_, is)| **is == wanted)
                .map(|(entity, _)| entity.clone())
                .collect()
        };
        let merging = UpsertOptions { merge: true, ..self.options };
        let mut whole = match &of(false)[..] {
            [] => UpsertReport::default(),
            whole => session.upsert(blueprint, whole, self.options).await,
        }
        .outcomes
        .into_iter();
        let mut merged = session.upsert(blueprint, &of(true), merging).await.outcomes.into_iter();
        let outcomes = partial.iter().map_while(|is| if *is { merged.next() } else { whole.next() });
        UpsertReport { outcomes: outcomes.collect() }
    }

    /// Removes from a batch what another owner has.
    async fn own(&self, batch: EntityBatch, unsent: &mut Unsent) -> EntityBatch {
        let asks = |mapped: &&PendingEntity| {
            (mapped.state.new || mapped.state.unowned) && mapped.entity.search.is_none()
        };
        match self.foreign(batch.iter().filter(asks)).await {
            Ok(foreign) if foreign.is_empty() => batch,
            Ok(foreign) => {
                let (left, own): (EntityBatch, EntityBatch) = batch.into_iter().partition(|mapped| {
                    asks(&mapped) && foreign.get(&mapped.entity.key.identifier) == Some(&false)
                });
                unsent.foreign.extend(left);
                own
            }
            Err(problem) => {
                let (left, own): (EntityBatch, EntityBatch) =
                    batch.into_iter().partition(|mapped| asks(&mapped));
                unsent.refused.extend(left.into_iter().map(|mapped| (mapped, problem.clone())));
                own
            }
        }
    }
}
