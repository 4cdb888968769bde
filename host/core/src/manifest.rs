//! What a plugin says about itself: its kinds, their fetch plans, options, blueprints and default
//! mapping. The JSON form is part of the plugin contract; `wit/README.md` describes it for authors.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Blueprint, BlueprintId, ErrorClass, EventRules, Kind, NO_ORGANIZATION, Path, PathError, Region,
    ResourceConfig, Template, events::check_roots, problem::place,
};

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
    pub fallback: bool,
    /// Where its resources live.
    pub scope: Scope,
    /// When given, the only regions in which the service exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<BTreeSet<Region>>,
    /// Whether each resource belongs to exactly one account: the one that it is read through. False,
    /// the default, for what several accounts list (shared subnets, transit gateways, images).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_account: bool,
    /// Which AWS reads make up a resource.
    #[serde(default, skip_serializing_if = "FetchPlan::is_empty")]
    pub plan: FetchPlan,
    /// Named extras that a selector's `includeActions` switches on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionInfo>,
    /// What a fresh installation takes of the two fields below.
    #[serde(default, skip_serializing_if = "Install::is_all")]
    pub install: Install,
    /// The kind's blueprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blueprints: Vec<Blueprint>,
    /// The kind's default mapping: the entry of the app-config for which the plugin maps natively.
    /// `None` for a kind that has no mapping of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<ResourceConfig>,
    /// Which events tell that a resource changed, and how it is read again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<EventRules>,
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
    pub fn is_all(&self) -> bool {
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

    /// Checks what the step says about empty lists and failed items.
    fn check_completeness(&self, at: &str) -> Result<(), ManifestError> {
        if self.empty.is_some() && !self.items.as_ref().is_some_and(Path::is_list) {
            return Err(refuse(format!("{at}.empty"), "`items` is not a list, so it cannot be empty"));
        }
        let Some(matching) = &self.matching else { return Ok(()) };
        let Some(failures) = &matching.failures else { return Ok(()) };
        if !failures.items.is_list() {
            return Err(refuse(
                format!("{at}.match.failures.items"),
                "the failures are a list, as in `failures[]`",
            ));
        }
        if failures.reason.is_none() && !failures.missing.is_empty() {
            let reason = "`missing` names reasons, but `reason` does not say where they are";
            return Err(refuse(format!("{at}.match.failures.missing"), reason));
        }
        Ok(())
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

    fn check(&self) -> Result<(), ManifestError> {
        let named = !self.name.is_empty()
            && self.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !named {
            return Err(refuse("name", "a plugin's name has lower-case letters, digits and dashes"));
        }
        if self.kinds.is_empty() {
            return Err(refuse("kinds", "a plugin maps at least one kind"));
        }
        let mut seen = BTreeSet::new();
        for (index, kind) in self.kinds.iter().enumerate() {
            let at = format!("kinds[{index}]");
            if !seen.insert(&kind.kind) {
                return Err(refuse(format!("{at}.kind"), format!("`{}` is listed twice", kind.kind)));
            }
            kind.check(&at)?;
        }
        Ok(())
    }
}

impl KindManifest {
    /// The blueprints that it brings, and that of its default mapping.
    pub fn declared_blueprints(&self) -> BTreeSet<BlueprintId> {
        let own = self.blueprints.iter().map(|blueprint| blueprint.identifier().clone());
        let mapped =
            self.mapping.iter().filter_map(|mapping| mapping.port.entity.mappings.literal_blueprint());
        own.chain(mapped).collect()
    }

    /// This generic kind, standing for another one; `None` when it does not.
    pub fn standing_for(&self, kind: &Kind) -> Option<Self> {
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

    /// The same kind, read by its list steps alone: resources are listed, and not enriched. Parents keep
    /// their enrichments, since a list below them may need the results.
    #[must_use]
    pub fn list_only(&self) -> Self {
        let mut other = self.clone();
        if let Some(last) = self.plan.resource_step().map(|step| step.id.clone()) {
            other.plan.steps.retain(|step| step.parent() != Some(last.as_str()));
        }
        other
    }

    fn check(&self, at: &str) -> Result<(), ManifestError> {
        if (self.scope == Scope::Account) != self.plan.is_empty() {
            let reason = match self.scope {
                Scope::Account => "a kind of scope `account` is fed by the host and has no steps",
                _ => "a kind needs at least one step, unless its scope is `account`",
            };
            return Err(refuse(format!("{at}.plan.steps"), reason));
        }
        if let Some(mapping) = &self.mapping
            && mapping.kind != self.kind
        {
            let reason = format!("`{}` maps another kind than `{}`", mapping.kind, self.kind);
            return Err(refuse(format!("{at}.mapping.kind"), reason));
        }
        self.check_plan_of(&[], at)?;
        self.check_events(at)
    }

    /// Checks the plan, whose placeholders may also be these.
    pub(crate) fn check_plan_of(&self, more: &[&str], at: &str) -> Result<(), ManifestError> {
        const ROOTS: [&str; 8] =
            ["item", "items", "parents", "steps", "account", "region", "partition", "kind"];
        let roots = [&ROOTS, more].concat();
        let plan = &self.plan;
        if plan.chunk == Some(0) {
            return Err(refuse(format!("{at}.plan.chunk"), "a batch has at least one resource"));
        }
        if let Some(id) = &plan.resources
            && plan.step(id).is_none()
        {
            return Err(refuse(format!("{at}.plan.resources"), format!("there is no step `{id}`")));
        }
        let mut earlier: BTreeSet<&str> = BTreeSet::new();
        for (index, step) in plan.steps.iter().enumerate() {
            let at = format!("{at}.plan.steps[{index}]");
            if step.each.is_some() && step.batch.is_some() {
                return Err(refuse(at, "a step has either `each` or `batch`"));
            }
            match step.parent() {
                None if index > 0 => {
                    return Err(refuse(at, "only the first step stands alone; give `each` or `batch`"));
                }
                Some(parent) if !earlier.contains(parent) => {
                    return Err(refuse(at, format!("there is no earlier step `{parent}`")));
                }
                _ => {}
            }
            if let Some(batch) = &step.batch {
                if batch.size == 0 {
                    return Err(refuse(format!("{at}.batch.size"), "a batch has at least one item"));
                }
                if step.matching.is_none() || step.items.is_none() {
                    return Err(refuse(
                        at,
                        "a batch step needs `items` and `match`, so that each result finds its item",
                    ));
                }
            }
            if let Some(option) = &step.option
                && !self.options.iter().any(|known| known.name == *option)
            {
                return Err(refuse(
                    format!("{at}.option"),
                    format!("`{option}` is not among the kind's `options`"),
                ));
            }
            let texts =
                [("region", step.region.as_ref()), ("only.is", step.only.as_ref().map(|only| &only.is))];
            for (name, text) in texts {
                let Some(text) = text else { continue };
                let at = format!("{at}.{name}");
                let template = Template::parse(&Value::from(text.as_str()))
                    .map_err(|PathError { path, reason }| refuse(&at, format!("`{path}`: {reason}")))?;
                check_roots(&template, &roots, &at)?;
            }
            check_roots(step.input.template(), &roots, &format!("{at}.input"))?;
            step.check_completeness(&at)?;
            if !earlier.insert(&step.id) {
                return Err(refuse(format!("{at}.id"), format!("`{}` is used twice", step.id)));
            }
        }
        let lists: BTreeSet<&str> = plan.list_steps().iter().map(|step| step.id.as_str()).collect();
        for (index, step) in plan.steps.iter().enumerate() {
            if step.only.is_some() && !lists.contains(step.id.as_str()) {
                let at = format!("{at}.plan.steps[{index}].only");
                return Err(refuse(at, "only list steps choose among their items"));
            }
            if let Some(parent) = step.parent().filter(|parent| !lists.contains(parent)) {
                let reason = format!(
                    "`{parent}` lists no items: only the first step and those on the way to `resources` do"
                );
                return Err(refuse(format!("{at}.plan.steps[{index}]"), reason));
            }
        }
        for (index, step) in plan.steps.iter().enumerate() {
            self.check_errors(step, lists.contains(step.id.as_str()), &format!("{at}.plan.steps[{index}]"))?;
        }
        for step in plan.list_steps() {
            let at = format!(
                "{at}.plan.steps[{}]",
                plan.steps.iter().position(|s| s.id == step.id).unwrap_or_default()
            );
            if step.fills.is_some() {
                return Err(refuse(format!("{at}.fills"), "a list step lists resources; it fills nothing"));
            }
            if step.items.is_none() {
                return Err(refuse(at, "a list step says where its `items` are in the response"));
            }
            if step.batch.is_some() {
                return Err(refuse(at, "a list step runs for `each` item of its parent, not in a `batch`"));
            }
        }
        Ok(())
    }

    /// Checks that no error that hides a resource makes it look as if it were gone.
    fn check_errors(&self, step: &Step, lists: bool, at: &str) -> Result<(), ManifestError> {
        for (code, rule) in &step.errors {
            let at = || format!("{at}.errors.{code}");
            let hides = match code.as_str() {
                "denied" | "*" => true,
                "missing" => false,
                // With this answer of every account there is no organization.
                NO_ORGANIZATION if self.scope == Scope::Organization => false,
                code => ErrorClass::of(code).hides_the_resource(),
            };
            let is_drop = *rule == ErrorRule::Policy(ErrorPolicy::Drop);
            let is_empty_list = lists
                && (is_drop
                    || *rule == ErrorRule::Policy(ErrorPolicy::Absent)
                    || matches!(rule, ErrorRule::Use { .. }));
            if hides && is_empty_list {
                let reason = "a list that could not be read is not empty; use `skip-unit` or `fail`";
                return Err(refuse(at(), reason));
            }
            if hides && is_drop {
                let reason = "only an error that means that the resource does not exist drops it; use `absent`, `fail` or `skip-unit`";
                return Err(refuse(at(), reason));
            }
            if lists
                && let ErrorRule::Use { value } = rule
                && let Some(items) = step.items.as_ref().filter(|items| items.list_in(value).is_none())
            {
                return Err(refuse(at(), format!("the value has no `{}`", items.as_str())));
            }
        }
        Ok(())
    }
}

pub(crate) fn refuse(at: impl Into<String>, reason: impl Into<String>) -> ManifestError {
    ManifestError { at: at.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(kind: &Value) -> Value {
        json!({"name": "x", "version": "1.0.0", "kinds": [kind]})
    }

    fn parse(value: &Value) -> Result<Manifest, ManifestError> {
        Manifest::parse(value.to_string().as_bytes())
    }

    fn services() -> Value {
        json!({
            "kind": "AWS::ECS::Service", "scope": "regional",
            "options": [{"name": "Tags", "description": "adds tags"}],
            "plan": {"resources": "services", "chunk": 10, "steps": [
                {"id": "clusters", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"},
                {"id": "services", "each": "clusters", "service": "ecs", "operation": "ListServices",
                 "input": {"cluster": "{item}"}, "items": "serviceArns[]"},
                {"id": "details", "batch": {"of": "services", "size": 10}, "service": "ecs",
                 "operation": "DescribeServices", "input": {"services": "{items[]}"},
                 "items": "services[]", "match": {"item": "@", "result": "serviceArn"}},
                {"id": "tags", "each": "services", "option": "Tags", "service": "ecs",
                 "operation": "ListTagsForResource", "input": {"resourceArn": "{item}"},
                 "errors": {"denied": "absent", "Gone": {"use": {"tags": []}}, "*": "fail"}}
            ]}
        })
    }

    #[test]
    fn a_plan_is_understood() {
        let manifest = parse(&manifest(&services())).unwrap();
        let plan = &manifest.kinds[0].plan;
        let ids = |steps: Vec<&Step>| steps.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(plan.list_steps()), ["clusters", "services"]);
        assert_eq!(ids(plan.enrichments("services", &BTreeSet::new())), ["details"]);
        let all = BTreeSet::from(["Tags".to_owned()]);
        assert_eq!(ids(plan.enrichments("services", &all)), ["details", "tags"]);
        assert_eq!(plan.steps[3].iam_actions(), ["ecs:ListTagsForResource"]);
        let again = serde_json::to_value(&manifest).unwrap();
        assert_eq!(parse(&again).unwrap(), manifest);
    }

    #[test]
    fn nonsense_is_named_with_its_place() {
        let cases: [(&str, Value, &str, &str); 14] = [
            ("/kinds/0/plan/steps/3/each", json!("details"), "kinds[0].plan.steps[3]", "lists no items"),
            ("/kinds/0/kind", json!("S3"), "kinds[0].kind", "is not a kind"),
            ("/kinds/0/scope", json!("mars"), "kinds[0].scope", "unknown variant"),
            ("/kinds/0/plan/steps", json!([]), "kinds[0].plan.steps", "at least one step"),
            ("/kinds/0/plan/steps/1/each", json!("nope"), "kinds[0].plan.steps[1]", "no earlier step `nope`"),
            ("/kinds/0/plan/steps/3/id", json!("services"), "kinds[0].plan.steps[3].id", "used twice"),
            (
                "/kinds/0/plan/steps/1/input",
                json!({"c": "{itm}"}),
                "kinds[0].plan.steps[1].input",
                "`itm` is not one of",
            ),
            (
                "/kinds/0/plan/steps/1/input",
                json!({"c": "{item"}),
                "kinds[0].plan.steps[1].input",
                "not closed",
            ),
            ("/kinds/0/plan/steps/1/items", Value::Null, "kinds[0].plan.steps[1]", "where its `items` are"),
            (
                "/kinds/0/plan/steps/2/match",
                Value::Null,
                "kinds[0].plan.steps[2]",
                "needs `items` and `match`",
            ),
            ("/kinds/0/plan/steps/3/option", json!("Nope"), "kinds[0].plan.steps[3].option", "not among"),
            ("/kinds/0/plan/resources", json!("nope"), "kinds[0].plan.resources", "no step `nope`"),
            (
                "/kinds/0/plan/steps/1",
                json!({"id": "services", "each": "clusters", "service": "ecs", "operation": "ListServices",
                       "items": "serviceArns[]", "only": {"path": "@", "is": "{resource}"}}),
                "kinds[0].plan.steps[1].only.is",
                "`resource` is not one of",
            ),
            ("/name", json!("Bad Name"), "name", "lower-case"),
        ];
        for (pointer, value, at, reason) in cases {
            let mut document = manifest(&services());
            *document.pointer_mut(pointer).unwrap() = value;
            let error = parse(&document).unwrap_err();
            assert!(error.at.starts_with(at) && error.reason.contains(reason), "{pointer}: {error}");
        }
        let error = Manifest::parse(b"{\"name\": 3}").unwrap_err();
        assert_eq!(error.at, "name");
        assert!(Manifest::parse(b"\xff").is_err());
    }

    #[test]
    fn a_field_without_a_name_has_a_place_too() {
        let error = Manifest::parse(br#"{"name": "x", "version": "1.0.0", "": 1, "kinds": []}"#).unwrap_err();
        assert_eq!(error.at, ".", "{error}");
    }

    #[test]
    fn a_plan_can_be_narrowed_to_its_list_steps() {
        let mut kind = parse(&manifest(&services())).unwrap().kinds.remove(0);
        kind.plan.steps.insert(
            1,
            serde_json::from_value(json!({"id": "names", "each": "clusters", "service": "ecs",
                "operation": "ListTagsForResource", "input": {"resourceArn": "{item}"}}))
            .unwrap(),
        );
        let narrowed = kind.list_only();
        let ids: Vec<&str> = narrowed.plan.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(ids, ["clusters", "names", "services"], "parents keep their enrichments");
        assert_eq!(narrowed.plan.list_steps(), kind.plan.list_steps());
        let again = json!({"name": "x", "version": "1.0.0", "kinds": [narrowed]});
        assert_eq!(parse(&again).unwrap().kinds[0], narrowed, "it is a plan that can be run");
        assert_eq!(narrowed.list_only(), narrowed);
        // Without `resources`, the first step lists them.
        let mut kind = kind;
        kind.plan.resources = None;
        kind.plan.steps.retain(|step| ["clusters", "names"].contains(&step.id.as_str()));
        assert_eq!(kind.list_only().plan.steps.len(), 1);
    }

    #[test]
    fn only_what_does_not_exist_disappears() {
        let refused = |step: usize, code: &str, rule: Value| {
            let mut document = manifest(&services());
            document["kinds"][0]["plan"]["steps"][step]["errors"] = json!({code: rule});
            parse(&document).err()
        };
        // Two list steps, a batch, and a step for each item.
        for step in 0..4 {
            for code in ["denied", "*", "AccessDeniedException", "ThrottlingException", "ServiceUnavailable"]
            {
                let error = refused(step, code, json!("drop")).unwrap();
                assert_eq!(error.at, format!("kinds[0].plan.steps[{step}].errors.{code}"));
                let lists = step < 2;
                assert_eq!(refused(step, code, json!("absent")).is_some(), lists, "{step} {code}");
                let used = json!({"use": {"clusterArns": [], "serviceArns": []}});
                assert_eq!(refused(step, code, used).is_some(), lists, "{step} {code}");
                for rule in ["skip-unit", "fail"] {
                    assert_eq!(refused(step, code, json!(rule)), None, "{step} {code}");
                }
            }
            for code in
                ["missing", "ResourceNotFoundException", "NoSuchEntity", "DeploymentNotStartedException"]
            {
                for rule in ["drop", "absent", "skip-unit", "fail"] {
                    assert_eq!(refused(step, code, json!(rule)), None, "{step} {code} {rule}");
                }
            }
        }
        let error = refused(1, "Odd", json!({"use": {"clusterArns": []}})).unwrap();
        assert!(error.reason.contains("has no `serviceArns[]`"), "{error}");
        // Only for a kind of the organization this code means that there is none.
        let mut kind = json!({"kind": "AWS::Organizations::Account", "scope": "organization", "plan": {"steps": [
            {"id": "accounts", "service": "organizations", "operation": "ListAccounts", "items": "Accounts[]",
             "errors": {NO_ORGANIZATION: "drop"}}]}});
        assert_eq!(parse(&manifest(&kind)).err(), None);
        kind["scope"] = json!("regional");
        assert!(parse(&manifest(&kind)).is_err());
    }

    #[test]
    fn an_answer_says_what_is_empty_and_what_failed() {
        let edited = |step: usize, member: &str, value: Value| {
            let mut document = manifest(&services());
            document["kinds"][0]["plan"]["steps"][step][member] = value;
            parse(&document)
        };
        for empty in [json!("omitted"), json!({"path": "Count", "is": 0})] {
            let manifest = edited(0, "empty", empty.clone()).unwrap();
            assert_eq!(json!(manifest)["kinds"][0]["plan"]["steps"][0]["empty"], empty);
        }
        let error = edited(3, "empty", json!("omitted")).unwrap_err();
        assert!(error.at.ends_with("steps[3].empty") && error.reason.contains("is not a list"), "{error}");
        assert!(edited(0, "empty", json!("sometimes")).is_err());
        assert!(edited(0, "empty", json!({"path": "Count", "is": 0, "or": 1})).is_err());

        let matching = |failures: Value| {
            edited(2, "match", json!({"item": "@", "result": "serviceArn", "failures": failures}))
        };
        let step = |manifest: Manifest| manifest.kinds[0].plan.steps[2].matching.clone().unwrap();
        let plain = step(matching(json!({"items": "notFound[]"})).unwrap());
        let failures = plain.failures.unwrap();
        assert!(failures.key.is_itself() && failures.reason.is_none() && failures.missing.is_empty());
        assert_eq!(plain.unmatched, Unmatched::Fail, "what is not mentioned may still exist");
        assert_eq!(json!(failures), json!({"items": "notFound[]"}));
        let full = json!({"items": "failures[]", "key": "arn", "reason": "reason", "missing": ["MISSING"]});
        assert_eq!(json!(step(matching(full.clone()).unwrap()).failures), full);
        for (failures, at) in [
            (json!({"items": "failures"}), "match.failures.items"),
            (json!({"items": "failures[]", "missing": ["MISSING"]}), "match.failures.missing"),
        ] {
            let error = matching(failures).unwrap_err();
            assert!(error.at.ends_with(at), "{error}");
        }
    }
}
