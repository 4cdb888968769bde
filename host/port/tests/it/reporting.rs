//! What [`PortCatalog`] reports about a resync outside the API: metrics, heartbeats, logs.

use std::time::{Duration, SystemTime};

use crate::common::{ID, Work, catalog, config};
use berth_core::{Milestone, ResourceResult, ResyncStatus, UnitCounts};
use berth_port::{
    PortConfig,
    service::{LogLevel, LogRecord, PortService},
};
use port_stand_in::{Fault, PortStandIn, StandInOptions};
use secrecy::SecretString;
use serde_json::{Map, Value, json};

const KINDS: [&str; 2] = ["AWS::S3::Bucket", "AWS::EC2::Instance"];
/// Longer than any limit.
const FOREVER: Duration = Duration::from_mins(10);

async fn stand_in() -> PortStandIn {
    let options = StandInOptions { reporting: true, ..StandInOptions::default() };
    let stand_in = PortStandIn::start(options).await.unwrap();
    let resources: Vec<Value> = KINDS
        .iter()
        .map(|kind| {
            json!({"kind": kind, "selector": {"query": "true"}, "port": {"entity": {"mappings": {
                "identifier": ".Properties.Id", "blueprint": format!("\"{}\"", kind.to_lowercase()),
            }}}})
        })
        .collect();
    let document = json!({
        "installationId": ID, "installationAppType": "aws-v3", "version": "1.2.3",
        "changelogDestination": {}, "config": {"resources": resources},
        "actionsProcessingEnabled": false, "incrementalSyncEnabled": false,
        "processingMode": "ocean-core", "arePortResourcesInitialized": true,
    });
    stand_in.seed_integration(&document).unwrap();
    stand_in
}

/// Returns a catalog whose resync has started.
async fn begun(config: PortConfig) -> Work {
    let catalog = catalog(config);
    catalog.open(&[]).await.unwrap();
    catalog.begin(SystemTime::now()).await.unwrap();
    catalog
}

async fn report(catalog: &Work, milestones: &[Milestone]) {
    for milestone in milestones {
        catalog.milestone(milestone).await.unwrap();
    }
}

fn started(resource: usize) -> Milestone {
    Milestone::ResourceStarted { resource }
}

fn ended(resource: usize, result: ResourceResult) -> Milestone {
    Milestone::ResourceEnded { resource, result }
}

/// Returns how each metric arrived, in order: method, kind, state.
fn described(stand_in: &PortStandIn) -> Vec<String> {
    let metrics = stand_in.metrics().into_iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    metrics
        .map(|(way, metric)| {
            format!("{way} {} {}", text(&metric["kindIdentifier"]), text(&metric["syncState"]))
        })
        .collect()
}

/// Returns the last metric of a kind.
fn last(stand_in: &PortStandIn, kind: &str) -> Value {
    let mut metrics = stand_in.metrics().into_iter().rev();
    metrics.find(|(_, metric)| metric["kindIdentifier"] == kind).unwrap().1
}

fn phase(metric: &Value, phase: &str) -> Value {
    let counts = metric["metrics"]["phase"][phase]["object_count_type"].as_object().unwrap();
    counts
        .iter()
        .map(|(what, count)| (what.clone(), count["object_count"].clone()))
        .collect::<Map<_, _>>()
        .into()
}

fn requests(stand_in: &PortStandIn, route: &str) -> Vec<String> {
    let requests = stand_in.requests().into_iter().filter(|request| request.route.contains(route));
    requests.map(|request| format!("{} {} {}", request.method, request.path, request.status)).collect()
}

