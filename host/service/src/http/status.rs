//! The status page, and the events that update it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::{HeaderName, header},
    response::{
        IntoResponse, Redirect, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::stream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{HttpState, server::ConnectionPeer};
use crate::report::html::{CONTENT_SECURITY_POLICY, page};

/// The interval of the events.
const EVERY: Duration = Duration::from_secs(1);
/// The most clients at the same time.
pub(super) const WATCHERS: usize = 64;
/// After this time a client must connect again, which the page does by itself.
const LONGEST: Duration = Duration::from_mins(15);

/// The clients of the status page. If there is no place, a new client takes that of the oldest: no client can
/// keep the others out, not even by not reading.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Looking>);

#[derive(Debug, Default)]
struct Looking {
    /// The number of clients so far.
    come: u64,
    /// The clients, oldest first: a number, and a token that ends the stream.
    now: VecDeque<(u64, CancellationToken)>,
}

impl Watchers {
    /// Admits a client. The token ends its stream.
    fn admit(&self, end: CancellationToken) -> u64 {
        let mut looking = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looking.come += 1;
        let number = looking.come;
        looking.now.push_back((number, end));
        if looking.now.len() > WATCHERS
            && let Some((_, end)) = looking.now.pop_front()
        {
            end.cancel();
        }
        number
    }

    fn leave(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).now.retain(|(other, _)| *other != number);
    }
}

/// A relative path, because a proxy may change the prefix.
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

/// Sends everything first, then the changes. A slow client gets fewer, larger changes; nothing waits for it.
pub(super) async fn events(State(status): State<Arc<HttpState>>, request: Request) -> Response {
    // Closes the connection, too: the client may never read the last event.
    let connection = request.extensions().get::<ConnectionPeer>().map(|peer| peer.close.clone());
    let end = connection.unwrap_or_default();
    let watcher = Watcher {
        number: status.watchers.admit(end.clone()),
        status,
        version: 0,
        end,
        until: Instant::now() + LONGEST,
    };
    let changes = stream::unfold(watcher, |mut watcher| async {
        loop {
            if watcher.version > 0 {
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = tokio::time::sleep_until(watcher.until) => return None,
                    () = watcher.end.cancelled() => return None,
                    () = watcher.status.drain.cancelled() => return None,
                }
            }
            if let Some((json, version)) = watcher.status.model.since(watcher.version) {
                watcher.version = version;
                return Some((Ok::<_, Infallible>(Event::default().data(json)), watcher));
            }
        }
    });
    // Proxies would wait for the end of this endless response.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(changes).keep_alive(KeepAlive::default())).into_response()
}

/// A client. Frees its place when dropped.
struct Watcher {
    number: u64,
    status: Arc<HttpState>,
    version: u64,
    end: CancellationToken,
    until: Instant,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.status.watchers.leave(self.number);
    }
}
