//! The trait that entities are written through.
//!
//! What may be done follows from the object at hand: a [`CatalogView`] only reads, a [`CatalogSession`]
//! writes for one resync, and an [`EventSession`] for live events. A plan has a view and nothing else.

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

/// Who makes entities of what is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Processing {
    /// The resync: it maps, compares, upserts, and deletes what is gone.
    #[default]
    Entities,
    /// The resync as well; and the catalog gets the resources' documents besides, as far as that
    /// holds nothing up.
    EntitiesAndDocuments,
    /// The catalog: it gets the resources' documents, and maps, upserts and deletes by itself.
    Documents,
}

/// What a catalog says of itself and of the work to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CatalogInfo {
    /// Names this catalog, its owner and the integration in it: what is remembered of one is never taken
    /// for another. Empty where there is but one.
    pub identity: String,
    /// The app-config that rules the work.
    pub config: AppConfig,
    /// What was done to get ready, one line each, for people (`created blueprint awsAccount`).
    pub notes: Vec<String>,
    /// Who makes entities of what is read.
    pub processing: Processing,
    /// How many documents of each kind the catalog wants to see as examples.
    pub examples: usize,
}

/// Documents for the catalog: a part of what one unit read.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentBatch {
    /// The unit. Its `resource` is the position of `config` in the app-config.
    pub unit: UnitId,
    /// The entry of `resources[]` that the catalog maps them by.
    pub config: Arc<ResourceConfig>,
    /// The documents.
    pub documents: Vec<Document>,
}

/// Documents of a resource that a live event named: what it is now or, where it is gone, as much as its
/// name tells.
#[derive(Debug, Clone, PartialEq)]
pub struct EventDocuments {
    /// The position of `config` in the app-config.
    pub resource: usize,
    /// The entry of `resources[]` that the catalog maps them by.
    pub config: Arc<ResourceConfig>,
    /// Whether the resource is gone, so that the catalog is to delete what it would map them to.
    pub gone: bool,
    /// The documents.
    pub documents: Vec<Document>,
}

/// Why documents did not get into the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentsError {
    /// Some of the entry's documents are lost. With [`Processing::Documents`] the entry has failed.
    #[error("{0}")]
    Lost(Problem),
    /// The catalog takes no more of this resync, because another has taken its place. With
    /// [`Processing::Documents`] the resync is to stop; that is no failure.
    #[error("{0}")]
    Superseded(Problem),
}

/// An entity that the catalog holds for this integration.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedEntity {
    /// Its key.
    pub key: EntityKey,
}

/// Which entities of others may be taken over, when a resource has their identifier.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adoption {
    /// None.
    #[default]
    Never,
    /// Those that the integration with this identifier, of the same type, wrote last.
    From(String),
    /// All.
    Any,
}

/// An entity that the catalog holds and that somebody else owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignEntity {
    /// Its key.
    pub key: EntityKey,
    /// Whether it may be taken over.
    pub adoptable: bool,
}

/// An entity that the catalog would delete together with another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependent {
    /// Which.
    pub entity: EntityKey,
    /// The entity whose deletion would take it along.
    pub depends_on: EntityKey,
    /// Whether this integration owns it.
    pub owned: bool,
}

/// How entities are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpsertOptions {
    /// Merge into what is there, or replace it.
    pub merge: bool,
    /// Create missing relation targets.
    pub create_missing_related_entities: bool,
}

/// What became of one entity of an upsert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpsertOutcome {
    /// It did not exist before.
    Created,
    /// It did.
    Updated,
    /// The catalog found it by its search query and updated it: this is its identifier.
    Found(String),
    /// The catalog found none by its search query, so nothing was written.
    NotFound,
    /// The catalog refused it.
    Refused(Problem),
    /// The catalog refused it because a relation's target does not exist (yet).
    MissingRelation(Problem),
}

/// What became of an upsert: one outcome per entity, in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpsertReport {
    /// The outcomes.
    pub outcomes: Vec<UpsertOutcome>,
}

/// What became of a delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteReport {
    /// Entities that are gone, dependents included.
    pub deleted: Vec<EntityKey>,
    /// Entities that could not be deleted, and why.
    pub failed: Vec<(EntityKey, Problem)>,
}

