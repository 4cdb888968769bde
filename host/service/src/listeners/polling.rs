//! Looks at Port for resync requests, as the contract's POLLING listener does.
//!
//! Three of the peer's weaknesses are not kept. A resync at the start does not wait for a stored
//! request. Port is asked while a resync runs, too, so that a corrected mapping does not wait for its
//! end. And a request that is made while a resync runs is not taken for served by it: what counts is
//! Port's note of the resync's start, not that of its end.

use std::{pin::pin, sync::Arc, time::SystemTime};

use berth_port::service::PortService;
use tokio::sync::{oneshot, watch};

use super::{Ended, Reason, Resyncs};
use crate::{config::Listener, state::ServiceState};

/// Looks until the service stops, or listens otherwise: each interval, whether or not a resync runs, and
/// when the settings are others. A look that fails is logged and skipped.
pub(crate) async fn poll(mut state: watch::Receiver<Arc<ServiceState>>, resyncs: &Resyncs) {
    let mut looks = Looks::default();
    // What is asked for at the next look whatever Port says: nobody would ask for it again.
    let mut due: Option<Reason> = None;
    let mut asked: Option<Asked> = None;
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
                    tracing::warn!(%problem, "Port could not be asked for resync requests; asked again later");
                }
            }
        }
        if let Some(reason) = reason {
            let Some(ended) = resyncs.ask(reason).await else { return };
            asked = Some(Asked { reason, ended });
        }
        let mut pause = pin!(tokio::time::sleep(*interval));
        loop {
            tokio::select! {
                () = &mut pause => break,
                Ok(()) = state.changed() => break,
                ended = Asked::end(&mut asked), if asked.is_some() => match ended {
                    (reason, Some(Ended::NotBegun)) => due = Some(reason),
                    (_, Some(_)) => {}
                    (_, None) => return,
                },
            }
        }
    }
}

/// The newest resync that was asked for.
struct Asked {
    reason: Reason,
    ended: oneshot::Receiver<Ended>,
}

impl Asked {
    /// Waits for its end, and forgets it; `None` when the service stops before.
    async fn end(asked: &mut Option<Self>) -> (Reason, Option<Ended>) {
        let Some(Self { reason, ended }) = asked else { return std::future::pending().await };
        let end = (*reason, ended.await.ok());
        *asked = None;
        end
    }
}

/// What the looks at Port have seen so far. All times are those of Port's clock.
#[derive(Debug, Default)]
struct Looks {
    /// The request of the last look that found one.
    seen: Option<SystemTime>,
    /// The start of the last resync of this process, as Port had noted it at the last look.
    begun: Option<SystemTime>,
}

impl Looks {
    /// Notes a look: the request that is stored at Port, and the start of this process's last resync as
    /// Port noted it. Returns whether the request needs a resync.
    ///
    /// A request is new when its time is other than that of the last one, later or not: clocks are set
    /// back. Only a resync that began since the last look can have served it already.
    fn is_due(&mut self, requested: Option<SystemTime>, begun: Option<SystemTime>) -> bool {
        let since = begun.filter(|_| begun != self.begun);
        let new = requested.is_some() && requested != self.seen;
        self.begun = begun;
        self.seen = requested.or(self.seen);
        new && !served(requested, since)
    }
}

/// Whether a resync that `begun` serves a request: one that was made before. A request that has no time
/// is served by none.
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
        // Looks in turn: what is requested, when a resync began, and whether one is due.
        for looks in [
            // Nobody asked.
            &[(None, None, false), (None, at(2), false)][..],
            // No resync yet: whatever is stored was not served. It is asked for once.
            &[(at(1), None, true), (at(1), None, false), (at(1), at(2), false)],
            // Made before the first resync, and before one that somebody else triggered.
            &[(at(5), at(6), false), (at(7), at(8), false)],
            // Made while a resync runs.
            &[(at(5), at(6), false), (at(7), at(6), true), (at(7), at(6), false), (at(7), at(9), false)],
            // Port's clock was set back: the request is another one all the same.
            &[(at(50), at(60), false), (at(40), at(60), true), (at(41), at(60), true)],
            // And it was set back before the resync that serves it.
            &[(at(50), at(60), false), (at(40), at(41), false)],
            // A note that is gone for a moment (the host was replaced) makes nothing due again.
            &[(at(5), at(6), false), (at(5), None, false), (at(5), at(6), false)],
        ] {
            let mut seen = Looks::default();
            for (index, (requested, begun, due)) in looks.iter().enumerate() {
                assert_eq!(seen.is_due(*requested, *begun), *due, "look {index} of {looks:?}");
            }
        }
    }
}
