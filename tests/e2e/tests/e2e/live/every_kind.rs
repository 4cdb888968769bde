//! Every kind that supports live events.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use berth_e2e::{Kinds, World};
use serde_json::{Value, json};

use super::{
    super::kinds::unsupported_by_moto, DATASOURCE, READ_IN, call, follow, outcome, outcomes, send, start,
    state_regions,
};

/// The text that a resource's name is, as its kind's manifest makes its identifier of it.
fn resource_name(kind: &Value, entity: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (identifier, account, region) =
        (text(&entity["identifier"]), text(&entity["account"]), text(&entity["region"]));
    if kind["kind"] == "AWS::S3::Bucket" {
        return identifier.trim_start_matches("arn:aws:s3:::").to_owned();
    }
    if identifier.starts_with("arn:aws:iam:") {
        // Its path is a part of the ARN, not of the name.
        return text(&entity["title"]);
    }
    // Named within what they belong to.
    if let Some((_, name)) = match kind["kind"].as_str() {
        Some("AWS::ECR::Image") => identifier.rsplit_once('@'),
        Some("AWS::EC2::VolumeAttachment") => identifier.split_once('/').map(|(volume, it)| (it, volume)),
        _ => None,
    } {
        return name.to_owned();
    }
    let mut texts = Vec::new();
    collect_texts(&kind["events"]["gone"], &mut texts);
    let filled = texts.into_iter().map(|text| {
        text.replace("{partition}", "aws").replace("{account}", &account).replace("{region}", &region)
    });
    let fits = filled.filter_map(|text| {
        let (before, after) = text.split_once("{resource}")?;
        identifier.strip_prefix(before)?.strip_suffix(after).map(ToOwned::to_owned)
    });
    // The longest text around it leaves the shortest name. A kind without `gone` is named by its title.
    fits.min_by_key(String::len).unwrap_or_else(|| text(&entity["title"]))
}

fn collect_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, texts)),
        Value::Object(members) => members.values().for_each(|value| collect_texts(value, texts)),
        _ => {}
    }
}

