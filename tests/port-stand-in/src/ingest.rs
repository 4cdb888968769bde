//! What Port ingests outside its API, at the addresses in an integration's document: metrics of resyncs,
//! heartbeats, logs.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{post, put},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    api::{Answer, check_size, object, only, text},
    error::ApiError,
    server::{LoggedRequest, Shared},
    store::time,
};

const METRICS: &str = "/metrics-ingest";
const LOGS: &str = "/logs-ingest";
const MANY: &str = "/metrics-ingest/syncMetrics";
const ONE: &str = "/metrics-ingest/syncMetrics/resync/{event}/kind/{kind}";
const HEARTBEAT: &str = "/metrics-ingest/heartbeat";

/// The pseudo-kinds; they have no blueprint.
const PSEUDO_KINDS: [&str; 2] = ["__runtime__", "__reconciliation__"];

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route(MANY, post(many))
        .route(ONE, put(one))
        .route(HEARTBEAT, post(heartbeat))
        .route(LOGS, post(logs))
}

/// Whether a path is one of these.
pub(crate) fn is_route(path: &str) -> bool {
    [METRICS, LOGS].iter().any(|base| path.starts_with(base))
}

/// Adds the addresses to an integration's document.
pub(crate) fn add_addresses(document: &mut Map<String, Value>, base_url: &str) {
    for (attributes, path) in [("metricAttributes", METRICS), ("logAttributes", LOGS)] {
        let url = format!("{}{path}", base_url.trim_end_matches('/'));
        document.insert(attributes.into(), json!({"ingestUrl": url}));
    }
}

/// All metrics that were taken, in order, each with the way it came: `POST` or `PUT`.
pub(crate) fn metrics_of(log: &[LoggedRequest]) -> Vec<(String, Value)> {
    let taken = log.iter().filter(|request| request.status == 200);
    taken
        .flat_map(|request| {
            match request.route.as_str() {
                MANY => request.body["syncKindsMetrics"].as_array().cloned().unwrap_or_default(),
                ONE => vec![request.body["syncKindMetrics"].clone()],
                _ => Vec::new(),
            }
            .into_iter()
            .map(|metric| (request.method.clone(), metric))
        })
        .collect()
}

/// All log records that were taken, in order.
pub(crate) fn logs_of(log: &[LoggedRequest]) -> Vec<Value> {
    let taken = log.iter().filter(|request| request.status == 200 && request.route == LOGS);
    taken.flat_map(|request| request.body["logs"].as_array().cloned().unwrap_or_default()).collect()
}

/// The resyncs of all signs of life, in order.
pub(crate) fn heartbeats_of(log: &[LoggedRequest]) -> Vec<String> {
    let taken = log.iter().filter(|request| request.status == 200 && request.route == HEARTBEAT);
    taken.filter_map(|request| request.body["eventId"].as_str().map(str::to_owned)).collect()
}

async fn many(body: Bytes) -> Answer {
    let body = object(&body)?;
    only(&body, &["syncKindsMetrics"])?;
    let metrics = body
        .get("syncKindsMetrics")
        .and_then(Value::as_array)
        .filter(|metrics| !metrics.is_empty())
        .ok_or_else(|| ApiError::invalid("body must have \"syncKindsMetrics\", a non-empty array"))?;
    for metric in metrics {
        check_metric(metric)?;
    }
    Ok(Json(json!({"ok": true})))
}

async fn one(Path((event, kind)): Path<(String, String)>, body: Bytes) -> Answer {
    let body = object(&body)?;
    only(&body, &["syncKindMetrics"])?;
    let metric = body.get("syncKindMetrics").unwrap_or(&Value::Null);
    check_metric(metric)?;
    if metric["eventId"] != event || metric["kindIdentifier"] != kind {
        return Err(ApiError::invalid("the metric is of another resync or kind than its path says"));
    }
    Ok(Json(json!({"ok": true})))
}

