//! The trait that turns resources into entities.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Account, BlueprintId, Document, Entity, Kind, KindManifest, Problem, RawPage, Region, ResourceConfig,
};

/// A kind that can be mapped, and the plugin that maps it.
#[derive(Debug, Clone)]
pub struct KindEntry {
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's manifest of the kind.
    pub manifest: Arc<KindManifest>,
}

/// A plugin that was found but is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedPlugin {
    /// The plugin's name if it is known, else the file.
    pub plugin: String,
    /// Why it was rejected.
    pub problem: Problem,
}

/// The origin of a batch. Passed to the mapper unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapContext {
    /// The account.
    pub account: Arc<Account>,
    /// The region that was read, if any.
    pub region: Option<Region>,
    /// The options that are switched on.
    pub options: Vec<String>,
}

/// How resources become entities.
#[derive(Debug, Clone)]
pub enum Mapping {
    /// By the plugin's own code: the app-config's mapping is the kind's default.
    Native,
    /// By the JQ expressions of the app-config.
    Custom(Arc<ResourceConfig>),
    /// Not at all: only the resources' documents are requested, independent of the selector.
    Documents,
}

/// A request to map a batch.
#[derive(Debug, Clone)]
pub struct MapRequest {
    /// The kind of the resources.
    pub kind: Kind,
    /// The origin of the resources.
    pub context: MapContext,
    /// How they map.
    pub mapping: Mapping,
    /// Whether the report includes the documents as well as the entities. Documents are a by-product: if
    /// only the documents cannot be built, the report has none, and the log says why.
    pub documents: bool,
    /// The batch.
    pub page: RawPage,
}

/// The result of a batch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MapReport {
    /// The entities, in the order of the resources.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// Resources that could not be mapped.
    #[serde(default)]
    pub errors: Vec<ItemError>,
    /// The number of resources in the batch, including failed ones, if one of its elements stands for
    /// several resources (the instances of an EC2 reservation). 0: one resource per element.
    #[serde(skip)]
    pub resources: usize,
    /// The number of resources that the selector excluded.
    #[serde(default)]
    pub filtered: usize,
    /// The resources' documents in order, if they were requested.
    #[serde(skip)]
    pub documents: Vec<Document>,
    /// Fields of the app-config's mapping that had no value. Empty for a native mapping, where a missing
    /// value is what AWS returned.
    #[serde(default)]
    pub misconfigured: Vec<MisconfiguredField>,
}

/// A field of a mapping that had no value for some resources of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MisconfiguredField {
    /// Its dotted path, as in `properties.size`.
    pub field: String,
    /// Its expression; `None` if the mapping sets null instead.
    pub expression: Option<String>,
    /// The blueprint of the entities; `None` if there are no entities, because the field is a required one.
    pub blueprint: Option<BlueprintId>,
    /// The number of affected resources.
    pub count: u64,
    /// The reason, for the first of them.
    pub reason: String,
}

/// One resource that could not be mapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemError {
    /// Its position in the batch.
    pub index: usize,
    /// The resource: its most descriptive name.
    pub resource: String,
    /// The reason.
    pub reason: String,
}

/// Why a whole batch could not be mapped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The plugin trapped, ran too long, used too much memory, or returned invalid or too much output.
    #[error("plugin `{plugin}` failed on {kind}: {problem}")]
    Plugin {
        /// The plugin's name.
        plugin: String,
        /// The kind that was mapped.
        kind: Kind,
        /// What happened, including the limit that was exceeded, if any.
        problem: Problem,
    },
    /// No plugin maps this kind, or the plugin that does was rejected.
    #[error("{0}")]
    NoPlugin(Problem),
    /// The mapping itself is invalid.
    #[error("{0}")]
    Mapping(Problem),
}

/// Turns raw resources into entities. Its plugins may be hot-reloaded at any time; work that must see one
/// consistent set of plugins uses a [snapshot](MapperSnapshot).
pub trait Mapper: Send + Sync {
    /// Returns the current plugins. Until a plugin is reloaded, this is the same [`Arc`] each time. Cheap,
    /// so callers call it whenever they need it.
    fn snapshot(self: Arc<Self>) -> Arc<dyn MapperSnapshot>;
}

/// The plugins at one moment: the version whose fetch plan read a unit also maps it.
#[async_trait]
pub trait MapperSnapshot: Send + Sync {
    /// Returns all kinds that can be mapped, by name.
    fn kinds(&self) -> BTreeMap<Kind, KindEntry>;

    /// Returns plugins that were found but are not used, with the reason.
    fn refused(&self) -> Vec<RefusedPlugin>;

    /// Maps one batch.
    ///
    /// # Errors
    /// [`MapError`] fails the unit; other units are not affected.
    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError>;
}
