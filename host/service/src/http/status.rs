//! The status page, and the events that keep it up to date.

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

use super::{HttpState, server::Peer};
use crate::report::html::{CONTENT_SECURITY_POLICY, page};

/// How often those who look are told what has changed.
const EVERY: Duration = Duration::from_secs(1);
/// Who may look at the same time.
pub(super) const WATCHERS: usize = 64;
/// After how long whoever looks has to come again, which the page does by itself.
const LONGEST: Duration = Duration::from_mins(15);

/// Who looks at the status page. Whoever comes when there is no place takes that of the one who has looked
/// longest: nobody can keep the others out, be it by not reading what is sent.
#[derive(Debug, Default)]
pub(super) struct Watchers(Mutex<Looking>);

#[derive(Debug, Default)]
struct Looking {
    /// How many have come so far.
    come: u64,
    /// Who looks, the longest first: a number, and what ends it.
    now: VecDeque<(u64, CancellationToken)>,
}

impl Watchers {
    /// Lets somebody look. The token ends that.
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
pub(super) async fn events(State(status): State<Arc<HttpState>>, request: Request) -> Response {
    // Ends the connection, too: there may be a last event that is never read.
    let connection = request.extensions().get::<Peer>().map(|peer| peer.close.clone());
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
    // Proxies would wait for the end of what has none.
    let unbuffered = [(HeaderName::from_static("x-accel-buffering"), "no")];
    (unbuffered, Sse::new(changes).keep_alive(KeepAlive::default())).into_response()
}

/// Somebody who looks. Gives the place back when dropped.
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