#[tokio::test]
async fn a_resync_is_reported_kind_by_kind() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    let resync = PortService::of(&catalog).running().unwrap().to_string();
    let counts = UnitCounts {
        fetched: 15,
        mapped: 11,
        filtered: 3,
        created: 5,
        updated: 2,
        unchanged: 3,
        refused: 1,
        failed: 1,
        unmapped: 0,
        documents: 0,
    };
    let duration = Duration::from_millis(1500);
    let good = ResourceResult { counts, complete: 2, skipped: 1, duration, ..ResourceResult::default() };
    let bad = ResourceResult { complete: 1, failed: 1, ..ResourceResult::default() };
    report(
        &catalog,
        &[
            Milestone::Planned,
            started(0),
            started(1),
            ended(1, bad),
            ended(0, good),
            Milestone::DeletionStarted,
            Milestone::DeletionEnded { deleted: 4, failed: 0, held_back: false },
        ],
    )
    .await;
    catalog.end(ResyncStatus::Failed).await.unwrap();

    assert_eq!(
        described(&stand_in),
        [
            "POST AWS::S3::Bucket-0 pending",
            "POST AWS::EC2::Instance-1 pending",
            "POST __runtime__ syncing",
            "PUT AWS::S3::Bucket-0 syncing",
            "PUT AWS::EC2::Instance-1 syncing",
            "PUT AWS::EC2::Instance-1 failed",
            "PUT AWS::S3::Bucket-0 completed",
            "POST __reconciliation__ syncing",
            "PUT __reconciliation__ completed",
            "POST __runtime__ failed",
        ]
    );
    assert_eq!(PortService::of(&catalog).running(), None);
    let mut bucket = last(&stand_in, "AWS::S3::Bucket-0");
    assert_eq!(phase(&bucket, "extract"), json!({"raw_extracted": 15}));
    assert_eq!(phase(&bucket, "transform"), json!({"transformed": 11, "filtered_out": 3, "failed": 1}));
    assert_eq!(phase(&bucket, "load"), json!({"loaded": 7, "failed": 1, "skipped": 3}));
    assert_eq!(bucket["metrics"]["phase"]["resync"], json!({"duration_seconds": 1.5, "success": 1}));
    bucket.as_object_mut().unwrap().remove("metrics");
    assert_eq!(
        bucket,
        json!({
            "integrationType": "aws-v3", "installationType": "OnPrem", "executionMode": "single_process",
            "integrationIdentifier": ID, "integrationVersion": "1.2.3", "oceanVersion": "0.48.12",
            "kindIdentifier": "AWS::S3::Bucket-0", "kind": "AWS::S3::Bucket", "kindIndex": 0,
            "eventId": resync, "syncState": "completed", "blueprint": "\"aws::s3::bucket\"",
        })
    );
    let deletion = last(&stand_in, "__reconciliation__");
    assert_eq!(phase(&deletion, "delete"), json!({"deleted": 4, "failed": 0}));

    let path = format!("/metrics-ingest/syncMetrics/resync/{resync}/kind");
    let paths: Vec<String> =
        requests(&stand_in, "/kind/").into_iter().filter(|call| call.contains("S3")).collect();
    assert_eq!(paths, vec![format!("PUT {path}/AWS%3A%3AS3%3A%3ABucket-0 200"); 2]);
    let agents = stand_in.requests().into_iter().filter(|request| request.route.contains("ingest"));
    assert!(agents.into_iter().all(|request| request.user_agent == format!("port-ocean/aws-v3/1.2.3/{ID}")));
    // The state of the resync is reported before the last metric, as in the contract.
    let order = stand_in.requests();
    let state = order.iter().rposition(|request| request.route.ends_with("/resync-state")).unwrap();
    assert_eq!(state, order.len() - 2);
}

#[tokio::test]
async fn what_was_stopped_is_reported_at_once_with_the_last_word() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    let stopped = ResourceResult { stopped: 3, ..ResourceResult::default() };
    report(&catalog, &[started(0), ended(0, stopped), Milestone::DeletionStarted]).await;
    catalog.end(ResyncStatus::Aborted).await.unwrap();
    let described = described(&stand_in);
    let last: Vec<&str> = described[described.len() - 4..].iter().map(String::as_str).collect();
    assert_eq!(
        last,
        [
            "POST AWS::S3::Bucket-0 aborted",
            "POST AWS::EC2::Instance-1 aborted",
            "POST __reconciliation__ aborted",
            "POST __runtime__ aborted",
        ]
    );
    assert!(
        !described.iter().any(|described| described.starts_with("PUT") && described.ends_with("aborted")),
        "{described:?}"
    );
}

#[tokio::test]
async fn a_resync_that_ends_before_its_plan_leaves_nothing_pending() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    catalog.end(ResyncStatus::Failed).await.unwrap();
    let described = described(&stand_in);
    assert_eq!(
        described[3..],
        ["POST AWS::S3::Bucket-0 failed", "POST AWS::EC2::Instance-1 failed", "POST __runtime__ failed"]
    );
}

