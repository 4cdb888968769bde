//! A resync under way, as a stream of events.

use std::{
    panic,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use berth_core::{Account, EntityKey, Problem, UnitId};
use berth_sync::{Event, Gone, Observer, Refusal, Report, SyncError, UnitReport};
use futures::Stream;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What happened, in the form that a stream can hand over. [`Event`] is the same for an [`Observer`],
/// and borrows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ResyncEvent {
    /// The catalog is ready; what was done for it, one line each.
    Opened {
        /// The lines.
        notes: Vec<String>,
    },
    /// An account was authenticated to, or not.
    Account {
        /// The account.
        account: Account,
        /// Why it cannot be read.
        problem: Option<Problem>,
    },
    /// All units are known.
    Planned {
        /// Units that will run.
        units: usize,
        /// Units that ended before they began.
        settled: usize,
    },
    /// A unit begins.
    UnitStarted {
        /// Which.
        unit: UnitId,
    },
    /// A unit has read and mapped another batch.
    UnitProgress {
        /// Which.
        unit: UnitId,
        /// Resources read so far.
        fetched: u64,
    },
    /// A unit has ended: read and mapped, its entities on their way.
    UnitFinished {
        /// The report so far; writes may still be counted.
        report: UnitReport,
    },
    /// The catalog took an entity.
    Upserted {
        /// Which.
        entity: EntityKey,
        /// The unit that produced it.
        unit: UnitId,
        /// Whether the catalog did not hold it for this integration before.
        created: bool,
    },
    /// The catalog refused an entity.
    Refused {
        /// Which, and why.
        refusal: Refusal,
    },
    /// Entities were compared and written. Counts what [`Upserted`](Self::Upserted) and
    /// [`Refused`](Self::Refused) tell one by one, and what needed no write.
    Written {
        /// How many were created.
        created: u64,
        /// How many were updated.
        updated: u64,
        /// How many are unchanged.
        unchanged: u64,
        /// How many were refused.
        refused: u64,
    },
    /// Stale entities are being deleted.
    Deleting {
        /// How many.
        count: usize,
    },
    /// A stale entity was deleted.
    Deleted {
        /// Which.
        gone: Gone,
    },
    /// At this place, events were left out, because they were not taken fast enough.
    Missed {
        /// How many.
        count: u64,
    },
}

impl ResyncEvent {
    /// None for what is not told of a resync.
    fn of(event: &Event<'_>) -> Option<Self> {
        Some(match *event {
            Event::Opened { notes } => Self::Opened { notes: notes.to_owned() },
            Event::Account { account, problem } => {
                Self::Account { account: account.clone(), problem: problem.cloned() }
            }
            Event::Planned { units, settled } => Self::Planned { units: units.len(), settled: settled.len() },
            Event::UnitStarted { unit } => Self::UnitStarted { unit: unit.clone() },
            Event::UnitProgress { unit, fetched } => Self::UnitProgress { unit: unit.clone(), fetched },
            Event::UnitFinished { report } => Self::UnitFinished { report: report.clone() },
            Event::Upserted { entity, unit, created } => {
                Self::Upserted { entity: entity.clone(), unit: unit.clone(), created }
            }
            Event::Refused { refusal } => Self::Refused { refusal: refusal.clone() },
            Event::Written { created, updated, unchanged, refused } => {
                Self::Written { created, updated, unchanged, refused }
            }
            Event::Deleting { count } => Self::Deleting { count },
            Event::Deleted { gone } => Self::Deleted { gone: gone.clone() },
            _ => return None,
        })
    }
}

/// Why there is no report of a resync.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResyncError {
    /// It ended before any unit was planned.
    #[error(transparent)]
    Sync(#[from] SyncError),
    /// The runtime that it ran on was shut down.
    #[error("the resync was cut off: the runtime that it ran on was shut down")]
    CutOff,
}

