//! A fetch plan rehearsed on answers that are made up from AWS's models. A misspelt operation, input
//! member, path or placeholder would else only show in an account that has such resources.

use std::collections::BTreeMap;

use berth_core::{ErrorRule, FetchPlan, KindManifest, Path, Step, Template};
use serde_json::{Map, Value, json};

use crate::{Operation, Service};

/// What is wrong with a kind's fetch plan, as far as AWS's models tell; nothing when it is right.
pub fn rehearse(kind: &KindManifest) -> Vec<String> {
    let mut rehearsal = Rehearsal { kind, items: BTreeMap::new(), steps: Map::new(), complaints: Vec::new() };
    for step in &kind.plan.steps {
        rehearsal.run(step);
    }
    rehearsal.complaints
}

/// A plan, run on made-up answers with one element in each list.
struct Rehearsal<'a> {
    kind: &'a KindManifest,
    /// The item of each list step, and the results that enrich it.
    items: BTreeMap<&'a str, Value>,
    steps: Map<String, Value>,
    complaints: Vec<String>,
}

impl<'a> Rehearsal<'a> {
    fn complain(&mut self, step: &Step, what: impl std::fmt::Display) {
        self.complaints.push(format!("{}, step `{}`: {what}", self.kind.kind, step.id));
    }

    fn run(&mut self, step: &'a Step) {
        let operation = Service::load(&step.service).and_then(|service| service.operation(&step.operation));
        let operation = match operation {
            Ok(operation) => operation,
            Err(error) => return self.complain(step, error),
        };
        let scope = self.scope(step);
        if step.parent().is_some_and(|parent| !self.items.contains_key(parent)) {
            return self.complain(step, "its parent has no items");
        }
        self.check_input(step, &operation, &scope);

        let answer = operation.sample();
        for (code, rule) in &step.errors {
            let ErrorRule::Use { value } = rule else { continue };
            for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
                if answer.get(name).is_none() {
                    self.complain(step, format!("`{code}`: answers have no `{name}`"));
                }
            }
        }
        let item = match &step.items {
            None => answer,
            Some(path) => match path.first(&answer) {
                Some(item) => item.clone(),
                None => return self.complain(step, no_such("items", path, &answer)),
            },
        };
        if self.kind.plan.list_steps().iter().any(|list| list.id == step.id) {
            self.items.insert(&step.id, item);
            return;
        }
        if let Some(matching) = &step.matching {
            let parent = self.items.get(step.parent().unwrap_or_default()).unwrap_or(&Value::Null);
            let key = matching.item.first(parent).cloned();
            let told = [
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
            told.into_iter().flatten().for_each(|what| self.complain(step, what));
        }
        let result = match &step.result {
            None => item,
            Some(path) if path.is_list() => json!(path.all(&item)),
            Some(path) => match path.first(&item) {
                Some(result) => result.clone(),
                None => return self.complain(step, no_such("result", path, &item)),
            },
        };
        if result == json!([]) {
            self.complain(step, "`result` finds nothing in an answer");
        }
        let several = step.items.is_some() && step.batch.is_none();
        self.steps.insert(step.id.clone(), if several { json!([result]) } else { result });
    }

    /// What the placeholders of a step stand for.
    fn scope(&self, step: &Step) -> Map<String, Value> {
        let plan = &self.kind.plan;
        let mut scope = Map::new();
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

    fn check_input(&mut self, step: &Step, operation: &Operation, scope: &Map<String, Value>) {
        let input = Value::from(step.input.clone());
        let region = step.region.clone().map(Value::String);
        for placeholder in [&input].into_iter().chain(&region).flat_map(placeholders) {
            let found = Template::parse(&Value::String(placeholder.clone()))
                .ok()
                .and_then(|template| template.render(scope));
            if found.is_none_or(|value| value == json!([])) {
                self.complain(step, format!("`{placeholder}` finds nothing"));
            }
        }
        let rendered = step.input.template().render(scope).unwrap_or_default();
        if let Err(error) = operation.encode(&rendered) {
            self.complain(step, error);
        }
    }
}

/// The items of the list steps above this one.
fn above<'i>(plan: &FetchPlan, list: &str, items: &'i BTreeMap<&str, Value>) -> BTreeMap<String, &'i Value> {
    let lists = plan.list_steps();
    let above = lists.iter().take_while(|step| step.id != list);
    above.filter_map(|step| Some((step.id.clone(), items.get(step.id.as_str())?))).collect()
}

fn no_such(what: &str, path: &Path, within: &Value) -> String {
    let there = match within {
        Value::Object(members) => members.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    };
    format!("`{what}`: there is no `{}`; there are: {there}", path.as_str())
}

/// Every `{…}` in the texts of a value.
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