#[tokio::test]
async fn an_end_that_port_did_not_take_goes_along_with_the_last_word() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    stand_in.fail(Fault::on("PUT /metrics-ingest").times(3).status(500));
    let done = ResourceResult { complete: 1, ..ResourceResult::default() };
    report(&catalog, &[ended(0, done), ended(1, done)]).await;
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!(
        described(&stand_in)[3..],
        [
            "PUT AWS::EC2::Instance-1 completed",
            "POST AWS::S3::Bucket-0 completed",
            "POST __runtime__ completed"
        ]
    );
}

#[tokio::test]
async fn a_port_that_takes_no_metrics_fails_no_resync() {
    let stand_in = stand_in().await;
    stand_in.fail(Fault::on("metrics-ingest").times(1000).status(403));
    let catalog = begun(config(&stand_in)).await;
    report(&catalog, &[started(0), Milestone::DeletionStarted]).await;
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!(stand_in.metrics(), []);
    assert_eq!(stand_in.integration(ID).unwrap()["resyncState"]["status"], "completed");
    // A refusal is not retried.
    assert_eq!(stand_in.count("metrics-ingest"), 5);
}

#[tokio::test]
async fn a_port_that_never_answers_metrics_holds_no_resync_up() {
    let stand_in = stand_in().await;
    stand_in.fail(Fault::on("metrics-ingest").times(1000).latency(FOREVER));
    let catalog = begun(config(&stand_in)).await;
    report(&catalog, &[started(0), Milestone::DeletionStarted]).await;
    // Waits for its own timeouts, not for a response.
    tokio::time::timeout(FOREVER / 2, catalog.end(ResyncStatus::Aborted)).await.unwrap().unwrap();
    assert_eq!(stand_in.integration(ID).unwrap()["resyncState"]["status"], "aborted");
}

