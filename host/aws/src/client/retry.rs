//! The retry policy. Every decision depends on its arguments only.

use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};

use super::answer::AwsResponse;
use crate::{
    Retry,
    errors::{is_expired, is_skewed, is_throttling, is_transient, refuses_credentials},
};

/// The cost of a retry, from the retry budget of its rate limiter.
const ERROR_COST: u32 = 5;
/// The cost of the retry of a request without a response.
const NO_ANSWER_COST: u32 = 10;
/// The maximum number of times that one call follows its bucket to another region.
const REDIRECTS: u32 = 3;
/// The maximum number of times that one call is signed again because the clock was wrong.
const CLOCK_CORRECTIONS: u32 = 3;
/// The maximum number of times that one call renews an expired session.
const RENEWALS: u32 = 2;
/// The maximum number of times that one call is signed again after AWS rejected its credentials for an
/// ambiguous reason.
const INVALIDATIONS: u32 = 1;
/// The factor by which a throttled request waits longer than others.
const THROTTLED_SCALE: u32 = 3;

/// The attempts of one call so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct History {
    pub(super) attempts: u32,
    pub(super) redirects: u32,
    clock_corrections: u32,
    renewals: u32,
    invalidations: u32,
}

impl History {
    /// Returns whether the call may follow its bucket to another region once more.
    pub(super) fn may_follow_bucket(&self) -> bool {
        self.redirects < REDIRECTS
    }

    /// Records that the request is signed again.
    pub(super) fn signed_again(&mut self, because: SignAgain) {
        match because {
            SignAgain::WrongTime => self.clock_corrections += 1,
            SignAgain::Expired => self.renewals += 1,
            SignAgain::Refused => self.invalidations += 1,
        }
    }
}

/// An error response.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ErrorAnswer<'a> {
    pub(super) status: u16,
    pub(super) code: &'a str,
    pub(super) message: &'a str,
    /// The pause that the service requests, in `Retry-After`.
    pub(super) pause: Option<Duration>,
    /// Whether the date of the response shows that the request was signed with a wrong time.
    pub(super) wrong_time: bool,
}

/// The next step of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryStep {
    /// Return the response: it is final, and says nothing about the load of the service.
    Return,
    /// Give up: the service throttles or fails, and this was the last attempt.
    GiveUp {
        throttled: bool,
    },
    /// Sign the request again, after a random wait of at most `longest_wait`.
    SignAgain {
        because: SignAgain,
        longest_wait: Duration,
    },
    Retry(Backoff),
}

/// Why a request is signed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignAgain {
    WrongTime,
    Expired,
    /// AWS rejects the credentials, possibly only for a moment, or because the session ended.
    Refused,
}

/// The wait before a retry, and its cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backoff {
    /// The bound of the random wait.
    longest: Duration,
    /// The pause that the service requests.
    pause: Duration,
    /// The part of the retry budget that it uses.
    pub(super) cost: u32,
    pub(super) throttled: bool,
}

impl Backoff {
    /// Returns the wait, for a random number between 0 and 1.
    pub(super) fn wait(&self, random: f64) -> Duration {
        self.longest.mul_f64(random).max(self.pause)
    }
}

/// Decides about retries, according to the settings.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryRules(Retry);

impl RetryRules {
    pub(super) fn new(settings: Retry) -> Self {
        Self(settings)
    }

    /// Returns the part of a requested pause that is granted.
    pub(super) fn granted_pause(&self, asked: Duration) -> Duration {
        asked.min(self.0.longest_retry_after)
    }

    /// Returns the retry after an attempt without a response, unless it was the last attempt. `lasting`:
    /// the next attempt would fail in the same way.
    pub(super) fn after_no_answer(&self, history: &History, lasting: bool) -> Option<Backoff> {
        (!lasting && !self.is_last(history)).then(|| Backoff {
            longest: self.longest_wait(history, self.0.base),
            pause: Duration::ZERO,
            cost: NO_ANSWER_COST,
            throttled: false,
        })
    }

