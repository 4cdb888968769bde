//! The deployment examples create roles, a user and settings with which a sync succeeds.

use berth_e2e::World;

/// The templates make all that reading takes, and no more: AWS (moto) checks the permissions of
/// each call, and the gate whom the roles trust.
#[test]
fn a_sync_through_the_deployed_roles_reads_everything() {
    let mut world = World::with_accounts(2).buckets(2).instances(1).clusters(1).own_aws().build();
    let expected = world.expected();
    world.deploy_templates();
    world.sync().exits(0);
    assert_eq!(world.entities(), expected);
    let assumed = world.gate().calls()["sts AssumeRole"];
    assert!(assumed >= 2, "{assumed}");
}

#[test]
fn the_deployed_roles_ask_for_the_external_id_of_the_stack() {
    let mut world = World::with_accounts(1).buckets(1).own_aws().build();
    world.deploy_templates();
    world.set("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", "another");
    world.sync().exits(4).says("Unable to assume role").says("sts:ExternalId");
    assert!(world.entities().is_empty());
}

#[test]
fn the_settings_of_the_chart_are_those_of_the_command() {
    let mut world = World::with_accounts(2).buckets(1).instances(1).build();
    world.use_chart();
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
}
