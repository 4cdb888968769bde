//! What Berth reports to Port in addition to entities: metrics, heartbeats, logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use berth_e2e::{EXTERNAL_ID, World};
use port_stand_in::Fault;
use serde_json::{Value, json};

/// What everything that is waited for must happen in; generous, because machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The last state of each kind.
fn states(world: &World) -> BTreeMap<String, String> {
    let metrics = world.port().metrics().into_iter();
    metrics
        .map(|(_, metric)| {
            (text(&metric, "kindIdentifier").to_owned(), text(&metric, "syncState").to_owned())
        })
        .collect()
}

/// The log records with this message.
fn logged(world: &World, message: &str) -> Vec<Value> {
    world.port().logs().into_iter().filter(|record| record["message"] == message).collect()
}

#[track_caller]
fn nothing_refused(world: &World) {
    let requests = world.port().requests();
    let refused = requests.iter().filter(|request| request.route.contains("ingest") && request.status != 200);
    assert_eq!(refused.count(), 0, "{requests:#?}");
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_run_is_reported_with_its_log_and_a_plan_is_not() {
    let mut world = World::with_accounts(2).buckets(2).clusters(1).build();
    world.sync().exits(0);
    nothing_refused(&world);
    let kinds = ["AWS::Account::Info", "AWS::EC2::Instance", "AWS::ECS::Cluster", "AWS::S3::Bucket"];
    let mut expected: BTreeMap<String, String> = kinds
        .iter()
        .enumerate()
        .map(|(index, kind)| (format!("{kind}-{index}"), "completed".to_owned()))
        .collect();
    expected.extend(["__runtime__", "__reconciliation__"].map(|kind| (kind.into(), "completed".into())));
    assert_eq!(states(&world), expected);

    // One resync is one event: in the metrics, the log, and with every entity that is written.
    let requests = world.port().requests();
    let written = requests.iter().find_map(|request| request.query_value("ocean_info_resync_id"));
    let event = json!(written.expect("entities were written"));
    assert!(world.port().metrics().iter().all(|(_, metric)| metric["eventId"] == event));
    for (index, kind) in kinds.iter().enumerate() {
        for (message, phase) in [
            ("Starting extract phase", "extract"),
            ("Extract phase complete", "extract"),
            ("Transform phase complete", "transform"),
            ("Load phase complete", "load"),
        ] {
            let records = logged(&world, message);
            let of_kind: Vec<&Value> =
                records.iter().filter(|record| record["extra"]["resource_kind"] == *kind).collect();
            assert_eq!(of_kind.len(), 1, "{message} of {kind}: {records:#?}");
            let extra = &of_kind[0]["extra"];
            assert_eq!(
                (&extra["etl_phase"], &extra["event_id"], &extra["event_kind"], &extra["index"]),
                (&json!(phase), &event, &json!("resync"), &json!(index))
            );
        }
    }
    let loaded = logged(&world, "Load phase complete");
    let buckets = loaded.iter().find(|record| record["extra"]["resource_kind"] == "AWS::S3::Bucket");
    assert_eq!(buckets.expect("told above")["extra"]["loaded"], 2 * 2 * 2);
    // Units that went well are told in the local log alone.
    assert_eq!(logged(&world, "unit complete"), [Value::Null; 0]);
    let logs = world.port().logs();
    let processes: BTreeSet<&str> = logs.iter().map(|record| text(&record["extra"], "instance")).collect();
    assert_eq!(processes.into_iter().map(str::len).collect::<Vec<_>>(), [36], "one UUID");
    assert_eq!(logged(&world, "Resync completed").len(), 1);

    world.port().clear_requests();
    world.berth(&["plan"]).exits(0);
    assert_eq!(world.port().count("ingest"), 0, "{:?}", world.port().counts());

    world.set("OCEAN__SHIP_LOGS", "false");
    world.sync().exits(0);
    assert_eq!(world.port().count("logs-ingest"), 0);
    assert_eq!(states(&world), expected);
}

#[test]
fn a_failure_is_reported_and_no_secret_with_it() {
    let mut world = World::with_accounts(2).buckets(1).build();
    world.set("APPLICATION__LOG_LEVEL", "debug");
    let broken = world.accounts()[1].clone();
    world.break_external_id(&broken);
    world.sync().exits(3);
    nothing_refused(&world);
    let states = states(&world);
    assert_eq!(states["__runtime__"], "failed", "{states:?}");
    assert_eq!(states["AWS::S3::Bucket-3"], "failed", "{states:?}");
    let denied = logged(&world, "account cannot be read");
    assert_eq!(denied.len(), 1);
    let extra = &denied[0]["extra"];
    assert_eq!((text(extra, "account"), text(&denied[0], "level")), (broken.as_str(), "WARNING"));
    assert!(text(extra, "problem").contains("Unable to assume role"), "{extra}");
    let logs = world.port().logs();

    let reported = format!("{:?} {:?}", logs, world.port().metrics());
    let more = [EXTERNAL_ID, "changed-in-the-trust-policy", "AKIAIOSFODNN7EXAMPLE"];
    let secrets = world.secrets();
    assert_eq!(secrets.len(), 2);
    for secret in secrets.iter().map(String::as_str).chain(more) {
        assert!(!reported.contains(secret), "`{secret}` is told");
    }
    assert!(
        !reported.contains("ASIA") && !reported.contains("stand-in-"),
        "keys of a role, or a token of Port"
    );

    // A secret of the settings is masked wherever it turns up; this one is also the roles' name.
    world.set("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", "PortOceanReadRole");
    world.port().clear_requests();
    world.sync().exits(4).says("role/PortOceanReadRole");
    let denied = logged(&world, "account cannot be read");
    assert_eq!((denied.len(), logged(&world, "account cannot be read: 1 more like it").len()), (1, 1));
    assert!(denied.iter().all(|record| text(&record["extra"], "problem").contains("role/[REDACTED]")));
    assert!(!format!("{:?}", world.port().logs()).contains("PortOceanReadRole"));
}

#[test]
fn a_long_resync_gives_signs_of_life() {
    let mut world = World::with_accounts(1).buckets(1).build();
    world.set("OCEAN__STATUS_HEARTBEAT_INTERVAL_SECONDS", "1");
    world.port().fail(Fault::on("datasource-entities").latency(Duration::from_secs(4)));
    world.sync().exits(0);
    let beats = world.port().heartbeats();
    let event = text(&world.port().metrics()[0].1, "eventId").to_owned();
    assert!(!beats.is_empty() && beats.iter().all(|beat| *beat == event), "{beats:?}");
}

#[test]
fn a_stopped_run_says_so_of_everything() {
    let world = World::with_accounts(1).buckets(1).build();
    world.port().fail(Fault::on("datasource-entities").latency(Duration::from_secs(6)));
    let process = world.start(&["sync"]);
    wait_for("the start of the resync", || world.port().metrics().len() > 4);
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill starts").success());
    let ended = process.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&ended.stderr);
    let states = states(&world);
    assert!(states.values().all(|state| state == "aborted"), "{states:?} {log}");
    assert_eq!(states.len(), 6, "{states:?}");
    assert_eq!(logged(&world, "Resync aborted").len(), 1, "{log}");
}

#[test]
fn a_run_that_cannot_begin_leaves_nothing_pending() {
    let world = World::with_accounts(1).buckets(1).build();
    world.sync().exits(0);
    world.edit_mapping(|config| config["resources"] = json!([]));
    world.port().clear_requests();
    world.sync().exits(2);
    assert_eq!(states(&world), BTreeMap::from([("__runtime__".to_owned(), "failed".to_owned())]));
    let reasons = logged(&world, "the resync ended before anything was read");
    assert_eq!(reasons.len(), 1);
    assert!(text(&reasons[0]["extra"], "error").contains("no `resources`"), "{reasons:?}");
}

#[test]
fn a_port_that_takes_no_reports_changes_no_run() {
    let world = World::with_accounts(1).buckets(1).build();
    world.port().fail(Fault::on("ingest").times(10_000).status(500));
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
    let integration = world.port().integration("aws-e2e").expect("it is there");
    assert_eq!(integration["resyncState"]["status"], "completed");
    // Failing to ship the log is not logged to be shipped: each batch is tried and given up.
    assert!(world.port().count("logs-ingest") < 30, "{:?}", world.port().counts());
}
