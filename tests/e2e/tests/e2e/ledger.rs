//! What a state directory saves, and what its loss must not cost.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{
    process::Child,
    thread,
    time::{Duration, Instant},
};

use berth_e2e::{REGIONS, Run, World};
use port_stand_in::Fault;
use serde_json::{Value, json};

/// What everything that is waited for must happen in; generous, because machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// `berth sync` with a state directory: the run, its searches and its upserts.
fn sync(world: &World) -> (Run, usize, usize) {
    world.port().clear_requests();
    let run = world.berth(&["sync", "--state-dir", "state"]);
    let (searches, upserts) = asked(world);
    (run, searches, upserts)
}

fn asked(world: &World) -> (usize, usize) {
    (world.port().count("entities/search"), world.port().count("entities/bulk"))
}

fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// As the kernel's out-of-memory killer does it.
fn kill(mut process: Child) {
    process.kill().expect("the process is ours");
    process.wait().expect("the process is ours");
}

#[test]
fn a_second_run_neither_searches_nor_sends() {
    let world = World::with_accounts(2).buckets(3).instances(2).clusters(1).build();
    sync(&world).0.exits(0);
    let expected = world.expected();
    assert_eq!(world.entities(), expected);

    let (run, searches, upserts) = sync(&world);
    run.exits(0);
    assert_eq!((searches, upserts), (0, 0), "{:?}", world.port().counts());
    assert_eq!(run.count("unchanged"), expected.len() as u64, "{run}");
    let with = world.port().requests().len();
    world.port().clear_requests();
    world.sync().exits(0);
    assert!(asked(&world).0 > 0, "without a state directory Port is searched");
    assert!(with < world.port().requests().len());
    assert_eq!(world.entities(), expected);
}

#[test]
fn a_killed_run_is_made_good_by_the_next() {
    let mut world = World::with_accounts(2).buckets(3).instances(1).build();
    world.set("OCEAN__UPSERT_ENTITIES_BATCH_MAX_LENGTH", "1");
    world.port().fail(Fault::on("entities/bulk").times(40).latency(Duration::from_millis(150)));
    let held = || world.entities().len();
    for enough in [1, 6, 11] {
        let process = world.start(&["sync", "--state-dir", "state"]);
        wait_for("some entities", || held() >= enough);
        kill(process);
    }
    let expected = world.expected();
    let (run, ..) = sync(&world);
    run.exits(0);
    assert_eq!(world.entities(), expected);
    assert_eq!(run.report["deletion"]["deleted"], json!([]), "{run}");
    // What the killed runs left in doubt is known again.
    let (run, searches, upserts) = sync(&world);
    run.exits(0);
    assert_eq!((searches, upserts), (0, 0), "{:?}", world.port().counts());
}

#[test]
fn what_people_do_in_port_is_put_right() {
    let mut world = World::with_accounts(1).buckets(2).build();
    sync(&world).0.exits(0);
    let account = world.accounts()[0].clone();
    let expected = world.expected();
    let bucket = format!("arn:aws:s3:::berth-{account}-{}-0", REGIONS[0]);

    // An entity that was deleted comes back, and so do the relations that Port dropped with it.
    world.port().delete_entity("awsAccount", &account).expect("the account is there");
    world.port().delete_entity("s3Bucket", &bucket).expect("the bucket is there");
    assert_ne!(world.entities(), expected);
    let (run, ..) = sync(&world);
    run.exits(0);
    assert_eq!(world.entities(), expected, "{run}");
    assert_eq!(sync(&world).1, 0, "nothing stays in doubt");

    // An edit is found when everything is verified, and not before.
    let edit = |world: &World| {
        let mut state = world.port().state();
        state["entities"]["s3Bucket"][&bucket]["title"] = json!("edited");
        world.port().load_state(state).expect("an edited entity");
    };
    edit(&world);
    let (run, searches, _) = sync(&world);
    run.exits(0);
    assert_eq!(searches, 0);
    assert_ne!(world.entities(), expected);
    world.set("OCEAN__STATE_VERIFY_INTERVAL_HOURS", "0");
    let (run, searches, upserts) = sync(&world);
    run.exits(0);
    assert!(searches > 0 && upserts == 1, "{run}");
    assert_eq!(world.entities(), expected);
}

