//! Maps events to resources: which events report a change of a kind's resource, and how to read that one
//! resource again. Part of the manifest; `wit/README.md` describes it for authors.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::{check_roots, refuse};
use crate::{
    ErrorPolicy, ErrorRule, KindManifest, KindReads, ManifestError, Path, PathError, Scope, Step, StepInput,
    Template,
};

/// The `events` of a kind's manifest.
///
/// An event only names *which* resource to check. Berth then reads that resource through the kind's own
/// plan, with some list steps narrowed to it, and the result decides what happens to its entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventRules {
    /// The events that report a change of the kind.
    pub on: Vec<Trigger>,
    /// By list step of the plan: the members that replace the step's own, so that the step lists that one
    /// resource. `null` removes a member. Placeholders in addition to those of a plan: `{resource}` (its
    /// name) and `{event…}` (the event's `detail`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub read: BTreeMap<String, Map<String, Value>>,
    /// The minimal resource from which the mapping computes the identifier of a resource that no longer
    /// exists: an element of a batch (`{"item", "steps", "parents"}`), with the placeholders `{resource}`,
    /// `{event…}`, `{account}`, `{region}`, `{partition}` and `{kind}`. Without it, the next resync deletes
    /// the entity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<StepInput>,
}

/// Events of one type, and where they name their resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The sender: `eventSource` of an API call (`ec2.amazonaws.com`), `source` of an event of another type
    /// (`aws.ec2`).
    pub source: String,
    /// API calls after which the resource exists.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub upsert: BTreeSet<String>,
    /// API calls after which the resource does not exist.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub delete: BTreeSet<String>,
    /// Instead of API calls: events of this `detail-type`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub detail_type: Option<String>,
    /// Where the event's `detail` names the resources: the first path that yields a text is used. A path
    /// with `[]` names several.
    pub resource: Vec<Path>,
    /// Accepts only names with this prefix; may contain `{account}`, `{region}` and `{partition}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The resource's name starts after the last occurrence of this text, if it occurs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The resource's name ends before the first occurrence of this text, if it occurs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

/// Placeholders of a `read` in addition to those of a plan.
pub(crate) const ROOTS: [&str; 2] = ["resource", "event"];

impl Trigger {
    /// Extracts the resource's name from a value of an event (`name`, `arn:…:function:name:alias`).
    pub fn name<'v>(&self, value: &'v str) -> &'v str {
        let after = self.after.as_deref().and_then(|after| Some((value.rfind(after)?, after.len())));
        let name = after.map_or(value, |(at, length)| &value[at + length..]);
        let before = self.before.as_deref().and_then(|before| name.find(before));
        before.map_or(name, |end| &name[..end])
    }

    fn check(&self, at: &str) -> Result<(), ManifestError> {
        let calls = !self.upsert.is_empty() || !self.delete.is_empty();
        if calls == self.detail_type.is_some() {
            return Err(refuse(at, "set either API calls (`upsert`, `delete`) or a `type`"));
        }
        if let Some(both) = self.upsert.intersection(&self.delete).next() {
            return Err(refuse(at, format!("`{both}` is in both `upsert` and `delete`")));
        }
        if self.resource.is_empty() {
            return Err(refuse(format!("{at}.resource"), "an event must name its resource"));
        }
        if let Some(prefix) = &self.prefix {
            let template =
                Template::parse(&Value::from(prefix.as_str())).map_err(|PathError { path, reason }| {
                    refuse(format!("{at}.prefix"), format!("`{path}`: {reason}"))
                })?;
            check_roots(&template, &["account", "region", "partition"], &format!("{at}.prefix"))?;
        }
        Ok(())
    }
}

/// See [`KindReads::for_single_resource`].
pub(crate) fn for_single_resource(kind: &KindManifest) -> Result<KindManifest, ManifestError> {
    let mut single = kind.clone();
    for (id, members) in kind.events.iter().flat_map(|rules| &rules.read) {
        let at = format!("events.read.{id}");
        if !kind.plan.list_steps().iter().any(|step| step.id == *id) {
            return Err(refuse(at, "there is no list step of that name"));
        }
        let Some(step) = single.plan.steps.iter_mut().find(|step| step.id == *id) else { continue };
        *step = narrowed_step(step, members, &at)?;
    }
    Ok(single)
}

