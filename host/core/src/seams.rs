//! The three seams of a sync: where resources come from ([`Source`]), what turns them into
//! entities ([`Mapper`]), and where those go ([`Catalog`]). Each can be replaced by an embedder;
//! none knows another.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{
    Account, AppConfig, Blueprint, BlueprintId, Document, EnabledRegions, Entity, EntityKey, FetchError,
    FetchRequest, FieldSet, Kind, KindManifest, Problem, RawPage, Region, RegionHints, ResourceConfig,
    UnitCounts, UnitId, UnitState,
};

// ---------------------------------------------------------------------------------------------
// Source
// ---------------------------------------------------------------------------------------------

/// An account of the sync, and whether it can be read.
#[derive(Debug, Clone)]
pub struct AccountAccess {
    /// The account.
    pub account: Arc<Account>,
    /// Why it cannot be read, if it cannot. Everything it owns is then protected.
    pub access: Result<(), Problem>,
}

/// Where resources come from: AWS, a recording, a test.
#[async_trait]
pub trait Source: Send + Sync {
    /// Who Berth is towards the source before it enters any account, for checks; `None` where that
    /// has no meaning.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot authenticate at all.
    async fn identity(&self) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    /// All accounts of the sync, each with the outcome of authenticating to it. Called once per
    /// resync.
    ///
    /// # Errors
    /// A [`Problem`] when not even the list of accounts is known; the resync then ends without
    /// having changed anything.
    async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem>;

    /// The regions that are enabled in an account. Called once per account and resync.
    ///
    /// # Errors
    /// A [`Problem`] when they cannot be told; all units of the account are then protected.
    async fn regions(&self, account: &Account) -> Result<Vec<Region>, Problem>;

    /// The same for a resync that knows which regions it wants. This is what a sync calls; by default it
    /// asks for [`regions`](Self::regions). A source that is denied access to the list may take the
    /// hints for it where they are complete.
    ///
    /// # Errors
    /// As those of [`regions`](Self::regions).
    async fn enabled_regions(
        &self,
        account: &Account,
        hints: &RegionHints,
    ) -> Result<EnabledRegions, Problem> {
        _ = hints;
        self.regions(account).await.map(EnabledRegions::Listed)
    }

    /// Tells what a resync is going to read: for each entry of `resources[]` that can be mapped, its kind
    /// and the options that are switched on. Called once per resync, before the first
    /// [`fetch`](Self::fetch). A source that shares answers need not keep those which nobody else
    /// will ask for.
    fn prepare(&self, reads: &[(Arc<KindManifest>, BTreeSet<String>)]) {
        _ = reads;
    }

    /// Runs a fetch plan and streams its resources in batches of the plan's `chunk`.
    ///
    /// The stream ends after the first error. A stream that ends without one has read everything,
    /// except what pages list in [`RawPage::failures`].
    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>>;
}

// ---------------------------------------------------------------------------------------------
// Mapper
// ---------------------------------------------------------------------------------------------

/// A kind that can be mapped, and by which plugin.
#[derive(Debug, Clone)]
pub struct KindEntry {
    /// The plugin's name.
    pub plugin: String,
    /// What the plugin says about the kind.
    pub manifest: Arc<KindManifest>,
}

/// A plugin that was found but is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedPlugin {
    /// The file, or the plugin's name where it told one.
    pub plugin: String,
    /// Why it is refused.
    pub problem: Problem,
}

/// Where a batch comes from; handed to the mapping as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapContext {
    /// The account.
    pub account: Arc<Account>,
    /// The region that was read, if any.
    pub region: Option<Region>,
    /// The options that are switched on.
    pub options: Vec<String>,
}

/// How entities are made of resources.
#[derive(Debug, Clone)]
pub enum Mapping {
    /// By the plugin's own code: the app-config's mapping is the kind's default.
    Native,
    /// By the JQ expressions of the app-config.
    Custom(Arc<ResourceConfig>),
    /// Not here: only the resources' documents are asked for, whatever the selector says of them.
    Documents,
}

/// Asks for a batch to be mapped.
#[derive(Debug, Clone)]
pub struct MapRequest {
    /// The kind of the resources.
    pub kind: Kind,
    /// Where they come from.
    pub context: MapContext,
    /// How they map.
    pub mapping: Mapping,
    /// Whether the report is to have the documents besides the entities. They are a by-product: where
    /// only they cannot be made, the report has none, and the log tells why.
    pub documents: bool,
    /// The batch.
    pub page: RawPage,
}

/// What became of a batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MapReport {
    /// The entities, in the order of the resources.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// Resources that could not be mapped.
    #[serde(default)]
    pub errors: Vec<ItemError>,
    /// How many resources the batch holds, where one of its elements stands for several (the instances
    /// of an EC2 reservation); with those that have failed. 0: one for each element.
    #[serde(skip)]
    pub resources: usize,
    /// How many resources the selector left out.
    #[serde(default)]
    pub filtered: usize,
    /// The resources' documents, in their order, as far as they were asked for.
    #[serde(skip)]
    pub documents: Vec<Document>,
    /// Fields of the app-config's mapping that gave nothing. Empty for a native mapping, where
    /// nothing is what AWS said.
    #[serde(default)]
    pub misconfigured: Vec<MisconfiguredField>,
}

/// A field of a mapping that gave nothing for some resources of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MisconfiguredField {
    /// Its dotted path, as in `properties.size`.
    pub field: String,
    /// Its expression; none where the mapping has null instead.
    pub expression: Option<String>,
    /// The blueprint of the entities; none where there are no entities, since the field is one that
    /// they cannot do without.
    pub blueprint: Option<BlueprintId>,
    /// For how many resources.
    pub count: u64,
    /// Why, for the first of them.
    pub reason: String,
}

