//! The bundled manifests, as the host reads them.

#![expect(clippy::unwrap_used, reason = "helpers fail as their tests do")]

use std::{
    collections::BTreeSet,
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use berth_core::{KindReads, Manifest, Scope};
use berth_plugin::PORT_IDENTIFIER_JQ;
use serde_json::{Value, json};

fn manifests() -> Vec<(String, Vec<u8>)> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found: Vec<_> = fs::read_dir(plugins)
        .unwrap()
        .filter_map(|entry| {
            let folder = entry.unwrap().path();
            let json = fs::read(folder.join("manifest.json")).ok()?;
            Some((folder.file_name().unwrap().to_str().unwrap().to_owned(), json))
        })
        .collect();
    found.sort();
    assert!(found.len() >= 4);
    found
}

#[test]
fn the_host_takes_them() {
    let mut kinds = BTreeSet::new();
    let mut blueprints = BTreeSet::new();
    for (folder, json) in manifests() {
        let manifest = Manifest::parse(&json).unwrap_or_else(|error| panic!("{folder}: {error}"));
        assert_eq!(manifest.name, folder, "a plugin is named as its folder");
        for kind in &manifest.kinds {
            assert!(kinds.insert(kind.kind.clone()), "{folder}: {} has two plugins", kind.kind);
            for blueprint in &kind.blueprints {
                let identifier = blueprint.identifier();
                assert!(blueprints.insert(identifier.clone()), "{folder}: `{identifier}` is defined twice");
            }
            let mapping = kind.mapping.as_ref().expect("every bundled kind has a default mapping");
            assert_eq!(mapping.kind, kind.kind);
            assert_eq!(mapping.selector.query, "true");
        }
    }
}

/// A property or relation that the blueprint does not have would be refused by Port.
#[test]
fn mappings_set_what_their_blueprints_have() {
    for (folder, json) in manifests() {
        for kind in Manifest::parse(&json).unwrap().kinds {
            let mapping = &kind.mapping.as_ref().unwrap().port.entity.mappings;
            let target = mapping.literal_blueprint().expect("the blueprint is named literally");
            let blueprint = kind
                .blueprints
                .iter()
                .find(|blueprint| *blueprint.identifier() == target)
                .unwrap_or_else(|| panic!("{folder}: there is no blueprint `{target}`"))
                .definition();
            let names = |value: &Value| -> BTreeSet<String> {
                value.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
            };
            let mapped = |fields: &std::collections::BTreeMap<String, _>| -> BTreeSet<String> {
                fields.keys().cloned().collect()
            };
            assert_eq!(mapped(&mapping.properties), names(&blueprint["schema"]["properties"]), "{folder}");
            assert_eq!(mapped(&mapping.relations), names(&blueprint["relations"]), "{folder}");
        }
    }
}

/// A relation meets its target only where both encode what Port refuses, and in the same way.
#[test]
fn identifiers_and_relations_to_them_are_encoded_alike() {
    let mut kinds = Vec::new();
    for (folder, json) in manifests() {
        let mut manifest: Value = serde_json::from_slice(&json).unwrap();
        for kind in manifest["kinds"].as_array_mut().unwrap() {
            let mapping = kind["mapping"]["port"]["entity"]["mappings"].take();
            kinds.push((folder.clone(), kind["blueprints"].take(), mapping));
        }
    }
    let encodes = |expression: &Value| expression.as_str().unwrap().contains(PORT_IDENTIFIER_JQ);
    let encoded: Vec<&Value> = kinds
        .iter()
        .filter(|(_, _, mapping)| encodes(&mapping["identifier"]))
        .flat_map(|(_, blueprints, _)| blueprints.as_array().unwrap())
        .map(|blueprint| &blueprint["identifier"])
        .collect();
    assert!(encoded.iter().any(|blueprint| *blueprint == "cloudWatchAlarm"), "{encoded:?}");
    for (folder, blueprints, mapping) in &kinds {
        for (name, expression) in mapping["relations"].as_object().into_iter().flatten() {
            let mut targets =
                blueprints.as_array().unwrap().iter().map(|it| &it["relations"][name]["target"]);
            let is_encoded = targets.any(|target| encoded.contains(&target));
            assert_eq!(encodes(expression), is_encoded, "{folder}: {name}");
        }
    }
}

#[test]
fn they_ask_for_these_permissions() {
    let asked: Vec<String> = manifests()
        .iter()
        .flat_map(|(_, json)| Manifest::parse(json).unwrap().kinds)
        .filter(|kind| kind.scope != Scope::Account)
        .flat_map(|kind| {
            let actions =
                kind.plan().steps.iter().flat_map(berth_core::Step::iam_actions).collect::<Vec<_>>();
            actions.into_iter().map(move |action| format!("{} {action}", kind.kind))
        })
        .collect();
    for expected in [
        "AWS::S3::Bucket s3:ListAllMyBuckets",
        "AWS::S3::Bucket s3:GetBucketTagging",
        "AWS::S3::Bucket s3:GetBucketPublicAccessBlock",
        "AWS::S3::Bucket s3:GetBucketOwnershipControls",
        "AWS::S3::Bucket s3:GetEncryptionConfiguration",
        "AWS::S3::Bucket s3:GetBucketLocation",
        "AWS::EC2::Instance ec2:DescribeInstances",
        "AWS::EC2::Instance ec2:DescribeInstanceStatus",
        "AWS::ECS::Cluster ecs:ListClusters",
        "AWS::ECS::Cluster ecs:DescribeClusters",
    ] {
        assert!(asked.iter().any(|action| action == expected), "{expected} is not in {asked:?}");
    }
}

