//! Live events: an event names a resource, Berth reads the resource again, and its entity follows.
//!
//! An event only says *which* resource to read. Its current state is read with the kind's own plan and
//! plugin, so that a late, duplicate or out-of-order event does no harm. The plugin's manifest says which
//! events concern a kind.

mod account_cache;
mod apply;
mod backlog;
mod limits;
mod matching;
mod queue;
mod refresh;
mod write_arbiter;
mod writer;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth_core::{Adoption, Catalog, Kind, Ledger, Mapper, Problem, ProblemCode};
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::{
    matching::{Notice, TargetKey, Unusable},
    queue::{EventQueue, QueueError, RefreshJob},
    refresh::{Miss, Read, RefreshOutcome, Refresher},
    writer::BatchWriter,
};
use crate::{Event, Observer, Refreshed};

pub use account_cache::AccountCache;
pub use backlog::Backlog;
pub use write_arbiter::WriteArbiter;

/// Resources that may wait to be written, in addition to those being read.
const WRITING: usize = 200;

/// Returns whether live events are on. Called for each resource, so it should cache its result.
pub type Gate = Arc<dyn Fn() -> BoxFuture<'static, Result<bool, Problem>> + Send + Sync>;

/// How to process live events.
#[derive(Clone)]
pub struct LiveOptions {
    /// Resources to read at once. Each resource is read in the order of its events, with any number of
    /// workers.
    pub workers: usize,
    /// The most resources that wait.
    pub capacity: usize,
    /// The most bytes of waiting events.
    pub capacity_bytes: usize,
    /// The time limit for reading a resource.
    pub deadline: Duration,
    /// How long the work may take to end when the service stops.
    pub drain: Duration,
    /// Whether what waits when the service stops is kept for its next start, so that
    /// no more of it is begun then.
    pub keeps_backlog: bool,
    /// The number of retries for a resource that could not be read or written, or whose state in AWS
    /// contradicts the event: AWS's lists lag behind its calls.
    pub retries: u32,
    /// The wait before the first retry; each further wait is four times as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// How long the app-config is cached.
    pub config_ttl: Duration,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            workers: 4,
            capacity: 10_000,
            capacity_bytes: 64 << 20,
            deadline: Duration::from_secs(90),
            drain: Duration::from_secs(5),
            keeps_backlog: false,
            retries: 3,
            first_wait: Duration::from_secs(2),
            longest_wait: Duration::from_secs(30),
            config_ttl: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for LiveOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveOptions").field("workers", &self.workers).finish_non_exhaustive()
    }
}

/// The result of submitting an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// This many resources wait to be read again.
    Queued(usize),
    /// It changes nothing that a plugin maps.
    Ignored,
    /// It is not an EventBridge event, for this reason.
    Malformed(String),
    /// The queue is full. The event may be sent again later.
    Full,
    /// The service stops. The event may be sent again later.
    Closed,
}

/// Processes live events. [`submit`](Self::submit) accepts them, [`run`](Self::run) processes them.
pub struct LiveEvents {
    refresher: Refresher,
    queue: Mutex<EventQueue>,
    wake: Notify,
    observer: Arc<dyn Observer>,
    options: LiveOptions,
}

impl fmt::Debug for LiveEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A processed resource, and the result.
type Worked = (RefreshJob, Result<RefreshOutcome, Miss>);

/// The parts of a [`LiveEvents`].
pub struct LiveParts {
    /// Where resources come from; the resyncs of the process use it, too.
    pub source: Arc<AccountCache>,
    /// Maps the resources.
    pub mapper: Arc<dyn Mapper>,
    /// Where entities go.
    pub catalog: Arc<dyn Catalog>,
    /// The journal of the process's resyncs, from [`SyncOptions`](crate::SyncOptions).
    pub write_arbiter: Arc<WriteArbiter>,
    /// The ledger of resyncs. Events invalidate its records of the entities that they write.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Whether live events are on; `None` for always.
    pub gate: Option<Gate>,
    /// Is notified of every resource.
    pub observer: Arc<dyn Observer>,
    /// Which entities of other owners may be taken over.
    pub adoption: Adoption,
    /// The most entities that may be deleted between two resyncs.
    pub max_deletions: Option<u64>,
}

