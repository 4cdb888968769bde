//! Points in time: parses every format that AWS uses, and writes one.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeZone, Utc};
use serde::Deserialize;
use serde_json::{Number, Value};

/// The format of a time in a request. Responses are read in any of the formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TimestampFormat {
    /// `2024-01-02T03:04:05Z`
    #[serde(rename = "iso8601")]
    Iso8601,
    /// Seconds since 1970.
    #[serde(rename = "unixTimestamp", alias = "unixtimestamp")]
    Unix,
    /// `Tue, 02 Jan 2024 03:04:05 GMT`
    #[serde(rename = "rfc822")]
    Rfc822,
}

/// A point in time, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Reads seconds since 1970, ISO 8601 (with or without time, fraction and offset; UTC without an
    /// offset) or RFC 822. Truncates to microseconds.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<i64>() {
            return Self::from_seconds(seconds);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
            && let Ok(seconds) = text.parse::<f64>()
        {
            return Self::from_float(seconds);
        }
        let time = DateTime::parse_from_rfc3339(text)
            .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z"))
            .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
            .or_else(|_| DateTime::parse_from_rfc2822(text))
            .map(|time| time.to_utc())
            .or_else(|_| {
                NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
                    .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f"))
                    .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ"))
                    .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%MZ"))
                    .or_else(|_| {
                        NaiveDate::parse_from_str(text.trim_end_matches('Z'), "%Y-%m-%d")
                            .map(|day| day.and_time(chrono::NaiveTime::MIN))
                    })
                    .map(|time| time.and_utc())
            })
            .ok()?;
        Self::within_reach(time)
    }

    /// Reads seconds since 1970.
    pub(crate) fn from_number(number: &Number) -> Option<Self> {
        match number.as_i64() {
            Some(seconds) => Self::from_seconds(seconds),
            None => Self::from_float(number.as_f64()?),
        }
    }

    fn from_seconds(seconds: i64) -> Option<Self> {
        Self::within_reach(Utc.timestamp_opt(seconds, 0).single()?)
    }

    /// Converts like `datetime.fromtimestamp`: rounds the fraction half to even at the microsecond.
    pub(crate) fn from_float(seconds: f64) -> Option<Self> {
        const MICROS: f64 = 1e6;
        if !seconds.is_finite() || seconds.abs() > 1e15 {
            return None;
        }
        let mut whole = seconds.trunc();
        let mut micros = ((seconds - whole) * MICROS).round_ties_even();
        if micros < 0.0 {
            micros += MICROS;
            whole -= 1.0;
        } else if micros >= MICROS {
            micros -= MICROS;
            whole += 1.0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "these are whole numbers within the bounds that are checked above"
        )]
        let (whole, nanos) = (whole as i64, micros as u32 * 1000);
        Self::within_reach(Utc.timestamp_opt(whole, nanos).single()?)
    }

    /// Checks that the year is 1 to 9999, which ISO 8601 with four digits can represent.
    fn within_reach(time: DateTime<Utc>) -> Option<Self> {
        use chrono::Datelike;
        (1..=9999).contains(&time.year()).then_some(Self(time))
    }

    /// Formats the time as `2024-01-02T03:04:05Z`, with six digits of fraction only if it is not zero.
    pub(crate) fn iso8601(self) -> String {
        if self.0.timestamp_subsec_micros() == 0 {
            self.0.format("%Y-%m-%dT%H:%M:%SZ").to_string()
        } else {
            self.0.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
        }
    }

    /// Truncates the time to seconds.
    pub(crate) fn whole_seconds(self) -> Self {
        Self::from_seconds(self.0.timestamp()).unwrap_or(self)
    }

    /// Returns the time in the format of a request: a number for [`TimestampFormat::Unix`], otherwise text.
    pub(crate) fn encode(self, format: TimestampFormat) -> Value {
        match format {
            TimestampFormat::Iso8601 => self.iso8601().into(),
            TimestampFormat::Rfc822 => self.0.format("%a, %d %b %Y %H:%M:%S GMT").to_string().into(),
            TimestampFormat::Unix if self.0.timestamp_subsec_micros() == 0 => self.0.timestamp().into(),
            TimestampFormat::Unix => {
                #[expect(clippy::cast_precision_loss, reason = "exact up to the year 2255")]
                let micros = self.0.timestamp_micros() as f64;
                (micros / 1e6).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let plain = "2024-01-02T03:04:05Z";
        for (text, expected) in [
            ("1704164645", plain),
            ("1704164645.0", plain),
            ("1.704164645E9", plain),
            (plain, plain),
            ("2024-01-02T03:04:05", plain),
            ("2024-01-02 03:04:05", plain),
            ("2024-01-02T04:04:05+01:00", plain),
            ("2024-01-02T04:04:05+0100", plain),
            ("20240102T030405Z", plain),
            ("Tue, 02 Jan 2024 03:04:05 GMT", plain),
            ("2024-01-02T03:04:05.000Z", plain),
            ("2024-01-02T03:04:05.123Z", "2024-01-02T03:04:05.123000Z"),
            ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456Z"),
            ("2024-01-02", "2024-01-02T00:00:00Z"),
            ("-1.5", "1969-12-31T23:59:58.500000Z"),
            ("1704164645.9999999", "2024-01-02T03:04:06Z"),
            ("253402300799", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::iso8601).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "soon", "253402300800", "NaN", "1e300", "2024-13-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_form_is_written() {
        let time = Timestamp::parse("2024-01-02T03:04:05.25Z").unwrap();
        assert_eq!(time.encode(TimestampFormat::Iso8601), "2024-01-02T03:04:05.250000Z");
        assert_eq!(time.encode(TimestampFormat::Rfc822), "Tue, 02 Jan 2024 03:04:05 GMT");
        assert_eq!(time.encode(TimestampFormat::Unix), 1_704_164_645.25);
        assert_eq!(time.whole_seconds().encode(TimestampFormat::Unix), 1_704_164_645);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", number in proptest::num::f64::ANY) {
            let _ = Timestamp::parse(&text);
            let _ = Timestamp::from_float(number);
        }
    }
}
