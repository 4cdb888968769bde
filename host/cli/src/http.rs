//! The HTTP server: health, metrics, and the webhooks of resync requests and live events. Routes and
//! replies are those of the Ocean contract, so that a chart's probes and scrapers go on working.

mod events;

use std::{
    sync::{
        Arc, OnceLock,
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
use berth_embed::{Event, Live, OCEAN_CORE_VERSION, Observer};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    listener::{Reason, Resyncs},
    metrics::Metrics,
};

pub(crate) use events::Door;

/// What the routes tell.
#[derive(Debug, Default)]
pub(crate) struct Status {
    ready: AtomicBool,
    pub(crate) metrics: Metrics,
    /// What follows live events, once the plugins are loaded.
    pub(crate) live: OnceLock<Arc<Live>>,
}

impl Observer for Status {
    fn event(&self, event: &Event<'_>) {
        if let Event::Refreshed { kind, refreshed } = event {
            self.metrics.refreshed(kind, *refreshed);
        }
    }
}

impl Status {
    /// The settings are good and the plugins are loaded.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

/// All routes. `prefix` stands before all but the webhook of resyncs. Each webhook is there only if
/// there is something behind it.
pub(crate) fn router(
    prefix: &str,
    status: Arc<Status>,
    webhook: Option<Resyncs>,
    door: Option<Door>,
) -> Router {
    let mut router = Router::new()
        .route(&format!("{prefix}/health/live"), get(live))
        .route(&format!("{prefix}/health/ready"), get(ready))
        .route(&format!("{prefix}/metrics"), get(metrics))
        .route(&format!("{prefix}/metrics/"), get(metrics))
        .with_state(status);
    if let Some(resyncs) = webhook {
        router = router.merge(Router::new().route("/resync", post(resync)).with_state(resyncs));
    }
    if let Some(door) = door {
        router = router.merge(events::router(prefix, door));
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
    let waiting = status.live.get().map(|live| live.waiting());
    let page = status.metrics.render(waiting);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page)
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
