//! The bundled plugins' code and their default mappings in JQ give the same entities: on resources of
//! fixtures with several changes at once.

use std::{cell::Cell, sync::Arc};

use berth_core::{MapReport, MapRequest, Mapping, RawPage, Reservation};
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Value, json};

use crate::{Case, engine, subjects};

/// Batches of changed resources for each kind, and resources in each.
const BATCHES: u32 = 2;
const RESOURCES: usize = 80;

impl Case {
    async fn map(&self, mapping: Mapping, resources: &[Value]) -> Result<MapReport, String> {
        let page = RawPage {
            region: None,
            count: resources.len(),
            resources: serde_json::to_vec(resources).unwrap(),
            failures: Vec::new(),
            unread: Vec::new(),
            reservation: Reservation::default(),
        };
        let kind = self.kind.kind.clone();
        let request = MapRequest { kind, context: self.context(), mapping, documents: false, page };
        engine().current().map(request).await.map_err(|error| error.to_string())
    }

    /// Maps a batch both ways; returns the first difference, or else how many entities there are.
    ///
    /// A plugin may refuse malformed members that it reads, where JQ gives null or leaves the resource out.
    /// What it accepts must be the same in JQ.
    async fn compare(&self, mut resources: Vec<Value>) -> Result<usize, String> {
        let Some(default) = self.kind.mapping.clone() else { return Ok(resources.len()) };
        let refused = self.map(Mapping::Native, &resources).await?.errors;
        for refused in refused.iter().rev() {
            resources.remove(refused.index);
        }
        let native = self.map(Mapping::Native, &resources).await?;
        let by_jq = self.map(Mapping::Custom(Arc::new(default)), &resources).await?;
        if !by_jq.errors.is_empty() {
            return Err(format!("refused in JQ only: {:?}", by_jq.errors));
        }
        let keys =
            |report: &MapReport| report.entities.iter().map(|entity| entity.key.clone()).collect::<Vec<_>>();
        if keys(&native) != keys(&by_jq) {
            return Err(format!("{:?} by itself, {:?} in JQ", keys(&native), keys(&by_jq)));
        }
        for (native, by_jq) in native.entities.iter().zip(&by_jq.entities) {
            if native.changes(by_jq) || by_jq.changes(native) || native.icon != by_jq.icon {
                return Err(format!("{native:?} by itself\n{by_jq:?} in JQ"));
            }
        }
        Ok(native.entities.len())
    }
}

/// A change to a part of a resource.
#[derive(Debug, Clone)]
enum Change {
    Drop,
    Replace(Value),
    /// Adds a member to an object.
    Add(Value),
}

fn change() -> impl Strategy<Value = Change> {
    let values = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(json!(1.0)),
        Just(json!(9_007_199_254_740_993_i64)),
        "[a-zA-Z0-9:/-]{0,12}".prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{"Key": "Name", "Value": "🚀"}, {"Key": "ü"}])),
        Just(json!({"Key": "Näme", "Value": null, "extra": [1]})),
        Just(json!("2024-02-29T23:59:59.123456+01:00")),
    ];
    prop_oneof![
        3 => Just(Change::Drop),
        2 => Just(Change::Replace(Value::Null)),
        4 => values.clone().prop_map(Change::Replace),
        1 => values.prop_map(Change::Add),
    ]
}

impl Change {
    fn apply(self, resource: &mut Value, at: &str) {
        match self {
            Self::Replace(value) => {
                let in_list = at.rsplit('/').next().is_some_and(|name| name.parse::<usize>().is_ok());
                let whole = at.matches('/').count() < 3;
                let container = value.is_array() || value.is_object();
                match resource.pointer_mut(at) {
                    // AWS never sends a list in place of an object or an object in place of a list, nor
                    // another value in place of a list's objects, such as a tag, or of a whole response.
                    // There a plugin reads by position or skips what makes JQ fail.
                    Some(Value::Object(_)) if in_list => {}
                    Some(Value::Object(_) | Value::Array(_) | Value::Null) if container || whole => {}
                    // Some fixtures have a text in place of a response, which is not a response either.
                    Some(Value::String(_)) if container && whole && at.starts_with("/steps/") => {}
                    Some(part) => *part = value,
                    None => {}
                }
            }
            Self::Add(value) => {
                if let Some(Value::Object(members)) = resource.pointer_mut(at) {
                    members.insert("Näw".into(), value);
                }
            }
            Self::Drop => {
                let Some((parent, name)) = at.rsplit_once('/') else { return };
                match resource.pointer_mut(parent) {
                    Some(Value::Object(members)) => {
                        members.remove(&name.replace("~1", "/").replace("~0", "~"));
                    }
                    Some(Value::Array(elements)) => drop(elements.remove(name.parse().unwrap())),
                    _ => {}
                }
            }
        }
    }
}

/// Returns pointers to all parts of a resource except `item`, `steps` and `parents` themselves, which the
/// host creates and which always exist.
fn parts(resource: &Value) -> Vec<String> {
    fn collect(value: &Value, at: &str, depth: usize, found: &mut Vec<String>) {
        if depth > 1 {
            found.push(at.to_owned());
        }
        let mut below = |name: &str, value| collect(value, &format!("{at}/{name}"), depth + 1, found);
        match value {
            Value::Object(members) => members
                .iter()
                .for_each(|(name, member)| below(&name.replace('~', "~0").replace('/', "~1"), member)),
            Value::Array(elements) => {
                elements.iter().enumerate().for_each(|(index, element)| below(&index.to_string(), element));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(resource, "", 0, &mut found);
    found
}

/// Generates a resource of a fixture with up to three changes.
fn changed(all: Vec<Value>) -> impl Strategy<Value = Value> {
    let changes = prop::collection::vec((any::<Index>(), change()), 0..4);
    (prop::sample::select(all), changes).prop_map(|(mut resource, changes)| {
        for (index, change) in changes {
            let parts = parts(&resource);
            if !parts.is_empty() {
                change.apply(&mut resource, &parts[index.index(parts.len())]);
            }
        }
        resource
    })
}

#[test]
fn changed_resources_are_mapped_alike_natively_and_in_jq() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut wrong = Vec::new();
    let (changed_ones, compared) = (Cell::new(0), Cell::new(0));
    for subject in subjects() {
        let config = Config {
            cases: BATCHES,
            failure_persistence: None,
            max_shrink_iters: 2_000,
            ..Config::default()
        };
        // The same resources each time, so that a failure in CI can be reproduced.
        let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
        let all: Vec<Value> = subject
            .fixtures()
            .into_iter()
            .flat_map(|(_, resources)| resources.as_array().cloned().unwrap_or_default())
            .collect();
        let batch = prop::collection::vec(changed(all), 1..RESOURCES);
        let before = compared.get();
        let outcome = runner.run(&batch, |resources| {
            changed_ones.set(changed_ones.get() + resources.len());
            let entities = runtime.block_on(subject.compare(resources)).map_err(TestCaseError::fail)?;
            compared.set(compared.get() + entities);
            Ok(())
        });
        let kind = &subject.kind.kind;
        match outcome {
            Err(error) => wrong.push(format!("{kind}: {error}")),
            Ok(()) if compared.get() == before => wrong.push(format!("{kind}: every resource is refused")),
            Ok(()) => {}
        }
    }
    assert!(wrong.is_empty(), "{} kinds differ:\n{}", wrong.len(), wrong.join("\n"));
    let (changed_ones, compared) = (changed_ones.get(), compared.get());
    assert!(compared > changed_ones / 2, "{compared} entities of {changed_ones} resources: most are refused");
}
