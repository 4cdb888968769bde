//! The HTTP server: health, metrics, and the webhook of resync requests. Routes and replies are
//! those of the Ocean contract, so that a chart's probes and scrapers go on working.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use berth_embed::OCEAN_CORE_VERSION;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    listener::{Reason, Resyncs},
    metrics::Metrics,
};

/// What the routes tell.
#[derive(Debug, Default)]
pub(crate) struct Status {
    ready: AtomicBool,
    pub(crate) metrics: Metrics,
}

impl Status {
    /// The settings are good and the plugins are loaded.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

/// All routes. `prefix` stands before health and metrics, not before the webhook, which is there
/// only if there is something to ask for resyncs.
pub(crate) fn router(prefix: &str, status: Arc<Status>, webhook: Option<Resyncs>) -> Router {
    let mut router = Router::new()
        .route(&format!("{prefix}/health/live"), get(live))
        .route(&format!("{prefix}/health/ready"), get(ready))
        .route(&format!("{prefix}/metrics"), get(metrics))
        .route(&format!("{prefix}/metrics/"), get(metrics))
        .with_state(status);
    if let Some(resyncs) = webhook {
        router = router.merge(Router::new().route("/resync", post(resync)).with_state(resyncs));
    }
    router
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "Not Found") })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn(told))
}

async fn live() -> Json<Value> {
    health("healthy", "live")
}

/// Unlike the peer's, which says so from the start.
async fn ready(State(status): State<Arc<Status>>) -> Response {
    if status.ready.load(Ordering::Relaxed) {
        health("healthy", "ready").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, health("starting", "ready")).into_response()
    }
}

fn health(status: &str, check: &str) -> Json<Value> {
    Json(json!({
        "status": status,
        "check": check,
        "core_version": OCEAN_CORE_VERSION,
        "berth_version": env!("CARGO_PKG_VERSION"),
    }))
}

async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], status.metrics.render())
}

/// Replies when the resync has ended. The resync goes on if the caller does not wait for it.
async fn resync(State(resyncs): State<Resyncs>) -> Response {
    match resyncs.run(Reason::Webhook).await {
        Some(_) => Json(Value::Null).into_response(),
        None => refusal(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping"),
    }
}

fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({ "detail": detail }))).into_response()
}

/// Adds to each reply a name of its own, and how many seconds it took.
async fn told(request: Request, next: Next) -> Response {
    let clock = Instant::now();
    let id = Uuid::new_v4().to_string();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let seconds = clock.elapsed().as_secs_f64();
    tracing::debug!(%method, path, status = response.status().as_u16(), seconds, request_id = id, "request");
    for (name, value) in [("x-request-id", id), ("x-process-time", format!("{seconds:.6}"))] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}
