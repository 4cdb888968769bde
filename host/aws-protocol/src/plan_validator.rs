//! Validates a fetch plan on sample responses that are generated from AWS's models. Otherwise a misspelled
//! operation, input member, path or placeholder would only fail in an account with such resources.

use std::collections::BTreeMap;

use berth_core::{
    EmptyList, ErrorRule, FetchPlan, KindManifest, KindReads, Match, Path, StatedEmpty, Step, Template,
};
use serde_json::{Map, Value, json};

use crate::{AwsService, Operation, document_validator::document_violations};

/// Validates a kind's fetch plan, its reads after events, its declared documents and its default mapping against AWS's
/// models, and returns every violation.
pub fn validate_plan(kind: &KindManifest) -> Vec<String> {
    let mut violations = Vec::new();
    let (items, steps) = PlanValidator::run_all(kind, Map::new(), &mut violations);
    violations.extend(missing_page_sizes(kind));
    violations.extend(document_violations(kind, &items, &steps));
    PlanValidator::of_events(kind, &mut violations);
    violations
}

/// Finds lists without a page size. Reads after events do not need one: they request resources by name.
fn missing_page_sizes(kind: &KindManifest) -> Vec<String> {
    let lists = kind.plan().list_steps();
    let violation = |step: &&Step| {
        let operation =
            AwsService::load(&step.service).and_then(|service| service.operation(&step.operation)).ok()?;
        let limit = operation.missing_page_size(step.input.source())?;
        Some(format!(
            "{}, step `{}`: `input` does not set the page size `{limit}`; set the largest value that AWS \
             documents, or the service may return everything at once, or small pages",
            kind.kind, step.id
        ))
    };
    lists.iter().filter_map(violation).collect()
}

/// A plan that runs on sample responses with one element in each list.
struct PlanValidator<'a> {
    kind: &'a KindManifest,
    /// The item of each list step, and the results that enrich it.
    items: BTreeMap<&'a str, Value>,
    steps: Map<String, Value>,
    /// The placeholders of an event: `resource` and `event`.
    event: Map<String, Value>,
    violations: &'a mut Vec<String>,
}

impl<'a> PlanValidator<'a> {
    /// Runs a plan; returns the item of each list step, and the results that enrich it.
    fn run_all(
        kind: &'a KindManifest,
        event: Map<String, Value>,
        violations: &'a mut Vec<String>,
    ) -> (BTreeMap<String, Value>, Map<String, Value>) {
        let mut validator = Self { kind, items: BTreeMap::new(), steps: Map::new(), event, violations };
        for step in &kind.plan().steps {
            validator.run(step);
        }
        let items = validator.items.into_iter().map(|(id, item)| (id.to_owned(), item));
        (items.collect(), validator.steps)
    }

    /// Runs the plan for all resources and for the single resource of an event: both must list the same
    /// items. The resource that stands for a deleted one must be a subset of a listed one.
    fn of_events(kind: &KindManifest, violations: &mut Vec<String>) {
        let name = &kind.kind;
        let single = match kind.for_single_resource() {
            Ok(single) => single,
            Err(error) => return violations.push(format!("{name}: {error}")),
        };
        let Some(rules) = kind.events() else { return };
        let gone = rules.gone.clone().map(Value::from).unwrap_or_default();
        let all = json!([rules.read, gone]);
        let mut scope: Map<String, Value> =
            [("resource".to_owned(), json!("a-resource"))].into_iter().collect();
        scope.insert("event".to_owned(), event_with(&placeholders(&all)));
        let mut ignored = Vec::new();
        let (listed, steps) = PlanValidator::run_all(kind, Map::new(), &mut ignored);
        let mut found = Vec::new();
        let (read, _) = PlanValidator::run_all(&single, scope, &mut found);
        violations.append(&mut found);
        for (id, item) in &listed {
            let Some(other) = read.get(id) else { continue };
            if let Some(what) = lacks(other, item) {
                violations.push(format!("{name}, step `{id}` with `events.read`: `items`: {what}"));
            }
        }
        let resources = kind.plan().resource_step().map(|step| step.id.as_str()).unwrap_or_default();
        let none = Value::Null;
        let mut part = |of: &Value, whole: Option<&Value>, at: String| match whole {
            None => violations.push(format!("{name}: `{at}`: unknown step")),
            Some(whole) => violations.extend(extra(of, whole).map(|what| format!("{name}: `{at}`{what}"))),
        };
        if gone.is_object() {
            part(&gone["item"], listed.get(resources).or(Some(&none)), "gone.item".into());
            for (members, wholes) in [("steps", json!(steps)), ("parents", json!(listed))] {
                for (id, value) in gone[members].as_object().into_iter().flatten() {
                    part(value, wholes.get(id), format!("gone.{members}.{id}"));
                }
            }
        }
    }

