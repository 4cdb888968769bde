//! Whole resyncs of the profiles S, M and slow, compared with the same without a sandbox and with the time that
//! AWS's responses take.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use berth_embed::{Concurrency, SyncOptions};
use serde_json::Value;

use crate::{
    clock::median,
    ideal::{self, Phase, Work},
    profile::Profile,
    report::{Row, Table, Target},
    stage::{Programs, Resync, Stage},
};

/// Two targets of the same name must not differ between profiles.
pub(crate) const UNCHANGED_CPU: f64 = 0.4;
pub(crate) const RESIDENT_MIB: f64 = 150.0;
const NATIVE_CPU: f64 = 1.5;
const FIRST_ENTITY_MS: f64 = 300.0;
const COLD_START_MS: f64 = 2000.0;
const IDEAL_WALL: f64 = 1.2;
/// Comparing by the thousand instead of by fifty; what every resync asks for once is among them.
const TAKEOVER_REQUESTS: f64 = 30.0;

/// The allocators of the baseline: that of the image, and that of a build for glibc.
const ALLOCATORS: [&str; 2] = ["mimalloc", "system"];

/// One round: a first resync with compiled plugins, the same again, once more without what is remembered, as a
/// catalog is taken over, and the baseline with each allocator.
struct Round {
    first: Resync,
    again: Resync,
    takeover: Resync,
    natives: [Resync; 2],
}

/// Runs a profile, and gives its tables: costs, and calls.
pub(crate) fn run(programs: &Programs, profile: Profile, rounds: usize) -> Result<Vec<Table>> {
    let stage = Stage::start(programs, profile)?;
    let cold = {
        programs.forget_compiled()?;
        let place = stage.place()?;
        stage.run(stage.berth(&place), &place, |_, _| ())?
    };
    let rounds = (0..rounds.max(1)).map(|_| round(&stage)).collect::<Result<Vec<Round>>>()?;
    Ok(vec![costs(profile, &cold, &rounds), calls(profile, &rounds[0].first)])
}

fn round(stage: &Stage<'_>) -> Result<Round> {
    let quiet = |_: Duration, _: u64| ();
    let place = stage.place()?;
    let first = stage.run(stage.berth(&place), &place, quiet)?;
    let again = stage.run(stage.berth(&place), &place, quiet)?;
    place.forget()?;
    let takeover = stage.run(stage.berth(&place), &place, quiet)?;
    let native = |allocator| -> Result<Resync> {
        let place = stage.place()?;
        let native = stage.run(stage.native(&place, allocator), &place, quiet)?;
        ensure!(
            native.entities == first.entities,
            "the native baseline gives other entities:\n{}\nand not\n{}",
            Value::Object(native.entities),
            Value::Object(first.entities.clone())
        );
        Ok(native)
    };
    Ok(Round { natives: [native(ALLOCATORS[0])?, native(ALLOCATORS[1])?], first, again, takeover })
}

/// A resync's figure that is shown.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) of: fn(&Resync) -> f64,
    pub(crate) digits: usize,
}

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn cpu_ms(resync: &Resync) -> f64 {
    millis(resync.used.cpu)
}

fn wall_ms(resync: &Resync) -> f64 {
    millis(resync.used.wall)
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a process")]
pub(crate) fn resident_mib(resync: &Resync) -> f64 {
    resync.used.resident_bytes as f64 / MIB
}

fn first_entity_ms(resync: &Resync) -> f64 {
    resync.first_entity.map_or(f64::NAN, millis)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "counts")]
pub(crate) const FIGURES: [Figure; 9] = [
    Figure { name: "entities", of: |resync| resync.entities() as f64, digits: 0 },
    Figure { name: "requests to AWS", of: |resync| resync.aws_requests() as f64, digits: 0 },
    Figure { name: "requests to Port", of: |resync| resync.port_requests() as f64, digits: 0 },
    Figure { name: "of these, writes", of: |resync| resync.writes() as f64, digits: 0 },
    Figure { name: "CPU, ms", of: cpu_ms, digits: 0 },
    Figure { name: "wall, ms", of: wall_ms, digits: 0 },
    Figure { name: "entities a CPU-second", of: Resync::entities_per_second, digits: 0 },
    Figure { name: "peak memory, MiB", of: resident_mib, digits: 1 },
    Figure { name: "first entity at Port, ms", of: first_entity_ms, digits: 0 },
];

