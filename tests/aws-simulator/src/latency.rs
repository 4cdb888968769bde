//! How long a response takes.

use std::{
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::hash;

/// The 99th percentile of the normal distribution, in standard deviations.
const P99: f64 = 2.326_347_9;

/// A distribution of latencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Mean and standard deviation; never below zero.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
    /// Log-normal, as the latencies of services mostly are.
    LogNormal {
        /// Half of the answers are faster.
        median: Duration,
        /// One of a hundred is slower.
        p99: Duration,
    },
}

impl Default for Latency {
    fn default() -> Self {
        Self::Constant(Duration::ZERO)
    }
}

impl Latency {
    fn draw(self, first: u64) -> Duration {
        let second = hash::mix(first, 1);
        // Box and Muller: two even numbers make one that is normal.
        let normal = || {
            let radius = (-2.0 * (1.0 - hash::share(first)).ln()).sqrt();
            radius * (std::f64::consts::TAU * hash::share(second)).cos()
        };
        match self {
            Self::Constant(latency) => latency,
            Self::Normal { mean, deviation } => {
                Duration::from_secs_f64((mean.as_secs_f64() + deviation.as_secs_f64() * normal()).max(0.0))
            }
            Self::LogNormal { median, p99 } => {
                let sigma = (p99.as_secs_f64() / median.as_secs_f64()).ln() / P99;
                Duration::from_secs_f64(median.as_secs_f64() * (sigma * normal()).exp())
            }
        }
    }
}

/// `constant:20ms`, `normal:20ms,5ms` (mean, standard deviation) or `lognormal:20ms,200ms` (median, 99th
/// percentile).
impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{text}` is no latency: write `constant:20ms`, `normal:20ms,5ms` (mean, standard deviation) or `lognormal:20ms,200ms` (median, 99th percentile)"
            )
        };
        let (name, values) = text.split_once(':').ok_or_else(refuse)?;
        let values = values.split(',').map(duration).collect::<Option<Vec<_>>>().ok_or_else(refuse)?;
        match (name, &values[..]) {
            ("constant", [latency]) => Ok(Self::Constant(*latency)),
            ("normal", [mean, deviation]) => Ok(Self::Normal { mean: *mean, deviation: *deviation }),
            ("lognormal", [median, p99]) if !median.is_zero() && p99 >= median => {
                Ok(Self::LogNormal { median: *median, p99: *p99 })
            }
            _ => Err(refuse()),
        }
    }
}

fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic())?);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

/// Draws latencies, the same ones from the same seed.
#[derive(Debug)]
pub(crate) struct Clock {
    latency: Latency,
    seed: u64,
    drawn: AtomicU64,
}

impl Clock {
    pub(crate) fn new(latency: Latency, seed: u64) -> Self {
        Self { latency, seed, drawn: AtomicU64::new(0) }
    }

    /// The latency of the next answer.
    pub(crate) fn next(&self) -> Duration {
        if let Latency::Constant(latency) = self.latency {
            return latency;
        }
        self.latency.draw(hash::mix(self.seed, self.drawn.fetch_add(2, Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_read_and_what_is_none_is_reported() {
        let ms = Duration::from_millis;
        assert_eq!("constant:0ms".parse(), Ok(Latency::Constant(ms(0))));
        assert_eq!("normal:20ms,5ms".parse(), Ok(Latency::Normal { mean: ms(20), deviation: ms(5) }));
        assert_eq!("lognormal:0.02s,200ms".parse(), Ok(Latency::LogNormal { median: ms(20), p99: ms(200) }));
        for text in [
            "",
            "20ms",
            "constant:20",
            "normal:20ms",
            "lognormal:20ms,5ms",
            "lognormal:0ms,5ms",
            "constant:-1ms",
        ] {
            assert!(text.parse::<Latency>().unwrap_err().contains("is no latency"), "{text}");
        }
    }

    #[test]
    fn draws_follow_the_distribution() {
        let latency =
            Latency::LogNormal { median: Duration::from_millis(20), p99: Duration::from_millis(200) };
        let clock = Clock::new(latency, 7);
        let mut drawn: Vec<Duration> = (0..10_000).map(|_| clock.next()).collect();
        drawn.sort();
        let near = |found: Duration, wanted: f64| (found.as_secs_f64() / wanted - 1.0).abs() < 0.1;
        assert!(near(drawn[5_000], 0.020), "{:?}", drawn[5_000]);
        assert!(near(drawn[9_900], 0.200), "{:?}", drawn[9_900]);
    }
}
