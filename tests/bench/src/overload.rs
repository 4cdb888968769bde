//! Port is slow and then stops answering: data that is read faster than it is written must not accumulate in
//! memory.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    process,
    profile::{OVERLOAD, Profile},
    report::{Row, Table, Target},
    stage::{Place, Programs, Stage},
};

/// How long Port takes for each answer.
const ANSWER: Duration = Duration::from_millis(300);
/// How long it answers, slowly, before it stops, and after it goes on.
const SLOW: Duration = Duration::from_mins(1);
/// How long it answers nothing.
const STOPPED: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(500);
/// The most that the whole may take, measured in a resync that is begun.
const PEAK_MIB: f64 = 640.0;
/// How much may be added while nothing can be written: in the second half of the stop, when what is on
/// its way has been read.
const STOPPED_MIB: f64 = 16.0;

/// What Port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Slow,
    Stopped,
    SlowAgain,
}

impl Port {
    fn at(elapsed: Duration) -> Self {
        match elapsed {
            _ if elapsed < SLOW => Self::Slow,
            _ if elapsed < SLOW + STOPPED => Self::Stopped,
            _ => Self::SlowAgain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Slow => "answers in 300 ms",
            Self::Stopped => "answers nothing",
            Self::SlowAgain => "answers in 300 ms again",
        }
    }
}

/// What was seen at some moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    elapsed: Duration,
    resident_mib: f64,
    /// Requests to AWS so far.
    reads: u64,
}

/// Begins a resync of so many accounts, and gives the table.
pub(crate) fn run(programs: &Programs, accounts: u32, progress: fn(&str)) -> Result<Table> {
    let profile = OVERLOAD.with_accounts(accounts);
    progress("overload: compiling every plugin");
    programs.compile(profile)?;
    let stage = Stage::start(programs, profile)?;
    let place = stage.place()?;
    let answer = u64::try_from(ANSWER.as_millis())?;
    place.port.post("/_stand-in/faults", &json!({"route": "", "times": u32::MAX, "latencyMs": answer}))?;
    let mut command = stage.berth(&place);
    let child = command.stderr(place.log()?).stdin(Stdio::null()).spawn().context("berth does not start")?;
    let mut resync = Begun(child);
    let (samples, peak) = watch(&mut resync, &stage, &place, progress)?;
    Ok(table(profile, &samples, peak))
}

/// Samples a resync until the time is over; the peak of its memory, too.
fn watch(
    resync: &mut Begun,
    stage: &Stage<'_>,
    place: &Place,
    progress: fn(&str),
) -> Result<(Vec<Sample>, f64)> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    let mut port = Port::Slow;
    loop {
        let elapsed = begun.elapsed();
        if elapsed >= SLOW * 2 + STOPPED {
            break;
        }
        if let Some(status) = resync.0.try_wait()? {
            bail!("berth ended with {status} before the time was over\n{}", place.complaint());
        }
        let now = Port::at(elapsed);
        if now != port {
            progress(&format!("overload: after {} s Port {}", elapsed.as_secs(), now.name()));
            // What is connected stays so, and what connects waits: as a server that hangs.
            place.port.signal(if now == Port::Stopped { Signal::STOP } else { Signal::CONT })?;
            port = now;
        }
        let reads = stage.asked()?.values().sum();
        samples.push(Sample { elapsed, resident_mib: resync.mib("VmRSS")?, reads });
        std::thread::sleep(PAUSE);
    }
    let peak = resync.mib("VmHWM")?;
    process::end(&mut resync.0)?;
    Ok((samples, peak))
}

/// A resync that will not be waited for.
struct Begun(Child);

impl Begun {
    fn mib(&self, name: &str) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let kib = process::number(&status, name).with_context(|| format!("no {name} in /proc"))?;
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        Ok(kib as f64 / 1024.0)
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn table(profile: Profile, samples: &[Sample], peak: f64) -> Table {
    let mut table = Table::new(
        format!(
            "Overload: {} accounts × {} regions × all kinds, {} resource each; Port answers in 300 ms, and nothing for a minute",
            profile.accounts, profile.regions, profile.resources
        ),
        &["after, s", "Port", "resident memory, MiB", "requests to AWS"],
    );
    let step = Duration::from_secs(15);
    let mut due = step;
    for sample in samples {
        if sample.elapsed >= due {
            table.row(Row::plain([
                sample.elapsed.as_secs().to_string(),
                Port::at(sample.elapsed).name().to_owned(),
                format!("{:.1}", sample.resident_mib),
                sample.reads.to_string(),
            ]));
            due += step;
        }
    }
    table.note("The resync is begun and not waited for; `berth` gets SIGTERM then.".to_owned());
    table.target(Target::at_most("overload: peak memory, MiB", PEAK_MIB, peak).required());
    let grown = grown_while_stopped(samples);
    table.target(
        Target::at_most("overload: MiB more in the second half minute without Port", STOPPED_MIB, grown)
            .required(),
    );
    table
}

/// How much more memory there was at the end of the stop than in its middle.
fn grown_while_stopped(samples: &[Sample]) -> f64 {
    let width = STOPPED / 12;
    let from = |start: Duration| {
        let there = samples.iter().filter(|sample| (start..start + width).contains(&sample.elapsed));
        crate::clock::median(there.map(|sample| sample.resident_mib).collect())
    };
    from(SLOW + width * 11) - from(SLOW + width * 6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(mib_per_second: f64) -> Vec<Sample> {
        let sample = |second: u32| Sample {
            elapsed: Duration::from_secs(second.into()),
            resident_mib: 200.0 + f64::from(second) * mib_per_second,
            reads: 1,
        };
        (0..180).map(sample).collect()
    }

    #[test]
    fn memory_that_grows_while_port_is_away_is_missed() {
        let missed = |mib_per_second: f64, peak: f64| {
            let table = table(OVERLOAD, &samples(mib_per_second), peak);
            table.targets().filter(|target| !target.is_reached()).count()
        };
        assert_eq!((missed(0.0, 300.0), missed(1.0, 300.0), missed(0.0, 3000.0)), (0, 1, 1));
    }

    #[test]
    fn port_is_slow_stops_and_goes_on() {
        let at = |seconds| Port::at(Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(60), at(119), at(120)],
            [Port::Slow, Port::Stopped, Port::Stopped, Port::SlowAgain]
        );
    }
}