/// Whose the wall time is: `berth` and the stand-ins share the machine.
pub(crate) fn busy(resync: &Resync) -> String {
    let wall = resync.used.wall.as_secs_f64();
    let [berth, aws, port] =
        [resync.used.cpu, resync.stand_ins[0], resync.stand_ins[1]].map(|cpu| cpu.as_secs_f64() / wall);
    let bound = match () {
        () if aws > 0.9 => "; the simulator has one thread, so that it bounds the wall time",
        () if port > 0.9 => {
            "; the stand-in for Port does one thing at a time, so that it bounds the wall time"
        }
        () => "",
    };
    format!(
        "Cores that were busy in the first resync: `berth` {berth:.2}, the simulator of AWS {aws:.2}, the stand-in \
         for Port {port:.2}{bound}. CPU and memory above are of the measured process alone."
    )
}

/// A number, or nothing where there is none.
pub(crate) fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { String::new() }
}

/// The median over the rounds of what each gives.
fn over(rounds: &[Round], of: impl Fn(&Round) -> f64) -> f64 {
    median(rounds.iter().map(of).collect())
}

fn costs(profile: Profile, cold: &Resync, rounds: &[Round]) -> Table {
    let mut table = Table::new(
        format!(
            "Profile {}: {} accounts × {} regions, AWS answers after {} ms; medians, rounds: {}",
            profile.name,
            profile.accounts,
            profile.regions,
            profile.latency,
            rounds.len()
        ),
        &[
            "",
            "compiling plugins",
            "compiled plugins",
            "nothing changed",
            "÷ compiled",
            "taken over",
            "native, mimalloc",
            "native, glibc",
            "compiled ÷ native (the better)",
        ],
    );
    for Figure { name, of, digits } in &FIGURES {
        let show = |value: f64| number(value, *digits);
        table.row(Row::plain([
            (*name).to_owned(),
            show(of(cold)),
            show(over(rounds, |round| of(&round.first))),
            show(over(rounds, |round| of(&round.again))),
            number(over(rounds, |round| of(&round.again) / of(&round.first)), 2),
            show(over(rounds, |round| of(&round.takeover))),
            show(over(rounds, |round| of(&round.natives[0]))),
            show(over(rounds, |round| of(&round.natives[1]))),
            number(over(rounds, |round| of(&round.first) / best(*of, &round.natives)), 2),
        ]));
    }
    table.note(busy(&rounds[0].first));
    for target in targets(profile, cold, rounds) {
        table.target(target);
    }
    if profile.latency > 0 {
        let latency = Duration::from_millis(profile.latency.into());
        let phases = phases(profile, &rounds[0].first.aws);
        let ratio = over(rounds, wall_over_ideal(latency, &phases));
        table.note(ideal::explain(latency, &phases));
        table.note(flat(latency, &rounds[0].first));
        table.target(Target::at_most(format!("{}: wall ÷ ideal wall", profile.name), IDEAL_WALL, ratio));
    }
    table
}

/// The bound without phases and chains, which is lower.
fn flat(latency: Duration, first: &Resync) -> String {
    let at_once = SyncOptions::default().unit_concurrency;
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let rounds = first.aws_requests() as f64 / at_once as f64;
    let wall = millis(latency) * rounds;
    format!(
        "Without phases and chains it would be latency × requests ÷ units at once = {} ms × {} ÷ {at_once} = {wall:.0} \
         ms; the first resync took {:.2} times as long.",
        latency.as_millis(),
        first.aws_requests(),
        wall_ms(first) / wall
    )
}

fn wall_over_ideal(latency: Duration, phases: &[Phase]) -> impl Fn(&Round) -> f64 {
    let ideal = ideal::wall(latency, phases).as_secs_f64();
    move |round| round.first.used.wall.as_secs_f64() / ideal
}

