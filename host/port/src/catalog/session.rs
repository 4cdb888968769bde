//! Port, opened for one task: a plan, a resync, or live events.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use berth_core::{
    Adoption, BlueprintId, CatalogError, CatalogView, DeleteReport, Dependent, Entity, EntityKey,
    EntityStore, FieldSet, ForeignEntity, OwnedEntity, UpsertOptions, UpsertReport,
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio::sync::OnceCell;

use super::{
    delete::{self, EntityDeletion},
    dependents,
    foreign::{self, ForeignEntities},
    owned,
    ownership::Ownership,
    parts::Parts,
    schemas::BlueprintSchemas,
    search::EntitySearch,
    upsert,
};
use crate::api::{blueprints::BlueprintRelations, entities::WriteOrigin};

/// Port, opened for a task `W`, and what the session knows about Port. `W` determines what is possible:
/// writing needs [`Writes`].
pub(crate) struct PortSession<W> {
    pub(crate) parts: Parts,
    search: EntitySearch,
    ownership: Ownership,
    foreign: ForeignEntities,
    schemas: BlueprintSchemas,
    /// All blueprints with their relations, once needed.
    blueprints: OnceCell<Vec<BlueprintRelations>>,
    /// When Port was ready for this session, by Port's clock: nothing of this session was written before.
    pub(crate) opened: SystemTime,
    pub(crate) work: W,
}

/// A plan, which only reads.
pub(crate) struct Reading;

/// Entities that are written outside of any resync.
pub(crate) struct ByHand(pub(crate) WriteOrigin);

impl Writes for ByHand {
    fn origin(&self) -> WriteOrigin {
        self.0
    }
}

/// A task that writes.
pub(crate) trait Writes: Send + Sync {
    /// Returns the origin that every write names.
    fn origin(&self) -> WriteOrigin;
}

impl<W> PortSession<W> {
    /// Creates a session that starts now, after the last response.
    pub(crate) fn new(parts: Parts, work: W) -> Self {
        Self {
            search: EntitySearch::new(Arc::clone(&parts.client)),
            ownership: Ownership::new(Arc::clone(&parts.client), Arc::clone(&parts.data_source)),
            foreign: ForeignEntities::default(),
            schemas: BlueprintSchemas::new(Arc::clone(&parts.client)),
            blueprints: OnceCell::new(),
            opened: parts.client.clock.end_of_now(),
            parts,
            work,
        }
    }

    /// Returns the same session, with its task advanced.
    pub(crate) fn with_work<V>(self, bring_on: impl FnOnce(W) -> V) -> PortSession<V> {
        let Self { parts, search, ownership, foreign, schemas, blueprints, opened, work } = self;
        let work = bring_on(work);
        PortSession { parts, search, ownership, foreign, schemas, blueprints, opened, work }
    }
}

#[async_trait]
impl<W: Send + Sync> CatalogView for PortSession<W> {
    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        let Parts { client, data_source, .. } = &self.parts;
        owned::owned(Arc::clone(client), data_source.ends(), self.opened).map_err(CatalogError::from).boxed()
    }

    async fn current(&self, keys: &[EntityKey], fields: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        let concurrency = self.parts.client.concurrency();
        Ok(owned::current(&self.search, &self.ownership, concurrency, keys, fields).await?)
    }

    async fn foreign(
        &self,
        keys: &[EntityKey],
        adoption: &Adoption,
    ) -> Result<Vec<ForeignEntity>, CatalogError> {
        Ok(foreign::foreign(&self.foreign, &self.search, &self.ownership, keys, adoption).await?)
    }

    async fn dependents(&self, keys: &[EntityKey]) -> Result<Vec<Dependent>, CatalogError> {
        let Self { parts, blueprints, search, ownership, .. } = self;
        Ok(dependents::dependents(&parts.client, blueprints, search, ownership, keys).await?)
    }

    async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        Ok(self.schemas.get(blueprint).await?.map(|schema| schema.relations))
    }

    async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        Ok(self.schemas.get(blueprint).await?.unwrap_or_default().required)
    }
}

#[async_trait]
impl<W: Writes> EntityStore for PortSession<W> {
    async fn upsert(
        &self,
        blueprint: &BlueprintId,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> UpsertReport {
        let Parts { client, config, .. } = &self.parts;
        upsert::upsert(client, config, self.work.origin(), blueprint, entities, options).await
    }

    async fn delete(&self, keys: &[EntityKey], dependents: bool) -> DeleteReport {
        let deletion = EntityDeletion {
            client: &self.parts.client,
            search: &self.search,
            origin: self.work.origin(),
            batch_max: self.parts.config.delete_batch_max,
            dependents,
        };
        delete::delete(&deletion, keys).await
    }
}
