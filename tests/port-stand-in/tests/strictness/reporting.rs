//! The form and order of raw data, metrics and logs.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::Caller;

#[tokio::test]
async fn a_resync_of_raw_data_keeps_to_its_order_and_forms() {
    const RESYNC: &str = "7a0ef8e0-6d1c-4b0e-9a52-0c6a63f1f1aa";
    let caller = Caller::new().await;
    let seed = json!({"installationId": "me", "installationAppType": "aws-v3", "processingMode": "dsp"});
    caller.stand_in.seed_integration(&seed).unwrap();
    let (_, reply) = caller.call(Method::GET, "/v1/integration/me", Value::Null).await;
    let address = reply["integration"]["ingestAttributes"]["ingestUrl"].as_str().unwrap().to_owned();
    let (resync, kind) = (format!("/v1/lifecycle/{RESYNC}"), format!("/v1/lifecycle/{RESYNC}/kind"));
    let write = format!(
        "{address}/lake/write/integration-type/aws-v3/integration/me/sync/{RESYNC}/kind/AWS%3A%3AS3%3A%3ABucket"
    );
    let with = |value: &Value, pointer: &str, new: Value| {
        let mut value = value.clone();
        match value.pointer_mut(pointer) {
            Some(found) => *found = new,
            None => _ = value.as_object_mut().unwrap().insert(pointer[1..].into(), new),
        }
        value
    };
    let start = json!({
        "status": "started", "integration_id": "me", "integration_type": "aws-v3",
        "integration_version": "1", "sync_type": "full_sync", "ocean_version": "0.48.12",
        "started_at": "2026-01-01T00:00:00+00:00", "kind_identifiers": ["AWS::S3::Bucket-0"],
        "mapping": {"resources": [{"port": {"entity": {"mappings": [{}]}}}]},
    });
    let kind_started = json!({
        "status": "started", "integration_id": "me", "integration_type": "aws-v3",
        "integration_version": "1", "ocean_version": "0.48.12", "kind_identifier": "AWS::S3::Bucket-0",
        "started_at": "2026-01-01T00:00:00+00:00",
    });
    let kind_ended = json!({"status": "failed", "integration_version": "1", "ocean_version": "0.48.12",
        "kind_identifier": "AWS::S3::Bucket-0"});
    let finished = json!({"status": "finished", "integration_id": "me", "integration_type": "aws-v3",
        "integration_version": "1", "ocean_version": "0.48.12"});
    let data = json!({
        "kind": "AWS::S3::Bucket", "eventType": "resync", "extractionTimestamp": 1_760_000_000_000_u64,
        "resyncStartTime": "2026-01-01T00:00:00+00:00", "eventId": RESYNC,
        "data": [{"request": {}, "response": {}, "items": [{"Type": "AWS::S3::Bucket"}], "metadata": {
            "operation": "upsert", "extractionTimestamp": 1, "resourceIndex": 0, "selectorHash": null}}],
    });
    let refused = |path: &str, body: Value, status| {
        let path = path.to_owned();
        let caller = &caller;
        async move { caller.refused(Method::POST, &path, body, status).await }
    };

    // Nothing comes before the begin, and that has its form.
    refused(&kind, kind_started.clone(), 404).await;
    refused(&write, data.clone(), 404).await;
    refused(&resync, finished.clone(), 404).await;
    for (pointer, new) in [
        ("/sync_type", json!("some")),
        ("/started_at", json!(1)),
        ("/mapping/resources/0/port/entity/mappings", json!({})),
        ("/status", json!("begun")),
        ("/colour", json!("red")),
        ("/ocean_version", json!("")),
    ] {
        refused(&resync, with(&start, pointer, new), 422).await;
    }
    refused(&resync, with(&start, "/integration_id", json!("you")), 404).await;
    refused("/v1/lifecycle/1", start.clone(), 422).await;
    let done = |path: &str, body: Value| {
        let path = path.to_owned();
        let caller = &caller;
        async move {
            let (status, reply) = caller.call(Method::POST, &path, body).await;
            assert!(status.is_success(), "{path}: {reply}");
        }
    };
    done(&resync, start.clone()).await;
    done(&resync, start.clone()).await;

    // Raw data belongs to a kind that has begun, and has its form.
    refused(&write, data.clone(), 409).await;
    refused(&kind, kind_ended.clone(), 409).await;
    refused(&kind, with(&kind_started, "/kind_identifier", json!("AWS::S3::Bucket-1")), 422).await;
    done(&kind, kind_started).await;
    for (pointer, new) in [
        ("/kind", json!("AWS::EC2::Instance")),
        ("/eventType", json!("whim")),
        ("/extractionTimestamp", json!("now")),
        ("/eventId", json!("1")),
        ("/data", json!([])),
        ("/data/0/items", json!([])),
        ("/data/0/items", json!(["text"])),
        ("/data/0/metadata/selectorHash", json!("true")),
        ("/data/0/metadata/operation", json!("merge")),
        ("/data/0/metadata/resourceIndex", json!(-1)),
        ("/data/0/request", Value::Null),
        ("/colour", json!("red")),
    ] {
        refused(&write, with(&data, pointer, new), 422).await;
    }
    refused(&write.replace("aws-v3", "aws"), data.clone(), 422).await;
    done(&write, data.clone()).await;
    refused(&resync, finished.clone(), 422).await;
    done(&kind, kind_ended).await;
    refused(&write, data.clone(), 409).await;

    // The end is the end.
    refused(&resync, json!({"status": "failed", "integration_id": "me"}), 422).await;
    done(&resync, finished.clone()).await;
    refused(&resync, json!({"status": "aborted"}), 409).await;
    refused(&resync, start, 409).await;
    let lifecycle = &caller.stand_in.lifecycles()[RESYNC];
    assert_eq!((lifecycle.status.as_str(), lifecycle.items["AWS::S3::Bucket-0"]), ("finished", 1));
    caller.call(Method::POST, "/_stand-in/lifecycles/stale", Value::Null).await;
    let (status, reply) = caller.call(Method::POST, &write, data).await;
    assert_eq!((status, &reply["error"]), (StatusCode::CONFLICT, &json!("resync_stale")));
}

