//! Keeps requests below Port's published rate limits.
//!
//! Limits apply per organization and family of routes. Each family has a token bucket. The headers of responses
//! (`x-ratelimit-remaining`, `-reset`) correct it, because others use the same organization.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use reqwest::Method;
use tokio::time::Instant;

/// Routes that share a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteFamily {
    Entities,
    Search,
    BulkUpsert,
    SingleUpsert,
    Blueprints,
    Unauthenticated,
    Other,
}

impl RouteFamily {
    const ALL: [Self; 7] = [
        Self::Entities,
        Self::Search,
        Self::BulkUpsert,
        Self::SingleUpsert,
        Self::Blueprints,
        Self::Unauthenticated,
        Self::Other,
    ];

    /// Returns the family of a route below `/v1`.
    pub(crate) fn of(method: &Method, path: &str) -> Self {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match segments[..] {
            ["auth", "access_token"] => Self::Unauthenticated,
            ["entities", "search"] | ["blueprints", _, "entities", "search"] => Self::Search,
            ["blueprints", _, "entities", "bulk"] => Self::BulkUpsert,
            ["blueprints", _, "entities"] if *method == Method::POST => Self::SingleUpsert,
            ["entities", ..]
            | ["blueprints", "entities", ..]
            | ["blueprints", _, "entities" | "bulk", ..] => Self::Entities,
            ["blueprints", ..] => Self::Blueprints,
            _ => Self::Other,
        }
    }

    /// Returns the requests in [`PERIOD`], and how many of them at once (Port's page on rate limits).
    fn limit(self) -> (f64, f64) {
        match self {
            Self::Entities | Self::Search | Self::BulkUpsert => (35_000.0, 3_500.0),
            Self::SingleUpsert => (10_000.0, 200.0),
            Self::Blueprints | Self::Other => (15_000.0, 1_500.0),
            Self::Unauthenticated => (100.0, 10.0),
        }
    }
}

/// The period of the limits.
const PERIOD: Duration = Duration::from_mins(5);

/// The share of a limit that is used: clocks and network delays differ.
const SHARE: f64 = 0.97;

/// Windows whose ends are this close are the same.
const SAME_WINDOW: Duration = Duration::from_secs(2);

/// Limits the request rate of a process.
#[derive(Debug)]
pub(crate) struct PortRateLimiter([Mutex<Bucket>; RouteFamily::ALL.len()]);

impl PortRateLimiter {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self(RouteFamily::ALL.map(|family| Mutex::new(Bucket::full(family, now))))
    }

    fn bucket(&self, family: RouteFamily) -> MutexGuard<'_, Bucket> {
        self.0[family as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may be sent. It counts as in flight until the permit is dropped.
    pub(crate) async fn acquire(&self, family: RouteFamily) -> Permit<'_> {
        loop {
            let reserved = self.bucket(family).reserve(Instant::now());
            match reserved {
                Ok(()) => return Permit { limiter: self, family },
                Err(until) => tokio::time::sleep_until(until).await,
            }
        }
    }
}

/// A request in flight.
pub(crate) struct Permit<'a> {
    limiter: &'a PortRateLimiter,
    family: RouteFamily,
}

impl Permit<'_> {
    /// Learns from a response: how many requests are left, and for how long.
    pub(crate) fn learn(&self, left: u64, reset: Duration) {
        self.limiter.bucket(self.family).learn(left, reset, Instant::now());
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut bucket = self.limiter.bucket(self.family);
        bucket.on_their_way = bucket.on_their_way.saturating_sub(1);
    }
}

#[derive(Debug)]
struct Bucket {
    /// Requests per second.
    rate: f64,
    most: f64,
    held: f64,
    filled: Instant,
    on_their_way: u64,
    /// Port's last statement: this many requests until then.
    window: Option<(u64, Instant)>,
}

impl Bucket {
    fn full(family: RouteFamily, now: Instant) -> Self {
        let (period, burst) = family.limit();
        let (rate, most) = (SHARE * period / PERIOD.as_secs_f64(), (SHARE * burst).floor());
        Self { rate, most, held: most, filled: now, on_their_way: 0, window: None }
    }

