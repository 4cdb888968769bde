//! Live events: an event names a resource, the resource is read again, its entity follows.
//!
//! An event is never believed about more than *which* resource to look at. What it is now is read
//! through the kind's own plan and plugin, so that an event that comes late, twice or out of order
//! does no harm. Which events concern a kind stands in the plugin's manifest.

mod account_cache;
mod apply;
mod backlog;
mod journal;
mod limits;
mod matching;
mod queue;
mod refresh;
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
    queue::{Job, Queue, Refused},
    refresh::{Done, Miss, Read, Refresher},
    writer::BatchWriter,
};
use crate::{Event, Observer};

pub use account_cache::AccountCache;
pub use backlog::Backlog;
pub use journal::Journal;

/// Resources that may wait for being written, beside those that are read.
const WRITING: usize = 200;

/// Says whether events are to be followed at all. Asked for each resource, so it should remember.
pub type Gate = Arc<dyn Fn() -> BoxFuture<'static, Result<bool, Problem>> + Send + Sync>;

/// How live events are followed.
#[derive(Clone)]
pub struct LiveOptions {
    /// Resources read at once. Each resource is read in the order of its events, whatever this is.
    pub workers: usize,
    /// Resources that may wait.
    pub capacity: usize,
    /// Bytes of events that may wait.
    pub capacity_bytes: usize,
    /// How long reading a resource may take.
    pub deadline: Duration,
    /// How long the work may take for its end when the service stops.
    pub drain: Duration,
    /// Whether what waits when the service stops is kept for its next start, so that
    /// no more of it is begun then.
    pub keeps_backlog: bool,
    /// How often a resource is tried again that could not be read or written, or that AWS shows
    /// other than the event says, since AWS's lists lag behind its calls.
    pub retries: u32,
    /// The wait before the first retry; each further one is four times as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// How long the app-config is good for.
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

/// What became of an event at the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// So many resources wait for being read again.
    Queued(usize),
    /// It changes nothing that a plugin maps.
    Ignored,
    /// It is no event of EventBridge, for this reason.
    Malformed(String),
    /// There is no room. It may be sent again later.
    Full,
    /// The service stops. It may be sent again later.
    Closed,
}

/// What became of a resource that an event named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refreshed {
    /// Its entity was written.
    Upserted,
    /// Its entity was deleted.
    Deleted,
    /// There was nothing to write or delete.
    Unchanged,
    /// It is not mapped, its account is none of ours, or live events are switched off.
    Ignored,
    /// It may not be read: nothing was changed.
    Denied,
    /// It is tried again.
    Retried,
    /// It could not be read or written: left to the next resync.
    Failed,
}

impl Refreshed {
    /// As it stands in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Upserted => "upserted",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Ignored => "ignored",
            Self::Denied => "denied",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

/// Follows live events. Takes them by [`submit`](Self::submit), works on them in [`run`](Self::run).
pub struct Live {
    refresher: Refresher,
    queue: Mutex<Queue>,
    wake: Notify,
    observer: Arc<dyn Observer>,
    options: LiveOptions,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A resource that was worked on, and what came of it.
type Worked = (Job, Result<Done, Miss>);

/// What a [`Live`] works with.
pub struct LiveParts {
    /// Where resources come from; the resyncs of the process run through it, too.
    pub source: Arc<AccountCache>,
    /// What maps them.
    pub mapper: Arc<dyn Mapper>,
    /// Where entities go.
    pub catalog: Arc<dyn Catalog>,
    /// What resyncs of the process note in [`SyncOptions`](crate::SyncOptions).
    pub journal: Arc<Journal>,
    /// The ledger of resyncs, which is told that it does not know any more what events write.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Whether events are followed at all; `None`: always.
    pub gate: Option<Gate>,
    /// Is told of every resource.
    pub observer: Arc<dyn Observer>,
    /// Which entities of others may be taken over.
    pub adoption: Adoption,
    /// The largest number of entities that may be deleted from one resync to the next.
    pub max_deletions: Option<u64>,
}

impl fmt::Debug for LiveParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveParts").finish_non_exhaustive()
    }
}

impl LiveParts {
    /// Puts it together. Nothing happens before [`run`](Live::run).
    pub fn follow(self, options: LiveOptions) -> Live {
        let Self { source, mapper, catalog, journal, ledger, gate, observer, adoption, max_deletions } = self;
        Live {
            refresher: Refresher {
                source,
                mapper,
                writer: BatchWriter::new(catalog.upsert_batch(), adoption),
                catalog,
                journal,
                ledger,
                gate,
                config_ttl: options.config_ttl,
                rules: tokio::sync::Mutex::default(),
                max_deletions,
                limits: tokio::sync::Mutex::default(),
            },
            queue: Mutex::new(Queue::new(options.capacity, options.capacity_bytes)),
            wake: Notify::new(),
            observer,
            options,
        }
    }
}

