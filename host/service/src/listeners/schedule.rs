//! Scheduled resyncs, with any listener.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use berth_embed::ResyncSchedule;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Reason, Resyncs};
use crate::state::ServiceState;

/// Requests resyncs by schedule until the service stops. The times are those that Port knows; they start
/// again when the interval changes.
pub(crate) async fn follow(mut state: watch::Receiver<Arc<ServiceState>>, resyncs: &Resyncs) {
    loop {
        let schedule = state.borrow_and_update().config.schedule;
        let ticking = async {
            match schedule {
                Some(schedule) => tick(resyncs, Grid::of(schedule)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ticking => return,
            Ok(_) = state.wait_for(|state| state.config.schedule != schedule) => {}
        }
    }
}

/// Requests a resync at each tick until the service stops. Skips ticks that pass while a resync runs, so
/// there is always a pause.
async fn tick(resyncs: &Resyncs, grid: Grid) {
    loop {
        sleep_until(grid.next(Instant::now())).await;
        if resyncs.run(Reason::Scheduled).await.is_none() {
            return;
        }
    }
}

/// The times of scheduled resyncs: at a fixed interval since the start.
#[derive(Debug, Clone, Copy)]
struct Grid {
    since: Instant,
    every: Duration,
}

impl Grid {
    fn of(schedule: ResyncSchedule) -> Self {
        let passed = SystemTime::now().duration_since(schedule.since).unwrap_or_default();
        let now = Instant::now();
        Self {
            since: now.checked_sub(passed).unwrap_or(now),
            every: Duration::from_secs(60 * u64::from(schedule.interval_minutes.max(1))),
        }
    }

    /// Returns the first tick after `now`.
    fn next(self, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.since).as_nanos();
        let ticks = passed / self.every.as_nanos() + 1;
        self.since + self.every * u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listeners::{ResyncEnd, channel, run};

    #[test]
    fn ticks_are_those_that_port_knows() {
        let since = SystemTime::now() - Duration::from_secs(90);
        let grid = Grid::of(ResyncSchedule { interval_minutes: 1, since });
        let wait = grid.next(Instant::now()).saturating_duration_since(Instant::now());
        assert!((28..=30).contains(&wait.as_secs()), "{wait:?}");
        // A tick is not after itself.
        assert_eq!(grid.next(grid.since + grid.every), grid.since + 2 * grid.every);
    }

    #[tokio::test]
    async fn the_first_tick_comes_after_one_interval_and_a_long_resync_skips_ticks() {
        let (resyncs, requests) = channel();
        let stop = tokio_util::sync::CancellationToken::new();
        let grid = Grid { since: Instant::now(), every: Duration::from_millis(200) };
        let (begun, ended) = (std::sync::Mutex::new(Vec::new()), std::sync::Mutex::new(Vec::new()));
        let resync = |_, _| {
            begun.lock().unwrap().push(grid.since.elapsed());
            let last = begun.lock().unwrap().len() == 3;
            let (stop, ended) = (stop.clone(), &ended);
            async move {
                if last {
                    stop.cancel();
                }
                // One and a half intervals.
                tokio::time::sleep(Duration::from_millis(300)).await;
                ended.lock().unwrap().push(grid.since.elapsed());
                ResyncEnd::Ran
            }
        };
        tokio::select! {
            () = run(requests, stop.clone(), resync) => {}
            () = tick(&resyncs, grid) => {}
        }
        let (begun, ended) = (begun.into_inner().unwrap(), ended.into_inner().unwrap());
        assert!(begun[0] >= grid.every, "{begun:?}");
        for (ended, begun) in ended.iter().zip(&begun[1..]) {
            // Each waits for the first tick after the end of the previous one.
            let ticks = begun.as_nanos() / grid.every.as_nanos();
            assert!(grid.every.as_nanos() * ticks >= ended.as_nanos(), "{ended:?} {begun:?}");
        }
    }
}