#[tokio::test]
async fn what_the_endpoint_for_metrics_asks_for_does_not_concern_the_api() {
    let stand_in = stand_in().await;
    stand_in.fail(Fault::on("metrics-ingest").times(1000).status(429).retry_after("600"));
    let catalog = begun(config(&stand_in)).await;
    tokio::time::timeout(FOREVER / 2, async {
        while stand_in.count("metrics-ingest") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        PortService::of(&catalog).resync_request().await.unwrap();
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_token_that_only_the_endpoint_for_metrics_rejects_is_kept() {
    let stand_in = stand_in().await;
    stand_in.fail(Fault::on("metrics-ingest").times(1000).status(401));
    let catalog = begun(config(&stand_in)).await;
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert!(stand_in.count("metrics-ingest") > 1);
    assert_eq!(stand_in.count("POST /v1/auth/access_token"), 1);
}

#[tokio::test]
async fn nothing_is_informed_where_port_names_no_address() {
    let stand_in = stand_in().await;
    stand_in.change_options(|options| options.reporting = false);
    let mut config = config(&stand_in);
    config.heartbeat_interval = Duration::from_millis(1);
    let catalog = begun(config).await;
    report(&catalog, &[started(0)]).await;
    let passed = tokio::time::timeout(Duration::from_millis(50), catalog.watch_for_abort()).await;
    assert!(passed.is_err(), "nobody asks for the resync's end");
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!(requests(&stand_in, "ingest"), [""; 0]);
    assert_eq!(PortService::of(&catalog).takes_logs(), Some(false));
    PortService::of(&catalog).ship_logs(vec![record("m", json!({}))]).await.unwrap_err();
}

#[tokio::test]
async fn a_resync_gives_signs_of_life_until_it_ends() {
    let stand_in = stand_in().await;
    let mut config = config(&stand_in);
    config.heartbeat_interval = Duration::from_millis(5);
    // A failed one stops nothing.
    stand_in.fail(Fault::on("POST /metrics-ingest/heartbeat").status(404));
    let catalog = begun(config).await;
    let resync = PortService::of(&catalog).running().unwrap().to_string();
    let enough = async {
        while stand_in.heartbeats().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        problem = catalog.watch_for_abort() => panic!("{problem}"),
        () = enough => {}
    }
    assert!(stand_in.heartbeats().iter().all(|event| *event == resync));
    catalog.end(ResyncStatus::Completed).await.unwrap();
    // Without a resync there is nothing to report.
    let before = stand_in.count("heartbeat");
    let passed = tokio::time::timeout(Duration::from_millis(50), catalog.watch_for_abort()).await;
    assert!(passed.is_err());
    assert_eq!(stand_in.count("heartbeat"), before);
}

#[tokio::test]
async fn the_webhook_gets_a_copy_of_each_metric_and_no_token() {
    let stand_in = stand_in().await;
    let other = PortStandIn::start(StandInOptions::default()).await.unwrap();
    let mut config = config(&stand_in);
    config.metrics_webhook = Some(other.base_url().join("/v1/hook").unwrap());
    let catalog = begun(config).await;
    catalog.end(ResyncStatus::Completed).await.unwrap();
    let copies = other.requests();
    // Without a token it returns 401 to each, which changes nothing.
    assert!(copies.iter().all(|request| request.status == 401), "{copies:?}");
    let copies: Vec<Value> = copies.into_iter().map(|request| request.body).collect();
    let metrics: Vec<Value> = stand_in.metrics().into_iter().map(|(_, metric)| metric).collect();
    assert_eq!(copies, metrics);
}

fn record(message: &str, extra: Value) -> LogRecord {
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_273);
    let extra = serde_json::from_value(extra).unwrap();
    LogRecord { message: message.into(), level: LogLevel::Warning, time, extra }
}

#[tokio::test]
async fn logs_are_shipped_without_secrets() {
    let stand_in = stand_in().await;
    let mut config = config(&stand_in);
    config.secrets.push(SecretString::from("external-id-of-ours"));
    let catalog = catalog(config.clone());
    assert_eq!(PortService::of(&catalog).takes_logs(), None, "nothing is known yet");
    let catalog = begun(config).await;
    assert_eq!(PortService::of(&catalog).takes_logs(), Some(true));
    let records = vec![
        record("refused stand-in-secret of stand-in-client", json!({"n": 1})),
        record("role with external-id-of-ours", json!({"why": "AKIAIOSFODNN7EXAMPLE is unknown"})),
    ];
    PortService::of(&catalog).ship_logs(records).await.unwrap();
    assert_eq!(
        stand_in.logs(),
        [
            json!({"message": "refused [REDACTED] of [REDACTED]", "level": "WARNING",
                "timestamp": "2026-11-23T11:37:10.801273Z", "extra": {"n": 1}}),
            json!({"message": "role with [REDACTED]", "level": "WARNING",
                "timestamp": "2026-11-23T11:37:10.801273Z", "extra": {"why": "[REDACTED] is unknown"}}),
        ]
    );
    // A refusal is returned to the caller, and not retried here.
    stand_in.fail(Fault::on("logs-ingest").status(503));
    let problem = PortService::of(&catalog).ship_logs(vec![record("m", json!({}))]).await.unwrap_err();
    assert!(problem.message.contains("ship logs"), "{problem}");
    assert_eq!(stand_in.count("logs-ingest"), 2);
}

#[tokio::test]
async fn logs_are_sent_in_parts_that_port_takes_and_all_arrive() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    let long = "A policy with explicit deny refused this. ".repeat(400);
    let records =
        |count: usize| (0..count).map(|n| record(&format!("{n} {long}"), json!({"n": n}))).collect();
    PortService::of(&catalog).ship_logs(records(130)).await.unwrap();
    let arrived: Vec<Value> = stand_in.logs().iter().map(|log| log["extra"]["n"].clone()).collect();
    assert_eq!(arrived, (0..130).map(Value::from).collect::<Vec<_>>());
    assert!(stand_in.logs().iter().all(|log| log["message"].as_str().unwrap().ends_with(&long)));

    // Port may accept less than usual, and a single record may be larger.
    stand_in.change_options(|options| options.ingest_max_bytes = 40_000);
    let mut more: Vec<LogRecord> = records(5);
    more.push(record(&"x".repeat(3_000_000), json!({"n": 5, "why": "y".repeat(1_000_000)})));
    PortService::of(&catalog).ship_logs(more).await.unwrap();
    let arrived = &stand_in.logs()[130..];
    assert_eq!(arrived.iter().map(|log| log["extra"]["n"].clone()).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    for text in [&arrived[5]["message"], &arrived[5]["extra"]["why"]] {
        assert!(text.as_str().unwrap().contains("bytes are cut"), "{text}");
    }
}
