//! Runs many scenarios, reports their violations, and minimizes those that fail.
//!
//! `BERTH_SIMULATION_SEED` and `BERTH_SIMULATION_CASES` select the scenarios. `BERTH_SIMULATION_PART` runs a part of
//! one, as a failure prints it. `BERTH_SIMULATION_TRACE` prints every request, answer and log line.
//! `BERTH_SIMULATION_FIRST` ends at the first failure. `BERTH_SIMULATION_SHRINK` sets how many failures to minimize.
#![expect(clippy::print_stdout, reason = "a program")]

use std::{
    collections::BTreeMap,
    env,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use berth_simulation::{
    Outcome, run,
    scenario::Scenario,
    shrink::{Part, shrink},
};

/// The first seed, and how many cases there are, unless something else is asked for.
const SEED: u64 = 1;
const CASES: u64 = 500;
/// Every so many cases one is run a second time.
const REPLAY: u64 = 20;
/// Run before anything is compared. They read all kinds, with and without live events and a ledger.
const WARM_UP: [u64; 3] = [10, 2, 113];
/// Every so many cases a long run says how far it is.
const PROGRESS: u64 = 1000;
/// So many failures are made smaller; the rest is only named.
const SHRUNK: u64 = 2;

#[derive(Default)]
struct Found {
    counts: BTreeMap<String, u64>,
    replayed: u64,
    failed: Vec<(u64, Outcome)>,
    differ: Vec<u64>,
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|text| text.parse().ok())
}

fn main() -> ExitCode {
    // What panics is told with the case that it panics in.
    std::panic::set_hook(Box::new(|_| {}));
    // What is set up once in a process draws random numbers, too: not in the middle of a case.
    for seed in WARM_UP {
        run(&Scenario::of(seed), false);
    }
    let seed = number("BERTH_SIMULATION_SEED").unwrap_or(SEED);
    if let Some(part) = env::var("BERTH_SIMULATION_PART").ok().and_then(|text| text.parse::<Part>().ok()) {
        return one(&part.of(&Scenario::of(seed)));
    }
    let cases = number("BERTH_SIMULATION_CASES").unwrap_or(CASES);
    if cases == 1 {
        return one(&Scenario::of(seed));
    }
    let begun = Instant::now();
    let first = env::var_os("BERTH_SIMULATION_FIRST").is_some();
    let found = Mutex::new(Found::default());
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    let enough = first && found.lock().is_ok_and(|found| !found.failed.is_empty());
                    if case >= cases || enough {
                        break;
                    }
                    examine(seed + case, case.is_multiple_of(REPLAY), &found);
                    progress(case + 1, cases, begun, &found);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = begun.elapsed().as_secs_f32();
    println!("{cases} cases from seed {seed} in {seconds:.1} s, {} of them twice", found.replayed);
    for (what, count) in &found.counts {
        println!("  {count:>7}  {what}");
    }
    found.failed.sort_by_key(|(seed, _)| *seed);
    for (seed, outcome) in &found.failed {
        println!("seed {seed}: {}", outcome.violations.first().map_or("", String::as_str));
    }
    let shrunk = if first { 0 } else { number("BERTH_SIMULATION_SHRINK").unwrap_or(SHRUNK) };
    for (seed, outcome) in found.failed.iter().take(usize::try_from(shrunk).unwrap_or(usize::MAX)) {
        let scenario = Scenario::of(*seed);
        let part = shrink(&scenario, outcome);
        println!("\nthe smallest that fails in the same way:");
        println!(
            "BERTH_SIMULATION_SEED={seed} BERTH_SIMULATION_PART={part} cargo test -p berth-simulation --locked"
        );
        println!("{:#?}", part.of(&scenario));
        println!("{:#?}", run(&part.of(&scenario), false).violations);
    }
    for seed in &found.differ {
        println!("seed {seed}: two runs differ");
    }
    if found.failed.is_empty() && found.differ.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn examine(seed: u64, twice: bool, found: &Mutex<Found>) {
    let scenario = Scenario::of(seed);
    let outcome = run(&scenario, false);
    let differs = twice && run(&scenario, false).digest != outcome.digest;
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    found.replayed += u64::from(twice);
    for (what, count) in &outcome.counts {
        *found.counts.entry(what.clone()).or_default() += count;
    }
    if differs {
        found.differ.push(seed);
    }
    if !outcome.violations.is_empty() {
        found.failed.push((seed, outcome));
    }
}

/// Says how far a long run is. A short one ends before anyone asks.
fn progress(done: u64, cases: u64, begun: Instant, found: &Mutex<Found>) {
    if !done.is_multiple_of(PROGRESS) || done == cases {
        return;
    }
    let failed = found.lock().unwrap_or_else(PoisonError::into_inner).failed.len();
    println!("{done} of {cases} cases begun after {} s, {failed} failed", begun.elapsed().as_secs());
}

fn one(scenario: &Scenario) -> ExitCode {
    let outcome = run(scenario, env::var_os("BERTH_SIMULATION_TRACE").is_some());
    println!("{scenario:#?}");
    println!("{}", outcome.reported.as_deref().unwrap_or_default());
    println!("{:#?}\n{:#?}\n{}", outcome.counts, outcome.violations, outcome.digest);
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