/// The lower of both baselines, which is the harder one to be compared with.
fn best(of: fn(&Resync) -> f64, natives: &[Resync; 2]) -> f64 {
    of(&natives[0]).min(of(&natives[1]))
}

fn targets(profile: Profile, cold: &Resync, rounds: &[Round]) -> Vec<Target> {
    let named = |what: &str, at_most: f64, measured: f64| {
        Target::at_most(format!("{}: {what}", profile.name), at_most, measured)
    };
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let writes = rounds.iter().map(|round| round.again.writes()).max().unwrap_or_default() as f64;
    let mut targets = vec![
        named("writes to Port when nothing changed", 0.0, writes).required(),
        named(
            "CPU when nothing changed ÷ CPU of the first resync",
            UNCHANGED_CPU,
            over(rounds, |round| cpu_ms(&round.again) / cpu_ms(&round.first)),
        ),
        named(
            "CPU ÷ CPU of the native baseline (the allocator with less)",
            NATIVE_CPU,
            over(rounds, |round| cpu_ms(&round.first) / best(cpu_ms, &round.natives)),
        ),
        named(
            "peak memory with all plugins loaded, MiB",
            RESIDENT_MIB,
            over(rounds, |round| resident_mib(&round.first)),
        ),
    ];
    #[expect(clippy::cast_precision_loss, reason = "counts")]
    let taken_over = [Resync::writes, Resync::port_requests]
        .map(|count| over(rounds, |round| count(&round.takeover) as f64));
    targets.push(named("writes to Port when a catalog is taken over", 0.0, taken_over[0]).required());
    if profile.name == "M" {
        targets.push(named(
            "requests to Port when a catalog is taken over",
            TAKEOVER_REQUESTS,
            taken_over[1],
        ));
    }
    if profile.latency == 0 {
        let first = over(rounds, |round| first_entity_ms(&round.first));
        targets.push(named("first entity at Port with compiled plugins, ms", FIRST_ENTITY_MS, first));
        targets.push(named(
            "first entity at Port with nothing compiled, ms",
            COLD_START_MS,
            first_entity_ms(cold),
        ));
    }
    targets
}

/// What a first resync of the default kinds cannot do without: an answer of STS to each role, one with
/// the regions to each account, then the units.
///
/// A unit asks one call after the other, but for the enrichments of its resources, of which so many go on
/// at once as the settings say.
fn phases(profile: Profile, aws: &BTreeMap<String, u64>) -> Vec<Phase> {
    let limits = Concurrency::default();
    let options = SyncOptions::default();
    let services = ideal::by_service(aws);
    let asked = |service: &str| services.get(service).copied().unwrap_or_default();
    let accounts = u64::from(profile.accounts);
    let buckets = u64::from(profile.resources).div_ceil(limits.enrichments.get() as u64);
    let (in_s3, in_ec2, in_ecs) = (1 + buckets, 1, 2);
    let regional = accounts * u64::from(profile.regions);
    let chains = accounts * in_s3 + regional * (in_ec2 + in_ecs);
    let mut units = vec![Work::new("chained calls of units", chains, options.unit_concurrency)];
    let mut all = 0;
    for service in ["s3", "ec2", "ecs"] {
        let what = format!("requests to {service}");
        units.push(Work::new(what, asked(service), limits.requests_per_service.get()));
        all += asked(service);
    }
    units.push(Work::new("requests", all, limits.requests.get()));
    vec![
        Phase { name: "roles", depth: 1, work: vec![Work::new("roles", asked("sts"), limits.roles.get())] },
        Phase {
            name: "regions",
            depth: 1,
            work: vec![Work::new("accounts", asked("account"), options.region_concurrency)],
        },
        Phase { name: "units", depth: in_s3.max(in_ecs), work: units },
    ]
}

/// The calls that were made most often.
pub(crate) fn calls(profile: Profile, resync: &Resync) -> Table {
    const MOST: usize = 10;
    let mut table = Table::new(
        format!("Profile {}: requests of a first resync, the {MOST} most frequent", profile.name),
        &["AWS", "requests", "Port", "requests"],
    );
    let (aws, port) = (most_first(&resync.aws), most_first(&resync.port));
    let cells = |calls: &[(&str, u64)], index: usize| match calls.get(index) {
        Some((call, count)) => [(*call).to_owned(), count.to_string()],
        None => [String::new(), String::new()],
    };
    for index in 0..MOST.min(aws.len().max(port.len())) {
        let ([call, count], [route, times]) = (cells(&aws, index), cells(&port, index));
        table.row(Row::plain([call, count, route, times]));
    }
    table
}

