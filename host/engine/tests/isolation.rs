//! Plugins in separate processes: the same output, and no access to anything else.
//!
//! This program is also the mapping process and the compiler process, so it has its own `main`.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests, and what runs them")]
#![cfg(target_os = "linux")]

mod components;
#[path = "isolation/hostile.rs"]
mod hostile;
#[path = "isolation/price.rs"]
mod price;
#[path = "isolation/probe.rs"]
mod probe;

use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};

use berth_core::{
    Account, AccountId, Kind, MapContext, MapError, MapReport, MapRequest, Mapping, Partition, RawPage,
    Region,
};
use berth_engine::{
    Engine, EngineConfig, EngineError, Isolation, IsolationProcess, Limits, run_child_if_asked,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use components::{built, component};

const TESTS: [(&str, fn()); 9] = [
    ("both_ways_give_the_same", both_ways_give_the_same),
    ("expressions_of_users_give_the_same", expressions_of_users_give_the_same),
    ("a_process_has_nothing_of_ours", a_process_has_nothing_of_ours),
    ("a_process_can_do_nothing", probe::a_process_can_do_nothing),
    ("a_process_that_is_killed_costs_its_batch_alone", a_process_that_is_killed_costs_its_batch_alone),
    ("a_hostile_process_costs_its_batch_alone", hostile::a_hostile_process_costs_its_batch_alone),
    (
        "processes_are_used_again_and_end_with_their_plugin",
        processes_are_used_again_and_end_with_their_plugin,
    ),
    ("trusted_plugins_run_here", trusted_plugins_run_here),
    ("without_processes_there_is_no_engine", without_processes_there_is_no_engine),
];

/// A secret of this process.
const CANARY: (&str, &str) = ("AWS_SECRET_ACCESS_KEY", "canary-7c1e");

fn main() -> ExitCode {
    if hostile::is_asked() {
        return hostile::run();
    }
    if let Some(exit) = run_child_if_asked(std::env::args_os()) {
        return exit;
    }
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    if let Some(what) = only.strip_prefix("probe-") {
        return probe::run(what);
    }
    if only == "price" {
        return price::run(&std::env::args().skip(2).collect::<Vec<_>>());
    }
    if std::env::var_os(CANARY.0).is_none() {
        // The environment of a running process is the one that it was started with.
        let again = Command::new(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .env(CANARY.0, CANARY.1)
            .status();
        std::process::exit(again.unwrap().code().unwrap_or(1));
    }
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&only)) {
        let begun = Instant::now();
        test();
        println!("test {name} ... ok ({:.1} s)", begun.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

fn plugins(guests: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for guest in guests {
        fs::copy(component(guest), dir.path().join(format!("{guest}.wasm"))).unwrap();
    }
    dir
}

fn apart() -> Isolation {
    Isolation::Process(IsolationProcess::new(std::env::current_exe().unwrap()))
}

fn config(dir: &Path, isolation: Isolation) -> EngineConfig {
    EngineConfig {
        plugin_dirs: vec![dir.to_owned()],
        // The cache of the other tests, so that each guest is compiled once.
        cache_dir: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")),
        limits: Limits { deadline: Duration::from_secs(1), memory_bytes: 32 << 20, ..Limits::default() },
        workers: NonZeroUsize::new(2).unwrap(),
        isolation,
        ..EngineConfig::default()
    }
}

fn engine(dir: &Path, isolation: Isolation) -> Engine {
    let engine = Engine::new(config(dir, isolation)).unwrap();
    assert_eq!(engine.refused(), [], "every guest is accepted");
    engine
}

fn map_resources(
    engine: &Engine,
    kind: &str,
    mapping: Mapping,
    resources: &[Value],
) -> Result<MapReport, MapError> {
    let page = RawPage {
        region: None,
        count: resources.len(),
        resources: serde_json::to_vec(resources).unwrap(),
        failures: Vec::new(),
        unread: Vec::new(),
        reservation: berth_core::Reservation::default(),
    };
    let account = Account::unnamed(AccountId::new("111122223333").unwrap(), Partition::Aws);
    let context = MapContext {
        account: Arc::new(account),
        region: Some(Region::new("eu-west-1").unwrap()),
        options: Vec::new(),
    };
    let kind = Kind::new(kind).unwrap();
    let request = MapRequest { kind, context, mapping, documents: false, page };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(engine.current().map(request))
}

fn map_by(engine: &Engine, kind: &str, mapping: Mapping, names: &[&str]) -> Result<MapReport, MapError> {
    let resources: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(index, name)| json!({"item": {"Id": format!("id-{index}"), "Name": name}, "steps": {}, "parents": {}}))
        .collect();
    map_resources(engine, kind, mapping, &resources)
}

fn map(engine: &Engine, kind: &str, names: &[&str]) -> Result<MapReport, MapError> {
    map_by(engine, kind, Mapping::Native, names)
}

fn failure(engine: &Engine, kind: &str, names: &[&str]) -> String {
    let error = map(engine, kind, names).unwrap_err();
    let MapError::Plugin { problem, .. } = error else { panic!("{error}") };
    assert!(problem.remedy.is_some(), "{problem}");
    problem.message
}

fn honest_still_works(engine: &Engine) {
    let report = map(engine, "Guests::Honest", &["a", "b"]).unwrap();
    assert_eq!((report.entities.len(), report.errors.len()), (2, 0));
}

/// Returns the mapping processes of this program, as the kernel lists them.
fn processes() -> Vec<PathBuf> {
    let is_ours = |process: &PathBuf| {
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        // The name is in parentheses; state and parent follow.
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        let fields: Vec<&str> = rest.split(' ').collect();
        fields.first() != Some(&"Z") && fields.get(1) == Some(&std::process::id().to_string().as_str())
    };
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit()))
        .filter(is_ours)
        .collect()
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it never came");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn both_ways_give_the_same() {
    let same: [(&str, &str, &[&str]); 13] = [
        ("honest", "Guests::Honest", &["a", "b", "ü\n"]),
        ("panic-on-one-item", "Hostile::OneItem", &["a", "panic", "c", "panic", "e"]),
        ("log-flood", "Hostile::LogFlood", &["a"]),
        ("loop-forever", "Hostile::Loop", &["a", "b"]),
        ("memory-bomb", "Hostile::Memory", &["a", "b"]),
        ("output-flood", "Hostile::Output", &["a", "b"]),
        ("panic", "Hostile::Panic", &["a", "b"]),
        ("deep-recursion", "Hostile::Recursion", &["a", "b"]),
        ("bad-json", "Hostile::Json", &["a", "b"]),
        ("bad-utf8", "Hostile::Utf8", &["a", "b"]),
        ("foreign-blueprint", "Hostile::Blueprint", &["a", "b"]),
        ("refuse", "Hostile::Refuse", &["a", "b"]),
        ("wasi-caller", "Hostile::Wasi", &["variables", "random", "clock", "exit", "print", "panic", "file"]),
    ];
    let dir = plugins(&same.map(|(guest, ..)| guest));
    let (here, apart) = (engine(dir.path(), Isolation::None), engine(dir.path(), apart()));
    assert!(here.plugins().iter().all(|plugin| !plugin.isolated) && here.isolation().is_none());
    assert!(apart.plugins().iter().all(|plugin| plugin.isolated) && apart.isolation().is_some());
    for (guest, kind, names) in same {
        let (one, other) = (map(&here, kind, names), map(&apart, kind, names));
        assert_eq!(format!("{one:?}"), format!("{other:?}"), "{guest}");
        honest_still_works(&apart);
    }
    for plugin in apart.plugins().iter().filter(|plugin| plugin.name == "honest") {
        assert!(plugin.peak_memory > 0);
    }

    // Plugins are rejected for the same reasons. Without a cache, so that the manifest is requested.
    let dir = plugins(&["bad-manifest", "honest", "loop-in-manifest", "next-major", "wants-network"]);
    fs::write(dir.path().join("other.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    let refused = |isolation| {
        let engine = Engine::new(EngineConfig { cache_dir: None, ..config(dir.path(), isolation) }).unwrap();
        honest_still_works(&engine);
        engine.refused()
    };
    let (one, other) = (refused(Isolation::None), refused(self::apart()));
    assert_eq!(one.len(), 5);
    assert_eq!(one, other);
}

fn expressions_of_users_give_the_same() {
    let dir = plugins(&["honest"]);
    fs::copy(built("plugins/jq.wasm"), dir.path().join("jq.wasm")).unwrap();
    let environment = || [("STAGE".to_owned(), "prod".to_owned())].into_iter().collect();
    let with = |isolation| {
        let config = EngineConfig { jq_environment: environment(), ..config(dir.path(), isolation) };
        Engine::new(config).unwrap()
    };
    let (here, apart) = (with(Isolation::None), with(apart()));
    let mapping = |title: &str| {
        let mappings = json!({"identifier": ".Properties.Id", "blueprint": "\"b\"", "title": title});
        let resource = json!({
            "kind": "Guests::Honest", "selector": {"query": "true"}, "port": {"entity": {"mappings": mappings}}
        });
        Mapping::Custom(Arc::new(serde_json::from_value(resource).unwrap()))
    };
    for title in [
        ".Properties.Name | ascii_upcase",
        "env | tojson",
        "def f: 1 + f; if .Properties.Name == \"b\" then f else 1 end",
        "1 | until(false; .)",
        "nope",
        // More mappings than instances that are kept.
        "1",
        "2",
        "3",
        ".Properties.Name | ascii_upcase",
    ] {
        let (one, other) = [&here, &apart]
            .map(|engine| map_by(engine, "Guests::Honest", mapping(title), &["a", "b"]))
            .into();
        assert_eq!(format!("{one:?}"), format!("{other:?}"), "{title}");
    }
}

/// Runs an endless batch, and calls `look` with its process in the meantime.
fn while_looping<T: Send>(engine: &Engine, look: impl FnOnce(&Path) -> T + Send) -> (T, String) {
    std::thread::scope(|scope| {
        let batch = scope.spawn(|| failure(engine, "Hostile::Loop", &["a"]));
        let process = eventually(|| {
            let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
            let is_closed = |path: &PathBuf| read(path.join("status")).contains("Seccomp_filters:\t2");
            let runs = |path: &PathBuf| {
                let mut threads = fs::read_dir(path.join("task")).into_iter().flatten().flatten();
                threads.any(|thread| read(thread.path().join("stat")).contains(") R "))
            };
            // Repeatedly, since it may be about to wait.
            let loops = |path: &&PathBuf| {
                is_closed(path)
                    && (0..5).all(|_| {
                        std::thread::sleep(Duration::from_millis(10));
                        runs(path)
                    })
            };
            processes().iter().find(loops).cloned()
        });
        (look(&process), batch.join().unwrap())
    })
}

fn a_process_has_nothing_of_ours() {
    let dir = plugins(&["loop-forever"]);
    // The open files of this process are not accessible to others.
    let _open = fs::File::open(dir.path()).unwrap();
    assert!(String::from_utf8_lossy(&fs::read("/proc/self/environ").unwrap()).contains(CANARY.1));
    let ((), message) = while_looping(&engine(dir.path(), apart()), |process| {
        assert_eq!(fs::read(process.join("environ")).unwrap(), b"");
        let memory = fs::read_to_string(process.join("cmdline")).unwrap();
        assert!(!memory.contains(CANARY.1), "{memory}");
        for file in fs::read_dir(process.join("fd")).unwrap() {
            let file = fs::read_link(file.unwrap().path()).unwrap();
            let file = file.to_string_lossy();
            assert!(file.starts_with("pipe:") || file.starts_with("/memfd:wasm-memory-image"), "{file}");
        }
        let status = fs::read_to_string(process.join("status")).unwrap();
        for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t2"] {
            assert!(status.contains(line), "{line} is not in {status}");
        }
        for thread in fs::read_dir(process.join("task")).unwrap() {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            assert!(status.contains("Seccomp_filters:\t2"), "{status}");
        }
        let limits = fs::read_to_string(process.join("limits")).unwrap();
        for limit in ["open files", "core file size", "file size"] {
            let line = limits.lines().find(|line| line.starts_with(&format!("Max {limit}"))).unwrap();
            assert_eq!(line.split_whitespace().rev().nth(1), Some("0"), "{line}");
        }
        assert_eq!(fs::read_link(process.join("cwd")).unwrap(), Path::new("/"));
    });
    assert_eq!(message, "ran longer than 1 s, the limit for a batch");
}