impl KindManifest {
    pub(crate) fn check_events(&self, at: &str) -> Result<(), ManifestError> {
        let Some(rules) = &self.events else { return Ok(()) };
        let inside = |error: ManifestError| ManifestError { at: format!("{at}.{}", error.at), ..error };
        if !matches!(self.scope, Scope::Regional | Scope::Global) {
            let reason = "only kinds of scope `regional` or `global` can have `events`";
            return Err(refuse(format!("{at}.events"), reason));
        }
        if rules.on.is_empty() {
            return Err(refuse(format!("{at}.events.on"), "the list of events is empty"));
        }
        for (index, trigger) in rules.on.iter().enumerate() {
            trigger.check(&format!("{at}.events.on[{index}]"))?;
        }
        let for_single_resource = self.for_single_resource().map_err(inside)?;
        for_single_resource.check_plan_of(&ROOTS, at).map_err(|error| ManifestError {
            reason: format!("with `events.read`: {}", error.reason),
            ..error
        })?;
        // A read that does not name the resource would return other resources in its place.
        let names_it = |step: &&Step| {
            let only =
                step.only.as_ref().and_then(|only| Template::parse(&Value::from(only.is.as_str())).ok());
            let templates = [Some(step.input.template()), only.as_ref()];
            templates.into_iter().flatten().any(|template| template.roots().contains(&"resource"))
        };
        if !for_single_resource.plan.list_steps().iter().any(names_it) {
            return Err(refuse(format!("{at}.events.read"), "no list step names `{resource}`"));
        }
        if let Some(gone) = &rules.gone {
            let known = ["resource", "event", "account", "region", "partition", "kind"];
            let at = format!("{at}.events.gone");
            check_roots(gone.template(), &known, &at)?;
            if !gone.template().roots().contains(&"resource") {
                return Err(refuse(at, "it does not use `{resource}`"));
            }
        }
        Ok(())
    }
}

