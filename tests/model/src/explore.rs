//! Visits every reachable state, those with the fewest faults first.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    time::Instant,
};

use crate::{
    mutant::Mutant,
    rules::Rules,
    scenario::Scenario,
    world::{Action, State, Violation, World},
};

/// What an exploration found.
#[derive(Debug)]
pub struct Explored {
    /// Distinct states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// Entities that were deleted, over all steps.
    pub deletions: usize,
    /// States from which complete resyncs were run to see that what is gone is deleted.
    pub settled: usize,
    /// How long it took.
    pub seconds: f64,
    /// What must never happen, and happened.
    pub counterexample: Option<Counterexample>,
}

/// How something happened that must never happen.
#[derive(Debug)]
pub struct Counterexample {
    /// What happened.
    pub violation: Violation,
    /// How: from the first state to the step that did it.
    pub trace: Vec<String>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.violation)?;
        for (at, step) in self.trace.iter().enumerate() {
            writeln!(f, "  {at:>2}. {step}")?;
        }
        Ok(())
    }
}

/// A hash of a state, in one multiplication for each word.
#[derive(Default)]
pub struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ (mixed >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        self.0 ^= self.0 >> 31;
    }
}

/// Takes a key that is a fingerprint already.
#[derive(Default)]
pub struct Already(u64);

impl Hasher for Already {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, word: u64) {
        self.0 = word;
    }
}

fn fingerprint(state: &State) -> u64 {
    let mut hasher = Fingerprint::default();
    state.hash(&mut hasher);
    hasher.finish()
}

type Seen<V> = HashMap<u64, V, BuildHasherDefault<Already>>;

/// How a state was reached: the one before (or which of the first ones it is), by which action, and how
/// many faults it took.
#[derive(Clone, Copy)]
struct From {
    before: u64,
    action: Option<Action>,
    faults: u8,
    done: bool,
}

/// Explores a scenario with the real rules, or with a mistake in them. With a bound on `states` it ends
/// there at the latest.
pub fn explore(scenario: &Scenario, mutant: Option<Mutant>, states: usize) -> Explored {
    let begun = Instant::now();
    let rules = Rules::new(scenario, mutant);
    let mut world = World::new(scenario, &rules);
    let firsts = world.first_states();
    let mut seen: Seen<From> = Seen::default();
    let mut settled: HashSet<u64, BuildHasherDefault<Already>> = HashSet::default();
    // Those that take so many faults, in the order in which they were found.
    let mut queues: Vec<VecDeque<State>> = vec![VecDeque::new(); usize::from(scenario.faults) + 1];
    for (at, first) in firsts.iter().enumerate() {
        let from = From { before: at as u64, action: None, faults: 0, done: false };
        if seen.insert(fingerprint(first), from).is_none() {
            queues[0].push_back(first.clone());
        }
    }
    let (mut steps, mut counted) = (0, 0);
    let mut found = None;
    'exploring: while let Some(state) = queues.iter_mut().find_map(VecDeque::pop_front) {
        let print = fingerprint(&state);
        let faults = match seen.get_mut(&print) {
            Some(from) if !from.done => {
                from.done = true;
                from.faults
            }
            // Reached again by fewer faults, and visited then.
            _ => continue,
        };
        if state.is_idle() {
            counted += 1;
            if let Err(violation) = settles(&mut world, &state, &mut settled) {
                found = Some((violation, print, None));
                break;
            }
        }
        for action in world.actions(&state, faults < scenario.faults) {
            steps += 1;
            let next = match world.apply(&state, action) {
                Ok(next) => next,
                Err(violation) => {
                    found = Some((violation, print, Some(action)));
                    break 'exploring;
                }
            };
            let cost = faults + action.cost();
            let key = fingerprint(&next);
            let new = From { before: print, action: Some(action), faults: cost, done: false };
            match seen.get_mut(&key) {
                Some(known) if known.done || known.faults <= cost => continue,
                Some(known) => *known = new,
                None => drop(seen.insert(key, new)),
            }
            queues[usize::from(cost)].push_back(next);
        }
        if seen.len() >= states {
            break;
        }
    }
    let counterexample = found.map(|(violation, at, last)| {
        let trace = trace(&mut world, &seen, &firsts, (at, last), scenario);
        Counterexample { violation, trace }
    });
    Explored {
        states: seen.len(),
        steps,
        deletions: world.deletions,
        settled: counted,
        seconds: begun.elapsed().as_secs_f64(),
        counterexample,
    }
}

/// Runs complete resyncs until nothing changes any more: what is gone has to be deleted by then.
fn settles(
    world: &mut World<'_>,
    state: &State,
    settled: &mut HashSet<u64, BuildHasherDefault<Already>>,
) -> Result<(), Violation> {
    let mut at = state.clone();
    let mut print = fingerprint(&at);
    for _ in 0..world.enough_resyncs() {
        if settled.contains(&print) {
            return Ok(());
        }
        at = world.complete_resync(&at)?;
        let next = fingerprint(&at);
        if next == print {
            break;
        }
        print = next;
    }
    world.check_settled(&at)?;
    // Only this one: what leads here counts its own resyncs.
    settled.insert(print);
    Ok(())
}

fn trace(
    world: &mut World<'_>,
    seen: &Seen<From>,
    firsts: &[State],
    (at, last): (u64, Option<Action>),
    scenario: &Scenario,
) -> Vec<String> {
    let mut back = Vec::new();
    let mut print = at;
    let first = loop {
        match seen.get(&print) {
            Some(From { before, action: None, .. }) => break usize::try_from(*before).unwrap_or(0),
            Some(From { before, action: Some(action), .. }) => {
                back.push(*action);
                print = *before;
            }
            None => return vec!["the trace is lost".to_owned()],
        }
    };
    let Some(mut state) = firsts.get(first).cloned() else { return Vec::new() };
    let mut trace = vec![format!("in the beginning: {}", world.describe(&state))];
    for action in back.into_iter().rev() {
        match world.apply(&state, action) {
            Ok(next) => state = next,
            Err(violation) => {
                trace.push(violation.to_string());
                return trace;
            }
        }
        trace.push(format!("{}: {}", action.describe(scenario), world.describe(&state)));
    }
    trace.push(last.map_or_else(
        || "resyncs in which nothing fails follow".to_owned(),
        |action| action.describe(scenario),
    ));
    trace
}
