//! Looks at Port for resync requests, as the contract's POLLING listener does.
//!
//! Two of the peer's weaknesses are not kept. A resync at the start does not wait for a stored
//! request. And a request that is made while a resync runs is not taken for served by it: what
//! counts is Port's note of the resync's start, not that of its end.

use std::{sync::Arc, time::SystemTime};

use tokio::sync::watch;

use super::{Ended, Live, Reason, Resyncs};
use crate::settings::Listener;

/// Looks until the service stops, or listens otherwise. The interval begins when the resync has
/// ended, so that looks never overlap; new settings end it. A look that fails is logged and skipped.
pub(crate) async fn poll(mut live: watch::Receiver<Arc<Live>>, resyncs: &Resyncs) {
    // Still due while Port or AWS could not be used at all: nobody would ask for it again.
    let mut start_due = None;
    // The newest request that a resync was run for, and the start of the last resync, as Port noted
    // it, of hosts that were replaced.
    let (mut served, mut begun) = (None, None);
    loop {
        let now = Arc::clone(&live.borrow_and_update());
        let (Some(port), Listener::Polling { interval, resync_on_start }) =
            (now.host.port(), &now.service.listener)
        else {
            return;
        };
        let start_due = start_due.get_or_insert(*resync_on_start);
        begun = begun.max(port.last_begun());
        if *start_due {
            match resyncs.run(Reason::Start).await {
                Some(ended) => *start_due = ended == Ended::NotBegun,
                None => return,
            }
        } else {
            match port.resync_request().await {
                Ok(requested) if is_due(requested, served, begun) => {
                    match resyncs.run(Reason::Requested).await {
                        Some(Ended::NotBegun) => {}
                        Some(_) => served = requested,
                        None => return,
                    }
                }
                Ok(_) => {}
                Err(problem) => {
                    tracing::warn!(%problem, "Port could not be asked for resync requests; asked again later");
                }
            }
        }
        begun = begun.max(port.last_begun());
        tokio::select! {
            () = tokio::time::sleep(*interval) => {}
            Ok(()) = live.changed() => {}
        }
    }
}

/// Whether a request needs a resync: when it is newer than the last one that was `served`, and than
/// the start of this process's last resync as Port noted it (`begun`). All are times of Port's
/// clock. Without either there is nothing that may have served it.
pub(super) fn is_due(
    requested: Option<SystemTime>,
    served: Option<SystemTime>,
    begun: Option<SystemTime>,
) -> bool {
    // `None` is less than any time.
    requested > served.max(begun)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_is_due_when_no_resync_began_after_it() {
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        for (requested, served, begun, due) in [
            // Nobody asked.
            (None, None, None, false),
            (None, at(1), at(2), false),
            // No resync yet: whatever is stored was not served.
            (at(1), None, None, true),
            // Served, or made before a resync that somebody else triggered.
            (at(5), at(5), None, false),
            (at(5), None, at(6), false),
            (at(5), at(3), at(6), false),
            // Made since, be it while the resync ran.
            (at(7), at(5), at(6), true),
            (at(7), None, at(6), true),
            (at(7), at(6), None, true),
        ] {
            assert_eq!(is_due(requested, served, begun), due, "{requested:?} {served:?} {begun:?}");
        }
    }
}
