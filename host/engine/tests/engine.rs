//! Tests the engine through its public API, with real components: hostile ones and an honest one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; clippy.toml exempts only functions that bear #[test] themselves"
)]

mod components;
mod contract;
mod exchange;
mod wasi;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use berth_core::{
    Account, AccountId, Kind, MapContext, MapError, MapReport, MapRequest, Mapping, Partition, RawPage,
    Region,
};
use berth_engine::{CodeOrigin, Engine, EngineConfig, EngineError, Limits};
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

#[tokio::test]
async fn each_limit_stops_only_its_attack() {
    let attacks = [
        ("loop-forever", "Hostile::Loop", "ran longer than 1 s, the limit for a batch"),
        ("memory-bomb", "Hostile::Memory", "needed more than 32 MiB of memory"),
        ("output-flood", "Hostile::Output", "returned more than 1 MiB, the limit for this batch"),
        ("panic", "Hostile::Panic", "panicked at panic/src/lib.rs:"),
        ("deep-recursion", "Hostile::Recursion", "crashed ("),
        (
            "bad-json",
            "Hostile::Json",
            "returned invalid output: at `entities[1].identifier`: invalid type: integer `7`",
        ),
        ("bad-utf8", "Hostile::Utf8", "returned invalid output: invalid UTF-8 at byte 13"),
        (
            "foreign-blueprint",
            "Hostile::Blueprint",
            "returned invalid output: at `entities[0].blueprint`: the mapping allows only `foreign-blueprint`, not `service`",
        ),
        ("refuse", "Hostile::Refuse", "refused the batch: not on a Monday"),
    ];
    let mut guests: Vec<&str> = attacks.iter().map(|(plugin, ..)| *plugin).collect();
    guests.push("honest");
    let engine = engine(&guests);
    for (plugin, kind, expected) in attacks {
        let begun = Instant::now();
        let message = failure(&engine, plugin, kind, &["a", "b", "c"]).await;
        assert!(message.starts_with(expected), "{plugin}: {message}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{plugin} took {:?}", begun.elapsed());
        honest_still_works(&engine).await;
    }
    let message = failure(&engine, "panic", "Hostile::Panic", &["a"]).await;
    assert!(message.ends_with("no mood for mapping"), "{message}");
}

