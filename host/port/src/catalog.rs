//! Port as a [`Catalog`]: what a resync reads and writes, on top of the API client.

pub(crate) mod blueprints;
mod delete;
mod dependents;
mod examples;
pub(crate) mod flags;
mod foreign;
mod heartbeat;
pub(crate) mod ingest;
mod installation;
mod lifecycle;
mod metrics;
mod outage;
mod owned;
mod ownership;
mod phases;
mod processing;
mod raw;
mod reporter;
mod schemas;
mod search;
pub(crate) mod session;
mod start_time;
mod upsert;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use berth_core::{
    Adoption, BlueprintId, Catalog, CatalogError, DeleteReport, Dependent, Document, DocumentBatch,
    DocumentsError, Entity, EntityKey, EventDocuments, FieldSet, ForeignEntity, Intent, Kind, KindEntry,
    Milestone, OwnedEntity, Problem, Processing, ResyncStatus, Session, UpsertOptions, UpsertReport,
};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use url::Url;
use uuid::Uuid;

use self::{
    delete::Deletion,
    flags::FeatureFlags,
    ingest::IngestAddresses,
    installation::Installation,
    lifecycle::Lifecycle,
    metrics::{Metrics, Receiver},
    ownership::DataSource,
    raw::{RawBuffers, RawSender},
    session::{ProcessState, ResyncSession},
};
use crate::{
    EventType, PortConfig,
    api::{
        client::{Client, PortStats},
        error::PortError,
    },
};

/// How long requests that are on their way may take once a resync is stopped.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// Port as a [`Catalog`]. Cheap to share by reference; make one per process, since the token, the
/// limits of concurrency and the pause that Port may ask for live in it.
pub struct PortCatalog {
    pub(crate) config: Arc<PortConfig>,
    pub(crate) client: Arc<Client>,
    pub(crate) flags: Arc<FeatureFlags>,
    pub(crate) addresses: Arc<IngestAddresses>,
    pub(crate) state: Arc<ProcessState>,
    data_source: Arc<DataSource>,
    metrics: Metrics,
    session: Mutex<Arc<ResyncSession>>,
}

impl PortCatalog {
    /// A catalog that sends its requests through `http`, which brings TLS, proxies and the pool of
    /// connections. Nothing is sent yet.
    ///
    /// # Errors
    /// A [`Problem`] when the base URL is no HTTP URL, or when type, version or identifier of the
    /// integration cannot stand in a header.
    pub fn new(config: PortConfig, http: impl Into<berth_http::Client>) -> Result<Self, Problem> {
        let config = Arc::new(config.normalized());
        let client = Arc::new(Client::new(&config, http.into()).map_err(PortError::into_problem)?);
        let flags = Arc::new(FeatureFlags::new(config.feature_flags_ttl));
        let data_source = Arc::new(DataSource::new(&config));
        Ok(Self::over(config, client, flags, data_source))
    }

    fn over(
        config: Arc<PortConfig>,
        client: Arc<Client>,
        flags: Arc<FeatureFlags>,
        data_source: Arc<DataSource>,
    ) -> Self {
        let session = ResyncSession::new(Uuid::nil(), &client, &config, &data_source);
        Self {
            config,
            client,
            flags,
            addresses: Arc::default(),
            state: Arc::default(),
            data_source,
            metrics: Metrics::default(),
            session: Mutex::new(Arc::new(session)),
        }
    }

    /// The same Port for what live events write: Port records that a request from outside caused it,
    /// and not a resync. It has a session of its own, so that opening it does not end that of a
    /// resync; token, limits and pauses are shared.
    #[must_use]
    pub fn for_events(&self) -> Self {
        let config = PortConfig { event_type: EventType::HttpRequest, ..(*self.config).clone() };
        let client = Arc::new(self.client.another());
        Self::over(Arc::new(config), client, Arc::clone(&self.flags), Arc::clone(&self.data_source))
    }

    /// Stops what this does: from now on nothing waits or is repeated, what is on its way has a few
    /// seconds, and only the end of a resync is still reported. It holds until the next
    /// [`open`](Catalog::open), or until [`resume`](Self::resume).
    pub fn stop(&self) {
        self.client.stop().ask(STOP_GRACE);
    }

    /// Takes a [`stop`](Self::stop) back.
    pub fn resume(&self) {
        self.client.stop().renew();
    }

    /// What was sent so far.
    pub fn stats(&self) -> PortStats {
        self.client.stats()
    }

