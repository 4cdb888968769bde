//! The trait that turns resources into entities.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Account, BlueprintId, Document, Entity, Kind, KindManifest, Problem, RawPage, Region, ResourceConfig,
};

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

/// What turns raw resources into entities. Its plugins may be exchanged at any time; work that must not
/// see that halfway runs by a [snapshot](MapperSnapshot).
pub trait Mapper: Send + Sync {
    /// The plugins as they are now. As long as nothing is exchanged, it is the same [`Arc`] each time. Cheap:
    /// called whenever needed.
    fn snapshot(self: Arc<Self>) -> Arc<dyn MapperSnapshot>;
}

/// The plugins of one moment: what a unit reads is mapped by the very version whose fetch plan it was
/// read by.
#[async_trait]
pub trait MapperSnapshot: Send + Sync {
    /// All kinds that can be mapped, by name.
    fn kinds(&self) -> BTreeMap<Kind, KindEntry>;

    /// Plugins that were found but are not used, with the reason.
    fn refused(&self) -> Vec<RefusedPlugin>;

    /// Maps one batch.
    ///
    /// # Errors
    /// [`MapError`] fails the unit; other units do not notice.
    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError>;
}
