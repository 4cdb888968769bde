//! Tests the engine through its public API, with real components: hostile ones and an honest one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; clippy.toml exempts only functions that bear #[test] themselves"
)]

mod compiled;
#[path = "../components/mod.rs"]
mod components;
mod contract;
mod exchange;
mod jq;
mod limits;
mod wasi;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use berth_core::{
    Account, AccountId, Kind, MapContext, MapError, MapReport, MapRequest, Mapping, Partition, RawPage,
    Region,
};
use berth_engine::{Engine, EngineConfig, EngineError, Limits};
use serde_json::{Value, json};
use tempfile::TempDir;

use components::{built, component};

/// A plugin directory with these guests.
fn plugins(guests: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for guest in guests {
        fs::copy(component(guest), dir.path().join(format!("{guest}.wasm"))).unwrap();
    }
    dir
}

/// Compiled code that all tests of this run share: each guest is compiled once.
fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")
}

fn config(dir: &Path) -> EngineConfig {
    EngineConfig {
        plugin_dirs: vec![dir.to_owned()],
        cache_dir: Some(shared_cache()),
        limits: Limits {
            // Long enough for a busy machine.
            deadline: Duration::from_secs(1),
            memory_bytes: 32 << 20,
            ..Limits::default()
        },
        workers: NonZeroUsize::new(2).unwrap(),
        ..EngineConfig::default()
    }
}

fn engine(guests: &[&str]) -> Engine {
    let dir = plugins(guests);
    let engine = Engine::new(config(dir.path())).unwrap();
    assert_eq!(engine.refused(), [], "every guest is accepted");
    engine
}

fn page(names: &[&str]) -> RawPage {
    let resources: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| json!({"item": {"Id": format!("id-{index}"), "Name": name}, "steps": {}, "parents": {}}))
        .collect();
    RawPage {
        region: None,
        count: resources.len(),
        resources: serde_json::to_vec(&resources).unwrap(),
        failures: Vec::new(),
        unread: Vec::new(),
        reservation: berth_core::Reservation::default(),
    }
}

fn request(kind: &str, mapping: Mapping, page: RawPage) -> MapRequest {
    let account = Account::unnamed(AccountId::new("111122223333").unwrap(), Partition::Aws);
    MapRequest {
        kind: Kind::new(kind).unwrap(),
        context: MapContext {
            account: Arc::new(account),
            region: Some(Region::new("eu-west-1").unwrap()),
            options: Vec::new(),
        },
        mapping,
        documents: false,
        page,
    }
}

async fn map(engine: &Engine, kind: &str, names: &[&str]) -> Result<MapReport, MapError> {
    engine.current().map(request(kind, Mapping::Native, page(names))).await
}

/// Returns the message of a failed batch, after checking that it names plugin and kind and has a remedy.
async fn failure(engine: &Engine, plugin: &str, kind: &str, names: &[&str]) -> String {
    let error = map(engine, kind, names).await.unwrap_err();
    let MapError::Plugin { plugin: named, kind: of, problem } = &error else { panic!("{error}") };
    assert_eq!((named.as_str(), of.as_str()), (plugin, kind));
    assert!(problem.remedy.is_some(), "{problem}");
    let MapError::Plugin { problem, .. } = error else { unreachable!() };
    problem.message
}

fn identifiers(report: &MapReport) -> Vec<&str> {
    report.entities.iter().map(|entity| entity.key.identifier.as_str()).collect()
}

async fn honest_still_works(engine: &Engine) {
    let report = map(engine, "Guests::Honest", &["a", "b"]).await.unwrap();
    assert_eq!(identifiers(&report), ["id-0", "id-1"]);
    assert_eq!(report.entities[1].title, Some(json!("b")));
    assert_eq!(report.entities[1].key.blueprint.as_str(), "honest");
    assert_eq!(report.errors, []);
}

/// The log of all tests. The lines come from worker threads, which only a global subscriber receives.
fn log_lines() -> Arc<Mutex<Vec<u8>>> {
    #[derive(Clone)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    static LINES: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let lines = Lines(Arc::default());
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        lines.0
    });
    Arc::clone(lines)
}

