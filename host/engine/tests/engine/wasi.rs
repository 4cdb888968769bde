//! The empty WASI implementation: the view of a standard library, and what happens to a plugin that tries
//! more.

use std::time::{Duration, Instant};

use berth_engine::{Engine, EngineConfig, Wasi};

use crate::{config, engine, failure, honest_still_works, identifiers, log_lines, map, plugins};

fn engine_with(wasi: Wasi) -> Engine {
    let dir = plugins(&["wasi-caller", "honest"]);
    let engine = Engine::new(EngineConfig { wasi, ..config(dir.path()) }).unwrap();
    assert_eq!(engine.refused(), []);
    engine
}

/// Returns the results of attempts, in order.
async fn answers(engine: &Engine, attempts: &[&str]) -> Vec<String> {
    let report = map(engine, "Hostile::Wasi", attempts).await.unwrap();
    assert_eq!(report.errors, [], "{attempts:?}");
    let title = |entity: &berth_core::Entity| entity.title.as_ref()?.as_str().map(ToOwned::to_owned);
    report.entities.iter().map(|entity| title(entity).unwrap()).collect()
}

#[tokio::test]
async fn a_standard_library_gets_empty_results() {
    let engine = engine_with(Wasi::Empty);
    let imports = &engine.plugins()[1].imports;
    assert!(imports.iter().any(|import| import.starts_with("wasi:filesystem/")), "{imports:?}");
    let begun = Instant::now();
    for (attempt, answer) in [
        ("variables", "0"),
        ("arguments", "0"),
        ("stdin", "nothing"),
        ("connect", "PermissionDenied"),
        ("bind", "PermissionDenied"),
        // The clock of a batch stands still, and sleeping takes no time.
        ("clock", "true"),
        ("sleep", "60"),
    ] {
        assert_eq!(answers(&engine, &[attempt]).await, [answer], "{attempt}");
    }
    for attempt in ["file", "folder", "write", "look-up"] {
        assert_ne!(answers(&engine, &[attempt]).await, ["granted"], "{attempt}");
    }
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let reported: u64 = answers(&engine, &["time"]).await[0].parse().unwrap();
    assert!(now.abs_diff(reported) < 60, "{reported}");
    honest_still_works(&engine).await;
}

#[tokio::test]
async fn random_numbers_are_the_same_for_each_batch_and_differ_in_a_variant() {
    let one = answers(&engine_with(Wasi::Empty), &["random", "random"]).await;
    assert_ne!(one[0], one[1]);
    assert_eq!(answers(&engine_with(Wasi::Empty), &["random", "random"]).await, one);
    let first = answers(&engine_with(Wasi::Variant(1)), &["random", "time"]).await;
    let second = answers(&engine_with(Wasi::Variant(2)), &["random", "time"]).await;
    assert!(first[0] != second[0] && first[1] != second[1], "{first:?} {second:?}");
}

#[test]
fn output_becomes_log_lines() {
    let lines = log_lines();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(answers(&engine_with(Wasi::Empty), &["print"]).await, ["printed"]);
    });
    let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    for line in ["INFO", "WARN"].into_iter().zip(["hello", "beware"]) {
        assert!(text.lines().any(|found| found.contains(line.0) && found.contains(line.1)), "{text}");
    }
    assert!(text.contains("wor\\u{1b}[2Jld plugin=wasi-caller"), "{text}");
    assert!(text.contains("unfinished plugin=wasi-caller"), "{text}");
}

#[tokio::test]
async fn an_exit_or_panic_fails_only_its_resource() {
    let engine = engine_with(Wasi::Empty);
    for (attempt, expected) in
        [("exit", "exited with code "), ("panic", "panicked at wasi-caller/src/lib.rs:")]
    {
        let message = failure(&engine, "wasi-caller", "Hostile::Wasi", &[attempt]).await;
        assert!(message.starts_with(expected), "{attempt}: {message}");
        let report = map(&engine, "Hostile::Wasi", &["a", attempt, "c"]).await.unwrap();
        assert_eq!(identifiers(&report), ["id-0", "id-2"], "{attempt}");
    }
    let message = failure(&engine, "wasi-caller", "Hostile::Wasi", &["panic"]).await;
    assert!(message.ends_with("no mood for mapping"), "{message}");
}

