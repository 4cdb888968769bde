//! What a sync removes from Port, and what it never does.

use berth_e2e::{Denial, World};

#[test]
fn a_resource_that_is_gone_takes_exactly_its_entity_with_it() {
    let world = World::with_accounts(2).buckets(2).clusters(1).build();
    world.sync().exits(0);
    let before = world.entities();
    let bucket = format!("berth-{}-eu-west-1-1", world.accounts()[1]);
    world.delete_bucket(&world.accounts()[1], &bucket);

    world.sync().exits(0);
    let mut expected = before;
    assert!(expected.remove(&format!("s3Bucket/arn:aws:s3:::{bucket}")).is_some());
    assert_eq!(world.entities(), expected);
}

#[test]
fn a_role_that_cannot_be_assumed_keeps_its_entities() {
    let world = World::with_accounts(3).buckets(1).build();
    world.sync().exits(0);
    let before = world.entities();
    let broken = world.accounts()[1].clone();
    world.break_external_id(&broken);
    world.delete_bucket(&broken, &format!("berth-{broken}-us-east-1-0"));

    let run = world.sync();
    run.exits(3).says("Unable to assume role").says(&broken);
    for check in [
        "exists in account",
        "trust policy names",
        "external ID (`OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID`",
        "allows `sts:AssumeRole` on",
    ] {
        run.says(check);
    }
    assert_eq!(world.entities(), before);
    let others: Vec<_> = run.units("complete").into_iter().filter(|unit| unit.0 != broken).collect();
    assert_eq!(others.len(), run.units("complete").len(), "{run}");
    assert!(!others.is_empty(), "{run}");
}

#[test]
fn a_region_that_denies_access_keeps_its_entities_and_stops_no_other() {
    let world = World::with_accounts(2).instances(1).clusters(1).build();
    world.sync().exits(0);
    let before = world.entities();
    let denied = world.accounts()[0].clone();
    world.gate().deny(Denial { account: denied.clone(), service: "ec2".into(), region: "eu-west-1".into() });
    world.seed(&denied, &["--regions=us-east-1", "--buckets=0", "--instances=1", "--clusters=0"]);

    let run = world.sync();
    run.exits(3);
    let skipped = (denied.clone(), "eu-west-1".to_owned(), "AWS::EC2::Instance".to_owned());
    assert_eq!(run.units("skipped"), [skipped], "{run}");
    let after = world.entities();
    assert!(before.keys().all(|key| after.contains_key(key)), "{run}");
    assert_eq!(after, world.expected());
}

#[test]
fn too_many_deletions_are_held_back() {
    let world = World::with_accounts(1).buckets(3).build();
    world.sync().exits(0);
    let before = world.entities();
    world.edit_mapping(|config| config["entityDeletionThreshold"] = serde_json::json!(0.1));
    let account = &world.accounts()[0];
    for number in 0..3 {
        world.delete_bucket(account, &format!("berth-{account}-us-east-1-{number}"));
    }

    world.sync().exits(5).says("entityDeletionThreshold");
    assert_eq!(world.entities(), before);

    // The threshold is the user's to raise.
    world.edit_mapping(|config| config["entityDeletionThreshold"] = serde_json::json!(0.9));
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
}
