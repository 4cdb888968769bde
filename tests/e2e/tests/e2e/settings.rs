//! What people are told about their settings.

use berth_e2e::World;

#[test]
fn all_mistakes_are_told_at_once() {
    let mut world = World::with_accounts(1).build();
    world.unset("OCEAN__PORT__CLIENT_ID");
    world.set("OCEAN__PORT__BASE_URL", "not a url");
    world.set("OCEAN__EVENT_LISTENER", "ONCE");
    world.set("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", "arn:aws:iam::111111111111:role/Reader");
    let run = world.sync().exits(2);
    for told in [
        "OCEAN__PORT__CLIENT_ID",
        "OCEAN__PORT__BASE_URL",
        "OCEAN__EVENT_LISTENER",
        "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
        // A right one is shown.
        r#"["arn:aws:iam::111111111111:role/"#,
    ] {
        assert!(run.stdout.contains(told) || run.stderr.contains(told), "`{told}` is not said: {run}");
    }
    assert_eq!(world.port().requests().len(), 0, "nothing is asked of Port");
    assert!(world.gate().calls().is_empty(), "nothing is asked of AWS");
}
