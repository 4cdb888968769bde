//! A plugin that was built against a published contract works in every later host of the same major
//! version.
//!
//! `tests/guests/contract-<version>` contains each published version unchanged: its WIT, its schema, and a
//! plugin that uses everything in them. A snapshot next to it has the plugin's output for a batch.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use berth_core::{Kind, Manifest, MapError, MapReport, Mapping, RawPage};
use berth_engine::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{built, component, config, request};

const KIND: &str = "Contract::Part";

/// A published version of the contract.
struct Published {
    version: String,
    folder: PathBuf,
}

impl Published {
    fn component(&self) -> PathBuf {
        component(&format!("contract-{}", self.version.replace('.', "-")))
    }

    fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.folder.join(file)).unwrap()).unwrap()
    }
}

fn published() -> Vec<Published> {
    let guests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests");
    let mut published: Vec<Published> = fs::read_dir(guests)
        .unwrap()
        .filter_map(|entry| {
            let folder = entry.unwrap().path();
            let version = folder.file_name()?.to_str()?.strip_prefix("contract-")?.to_owned();
            Some(Published { version, folder })
        })
        .collect();
    published.sort_by(|a, b| a.version.cmp(&b.version));
    assert_eq!(published.first().map(|first| first.version.as_str()), Some("1.0.0"));
    published
}

/// An engine with one plugin and the JQ component. Both are read again at first use.
fn engine(bytes: &[u8]) -> (Engine, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("plugin.wasm"), bytes).unwrap();
    fs::copy(built("plugins/jq.wasm"), dir.path().join("jq.wasm")).unwrap();
    (Engine::new(config(dir.path())).unwrap(), dir)
}

async fn map(engine: &Engine, kind: &str, names: &[&str], mapping: Mapping) -> Result<MapReport, MapError> {
    let resources: Vec<Value> = names
        .iter()
        .map(|name| json!({"item": {"Name": name}, "steps": {"details": [1]}, "parents": {"boxes": "box"}}))
        .collect();
    let page = RawPage {
        region: None,
        count: resources.len(),
        resources: serde_json::to_vec(&resources).unwrap(),
        failures: Vec::new(),
        unread: Vec::new(),
        reservation: berth_core::Reservation::default(),
    };
    let mut request = request(kind, mapping, page);
    request.context.options = vec!["DescribePartAction".to_owned(), "Another".to_owned()];
    if kind != KIND {
        request.context.region = None;
    }
    engine.current().map(request).await
}

/// All outputs that a plugin may return for a resource.
const NAMES: [&str; 7] = ["first", "two", "nothing", "refuse", "bare", "nulls", "last"];

#[tokio::test]
async fn a_plugin_of_each_published_contract_still_maps_the_same() {
    for published in published() {
        let (engine, _dir) = engine(&fs::read(published.component()).unwrap());
        assert_eq!(engine.refused(), [], "{}", published.version);
        let info = engine.plugins().remove(0);
        assert_eq!(info.contract, published.version);
        let text = published.json("manifest.json").to_string();
        assert_eq!(*info.manifest, Manifest::parse(text.as_bytes()).unwrap());

        let mapping = engine.kinds()[&Kind::new(KIND).unwrap()].manifest.mapping.clone().unwrap();
        let native = map(&engine, KIND, &NAMES, Mapping::Native).await.unwrap();
        let by_jq = map(&engine, KIND, &NAMES, Mapping::Custom(mapping.into())).await.unwrap();
        let documents = map(&engine, KIND, &NAMES, Mapping::Documents).await.unwrap();
        let account = map(&engine, "Contract::Account", &["account"], Mapping::Native).await.unwrap();
        let any = map(&engine, "Contract::Some::Thing", &["any"], Mapping::Native).await.unwrap();
        let MapError::Plugin { problem, .. } =
            map(&engine, KIND, &["first", "refuse-all"], Mapping::Native).await.unwrap_err()
        else {
            panic!("the plugin refused the batch");
        };
        let maps = json!({
            "entities": native,
            "entities by the default mapping": by_jq,
            "documents": {"documents": documents.documents, "errors": documents.errors},
            "a kind without a region": account,
            "a kind that the generic one stands for": any,
            "a batch that is refused": problem.message,
        });
        insta::with_settings!({
            snapshot_path => &published.folder, prepend_module_to_snapshot => false, omit_expression => true,
        }, {
            insta::assert_json_snapshot!("maps", maps);
        });
    }
}

/// Collects the names of all members that a schema defines.
fn members(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(parts) => {
            // A member may be called `properties` itself: what its schema has are no schemas.
            if let Some(Value::Object(properties)) = parts.get("properties")
                && properties.values().all(Value::is_object)
            {
                found.extend(properties.keys().cloned());
            }
            parts.values().for_each(|part| members(part, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| members(part, found)),
        _ => {}
    }
}

fn used(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(parts) => {
            found.extend(parts.keys().cloned());
            parts.values().for_each(|part| used(part, found));
        }
        Value::Array(parts) => parts.iter().for_each(|part| used(part, found)),
        _ => {}
    }
}

#[test]
fn the_plugin_of_each_contract_uses_every_member_of_a_manifest() {
    for published in published() {
        let (mut known, mut there) = (BTreeSet::new(), BTreeSet::new());
        members(&published.json("wit/manifest.schema.json"), &mut known);
        used(&published.json("manifest.json"), &mut there);
        let unused: Vec<&String> = known.difference(&there).collect();
        assert!(known.len() > 30 && unused.is_empty(), "{}: {unused:?}", published.version);
    }
}

/// A component has its contract version in the names of its exports and imports.
fn of_version(component: &[u8], version: &str) -> Vec<u8> {
    let (from, to) = (b"@1.0.0", format!("@{version}"));
    assert_eq!(from.len(), to.len(), "a name keeps its length");
    let mut bytes = component.to_vec();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

#[tokio::test]
async fn a_patch_of_the_contract_changes_nothing() {
    let component = fs::read(published()[0].component()).unwrap();
    let (engine, _dir) = engine(&of_version(&component, "1.0.9"));
    assert_eq!(engine.refused(), []);
    assert_eq!(engine.plugins()[0].contract, "1.0.9");
    let report = map(&engine, KIND, &["first"], Mapping::Native).await.unwrap();
    assert_eq!(report.entities.len(), 1);
}

#[test]
fn a_plugin_of_another_contract_is_rejected_with_the_required_version() {
    let component = fs::read(published()[0].component()).unwrap();
    let supports = format!("this host (Berth {}) supports 1.0", env!("CARGO_PKG_VERSION"));
    for (version, message, remedy) in [
        (
            "1.1.0",
            "needs version 1.1 of the plugin contract",
            "update Berth to one that supports contract 1.1",
        ),
        (
            "2.0.0",
            "needs version 2.0 of the plugin contract",
            "update Berth to one that supports contract 2.0",
        ),
        ("0.9.0", "was built for version 0.9 of the plugin contract", "update the plugin"),
    ] {
        let (engine, _dir) = engine(&of_version(&component, version));
        assert!(engine.kinds().is_empty());
        let problem = engine.refused().remove(0).problem;
        assert!(problem.message.starts_with(message), "{version}: {problem}");
        assert!(problem.message.ends_with(&supports), "{version}: {problem}");
        assert!(problem.remedy.as_deref().unwrap().starts_with(remedy), "{version}: {problem}");
    }
}
