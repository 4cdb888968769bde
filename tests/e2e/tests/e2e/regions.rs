//! Which regions are read, from EC2's list. The released binary asks with the official SDK: `cargo xtask test
//! --all` also runs these tests with the image's binary.

use berth_e2e::World;
use serde_json::json;

/// Lets every kind read these regions alone.
fn allow(world: &World, regions: &[&str]) {
    world.edit_mapping(|config| {
        for resource in config["resources"].as_array_mut().into_iter().flatten() {
            resource["selector"]["regionPolicy"] = json!({"allow": regions, "deny": []});
        }
    });
}

#[test]
fn a_region_that_nobody_opted_in_to_is_not_read() {
    let world = World::with_accounts(1).buckets(1).build();
    world.sync().exits(0);
    world.gate().pass_regions();
    allow(&world, &["eu-west-1", "me-south-1", "us-east-1"]);
    let run = world.berth(&["sync", "--log-level", "trace"]);
    run.exits(0);
    assert_eq!(world.entities(), world.expected(), "{run}");
    let asked = world.gate().called_regions();
    assert!(asked.contains("eu-west-1") && !asked.contains("me-south-1"), "{asked:?}");
    let secrets = world.secrets();
    assert!(!secrets.is_empty());
    for secret in secrets {
        run.hides(&secret);
    }
}

#[test]
fn where_no_list_of_regions_is_allowed_the_actions_that_would_do_are_named() {
    let world = World::with_accounts(1).buckets(1).build();
    world.gate().deny_call("ec2 DescribeRegions");
    let run = world.sync();
    run.exits(3).says("`ec2:DescribeRegions` in us-east-1: UnauthorizedOperation: You are not authorized");
    run.says("allow `account:ListRegions` or `ec2:DescribeRegions`").says("`regionPolicy.allow`");
    let calls = world.gate().calls();
    // Elsewhere it might be allowed; a refusal is not repeated.
    let asked = calls["ec2 DescribeRegions"];
    assert!((2..=9).contains(&asked), "{calls:?}");

    // What every entry names is read without a list.
    allow(&world, &["eu-west-1", "us-east-1"]);
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
}