fn check_metric(metric: &Value) -> Result<(), ApiError> {
    let invalid = |what: String| Err(ApiError::invalid(what));
    let Some(metric) = metric.as_object() else {
        return invalid(format!("a metric must be object, not {metric}"));
    };
    const TEXTS: [&str; 9] = [
        "integrationType",
        "installationType",
        "executionMode",
        "integrationIdentifier",
        "integrationVersion",
        "oceanVersion",
        "kindIdentifier",
        "kind",
        "eventId",
    ];
    const OTHERS: [&str; 4] = ["kindIndex", "syncState", "blueprint", "metrics"];
    only(metric, &[&TEXTS[..], &OTHERS[..]].concat())?;
    for key in TEXTS {
        text(metric, key)?;
    }
    check_event(metric)?;
    const STATES: [&str; 5] = ["pending", "syncing", "completed", "failed", "aborted"];
    if !STATES.contains(&text(metric, "syncState")?) {
        return invalid(format!("\"/syncState\" must be one of {STATES:?}"));
    }
    let (kind, identifier) = (text(metric, "kind")?, text(metric, "kindIdentifier")?);
    let Some(index) = metric.get("kindIndex").and_then(Value::as_u64) else {
        return invalid("\"/kindIndex\" must be integer".into());
    };
    let pseudo = PSEUDO_KINDS.contains(&kind);
    let expected = if pseudo { kind.to_owned() } else { format!("{kind}-{index}") };
    if identifier != expected {
        return invalid(format!("\"/kindIdentifier\" must be \"{expected}\", not \"{identifier}\""));
    }
    if pseudo == metric.contains_key("blueprint") {
        return invalid("a kind has a \"blueprint\", and a pseudo-kind has none".into());
    }
    match metric.get("metrics").and_then(Value::as_object) {
        Some(figures) => check_figures(figures),
        None => invalid("\"/metrics\" must be object".into()),
    }
}

/// `{"phase": {"extract": {"object_count_type": {"raw_extracted": {"object_count": 15}}}, …}}`
fn check_figures(figures: &Map<String, Value>) -> Result<(), ApiError> {
    only(figures, &["phase"])?;
    const COUNTED: [(&str, &[&str]); 4] = [
        ("extract", &["raw_extracted"]),
        ("transform", &["transformed", "filtered_out", "failed"]),
        ("load", &["loaded", "failed", "skipped"]),
        ("delete", &["deleted", "failed"]),
    ];
    for (phase, labels) in figures.get("phase").and_then(Value::as_object).into_iter().flatten() {
        let invalid = || ApiError::invalid(format!("\"/metrics/phase/{phase}\" does not fit: {labels}"));
        let labels = labels.as_object().ok_or_else(invalid)?;
        if phase == "resync" {
            only(labels, &["duration_seconds", "success"])?;
            if !labels.values().all(Value::is_number) {
                return Err(invalid());
            }
            continue;
        }
        let (_, known) = COUNTED.iter().find(|(name, _)| name == phase).ok_or_else(invalid)?;
        only(labels, &["object_count_type"])?;
        let counts = labels.get("object_count_type").and_then(Value::as_object).ok_or_else(invalid)?;
        only(counts, known)?;
        for count in counts.values() {
            let count = count.as_object().ok_or_else(invalid)?;
            only(count, &["object_count"])?;
            count.get("object_count").and_then(Value::as_u64).ok_or_else(invalid)?;
        }
    }
    Ok(())
}

fn check_event(body: &Map<String, Value>) -> Result<(), ApiError> {
    match Uuid::parse_str(text(body, "eventId")?) {
        Ok(_) => Ok(()),
        Err(error) => Err(ApiError::invalid(format!("\"/eventId\" must be a UUID: {error}"))),
    }
}

async fn heartbeat(body: Bytes) -> Answer {
    let body = object(&body)?;
    only(&body, &["eventId"])?;
    check_event(&body)?;
    Ok(Json(json!({"ok": true})))
}

async fn logs(State(server): State<Shared>, body: Bytes) -> Answer {
    check_size(&body, server.options().ingest_max_bytes)?;
    let body = object(&body)?;
    only(&body, &["logs"])?;
    let limit = server.options().log_batch_max;
    let records = body
        .get("logs")
        .and_then(Value::as_array)
        .filter(|records| (1..=limit).contains(&records.len()))
        .ok_or_else(|| ApiError::invalid(format!("body must have \"logs\", 1 to {limit} records")))?;
    for record in records {
        let record = record.as_object().ok_or_else(|| ApiError::invalid("a log record must be object"))?;
        only(record, &["message", "level", "timestamp", "extra"])?;
        if !record.get("message").is_some_and(Value::is_string) {
            return Err(ApiError::invalid("\"/message\" must be string"));
        }
        const LEVELS: [&str; 5] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"];
        if !LEVELS.contains(&text(record, "level")?) {
            return Err(ApiError::invalid(format!("\"/level\" must be one of {LEVELS:?}")));
        }
        time(record.get("timestamp").unwrap_or(&Value::Null))?;
        let (_, fraction) = text(record, "timestamp")?.rsplit_once('.').unwrap_or_default();
        if fraction.len() != "801273Z".len() || !fraction.ends_with('Z') {
            return Err(ApiError::invalid("\"/timestamp\" must be in UTC, with microseconds and a Z"));
        }
        if !record.get("extra").is_some_and(Value::is_object) {
            return Err(ApiError::invalid("\"/extra\" must be object"));
        }
    }
    Ok(Json(json!({"ok": true})))
}
