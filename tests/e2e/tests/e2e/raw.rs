//! Organizations that accept raw data: those in which Port maps it, and those that want it in addition to
//! entities.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{
    collections::BTreeMap,
    process::Child,
    thread,
    time::{Duration, Instant},
};

use berth_e2e::{Denial, World};
use port_stand_in::{Fault, Lifecycle, LoggedRequest};
use serde_json::{Value, json};

const TAKES: &str = "LAKEHOUSE_ELIGIBLE";
const MAPS: &str = "DATA_SOURCE_PROCESSOR_ENABLED";
const RESYNC: &str = "POST /v1/lifecycle/{resync}";
const KIND: &str = "POST /v1/lifecycle/{resync}/kind";
const BUCKETS: &str = "AWS::S3::Bucket";
const INSTANCES: &str = "AWS::EC2::Instance";
/// What everything that is waited for must happen in; generous, because machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

fn with_flags(world: &World, flags: &[&str]) {
    world.port().change_options(|options| {
        options.feature_flags = flags.iter().map(ToString::to_string).collect();
    });
    world.port().clear_requests();
}

fn sent(world: &World, call: &str) -> Vec<LoggedRequest> {
    world.port().requests().into_iter().filter(|request| request.call().contains(call)).collect()
}

/// The one resync that told of its raw data.
fn lifecycle(world: &World) -> Lifecycle {
    let mut all = world.port().lifecycles();
    assert_eq!(all.len(), 1, "{all:?}");
    all.pop_first().expect("there is one").1
}

/// How a kind ended, whatever its place in the mapping.
fn ended(lifecycle: &Lifecycle, kind: &str) -> String {
    let found =
        lifecycle.kinds.iter().find(|(name, _)| name.rsplit_once('-').is_some_and(|(n, _)| n == kind));
    found.expect("the kind was told").1.clone()
}

/// The items of raw data of a kind.
fn items(world: &World, kind: &str) -> Vec<Value> {
    let writes = sent(world, "/lake/write").into_iter().filter(|write| write.body["kind"] == kind);
    let batches = writes.flat_map(|write| write.body["data"].as_array().cloned().unwrap_or_default());
    batches.flat_map(|batch| batch["items"].as_array().cloned().unwrap_or_default()).collect()
}

/// The states that Port was told, in order.
fn states(world: &World) -> Vec<Value> {
    sent(world, "/resync-state").iter().map(|request| request.body["status"].clone()).collect()
}

#[track_caller]
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn end(process: Child) -> (Option<i32>, String) {
    let output = process.wait_with_output().expect("the binary ends");
    (output.status.code(), String::from_utf8(output.stderr).expect("the log is UTF-8"))
}

