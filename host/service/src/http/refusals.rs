//! Requests that are refused because of their sender. Anyone who reaches the port can send them, so they are
//! counted, do not flood the log, and are never shipped to Port.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The shortest time between two log lines of the same reason.
const INTERVAL: Duration = Duration::from_mins(1);

/// The refused requests, by reason.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeMap<&'static str, RefusedRequests>>);

#[derive(Debug, Default)]
struct RefusedRequests {
    logged: Option<Instant>,
    /// How many since the last log line.
    count: u64,
}

impl Refusals {
    /// Counts a refused request.
    pub(super) fn note(&self, why: &'static str) {
        if let Some(requests) = self.due(why, Instant::now()) {
            tracing::warn!(local_only = true, requests, "{why}");
        }
    }

    /// Returns how many requests to log now, if it is time.
    fn due(&self, why: &'static str, now: Instant) -> Option<u64> {
        let mut reasons = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = reasons.entry(why).or_default();
        refused.count += 1;
        if refused.logged.is_some_and(|logged| now.saturating_duration_since(logged) < INTERVAL) {
            return None;
        }
        refused.logged = Some(now);
        Some(std::mem::take(&mut refused.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_logged_once_a_minute() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.due("a", start), Some(1));
        for seconds in 1..60 {
            assert_eq!(refusals.due("a", start + Duration::from_secs(seconds)), None);
        }
        assert_eq!(refusals.due("b", start), Some(1));
        assert_eq!(refusals.due("a", start + INTERVAL), Some(60));
    }
}
