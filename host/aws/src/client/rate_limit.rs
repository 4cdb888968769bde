//! Rate limits: one for each service, region and account.
//!
//! Implements the adaptive mode of AWS's own SDKs: no limit until the service throttles; then seven tenths
//! of the measured rate, which recovers along a cubic curve (like TCP CUBIC). It includes a retry budget,
//! so that retries do not overload a service that is down.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use berth_core::{AccountId, Region};

/// The factor by which a throttled response reduces the rate.
const BETA: f64 = 0.7;
/// The speed with which the rate recovers.
const SCALE: f64 = 0.4;
/// Weight of the newest measurement of the rate.
const SMOOTH: f64 = 0.8;
/// The minimum number of requests per second, however much the service throttles.
const LEAST_RATE: f64 = 0.5;
/// Seconds over which the rate is measured, so that bursts are smoothed over.
const SLOT: f64 = 0.5;
/// The initial retry budget, which is also its maximum.
const BUDGET: u32 = 500;
/// The number of rate limiters from which unused ones are dropped.
const LEAST_ROOM: usize = 1024;

/// The rate limiters of all services, regions and accounts that are in use.
#[derive(Debug, Default)]
pub(super) struct RateLimits(Mutex<Limiters>);

#[derive(Debug, Default)]
struct Limiters {
    limiters: HashMap<(AccountId, Region, Arc<str>), Arc<AwsRateLimiter>>,
    /// The number from which unused ones are dropped.
    room: usize,
}

impl RateLimits {
    /// Returns the rate limiter of a service, in a region of an account.
    pub(super) fn get(&self, account: &AccountId, region: &Region, service: &str) -> Arc<AwsRateLimiter> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Limiters { limiters, room } = &mut *state;
        if limiters.len() >= *room {
            limiters.retain(|_, limiter| Arc::strong_count(limiter) > 1 || !limiter.is_fresh());
            *room = (2 * limiters.len()).max(LEAST_ROOM);
        }
        let key = (account.clone(), region.clone(), service.into());
        limiters.entry(key).or_insert_with(|| Arc::new(AwsRateLimiter::new())).clone()
    }
}

/// The time when a request was sent, by the rate limiter's own clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentAt(f64);

/// The rate limit of one service, in one region of one account.
#[derive(Debug)]
pub(super) struct AwsRateLimiter {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Tokens per second; `None` until the first throttled response.
    rate: Option<f64>,
    tokens: f64,
    filled_at: f64,
    paused_until: f64,
    measured_rate: f64,
    measured_at: f64,
    sent: f64,
    last_max_rate: f64,
    throttled_at: f64,
    recovery: f64,
    budget: u32,
}

impl AwsRateLimiter {
    pub(super) fn new() -> Self {
        let state = State {
            rate: None,
            tokens: 0.0,
            filled_at: 0.0,
            paused_until: 0.0,
            measured_rate: 0.0,
            measured_at: 0.0,
            sent: 0.0,
            last_max_rate: 0.0,
            throttled_at: 0.0,
            recovery: 0.0,
            budget: BUDGET,
        };
        Self { start: Instant::now(), state: Mutex::new(state) }
    }

    /// Returns whether its state equals that of a new one, so that it can be dropped.
    pub(super) fn is_fresh(&self) -> bool {
        let (state, now) = self.lock();
        state.rate.is_none() && state.budget == BUDGET && state.paused_until <= now
    }

