//! The routes of Port's API in the Ocean contract.

mod entities;

use std::time::{Duration, Instant};

use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::USER_AGENT};
use serde_json::{Map, Value, json};

use crate::{
    StandInOptions,
    error::ApiError,
    ingest,
    schema::check_identifier,
    server::{Shared, TOKEN_ROUTE},
    store::{Store, time},
};
use entities::{
    bulk_delete, bulk_upsert, datasource_entities, delete_entity, get_entity, list_entities,
    search_blueprint, search_entities, upsert_entity,
};

pub(crate) type Answer = Result<Json<Value>, ApiError>;

/// The most entities of one bulk deletion.
const DELETE_LIMIT: usize = 100;

/// The largest page of a datasource's entities.
const PAGE_LIMIT: usize = 5000;

/// The largest page of a search of a blueprint's entities.
const SEARCH_LIMIT: usize = 1000;

/// The same where none is asked for.
const SEARCH_DEFAULT: usize = 200;

/// The route of a search of a blueprint's entities, in pages.
pub(crate) const SEARCH_ROUTE: &str = "/v1/blueprints/{blueprint}/entities/search";

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route(TOKEN_ROUTE, post(access_token))
        .route("/v1/organization", get(organization))
        .route("/v1/kafka-credentials", get(kafka_credentials))
        .route("/v1/integration", get(list_integrations).post(create_integration))
        .route("/v1/integration/provision-enabled", get(provision_enabled))
        .route("/v1/integration/{integration}", get(get_integration).patch(patch_integration))
        .route("/v1/integration/{integration}/config", patch(patch_config))
        .route("/v1/integration/{integration}/resync-state", patch(resync_state))
        .route("/v1/integration/{integration}/resync-request", get(resync_request))
        .route("/v1/integration/{integration}/kinds/{kind}/examples", post(examples))
        .route("/v1/blueprints", get(list_blueprints).post(create_blueprint))
        .route(
            "/v1/blueprints/{blueprint}",
            get(get_blueprint).patch(patch_blueprint).put(put_blueprint).delete(delete_blueprint),
        )
        .route("/v1/blueprints/{blueprint}/entities", get(list_entities).post(upsert_entity))
        .route("/v1/blueprints/{blueprint}/entities/bulk", post(bulk_upsert))
        .route("/v1/blueprints/{blueprint}/entities/{entity}", delete(delete_entity).get(get_entity))
        .route("/v1/blueprints/{blueprint}/bulk/entities/delete", post(bulk_delete))
        .route("/v1/blueprints/entities/datasource-entities", post(datasource_entities))
        .route("/v1/entities/search", post(search_entities))
        .route(SEARCH_ROUTE, post(search_blueprint))
}

/// A route that Port does not have.
pub(crate) async fn unknown_route() -> ApiError {
    ApiError { status: 404, error: "not_found", message: "route not found".into() }
}

pub(crate) fn object(body: &Bytes) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::invalid("body must be object")),
        Err(error) => Err(ApiError::malformed(format!("body is not valid JSON: {error}"))),
    }
}

/// Refuses what the route does not know.
pub(crate) fn only(body: &Map<String, Value>, keys: &[&str]) -> Result<(), ApiError> {
    match body.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(ApiError::invalid(format!("body must NOT have the additional property \"{key}\""))),
        None => Ok(()),
    }
}

pub(crate) fn text<'a>(body: &'a Map<String, Value>, key: &str) -> Result<&'a str, ApiError> {
    let value = body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    value.ok_or_else(|| ApiError::invalid(format!("body must have \"{key}\", a non-empty string")))
}

fn query_values(query: Option<&str>, name: &str) -> Vec<String> {
    url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .collect()
}

fn query_flag(query: Option<&str>, name: &str) -> Result<bool, ApiError> {
    match query_values(query, name).first().map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(ApiError::invalid(format!("querystring/{name} must be boolean, not \"{other}\""))),
    }
}