#[tokio::test]
async fn a_looping_plugin_takes_one_deadline_per_batch() {
    let engine = engine(&["loop-forever"]);
    let begun = Instant::now();
    failure(&engine, "loop-forever", "Hostile::Loop", &["x"; 50]).await;
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_resource_that_crashes_a_plugin_fails_alone() {
    let engine = engine(&["panic-on-one-item"]);
    let report = map(&engine, "Hostile::OneItem", &["a", "panic", "c", "panic", "e"]).await.unwrap();
    assert_eq!(identifiers(&report), ["id-0", "id-2", "id-4"]);
    let errors: Vec<(usize, &str)> =
        report.errors.iter().map(|error| (error.index, error.resource.as_str())).collect();
    assert_eq!(errors, [(1, "id-1"), (3, "id-3")]);
    let reason = &report.errors[0].reason;
    assert!(reason.starts_with("plugin `panic-on-one-item` panicked at "), "{reason}");
    assert!(reason.ends_with("this one again"), "{reason}");
}

#[tokio::test]
async fn the_search_for_a_bad_resource_has_a_deadline() {
    let engine = engine(&["panic-on-one-item"]);
    let begun = Instant::now();
    let names = ["panic", "loop", "loop", "loop", "loop", "loop", "loop", "loop", "loop"];
    let message = failure(&engine, "panic-on-one-item", "Hostile::OneItem", &names).await;
    assert_eq!(message, "ran longer than 1 s, the limit for a batch");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
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

#[test]
fn a_flood_of_log_lines_is_bounded_and_cannot_forge_others() {
    let lines = log_lines();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(async {
        let engine = engine(&["log-flood"]);
        map(&engine, "Hostile::LogFlood", &["a"]).await.unwrap()
    });
    assert_eq!(identifiers(&report), ["id-0"]);

    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    let of_plugin: Vec<&str> = text.lines().filter(|line| line.contains("plugin=log-flood")).collect();
    assert_eq!(of_plugin.len(), 101, "100 lines and one on those that were dropped");
    assert!(of_plugin[0].contains(&"x".repeat(4096)) && !of_plugin[0].contains(&"x".repeat(4097)));
    assert!(of_plugin[1].contains("line 0\\nforged\\u{1b}[2J plugin="), "{}", of_plugin[1]);
    assert!(of_plugin[1].contains("at=Hostile::LogFlood 111122223333 eu-west-1"), "{}", of_plugin[1]);
    assert!(of_plugin[100].contains("dropped 9901 more log lines of the plugin"), "{}", of_plugin[100]);
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

/// Returns the files of a cache, by extension.
fn cached(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect()
}

#[tokio::test]
async fn compiled_code_is_kept_and_damage_is_repaired() {
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let cache_dir = cache.path().join("not/yet/there");
    let start = || {
        let config = EngineConfig { cache_dir: Some(cache_dir.clone()), ..config(dir.path()) };
        Engine::new(config).unwrap()
    };
    let origin = |engine: &Engine| engine.plugins()[0].code;

    let first = start();
    assert_eq!(origin(&first), CodeOrigin::Compiled);
    let second = start();
    assert_eq!(origin(&second), CodeOrigin::Cached);
    honest_still_works(&second).await;
    let kind = Kind::new("Guests::Honest").unwrap();
    assert_eq!(first.kinds()[&kind].manifest, second.kinds()[&kind].manifest);

    let [code] = &cached(&cache_dir, "cwasm")[..] else { panic!("one file of code") };
    let good = fs::read(code).unwrap();
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [&flipped[..], &good[..good.len() / 2], b"", b"nonsense"] {
        fs::write(code, damaged).unwrap();
        honest_still_works(&start()).await;
        assert!(fs::read(code).unwrap() == good, "the code is as it was");
    }
    fs::remove_file(code).unwrap();
    honest_still_works(&start()).await;

    let [record] = &cached(&cache_dir, "json")[..] else { panic!("one record") };
    for damaged in ["", "{}", "[1, 2"] {
        fs::write(record, damaged).unwrap();
        let engine = start();
        assert_eq!(origin(&engine), CodeOrigin::Compiled, "{damaged}");
        honest_still_works(&engine).await;
    }
    assert_eq!(origin(&start()), CodeOrigin::Cached);
}

#[cfg(unix)]
#[test]
fn special_files_do_not_block() {
    let dir = plugins(&["honest"]);
    let pipe = dir.path().join("pipe.wasm");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("zero.wasm")).unwrap();
    fs::create_dir(dir.path().join("folder.wasm")).unwrap();
    let engine = Engine::new(config(dir.path())).unwrap();
    assert_eq!(engine.plugins().len(), 1);
    assert_eq!(engine.refused().len(), 3);
    for refused in engine.refused() {
        assert_eq!(refused.problem.message, "is not a regular file", "{refused:?}");
    }
}

#[tokio::test]
async fn precompiled_code_runs_on_any_machine_and_is_replaced_if_unusable() {
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let (ahead, kept) = (cache.path().join("ahead"), cache.path().join("kept"));
    let start = || {
        let config = EngineConfig {
            cache_dir: Some(kept.clone()),
            precompiled_dirs: vec![ahead.clone()],
            ..config(dir.path())
        };
        Engine::new(config).unwrap()
    };
    assert_eq!(Engine::precompile(&config(dir.path()), &ahead).unwrap(), 1);
    let engine = start();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Cached);
    honest_still_works(&engine).await;
    assert_eq!(cached(&kept, "cwasm"), [] as [PathBuf; 0], "nothing was compiled");

    let [code] = &cached(&ahead, "cwasm")[..] else { panic!("one file of code") };
    // As a new file: the engine still runs the old one.
    fs::remove_file(code).unwrap();
    fs::write(code, "of another machine").unwrap();
    for _ in 0..2 {
        honest_still_works(&start()).await;
        assert_eq!(cached(&kept, "cwasm").len(), 1, "compiled here once, and kept");
    }

    let wrong = plugins(&["wants-network"]);
    let refused = Engine::precompile(&config(wrong.path()), &ahead).unwrap_err();
    assert!(refused.to_string().contains("wants-network.wasm"), "{refused}");
}

#[cfg(unix)]
#[tokio::test]
async fn code_that_others_could_have_written_is_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, cache) = (plugins(&["honest"]), tempfile::tempdir().unwrap());
    let start = || {
        let config = EngineConfig { cache_dir: Some(cache.path().to_owned()), ..config(dir.path()) };
        Engine::new(config).unwrap()
    };
    let mode = |mode| fs::set_permissions(cache.path(), fs::Permissions::from_mode(mode)).unwrap();
    for open in [0o770, 0o707, 0o777] {
        mode(open);
        let engine = start();
        assert_eq!(engine.plugins()[0].code, CodeOrigin::Compiled);
        honest_still_works(&engine).await;
        assert_eq!(cached(cache.path(), "cwasm"), [] as [PathBuf; 0], "mode {open:o}");
    }
    mode(0o700);
    start();
    assert_eq!(start().plugins()[0].code, CodeOrigin::Cached);
    mode(0o702);
    assert_eq!(start().plugins()[0].code, CodeOrigin::Compiled, "what is there counts no more");

    // Nor is code of a file or directory that others could have replaced.
    mode(0o700);
    let [code] = &cached(cache.path(), "cwasm")[..] else { panic!("one file of code") };
    let [record] = &cached(cache.path(), "json")[..] else { panic!("one record") };
    for file in [code, record] {
        for open in [0o620, 0o602] {
            fs::set_permissions(file, fs::Permissions::from_mode(open)).unwrap();
            honest_still_works(&start()).await;
            let now = fs::metadata(file).unwrap().permissions().mode() & 0o777;
            assert_eq!(now & 0o022, 0, "{} is written anew, not used", file.display());
        }
    }
    let elsewhere = cache.path().join("elsewhere");
    fs::rename(record, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, record).unwrap();
    assert_eq!(start().plugins()[0].code, CodeOrigin::Compiled, "a link to another file");
    let inner = cache.path().join("open/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::set_permissions(&inner, fs::Permissions::from_mode(0o700)).unwrap();
    for (open, used) in [(0o777, false), (0o1777, true), (0o755, true)] {
        fs::set_permissions(inner.parent().unwrap(), fs::Permissions::from_mode(open)).unwrap();
        let config = EngineConfig { cache_dir: Some(inner.clone()), ..config(dir.path()) };
        Engine::new(config).unwrap();
        assert_eq!(cached(&inner, "cwasm").len(), usize::from(used), "in a directory of mode {open:o}");
    }

    // The same directory, read-only.
    start();
    let config = EngineConfig {
        cache_dir: None,
        precompiled_dirs: vec![cache.path().to_owned()],
        ..config(dir.path())
    };
    let engine = Engine::new(config).unwrap();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Cached);
    honest_still_works(&engine).await;
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

