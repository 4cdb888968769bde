//! What triggers resyncs, and the one place that runs them: never two at once.

#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod polling;
pub(crate) mod schedule;

use std::{future::Future, pin::pin};

use berth_embed::{ResyncSchedule, SyncHost};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::settings::{DeletionSettings, Service, StateDir};

/// What the service runs with. It is exchanged as a whole when settings are read anew.
pub(crate) struct Live {
    pub(crate) host: SyncHost,
    pub(crate) service: Service,
    /// The schedule that Port was told.
    pub(crate) schedule: Option<ResyncSchedule>,
    /// Where Port was told to send resync requests.
    pub(crate) changelog_destination: Value,
    /// The state directory that the settings named at the start.
    pub(crate) state_dir: StateDir,
    /// What may be deleted and taken over.
    pub(crate) deletion: DeletionSettings,
}

/// Why a resync is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The process has started.
    Start,
    /// Somebody asked for it at Port, and polling or Kafka told.
    Requested,
    /// Port called the webhook.
    Webhook,
    /// The scheduled interval has passed.
    Scheduled,
}

impl Reason {
    /// As it stands in the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Requested => "requested at Port",
            Self::Webhook => "webhook",
            Self::Scheduled => "schedule",
        }
    }

    /// Whether it replaces a resync that runs. What somebody asks for does, since the mapping may
    /// be another now. The schedule does not, other than the peer's: an interval shorter than a
    /// resync would otherwise stop each one, and none would ever end.
    fn replaces(self) -> bool {
        self != Self::Scheduled
    }
}

/// How a resync that was asked for ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ran, well or not.
    Ran,
    /// Port or AWS could not be used at all: worth another try.
    NotBegun,
    /// A newer one took its place.
    Replaced,
    /// Another one runs, and this one could wait.
    Skipped,
}

struct Request {
    reason: Reason,
    ended: oneshot::Sender<Ended>,
}

impl Request {
    /// Whoever asked may have gone meanwhile.
    fn tell(self, ended: Ended) {
        _ = self.ended.send(ended);
    }
}

/// Asks for resyncs.
#[derive(Debug, Clone)]
pub(crate) struct Resyncs(mpsc::Sender<Request>);

/// The resyncs that are asked for, for [`run`].
#[derive(Debug)]
pub(crate) struct Requests(mpsc::Receiver<Request>);

/// Both ends.
pub(crate) fn channel() -> (Resyncs, Requests) {
    let (sender, receiver) = mpsc::channel(8);
    (Resyncs(sender), Requests(receiver))
}

impl Resyncs {
    /// Asks for a resync; the receiver is told its end. `None` when the service stops before.
    pub(crate) async fn ask(&self, reason: Reason) -> Option<oneshot::Receiver<Ended>> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Request { reason, ended: sender }).await.ok()?;
        Some(receiver)
    }

    /// Asks for a resync and waits for its end; `None` when the service stops before.
    pub(crate) async fn run(&self, reason: Reason) -> Option<Ended> {
        self.ask(reason).await?.await.ok()
    }
}

/// Runs resyncs as they are asked for, until `stop`; a resync that runs then ends first.
///
/// `resync` runs one; it must end soon after its token is cancelled.
pub(crate) async fn run<F, R>(requests: Requests, stop: CancellationToken, mut resync: F)
where
    F: FnMut(Reason, CancellationToken) -> R,
    R: Future<Output = Ended>,
{
    let Requests(mut requests) = requests;
    let mut newer: Option<Request> = None;
    loop {
        let next = async {
            match newer.take() {
                Some(request) => Some(request),
                None => requests.recv().await,
            }
        };
        let request = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            request = next => request,
        };
        let Some(request) = request else { return };
        let cancel = stop.child_token();
        let mut running = pin!(resync(request.reason, cancel.clone()));
        let ended = loop {
            let arrived = tokio::select! {
                ended = &mut running => break ended,
                Some(arrived) = requests.recv() => arrived,
            };
            if arrived.reason.replaces() {
                tracing::info!(reason = arrived.reason.as_str(), "stopping the resync for a newer one");
                cancel.cancel();
                if let Some(older) = newer.replace(arrived) {
                    older.tell(Ended::Replaced);
                }
            } else {
                tracing::warn!(reason = arrived.reason.as_str(), "resync skipped: another one runs");
                arrived.tell(Ended::Skipped);
            }
        };
        request.tell(if newer.is_some() { Ended::Replaced } else { ended });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A service whose resyncs last until they are cancelled, but for those after the third.
    fn service(stop: &CancellationToken) -> (Resyncs, Arc<Mutex<Vec<Reason>>>, tokio::task::JoinHandle<()>) {
        let (resyncs, requests) = channel();
        let begun = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&begun);
        let resync = move |reason, cancel: CancellationToken| {
            log.lock().unwrap().push(reason);
            async move {
                if reason == Reason::Start {
                    cancel.cancelled().await;
                }
                Ended::Ran
            }
        };
        let task = tokio::spawn(run(requests, stop.clone(), resync));
        (resyncs, begun, task)
    }

    async fn ask(resyncs: &Resyncs, reason: Reason) -> tokio::task::JoinHandle<Option<Ended>> {
        let resyncs = resyncs.clone();
        let asked = tokio::spawn(async move { resyncs.run(reason).await });
        // Lets everything happen that can happen without it being waited for.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        asked
    }

    #[tokio::test]
    async fn a_newer_request_stops_the_running_resync_and_begins_after_its_end() {
        let (resyncs, begun, _task) = service(&CancellationToken::new());
        let first = ask(&resyncs, Reason::Start).await;
        let second = ask(&resyncs, Reason::Webhook).await;
        assert_eq!(first.await.unwrap(), Some(Ended::Replaced));
        assert_eq!(second.await.unwrap(), Some(Ended::Ran));
        assert_eq!(*begun.lock().unwrap(), [Reason::Start, Reason::Webhook]);
    }

    #[tokio::test]
    async fn the_schedule_waits_for_a_running_resync() {
        let stop = CancellationToken::new();
        let (resyncs, begun, task) = service(&stop);
        let running = ask(&resyncs, Reason::Start).await;
        assert_eq!(ask(&resyncs, Reason::Scheduled).await.await.unwrap(), Some(Ended::Skipped));
        assert_eq!(*begun.lock().unwrap(), [Reason::Start]);
        assert!(!running.is_finished());
        // A stop ends the running one first.
        stop.cancel();
        task.await.unwrap();
        assert_eq!(running.await.unwrap(), Some(Ended::Ran));
        assert_eq!(resyncs.run(Reason::Webhook).await, None, "nothing runs after the stop");
    }

    #[tokio::test]
    async fn the_schedule_runs_when_nothing_else_does() {
        let (resyncs, begun, _task) = service(&CancellationToken::new());
        assert_eq!(resyncs.run(Reason::Scheduled).await, Some(Ended::Ran));
        assert_eq!(*begun.lock().unwrap(), [Reason::Scheduled]);
    }
}