    fn report(&mut self, step: &Step, what: impl std::fmt::Display) {
        self.violations.push(format!("{}, step `{}`: {what}", self.kind.kind, step.id));
    }

    fn run(&mut self, step: &'a Step) {
        let operation =
            AwsService::load(&step.service).and_then(|service| service.operation(&step.operation));
        let operation = match operation {
            Ok(operation) => operation,
            Err(error) => return self.report(step, error),
        };
        let scope = self.scope(step);
        if step.parent().is_some_and(|parent| !self.items.contains_key(parent)) {
            return self.report(step, "its parent has no items");
        }
        self.check_input(step, &operation, &scope);

        let mut answer = operation.sample();
        if let Some(path) = &step.items {
            name_keys(&mut answer, path);
        }
        for (code, rule) in &step.errors {
            let ErrorRule::Use { value } = rule else { continue };
            for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                if answer.get(name).is_none() {
                    self.report(step, format!("`{code}`: responses have no `{name}`"));
                }
            }
        }
        self.check_empty(step, &answer);
        let failure = self.sample_failure(step, &answer);
        let item = match &step.items {
            None => answer,
            Some(path) => match path.first(&answer) {
                Some(item) => item.clone(),
                None => return self.report(step, no_such("items", path, &answer)),
            },
        };
        if let Some(only) = &step.only
            && only.path.first(&item).is_none_or(|value| !value.is_string())
        {
            self.report(step, no_such("only.path", &only.path, &item));
        }
        if self.kind.plan().list_steps().iter().any(|list| list.id == step.id) {
            self.items.insert(&step.id, item);
            return;
        }
        if let Some(matching) = &step.matching {
            let parent = self.items.get(step.parent().unwrap_or_default()).unwrap_or(&Value::Null);
            let key = matching.item.first(parent).cloned();
            let mismatches = [
                key.is_none().then(|| no_such("match.item", &matching.item, parent)),
                matching
                    .result
                    .first(&item)
                    .is_none()
                    .then(|| no_such("match.result", &matching.result, &item)),
                (key.as_ref().zip(matching.result.first(&item)))
                    .is_some_and(|(key, found)| key != found)
                    .then(|| "`match`: the keys are of different types".to_owned()),
            ];
            mismatches.into_iter().flatten().for_each(|what| self.report(step, what));
            if let Some(failure) = &failure {
                self.check_failure(step, matching, failure, key.as_ref());
            }
        }
        let result = match &step.result {
            None => item,
            Some(path) if path.is_list() => json!(path.all(&item)),
            Some(path) => match path.first(&item) {
                Some(result) => result.clone(),
                None => return self.report(step, no_such("result", path, &item)),
            },
        };
        if result == json!([]) {
            self.report(step, "`result` matches nothing in a response");
        }
        let several = step.items.is_some() && step.batch.is_none();
        self.steps.insert(step.id.clone(), if several { json!([result]) } else { result });
    }

    /// Returns the values of a step's placeholders.
    fn scope(&self, step: &Step) -> Map<String, Value> {
        let plan = self.kind.plan();
        let mut scope = self.event.clone();
        for (name, value) in [
            ("account", "111122223333"),
            ("region", "eu-west-1"),
            ("partition", "aws"),
            ("kind", self.kind.kind.as_str()),
        ] {
            scope.insert(name.to_owned(), json!(value));
        }
        let Some(parent) = step.parent() else { return scope };
        let Some(item) = self.items.get(parent) else { return scope };
        if step.batch.is_some() {
            scope.insert("items".to_owned(), json!([item]));
        } else {
            scope.insert("item".to_owned(), item.clone());
            scope.insert("steps".to_owned(), Value::Object(self.steps.clone()));
        }
        scope.insert("parents".to_owned(), json!(above(plan, parent, &self.items)));
        scope
    }

    /// Checks that the member exists by which a response reports an empty list.
    fn check_empty(&mut self, step: &Step, answer: &Value) {
        if let Some(EmptyList::Stated(StatedEmpty { path, .. })) = &step.empty
            && path.first(answer).is_none()
        {
            self.report(step, no_such("empty.path", path, answer));
        }
    }

    /// Returns a failure of a batch, if the step sets their path.
    fn sample_failure(&mut self, step: &Step, answer: &Value) -> Option<Value> {
        let failures = step.matching.as_ref()?.failures.as_ref()?;
        let failure = failures.items.first(answer).cloned();
        if failure.is_none() {
            self.report(step, no_such("match.failures.items", &failures.items, answer));
        }
        failure
    }

    fn check_failure(&mut self, step: &Step, matching: &Match, failure: &Value, key: Option<&Value>) {
        let Some(failures) = &matching.failures else { return };
        match (failures.key.first(failure), key) {
            (None, _) => self.report(step, no_such("match.failures.key", &failures.key, failure)),
            (Some(found), Some(key)) if found != key => {
                self.report(step, "`match.failures.key`: the keys are of different types");
            }
            _ => {}
        }
        if let Some(reason) = &failures.reason
            && reason.first(failure).is_none_or(|reason| !reason.is_string())
        {
            self.report(step, no_such("match.failures.reason", reason, failure));
        }
    }

    fn check_input(&mut self, step: &Step, operation: &Operation, scope: &Map<String, Value>) {
        let input = Value::from(step.input.clone());
        let region = step.region.clone().map(Value::String);
        let only = step.only.as_ref().map(|only| Value::from(only.is.as_str()));
        for placeholder in [&input].into_iter().chain(&region).chain(&only).flat_map(placeholders) {
            let found = Template::parse(&Value::String(placeholder.clone()))
                .ok()
                .and_then(|template| template.render(scope));
            if found.is_none_or(|value| value == json!([])) {
                self.report(step, format!("`{placeholder}` matches nothing"));
            }
        }
        let rendered = step.input.template().render(scope).unwrap_or_default();
        if let Err(error) = operation.encode(&rendered) {
            self.report(step, error);
        }
    }
}