/// A resync under way: a [`Stream`] of what happens, and the report at the end. Made by
/// [`SyncHost::start`](crate::SyncHost::start).
///
/// The resync runs in a task of its own and **never waits for the reader**: an account in AWS does not
/// stand still while somebody looks at a progress bar, and credentials expire. Up to a
/// [number of events](crate::SyncHostBuilder::event_buffer) is kept for the reader; those that find the
/// buffer full are left out, and [`ResyncEvent::Missed`] stands in their place with their number. So
/// memory is bounded whatever the reader does, and it knows whether it has seen everything. What must
/// not be missed is in the [`Report`]: every unit, every refusal, every deletion. Whoever needs each
/// event, at the price of being waited for, gives the host an [`Observer`].
///
/// **Dropping it stops the resync** in good order, as [`cancel`](Self::cancel) does: nothing more is
/// read, nothing is deleted, and the catalog is told that the resync was aborted, all in the task,
/// after the drop. A resync that nobody watches is run by [`SyncHost::sync`](crate::SyncHost::sync).
#[derive(Debug)]
pub struct Resync {
    /// Each with the number of events that were left out before it.
    events: mpsc::Receiver<(u64, ResyncEvent)>,
    /// What stands after a gap that was told.
    held: Option<ResyncEvent>,
    missed: Arc<AtomicU64>,
    task: JoinHandle<Result<Report, SyncError>>,
    cancel: CancellationToken,
    _stop: DropGuard,
}

impl Resync {
    /// Runs what `run` makes of the token that stops it and the observer that it is to tell, too.
    pub(crate) fn start<F>(
        buffer: usize,
        cancel: CancellationToken,
        observer: Arc<dyn Observer>,
        run: impl FnOnce(CancellationToken, Arc<dyn Observer>) -> F,
    ) -> Self
    where
        F: Future<Output = Result<Report, SyncError>> + Send + 'static,
    {
        let (sender, events) = mpsc::channel(buffer.max(1));
        let missed = Arc::<AtomicU64>::default();
        let outlet = Outlet { sender, missed: Arc::clone(&missed), observer };
        let task = tokio::spawn(run(cancel.clone(), Arc::new(outlet)));
        Self { events, held: None, missed, task, _stop: cancel.clone().drop_guard(), cancel }
    }

    /// The next event; none when the resync has ended.
    pub async fn next(&mut self) -> Option<ResyncEvent> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Stops the resync: nothing more is read, nothing is deleted. The report then says
    /// [`Outcome::Aborted`](crate::Outcome::Aborted).
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end. Events that were not taken yet are dropped. To drop this future stops the
    /// resync.
    ///
    /// # Errors
    /// [`ResyncError`] when nothing was read at all, or the runtime ended first.
    ///
    /// # Panics
    /// With the panic of the resync, if it panicked.
    pub async fn report(mut self) -> Result<Report, ResyncError> {
        self.events.close();
        while self.events.try_recv().is_ok() {}
        match (&mut self.task).await {
            Ok(report) => Ok(report?),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                Err(_) => Err(ResyncError::CutOff),
            },
        }
    }
}

impl Stream for Resync {
    type Item = ResyncEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ResyncEvent>> {
        if let Some(event) = self.held.take() {
            return Poll::Ready(Some(event));
        }
        let (count, event) = match ready!(self.events.poll_recv(context)) {
            Some((count, event)) => (count, Some(event)),
            None => (self.missed.swap(0, Ordering::Relaxed), None),
        };
        if count == 0 {
            return Poll::Ready(event);
        }
        self.held = event;
        Poll::Ready(Some(ResyncEvent::Missed { count }))
    }
}

/// Where the resync puts its events.
struct Outlet {
    sender: mpsc::Sender<(u64, ResyncEvent)>,
    /// How many were left out since the last that was not.
    missed: Arc<AtomicU64>,
    /// Who listens besides.
    observer: Arc<dyn Observer>,
}

impl Observer for Outlet {
    fn event(&self, event: &Event<'_>) {
        self.observer.event(event);
        match self.sender.try_reserve() {
            Ok(place) => {
                if let Some(event) = ResyncEvent::of(event) {
                    place.send((self.missed.swap(0, Ordering::Relaxed), event));
                }
            }
            Err(TrySendError::Full(())) => _ = self.missed.fetch_add(1, Ordering::Relaxed),
            // Nobody reads any more.
            Err(TrySendError::Closed(())) => {}
        }
    }
}
