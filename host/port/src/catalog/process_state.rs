//! The state that outlives a resync.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use berth_core::CatalogSession;
use uuid::Uuid;

/// What a process keeps between resyncs.
#[derive(Default)]
pub(crate) struct ProcessState {
    installed: AtomicBool,
    deleted: AtomicBool,
    begun: Mutex<Option<SystemTime>>,
    running: Mutex<Option<Uuid>>,
    session: Mutex<Option<Arc<dyn CatalogSession>>>,
}

impl ProcessState {
    /// Returns whether this process has set up the integration and its default resources.
    pub(crate) fn is_installed(&self) -> bool {
        self.installed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_installed(&self) {
        self.installed.store(true, Ordering::Relaxed);
    }

    /// Returns whether the integration did not exist at the last lookup.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_deleted(&self, deleted: bool) {
        self.deleted.store(deleted, Ordering::Relaxed);
    }

    /// Returns when Port recorded the start of the last resync, by its clock.
    pub(crate) fn begun(&self) -> Option<SystemTime> {
        *lock(&self.begun)
    }

    pub(crate) fn set_begun(&self, at: Option<SystemTime>) {
        *lock(&self.begun) = at;
    }

    /// Returns the resync that has started and not ended.
    pub(crate) fn running(&self) -> Option<Uuid> {
        *lock(&self.running)
    }

    pub(crate) fn set_running(&self, resync: Option<Uuid>) {
        *lock(&self.running) = resync;
        *lock(&self.session) = None;
    }

    /// Keeps the session of the running resync, for the code that aborts it.
    pub(crate) fn set_session(&self, session: Arc<dyn CatalogSession>) {
        *lock(&self.session) = Some(session);
    }

    pub(crate) fn take_session(&self) -> Option<Arc<dyn CatalogSession>> {
        lock(&self.session).take()
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