/// A list step with other members. What does not exist is no failure of it.
fn narrowed_step(step: &Step, members: &Map<String, Value>, at: &str) -> Result<Step, ManifestError> {
    const FIXED: [&str; 5] = ["id", "each", "batch", "match", "option"];
    if let Some(name) = members.keys().find(|name| FIXED.contains(&name.as_str())) {
        return Err(refuse(at, format!("an event cannot change `{name}` of the plan")));
    }
    let invalid = |error: serde_json::Error| refuse(at, error.to_string());
    let mut json = serde_json::to_value(step).map_err(invalid)?;
    for (name, value) in members {
        json[name] = value.clone();
    }
    if let Value::Object(all) = &mut json {
        all.retain(|_, value| !value.is_null());
    }
    let mut step: Step = serde_json::from_value(json).map_err(invalid)?;
    step.errors.entry("missing".to_owned()).or_insert(ErrorRule::Policy(ErrorPolicy::Drop));
    Ok(step)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Manifest;

    fn functions() -> Value {
        json!({"name": "x", "version": "1.0.0", "kinds": [{
            "kind": "AWS::Lambda::Function", "scope": "regional",
            "plan": {"steps": [
                {"id": "functions", "service": "lambda", "operation": "ListFunctions", "items": "Functions[]",
                 "errors": {"Odd": "fail"}},
                {"id": "tags", "each": "functions", "service": "lambda", "operation": "ListTags",
                 "input": {"Resource": "{item.FunctionArn}"}}
            ]},
            "events": {
                "on": [{"source": "lambda.amazonaws.com", "upsert": ["Create"], "delete": ["Delete"],
                        "resource": ["requestParameters.functionName"], "prefix": "arn:{partition}",
                        "after": "function:", "before": ":"}],
                "read": {"functions": {"operation": "GetFunctionConfiguration", "items": "@",
                                       "input": {"FunctionName": "{resource}"}}},
                "gone": {"item": {"FunctionArn": "arn:{partition}:lambda:{region}:{account}:function:{resource}"}}
            }
        }]})
    }

    fn parse(manifest: &Value) -> Result<Manifest, ManifestError> {
        Manifest::parse(manifest.to_string().as_bytes())
    }

    #[test]
    fn a_plan_is_narrowed_to_one_resource() {
        let manifest = parse(&functions()).unwrap();
        let kind = manifest.kinds[0].for_single_resource().unwrap();
        assert_eq!(
            serde_json::to_value(&kind.plan.steps[0]).unwrap(),
            json!({"id": "functions", "service": "lambda", "operation": "GetFunctionConfiguration",
                   "input": {"FunctionName": "{resource}"}, "items": "@",
                   "errors": {"Odd": "fail", "missing": "drop"}})
        );
        assert_eq!(kind.plan.steps[1], manifest.kinds[0].plan.steps[1]);
        let steps = manifest.kinds[0].event_steps();
        assert_eq!(
            steps.iter().flat_map(Step::iam_actions).collect::<Vec<_>>(),
            ["lambda:GetFunctionConfiguration"]
        );
        assert_eq!(parse(&serde_json::to_value(&manifest).unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_resource_name_is_extracted_from_every_form() {
        let manifest = parse(&functions()).unwrap();
        let trigger = &manifest.kinds[0].events.as_ref().unwrap().on[0];
        for value in [
            "acme",
            "acme:live",
            "111122223333:function:acme",
            "arn:aws:lambda:eu-west-1:111122223333:function:acme",
            "arn:aws:lambda:eu-west-1:111122223333:function:acme:7",
        ] {
            assert_eq!(trigger.name(value), "acme", "{value}");
        }
        assert_eq!(trigger.name("function:"), "");
    }

    #[test]
    fn nonsense_is_named_with_its_place() {
        for (pointer, value, at, reason) in [
            ("/scope", json!("organization"), "kinds[0].events", "scope `regional` or `global`"),
            ("/events/on", json!([]), "kinds[0].events.on", "is empty"),
            ("/events/on/0/type", json!("Change"), "kinds[0].events.on[0]", "either API calls"),
            ("/events/on/0/delete", json!(["Create"]), "kinds[0].events.on[0]", "both"),
            ("/events/on/0/resource", json!([]), "kinds[0].events.on[0].resource", "name its resource"),
            ("/events/on/0/prefix", json!("{item}"), "kinds[0].events.on[0].prefix", "`item` is not one of"),
            ("/events/on/0/extra", json!(1), "kinds[0].events.on[0].extra", "unknown field"),
            ("/events/read", json!({"nope": {}}), "kinds[0].events.read.nope", "no list step"),
            ("/events/read", json!({"tags": {}}), "kinds[0].events.read.tags", "no list step"),
            ("/events/read/functions/each", json!("x"), "kinds[0].events.read.functions", "cannot change"),
            ("/events/read/functions/itmes", json!("x"), "kinds[0].events.read.functions", "unknown field"),
            ("/events/read/functions/items", Value::Null, "kinds[0].plan.steps[0]", "with `events.read`"),
            (
                "/events/read/functions/input",
                json!({"a": "{resorce}"}),
                "kinds[0].plan.steps[0].input",
                "resorce",
            ),
            ("/events/read/functions/input", json!({"a": "b"}), "kinds[0].events.read", "no list step names"),
            ("/events/gone", json!({"item": "{item}"}), "kinds[0].events.gone", "`item` is not one of"),
            ("/events/gone", json!({"item": "{account}"}), "kinds[0].events.gone", "does not use"),
        ] {
            let mut document = functions();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            document.pointer_mut(&format!("/kinds/0{parent}")).unwrap()[name] = value;
            let error = parse(&document).unwrap_err();
            assert!(error.at.starts_with(at) && error.reason.contains(reason), "{pointer}: {error}");
        }
    }
}
