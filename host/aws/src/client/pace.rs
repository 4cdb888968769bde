//! How fast one service of one region of one account is asked.
//!
//! The adaptive rate of AWS's own SDKs: no limit until the service throttles; then seven tenths of
//! the measured rate, recovering along a cubic curve (as TCP CUBIC does). Beside it a budget of
//! repeats, so that a service that is down is not hammered by everyone at once.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Kept of the rate after a throttled answer.
const BETA: f64 = 0.7;
/// How fast the rate recovers.
const SCALE: f64 = 0.4;
/// Weight of the newest measurement of the rate.
const SMOOTH: f64 = 0.8;
/// Requests per second, however much the service throttles.
const LEAST_RATE: f64 = 0.5;
/// Seconds over which the rate is measured, so that bursts are smoothed over.
const SLOT: f64 = 0.5;
/// What the budget of repeats starts with and never exceeds.
const BUDGET: u32 = 500;

/// When a request was sent, by the bucket's own clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn(f64);

/// The pace of one bucket.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Tokens per second; `None` until the first throttled answer.
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

impl Pace {
    pub(crate) fn new() -> Self {
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

    /// Whether it is as good as new, so that nothing is lost with it.
    pub(crate) fn is_fresh(&self) -> bool {
        let (state, now) = self.lock();
        state.rate.is_none() && state.budget == BUDGET && state.paused_until <= now
    }

    fn lock(&self) -> (MutexGuard<'_, State>, f64) {
        let now = self.start.elapsed().as_secs_f64();
        (self.state.lock().unwrap_or_else(PoisonError::into_inner), now)
    }

    /// Waits for this request's turn and tells when it came.
    pub(crate) async fn turn(&self) -> Turn {
        let wait = {
            let (mut state, now) = self.lock();
            state.reserve(now)
        };
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Turn(self.start.elapsed().as_secs_f64())
    }

    /// Takes note of an answer that asked to slow down, and for how long to be quiet.
    pub(crate) fn throttled(&self, turn: Turn, quiet: Option<Duration>) {
        let (mut state, now) = self.lock();
        state.throttled(now, turn);
        if let Some(quiet) = quiet {
            state.paused_until = state.paused_until.max(now + quiet.as_secs_f64());
        }
    }

    /// Takes note of an answer that did not; `spent` is what its repeats took from the budget.
    pub(crate) fn answered(&self, spent: u32) {
        let (mut state, now) = self.lock();
        state.answered(now);
        state.budget = BUDGET.min(state.budget + spent.max(1));
    }

    /// Takes a repeat out of the budget, if it has that much.
    pub(crate) fn spend(&self, cost: u32) -> bool {
        let (mut state, _) = self.lock();
        let left = state.budget.checked_sub(cost);
        state.budget = left.unwrap_or(state.budget);
        left.is_some()
    }
}

impl State {
    /// Takes a token, on credit if there is none, and tells how long to wait for it: turns come in
    /// the order in which they were asked for.
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

    fn throttled(&mut self, now: f64, turn: Turn) {
        self.measure(now);
        // A burst is throttled many times over; what was sent before the rate was cut says nothing
        // about the rate after.
        if self.rate.is_some() && turn.0 <= self.throttled_at {
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

    fn answered(&mut self, now: f64) {
        self.measure(now);
        if self.rate.is_some() {
            let since = now - self.throttled_at - self.recovery;
            self.set_rate(now, SCALE * since.powi(3) + self.last_max_rate, self.measured_rate);
        }
    }

    fn set_rate(&mut self, now: f64, wanted: f64, measured: f64) {
        // Never more than twice what is really sent: a quiet hour is no licence for a burst.
        let rate = wanted.min(2.0 * measured).max(LEAST_RATE);
        self.fill(now, self.rate.unwrap_or(rate));
        self.tokens = self.tokens.min(rate.max(1.0));
        self.rate = Some(rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends as fast as the pace allows for `seconds` to a service that throttles above `limit`
    /// requests per second; returns (answered, throttled) per second over the last half.
    fn drive(limit: f64, seconds: f64) -> (f64, f64) {
        let pace = Pace::new();
        let mut state = pace.state.lock().unwrap();
        let (mut now, mut service_tokens, mut answered, mut throttled) = (0.0_f64, limit, 0.0, 0.0);
        while now < seconds {
            let wait = state.reserve(now).as_secs_f64().max(0.002);
            now += wait;
            service_tokens = (service_tokens + wait * limit).min(limit);
            if service_tokens >= 1.0 {
                service_tokens -= 1.0;
                state.answered(now);
                answered += if now > seconds / 2.0 { 1.0 } else { 0.0 };
            } else {
                state.throttled(now, Turn(now));
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
    fn nothing_waits_before_the_first_throttling() {
        let pace = Pace::new();
        let mut state = pace.state.lock().unwrap();
        for _ in 0..1000 {
            assert_eq!(state.reserve(0.0), Duration::ZERO);
            state.answered(0.0);
        }
        assert_eq!(state.rate, None);
    }

    #[test]
    fn a_burst_is_punished_once() {
        let pace = Pace::new();
        let mut state = pace.state.lock().unwrap();
        for _ in 0..100 {
            state.reserve(0.1);
            state.throttled(0.2, Turn(0.1));
        }
        assert!(state.rate.unwrap() > 1.0, "{state:?}");
        let before = state.rate.unwrap();
        state.throttled(1.0, Turn(0.9));
        assert!(state.rate.unwrap() < before, "{state:?}");
    }

    #[test]
    fn the_budget_runs_out_and_recovers() {
        let pace = Pace::new();
        let spent = (0..1000).filter(|_| pace.spend(5)).count();
        assert_eq!(spent, 100);
        pace.answered(5);
        assert!(pace.spend(5));
        assert!(!pace.spend(5));
    }

    #[tokio::test]
    async fn a_service_that_names_a_pause_gets_it() {
        let pace = Pace::new();
        let turn = pace.turn().await;
        pace.throttled(turn, Some(Duration::from_millis(80)));
        let before = Instant::now();
        pace.turn().await;
        assert!(before.elapsed() >= Duration::from_millis(75));
    }
}
