//! The least time of a resync if only waiting for AWS counts.
//!
//! A round is the time of one response. With the limits on concurrent requests from the settings, and all
//! responses equally slow, the rounds of a phase are at least
//!
//! - the longest chain of calls in which each needs the response to the one before,
//! - all requests ÷ the concurrent requests to all of AWS,
//! - the requests to one service ÷ the concurrent requests to one service,
//! - the chains of all units ÷ the concurrent units.
//!
//! The phases run one after the other: roles, regions, units.

use std::{collections::BTreeMap, time::Duration};

/// Requests of which none waits for another phase.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    /// The longest chain of calls.
    pub(crate) depth: u64,
    /// What there is to do, and how much of it at once: each is a bound of its own.
    pub(crate) work: Vec<Work>,
}

/// Something of which only so much may go on at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) name: String,
    pub(crate) amount: u64,
    pub(crate) at_once: u64,
}

impl Work {
    pub(crate) fn new(name: impl Into<String>, amount: u64, at_once: usize) -> Self {
        Self { name: name.into(), amount, at_once: at_once as u64 }
    }

    fn rounds(&self) -> u64 {
        self.amount.div_ceil(self.at_once.max(1))
    }
}

impl Phase {
    /// At least so many answers after each other.
    pub(crate) fn rounds(&self) -> u64 {
        self.work.iter().map(Work::rounds).max().unwrap_or(0).max(self.depth)
    }

    /// The bound that counts, as it was computed.
    fn reason(&self) -> String {
        match self.work.iter().max_by_key(|work| work.rounds()).filter(|work| work.rounds() > self.depth) {
            Some(work) => format!("{} {} ÷ {} at once", work.amount, work.name, work.at_once),
            None => format!("{} calls after each other", self.depth),
        }
    }
}

/// The sum of all phases.
pub(crate) fn wall(latency: Duration, phases: &[Phase]) -> Duration {
    let rounds: u64 = phases.iter().map(Phase::rounds).sum();
    latency.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX))
}

/// How it was computed.
pub(crate) fn explain(latency: Duration, phases: &[Phase]) -> String {
    let reported: Vec<String> = phases
        .iter()
        .map(|phase| format!("{} {} ({})", phase.name, phase.rounds(), phase.reason()))
        .collect();
    format!(
        "ideal wall = latency × Σ over the phases max(longest chain of calls, ⌈requests ÷ allowed at once⌉) = \
         {} ms × ({}) = {} ms",
        latency.as_millis(),
        reported.join(" + "),
        wall(latency, phases).as_millis()
    )
}

/// Requests by service, of counts by `<service>:<Operation>`.
pub(crate) fn by_service(operations: &BTreeMap<String, u64>) -> BTreeMap<&str, u64> {
    let mut services = BTreeMap::new();
    for (operation, count) in operations {
        let service = operation.split(':').next().unwrap_or_default();
        *services.entry(service).or_default() += count;
    }
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(name: &'static str, depth: u64, work: &[(u64, usize)]) -> Phase {
        let work = work.iter().map(|(amount, at_once)| Work::new("requests", *amount, *at_once)).collect();
        Phase { name, depth, work }
    }

    #[test]
    fn the_tightest_bound_of_each_phase_counts() {
        let latency = Duration::from_millis(50);
        // 130 requests, 64 at once: three answers after each other.
        assert_eq!(wall(latency, &[phase("units", 2, &[(130, 64)])]), latency * 3);
        // A chain is a chain, however much may go on at once.
        assert_eq!(wall(latency, &[phase("units", 4, &[(130, 64)])]), latency * 4);
        assert_eq!(wall(latency, &[phase("units", 1, &[(130, 256), (130, 10)])]), latency * 13);
        assert_eq!(wall(latency, &[phase("a", 1, &[]), phase("b", 1, &[(20, 10)])]), latency * 3);
        assert_eq!(wall(latency, &[]), Duration::ZERO);
    }

    #[test]
    fn the_formula_is_reported_with_its_numbers() {
        let phases = [phase("roles", 1, &[(10, 20)]), phase("units", 2, &[(130, 64)])];
        let reported = explain(Duration::from_millis(50), &phases);
        assert!(
            reported.ends_with(
                "50 ms × (roles 1 (1 calls after each other) + units 3 (130 requests ÷ 64 at once)) = 200 ms"
            ),
            "{reported}"
        );
    }

    #[test]
    fn operations_are_summed_by_service() {
        let counts = [("s3:A", 2), ("s3:B", 3), ("sts:C", 1)].map(|(name, n)| (name.to_owned(), n)).into();
        assert_eq!(by_service(&counts), [("s3", 5), ("sts", 1)].into());
    }
}
