//! The AWS simulator: every kind at once, in several accounts and regions.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::{BTreeMap, BTreeSet};

use berth_e2e::{AwsSimulator, Kinds, Simulated, World};
use serde_json::{Value, json};

/// Kinds of which a unit reads several at once.
const RESOURCES: u32 = 3;

#[test]
fn every_kind_arrives_from_the_simulator_and_a_second_run_sends_nothing() {
    let mut world = World::with_accounts(0).build();
    let simulator = world.simulate(Simulated { accounts: 2, resources: RESOURCES, ..Simulated::default() });
    let kinds = Kinds::bundled();
    for blueprint in kinds.blueprints() {
        world.port().seed_blueprint(blueprint).unwrap();
    }
    let mut resources = kinds.resources(&BTreeSet::new());
    for resource in &mut resources {
        if resource["kind"] == "AWS::CloudControl::Resource" {
            resource["kind"] = json!("AWS::AppConfig::Application");
        }
    }
    world.install(&resources);

    let run = world.sync();
    run.exits(0);
    assert_eq!(run.units("failed"), []);
    assert_eq!(run.units("skipped"), []);
    assert_eq!(run.count("refused"), 0, "{run}");

    let mut found: BTreeMap<String, u32> = BTreeMap::new();
    for (name, entity) in world.entities() {
        // Entities without a title were created by Port, as targets of relations.
        if !entity["title"].is_null() {
            *found.entry(name.split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(found, expected(&kinds, &simulator));

    world.port().clear_requests();
    let again = world.sync();
    again.exits(0);
    assert_eq!(again.count("unchanged"), u64::from(found.values().sum::<u32>()), "{again}");
    for write in ["entities/bulk", "DELETE "] {
        assert_eq!(world.port().count(write), 0, "{write}: {:?}", world.port().counts());
    }
}

/// How many entities of each blueprint there must be.
fn expected(kinds: &Kinds, simulator: &AwsSimulator) -> BTreeMap<String, u32> {
    let mut expected = BTreeMap::new();
    let accounts = simulator.accounts();
    for manifest in kinds.manifests() {
        let kind = manifest["kind"].as_str().unwrap();
        let blueprint = manifest["mapping"]["port"]["entity"]["mappings"]["blueprint"].as_str().unwrap();
        let in_account = |account: &String| match manifest["scope"].as_str().unwrap() {
            "regional" => ["us-east-1", "eu-west-1"]
                .iter()
                .map(|region| simulator.resources(kind, account, region))
                .sum(),
            "global" => simulator.resources(kind, account, "us-east-1"),
            _ => 1,
        };
        *expected.entry(blueprint.trim_matches('"').to_owned()).or_default() +=
            accounts.iter().map(in_account).sum::<u32>();
    }
    expected
}

#[test]
fn a_seed_makes_the_same_world_again_and_another_seed_another_one() {
    let entities = |seed: u64| -> Value {
        let mut world = World::with_accounts(0).build();
        let _simulator = world.simulate(Simulated { seed, ..Simulated::default() });
        world.sync().exits(0);
        serde_json::to_value(world.entities()).unwrap()
    };
    let first = entities(7);
    assert_eq!(entities(7), first);
    assert_ne!(entities(8), first);
}
