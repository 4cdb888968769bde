use std::collections::BTreeMap;

use berth_embed::{
    Deletion, HeldBack, Keep, Kept, Outcome, ProblemCode, UnitCounts, UnitReport,
    core::{
        Account, AccountId, Dependent, EntityKey, Kind, Partition, Place, Region, RemovedScope, UnitId,
        UnitState,
    },
};
use serde_json::Value;

use super::*;
use crate::{metrics::Exposition, report::html::page};

const HOSTILE: &str = "</script><script>alert(1)</script><!-- {script} <img src=x onerror=alert(1)>";

fn account(number: u64) -> Account {
    let id = AccountId::new(number.to_string()).unwrap();
    Account { id, name: HOSTILE.to_owned(), partition: Partition::Aws }
}

fn units(accounts: u64, regions: usize, kinds: usize) -> Vec<UnitId> {
    let mut units = Vec::new();
    for number in 0..accounts {
        let account = AccountId::new((100_000_000_000 + number).to_string()).unwrap();
        for region in 0..regions {
            let place = Some(Place::Region(Region::new(format!("eu-west-{}", region + 1)).unwrap()));
            for resource in 0..kinds {
                let kind = Kind::new(format!("Acme::Widgets::Widget{resource}")).unwrap();
                units.push(UnitId { account: account.clone(), place: place.clone(), kind, resource });
            }
        }
    }
    units
}

/// Plans units, which all count as skipped until they start.
fn plan(model: &StatusModel, units: &[UnitId]) {
    let skipped =
        |unit: &UnitId| (unit.clone(), UnitState::Skipped(Problem::new(ProblemCode::Other, "not yet")));
    let settled: Vec<_> = units.iter().map(skipped).collect();
    model.event(&Event::Planned { units: &[], settled: &settled });
}

fn ended(unit: &UnitId, state: UnitState, fetched: u64) -> UnitReport {
    let counts = UnitCounts { fetched, ..UnitCounts::default() };
    UnitReport {
        unit: unit.clone(),
        state,
        counts,
        unread: Vec::new(),
        duration: Duration::from_millis(1500),
    }
}

/// State, resources, milliseconds and problem of a unit.
type Seen = (String, u64, u64, Option<u64>);

/// A client's state after the messages it got, by the positions of account, place and kind.
#[derive(Debug, Default, PartialEq)]
struct Reader {
    units: BTreeMap<(u64, u64, u64), Seen>,
    troubles: BTreeMap<u64, Value>,
}

impl Reader {
    fn take(&mut self, json: &str) {
        let message: Value = serde_json::from_str(json).unwrap();
        let number = |value: &Value| value.as_u64().unwrap();
        if message["layout"].is_object() {
            *self = Self::default();
        }
        for cell in message["layout"]["cells"].as_array().into_iter().flatten() {
            for (kind, state) in cell["states"].as_str().unwrap().chars().enumerate() {
                let at = (number(&cell["account"]), number(&cell["place"]), kind as u64);
                let trouble = cell["troubles"][kind.to_string()].as_u64();
                let counts = (number(&cell["fetched"][kind]), number(&cell["millis"][kind]));
                self.units.insert(at, (state.to_string(), counts.0, counts.1, trouble));
            }
        }
        for unit in message["units"].as_array().into_iter().flatten() {
            let at = (number(&unit[0]), number(&unit[1]), number(&unit[2]));
            let state = unit[3].as_str().unwrap().to_owned();
            self.units.insert(at, (state, number(&unit[4]), number(&unit[5]), unit[6].as_u64()));
        }
        for trouble in message["troubles"].as_array().unwrap() {
            self.troubles.insert(number(&trouble[0]), trouble[1].clone());
        }
    }
}

#[tokio::test]
async fn changes_lead_to_the_same_as_everything_however_seldom_one_looks() {
    let model = Arc::new(StatusModel::default());
    model.begun("start");
    let units = units(3, 2, 3);
    plan(&model, &units);
    let mut readers = [(Reader::default(), 0), (Reader::default(), 0), (Reader::default(), 0)];
    for (step, unit) in units.iter().enumerate() {
        let fetched = step as u64;
        model.event(&Event::UnitStarted { unit });
        model.event(&Event::UnitProgress { unit, fetched });
        if step % 4 != 0 {
            let state = match step % 3 {
                0 => UnitState::Failed(Problem::new(ProblemCode::Other, format!("failed {}", step % 2))),
                1 => UnitState::Skipped(Problem::new(ProblemCode::Other, "denied").remedy("grant it")),
                _ => UnitState::Complete,
            };
            model.event(&Event::UnitFinished { report: &ended(unit, state, fetched + 2) });
        }
        for (every, (reader, version)) in [1, 3, 18].into_iter().zip(&mut readers) {
            if (step + 1) % every == 0 {
                let (json, now) = model.since(*version).unwrap();
                reader.take(&json);
                *version = now;
                assert!(model.since(now).is_none(), "nothing changed since");
            }
        }
    }
    let mut whole = Reader::default();
    whole.take(&model.whole());
    assert_eq!(whole.units.len(), units.len());
    let states: String = whole.units.values().map(|(state, ..)| state.as_str()).collect();
    for state in ["c", "s", "f", "r"] {
        assert!(states.contains(state), "{states}");
    }
    for (reader, _) in readers {
        assert_eq!(reader, whole);
    }
}

