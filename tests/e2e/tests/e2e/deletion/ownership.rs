//! Berth deletes only entities that it owns, and reports every deletion.

use std::collections::{BTreeMap, BTreeSet};

use berth_e2e::{REGIONS, World};
use port_stand_in::LoggedRequest;
use serde_json::{Value, json};

use super::{ACCOUNT, LOG_GROUP, STATES, SUBNET, Scene, VOLUME, default_entry, deleted, name, without};

/// A person, as Port has them for the last writer.
const PERSON: &str = "Mozilla/5.0 somebody";

/// A service that somebody made and that runs on a volume.
fn service_on(scene: &Scene, volume: &str) {
    let blueprint = json!({"identifier": "service", "title": "Service",
        "schema": {"properties": {"lang": {"type": "string"}}, "required": []},
        "relations": {"runsOn": {"title": "Runs on", "target": "ec2Volume", "required": false, "many": false}}});
    scene.world.port().seed_blueprint(&blueprint).unwrap();
    let service = json!({"identifier": "checkout", "title": "Checkout", "properties": {"lang": "rust"},
        "relations": {"runsOn": volume}});
    scene.world.port().seed_entity("service", &service, PERSON).unwrap();
}

#[test]
fn what_depends_on_a_deleted_entity_is_named_and_counted() {
    for state in STATES {
        let mut scene = Scene::with(&[ACCOUNT, VOLUME], 3);
        scene.sync(state).exits(0);
        service_on(&scene, &name("vol", &scene.a, REGIONS[0], 0));
        let before = scene.world.entities();
        let volume = scene.remove_volume(&scene.a, REGIONS[0], 0);

        let plan = scene.world.berth(&["plan", "--state-dir", state]);
        plan.exits(0)
            .says("Would delete with them: 1 dependent (1 of another owner)")
            .says("service/checkout (another owner's)")
            .says(&format!("depends on {volume}"));
        assert_eq!(scene.world.entities(), before);
        let dependent = json!([{
            "entity": {"blueprint": "service", "identifier": "checkout"},
            "depends_on": {"blueprint": "ec2Volume", "identifier": volume.split_once('/').unwrap().1},
            "owned": false,
        }]);
        assert_eq!(plan.report["deletion"]["dependents"], dependent, "{plan}");

        // It counts against the limits.
        scene.world.set("BERTH_MAX_DELETIONS", "1");
        scene.sync(state).exits(5).says("2 entities would be deleted");
        assert_eq!(scene.world.entities(), before);
        scene.world.unset("BERTH_MAX_DELETIONS");
        let run = scene.sync(state);
        run.exits(0).says("Deleted with them: 1 dependent").says("service/checkout");
        assert_eq!(run.report["deletion"]["dependents"], dependent, "{run}");
        assert_eq!(scene.world.entities(), without(&before, &[volume, "service/checkout".into()].into()));
    }
}

#[test]
fn without_delete_dependent_entities_nothing_goes_along() {
    let scene = Scene::with(&[ACCOUNT, VOLUME], 3);
    scene.sync("state").exits(0);
    scene.world.edit_mapping(|config| config["deleteDependentEntities"] = json!(false));
    service_on(&scene, &name("vol", &scene.a, REGIONS[0], 0));
    let before = scene.world.entities();
    scene.remove_volume(&scene.a, REGIONS[0], 0);
    let free = scene.remove_volume(&scene.a, REGIONS[0], 1);

    // Port refuses the one that something depends on; the other one goes all the same.
    let run = scene.sync("state");
    run.exits(3);
    assert_eq!(deleted(&run), [free.clone()].into(), "{run}");
    assert_eq!(scene.world.entities(), without(&before, &[free].into()));
}

/// A scene in which somebody made an entity with the identifier of a volume.
fn with_an_entity_of_somebody() -> (Scene, String) {
    let scene = Scene::with(&[ACCOUNT, VOLUME], 3);
    let volume = name("vol", &scene.a, REGIONS[0], 0);
    let entity = json!({"identifier": volume, "title": "My volume", "properties": {"size": 1}});
    scene.world.port().seed_entity("ec2Volume", &entity, PERSON).unwrap();
    (scene, volume)
}