/// The first API call of a list that a kind's events have, told of a resource.
fn first_call(kind: &Value, list: &str, entity: &Value, resource: &str) -> Option<Value> {
    let on = kind["events"]["on"].as_array().unwrap();
    let trigger = on.iter().find(|trigger| trigger[list].is_array() && trigger["prefix"].is_null())?;
    let mut detail = json!({});
    put(&mut detail, trigger["resource"][0].as_str().unwrap(), json!(resource));
    // What some kinds read besides.
    if kind["kind"] == "AWS::ECR::Image" {
        let repository = entity["relations"]["repository"].as_str().unwrap_or_default();
        let name = repository.split_once(":repository/").map_or("", |(_, name)| name);
        put(&mut detail, "requestParameters.repositoryName", json!(name));
    }
    if kind["kind"] == "AWS::EC2::VolumeAttachment" {
        put(&mut detail, "responseElements.instanceId", entity["relations"]["instance"].clone());
    }
    if kind["kind"] == "AWS::ECS::Service" {
        let cluster = entity["relations"]["cluster"].clone();
        put(&mut detail, "responseElements.service.clusterArn", cluster);
    }
    if kind["kind"] == "AWS::ECS::TaskDefinition" {
        let family = resource.rsplit('/').next().and_then(|name| name.split(':').next());
        put(&mut detail, "responseElements.taskDefinition.family", json!(family));
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (account, region) = (text(&entity["account"]), text(&entity["region"]));
    Some(call(&account, &region, &text(&trigger["source"]), &text(&trigger[list][0]), &detail))
}

/// Puts a value at a path, and what is missing on the way there.
fn put(at: &mut Value, path: &str, value: Value) {
    let mut at = at;
    for name in path.split('.') {
        let (name, list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        at = &mut at[name];
        if list {
            if !at.is_array() {
                *at = json!([{}]);
            }
            at = &mut at[0];
        }
    }
    *at = value;
}

/// A name of the same form that nothing has.
fn ghost(name: &str) -> String {
    let mut ghost = name.to_owned();
    let last = ghost.pop();
    ghost.push(if last == Some('f') { 'e' } else { 'f' });
    ghost
}

/// For machines that are busy: everything is read at once.
fn wait_long(what: &str, condition: impl Fn() -> Option<String>) {
    let start = Instant::now();
    while let Some(missing) = condition() {
        assert!(start.elapsed() < Duration::from_mins(4), "waited in vain for {what}: {missing}");
        thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn every_kind_with_events_is_read_as_a_resync_reads_it_and_found_gone() {
    let mut world = World::with_accounts(1).build();
    let seeded: BTreeSet<String> = world.seeded_kinds().into_iter().collect();
    let kinds = Kinds::bundled().only(&seeded).with_events();
    follow(&mut world, &kinds, &unsupported_by_moto("option `"));
    state_regions(&world, &kinds);
    world.seed_kinds();
    let account = json!({"identifier": world.accounts()[0]});
    world.port().seed_entity("awsAccount", &account, DATASOURCE).unwrap();
    let expected = world.expected_kinds();
    let resources = world.resources_of_kinds();
    let service = start(&world);

    let mut awaited: BTreeSet<String> = BTreeSet::new();
    let mut ghosts: BTreeSet<String> = BTreeSet::new();
    let mut shared: BTreeSet<String> = BTreeSet::new();
    let mut later = Vec::new();
    for kind in kinds.manifests() {
        let of_kind: Vec<&Value> =
            resources.iter().filter(|resource| resource["kind"] == kind["kind"]).collect();
        assert!(!of_kind.is_empty(), "{} is seeded", kind["kind"]);
        for resource in of_kind {
            let name = resource_name(kind, resource);
            send(
                &service,
                &first_call(kind, "upsert", resource, &name).expect("every kind has such an event"),
            );
            let (blueprint, identifier) =
                (resource["blueprint"].as_str().unwrap(), resource["identifier"].as_str().unwrap());
            awaited.insert(format!("{blueprint}/{identifier}"));
            let gone = ghost(&name);
            // Who deletes a role or user tells its name only: with a path it is left to the next resync.
            let has_path = identifier.starts_with("arn:aws:iam:") && identifier.split('/').count() > 2;
            if kind["events"]["gone"].is_object()
                && !has_path
                && let Some(event) = first_call(kind, "delete", resource, &gone)
            {
                let identifier = identifier.replace(&name, &gone);
                let mapped = &kind["mapping"]["port"]["entity"]["mappings"]["properties"];
                let stated = mapped.as_object().into_iter().flatten();
                let stated = stated.filter(|(_, expression)| *expression == ".__ExtraContext.Region");
                let stated = stated.map(|(property, _)| property.as_str()).chain([READ_IN]);
                let properties: Value =
                    stated.map(|property| (property.to_owned(), resource["region"].clone())).collect();
                let entity = json!({"identifier": identifier, "properties": properties,
                    "relations": {"account": resource["account"]}});
                world.port().seed_entity(blueprint, &entity, DATASOURCE).unwrap();
                // Another account may have a resource of a kind that accounts share.
                let gone = if kind["single_account"] == true { &mut ghosts } else { &mut shared };
                gone.insert(format!("{blueprint}/{identifier}"));
                later.push(event);
            }
        }
    }
    wait_long("the entities", || {
        let mut entities = world.entities();
        for entity in entities.values_mut() {
            entity["properties"].as_object_mut().unwrap().remove(READ_IN);
        }
        let mut reported = String::new();
        for key in awaited.iter().filter(|key| entities.get(*key) != expected.get(*key)) {
            _ = writeln!(reported, "{key}: {:?} instead of {:?}", entities.get(key), expected.get(key));
        }
        (!reported.is_empty()).then(|| format!("{reported}{:?}", outcomes(&service)))
    });
    assert!(ghosts.len() > 40 && !shared.is_empty(), "{} and {}", ghosts.len(), shared.len());
    for event in later {
        send(&service, &event);
    }
    wait_long("what is gone to go", || {
        let entities = world.entities();
        let left: Vec<&String> = ghosts.iter().filter(|key| entities.contains_key(*key)).collect();
        (!left.is_empty()).then(|| format!("{left:?} {:?}", outcomes(&service)))
    });
    let entities = world.entities();
    let lost: Vec<&String> = shared.iter().filter(|key| !entities.contains_key(*key)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(awaited.iter().all(|key| entities.contains_key(key)), "nothing else went");
    assert_eq!(outcome(&service, "failed") + outcome(&service, "denied"), 0);
}