fn metric(kind: &str) -> Value {
    let counts = json!({"raw_extracted": {"object_count": 15}});
    json!({
        "integrationType": "aws-v3", "installationType": "OnPrem", "executionMode": "single_process",
        "integrationIdentifier": "me", "integrationVersion": "1.0.0", "oceanVersion": "0.48.12",
        "kindIdentifier": format!("{kind}-3"), "kind": kind, "kindIndex": 3, "eventId": EVENT,
        "syncState": "syncing", "blueprint": "\"b\"",
        "metrics": {"phase": {"extract": {"object_count_type": counts},
                              "resync": {"duration_seconds": 0.5, "success": 1}}},
    })
}

const EVENT: &str = "0a1b2c3d-0a1b-4a1b-8a1b-0a1b2c3d4e5f";

#[tokio::test]
async fn metrics_and_signs_of_life_keep_to_their_form() {
    let caller = Caller::new().await;
    let many = "/metrics-ingest/syncMetrics";
    let one = format!("/metrics-ingest/syncMetrics/resync/{EVENT}/kind/A%3A%3AB-3");
    let post = |metric: Value| caller.call(Method::POST, many, json!({"syncKindsMetrics": [metric]}));
    assert_eq!(post(metric("A::B")).await.0, 200);
    let put = json!({"syncKindMetrics": metric("A::B")});
    assert_eq!(caller.call(Method::PUT, &one, put).await.0, 200);
    let mut whole = metric("__runtime__");
    whole["kindIdentifier"] = json!("__runtime__");
    whole.as_object_mut().unwrap().remove("blueprint");
    assert_eq!(post(whole).await.0, 200);

    for (pointer, value) in [
        ("/eventId", json!("not-a-uuid")),
        ("/kindIdentifier", json!("A::B")),
        ("/kindIndex", json!("3")),
        ("/syncState", json!("running")),
        ("/oceanVersion", json!("")),
        ("/metrics", json!([])),
        ("/metrics/phase/extract", json!({"raw_extracted": 15})),
        ("/metrics/phase/extract/object_count_type/raw_extracted", json!(15)),
        ("/metrics/phase/resync/success", json!(true)),
    ] {
        let mut broken = metric("A::B");
        *broken.pointer_mut(pointer).unwrap() = value;
        caller.refused(Method::POST, many, json!({"syncKindsMetrics": [broken.clone()]}), 422).await;
        caller.refused(Method::PUT, &one, json!({"syncKindMetrics": broken}), 422).await;
    }
    for key in ["blueprint", "integrationIdentifier", "metrics"] {
        let mut broken = metric("A::B");
        broken.as_object_mut().unwrap().remove(key);
        caller.refused(Method::POST, many, json!({"syncKindsMetrics": [broken]}), 422).await;
    }
    let mut more = metric("A::B");
    more["colour"] = json!("red");
    caller.refused(Method::POST, many, json!({"syncKindsMetrics": [more]}), 422).await;
    caller.refused(Method::POST, many, json!({"syncKindsMetrics": []}), 422).await;
    let other = json!({"syncKindMetrics": metric("A::C")});
    caller.refused(Method::PUT, &one, other, 422).await;
    let ways: Vec<String> = caller.stand_in.metrics().into_iter().map(|(way, _)| way).collect();
    assert_eq!(ways, ["POST", "PUT", "POST"], "only what was taken is told");

    let heartbeat = "/metrics-ingest/heartbeat";
    assert_eq!(caller.call(Method::POST, heartbeat, json!({"eventId": EVENT})).await.0, 200);
    caller.refused(Method::POST, heartbeat, json!({"eventId": "x"}), 422).await;
    caller.refused(Method::POST, heartbeat, json!({}), 422).await;
    assert_eq!(caller.stand_in.heartbeats(), [EVENT]);
}

#[tokio::test]
async fn logs_keep_to_their_form() {
    let mut caller = Caller::new().await;
    let record =
        json!({"message": "m", "level": "INFO", "timestamp": "2026-11-23T11:37:10.801273Z", "extra": {}});
    let batch = |record: &Value, count: usize| json!({"logs": vec![record.clone(); count]});
    assert_eq!(caller.call(Method::POST, "/logs-ingest", batch(&record, 100)).await.0, 200);
    for count in [0, 101] {
        caller.refused(Method::POST, "/logs-ingest", batch(&record, count), 422).await;
    }
    for (key, value) in [
        ("message", json!(null)),
        ("level", json!("WARN")),
        ("timestamp", json!("2026-11-23T11:37:10Z")),
        ("timestamp", json!("2026-11-23T11:37:10.801273+00:00")),
        ("timestamp", json!("2026-11-23T11:37:10.801Z")),
        ("extra", json!("x")),
        ("colour", json!("red")),
    ] {
        let mut broken = record.clone();
        broken[key] = value;
        caller.refused(Method::POST, "/logs-ingest", batch(&broken, 1), 422).await;
    }
    assert_eq!(caller.stand_in.logs().len(), 100);
    caller.token = "made-up".into();
    caller.refused(Method::POST, "/logs-ingest", batch(&record, 1), 401).await;
}
