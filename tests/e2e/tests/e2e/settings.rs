//! Errors and warnings about settings.

use berth_e2e::World;

#[test]
fn all_mistakes_are_reported_at_once() {
    let mut world = World::with_accounts(1).build();
    world.unset("OCEAN__PORT__CLIENT_ID");
    world.set("OCEAN__PORT__BASE_URL", "not a url");
    world.set("OCEAN__EVENT_LISTENER", "ONCE");
    world.set("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", "arn:aws:iam::111111111111:role/Reader");
    let run = world.sync();
    run.exits(2);
    for reported in [
        "OCEAN__PORT__CLIENT_ID",
        "OCEAN__PORT__BASE_URL",
        "OCEAN__EVENT_LISTENER",
        "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
        // A right one is shown.
        r#"["arn:aws:iam::111111111111:role/"#,
    ] {
        run.says(reported);
    }
    assert_eq!(world.port().requests().len(), 0, "nothing is asked of Port");
    assert!(world.gate().calls().is_empty(), "nothing is asked of AWS");
}

#[test]
fn a_misspelt_variable_is_named_with_the_right_one() {
    let mut world = World::with_accounts(1).build();
    world.set("OCEAN__INTEGRATION__CONFIG__EXTERNALID", "hush-hush");
    world.set("BERTH_MAX_DELETION", "1");
    // Ocean's chart sets these for every release.
    world.set("OCEAN__PROCESS_EXECUTION_MODE", "single_process");
    world.set("OCEAN__ACTIONS_PROCESSOR__ENABLED", "false");
    let run = world.sync();
    run.exits(0)
        .says("OCEAN__INTEGRATION__CONFIG__EXTERNALID is ignored")
        .says("BERTH_MAX_DELETION is ignored");
    run.says("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID?").says("BERTH_MAX_DELETIONS?");
    for text in ["hush-hush", "EXECUTION_MODE", "ACTIONS_PROCESSOR"] {
        run.hides(text);
    }
}

#[test]
fn no_secret_is_shown_however_much_is_logged() {
    let world = World::with_accounts(1).buckets(1).build();
    let run = world.berth(&["sync", "--log-level", "trace"]);
    run.exits(0);
    assert!(run.stderr.contains("TRACE"), "{run}");
    let handed_out = world.gate().secrets();
    assert!(!handed_out.is_empty());
    for secret in handed_out.iter().chain(world.secrets().iter()) {
        run.hides(secret);
    }
    // Nor which keys they belong to.
    let is_key = |word: &str| ["AKIA", "ASIA"].iter().any(|start| word.starts_with(start)) && word.len() > 12;
    let words = run.stderr.split(|c: char| !c.is_ascii_alphanumeric());
    assert_eq!(words.filter(|word| is_key(word)).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn plugins_list_what_they_read() {
    let world = World::with_accounts(0).build();
    let list = world.plugin(&["list"]);
    list.exits(0);
    for kind in ["AWS::Account::Info", "AWS::S3::Bucket", "AWS::EC2::Instance", "AWS::ECS::Cluster"] {
        list.says(kind);
    }
    let inspect = world.plugin(&["inspect", "AWS::EC2::Instance"]);
    inspect.exits(0).says("ec2:DescribeInstances").says("DescribeInstanceStatusAction").says("ec2Instance");
    world.plugin(&["inspect", "AWS::No::Such"]).exits(2).says("AWS::No::Such");
}