/// An engine with the JQ component and an honest plugin; one for all tests, since the component takes
/// seconds to compile.
fn jq_engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        // Read again when the component is first used, so it outlives this function.
        let dir = &Path::new(env!("CARGO_TARGET_TMPDIR")).join("jq-engine");
        fs::create_dir_all(dir).unwrap();
        fs::copy(component("honest"), dir.join("honest.wasm")).unwrap();
        fs::copy(built("plugins/jq.wasm"), dir.join("jq.wasm")).unwrap();
        let limits = Limits { deadline: Duration::from_secs(3), ..config(dir).limits };
        let engine = Engine::new(EngineConfig { limits, ..config(dir) }).unwrap();
        assert_eq!(engine.refused(), []);
        assert_eq!(engine.plugins().len(), 1, "the JQ component is no plugin");
        assert_eq!(engine.jq(), Some(dir.join("jq.wasm")));
        engine
    })
}

fn mapping(query: &str, mappings: &Value) -> Mapping {
    let mut all = json!({"identifier": ".Properties.Id", "blueprint": "\"b\""});
    all.as_object_mut().unwrap().extend(mappings.as_object().unwrap().clone());
    let resource = json!({
        "kind": "Guests::Honest", "selector": {"query": query}, "port": {"entity": {"mappings": all}}
    });
    Mapping::Custom(Arc::new(serde_json::from_value(resource).unwrap()))
}

async fn map_by(mapping: Mapping, names: &[&str]) -> Result<MapReport, MapError> {
    jq_engine().current().map(request("Guests::Honest", mapping, page(names))).await
}

