//! Minimizes a failing scenario: removes what it does not need, one part at a time.

use std::{fmt, str::FromStr};

use crate::{Outcome, run, scenario::Scenario};

/// How many times a failing scenario is run again, at most.
const RUNS: u32 = 400;

/// What of a seed's scenario is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The things that happen, by position.
    pub items: Vec<usize>,
    /// The resources at the beginning, by position.
    pub resources: Vec<usize>,
    /// Whether the host has a ledger, if the scenario gives it one.
    pub ledger: bool,
    /// Whether the host follows live events, if the scenario has it do so.
    pub live: bool,
}

impl Part {
    /// All of a scenario.
    pub fn all(scenario: &Scenario) -> Self {
        Self {
            items: (0..scenario.items.len()).collect(),
            resources: (0..scenario.resources.len()).collect(),
            ledger: true,
            live: true,
        }
    }

    /// That part of a scenario.
    #[must_use]
    pub fn of(&self, scenario: &Scenario) -> Scenario {
        let mut part = scenario.clone();
        part.items = self.items.iter().filter_map(|at| scenario.items.get(*at).cloned()).collect();
        part.resources =
            self.resources.iter().filter_map(|at| scenario.resources.get(*at).copied()).collect();
        part.ledger &= self.ledger;
        part.live &= self.live;
        part
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |list: &[usize]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        write!(f, "{}/{}/{}/{}", list(&self.items), list(&self.resources), self.ledger, self.live)
    }
}

impl FromStr for Part {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let list = |text: &str| text.split(',').filter_map(|number| number.parse().ok()).collect();
        match *text.split('/').collect::<Vec<_>>() {
            [items, resources, ledger, live] => Ok(Self {
                items: list(items),
                resources: list(resources),
                ledger: ledger == "true",
                live: live == "true",
            }),
            _ => Err(()),
        }
    }
}

/// What kind of violation an outcome begins with.
fn kind(outcome: &Outcome) -> Option<&str> {
    let first = outcome.violations.first()?;
    Some(first.split(':').next().unwrap_or(first))
}

/// The smallest part found that fails in the same way.
pub fn shrink(scenario: &Scenario, outcome: &Outcome) -> Part {
    let mut best = Part::all(scenario);
    let mut runs = 0;
    let mut fails = |part: &Part| {
        runs += 1;
        runs <= RUNS && kind(&run(&part.of(scenario), false)) == kind(outcome)
    };
    loop {
        let before = best.clone();
        for (ledger, live) in [(true, false), (false, true)] {
            let part = Part { ledger: ledger && best.ledger, live: live && best.live, ..best.clone() };
            if part != best && fails(&part) {
                best = part;
            }
        }
        let mut at = 0;
        while at < best.items.len() {
            let mut part = best.clone();
            part.items.remove(at);
            if fails(&part) { best = part } else { at += 1 }
        }
        // Halves first: most resources are of no interest.
        let mut size = best.resources.len();
        while size > 0 {
            let mut at = 0;
            while at < best.resources.len() {
                let mut part = best.clone();
                part.resources.drain(at..(at + size).min(best.resources.len()));
                if fails(&part) { best = part } else { at += size }
            }
            size /= 2;
        }
        if best == before {
            return best;
        }
    }
}
