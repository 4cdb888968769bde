//! Plans that are saved, reviewed and applied.

use std::{collections::BTreeSet, fs};

use berth_e2e::{REGIONS, Resource, Run};
use serde_json::{Value, json};

use super::{ACCOUNT, LOG_GROUP, STATES, Scene, VOLUME, about, deleted, held_back, name, without};

/// A scene that was synced, where all log groups of account B but one are gone since, and the keys of
/// those.
fn emptied(state: &str) -> (Scene, BTreeSet<String>) {
    let scene = Scene::with(&[ACCOUNT, VOLUME, LOG_GROUP], 10);
    scene.sync(state).exits(0);
    let mut gone = about(&scene.world.entities(), "logsLogGroup/");
    gone.retain(|key| key.contains(&scene.b) && !key.ends_with(&name("group", &scene.b, REGIONS[0], 0)));
    for (region, at) in REGIONS.iter().flat_map(|region| (0..10).map(move |at| (region, at))).skip(1) {
        scene.aws.remove(&scene.b, region, Resource::LogGroup, &name("group", &scene.b, region, at));
    }
    assert_eq!(gone.len(), 19);
    (scene, gone)
}

impl Scene {
    fn plan(&self, state: &str) -> (Run, Value) {
        let run = self.world.berth(&["plan", "--state-dir", state, "--out", "plan.json"]);
        let file = fs::read(self.world.folder().join("plan.json")).unwrap();
        (run, serde_json::from_slice(&file).unwrap())
    }

    fn apply(&self, state: &str) -> Run {
        self.world.berth(&["apply", "plan.json", "--state-dir", state])
    }
}

#[test]
fn applying_a_plan_deletes_exactly_what_was_held_back() {
    for state in STATES {
        let (scene, gone) = emptied(state);
        scene.sync(state).exits(5);
        let before = scene.world.entities();
        let (plan, file) = scene.plan(state);
        plan.exits(5);
        assert_eq!(held_back(&plan), gone, "{plan}");
        let deletions = file["deletions"].as_array().unwrap();
        assert_eq!(deletions.len(), 19);
        assert!(deletions.iter().all(|deletion| deletion["held_back"].is_string()), "{file}");

        // What is due since then is left to the next resync.
        let volume = scene.remove_volume(&scene.a, REGIONS[0], 0);
        scene.aws.add(&scene.a, REGIONS[0], Resource::Volume, &["vol-new"]);
        let run = scene.apply(state);
        run.exits(0);
        assert_eq!(deleted(&run), gone, "{run}");
        assert_eq!(scene.world.entities(), without(&before, &gone));

        let run = scene.sync(state);
        run.exits(0);
        assert_eq!((deleted(&run), run.count("created")), ([volume].into(), 1), "{run}");
    }
}

#[test]
fn applying_a_plan_writes_exactly_what_it_lists() {
    let (scene, gone) = emptied("state");
    scene.aws.add(&scene.a, REGIONS[0], Resource::Volume, &["vol-new"]);
    let before = scene.world.entities();
    let (_, file) = scene.plan("state");
    let changed: Vec<&Value> = file["changes"].as_array().unwrap().iter().map(|it| &it["entity"]).collect();
    assert_eq!(changed, [&json!({"blueprint": "ec2Volume", "identifier": "vol-new"})], "{file}");
    assert_eq!(scene.world.entities(), before, "a plan changes nothing");

    // Somebody reviews it, and takes all but two deletions out.
    let mut file = file;
    let deletions = file["deletions"].as_array_mut().unwrap();
    deletions.truncate(2);
    let approved = super::keys(&file["deletions"], |deletion| &deletion["entity"]);
    assert!(approved.is_subset(&gone));
    scene.world.file("plan.json", &file.to_string());
    let run = scene.apply("state");
    run.exits(0);
    assert_eq!((deleted(&run), run.count("created")), (approved.clone(), 1), "{run}");
    let mut after = scene.world.entities();
    assert!(after.remove("ec2Volume/vol-new").is_some());
    assert_eq!(after, without(&before, &approved));
}

/// Applying the plan is refused, and names this; nothing is changed.
#[track_caller]
fn refuses(scene: &Scene, state: &str, difference: &str) {
    let before = scene.world.port().entities();
    let run = scene.apply(state);
    run.exits(5).says("plan.json was not applied").says(difference);
    assert_eq!(scene.world.port().entities(), before, "{run}");
}

#[test]
fn a_plan_is_refused_when_a_resource_is_back() {
    for state in STATES {
        let (scene, _) = emptied(state);
        scene.plan(state).0.exits(5);
        let back = name("group", &scene.b, REGIONS[1], 4);
        scene.aws.add(&scene.b, REGIONS[1], Resource::LogGroup, &[&back]);
        refuses(&scene, state, &back);
    }
}

#[test]
fn a_plan_is_refused_when_port_has_changed() {
    let (scene, gone) = emptied("none");
    // Somebody has changed a title; the plan is to put it right.
    let volume = name("vol", &scene.a, REGIONS[0], 0);
    let edit = |title: &str| {
        let mut state = scene.world.port().state();
        state["entities"]["ec2Volume"][&volume]["title"] = json!(title);
        scene.world.port().load_state(state).unwrap();
    };
    edit("edited");
    let (_, file) = scene.plan("none");
    assert_eq!(file["changes"][0]["entity"]["identifier"], json!(volume), "{file}");
    edit("edited again");
    refuses(&scene, "none", &volume);

    // Somebody has deleted an entity that the plan is to delete.
    edit("edited");
    let (blueprint, identifier) = gone.first().unwrap().split_once('/').unwrap();
    scene.world.port().delete_entity(blueprint, identifier).unwrap();
    refuses(&scene, "none", "it would no longer be deleted");
}

#[test]
fn a_plan_of_another_organization_is_refused() {
    let (scene, _) = emptied("none");
    scene.plan("none").0.exits(5);
    scene.world.port().change_options(|options| options.organization = "org_other".into());
    refuses(&scene, "none", "org_other");
}
