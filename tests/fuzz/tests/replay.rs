//! The targets without a fuzzer: every input of the corpus, and random variations of it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use berth_fuzz::{TARGETS, Target};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// How many inputs chance makes of each target's corpus. A fuzzer tries as many in a tenth of a second.
const VARIED: usize = 200;

/// What outside bytes are often made of.
const TOKENS: &[&str] = &[
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    "<",
    ">",
    "</",
    "&",
    ";",
    "=",
    ",",
    ":",
    "\n",
    "\0",
    "\u{feff}",
    "null",
    "-1",
    "1e999",
    "18446744073709551616",
    "\\ud83d",
    "&#0;",
    "<![CDATA[",
    "{\"a\":",
    "[[[[",
    "\u{1f680}",
    ".",
    "@",
    "'",
];

/// All targets.
fn targets() -> Vec<Target> {
    let settings = |input: &[u8]| berth_fuzz::read_settings(berth::fuzzing::settings, input);
    TARGETS.iter().copied().chain([Target { name: "settings", run: settings }]).collect()
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of a target, by name.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let mut inputs: Vec<_> = fs::read_dir(corpus().join(target.name))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

/// Runs a target, and shows the input where it fails.
fn check(target: &Target, what: &str, input: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_err() {
        let shown = input.escape_ascii();
        panic!("target `{}` fails on {what}; the input, escaped:\n{shown}", target.name);
    }
}

fn vary(random: &mut StdRng, inputs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut input = inputs.choose(random).unwrap().1.clone();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=input.len());
        let end = (at + random.random_range(1..=16)).min(input.len());
        match random.random_range(0..6) {
            0 if at < input.len() => input[at] = random.random(),
            1 => drop(input.drain(at..end)),
            2 => {
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            3 => {
                let other = &inputs.choose(random).unwrap().1;
                let from = random.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            4 => input.truncate(at),
            _ => {
                let token = TOKENS.choose(random).unwrap();
                input.splice(at..at, token.bytes());
            }
        }
    }
    input
}

#[test]
fn every_input_of_the_corpora_keeps_the_rules() {
    for target in targets() {
        for (name, input) in inputs(&target) {
            check(&target, &format!("corpus/{}/{name}", target.name), &input);
        }
    }
}

#[test]
fn inputs_that_chance_makes_keep_the_rules() {
    for target in targets() {
        let inputs = inputs(&target);
        // The same in each run: what fails here fails on every machine.
        let mut random = StdRng::seed_from_u64(18);
        for _ in 0..VARIED {
            let input = vary(&mut random, &inputs);
            check(&target, "a varied input", &input);
        }
    }
}

#[test]
fn corpora_are_small_and_each_belongs_to_a_target() {
    let folders: BTreeSet<String> = fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<String> = targets().iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(folders, names);
    for target in targets() {
        let inputs = inputs(&target);
        assert!(!inputs.is_empty() && inputs.len() <= 80, "{}: {} inputs", target.name, inputs.len());
        for (name, input) in inputs {
            assert!(input.len() <= 8192, "corpus/{}/{name} has {} bytes", target.name, input.len());
        }
    }
}
