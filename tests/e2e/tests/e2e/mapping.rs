//! Mappings that people edit in Port.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::collections::BTreeSet;

use berth_e2e::{Entities, World};
use serde_json::{Value, json};

const OTHER: &str = "port-ocean/pagerduty/1.0.0/other/exporter";

/// The default entry of S3 buckets.
fn buckets(config: &mut Value) -> &mut Value {
    let resources = config["resources"].as_array_mut().unwrap();
    resources.iter_mut().find(|resource| resource["kind"] == "AWS::S3::Bucket").unwrap()
}

fn mappings(resource: &mut Value) -> &mut Value {
    &mut resource["port"]["entity"]["mappings"]
}

/// Another entry of S3 buckets.
fn entry(query: &str, mappings: &Value) -> Value {
    json!({"kind": "AWS::S3::Bucket", "selector": {"query": query}, "port": {"entity": {"mappings": mappings}}})
}

fn blueprint(identifier: &str, properties: &[&str]) -> Value {
    let properties: Value = properties.iter().map(|name| (*name, json!({"type": "string"}))).collect();
    json!({"identifier": identifier, "title": identifier, "schema": {"properties": properties, "required": []}})
}

fn identifiers(entities: &Entities, blueprint: &str) -> BTreeSet<String> {
    let prefix = format!("{blueprint}/");
    entities.keys().filter_map(|key| key.strip_prefix(&prefix)).map(ToOwned::to_owned).collect()
}

fn misconfiguration<'r>(report: &'r Value, field: &str) -> &'r Value {
    let all = report["misconfigurations"].as_array().unwrap();
    all.iter().find(|it| it["field"] == field).unwrap_or(&Value::Null)
}

#[test]
fn several_entries_of_a_kind_are_kept_apart_and_lists_are_split() {
    let world = World::with_accounts(1).buckets(2).build();
    world.sync().exits(0);
    let account = &world.accounts()[0];
    world.port().seed_blueprint(&blueprint("second", &["name"])).unwrap();
    world.port().seed_blueprint(&blueprint("tag", &["value", "left", "bucket"])).unwrap();
    world.edit_mapping(|config| {
        let resources = config["resources"].as_array_mut().unwrap();
        let second = json!({"identifier": ".Properties.BucketName", "title": "'the second'", "blueprint": "'second'",
            "properties": {"name": ".Properties.BucketName | sub(\"^berth-(?<account>[0-9]+)-\"; \"\\(.account): \")"}});
        resources.push(entry(".Properties.BucketName | endswith(\"-1\")", &second));
        let tag = json!({"identifier": ".Properties.BucketName + \"/\" + .tag.Key", "blueprint": "\"tag\"",
            "properties": {"value": ".tag.Value", "bucket": ".Properties.Arn", "left": ".Properties.Tags"}});
        let mut tags = entry(".tag.Key != \"team\"", &tag);
        tags["port"]["itemsToParse"] = json!(".Properties.Tags");
        tags["port"]["itemsToParseName"] = json!("tag");
        resources.push(tags);
    });

    let run = world.sync();
    run.exits(0);
    let entities = world.entities();
    let bucket = |region: &str, number: u8| format!("berth-{account}-{region}-{number}");
    let second = BTreeSet::from([bucket("us-east-1", 1), bucket("eu-west-1", 1)]);
    assert_eq!(identifiers(&entities, "second"), second);
    let name = &entities[&format!("second/{}", bucket("eu-west-1", 1))]["properties"]["name"];
    assert_eq!(*name, json!(format!("{account}: eu-west-1-1")));
    // Three of the four buckets have tags: a name, a team, and an owner.
    let tagged = [bucket("us-east-1", 1), bucket("eu-west-1", 0), bucket("eu-west-1", 1)];
    let tags = tagged.iter().flat_map(|it| ["Name", "owner-account"].map(|key| format!("{it}/{key}")));
    assert_eq!(identifiers(&entities, "tag"), tags.collect());
    let owner = &entities[&format!("tag/{}/owner-account", tagged[0])]["properties"];
    assert_eq!(*owner, json!({"value": account, "bucket": format!("arn:aws:s3:::{}", tagged[0])}));
    assert_eq!(misconfiguration(&run.report, "properties.left")["count"], 6, "the list is taken out");
    for (key, expected) in world.expected() {
        assert_eq!(entities[&key], expected, "{key}");
    }

    let again = world.sync();
    again.exits(0);
    assert_eq!(again.count("unchanged"), entities.len() as u64, "{again}");
}