#[test]
fn one_process_writes_and_plans_may_read() {
    let world = World::with_accounts(1).buckets(1).build();
    sync(&world).0.exits(0);
    world.port().clear_requests();
    // A run that is held up, past the point where it opened the directory.
    world.port().fail(Fault::on("datasource-entities").latency(PATIENCE));
    let held_up = world.start(&["sync", "--state-dir", "state"]);
    wait_for("the run", || world.port().count("datasource-entities") == 1);

    let second = world.berth(&["sync", "--state-dir", "state"]);
    second.exits(2).says("in use by another process").says("state").says("--state-dir");
    world.port().clear_requests();
    let plan = world.berth(&["plan", "--state-dir", "state"]);
    plan.exits(0);
    assert_eq!(plan.count("unchanged"), 3, "{plan}");
    kill(held_up);

    // A plan leaves everything as it is: what the killed run put in doubt stays so until a sync.
    let plan = world.berth(&["plan", "--state-dir", "state"]);
    plan.exits(0);
    assert!(sync(&world).1 > 0);
    world.port().clear_requests();
    world.berth(&["plan", "--state-dir", "state"]).exits(0);
    assert_eq!(asked(&world), (0, 0));
}

#[test]
fn a_ledger_of_another_integration_and_a_damaged_one_are_not_used() {
    let mut world = World::with_accounts(1).buckets(1).build();
    sync(&world).0.exits(0);
    world.set("OCEAN__INTEGRATION__IDENTIFIER", "another");
    let (run, _, upserts) = sync(&world);
    run.exits(0).says("aws-e2e of type aws-v3").says("starting over");
    // What the first integration made is somebody else's, and left alone.
    let foreign = run.report["foreign"].as_array().map_or(0, Vec::len);
    assert_eq!((upserts, foreign), (0, world.expected().len()), "{run}");
    world.set("OCEAN__INTEGRATION__IDENTIFIER", "aws-e2e");
    let (run, searches, _) = sync(&world);
    run.exits(0).says("another of type aws-v3").says("starting over");
    assert!(searches > 0, "{run}");
    assert_eq!(sync(&world).1, 0);

    std::fs::write(world.folder().join("state/ledger.redb"), "x".repeat(9000)).expect("a damaged file");
    let (run, searches, _) = sync(&world);
    run.exits(0).says("was damaged");
    assert!(searches > 0);
    assert_eq!(world.entities(), world.expected());
    assert_eq!(sync(&world).1, 0);
}

#[test]
fn a_chain_of_relations_arrives_where_port_creates_no_targets() {
    let world = World::with_accounts(1).build();
    world.sync().exits(0);
    // Each bucket relates to the one with the next number.
    world.edit_blueprint("s3Bucket", |blueprint| {
        blueprint["relations"]["next"] =
            json!({"title": "Next", "target": "s3Bucket", "required": false, "many": false});
    });
    world.edit_mapping(|config| {
        config["createMissingRelatedEntities"] = json!(false);
        let buckets = config["resources"].as_array_mut().into_iter().flatten();
        for bucket in buckets.filter(|resource| resource["kind"] == "AWS::S3::Bucket") {
            bucket["port"]["entity"]["mappings"]["relations"]["next"] = json!(
                r#".Properties.BucketName | capture("^(?<head>.*-)(?<number>[0-9]+)$") | if .number == "3" then null else "arn:aws:s3:::" + .head + (.number | tonumber + 1 | tostring) end"#
            );
        }
    });
    let account = world.accounts()[0].clone();
    world.seed(&account, &["--buckets=4", "--instances=1", "--clusters=1"]);

    let (run, ..) = sync(&world);
    run.exits(0);
    assert_eq!(run.count("refused"), 0, "{run}");
    let mut expected = world.expected();
    for region in REGIONS {
        for number in 0..3 {
            let bucket = |number| format!("arn:aws:s3:::berth-{account}-{region}-{number}");
            let entity: &mut Value =
                expected.get_mut(&format!("s3Bucket/{}", bucket(number))).expect("the bucket is expected");
            entity["relations"]["next"] = json!(bucket(number + 1));
        }
    }
    assert_eq!(world.entities(), expected);
    assert_eq!(sync(&world).2, 0);
}
