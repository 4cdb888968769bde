//! Port's clock, as far as its responses show it. Times that decide something use it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};

const SECOND: TimeDelta = TimeDelta::seconds(1);

/// How far Port's clock is ahead of the local one.
#[derive(Debug, Default)]
pub(crate) struct PortClock(Mutex<State>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    ahead: TimeDelta,
    /// Whether a response had a `Date` header.
    dated: bool,
}

impl PortClock {
    /// Learns from the `Date` header of a response. It has whole seconds only, so a known difference stays as
    /// long as it agrees with the header.
    pub(crate) fn learn_date(&self, header: &str, sent: SystemTime, received: SystemTime) {
        let Ok(date) = DateTime::parse_from_rfc2822(header.trim()) else { return };
        let date = date.to_utc();
        let mut state = self.state();
        state.dated = true;
        let (Some(sent), Some(received)) = (shifted(sent, state.ahead), shifted(received, state.ahead))
        else {
            return;
        };
        if received < date || sent >= date + SECOND {
            state.ahead = state.ahead.checked_add(&(date - received)).unwrap_or_default();
        }
    }

    /// Learns from a time that Port recorded just now. Does nothing once a response had a `Date` header.
    /// Returns whether it was used.
    pub(crate) fn learn_stamp(&self, stamp: SystemTime, received: SystemTime) -> bool {
        let mut state = self.state();
        if !state.dated {
            state.ahead = DateTime::<Utc>::from(stamp) - DateTime::<Utc>::from(received);
        }
        !state.dated
    }

    /// Converts a local time to Port's clock.
    pub(crate) fn convert(&self, local: SystemTime) -> SystemTime {
        let ahead = self.state().ahead;
        shifted(local, ahead).map_or(local, SystemTime::from)
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> SystemTime {
        self.convert(SystemTime::now())
    }

    /// Returns a time that is later than everything Port has written so far: if only whole seconds are known,
    /// the next one.
    pub(crate) fn end_of_now(&self) -> SystemTime {
        let now = self.now();
        if !self.state().dated {
            return now;
        }
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds.saturating_add(1))).unwrap_or(now)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shifted(time: SystemTime, by: TimeDelta) -> Option<DateTime<Utc>> {
    DateTime::<Utc>::from(time).checked_add_signed(by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + milliseconds)
    }

    /// Returns the header of a response at that second.
    fn date(seconds: u64) -> String {
        let time = DateTime::<Utc>::from(at(0) + Duration::from_secs(seconds));
        time.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    #[test]
    fn a_clock_that_agrees_is_left_as_it_is() {
        let clock = PortClock::default();
        clock.learn_date(&date(5), at(4_900), at(5_100));
        clock.learn_date(&date(5), at(5_800), at(6_100));
        assert_eq!(clock.convert(at(7_250)), at(7_250));
    }

    #[test]
    fn a_clock_that_differs_follows_the_header_and_stays_with_it() {
        for hours in [-1_i64, 1] {
            let clock = PortClock::default();
            let wrong = |milliseconds: u64| {
                let offset = Duration::from_hours(hours.unsigned_abs());
                if hours < 0 { at(milliseconds) - offset } else { at(milliseconds) + offset }
            };
            clock.learn_date(&date(5), wrong(5_200), wrong(5_300));
            assert_eq!(clock.convert(wrong(5_300)), at(5_000));
            clock.learn_date(&date(6), wrong(6_500), wrong(6_600));
            assert_eq!(clock.convert(wrong(6_600)), at(6_300));
        }
    }

    #[test]
    fn stamps_count_as_long_as_there_is_no_header() {
        let clock = PortClock::default();
        assert!(clock.learn_stamp(at(10_500), at(0)));
        assert_eq!(clock.convert(at(1_000)), at(11_500));
        clock.learn_date("", at(0), at(0));
        clock.learn_date("yesterday", at(0), at(0));
        assert_eq!(clock.convert(at(1_000)), at(11_500));
        clock.learn_date(&date(0), at(100), at(100));
        assert!(!clock.learn_stamp(at(10_500), at(0)));
        assert_eq!(clock.convert(at(100)), at(0));
    }

    #[test]
    fn what_was_written_in_this_second_is_before_its_end() {
        let clock = PortClock::default();
        let now = SystemTime::now();
        clock.learn_date(&DateTime::<Utc>::from(now).to_rfc2822(), now, now);
        let end = clock.end_of_now();
        assert!(end > now && end <= now + Duration::from_secs(2));
        assert_eq!(end.duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos(), 0);
    }
}