#[tokio::test]
async fn each_attack_through_wasi_is_contained() {
    let engine = engine(&["wasi-hostile", "honest"]);
    for (attack, expected) in [
        ("poll", "ran longer than 1 s, the limit for a batch"),
        ("stderr", "ran longer than 1 s, the limit for a batch"),
        ("pollables", "has more than 10000 streams and pollables open"),
        ("random", "crashed ("),
        ("descriptor", "unknown handle index 3)"),
    ] {
        let begun = Instant::now();
        let message = failure(&engine, "wasi-hostile", "Hostile::Taker", &[attack]).await;
        assert!(message.contains(expected), "{attack}: {message}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{attack} took {:?}", begun.elapsed());
        honest_still_works(&engine).await;
        // Not paused for running out of time repeatedly.
        assert!(map(&engine, "Hostile::Taker", &["behaves"]).await.is_ok());
    }
    let begun = Instant::now();
    assert!(map(&engine, "Hostile::Taker", &["sleep"]).await.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_exit_in_the_manifest_is_rejected() {
    let dir = plugins(&["wasi-exit", "honest"]);
    let engine = Engine::new(config(dir.path())).unwrap();
    let [refused] = &engine.refused()[..] else { panic!("{:?}", engine.refused()) };
    assert_eq!(refused.problem.message, "returned no manifest: it exited with code 1");
    honest_still_works(&engine).await;
}

#[tokio::test]
async fn with_deny_each_call_fails_the_batch() {
    let engine = engine_with(Wasi::Deny);
    // The standard library reads no environment and no clock that it does not need: mapping works.
    assert_eq!(answers(&engine, &["plain", "plain"]).await, ["plain", "plain"]);
    for (attempt, import) in [
        ("file", "wasi:filesystem/"),
        ("clock", "wasi:clocks/"),
        ("sleep", "wasi:clocks/"),
        ("variables", "wasi:cli/environment"),
        ("print", "wasi:cli/stdout"),
    ] {
        let message = failure(&engine, "wasi-caller", "Hostile::Wasi", &[attempt]).await;
        assert!(message.starts_with(&format!("called `{import}")), "{attempt}: {message}");
        assert!(message.ends_with("but WASI is denied"), "{attempt}: {message}");
    }
    honest_still_works(&engine).await;
}

/// Components with the imports of toolchains that are not built here: their runtimes start and map.
/// `MoonBit` imports nothing by itself, like `honest`.
#[tokio::test]
async fn imports_of_other_toolchains_are_supported() {
    let names = ["wasi-csharp", "wasi-go", "wasi-tinygo"];
    let engine = engine(&names);
    for (name, kind, imports) in [
        ("wasi-csharp", "Hostile::CSharp", ADAPTER),
        ("wasi-go", "Hostile::Go", ADAPTER),
        (
            "wasi-tinygo",
            "Hostile::TinyGo",
            &[
                "cli/environment",
                "cli/stderr",
                "cli/stdin",
                "cli/stdout",
                "clocks/monotonic-clock",
                "clocks/wall-clock",
                "filesystem/preopens",
                "filesystem/types",
                "io/error",
                "io/poll",
                "io/streams",
                "random/random",
            ],
        ),
    ] {
        let plugins = engine.plugins();
        let plugin = plugins.iter().find(|plugin| plugin.name == name).unwrap();
        let interface = |import: &str| {
            let import = import.strip_prefix("wasi:").unwrap();
            import.split_once('@').unwrap().0.to_owned()
        };
        let found: Vec<String> = plugin.wasi().map(interface).collect();
        assert_eq!(found, imports, "{name}");
        let report = map(&engine, kind, &["a", "b"]).await.unwrap();
        assert_eq!(report.errors, [], "{name}");
        for entity in &report.entities {
            let title = entity.title.as_ref().and_then(|title| title.as_str());
            assert_eq!(title, Some("0 arguments, 0 variables"), "{name}");
        }
        assert_eq!(report.entities.len(), 2, "{name}");
    }
}

/// The imports of the preview 1 adapter for a runtime that opens files.
const ADAPTER: &[&str] = &[
    "cli/environment",
    "cli/exit",
    "cli/stderr",
    "cli/stdin",
    "cli/stdout",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stderr",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/random",
];
