//! Processes live events in parallel with resyncs, and stores the waiting ones when the service ends.

use std::{sync::Arc, time::Duration};

use berth_embed::{LiveEvents, LiveOptions, Observer};
use berth_sync::Backlog;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    backlog::BacklogFile,
    config::LiveSettings,
    http::{EventWebhook, HttpState},
    resync::GRACE,
    state::ServiceState,
};

/// Processes live events until `stop`, if they are configured, then stores those that wait, if there is a
/// `file`. A new configuration, including its keys, applies to later events.
pub(crate) async fn follow(
    mut states: watch::Receiver<Arc<ServiceState>>,
    http: &Arc<HttpState>,
    file: Option<BacklogFile>,
    stop: &CancellationToken,
) {
    let waiting = file.as_ref().map(BacklogFile::read).unwrap_or_default();
    let running = JoinSet::new();
    let mut follower = Follower { http, file, stop, waiting, running, former: None, announced: None };
    let mut ready = false;
    loop {
        let now = Arc::clone(&states.borrow_and_update());
        let live = follower.accept(&now);
        if !std::mem::replace(&mut ready, true) {
            // Not before the service accepts events.
            http.set_ready();
            tracing::info!("ready");
        }
        follower.announce(&now);
        follower.hand_over(live.as_ref());
        if follower.wait(&mut states, live.as_ref()).await == Next::Stop {
            break;
        }
    }
    follower.end().await;
}

/// Why a wait ended.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// There is a new configuration.
    Renew,
    /// The service stops.
    Stop,
}

struct Follower<'s> {
    http: &'s Arc<HttpState>,
    file: Option<BacklogFile>,
    stop: &'s CancellationToken,
    /// The events that wait while nothing processes them.
    waiting: Backlog,
    /// All tasks that process events, or finish started reads.
    running: JoinSet<Backlog>,
    /// Stops the newest task.
    former: Option<CancellationToken>,
    /// The path for events in the last log line.
    announced: Option<String>,
}

impl Follower<'_> {
    /// Accepts events as the configuration says.
    fn accept(&mut self, now: &ServiceState) -> Option<Arc<LiveEvents>> {
        let Some(LiveSettings { keys, options, .. }) = &now.config.live_events else {
            self.http.take_events(None);
            return None;
        };
        let options = LiveOptions {
            keeps_backlog: self.file.is_some(),
            // After that the task is abandoned.
            drain: options.drain.min(GRACE.saturating_sub(Duration::from_secs(2))),
            ..options.clone()
        };
        let observer: Arc<dyn Observer> = Arc::<HttpState>::clone(self.http);
        let live = Arc::new(now.host.live(options, observer));
        std::mem::take(&mut self.waiting).restore(&live);
        self.http.take_events(Some(EventWebhook::new(keys.clone(), Some(Arc::clone(&live)))));
        Some(live)
    }

    /// Logs the path for events when it changes.
    fn announce(&mut self, now: &ServiceState) {
        let place = now.config.live_events.as_ref().map(|settings| {
            let base = settings.base_url.as_ref().map_or("", Url::as_str).trim_end_matches('/');
            format!("{base}{}/integration/webhook", now.config.http.path_prefix)
        });
        match &place {
            _ if place == self.announced => {}
            Some(place) => tracing::info!("live events are accepted at {place}"),
            None => tracing::info!("live events are no longer accepted"),
        }
        self.announced = place;
    }

    /// Starts a new task, and stops the former one: it finishes its current reads, and hands on what waits.
    fn hand_over(&mut self, live: Option<&Arc<LiveEvents>>) {
        let next = live.map(|live| {
            let (own, live) = (self.stop.child_token(), Arc::clone(live));
            let stopped = own.clone();
            self.running.spawn(async move {
                Arc::clone(&live).run(stopped).await;
                Backlog::take(&live)
            });
            own
        });
        if let Some(former) = std::mem::replace(&mut self.former, next) {
            former.cancel();
        }
    }

    /// Waits for a new configuration or the end.
    async fn wait(
        &mut self,
        states: &mut watch::Receiver<Arc<ServiceState>>,
        live: Option<&Arc<LiveEvents>>,
    ) -> Next {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Next::Stop,
                Ok(()) = states.changed() => return Next::Renew,
                Some(Ok(left)) = self.running.join_next() => match live {
                    Some(live) => _ = left.restore(live),
                    None => self.waiting.append(left),
                },
            }
        }
    }

    /// Waits for the last reads, and stores what waits.
    async fn end(mut self) {
        let ending = async {
            while let Some(ended) = self.running.join_next().await {
                self.waiting.append(ended.unwrap_or_default());
            }
        };
        // Abandons tasks that hang.
        if timeout(GRACE, ending).await.is_err() {
            tracing::warn!("stopped before all live events were processed");
        }
        if let Some(file) = self.file {
            file.write(&self.waiting);
        }
    }
}
