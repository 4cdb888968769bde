//! Profile X: starts a resync of ten thousand accounts, and estimates what all of it costs: by a line through
//! smaller, complete resyncs of the same run, and by the progress so far.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};

use crate::{
    line::Line,
    process::{self, Used},
    profile::{Profile, X},
    report::{Row, Table},
    resync::{MIB, number},
    stage::{Programs, Stage},
};

/// The calls that list a unit's resources, of which each unit of the default kinds makes one.
const LISTS: [&str; 3] = ["s3:ListBuckets", "ec2:DescribeInstances", "ecs:ListClusters"];

/// How the profile is run.
pub(crate) struct Options {
    /// How many accounts there are in the resync that is begun.
    pub(crate) accounts: u32,
    /// How many there are in complete ones.
    pub(crate) complete: Vec<u32>,
    /// How long the begun resync runs.
    pub(crate) time: Duration,
}

/// A run, complete or not.
#[derive(Debug, Clone, Copy)]
struct Measured {
    units: u64,
    used: Used,
}

/// What a resync that was begun came to.
#[derive(Debug, Clone, Copy)]
struct Begun {
    /// Units whose list was asked for.
    units: u64,
    /// When the first of them was.
    first_unit: Duration,
    used: Used,
}

/// Runs it; `progress` gets a line now and then.
pub(crate) fn run(programs: &Programs, options: &Options, progress: fn(&str)) -> Result<Vec<Table>> {
    programs.compile(X)?;
    let mut complete = Vec::new();
    for accounts in &options.complete {
        progress(&format!("X: a complete resync of {accounts} accounts"));
        let profile = X.with_accounts(*accounts);
        let stage = Stage::start(programs, profile)?;
        let place = stage.place()?;
        let resync = stage.run(stage.berth(&place), &place, |_, _| ())?;
        let (there, asked) = (profile.asked_units(), units(&resync.aws));
        ensure!(asked >= there, "{asked} of {there} units were read: {:?}", resync.aws);
        complete.push(Measured { units: there, used: resync.used });
    }
    let profile = X.with_accounts(options.accounts);
    progress(&format!("X: {} accounts for {} s", options.accounts, options.time.as_secs()));
    let begun = begin(&Stage::start(programs, profile)?, options.time)?;
    Ok(vec![table(profile, &complete, begun)?])
}

fn begin(stage: &Stage<'_>, time: Duration) -> Result<Begun> {
    let place = stage.place()?;
    let (mut last, mut first_unit) = (0, None);
    let mut berth = stage.berth(&place);
    berth.stderr(place.log()?);
    let used = process::run_for(&mut berth, time, |elapsed| {
        last = units(&stage.asked()?);
        if last > 0 {
            first_unit.get_or_insert(elapsed);
        }
        Ok(())
    })?;
    let first_unit = first_unit.context("no unit was begun in this time; give it more")?;
    Ok(Begun { units: last, first_unit, used })
}

/// Units whose list was asked for. With the few resources of this profile each list is one page.
fn units(aws: &BTreeMap<String, u64>) -> u64 {
    LISTS.iter().filter_map(|call| aws.get(*call)).sum()
}

/// What the whole costs, each figure by two ways.
#[derive(Debug, Clone, Copy)]
struct Whole {
    cpu: Line,
    wall: Line,
    resident: Line,
    /// Seconds, when the rest of the units is read as fast as those so far.
    wall_at_pace: f64,
    /// CPU seconds, likewise.
    cpu_at_pace: f64,
}

fn cpu(used: &Used) -> f64 {
    used.cpu.as_secs_f64()
}

