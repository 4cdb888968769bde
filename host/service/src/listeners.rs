//! What triggers resyncs, and the only code that runs them: never two at once.

#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod polling;
pub(crate) mod schedule;

use std::{future::Future, pin::pin, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How long a resync that replaced another one runs before it can be replaced.
const MINIMUM_INTERVAL: Duration = Duration::from_mins(1);

/// Why a resync is requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The process has started.
    Start,
    /// Requested in Port; polling or Kafka received it.
    Requested,
    /// Port called the webhook, or a caller that knows its key.
    Webhook,
    /// Someone called the webhook, which has no key.
    Anonymous,
    /// The scheduled interval has passed.
    Scheduled,
}

impl Reason {
    /// Returns the name for the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Requested => "requested at Port",
            Self::Webhook | Self::Anonymous => "webhook",
            Self::Scheduled => "schedule",
        }
    }

    /// Returns whether it only runs while no other resync runs. Unlike Ocean's, the schedule does not replace
    /// a running resync: an interval shorter than a resync would stop each one, and none would ever end. A
    /// request from outside replaces it, because the mapping may have changed.
    fn yields(self) -> bool {
        self == Self::Scheduled
    }
}

/// How a requested resync ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResyncEnd {
    /// It ran, with or without errors.
    Ran,
    /// Port or AWS could not be used at all: worth a retry.
    NotBegun,
    /// A newer one replaced it.
    Replaced,
    /// Another one was running, and this one was not urgent.
    Skipped,
}

struct Request {
    reason: Reason,
    /// Who waits for the end of the resync: every request that it serves.
    ended: Vec<oneshot::Sender<ResyncEnd>>,
}

impl Request {
    /// The caller may have left.
    fn answer(self, ended: ResyncEnd) {
        for sender in self.ended {
            _ = sender.send(ended);
        }
    }

    /// Merges this request with a newer one.
    fn join(self, newer: Self) -> Self {
        let ended = self.ended.into_iter().filter(|sender| !sender.is_closed()).chain(newer.ended);
        // The reason of a request that is not anonymous wins.
        let reason = if newer.reason == Reason::Anonymous { self.reason } else { newer.reason };
        Self { reason, ended: ended.collect() }
    }
}

/// Requests resyncs.
#[derive(Debug, Clone)]
pub(crate) struct Resyncs(mpsc::Sender<Request>);

/// The requested resyncs, for [`run`].
#[derive(Debug)]
pub(crate) struct Requests(mpsc::Receiver<Request>);

/// Returns both ends.
pub(crate) fn channel() -> (Resyncs, Requests) {
    let (sender, receiver) = mpsc::channel(8);
    (Resyncs(sender), Requests(receiver))
}

impl Resyncs {
    /// Requests a resync; the receiver gets its result. Returns `None` if the service stops first.
    pub(crate) async fn ask(&self, reason: Reason) -> Option<oneshot::Receiver<ResyncEnd>> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Request { reason, ended: vec![sender] }).await.ok()?;
        Some(receiver)
    }

    /// Requests a resync and waits for its end; returns `None` if the service stops first.
    pub(crate) async fn run(&self, reason: Reason) -> Option<ResyncEnd> {
        self.ask(reason).await?.await.ok()
    }
}

/// When a request may stop a running resync, and when a waiting request may start.
///
/// The first request stops a running resync at once. A resync that replaced another one first runs for a
/// while. This time doubles with each resync that is stopped, so that some resync ends no matter how many
/// requests come. The pace resets once a resync has ended while no request waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ResyncPacing {
    minimum: Duration,
    /// How long a resync runs before a newer request stops it.
    patience: Duration,
}

impl ResyncPacing {
    fn new(minimum: Duration) -> Self {
        Self { minimum, patience: Duration::ZERO }
    }

    /// Returns the pace after a resync that a newer request `stopped`, or that ended while a request was
    /// `waiting`.
    fn after(self, stopped: bool, waiting: bool) -> Self {
        let patience = match (stopped, waiting) {
            (true, _) => self.minimum.max(self.patience.saturating_mul(2)),
            (false, true) => self.patience,
            (false, false) => Duration::ZERO,
        };
        Self { patience, ..self }
    }