#[test]
fn where_port_maps_raw_data_it_gets_that_and_is_sent_each_step() {
    let world = World::with_accounts(2).buckets(2).instances(1).build();
    world.sync().exits(0);
    let before = world.entities();
    assert_eq!(before, world.expected());
    // Without the flags it gets no raw data.
    assert_eq!((world.port().lifecycles().len(), world.port().count("/lake/write")), (0, 0));

    // The organization gets the flags; one bucket goes, which is Port's to notice.
    with_flags(&world, &[TAKES, MAPS]);
    let account = &world.accounts()[0];
    let gone = format!("berth-{account}-us-east-1-0");
    world.delete_bucket(account, &gone);
    let plan = world.berth(&["plan"]);
    plan.exits(0).says("would be sent to Port").says("Port maps the raw data");
    assert!(!world.port().requests().iter().any(LoggedRequest::writes));
    world.port().clear_requests();
    let run = world.sync();
    run.exits(0).says("Port maps the raw data");
    assert_eq!(run.count("documents"), plan.count("documents"));
    assert_eq!(world.entities(), before, "entities are Port's business");

    // Everything that is said, in order; kinds and their raw data between the begin and the end.
    let requests = world.port().requests();
    let calls: Vec<String> = requests.iter().map(LoggedRequest::call).collect();
    // Metrics and the log go beside it.
    let beside = ["/lake/write", "/examples", "/metrics-ingest", "/logs-ingest"];
    let framing = |call: &String| call != KIND && !beside.iter().any(|part| call.contains(part));
    let frame: Vec<&String> = calls.iter().filter(|call| framing(call)).collect();
    let integration = "/v1/integration/{integration}";
    assert_eq!(
        frame,
        [
            "POST /v1/auth/access_token",
            &format!("GET {integration}"),
            "GET /v1/integration/provision-enabled",
            "GET /v1/organization",
            &format!("GET {integration}"),
            &format!("PATCH {integration}"),
            &format!("PATCH {integration}/resync-state"),
            RESYNC,
            RESYNC,
            &format!("PATCH {integration}/resync-state"),
        ]
    );
    let at = |wanted: &str| calls.iter().position(|call| call == wanted).expect("it was said");
    let last = |wanted: &str| calls.iter().rposition(|call| call == wanted).expect("it was said");
    assert!(at(RESYNC) < at(KIND) && last(KIND) < last(RESYNC), "{calls:?}");
    assert!(requests.iter().all(|request| (200..300).contains(&request.status)), "{calls:?}");
    assert_eq!(states(&world), [json!("running"), json!("completed")]);

    // The strict stand-in has checked forms and order; here is what came of them.
    let found = lifecycle(&world);
    assert_eq!(found.status, "finished");
    assert!(found.kinds.values().all(|status| status == "finished"), "{found:?}");
    assert_eq!(found.kinds.keys().collect::<Vec<_>>().len(), found.announced.len(), "every kind is told");
    assert_eq!(found.items.values().sum::<usize>() as u64, run.count("documents"));
    let mut buckets: Vec<String> = items(&world, BUCKETS)
        .iter()
        .map(|item| {
            assert_eq!(
                (&item["Type"], item["__ExtraContext"]["AccountId"].is_string()),
                (&json!(BUCKETS), true)
            );
            format!("s3Bucket/{}", item["Properties"]["Arn"].as_str().expect("an ARN"))
        })
        .collect();
    buckets.sort();
    let expected: Vec<String> =
        world.expected().into_keys().filter(|key| key.starts_with("s3Bucket/")).collect();
    assert_eq!(buckets, expected);
    assert!(!buckets.iter().any(|key| key.ends_with(&gone)));
    assert_eq!(items(&world, INSTANCES).len(), 4);

    // Nothing is new to Port a second time.
    world.port().clear_requests();
    world.sync().exits(0);
    assert_eq!(world.port().count("PATCH /v1/integration/{integration}"), 2, "the two states of the resync");
}

#[test]
fn a_kind_that_was_not_read_completely_is_not_finished_to_port() {
    let world = World::with_accounts(1).buckets(1).instances(1).build();
    with_flags(&world, &[TAKES, MAPS]);
    world.gate().deny(Denial {
        account: world.accounts()[0].clone(),
        service: "ec2".into(),
        region: "eu-west-1".into(),
    });
    let run = world.sync();
    run.exits(3).says("does not treat unread resources as gone");
    let found = lifecycle(&world);
    assert_eq!((ended(&found, INSTANCES).as_str(), ended(&found, BUCKETS).as_str()), ("failed", "finished"));
    assert_eq!(found.status, "failed");
    assert_eq!(states(&world), [json!("running"), json!("failed")]);
    // What was read is handed over all the same.
    assert_eq!((items(&world, INSTANCES).len(), items(&world, BUCKETS).len()), (1, 2));
}

#[test]
fn raw_data_that_port_refuses_fails_its_kind_only() {
    let world = World::with_accounts(1).buckets(1).instances(1).build();
    with_flags(&world, &[TAKES, MAPS]);
    world.port().fail(Fault::on("/lake/write").status(422));
    let run = world.sync();
    run.exits(3).says("cannot write raw data").says("422");
    let found = lifecycle(&world);
    let refused =
        sent(&world, "/lake/write").into_iter().find(|write| write.status == 422).expect("a refusal");
    let refused = refused.body["kind"].as_str().unwrap_or_default().to_owned();
    let failed: Vec<&String> =
        found.kinds.iter().filter(|(_, status)| *status == "failed").map(|(name, _)| name).collect();
    assert_eq!(failed.len(), 1, "{found:?}");
    assert_eq!(ended(&found, &refused), "failed");
    assert_eq!(found.status, "failed");
    let kinds: Vec<String> = run.units("failed").into_iter().map(|(_, _, kind)| kind).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == refused), "{run}");
}

