//! Accounts, regions and resources that the settings or the mapping leave out: kept until the removal is
//! confirmed.

use berth_e2e::{Entities, REGIONS};
use serde_json::json;

use super::{
    ACCOUNT, CLUSTER, STATES, SUBNET, Scene, VOLUME, about, default_entry, deleted, kept, mappings, name,
    without,
};

const LIST: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS";

/// A scene that was synced once, and its entities.
fn synced(state: &str) -> (Scene, Entities) {
    let scene = Scene::with(&[ACCOUNT, VOLUME, SUBNET, CLUSTER], 3);
    scene.sync(state).exits(0);
    let entities = scene.world.entities();
    assert_eq!(entities.len(), 2 + 3 * 12);
    (scene, entities)
}

#[test]
fn an_empty_list_of_accounts_is_a_wrong_setting() {
    let (mut scene, before) = synced("state");
    for empty in ["[]", "", "  ", "[ ]"] {
        scene.world.set(LIST, empty);
        scene.aws.take_counts();
        let run = scene.sync("state");
        run.exits(2).says(LIST);
        assert_eq!(scene.world.entities(), before, "{empty:?}: {run}");
        assert!(scene.aws.take_counts().is_empty(), "nothing is asked of AWS");
    }
}

#[test]
fn an_account_off_the_list_is_kept_and_named_until_its_removal_is_confirmed() {
    for state in STATES {
        let (mut scene, before) = synced(state);
        let b = scene.b.clone();
        let of_b = about(&before, &b);
        scene.world.list_accounts(&[scene.a.clone()]);
        let run = scene.sync(state);
        run.exits(5).says(&format!("account {b}")).says(&format!("berth sync --confirm-removal account={b}"));
        assert_eq!(scene.world.entities(), before, "{run}");
        assert_eq!(kept(&run, "scope-removed"), of_b, "{run}");

        // Another account's confirmation is none; a plan shows what goes and deletes nothing.
        let other = "account=123456789012";
        scene.world.berth(&["sync", "--state-dir", "none", "--confirm-removal", other]).exits(5);
        assert_eq!(scene.world.entities(), before);
        let confirmed = format!("account={b}");
        let plan = scene.world.berth(&["plan", "--state-dir", state, "--confirm-removal", &confirmed]);
        plan.exits(0);
        assert_eq!((deleted(&plan), scene.world.entities()), (of_b.clone(), before.clone()), "{plan}");
        let run = scene.world.berth(&["sync", "--state-dir", state, "--confirm-removal", &confirmed]);
        run.exits(0);
        assert_eq!(deleted(&run), of_b, "{run}");
        assert_eq!(scene.world.entities(), without(&before, &of_b));
    }
}

#[test]
fn a_region_that_is_not_enabled_any_more_is_kept_and_named_until_its_removal_is_confirmed() {
    let (mut scene, before) = synced("state");
    let (a, region) = (scene.a.clone(), REGIONS[1]);
    scene.aws.enable_regions(&a, &REGIONS[..1]);
    let of_region: std::collections::BTreeSet<String> =
        about(&before, region).into_iter().filter(|key| key.contains(&a)).collect();
    assert_eq!(of_region.len(), 9);
    let run = scene.sync("state");
    run.exits(5)
        .says(&format!("region {region} of account {a}"))
        .says(&format!("--confirm-removal region={a}/{region}"));
    assert_eq!(scene.world.entities(), before, "{run}");
    assert_eq!(kept(&run, "scope-removed"), of_region, "{run}");

    // As a setting, for a service.
    scene.world.set("BERTH_CONFIRM_REMOVAL", &json!([format!("region={a}/{region}")]).to_string());
    let run = scene.sync("state");
    run.exits(0);
    assert_eq!(scene.world.entities(), without(&before, &of_region), "{run}");
}

#[test]
fn a_removed_account_is_deleted_by_the_second_complete_resync_without_it() {
    let (mut scene, before) = synced("state");
    let of_b = about(&before, &scene.b);
    let accounts = [scene.a.clone(), scene.b.clone()];
    scene.world.list_accounts(&accounts[..1]);
    scene.sync("state").exits(5).says("deleted by the next complete resync");
    assert_eq!(scene.world.entities(), before);

    // One that is not complete counts for nothing, and plans neither.
    let denied =
        |call: &berth_e2e::AwsCall| (call.operation == "DescribeSubnets").then(berth_e2e::Reply::denied);
    scene.aws.script(denied);
    scene.sync("state").exits(3);
    scene.aws.end_script();
    scene.world.berth(&["plan", "--state-dir", "state"]);
    assert_eq!(scene.world.entities(), before);

    let run = scene.sync("state");
    run.exits(0);
    assert_eq!(scene.world.entities(), without(&before, &of_b), "{run}");
}