    /// Returns how long after the start of the last resync, which ended by itself, the waiting request may
    /// start. Only an anonymous request waits: others come through Port, or know a key.
    fn between(self, waiting: Reason) -> Duration {
        if waiting == Reason::Anonymous { self.minimum.min(self.patience) } else { Duration::ZERO }
    }
}

/// Runs requested resyncs until `stop`, which ends a running resync first. At most one request waits: all
/// that arrive meanwhile are served by the same resync. [`ResyncPacing`] says when it starts.
///
/// `resync` runs one; it must end soon after its token is cancelled.
pub(crate) async fn run<F, R>(requests: Requests, stop: CancellationToken, resync: F)
where
    F: FnMut(Reason, CancellationToken) -> R,
    R: Future<Output = ResyncEnd>,
{
    run_at(ResyncPacing::new(MINIMUM_INTERVAL), requests, stop, resync).await;
}

async fn run_at<F, R>(mut pacing: ResyncPacing, requests: Requests, stop: CancellationToken, mut resync: F)
where
    F: FnMut(Reason, CancellationToken) -> R,
    R: Future<Output = ResyncEnd>,
{
    let Requests(mut requests) = requests;
    let mut waiting: Option<Request> = None;
    // When the last resync started, unless the waiting request stopped it.
    let mut last: Option<Instant> = None;
    loop {
        let request = loop {
            let begins =
                waiting.as_ref().zip(last).map(|(waiting, last)| last + pacing.between(waiting.reason));
            let arrived = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = async { sleep_until(begins.unwrap_or_else(Instant::now)).await }, if waiting.is_some() => None,
                arrived = requests.recv() => match arrived {
                    Some(arrived) => Some(arrived),
                    None => return,
                },
            };
            match (waiting.take(), arrived) {
                (Some(request), None) | (None, Some(request)) => break request,
                (Some(request), Some(newer)) => waiting = Some(admit(request, newer)),
                (None, None) => {}
            }
        };
        let cancel = stop.child_token();
        let begun = Instant::now();
        let mut running = pin!(resync(request.reason, cancel.clone()));
        let ended = loop {
            let stops =
                begun.checked_add(pacing.patience).filter(|_| waiting.is_some() && !cancel.is_cancelled());
            let arrived = tokio::select! {
                ended = &mut running => break ended,
                () = async { sleep_until(stops.unwrap_or(begun)).await }, if stops.is_some() => None,
                Some(arrived) = requests.recv() => Some(arrived),
            };
            match arrived {
                None => {
                    tracing::info!("stopping the resync for a newer one");
                    cancel.cancel();
                }
                Some(arrived) if arrived.reason.yields() => {
                    tracing::warn!(reason = arrived.reason.as_str(), "resync skipped: another one runs");
                    arrived.answer(ResyncEnd::Skipped);
                }
                Some(arrived) => {
                    waiting = Some(match waiting.take() {
                        Some(older) => older.join(arrived),
                        None => arrived,
                    });
                }
            }
        };
        let stopped = cancel.is_cancelled();
        pacing = pacing.after(stopped, waiting.is_some());
        last = (!stopped).then_some(begun);
        request.answer(if waiting.is_some() { ResyncEnd::Replaced } else { ended });
    }
}

