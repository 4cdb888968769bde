//! What a plugin says about itself: its kinds, their fetch plans, options, blueprints and default
//! mapping. The JSON form is part of the plugin contract; `wit/README.md` describes it for authors.

mod check;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Blueprint, BlueprintId, EventRules, Kind, Path, Region, ResourceConfig, Template, events::narrowed,
    problem::place,
};

pub(crate) use check::refuse;

/// A manifest that was refused, with the place in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest, at `{at}`: {reason}")]
pub struct ManifestError {
    /// Where: a path into the manifest (`kinds[0].plan.steps[1].input`).
    pub at: String,
    /// What is wrong there.
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
    /// One line on what it maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The kinds it maps.
    pub kinds: Vec<KindManifest>,
}

/// Where a kind's resources live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// In each region: read once per account and region.
    Regional,
    /// Once per account, through any allowed region.
    Global,
    /// Once for the whole organization, through the first account that may.
    Organization,
    /// The account itself is the resource: no AWS call, the host hands over
    /// `{"Id", "Name"}` of each account it could authenticate to.
    Account,
}

/// One kind of a plugin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindManifest {
    /// The kind's name.
    pub kind: Kind,
    /// Whether it also stands for every kind with the same first segment (`AWS`) that no plugin
    /// maps: a generic plugin. Its plan then uses the placeholder `{kind}`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fallback: bool,
    /// Where its resources live.
    pub scope: Scope,
    /// When given, the only regions in which the service exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) regions: Option<BTreeSet<Region>>,
    /// Whether each resource belongs to exactly one account: the one that it is read through. False,
    /// the default, for what several accounts list (shared subnets, transit gateways, images).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) single_account: bool,
    /// Which AWS reads make up a resource.
    #[serde(default, skip_serializing_if = "FetchPlan::is_empty")]
    pub(crate) plan: FetchPlan,
    /// Named extras that a selector's `includeActions` switches on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<OptionInfo>,
    /// What a fresh installation takes of the two fields below.
    #[serde(default, skip_serializing_if = "Install::is_all")]
    pub(crate) install: Install,
    /// The kind's blueprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blueprints: Vec<Blueprint>,
    /// The kind's default mapping: the entry of the app-config for which the plugin maps natively.
    /// `None` for a kind that has no mapping of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<ResourceConfig>,
    /// Which events tell that a resource changed, and how it is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<EventRules>,
}

/// What a fresh installation takes of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Install {
    /// Its blueprints and its mapping: it is read from the first resync on.
    #[default]
    All,
    /// Its blueprints only.
    Blueprints,
    /// Nothing: operators add its blueprint and mapping when they want it.
    None,
}

impl Install {
    /// Whether everything is taken, the default.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// A named extra of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptionInfo {
    /// The name that stands in `includeActions`.
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
    /// How many resources make a batch for the mapping (default 100).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<u32>,
}

/// One AWS read operation of a plan.
///
/// A *list* step yields items: the first step, and any step on the way from it to the plan's
/// `resources` (a fan-out: run once for each item of its parent). Every other step *enriches* the
/// items of its parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The step's name, unique in the plan.
    pub id: String,
    /// The service, by its `botocore` name (`ec2`, `ecs`, `s3`, `sesv2`).
    pub service: String,
    /// The operation, as AWS spells it (`DescribeInstances`). Only read operations exist.
    pub operation: String,
    /// The request's input. Strings may hold placeholders: `{item…}` (the parent's item),
    /// `{items…}` (the batch), `{parents.<step>…}`, `{steps.<step>…}` (an earlier step's result
    /// for the item), `{account}`, `{region}`, `{partition}`, `{kind}`.
    #[serde(default, skip_serializing_if = "StepInput::is_empty")]
    pub input: StepInput,
    /// For a list step: where the items are in the response. For an enrichment with several
    /// results (pages, batches): where those are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Path>,
    /// For an enrichment: the members of a document's `Properties` that its result becomes (`Tags`).
    /// Where the step is denied, the fields of a mapping that use one of these are left as the catalog
    /// has them. Without it, so are the fields that come out empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fills: Option<BTreeSet<String>>,
    /// How an answer says that there are no items, where it then leaves their list out. By default an
    /// answer without the list is an error: it does not say that there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<EmptyList>,
    /// For a list step: only the items with this value are resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Only>,
    /// For an enrichment: the part of the response that is kept (default: all of it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Path>,
    /// Runs once for each item of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<String>,
    /// Runs once for up to `size` items of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How the results of a batch find their items.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub matching: Option<Match>,
    /// Runs only when this option is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// A template for the region to call, where that is not the unit's (`{item.BucketRegion}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What an AWS error means, by error code. `denied` and `missing` stand for all codes of
    /// these classes, `*` for every other; an exact code wins over its class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, ErrorRule>,
    /// The IAM actions that the call needs, where they are not `<service>:<operation>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub iam: Vec<String>,
}