    fn lock(&self) -> (MutexGuard<'_, State>, f64) {
        let now = self.start.elapsed().as_secs_f64();
        (self.state.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Waits until the next request may be sent.
    pub(super) async fn acquire(&self) -> SentAt {
        let wait = {
            let (mut state, now) = self.lock();
            state.reserve(now)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        SentAt(self.start.elapsed().as_secs_f64())
    }

    /// Records a throttled response, and the pause that the service requests.
    pub(super) fn throttled(&self, sent_at: SentAt, pause: Option<Duration>) {
        let (mut state, now) = self.lock();
        state.throttled(now, sent_at);
        if let Some(pause) = pause {
            state.paused_until = state.paused_until.max(now + pause.as_secs_f64());
        }
    }

    /// Records a response that was not throttled; `spent` is the part of the budget that its retries used.
    pub(super) fn succeeded(&self, spent: u32) {
        let (mut state, now) = self.lock();
        state.succeeded(now);
        state.budget = BUDGET.min(state.budget + spent.max(1));
    }

    /// Takes a retry from the budget. Returns whether the budget was sufficient.
    pub(super) fn spend(&self, cost: u32) -> bool {
        let (mut state, _) = self.lock();
        let left = state.budget.checked_sub(cost);
        state.budget = left.unwrap_or(state.budget);
        left.is_some()
    }
}

impl State {
    /// Takes a token, on credit if there is none, and returns how long to wait for it. Requests are sent in
    /// the order of these calls.
    fn reserve(&mut self, now: f64) -> Duration {
        let paused = (self.paused_until - now).max(0.0);
        let wait = match self.rate {
            None => paused,
            Some(rate) => {
                self.fill(now, rate);
                self.tokens -= 1.0;
                paused.max(-self.tokens / rate)
            }
        };
        Duration::try_from_secs_f64(wait.max(0.0)).unwrap_or_default()
    }

    fn fill(&mut self, now: f64, rate: f64) {
        let most = rate.max(1.0);
        self.tokens = (self.tokens + (now - self.filled_at).max(0.0) * rate).min(most);
        self.filled_at = now;
    }

    fn measure(&mut self, now: f64) {
        self.sent += 1.0;
        let slot = (now / SLOT).floor() * SLOT;
        if slot > self.measured_at {
            let rate = self.sent / (slot - self.measured_at);
            self.measured_rate = rate * SMOOTH + self.measured_rate * (1.0 - SMOOTH);
            self.sent = 0.0;
            self.measured_at = slot;
        }
    }

    fn throttled(&mut self, now: f64, sent_at: SentAt) {
        self.measure(now);
        // A burst is throttled many times. Requests that were sent before the rate was reduced say nothing
        // about the new rate.
        if self.rate.is_some() && sent_at.0 <= self.throttled_at {
            return;
        }
        // A burst in the first slot has not been measured yet.
        let burst = self.sent / (now - self.measured_at).max(SLOT);
        let measured = self.measured_rate.max(burst);
        let base = self.rate.map_or(measured, |rate| rate.min(measured));
        self.last_max_rate = base;
        self.recovery = (base * (1.0 - BETA) / SCALE).cbrt();
        self.throttled_at = now;
        self.set_rate(now, base * BETA, measured);
    }

    fn succeeded(&mut self, now: f64) {
        self.measure(now);
        if self.rate.is_some() {
            let since = now - self.throttled_at - self.recovery;
            self.set_rate(now, SCALE * since.powi(3) + self.last_max_rate, self.measured_rate);
        }
    }

    fn set_rate(&mut self, now: f64, wanted: f64, measured: f64) {
        // At most twice the rate that is really sent: a quiet hour must not permit a burst.
        let rate = wanted.min(2.0 * measured).max(LEAST_RATE);
        self.fill(now, self.rate.unwrap_or(rate));
        self.tokens = self.tokens.min(rate.max(1.0));
        self.rate = Some(rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as the rate limiter allows for `seconds` to a service that throttles above `limit`
    /// requests per second. Returns (answered, throttled) per second over the last half.
    fn drive(limit: f64, seconds: f64) -> (f64, f64) {
        let limiter = AwsRateLimiter::new();
        let mut state = limiter.state.lock().unwrap();
        let (mut now, mut service_tokens, mut answered, mut throttled) = (0.0_f64, limit, 0.0, 0.0);
        while now < seconds {
            let wait = state.reserve(now).as_secs_f64().max(0.002);
            now += wait;
            service_tokens = (service_tokens + wait * limit).min(limit);
            if service_tokens >= 1.0 {
                service_tokens -= 1.0;
                state.succeeded(now);
                answered += if now > seconds / 2.0 { 1.0 } else { 0.0 };
            } else {
                state.throttled(now, SentAt(now));
                throttled += if now > seconds / 2.0 { 1.0 } else { 0.0 };
            }
        }
        (answered * 2.0 / seconds, throttled * 2.0 / seconds)
    }

    #[test]
    fn the_rate_settles_below_what_the_service_allows() {
        for limit in [5.0, 20.0, 100.0] {
            let (answered, throttled) = drive(limit, 60.0);
            assert!(answered > limit * 0.5, "limit {limit}: only {answered}/s are answered");
            assert!(throttled < limit * 0.3, "limit {limit}: {throttled}/s are throttled");
        }
    }

    #[test]
    fn requests_do_not_wait_before_the_first_throttling() {
        let limiter = AwsRateLimiter::new();
        let mut state = limiter.state.lock().unwrap();
        for _ in 0..1000 {
            assert_eq!(state.reserve(0.0), Duration::ZERO);
            state.succeeded(0.0);
        }
        assert_eq!(state.rate, None);
    }

    #[test]
    fn a_throttled_burst_reduces_the_rate_once() {
        let limiter = AwsRateLimiter::new();
        let mut state = limiter.state.lock().unwrap();
        for _ in 0..100 {
            state.reserve(0.1);
            state.throttled(0.2, SentAt(0.1));
        }
        assert!(state.rate.unwrap() > 1.0, "{state:?}");
        let before = state.rate.unwrap();
        state.throttled(1.0, SentAt(0.9));
        assert!(state.rate.unwrap() < before, "{state:?}");
    }

    #[test]
    fn the_budget_runs_out_and_recovers() {
        let limiter = AwsRateLimiter::new();
        let spent = (0..1000).filter(|_| limiter.spend(5)).count();
        assert_eq!(spent, 100);
        limiter.succeeded(5);
        assert!(limiter.spend(5));
        assert!(!limiter.spend(5));
    }

    #[tokio::test]
    async fn a_pause_that_a_service_requests_is_granted() {
        let limiter = AwsRateLimiter::new();
        let sent_at = limiter.acquire().await;
        limiter.throttled(sent_at, Some(Duration::from_millis(80)));
        let before = Instant::now();
        limiter.acquire().await;
        assert!(before.elapsed() >= Duration::from_millis(75));
    }

    #[test]
    fn unused_rate_limiters_are_dropped() {
        let limits = RateLimits::default();
        let region = Region::new("eu-west-1").unwrap();
        let account = |n: usize| AccountId::new(format!("{n:012}")).unwrap();
        let throttled = limits.get(&account(0), &region, "ec2");
        throttled.spend(5);
        drop(throttled);
        for n in 1..10 * LEAST_ROOM {
            limits.get(&account(n), &region, "ec2");
        }
        let limiters = &limits.0.lock().unwrap().limiters;
        assert!(limiters.len() <= LEAST_ROOM, "{}", limiters.len());
        assert!(limiters.keys().any(|(kept, ..)| *kept == account(0)), "its budget is not full");
    }
}
