use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use berth_embed::{
    ChangeRecord, Deletion, Gone, Keep, Kept, ProblemCode, UnitCounts,
    core::{Place, Region, RemovedScope, UnitId, UnitState},
};

use super::*;

fn account(number: u64) -> AccountId {
    AccountId::new(format!("{number:012}")).unwrap()
}

fn kind() -> Kind {
    Kind::new("AWS::EC2::Volume").unwrap()
}

fn unit(number: u64) -> UnitId {
    let place = Some(Place::Region(Region::new("eu-west-1").unwrap()));
    UnitId { account: account(number), place, kind: kind(), resource: 0 }
}

fn entity(number: usize) -> EntityKey {
    EntityKey {
        blueprint: "ec2Volume".parse().unwrap(),
        identifier: format!("arn:aws:ec2:eu-west-1:111111111111:volume/vol-{number:017}"),
    }
}

fn report(outcome: Outcome, deletion: Deletion) -> Report {
    let counts = UnitCounts { fetched: 40, mapped: 40, unchanged: 40, ..UnitCounts::default() };
    let unit = UnitReport {
        unit: unit(111_111_111_111),
        state: UnitState::Complete,
        counts,
        unread: Vec::new(),
        duration: Duration::from_millis(900),
    };
    Report {
        dry_run: false,
        processing: Processing::Entities,
        catalog: "acme/aws-v3/aws".into(),
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::from_millis(1_234),
        outcome,
        units: vec![unit],
        accounts: Vec::new(),
        refusals: Vec::new(),
        foreign: Vec::new(),
        item_failures: Vec::new(),
        misconfigurations: Vec::new(),
        changes: Vec::new(),
        deletion: Deletion { owned: 4_321, ..deletion },
        refused_plugins: Vec::new(),
        notes: Vec::new(),
    }
}

fn kept(keeps: impl IntoIterator<Item = Keep>) -> Deletion {
    let kept = keeps.into_iter().enumerate().map(|(number, keep)| Kept { entity: entity(number), keep });
    Deletion { kept: kept.collect(), ..Deletion::default() }
}

/// Returns the text below the table.
fn below(report: &Report, after: RemovalAfter) -> String {
    let text = render(report, after);
    let (_, below) = text.split_once("┘\n").unwrap();
    // A line without spaces to break at may be longer.
    for line in below.lines().filter(|line| line.chars().count() > 80) {
        assert!(line.contains("arn:") || line.contains(" units complete in "), "too long: {line}");
    }
    below.to_owned()
}

