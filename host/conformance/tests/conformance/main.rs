//! Tests that the bundled plugins are right: each with the real engine, compared with its default mapping in
//! the shipped JQ component, on its fixtures, with its golden files, and on changed resources.
//!
//! With `BERTH_TEST_PLUGIN=ec2-volume` only that plugin is tested; `BERTH_BLESS=1` accepts its output.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; clippy.toml exempts only functions with #[test]"
)]

mod bundled;
mod changed;
mod suite;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use berth_core::{Account, AccountId, KindManifest, MapContext, Partition, Region, Scope};
use berth_engine::{Engine, EngineConfig, Limits, PluginInfo};
use serde_json::Value;

/// Returns what the task runner prepared: from the variable, else from the usual place.
fn prepared(variable: &str, usual: &str) -> PathBuf {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    env::var_os(variable).map_or_else(|| repository.join(usual), PathBuf::from)
}

/// Returns an engine with all bundled plugins; all tests share it, because compiling them takes seconds.
fn engine() -> &'static Arc<Engine> {
    static ENGINE: OnceLock<Arc<Engine>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let bundled = prepared("BERTH_TEST_COMPONENTS", "target/components").join("plugins");
        assert!(bundled.is_dir(), "{} is missing: run `cargo xtask components` first", bundled.display());
        let engine = Engine::new(EngineConfig {
            plugin_dirs: vec![bundled],
            cache_dir: Some(prepared("BERTH_TEST_CACHE", "target/test-cache")),
            // Long enough for a busy machine.
            limits: Limits { deadline: Duration::from_mins(1), ..Limits::default() },
            ..EngineConfig::default()
        })
        .unwrap();
        assert_eq!(engine.refused(), []);
        assert!(engine.jq().is_some());
        Arc::new(engine)
    })
}

/// A bundled plugin with its one kind.
struct Case {
    plugin: String,
    kind: KindManifest,
}

/// Returns the bundled plugins, or the requested one.
fn subjects() -> Vec<Case> {
    let only = env::var("BERTH_TEST_PLUGIN").ok();
    let subject = |PluginInfo { name, manifest, .. }: PluginInfo| {
        assert_eq!(manifest.kinds.len(), 1, "{name} has one kind, and fixtures of it");
        Case { kind: manifest.kinds[0].clone(), plugin: name }
    };
    let all = engine().plugins().into_iter().map(subject);
    let found: Vec<_> = all.filter(|found| only.as_ref().is_none_or(|only| *only == found.plugin)).collect();
    match only {
        Some(only) => assert_eq!(found.len(), 1, "there is no plugin `{only}`"),
        // The other folders have what plugins and the JQ component are made of.
        None => assert_eq!(found.len(), folders(), "not every plugin of plugins/ has a component"),
    }
    found
}

fn folders() -> usize {
    let entries = fs::read_dir(plugins()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.join("manifest.json").is_file()).count()
}

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins")
}

impl Case {
    /// Returns the fixtures of its folder by name; there is at least one.
    fn fixtures(&self) -> Vec<(String, Value)> {
        let folder = plugins().join(&self.plugin).join("fixtures");
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} has no fixture", folder.display());
        let read = |file: PathBuf| {
            let text = fs::read(&file).unwrap();
            let fixture =
                serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            (file.file_stem().unwrap().display().to_string(), fixture)
        };
        files.into_iter().map(read).collect()
    }

    fn context(&self) -> MapContext {
        context(Partition::Aws, (self.kind.scope == Scope::Regional).then_some("eu-west-1"), &[])
    }
}

fn context(partition: Partition, region: Option<&str>, options: &[&str]) -> MapContext {
    let account = AccountId::new("111122223333").unwrap();
    MapContext {
        account: Arc::new(Account::unnamed(account, partition)),
        region: region.map(|region| Region::new(region).unwrap()),
        options: options.iter().map(|&option| option.to_owned()).collect(),
    }
}
