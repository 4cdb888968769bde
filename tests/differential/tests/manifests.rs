//! Every bundled plugin's manifest against AWS's models: each fetch plan is rehearsed on answers
//! that are made up from the models. A misspelt operation, input member, path or placeholder would
//! else only show in an account that has such resources.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use berth_aws_wire::{Operation, Service};
use berth_core::{ErrorRule, FetchPlan, KindManifest, Manifest, Path, Step, Template};
use serde_json::{Map, Value, json};

/// The folders of the plugins and their manifests.
fn manifests() -> Vec<(PathBuf, Manifest)> {
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");
    let mut found = Vec::new();
    for folder in fs::read_dir(plugins).unwrap().map(|entry| entry.unwrap().path()) {
        if let Ok(json) = fs::read(folder.join("manifest.json")) {
            let manifest = Manifest::parse(&json).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
            found.push((folder, manifest));
        }
    }
    assert!(!found.is_empty());
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn kinds(manifests: &[(PathBuf, Manifest)]) -> impl Iterator<Item = &KindManifest> {
    manifests.iter().flat_map(|(_, manifest)| &manifest.kinds)
}

/// Fails with every complaint at once.
#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_plan_runs_on_answers_as_the_models_have_them() {
    let mut complaints = Vec::new();
    for kind in kinds(&manifests()) {
        Rehearsal::of(kind, &mut complaints);
    }
    assert_none(&complaints);
}

#[test]
fn every_read_after_an_event_gives_what_the_plan_lists() {
    let mut complaints = Vec::new();
    let manifests = manifests();
    let with_events: Vec<&KindManifest> = kinds(&manifests).filter(|kind| kind.events.is_some()).collect();
    assert!(!with_events.is_empty());
    for kind in with_events {
        Rehearsal::of_events(kind, &mut complaints);
    }
    assert_none(&complaints);
}

#[test]
fn the_example_rules_send_every_event() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/guides/live-events.yaml");
    let example = fs::read_to_string(example).unwrap();
    let sent: BTreeSet<&str> = example.lines().filter_map(|line| line.trim().strip_prefix("- ")).collect();
    let manifests = manifests();
    let triggers = kinds(&manifests).filter_map(|kind| kind.events.as_ref()).flat_map(|rules| &rules.on);
    let missing: BTreeSet<&str> = triggers
        .map(|trigger| trigger.detail_type.as_ref().unwrap_or(&trigger.source).as_str())
        .filter(|name| !sent.contains(name))
        .collect();
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn a_misspelt_read_after_an_event_is_told() {
    let kind = json!({"kind": "AWS::Lambda::Function", "scope": "regional",
        "plan": {"steps": [
            {"id": "functions", "service": "lambda", "operation": "ListFunctions", "items": "Functions[]"},
            {"id": "tags", "service": "lambda", "operation": "ListTags", "each": "functions",
             "input": {"Resource": "{item.FunctionArn}"}, "result": "Tags"}]},
        "events": {
            "on": [{"source": "x", "upsert": ["x"], "resource": ["x"]}],
            "read": {"functions": {"operation": "GetFunctionConfiguration", "items": "@",
                                   "input": {"FunctionName": "{resource}", "Qualifier": "{event.a.b[0].c}"}}},
            "gone": {"item": {"FunctionArn": "{resource}"}, "steps": {"tags": {}}}}});
    let told = |pointer: &str, value: Value| {
        let mut kind = kind.clone();
        if !pointer.is_empty() {
            *kind.pointer_mut(&format!("/events{pointer}")).unwrap() = value;
        }
        let mut complaints = Vec::new();
        Rehearsal::of_events(&serde_json::from_value(kind).unwrap(), &mut complaints);
        complaints.join("; ")
    };
    assert_eq!(told("", Value::Null), "");
    for (pointer, value, reason) in [
        ("/read/functions/operation", json!("GetFunction"), "`items`: has no `FunctionName`"),
        ("/read/functions/operation", json!("GetFunktion"), "no read operation"),
        ("/read/functions/input", json!({"Name": "{resource}"}), "no such member"),
        ("/read/functions/items", json!("FunctionName"), "is a text, where the plan lists an object"),
        ("/read/functions", json!({"only": {"path": "Name", "is": "{resource}"}}), "there is no `Name`"),
        ("/gone/item", json!({"Arn": "{resource}"}), "`gone.item`: there is no `Arn`"),
        ("/gone/item", json!("{resource}"), "`gone.item` is a text"),
        ("/gone/steps", json!({"tag": {}}), "`gone.steps.tag`: there is no such step"),
    ] {
        let complaints = told(pointer, value);
        assert!(complaints.contains(reason), "{pointer}: {complaints}");
    }
}

