//! Port's published rate limits: requests in five minutes, and concurrent requests, for each family of routes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{api::SEARCH_ROUTE, server::TOKEN_ROUTE};

/// What limits are meant for.
const PERIOD: Duration = Duration::from_mins(5);

/// A family of routes: its name, requests in [`PERIOD`], and at once.
type Family = (&'static str, f64, f64);

fn family(method: &str, route: &str) -> Family {
    match route {
        TOKEN_ROUTE => ("unauthenticated", 100.0, 10.0),
        "/v1/entities/search" | SEARCH_ROUTE => ("search", 35_000.0, 3_500.0),
        "/v1/blueprints/{blueprint}/entities/bulk" => ("bulk upserts", 35_000.0, 3_500.0),
        "/v1/blueprints/{blueprint}/entities" if method == "POST" => ("single upserts", 10_000.0, 200.0),
        route if route.contains("/entities") => ("entities", 35_000.0, 3_500.0),
        route if route.starts_with("/v1/blueprints") => ("blueprints", 15_000.0, 1_500.0),
        _ => ("everything else", 15_000.0, 1_500.0),
    }
}

/// What was asked for so far, by family.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    used: BTreeMap<&'static str, Used>,
    refused: u64,
}

#[derive(Debug)]
struct Used {
    /// Requests that may come at once.
    held: f64,
    at: Instant,
    /// The period that is counted, and requests in it.
    period: Instant,
    in_period: f64,
    taken: f64,
    family: Family,
}

/// What an answer says of the limit of its route.
#[derive(Debug, PartialEq)]
pub(crate) struct Standing {
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    /// In how many seconds the period ends.
    pub(crate) reset: u64,
    /// In how many seconds the request may come again, where it was refused.
    pub(crate) retry_after: Option<u64>,
}

impl Limits {
    /// Counts a request.
    pub(crate) fn take(&mut self, method: &str, route: &str, now: Instant) -> Standing {
        let family @ (name, most, burst) = family(method, route);
        let used = self.used.entry(name).or_insert_with(|| Used {
            held: burst,
            at: now,
            period: now,
            in_period: 0.0,
            taken: 0.0,
            family,
        });
        let rate = most / PERIOD.as_secs_f64();
        used.held = (used.held + now.saturating_duration_since(used.at).as_secs_f64() * rate).min(burst);
        used.at = now;
        while now.saturating_duration_since(used.period) >= PERIOD {
            used.period += PERIOD;
            used.in_period = 0.0;
        }
        let reset = PERIOD.saturating_sub(now.saturating_duration_since(used.period)).as_secs_f64().ceil();
        let wait = if used.in_period >= most {
            Some(reset)
        } else if used.held < 1.0 {
            Some(((1.0 - used.held) / rate).ceil())
        } else {
            None
        };
        if wait.is_some() {
            self.refused += 1;
        } else {
            used.held -= 1.0;
            used.in_period += 1.0;
            used.taken += 1.0;
        }
        Standing {
            limit: whole(most),
            remaining: whole(most - used.in_period),
            reset: whole(reset),
            retry_after: wait.map(whole),
        }
    }

    /// How many requests were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// The seconds that what was done takes at least.
    pub(crate) fn least_seconds(&self) -> f64 {
        self.used.values().fold(0.0, |least, used| {
            let (_, most, burst) = used.family;
            f64::max(least, (used.taken - burst) / most * PERIOD.as_secs_f64())
        })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and not negative")]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_then_the_rate_counts() {
        let mut limits = Limits::default();
        let (start, bulk) = (Instant::now(), "/v1/blueprints/{blueprint}/entities/bulk");
        for _ in 0..3_500 {
            assert_eq!(limits.take("POST", bulk, start).retry_after, None);
        }
        let refused = limits.take("POST", bulk, start);
        assert_eq!(refused, Standing { limit: 35_000, remaining: 31_500, reset: 300, retry_after: Some(1) });
        assert_eq!(limits.take("GET", "/v1/organization", start).retry_after, None);
        let later = start + Duration::from_secs(3);
        let taken = (0..400).filter(|_| limits.take("POST", bulk, later).retry_after.is_none()).count();
        assert_eq!((taken, limits.refused()), (350, 51));
        assert!((limits.least_seconds() - 3.0).abs() < 1e-9);
        // A new period.
        assert_eq!(limits.take("POST", bulk, start + PERIOD).remaining, 34_999);
    }
}
