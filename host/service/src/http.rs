//! The HTTP server: the status page, health, metrics, and the webhooks of resync requests and live events.
//! Routes and replies are those of the Ocean contract, so that a chart's probes and scrapers keep working.

mod docs;
mod events;
mod guard;
mod refusals;
mod resync;
mod server;
mod status;

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::{Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use berth_embed::{Event, Observer};
use berth_port::OCEAN_CORE_VERSION;
use serde_json::{Value, json};
use tokio::time::{error::Elapsed, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    config::HttpAccess,
    listeners::Resyncs,
    metrics::{Exposition, Metrics},
    status_page::StatusModel,
};

pub(crate) use events::EventWebhook;
use refusals::Refusals;
use server::ConnectionPeer;
pub(crate) use server::{ConnectionLimits, bind, serve};
use status::Watchers;

/// The state that the routes show and change.
#[derive(Debug)]
pub(crate) struct HttpState {
    ready: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) model: Arc<StatusModel>,
    /// Ends connections that would not end by themselves.
    pub(crate) drain: CancellationToken,
    /// The clients of the status page.
    watchers: Watchers,
    /// Who may send which requests.
    access: RwLock<Arc<HttpAccess>>,
    /// Receives live events, if there is a key for them.
    events: RwLock<Option<Arc<EventWebhook>>>,
    /// Counts refused requests.
    refusals: Refusals,
}

impl Default for HttpState {
    fn default() -> Self {
        let metrics = Arc::default();
        Self {
            ready: AtomicBool::default(),
            model: Arc::new(StatusModel::new(Arc::clone(&metrics))),
            metrics,
            drain: CancellationToken::new(),
            watchers: Watchers::default(),
            access: RwLock::default(),
            events: RwLock::default(),
            refusals: Refusals::default(),
        }
    }
}

impl Observer for HttpState {
    fn event(&self, event: &Event<'_>) {
        if let Event::Refreshed { kind, refreshed } = event {
            self.metrics.refreshed(kind, *refreshed);
        }
    }
}

impl HttpState {
    /// Replaces the webhook for live events; `None` to stop.
    pub(crate) fn take_events(&self, webhook: Option<EventWebhook>) {
        if let Some(live) = webhook.as_ref().and_then(|webhook| webhook.live.as_ref()) {
            self.metrics.follow(live);
        }
        *self.events.write().unwrap_or_else(PoisonError::into_inner) = webhook.map(Arc::new);
    }

    /// Returns the webhook for live events, if there is a key for them.
    fn event_webhook(&self) -> Option<Arc<EventWebhook>> {
        self.events.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the access rules.
    pub(crate) fn allow(&self, access: HttpAccess) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    fn access(&self) -> Arc<HttpAccess> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a refused request.
    fn refuse(&self, why: &'static str) {
        self.metrics.refused();
        self.refusals.note(why);
    }

    /// Reports that the settings are valid and the plugins are loaded.
    pub(crate) fn set_ready(&self) {
        self.ready.store(true, Ordering::Relaxed);
    }
}

/// A path, as in the API's document, and its handler.
struct Route {
    path: &'static str,
    /// Whether the prefix applies.
    prefixed: bool,
    answers: MethodRouter,
}

/// The routes that are served in addition to health and metrics.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Requests resyncs.
    pub(crate) webhook: Option<Resyncs>,
    /// Whether to serve the status page.
    pub(crate) page: bool,
}