/// Returns the request that waits after a newer one arrived.
fn admit(waiting: Request, newer: Request) -> Request {
    if newer.reason.yields() {
        newer.answer(ResyncEnd::Skipped);
        return waiting;
    }
    waiting.join(newer)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A service whose first three resyncs last until they are cancelled.
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
                ResyncEnd::Ran
            }
        };
        let task = tokio::spawn(run(requests, stop.clone(), resync));
        (resyncs, begun, task)
    }

    async fn ask(resyncs: &Resyncs, reason: Reason) -> tokio::task::JoinHandle<Option<ResyncEnd>> {
        let resyncs = resyncs.clone();
        let asked = tokio::spawn(async move { resyncs.run(reason).await });
        // Lets all pending tasks run.
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
        assert_eq!(first.await.unwrap(), Some(ResyncEnd::Replaced));
        assert_eq!(second.await.unwrap(), Some(ResyncEnd::Ran));
        assert_eq!(*begun.lock().unwrap(), [Reason::Start, Reason::Webhook]);
    }

    #[tokio::test]
    async fn the_schedule_waits_for_a_running_resync() {
        let stop = CancellationToken::new();
        let (resyncs, begun, task) = service(&stop);
        let running = ask(&resyncs, Reason::Start).await;
        assert_eq!(ask(&resyncs, Reason::Scheduled).await.await.unwrap(), Some(ResyncEnd::Skipped));
        assert_eq!(*begun.lock().unwrap(), [Reason::Start]);
        assert!(!running.is_finished());
        // A stop first ends the running resync.
        stop.cancel();
        task.await.unwrap();
        assert_eq!(running.await.unwrap(), Some(ResyncEnd::Ran));
        assert_eq!(resyncs.run(Reason::Webhook).await, None, "nothing runs after the stop");
    }

    #[tokio::test]
    async fn the_schedule_runs_when_nothing_else_does() {
        let (resyncs, begun, _task) = service(&CancellationToken::new());
        assert_eq!(resyncs.run(Reason::Scheduled).await, Some(ResyncEnd::Ran));
        assert_eq!(*begun.lock().unwrap(), [Reason::Scheduled]);
    }

    #[test]
    fn a_resync_is_let_run_the_longer_the_more_were_stopped() {
        let minute = Duration::from_mins(1);
        let pacing = ResyncPacing::new(minute);
        assert_eq!(pacing.patience, Duration::ZERO, "the first one is stopped at once");
        let once = pacing.after(true, true);
        assert_eq!(once.patience, minute);
        let twice = once.after(true, true);
        assert_eq!(twice.patience, 2 * minute);
        assert_eq!(twice.between(Reason::Anonymous), minute);
        assert_eq!(twice.between(Reason::Requested), Duration::ZERO);
        assert_eq!(twice.after(false, true), twice, "requests still arrive");
        assert_eq!(twice.after(false, false), pacing);
    }

    /// However many requests arrive: one resync is stopped, the next one ends, and the one that serves all
    /// later requests waits.
    #[tokio::test]
    async fn a_flood_of_requests_lets_a_resync_end() {
        let (resyncs, requests) = channel();
        let ends: Arc<Mutex<Vec<bool>>> = Arc::default();
        let log = Arc::clone(&ends);
        let resync = move |_, cancel: CancellationToken| {
            let log = Arc::clone(&log);
            async move {
                let ended = tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(300)) => true,
                    () = cancel.cancelled() => false,
                };
                log.lock().unwrap().push(ended);
                ResyncEnd::Ran
            }
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(requests, stop.clone(), resync));
        let mut asked = Vec::new();
        for _ in 0..40 {
            asked.push(resyncs.ask(Reason::Anonymous).await.unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(*ends.lock().unwrap(), [false, true], "the third one has not started");
        assert_eq!(asked.remove(0).await, Ok(ResyncEnd::Replaced));
        assert!(asked.remove(0).await.is_ok());
        // A request from Port does not wait, and serves the others.
        assert_eq!(resyncs.run(Reason::Requested).await, Some(ResyncEnd::Ran));
        assert_eq!(*ends.lock().unwrap(), [false, true, true]);
        assert_eq!(asked.pop().unwrap().await, Ok(ResyncEnd::Ran));
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn requests_that_wait_are_served_by_one_resync() {
        let (resyncs, requests) = channel();
        let pacing =
            ResyncPacing { minimum: Duration::from_millis(200), patience: Duration::from_millis(200) };
        let begun = Arc::new(Mutex::new(0));
        let count = Arc::clone(&begun);
        let resync = move |_, cancel: CancellationToken| {
            *count.lock().unwrap() += 1;
            let first = *count.lock().unwrap() == 1;
            async move {
                if first {
                    cancel.cancelled().await;
                }
                ResyncEnd::Ran
            }
        };
        let stop = CancellationToken::new();
        let running = tokio::spawn(run_at(pacing, requests, stop.clone(), resync));
        let start = Instant::now();
        let first = resyncs.ask(Reason::Start).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (second, third) =
            (resyncs.ask(Reason::Requested).await.unwrap(), resyncs.ask(Reason::Webhook).await.unwrap());
        assert_eq!(first.await, Ok(ResyncEnd::Replaced), "its time was over");
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert_eq!((second.await, third.await), (Ok(ResyncEnd::Ran), Ok(ResyncEnd::Ran)));
        assert_eq!(*begun.lock().unwrap(), 2);
        stop.cancel();
        running.await.unwrap();
    }
}
