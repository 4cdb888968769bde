//! A running resync, as a stream of events.

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

/// An event of a stream. [`Event`] is its borrowed form, for an [`Observer`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ResyncEvent {
    /// The catalog is ready; the notes say what was done for it, one line each.
    Opened {
        /// The lines.
        notes: Vec<String>,
    },
    /// Authentication to an account succeeded or failed.
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
        /// Units that ended before they started.
        settled: usize,
    },
    /// A unit starts.
    UnitStarted {
        /// The unit.
        unit: UnitId,
    },
    /// A unit has read and mapped another batch.
    UnitProgress {
        /// The unit.
        unit: UnitId,
        /// Resources read so far.
        fetched: u64,
    },
    /// A unit has ended: it is read and mapped, and its entities are on their way.
    UnitFinished {
        /// The report so far; writes may still be counted.
        report: UnitReport,
    },
    /// The catalog accepted an entity.
    Upserted {
        /// The entity.
        entity: EntityKey,
        /// The unit that produced it.
        unit: UnitId,
        /// Whether the catalog did not hold it for this integration before.
        created: bool,
    },
    /// The catalog rejected an entity.
    Refused {
        /// The entity, and the reason.
        refusal: Refusal,
    },
    /// Entities were compared and written. Counts what [`Upserted`](Self::Upserted) and
    /// [`Refused`](Self::Refused) report individually, and what needed no write.
    Written {
        /// How many were created.
        created: u64,
        /// How many were updated.
        updated: u64,
        /// How many are unchanged.
        unchanged: u64,
        /// How many were rejected.
        refused: u64,
    },
    /// Stale entities are being deleted.
    Deleting {
        /// How many.
        count: usize,
    },
    /// A stale entity was deleted.
    Deleted {
        /// The entity.
        gone: Gone,
    },
    /// Events were left out here, because the reader was too slow.
    Missed {
        /// How many.
        count: u64,
    },
}

impl ResyncEvent {
    /// Converts an event; `None` if it does not belong to a resync.
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
    /// Its runtime was shut down.
    #[error("the resync was interrupted: its runtime was shut down")]
    CutOff,
}

/// A running resync: a [`Stream`] of events, and the report at the end. Created by
/// [`SyncHost::start`](crate::SyncHost::start).
///
/// The resync runs in a separate task and **never waits for the reader**, because AWS accounts change and
/// credentials expire meanwhile. Up to a [number of events](crate::SyncHostBuilder::event_buffer) are kept
/// for the reader; further events are left out, and [`ResyncEvent::Missed`] replaces them with their number.
/// So memory is bounded whatever the reader does, and the reader knows whether it has seen everything. The
/// [`Report`] holds what must not be missed: every unit, every refusal, every deletion. A program that needs
/// each event, and accepts that the resync waits for it, gives the host an [`Observer`].
///
/// **Dropping it stops the resync** cleanly, like [`cancel`](Self::cancel): no more reads, no deletions, and
/// the catalog learns that the resync was aborted, all in the task, after the drop. Use
/// [`SyncHost::sync`](crate::SyncHost::sync) to run a resync without watching it.
#[derive(Debug)]
pub struct Resync {
    /// Each with the number of events that were left out before it.
    events: mpsc::Receiver<(u64, ResyncEvent)>,
    /// The event after a gap that was reported.
    held: Option<ResyncEvent>,
    missed: Arc<AtomicU64>,
    task: JoinHandle<Result<Report, SyncError>>,
    cancel: CancellationToken,
    _stop: DropGuard,
}

impl Resync {
    /// Runs what `run` creates from the token that stops it and the observer that it notifies.
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

    /// Returns the next event; `None` when the resync has ended.
    pub async fn next(&mut self) -> Option<ResyncEvent> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Stops the resync: no more reads, and no deletions. The report then says
    /// [`Outcome::Aborted`](crate::Outcome::Aborted).
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end. Drops the events that were not read yet. Dropping this future stops the resync.
    ///
    /// # Errors
    /// [`ResyncError`] if nothing was read at all, or if the runtime ended first.
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

/// Receives the events of the resync.
struct Outlet {
    sender: mpsc::Sender<(u64, ResyncEvent)>,
    /// How many events were left out since the last one.
    missed: Arc<AtomicU64>,
    /// Also receives all events.
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
            // There is no reader any longer.
            Err(TrySendError::Closed(())) => {}
        }
    }
}