fn wall(used: &Used) -> f64 {
    used.wall.as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a process")]
fn resident(used: &Used) -> f64 {
    used.resident_bytes as f64 / MIB
}

#[expect(clippy::cast_precision_loss, reason = "a count")]
fn number_of(units: u64) -> f64 {
    units as f64
}

fn points(complete: &[Measured], of: fn(&Used) -> f64) -> Vec<(f64, f64)> {
    complete.iter().map(|run| (number_of(run.units), of(&run.used))).collect()
}

fn extrapolate(complete: &[Measured], begun: Begun, units: u64) -> Result<Whole> {
    let line = |of| Line::fit(&points(complete, of)).context("two sizes at least must run to their end");
    let share = number_of(units) / number_of(begun.units.max(1));
    let before = begun.first_unit.as_secs_f64();
    Ok(Whole {
        cpu: line(cpu)?,
        wall: line(wall)?,
        resident: line(resident)?,
        wall_at_pace: before + (wall(&begun.used) - before) * share,
        cpu_at_pace: cpu(&begun.used) * share,
    })
}

fn table(profile: Profile, complete: &[Measured], begun: Begun) -> Result<Table> {
    let units = profile.asked_units();
    let whole = extrapolate(complete, begun, units)?;
    let mut table = Table::new(
        format!(
            "Profile X: {} accounts × {} regions, default kinds, nine of ten units empty",
            profile.accounts, profile.regions
        ),
        &["resync", "units", "CPU, s", "wall, s", "peak memory, MiB", "units a CPU-second", "CPU-µs a unit"],
    );
    let mut row = |name: String, units: f64, cpu: f64, wall: f64, resident: f64| {
        table.row(Row::plain([
            name,
            number(units, 0),
            number(cpu, 1),
            number(wall, 1),
            number(resident, 1),
            number(units / cpu, 0),
            number(cpu / units * 1e6, 0),
        ]));
    };
    let mut measured = |name: String, units: u64, used: &Used| {
        row(name, number_of(units), cpu(used), wall(used), resident(used));
    };
    for run in complete {
        let accounts = run.units / (profile.asked_units() / u64::from(profile.accounts)).max(1);
        measured(format!("{accounts} accounts, complete"), run.units, &run.used);
    }
    measured(format!("{} accounts, begun", profile.accounts), begun.units, &begun.used);
    let all = number_of(units);
    row(
        "the whole, by the lines".to_owned(),
        all,
        whole.cpu.at(all),
        whole.wall.at(all),
        whole.resident.at(all),
    );
    row("the whole, at the pace so far".to_owned(), all, whole.cpu_at_pace, whole.wall_at_pace, f64::NAN);
    for note in method(complete, begun, whole) {
        table.note(note);
    }
    Ok(table)
}

/// How the last two rows come about.
fn method(complete: &[Measured], begun: Begun, whole: Whole) -> [String; 4] {
    let line = |what: &str, line: Line, of: fn(&Used) -> f64, unit: &str| {
        format!(
            "{what} = {:.2} {unit} + {:.3} {unit} per 1,000 units (points off by {:.0} % at most)",
            line.intercept,
            line.slope * 1000.0,
            line.worst(&points(complete, of)) * 100.0
        )
    };
    [
        format!(
            "by the lines: least squares through the complete resyncs. {}; {}; {}.",
            line("CPU", whole.cpu, cpu, "s"),
            line("wall", whole.wall, wall, "s"),
            line("memory", whole.resident, resident, "MiB"),
        ),
        format!(
            "at the pace so far: {:.1} s until the first unit (roles are assumed and regions listed first), then \
             {} units in {:.1} s; the rest alike. CPU in proportion to units, which counts what comes before the \
             first unit as if it grew with them.",
            begun.first_unit.as_secs_f64(),
            begun.units,
            wall(&begun.used) - begun.first_unit.as_secs_f64(),
        ),
        format!(
            "memory: for the {} units of the begun resync the line gives {:.0} MiB, measured were {:.0} MiB: it had \
             planned all units, but had not come to its end.",
            begun.units,
            whole.resident.at(number_of(begun.units)),
            resident(&begun.used),
        ),
        format!(
            "units are told by the lists that the simulator was asked for ({}); the unit of the account itself asks \
             for nothing and is not counted. `berth` got SIGTERM then, and its own figures are those before.",
            LISTS.join(", ")
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(cpu: u64, wall: u64, mib: u64) -> Used {
        Used { cpu: Duration::from_secs(cpu), wall: Duration::from_secs(wall), resident_bytes: mib << 20 }
    }

    #[test]
    fn the_whole_is_reported_by_lines_and_by_the_pace() {
        let complete = [
            Measured { units: 1000, used: used(3, 6, 60) },
            Measured { units: 2000, used: used(5, 11, 70) },
            Measured { units: 4000, used: used(9, 21, 90) },
        ];
        let begun = Begun { units: 10_000, first_unit: Duration::from_secs(20), used: used(30, 70, 300) };
        let whole = extrapolate(&complete, begun, 100_000).unwrap();
        let near = |left: f64, right: f64| assert!((left - right).abs() < 1e-6, "{left} {right}");
        near(whole.cpu.at(100_000.0), 201.0);
        near(whole.wall.at(100_000.0), 501.0);
        near(whole.resident.at(100_000.0), 1050.0);
        near(whole.wall_at_pace, 520.0);
        near(whole.cpu_at_pace, 300.0);
        assert!(extrapolate(&complete[..1], begun, 100_000).is_err());

        let reported = table(X, &complete, begun).unwrap().to_string();
        assert!(reported.contains("| 10000 accounts, begun"), "{reported}");
        assert!(
            reported.contains("CPU = 1.00 s + 2.000 s per 1,000 units (points off by 0 % at most)"),
            "{reported}"
        );
    }

    #[test]
    fn units_are_the_lists() {
        let asked = [("s3:ListBuckets", 2), ("ecs:ListClusters", 34), ("ecs:DescribeClusters", 9)];
        assert_eq!(units(&asked.map(|(call, count)| (call.to_owned(), count)).into()), 36);
        assert_eq!(X.with_accounts(2).asked_units(), 70);
    }
}
