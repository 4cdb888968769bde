//! Live events: what EventBridge posts, and which requests to AWS and Port follow.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod every_kind;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use berth_e2e::{Denial, Kinds, World};
use port_stand_in::Fault;
use serde_json::{Value, json};

use super::service::{Service, listen, reported, wait_for};

pub(super) const KEY: &str = "k3y-of-the-api-destination";
const DATASOURCE: &str = "port-ocean/aws-v3/0.1.0/aws-e2e/exporter";
const REGION: &str = "eu-west-1";

/// A world whose service follows events of these kinds and begins no resync by itself.
fn world(kinds: &[&str]) -> World {
    let mut world = World::with_accounts(1).build();
    let names: BTreeSet<String> = kinds.iter().map(ToString::to_string).collect();
    follow(&mut world, &Kinds::bundled().only(&names), &BTreeSet::new());
    world
}

fn follow(world: &mut World, kinds: &Kinds, without: &BTreeSet<String>) {
    for blueprint in Kinds::bundled().blueprints() {
        world.port().seed_blueprint(blueprint).unwrap();
    }
    world.install(&kinds.resources(without));
    listen(world, &json!({"type": "POLLING", "interval": 1, "resync_on_start": false}));
    switch_on(world);
}

pub(super) fn switch_on(world: &mut World) {
    world.set("OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY", KEY);
    world.port().change_options(|options| options.feature_flags.push("AWS_V3_LIVE_EVENTS_ENABLED".into()));
}

/// Starts the service and waits until it takes events.
pub(super) fn start(world: &World) -> Service {
    let service = Service::start(world);
    wait_for("the plugins", || service.ask("GET", "/health/ready").0.ends_with("200 OK"));
    service
}

