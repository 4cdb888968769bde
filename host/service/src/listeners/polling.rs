//! Polls Port for resync requests, as the contract's POLLING listener does.
//!
//! Differs from Ocean in three ways. A resync at the start does not wait for a stored request. Berth also
//! polls while a resync runs, so that a corrected mapping does not wait for its end. And a running resync
//! does not count as having served a request that is made meanwhile: Berth compares the request with the
//! resync's start as Port recorded it, not with its end.

use std::{pin::pin, sync::Arc, time::SystemTime};

use berth_port::service::PortService;
use tokio::sync::{oneshot, watch};

use super::{Reason, ResyncEnd, Resyncs};
use crate::{config::Listener, state::ServiceState};

/// Polls until the service stops or gets another listener: each interval, whether or not a resync runs, and
/// when the settings change. A failed poll is logged and skipped.
pub(crate) async fn poll(mut state: watch::Receiver<Arc<ServiceState>>, resyncs: &Resyncs) {
    let mut looks = Looks::default();
    // The request to make at the next poll, whatever Port says: nothing else would make it again.
    let mut due: Option<Reason> = None;
    let mut asked: Option<PendingResync> = None;
    let mut first = true;
    loop {
        let now = Arc::clone(&state.borrow_and_update());
        let (Some(port), Listener::Polling { interval, resync_on_start }) =
            (now.host.port(), &now.config.listener)
        else {
            return;
        };
        if std::mem::take(&mut first) && *resync_on_start {
            due = Some(Reason::Start);
        }
        let mut reason = due.take();
        if reason.is_none() {
            let port = PortService::of(port);
            match port.resync_request().await {
                Ok(requested) if looks.is_due(requested, port.last_begun()) => {
                    reason = Some(Reason::Requested);
                }
                Ok(_) => {}
                Err(problem) => {
                    tracing::warn!(%problem, "cannot get resync requests from Port; retrying later");
                }
            }
        }
        if let Some(reason) = reason {
            let Some(ended) = resyncs.ask(reason).await else { return };
            asked = Some(PendingResync { reason, ended });
        }
        let mut pause = pin!(tokio::time::sleep(*interval));
        loop {
            tokio::select! {
                () = &mut pause => break,
                Ok(()) = state.changed() => break,
                ended = PendingResync::end(&mut asked), if asked.is_some() => match ended {
                    (reason, Some(ResyncEnd::NotBegun)) => due = Some(reason),
                    (_, Some(_)) => {}
                    (_, None) => return,
                },
            }
        }
    }
}

/// The newest requested resync.
struct PendingResync {
    reason: Reason,
    ended: oneshot::Receiver<ResyncEnd>,
}

impl PendingResync {
    /// Waits for its end, and forgets it; returns `None` if the service stops first.
    async fn end(asked: &mut Option<Self>) -> (Reason, Option<ResyncEnd>) {
        let Some(Self { reason, ended }) = asked else { return std::future::pending().await };
        let end = (*reason, ended.await.ok());
        *asked = None;
        end
    }
}

/// What the polls have found so far. All times are from Port's clock.
#[derive(Debug, Default)]
struct Looks {
    /// The request of the last poll that found one.
    seen: Option<SystemTime>,
    /// The start of this process's last resync, as Port recorded it, at the last poll.
    begun: Option<SystemTime>,
}

impl Looks {
    /// Takes the result of a poll: the request that is stored at Port, and the start of this process's last
    /// resync as Port recorded it. Returns whether the request needs a resync.
    ///
    /// A request is new if its time differs from the last one's, later or earlier, because clocks are set
    /// back. Only a resync that started since the last poll can have served it already.
    fn is_due(&mut self, requested: Option<SystemTime>, begun: Option<SystemTime>) -> bool {
        let since = begun.filter(|_| begun != self.begun);
        let new = requested.is_some() && requested != self.seen;
        self.begun = begun;
        self.seen = requested.or(self.seen);
        new && !served(requested, since)
    }
}

/// Returns whether a resync that `begun` serves a request: one that was made before. No resync serves a
/// request without a time.
pub(super) fn served(requested: Option<SystemTime>, begun: Option<SystemTime>) -> bool {
    requested.is_some_and(|requested| begun.is_some_and(|begun| requested <= begun))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_is_due_unless_a_resync_served_it() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        // A sequence of polls: the request, the start of a resync, and whether a resync is due.
        for looks in [
            // No request.
            &[(None, None, false), (None, at(2), false)][..],
            // No resync yet: a stored request was not served. It is made once.
            &[(at(1), None, true), (at(1), None, false), (at(1), at(2), false)],
            // Made before the first resync, and before one with another trigger.
            &[(at(5), at(6), false), (at(7), at(8), false)],
            // Made while a resync runs.
            &[(at(5), at(6), false), (at(7), at(6), true), (at(7), at(6), false), (at(7), at(9), false)],
            // Port's clock was set back: it is still another request.
            &[(at(50), at(60), false), (at(40), at(60), true), (at(41), at(60), true)],
            // The clock was set back before the resync that serves the request.
            &[(at(50), at(60), false), (at(40), at(41), false)],
            // A record that is missing for a moment (the host was replaced) makes nothing due again.
            &[(at(5), at(6), false), (at(5), None, false), (at(5), at(6), false)],
        ] {
            let mut seen = Looks::default();
            for (index, (requested, begun, due)) in looks.iter().enumerate() {
                assert_eq!(seen.is_due(*requested, *begun), *due, "poll {index} of {looks:?}");
            }
        }
    }
}
