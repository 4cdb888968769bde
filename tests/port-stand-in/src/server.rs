//! What applies to every request: the log, the faults, the token.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{
    HeaderValue, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    StandInOptions,
    api::SEARCH_ROUTE,
    error::ApiError,
    ingest,
    limits::{Limits, Standing},
    store::Store,
};

/// No request of the contract comes near.
const BODY_LIMIT: usize = 32 * 1024 * 1024;

/// What stands before the routes that take raw data.
pub(crate) const INGEST: &str = "/ingest";

/// The route of a token.
pub(crate) const TOKEN_ROUTE: &str = "/v1/auth/access_token";

/// A request as it came in, and how it was answered.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoggedRequest {
    /// When it came in.
    pub at: DateTime<Utc>,
    /// `POST`
    pub method: String,
    /// The route it matched (`/v1/blueprints/{blueprint}/entities/bulk`), or its path if none.
    pub route: String,
    /// `/v1/blueprints/ec2Instance/entities/bulk`
    pub path: String,
    /// The query without the question mark.
    pub query: String,
    /// The `User-Agent`.
    pub user_agent: String,
    /// The body as JSON, or as text where it is none. The client secret is left out.
    pub body: Value,
    /// The status of the answer; 0 as long as there is none, and for a dropped connection.
    pub status: u16,
}

impl LoggedRequest {
    /// Method and route: `POST /v1/entities/search`.
    pub fn call(&self) -> String {
        format!("{} {}", self.method, self.route)
    }

    /// The first value of a query parameter.
    pub fn query_value(&self, name: &str) -> Option<String> {
        self.query_values(name).into_iter().next()
    }

    /// All values of a query parameter.
    pub fn query_values(&self, name: &str) -> Vec<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    /// Whether the request is one that may change Port.
    pub fn writes(&self) -> bool {
        const READING_POSTS: [&str; 4] =
            [TOKEN_ROUTE, "/v1/entities/search", SEARCH_ROUTE, "/v1/blueprints/entities/datasource-entities"];
        self.method != "GET" && !READING_POSTS.contains(&self.route.as_str())
    }
}

/// What goes wrong with the next requests of a route.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// A part of `METHOD route` (`POST /v1/entities/search`, `entities/bulk`, empty for all).
    pub route: String,
    /// Hits only requests whose body contains this text.
    #[serde(default)]
    pub containing: Option<String>,
    /// How many requests it hits.
    #[serde(default = "once")]
    pub times: u32,
    /// Answers with this status instead of doing what was asked.
    #[serde(default)]
    pub status: Option<u16>,
    /// Answers with this JSON instead of doing what was asked; with status 200 where none is given.
    #[serde(default)]
    pub body: Option<Value>,
    /// The value of the answer's `Retry-After`.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// Waits first.
    #[serde(default)]
    pub latency_ms: u64,
    /// Breaks the connection in the middle of the answer. The request is done all the same.
    #[serde(default)]
    pub drop: bool,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// A fault that hits the next request of a route and does nothing yet.
    pub fn on(route: impl Into<String>) -> Self {
        Self {
            route: route.into(),
            containing: None,
            times: 1,
            status: None,
            body: None,
            retry_after: None,
            latency_ms: 0,
            drop: false,
        }
    }

    /// Hits that many requests.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// Hits only requests whose body contains this text.
    #[must_use]
    pub fn containing(self, text: impl Into<String>) -> Self {
        Self { containing: Some(text.into()), ..self }
    }

    /// Answers with that status.
    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Answers with that JSON.
    #[must_use]
    pub fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Tells to come back later.
    #[must_use]
    pub fn retry_after(self, value: impl Into<String>) -> Self {
        Self { retry_after: Some(value.into()), ..self }
    }

    /// Waits first.
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX), ..self }
    }

    /// Breaks the connection.
    #[must_use]
    pub fn drop_connection(self) -> Self {
        Self { drop: true, ..self }
    }
}

/// The state behind all routes.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) base_url: String,
    pub(crate) options: Mutex<StandInOptions>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) store: Store,
    /// Counts changes of the store, for saving it.
    pub(crate) revision: u64,
    pub(crate) tokens: HashMap<String, Instant>,
    pub(crate) log: Vec<LoggedRequest>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) limits: Limits,
}

pub(crate) type Shared = Arc<Server>;

impl Server {
    pub(crate) fn new(options: StandInOptions, base_url: String) -> Self {
        Self { base_url, options: Mutex::new(options), inner: Mutex::default() }
    }

    /// Where raw data goes.
    pub(crate) fn ingest_url(&self) -> String {
        format!("{}{INGEST}", self.base_url.trim_end_matches('/'))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn options(&self) -> StandInOptions {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the store.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Store) -> T) -> T {
        let mut inner = self.lock();
        inner.revision += 1;
        change(&mut inner.store)
    }
}

impl Inner {
    fn take_fault(&mut self, call: &str, body: &[u8]) -> Option<Fault> {
        let hits = |fault: &Fault| {
            fault.times > 0
                && call.contains(&fault.route)
                && fault.containing.as_ref().is_none_or(|text| String::from_utf8_lossy(body).contains(text))
        };
        let index = self.faults.iter().position(hits)?;
        let fault = &mut self.faults[index];
        fault.times -= 1;
        let taken = fault.clone();
        if taken.times == 0 {
            self.faults.remove(index);
        }
        Some(taken)
    }
}

