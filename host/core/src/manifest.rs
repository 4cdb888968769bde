//! A plugin's manifest: its kinds, their fetch plans, options, blueprints and default mapping. The JSON
//! format is part of the plugin contract; `wit/README.md` describes it for authors.

mod check;
mod document;
mod events;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use berth_mapping::document::DocumentShape;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::events::for_single_resource;
use crate::{Blueprint, BlueprintId, Kind, Path, Region, ResourceConfig, Template, problem::place};

pub use events::{EventRules, Trigger};

/// A rejected manifest, with the place of the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest, at `{at}`: {reason}")]
pub struct ManifestError {
    /// The place: a path into the manifest (`kinds[0].plan.steps[1].input`).
    pub at: String,
    /// The problem at that place.
    pub reason: String,
}

/// A plugin's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The plugin's name (`s3-bucket`): lower-case letters, digits and dashes.
    pub name: String,
    /// The plugin's own version.
    pub version: String,
    /// A one-line description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The kinds it maps.
    pub kinds: Vec<KindManifest>,
}

/// Where a kind's resources exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// In each region: read once per account and region.
    Regional,
    /// Once per account, through any allowed region.
    Global,
    /// Once for the whole organization, through the first account that has access.
    Organization,
    /// The account itself is the resource. No AWS call: the host passes `{"Id", "Name"}` of each account
    /// that it could authenticate to.
    Account,
}

/// One kind of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindManifest {
    /// The kind's name.
    pub kind: Kind,
    /// Whether it also stands for every kind with the same first segment (`AWS`) that no other plugin maps:
    /// a generic plugin. Its plan then uses the placeholder `{kind}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fallback: bool,
    /// Where its resources exist.
    pub scope: Scope,
    /// If set, the only regions in which the service exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regions: Option<BTreeSet<Region>>,
    /// Whether each resource belongs to exactly one account: the one that it is read through. False, the
    /// default, for resources that several accounts list (shared subnets, transit gateways, images).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) single_account: bool,
    /// The AWS reads that make up a resource.
    #[serde(default, skip_serializing_if = "FetchPlan::is_empty")]
    pub(crate) plan: FetchPlan,
    /// What its resource documents are made of, if the plugin declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<DocumentShape>,
    /// Optional data that a selector's `includeActions` switches on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<OptionInfo>,
    /// Which of the two fields below a fresh installation gets.
    #[serde(default, skip_serializing_if = "Install::is_all")]
    pub(crate) install: Install,
    /// The kind's blueprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blueprints: Vec<Blueprint>,
    /// The kind's default mapping: the entry of the app-config that the plugin implements natively. `None`
    /// for a kind without a mapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<ResourceConfig>,
    /// The events that report a change of a resource, and how to read it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<EventRules>,
}

/// What a fresh installation gets of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Install {
    /// Its blueprints and its mapping: it is read from the first resync on.
    #[default]
    All,
    /// Its blueprints only.
    Blueprints,
    /// Nothing: operators add its blueprint and mapping when they need them.
    None,
}

impl Install {
    /// Whether everything is taken, the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// A named option of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionInfo {
    /// Its name in `includeActions`.
    pub name: String,
    /// What it adds.
    pub description: String,
}

/// A fetch plan: a small graph of AWS reads, as data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchPlan {
    /// The steps, parents before children.
    pub steps: Vec<Step>,
    /// The list step whose items are the resources. Default: the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<String>,
    /// The number of resources in a batch for the mapping (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
}