fn a_process_that_is_killed_costs_its_batch_alone() {
    let dir = plugins(&["loop-forever", "honest"]);
    let engine = engine(dir.path(), apart());
    let kill = |process: &Path| {
        let id = process.file_name().unwrap();
        assert!(Command::new("kill").arg("-9").arg(id).status().unwrap().success());
    };
    let ((), message) = while_looping(&engine, kill);
    assert_eq!(
        message,
        "failed because of its process: it was killed (SIGKILL), possibly because memory ran out"
    );
    honest_still_works(&engine);
    // An idle process can be killed without any effect.
    for process in processes() {
        kill(&process);
    }
    eventually(|| processes().is_empty().then_some(()));
    honest_still_works(&engine);
}

fn processes_are_used_again_and_end_with_their_plugin() {
    let dir = plugins(&["honest"]);
    let engine = engine(dir.path(), apart());
    honest_still_works(&engine);
    let first = processes();
    assert_eq!(first.len(), 1, "{first:?}");
    for _ in 0..5 {
        honest_still_works(&engine);
    }
    assert_eq!(processes(), first);
    // Another version has its own processes.
    let mut changed = fs::read(component("honest")).unwrap();
    // A custom section, empty and called `x`.
    changed.extend([0, 2, 1, b'x']);
    fs::write(dir.path().join("honest.wasm"), changed).unwrap();
    assert_eq!(engine.reload().unwrap().loaded.len(), 1);
    honest_still_works(&engine);
    let second = processes();
    assert!(second.len() == 1 && second != first, "{first:?} {second:?}");
    drop(engine);
    assert_eq!(processes(), [] as [PathBuf; 0]);
}

