//! Measures the cost of a separate process per batch: runs both ways alternately, on the same resources.
//!
//! `cargo test --release -p berth-engine --test isolation -- price PLUGIN.wasm FIXTURE.json …`

use std::{fs, path::Path, process::ExitCode, time::Instant};

use berth_core::Mapping;
use berth_engine::{Engine, EngineConfig, Isolation, Limits};
use serde_json::Value;

use super::{apart, config, map_resources};

const BATCH: usize = 100;
const ROUNDS: usize = 200;

pub(super) fn run(arguments: &[String]) -> ExitCode {
    for pair in arguments.chunks_exact(2) {
        let [plugin, fixture] = pair else { continue };
        measure(Path::new(plugin), Path::new(fixture));
    }
    ExitCode::SUCCESS
}

fn measure(plugin: &Path, fixture: &Path) {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(plugin, dir.path().join("plugin.wasm")).unwrap();
    let with = |isolation| {
        let limits = Limits::default();
        Engine::new(EngineConfig { limits, ..config(dir.path(), isolation) }).unwrap()
    };
    let engines = [with(Isolation::None), with(apart())];
    let kind = engines[0].kinds().into_keys().next().unwrap();
    let some: Vec<Value> = serde_json::from_slice(&fs::read(fixture).unwrap()).unwrap();
    let resources: Vec<Value> = some.iter().cycle().take(BATCH).cloned().collect();
    let bytes = serde_json::to_vec(&resources).unwrap().len();
    let once = |engine: &Engine| {
        let begun = Instant::now();
        let report = map_resources(engine, kind.as_str(), Mapping::Native, &resources).unwrap();
        assert!(!report.entities.is_empty());
        begun.elapsed()
    };
    // Compiles it for both.
    once(&engines[0]);
    let first = once(&engines[1]);
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (engine, times) in engines.iter().zip(&mut times) {
            times.push(once(engine));
        }
    }
    let median = |times: &mut Vec<_>| {
        times.sort();
        times[ROUNDS / 2]
    };
    let [here, apart] = times.each_mut().map(median);
    println!(
        "{} ({BATCH} resources, {} KiB): here {here:?}, apart {apart:?}, {:.2} times; the first, with the start of the \
         process, {first:?}",
        plugin.file_stem().unwrap_or_default().display(),
        bytes >> 10,
        apart.as_secs_f64() / here.as_secs_f64(),
    );
}
