//! The order of upserts if the catalog does not create the targets of relations itself.

use std::{collections::BTreeMap, sync::Arc};

use berth_test_support::FakeCatalog;
use serde_json::{Value, json};

use super::{A, B, World, synced};

/// A catalog whose nodes relate to nodes (`next`) and leaves (`leaf`), and creates no targets.
fn catalog() -> FakeCatalog {
    let node = BTreeMap::from([("next", "node"), ("leaf", "leaf")]);
    FakeCatalog {
        relations: BTreeMap::from([("node", node), ("leaf", BTreeMap::new()), ("thing", BTreeMap::new())]),
        config: json!({"createMissingRelatedEntities": false, "resources": [
            mapping("X::Account", "leaf"), mapping("X::Thing", "node")]}),
        ..FakeCatalog::default()
    }
}

fn mapping(kind: &str, blueprint: &str) -> Value {
    json!({"kind": kind, "selector": {"query": "true"}, "port": {"entity": {"mappings": {
        "identifier": ".Properties.Id", "blueprint": format!("\"{blueprint}\"")}}}})
}

fn node(id: &str, relations: &Value) -> Value {
    json!({"blueprint": "node", "identifier": id, "title": id, "properties": {"of": id},
        "relations": relations})
}

/// A world with these things.
fn world(nodes: Vec<Value>) -> World {
    let mut world = World::new();
    world.resources.clear();
    world.resources.insert(World::at(A, "eu-west-1", "X::Thing"), nodes);
    world
}

/// Checks that everything arrived, with its content.
fn arrived(catalog: &FakeCatalog, nodes: &[Value]) {
    let held = catalog.entities.lock().unwrap();
    let held: Vec<Value> = held.values().map(|entity| serde_json::to_value(entity).unwrap()).collect();
    for node in nodes {
        let mut expected: berth_core::Entity = serde_json::from_value(node.clone()).unwrap();
        expected.relations.sort_keys();
        assert!(held.contains(node) || held.contains(&json!(expected)), "{node} in {held:?}");
    }
}

#[tokio::test]
async fn targets_are_sent_before_what_relates_to_them() {
    let leaf = |id: &str| json!({"blueprint": "leaf", "identifier": id});
    let mut nodes: Vec<Value> = (0..7)
        .map(|number| node(&number.to_string(), &json!({"leaf": if number % 2 == 0 { A } else { B }})))
        .collect();
    let mut world = world(nodes.clone());
    for account in [A, B] {
        world.resources.insert(World::at(account, "global", "X::Account"), vec![leaf(account)]);
    }
    // A full batch of nodes is sent before the leaves, which do not fill one.
    let catalog = Arc::new(catalog());
    let report = synced(&world, &catalog).await;
    assert!(report.refusals.is_empty(), "{report:?}");
    nodes.extend([leaf(A), leaf(B)]);
    arrived(&catalog, &nodes);
    let sent = catalog.upserts.lock().unwrap().clone();
    assert_eq!(sent.iter().sum::<usize>(), 9, "nothing was tried twice: {sent:?}");
}

#[tokio::test]
async fn a_chain_arrives_link_by_link() {
    // The end comes last, so every link except one is refused at first.
    let mut nodes: Vec<Value> =
        (0..9).map(|n| node(&n.to_string(), &json!({"next": (n + 1).to_string()}))).collect();
    nodes.push(node("9", &json!({})));
    let catalog = Arc::new(catalog());
    let report = synced(&world(nodes.clone()), &catalog).await;
    assert!(report.refusals.is_empty(), "{report:?}");
    assert_eq!(report.totals().counts.created, 10);
    arrived(&catalog, &nodes);
}

#[tokio::test]
async fn cycles_arrive_whole() {
    let nodes = vec![
        node("a", &json!({"next": "b"})),
        node("b", &json!({"next": "c"})),
        node("c", &json!({"next": "a"})),
        node("self", &json!({"next": "self"})),
        // Only leads there.
        node("d", &json!({"next": "a"})),
    ];
    let catalog = Arc::new(catalog());
    let report = synced(&world(nodes.clone()), &catalog).await;
    assert!(report.refusals.is_empty(), "{report:?}");
    assert_eq!(report.totals().counts.created, 5);
    arrived(&catalog, &nodes);
    catalog.upserts.lock().unwrap().clear();
    assert_eq!(synced(&world(nodes), &catalog).await.totals().counts.unchanged, 5);
}

#[tokio::test]
async fn what_relates_to_nothing_is_refused_and_all_else_arrives() {
    let nodes = vec![
        node("a", &json!({"next": "nowhere"})),
        node("b", &json!({"next": "a"})),
        node("x", &json!({"next": "y"})),
        node("y", &json!({"next": "x", "leaf": "nowhere"})),
        node("z", &json!({})),
    ];
    let catalog = Arc::new(catalog());
    let report = synced(&world(nodes), &catalog).await;
    let mut refused: Vec<_> = report.refusals.iter().map(|r| r.entity.identifier.as_str()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["a", "b", "x", "y"]);
    assert!(report.refusals.iter().all(|refusal| refusal.problem.message.starts_with("no ")), "{report:?}");
    assert!(catalog.held().contains(&"node/z".to_owned()));
}
