//! Stops the calls of a resync.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

/// A requested stop, and until when calls may continue. It can be revoked.
#[derive(Debug, Default)]
pub(crate) struct StopSignal(watch::Sender<Option<Instant>>);

impl StopSignal {
    /// Requests a stop: calls in flight may take this long. An earlier deadline stays.
    pub(crate) fn ask(&self, grace: Duration) {
        let until = Instant::now() + grace;
        self.0.send_if_modified(|deadline| {
            let earlier = deadline.is_none_or(|deadline| until < deadline);
            if earlier {
                *deadline = Some(until);
            }
            earlier
        });
    }

    /// Revokes the stop.
    pub(crate) fn renew(&self) {
        self.0.send_replace(None);
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Returns whether the deadline has passed.
    pub(crate) fn is_over(&self) -> bool {
        self.0.borrow().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Waits until a stop is requested.
    pub(crate) async fn asked(&self) {
        // The sender lives as long as `self`.
        _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// Waits until the deadline has passed.
    pub(crate) async fn over(&self) {
        let mut deadline = self.0.subscribe();
        loop {
            let now = *deadline.borrow_and_update();
            let due = async {
                match now {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => return,
                _ = deadline.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_earliest_end_counts_and_a_stop_can_be_taken_back() {
        let stop = StopSignal::default();
        assert!(!stop.is_asked());
        stop.ask(Duration::from_hours(1));
        stop.asked().await;
        assert!(!stop.is_over());
        stop.ask(Duration::ZERO);
        stop.ask(Duration::from_hours(1));
        stop.over().await;
        assert!(stop.is_over());
        stop.renew();
        assert!(!stop.is_asked() && !stop.is_over());
    }
}