/// Posts to the webhook: the status line, and the reply.
fn post(service: &Service, key: Option<&str>, body: &Value) -> (String, Value) {
    let mut stream = TcpStream::connect(&service.address).expect("the service listens");
    let body = body.to_string();
    let key = key.map(|key| format!("X-Port-Aws-Ocean-Api-Key: {key}\r\n")).unwrap_or_default();
    write!(
        stream,
        "POST /integration/webhook HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n{key}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, reply) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.lines().next().unwrap_or_default().to_owned(), serde_json::from_str(reply).unwrap_or_default())
}

#[track_caller]
pub(super) fn send(service: &Service, event: &Value) {
    assert_eq!(
        post(service, Some(KEY), event),
        ("HTTP/1.1 200 OK".into(), json!({"status": "ok"})),
        "{event}"
    );
}

/// What EventBridge makes of an API call that CloudTrail saw.
pub(super) fn call(account: &str, region: &str, source: &str, name: &str, detail: &Value) -> Value {
    let mut event = json!({
        "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": "AWS API Call via CloudTrail", "source": "aws.test", "account": account,
        "time": "2026-01-01T00:00:00Z", "region": region, "resources": [],
        "detail": {"eventVersion": "1.09", "eventSource": source, "eventName": name, "awsRegion": region,
                   "recipientAccountId": account, "requestParameters": null, "responseElements": null},
    });
    for (part, value) in detail.as_object().into_iter().flatten() {
        event["detail"][part] = value.clone();
    }
    event
}

/// The counters of resources that events named, by outcome, over all kinds.
fn outcomes(service: &Service) -> BTreeMap<String, u64> {
    let mut outcomes = BTreeMap::new();
    for line in service.ask("GET", "/metrics").1.lines() {
        if let Some(rest) = line.strip_prefix("berth_live_resources_total{")
            && let Some((labels, count)) = rest.split_once("} ")
            && let Some((_, outcome)) = labels.split_once("outcome=")
        {
            *outcomes.entry(outcome.trim_matches('"').to_owned()).or_default() +=
                count.parse::<u64>().unwrap();
        }
    }
    outcomes
}

pub(super) fn outcome(service: &Service, name: &str) -> u64 {
    outcomes(service).get(name).copied().unwrap_or_default()
}

/// A property that holds the region that was read.
const READ_IN: &str = "readIn";

/// Lets the entities of these kinds state their region, as they do their account: an event deletes what no
/// resync has recorded only if both are certain.
fn state_regions(world: &World, kinds: &Kinds) {
    for blueprint in kinds.manifests().iter().filter_map(|kind| kind["blueprints"].as_array()).flatten() {
        world.edit_blueprint(blueprint["identifier"].as_str().unwrap(), |it| {
            it["schema"]["properties"][READ_IN] = json!({"type": "string", "title": "Region"});
        });
    }
    world.edit_mapping(|config| {
        let resources = config["resources"].as_array_mut().unwrap().iter_mut();
        for resource in resources.filter(|it| kinds.manifests().iter().any(|kind| kind["kind"] == it["kind"]))
        {
            let mappings = &mut resource["port"]["entity"]["mappings"];
            mappings["properties"][READ_IN] = json!(".__ExtraContext.Region");
        }
    });
}

#[test]
fn a_bucket_a_function_and_an_instance_follow_their_events() {
    let world = world(&["AWS::S3::Bucket", "AWS::Lambda::Function", "AWS::EC2::Instance"]);
    state_regions(&world, &Kinds::bundled().only(&BTreeSet::from(["AWS::Lambda::Function".to_owned()])));
    let account = world.accounts()[0].as_str();
    let aws = |service: &str, method: &str, parameters: Value| {
        world.call(account, REGION, service, method, &parameters)
    };
    let service = start(&world);
    let port = world.port();

    // A bucket is created, tagged, and deleted.
    let name = format!("live-{account}");
    let arn = format!("arn:aws:s3:::{name}");
    let s3 = |event: &str| {
        let detail = json!({"requestParameters": {"bucketName": name, "Host": "s3.amazonaws.com"}});
        call(account, REGION, "s3.amazonaws.com", event, &detail)
    };
    aws(
        "s3",
        "create_bucket",
        json!({"Bucket": name, "CreateBucketConfiguration": {"LocationConstraint": REGION}}),
    );
    // Its name begins like the other's.
    let other = format!("{name}-too");
    aws(
        "s3",
        "create_bucket",
        json!({"Bucket": other, "CreateBucketConfiguration": {"LocationConstraint": REGION}}),
    );
    send(&service, &s3("CreateBucket"));
    wait_for("the bucket", || port.entity("s3Bucket", &arn).is_some());
    assert_eq!(port.entity("s3Bucket", &arn).unwrap()["properties"]["tags"], json!([]));
    assert_eq!(port.entities()["s3Bucket"].as_object().unwrap().len(), 1, "only the bucket that was named");
    let tag = json!([{"Key": "team", "Value": "blue"}]);
    aws("s3", "put_bucket_tagging", json!({"Bucket": name, "Tagging": {"TagSet": tag}}));
    send(&service, &s3("PutBucketTagging"));
    wait_for("the tag", || port.entity("s3Bucket", &arn).unwrap()["properties"]["tags"] == tag);
    aws("s3", "delete_bucket", json!({"Bucket": name}));
    send(&service, &s3("DeleteBucket"));
    wait_for("the bucket to go", || port.entity("s3Bucket", &arn).is_none());

    // A function; events name it in three ways.
    let role = format!("arn:aws:iam::{account}:role/lambda");
    let trust = json!({"Version": "2012-10-17", "Statement": []}).to_string();
    aws("iam", "create_role", json!({"RoleName": "lambda", "AssumeRolePolicyDocument": trust}));
    let function = "live";
    let arn = format!("arn:aws:lambda:{REGION}:{account}:function:{function}");
    let lambda = |event: &str, name: &str| {
        call(
            account,
            REGION,
            "lambda.amazonaws.com",
            event,
            &json!({"requestParameters": {"functionName": name}}),
        )
    };
    aws(
        "lambda",
        "create_function",
        json!({"FunctionName": function, "Role": role, "Handler": "main.handler", "Runtime": "python3.13",
               "Code": {"ImageUri": format!("{account}.dkr.ecr.{REGION}.amazonaws.com/x:1")}, "PackageType": "Image"}),
    );
    send(&service, &lambda("CreateFunction20150331", function));
    wait_for("the function", || port.entity("lambdaFunction", &arn).is_some());
    aws(
        "lambda",
        "update_function_configuration",
        json!({"FunctionName": function, "Description": "changed"}),
    );
    send(&service, &lambda("UpdateFunctionConfiguration20150331v2", &arn));
    let description =
        |text: &str| port.entity("lambdaFunction", &arn).unwrap()["properties"]["description"] == text;
    wait_for("the description", || description("changed"));
    aws("lambda", "delete_function", json!({"FunctionName": function}));
    send(&service, &lambda("DeleteFunction20150331", &format!("{account}:function:{function}")));
    wait_for("the function to go", || port.entity("lambdaFunction", &arn).is_none());

    // An instance that is started, tagged and terminated: it stays, as a resync has it, with its state.
    let ran = aws("ec2", "run_instances", json!({"ImageId": "ami-12c6146b", "MinCount": 1, "MaxCount": 1}));
    let id = ran["Instances"][0]["InstanceId"].as_str().unwrap();
    let set = json!({"items": [{"instanceId": id}]});
    let ec2 = |event: &str, detail: Value| call(account, REGION, "ec2.amazonaws.com", event, &detail);
    send(&service, &ec2("RunInstances", json!({"responseElements": {"instancesSet": set}})));
    wait_for("the instance", || port.entity("ec2Instance", id).is_some());
    aws("ec2", "create_tags", json!({"Resources": [id], "Tags": tag}));
    let resources = json!({"items": [{"resourceId": id}, {"resourceId": "vol-0123456789abcdef0"}]});
    send(&service, &ec2("CreateTags", json!({"requestParameters": {"resourcesSet": resources}})));
    wait_for("the tag", || port.entity("ec2Instance", id).unwrap()["properties"]["tags"] == tag);
    aws("ec2", "terminate_instances", json!({"InstanceIds": [id]}));
    send(
        &service,
        &json!({"account": account, "region": REGION, "source": "aws.ec2",
                "detail-type": "EC2 Instance State-change Notification",
                "detail": {"instance-id": id, "state": "terminated"}}),
    );
    let state = || port.entity("ec2Instance", id).unwrap()["properties"]["state"].clone();
    wait_for("the state", || state() == "terminated");

    // Port is told what caused the writes, and that it was no resync.
    let writes = port.requests().into_iter().filter(|request| {
        request.call().contains("/entities/bulk") || request.call().contains("bulk/entities")
    });
    let writes: Vec<_> = writes.collect();
    assert!(writes.len() >= 8, "{}", writes.len());
    for write in writes {
        assert_eq!(
            write.query_value("ocean_info_event_type").as_deref(),
            Some("http_request"),
            "{}",
            write.path
        );
        assert_eq!(write.query_value("ocean_info_resync_id"), None);
    }
    assert_eq!(port.count("/organization"), 1, "the flag is remembered");
    assert_eq!(json!(reported(&world)), json!([]), "no resync ran");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(KEY), "{log}");
}

