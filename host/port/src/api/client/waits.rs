//! How long to wait: what responses ask for, and the backoff of retries.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use rand::Rng;
use reqwest::header::HeaderMap;

use crate::RetryPolicy;

/// Returns the delay before a retry.
pub(super) fn backoff(policy: &RetryPolicy, retry: u32) -> Duration {
    let factor = 2_u32.saturating_pow(retry - 1);
    let delay = policy.base.saturating_mul(factor).min(policy.cap);
    if rand::rng().random() { delay.mul_f64(1.1) } else { delay.mul_f64(0.9) }
}

/// Returns how many requests a response says are left, and for how long.
pub(super) fn limit_left(headers: &HeaderMap, now: SystemTime) -> Option<(u64, Duration)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let left = text("x-ratelimit-remaining")?.trim().parse().ok()?;
    Some((left, parse_wait(text("x-ratelimit-reset")?, now)?))
}

/// Returns how long a response asks to wait: `Retry-After`, else `x-ratelimit-reset`.
pub(super) fn requested_wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    ["retry-after", "x-ratelimit-reset"]
        .into_iter()
        .find_map(|name| parse_wait(headers.get(name)?.to_str().ok()?, now))
}

/// Parses seconds (up to 10000), a Unix time (above), an ISO date, or an HTTP date.
fn parse_wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let from_now = |at: SystemTime| at.duration_since(now).unwrap_or_default();
    if let Ok(number) = text.parse::<f64>() {
        let duration = Duration::try_from_secs_f64(number).ok()?;
        return Some(if number <= 10_000.0 {
            duration
        } else {
            from_now(SystemTime::UNIX_EPOCH.checked_add(duration)?)
        });
    }
    let date = DateTime::parse_from_rfc3339(text).or_else(|_| DateTime::parse_from_rfc2822(text)).ok()?;
    Some(from_now(date.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_are_understood_in_all_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (text, seconds) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 10000 ", Some(10_000)),
            ("1700000042", Some(42)),
            ("1600000000", Some(0)),
            ("2023-11-14T22:13:50+00:00", Some(30)),
            ("2023-11-14T22:13:50.000Z", Some(30)),
            ("Tue, 14 Nov 2023 22:13:40 GMT", Some(20)),
            ("soon", None),
            ("-1", None),
            ("NaN", None),
        ] {
            assert_eq!(parse_wait(text, now).map(|wait| wait.as_secs()), seconds, "{text}");
        }
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let policy = RetryPolicy::default();
        for (retry, nominal) in [(1, 0.3), (2, 0.6), (5, 4.8), (10, 153.6), (31, 300.0)] {
            let delay = backoff(&policy, retry).as_secs_f64();
            assert!((delay / nominal - 1.0).abs() < 0.101, "retry {retry}: {delay}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_header_panics(text in "\\PC{0,40}") {
            let _ = parse_wait(&text, SystemTime::now());
        }
    }
}
