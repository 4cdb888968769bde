//! The trait that writes entities.
//!
//! The type of the object limits what a caller can do: a [`CatalogView`] only reads, a [`CatalogSession`]
//! writes for one resync, and an [`EventSession`] writes for live events. A plan has only a view.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{
    AppConfig, BlueprintId, Document, Entity, EntityKey, FieldSet, Kind, KindEntry, Problem, ResourceConfig,
    UnitCounts, UnitId, UnitState,
};

/// Which side turns resources into entities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Processing {
    /// The resync maps, compares and upserts, and deletes entities whose resources no longer exist.
    #[default]
    Entities,
    /// The resync does all of this. In addition, it sends the resources' documents to the catalog, without
    /// delaying its own work.
    EntitiesAndDocuments,
    /// The catalog gets the resources' documents, and maps, upserts and deletes by itself.
    Documents,
}

/// The catalog's identity and its settings for the resync.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CatalogInfo {
    /// Identifies this catalog, its owner and the integration in it, so that records of different catalogs
    /// are never mixed up. Empty if there is only one catalog.
    pub identity: String,
    /// The app-config of the resync.
    pub config: AppConfig,
    /// Preparation steps that were done, one line each, for people (`created blueprint awsAccount`).
    pub notes: Vec<String>,
    /// Which side turns resources into entities.
    pub processing: Processing,
    /// How many documents of each kind the catalog wants as examples.
    pub examples: usize,
}

/// Documents for the catalog: a part of the resources of one unit.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentBatch {
    /// The unit. Its `resource` is the position of `config` in the app-config.
    pub unit: UnitId,
    /// The entry of `resources[]` by which the catalog maps them.
    pub config: Arc<ResourceConfig>,
    /// The documents.
    pub documents: Vec<Document>,
}

/// Documents of a resource that a live event named: its current state or, if it no longer exists, only the
/// parts that follow from its name.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDocuments {
    /// The position of `config` in the app-config.
    pub resource: usize,
    /// The entry of `resources[]` by which the catalog maps them.
    pub config: Arc<ResourceConfig>,
    /// Whether the resource is gone, so that the catalog must delete the entities that it would map.
    pub gone: bool,
    /// The documents.
    pub documents: Vec<Document>,
}

/// Why documents did not reach the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentsError {
    /// Some of the entry's documents are lost. With [`Processing::Documents`] the entry has failed.
    #[error("{0}")]
    Lost(Problem),
    /// The catalog accepts no more documents of this resync, because another resync has replaced it. With
    /// [`Processing::Documents`] the resync must stop; this is not a failure.
    #[error("{0}")]
    Superseded(Problem),
}

/// An entity that the catalog holds for this integration.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedEntity {
    /// Its key.
    pub key: EntityKey,
}

/// Which entities of other owners may be adopted if a resource has the same identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adoption {
    /// None.
    #[default]
    Never,
    /// Those that the integration with this identifier and the same type wrote last.
    From(String),
    /// All.
    Any,
}

/// An entity in the catalog that someone else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignEntity {
    /// Its key.
    pub key: EntityKey,
    /// Whether it may be adopted.
    pub adoptable: bool,
}

/// An entity that the catalog would delete together with another entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependent {
    /// The entity.
    pub entity: EntityKey,
    /// The entity that it depends on.
    pub depends_on: EntityKey,
    /// Whether this integration owns it.
    pub owned: bool,
}

/// How entities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpsertOptions {
    /// Whether an upsert merges with the stored entity (or replaces it).
    pub merge: bool,
    /// Whether missing relation targets are created.
    pub create_missing_related_entities: bool,
}

/// The outcome of one entity of an upsert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpsertOutcome {
    /// The entity did not exist before.
    Created,
    /// The entity existed before.
    Updated,
    /// The catalog found the entity by its search query and updated it. Holds its identifier.
    Found(String),
    /// The search query found no entity, so nothing was written.
    NotFound,
    /// The catalog rejected the entity.
    Refused(Problem),
    /// The catalog rejected the entity because the target of a relation does not exist (yet).
    MissingRelation(Problem),
}