/// One AWS read operation of a plan.
///
/// A *list* step yields items: the first step, and any step between it and the plan's `resources` (a
/// fan-out: it runs once for each item of its parent). Every other step *enriches* the items of its parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The step's name, unique in the plan.
    pub id: String,
    /// The service, by its `botocore` name (`ec2`, `ecs`, `s3`, `sesv2`).
    pub service: String,
    /// The operation, as AWS spells it (`DescribeInstances`). Only read operations exist.
    pub operation: String,
    /// The request's input. Strings may contain placeholders: `{item…}` (the parent's item), `{items…}`
    /// (the batch), `{parents.<step>…}`, `{steps.<step>…}` (an earlier step's result for the item),
    /// `{account}`, `{region}`, `{partition}`, `{kind}`.
    #[serde(default, skip_serializing_if = "StepInput::is_empty")]
    pub input: StepInput,
    /// For a list step: the path of the items in the response. For an enrichment with several results
    /// (pages, batches): the path of the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Path>,
    /// For an enrichment: the members of a document's `Properties` that come from its result (`Tags`). If
    /// the step is denied, the mapped fields that use one of these members keep their values in the
    /// catalog. Without `fills`, the same applies to the fields that come out empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fills: Option<BTreeSet<String>>,
    /// How a response that omits the list states that there are no items. By default, a response without
    /// the list is an error: it does not prove that there are no items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<EmptyList>,
    /// For a list step: only items with this value are resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// For an enrichment: the part of the response to keep (default: all of it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Path>,
    /// Runs once for each item of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// Runs once for up to `size` items of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How the results of a batch are assigned to their items.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<Match>,
    /// Runs only if this option is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// A template for the region to call, if it is not the unit's (`{item.BucketRegion}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The policy for each AWS error code. `denied` and `missing` stand for all codes of these classes, `*`
    /// for every other code; an exact code takes precedence over its class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, ErrorRule>,
    /// The IAM actions that the call needs, if they are not `<service>:<operation>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iam: Vec<String>,
}

/// `only` of a list step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// The path of the value in the item (`@`: the item itself). If it yields several values, one match is
    /// enough.
    pub path: Path,
    /// The expected value: a text with the placeholders of `input`.
    pub is: String,
}

/// How a response without the list of its items states that there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EmptyList {
    /// A convention.
    Convention(EmptyConvention),
    /// Another member of the response states it.
    Stated(StatedEmpty),
}

/// The conventions for an empty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyConvention {
    /// The service omits an empty list. Such a response looks like a truncated one, so use this
    /// only for services that are known to do so.
    Omitted,
}

/// A member that states that a list is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedEmpty {
    /// The path of the member in the response (`DistributionList.Quantity`).
    pub path: Path,
    /// Its value if there are no items (`0`).
    pub is: Value,
}

/// `batch` of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The step whose items are batched.
    pub of: String,
    /// The maximum number of items, 1 or more.
    pub size: u32,
}

/// How the results of a batch are assigned to their items: by equal values, never by position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The path of the key in the item (`@`: the item itself).
    pub item: Path,
    /// The path of the key in a result.
    pub result: Path,
    /// Where a response names the items without a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<BatchFailures>,
    /// What happens to an item that has no result and is not among the failures.
    #[serde(default)]
    pub unmatched: Unmatched,
}

/// Where the response to a batch names the items without a result, and the reasons. An item that does not
/// exist is not a resource; every other failure fails the item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchFailures {
    /// The path of the failures in the response (`failures[]`).
    pub items: Path,
    /// The path of the item's key in a failure (default `@`: the failure itself).
    #[serde(default = "Path::itself", skip_serializing_if = "Path::is_itself")]
    pub key: Path,
    /// The path of the reason in a failure. Without it, every failure means that the item does not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Path>,
    /// The reasons that mean that the item does not exist (`MISSING`).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<String>,
}

/// What happens to an item that the response to a batch does not mention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// The item does not exist (any more). Only for operations that are known to omit nothing but items
    /// that do not exist.
    Drop,
    /// It is mapped without this step's result.
    Absent,
    /// The item has failed, and its unit is protected. The default: an item that is not mentioned may still
    /// exist.
    #[default]
    Fail,
}

/// The meaning of an AWS error code for a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorRule {
    /// A policy.
    Policy(ErrorPolicy),
    /// This value replaces the response.
    Use {
        /// The value that replaces the response.
        #[serde(rename = "use")]
        value: Value,
    },
}