/// Checks what goes with every entity write.
fn check_event(query: Option<&str>) -> Result<(), ApiError> {
    let event = query_values(query, "ocean_info_event_type").pop();
    const EVENTS: [&str; 5] = ["resync", "http_request", "incremental_resync", "action_run", "start"];
    if let Some(event) = &event
        && !EVENTS.contains(&event.as_str())
    {
        return Err(ApiError::invalid("querystring/ocean_info_event_type is not one of the allowed values"));
    }
    if !query_values(query, "ocean_info_resync_id").is_empty() && event.as_deref() != Some("resync") {
        return Err(ApiError::invalid("querystring/ocean_info_resync_id goes with event type resync only"));
    }
    Ok(())
}

fn datasource(headers: &HeaderMap) -> &str {
    headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

// Authentication and organization.

async fn access_token(State(server): State<Shared>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let (id, secret) = (text(&body, "clientId")?, text(&body, "clientSecret")?);
    let options = server.options();
    if id != options.client_id || secret != options.client_secret {
        return Err(ApiError {
            status: 401,
            error: "invalid_credentials",
            message: "the provided credentials are invalid".into(),
        });
    }
    let token = token(&options);
    let lifetime = options.token_lifetime;
    server.lock().tokens.insert(token.clone(), Instant::now() + lifetime);
    Ok(Json(json!({
        "ok": true, "accessToken": token, "expiresIn": whole_seconds(lifetime), "tokenType": "Bearer",
    })))
}

/// A token as Port's are: a JWT whose payload names the organization.
fn token(options: &StandInOptions) -> String {
    let mut payload =
        json!({"iss": "port-stand-in", "isMachine": true, "jti": uuid::Uuid::new_v4().to_string()});
    if options.organization_in_token {
        payload["orgId"] = json!(options.organization);
    }
    let part = |value: &str| BASE64_URL_SAFE_NO_PAD.encode(value);
    let header = json!({"alg": "HS256", "typ": "JWT"}).to_string();
    let signature = uuid::Uuid::new_v4().simple().to_string();
    format!("{}.{}.{}", part(&header), part(&payload.to_string()), part(&signature))
}

/// Port tells whole seconds.
fn whole_seconds(lifetime: Duration) -> u64 {
    lifetime.as_secs()
}

async fn organization(State(server): State<Shared>) -> Json<Value> {
    let options = server.options();
    Json(json!({
        "ok": true,
        "organization": {
            "id": options.organization, "name": "Stand-in", "featureFlags": options.feature_flags,
        },
    }))
}

async fn kafka_credentials(State(server): State<Shared>) -> Answer {
    let credentials = server.options().kafka_credentials.ok_or_else(|| ApiError {
        status: 404,
        error: "not_found",
        message: "the organization has no Kafka credentials".into(),
    })?;
    let (username, password) = credentials;
    Ok(Json(json!({"ok": true, "credentials": {"username": username, "password": password}})))
}

async fn provision_enabled(State(server): State<Shared>) -> Json<Value> {
    let types: Vec<String> = server.options().provisioned.into_keys().collect();
    Json(json!({"ok": true, "integrations": types}))
}

// Integrations.

const INTEGRATION_KEYS: [&str; 9] = [
    "installationAppType",
    "version",
    "config",
    "changelogDestination",
    "actionsProcessingEnabled",
    "incrementalSyncEnabled",
    "createPortResourcesOrigin",
    "processingMode",
    "arePortResourcesInitialized",
];

fn check_integration(body: &Map<String, Value>) -> Result<(), ApiError> {
    for (key, value) in body {
        let fits = match key.as_str() {
            "config" | "changelogDestination" => value.is_object(),
            "actionsProcessingEnabled" | "incrementalSyncEnabled" | "arePortResourcesInitialized" => {
                value.is_boolean()
            }
            "createPortResourcesOrigin" => ["Empty", "Default", "Port"].iter().any(|origin| value == origin),
            "processingMode" => ["dsp", "ocean-core"].iter().any(|mode| value == mode),
            _ => value.as_str().is_some_and(|text| !text.is_empty()),
        };
        if !fits {
            return Err(ApiError::invalid(format!("\"/{key}\" does not fit: {value}")));
        }
    }
    Ok(())
}

pub(crate) fn integration<'a>(
    store: &'a mut Store,
    identifier: &str,
) -> Result<&'a mut Map<String, Value>, ApiError> {
    store.integrations.get_mut(identifier).ok_or_else(|| ApiError::not_found("Integration", identifier))
}