/// Returns all routes except those of the API's documents. A webhook exists only if something handles it.
fn all_routes(status: &Arc<HttpState>, routes: Routes) -> Vec<Route> {
    let behind_prefix = |path, answers| Route { path, prefixed: true, answers };
    let mut all = vec![
        behind_prefix(HEALTH[0], get(alive)),
        behind_prefix(HEALTH[1], get(ready).with_state(Arc::clone(status))),
        behind_prefix("/metrics", get(metrics).with_state(Arc::clone(status))),
        behind_prefix("/metrics/", get(metrics).with_state(Arc::clone(status))),
    ];
    if routes.page {
        all.extend([
            behind_prefix("/", get(status::home)),
            behind_prefix("/status", get(status::status)),
            behind_prefix("/status/events", get(status::events).with_state(Arc::clone(status))),
        ]);
    }
    all.push(behind_prefix(EVENTS, events::answers(Arc::clone(status))));
    all.extend(routes.webhook.map(|resyncs| Route {
        path: RESYNC,
        prefixed: false,
        answers: post(resync::ask).with_state((resyncs, Arc::clone(status))),
    }));
    all
}

/// The path for live events, if there is a key for them.
const EVENTS: &str = "/integration/webhook";

/// The path for resync requests.
const RESYNC: &str = "/resync";
/// The paths for probes.
const HEALTH: [&str; 2] = ["/health/live", "/health/ready"];

/// Port and EventBridge send no larger bodies.
const BODY_LIMIT: usize = 1 << 20;
/// How long receiving a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Returns the body of a request, unless it takes too long.
async fn body(request: Request) -> Result<Result<Bytes, axum::Error>, Elapsed> {
    timeout(BODY_PATIENCE, to_bytes(request.into_body(), BODY_LIMIT)).await
}

/// The API's documents.
const DOCS: [&str; 3] = ["/openapi.json", "/docs", "/redoc"];

/// Returns the router. `prefix` applies to all routes except the API's documents and the webhook for resyncs.
pub(crate) fn router(prefix: &str, status: &Arc<HttpState>, routes: Routes) -> Router {
    let mut router = Router::new();
    let mut served = Vec::new();
    for Route { path, prefixed, answers } in all_routes(status, routes) {
        let full = if prefixed { format!("{prefix}{path}") } else { path.to_owned() };
        router = router.route(&full, answers);
        served.push((path, full));
    }
    served.extend(DOCS.map(|path| (path, path.to_owned())));
    let guarded = Arc::new(Guarded {
        health: HEALTH.map(|path| format!("{prefix}{path}")),
        keyed: [format!("{prefix}{EVENTS}"), RESYNC.to_owned()],
        status: Arc::clone(status),
    });
    let status = Arc::clone(status);
    let document = Arc::new(move || {
        let events = status.event_webhook().is_some();
        let served: Vec<_> = served.iter().filter(|(path, _)| *path != EVENTS || events).cloned().collect();
        docs::document(&served)
    });
    for path in DOCS {
        let document = Arc::clone(&document);
        let answers = if path == "/openapi.json" {
            get(move || async move { Json(document()) })
        } else {
            get(move || async move { Html(docs::page(&document())) })
        };
        router = router.route(path, answers);
    }
    router
        .fallback(|| async { not_found() })
        .method_not_allowed_fallback(|| async {
            refusal(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
        .layer(middleware::from_fn_with_state(guarded, guard))
        .layer(middleware::from_fn(identify))
}

/// The paths with special access rules.
struct Guarded {
    /// For everyone, as long as there is any connection left.
    health: [String; 2],
    /// With any host name, because these need a key.
    keyed: [String; 2],
    status: Arc<HttpState>,
}

/// Refuses requests that are for another service, or from another site.
async fn guard(State(guarded): State<Arc<Guarded>>, request: Request, next: Next) -> Response {
    let Guarded { health, keyed, status } = &*guarded;
    let path = request.uri().path();
    if health.iter().any(|health| health == path) {
        return next.run(request).await;
    }
    if request.extensions().get::<ConnectionPeer>().is_some_and(|peer| peer.reserve) {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "there are too many connections");
    }
    let names = &status.access().names;
    let (uri, headers) = (request.uri(), request.headers());
    let by_name = || {
        if keyed.iter().any(|keyed| keyed == path) {
            Ok(())
        } else {
            guard::host_is_ours(uri, headers, names)
        }
    };
    if let Err(foreign) = guard::origin_is_ours(uri, headers, names).and_then(|()| by_name()) {
        status.refuse(foreign.as_str());
        return refusal(StatusCode::FORBIDDEN, "the request is for another site, or comes from one");
    }
    next.run(request).await
}

async fn alive() -> Json<Value> {
    health("healthy", "live")
}

/// Ocean reports ready from the start; Berth does not.
async fn ready(State(status): State<Arc<HttpState>>) -> Response {
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

async fn metrics(State(status): State<Arc<HttpState>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = Exposition::accepted(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, form.content_type())], form.render(&status.metrics.families()))
}

fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "Not Found")
}

fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({ "detail": detail }))).into_response()
}

/// Adds an ID to each reply, and how many seconds it took.
async fn identify(request: Request, next: Next) -> Response {
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
    use std::{collections::BTreeSet, time::Duration};

    use axum::body::Body;
    use futures::StreamExt;
    use tower::ServiceExt;

    use super::*;
    use crate::{config::LiveKey, listeners};

    async fn ask(router: &Router, method: &str, path: &str) -> Response {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    fn with_webhook(prefix: &str) -> Router {
        // Nothing runs resyncs, so the webhook refuses at once.
        let (resyncs, _) = listeners::channel();
        let status: Arc<HttpState> = Arc::default();
        status.take_events(Some(with_key("key")));
        router(prefix, &status, everything(resyncs))
    }

    fn with_key(key: &str) -> EventWebhook {
        EventWebhook::new(vec![LiveKey { key: key.into(), accounts: None }], None)
    }

    fn everything(resyncs: Resyncs) -> Routes {
        Routes { webhook: Some(resyncs), page: true }
    }

    #[tokio::test]
    async fn a_key_of_live_events_is_replaced_and_revoked_while_it_runs() {
        let status: Arc<HttpState> = Arc::default();
        let router = router("", &status, Routes::default());
        let post = async |key: Option<&str>| {
            let mut request = Request::builder().method("POST").uri(EVENTS);
            if let Some(key) = key {
                request = request.header("x-port-aws-ocean-api-key", key);
            }
            router.clone().oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap().status()
        };
        assert_eq!(post(Some("old")).await, StatusCode::NOT_FOUND, "nothing is taken");
        status.take_events(Some(with_key("old")));
        // A request with the right key is accepted, and learns that nothing processes events yet.
        assert_eq!(post(Some("old")).await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(post(None).await, StatusCode::UNAUTHORIZED);
        status.take_events(Some(with_key("new")));
        assert_eq!(post(Some("old")).await, StatusCode::UNAUTHORIZED);
        assert_eq!(post(Some("new")).await, StatusCode::SERVICE_UNAVAILABLE);
        status.take_events(None);
        assert_eq!(post(Some("new")).await, StatusCode::NOT_FOUND);
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
        let (resyncs, _) = listeners::channel();
        let routes = all_routes(&Arc::default(), everything(resyncs));
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
        let served = to_bytes(ask(&router, "GET", "/openapi.json").await.into_body(), 1 << 20);
        let document: Value = serde_json::from_slice(&served.await.unwrap()).unwrap();
        assert!(document["paths"]["/a/b/metrics"]["get"].is_object(), "{document}");
        for path in ["/", "/isHealthy", "/health/live", "/a/b/resync", "/a/b/docs"] {
            let response = ask(&router, "GET", path).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            let body = to_bytes(response.into_body(), 100).await.unwrap();
            assert_eq!(body, r#"{"detail":"Not Found"}"#, "{path}");
        }
    }

    #[tokio::test]
    async fn what_is_not_asked_for_is_neither_served_nor_documented() {
        let router = router("", &Arc::default(), Routes::default());
        assert_eq!(ask(&router, "POST", "/resync").await.status(), StatusCode::NOT_FOUND);
        for path in ["/", "/status", "/status/events"] {
            assert_eq!(ask(&router, "GET", path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let page = to_bytes(ask(&router, "GET", "/docs").await.into_body(), 1 << 20).await.unwrap();
        let page = String::from_utf8_lossy(&page).into_owned();
        assert!(
            page.contains("/health/ready")
                && !["/resync", "/status", EVENTS].iter().any(|path| page.contains(path)),
            "{page}"
        );
    }

    #[tokio::test]
    async fn the_page_runs_nothing_but_its_own_script() {
        let router = with_webhook("/a/b");
        let home = ask(&router, "GET", "/a/b/").await;
        assert_eq!(home.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(home.headers()[header::LOCATION], "status", "a proxy may strip the prefix");
        let response = ask(&router, "GET", "/a/b/status").await;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        for rule in ["default-src 'none'", "script-src 'sha256-", "frame-ancestors 'none'", "trusted-types"] {
            assert!(policy.contains(rule), "{rule}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[tokio::test]
    async fn who_looks_gets_everything_and_the_changes_until_the_service_stops() {
        let status: Arc<HttpState> = Arc::default();
        let (resyncs, _) = listeners::channel();
        let router = router("", &status, everything(resyncs));
        let mut events = ask(&router, "GET", "/status/events").await.into_body().into_data_stream();
        let mut next = async || {
            let bytes = events.next().await?.unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some(serde_json::from_str::<Value>(text.trim().strip_prefix("data: ").unwrap()).unwrap())
        };
        let first = next().await.unwrap();
        assert_eq!((&first["resync"]["number"], first["layout"].is_object()), (&json!(0), true));
        status.model.begun("start");
        let second = next().await.unwrap();
        assert_eq!((&second["resync"]["number"], &second["resync"]["reason"]), (&json!(1), &json!("start")));
        status.drain.cancel();
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn whoever_comes_to_look_takes_the_place_of_the_longest_watcher() {
        let status: Arc<HttpState> = Arc::default();
        let (resyncs, _) = listeners::channel();
        let router = router("", &status, everything(resyncs));
        let mut watching = Vec::new();
        for _ in 0..=status::WATCHERS {
            let response = ask(&router, "GET", "/status/events").await;
            assert_eq!(response.status(), StatusCode::OK);
            let mut events = response.into_body().into_data_stream();
            assert!(events.next().await.is_some());
            watching.push(events);
        }
        assert!(watching.remove(0).next().await.is_none(), "the client is told that the stream ends");
        // A client that leaves frees a place.
        watching.pop();
        assert_eq!(ask(&router, "GET", "/status/events").await.status(), StatusCode::OK);
        let second = timeout(Duration::from_millis(50), watching[0].next()).await;
        assert!(second.is_err(), "no client had to leave");
    }

    #[tokio::test]
    async fn other_sites_are_refused_but_for_health_and_what_has_a_key() {
        let status: Arc<HttpState> = Arc::default();
        status.take_events(Some(with_key("key")));
        let (resyncs, _requests) = listeners::channel();
        let router = router("/a", &status, everything(resyncs));
        let ask = async |method: &str, path: &str, name: &str, value: &str| {
            let request = Request::builder().method(method).uri(path).header(name, value);
            router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
        };
        for path in ["/a/status", "/a/metrics", "/docs", "/nowhere"] {
            assert_eq!(ask("GET", path, "host", "evil.example").await, StatusCode::FORBIDDEN, "{path}");
        }
        for path in ["/a/status", "/a/metrics", "/docs"] {
            assert_eq!(ask("GET", path, "host", "berth").await, StatusCode::OK, "{path}");
        }
        assert_eq!(ask("GET", "/a/health/live", "host", "evil.example").await, StatusCode::OK);
        assert_eq!(ask("POST", RESYNC, "host", "berth.example.com").await, StatusCode::ACCEPTED);
        assert_eq!(ask("POST", RESYNC, "origin", "https://evil.example").await, StatusCode::FORBIDDEN);
        let events = "/a/integration/webhook";
        assert_eq!(ask("POST", events, "host", "berth.example.com").await, StatusCode::UNAUTHORIZED);
    }
}