/// The result of an upsert: one outcome per entity, in the order of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpsertReport {
    /// The outcomes.
    pub outcomes: Vec<UpsertOutcome>,
}

/// The result of a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Entities that were deleted, including dependents.
    pub deleted: Vec<EntityKey>,
    /// Entities that could not be deleted, and why.
    pub failed: Vec<(EntityKey, Problem)>,
}

/// How a resync ended, as reported to the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResyncStatus {
    /// All units completed.
    Completed,
    /// At least one unit failed or was skipped.
    Failed,
    /// The resync stopped before its end.
    Aborted,
}

/// A step of a resync, reported to the catalog when it happens, in this order: planned, then the start and
/// the end of each entry of `resources[]` (several run at once), then the deletion. With
/// [`Processing::Documents`] the catalog deletes by itself, and no deletion is reported.
#[derive(Debug, Clone, PartialEq)]
pub enum Milestone {
    /// All units are planned. The entries are those of the [`CatalogInfo`]'s app-config.
    Planned,
    /// The first unit of an entry of `resources[]` begins.
    ResourceStarted {
        /// The position of the entry.
        resource: usize,
    },
    /// All units of an entry have ended. All its entities are written, unchanged or rejected, or its
    /// documents are sent.
    ResourceEnded {
        /// The position of the entry.
        resource: usize,
        /// The result of the entry.
        result: ResourceResult,
    },
    /// The search for resources that no longer exist begins.
    DeletionStarted,
    /// The entities of such resources are deleted, or kept for a reason.
    DeletionEnded {
        /// Entities that were deleted.
        deleted: u64,
        /// Entities that could not be deleted.
        failed: u64,
        /// Whether the whole deletion was skipped.
        held_back: bool,
    },
}

/// The result of an entry of `resources[]`, over all its units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceResult {
    /// The sum of its units' counts.
    pub counts: UnitCounts,
    /// Units that completed.
    pub complete: u64,
    /// Units that were skipped.
    pub skipped: u64,
    /// Units that failed.
    pub failed: u64,
    /// Units that did not end, because the resync stopped earlier.
    pub stopped: u64,
    /// The time from the start of its first unit to the end of its last entity.
    pub duration: Duration,
}

impl ResourceResult {
    /// Counts a unit that ended in this state.
    pub fn count(&mut self, state: &UnitState) {
        match state {
            UnitState::Complete => self.complete += 1,
            UnitState::Skipped(_) => self.skipped += 1,
            UnitState::Failed(_) => self.failed += 1,
        }
    }

    /// Returns the number of its units.
    pub fn units(&self) -> u64 {
        self.complete + self.skipped + self.failed + self.stopped
    }

    /// Returns whether all its units completed: a resource that it did not return does not exist.
    pub fn is_whole(&self) -> bool {
        self.complete == self.units()
    }

    /// Returns the status of the entry. A catalog that maps by itself treats a missing resource as deleted,
    /// so for such a catalog only an entry that is [whole](Self::is_whole) is completed. Otherwise, denied
    /// access does not fail the entry, because it is a lasting state.
    pub fn status(&self, processing: Processing) -> ResyncStatus {
        if self.stopped > 0 {
            ResyncStatus::Aborted
        } else if self.failed > 0 || (processing == Processing::Documents && !self.is_whole()) {
            ResyncStatus::Failed
        } else {
            ResyncStatus::Completed
        }
    }
}

/// Why a catalog call failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CatalogError(pub Problem);