impl fmt::Debug for LiveParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveParts").finish_non_exhaustive()
    }
}

impl LiveParts {
    /// Puts it together. Nothing happens before [`run`](LiveEvents::run).
    pub fn follow(self, options: LiveOptions) -> LiveEvents {
        let Self { source, mapper, catalog, write_arbiter, ledger, gate, observer, adoption, max_deletions } =
            self;
        LiveEvents {
            refresher: Refresher {
                source,
                mapper,
                writer: BatchWriter::new(catalog.upsert_batch(), adoption),
                catalog,
                write_arbiter,
                ledger,
                gate,
                config_ttl: options.config_ttl,
                rules: tokio::sync::Mutex::default(),
                max_deletions,
                limits: tokio::sync::Mutex::default(),
            },
            queue: Mutex::new(EventQueue::new(options.capacity, options.capacity_bytes)),
            wake: Notify::new(),
            observer,
            options,
        }
    }
}

impl LiveEvents {
    /// Accepts an EventBridge event: one envelope. Fast, and makes no calls.
    pub fn submit(&self, envelope: &Value) -> Submission {
        let notice = match Notice::read(envelope) {
            Ok(notice) => notice,
            Err(Unusable::FailedCall) => return Submission::Ignored,
            Err(Unusable::Malformed(reason)) => return Submission::Malformed(reason),
        };
        let targets = notice.targets(&Arc::clone(&self.refresher.mapper).snapshot().kinds());
        if targets.is_empty() {
            tracing::debug!(event = notice.name(), "ignored an event: it concerns nothing that is mapped");
            return Submission::Ignored;
        }
        let count = targets.len();
        tracing::debug!(event = notice.name(), resources = count, "accepted an event");
        match self.queue().push(targets, Instant::now()) {
            Ok(()) => {}
            Err(QueueError::Full) => {
                tracing::warn!(event = notice.name(), "refused an event: too many are waiting");
                return Submission::Full;
            }
            Err(QueueError::Closed) => return Submission::Closed,
        }
        self.wake.notify_one();
        Submission::Queued(count)
    }

    /// Returns how many resources wait.
    pub fn waiting(&self) -> usize {
        self.queue().len()
    }

