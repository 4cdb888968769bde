//! Follows the resource mappings through a resync, to report to the catalog when each starts and ends. A
//! resource mapping has ended when all its units have, and the writer has handled its last entity; either may
//! come last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use berth_core::{CatalogSession, Milestone, ResourceResult, Unit, UnitCounts, UnitId, UnitState};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::index::{EntryIndex, UnitIndex};

/// Counts the progress of each resource mapping.
pub(crate) struct ProgressTracker {
    /// The resource mapping of each unit.
    entries: Vec<EntryIndex>,
    slots: Mutex<Vec<EntryProgress>>,
    milestones: UnboundedSender<Milestone>,
}

#[derive(Default)]
struct EntryProgress {
    started: Option<Instant>,
    /// Units whose read has not ended.
    reading: usize,
    units_left: usize,
    /// Entities that the writer has handled.
    finished: u64,
    result: ResourceResult,
    ended: bool,
}

/// The milestones to report. There are never more than a few for each resource mapping.
pub(crate) struct Milestones(UnboundedReceiver<Milestone>);

impl ProgressTracker {
    /// Creates a tracker of `entries` resource mappings, and its milestones. Resource mappings without a unit
    /// to run end at once.
    pub(crate) fn new(
        entries: usize,
        units: &[Arc<Unit>],
        settled: &[(UnitId, UnitState)],
    ) -> (Self, Milestones) {
        let (milestones, receiver) = unbounded_channel();
        let mut slots: Vec<EntryProgress> = (0..entries).map(|_| EntryProgress::default()).collect();
        for unit in units {
            if let Some(slot) = slots.get_mut(unit.id.resource) {
                slot.reading += 1;
                slot.units_left += 1;
            }
        }
        for (unit, state) in settled {
            if let Some(slot) = slots.get_mut(unit.resource) {
                slot.result.count(state);
            }
        }
        let entries_of = units.iter().map(|unit| EntryIndex::of(&unit.id)).collect();
        let tracker = Self { entries: entries_of, slots: Mutex::new(slots), milestones };
        tracker.report(Milestone::Planned);
        tracker.end(|slot| slot.units_left == 0);
        (tracker, Milestones(receiver))
    }

    /// Reports the next milestone.
    pub(crate) fn report(&self, milestone: Milestone) {
        // A plan has no receiver.
        _ = self.milestones.send(milestone);
    }

    /// Records that a unit starts.
    pub(crate) fn unit_started(&self, unit: UnitIndex) {
        let Some(entry) = self.entries.get(unit.position()) else { return };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(entry.position())
            && slot.started.is_none()
        {
            slot.started = Some(Instant::now());
            self.report(Milestone::ResourceStarted { resource: entry.position() });
        }
    }

    /// Records that a unit's read ended, with or without errors. Returns whether it is the last of its
    /// resource mapping.
    pub(crate) fn unit_read(&self, unit: UnitIndex) -> bool {
        let Some(entry) = self.entries.get(unit.position()) else { return false };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(entry.position()) else { return false };
        slot.reading = slot.reading.saturating_sub(1);
        slot.reading == 0
    }

    /// Records that a unit is read and mapped.
    pub(crate) fn unit_ended(&self, unit: UnitIndex, state: &UnitState, counts: &UnitCounts) {
        self.change(unit, |slot| {
            slot.units_left = slot.units_left.saturating_sub(1);
            slot.result.count(state);
            slot.result.counts.add(counts);
        });
    }

    /// Records that the writer has handled one more entity of a unit, with its counts.
    pub(crate) fn finished(&self, unit: UnitIndex, counts: &UnitCounts) {
        self.change(unit, |slot| {
            slot.finished += 1;
            slot.result.counts.add(counts);
        });
    }

    /// Ends everything. Remaining units were stopped or, if the resync was not stopped, panicked.
    pub(crate) fn finish(&self, stopped: bool) {
        {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            for slot in slots.iter_mut().filter(|slot| !slot.ended) {
                let left = std::mem::take(&mut slot.units_left) as u64;
                *(if stopped { &mut slot.result.stopped } else { &mut slot.result.failed }) += left;
            }
        }
        self.end(|_| true);
    }

    fn change(&self, unit: UnitIndex, change: impl FnOnce(&mut EntryProgress)) {
        let Some(entry) = self.entries.get(unit.position()) else { return };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(entry.position()) else { return };
        change(slot);
        if slot.units_left == 0 && slot.finished >= slot.result.counts.mapped {
            self.report_end(entry.position(), slot);
        }
    }

    fn end(&self, which: impl Fn(&EntryProgress) -> bool) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (resource, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| which(slot)) {
            self.report_end(resource, slot);
        }
    }

    fn report_end(&self, resource: usize, slot: &mut EntryProgress) {
        if std::mem::replace(&mut slot.ended, true) {
            return;
        }
        match slot.started {
            Some(started) => slot.result.duration = started.elapsed(),
            None => self.report(Milestone::ResourceStarted { resource }),
        }
        self.report(Milestone::ResourceEnded { resource, result: slot.result });
    }
}

impl Milestones {
    /// Reports milestones to the catalog, one after the other, while `work` runs, and the remaining ones when
    /// it is done. Returns whether the catalog accepted all required ones. A plan reports nothing.
    pub(crate) async fn report_during<T>(
        mut self,
        session: Option<&dyn CatalogSession>,
        work: impl Future<Output = T>,
    ) -> (T, bool) {
        let Some(session) = session else { return (work.await, true) };
        let done = CancellationToken::new();
        let work = async {
            let outcome = work.await;
            done.cancel();
            outcome
        };
        let report = async {
            let mut good = true;
            loop {
                let milestone = tokio::select! {
                    biased;
                    milestone = self.0.recv() => milestone,
                    () = done.cancelled(), if !self.0.is_closed() => {
                        self.0.close();
                        continue;
                    }
                };
                let Some(milestone) = milestone else { return good };
                if let Err(error) = session.milestone(&milestone).await {
                    tracing::warn!(?milestone, %error, "cannot report a step of the resync");
                    good = false;
                }
            }
        };
        futures::join!(work, report)
    }
}