/// The destination of entities: Port, a recording, or a test.
///
/// `defaults` are the kinds whose blueprints and mapping a fresh installation gets, in order.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Authenticates and reads, without changing anything: for plans and checks.
    ///
    /// # Errors
    /// [`CatalogError`] if the catalog cannot be used.
    async fn read(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn CatalogView>>, CatalogError>;

    /// Authenticates and prepares a resync: creates the integration and the default resources if they are
    /// missing.
    ///
    /// # Errors
    /// [`CatalogError`] ends the resync before anything is read.
    async fn open(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Box<dyn ResyncStart>>, CatalogError>;

    /// Authenticates and reads, without changing anything yet: for processing live events, concurrently
    /// with any resync.
    ///
    /// # Errors
    /// [`CatalogError`] if the catalog cannot be used.
    async fn follow(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn EventSession>>, CatalogError>;

    /// Returns the largest number of entities in one request of [`upsert`](EntityStore::upsert).
    fn upsert_batch(&self) -> usize;
}

/// A catalog that is ready for use, with its session.
#[derive(Debug, Clone)]
pub struct Opened<S> {
    /// The catalog's description of itself.
    pub info: CatalogInfo,
    /// The session, store or view.
    pub session: S,
}

/// Reads the contents of a catalog.
#[async_trait]
pub trait CatalogView: Send + Sync {
    /// Streams all entities that this integration appears to own and that were last written before this
    /// object was opened, by the catalog's clock. An entity of another integration may be among them;
    /// [`current`](Self::current) decides reliably.
    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>>;

    /// Returns the stored state of these entities, limited to these fields. Omits entities that do not
    /// exist or that do not certainly belong to this integration. The order is arbitrary.
    ///
    /// # Errors
    /// [`CatalogError`]; the entities then count as changed, and none of them is deleted.
    async fn current(&self, keys: &[EntityKey], fields: &FieldSet) -> Result<Vec<Entity>, CatalogError>;

    /// Returns which of these entities exist and belong to someone else. Omits an entity that exists only
    /// because a relation created it and that nobody has written to: it has no owner. Called for entities
    /// that are about to be created.
    ///
    /// # Errors
    /// [`CatalogError`]; the entities are then not written.
    async fn foreign(
        &self,
        keys: &[EntityKey],
        adoption: &Adoption,
    ) -> Result<Vec<ForeignEntity>, CatalogError> {
        _ = (keys, adoption);
        Ok(Vec::new())
    }

    /// Returns the entities that the catalog would delete together with these when asked to delete
    /// dependents: everything that relates to them, directly or indirectly, without the entities
    /// themselves.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is then deleted.
    async fn dependents(&self, keys: &[EntityKey]) -> Result<Vec<Dependent>, CatalogError> {
        _ = keys;
        Ok(Vec::new())
    }

    /// Returns a blueprint's relations: the target blueprint by relation name. `None` if the blueprint does
    /// not exist.
    ///
    /// # Errors
    /// [`CatalogError`]; entities that the relations might protect are then not deleted.
    async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError>;

    /// Returns the required fields of a blueprint, as `properties.<name>` and `relations.<name>`: the
    /// catalog rejects an entity without them.
    ///
    /// # Errors
    /// [`CatalogError`]; it only affects the log level of a field without a value.
    async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        _ = blueprint;
        Ok(BTreeSet::new())
    }
}

/// Changes the contents of a catalog.
#[async_trait]
pub trait EntityStore: CatalogView {
    /// Creates or updates entities of one blueprint. Splits the request by the catalog's limits on count
    /// and bytes. Never fails as a whole: a rejected request is an outcome of each of its entities.
    async fn upsert(
        &self,
        blueprint: &BlueprintId,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> UpsertReport;

    /// Deletes entities and, if `dependents` is set, the entities that require them.
    async fn delete(&self, keys: &[EntityKey], dependents: bool) -> DeleteReport;
}

/// A catalog that is ready for a resync that has not begun.
#[async_trait]
pub trait ResyncStart: Send + Sync {
    /// Reports that the resync begins.
    async fn begin(self: Box<Self>, started: SystemTime) -> BegunResync;
}

/// A resync that has begun.
#[derive(Clone)]
pub struct BegunResync {
    /// The session to write to.
    pub session: Arc<dyn CatalogSession>,
    /// Whether the catalog recorded the start of the resync. If not, the resync continues.
    pub reported: Result<(), CatalogError>,
}

/// The catalog's side of a resync, from begin to end.
#[async_trait]
pub trait CatalogSession: EntityStore {
    /// Runs during the resync, for work of the catalog such as heartbeats and checking for an abort
    /// request. Returns only if the resync must stop, with the reason. Dropped when the resync ends.
    async fn watch_for_abort(&self) -> Problem {
        std::future::pending().await
    }

    /// Reports a step of the resync. Steps are reported one after the other, concurrently with the resync's
    /// own work.
    ///
    /// # Errors
    /// [`CatalogError`] if the catalog requires the report: the resync continues, and is reported as
    /// failed.
    async fn milestone(&self, milestone: &Milestone) -> Result<(), CatalogError> {
        _ = milestone;
        Ok(())
    }

    /// Accepts documents of one unit, with [`Processing::Documents`] or
    /// [`Processing::EntitiesAndDocuments`]. May buffer them, in bounded memory, and waits if the catalog
    /// is slow.
    ///
    /// # Errors
    /// [`DocumentsError`], also for documents of the same entry that were accepted earlier.
    async fn documents(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        _ = batch;
        Ok(())
    }

    /// Waits until no document of an entry of `resources[]` is in flight. Called after all documents of the
    /// entry were passed to [`documents`](Self::documents). Not called for an entry that was stopped before
    /// its end.
    ///
    /// # Errors
    /// [`DocumentsError`] if documents of the entry were lost.
    async fn documents_end(&self, resource: usize) -> Result<(), DocumentsError> {
        _ = resource;
        Ok(())
    }

    /// Accepts documents of a kind as examples for people who write a mapping. The catalog must remove
    /// everything that looks like a secret. Called concurrently with the resync's own work, with at most
    /// [`CatalogInfo::examples`] documents per kind.
    ///
    /// # Errors
    /// [`CatalogError`], for the log.
    async fn examples(&self, kind: &Kind, documents: &[Document]) -> Result<(), CatalogError> {
        _ = (kind, documents);
        Ok(())
    }

    /// Reports how the resync ended.
    ///
    /// # Errors
    /// [`CatalogError`], for the log.
    async fn end(self: Arc<Self>, status: ResyncStatus) -> Result<(), CatalogError>;
}

/// A catalog session for live events.
#[async_trait]
pub trait EventSession: EntityStore {
    /// Accepts documents of resources of one kind that live events named, with [`Processing::Documents`] or
    /// [`Processing::EntitiesAndDocuments`].
    ///
    /// # Errors
    /// [`CatalogError`] if it did not accept all of them.
    async fn documents(&self, kind: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        _ = (kind, documents);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entry_whose_units_all_completed_is_whole() {
        use Processing::{Documents, Entities};
        use ResyncStatus::{Aborted, Completed, Failed};
        for (complete, skipped, failed, stopped, whole, to_berth, to_catalog) in [
            (3, 0, 0, 0, true, Completed, Completed),
            // No unit, no resource: nothing is missing.
            (0, 0, 0, 0, true, Completed, Completed),
            (3, 1, 0, 0, false, Completed, Failed),
            (3, 0, 1, 0, false, Failed, Failed),
            (3, 0, 0, 1, false, Aborted, Aborted),
            (0, 0, 0, 4, false, Aborted, Aborted),
            (0, 1, 1, 1, false, Aborted, Aborted),
        ] {
            let result = ResourceResult { complete, skipped, failed, stopped, ..ResourceResult::default() };
            assert_eq!(result.is_whole(), whole, "{result:?}");
            assert_eq!(
                (result.status(Entities), result.status(Documents)),
                (to_berth, to_catalog),
                "{result:?}"
            );
        }
    }
}