fn most_first(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut sorted: Vec<(&str, u64)> = counts.iter().map(|(call, count)| (call.as_str(), *count)).collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{process::Used, profile::S};

    fn resync(cpu: u64, wall: u64) -> Resync {
        Resync {
            used: Used {
                cpu: Duration::from_millis(cpu),
                wall: Duration::from_millis(wall),
                resident_bytes: 200 << 20,
            },
            stand_ins: [Duration::ZERO; 2],
            first_entity: Some(Duration::from_millis(100)),
            aws: BTreeMap::new(),
            port: BTreeMap::new(),
            entities: serde_json::Map::new(),
            limits: None,
        }
    }

    #[test]
    fn ratios_are_of_one_round_and_to_the_better_baseline() {
        let round = |first, again, natives: [u64; 2]| Round {
            first: resync(first, 0),
            again: resync(again, 0),
            takeover: resync(0, 0),
            natives: natives.map(|cpu| resync(cpu, 0)),
        };
        // The machine was twice as slow in the second round, which the ratios do not show.
        let rounds = [round(300, 90, [200, 150]), round(600, 180, [300, 310]), round(300, 150, [250, 150])];
        let targets = targets(S, &resync(900, 0), &rounds);
        let measured: Vec<(f64, bool)> =
            targets.iter().map(|target| (target.measured, target.is_reached())).collect();
        assert_eq!(
            measured,
            [
                (0.0, true),
                (0.3, true),
                (2.0, false),
                (200.0, false),
                (0.0, true),
                (100.0, true),
                (100.0, true)
            ]
        );
        let required: Vec<bool> = targets.iter().map(|target| target.required).collect();
        assert_eq!(required, [true, false, false, false, true, false, false]);
    }

    #[test]
    fn what_must_wait_for_something_else_bounds_a_slow_profile() {
        let slow = Profile { accounts: 40, regions: 10, resources: 25, latency: 100, ..S };
        let counts = [
            ("sts:AssumeRole", 40),
            ("account:ListRegions", 40),
            ("s3:ListBuckets", 40),
            ("s3:GetBucketTagging", 1000),
            ("ec2:DescribeInstances", 400),
            ("ecs:ListClusters", 400),
            ("ecs:DescribeClusters", 400),
        ];
        let counts = counts.map(|(call, count)| (call.to_owned(), count)).into();
        let phases = phases(slow, &counts);
        let rounds: Vec<u64> = phases.iter().map(Phase::rounds).collect();
        // 40 roles by 20, 40 accounts by 16; units have (40 × (1 + 3) + 400 × 3) ÷ 64 = 21.25.
        assert_eq!(rounds, [2, 3, 22]);
        let wall = wall_over_ideal(Duration::from_millis(100), &phases)(&Round {
            first: resync(0, 5400),
            again: resync(0, 0),
            takeover: resync(0, 0),
            natives: [resync(0, 0), resync(0, 0)],
        });
        assert!((wall - 2.0).abs() < 1e-9, "{wall}");
    }

    #[test]
    fn the_bound_without_phases_is_reported_beside() {
        let mut first = resync(0, 2000);
        first.aws = [("s3:ListBuckets".to_owned(), 640)].into();
        let reported = flat(Duration::from_millis(100), &first);
        assert!(
            reported.ends_with("100 ms × 640 ÷ 64 = 1000 ms; the first resync took 2.00 times as long."),
            "{reported}"
        );
    }

    #[test]
    fn the_most_frequent_calls_come_first() {
        let counts = [("a", 1), ("b", 3), ("c", 2)].map(|(call, count)| (call.to_owned(), count)).into();
        assert_eq!(most_first(&counts), [("b", 3), ("c", 2), ("a", 1)]);
    }
}