/// The policies for an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorPolicy {
    /// The item is mapped without this step's result. An error that hides the result (denied access, a busy
    /// service, or any error matched by `*`) is reported, and the fields that the step [fills](Step::fills)
    /// keep their values in the catalog; any other error means that there is no result.
    Absent,
    /// The item is not a resource (any more) and is dropped; for a list step: there are no items. Only for
    /// errors that mean that something does not exist.
    Drop,
    /// The unit is skipped and protected from deletion. The default if the plan's first list is denied.
    SkipUnit,
    /// The item is reported as failed, its entity is kept unchanged, and its unit is protected. The default
    /// in all other cases.
    Fail,
}

/// A step's input template together with its JSON form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct StepInput {
    source: Value,
    template: Template,
}

impl StepInput {
    /// Returns the compiled template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Returns the JSON form.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Returns whether the input is `{}`.
    pub fn is_empty(&self) -> bool {
        self.source.as_object().is_some_and(serde_json::Map::is_empty)
    }
}

impl Default for StepInput {
    fn default() -> Self {
        let source = Value::Object(serde_json::Map::new());
        // An empty object has no placeholder that could fail to parse.
        let template = Template::parse(&source).unwrap_or_else(|_| unreachable!());
        Self { source, template }
    }
}

impl TryFrom<Value> for StepInput {
    type Error = String;
    fn try_from(source: Value) -> Result<Self, String> {
        if !source.is_object() {
            return Err("an input is a JSON object".into());
        }
        let template = Template::parse(&source).map_err(|error| error.to_string())?;
        Ok(Self { source, template })
    }
}

impl From<StepInput> for Value {
    fn from(input: StepInput) -> Self {
        input.source
    }
}

impl FetchPlan {
    /// Returns whether the plan has no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the step with this id.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// Returns the list step whose items are the resources.
    pub fn resource_step(&self) -> Option<&Step> {
        match &self.resources {
            Some(id) => self.step(id),
            None => self.steps.first(),
        }
    }

    /// Returns the list steps from the root to the resources, in order.
    pub fn list_steps(&self) -> Vec<&Step> {
        let mut chain = Vec::new();
        let mut current = self.resource_step();
        while let Some(step) = current {
            chain.push(step);
            current = step.parent().and_then(|parent| self.step(parent));
        }
        chain.reverse();
        chain
    }

    /// Returns the steps that enrich the items of that list step, in order, without steps whose option is
    /// off.
    pub fn enrichments<'p>(&'p self, list: &str, options: &BTreeSet<String>) -> Vec<&'p Step> {
        let lists: Vec<&str> = self.list_steps().iter().map(|step| step.id.as_str()).collect();
        self.steps
            .iter()
            .filter(|step| step.parent() == Some(list) && !lists.contains(&step.id.as_str()))
            .filter(|step| step.is_on(options))
            .collect()
    }
}

impl Step {
    /// Returns whether the step runs with these options.
    pub fn is_on(&self, options: &BTreeSet<String>) -> bool {
        self.option.as_ref().is_none_or(|option| options.contains(option))
    }

    /// Returns the step whose items this one runs for.
    pub fn parent(&self) -> Option<&str> {
        self.each.as_deref().or(self.batch.as_ref().map(|batch| batch.of.as_str()))
    }

    /// Returns the IAM actions that the call needs.
    pub fn iam_actions(&self) -> Vec<String> {
        if self.iam.is_empty() {
            vec![format!("{}:{}", self.service, self.operation)]
        } else {
            self.iam.clone()
        }
    }
}

impl Manifest {
    /// Parses and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] with the place and the reason, for invalid JSON as well as for an invalid plan.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let manifest: Self = serde_path_to_error::deserialize(&mut reader)
            .map_err(|error| ManifestError { at: place(error.path()), reason: error.inner().to_string() })?;
        reader.end().map_err(|error| ManifestError { at: ".".into(), reason: error.to_string() })?;
        manifest.check()?;
        Ok(manifest)
    }
}