#[test]
fn somebody_aborts_a_resync_in_port() {
    let mut world = World::with_accounts(1).buckets(1).build();
    world.set("APPLICATION__LOG_LEVEL", "WARNING");
    with_flags(&world, &[TAKES, MAPS]);
    // Longer than it takes to notice the abort.
    world.port().fail(Fault::on("/lake/write").latency(Duration::from_secs(40)).times(1_000));
    let process = world.start(&["sync"]);
    wait_for("raw data", || world.port().count("/lake/write") > 0);
    world.port().abort_resyncs();
    let (code, log) = end(process);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("aborted in Port"), "{log}");
    assert_eq!(states(&world), [json!("running"), json!("aborted")]);
    assert_eq!(lifecycle(&world).status, "aborted");
    let reported: Vec<Value> = sent(&world, RESYNC)
        .iter()
        .filter(|request| request.call() == RESYNC)
        .map(|request| request.body["status"].clone())
        .collect();
    assert_eq!(reported, [json!("started")], "Port is not told what it knows");
}

#[test]
fn a_resync_that_a_newer_one_replaced_stops() {
    let world = World::with_accounts(1).buckets(1).build();
    with_flags(&world, &[TAKES, MAPS]);
    // No raw data is written before the first kind has begun.
    world.port().fail(Fault::on(KIND).latency(Duration::from_secs(3)));
    let process = world.start(&["sync"]);
    wait_for("the begin", || world.port().count(KIND) > 0);
    world.port().make_stale();
    let (code, log) = end(process);
    assert_eq!(code, Some(3), "{log}");
    assert!(log.contains("a newer one has started"), "{log}");
    assert_eq!(states(&world), [json!("running"), json!("aborted")]);
    let found = lifecycle(&world);
    assert!(found.items.is_empty() && !found.kinds.values().any(|status| status == "finished"), "{found:?}");
}

#[test]
fn raw_data_beside_entities_cannot_harm_them() {
    let mut world = World::with_accounts(1).buckets(1).instances(1).build();
    with_flags(&world, &[TAKES, MAPS]);
    world.set("OCEAN__PROCESSING_MODE", "ocean-core");
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
    assert_eq!((items(&world, BUCKETS).len(), items(&world, INSTANCES).len()), (2, 2));
    assert!(world.port().lifecycles().is_empty());

    world.port().clear_requests();
    world.port().fail(Fault::on("/lake/write").status(500).times(1_000));
    world.delete_bucket(&world.accounts()[0], &format!("berth-{}-us-east-1-0", world.accounts()[0]));
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
    assert_eq!(states(&world), [json!("running"), json!("completed")]);

    world.set("OCEAN__LAKEHOUSE_ENABLED", "false");
    world.port().clear_requests();
    world.sync().exits(0);
    assert_eq!(world.port().count("/lake/write"), 0);
}

#[test]
fn a_few_examples_of_each_kind_are_shown_without_secrets() {
    let mut world = World::with_accounts(2).buckets(2).build();
    let secret = "hunter2-in-a-tag";
    world.seed(
        &world.accounts()[0],
        &["--buckets=0", "--instances=0", "--clusters=1", &format!("--secret={secret}")],
    );
    for flags in [&[][..], &[TAKES, MAPS]] {
        with_flags(&world, flags);
        world.sync().exits(0).hides(secret);
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        let examples = sent(&world, "/examples");
        for request in &examples {
            let kind = request.path.split('/').nth_back(1).unwrap_or_default().to_owned();
            *shown.entry(kind).or_default() += request.body["examples"].as_array().map_or(0, Vec::len);
        }
        assert_eq!((shown["AWS%3A%3AS3%3A%3ABucket"], shown["AWS%3A%3AECS%3A%3ACluster"]), (5, 2));
        let all = json!(examples.iter().map(|request| &request.body).collect::<Vec<_>>()).to_string();
        assert!(all.contains("[REDACTED]") && !all.contains(secret), "{all}");
    }
    world.set("OCEAN__SEND_RAW_DATA_EXAMPLES", "false");
    world.port().clear_requests();
    world.sync().exits(0);
    assert_eq!(world.port().count("/examples"), 0);
}
