//! The health of Port: which calls succeed, and for how long others fail.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// The health of Port's API.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// How often each call has succeeded.
    pub(super) done: BTreeMap<&'static str, u64>,
    /// Calls without a usable response, since they last had one.
    pub(super) failing: BTreeMap<&'static str, Streak>,
    /// The same for all calls to Port's API together.
    pub(super) silent: Option<Streak>,
}

/// Failures in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streak {
    first: Instant,
    last: Instant,
}

impl Streak {
    /// Adds a failure. A failure that is longer ago than `gap` is unrelated.
    pub(super) fn with(former: Option<Self>, now: Instant, gap: Duration) -> Self {
        let former = former.filter(|streak| now.saturating_duration_since(streak.last) <= gap);
        Self { first: former.map_or(now, |streak| streak.first), last: now }
    }

    pub(super) fn length(self) -> Duration {
        self.last.saturating_duration_since(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_long_ago_are_no_outage() {
        let (start, gap) = (Instant::now(), Duration::from_mins(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut streak = Streak::with(None, at(0), gap);
        for (seconds, length) in [(300, 300), (599, 599), (1199, 1199), (1800, 0), (1801, 1)] {
            streak = Streak::with(Some(streak), at(seconds), gap);
            assert_eq!(streak.length().as_secs(), length, "at {seconds} s");
        }
    }
}