/// `only` of a list step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Only {
    /// The path of the value in the item (`@`: the item itself). One of several is enough.
    pub path: Path,
    /// What the value is: a text with the placeholders of `input`.
    pub is: String,
}

/// How an answer without the list of its items says that there are none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EmptyList {
    /// A plain convention.
    Convention(EmptyConvention),
    /// Another member of the answer says so.
    Stated(StatedEmpty),
}

/// The plain conventions for an empty list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyConvention {
    /// The service leaves an empty list out. Nothing else tells it from an answer that was cut off, so
    /// this is only for services that are known to do so.
    Omitted,
}

/// A member that says that a list is empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedEmpty {
    /// The path of the member in the answer (`DistributionList.Quantity`).
    pub path: Path,
    /// Its value when there are no items (`0`).
    pub is: Value,
}

/// `batch` of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The step whose items are taken together.
    pub of: String,
    /// How many at most, 1 or more.
    pub size: u32,
}

/// How the results of a batch find their items: by equal values, never by position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The path of the key in the item (`@`: the item itself).
    pub item: Path,
    /// The path of the key in a result.
    pub result: Path,
    /// Where an answer names the items that it has no result for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<BatchFailures>,
    /// What happens to an item that has no result and is not among the failures either.
    #[serde(default)]
    pub unmatched: Unmatched,
}

/// Where the answer to a batch names the items that it has no result for, and why. An item that does not
/// exist is not a resource; every other failure fails the item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchFailures {
    /// The path of the failures in the answer (`failures[]`).
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

/// What happens to an item that a batch does not mention.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unmatched {
    /// It does not exist (any more). Only for operations that are known to leave out what does not exist,
    /// and nothing else.
    Drop,
    /// It is mapped without this step's result.
    Absent,
    /// It has failed, and its unit is protected. The default: what is not mentioned may still exist.
    #[default]
    Fail,
}

/// What an AWS error code means to a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorRule {
    /// A plain policy.
    Policy(ErrorPolicy),
    /// The answer is taken to be this value.
    Use {
        /// The value that stands for the response.
        #[serde(rename = "use")]
        value: Value,
    },
}

/// The plain policies for an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorPolicy {
    /// The item is mapped without this step's result. An error that hides the result (denied access, a
    /// busy service, or anything by `*`) is reported, and what the step [fills](Step::fills) stays as the
    /// catalog has it; any other error means that there is no result.
    Absent,
    /// The item is no resource (any more) and is dropped; for a list step: there are no items. Only for
    /// errors that mean that something does not exist.
    Drop,
    /// The unit is skipped and protected from deletion. The default where the plan's first list is denied.
    SkipUnit,
    /// The item is reported as failed, its entity stays as it was, and its unit is protected. The default
    /// for all else.
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
    /// The compiled template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The JSON form.
    pub fn source(&self) -> &Value {
        &self.source
    }

    /// Whether the input is `{}`.
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
    /// Whether the plan has no step.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The step of that name.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }

    /// The list step whose items are the resources.
    pub fn resource_step(&self) -> Option<&Step> {
        match &self.resources {
            Some(id) => self.step(id),
            None => self.steps.first(),
        }
    }

    /// The list steps from the root to the resources, in order.
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

    /// The steps that enrich items of that list step, in order, without those whose option is off.
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
    /// Whether it runs when these options are switched on.
    pub fn is_on(&self, options: &BTreeSet<String>) -> bool {
        self.option.as_ref().is_none_or(|option| options.contains(option))
    }

    /// The step whose items this one runs for.
    pub fn parent(&self) -> Option<&str> {
        self.each.as_deref().or(self.batch.as_ref().map(|batch| batch.of.as_str()))
    }

    /// The IAM actions that the call needs.
    pub fn iam_actions(&self) -> Vec<String> {
        if self.iam.is_empty() {
            vec![format!("{}:{}", self.service, self.operation)]
        } else {
            self.iam.clone()
        }
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// [`ManifestError`] with the place and the reason, for bad JSON as well as for a plan that
    /// makes no sense.
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

    /// Which events tell of its resources.
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
    fn narrowed(&self) -> Result<Self, ManifestError>;

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

    fn narrowed(&self) -> Result<Self, ManifestError> {
        narrowed(self)
    }

    fn event_steps(&self) -> Vec<Step> {
        let narrowed = self.narrowed().map(|kind| kind.plan.steps).unwrap_or_default();
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