#[tokio::test]
async fn unusable_plugins_are_rejected_by_name_with_the_reason() {
    let dir =
        plugins(&["bad-manifest", "honest", "loop-in-manifest", "next-major", "next-minor", "wants-network"]);
    let path = |name: &str| dir.path().join(name);
    fs::write(path("core.wasm"), b"\0asm\x01\0\0\0").unwrap();
    fs::write(path("text.wasm"), "not wasm").unwrap();
    fs::write(path("empty.wasm"), "").unwrap();
    let whole = fs::read(component("honest")).unwrap();
    fs::write(path("half.wasm"), &whole[..whole.len() / 2]).unwrap();
    fs::write(path("other.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    fs::copy(component("honest"), path("twin.wasm")).unwrap();
    fs::write(path("README.md"), "no plugin, and not tried").unwrap();

    let engine = Engine::new(config(dir.path())).unwrap();
    assert_eq!(engine.kinds().keys().map(Kind::as_str).collect::<Vec<_>>(), ["Guests::Honest"]);
    honest_still_works(&engine).await;

    let refused: BTreeMap<String, String> = engine
        .refused()
        .into_iter()
        .map(|refused| {
            assert!(refused.problem.remedy.is_some(), "{refused:?}");
            let name = Path::new(&refused.plugin).file_name().unwrap().to_str().unwrap().to_owned();
            (name, refused.problem.message)
        })
        .collect();
    let expected = [
        (
            "bad-manifest.wasm",
            "has an invalid manifest, at `kinds[0].plan.steps[1]`: there is no earlier step `nothing`",
        ),
        ("core.wasm", "is a core WebAssembly module, not a component"),
        ("empty.wasm", "is not WebAssembly"),
        ("half.wasm", "cannot be compiled: "),
        ("loop-in-manifest.wasm", "returned no manifest: it ran longer than 1 s"),
        (
            "next-major.wasm",
            "needs version 2.0 of the plugin contract (`berth:plugin/mapper`); this host (Berth 0.1.0) supports 1.0",
        ),
        ("next-minor.wasm", "needs version 1.9 of the plugin contract"),
        ("other.wasm", "is not a Berth plugin: it does not export `berth:plugin/mapper`"),
        ("text.wasm", "is not WebAssembly"),
        ("twin.wasm", "maps Guests::Honest, as "),
        (
            "wants-network.wasm",
            "imports `evil:net/sockets`; a plugin may import only `berth:plugin/log` and the WASI 0.2 packages \
             cli, clocks, filesystem, io, random, sockets",
        ),
    ];
    assert_eq!(refused.keys().map(String::as_str).collect::<Vec<_>>(), expected.map(|(name, _)| name));
    for (name, message) in expected {
        assert!(refused[name].starts_with(message), "{name}: {}", refused[name]);
    }

    let error = engine.inspect(&path("core.wasm")).unwrap_err();
    assert!(error.message.ends_with("core.wasm is a core WebAssembly module, not a component"), "{error}");
    let error = map(&engine, "Hostile::Network", &["a"]).await.unwrap_err();
    assert!(matches!(&error, MapError::NoPlugin(problem) if problem.message.contains("Hostile::Network")));
}

#[test]
fn a_missing_directory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = Engine::new(config(&dir.path().join("nowhere"))).unwrap_err();
    assert!(matches!(&error, EngineError::Directory { path, .. } if path.ends_with("nowhere")), "{error}");
}

#[tokio::test]
async fn a_later_directory_wins() {
    let (first, second) = (plugins(&["honest"]), plugins(&["honest", "panic"]));
    let engine = Engine::new(EngineConfig {
        plugin_dirs: vec![first.path().to_owned(), second.path().to_owned()],
        ..config(first.path())
    })
    .unwrap();
    assert_eq!(engine.refused(), []);
    let listed = engine.plugins();
    let replaced: Vec<_> =
        listed.iter().map(|plugin| (&plugin.file, plugin.kinds[0].replaced_by.as_ref())).collect();
    let winner = second.path().join("honest.wasm");
    assert_eq!(
        replaced,
        [
            (&first.path().join("honest.wasm"), Some(&winner)),
            (&winner, None),
            (&second.path().join("panic.wasm"), None),
        ]
    );
    honest_still_works(&engine).await;
    assert!(engine.plugins()[1].peak_memory > 0, "the second directory's plugin mapped");
    assert_eq!(engine.plugins()[0].peak_memory, 0);
}

#[tokio::test]
async fn the_same_batch_gives_the_same_entities() {
    let engine = engine(&["honest"]);
    let names: Vec<String> = (0..200).map(|index| format!("n{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let first = map(&engine, "Guests::Honest", &names).await.unwrap();
    assert_eq!(first.entities.len(), 200);
    for _ in 0..3 {
        assert_eq!(map(&engine, "Guests::Honest", &names).await.unwrap(), first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_map_concurrently_with_hostile_ones() {
    let engine = Arc::new(engine(&["honest", "panic", "memory-bomb", "output-flood"]));
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..200 {
        let engine = Arc::clone(&engine);
        tasks.spawn(async move {
            match round % 10 {
                3 => drop(failure(&engine, "panic", "Hostile::Panic", &["a", "b"]).await),
                5 => drop(failure(&engine, "memory-bomb", "Hostile::Memory", &["a"]).await),
                7 => drop(failure(&engine, "output-flood", "Hostile::Output", &["a"]).await),
                _ => honest_still_works(&engine).await,
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_batch_without_resources_needs_no_plugin_call() {
    let engine = engine(&["panic"]);
    assert_eq!(map(&engine, "Hostile::Panic", &[]).await.unwrap(), MapReport::default());
}

#[test]
fn a_plugin_outside_the_plugin_directories_can_be_inspected() {
    let engine = engine(&["honest"]);
    let info = engine.inspect(&component("panic")).unwrap();
    assert_eq!((info.name.as_str(), info.version.as_str()), ("panic", "1.0.0"));
    assert_eq!(info.contract, "1.0.0");
    assert_eq!(info.imports, ["berth:plugin/log@1.0.0"]);
    assert_eq!(info.kinds[0].kind.as_str(), "Hostile::Panic");
    assert_eq!(info.size, fs::metadata(component("panic")).unwrap().len());
    assert_eq!(info.sha256.len(), 64);
    assert_eq!(engine.kinds().len(), 1, "inspecting changes nothing");
}
