//! Explores every scenario with the real rules, and each mistake until it shows.

#![expect(clippy::print_stdout, reason = "what was explored is what this test is for")]

use std::{process::ExitCode, time::Instant};

use berth_model::{
    explore::explore,
    mutant::Mutant,
    scenario::{self, Scenario},
};

/// At least so many distinct states have to be explored.
const ENOUGH: usize = 1_000_000;
/// An exploration that visits more does not fit into CI.
const BOUND: usize = 40_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // As nextest asks for the names of tests.
    if has("--list") {
        if !has("--ignored") {
            println!("model: test");
        }
        return ExitCode::SUCCESS;
    }
    // A filter for tests of other packages.
    let known = ["model", "rules", "mistakes", "traces", "deep"];
    let is_filter = |text: &str| !text.starts_with('-') && text.parse::<u32>().is_err();
    if arguments.iter().any(|text| is_filter(text) && !known.contains(&text.as_str())) {
        return ExitCode::SUCCESS;
    }
    let (rules, mistakes) = (!has("mistakes"), !has("rules"));
    let begun = Instant::now();
    let mut failed = false;
    let mut states = 0;
    let mut scenarios = scenario::all();
    if has("deep") {
        // Minutes, and gigabytes of memory.
        for scenario in &mut scenarios {
            scenario.faults += 1;
        }
    }
    if rules {
        for scenario in &scenarios {
            let explored = explore(scenario, None, BOUND);
            println!(
                "{:>9} states, {:>9} steps, {:>7} deletions, {:>7} settled, {:>5.1} s: {}",
                explored.states,
                explored.steps,
                explored.deletions,
                explored.settled,
                explored.seconds,
                scenario.name
            );
            states += explored.states;
            if let Some(counterexample) = explored.counterexample {
                failed = true;
                println!("VIOLATED by the real rules: {counterexample}");
            }
        }
        println!("{states} distinct states in {:.1} s", begun.elapsed().as_secs_f64());
        if states < ENOUGH {
            failed = true;
            println!("FAILED: fewer than {ENOUGH} states");
        }
    }
    let mut killed = 0;
    for mutant in Mutant::ALL.into_iter().filter(|_| mistakes) {
        let since = Instant::now();
        // Where it shows soonest, and few faults first: most mistakes need no more.
        let (first, others): (Vec<&Scenario>, Vec<&Scenario>) =
            scenarios.iter().partition(|scenario| scenario.name.starts_with(mutant.scenario()));
        let found = [first, others].iter().find_map(|scenarios| {
            let most = scenarios.iter().map(|scenario| scenario.faults).max()?;
            (0..=most).find_map(|faults| {
                scenarios.iter().filter(|scenario| faults <= scenario.faults).find_map(|scenario| {
                    let scenario = Scenario { faults, ..Scenario::clone(scenario) };
                    let counterexample = explore(&scenario, Some(mutant), BOUND).counterexample?;
                    Some((scenario, counterexample))
                })
            })
        });
        if let Some((scenario, counterexample)) = found {
            killed += 1;
            println!(
                "mistake {mutant} shows after {} steps ({:.1} s; {}): {}",
                counterexample.trace.len() - 1,
                since.elapsed().as_secs_f64(),
                scenario.name,
                counterexample.violation
            );
            if has("traces") {
                println!("{counterexample}");
            }
        } else {
            failed = true;
            println!("FAILED: mistake {mutant} does not show ({:.1} s)", since.elapsed().as_secs_f64());
        }
    }
    if mistakes {
        println!("{killed} of {} mistakes show", Mutant::ALL.len());
    }
    println!("{:.1} s", begun.elapsed().as_secs_f64());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
