//! Resyncs that nobody asks for: every so many minutes, whatever the listener.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at},
};

use super::{Live, Reason, Resyncs};

/// Asks for resyncs as the settings say, until the service stops. Ticks begin anew when the interval
/// changes.
pub(crate) async fn follow(mut live: watch::Receiver<Arc<Live>>, resyncs: &Resyncs) {
    loop {
        let minutes = live.borrow_and_update().service.scheduled_minutes;
        let ticking = async {
            match minutes {
                Some(minutes) => tick(resyncs, Duration::from_secs(60 * u64::from(minutes))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ticking => return,
            Ok(_) = live.wait_for(|live| live.service.scheduled_minutes != minutes) => {}
        }
    }
}

/// Asks for a resync at each tick until the service stops; the first after one whole interval.
async fn tick(resyncs: &Resyncs, every: Duration) {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        if resyncs.run(Reason::Scheduled).await.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::{Ended, channel, run};

    #[tokio::test]
    async fn the_first_tick_comes_after_one_interval() {
        let (resyncs, requests) = channel();
        let stop = tokio_util::sync::CancellationToken::new();
        let begun = std::sync::Mutex::new(Vec::new());
        let start = Instant::now();
        let resync = |_, _| {
            begun.lock().unwrap().push(start.elapsed());
            if begun.lock().unwrap().len() == 2 {
                stop.cancel();
            }
            async { Ended::Ran }
        };
        let every = Duration::from_millis(40);
        tokio::select! {
            () = run(requests, stop.clone(), resync) => {}
            () = tick(&resyncs, every) => {}
        }
        let begun = begun.lock().unwrap();
        assert!(begun[0] >= every && begun[1] >= 2 * every, "{begun:?}");
    }
}