/// How a resync ended, as the catalog is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResyncStatus {
    /// All units complete.
    Completed,
    /// At least one unit failed or was skipped.
    Failed,
    /// Stopped before the end.
    Aborted,
}

/// A step of a resync, told to the catalog when it happens and in this order: planned, then the
/// entries of `resources[]` each started and ended (several run at once), then the deletion. With
/// [`Processing::Documents`] the deletion is the catalog's own, and not told.
#[derive(Debug, Clone, PartialEq)]
pub enum Milestone {
    /// All units are planned. The entries are those of the [`CatalogInfo`]'s app-config.
    Planned,
    /// The first unit of an entry of `resources[]` begins.
    ResourceStarted {
        /// The entry's position.
        resource: usize,
    },
    /// All units of an entry have ended, and all its entities are written, unchanged or refused, or
    /// its documents handed over.
    ResourceEnded {
        /// The entry's position.
        resource: usize,
        /// How it went.
        result: ResourceResult,
    },
    /// What is gone in AWS is looked for.
    DeletionStarted,
    /// What was gone is deleted, or kept for a reason.
    DeletionEnded {
        /// Entities that were deleted.
        deleted: u64,
        /// Entities that could not be deleted.
        failed: u64,
        /// Whether the deletion as a whole was held back.
        held_back: bool,
    },
}

/// How an entry of `resources[]` went, over all its units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ResourceResult {
    /// Its units' counts added up.
    pub counts: UnitCounts,
    /// Units that completed.
    pub complete: u64,
    /// Units that were skipped.
    pub skipped: u64,
    /// Units that failed.
    pub failed: u64,
    /// Units that did not end, because the resync was stopped before.
    pub stopped: u64,
    /// From the start of its first unit to the last of its entities.
    pub duration: Duration,
}

impl ResourceResult {
    /// Counts a unit that ended like this.
    pub fn count(&mut self, state: &UnitState) {
        match state {
            UnitState::Complete => self.complete += 1,
            UnitState::Skipped(_) => self.skipped += 1,
            UnitState::Failed(_) => self.failed += 1,
        }
    }

    /// How many units it has.
    pub fn units(&self) -> u64 {
        self.complete + self.skipped + self.failed + self.stopped
    }

    /// Whether all its units completed: what it did not bring does not exist.
    pub fn is_whole(&self) -> bool {
        self.complete == self.units()
    }