/// Returns the items of the list steps above this one.
fn above<'i>(plan: &FetchPlan, list: &str, items: &'i BTreeMap<&str, Value>) -> BTreeMap<String, &'i Value> {
    let lists = plan.list_steps();
    let above = lists.iter().take_while(|step| step.id != list);
    above.filter_map(|step| Some((step.id.clone(), items.get(step.id.as_str())?))).collect()
}

/// Builds an event's `detail` in which every `{event…}` of these placeholders matches a text.
fn event_with(placeholders: &[String]) -> Value {
    let mut event = json!({});
    for placeholder in placeholders {
        let Some(path) = placeholder.strip_prefix("{event.").and_then(|rest| rest.strip_suffix('}')) else {
            continue;
        };
        let mut at = &mut event;
        for part in path.split(['.', '[']) {
            at = if part.ends_with(']') {
                if !at.is_array() {
                    *at = json!([{}]);
                }
                &mut at[0]
            } else {
                if !at.is_object() {
                    *at = json!({});
                }
                &mut at[part]
            };
        }
        *at = json!("a-text");
    }
    event
}

/// Gives a map, whose keys are not in the model, the keys of a path.
fn name_keys(answer: &mut Value, path: &Path) {
    let Value::Object(members) = answer else { return };
    if members.len() == 1
        && let Some(value) = members.get("sample").cloned()
    {
        members.extend(path.as_str().split('.').map(|name| (name.to_owned(), value.clone())));
    }
    members.values_mut().for_each(|value| name_keys(value, path));
}

/// Describes a member that `other` has and `item` lacks.
fn lacks(item: &Value, other: &Value) -> Option<String> {
    match (item, other) {
        (Value::Object(item), Value::Object(other)) => {
            other.keys().find(|name| !item.contains_key(*name)).map(|name| format!("has no `{name}`"))
        }
        (Value::String(_), Value::String(_)) => None,
        (item, other) => Some(format!("is {}, but the plan lists {}", sort(item), sort(other))),
    }
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Object(_) => "an object",
        _ => "something else",
    }
}

/// Describes a member that a part has and the whole lacks.
fn extra(part: &Value, whole: &Value) -> Option<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().find_map(|(name, value)| {
            // The keys of a map are not in the model.
            let of_map = whole.get("sample").filter(|_| whole.len() == 1);
            match whole.get(name).or(of_map) {
                Some(whole) => extra(value, whole),
                None => Some(format!(": unknown member `{name}`")),
            }
        }),
        (Value::Array(part), Value::Array(whole)) => {
            part.iter().find_map(|value| extra(value, whole.first().unwrap_or(&Value::Null)))
        }
        (Value::String(_), Value::String(_)) => None,
        (part, whole) => Some(format!(" is {}, but the plan has {}", sort(part), sort(whole))),
    }
}

fn no_such(what: &str, path: &Path, within: &Value) -> String {
    let there = match within {
        Value::Object(members) => members.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    format!("`{what}`: unknown member `{}`; the known ones are: {there}", path.as_str())
}

/// Returns every `{…}` in the texts of a value.
fn placeholders(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => text
            .replace("{{", "")
            .split('{')
            .skip(1)
            .filter_map(|rest| Some(format!("{{{}}}", rest.split_once('}')?.0)))
            .collect(),
        Value::Array(values) => values.iter().flat_map(placeholders).collect(),
        Value::Object(members) => members.values().flat_map(placeholders).collect(),
        _ => Vec::new(),
    }
}
