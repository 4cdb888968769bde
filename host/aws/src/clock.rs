//! The clock of AWS.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use aws_smithy_async::time::TimeSource;
use aws_smithy_types::date_time::{DateTime, Format};

/// The maximum difference between the clocks at which a rejected signature is not attributed to them. AWS's
/// services accept five minutes.
const TOLERANCE: Duration = Duration::from_mins(4);

/// The clock of AWS: this machine's clock, corrected by the dates of AWS's responses. Requests are signed
/// with it, and the expiry of credentials is checked against it. All services, including STS, share it: a
/// correction applies to every later request.
#[derive(Debug, Clone, Default)]
pub(crate) struct AwsClock {
    /// The number of seconds that AWS's clock is ahead of this machine's.
    skew: Arc<AtomicI64>,
}

/// The time when a request was signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SigningTime {
    /// The time by AWS's clock, as far as it was known then.
    pub(crate) time: SystemTime,
    taken: Instant,
}

/// The number of seconds that AWS's clock is ahead of this machine's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Skew(i64);

impl SigningTime {
    /// Returns the skew if a response's `Date` shows that its request was signed with a wrong time. This
    /// does not depend on later corrections of the clock: every request that was signed with a wrong time
    /// deserves a retry.
    pub(crate) fn skew_shown_by(&self, date: Option<&str>) -> Option<Skew> {
        let theirs = DateTime::from_str(date?, Format::HttpDate).ok()?;
        let (earliest, latest) = (self.time - TOLERANCE, self.time + self.taken.elapsed() + TOLERANCE);
        if (DateTime::from(earliest)..=DateTime::from(latest)).contains(&theirs) {
            return None;
        }
        Some(Skew(theirs.secs() - DateTime::from(SystemTime::now()).secs()))
    }
}

impl AwsClock {
    pub(crate) fn time(&self) -> SystemTime {
        shifted(SystemTime::now(), self.skew.load(Ordering::Relaxed))
    }

    pub(crate) fn stamp(&self) -> SigningTime {
        SigningTime { time: self.time(), taken: Instant::now() }
    }

    /// Corrects the clock.
    pub(crate) fn correct(&self, Skew(skew): Skew) {
        let before = self.skew.swap(skew, Ordering::Relaxed);
        if before.abs_diff(skew) > TOLERANCE.as_secs() {
            tracing::warn!(seconds = skew, "this machine's clock is wrong; using the clock of AWS");
        }
    }

    /// Corrects the clock if a response's `Date` shows that its request was signed with a wrong time.
    /// Returns whether it did.
    pub(crate) fn correct_by(&self, signed: &SigningTime, date: Option<&str>) -> bool {
        let skew = signed.skew_shown_by(date);
        if let Some(skew) = skew {
            self.correct(skew);
        }
        skew.is_some()
    }
}

impl TimeSource for AwsClock {
    fn now(&self) -> SystemTime {
        self.time()
    }
}

fn shifted(time: SystemTime, seconds: i64) -> SystemTime {
    let offset = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 { time.checked_sub(offset) } else { time.checked_add(offset) };
    shifted.unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(ahead: i64) -> String {
        DateTime::from(shifted(SystemTime::now(), ahead)).fmt(Format::HttpDate).unwrap()
    }

    fn off(clock: &AwsClock) -> i64 {
        DateTime::from(clock.time()).secs() - DateTime::from(SystemTime::now()).secs()
    }

    #[test]
    fn each_request_is_compared_with_its_own_time() {
        let clock = AwsClock::default();
        let stamps = [clock.stamp(), clock.stamp()];
        assert!(!clock.correct_by(&stamps[0], Some(&date(200))), "services accept that");
        assert!(!clock.correct_by(&stamps[0], None) && !clock.correct_by(&stamps[0], Some("yesterday")));
        for stamp in stamps {
            assert!(clock.correct_by(&stamp, Some(&date(-7200))));
            assert!((off(&clock) + 7200).abs() <= 1, "{}", off(&clock));
        }
        assert!(!clock.correct_by(&clock.stamp(), Some(&date(-7200))), "signed by the clock of AWS");
        // The machine's clock is set to the right time.
        assert!(clock.correct_by(&clock.stamp(), Some(&date(0))));
        assert!(off(&clock).abs() <= 1, "{}", off(&clock));
    }
}
