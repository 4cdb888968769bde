//! Raw data, and the lifecycle of the resyncs that report it.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    api::{Answer, integration, object, only, text},
    error::ApiError,
    server::{INGEST, Shared},
    store::{Store, time},
};

/// A resync as its lifecycle tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// The integration.
    pub integration: String,
    /// `started`, `finished`, `failed` or `aborted`.
    pub status: String,
    /// The names of the kinds that were announced.
    pub announced: Vec<String>,
    /// `started`, `finished` or `failed`, by the kind's name (`AWS::S3::Bucket-0`).
    pub kinds: BTreeMap<String, String>,
    /// How many items of raw data came in, by the kind's name.
    pub items: BTreeMap<String, usize>,
    /// Whether a newer resync has taken its place.
    pub stale: bool,
}

impl Store {
    /// Aborts the resyncs that run.
    pub(crate) fn abort_resyncs(&mut self) {
        for found in self.lifecycles.values_mut().filter(|found| found.status == "started") {
            "aborted".clone_into(&mut found.status);
        }
    }

    /// Takes no more raw data of the resyncs so far.
    pub(crate) fn make_stale(&mut self) {
        self.lifecycles.values_mut().for_each(|found| found.stale = true);
    }
}

const SYNC_TYPES: [&str; 2] = ["full_sync", "incremental_resync"];

pub(crate) fn routes() -> Router<Shared> {
    let write = format!(
        "{INGEST}/lake/write/integration-type/{{type}}/integration/{{integration}}/sync/{{sync}}/kind/{{kind}}"
    );
    Router::new()
        .route("/v1/lifecycle/{resync}", get(status).post(change))
        .route("/v1/lifecycle/{resync}/kind", post(change_kind))
        .route(&write, post(write_raw_data))
}

fn conflict(error: &'static str, message: impl Into<String>) -> ApiError {
    ApiError { status: 409, error, message: message.into() }
}

fn lifecycle<'a>(store: &'a mut Store, resync: &str) -> Result<&'a mut Lifecycle, ApiError> {
    store.lifecycles.get_mut(resync).ok_or_else(|| ApiError::not_found("Resync", resync))
}

/// Checks that a body has these keys, all texts but for the mapping, and no other.
fn exactly(body: &Map<String, Value>, keys: &[&str]) -> Result<(), ApiError> {
    only(body, keys)?;
    let texts = keys.iter().filter(|key| !["mapping", "kind_identifiers"].contains(*key));
    texts.copied().try_for_each(|key| text(body, key).map(drop))
}

async fn status(State(server): State<Shared>, Path(resync): Path<String>) -> Answer {
    let mut inner = server.lock();
    let found = lifecycle(&mut inner.store, &resync)?;
    Ok(Json(json!({"ok": true, "status": found.status})))
}

async fn change(State(server): State<Shared>, Path(resync): Path<String>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let status = text(&body, "status")?.to_owned();
    if uuid::Uuid::parse_str(&resync).is_err() {
        return Err(ApiError::invalid(format!("\"{resync}\" is no resync id")));
    }
    match status.as_str() {
        "started" => start(&server, resync, &body)?,
        "finished" | "failed" | "aborted" => {
            let whose: &[&str] = if status == "finished" {
                &["status", "integration_id", "integration_type", "integration_version", "ocean_version"]
            } else {
                &["status"]
            };
            exactly(&body, whose)?;
            server.change(|store| {
                let found = lifecycle(store, &resync)?;
                if found.status != status && found.status != "started" {
                    return Err(conflict("conflict", format!("the resync is {} already", found.status)));
                }
                let open = found.kinds.iter().find(|(_, state)| *state == "started");
                if status == "finished"
                    && let Some((kind, _)) = open
                {
                    return Err(ApiError::invalid(format!("kind \"{kind}\" has not ended")));
                }
                found.status.clone_from(&status);
                Ok(())
            })?;
        }
        _ => return Err(ApiError::invalid("\"/status\" must be equal to one of the allowed values")),
    }
    Ok(Json(json!({"ok": true})))
}

