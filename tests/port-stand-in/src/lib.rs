//! A strict fake of Port's API. It runs inside a test's process ([`PortStandIn::start`]) or as the binary
//! `port-stand-in`.
//!
//! It refuses what Port would refuse: wrong credentials, missing and expired tokens, unknown blueprints, values
//! that do not fit the blueprint, missing relation targets unless they may be created, bulks that are too large,
//! malformed bodies, metrics and logs of another form. Like Port, it takes the writer of an entity from the
//! `User-Agent`.
//!
//! In addition to Port's API, it has functions for tests: the request log, counts, seeds, faults, and the whole
//! state. They are methods of [`PortStandIn`] and routes under `/_stand-in/`:
#![doc = include_str!("../CONTROL.md")]

mod api;
mod control;
mod error;
mod ingest;
mod limits;
mod page;
mod raw;
mod schema;
mod search;
mod server;
mod store;

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, middleware};
use serde_json::{Map, Value};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt as _;
use url::Url;

use crate::{
    error::ApiError,
    server::{Server, Shared},
    store::{Cascade, Store},
};

pub use raw::Lifecycle;
pub use server::{Fault, LoggedRequest};

/// The organization's id, unless [another one is set](StandInOptions::organization).
pub const ORGANIZATION: &str = "org_stand_in";

/// How a stand-in behaves.
#[derive(Debug, Clone)]
pub struct StandInOptions {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The client id that is accepted.
    pub client_id: String,
    /// The client secret that is accepted.
    pub client_secret: String,
    /// How long a token is valid. Port tells whole seconds.
    pub token_lifetime: Duration,
    /// The organization's id.
    pub organization: String,
    /// Whether tokens name the organization, in the claim `orgId`.
    pub organization_in_token: bool,
    /// Whether answers have a `Date` header that can be read.
    pub date_header: bool,
    /// The organization's feature flags.
    pub feature_flags: Vec<String>,
    /// Name and password for the organization's Kafka brokers, if it has them.
    pub kafka_credentials: Option<(String, String)>,
    /// The integration types whose defaults Port provides, with the mapping it sets.
    pub provisioned: BTreeMap<String, Value>,
    /// The most entities in one bulk upsert.
    pub bulk_max_entities: usize,
    /// The most bytes in the body of an upsert.
    pub bulk_max_bytes: usize,
    /// The most entities on a page of a datasource's entities, whatever is asked for.
    pub page_limit: usize,
    /// Whether integrations' documents name addresses for metrics and logs.
    pub reporting: bool,
    /// The most records in one batch of logs.
    pub log_batch_max: usize,
    /// Whether Port's published rate limits are enforced.
    pub rate_limits: bool,
    /// The most bytes in one batch of logs or examples.
    pub ingest_max_bytes: usize,
    /// Whether the log keeps the bodies of upserts; they would fill the memory when there are very many.
    pub keep_upserts: bool,
}

impl Default for StandInOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            client_id: "stand-in-client".into(),
            client_secret: "stand-in-secret".into(),
            token_lifetime: Duration::from_hours(3),
            organization: ORGANIZATION.into(),
            organization_in_token: true,
            date_header: true,
            feature_flags: Vec::new(),
            kafka_credentials: None,
            provisioned: BTreeMap::new(),
            bulk_max_entities: 20,
            bulk_max_bytes: 1024 * 1024,
            page_limit: 5000,
            reporting: false,
            log_batch_max: 100,
            rate_limits: false,
            ingest_max_bytes: 1024 * 1024,
            keep_upserts: true,
        }
    }
}

/// A running stand-in. Dropping it stops it.
#[derive(Debug)]
pub struct PortStandIn {
    base_url: Url,
    server: Shared,
    app: Router,
    /// What serves it, unless it is only asked in this process.
    task: Option<JoinHandle<()>>,
}