fn trusted_plugins_run_here() {
    let (own, others) = (plugins(&["honest"]), plugins(&["refuse"]));
    let program = std::env::current_exe().unwrap();
    let isolation =
        Isolation::Process(IsolationProcess { program, trusted_dirs: vec![own.path().to_owned()] });
    let plugin_dirs = vec![own.path().to_owned(), others.path().to_owned()];
    let engine = Engine::new(EngineConfig { plugin_dirs, ..config(own.path(), isolation) }).unwrap();
    // Without cached code, the plugin was already asked for its manifest.
    let before = processes();
    honest_still_works(&engine);
    assert_eq!(processes(), before);
    assert_eq!(failure(&engine, "Hostile::Refuse", &["a"]), "refused the batch: not on a Monday");
    assert_eq!(processes().len(), 1);
    let isolated: Vec<bool> = engine.plugins().iter().map(|plugin| plugin.isolated).collect();
    assert_eq!(isolated, [false, true]);
}

fn without_processes_there_is_no_engine() {
    let dir = plugins(&["honest"]);
    for (program, reason) in [("/nowhere/no-program", "No such file"), ("/bin/false", "it exited")] {
        let isolation = Isolation::Process(IsolationProcess::new(program.into()));
        let error = Engine::new(config(dir.path(), isolation)).unwrap_err();
        assert!(matches!(&error, EngineError::Isolation { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}