fn start(server: &Shared, resync: String, body: &Map<String, Value>) -> Result<(), ApiError> {
    exactly(
        body,
        &[
            "status",
            "integration_id",
            "integration_type",
            "integration_version",
            "sync_type",
            "ocean_version",
            "started_at",
            "mapping",
            "kind_identifiers",
        ],
    )?;
    time(&body["started_at"])?;
    if !SYNC_TYPES.contains(&text(body, "sync_type")?) {
        return Err(ApiError::invalid("\"/sync_type\" must be equal to one of the allowed values"));
    }
    let resources =
        body.get("mapping").and_then(|mapping| mapping.get("resources")).and_then(Value::as_array);
    let listed = |resource: &Value| resource.pointer("/port/entity/mappings").is_some_and(Value::is_array);
    if !resources.is_some_and(|resources| resources.iter().all(listed)) {
        return Err(ApiError::invalid("\"/mapping/resources\" must be entries whose mappings are lists"));
    }
    let announced = match body.get("kind_identifiers") {
        None => Vec::new(),
        Some(names) => serde_json::from_value(names.clone())
            .map_err(|_| ApiError::invalid("\"/kind_identifiers\" must be string[]"))?,
    };
    let name = text(body, "integration_id")?.to_owned();
    server.change(|store| {
        let installed = integration(store, &name)?;
        if installed.get("processingMode").is_none_or(|mode| mode != "dsp") {
            return Err(ApiError::invalid("the integration's processingMode is not dsp"));
        }
        let fresh = Lifecycle {
            integration: name,
            status: "started".into(),
            announced,
            kinds: BTreeMap::new(),
            items: BTreeMap::new(),
            stale: false,
        };
        let found = store.lifecycles.entry(resync).or_insert(fresh);
        // The same word twice is a repeated request.
        if found.status == "started" { Ok(()) } else { Err(conflict("conflict", "the resync has ended")) }
    })
}

async fn change_kind(State(server): State<Shared>, Path(resync): Path<String>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let status = text(&body, "status")?.to_owned();
    let mut keys = vec!["status", "integration_version", "ocean_version", "kind_identifier"];
    match status.as_str() {
        "started" => keys.extend(["integration_id", "integration_type", "started_at"]),
        "finished" => keys.push("integration_type"),
        "failed" | "aborted" => {}
        _ => return Err(ApiError::invalid("\"/status\" must be equal to one of the allowed values")),
    }
    exactly(&body, &keys)?;
    if let Some(at) = body.get("started_at") {
        time(at)?;
    }
    let kind = text(&body, "kind_identifier")?.to_owned();
    server.change(|store| {
        let found = lifecycle(store, &resync)?;
        if found.status != "started" {
            return Err(conflict("conflict", format!("the resync is {}", found.status)));
        }
        if !found.announced.is_empty() && !found.announced.contains(&kind) {
            return Err(ApiError::invalid(format!("kind \"{kind}\" was not announced")));
        }
        let before = found.kinds.get(&kind).map(String::as_str);
        let follows = match status.as_str() {
            "started" => matches!(before, None | Some("started")),
            _ => before == Some("started") || before == Some(status.as_str()),
        };
        if !follows {
            return Err(conflict("conflict", format!("kind \"{kind}\" is {before:?}")));
        }
        found.kinds.insert(kind, status);
        Ok(Json(json!({"ok": true})))
    })
}

