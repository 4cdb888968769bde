//! The status page, and the events that keep it up to date.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{
        IntoResponse, Redirect, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::Status;
use crate::board::{CONTENT_SECURITY_POLICY, page};

/// How often those who look are told what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// Who may look at the same time.
pub(super) const WATCHERS: usize = 64;

/// Relative, since a proxy may have its own idea of what stands before.
pub(super) async fn home() -> Redirect {
    Redirect::temporary("status")
}

pub(super) async fn status() -> Response {
    let policy = format!("{}; frame-ancestors 'none'", *CONTENT_SECURITY_POLICY);
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, &policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, page(None)).into_response()
}

/// Everything first, then what has changed. Whoever is slow to take it gets less often what has
/// changed since; nothing waits for them.
pub(super) async fn events(State(status): State<Arc<Status>>) -> Response {
    let Ok(permit) = Arc::clone(&status.watchers).try_acquire_owned() else {
        return super::refusal(StatusCode::SERVICE_UNAVAILABLE, "too many look at the status already");
    };
    struct Watcher {
        status: Arc<Status>,
        version: u64,
        _permit: OwnedSemaphorePermit,
    }
    let watcher = Watcher { status, version: 0, _permit: permit };
    let changes = stream::unfold(watcher, |mut watcher| async {
        loop {
            if watcher.version > 0 {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = watcher.status.drain.cancelled() => return None,
                }
            }
            if let Some((json, version)) = watcher.status.board.since(watcher.version) {
                watcher.version = version;
                return Some((Ok::<_, Infallible>(Event::default().data(json)), watcher));
            }
        }
    });
    // Proxies would wait for the end of what has none.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(changes).keep_alive(KeepAlive::default())).into_response()
}
