//! Profile L: every kind, half a million entities.

use anyhow::Result;

use crate::{
    profile::{L, M, Profile},
    report::{Row, Table, Target},
    resync::{FIGURES, Figure, RESIDENT_MIB, UNCHANGED_CPU, busy, calls, cpu_ms, number, resident_mib},
    stage::{Programs, Resync, Stage},
};

/// The target for the memory of L against that of M.
const RESIDENT_TO_M: f64 = 1.5;

/// The target for the wall time against what Port's rate limits allow.
const LIMITED_WALL: f64 = 1.15;

/// Runs L with this number of accounts, after M's first resync; `progress` gets a line now and then.
pub(crate) fn run(programs: &Programs, accounts: u32, progress: fn(&str)) -> Result<Vec<Table>> {
    let medium = {
        programs.compile(M)?;
        let stage = Stage::start(programs, M)?;
        let place = stage.place()?;
        progress("M: first resync, for its memory");
        stage.run(stage.berth(&place), &place, |_, _| ())?
    };
    let profile = L.with_accounts(accounts);
    progress("L: compiling every plugin");
    programs.compile(profile)?;
    let stage = Stage::start(programs, profile)?;
    let place = stage.place()?;
    let run = |what: &'static str| {
        progress(what);
        stage.run(stage.berth(&place), &place, |elapsed, requests| {
            progress(&format!("{:4} s, {requests} requests to AWS", elapsed.as_secs()));
        })
    };
    let first = run("L: first resync")?;
    let again = run("L: the same again")?;
    Ok(vec![costs(profile, &first, &again, &medium), calls(profile, &first)])
}

fn costs(profile: Profile, first: &Resync, again: &Resync, medium: &Resync) -> Table {
    let mut table = Table::new(
        format!(
            "Profile L: {} accounts × {} regions × all kinds, {} resources each",
            profile.accounts, profile.regions, profile.resources
        ),
        &["", "first", "nothing changed", "nothing changed ÷ first", "M: first", "L ÷ M"],
    );
    for Figure { name, of, digits } in &FIGURES {
        table.row(Row::plain([
            (*name).to_owned(),
            number(of(first), *digits),
            number(of(again), *digits),
            number(of(again) / of(first), 2),
            number(of(medium), *digits),
            number(of(first) / of(medium), 2),
        ]));
    }
    table.note(busy(first));
    if let Some(limits) = first.limits {
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let refused = limits.refused as f64;
        table.target(Target::at_most("L: answers of 429 with Port's rate limits", 0.0, refused).required());
        let ratio = first.used.wall.as_secs_f64() / limits.least.as_secs_f64();
        table.target(Target::at_most(
            "L: wall ÷ the time that Port's rate limits allow",
            LIMITED_WALL,
            ratio,
        ));
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    table.target(
        Target::at_most("L: writes to Port when nothing changed", 0.0, again.writes() as f64).required(),
    );
    let cpu = cpu_ms(again) / cpu_ms(first);
    table.target(Target::at_most(
        "L: CPU when nothing changed ÷ CPU of the first resync",
        UNCHANGED_CPU,
        cpu,
    ));
    let to_medium = resident_mib(first) / resident_mib(medium);
    table.target(Target::at_most("L: peak memory ÷ that of M", RESIDENT_TO_M, to_medium));
    let resident = resident_mib(first);
    table.target(Target::at_most("L: peak memory with all plugins loaded, MiB", RESIDENT_MIB, resident));
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::Used;

    #[test]
    fn a_large_resync_is_held_against_the_medium_one() {
        let resync = |mib: u64, cpu: u64| Resync {
            used: Used {
                cpu: Duration::from_secs(cpu),
                wall: Duration::from_secs(20),
                resident_bytes: mib << 20,
            },
            stand_ins: [Duration::from_secs(19), Duration::from_secs(2)],
            first_entity: None,
            aws: [("s3:ListBuckets".to_owned(), 7)].into(),
            port: std::collections::BTreeMap::new(),
            entities: serde_json::Map::new(),
            limits: None,
        };
        let table = costs(L, &resync(120, 10), &resync(100, 5), &resync(60, 1));
        let reached: Vec<(f64, bool)> =
            table.targets().map(|target| (target.measured, target.is_reached())).collect();
        assert_eq!(reached, [(0.0, true), (0.5, false), (2.0, false), (120.0, true)]);
        let reported = table.to_string();
        assert!(
            reported.contains("`berth` 0.50, the simulator of AWS 0.95, the stand-in for Port 0.10"),
            "{reported}"
        );
        assert!(reported.contains("bounds the wall time"), "{reported}");
    }
}
