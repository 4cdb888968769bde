//! An organization in Port that maps every bundled kind by its default mapping.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::process::StandIn;

/// What the kind for any type of Cloud Control stands for.
const ANY_TYPE: (&str, &str) = ("AWS::CloudControl::Resource", "AWS::AppConfig::Application");

/// Creates the blueprints of all kinds, and the integration with their default mappings.
pub(crate) fn install(port: &StandIn, integration: &str, plugins: &Path) -> Result<()> {
    let kinds = kinds(plugins)?;
    for blueprint in ordered(&kinds)? {
        port.post("/_stand-in/blueprints", blueprint)?;
    }
    let resources: Vec<Value> = kinds.iter().map(mapping).collect();
    let config = json!({"deleteDependentEntities": true, "createMissingRelatedEntities": true, "resources": resources});
    let document = json!({"installationId": integration, "installationAppType": "aws-v3", "config": config});
    port.post("/_stand-in/integrations", &document)?;
    Ok(())
}

/// The kinds' parts of all manifests.
fn kinds(plugins: &Path) -> Result<Vec<Value>> {
    let mut kinds = Vec::new();
    for folder in fs::read_dir(plugins).with_context(|| plugins.display().to_string())? {
        let file = folder?.path().join("manifest.json");
        let Ok(text) = fs::read(&file) else { continue };
        let mut manifest: Value =
            serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        if let Value::Array(of_plugin) = manifest["kinds"].take() {
            kinds.extend(of_plugin);
        }
    }
    kinds.sort_by_key(|kind| kind["kind"].to_string());
    Ok(kinds)
}

fn mapping(kind: &Value) -> Value {
    let mut mapping = kind["mapping"].clone();
    if mapping["kind"] == ANY_TYPE.0 {
        mapping["kind"] = json!(ANY_TYPE.1);
    }
    mapping
}

/// The blueprints, each after those that its relations point at, since Port takes no others.
fn ordered(kinds: &[Value]) -> Result<Vec<&Value>> {
    let mut waiting: Vec<&Value> =
        kinds.iter().filter_map(|kind| kind["blueprints"].as_array()).flatten().collect();
    let (mut known, mut ordered) = (BTreeSet::new(), Vec::new());
    while !waiting.is_empty() {
        let is_ready = |blueprint: &&Value| {
            let mut relations = blueprint["relations"].as_object().into_iter().flatten();
            relations.all(|(_, relation)| {
                let target = &relation["target"];
                *target == blueprint["identifier"] || known.contains(&target.to_string())
            })
        };
        let (ready, later): (Vec<&Value>, Vec<&Value>) = waiting.into_iter().partition(is_ready);
        ensure!(!ready.is_empty(), "the relations of blueprints lead in a circle, or nowhere: {later:?}");
        known.extend(ready.iter().map(|blueprint| blueprint["identifier"].to_string()));
        ordered.extend(ready);
        waiting = later;
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blueprint(name: &str, targets: &[&str]) -> Value {
        let relations: Value =
            targets.iter().map(|target| (format!("to-{target}"), json!({"target": target}))).collect();
        json!({"identifier": name, "relations": relations})
    }

    #[test]
    fn blueprints_come_after_those_that_they_relate_to() {
        let kinds = [
            json!({"blueprints": [blueprint("b", &["a", "b"])]}),
            json!({"blueprints": [blueprint("a", &[])]}),
        ];
        let names: Vec<&str> = ordered(&kinds)
            .unwrap()
            .iter()
            .filter_map(|blueprint| blueprint["identifier"].as_str())
            .collect();
        assert_eq!(names, ["a", "b"]);
        let circle = [json!({"blueprints": [blueprint("a", &["b"]), blueprint("b", &["a"])]})];
        assert!(ordered(&circle).unwrap_err().to_string().contains("circle"));
    }

    #[test]
    fn every_bundled_kind_is_mapped() {
        let kinds = kinds(&crate::natives::folder()).unwrap();
        assert!(kinds.len() > 60 && !ordered(&kinds).unwrap().is_empty(), "{}", kinds.len());
        let mapped: Vec<Value> = kinds.iter().map(mapping).collect();
        assert!(mapped.iter().all(|mapping| mapping["port"].is_object()), "{mapped:?}");
        assert!(mapped.iter().any(|mapping| mapping["kind"] == ANY_TYPE.1));
    }
}