async fn write_raw_data(
    State(server): State<Shared>,
    Path((kind_of, name, sync, kind)): Path<(String, String, String, String)>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let body = object(&body)?;
    only(&body, &["kind", "eventType", "extractionTimestamp", "resyncStartTime", "eventId", "data"])?;
    if text(&body, "kind")? != kind {
        return Err(ApiError::invalid("\"/kind\" is not the kind of the path"));
    }
    if !["resync", "live-event"].contains(&text(&body, "eventType")?) {
        return Err(ApiError::invalid("\"/eventType\" must be equal to one of the allowed values"));
    }
    if !body.get("extractionTimestamp").is_some_and(Value::is_u64) {
        return Err(ApiError::invalid("\"/extractionTimestamp\" must be integer"));
    }
    if let Some(at) = body.get("resyncStartTime") {
        time(at)?;
    }
    if body.contains_key("eventId") && uuid::Uuid::parse_str(text(&body, "eventId")?).is_err() {
        return Err(ApiError::invalid("\"/eventId\" must be a UUID"));
    }
    let data = body.get("data").and_then(Value::as_array).filter(|data| !data.is_empty());
    let data = data.ok_or_else(|| ApiError::invalid("body must have \"data\", a non-empty array"))?;
    let batches = data.iter().map(|batch| check_batch(batch, &kind)).collect::<Result<Vec<_>, _>>()?;
    // What a live event is about belongs to no resync: the event is its own.
    let of_event = text(&body, "eventType")? == "live-event";
    if of_event && (body.get("eventId").is_none_or(|id| *id != sync) || body.contains_key("resyncStartTime"))
    {
        return Err(ApiError::invalid("a live event must be its own sync"));
    }
    server.change(|store| {
        let installed = integration(store, &name)?;
        if installed.get("installationAppType").is_some_and(|own| *own != kind_of) {
            return Err(ApiError::invalid(format!("the integration is not of type \"{kind_of}\"")));
        }
        if of_event {
            return Ok(());
        }
        let mapped_here = installed.get("processingMode").is_some_and(|mode| mode == "dsp");
        let Some(found) = store.lifecycles.get_mut(&sync) else {
            return if mapped_here { Err(ApiError::not_found("Resync", &sync)) } else { Ok(()) };
        };
        if found.stale {
            return Err(conflict("resync_stale", "a newer resync has begun"));
        }
        if found.status != "started" {
            return Err(conflict("conflict", format!("the resync is {}", found.status)));
        }
        for (name, items) in batches {
            if found.kinds.get(&name).is_none_or(|status| status != "started") {
                return Err(conflict("conflict", format!("kind \"{name}\" has not begun, or has ended")));
            }
            *found.items.entry(name).or_default() += items;
        }
        Ok(())
    })?;
    Ok((StatusCode::ACCEPTED, Json(json!({"ok": true}))))
}

/// The name of the batch's kind, and how many items it has.
fn check_batch(batch: &Value, kind: &str) -> Result<(String, usize), ApiError> {
    let invalid = |what: &str| ApiError::invalid(format!("a batch of raw data must have {what}"));
    let batch = batch.as_object().ok_or_else(|| invalid("the form of an object"))?;
    only(batch, &["request", "response", "items", "metadata", "environment_data"])?;
    if !["request", "response"].iter().all(|key| batch.get(*key).is_some_and(Value::is_object)) {
        return Err(invalid("\"request\" and \"response\""));
    }
    let items = batch.get("items").and_then(Value::as_array);
    let items = items.filter(|items| !items.is_empty() && items.iter().all(Value::is_object));
    let items = items.ok_or_else(|| invalid("\"items\", objects"))?;
    if batch.get("environment_data").is_some_and(|data| !data.is_object()) {
        return Err(invalid("\"environment_data\" as an object"));
    }
    let metadata = batch.get("metadata").and_then(Value::as_object).ok_or_else(|| invalid("\"metadata\""))?;
    only(metadata, &["operation", "extractionTimestamp", "resourceIndex", "selectorHash"])?;
    if !["upsert", "delete"].contains(&text(metadata, "operation")?) {
        return Err(invalid("the operation \"upsert\" or \"delete\""));
    }
    let hash = metadata.get("selectorHash");
    let is_hash = |hash: &Value| {
        hash.as_str().is_some_and(|text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    if !hash.is_some_and(|hash| hash.is_null() || is_hash(hash))
        || !metadata.get("extractionTimestamp").is_some_and(Value::is_u64)
    {
        return Err(invalid("a timestamp and the selector's hash"));
    }
    let index = metadata.get("resourceIndex").and_then(Value::as_u64);
    let index = index.ok_or_else(|| invalid("the position of its resource"))?;
    Ok((format!("{kind}-{index}"), items.len()))
}
