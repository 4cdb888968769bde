//! The start time of a resync.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

/// When the resync of a session started, by Port's clock; `None` before.
#[derive(Default)]
pub(crate) struct StartTime(Mutex<Option<SystemTime>>);

impl StartTime {
    pub(crate) fn get(&self) -> Option<SystemTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, at: SystemTime) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}