    /// How it ended. A catalog that maps by itself takes for gone what it was not given, so that to it
    /// only what is [whole](Self::is_whole) has completed. Else denied access, which lasts, fails nothing.
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

/// Where entities go: Port, a recording, a test.
///
/// `defaults` are the kinds whose blueprints and mapping a fresh installation gets, in order.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Authenticates and reads, and changes nothing: for plans and checks.
    ///
    /// # Errors
    /// [`CatalogError`] when it cannot be used.
    async fn read(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn CatalogView>>, CatalogError>;

    /// Authenticates and gets ready for a resync: creates the integration and the default resources where
    /// they are missing.
    ///
    /// # Errors
    /// [`CatalogError`] ends the resync before anything is read.
    async fn open(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Box<dyn ResyncStart>>, CatalogError>;

    /// Authenticates and reads, and changes nothing yet: for following live events, beside any resync.
    ///
    /// # Errors
    /// [`CatalogError`] when it cannot be used.
    async fn follow(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn EventSession>>, CatalogError>;

    /// The largest number of entities that one request of [`upsert`](EntityStore::upsert) carries.
    fn upsert_batch(&self) -> usize;
}

/// A catalog that is ready, and what can be done with it.
#[derive(Debug, Clone)]
pub struct Opened<S> {
    /// What it says.
    pub info: CatalogInfo,
    /// What can be done.
    pub session: S,
}

/// What a catalog holds.
#[async_trait]
pub trait CatalogView: Send + Sync {
    /// Streams all entities that this integration seems to own and that were last written before
    /// this was opened, by the catalog's own clock. An entity of another integration may be among
    /// them; [`current`](Self::current) tells for certain.
    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>>;

    /// What the catalog holds for these entities, looked at only in these fields. Entities that
    /// do not exist, or that are not certainly this integration's own, are left out. Order is not kept.
    ///
    /// # Errors
    /// [`CatalogError`]; the entities then count as changed, and none of them is deleted.
    async fn current(&self, keys: &[EntityKey], fields: &FieldSet) -> Result<Vec<Entity>, CatalogError>;

    /// Which of these entities exist and belong to somebody else. One that a relation alone brought into
    /// being, and that nobody wrote to, belongs to nobody and is left out. Asked for entities that are
    /// about to be created.
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

    /// What the catalog would delete together with these entities when asked to delete dependents:
    /// whatever relates to them, to that, and so on; without the entities themselves.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is then deleted.
    async fn dependents(&self, keys: &[EntityKey]) -> Result<Vec<Dependent>, CatalogError> {
        _ = keys;
        Ok(Vec::new())
    }

    /// A blueprint's relations: the target blueprint by relation name. `None` when the blueprint
    /// does not exist.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing is then deleted that the relations might protect.
    async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError>;

    /// The fields without which the catalog refuses an entity of a blueprint, as
    /// `properties.<name>` and `relations.<name>`.
    ///
    /// # Errors
    /// [`CatalogError`]; nothing depends on it but the log level of a field without a value.
    async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        _ = blueprint;
        Ok(BTreeSet::new())
    }
}

/// Changes what a catalog holds.
#[async_trait]
pub trait EntityStore: CatalogView {
    /// Creates or updates entities of one blueprint. Splits by the catalog's limits of count and
    /// bytes. Never fails as a whole: a refused request is an outcome of each of its entities.
    async fn upsert(
        &self,
        blueprint: &BlueprintId,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> UpsertReport;

    /// Deletes entities, with those that require them if `dependents`.
    async fn delete(&self, keys: &[EntityKey], dependents: bool) -> DeleteReport;
}

/// A catalog that is ready for a resync which has not begun.
#[async_trait]
pub trait ResyncStart: Send + Sync {
    /// Reports that the resync begins.
    async fn begin(self: Box<Self>, started: SystemTime) -> BegunResync;
}

/// A resync that has begun.
#[derive(Clone)]
pub struct BegunResync {
    /// What it writes to.
    pub session: Arc<dyn CatalogSession>,
    /// Whether the catalog took note of its begin. The resync goes on if not.
    pub reported: Result<(), CatalogError>,
}

/// A resync as its catalog sees it, from its begin to its end.
#[async_trait]
pub trait CatalogSession: EntityStore {
    /// Goes along with the resync, for what a catalog does meanwhile (a heartbeat, looking whether
    /// somebody wants it stopped). Returns only when the resync is to stop, with the reason. Dropped
    /// when the resync ends.
    async fn watch_for_abort(&self) -> Problem {
        std::future::pending().await
    }

    /// Takes note of a step of the resync. Called one after the other, beside the resync's own work.
    ///
    /// # Errors
    /// [`CatalogError`] when the catalog cannot do without it: the resync goes on, and is reported
    /// as failed.
    async fn milestone(&self, milestone: &Milestone) -> Result<(), CatalogError> {
        _ = milestone;
        Ok(())
    }

    /// Takes documents of one unit, with [`Processing::Documents`] or
    /// [`Processing::EntitiesAndDocuments`]. May keep them for a while, in bounded memory, and waits
    /// where the catalog is slow.
    ///
    /// # Errors
    /// [`DocumentsError`], also for documents of the same entry that were taken earlier.
    async fn documents(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        _ = batch;
        Ok(())
    }

    /// All documents of an entry of `resources[]` were handed over: returns when none of them is on
    /// its way any more. Not called for an entry that was stopped before its end.
    ///
    /// # Errors
    /// [`DocumentsError`] when documents of the entry were lost.
    async fn documents_end(&self, resource: usize) -> Result<(), DocumentsError> {
        _ = resource;
        Ok(())
    }

    /// Takes documents of a kind for people to look at while they write a mapping: the catalog must
    /// take out what looks like a secret. Called beside the resync's own work, with no more of a kind
    /// than [`CatalogInfo::examples`] in all.
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

/// A catalog that follows live events.
#[async_trait]
pub trait EventSession: EntityStore {
    /// Takes documents of resources of one kind that live events named, with
    /// [`Processing::Documents`] or [`Processing::EntitiesAndDocuments`].
    ///
    /// # Errors
    /// [`CatalogError`] when it did not take all of them.
    async fn documents(&self, kind: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        _ = (kind, documents);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_read_to_the_end_is_whole() {
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