#[test]
fn an_entity_that_somebody_made_is_neither_adopted_nor_deleted() {
    for state in STATES {
        let (scene, volume) = with_an_entity_of_somebody();
        let entity = |scene: &Scene| scene.world.port().entity("ec2Volume", &volume);
        let before = entity(&scene);
        let foreign = json!({"blueprint": "ec2Volume", "identifier": volume});
        for _ in 0..2 {
            let run = scene.sync(state);
            run.exits(0).says("another owner has the entity: 1").says("adopt_existing_entities");
            let listed = run.report["foreign"].as_array().unwrap();
            assert_eq!(listed.iter().map(|it| &it["entity"]).collect::<Vec<_>>(), [&foreign], "{run}");
            assert_eq!(entity(&scene), before, "{run}");
            assert_eq!(scene.identifiers("ec2Volume", "").len(), 12, "the others arrive");
        }
        scene.remove_volume(&scene.a, REGIONS[0], 0);
        let run = scene.sync(state);
        run.exits(0);
        assert_eq!((deleted(&run).len(), &run.report["foreign"]), (0, &json!([])), "{run}");
        assert_eq!(entity(&scene), before, "{run}");
    }
}

#[test]
fn an_entity_that_somebody_made_is_adopted_where_the_operator_asks_for_it() {
    for state in STATES {
        let (mut scene, volume) = with_an_entity_of_somebody();
        scene.sync(state).exits(0);
        scene.world.set("BERTH_ADOPT_EXISTING_ENTITIES", "true");
        let plan = scene.world.berth(&["plan", "--state-dir", state]);
        plan.exits(0).says(&format!("> ec2Volume/{volume} (another owner's, taken over)"));
        let run = scene.sync(state);
        run.exits(0);
        assert_eq!(run.report["foreign"], json!([]), "{run}");
        let entity = scene.world.port().entity("ec2Volume", &volume).unwrap();
        assert_eq!((&entity["title"], &entity["properties"]["size"]), (&json!(volume), &json!(8)));

        // From now on it is like any other.
        scene.world.unset("BERTH_ADOPT_EXISTING_ENTITIES");
        let gone = scene.remove_volume(&scene.a, REGIONS[0], 0);
        let run = scene.sync(state);
        run.exits(0);
        assert_eq!(deleted(&run), [gone].into(), "{run}");
    }
}

#[test]
fn integrations_whose_identifiers_end_alike_leave_each_other_alone() {
    for state in STATES {
        let mut scene = Scene::with(&[ACCOUNT], 3);
        for (identifier, kind) in [("sec", SUBNET), ("team/sec", VOLUME)] {
            let config = json!({"deleteDependentEntities": true, "createMissingRelatedEntities": true,
                "resources": [default_entry(kind)]});
            let document =
                json!({"installationId": identifier, "installationAppType": "aws-v3", "config": config});
            scene.world.port().seed_integration(&document).unwrap();
        }
        for round in 0..2 {
            for identifier in ["team/sec", "sec"] {
                scene.world.set("OCEAN__INTEGRATION__IDENTIFIER", identifier);
                // Each has its own ledger.
                let state = if state == "none" { "none" } else { &identifier.replace('/', "-") };
                let run = scene.sync(state);
                run.exits(0);
                assert_eq!(deleted(&run).len(), 0, "{identifier}: {run}");
                assert_eq!(run.count("created"), if round == 0 { 12 } else { 0 }, "{identifier}: {run}");
            }
        }
        assert_eq!(scene.identifiers("ec2Volume", "").len(), 12);
        assert_eq!(scene.identifiers("ec2Subnet", "").len(), 12);
    }
}

#[test]
fn the_clocks_of_port_and_of_this_machine_may_differ() {
    for state in STATES {
        for ahead in [3600, -3600] {
            let scene = Scene::with(&[ACCOUNT, VOLUME], 2);
            scene.world.port().set_clock_ahead(ahead);
            scene.sync(state).exits(0);
            let before = scene.world.entities();
            let gone = scene.remove_volume(&scene.a, REGIONS[0], 0);
            let run = scene.sync(state);
            run.exits(0);
            assert_eq!(deleted(&run), [gone.clone()].into(), "{ahead}: {run}");
            assert_eq!(scene.world.entities(), without(&before, &[gone].into()), "{ahead}");
        }
    }
}