#[tokio::test]
async fn two_hundred_accounts_stay_small_and_their_changes_smaller() {
    let model = Arc::new(StatusModel::default());
    model.begun("start");
    let units = units(200, 10, 68);
    plan(&model, &units);
    let (everything, version) = model.since(0).unwrap();
    assert!(everything.len() < 2_000_000, "{} bytes", everything.len());
    model.event(&Event::UnitFinished { report: &ended(&units[9], UnitState::Complete, 5) });
    let (change, _) = model.since(version).unwrap();
    assert!(change.len() < 2_000, "{change}");
    assert!(change.contains(r#"[0,0,9,"c",5,1500,null]"#), "{change}");
}

#[test]
fn texts_of_others_stay_texts() {
    let model = StatusModel::default();
    let hostile = Problem::new(ProblemCode::Other, HOSTILE).remedy(HOSTILE);
    model.event(&Event::Account { account: &account(111_111_111_111), problem: Some(&hostile) });
    let json = model.whole();
    let page = page(Some(&json));
    let empty = crate::report::html::page(None);
    for markup in ["<script", "</script", "<!--", "<img"] {
        assert_eq!(page.matches(markup).count(), empty.matches(markup).count(), "{markup}");
    }
    let data = page.split_once(r#"id="data">"#).unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["layout"]["accounts"][0][1], HOSTILE);
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = page(None);
    for outside in ["http:", "https:", "src=", "@import", "url(", "innerHTML", "style=\""] {
        let left = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!left.contains(outside), "{outside}");
    }
}

#[test]
fn what_waits_for_a_decision_stands_among_the_problems() {
    let entity = |name: &str| EntityKey { blueprint: "ec2Volume".parse().unwrap(), identifier: name.into() };
    let scope = RemovedScope::Account(AccountId::new("222222222222").unwrap());
    let held = Problem::new(ProblemCode::Other, "19 of 20").remedy("approve them");
    let deletion = Deletion {
        kept: vec![
            Kept { entity: entity("a"), keep: Keep::ScopeRemoved { scope, resyncs: Some(1) } },
            Kept { entity: entity("b"), keep: Keep::Related },
        ],
        held_back: vec![HeldBack {
            entities: vec![entity("c"), entity("d")],
            problem: held.clone(),
            dependents: Vec::new(),
        }],
        stopped: Some(held),
        dependents: vec![Dependent { entity: entity("e"), depends_on: entity("f"), owned: false }],
        ..Deletion::default()
    };
    let report = Report {
        dry_run: false,
        processing: Processing::Entities,
        catalog: String::new(),
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        outcome: Outcome::DeletionsHeldBack,
        units: Vec::new(),
        accounts: Vec::new(),
        refusals: Vec::new(),
        foreign: Vec::new(),
        item_failures: Vec::new(),
        misconfigurations: Vec::new(),
        changes: Vec::new(),
        deletion,
        refused_plugins: Vec::new(),
        notes: Vec::new(),
    };
    let model = StatusModel::default();
    model.ended(&report, RemovalAfter::Resyncs(2));
    let whole: Value = serde_json::from_str(&model.whole()).unwrap();
    let troubles: Vec<(&str, u64)> = whole["troubles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trouble| (trouble[1]["about"].as_str().unwrap(), trouble[1]["count"].as_u64().unwrap()))
        .collect();
    assert_eq!(troubles, [("held-back", 2), ("waiting", 1), ("kept", 1), ("dependent", 1)]);
    assert!(whole.to_string().contains("--confirm-removal account=222222222222"), "{whole}");

    let metrics = Metrics::default();
    metrics.ended(&report);
    let text = Exposition::accepted("").render(&metrics.families());
    for line in [
        r#"berth_kept_entities{reason="scope-removed"} 1"#,
        r#"berth_kept_entities{reason="incomplete"} 0"#,
        "berth_held_back_deletions 2",
        "berth_deleted_dependents 1",
        r#"success{kind="__reconciliation__",phase="delete"} 0"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_last_resyncs_are_remembered_and_no_more() {
    let model = StatusModel::default();
    for number in 1..=REMEMBERED as u64 + 5 {
        model.state().begin("schedule", SystemTime::now());
        model
            .ended_early("not-begun", Some(&Problem::new(ProblemCode::Other, "Port is away").remedy("wait")));
        let whole: Value = serde_json::from_str(&model.whole()).unwrap();
        assert_eq!(whole["history"][0]["number"], number);
        assert_eq!(whole["history"][0]["outcome"], "not-begun");
        assert_eq!(whole["troubles"][0][1]["remedy"], "wait");
        assert!(whole["history"].as_array().unwrap().len() <= REMEMBERED);
    }
}

#[test]
fn measurements_thin_out_instead_of_piling_up() {
    let mut state = State::default();
    for request in 0..10_000 {
        state.counts.fetched = request;
        state.measure(&HostStats::default(), Vec::new());
        assert!(state.traffic.len() <= MEASURED);
    }
    let fetched: Vec<u64> = state.traffic.iter().map(|Traffic(_, fetched, ..)| *fetched).collect();
    assert!(fetched.is_sorted() && fetched[0] == 0 && fetched.len() > MEASURED / 2 - 2, "{fetched:?}");
}