#[test]
fn a_misspelt_plan_is_told() {
    let plan = json!({"steps": [
        {"id": "clusters", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"},
        {"id": "describe", "service": "ecs", "operation": "DescribeClusters",
         "batch": {"of": "clusters", "size": 100}, "match": {"item": "@", "result": "clusterArn"},
         "input": {"clusters": "{items[]}"}, "items": "clusters[]"},
        {"id": "tags", "service": "ecs", "operation": "ListTagsForResource", "each": "clusters",
         "input": {"resourceArn": "{item}"}, "result": "tags"},
    ]});
    let told = |pointer: &str, value: Value| {
        let mut plan = plan.clone();
        if !pointer.is_empty() {
            *plan.pointer_mut(pointer).unwrap() = value;
        }
        let kind = json!({"kind": "AWS::ECS::Cluster", "scope": "regional", "plan": plan});
        let mut complaints = Vec::new();
        Rehearsal::of(&serde_json::from_value(kind).unwrap(), &mut complaints);
        complaints.join("; ")
    };
    assert_eq!(told("", Value::Null), "");
    for (pointer, value, reason) in [
        ("/steps/0/operation", json!("ListCluster"), "no read operation"),
        ("/steps/0/items", json!("ClusterArns[]"), "there is no `ClusterArns[]`"),
        ("/steps/1/match/result", json!("arn"), "`match.result`"),
        ("/steps/1/match/result", json!("runningTasksCount"), "different types"),
        ("/steps/1/input", json!({"cluster": "{items[]}"}), "no such member"),
        ("/steps/2/input/resourceArn", json!("{item.arn}"), "`{item.arn}` finds nothing"),
        ("/steps/2/result", json!("Tags"), "`result`: there is no `Tags`"),
    ] {
        assert!(told(pointer, value).contains(reason), "{pointer}");
    }
}

/// A plan, run on made-up answers with one element in each list.
struct Rehearsal<'a> {
    kind: &'a KindManifest,
    /// The item of each list step, and the results that enrich it.
    items: BTreeMap<&'a str, Value>,
    steps: Map<String, Value>,
    /// What an event brings: `resource` and `event`.
    event: Map<String, Value>,
    complaints: &'a mut Vec<String>,
}

impl<'a> Rehearsal<'a> {
    fn of(kind: &'a KindManifest, complaints: &'a mut Vec<String>) {
        Self::run_all(kind, Map::new(), complaints);
    }

    /// Runs a plan; what each list step lists, and what enriched it.
    fn run_all(
        kind: &'a KindManifest,
        event: Map<String, Value>,
        complaints: &'a mut Vec<String>,
    ) -> (BTreeMap<String, Value>, Map<String, Value>) {
        let mut rehearsal = Self { kind, items: BTreeMap::new(), steps: Map::new(), event, complaints };
        for step in &kind.plan.steps {
            rehearsal.run(step);
        }
        let items = rehearsal.items.into_iter().map(|(id, item)| (id.to_owned(), item));
        (items.collect(), rehearsal.steps)
    }