#[test]
fn a_ledger_does_not_vouch_for_another_organization() {
    for in_token in [true, false] {
        let scene = Scene::with(&[ACCOUNT, VOLUME], 2);
        scene.world.port().change_options(|options| options.organization_in_token = in_token);
        scene.sync("state").exits(0);
        let right = scene.world.entities();

        // The same entities are there, with other values, and one more that is stale.
        scene.world.port().change_options(|options| options.organization = "org_other".into());
        scene.world.port().expire_tokens();
        let mut state = scene.world.port().state();
        for (_, entity) in state["entities"]["ec2Volume"].as_object_mut().unwrap() {
            entity["properties"]["state"] = json!("wrong");
        }
        scene.world.port().load_state(state).unwrap();
        let run = scene.sync("state");
        run.exits(0).says("in organization org_stand_in); starting over");
        assert_eq!(scene.world.entities(), right, "{run}");
        assert_eq!(deleted(&run).len(), 0, "{run}");
    }
}

#[test]
fn the_ledger_is_in_the_users_state_directory_unless_it_is_switched_off() {
    let mut scene = Scene::with(&[ACCOUNT, VOLUME], 2);
    let home = scene.world.folder().join("state-home");
    scene.world.set("XDG_STATE_HOME", home.to_str().unwrap());
    scene.world.berth(&["sync", "--state-dir", "none"]).exits(0);
    assert!(!home.exists(), "`none` leaves the directory alone");
    scene.world.set("BERTH_STATE_DIR", "none");
    scene.world.sync().exits(0);
    assert!(!home.exists(), "`none` leaves the directory alone");

    scene.world.unset("BERTH_STATE_DIR");
    scene.world.sync().exits(0);
    let ledgers = files_in(&home);
    assert_eq!(ledgers.len(), 1, "{ledgers:?}");
    assert!(ledgers[0].ends_with("ledger.redb"), "{ledgers:?}");
    scene.world.port().clear_requests();
    scene.world.sync().exits(0);
    assert_eq!(scene.world.port().count("entities/search"), 0, "it is used");
}

fn files_in(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

#[test]
fn a_resync_with_nothing_to_delete_asks_for_nothing_more() {
    for state in STATES {
        let mut scene = Scene::with(&[ACCOUNT, VOLUME, SUBNET, LOG_GROUP], 3);
        if state == "none" {
            // Neither AWS nor Port may be asked about what is whose.
            scene.world.set("BERTH_REMOVAL_AFTER", "0");
        }
        scene.sync(state).exits(0);
        let mut asked = Vec::new();
        for _ in 0..3 {
            scene.aws.take_counts();
            scene.world.port().clear_requests();
            let run = scene.sync(state);
            run.exits(0);
            assert_eq!(run.count("unchanged"), 2 + 3 * 12, "{run}");
            asked.push((scene.aws.take_counts(), counts(&scene.world)));
            for request in scene.world.port().requests() {
                assert!(expected(&request), "{} {}", request.call(), request.body);
            }
        }
        assert_eq!(asked[0], asked[1]);
        assert_eq!(asked[1], asked[2]);
        let (aws, _) = &asked[0];
        for (call, count) in [
            ("sts AssumeRole", 2),
            ("ec2 DescribeVolumes", 4),
            ("ec2 DescribeSubnets", 4),
            ("logs DescribeLogGroups", 4),
        ] {
            assert_eq!(aws.get(call), Some(&count), "{aws:?}");
        }
    }
}

/// How often each route was asked. What is reported in between, and how many entities one search
/// compares, depends on how long the reading takes.
fn counts(world: &World) -> BTreeMap<String, usize> {
    let mut counts = world.port().counts();
    let timed = ["heartbeat", "logs", "metrics", "entities/search"];
    counts.retain(|route, _| !timed.iter().any(|part| route.contains(part)));
    counts
}

/// Whether a request is one of a resync that has nothing to delete.
fn expected(request: &LoggedRequest) -> bool {
    const OF_DELETION: [&str; 2] = ["GET /v1/integration", "GET /v1/blueprints"];
    if request.call().ends_with("/entities/search") {
        // One by identifiers may not ask for what others own.
        let properties: BTreeSet<&str> = [&request.body["rules"], &request.body["query"]["rules"]]
            .into_iter()
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(|rule: &Value| rule["property"].as_str())
            .collect();
        return properties.contains("$datasource");
    }
    !OF_DELETION.contains(&request.call().as_str())
}
