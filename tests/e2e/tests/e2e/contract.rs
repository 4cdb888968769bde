//! The requests to Port, in order and form: a recorded run against the contract, and the takeover of a catalog
//! that Ocean left behind.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::collections::{BTreeMap, VecDeque};

use berth_e2e::World;
use port_stand_in::LoggedRequest;
use serde_json::{Map, Value, json};

const INTEGRATION: &str = "aws-e2e";
const AGENT: &str = "port-ocean/aws-v3/{version}/aws-e2e";

fn read(file: &str) -> Value {
    serde_json::from_str(file).expect("the file is JSON")
}

// === The recorded run ===

/// Makes what differs from run to run the same.
struct Normal {
    replaced: Vec<(String, &'static str)>,
}

impl Normal {
    fn of(world: &World) -> Self {
        let requests = world.port().requests();
        let begun = requests.iter().find_map(|request| request.query_value("ocean_info_resync_id"));
        let instances = world.entities().into_keys();
        let instances = instances.filter_map(|key| key.strip_prefix("ec2Instance/").map(str::to_owned));
        let mut replaced: Vec<(String, &'static str)> = instances.map(|id| (id, "{instance}")).collect();
        replaced.extend(world.accounts().iter().map(|account| (account.clone(), "{account}")));
        replaced.push((begun.expect("entities were written in a resync"), "{event}"));
        replaced.push((env!("CARGO_PKG_VERSION").to_owned(), "{version}"));
        Self { replaced }
    }

    fn text(&self, text: &str) -> String {
        // The core's version is part of the contract, and no time.
        if text.len() >= 20 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T' {
            return "{time}".into();
        }
        self.replaced.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(list) => list.iter().map(|value| self.value(value)).collect(),
            Value::Object(object) => {
                object.iter().map(|(key, value)| (key.clone(), self.value(value))).collect()
            }
            other => other.clone(),
        }
    }

    fn request(&self, request: &LoggedRequest) -> Value {
        let query: Map<String, Value> = url::form_urlencoded::parse(request.query.as_bytes())
            .map(|(key, value)| (key.into_owned(), self.text(&value).into()))
            .collect();
        let agent = match self.text(&request.user_agent) {
            plain if plain == AGENT => "plain",
            exporter if exporter == format!("{AGENT}/exporter") => "exporter",
            _ => "neither",
        };
        let mut seen = json!({
            "call": format!("{} {}", request.method, self.text(&request.path)), "query": query,
            "agent": agent, "body": self.value(&request.body),
        });
        if !(200..300).contains(&request.status) {
            seen["status"] = request.status.into();
        }
        seen
    }
}

/// An expected request without what is for readers, and with what its templates add.
fn expected(request: &Value, templates: &Value) -> Value {
    fn filled(value: &Value, templates: &Value) -> Value {
        match value {
            Value::Array(list) => list.iter().map(|value| filled(value, templates)).collect(),
            Value::Object(object) => {
                let mut all = match object.get("like").and_then(Value::as_str) {
                    Some(name) => templates[name].as_object().expect("a template").clone(),
                    None => Map::new(),
                };
                let own = object.iter().filter(|(key, _)| *key != "like");
                all.extend(own.map(|(key, value)| (key.clone(), filled(value, templates))));
                all.into()
            }
            other => other.clone(),
        }
    }
    let mut request = filled(request, templates);
    let object = request.as_object_mut().expect("a request is an object");
    object.remove("section");
    object.entry("query").or_insert_with(|| json!({}));
    object.entry("body").or_insert(Value::Null);
    request
}

/// Whether a request is as expected, where `*` stands for anything. Entities of a bulk and kinds of a
/// list may have any order.
fn fits(expected: &Value, seen: &Value) -> bool {
    match (expected, seen) {
        (Value::String(any), _) if any == "*" => true,
        (Value::Object(expected), Value::Object(seen)) => {
            expected.len() == seen.len()
                && expected.iter().all(|(key, value)| seen.get(key).is_some_and(|seen| fits(value, seen)))
        }
        (Value::Array(expected), Value::Array(seen)) => {
            let mut left: Vec<&Value> = seen.iter().collect();
            expected.len() == seen.len()
                && expected.iter().all(|expected| {
                    let found = left.iter().position(|seen| fits(expected, seen));
                    found.map(|found| left.swap_remove(found)).is_some()
                })
        }
        _ => expected == seen,
    }
}