/// Joins the lines of a text.
fn prose(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn removed(scope: RemovedScope, resyncs: Option<u32>) -> Keep {
    Keep::ScopeRemoved { scope, resyncs }
}

#[test]
fn a_removed_account_and_a_region() {
    let gone = || removed(RemovedScope::Account(account(222_222_222_222)), Some(1));
    let region = Region::new("eu-north-1").unwrap();
    let region = RemovedScope::Region(Some(account(111_111_111_111)), region);
    let keeps = [gone(), gone(), gone(), gone(), gone(), removed(region, Some(1))];
    let report = report(Outcome::DeletionsHeldBack, kept(keeps));
    insta::assert_snapshot!(below(&report, RemovalAfter::Resyncs(2)));
}

#[test]
fn sixty_removed_accounts_stay_short() {
    let keeps = (0..60).flat_map(|number| {
        let scope = RemovedScope::Account(account(100_000_000_000 + number));
        (0..=number % 3).map(move |_| removed(scope.clone(), Some(1)))
    });
    let report = report(Outcome::DeletionsHeldBack, kept(keeps));
    let text = below(&report, RemovalAfter::Resyncs(5));
    assert!(text.lines().count() < 28, "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn of_many_accounts_the_table_has_one_row_for_each_kind() {
    let mut report = report(Outcome::Done, Deletion::default());
    let only = report.units[0].clone();
    for (accounts, rows) in [(60, 60), (61, 1)] {
        report.units =
            (0..accounts).map(|number| UnitReport { unit: unit(number), ..only.clone() }).collect();
        let text = table(&report).to_string();
        let of_kind: Vec<&str> = text.lines().filter(|line| line.contains("AWS::EC2::Volume")).collect();
        assert_eq!(of_kind.len(), rows, "{text}");
        if rows == 1 {
            assert!(of_kind[0].contains("61 accounts") && of_kind[0].contains("61/61"), "{text}");
            assert!(of_kind[0].contains("2440"), "{text}");
        }
    }
}

#[test]
fn a_removed_account_that_nobody_counts() {
    let scope = RemovedScope::Account(account(222_222_222_222));
    let uncounted = report(Outcome::DeletionsHeldBack, kept([removed(scope.clone(), None)]));
    let text = below(&uncounted, RemovalAfter::Resyncs(2));
    assert!(prose(&text).contains("without a state directory"), "{text}");
    let never = report(Outcome::DeletionsHeldBack, kept([removed(scope.clone(), Some(9))]));
    let text = below(&never, RemovalAfter::Never);
    assert!(prose(&text).contains("`removal_after` is `never`"), "{text}");
    // A dry run does not count towards removal.
    let mut planned = report(Outcome::DeletionsHeldBack, kept([removed(scope, Some(1))]));
    planned.dry_run = true;
    let text = below(&planned, RemovalAfter::Resyncs(2));
    assert!(prose(&text).contains("deleted by the 2nd complete resync"), "{text}");
}

#[test]
fn every_other_reason() {
    let keeps = [
        Keep::Unmapped { unit: unit(111_111_111_111), resources: 19 },
        Keep::Unmapped { unit: unit(111_111_111_111), resources: 19 },
        Keep::NotLookedTwice { unit: unit(111_111_111_111) },
        Keep::Incomplete { unit: unit(222_222_222_222) },
        Keep::Incomplete { unit: unit(222_222_222_222) },
        Keep::Incomplete { unit: unit(333_333_333_333) },
        Keep::FoundAgain { unit: unit(111_111_111_111) },
        Keep::Related,
        Keep::SomebodyElse,
        Keep::NotOwned,
    ];
    insta::assert_snapshot!(below(&report(Outcome::Partial, kept(keeps)), RemovalAfter::default()));
}

fn limited() -> Deletion {
    let remedy = "review them with `berth plan --out FILE`; if they are right, run `berth apply FILE`";
    let problem = Problem::new(
        ProblemCode::Other,
        "AWS::EC2::Volume of account 222222222222: 19 of 20 entities would be deleted at once, more than 90 %",
    );
    let held_back = vec![HeldBack {
        entities: (0..19).map(entity).collect(),
        problem: problem.remedy(remedy),
        dependents: Vec::new(),
    }];
    Deletion { held_back, ..Deletion::default() }
}

#[test]
fn deletions_that_a_limit_holds_back() {
    let report = report(Outcome::DeletionsHeldBack, limited());
    insta::assert_snapshot!(below(&report, RemovalAfter::default()));
}

#[test]
fn what_stops_all_deletions_is_named_once() {
    let mut deletion = limited();
    deletion.stopped = Some(deletion.held_back[0].problem.clone());
    let text = below(&report(Outcome::DeletionsHeldBack, deletion), RemovalAfter::default());
    assert_eq!(text.matches("19 of 20").count(), 1, "{text}");
    let stopped =
        Some(Problem::new(ProblemCode::Other, "Port did not list what it holds").remedy("run it again"));
    let deletion = Deletion { stopped, ..Deletion::default() };
    insta::assert_snapshot!(below(&report(Outcome::DeletionsHeldBack, deletion), RemovalAfter::default()));
}

fn deleting() -> Deletion {
    let gone =
        |number| Gone { entity: entity(number), kind: Some(kind()), account: Some(account(111_111_111_111)) };
    let dependent = |name: &str, owned| Dependent {
        entity: EntityKey { blueprint: "service".parse().unwrap(), identifier: name.into() },
        depends_on: entity(0),
        owned,
    };
    Deletion {
        deleted: (0..3).map(gone).collect(),
        dependents: vec![dependent("attachment", true), dependent("checkout", false)],
        second_look: SecondLook { units: 2, found: 1 },
        ..Deletion::default()
    }
}

#[test]
fn deletions_and_what_goes_with_them() {
    insta::assert_snapshot!(below(&report(Outcome::Done, deleting()), RemovalAfter::default()));
}

#[test]
fn a_plan_names_what_it_changes_takes_over_and_deletes() {
    let mut report = report(Outcome::Done, deleting());
    report.dry_run = true;
    report.changes = [Change::Create, Change::Adopt, Change::Update { fields: Vec::new() }]
        .into_iter()
        .enumerate()
        .map(|(number, change)| ChangeRecord {
            entity: entity(number + 10),
            unit: unit(111_111_111_111),
            change,
            digest: String::new(),
        })
        .collect();
    report.notes.push(
        "the plan is in plan.json: 3 changes, 3 deletions. Review it, then run `berth apply plan.json`"
            .into(),
    );
    insta::assert_snapshot!(below(&report, RemovalAfter::default()));
}

#[test]
fn a_plan_that_does_not_fit_any_more() {
    let lines: Vec<String> =
        (0..25).map(|n| format!("ec2Volume/vol-{n}: it would no longer be deleted")).collect();
    let text = differences("plan.json", &lines);
    assert_eq!(text.matches("vol-").count(), SHOWN);
    assert!(text.contains("… and 5 more, 25 in all") && text.contains("nothing was changed"), "{text}");
}

#[test]
fn each_reason_has_a_label_of_its_own() {
    let keeps = [
        Keep::Related,
        Keep::SomebodyElse,
        Keep::NotOwned,
        Keep::Incomplete { unit: unit(1) },
        Keep::FoundAgain { unit: unit(1) },
        Keep::NotLookedTwice { unit: unit(1) },
        Keep::Unmapped { unit: unit(1), resources: 1 },
        removed(RemovedScope::Account(account(1)), None),
    ];
    let counts = kept::counts(&kept(keeps));
    assert!(counts.iter().all(|(_, count)| *count == 1), "{counts:?}");
    let labels: BTreeSet<&str> = counts.iter().map(|(label, _)| *label).collect();
    assert_eq!(labels.len(), counts.len());
}