/// What Python's validator finds wrong with documents by the schema of manifests: one for Rust takes as long
/// to compile as everything else here. None where the task runner has not said which Python has it.
fn wrong_by_schema(documents: &[&Value]) -> Option<Vec<Option<String>>> {
    let python = env::var_os("BERTH_TEST_PYTHON")?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let schema = fs::read(here.join("../../wit/manifest.schema.json")).unwrap();
    let schema: Value = serde_json::from_slice(&schema).unwrap();
    let mut process = Command::new(python)
        .arg(here.join("tests/schema.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let given = json!({"schema": schema, "documents": documents});
    process.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// The schema is what authors' editors check against: it must take what the host takes, and refuse
/// what can be told without reading the plan.
#[test]
fn the_schema_agrees_with_the_host() {
    let manifests: Vec<(String, Value)> = manifests()
        .into_iter()
        .map(|(folder, json)| (folder, serde_json::from_slice(&json).unwrap()))
        .collect();
    let (_, good) = manifests.iter().find(|(folder, _)| folder == "ecs-cluster").unwrap();
    let changes = changes();
    let changed: Vec<Value> = changes
        .iter()
        .map(|(pointer, member, value)| {
            let mut bad = good.clone();
            bad.pointer_mut(pointer).unwrap()[member] = value.clone();
            bad
        })
        .collect();
    // Null stands for an absent optional member to the host, for a wrong type to the schema.
    for (bad, change) in changed.iter().zip(&changes) {
        assert!(Manifest::parse(bad.to_string().as_bytes()).is_err(), "the host takes {change:?}");
    }
    let documents: Vec<&Value> = manifests.iter().map(|(_, manifest)| manifest).chain(&changed).collect();
    let Some(wrong) = wrong_by_schema(&documents) else { return };
    let (of_manifests, of_changes) = wrong.split_at(manifests.len());
    for ((folder, _), wrong) in manifests.iter().zip(of_manifests) {
        assert_eq!(*wrong, None, "{folder}");
    }
    assert_eq!(of_changes.len(), changes.len());
    for (wrong, change) in of_changes.iter().zip(&changes) {
        assert!(wrong.is_some(), "the schema takes {change:?}");
    }
}

/// What makes the manifest of `ecs-cluster` wrong: a member of what a pointer names, and its value.
fn changes() -> Vec<(String, &'static str, Value)> {
    let steps = "/kinds/0/plan/steps";
    vec![
        (String::new(), "nmae", json!("x")),
        (String::new(), "name", json!("Bad Name")),
        (String::new(), "kinds", json!([])),
        ("/kinds/0".to_owned(), "kind", json!("S3")),
        ("/kinds/0".to_owned(), "scope", json!("mars")),
        ("/kinds/0".to_owned(), "scope", json!("account")),
        ("/kinds/0".to_owned(), "plan", json!({"steps": []})),
        ("/kinds/0/plan".to_owned(), "chunk", json!(0)),
        (format!("{steps}/0"), "items", json!("a..b")),
        (format!("{steps}/0"), "each", json!("clusters")),
        (format!("{steps}/1"), "each", json!("clusters")),
        (format!("{steps}/1"), "match", Value::Null),
        (format!("{steps}/1"), "unmatched", json!("drop")),
        (format!("{steps}/1"), "batch", json!({"of": "clusters", "size": 0})),
        (format!("{steps}/1"), "errors", json!({"denied": "ignore"})),
        (format!("{steps}/1"), "errors", json!({"denied": "drop"})),
        (format!("{steps}/1"), "errors", json!({"*": "drop"})),
        (format!("{steps}/0"), "empty", json!("sometimes")),
        (format!("{steps}/0"), "empty", json!({"path": "Quantity"})),
        (format!("{steps}/1/match"), "failures", json!({"key": "arn"})),
        (format!("{steps}/1/match"), "failures", json!({"items": "failures[]", "missing": ["MISSING"]})),
        ("/kinds/0".to_owned(), "single_account", json!("yes")),
        (format!("{steps}/0"), "only", json!({"path": "@"})),
        ("/kinds/0/document".to_owned(), "require", json!(["ClusterArn"])),
        ("/kinds/0/document".to_owned(), "required", json!("ClusterArn")),
        ("/kinds/0/document".to_owned(), "origin", json!("planet")),
        ("/kinds/0/document".to_owned(), "set", json!({"Tags": {"nulls": "keep"}})),
        ("/kinds/0/document".to_owned(), "set", json!({"Tags": {"value": "{item}", "null": "keep"}})),
        ("/kinds/0/document".to_owned(), "set", json!({"Tags": {"value": "{item}", "nulls": "drop"}})),
        ("/kinds/0/events".to_owned(), "on", json!([])),
        ("/kinds/0/events".to_owned(), "gone", json!("{resource}")),
        ("/kinds/0/events".to_owned(), "raed", json!({})),
        ("/kinds/0/events/read/clusters".to_owned(), "each", json!("clusters")),
        ("/kinds/0/events/on/0".to_owned(), "type", json!("Change")),
        ("/kinds/0/events/on/0".to_owned(), "resource", json!([])),
        ("/kinds/0/events/on/0".to_owned(), "perfix", json!("x")),
    ]
}