/// Joins the bulks of each blueprint, since units share them as they come.
fn joined(seen: Vec<Value>) -> VecDeque<Value> {
    let mut bulks: BTreeMap<String, usize> = BTreeMap::new();
    let mut all: Vec<Value> = Vec::new();
    for request in seen {
        let call = request["call"].as_str().expect("a call is text").to_owned();
        let Some(entities) = request["body"]["entities"].as_array().filter(|_| call.ends_with("/bulk"))
        else {
            all.push(request);
            continue;
        };
        if let Some(first) = bulks.get(&call) {
            let first = &mut all[*first];
            assert_eq!((&first["query"], &first["agent"]), (&request["query"], &request["agent"]), "{call}");
            first["body"]["entities"].as_array_mut().expect("entities").extend(entities.iter().cloned());
        } else {
            bulks.insert(call, all.len());
            all.push(request);
        }
    }
    all.into()
}

#[test]
fn a_first_run_asks_port_what_the_contract_says() {
    let contract = read(include_str!("../../contract/once.json"));
    let world = World::with_accounts(1).buckets(1).instances(1).clusters(1).build();
    world.sync().exits(0);

    let normal = Normal::of(&world);
    let seen: Vec<Value> = world.port().requests().iter().map(|request| normal.request(request)).collect();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let anytime: Vec<Value> =
        list(&contract["anytime"]).iter().map(|request| expected(request, &contract["templates"])).collect();
    let (free, ordered): (Vec<Value>, Vec<Value>) = seen
        .into_iter()
        .partition(|request| anytime.iter().any(|expected| expected["call"] == request["call"]));
    for expected in &anytime {
        let of_it: Vec<&Value> = free.iter().filter(|seen| seen["call"] == expected["call"]).collect();
        assert!(!of_it.is_empty(), "{} is missing", expected["call"]);
        assert!(of_it.iter().all(|seen| fits(expected, seen)), "{of_it:#?}");
    }

    let mut ordered = joined(ordered);
    for phase in list(&contract["phases"]) {
        let phase_name = format!("{} (section {})", phase["phase"], phase["section"]);
        let wanted: Vec<Value> = list(&phase["requests"])
            .iter()
            .map(|request| expected(request, &contract["templates"]))
            .collect();
        let mut left: Vec<Value> = ordered.drain(..wanted.len().min(ordered.len())).collect();
        for (position, wanted) in wanted.iter().enumerate() {
            let found = match phase["order"].as_str() {
                Some("fixed") => Some(0).filter(|_| left.first().is_some_and(|seen| fits(wanted, seen))),
                Some("any") => left.iter().position(|seen| fits(wanted, seen)),
                other => panic!("{phase_name}: {other:?} is no order"),
            };
            let Some(found) = found else {
                let alike = left.iter().filter(|seen| seen["call"] == wanted["call"]).map(Value::to_string);
                let alike: Vec<String> = alike.collect();
                let calls: Vec<&Value> = left.iter().map(|seen| &seen["call"]).collect();
                panic!(
                    "{phase_name}: request {position} does not come.\nexpected: {wanted}\nseen: {}\nof: {calls:#?}",
                    alike.join("\n")
                );
            };
            left.remove(found);
        }
    }
    assert!(ordered.is_empty(), "more than the contract has: {ordered:#?}");
}

// === A catalog that is taken over ===

/// Port as the integration that Berth replaces has left it, with these entities.
fn left_behind(world: &World, entities: &BTreeMap<String, Value>) {
    let left = read(include_str!("../../contract/aws-v3.json"));
    for blueprint in left["blueprints"].as_array().expect("blueprints") {
        world.port().seed_blueprint(blueprint).expect("a blueprint");
    }
    world.port().seed_integration(&left["integration"]).expect("an integration");
    let datasource = left["datasource"].as_str().expect("a datasource");
    // Accounts come first, by name: the others relate to them.
    for (key, entity) in entities {
        let (blueprint, identifier) = key.split_once('/').expect("blueprint and identifier");
        let mut entity = entity.clone();
        entity["identifier"] = identifier.into();
        world.port().seed_entity(blueprint, &entity, datasource).expect("an entity");
    }
    world.port().clear_requests();
}

/// The requests that change the catalog, by method and path.
fn changes(world: &World) -> Vec<String> {
    let requests = world.port().requests();
    let changes = requests.iter().filter(|request| {
        let reported = request.route.contains("ingest")
            || ["/resync-state", "/examples"].iter().any(|end| request.route.ends_with(end));
        request.writes() && !reported
    });
    changes.map(|request| format!("{} {}", request.method, request.path)).collect()
}

