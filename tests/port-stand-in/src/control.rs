//! The routes for tests under `/_stand-in/`, with the same functions as the methods of
//! [`PortStandIn`](crate::PortStandIn). They require no token.
#![doc = include_str!("../CONTROL.md")]

use std::{collections::BTreeMap, sync::PoisonError};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    response::Html,
    routing::{delete, get, post, put},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    api,
    error::ApiError,
    ingest, page,
    raw::Lifecycle,
    server::{Fault, Inner, LoggedRequest, Shared},
    store::{Cascade, Store},
};

type Answer = Result<Json<Value>, ApiError>;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(front_page))
        .route("/_stand-in/requests", get(requests).delete(clear_requests))
        .route("/_stand-in/counts", get(counts))
        .route("/_stand-in/limits", get(limits))
        .route("/_stand-in/metrics", get(metrics))
        .route("/_stand-in/logs", get(logs))
        .route("/_stand-in/entities", get(entities).post(seed_entity))
        .route("/_stand-in/entities/{blueprint}/{entity}", delete(remove_entity))
        .route("/_stand-in/digests", get(digests))
        .route("/_stand-in/blueprints", post(seed_blueprint))
        .route("/_stand-in/integrations", post(seed_integration))
        .route("/_stand-in/integrations/{integration}/resync", post(ask_for_resync))
        .route("/_stand-in/lifecycles", get(lifecycles))
        .route("/_stand-in/lifecycles/abort", post(abort_resyncs))
        .route("/_stand-in/lifecycles/stale", post(make_stale))
        .route("/_stand-in/faults", post(add_fault))
        .route("/_stand-in/clock", put(set_clock))
        .route("/_stand-in/organization", put(set_organization))
        .route("/_stand-in/expire-tokens", post(expire_tokens))
        .route("/_stand-in/reset", post(reset))
        .route("/_stand-in/state", get(state).put(load_state))
}

/// How often each route was asked.
pub(crate) fn count(log: &[LoggedRequest]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in log {
        *counts.entry(request.call()).or_default() += 1;
    }
    counts
}

async fn front_page(
    State(server): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Html<String> {
    Html(page::render(&server.lock().store, query.get("blueprint").map(String::as_str)))
}

async fn requests(State(server): State<Shared>) -> Json<Vec<LoggedRequest>> {
    Json(server.lock().log.clone())
}

async fn clear_requests(State(server): State<Shared>) -> Json<Value> {
    server.lock().log.clear();
    Json(json!({"ok": true}))
}

async fn counts(State(server): State<Shared>) -> Json<BTreeMap<String, usize>> {
    Json(count(&server.lock().log))
}

async fn limits(State(server): State<Shared>) -> Json<Value> {
    let inner = server.lock();
    let (refused, least) = (inner.limits.refused(), inner.limits.least_seconds());
    Json(json!({"refused": refused, "leastSeconds": least}))
}

async fn metrics(State(server): State<Shared>) -> Json<Vec<Value>> {
    Json(ingest::metrics_of(&server.lock().log).into_iter().map(|(_, metric)| metric).collect())
}

async fn logs(State(server): State<Shared>) -> Json<Vec<Value>> {
    Json(ingest::logs_of(&server.lock().log))
}

async fn entities(State(server): State<Shared>) -> Json<Value> {
    Json(server.lock().store.dump())
}

async fn digests(State(server): State<Shared>) -> Json<Value> {
    Json(server.lock().store.digests())
}

#[derive(Deserialize)]
struct EntitySeed {
    blueprint: String,
    #[serde(default)]
    datasource: String,
    entity: Value,
}

async fn seed_entity(State(server): State<Shared>, Json(seed): Json<EntitySeed>) -> Answer {
    server.change(|store| store.seed_entity(&seed.blueprint, &seed.entity, &seed.datasource))?;
    Ok(Json(json!({"ok": true})))
}

async fn remove_entity(
    State(server): State<Shared>,
    Path((blueprint, identifier)): Path<(String, String)>,
) -> Answer {
    server.change(|store| store.delete(&blueprint, &identifier, Cascade::Required))?;
    Ok(Json(json!({"ok": true})))
}

async fn seed_blueprint(State(server): State<Shared>, Json(definition): Json<Map<String, Value>>) -> Answer {
    let blueprint = server.change(|store| store.create_blueprint(definition))?;
    Ok(Json(json!({"ok": true, "blueprint": blueprint})))
}

async fn seed_integration(State(server): State<Shared>, Json(body): Json<Map<String, Value>>) -> Answer {
    let integration = server.change(|store| api::new_integration(store, body))?;
    Ok(Json(json!({"ok": true, "integration": integration})))
}

async fn ask_for_resync(State(server): State<Shared>, Path(integration): Path<String>) -> Json<Value> {
    server.change(|store| store.request_resync(integration));
    Json(json!({"ok": true}))
}

async fn lifecycles(State(server): State<Shared>) -> Json<BTreeMap<String, Lifecycle>> {
    Json(server.lock().store.lifecycles.clone())
}

async fn abort_resyncs(State(server): State<Shared>) -> Json<Value> {
    server.change(Store::abort_resyncs);
    Json(json!({"ok": true}))
}

async fn make_stale(State(server): State<Shared>) -> Json<Value> {
    server.change(Store::make_stale);
    Json(json!({"ok": true}))
}

async fn add_fault(State(server): State<Shared>, Json(fault): Json<Fault>) -> Json<Value> {
    server.lock().faults.push(fault);
    Json(json!({"ok": true}))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Clock {
    ahead_seconds: i64,
}

async fn set_clock(State(server): State<Shared>, Json(clock): Json<Clock>) -> Json<Value> {
    server.change(|store| store.clock_ahead = clock.ahead_seconds.saturating_mul(1000));
    Json(json!({"ok": true}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Organization {
    id: String,
}

async fn set_organization(
    State(server): State<Shared>,
    Json(organization): Json<Organization>,
) -> Json<Value> {
    server.options.lock().unwrap_or_else(PoisonError::into_inner).organization = organization.id;
    Json(json!({"ok": true}))
}

async fn expire_tokens(State(server): State<Shared>) -> Json<Value> {
    server.lock().tokens.clear();
    Json(json!({"ok": true}))
}

async fn reset(State(server): State<Shared>) -> Json<Value> {
    forget(&mut server.lock());
    Json(json!({"ok": true}))
}

/// Forgets everything but that something changed.
pub(crate) fn forget(inner: &mut Inner) {
    *inner = Inner { revision: inner.revision + 1, ..Inner::default() };
}

async fn state(State(server): State<Shared>) -> Json<Store> {
    Json(server.lock().store.clone())
}

async fn load_state(State(server): State<Shared>, Json(state): Json<Store>) -> Json<Value> {
    server.change(|store| *store = state);
    Json(json!({"ok": true}))
}
