//! The progress of a unit, which shows whether anything in it may be read at all.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use berth_core::Problem;

/// Counts what was read and what was not.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Resources that were read, and lists of children.
    read: AtomicUsize,
    /// Resources that failed for a reason other than denied access.
    failed: AtomicUsize,
    refused: Mutex<RefusedSteps>,
}

#[derive(Debug, Default)]
struct RefusedSteps {
    count: usize,
    first: Option<Problem>,
}

impl Progress {
    pub(super) fn read(&self, count: usize) {
        self.read.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a failed resource; `refused`: because access is denied.
    pub(super) fn failed(&self, problem: &Problem, refused: bool) {
        if !refused {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        known.count += 1;
        known.first.get_or_insert_with(|| problem.clone());
    }

    /// Returns the problem of a unit in which access to every listed resource is denied. Such a unit is
    /// skipped.
    pub(super) fn all_refused(&self) -> Option<Problem> {
        if self.read.load(Ordering::Relaxed) > 0 || self.failed.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let known = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let first = known.first.clone()?;
        if known.count == 1 {
            return Some(first);
        }
        Some(
            first.map_message(|first| {
                format!("none of {} resources can be read (first: {first})", known.count)
            }),
        )
    }
}
