//! The kinds and options that moto does not support, with AWS responses that were checked by hand.

use std::collections::BTreeSet;

use berth_e2e::{Entities, Kinds, World};
use serde_json::{Value, json};

use super::kinds::{differences, unsupported_by_moto};

#[test]
fn kinds_without_moto_arrive_as_checked_by_hand_and_in_jq_too() {
    let mut world = World::with_accounts(1).build();
    let answers = world.serve_answers();
    let kinds = Kinds::bundled();
    for blueprint in kinds.blueprints() {
        world.port().seed_blueprint(blueprint).unwrap();
    }
    let schema = json!({"type": "boolean", "title": "Auto-Enable I/O"});
    world.edit_blueprint("ec2Volume", |it| it["schema"]["properties"]["autoEnableIo"] = schema);
    let mut names = unsupported_by_moto("`AWS::");
    names.insert("AWS::EC2::Volume".to_owned());
    let mut resources = kinds.only(&names).resources(&BTreeSet::new());
    for resource in &mut resources {
        resource["selector"]["regionPolicy"] = json!({"allow": ["us-east-1"], "deny": []});
        let kind = resource["kind"].as_str().unwrap_or_default();
        if kind == "AWS::CloudControl::Resource" {
            resource["kind"] = json!("AWS::AppConfig::Application");
        } else if kind == "AWS::EC2::Volume" {
            // The default mapping has nothing of what the option adds.
            let entity = &mut resource["port"]["entity"]["mappings"];
            entity["properties"]["autoEnableIo"] = json!(".Properties.AutoEnableIO");
        }
    }
    world.install(&resources);

    let run = world.sync();
    // One of the recorded answers denies tags, which is told.
    run.exits(3).says("`codedeploy:ListTagsForResource` is denied");
    let expected: Entities = serde_json::from_value(answers.file("entities.json")).unwrap();
    let found = world.entities();
    let differences = differences(&expected, &found);
    assert!(differences.is_empty(), "{differences}");
    assert_eq!(answers.not_asked_once(), Vec::<String>::new());
    for resource in &resources {
        let blueprint =
            resource["port"]["entity"]["mappings"]["blueprint"].as_str().unwrap().trim_matches('"');
        let of_it = |name: &String| name.split('/').next() == Some(blueprint);
        assert!(expected.keys().any(of_it), "entities.json has no {blueprint}");
    }
    // Entities without a title were created by Port, as targets of relations.
    let mapped = expected.values().filter(|entity| !entity["title"].is_null()).count() as u64;
    assert_eq!(run.count("created") + run.count("updated"), mapped, "each entity is sent once");

    // The plugins' own mappings first, then jq over the documents.
    for query in ["true", ".Type != null"] {
        world.edit_mapping(|config| {
            for resource in config["resources"].as_array_mut().into_iter().flatten() {
                resource["selector"]["query"] = Value::from(query);
            }
        });
        world.port().clear_requests();
        let again = world.sync();
        again.exits(3);
        assert_eq!(again.count("unchanged"), mapped, "{again}");
        for write in ["entities/bulk", "DELETE "] {
            assert_eq!(world.port().count(write), 0, "{write}: {:?}", world.port().counts());
        }
    }
}