    fn session(&self) -> Arc<ResyncSession> {
        Arc::clone(&self.session.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_session(&self, session: ResyncSession) -> Arc<ResyncSession> {
        let session = Arc::new(session);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&session);
        session
    }

    fn new_session(&self, resync: Uuid) -> ResyncSession {
        ResyncSession::new(resync, &self.client, &self.config, &self.data_source)
    }

    fn installation(&self) -> Installation<'_> {
        Installation {
            client: &self.client,
            config: &self.config,
            flags: &self.flags,
            addresses: &self.addresses,
            data_source: &self.data_source,
            state: &self.state,
        }
    }

    fn raw_sender(&self) -> RawSender {
        RawSender::new(Arc::clone(&self.client), Arc::clone(&self.config))
    }

    /// Prepares a session for the raw data of its resync, if there is to be any.
    fn prepare_raw_data(
        &self,
        session: &mut ResyncSession,
        opened: &mut Session,
        named: Option<&str>,
    ) -> Result<(), PortError> {
        if opened.processing == Processing::Entities {
            return Ok(());
        }
        let address = match ingest::raw_address(&self.config, named) {
            Ok(address) => address,
            Err(problem) => return without_raw_data(opened, problem),
        };
        let (resync, started) = (session.origin.resync, &session.started);
        if opened.processing == Processing::Documents {
            session.lifecycle = Some(Arc::new(Lifecycle::new(
                resync,
                &opened.config,
                Arc::clone(started),
                Arc::clone(&self.client),
                Arc::clone(&self.config),
            )?));
        }
        let (started, lifecycle) = (Arc::clone(started), session.lifecycle.clone());
        session.raw = Some(RawBuffers::new(resync, address, self.raw_sender(), started, lifecycle));
        Ok(())
    }
}

/// Goes on without raw data where the address for it is not usable, unless Port is to map it.
fn without_raw_data(opened: &mut Session, problem: Problem) -> Result<(), PortError> {
    if opened.processing == Processing::Documents {
        return Err(PortError::Other(
            problem.remedy(
                "Set OCEAN__PROCESSING_MODE=ocean-core, so that Berth maps by itself, and tell Port.",
            ),
        ));
    }
    // Entities are not to suffer for it.
    opened.notes.push(format!("no raw data is written: {problem}"));
    opened.processing = Processing::Entities;
    Ok(())
}