fn without_state(integration: &Value) -> Value {
    let mut integration = integration.clone();
    let object = integration.as_object_mut().expect("a document");
    for key in ["resyncState", "updatedAt", "createdAt"] {
        object.remove(key);
    }
    integration
}

#[test]
fn a_catalog_is_taken_over_without_writing_an_entity() {
    let world = World::with_accounts(2).buckets(2).instances(1).clusters(1).build();
    let expected = world.expected();
    left_behind(&world, &expected);
    let before = world.port().entities();
    let mut integration = without_state(&world.port().integration(INTEGRATION).expect("it is there"));

    let plan = world.berth(&["plan"]);
    plan.exits(0).says("Nothing to create or update.");
    assert_eq!((&plan.report["changes"], &plan.report["foreign"]), (&json!([]), &json!([])), "{plan}");
    assert_eq!(plan.report["deletion"]["deleted"], json!([]), "{plan}");
    assert_eq!(plan.count("unchanged"), expected.len() as u64, "{plan}");
    assert_eq!(changes(&world), Vec::<String>::new());

    let run = world.sync();
    run.exits(0);
    assert_eq!(run.count("unchanged"), expected.len() as u64, "{run}");
    // One PATCH says who runs it now; nothing else is touched, down to when it was written and by whom.
    assert_eq!(changes(&world), [format!("PATCH /v1/integration/{INTEGRATION}")]);
    assert_eq!(world.port().entities(), before);
    let after = without_state(&world.port().integration(INTEGRATION).expect("it is there"));
    for (key, value) in [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("changelogDestination", json!({})),
        ("processingMode", after["processingMode"].clone()),
    ] {
        integration[key] = value;
    }
    assert_eq!(after, integration);
}

/// The peer's records have neither `__Region` nor `__AccountId`, which its own default mapping reads.
#[test]
fn only_the_arn_that_the_old_mapping_got_wrong_is_corrected() {
    let world = World::with_accounts(1).buckets(1).instances(2).clusters(1).build();
    let expected = world.expected();
    let mut wrong = expected.clone();
    let mut instances: Vec<String> = Vec::new();
    for (key, entity) in &mut wrong {
        if let Some(id) = key.strip_prefix("ec2Instance/") {
            entity["properties"]["arn"] = format!("arn:aws:ec2:::instance/{id}").into();
            instances.push(id.to_owned());
        }
    }
    left_behind(&world, &wrong);
    let before = world.port().entities();

    let corrections = format!("{} updates only correct an ARN", instances.len());
    world.berth(&["plan"]).exits(0).says(&corrections);
    world.port().clear_requests();
    let run = world.sync();
    run.exits(0);
    assert_eq!((run.count("updated"), run.count("created")), (instances.len() as u64, 0), "{run}");
    assert_eq!(world.entities(), expected);
    let mut after = world.port().entities();
    for id in &instances {
        let [was, is] = [&before, &after].map(|all| &all["ec2Instance"][id]["properties"]["arn"]);
        let right = &expected[&format!("ec2Instance/{id}")]["properties"]["arn"];
        assert_eq!((was, is), (&json!(format!("arn:aws:ec2:::instance/{id}")), right));
        // Who wrote it, and when, has changed along with the ARN.
        after["ec2Instance"][id] = before["ec2Instance"][id].clone();
    }
    assert_eq!(after, before, "nothing else is touched");
    let mut changes = changes(&world);
    changes.dedup();
    let bulk = "POST /v1/blueprints/ec2Instance/entities/bulk";
    assert_eq!(changes, [&format!("PATCH /v1/integration/{INTEGRATION}"), bulk]);
}

#[test]
fn what_the_old_integration_wrote_is_owned_and_what_others_wrote_is_not() {
    let world = World::with_accounts(1).buckets(2).build();
    let expected = world.expected();
    let mut stale = expected.clone();
    let account = &world.accounts()[0];
    let bucket = |name: &str| {
        let arn = format!("arn:aws:s3:::{name}");
        let entity = json!({"title": name, "properties": {"arn": arn}, "relations": {"account": account}});
        (format!("s3Bucket/{arn}"), entity)
    };
    stale.extend([bucket("gone-since")]);
    left_behind(&world, &stale);
    let mut foreign = bucket("of-another-integration").1;
    foreign["identifier"] = "arn:aws:s3:::of-another-integration".into();
    let other = "port-ocean/aws-v3/2.20.11-beta/other/exporter";
    world.port().seed_entity("s3Bucket", &foreign, other).expect("an entity");

    world.sync().exits(0);
    let mut left = expected;
    left.extend([bucket("of-another-integration")]);
    assert_eq!(world.entities(), left);
}
