//! The HTTP server: the status page, health, metrics, and the webhooks of resync requests and live events. Routes and
//! replies are those of the Ocean contract, so that a chart's probes and scrapers go on working.

mod docs;
mod events;
mod status;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use berth_embed::{Event, Live, OCEAN_CORE_VERSION, Observer};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    board::Board,
    listener::{Reason, Resyncs},
    metrics::{Form, Metrics},
};

pub(crate) use events::Door;

/// What the routes tell.
#[derive(Debug)]
pub(crate) struct Status {
    ready: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) board: Arc<Board>,
    /// Ends what would not end by itself.
    pub(crate) drain: CancellationToken,
    /// Who may still look at the status page.
    watchers: Arc<Semaphore>,
    /// What follows live events, once the plugins are loaded.
    live: RwLock<Option<Arc<Live>>>,
}

impl Default for Status {
    fn default() -> Self {
        let metrics = Arc::default();
        Self {
            ready: AtomicBool::default(),
            board: Arc::new(Board::new(Arc::clone(&metrics))),
            metrics,
            drain: CancellationToken::new(),
            watchers: Arc::new(Semaphore::new(status::WATCHERS)),
            live: RwLock::default(),
        }
    }
}

impl Observer for Status {
    fn event(&self, event: &Event<'_>) {
        if let Event::Refreshed { kind, refreshed } = event {
            self.metrics.refreshed(kind, *refreshed);
        }
    }
}

impl Status {
    /// What follows live events from now on.
    pub(crate) fn follow(&self, live: &Arc<Live>) {
        self.metrics.follow(live);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(live));
    }

    /// What follows live events, once the plugins are loaded.
    pub(crate) fn live(&self) -> Option<Arc<Live>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings are good and the plugins are loaded.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

/// A path as the document of the API names it, and who answers.
struct Route {
    path: &'static str,
    /// Whether the prefix stands before it.
    prefixed: bool,
    answers: MethodRouter,
}

/// What is served beside health and metrics.
#[derive(Debug, Default)]
pub(crate) struct Serves {
    /// Asks for resyncs.
    pub(crate) webhook: Option<Resyncs>,
    /// Takes live events.
    pub(crate) door: Option<Door>,
    /// Shows the status page.
    pub(crate) page: bool,
}

/// All routes but those that tell about them. Each webhook is there only if there is something behind
/// it.
fn routes(status: &Arc<Status>, serves: Serves) -> Vec<Route> {
    let behind_prefix = |path, answers| Route { path, prefixed: true, answers };
    let mut routes = vec![
        behind_prefix("/health/live", get(live)),
        behind_prefix("/health/ready", get(ready).with_state(Arc::clone(status))),
        behind_prefix("/metrics", get(metrics).with_state(Arc::clone(status))),
        behind_prefix("/metrics/", get(metrics).with_state(Arc::clone(status))),
    ];
    if serves.page {
        routes.extend([
            behind_prefix("/", get(status::home)),
            behind_prefix("/status", get(status::status)),
            behind_prefix("/status/events", get(status::events).with_state(Arc::clone(status))),
        ]);
    }
    routes.extend(serves.door.map(|door| behind_prefix("/integration/webhook", events::answers(door))));
    routes.extend(serves.webhook.map(|resyncs| Route {
        path: "/resync",
        prefixed: false,
        answers: post(resync).with_state(resyncs),
    }));
    routes
}

/// The pages about the API.
const DOCS: [&str; 3] = ["/openapi.json", "/docs", "/redoc"];

