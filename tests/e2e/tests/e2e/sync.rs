//! What a sync writes to Port.

use berth_e2e::{REGIONS, World};
use port_stand_in::LoggedRequest;
use serde_json::json;

#[test]
fn three_accounts_arrive_as_boto3_sees_them_and_a_second_run_sends_nothing() {
    let world = World::with_accounts(3).buckets(2).instances(2).clusters(1).build();
    let run = world.sync();
    run.exits(0);
    let expected = world.expected();
    assert_eq!(expected.len(), 3 * (1 + REGIONS.len() * (2 + 2 + 1)));
    assert_eq!(world.entities(), expected);
    assert_eq!(run.count("created"), expected.len() as u64);
    // Each role is assumed once and each account's regions are told once, however many kinds there are.
    let calls = world.gate().calls();
    assert_eq!((calls["sts AssumeRole"], calls["ec2 DescribeRegions"]), (3, 3), "{calls:?}");

    world.port().clear_requests();
    let again = world.sync();
    again.exits(0);
    assert_eq!(again.count("unchanged"), expected.len() as u64, "{again}");
    for write in ["entities/bulk", "DELETE ", "POST /v1/blueprints "] {
        assert_eq!(world.port().count(write), 0, "{write}: {:?}", world.port().counts());
    }
    assert_eq!(world.entities(), expected);
}

#[test]
fn a_plan_shows_what_a_sync_would_do_and_writes_nothing() {
    let world = World::with_accounts(1).buckets(1).clusters(1).build();
    world.sync().exits(0);
    world.seed(&world.accounts()[0], &["--buckets=0", "--instances=1", "--clusters=0"]);
    let gone = format!("berth-{}-eu-west-1-0", world.accounts()[0]);
    world.delete_bucket(&world.accounts()[0], &gone);

    let before = world.port().state();
    world.port().clear_requests();
    let plan = world.berth(&["plan"]);
    plan.exits(0).says(&gone);
    let writes: Vec<String> =
        world.port().requests().iter().filter(|request| request.writes()).map(LoggedRequest::call).collect();
    assert_eq!(writes, Vec::<String>::new());
    assert_eq!(world.port().state(), before);
    assert_eq!(plan.count("created"), REGIONS.len() as u64, "{plan}");

    let run = world.sync();
    run.exits(0);
    assert_eq!(run.count("created"), plan.count("created"));
    assert_eq!(world.entities(), world.expected());
}

#[test]
fn an_entity_that_port_refuses_is_named_and_the_rest_arrives() {
    let world = World::with_accounts(1).buckets(1).build();
    let account = world.accounts()[0].clone();
    world.sync().exits(0);
    // A blueprint that someone made stricter: what is there stays valid, the next bucket is not.
    let arn = |region: &str, number: u8| format!("arn:aws:s3:::berth-{account}-{region}-{number}");
    let allowed: Vec<String> = REGIONS.iter().map(|region| arn(region, 0)).collect();
    world.edit_blueprint("s3Bucket", |blueprint| {
        blueprint["schema"]["properties"]["arn"]["enum"] = json!(allowed);
    });
    world.seed(&account, &["--buckets=2", "--instances=1", "--clusters=0"]);

    let run = world.sync();
    run.exits(3).says(&arn(REGIONS[0], 1)).says(&arn(REGIONS[1], 1));
    assert_eq!(run.count("refused"), 2, "{run}");
    let mut expected = world.expected();
    expected.retain(|key, _| !REGIONS.iter().any(|region| *key == format!("s3Bucket/{}", arn(region, 1))));
    assert_eq!(world.entities(), expected);
}

#[test]
fn a_wrong_secret_is_reported_before_anything_is_read() {
    let mut world = World::with_accounts(1).build();
    world.set("OCEAN__PORT__CLIENT_SECRET", "not-the-secret");
    let run = world.sync();
    run.exits(4).says("OCEAN__PORT__CLIENT_SECRET").hides("not-the-secret");
    // Roles may have been assumed meanwhile, but nothing is read with them.
    let read: Vec<String> =
        world.gate().calls().into_keys().filter(|call| !call.starts_with("sts ")).collect();
    assert_eq!(read, Vec::<String>::new());
}