/// What Berth's own crates read of a kind. How a kind is fetched is data to everybody else.
pub trait KindReads: Sized {
    /// How its resources are fetched.
    fn plan(&self) -> &FetchPlan;

    /// How its resources are fetched, to be changed.
    fn plan_mut(&mut self) -> &mut FetchPlan;

    /// What its resource documents are made of, if the plugin declares it.
    fn document(&self) -> Option<&DocumentShape>;

    /// Which events report changes of its resources.
    fn events(&self) -> Option<&EventRules>;

    /// The regions that have it, where not all do.
    fn regions(&self) -> Option<&BTreeSet<Region>>;

    /// Whether a resource belongs to a single account.
    fn single_account(&self) -> bool;

    /// What of it a fresh installation gets.
    fn install(&self) -> Install;

    /// What can be switched on.
    fn options(&self) -> &[OptionInfo];

    /// The kind with its plan narrowed to the resource that an event names.
    ///
    /// # Errors
    /// [`ManifestError`] when `events.read` does not fit the plan. Never for a manifest that was
    /// [parsed](crate::Manifest::parse), nor for a kind without events, which stays as it is.
    fn for_single_resource(&self) -> Result<Self, ManifestError>;

    /// The steps that events make instead of those of the plan.
    fn event_steps(&self) -> Vec<Step>;

    /// The blueprints that it brings, and that of its default mapping.
    fn declared_blueprints(&self) -> BTreeSet<BlueprintId>;

    /// This generic kind, standing for another one; `None` when it does not.
    fn standing_for(&self, kind: &Kind) -> Option<Self>;

    /// The same kind, read by its list steps alone: resources are listed, and not enriched. Parents keep
    /// their enrichments, since a list below them may need the results.
    #[must_use]
    fn list_only(&self) -> Self;
}

impl KindReads for KindManifest {
    fn plan(&self) -> &FetchPlan {
        &self.plan
    }

    fn plan_mut(&mut self) -> &mut FetchPlan {
        &mut self.plan
    }

    fn document(&self) -> Option<&DocumentShape> {
        self.document.as_ref()
    }

    fn events(&self) -> Option<&EventRules> {
        self.events.as_ref()
    }

    fn regions(&self) -> Option<&BTreeSet<Region>> {
        self.regions.as_ref()
    }

    fn single_account(&self) -> bool {
        self.single_account
    }

    fn install(&self) -> Install {
        self.install
    }

    fn options(&self) -> &[OptionInfo] {
        &self.options
    }

    fn for_single_resource(&self) -> Result<Self, ManifestError> {
        for_single_resource(self)
    }

    fn event_steps(&self) -> Vec<Step> {
        let narrowed = self.for_single_resource().map(|kind| kind.plan.steps).unwrap_or_default();
        narrowed.into_iter().filter(|step| !self.plan.steps.contains(step)).collect()
    }

    fn declared_blueprints(&self) -> BTreeSet<BlueprintId> {
        let own = self.blueprints.iter().map(|blueprint| blueprint.identifier().clone());
        let mapped =
            self.mapping.iter().filter_map(|mapping| mapping.port.entity.mappings.literal_blueprint());
        own.chain(mapped).collect()
    }

    fn standing_for(&self, kind: &Kind) -> Option<Self> {
        let family = |kind: &Kind| kind.as_str().split("::").next().map(ToOwned::to_owned);
        if !self.fallback || family(&self.kind) != family(kind) {
            return None;
        }
        let mut other = self.clone();
        other.kind = kind.clone();
        if let Some(mapping) = &mut other.mapping {
            mapping.kind = kind.clone();
        }
        Some(other)
    }

    fn list_only(&self) -> Self {
        let mut other = self.clone();
        if let Some(last) = self.plan.resource_step().map(|step| step.id.clone()) {
            other.plan.steps.retain(|step| step.parent() != Some(last.as_str()));
        }
        other
    }
}
