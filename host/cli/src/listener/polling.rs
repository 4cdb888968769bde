//! Looks at Port for resync requests, as the contract's POLLING listener does.
//!
//! Two of the peer's weaknesses are not kept. A resync at the start does not wait for a stored
//! request. And a request that is made while a resync runs is not taken for served by it: what
//! counts is Port's note of the resync's start, not that of its end.

use std::time::{Duration, SystemTime};

use berth_embed::PortCatalog;

use super::{Ended, Reason, Resyncs};

/// Looks until the service stops. The interval begins when the resync has ended, so that looks
/// never overlap. A look that fails is logged and skipped.
pub(crate) async fn poll(port: &PortCatalog, resyncs: &Resyncs, interval: Duration, resync_on_start: bool) {
    // Still due while Port or AWS could not be used at all: nobody would ask for it again.
    let mut start_due = resync_on_start;
    // The newest request that a resync was run for.
    let mut served = None;
    loop {
        if start_due {
            match resyncs.run(Reason::Start).await {
                Some(ended) => start_due = ended == Ended::NotBegun,
                None => return,
            }
        } else {
            match port.resync_request().await {
                Ok(requested) if is_due(requested, served, port.last_begun()) => {
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
        tokio::time::sleep(interval).await;
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
