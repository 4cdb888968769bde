//! `berth doctor`: the checks before the first resync.

use berth_e2e::{Denial, World};

#[test]
fn doctor_finds_what_would_fail_and_writes_nothing() {
    let world = World::with_accounts(2).buckets(1).build();
    let well = world.tool(&["doctor"]);
    well.exits(0).says("AWS base identity").says("AWS::S3::Bucket in us-east-1").says("checks passed");

    let broken = world.accounts()[0].clone();
    world.break_external_id(&broken);
    let denied = world.accounts()[1].clone();
    world.gate().deny(Denial { account: denied.clone(), service: "ecs".into(), region: "us-east-1".into() });
    let ill = world.tool(&["doctor"]);
    ill.exits(3)
        .says(&format!("account {broken}: access"))
        .says("Unable to assume role")
        .says("sts:ExternalId")
        .says(&format!("account {denied}: AWS::ECS::Cluster in us-east-1"))
        .says("ecs:ListClusters");
    assert!(world.entities().is_empty(), "{ill}");
    assert!(world.port().requests().iter().all(|request| !request.writes()), "{ill}");
}

#[test]
fn policy_prints_what_aws_takes() {
    let world = World::with_accounts(0).build();
    world
        .tool(&["policy", "--kind", "AWS::S3::Bucket"])
        .exits(0)
        .says("s3:ListAllMyBuckets")
        .says("account:ListRegions");
    let role = "arn:aws:iam::111111111111:role/Reader";
    world.tool(&["policy", "--base", role]).exits(0).says("sts:AssumeRole").says(role);
    let user = "arn:aws:iam::999999999999:user/berth";
    let trust = world.tool(&["policy", "--trust", "--principal", user, "--external-id", "id-1"]);
    trust.exits(0).says(user).says("sts:ExternalId").says("id-1");
    world.tool(&["policy", "--kind", "AWS::No::Such"]).exits(2).says("AWS::No::Such");
    world.tool(&["policy", "--base", user]).exits(2).says("is not the ARN of an IAM role");
}
