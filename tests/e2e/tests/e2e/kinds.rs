//! Every bundled kind, end to end.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{collections::BTreeSet, fmt::Write, fs, path::Path};

use berth_e2e::{Entities, Kinds, World};
use serde_json::{Value, json};

#[test]
fn every_kind_arrives_as_boto3_and_jq_see_it_and_a_second_run_sends_nothing() {
    let world = World::with_accounts(2).build();
    let kinds = Kinds::bundled();
    let seeded: BTreeSet<String> = world.seeded_kinds().into_iter().collect();
    let known: BTreeSet<String> = unsupported_by_moto("`AWS::").union(&seeded).cloned().collect();
    assert_eq!(known, kinds.names(), "kinds.py and README.md together tell every kind, and no other");
    for blueprint in kinds.blueprints() {
        world.port().seed_blueprint(blueprint).unwrap();
    }
    world.seed_kinds();
    world.install(&kinds.only(&seeded).resources(&unsupported_by_moto("option `")));

    let run = world.sync();
    run.exits(0);
    let expected = world.expected_kinds();
    let differences = differences(&expected, &world.entities());
    assert!(differences.is_empty(), "{differences}");
    // Entities without a title were created by Port, as targets of relations.
    let mapped = expected.values().filter(|entity| !entity["title"].is_null()).count() as u64;
    assert_eq!(run.count("created") + run.count("updated"), mapped, "each entity is sent once");

    world.port().clear_requests();
    let again = world.sync();
    again.exits(0);
    assert_eq!(again.count("unchanged"), mapped, "{again}");
    for write in ["entities/bulk", "DELETE "] {
        assert_eq!(world.port().count(write), 0, "{write}: {:?}", world.port().counts());
    }
}

#[test]
fn every_component_loads_and_imports_nothing_but_the_log() {
    let world = World::with_accounts(0).build();
    let run = world.plugin(&["list", "--json"]);
    run.exits(0);
    let listed: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(listed["refused"], json!([]));
    let plugins = listed["plugins"].as_array().unwrap();
    assert_eq!(plugins.len(), Kinds::bundled().names().len(), "as many components as manifests");
    for plugin in plugins {
        assert_eq!(plugin["imports"], json!(["berth:plugin/log@1.0.0"]), "{}", plugin["name"]);
    }
}

/// The kinds and options of which `README.md` says that moto has them not: the first column of
/// its tables, where that begins like this.
pub(super) fn unsupported_by_moto(beginning: &str) -> BTreeSet<String> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| ")?.strip_prefix(beginning));
    let kind = beginning.strip_prefix('`').unwrap_or_default();
    rows.map(|row| format!("{kind}{}", row.split('`').next().unwrap_or_default())).collect()
}

/// What differs, field by field.
pub(super) fn differences(expected: &Entities, found: &Entities) -> String {
    let mut reported = String::new();
    for name in expected.keys().filter(|name| !found.contains_key(*name)) {
        writeln!(reported, "missing: {name}").unwrap();
    }
    for (name, entity) in found {
        let Some(wanted) = expected.get(name) else {
            writeln!(reported, "unexpected: {name}: {entity}").unwrap();
            continue;
        };
        for part in ["title", "properties", "relations"] {
            let (wanted, entity) = (&wanted[part], &entity[part]);
            let Some((wanted, entity)) = wanted.as_object().zip(entity.as_object()) else {
                if wanted != entity {
                    writeln!(reported, "{name}: {part} is {entity}, not {wanted}").unwrap();
                }
                continue;
            };
            let fields: BTreeSet<&String> = wanted.keys().chain(entity.keys()).collect();
            for field in fields.into_iter().filter(|field| wanted.get(*field) != entity.get(*field)) {
                let (wanted, entity) = (wanted.get(field), entity.get(field));
                writeln!(reported, "{name}: {part}.{field} is {entity:?}, not {wanted:?}").unwrap();
            }
        }
    }
    reported
}