    fn queue(&self) -> MutexGuard<'_, EventQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Processes events until `stop`. Then accepts no more; current reads, and waiting resources unless they
    /// are kept, may take the drain time.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = Arc::clone(&self).follow(stop) => {}
            never = self.refresher.writer.run() => match never {},
        }
    }

    async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let readers = Arc::new(Semaphore::new(self.options.workers.max(1)));
        let at_most = self.options.workers.saturating_add(WRITING);
        let mut running: JoinSet<Worked> = JoinSet::new();
        let mut jobs: HashMap<Id, RefreshJob> = HashMap::new();
        let mut until: Option<Instant> = None;
        loop {
            if until.is_none() && stop.is_cancelled() {
                until = Some(Instant::now() + self.options.drain);
                self.queue().close();
            }
            let begins = until.is_none() || !self.options.keeps_backlog;
            while begins
                && running.len() < at_most
                && let Ok(reading) = Arc::clone(&readers).try_acquire_owned()
                && let Some(job) = self.take()
            {
                let (live, key) = (Arc::clone(&self), job.target.key.clone());
                let span = tracing::info_span!(
                    "event", account = %key.account, region = key.region.as_ref().map(tracing::field::display),
                    kind = %key.kind, resource = key.resource
                );
                let mine = job.clone();
                let work = async move {
                    let outcome = live.work(&mine, reading).await;
                    (mine, outcome)
                };
                jobs.insert(running.spawn(work.instrument(span)).id(), job);
            }
            // Does not wait for retries.
            if until.is_some() && running.is_empty() {
                break;
            }
            let free = running.len() < at_most && readers.available_permits() > 0;
            let due = self.queue().next_due().filter(|_| free && until.is_none());
            tokio::select! {
                biased;
                () = stop.cancelled(), if until.is_none() => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => break,
                Some(ended) = running.join_next_with_id(), if !running.is_empty() => self.ended(ended, &mut jobs),
                () = self.wake.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        let mut queue = self.queue();
        for job in jobs.into_values() {
            queue.put_back(job);
        }
        let waiting = queue.len();
        drop(queue);
        if waiting > 0 && !self.options.keeps_backlog {
            tracing::warn!("{waiting} resources of live events were not read; the next resync reads them");
        }
    }

    fn take(&self) -> Option<RefreshJob> {
        self.queue().take(Instant::now())
    }

    /// Reads, limited by the deadline and in number, and writes, limited by the catalog's rate.
    async fn work(&self, job: &RefreshJob, reading: OwnedSemaphorePermit) -> Result<RefreshOutcome, Miss> {
        let read = self.refresher.read(&job.target, job.tries >= self.options.retries);
        let read = timeout(self.options.deadline, read).await.unwrap_or_else(|_| {
            let seconds = self.options.deadline.as_secs();
            Err(Miss::Again(Problem::new(
                ProblemCode::AwsInvalidAnswer,
                format!("it did not finish within {seconds} s"),
            )))
        });
        drop(reading);
        self.wake.notify_one();
        match read? {
            Read::Done(done) => Ok(done),
            Read::Changes(changes) => self.refresher.write(changes).await,
        }
    }

    fn ended(&self, ended: Result<(Id, Worked), JoinError>, jobs: &mut HashMap<Id, RefreshJob>) {
        match ended {
            Ok((id, (job, outcome))) => {
                jobs.remove(&id);
                self.settle(job, outcome);
            }
            // A panic is a bug, but affects only that resource.
            Err(error) => {
                tracing::error!(%error, "reading a resource after a live event panicked");
                if let Some(key) = jobs.remove(&error.id()).map(|job| job.target.key) {
                    self.queue().done(&key);
                    self.notify(&key.kind, Refreshed::Failed);
                }
            }
        }
    }

    /// Logs the result, and queues a retry if needed.
    fn settle(&self, job: RefreshJob, outcome: Result<RefreshOutcome, Miss>) {
        let key = job.target.key.clone();
        let TargetKey { kind, account, region, resource } = &key;
        let region = region.as_ref().map(tracing::field::display);
        let refreshed = match outcome {
            Ok(RefreshOutcome::Upserted(entities)) => {
                tracing::info!(
                    %kind, %account, region, resource, entities,
                    "live event processed: entity written"
                );
                Refreshed::Upserted
            }
            Ok(RefreshOutcome::Deleted(entities)) => {
                tracing::info!(
                    %kind, %account, region, resource, entities,
                    "live event processed: entity deleted"
                );
                Refreshed::Deleted
            }
            Ok(RefreshOutcome::Unchanged) => {
                tracing::info!(%kind, %account, region, resource, "live event processed: no change");
                Refreshed::Unchanged
            }
            Ok(RefreshOutcome::Ignored(reason)) => {
                tracing::info!(%kind, %account, region, resource, reason, "live event ignored");
                Refreshed::Ignored
            }
            Ok(RefreshOutcome::Denied(problem)) => {
                tracing::warn!(%kind, %account, region, resource, %problem, "live event failed");
                Refreshed::Denied
            }
            Err(Miss::Again(problem)) if job.tries < self.options.retries => {
                let wait = self.wait(job.tries);
                tracing::info!(
                    %kind, %account, region, resource, %problem, seconds = wait.as_secs(), "reading the resource again"
                );
                self.queue().again(job, Instant::now() + wait);
                return self.notify(kind, Refreshed::Retried);
            }
            Err(Miss::Again(problem) | Miss::Never(problem)) => {
                tracing::warn!(
                    %kind, %account, region, resource, %problem,
                    "live event failed; the next resync reads the resource"
                );
                Refreshed::Failed
            }
        };
        self.queue().done(&key);
        self.notify(kind, refreshed);
    }

    fn wait(&self, tries: u32) -> Duration {
        let factor = 4_u32.saturating_pow(tries);
        self.options.first_wait.saturating_mul(factor).min(self.options.longest_wait)
    }

    fn notify(&self, kind: &Kind, refreshed: Refreshed) {
        self.observer.event(&Event::Refreshed { kind, refreshed });
    }
}
