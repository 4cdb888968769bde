//! Follows the entries of `resources[]` through a resync, to tell the catalog when each begins and
//! ends. An entry has ended when all its units have, and the writing side is through with its last
//! entity; either may come last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use berth_core::{CatalogSession, Milestone, ResourceResult, Unit, UnitCounts, UnitId, UnitState};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Counts towards the end of each entry.
pub(crate) struct Tally {
    /// The entry of each unit.
    resources: Vec<usize>,
    slots: Mutex<Vec<Slot>>,
    milestones: UnboundedSender<Milestone>,
}

#[derive(Default)]
struct Slot {
    started: Option<Instant>,
    /// Units that have not read to their end.
    reading: usize,
    units_left: usize,
    /// Entities that the writing side is through with.
    settled: u64,
    result: ResourceResult,
    ended: bool,
}

/// What was reached and is not told yet. There are never more than a few for each entry.
pub(crate) struct Milestones(UnboundedReceiver<Milestone>);

impl Tally {
    /// A tally of `entries` entries, and the milestones that it gives. Entries without a unit to run
    /// end at once.
    pub(crate) fn new(
        entries: usize,
        units: &[Arc<Unit>],
        settled: &[(UnitId, UnitState)],
    ) -> (Self, Milestones) {
        let (milestones, receiver) = unbounded_channel();
        let mut slots: Vec<Slot> = (0..entries).map(|_| Slot::default()).collect();
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
        let resources = units.iter().map(|unit| unit.id.resource).collect();
        let tally = Self { resources, slots: Mutex::new(slots), milestones };
        tally.tell(Milestone::Planned);
        tally.end(|slot| slot.units_left == 0);
        (tally, Milestones(receiver))
    }

    /// Tells the next milestone.
    pub(crate) fn tell(&self, milestone: Milestone) {
        // Nobody listens in a plan.
        _ = self.milestones.send(milestone);
    }

    /// A unit begins.
    pub(crate) fn unit_started(&self, unit: usize) {
        let Some(resource) = self.resources.get(unit) else { return };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get_mut(*resource)
            && slot.started.is_none()
        {
            slot.started = Some(Instant::now());
            self.tell(Milestone::ResourceStarted { resource: *resource });
        }
    }

    /// A unit has read to its end, well or not. Whether it is the last of its entry to do so.
    pub(crate) fn unit_read(&self, unit: usize) -> bool {
        let Some(resource) = self.resources.get(unit) else { return false };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(*resource) else { return false };
        slot.reading = slot.reading.saturating_sub(1);
        slot.reading == 0
    }

    /// A unit is read and mapped.
    pub(crate) fn unit_ended(&self, unit: usize, state: &UnitState, counts: &UnitCounts) {
        self.change(unit, |slot| {
            slot.units_left = slot.units_left.saturating_sub(1);
            slot.result.count(state);
            slot.result.counts.add(counts);
        });
    }

    /// The writing side is through with one more entity of a unit, and this is what it counts.
    pub(crate) fn settled(&self, unit: usize, counts: &UnitCounts) {
        self.change(unit, |slot| {
            slot.settled += 1;
            slot.result.counts.add(counts);
        });
    }

    /// Everything has ended. Units that have not told so were stopped before their time, or, if
    /// nobody stopped the resync, ended abnormally.
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

    fn change(&self, unit: usize, change: impl FnOnce(&mut Slot)) {
        let Some(resource) = self.resources.get(unit) else { return };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(slot) = slots.get_mut(*resource) else { return };
        change(slot);
        if slot.units_left == 0 && slot.settled >= slot.result.counts.mapped {
            self.tell_end(*resource, slot);
        }
    }

    fn end(&self, which: impl Fn(&Slot) -> bool) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        for (resource, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| which(slot)) {
            self.tell_end(resource, slot);
        }
    }

    fn tell_end(&self, resource: usize, slot: &mut Slot) {
        if std::mem::replace(&mut slot.ended, true) {
            return;
        }
        match slot.started {
            Some(started) => slot.result.duration = started.elapsed(),
            None => self.tell(Milestone::ResourceStarted { resource }),
        }
        self.tell(Milestone::ResourceEnded { resource, result: slot.result });
    }
}

impl Milestones {
    /// Tells the catalog each milestone until there will be no more. Whether it could do without
    /// those that it did not take.
    pub(crate) async fn told(mut self, catalog: &dyn CatalogSession) -> bool {
        let mut good = true;
        while let Some(milestone) = self.0.recv().await {
            if let Err(error) = catalog.milestone(&milestone).await {
                tracing::warn!(?milestone, %error, "the catalog could not be told a step of the resync");
                good = false;
            }
        }
        good
    }
}