impl PortStandIn {
    /// Starts a stand-in in this process. It answers as soon as this returns.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(options: StandInOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let base_url =
            Url::parse(&format!("http://{}/", listener.local_addr()?)).map_err(io::Error::other)?;
        let mut stand_in = Self::unserved(options, base_url);
        let app = stand_in.app.clone();
        stand_in.task = Some(tokio::spawn(async move {
            // Serving ends with the task only.
            let _ = axum::serve(listener, app).await;
        }));
        Ok(stand_in)
    }

    /// A stand-in that listens nowhere: it is [asked](Self::answer) in this process.
    pub fn unserved(options: StandInOptions, base_url: Url) -> Self {
        let server = Arc::new(Server::new(options, base_url.to_string()));
        let app: Router = api::routes()
            .merge(ingest::routes())
            .merge(raw::routes())
            .merge(control::routes())
            .fallback(api::unknown_route)
            .layer(middleware::from_fn_with_state(Arc::clone(&server), server::guard))
            .with_state(Arc::clone(&server));
        Self { base_url, server, app, task: None }
    }

    /// Answers one request.
    pub async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        match self.app.clone().oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        }
    }

    /// The keys of all entities, each as blueprint and identifier, with who wrote it last.
    pub fn writers(&self) -> BTreeMap<(String, String), String> {
        let inner = self.server.lock();
        let entities = inner.store.entities.iter();
        entities
            .flat_map(|(blueprint, held)| {
                held.iter().map(|(id, entity)| ((blueprint.clone(), id.clone()), entity.datasource.clone()))
            })
            .collect()
    }

    /// What goes into `OCEAN__PORT__BASE_URL`.
    pub fn base_url(&self) -> &Url {
        &self.base_url
    }

    /// The options in force.
    pub fn options(&self) -> StandInOptions {
        self.server.options()
    }

    /// Changes the options, but for the address.
    pub fn change_options(&self, change: impl FnOnce(&mut StandInOptions)) {
        change(&mut self.server.options.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All requests to Port's routes so far, in the order in which they came in.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.server.lock().log.clone()
    }

    /// Clears the request log.
    pub fn clear_requests(&self) {
        self.server.lock().log.clear();
    }

    /// How often each route was asked, by `METHOD route`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        control::count(&self.server.lock().log)
    }

    /// How often the routes were asked whose `METHOD route` contains this text.
    pub fn count(&self, route: &str) -> usize {
        self.server.lock().log.iter().filter(|request| request.call().contains(route)).count()
    }

    /// All metrics that were reported, in order, each with the way it came: `POST` or `PUT`.
    pub fn metrics(&self) -> Vec<(String, Value)> {
        ingest::metrics_of(&self.server.lock().log)
    }

    /// All log records that were shipped, in order.
    pub fn logs(&self) -> Vec<Value> {
        ingest::logs_of(&self.server.lock().log)
    }

    /// The resyncs of all signs of life, in order.
    pub fn heartbeats(&self) -> Vec<String> {
        ingest::heartbeats_of(&self.server.lock().log)
    }

    /// All entities, by blueprint and identifier.
    pub fn entities(&self) -> Value {
        self.server.lock().store.dump()
    }

    /// By blueprint the number of its entities (`count`) and a `digest` of what they say, without times
    /// and writers.
    pub fn digests(&self) -> Value {
        self.server.lock().store.digests()
    }

    /// One entity as Port answers with it.
    pub fn entity(&self, blueprint: &str, identifier: &str) -> Option<Value> {
        let inner = self.server.lock();
        Some(inner.store.entity(blueprint, identifier)?.to_json(blueprint, identifier))
    }

    /// One blueprint's definition.
    pub fn blueprint(&self, identifier: &str) -> Option<Value> {
        self.server.lock().store.blueprints.get(identifier).cloned().map(Value::Object)
    }

    /// One integration's document.
    pub fn integration(&self, identifier: &str) -> Option<Value> {
        self.server.lock().store.integrations.get(identifier).cloned().map(Value::Object)
    }

    /// Puts a blueprint in place.
    ///
    /// # Errors
    /// The reason, when Port would refuse it.
    pub fn seed_blueprint(&self, definition: &Value) -> Result<(), String> {
        let definition = object(definition)?;
        self.server.change(|store| store.create_blueprint(definition)).map(drop).map_err(reason)
    }

    /// Puts an entity in place that `datasource` (a `User-Agent`) wrote; at `updatedAt`, if it has
    /// one.
    ///
    /// # Errors
    /// The reason, when Port would refuse it.
    pub fn seed_entity(&self, blueprint: &str, entity: &Value, datasource: &str) -> Result<(), String> {
        self.server.change(|store| store.seed_entity(blueprint, entity, datasource)).map_err(reason)
    }

    /// Deletes an entity as a person would, with those that require it.
    ///
    /// # Errors
    /// The reason, when there is no such entity.
    pub fn delete_entity(&self, blueprint: &str, identifier: &str) -> Result<(), String> {
        self.server.change(|store| store.delete(blueprint, identifier, Cascade::Required)).map_err(reason)
    }

    /// Puts an integration's document in place; only its `installationId` is asked for.
    ///
    /// # Errors
    /// The reason, when Port would refuse it.
    pub fn seed_integration(&self, document: &Value) -> Result<(), String> {
        let document = object(document)?;
        self.server.change(|store| api::new_integration(store, document)).map(drop).map_err(reason)
    }

    /// Deletes an integration's document, as a person would.
    pub fn delete_integration(&self, identifier: &str) {
        self.server.change(|store| _ = store.integrations.remove(identifier));
    }

    /// Asks an integration for a resync, as the button in Port does.
    pub fn request_resync(&self, integration: &str) {
        self.server.change(|store| store.request_resync(integration.to_owned()));
    }

    /// The resyncs that told of their raw data, by id.
    pub fn lifecycles(&self) -> BTreeMap<String, Lifecycle> {
        self.server.lock().store.lifecycles.clone()
    }

    /// Aborts the resyncs that bring raw data now, as the button in Port does.
    pub fn abort_resyncs(&self) {
        self.server.change(Store::abort_resyncs);
    }

    /// Takes no more raw data of the resyncs so far, as if a newer one had begun.
    pub fn make_stale(&self) {
        self.server.change(Store::make_stale);
    }

    /// Adds a fault. Faults of one route happen in the order in which they were added.
    pub fn fail(&self, fault: Fault) {
        self.server.lock().faults.push(fault);
    }

    /// Puts Port's clock so many seconds ahead of this machine's; behind it, where they are negative. The
    /// `Date` header and all times that are kept follow it.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.server.change(|store| store.clock_ahead = seconds.saturating_mul(1000));
    }

    /// Takes back the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.server.lock().faults.clear();
    }

    /// Makes all tokens invalid.
    pub fn expire_tokens(&self) {
        self.server.lock().tokens.clear();
    }

    /// Forgets everything: blueprints, entities, integrations, tokens, faults, the log.
    pub fn reset(&self) {
        control::forget(&mut self.server.lock());
    }

    /// A number that changes when the state does.
    pub fn revision(&self) -> u64 {
        self.server.lock().revision
    }

    /// Everything that survives a restart.
    pub fn state(&self) -> Value {
        serde_json::to_value(&self.server.lock().store).unwrap_or_default()
    }

    /// Puts back what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// The reason, when it is something else.
    pub fn load_state(&self, state: Value) -> Result<(), String> {
        let state: Store = serde_json::from_value(state).map_err(|error| error.to_string())?;
        self.server.change(|store| *store = state);
        Ok(())
    }
}

impl Drop for PortStandIn {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn object(value: &Value) -> Result<Map<String, Value>, String> {
    value.as_object().cloned().ok_or_else(|| format!("{value} is no object"))
}

fn reason(error: ApiError) -> String {
    error.message
}