#[test]
fn what_may_not_come_in_or_may_not_be_read_changes_nothing() {
    let world = world(&["AWS::S3::Bucket", "AWS::Lambda::Function"]);
    let account = world.accounts()[0].as_str();
    let arn = format!("arn:aws:lambda:{REGION}:{account}:function:gone");
    let identifier = json!({"identifier": arn, "title": "gone"});
    world.port().seed_entity("lambdaFunction", &identifier, DATASOURCE).unwrap();
    world.gate().deny(Denial { account: account.into(), service: "lambda".into(), region: REGION.into() });
    let service = start(&world);
    let event = |account: &str| {
        let detail = json!({"requestParameters": {"functionName": "gone"}});
        call(account, REGION, "lambda.amazonaws.com", "DeleteFunction20150331", &detail)
    };
    for key in [None, Some(""), Some("wrong"), Some("k3y-of-the-api-destinatio")] {
        let (status, reply) = post(&service, key, &event(account));
        assert_eq!(status, "HTTP/1.1 401 Unauthorized", "EventBridge must keep the event");
        assert_eq!(reply["status"], "error", "{reply}");
    }
    let (status, reply) = post(&service, Some(KEY), &json!({"hello": "world"}));
    assert_eq!((status.as_str(), &reply["status"]), ("HTTP/1.1 200 OK", &json!("error")), "{reply}");
    send(&service, &call(account, REGION, "lambda.amazonaws.com", "ListFunctions20150331", &json!({})));
    send(&service, &json!([event("999999999999")]));
    wait_for("the account that is none of ours", || outcome(&service, "ignored") == 1);
    send(&service, &event(account));
    wait_for("the denied read", || outcome(&service, "denied") == 1);
    let metrics = service.ask("GET", "/metrics").1;
    for (outcome, count) in [("unauthorized", 4), ("malformed", 1), ("ignored", 1), ("queued", 2)] {
        let line = format!("berth_live_events_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    assert_eq!(outcomes(&service).len(), 2, "{metrics}");
    assert!(world.port().entity("lambdaFunction", &arn).is_some(), "what could not be read is not deleted");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    let refused = "`x-port-aws-ocean-api-key` is missing, or is neither `live_events_api_key` nor one of";
    assert_eq!(log.matches(refused).count(), 1, "four of them, once a minute: {log}");
    assert!(log.contains("lambda:GetFunctionConfiguration"), "the log names what to allow: {log}");
}

#[test]
fn without_a_key_there_is_no_webhook_and_without_the_flag_nothing_is_followed() {
    let mut world = world(&["AWS::S3::Bucket"]);
    let arn = "arn:aws:s3:::berth-live-never-made";
    world.port().seed_entity("s3Bucket", &json!({"identifier": arn}), DATASOURCE).unwrap();
    world.port().change_options(|options| options.feature_flags.clear());
    let event = {
        let detail = json!({"requestParameters": {"bucketName": "berth-live-never-made"}});
        call(&world.accounts()[0], REGION, "s3.amazonaws.com", "DeleteBucket", &detail)
    };
    let service = start(&world);
    send(&service, &event);
    wait_for("the event", || outcome(&service, "ignored") == 1);
    let (_, log) = service.terminate();
    assert!(log.contains("live events are off for this organization"), "{log}");
    assert!(world.port().entity("s3Bucket", arn).is_some());

    world.unset("OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY");
    let service = start(&world);
    assert_eq!(post(&service, Some(KEY), &event).0, "HTTP/1.1 404 Not Found");
    assert!(!service.ask("GET", "/metrics").1.contains("berth_live"));
}

#[test]
fn an_event_during_a_resync_has_the_last_word() {
    let mut world = World::with_accounts(1).buckets(1).build();
    world.sync().exits(0);
    let buckets: Vec<String> =
        world.port().entities()["s3Bucket"].as_object().unwrap().keys().cloned().collect();
    let (arn, account) = (buckets[0].as_str(), world.accounts()[0].clone());
    let name = arn.trim_start_matches("arn:aws:s3:::");
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    switch_on(&mut world);
    world.port().clear_requests();
    // The resync has read everything when it compares; it then waits for Port.
    world.port().fail(Fault::on("entities/search").times(2).latency(Duration::from_secs(6)));
    let service = start(&world);
    wait_for("the resync to have read", || world.port().count("entities/search") >= 2);
    world.call(&account, REGION, "s3", "delete_bucket", &json!({"Bucket": name}));
    let detail = json!({"requestParameters": {"bucketName": name}});
    send(&service, &call(&account, REGION, "s3.amazonaws.com", "DeleteBucket", &detail));
    wait_for("the bucket to go", || world.port().entity("s3Bucket", arn).is_none());
    assert_eq!(json!(reported(&world)), json!(["running"]), "the resync still runs");
    wait_for("the end of the resync", || reported(&world).len() == 2);
    assert_eq!(json!(reported(&world)), json!(["running", "completed"]));
    assert_eq!(world.port().entity("s3Bucket", arn), None, "the resync does not bring it back");
    assert_eq!(world.entities(), world.expected());
}

/// Makes buckets, and the events that tell of them.
fn create_buckets(world: &World, count: usize) -> Vec<(String, Value)> {
    let account = world.accounts()[0].as_str();
    let create = |number: usize| {
        let name = format!("live-{account}-{number}");
        let parameters = json!({"Bucket": name, "CreateBucketConfiguration": {"LocationConstraint": REGION}});
        world.call(account, REGION, "s3", "create_bucket", &parameters);
        let detail = json!({"requestParameters": {"bucketName": name}});
        let event = call(account, REGION, "s3.amazonaws.com", "CreateBucket", &detail);
        (format!("arn:aws:s3:::{name}"), event)
    };
    (0..count).map(create).collect()
}

#[test]
fn what_waits_when_the_service_stops_is_followed_after_its_next_start() {
    let mut world = world(&["AWS::S3::Bucket"]);
    listen(&mut world, &json!({"type": "WEBHOOKS_ONLY"}));
    world.set("BERTH_STATE_DIR", "state");
    world.set("OCEAN__EVENT_WORKERS_COUNT", "1");
    let buckets = create_buckets(&world, 4);
    // The first one waits for Port, and the others for it.
    world.port().fail(Fault::on("/organization").latency(Duration::from_secs(30)));
    let service = start(&world);
    for (_, event) in &buckets {
        send(&service, event);
    }
    wait_for("the first to be looked at", || world.port().count("/organization") == 1);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stored 4 resources of live events for the next start"), "{log}");
    assert!(buckets.iter().all(|(arn, _)| world.port().entity("s3Bucket", arn).is_none()));

    let service = start(&world);
    for (arn, _) in &buckets {
        wait_for("a bucket", || world.port().entity("s3Bucket", arn).is_some());
    }
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("for the next start"), "{log}");
}

#[test]
fn where_port_maps_raw_data_events_bring_that_and_write_nothing() {
    let world = world(&["AWS::S3::Bucket"]);
    world.port().change_options(|options| {
        options.feature_flags.extend(["LAKEHOUSE_ELIGIBLE", "DATA_SOURCE_PROCESSOR_ENABLED"].map(Into::into));
    });
    let account = world.accounts()[0].as_str();
    let buckets = create_buckets(&world, 1);
    let service = start(&world);
    send(&service, &buckets[0].1);
    wait_for("the bucket", || outcome(&service, "upserted") == 1);
    let detail = json!({"requestParameters": {"bucketName": "berth-live-never-made"}});
    send(&service, &call(account, REGION, "s3.amazonaws.com", "DeleteBucket", &detail));
    wait_for("what is gone", || outcome(&service, "deleted") == 1);
    let requests = world.port().requests();
    let writes: Vec<_> = requests.iter().filter(|request| request.call().contains("/lake/write")).collect();
    let sent: Vec<(&Value, &Value)> = writes
        .iter()
        .flat_map(|write| {
            assert_eq!(
                (write.status, &write.body["eventType"]),
                (202, &json!("live-event")),
                "{}",
                write.body
            );
            write.body["data"].as_array().unwrap()
        })
        .map(|batch| (&batch["metadata"]["operation"], &batch["items"][0]["Properties"]["BucketName"]))
        .collect();
    let name = buckets[0].0.trim_start_matches("arn:aws:s3:::");
    let (upsert, delete) = (json!("upsert"), json!("delete"));
    assert_eq!(sent, [(&upsert, &json!(name)), (&delete, &json!("berth-live-never-made"))]);
    let entities =
        |request: &&port_stand_in::LoggedRequest| request.call().contains("/entities") && request.writes();
    assert_eq!(requests.iter().filter(entities).count(), 0);
    assert!(world.port().entities()["s3Bucket"].as_object().is_none_or(serde_json::Map::is_empty));
}

#[test]
fn what_an_event_wrote_is_looked_at_by_the_next_resync_although_a_ledger_knew_it_before() {
    let mut world = World::with_accounts(1).buckets(1).build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    world.set("OCEAN__STATE_DIR", "state");
    switch_on(&mut world);
    let service = start(&world);
    wait_for("the first resync", || reported(&world).len() == 2);
    let buckets = world.port().entities()["s3Bucket"].clone();
    let (arn, bucket) = buckets.as_object().unwrap().iter().next().unwrap();
    let tags = || world.port().entity("s3Bucket", arn).unwrap()["properties"]["tags"].clone();
    let before = tags();
    let account = world.accounts()[0].as_str();
    let name = bucket["title"].as_str().unwrap();
    let tag = |tags: &Value| {
        let parameters = json!({"Bucket": name, "Tagging": {"TagSet": tags}});
        world.call(account, REGION, "s3", "put_bucket_tagging", &parameters);
    };
    let other = json!([{"Key": "team", "Value": "another"}]);
    tag(&other);
    let detail = json!({"requestParameters": {"bucketName": name}});
    send(&service, &call(account, REGION, "s3.amazonaws.com", "PutBucketTagging", &detail));
    wait_for("the other tag", || tags() == other);
    // As it was, and nobody tells.
    tag(&before);
    world.port().request_resync("aws-e2e");
    wait_for("the second resync", || reported(&world).len() == 4);
    assert_eq!(tags(), before);
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}