#[test]
fn an_account_that_comes_back_is_counted_from_the_beginning() {
    let (mut scene, before) = synced("state");
    let accounts = [scene.a.clone(), scene.b.clone()];
    for _ in 0..2 {
        scene.world.list_accounts(&accounts[..1]);
        scene.sync("state").exits(5);
        scene.world.list_accounts(&accounts);
        scene.sync("state").exits(0);
        assert_eq!(scene.world.entities(), before);
    }
}

#[test]
fn removal_after_says_how_long_a_removed_account_is_kept() {
    let (mut scene, before) = synced("state");
    let of_b = about(&before, &scene.b);
    scene.world.list_accounts(&[scene.a.clone()]);
    scene.world.set("BERTH_REMOVAL_AFTER", "never");
    for _ in 0..3 {
        scene.sync("state").exits(5).says("`removal_after` is `never`");
        assert_eq!(scene.world.entities(), before);
    }
    scene.world.set("BERTH_REMOVAL_AFTER", "0");
    // Without a ledger nothing is counted, and nobody knows whose an entity is.
    scene.sync("none").exits(5);
    assert_eq!(scene.world.entities(), before);
    scene.sync("state").exits(0);
    assert_eq!(scene.world.entities(), without(&before, &of_b));
}

#[test]
fn a_region_policy_that_leaves_no_region_deletes_nothing() {
    for state in STATES {
        let (mut scene, before) = synced(state);
        scene.world.set("BERTH_REMOVAL_AFTER", "never");
        let mut volumes = default_entry(VOLUME);
        volumes["selector"]["regionPolicy"] = json!({"allow": ["us-eats-1"], "deny": []});
        scene.map(&[default_entry(ACCOUNT), volumes, default_entry(SUBNET), default_entry(CLUSTER)]);
        let run = scene.sync(state);
        run.exits(5);
        assert_eq!(scene.world.entities(), before, "{run}");
        assert_eq!(kept(&run, "scope-removed").len(), 12, "{run}");

        // The command that is shown can be copied as it is, and confirms just these.
        let command = run.stdout.split("berth sync ").nth(1).unwrap().split("\n\n").next().unwrap();
        let shown: Vec<&str> = command.split([' ', '\n', '\\']).filter(|word| !word.is_empty()).collect();
        assert!(
            !command.trim_end_matches(" …").lines().rev().skip(1).any(|line| !line.ends_with('\\')),
            "{command}"
        );
        assert_eq!(shown[0], "--confirm-removal");
        let volumes = |account: &str| format!("region={account}/{}/{VOLUME}", REGIONS[0]);
        let confirmed = [volumes(&scene.a), volumes(&scene.b)];
        assert!(
            shown.contains(&confirmed[0].as_str()) || shown.contains(&confirmed[1].as_str()),
            "{command}"
        );
        if state != "none" {
            let run = scene.world.berth(&["sync", "--state-dir", state, "--confirm-removal", &confirmed[0]]);
            run.exits(5);
            let gone = about(&before, &format!("vol-{}-{}", scene.a, REGIONS[0]));
            assert_eq!((gone.len(), deleted(&run)), (3, gone), "{run}");
        }
    }
}

#[test]
fn a_region_that_entities_state_is_kept_without_a_ledger() {
    let scene = Scene::with(&[ACCOUNT], 3);
    let mut volumes = default_entry(VOLUME);
    mappings(&mut volumes)["properties"]["availabilityZone"] = json!(".__ExtraContext.Region");
    scene.map(&[default_entry(ACCOUNT), volumes]);
    scene.sync("none").exits(0);
    let before = scene.world.entities();
    scene.aws.enable_regions(&scene.a, &REGIONS[..1]);
    let run = scene.sync("none");
    run.exits(5).says(&format!("--confirm-removal region={}/{}", scene.a, REGIONS[1]));
    assert_eq!(scene.world.entities(), before, "{run}");
    let confirmed = format!("region={}/{}", scene.a, REGIONS[1]);
    let run = scene.world.berth(&["sync", "--confirm-removal", &confirmed]);
    run.exits(0);
    assert_eq!(scene.world.entities().len(), before.len() - 3, "{run}");
}

#[test]
fn resources_without_an_identifier_keep_what_their_units_produced() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, VOLUME], 5);
        scene.sync(state).exits(0);
        let before = scene.world.entities();
        let one = name("vol", &scene.a, REGIONS[0], 0);
        let mut volumes = default_entry(VOLUME);
        mappings(&mut volumes)["identifier"] =
            json!(format!(r#"if .Properties.VolumeId == "{one}" then .Properties.VolumeId else null end"#));
        scene.map(&[default_entry(ACCOUNT), volumes]);
        let run = scene.sync(state);
        run.exits(5).says("resources without an identifier");
        assert_eq!(kept(&run, "unmapped").len(), 19, "{run}");
        assert_eq!(scene.world.entities(), before, "{run}");
    }
}