/// Creates an integration as the API does; also seeds one.
pub(crate) fn new_integration(store: &mut Store, mut body: Map<String, Value>) -> Result<Value, ApiError> {
    let identifier = check_identifier("an integration", body.get("installationId").unwrap_or(&Value::Null))?;
    if store.integrations.contains_key(&identifier) {
        return Err(ApiError::taken("Integration", &identifier));
    }
    let at = store.now();
    for (key, value) in [
        ("_id", json!(format!("integration_{identifier}"))),
        ("identifier", json!(identifier)),
        ("installationType", json!("OnPrem")),
        ("createdAt", json!(at)),
        ("updatedAt", json!(at)),
    ] {
        body.entry(key).or_insert(value);
    }
    store.integrations.insert(identifier, body.clone());
    Ok(Value::Object(body))
}

/// An integration's document as Port answers with it.
fn shown(server: &Shared, document: &Value) -> Value {
    let mut document = document.clone();
    if server.options().reporting
        && let Some(document) = document.as_object_mut()
    {
        ingest::add_addresses(document, &server.base_url);
    }
    json!({"ok": true, "integration": document})
}

async fn create_integration(
    State(server): State<Shared>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, ApiError> {
    let mut body = object(&body)?;
    let mut keys = INTEGRATION_KEYS.to_vec();
    keys.push("installationId");
    only(&body, &keys)?;
    check_integration(&body)?;
    text(&body, "installationId")?;
    let kind = text(&body, "installationAppType")?.to_owned();
    text(&body, "version")?;
    match query_values(query.as_deref(), "integration_modes").pop().as_deref() {
        None => {}
        Some("create_resources") => {
            if let Some(config) = server.options().provisioned.remove(&kind) {
                body.insert("config".into(), config);
            }
        }
        Some(other) => return Err(ApiError::invalid(format!("integration mode \"{other}\" is not known"))),
    }
    let integration = server.change(|store| new_integration(store, body))?;
    Ok((StatusCode::CREATED, Json(shown(&server, &integration))).into_response())
}

async fn list_integrations(State(server): State<Shared>) -> Json<Value> {
    let documents: Vec<Value> = {
        let inner = server.lock();
        inner.store.integrations.values().map(|document| shown(&server, &document.clone().into())).collect()
    };
    let documents: Vec<&Value> = documents.iter().map(|document| &document["integration"]).collect();
    Json(json!({"ok": true, "integrations": documents}))
}

async fn get_integration(State(server): State<Shared>, Path(identifier): Path<String>) -> Answer {
    let mut document = integration(&mut server.lock().store, &identifier)?.clone();
    // Not kept: the next start listens elsewhere.
    document.entry("ingestAttributes").or_insert(json!({"ingestUrl": server.ingest_url()}));
    Ok(Json(shown(&server, &Value::Object(document))))
}

async fn patch_integration(
    State(server): State<Shared>,
    Path(identifier): Path<String>,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    only(&body, &INTEGRATION_KEYS)?;
    check_integration(&body)?;
    change_integration(&server, &identifier, body)
}

fn change_integration(server: &Shared, identifier: &str, change: Map<String, Value>) -> Answer {
    let changed = server.change(|store| {
        let at = store.now();
        let integration = integration(store, identifier)?;
        integration.extend(change);
        integration.insert("updatedAt".into(), json!(at));
        Ok(Value::Object(integration.clone()))
    })?;
    Ok(Json(shown(server, &changed)))
}

async fn patch_config(State(server): State<Shared>, Path(identifier): Path<String>, body: Bytes) -> Answer {
    let body = object(&body)?;
    only(&body, &["config"])?;
    if !body.get("config").is_some_and(Value::is_object) {
        return Err(ApiError::invalid("body must have \"config\", an object"));
    }
    change_integration(&server, &identifier, body)
}

async fn resync_state(State(server): State<Shared>, Path(identifier): Path<String>, body: Bytes) -> Answer {
    let body = object(&body)?;
    only(&body, &["status", "lastResyncEnd", "lastResyncStart", "nextResync", "intervalInMinuets"])?;
    if !["running", "completed", "failed", "aborted"].contains(&text(&body, "status")?) {
        return Err(ApiError::invalid("\"/status\" must be equal to one of the allowed values"));
    }
    for key in ["lastResyncEnd", "lastResyncStart", "nextResync"] {
        if let Some(at) = body.get(key).filter(|at| !at.is_null()) {
            time(at)?;
        }
    }
    if body.get("intervalInMinuets").is_some_and(|minutes| !minutes.is_number() && !minutes.is_null()) {
        return Err(ApiError::invalid("\"/intervalInMinuets\" must be number"));
    }
    let changed = server.change(|store| {
        let at = store.now();
        let integration = integration(store, &identifier)?;
        let state = integration.entry("resyncState").or_insert_with(|| json!({}));
        if let Some(state) = state.as_object_mut() {
            state.extend(body);
            state.insert("updatedAt".into(), json!(at));
        }
        Ok(Value::Object(integration.clone()))
    })?;
    Ok(Json(shown(&server, &changed)))
}

async fn resync_request(State(server): State<Shared>, Path(identifier): Path<String>) -> Answer {
    let mut inner = server.lock();
    integration(&mut inner.store, &identifier)?;
    let request = inner.store.resync_requests.get(&identifier);
    Ok(Json(json!({"ok": true, "request": request.map(|at| json!({"updatedAt": at}))})))
}

async fn examples(
    State(server): State<Shared>,
    Path((identifier, _kind)): Path<(String, String)>,
    body: Bytes,
) -> Answer {
    check_size(&body, server.options().ingest_max_bytes)?;
    let body = object(&body)?;
    only(&body, &["examples"])?;
    if !body.get("examples").is_some_and(Value::is_array) {
        return Err(ApiError::invalid("body must have \"examples\", an array"));
    }
    integration(&mut server.lock().store, &identifier)?;
    Ok(Json(json!({"ok": true})))
}

// Blueprints.

async fn list_blueprints(State(server): State<Shared>) -> Json<Value> {
    let blueprints: Vec<Map<String, Value>> = server.lock().store.blueprints.values().cloned().collect();
    Json(json!({"ok": true, "blueprints": blueprints}))
}

async fn create_blueprint(State(server): State<Shared>, body: Bytes) -> Result<Response, ApiError> {
    let body = object(&body)?;
    let blueprint = server.change(|store| store.create_blueprint(body))?;
    Ok((StatusCode::CREATED, Json(json!({"ok": true, "blueprint": blueprint}))).into_response())
}

async fn get_blueprint(State(server): State<Shared>, Path(identifier): Path<String>) -> Answer {
    let inner = server.lock();
    Ok(Json(json!({"ok": true, "blueprint": inner.store.blueprint(&identifier)?})))
}

async fn patch_blueprint(
    State(server): State<Shared>,
    Path(identifier): Path<String>,
    body: Bytes,
) -> Answer {
    let body = object(&body)?;
    let blueprint = server.change(|store| store.change_blueprint(&identifier, body, false))?;
    Ok(Json(json!({"ok": true, "blueprint": blueprint})))
}

async fn put_blueprint(State(server): State<Shared>, Path(identifier): Path<String>, body: Bytes) -> Answer {
    let body = object(&body)?;
    let blueprint = server.change(|store| store.change_blueprint(&identifier, body, true))?;
    Ok(Json(json!({"ok": true, "blueprint": blueprint})))
}

async fn delete_blueprint(State(server): State<Shared>, Path(identifier): Path<String>) -> Answer {
    server.change(|store| store.delete_blueprint(&identifier))?;
    Ok(Json(json!({"ok": true})))
}

fn too_large(message: String) -> ApiError {
    ApiError { status: 413, error: "payload_too_large", message }
}

pub(crate) fn check_size(body: &Bytes, limit: usize) -> Result<(), ApiError> {
    if body.len() > limit {
        return Err(too_large(format!("the body has {} bytes, more than {limit}", body.len())));
    }
    Ok(())
}