/// One resource that a mapping refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    /// Its position in the batch.
    pub index: usize,
    /// Which one: the most telling name at hand.
    pub resource: String,
    /// Why.
    pub reason: String,
}

impl ItemError {
    /// The problem as reports and logs show it.
    pub fn problem(&self) -> Problem {
        Problem::new(format!("not mapped: {}", self.reason)).remedy(
            "its entity stays as it is; check the mapping of the kind, and whether the role may read what the reason \
             names",
        )
    }
}

/// Why a whole batch could not be mapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The plugin trapped, ran too long, used too much memory, returned nonsense or too much.
    #[error("plugin `{plugin}` failed on {kind}: {problem}")]
    Plugin {
        /// The plugin's name.
        plugin: String,
        /// The kind that was mapped.
        kind: Kind,
        /// What happened, naming the limit where one was hit.
        problem: Problem,
    },
    /// No plugin maps this kind, or the one that does was refused.
    #[error("{0}")]
    NoPlugin(Problem),
    /// The mapping itself is wrong.
    #[error("{0}")]
    Mapping(Problem),
}

/// What turns raw resources into entities.
#[async_trait]
pub trait Mapper: Send + Sync {
    /// All kinds that can be mapped, by name. Cheap: called whenever needed.
    fn kinds(&self) -> BTreeMap<Kind, KindEntry>;

    /// Plugins that were found but are not used, with the reason.
    fn refused(&self) -> Vec<RefusedPlugin>;

    /// The plugins as they are now, for work that must not see them exchanged halfway: what a unit
    /// reads is mapped by the very version whose fetch plan it was read by. As long as nothing was
    /// exchanged, it is the same one each time. `None` where plugins never change.
    fn pinned(&self) -> Option<Arc<dyn Mapper>> {
        None
    }

    /// Maps one batch.
    ///
    /// # Errors
    /// [`MapError`] fails the unit; other units do not notice.
    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError>;
}

// ---------------------------------------------------------------------------------------------
// Catalog
// ---------------------------------------------------------------------------------------------

/// What a session with the catalog may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Everything.
    Write,
    /// Nothing is created, changed or deleted: for `berth plan`.
    ReadOnly,
}

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

/// A catalog that is ready for a resync.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Session {
    /// Names this catalog, its owner and the integration in it: what is remembered of one is never taken
    /// for another. Empty where there is but one.
    pub identity: String,
    /// The app-config that rules this resync.
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

impl DocumentsError {
    /// The cause, with its remedy.
    pub fn problem(&self) -> &Problem {
        match self {
            Self::Lost(problem) | Self::Superseded(problem) => problem,
        }
    }
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
    /// All units are planned. The entries are those of the [`Session`]'s app-config.
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
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Authenticates and gets ready: with [`Intent::Write`] creates the integration and the
    /// default resources where they are missing, with [`Intent::ReadOnly`] only reads. `defaults`
    /// are the kinds whose blueprints and mapping a fresh installation gets, in order.
    ///
    /// # Errors
    /// [`CatalogError`] ends the resync before anything is read.
    async fn open(&self, intent: Intent, defaults: &[KindEntry]) -> Result<Session, CatalogError>;

    /// Reports that a resync begins. Never called with [`Intent::ReadOnly`].
    ///
    /// # Errors
    /// [`CatalogError`]; the resync goes on, since this is a report only.
    async fn begin(&self, started: SystemTime) -> Result<(), CatalogError>;

    /// Goes along with a resync from its begin to its end, for what a catalog does meanwhile (a sign
    /// of life, looking whether somebody wants it stopped). Returns only when the resync is to stop,
    /// with the reason. Dropped when the resync ends. Never called with [`Intent::ReadOnly`].
    async fn accompany(&self) -> Problem {
        std::future::pending().await
    }

    /// Takes note of a step of the resync. Called one after the other, beside the resync's own work,
    /// and before [`end`](Self::end). Never called with [`Intent::ReadOnly`].
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
    /// where the catalog is slow. Never called with [`Intent::ReadOnly`].
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

    /// Takes documents of resources of one kind that live events named, with
    /// [`Processing::Documents`] or [`Processing::EntitiesAndDocuments`]. Asked apart from any resync.
    ///
    /// # Errors
    /// [`CatalogError`] when it did not take all of them.
    async fn event_documents(&self, kind: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        _ = (kind, documents);
        Ok(())
    }

    /// Takes documents of a kind for people to look at while they write a mapping: the catalog must
    /// take out what looks like a secret. Called beside the resync's own work, with no more of a kind
    /// than [`Session::examples`] in all. Never called with [`Intent::ReadOnly`].
    ///
    /// # Errors
    /// [`CatalogError`], for the log.
    async fn examples(&self, kind: &Kind, documents: &[Document]) -> Result<(), CatalogError> {
        _ = (kind, documents);
        Ok(())
    }

    /// Reports how a resync ended. Never called with [`Intent::ReadOnly`].
    ///
    /// # Errors
    /// [`CatalogError`], for the log.
    async fn end(&self, status: ResyncStatus) -> Result<(), CatalogError>;

    /// Streams all entities that this integration seems to own and that were last written before
    /// [`open`](Self::open), by the catalog's own clock. An entity of another integration may be among
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
    /// [`CatalogError`]; nothing depends on it but how loudly a field without a value is told.
    async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        _ = blueprint;
        Ok(BTreeSet::new())
    }

    /// The largest number of entities that one request of [`upsert`](Self::upsert) carries.
    fn upsert_batch(&self) -> usize;

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

impl KindEntry {
    /// The kind's blueprints.
    pub fn blueprints(&self) -> &[Blueprint] {
        &self.manifest.blueprints
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
