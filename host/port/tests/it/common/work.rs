//! A catalog together with what was opened last, so that tests read as steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Deref,
    sync::Arc,
    time::SystemTime,
};

use berth_core::{
    Adoption, BegunResync, BlueprintId, Catalog, CatalogError, CatalogInfo, CatalogSession, CatalogView,
    DeleteReport, Dependent, Document, DocumentBatch, DocumentsError, Entity, EntityKey, EntityStore,
    EventDocuments, EventSession, FieldSet, ForeignEntity, Kind, KindEntry, Milestone, Opened, OwnedEntity,
    Problem, ResyncStart, ResyncStatus, UpsertOptions, UpsertReport,
};
use berth_port::PortCatalog;
use futures::TryStreamExt;
use tokio::sync::Mutex;

/// A catalog, and what it was last opened for.
pub(crate) struct Work {
    port: Arc<PortCatalog>,
    opened: Mutex<Session>,
}

enum Session {
    Closed,
    Reading(Arc<dyn CatalogView>),
    Open(Box<dyn ResyncStart>),
    Begun(Arc<dyn CatalogSession>),
    Following(Arc<dyn EventSession>),
}

impl Deref for Work {
    type Target = PortCatalog;

    fn deref(&self) -> &PortCatalog {
        &self.port
    }
}

impl Work {
    pub(crate) fn new(port: PortCatalog) -> Self {
        Self::of(Arc::new(port))
    }

    fn of(port: Arc<PortCatalog>) -> Self {
        Self { port, opened: Mutex::new(Session::Closed) }
    }

    /// Returns other work with the same catalog.
    pub(crate) fn another(&self) -> Self {
        Self::of(Arc::clone(&self.port))
    }

    pub(crate) async fn open(&self, defaults: &[KindEntry]) -> Result<CatalogInfo, CatalogError> {
        let Opened { info, session } = Arc::clone(&self.port).open(defaults).await?;
        *self.opened.lock().await = Session::Open(session);
        Ok(info)
    }

    pub(crate) async fn read(&self, defaults: &[KindEntry]) -> Result<CatalogInfo, CatalogError> {
        let Opened { info, session } = Arc::clone(&self.port).read(defaults).await?;
        *self.opened.lock().await = Session::Reading(session);
        Ok(info)
    }

    pub(crate) async fn follow(&self, defaults: &[KindEntry]) -> Result<CatalogInfo, CatalogError> {
        let Opened { info, session } = Arc::clone(&self.port).follow(defaults).await?;
        *self.opened.lock().await = Session::Following(session);
        Ok(info)
    }

    pub(crate) async fn begin(&self, started: SystemTime) -> Result<(), CatalogError> {
        let mut opened = self.opened.lock().await;
        match std::mem::replace(&mut *opened, Session::Closed) {
            Session::Open(start) => {
                let BegunResync { session, reported } = start.begin(started).await;
                *opened = Session::Begun(session);
                reported
            }
            _ => unreachable!("only an open resync starts"),
        }
    }

    /// Returns the resync; starts one that is open.
    pub(crate) async fn session(&self) -> Arc<dyn CatalogSession> {
        if matches!(*self.opened.lock().await, Session::Open(_)) {
            self.begin(SystemTime::now()).await.unwrap();
        }
        match &*self.opened.lock().await {
            Session::Begun(session) => Arc::clone(session),
            _ => unreachable!("no resync has started"),
        }
    }

    async fn store(&self) -> Arc<dyn EntityStore> {
        match &*self.opened.lock().await {
            Session::Closed => return berth_port::open_store(&self.port).await.unwrap().session,
            Session::Following(session) => return Arc::clone(session) as Arc<dyn EntityStore>,
            Session::Reading(_) | Session::Open(_) | Session::Begun(_) => {}
        }
        self.session().await
    }

    async fn view(&self) -> Arc<dyn CatalogView> {
        if let Session::Reading(view) = &*self.opened.lock().await {
            return Arc::clone(view);
        }
        self.store().await
    }

    pub(crate) async fn watch_for_abort(&self) -> Problem {
        self.session().await.watch_for_abort().await
    }

    pub(crate) async fn milestone(&self, milestone: &Milestone) -> Result<(), CatalogError> {
        self.session().await.milestone(milestone).await
    }

    pub(crate) async fn documents(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        self.session().await.documents(batch).await
    }

    pub(crate) async fn documents_end(&self, resource: usize) -> Result<(), DocumentsError> {
        self.session().await.documents_end(resource).await
    }

    pub(crate) async fn examples(&self, kind: &Kind, documents: &[Document]) -> Result<(), CatalogError> {
        self.session().await.examples(kind, documents).await
    }

    pub(crate) async fn end(&self, status: ResyncStatus) -> Result<(), CatalogError> {
        self.session().await.end(status).await
    }

    pub(crate) async fn event_documents(
        &self,
        kind: &Kind,
        documents: &[EventDocuments],
    ) -> Result<(), CatalogError> {
        match &*self.opened.lock().await {
            Session::Following(session) => session.documents(kind, documents).await,
            _ => unreachable!("no event is processed"),
        }
    }

    pub(crate) async fn owned(&self) -> Result<Vec<Vec<OwnedEntity>>, CatalogError> {
        self.view().await.owned().try_collect().await
    }

    pub(crate) async fn current(
        &self,
        keys: &[EntityKey],
        fields: &FieldSet,
    ) -> Result<Vec<Entity>, CatalogError> {
        self.view().await.current(keys, fields).await
    }

    pub(crate) async fn foreign(
        &self,
        keys: &[EntityKey],
        adoption: &Adoption,
    ) -> Result<Vec<ForeignEntity>, CatalogError> {
        self.view().await.foreign(keys, adoption).await
    }

    pub(crate) async fn dependents(&self, keys: &[EntityKey]) -> Result<Vec<Dependent>, CatalogError> {
        self.view().await.dependents(keys).await
    }

    pub(crate) async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        self.view().await.relations(blueprint).await
    }

    pub(crate) async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        self.view().await.required(blueprint).await
    }

    pub(crate) async fn upsert(
        &self,
        blueprint: &BlueprintId,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> UpsertReport {
        self.store().await.upsert(blueprint, entities, options).await
    }

    pub(crate) async fn delete(&self, keys: &[EntityKey], dependents: bool) -> DeleteReport {
        self.store().await.delete(keys, dependents).await
    }
}
