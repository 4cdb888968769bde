//! Measures ratios of times. The programs that are compared run in turns, in rounds, so that a disturbance of the
//! machine affects all of them; the median of the rounds counts.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long one sample runs at least, so that the clock's own cost does not count.
const SAMPLE: Duration = Duration::from_millis(4);

/// Something to be measured.
pub(crate) struct Case<'a> {
    pub(crate) name: String,
    /// By how many the time is divided: entities, most often.
    pub(crate) units: usize,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(name: impl Into<String>, units: usize, run: impl FnMut() + 'a) -> Self {
        Self { name: name.into(), units, run: Box::new(run) }
    }
}

/// Whose CPU time counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// That of the thread which measures.
    Thread,
    /// That of all threads, for what starts some.
    Process,
}

fn now(clock: Clock) -> Duration {
    let time = clock_gettime(match clock {
        Clock::Thread => ClockId::ThreadCPUTime,
        Clock::Process => ClockId::ProcessCPUTime,
    });
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// What was measured of some cases: by case, the nanoseconds per unit of each round.
pub(crate) struct Measured(Vec<Vec<f64>>);

/// Runs the cases in turns, in this thread.
pub(crate) fn measure(rounds: usize, cases: &mut [Case<'_>]) -> Measured {
    measure_by(Clock::Thread, rounds, cases)
}

/// Runs the cases in turns.
pub(crate) fn measure_by(clock: Clock, rounds: usize, cases: &mut [Case<'_>]) -> Measured {
    let mut times = vec![Vec::with_capacity(rounds); cases.len()];
    // The first run of each decides how often it runs in a sample.
    let repeats: Vec<u32> = cases
        .iter_mut()
        .map(|case| {
            (case.run)();
            let once = timed(clock, 1, &mut case.run).as_nanos().max(1);
            u32::try_from((SAMPLE.as_nanos() / once).clamp(1, 100_000)).unwrap_or(1)
        })
        .collect();
    for _ in 0..rounds {
        for ((case, times), repeats) in cases.iter_mut().zip(&mut times).zip(&repeats) {
            let time = timed(clock, *repeats, &mut case.run);
            #[expect(clippy::cast_precision_loss, reason = "a count of entities")]
            times.push(time.as_secs_f64() * 1e9 / f64::from(*repeats) / case.units.max(1) as f64);
        }
    }
    Measured(times)
}

fn timed(clock: Clock, repeats: u32, run: &mut dyn FnMut()) -> Duration {
    let begun = now(clock);
    for _ in 0..repeats {
        run();
    }
    now(clock).saturating_sub(begun)
}

impl Measured {
    /// The median of a case, in nanoseconds per unit.
    pub(crate) fn nanos(&self, case: usize) -> f64 {
        median(self.0.get(case).cloned().unwrap_or_default())
    }

    /// How many times as long a case takes as another: the median over the rounds.
    pub(crate) fn ratio(&self, case: usize, to: usize) -> f64 {
        let (Some(times), Some(bases)) = (self.0.get(case), self.0.get(to)) else { return f64::NAN };
        median(times.iter().zip(bases).map(|(time, base)| time / base).collect())
    }
}

/// The median; not a number when there is nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_work_takes_twice_the_time() {
        let work = |times: u64| {
            move || {
                std::hint::black_box((0..times * 20_000).fold(1_u64, |x, y| x.rotate_left(3) ^ y));
            }
        };
        let measured = measure(15, &mut [Case::new("once", 1, work(1)), Case::new("four times", 1, work(4))]);
        let ratio = measured.ratio(1, 0);
        assert!((2.0..8.0).contains(&ratio), "{ratio}");
        assert!(measured.nanos(0) > 0.0);
    }

    #[test]
    fn the_clock_of_the_process_sees_other_threads() {
        let busy = || {
            std::hint::black_box((0..3_000_000_u64).fold(1_u64, |x, y| x.rotate_left(3) ^ y));
        };
        let elsewhere = || std::thread::scope(|scope| drop(scope.spawn(busy)));
        let cases = || [Case::new("here", 1, busy), Case::new("elsewhere", 1, elsewhere)];
        let seen = measure_by(Clock::Process, 5, &mut cases()).ratio(1, 0);
        let unseen = measure_by(Clock::Thread, 5, &mut cases()).ratio(1, 0);
        assert!(unseen < seen / 2.0, "{unseen} {seen}");
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!(median(Vec::new()).is_nan());
    }
}