async fn jq_still_works() {
    let report = map_by(mapping("true", &json!({"title": ".Properties.Name | ascii_upcase"})), &["a", "b"])
        .await
        .unwrap();
    assert_eq!(identifiers(&report), ["id-0", "id-1"]);
    assert_eq!(report.entities[1].title, Some(json!("B")));
    assert_eq!(report.errors, []);
}

#[tokio::test]
async fn users_mappings_are_evaluated() {
    jq_still_works().await;
    let custom = mapping(
        "if .Properties.Name == \"odd\" then null else .Properties.Name != \"out\" end",
        &json!({
            "title": "'<' + .Properties.Name + '>'", "team": ".Properties.No",
            "properties": {"n": "1 + 1", "bad": ".Properties.Name.x"},
            "relations": {"one": "\"x\"", "search": {"combinator": "'and'", "rules": []}}
        }),
    );
    let report = map_by(custom, &["a", "out", "odd", "d"]).await.unwrap();
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        json!({
            "entities": [
                {"blueprint": "b", "identifier": "id-0", "title": "<a>", "team": null,
                 "properties": {"n": 2, "bad": null},
                 "relations": {"one": "x", "search": {"combinator": "and", "rules": []}}},
                {"blueprint": "b", "identifier": "id-3", "title": "<d>", "team": null,
                 "properties": {"n": 2, "bad": null},
                 "relations": {"one": "x", "search": {"combinator": "and", "rules": []}}},
            ],
            "errors": [{"index": 2, "resource": "id-2",
                "reason": "selector.query: gave `null` instead of true or false"}],
            "filtered": 1,
            "misconfigured": [
                {"field": "properties.bad", "expression": ".Properties.Name.x", "blueprint": "b", "count": 2,
                 "reason": "cannot index \"a\" with \"x\""},
                {"field": "team", "expression": ".Properties.No", "blueprint": "b", "count": 2,
                 "reason": "gave null"},
            ]
        })
    );
}

#[tokio::test]
async fn the_default_mapping_has_the_same_result_natively_and_in_jq() {
    let kinds = jq_engine().kinds();
    let default = kinds.values().next().unwrap().manifest.mapping.clone().unwrap();
    let by_jq = map_by(Mapping::Custom(Arc::new(default)), &["a", "b", "c"]).await.unwrap();
    assert_eq!(by_jq, map_by(Mapping::Native, &["a", "b", "c"]).await.unwrap());
}

#[tokio::test]
async fn documents_come_alone_or_with_the_entities() {
    let by = |mapping, documents| async move {
        let request = request("Guests::Honest", mapping, page(&["a", "b"]));
        jq_engine().current().map(MapRequest { documents, ..request }).await.unwrap()
    };
    let alone = by(Mapping::Documents, false).await;
    assert_eq!((identifiers(&alone), alone.documents.len()), (vec![], 2));
    let second: Value = serde_json::from_str(alone.documents[1].get()).unwrap();
    assert_eq!(second["Properties"]["Name"], "b");
    // The selector selects entities, and does not affect documents.
    let custom = mapping(".Properties.Name != \"a\"", &json!({}));
    for (mapping, entities) in [(Mapping::Native, vec!["id-0", "id-1"]), (custom, vec!["id-1"])] {
        let beside = by(mapping.clone(), true).await;
        assert_eq!((identifiers(&beside), &beside.documents), (entities, &alone.documents));
        assert_eq!(by(mapping, false).await.documents, []);
    }
}