impl Live {
    /// Takes an event of EventBridge: one envelope. Quick, and asks nobody.
    pub fn submit(&self, envelope: &Value) -> Submission {
        let notice = match Notice::read(envelope) {
            Ok(notice) => notice,
            Err(Unusable::FailedCall) => return Submission::Ignored,
            Err(Unusable::Malformed(reason)) => return Submission::Malformed(reason),
        };
        let targets = notice.targets(&Arc::clone(&self.refresher.mapper).snapshot().kinds());
        if targets.is_empty() {
            tracing::debug!(event = notice.name(), "an event concerns nothing that is mapped");
            return Submission::Ignored;
        }
        let count = targets.len();
        tracing::debug!(event = notice.name(), resources = count, "event taken");
        match self.queue().push(targets, Instant::now()) {
            Ok(()) => {}
            Err(Refused::Full) => {
                tracing::warn!(event = notice.name(), "an event is refused: too many wait");
                return Submission::Full;
            }
            Err(Refused::Closed) => return Submission::Closed,
        }
        self.wake.notify_one();
        Submission::Queued(count)
    }

    /// How many resources wait.
    pub fn waiting(&self) -> usize {
        self.queue().len()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on events until `stop`. Then no more are taken; what is being read, and what waits unless it
    /// is kept, may take the drain time.
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
        let mut jobs: HashMap<Id, Job> = HashMap::new();
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
            // What is to be tried again is not waited for.
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
            tracing::warn!("{waiting} resources that events named were not read; the next resync reads them");
        }
    }

    fn take(&self) -> Option<Job> {
        self.queue().take(Instant::now())
    }

    /// Reads, which is bounded by the deadline and in number, and writes, which the catalog's pace bounds.
    async fn work(&self, job: &Job, reading: OwnedSemaphorePermit) -> Result<Done, Miss> {
        let read = self.refresher.read(&job.target, job.tries >= self.options.retries);
        let read = timeout(self.options.deadline, read).await.unwrap_or_else(|_| {
            let seconds = self.options.deadline.as_secs();
            Err(Miss::Again(Problem::new(
                ProblemCode::AwsInvalidAnswer,
                format!("it was not done within {seconds} s"),
            )))
        });
        drop(reading);
        self.wake.notify_one();
        match read? {
            Read::Done(done) => Ok(done),
            Read::Changes(changes) => self.refresher.write(changes).await,
        }
    }

    fn ended(&self, ended: Result<(Id, Worked), JoinError>, jobs: &mut HashMap<Id, Job>) {
        match ended {
            Ok((id, (job, outcome))) => {
                jobs.remove(&id);
                self.settle(job, outcome);
            }
            // A panic is a defect, but concerns that resource only.
            Err(error) => {
                tracing::error!(%error, "reading a resource after an event ended abnormally");
                if let Some(key) = jobs.remove(&error.id()).map(|job| job.target.key) {
                    self.queue().done(&key);
                    self.tell(&key.kind, Refreshed::Failed);
                }
            }
        }
    }

    /// Tells how it went, and queues what is to be tried again.
    fn settle(&self, job: Job, outcome: Result<Done, Miss>) {
        let key = job.target.key.clone();
        let TargetKey { kind, account, region, resource } = &key;
        let region = region.as_ref().map(tracing::field::display);
        let refreshed = match outcome {
            Ok(Done::Upserted(entities)) => {
                tracing::info!(%kind, %account, region, resource, entities, "an event was followed: written");
                Refreshed::Upserted
            }
            Ok(Done::Deleted(entities)) => {
                tracing::info!(%kind, %account, region, resource, entities, "an event was followed: deleted");
                Refreshed::Deleted
            }
            Ok(Done::Unchanged) => {
                tracing::info!(%kind, %account, region, resource, "an event was followed: nothing to do");
                Refreshed::Unchanged
            }
            Ok(Done::Ignored(reason)) => {
                tracing::info!(%kind, %account, region, resource, reason, "an event is ignored");
                Refreshed::Ignored
            }
            Ok(Done::Denied(problem)) => {
                tracing::warn!(%kind, %account, region, resource, %problem, "an event could not be followed");
                Refreshed::Denied
            }
            Err(Miss::Again(problem)) if job.tries < self.options.retries => {
                let wait = self.wait(job.tries);
                tracing::info!(
                    %kind, %account, region, resource, %problem, seconds = wait.as_secs(), "looking again"
                );
                self.queue().again(job, Instant::now() + wait);
                return self.tell(kind, Refreshed::Retried);
            }
            Err(Miss::Again(problem) | Miss::Never(problem)) => {
                tracing::warn!(
                    %kind, %account, region, resource, %problem,
                    "an event could not be followed; left to the next resync"
                );
                Refreshed::Failed
            }
        };
        self.queue().done(&key);
        self.tell(kind, refreshed);
    }

    fn wait(&self, tries: u32) -> Duration {
        let factor = 4_u32.saturating_pow(tries);
        self.options.first_wait.saturating_mul(factor).min(self.options.longest_wait)
    }

    fn tell(&self, kind: &Kind, refreshed: Refreshed) {
        self.observer.event(&Event::Refreshed { kind, refreshed });
    }
}