/// Logs a request, lets faults happen, and checks its token and form.
pub(crate) async fn guard(State(server): State<Shared>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if !path.starts_with("/v1/") && !path.starts_with(INGEST) && !ingest::is_route(&path) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let route = parts.extensions.get::<MatchedPath>().map_or(path.as_str(), MatchedPath::as_str).to_owned();
    let body = to_bytes(body, BODY_LIMIT).await;
    let keeps = server.options().keep_upserts || !route.ends_with("/entities/bulk");
    let logged = LoggedRequest {
        at: Utc::now(),
        method: parts.method.to_string(),
        route: route.clone(),
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        user_agent: header(USER_AGENT).to_owned(),
        body: body.as_ref().ok().filter(|_| keeps).map(loggable).unwrap_or_default(),
        status: 0,
    };
    let (fault, index, generation) = {
        let mut inner = server.lock();
        let fault = inner.take_fault(&logged.call(), body.as_deref().unwrap_or_default());
        inner.log.push(logged);
        (fault, inner.log.len() - 1, inner.log[inner.log.len() - 1].at)
    };
    let standing = (server.options().rate_limits && parts.uri.path().starts_with("/v1/"))
        .then(|| server.lock().limits.take(parts.method.as_str(), &route, Instant::now()));
    if let Some(fault) = &fault {
        tokio::time::sleep(Duration::from_millis(fault.latency_ms)).await;
    }

    let beyond = standing.as_ref().is_some_and(|standing| standing.retry_after.is_some());
    let mut answer = match (&fault, body) {
        _ if beyond => {
            let message = "rate limit exceeded".into();
            ApiError { status: 429, error: "too_many_requests", message }.into_response()
        }
        (Some(Fault { status, body: Some(body), .. }), _) => {
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            (status.unwrap_or(StatusCode::OK), Json(body.clone())).into_response()
        }
        (Some(Fault { status: Some(status), .. }), _) => {
            ApiError { status: *status, error: "fault", message: "a fault that was asked for".into() }
                .into_response()
        }
        (_, Err(_)) => {
            ApiError { status: 413, error: "payload_too_large", message: "request body is too large".into() }
                .into_response()
        }
        (_, Ok(body)) => match admit(&server, &parts, &route, &body) {
            Ok(()) => next.run(Request::from_parts(parts, Body::from(body))).await,
            Err(error) => error.into_response(),
        },
    };
    if let Some(standing) = &standing {
        show(standing, &mut answer);
    }
    finish(&server, fault, answer, index, generation)
}

/// Tells how a route's limit stands, as Port does.
fn show(standing: &Standing, answer: &mut Response) {
    let headers = answer.headers_mut();
    for (name, value) in [
        ("x-ratelimit-period", Some(300)),
        ("x-ratelimit-limit", Some(standing.limit)),
        ("x-ratelimit-remaining", Some(standing.remaining)),
        ("x-ratelimit-reset", Some(standing.reset)),
        ("retry-after", standing.retry_after),
    ] {
        if let Some(value) = value {
            headers.insert(name, HeaderValue::from(value));
        }
    }
}

/// A time as the `Date` header has it, in whole seconds.
fn date(at: DateTime<Utc>) -> Option<HeaderValue> {
    HeaderValue::from_str(&at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}

fn finish(
    server: &Server,
    fault: Option<Fault>,
    mut answer: Response,
    index: usize,
    generation: DateTime<Utc>,
) -> Response {
    if let Some(value) = fault.as_ref().and_then(|fault| fault.retry_after.as_deref())
        && let Ok(value) = HeaderValue::from_str(value)
    {
        answer.headers_mut().insert(RETRY_AFTER, value);
    }
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        answer.headers_mut().insert("x-trace-id", id);
    }
    let date = if server.options().date_header { date(server.lock().store.now()) } else { None };
    // An empty one keeps the HTTP server from adding its own.
    answer.headers_mut().insert(DATE, date.unwrap_or(HeaderValue::from_static("")));
    let dropped = fault.is_some_and(|fault| fault.drop);
    // The log may have been cleared meanwhile.
    if let Some(logged) = server.lock().log.get_mut(index).filter(|logged| logged.at == generation) {
        logged.status = if dropped { 0 } else { answer.status().as_u16() };
    }
    if dropped {
        let broken = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("dropped")) });
        *answer.body_mut() = Body::from_stream(broken);
        answer.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("1"));
    }
    answer
}

/// Whether a request may be looked at: it has a valid token, and a JSON body if it has a body.
fn admit(server: &Server, parts: &http::request::Parts, route: &str, body: &Bytes) -> Result<(), ApiError> {
    if route != TOKEN_ROUTE {
        let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| ApiError::unauthorized("no bearer token"))?;
        match server.lock().tokens.get(token) {
            None => return Err(ApiError::unauthorized("unknown token")),
            Some(expiry) if *expiry <= Instant::now() => {
                return Err(ApiError::unauthorized("the token has expired"));
            }
            Some(_) => {}
        }
    }
    let json =
        parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if !body.is_empty() && !json {
        return Err(ApiError {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE.as_u16(),
            error: "unsupported_media_type",
            message: "a body must be application/json".into(),
        });
    }
    Ok(())
}

fn loggable(body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let mut value = serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()));
    if let Some(secret) = value.get_mut("clientSecret") {
        *secret = Value::String("***".into());
    }
    value
}
