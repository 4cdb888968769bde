//! The bundled kinds, read from their plugins' manifests.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

/// How many options the mapping may switch on for a resource.
const OPTIONS: usize = 3;

/// The bundled kinds.
#[derive(Debug)]
pub struct Kinds(Vec<Value>);

impl Kinds {
    /// Reads the manifests of all plugins.
    ///
    /// # Panics
    /// When a manifest cannot be read.
    pub fn bundled() -> Self {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
        let mut kinds = Vec::new();
        for folder in fs::read_dir(plugins).expect("the plugins") {
            let Ok(json) = fs::read(folder.expect("a plugin").path().join("manifest.json")) else { continue };
            let mut manifest: Value = serde_json::from_slice(&json).expect("a manifest is JSON");
            if let Value::Array(of_plugin) = manifest["kinds"].take() {
                kinds.extend(of_plugin);
            }
        }
        kinds.sort_by_key(|kind| kind["kind"].to_string());
        Self(kinds)
    }

    /// Keeps only these.
    #[must_use]
    pub fn only(self, names: &BTreeSet<String>) -> Self {
        let keep = |kind: &Value| kind["kind"].as_str().is_some_and(|name| names.contains(name));
        Self(self.0.into_iter().filter(keep).collect())
    }

    /// Their names.
    pub fn names(&self) -> BTreeSet<String> {
        self.0.iter().filter_map(|kind| kind["kind"].as_str().map(ToOwned::to_owned)).collect()
    }

    /// Those that events tell of.
    #[must_use]
    pub fn with_events(self) -> Self {
        Self(self.0.into_iter().filter(|kind| kind["events"].is_object()).collect())
    }

    /// Their manifests.
    pub fn manifests(&self) -> &[Value] {
        &self.0
    }

    /// Their default mappings, with as many options as one may switch on; without these options.
    pub fn resources(&self, without: &BTreeSet<String>) -> Vec<Value> {
        let resource = |kind: &Value| {
            let mut resource = kind["mapping"].clone();
            let options = kind["options"].as_array().into_iter().flatten();
            let names = options.filter_map(|option| option["name"].as_str());
            let names: Vec<&str> = names.filter(|name| !without.contains(*name)).take(OPTIONS).collect();
            if !names.is_empty() {
                resource["selector"]["includeActions"] = json!(names);
            }
            resource
        };
        self.0.iter().map(resource).collect()
    }

    /// Their blueprints, each after those that its relations point at.
    ///
    /// # Panics
    /// When relations point at blueprints that none of the kinds has, or form a circle.
    pub fn blueprints(&self) -> Vec<&Value> {
        let mut waiting: Vec<&Value> =
            self.0.iter().filter_map(|kind| kind["blueprints"].as_array()).flatten().collect();
        let mut known = BTreeSet::new();
        let mut ordered = Vec::new();
        while !waiting.is_empty() {
            let (ready, later): (Vec<&Value>, Vec<&Value>) = waiting.iter().partition(|blueprint| {
                let relations = blueprint["relations"].as_object().into_iter().flatten();
                relations
                    .map(|(_, relation)| &relation["target"])
                    .all(|target| *target == blueprint["identifier"] || known.contains(&target.to_string()))
            });
            let names = |blueprints: &[&Value]| -> Vec<String> {
                blueprints.iter().map(|blueprint| blueprint["identifier"].to_string()).collect()
            };
            assert!(!ready.is_empty(), "their relations lead nowhere: {:?}", names(&later));
            known.extend(names(&ready));
            ordered.extend(ready);
            waiting = later;
        }
        ordered
    }
}