    /// Returns the step after an error response.
    pub(super) fn after_refusal(&self, history: &History, refusal: &ErrorAnswer<'_>) -> RetryStep {
        if let Some(because) = sign_again(history, refusal) {
            // AWS may need a moment to accept credentials that it rejected.
            let waits = history.invalidations > 0 || because == SignAgain::Refused;
            let longest_wait = if waits { self.longest_wait(history, self.0.base) } else { Duration::ZERO };
            return RetryStep::SignAgain { because, longest_wait };
        }
        let throttled = is_throttling(refusal.status, refusal.code);
        if !throttled && !is_transient(refusal.status, refusal.code) {
            return RetryStep::Return;
        }
        if self.is_last(history) {
            return RetryStep::GiveUp { throttled };
        }
        let scale = if throttled { self.0.base * THROTTLED_SCALE } else { self.0.base };
        RetryStep::Retry(Backoff {
            longest: self.longest_wait(history, scale),
            pause: refusal.pause.unwrap_or_default(),
            // A service that throttles is healthy, and the rate limiter handles it; the budget is for
            // services that fail.
            cost: if throttled { 0 } else { ERROR_COST },
            throttled,
        })
    }

    fn is_last(&self, history: &History) -> bool {
        history.attempts >= self.0.attempts
    }

    /// Returns the bound of the next random wait: it doubles with every attempt ("full jitter").
    fn longest_wait(&self, history: &History, scale: Duration) -> Duration {
        scale.saturating_mul(1 << history.attempts.saturating_sub(1).min(16)).min(self.0.cap)
    }
}

/// Returns why a rejected request should be signed again, if it should.
fn sign_again(history: &History, refusal: &ErrorAnswer<'_>) -> Option<SignAgain> {
    let ErrorAnswer { code, message, wrong_time, .. } = *refusal;
    if wrong_time && is_skewed(code, message) && history.clock_corrections < CLOCK_CORRECTIONS {
        Some(SignAgain::WrongTime)
    } else if is_expired(code, message) && history.renewals < RENEWALS {
        Some(SignAgain::Expired)
    } else if refuses_credentials(code) && history.invalidations < INVALIDATIONS {
        Some(SignAgain::Refused)
    } else {
        None
    }
}