impl fmt::Debug for PortCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortCatalog").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for PortCatalog {
    async fn open(&self, intent: Intent, defaults: &[KindEntry]) -> Result<Session, CatalogError> {
        self.resume();
        let resync = Uuid::new_v4();
        // Nothing of the last resync stays, even if this one does not get far.
        self.set_session(self.new_session(resync));
        let installation = self.installation();
        let (mut opened, integration) = match intent {
            Intent::ReadOnly => installation.look(defaults).await?,
            Intent::Write if self.state.is_installed() => installation.reload().await?,
            Intent::Write => installation.start(defaults).await?,
        };
        self.state.set_deleted(false);
        let mut session = self.new_session(resync);
        session.entries = metrics::entries(&opened.config);
        if intent == Intent::Write {
            self.state.set_installed();
            let named = integration.and_then(|found| found.ingest_attributes?.ingest_url);
            self.prepare_raw_data(&mut session, &mut opened, named.as_deref())?;
        }
        let (identity, note) = installation.identity().await;
        opened.identity = identity;
        opened.notes.extend(note);
        // After the last answer: nothing of this session is written before.
        session.set_opened(Some(self.client.clock.end_of_now()));
        self.set_session(session);
        Ok(opened)
    }

    async fn begin(&self, started: SystemTime) -> Result<(), CatalogError> {
        let session = self.session();
        session.started.set(self.client.clock.convert(started));
        let resync = session.origin.resync;
        self.state.set_running(Some(resync));
        let reported = reporter::report_begin(&self.client, &self.config, started).await;
        if let Ok(begun) = reported {
            self.state.set_begun(begun);
            if begun.is_some_and(|begun| self.client.clock.learn_stamp(begun, SystemTime::now())) {
                // Without a `Date` header, nothing else says what time it is at Port.
                session.set_opened(begun);
            }
        }
        let receiver = Receiver {
            client: Arc::clone(&self.client),
            ingest: self.addresses.metrics(),
            webhook: self.config.metrics_webhook.clone(),
            resync,
        };
        self.metrics.begin(receiver, &self.config, &session.entries);
        Ok(reported.map(drop)?)
    }

    async fn accompany(&self) -> Problem {
        let session = self.session();
        let aborted = async {
            match &session.lifecycle {
                Some(lifecycle) => lifecycle.watch().await,
                None => std::future::pending().await,
            }
        };
        let running = || self.state.running();
        let interval = self.config.heartbeat_interval;
        tokio::select! {
            biased;
            problem = aborted => problem,
            problem = outage::watch(&self.client, self.config.outage) => problem,
            never = heartbeat::beat(&self.client, &self.addresses, running, interval) => match never {},
        }
    }

    async fn milestone(&self, milestone: &Milestone) -> Result<(), CatalogError> {
        let session = self.session();
        phases::log(&session.entries, milestone);
        let Some(lifecycle) = &session.lifecycle else {
            self.metrics.milestone(milestone, Processing::Entities);
            return Ok(());
        };
        self.metrics.milestone(milestone, Processing::Documents);
        Ok(lifecycle.milestone(milestone).await?)
    }

    async fn documents(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        match &self.session().raw {
            Some(raw) => raw.add(batch).await,
            None => Ok(()),
        }
    }

    async fn documents_end(&self, resource: usize) -> Result<(), DocumentsError> {
        match &self.session().raw {
            Some(raw) => raw.end(resource).await,
            None => Ok(()),
        }
    }

    async fn event_documents(&self, kind: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        let address: Url = ingest::raw_address(&self.config, self.addresses.raw_data().as_deref())
            .map_err(PortError::Other)?;
        Ok(self.raw_sender().send_event(&address, kind, documents).await?)
    }

    async fn examples(&self, kind: &Kind, documents: &[Document]) -> Result<(), CatalogError> {
        Ok(self.session().examples.add(kind, documents).await?)
    }

    async fn end(&self, status: ResyncStatus) -> Result<(), CatalogError> {
        let session = self.session();
        if status != ResyncStatus::Aborted {
            session.examples.finish().await;
        }
        let ended = match &session.lifecycle {
            Some(lifecycle) => lifecycle.end(status).await,
            None => Ok(()),
        };
        // What Port's processor does not know of is not complete.
        let status =
            if ended.is_err() && status == ResyncStatus::Completed { ResyncStatus::Failed } else { status };
        let closing = self.metrics.settle(status).await;
        let reported = reporter::report_end(&self.client, &self.config, status).await;
        if let Some(closing) = closing {
            closing.conclude(status).await;
        }
        self.state.set_running(None);
        reported?;
        Ok(ended?)
    }

    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        let opened = self.session().opened();
        let before = opened.unwrap_or_else(|| self.client.clock.end_of_now());
        owned::owned(Arc::clone(&self.client), self.data_source.ends(), before)
            .map_err(CatalogError::from)
            .boxed()
    }

    async fn current(&self, keys: &[EntityKey], fields: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        let session = self.session();
        let concurrency = self.client.concurrency();
        Ok(owned::current(&session.search, &session.ownership, concurrency, keys, fields).await?)
    }

    async fn foreign(
        &self,
        keys: &[EntityKey],
        adoption: &Adoption,
    ) -> Result<Vec<ForeignEntity>, CatalogError> {
        let ResyncSession { foreign, search, ownership, .. } = &*self.session();
        Ok(foreign::foreign(foreign, search, ownership, keys, adoption).await?)
    }

    async fn dependents(&self, keys: &[EntityKey]) -> Result<Vec<Dependent>, CatalogError> {
        let ResyncSession { blueprints, search, ownership, .. } = &*self.session();
        Ok(dependents::dependents(&self.client, blueprints, search, ownership, keys).await?)
    }

    async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        Ok(self.session().schemas.get(blueprint).await?.map(|schema| schema.relations))
    }

    async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        Ok(self.session().schemas.get(blueprint).await?.unwrap_or_default().required)
    }

    fn upsert_batch(&self) -> usize {
        self.config.upsert_batch_max_length
    }

    async fn upsert(
        &self,
        blueprint: &BlueprintId,
        entities: &[Entity],
        options: UpsertOptions,
    ) -> UpsertReport {
        let origin = self.session().origin;
        upsert::upsert(&self.client, &self.config, origin, blueprint, entities, options).await
    }

    async fn delete(&self, keys: &[EntityKey], dependents: bool) -> DeleteReport {
        let session = self.session();
        let deletion = Deletion {
            client: &self.client,
            search: &session.search,
            origin: session.origin,
            batch_max: self.config.delete_batch_max,
            dependents,
        };
        delete::delete(&deletion, keys).await
    }
}
