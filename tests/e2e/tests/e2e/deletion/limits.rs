//! Limits bound mistakes that no proof can detect.

use berth_e2e::{REGIONS, Resource};
use serde_json::json;

use super::{
    ACCOUNT, LOG_GROUP, STATES, Scene, VOLUME, default_entry, deleted, held_back, mappings, name, without,
};

/// Removes all log groups of account B but one; the keys of their entities.
fn empty_log_groups(scene: &Scene, count: usize) -> std::collections::BTreeSet<String> {
    let mut gone = std::collections::BTreeSet::new();
    for region in REGIONS {
        for at in 0..count {
            if (region, at) != (REGIONS[0], 0) {
                let group = name("group", &scene.b, region, at);
                scene.aws.remove(&scene.b, region, Resource::LogGroup, &group);
                gone.insert(format!("logsLogGroup/arn:aws:logs:{region}:{}:log-group:{group}", scene.b));
            }
        }
    }
    gone
}

#[test]
fn a_kind_that_loses_almost_all_in_an_account_is_held_back_and_the_rest_proceeds() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, VOLUME, LOG_GROUP], 10);
        scene.sync(state).exits(0);
        let before = scene.world.entities();
        let groups = empty_log_groups(&scene, 10);
        assert_eq!(groups.len(), 19);
        let volume = scene.remove_volume(&scene.b, REGIONS[0], 3);

        let run = scene.sync(state);
        run.exits(5).says(&format!("AWS::Logs::LogGroup of account {}: 19 of 20 entities", scene.b));
        assert_eq!(held_back(&run), groups, "{run}");
        assert_eq!(deleted(&run), [volume.clone()].into(), "{run}");
        assert_eq!(scene.world.entities(), without(&before, &[volume].into()));
    }
}

#[test]
fn a_small_part_may_lose_everything() {
    let scene = Scene::with(&[ACCOUNT, VOLUME, LOG_GROUP], 9);
    scene.sync("state").exits(0);
    let groups = empty_log_groups(&scene, 9);
    let run = scene.sync("state");
    run.exits(0);
    assert_eq!(deleted(&run), groups, "{run}");
}

#[test]
fn an_identifier_that_collapses_to_one_value_is_held_back() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, VOLUME, LOG_GROUP], 3);
        scene.sync(state).exits(0);
        let before = scene.world.entities();
        let mut volumes = default_entry(VOLUME);
        mappings(&mut volumes)["identifier"] = json!(".Properties.State");
        scene.map(&[default_entry(ACCOUNT), volumes, default_entry(LOG_GROUP)]);
        let group = name("group", &scene.a, REGIONS[0], 1);
        scene.aws.remove(&scene.a, REGIONS[0], Resource::LogGroup, &group);

        let run = scene.sync(state);
        run.exits(5).says("resources[1]").says("12 resources have 1 different identifiers");
        assert_eq!(held_back(&run).len(), 12, "{run}");
        let group = format!("logsLogGroup/arn:aws:logs:{}:{}:log-group:{group}", REGIONS[0], scene.a);
        assert_eq!(deleted(&run), [group.clone()].into(), "{run}");
        let mut after = scene.world.entities();
        assert!(after.remove("ec2Volume/in-use").is_some(), "{run}");
        assert_eq!(after, without(&before, &[group].into()));
    }
}

#[test]
fn an_identifier_that_is_the_same_in_all_units_is_held_back() {
    for state in STATES {
        let scene = Scene::with(&[ACCOUNT, VOLUME], 1);
        scene.sync(state).exits(0);
        let before = scene.world.entities();
        let mut volumes = default_entry(VOLUME);
        mappings(&mut volumes)["identifier"] = json!(".Properties.State");
        scene.map(&[default_entry(ACCOUNT), volumes]);
        let run = scene.sync(state);
        run.exits(5).says("4 resources have 1 different identifiers");
        assert_eq!((deleted(&run).len(), held_back(&run).len()), (0, 4), "{run}");
        let mut after = scene.world.entities();
        assert!(after.remove("ec2Volume/in-use").is_some(), "{run}");
        assert_eq!(after, before);
    }
}

#[test]
fn no_more_than_max_deletions_are_deleted_at_once() {
    let mut scene = Scene::with(&[ACCOUNT, VOLUME], 3);
    scene.sync("state").exits(0);
    let before = scene.world.entities();
    let gone = [0, 1].map(|at| scene.remove_volume(&scene.a, REGIONS[0], at)).into();
    scene.world.set("BERTH_MAX_DELETIONS", "1");
    let run = scene.sync("state");
    run.exits(5).says("`max_deletions` allows (1)");
    assert_eq!((deleted(&run).len(), held_back(&run)), (0, gone), "{run}");
    assert_eq!(scene.world.entities(), before);

    scene.world.set("BERTH_MAX_DELETIONS", "2");
    let run = scene.sync("state");
    run.exits(0);
    assert_eq!(deleted(&run).len(), 2, "{run}");
}