/// Returns the pause that a service requests: `Retry-After` in seconds or as a date, or AWS's own
/// `x-amz-retry-after` in milliseconds.
pub(super) fn retry_after(answer: &AwsResponse, now: SystemTime) -> Option<Duration> {
    let text = |name| answer.header(name).map(str::trim);
    if let Some(millis) = text("x-amz-retry-after").and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let text = text("retry-after")?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = SystemTime::try_from(DateTime::from_str(text, Format::HttpDate).ok()?).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> RetryRules {
        RetryRules::new(Retry {
            attempts: 4,
            base: 200 * MS,
            cap: Duration::from_secs(1),
            longest_retry_after: Duration::from_mins(1),
            ..Retry::default()
        })
    }

    fn attempt(attempts: u32) -> History {
        History { attempts, ..History::default() }
    }

    fn backoff(longest: u32, pause: u32, cost: u32, throttled: bool) -> Backoff {
        Backoff { longest: longest * MS, pause: pause * MS, cost, throttled }
    }

    fn retry(longest: u32, pause: u32, cost: u32, throttled: bool) -> RetryStep {
        RetryStep::Retry(backoff(longest, pause, cost, throttled))
    }

    fn sign_again(because: SignAgain, longest_wait: u32) -> RetryStep {
        RetryStep::SignAgain { because, longest_wait: longest_wait * MS }
    }

    #[test]
    fn an_error_decides_the_next_step() {
        let renewed_twice = History { renewals: 2, ..attempt(3) };
        let corrected_thrice = History { clock_corrections: 3, ..attempt(1) };
        let invalidated = History { invalidations: 1, ..attempt(2) };
        let refused = sign_again(SignAgain::Refused, 200);
        let table = [
            // Errors about the request are final.
            (attempt(1), 404, "ResourceNotFoundException", false, RetryStep::Return),
            (attempt(1), 403, "AccessDenied", false, RetryStep::Return),
            (attempt(9), 400, "ValidationException", false, RetryStep::Return),
            // Errors about the load or the health of the service.
            (attempt(1), 400, "Throttling", false, retry(600, 0, 0, true)),
            (attempt(2), 429, "429", false, retry(1000, 0, 0, true)),
            (attempt(4), 400, "ThrottlingException", false, RetryStep::GiveUp { throttled: true }),
            (attempt(1), 503, "503", false, retry(200, 0, 5, false)),
            (attempt(2), 500, "InternalFailure", false, retry(400, 0, 5, false)),
            (attempt(3), 500, "InternalFailure", false, retry(800, 0, 5, false)),
            (attempt(4), 500, "InternalFailure", false, RetryStep::GiveUp { throttled: false }),
            // Errors about the time in the signature, if the date of the response confirms it.
            (attempt(1), 403, "AccessDenied", true, sign_again(SignAgain::WrongTime, 0)),
            (attempt(4), 403, "RequestTimeTooSkewed", true, sign_again(SignAgain::WrongTime, 0)),
            (attempt(1), 403, "RequestTimeTooSkewed", false, RetryStep::Return),
            (corrected_thrice, 403, "RequestTimeTooSkewed", true, RetryStep::Return),
            (invalidated, 403, "RequestTimeTooSkewed", true, sign_again(SignAgain::WrongTime, 400)),
            // Errors about the session.
            (attempt(1), 400, "ExpiredToken", false, sign_again(SignAgain::Expired, 0)),
            (attempt(9), 400, "ExpiredTokenException", false, sign_again(SignAgain::Expired, 0)),
            (attempt(1), 403, "RequestExpired", true, sign_again(SignAgain::WrongTime, 0)),
            (corrected_thrice, 403, "RequestExpired", true, sign_again(SignAgain::Expired, 0)),
            (renewed_twice, 400, "ExpiredToken", false, RetryStep::Return),
            // Errors about the credentials.
            (attempt(1), 403, "InvalidClientTokenId", false, refused),
            (attempt(1), 403, "SignatureDoesNotMatch", false, refused),
            (attempt(1), 403, "SignatureDoesNotMatch", true, sign_again(SignAgain::WrongTime, 0)),
            (invalidated, 403, "InvalidClientTokenId", false, RetryStep::Return),
            (invalidated, 400, "ExpiredToken", false, sign_again(SignAgain::Expired, 400)),
        ];
        for (history, status, code, wrong_time, step) in table {
            let refusal = ErrorAnswer { status, code, wrong_time, ..ErrorAnswer::default() };
            assert_eq!(policy().after_refusal(&history, &refusal), step, "{history:?} {status} {code}");
        }
    }

    #[test]
    fn a_missing_response_is_retried_unless_the_cause_lasts() {
        for (attempts, lasting, retry) in [
            (1, false, Some(backoff(200, 0, 10, false))),
            (3, false, Some(backoff(800, 0, 10, false))),
            (4, false, None),
            (1, true, None),
        ] {
            assert_eq!(policy().after_no_answer(&attempt(attempts), lasting), retry, "{attempts} {lasting}");
        }
    }

    #[test]
    fn each_reason_to_sign_again_is_counted_separately() {
        let mut history = attempt(1);
        let refusal =
            ErrorAnswer { status: 403, code: "RequestExpired", wrong_time: true, ..ErrorAnswer::default() };
        let mut reasons = Vec::new();
        while let RetryStep::SignAgain { because, .. } = policy().after_refusal(&history, &refusal) {
            history.signed_again(because);
            reasons.push(because);
        }
        let (time, expired) = (SignAgain::WrongTime, SignAgain::Expired);
        assert_eq!(reasons, [time, time, time, expired, expired]);
        history.redirects = REDIRECTS - 1;
        assert!(history.may_follow_bucket());
        history.redirects = REDIRECTS;
        assert!(!history.may_follow_bucket());
    }

    #[test]
    fn a_wait_is_random_and_at_least_the_pause() {
        let refusal =
            ErrorAnswer { status: 503, code: "503", pause: Some(150 * MS), ..ErrorAnswer::default() };
        let RetryStep::Retry(backoff) = policy().after_refusal(&attempt(2), &refusal) else {
            panic!("an error of the service is tried again");
        };
        for (random, wait) in [(0.0, 150), (0.25, 150), (0.5, 200), (1.0, 400)] {
            assert_eq!(backoff.wait(random), wait * MS, "{random}");
        }
        assert_eq!(policy().granted_pause(Duration::from_secs(90)), Duration::from_mins(1));
        assert_eq!(policy().granted_pause(Duration::from_secs(9)), Duration::from_secs(9));
    }

    #[test]
    fn a_pause_is_read_in_every_form() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (name, value, pause) in [
            ("retry-after", "7", Some(7_000)),
            ("retry-after", " 7 ", Some(7_000)),
            ("retry-after", "Tue, 14 Nov 2023 22:13:25 GMT", Some(5_000)),
            ("retry-after", "Tue, 14 Nov 2023 22:13:15 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("x-amz-retry-after", "250", Some(250)),
            ("x-amz-retry-after", "soon", None),
            ("date", "7", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            let answer = AwsResponse { status: 503, headers, body: bytes::Bytes::new() };
            assert_eq!(retry_after(&answer, now), pause.map(Duration::from_millis), "{name}: {value}");
        }
    }
}