    /// Runs the plan as it is and as events narrow it: both must list the same items. What stands for
    /// a resource that is gone must be a part of one.
    fn of_events(kind: &KindManifest, complaints: &mut Vec<String>) {
        let name = &kind.kind;
        let narrowed = match kind.narrowed() {
            Ok(narrowed) => narrowed,
            Err(error) => return complaints.push(format!("{name}: {error}")),
        };
        let rules = kind.events.as_ref().unwrap();
        let gone = rules.gone.clone().map(Value::from).unwrap_or_default();
        let all = json!([rules.read, gone]);
        let mut scope: Map<String, Value> =
            [("resource".to_owned(), json!("a-resource"))].into_iter().collect();
        scope.insert("event".to_owned(), event_with(&placeholders(&all)));
        let mut ignored = Vec::new();
        let (listed, steps) = Rehearsal::run_all(kind, Map::new(), &mut ignored);
        let mut told = Vec::new();
        let (read, _) = Rehearsal::run_all(&narrowed, scope, &mut told);
        complaints.append(&mut told);
        for (id, item) in &listed {
            let Some(other) = read.get(id) else { continue };
            if let Some(what) = lacks(other, item) {
                complaints.push(format!("{name}, step `{id}` with `events.read`: `items`: {what}"));
            }
        }
        let resources = kind.plan.resource_step().map(|step| step.id.as_str()).unwrap_or_default();
        let none = Value::Null;
        let mut part = |of: &Value, whole: Option<&Value>, at: String| match whole {
            None => complaints.push(format!("{name}: `{at}`: there is no such step")),
            Some(whole) => complaints.extend(extra(of, whole).map(|what| format!("{name}: `{at}`{what}"))),
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

        let mut answer = operation.sample();
        if let Some(path) = &step.items {
            name_keys(&mut answer, path);
        }
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
        if let Some(only) = &step.only
            && only.path.first(&item).is_none_or(|value| !value.is_string())
        {
            self.complain(step, no_such("only.path", &only.path, &item));
        }
        if self.kind.plan.list_steps().iter().any(|list| list.id == step.id) {
            self.items.insert(&step.id, item);
            return;
        }
        if let Some(matching) = &step.matching {
            let parent = &self.items[step.parent().unwrap_or_default()];
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
        let mut scope = self.event.clone();
        for (name, value) in [
            ("account", "111122223333"),
            ("region", "eu-west-1"),
            ("partition", "aws"),
            ("kind", "AWS::IoT::Thing"),
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
        let only = step.only.as_ref().map(|only| Value::from(only.is.as_str()));
        for placeholder in [&input].into_iter().chain(&region).chain(&only).flat_map(placeholders) {
            let template = Template::parse(&Value::String(placeholder.clone())).unwrap();
            if template.render(scope).is_none_or(|value| value == json!([])) {
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

/// An event's `detail` in which every `{event…}` among these placeholders finds a text.
fn event_with(placeholders: &[String]) -> Value {
    let mut event = json!({});
    for placeholder in placeholders {
        let Some(path) = placeholder.strip_prefix("{event.").and_then(|rest| rest.strip_suffix('}')) else {
            continue;
        };
        let mut at = &mut event;
        for part in path.split(['.', '[']) {
            at = match part.strip_suffix(']') {
                Some(_) => {
                    if !at.is_array() {
                        *at = json!([{}]);
                    }
                    &mut at[0]
                }
                None => &mut at[part],
            };
        }
        *at = json!("a-text");
    }
    event
}

/// Gives maps whose keys the models do not tell the keys that a path asks for.
fn name_keys(answer: &mut Value, path: &Path) {
    let Value::Object(members) = answer else { return };
    if members.len() == 1
        && let Some(value) = members.get("sample").cloned()
    {
        members.extend(path.as_str().split('.').map(|name| (name.to_owned(), value.clone())));
    }
    members.values_mut().for_each(|value| name_keys(value, path));
}

/// What an item lacks of what another has.
fn lacks(item: &Value, other: &Value) -> Option<String> {
    match (item, other) {
        (Value::Object(item), Value::Object(other)) => {
            other.keys().find(|name| !item.contains_key(*name)).map(|name| format!("has no `{name}`"))
        }
        (Value::String(_), Value::String(_)) => None,
        (item, other) => Some(format!("is {}, where the plan lists {}", sort(item), sort(other))),
    }
}

fn sort(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Object(_) => "an object",
        _ => "something else",
    }
}

/// What a part has that the whole has not.
fn extra(part: &Value, whole: &Value) -> Option<String> {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part.iter().find_map(|(name, value)| {
            // A map has keys of which the models do not tell.
            let of_map = whole.get("sample").filter(|_| whole.len() == 1);
            match whole.get(name).or(of_map) {
                Some(whole) => extra(value, whole),
                None => Some(format!(": there is no `{name}`")),
            }
        }),
        (Value::Array(part), Value::Array(whole)) => {
            part.iter().find_map(|value| extra(value, whole.first().unwrap_or(&Value::Null)))
        }
        (Value::String(_), Value::String(_)) => None,
        (part, whole) => Some(format!(" is {}, where the plan has {}", sort(part), sort(whole))),
    }
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

#[test]
fn every_default_mapping_fits_its_blueprint() {
    let manifests = manifests();
    let blueprints: BTreeMap<&str, Value> = kinds(&manifests)
        .flat_map(|kind| &kind.blueprints)
        .map(|blueprint| (blueprint.identifier().as_str(), json!(blueprint)))
        .collect();
    let mut complaints = Vec::new();
    let mut complain = |kind: &KindManifest, what: String| complaints.push(format!("{}: {what}", kind.kind));
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().into_iter().flat_map(Map::keys).cloned().collect()
    };
    let mut seen = BTreeSet::new();
    for kind in kinds(&manifests) {
        if !seen.insert(&kind.kind) {
            complain(kind, "is a kind of two plugins".to_owned());
        }
        let Some(mapping) = &kind.mapping else {
            complain(kind, "has no default mapping".to_owned());
            continue;
        };
        let mapping = json!(mapping)["port"]["entity"]["mappings"].take();
        let blueprint = mapping["blueprint"].as_str().unwrap_or_default().trim_matches('"').to_owned();
        let Some(definition) = kind.blueprints.iter().find(|own| own.identifier().as_str() == blueprint)
        else {
            complain(kind, format!("maps to `{blueprint}`, which is not among its blueprints"));
            continue;
        };
        let definition = json!(definition);
        for (part, known) in
            [("properties", &definition["schema"]["properties"]), ("relations", &definition["relations"])]
        {
            let (mapped, known) = (names(&mapping[part]), names(known));
            if mapped != known {
                let odd: Vec<&String> = mapped.symmetric_difference(&known).collect();
                complain(kind, format!("{part} of mapping and blueprint differ in {odd:?}"));
            }
        }
        for (name, relation) in definition["relations"].as_object().into_iter().flatten() {
            let target = relation["target"].as_str().unwrap_or_default();
            if !blueprints.contains_key(target) {
                complain(kind, format!("relation `{name}`: no plugin has a blueprint `{target}`"));
            }
        }
    }
    assert_none(&complaints);
}

#[test]
fn every_plugin_is_named_after_its_folder_and_its_fixtures_after_its_steps() {
    let mut complaints = Vec::new();
    for (folder, manifest) in manifests() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if manifest.name != name {
            complaints.push(format!("{name}: its manifest says `{}`", manifest.name));
        }
        let steps: BTreeSet<&str> =
            manifest.kinds.iter().flat_map(|kind| &kind.plan.steps).map(|step| step.id.as_str()).collect();
        for fixture in fs::read_dir(folder.join("fixtures")).unwrap().map(|entry| entry.unwrap().path()) {
            let resources: Vec<Value> = serde_json::from_slice(&fs::read(&fixture).unwrap()).unwrap();
            let used = resources.iter().flat_map(|resource| {
                let parts = [&resource["steps"], &resource["parents"]].into_iter();
                parts.filter_map(Value::as_object).flat_map(Map::keys)
            });
            for step in used.filter(|step| !steps.contains(step.as_str())).collect::<BTreeSet<_>>() {
                complaints.push(format!("{}: there is no step `{step}`", fixture.display()));
            }
        }
    }
    assert_none(&complaints);
}