    /// Takes a request, or returns when to ask again.
    fn reserve(&mut self, now: Instant) -> Result<(), Instant> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.held = (self.held + passed * self.rate).min(self.most);
        self.filled = now;
        self.window = self.window.filter(|(_, until)| now < *until);
        if let Some((0, until)) = self.window {
            return Err(until);
        }
        if self.held < 1.0 {
            // Slightly late, so that rounding does not cause a second try.
            return Err(now
                + Duration::from_secs_f64((1.0 - self.held) / self.rate)
                + Duration::from_micros(10));
        }
        self.held -= 1.0;
        if let Some((left, _)) = &mut self.window {
            *left -= 1;
        }
        self.on_their_way += 1;
        Ok(())
    }

    fn learn(&mut self, left: u64, reset: Duration, now: Instant) {
        let until = now + reset.min(PERIOD);
        // Port may not have counted requests in flight, except this one.
        let left = left.saturating_sub(self.on_their_way.saturating_sub(1));
        self.window = match self.window {
            // Responses may arrive out of order.
            Some((known, end))
                if end.saturating_duration_since(until).max(until.saturating_duration_since(end))
                    <= SAME_WINDOW =>
            {
                Some((known.min(left), end))
            }
            _ => Some((left, until)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_their_families() {
        for (method, path, family) in [
            (Method::POST, "/auth/access_token", RouteFamily::Unauthenticated),
            (Method::POST, "/entities/search", RouteFamily::Search),
            (Method::POST, "/blueprints/a%2Fb/entities/search", RouteFamily::Search),
            (Method::POST, "/blueprints/a/entities/bulk", RouteFamily::BulkUpsert),
            (Method::POST, "/blueprints/a/entities", RouteFamily::SingleUpsert),
            (Method::GET, "/blueprints/a/entities", RouteFamily::Entities),
            (Method::DELETE, "/blueprints/a/entities/e", RouteFamily::Entities),
            (Method::POST, "/blueprints/a/bulk/entities/delete", RouteFamily::Entities),
            (Method::POST, "/blueprints/entities/datasource-entities", RouteFamily::Entities),
            (Method::GET, "/blueprints/a", RouteFamily::Blueprints),
            (Method::POST, "/blueprints", RouteFamily::Blueprints),
            (Method::PATCH, "/integration/a/resync-state", RouteFamily::Other),
            (Method::GET, "/", RouteFamily::Other),
        ] {
            assert_eq!(RouteFamily::of(&method, path), family, "{path}");
        }
    }

    /// Sends as fast as possible, with immediate responses, and returns the times.
    fn times(bucket: &mut Bucket, start: Instant, count: usize) -> Vec<Duration> {
        let mut now = start;
        let mut times = Vec::new();
        while times.len() < count {
            match bucket.reserve(now) {
                Ok(()) => {
                    bucket.on_their_way -= 1;
                    times.push(now - start);
                }
                Err(until) => now = until,
            }
        }
        times
    }

    #[test]
    fn a_first_load_of_a_large_catalog_keeps_to_the_limit_and_uses_it() {
        let start = Instant::now();
        let requests = 24_620;
        let times = times(&mut Bucket::full(RouteFamily::BulkUpsert, start), start, requests);
        // Port's own bucket never becomes empty.
        let (rate, burst) = (35_000.0 / 300.0, 3_500.0);
        let mut held = burst;
        let mut last = Duration::ZERO;
        for at in &times {
            held = f64::min(held + at.saturating_sub(last).as_secs_f64() * rate, burst) - 1.0;
            last = *at;
            assert!(held >= 0.0, "a 429 after {at:?}");
        }
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let least = (requests as f64 - burst) / rate;
        assert!(last.as_secs_f64() <= 1.15 * least, "{last:?} and at least {least} s");
    }

    #[test]
    fn what_port_says_is_left_counts() {
        let start = Instant::now();
        let mut bucket = Bucket::full(RouteFamily::Search, start);
        // Others have used the rest. An older response that arrives later does not restore it.
        bucket.reserve(start).unwrap();
        bucket.learn(3, Duration::from_secs(40), start);
        bucket.learn(9, Duration::from_secs(41), start);
        bucket.on_their_way = 0;
        let times = times(&mut bucket, start, 5);
        assert_eq!(times[..3], [Duration::ZERO; 3]);
        assert_eq!(times[3..], [Duration::from_secs(40); 2]);

        // Requests in flight may not be counted yet.
        let mut bucket = Bucket::full(RouteFamily::Search, start);
        (0..4).for_each(|_| bucket.reserve(start).unwrap());
        bucket.learn(3, Duration::from_secs(40), start);
        assert_eq!(bucket.reserve(start), Err(start + Duration::from_secs(40)));
        // No response of Port delays a family for longer than a period.
        bucket.learn(0, Duration::from_hours(9), start);
        assert_eq!(bucket.reserve(start), Err(start + PERIOD));
        assert_eq!(bucket.reserve(start + PERIOD), Ok(()));
    }

    #[tokio::test]
    async fn a_family_does_not_wait_for_another() {
        let limiter = PortRateLimiter::new();
        let permit = limiter.acquire(RouteFamily::Search).await;
        permit.learn(0, Duration::from_mins(2));
        drop(permit);
        let waits =
            tokio::time::timeout(Duration::from_millis(30), limiter.acquire(RouteFamily::Search)).await;
        assert!(waits.is_err());
        drop(limiter.acquire(RouteFamily::Entities).await);
    }
}