#[tokio::test]
async fn a_mapping_sees_only_the_configured_variables() {
    let dir = plugins(&["honest"]);
    fs::copy(built("plugins/jq.wasm"), dir.path().join("jq.wasm")).unwrap();
    let jq_environment = [("STAGE".to_owned(), "prod".to_owned())].into_iter().collect();
    let engine = Engine::new(EngineConfig { jq_environment, ..config(dir.path()) }).unwrap();
    let custom = mapping("true", &json!({"title": "env | tojson"}));
    let report = engine.current().map(request("Guests::Honest", custom, page(&["a"]))).await.unwrap();
    assert_eq!(report.entities[0].title, Some(json!(r#"{"STAGE":"prod"}"#)));
}

#[tokio::test]
async fn a_runaway_expression_is_stopped_and_named() {
    for (expression, expected) in [
        ("1 | until(false; .)", "the mapping of Guests::Honest ran longer than 3 s"),
        (
            "[repeat(\"x\" * 1000)] | length",
            "the mapping of Guests::Honest needed more than 32 MiB of memory",
        ),
        ("def f: 1 + f; f", "the mapping of Guests::Honest "),
    ] {
        let custom = mapping("true", &json!({"properties": {"p": expression}}));
        let begun = Instant::now();
        let error = map_by(custom, &["a", "b", "c"]).await.unwrap_err();
        let MapError::Mapping(problem) = error else { panic!("{expression}: {error}") };
        assert!(problem.message.starts_with(expected), "{expression}: {problem}");
        assert!(problem.remedy.is_some(), "{expression}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{expression} took {:?}", begun.elapsed());
        jq_still_works().await;
    }
    // Only the document that crashes the evaluation fails.
    let crash = json!({"properties": {"p": "def f: 1 + f; if .Properties.Name == \"b\" then f else 1 end"}});
    let report = map_by(mapping("true", &crash), &["a", "b", "c"]).await.unwrap();
    assert_eq!(identifiers(&report), ["id-0", "id-2"]);
    assert_eq!((report.errors[0].index, report.errors[0].resource.as_str()), (1, "id-1"));
}

#[tokio::test]
async fn an_invalid_mapping_is_rejected_with_the_reason() {
    for (query, mappings, expected) in [
        (
            "nope",
            json!({}),
            "the mapping of Guests::Honest is invalid: `selector.query`, `nope`: the filter `nope` is not defined",
        ),
        (
            "true",
            json!({"identifier": ".["}),
            "the mapping of Guests::Honest is invalid: `identifier`, `.[`: ",
        ),
        (
            "true",
            json!({"blueprint": "'a b'"}),
            "the mapping of Guests::Honest returned invalid output: at `entities[0].blueprint`: `a b`",
        ),
    ] {
        let error = map_by(mapping(query, &mappings), &["a"]).await.unwrap_err();
        let MapError::Mapping(problem) = error else { panic!("{error}") };
        assert!(problem.message.starts_with(expected), "{problem}");
        assert!(problem.remedy.is_some());
    }
    let engine = engine(&["honest"]);
    let error = engine
        .current()
        .map(request("Guests::Honest", mapping("true", &json!({})), page(&["a"])))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, MapError::Mapping(problem) if problem.message.contains("need the `jq` component")),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_mappings_do_not_mix() {
    let mut tasks = tokio::task::JoinSet::new();
    for round in 0..60 {
        tasks.spawn(async move {
            let of = round % 7;
            let custom = mapping("true", &json!({"title": format!("\"{of} \\(.Properties.Name)\"")}));
            let report = map_by(custom, &["a"]).await.unwrap();
            assert_eq!(report.entities[0].title, Some(json!(format!("{of} a"))));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// The manifest in a section of the file saves compiling unused plugins, and is never trusted without a
/// check.
#[tokio::test]
async fn a_manifest_section_is_read_without_compiling_and_checked_at_first_use() {
    let dir = tempfile::tempdir().unwrap();
    let honest = fs::read(built("plugins/account-info.wasm")).unwrap();
    fs::write(dir.path().join("p.wasm"), &honest).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let fresh = || EngineConfig { cache_dir: Some(cache.path().join("c")), ..config(dir.path()) };
    let engine = Engine::new(fresh()).unwrap();
    assert_eq!(engine.plugins()[0].code, CodeOrigin::Deferred);
    assert_eq!(cached(&cache.path().join("c"), "cwasm").len(), 0, "nothing was compiled");
    assert!(map(&engine, "AWS::Account::Info", &["a"]).await.is_ok());
    assert_eq!(Engine::new(fresh()).unwrap().plugins()[0].code, CodeOrigin::Cached);

    // A different version in the section than in the code.
    let at = |bytes: &[u8], text: &str| bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap();
    let mut forged = honest.clone();
    let section = at(&forged, "berth:manifest");
    let version = section + at(&forged[section..], "\"version\": \"0");
    forged[version + 12] = b'9';
    fs::write(dir.path().join("p.wasm"), &forged).unwrap();
    let engine = Engine::new(fresh()).unwrap();
    assert!(engine.plugins()[0].version.starts_with('9'));
    let error = map(&engine, "AWS::Account::Info", &["a"]).await.unwrap_err().to_string();
    assert!(error.contains("returns a manifest that differs"), "{error}");
}