#[test]
fn entities_relations_and_teams_are_found_by_search_queries() {
    let world = World::with_accounts(1).buckets(1).build();
    world.sync().exits(0);
    let bucket = format!("berth-{}-eu-west-1-0", world.accounts()[0]);
    let port = world.port();
    port.seed_blueprint(&blueprint("service", &["bucketName", "arn"])).unwrap();
    port.seed_blueprint(&blueprint("_team", &[])).unwrap();
    let service = json!({"identifier": "web", "title": "Web", "properties": {"bucketName": bucket}});
    port.seed_entity("service", &service, OTHER).unwrap();
    port.seed_entity("_team", &json!({"identifier": "red", "title": "eu-west-1"}), OTHER).unwrap();
    world.edit_blueprint("s3Bucket", |it| it["relations"]["service"] = json!({"target": "service"}));
    let query = |property: &str, value: &str| {
        json!({"combinator": "\"and\"", "rules": [
            {"property": format!("'{property}'"), "operator": "'='", "value": value}]})
    };
    world.edit_mapping(|config| {
        let by_name = query("bucketName", ".Properties.BucketName");
        let mapping = mappings(buckets(config));
        mapping["relations"]["service"] = by_name.clone();
        mapping["team"] = query("$title", ".Properties.BucketName | capture(\"-(?<region>eu-west-1)-\").region");
        let found = json!({"identifier": by_name, "blueprint": "'service'", "properties": {"arn": ".Properties.Arn"}});
        config["resources"].as_array_mut().unwrap().push(entry("true", &found));
    });

    for round in 0..2 {
        let run = world.sync();
        run.exits(0).says("found nothing for the search query of 1 entities");
        assert_eq!((run.count("updated"), run.count("refused")), (3, 0), "{run}");
        let found = port.entity("service", "web").unwrap();
        let arn = format!("arn:aws:s3:::{bucket}");
        assert_eq!(found["properties"], json!({"bucketName": bucket, "arn": arn}), "round {round}: {run}");
        let held = port.entity("s3Bucket", &arn).unwrap();
        assert_eq!((&held["relations"]["service"], &held["team"]), (&json!("web"), &json!(["red"])));
        let other = port.entity("s3Bucket", &arn.replace("eu-west-1", "us-east-1")).unwrap();
        assert_eq!((&other["relations"]["service"], &other["team"]), (&Value::Null, &json!([])));
    }
}

#[test]
fn fields_that_give_nothing_are_reported_with_their_expression() {
    let world = World::with_accounts(1).buckets(2).build();
    world.sync().exits(0);
    world.edit_blueprint("s3Bucket", |it| it["schema"]["required"] = json!(["arn"]));
    world.edit_mapping(|config| {
        let mapping = mappings(buckets(config));
        mapping["properties"]["arn"] = json!(".Properties.Arm");
        mapping["properties"]["tags"] =
            json!(".Properties.Tags | if length > 0 then . else error(\"no tags\") end");
        mapping["properties"]["creationDate"] = json!(true);
    });
    let run = world.sync();
    run.exits(3)
        .says("✗ resources[3] (AWS::S3::Bucket) properties.arn: 4 of 4 resources; s3Bucket requires it")
        .says("`.Properties.Arm`: gave null")
        .says("- resources[3] (AWS::S3::Bucket) properties.tags: 1 of 4 resources")
        .says("`True`: the filter `True` is not defined");
    let arn = misconfiguration(&run.report, "properties.arn");
    assert_eq!(
        *arn,
        json!({"resource": 3, "kind": "AWS::S3::Bucket", "field": "properties.arn", "expression": ".Properties.Arm",
            "blueprint": "s3Bucket", "required": true, "count": 4, "of": 4, "reason": "gave null"})
    );
    assert_eq!(misconfiguration(&run.report, "properties.tags")["reason"], "no tags");
    assert_eq!(run.report["misconfigurations"].as_array().unwrap().len(), 3);
    let lines = run.stderr.lines().filter(|line| line.contains("`properties.arn`")).count();
    assert_eq!(lines, 1, "one line for all batches: {run}");
}

#[test]
fn a_broken_mapping_fails_its_kind_alone_and_deletes_nothing() {
    let mut world = World::with_accounts(1).buckets(2).build();
    world.set("OCEAN__PLUGIN_DEADLINE_SECONDS", "1");
    world.sync().exits(0);
    let account = world.accounts()[0].clone();
    world.delete_bucket(&account, &format!("berth-{account}-us-east-1-1"));
    world.seed(&account, &["--regions=us-east-1", "--buckets=0", "--instances=1", "--clusters=0"]);
    let before = world.entities();
    let broken: [(&str, Value, &str); 6] = [
        (
            "/port/entity/mappings/properties/arn",
            json!({"a": "b"}),
            "`resources[3].port.entity.mappings.properties.arn`",
        ),
        ("/port/entity/mappings/identifier", json!(".Properties["), "`identifier`, `.Properties[`: expected"),
        ("/port/entity/mappings/identifier", json!(".Properties.Arm"), "3 resources without an identifier"),
        ("/selector/query", json!(".Properties.BucketName"), "selector.query: gave `\"berth-"),
        (
            "/selector/query",
            json!(true),
            "`resources[3].selector.query`: expected a JQ expression, found a boolean",
        ),
        ("/port/entity/mappings/title", json!("1 | until(false; .)"), "ran longer than 1 s"),
    ];
    for (place, value, said) in broken {
        let mut healthy = Value::Null;
        world.edit_mapping(|config| {
            let entry = buckets(config);
            healthy = entry.clone();
            *entry.pointer_mut(place).unwrap() = value;
        });
        let run = world.sync();
        // Without identifiers everything is read, and what was there before waits for a decision.
        let read = said.contains("without an identifier");
        run.exits(if read { 5 } else { 3 }).says(said);
        let failed = run.units("failed");
        assert_eq!(failed.is_empty(), read, "{run}");
        assert!(failed.iter().all(|(_, _, kind)| kind == "AWS::S3::Bucket"), "{run}");
        let after = world.entities();
        assert_eq!(identifiers(&after, "s3Bucket"), identifiers(&before, "s3Bucket"), "{run}");
        assert_eq!(identifiers(&after, "ec2Instance").len(), 1, "the other kinds are synced: {run}");
        world.edit_mapping(|config| *buckets(config) = healthy);
    }
    world.sync().exits(0);
    assert_eq!(world.entities(), world.expected());
}
