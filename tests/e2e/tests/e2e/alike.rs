//! Compares the simulator with moto: the same fetch plans over the same protocols must give the same structure.
//! If moto returns something that the simulator does not, the simulator has drifted from AWS.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use axum::body::Bytes;
use berth_aws_protocol::model::{Model, Reference, Shape};
use berth_core::{KindManifest, KindReads, Manifest, Step};
use berth_e2e::{Answer, Simulated, Wire, World};
use quick_xml::{Reader, events::Event};
use serde_json::{Map, Value, json};

use super::kinds::unsupported_by_moto;

const REGION: &str = "eu-west-1";

#[test]
fn the_simulator_answers_in_the_form_in_which_moto_answers() {
    let mut world = World::with_accounts(1).build();
    world.seed_kinds();
    let moto = world.wire(&world.aws_url(), &world.accounts()[0].clone(), REGION);
    let simulator = world.simulate(Simulated::default());
    let account = simulator.accounts()[0].clone();
    let simulated = world.wire(simulator.base_url().as_str(), &account, REGION);

    let mut violations = Vec::new();
    let mut compared = BTreeSet::new();
    let unknown = unsupported_by_moto("`AWS::");
    for kind in kinds() {
        if unknown.contains(kind.kind.as_str()) {
            continue;
        }
        let theirs = walk(&world, &moto, &kind, &world.accounts()[0]);
        let ours = walk(&world, &simulated, &kind, &account);
        for (step, exchange) in &ours {
            let name = &exchange.name;
            // The simulator's images were never scanned.
            let scanned = name != "ecr:DescribeImageScanFindings";
            if let Some(error) = exchange.error.as_ref().filter(|_| scanned) {
                violations.push(format!("{name}: the simulator refuses: {error}"));
            }
            let Some(their) = theirs.get(step).filter(|their| their.error.is_none()) else { continue };
            compared.insert(name.clone());
            let lacks = their.paths.difference(&exchange.paths);
            violations.extend(lacks.map(|path| format!("{name}: moto answers with `{path}`")));
            if their.is_json != exchange.is_json {
                violations
                    .push(format!("{name}: moto speaks {}", if their.is_json { "JSON" } else { "XML" }));
            }
        }
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    // Moto has most of them.
    assert!(compared.len() > 100, "{}: {compared:?}", compared.len());
}

#[test]
fn the_simulator_refuses_in_the_form_in_which_moto_refuses() {
    let mut world = World::with_accounts(1).build();
    let moto = world.wire(&world.aws_url(), &world.accounts()[0].clone(), REGION);
    let simulator = world.simulate(Simulated::default());
    let simulated = world.wire(simulator.base_url().as_str(), &simulator.accounts()[0], REGION);
    let cases = [
        ("dynamodb", "DescribeTable", json!({"TableName": "gone"})),
        ("ecs", "ListServices", json!({"cluster": "gone"})),
        ("eks", "DescribeCluster", json!({"name": "gone"})),
        ("iam", "GetRole", json!({"RoleName": "gone"})),
        ("kms", "DescribeKey", json!({"KeyId": "arn:aws:kms:eu-west-1:111122223333:key/gone"})),
        ("s3", "GetBucketTagging", json!({"Bucket": "gone-gone"})),
        (
            "sqs",
            "GetQueueAttributes",
            json!({"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/111122223333/gone"}),
        ),
    ];
    for (service, operation, input) in cases {
        let paths = |wire: &Wire| {
            let answer = world.ask(wire, service, operation, &input);
            let error = answer.error();
            assert!(!error.message.is_empty(), "{service}");
            (answer.status, error.code, is_json(&answer.body), element_names(&answer.body))
        };
        let (theirs, ours) = (paths(&moto), paths(&simulated));
        assert_eq!((theirs.0, &theirs.1, theirs.2), (ours.0, &ours.1, ours.2), "{service}:{operation}");
        // moto says more: which bucket, which host.
        assert!(ours.3.is_subset(&theirs.3), "{service}:{operation}: {:?}, {:?}", ours.3, theirs.3);
    }
}

#[test]
fn every_list_of_the_simulator_comes_in_pages_of_the_size_that_is_asked_for() {
    let mut world = World::with_accounts(0).build();
    let simulator = world.simulate(Simulated { resources: 3, ..Simulated::default() });
    let wire = world.wire(simulator.base_url().as_str(), &simulator.accounts()[0], REGION);
    let mut paged = 0;
    for kind in kinds() {
        let Some(step) = kind.plan().steps.first() else { continue };
        let service = berth_aws_protocol::AwsService::load(&step.service).unwrap();
        let operation = service.operation(&step.operation).unwrap();
        let Some(pages) = operation.pagination() else { continue };
        let Some(limit) = &pages.limit_key else { continue };
        let mut input = Value::from(step.input.clone());
        if kind.kind.as_str() == "AWS::CloudControl::Resource" {
            input["TypeName"] = json!("AWS::AppConfig::Application");
        }
        // Route 53 and CloudFront take texts.
        input[limit] = json!(1);
        if operation.encode(&input).is_err() {
            input[limit] = json!("1");
        }
        let mut seen = BTreeSet::new();
        let mut pages_seen = 0;
        loop {
            let answer = world.ask(&wire, &step.service, &step.operation, &input).decode().unwrap();
            let items = step.items.as_ref().unwrap().all(&answer);
            assert!(items.len() <= 1, "{operation}: {} on a page of one", items.len());
            seen.extend(items.iter().map(ToString::to_string));
            pages_seen += 1;
            if !pages.advance(&answer, &mut input).unwrap() {
                break;
            }
        }
        let there = simulator.resources(kind.kind.as_str(), &simulator.accounts()[0], REGION);
        // Some lists are only the way to the resources.
        if kind.plan().resource_step().map(|step| &step.id) == Some(&step.id)
            && step.service != "organizations"
        {
            assert_eq!((seen.len(), pages_seen), (there as usize, there), "{operation}");
        }
        let first = pages.input_tokens.first().unwrap();
        input[first] = json!("no-token-of-ours");
        assert_eq!(world.ask(&wire, &step.service, &step.operation, &input).status, 400, "{operation}");
        paged += 1;
    }
    assert!(paged > 30, "{paged}");
}

/// What one step of a plan was answered.
struct Exchange {
    name: String,
    is_json: bool,
    /// Every path of every answer, with the type of what is there.
    paths: BTreeSet<String>,
    error: Option<String>,
}

/// Runs a plan as a sync does, with few items, and keeps the form of the answers by step.
fn walk(world: &World, wire: &Wire, kind: &KindManifest, account: &str) -> BTreeMap<String, Exchange> {
    let mut exchanges = BTreeMap::new();
    let mut items: BTreeMap<&str, Vec<Map<String, Value>>> = BTreeMap::new();
    let refused = unsupported_by_moto("option `");
    let base: Map<String, Value> = [
        ("account", account),
        ("region", REGION),
        ("partition", "aws"),
        ("kind", "AWS::AppConfig::Application"),
    ]
    .map(|(name, value)| (name.to_owned(), json!(value)))
    .into_iter()
    .collect();
    for step in &kind.plan().steps {
        if step.option.as_ref().is_some_and(|option| refused.contains(option)) {
            continue;
        }
        let mut exchange = Exchange {
            name: format!("{}:{}", step.service, step.operation),
            is_json: false,
            paths: BTreeSet::new(),
            error: None,
        };
        let mut found = Vec::new();
        let runs = runs(step, &base, &items);
        for scope in &runs {
            let input = step.input.template().render(scope).unwrap_or_default();
            let answer = world.ask(wire, &step.service, &step.operation, &input);
            exchange.is_json = is_json(&answer.body);
            match decoded(&answer) {
                Err(error) => exchange.error = Some(error),
                Ok(value) => {
                    answer_paths(&answer, &value, &mut exchange.paths);
                    for item in step.items.iter().flat_map(|items| items.all(&value)) {
                        let mut scope = scope.clone();
                        let mut parents = scope.get("parents").cloned().unwrap_or_else(|| json!({}));
                        if let (Some(parent), Some(above)) = (step.parent(), scope.get("item")) {
                            parents[parent] = above.clone();
                        }
                        scope.insert("parents".to_owned(), parents);
                        scope.insert("item".to_owned(), item.clone());
                        found.push(scope);
                    }
                    if let Some(parent) = step.parent() {
                        keep(step, parent, scope, &value, &mut items);
                    }
                }
            }
        }
        items.insert(&step.id, found);
        if !runs.is_empty() {
            exchanges.insert(step.id.clone(), exchange);
        }
    }
    exchanges
}

/// The scopes in which a step runs.
fn runs(
    step: &Step,
    base: &Map<String, Value>,
    items: &BTreeMap<&str, Vec<Map<String, Value>>>,
) -> Vec<Map<String, Value>> {
    let Some(parent) = step.parent() else { return vec![base.clone()] };
    let above = items.get(parent).map(Vec::as_slice).unwrap_or_default();
    let Some(batch) = &step.batch else { return above.iter().take(3).cloned().collect() };
    let Some(first) = above.first() else { return Vec::new() };
    let mut scope = first.clone();
    let parents = |scope: &Map<String, Value>| scope.get("parents").cloned();
    let together = above.iter().filter(|other| parents(other) == parents(first)).take(batch.size as usize);
    scope.insert("items".to_owned(), together.map(|other| other["item"].clone()).collect());
    vec![scope]
}

/// Keeps the result of an enrichment for later steps of the same item.
fn keep(
    step: &Step,
    parent: &str,
    scope: &Map<String, Value>,
    answer: &Value,
    items: &mut BTreeMap<&str, Vec<Map<String, Value>>>,
) {
    for item in items.get_mut(parent).into_iter().flatten() {
        let result = match (&step.matching, &step.items) {
            (Some(matching), Some(list)) => {
                let key = matching.item.first(&item["item"]).cloned();
                list.all(answer)
                    .into_iter()
                    .find(|result| matching.result.first(result) == key.as_ref())
                    .cloned()
            }
            _ if item.get("item") == scope.get("item") => Some(answer.clone()),
            _ => None,
        };
        let Some(result) = result else { continue };
        let kept = step.result.as_ref().map_or(Some(&result), |path| path.first(&result)).cloned();
        let steps = item.entry("steps").or_insert_with(|| json!({}));
        steps[&step.id] = kept.unwrap_or_default();
    }
}

fn decoded(answer: &Answer) -> Result<Value, String> {
    if answer.status >= 300 {
        let error = answer.error();
        return Err(format!("{} {}: {}", answer.status, error.code, error.message));
    }
    answer.decode().map_err(|error| error.to_string())
}

/// Names of members and types of values.
fn answer_paths(answer: &Answer, value: &Value, to: &mut BTreeSet<String>) {
    let operation = answer.operation();
    if let Some(output) = &operation.model().output {
        paths((operation.service().model(), output), value, "", to);
    }
}

/// The keys of maps are not the model's, and neither are the members of a document.
fn paths((model, reference): (&Model, &Reference), value: &Value, at: &str, to: &mut BTreeSet<String>) {
    match (model.shape(reference), value) {
        (_, Value::Null) => {}
        (Shape::Structure(structure), Value::Object(members)) if !structure.document => {
            for (name, value) in members {
                let member = structure.members.iter().find(|member| member.name == *name).unwrap();
                paths((model, &member.reference), value, &format!("{at}.{name}"), to);
            }
        }
        (Shape::Map(_, element), Value::Object(members)) => {
            for value in members.values() {
                paths((model, element), value, &format!("{at}.*"), to);
            }
        }
        (Shape::List(element), Value::Array(values)) => {
            for value in values {
                paths((model, element), value, &format!("{at}[]"), to);
            }
        }
        (_, Value::Bool(_)) => drop(to.insert(format!("{at}: boolean"))),
        (_, Value::Number(_)) => drop(to.insert(format!("{at}: number"))),
        (_, Value::String(_)) => drop(to.insert(format!("{at}: text"))),
        (_, Value::Object(_) | Value::Array(_)) => drop(to.insert(format!("{at}: document"))),
    }
}

/// Whether a body is JSON, and not XML. The headers of moto are not always those of AWS.
fn is_json(body: &Bytes) -> bool {
    body.trim_ascii_start().first() == Some(&b'{')
}

/// The names of all elements, or of all members.
fn element_names(body: &Bytes) -> BTreeSet<String> {
    if let Ok(Value::Object(members)) = serde_json::from_slice::<Value>(body) {
        return members.keys().map(|name| name.to_lowercase()).collect();
    }
    let text = String::from_utf8_lossy(body);
    let mut reader = Reader::from_str(&text);
    let mut names = BTreeSet::new();
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return names,
            Event::Start(start) => drop(names.insert(start.name().into_inner().to_owned())),
            _ => {}
        }
    }
}

fn kinds() -> Vec<KindManifest> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    let mut kinds = Vec::new();
    for folder in fs::read_dir(plugins).unwrap() {
        let Ok(json) = fs::read(folder.unwrap().path().join("manifest.json")) else { continue };
        kinds.extend(Manifest::parse(&json).unwrap().kinds);
    }
    kinds
}
