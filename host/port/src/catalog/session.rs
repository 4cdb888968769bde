//! The state of one resync, and the few facts that outlive it.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    examples::Examples,
    foreign::ForeignEntities,
    lifecycle::Lifecycle,
    metrics::Entry,
    ownership::{DataSource, Ownership},
    raw::RawBuffers,
    schemas::BlueprintSchemas,
    search::EntitySearch,
    start_time::StartTime,
};
use crate::{
    PortConfig,
    api::{blueprints::BlueprintRelations, client::Client, entities::WriteOrigin},
};

/// What belongs to one resync. Every `open` makes a new one, so that nothing of an earlier resync stays.
pub(crate) struct ResyncSession {
    /// Goes with every write, and has the resync's id.
    pub(crate) origin: WriteOrigin,
    pub(crate) search: EntitySearch,
    pub(crate) ownership: Ownership,
    pub(crate) foreign: ForeignEntities,
    pub(crate) schemas: BlueprintSchemas,
    /// All blueprints with their relations, once they were needed.
    pub(crate) blueprints: OnceCell<Vec<BlueprintRelations>>,
    pub(crate) examples: Examples,
    /// The entries of the app-config's `resources[]`.
    pub(crate) entries: Arc<[Entry]>,
    /// Where raw data of the resync goes, if anywhere.
    pub(crate) raw: Option<RawBuffers>,
    /// Reports a resync whose raw data Port maps.
    pub(crate) lifecycle: Option<Arc<Lifecycle>>,
    pub(crate) started: Arc<StartTime>,
    /// When Port was ready for this session, by Port's clock.
    opened: Mutex<Option<SystemTime>>,
}

impl ResyncSession {
    pub(crate) fn new(
        resync: Uuid,
        client: &Arc<Client>,
        config: &Arc<PortConfig>,
        data_source: &Arc<DataSource>,
    ) -> Self {
        Self {
            origin: WriteOrigin { event_type: config.event_type, resync },
            search: EntitySearch::new(Arc::clone(client)),
            ownership: Ownership::new(Arc::clone(client), Arc::clone(data_source)),
            foreign: ForeignEntities::default(),
            schemas: BlueprintSchemas::new(Arc::clone(client)),
            blueprints: OnceCell::new(),
            examples: Examples::new(Arc::clone(client), Arc::clone(config)),
            entries: Arc::default(),
            raw: None,
            lifecycle: None,
            started: Arc::default(),
            opened: Mutex::default(),
        }
    }

    pub(crate) fn opened(&self) -> Option<SystemTime> {
        *lock(&self.opened)
    }

    pub(crate) fn set_opened(&self, at: Option<SystemTime>) {
        *lock(&self.opened) = at;
    }
}

/// What a process keeps from one resync to the next.
#[derive(Default)]
pub(crate) struct ProcessState {
    installed: AtomicBool,
    deleted: AtomicBool,
    begun: Mutex<Option<SystemTime>>,
    running: Mutex<Option<Uuid>>,
}

impl ProcessState {
    /// Whether this process has set up the integration and its default resources.
    pub(crate) fn is_installed(&self) -> bool {
        self.installed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_installed(&self) {
        self.installed.store(true, Ordering::Relaxed);
    }

    /// Whether the integration did not exist when it was last looked for.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_deleted(&self, deleted: bool) {
        self.deleted.store(deleted, Ordering::Relaxed);
    }

    /// When Port noted the start of the last resync, by its clock.
    pub(crate) fn begun(&self) -> Option<SystemTime> {
        *lock(&self.begun)
    }

    pub(crate) fn set_begun(&self, at: Option<SystemTime>) {
        *lock(&self.begun) = at;
    }

    /// The resync that has begun and not ended.
    pub(crate) fn running(&self) -> Option<Uuid> {
        *lock(&self.running)
    }

    pub(crate) fn set_running(&self, resync: Option<Uuid>) {
        *lock(&self.running) = resync;
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