/// The router. `prefix` stands before all but the pages about the API and the webhook of resyncs.
pub(crate) fn router(prefix: &str, status: &Arc<Status>, serves: Serves) -> Router {
    let mut router = Router::new();
    let mut served = Vec::new();
    for Route { path, prefixed, answers } in routes(status, serves) {
        let full = if prefixed { format!("{prefix}{path}") } else { path.to_owned() };
        router = router.route(&full, answers);
        served.push((path, full));
    }
    served.extend(DOCS.map(|path| (path, path.to_owned())));
    let document = docs::document(&served);
    let page = docs::page(&document);
    for path in DOCS {
        let answers = if path == "/openapi.json" {
            let document = document.clone();
            get(move || async move { Json(document) })
        } else {
            let page = page.clone();
            get(move || async move { Html(page) })
        };
        router = router.route(path, answers);
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

async fn metrics(State(status): State<Arc<Status>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = Form::accepted(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, form.content_type())], form.render(&status.metrics.families()))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::body::Body;
    use futures::StreamExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{listener, settings::LiveKey};

    async fn ask(router: &Router, method: &str, path: &str) -> Response {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    fn with_webhook(prefix: &str) -> Router {
        // Nobody runs resyncs, so that the webhook refuses at once.
        let (resyncs, _) = listener::channel();
        router(prefix, &Arc::default(), everything(resyncs))
    }

    fn everything(resyncs: Resyncs) -> Serves {
        let key = LiveKey { key: "key".into(), accounts: None };
        let door = Door { keys: vec![key], status: Arc::default() };
        Serves { webhook: Some(resyncs), door: Some(door), page: true }
    }

    #[tokio::test]
    async fn the_document_lists_just_what_is_served() {
        let router = with_webhook("");
        let written = docs::written();
        for (path, method) in &written {
            let status = ask(&router, &method.to_uppercase(), path).await.status();
            let absent = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            assert!(!absent.contains(&status), "{method} {path}: {status}");
        }
        let (resyncs, _) = listener::channel();
        let routes = routes(&Arc::default(), everything(resyncs));
        let served: BTreeSet<&str> = routes.iter().map(|route| route.path).chain(DOCS).collect();
        assert_eq!(served, written.iter().map(|(path, _)| path.as_str()).collect());
        for path in served {
            for method in ["get", "post", "put", "delete", "patch"] {
                let status = ask(&router, &method.to_uppercase(), path).await.status();
                let served = written.contains(&(path.to_owned(), method.to_owned()));
                assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, served, "{method} {path}: {status}");
            }
        }
    }

    #[tokio::test]
    async fn the_prefix_stands_where_the_contract_wants_it() {
        let router = with_webhook("/a/b");
        for path in ["/a/b/health/live", "/a/b/metrics", "/docs", "/redoc", "/openapi.json"] {
            assert_eq!(ask(&router, "GET", path).await.status(), StatusCode::OK, "{path}");
        }
        let served = axum::body::to_bytes(ask(&router, "GET", "/openapi.json").await.into_body(), 1 << 20);
        let document: Value = serde_json::from_slice(&served.await.unwrap()).unwrap();
        assert!(document["paths"]["/a/b/metrics"]["get"].is_object(), "{document}");
        for path in ["/", "/isHealthy", "/health/live", "/a/b/resync", "/a/b/docs"] {
            let response = ask(&router, "GET", path).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(body, r#"{"detail":"Not Found"}"#, "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_not_asked_for_is_neither_served_nor_documented() {
        let router = router("", &Arc::default(), Serves::default());
        assert_eq!(ask(&router, "POST", "/resync").await.status(), StatusCode::NOT_FOUND);
        for path in ["/", "/status", "/status/events"] {
            assert_eq!(ask(&router, "GET", path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let page =
            axum::body::to_bytes(ask(&router, "GET", "/docs").await.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8_lossy(&page).into_owned();
        assert!(
            page.contains("/health/ready") && !page.contains("/resync") && !page.contains("/status"),
            "{page}"
        );
    }

    #[tokio::test]
    async fn the_page_runs_nothing_but_its_own_script() {
        let router = with_webhook("/a/b");
        let home = ask(&router, "GET", "/a/b/").await;
        assert_eq!(home.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(home.headers()[header::LOCATION], "status", "a proxy may strip what stands before");
        let response = ask(&router, "GET", "/a/b/status").await;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        for rule in ["default-src 'none'", "script-src 'sha256-", "frame-ancestors 'none'", "trusted-types"] {
            assert!(policy.contains(rule), "{rule}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[tokio::test]
    async fn who_looks_gets_everything_and_the_changes_until_the_service_stops() {
        let status: Arc<Status> = Arc::default();
        let (resyncs, _) = listener::channel();
        let router = router("", &status, everything(resyncs));
        let mut events = ask(&router, "GET", "/status/events").await.into_body().into_data_stream();
        let mut next = async || {
            let bytes = events.next().await?.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(serde_json::from_str::<Value>(text.trim().strip_prefix("data: ").unwrap()).unwrap())
        };
        let first = next().await.unwrap();
        assert_eq!((&first["resync"]["number"], first["layout"].is_object()), (&json!(0), true));
        status.board.begun("start");
        let second = next().await.unwrap();
        assert_eq!((&second["resync"]["number"], &second["resync"]["reason"]), (&json!(1), &json!("start")));
        status.drain.cancel();
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn only_so_many_may_look() {
        let status: Arc<Status> = Arc::default();
        let (resyncs, _) = listener::channel();
        let router = router("", &status, everything(resyncs));
        let mut watching = Vec::new();
        for _ in 0..status::WATCHERS {
            watching.push(ask(&router, "GET", "/status/events").await);
        }
        assert!(watching.iter().all(|response| response.status() == StatusCode::OK));
        let refused = ask(&router, "GET", "/status/events").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        watching.pop();
        assert_eq!(ask(&router, "GET", "/status/events").await.status(), StatusCode::OK);
    }
}
