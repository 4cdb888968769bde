//! Berth's wing towards Port: authentication, the integration and its default resources, search,
//! upsert, deletion, and the report of how a resync goes: its state, metrics, signs of life, logs.
//!
//! [`PortCatalog`] is Port as a [`Catalog`]. It keeps to the contract of Port's Ocean framework:
//! the same endpoints, the same order at start-up and, above all, the same datasource
//! (`port-ocean/{type}/{version}/{identifier}/exporter` in the `User-Agent`), so that an existing
//! catalog is taken over as it is.
//!
//! # Invariants
//! - Only this crate writes and reads Port's JSON, and only its module `wire` names a field of it.
//! - The client secret and the token appear in no log, error or `Debug`.
//! - Existing blueprints and a mapping that is not empty are never overwritten.
//! - With [`Intent::ReadOnly`] nothing is sent that changes Port.
//! - An entity is this integration's own only by its exact data source ([`Catalog::current`]).
//! - Times that decide something are by Port's clock.
//! - Nothing here reads the environment or keeps global state.

mod auth;
mod blueprints;
mod client;
mod clock;
mod config;
mod delete;
mod dependents;
mod error;
mod examples;
mod foreign;
#[doc(hidden)]
pub mod fuzzing;
mod halving;
mod heartbeat;
mod ingest;
mod integration;
mod kafka;
mod lifecycle;
mod logs;
mod metrics;
mod outage;
mod ownership;
mod pace;
mod processing;
mod raw;
mod search;
mod stop;
mod upsert;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use berth_common::redact::Redactor;
use berth_core::{
    Adoption, BlueprintId, Catalog, CatalogError, DeleteReport, Dependent, Document, DocumentBatch,
    DocumentsError, Entity, EntityKey, EventDocuments, FieldSet, ForeignEntity, Intent, Kind, KindEntry,
    Milestone, OwnedEntity, Problem, Processing, ResyncStatus, Session, UpsertOptions, UpsertReport,
};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use secrecy::SecretString;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::Instant,
};
use url::Url;
use uuid::Uuid;

use crate::{
    client::{Call, Client},
    error::PortError,
    ingest::Ingest,
    lifecycle::Lifecycle,
    metrics::{Entry, Metrics},
    ownership::Integrations,
    raw::Raw,
    wire::Integration,
};

pub use client::PortStats;
pub use config::{
    DEFAULT_BASE_URL, EventType, PortConfig, ProcessingMode, RawDataConfig, ResourcesOrigin, ResyncSchedule,
    RetryPolicy,
};
pub use kafka::{FeedError, KafkaCredentials, RequestFeed, ResyncRequest};
pub use logs::{LogLevel, LogRecord};

/// The version of the Ocean core whose contract is spoken; Port is told it.
pub const OCEAN_CORE_VERSION: &str = "0.48.12";

/// The organization's flag that lets live events be followed.
pub const LIVE_EVENTS_FLAG: &str = "AWS_V3_LIVE_EVENTS_ENABLED";

/// How long requests that are on their way may take once a resync is stopped.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// Port as a [`Catalog`]. Cheap to share by reference; make one per process, since the token, the
/// limits of concurrency and the pause that Port may ask for live in it.
pub struct PortCatalog {
    config: PortConfig,
    client: Arc<Client>,
    /// Entity requests in flight.
    slots: Arc<Semaphore>,
    /// The organization's feature flags, and when they were asked for.
    flags: Arc<tokio::sync::Mutex<Option<Flags>>>,
    session: Mutex<SessionState>,
    ingest: Ingest,
    metrics: Metrics,
    redactor: Redactor,
    /// The resync that was begun and has not ended. Apart from the session, so that the log can ask
    /// for it wherever something is logged.
    running: Mutex<Option<Uuid>>,
}

/// An organization's feature flags, and when they were asked for.
type Flags = (Instant, Arc<[String]>);

/// What holds from one `open` to the next.
#[derive(Default)]
struct SessionState {
    /// Names the resync in every write.
    resync_id: Uuid,
    /// Whether the integration and its default resources were seen to in this process.
    started: bool,
    /// Whether the integration was not there any more, or not yet, when it was looked for last.
    deleted: bool,
    /// When Port noted the start of the last resync, by its clock.
    begun: Option<SystemTime>,
    /// When Port was ready for this session, by Port's clock.
    opened: Option<SystemTime>,
    /// When this process's last resync began, by Port's clock.
    since: Option<SystemTime>,
    /// What was asked for once.
    cache: Arc<Cache>,
    /// Where raw data of the resync goes, if anywhere.
    raw: Option<Arc<Raw>>,
    /// What Port is told of a resync whose raw data it maps.
    lifecycle: Option<Arc<Lifecycle>>,
    /// The entries of the app-config's `resources[]`.
    entries: Arc<[Entry]>,
    /// Examples that Port was not shown yet.
    examples: examples::Gathered,
    /// What blueprints ask of their entities, as far as that was asked for.
    forms: HashMap<BlueprintId, Option<blueprints::Form>>,
}

/// What Port is asked for at most once in a session.
#[derive(Default)]
struct Cache {
    /// The organization's integrations; none where Port does not list them.
    integrations: OnceCell<Option<Arc<Integrations>>>,
    /// Whether Port refuses the rules that need the integrations.
    refused: AtomicBool,
    /// The versions of other integrations, by identifier.
    versions: Mutex<HashMap<String, Arc<OnceCell<Option<String>>>>>,
    /// Blueprints whose entities Port does not search page by page.
    unpaged: Mutex<BTreeSet<String>>,
    /// Whether Port takes searches for a few identifiers only.
    small_searches: AtomicBool,
    /// All blueprints with their relations.
    blueprints: OnceCell<Vec<wire::BlueprintRelations>>,
    /// What others own.
    foreign: Mutex<HashMap<BlueprintId, Arc<OnceCell<foreign::Known>>>>,
}

impl Cache {
    /// Where it is kept what others own of a blueprint.
    fn foreign_of(&self, blueprint: &BlueprintId) -> Arc<OnceCell<foreign::Known>> {
        let mut foreign = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(foreign.entry(blueprint.clone()).or_default())
    }

    fn is_unpaged(&self, blueprint: &str) -> bool {
        self.unpaged.lock().unwrap_or_else(PoisonError::into_inner).contains(blueprint)
    }

    fn set_unpaged(&self, blueprint: &str) {
        self.unpaged.lock().unwrap_or_else(PoisonError::into_inner).insert(blueprint.to_owned());
    }

    /// Where the version of another integration is kept.
    fn version_of(&self, integration: &str) -> Arc<OnceCell<Option<String>>> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(versions.entry(integration.to_owned()).or_default())
    }
}

impl PortCatalog {
    /// A catalog that sends its requests through `http`, which brings TLS, proxies and the pool of
    /// connections. Nothing is sent yet.
    ///
    /// # Errors
    /// A [`Problem`] when the base URL is no HTTP URL, or when type, version or identifier of the
    /// integration cannot stand in a header.
    pub fn new(config: PortConfig, http: impl Into<berth_http::Client>) -> Result<Self, Problem> {
        let config = config.normalized();
        let client = Arc::new(Client::new(&config, http.into()).map_err(PortError::into_problem)?);
        let slots = Arc::new(Semaphore::new(config.concurrency));
        Ok(Self::over(config, client, slots, Arc::default()))
    }

    fn over(
        config: PortConfig,
        client: Arc<Client>,
        slots: Arc<Semaphore>,
        flags: Arc<tokio::sync::Mutex<Option<Flags>>>,
    ) -> Self {
        let own = [SecretString::from(config.client_id.clone()), config.client_secret.clone()];
        Self {
            client,
            slots,
            flags,
            session: Mutex::default(),
            ingest: Ingest::default(),
            metrics: Metrics::default(),
            redactor: Redactor::new(own.into_iter().chain(config.secrets.iter().cloned())),
            running: Mutex::default(),
            config,
        }
    }

    /// The same Port for what live events write: Port is told that a request from outside caused it,
    /// and not a resync. It has a session of its own, so that opening it does not end that of a
    /// resync; token, limits and pauses are shared.
    #[must_use]
    pub fn for_events(&self) -> Self {
        let config = PortConfig { event_type: EventType::HttpRequest, ..self.config.clone() };
        let client = Arc::new(self.client.another());
        Self::over(config, client, Arc::clone(&self.slots), Arc::clone(&self.flags))
    }

    /// Whether the organization has a feature flag, as of
    /// [`feature_flags_ttl`](PortConfig::feature_flags_ttl) ago or later.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not answer.
    pub async fn has_flag(&self, flag: &str) -> Result<bool, Problem> {
        Ok(self.feature_flags().await?.iter().any(|known| known == flag))
    }

    /// Stops what this does: from now on nothing waits or is repeated, what is on its way has a few
    /// seconds, and only the end of a resync is reported still. It holds until the next
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

    /// When somebody last asked Port for a resync of this integration (the button in Port, a change
    /// of the mapping), by Port's clock; `None` when nobody has.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not answer, or does not know the integration (yet).
    pub async fn resync_request(&self) -> Result<Option<SystemTime>, Problem> {
        integration::resync_request(self).await.map_err(PortError::into_problem)
    }

    /// When Port noted the start of this process's last resync, by Port's clock: it serves every
    /// [`resync_request`](Self::resync_request) before. `None` when there was none, or Port did not tell.
    pub fn last_begun(&self) -> Option<SystemTime> {
        self.session().begun
    }

    /// Whether this process has seen to the integration, so that only another start may install it again.
    pub fn is_installed(&self) -> bool {
        self.session().started || !self.config.install
    }

    /// Whether the integration was missing when a resync wanted to begin, because somebody deleted it in
    /// Port. It is not installed again by the same process.
    pub fn is_deleted(&self) -> bool {
        self.session().deleted
    }

    /// Creates the blueprints of kinds, as far as they do not exist; those that do are left alone. Returns
    /// which were created.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not tell which exist, or refuses one. Then none is created.
    pub async fn create_missing_blueprints(&self, kinds: &[KindEntry]) -> Result<Vec<BlueprintId>, Problem> {
        let missing = blueprints::survey(self, kinds).await.map_err(PortError::into_problem)?.missing;
        blueprints::create(self, &missing).await.map_err(PortError::into_problem)?;
        Ok(missing.into_iter().map(|blueprint| blueprint.identifier().clone()).collect())
    }

    /// The organization's feature flags, believed for
    /// [`feature_flags_ttl`](PortConfig::feature_flags_ttl).
    ///
    /// # Errors
    /// A [`Problem`] when Port does not tell them.
    pub async fn feature_flags(&self) -> Result<Arc<[String]>, Problem> {
        self.flags().await.map_err(PortError::into_problem)
    }

    pub(crate) async fn flags(&self) -> Result<Arc<[String]>, PortError> {
        // Held while they are asked for: one answer serves all.
        let mut known = self.flags.lock().await;
        if let Some((at, flags)) = &*known
            && at.elapsed() < self.config.feature_flags_ttl
        {
            return Ok(Arc::clone(flags));
        }
        let flags: Arc<[String]> = integration::feature_flags(self).await?.into();
        *known = Some((Instant::now(), Arc::clone(&flags)));
        Ok(flags)
    }

    /// Gets ready for the raw data of a resync, if there is to be any.
    fn prepare(&self, session: &mut Session, integration: Option<&Integration>) -> Result<(), PortError> {
        if session.processing == Processing::Entities {
            return Ok(());
        }
        let named = integration.and_then(|found| found.ingest_attributes.as_ref()?.ingest_url.as_deref());
        let address = match self.raw_address(named) {
            Ok(address) => address,
            Err(problem) => {
                if session.processing == Processing::Documents {
                    return Err(PortError::Other(problem.remedy(
                        "Set OCEAN__PROCESSING_MODE=ocean-core, so that Berth maps by itself, and tell Port.",
                    )));
                }
                // Entities are not to suffer for it.
                session.notes.push(format!("no raw data is written: {problem}"));
                session.processing = Processing::Entities;
                return Ok(());
            }
        };
        let mut state = self.session();
        let id = state.resync_id;
        if session.processing == Processing::Documents {
            state.lifecycle = Some(Arc::new(Lifecycle::new(id, &session.config)?));
        }
        state.raw = Some(Arc::new(Raw::new(id, address, &self.config)));
        Ok(())
    }

    /// Where raw data goes: what the integration's document names.
    fn raw_address(&self, named: Option<&str>) -> Result<Url, Problem> {
        let named = named.ok_or_else(|| "it names none".to_owned());
        named.and_then(|text| ingest::address(&self.config, text)).map_err(|why| {
            let identifier = &self.config.integration_identifier;
            Problem::new(format!(
                "the address for raw data of integration `{identifier}` is not usable: {why}"
            ))
        })
    }

    fn raw(&self) -> Option<Arc<Raw>> {
        self.session().raw.clone()
    }

    fn lifecycle(&self) -> Option<Arc<Lifecycle>> {
        self.session().lifecycle.clone()
    }

    fn resync_started(&self) -> Option<SystemTime> {
        self.session().since
    }

    /// Where Port announces resync requests of this integration over Kafka, and with which
    /// credentials to listen there; without credentials when brokers ask for none (`secured` is
    /// false).
    ///
    /// # Errors
    /// [`FeedError`], which says whether another try may help.
    pub async fn request_feed(&self, secured: bool) -> Result<RequestFeed, FeedError> {
        kafka::feed(self, secured).await
    }

    /// The id of the resync that runs now, by which Port knows it.
    pub fn running(&self) -> Option<Uuid> {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether Port takes logs; `None` as long as it is not known, which is before the first `open`.
    pub fn takes_logs(&self) -> Option<bool> {
        self.ingest.is_known().then(|| self.ingest.logs().is_some())
    }

    /// Sends records of the log for Port to show. The [configured](PortConfig::secrets) secrets, and
    /// whatever looks like one, are masked in them. Not repeated when Port may have taken them.
    ///
    /// Whatever this logs itself must not be shipped in turn.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not take them, or [names no address](Self::takes_logs) for them.
    pub async fn ship_logs(&self, records: Vec<LogRecord>) -> Result<(), Problem> {
        logs::ship(self, records).await.map_err(PortError::into_problem)
    }

    /// Adds what Port wants to know with every entity write.
    fn with_event(&self, call: Call) -> Call {
        let call = call.query("ocean_info_event_type", self.config.event_type.as_str());
        match self.config.event_type {
            EventType::Resync => call.query("ocean_info_resync_id", &self.session().resync_id.to_string()),
            EventType::IncrementalResync | EventType::HttpRequest => call,
        }
    }

    /// What was asked for once in this session.
    fn cache(&self) -> Arc<Cache> {
        Arc::clone(&self.session().cache)
    }

    fn set_running(&self, resync: Option<Uuid>) {
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = resync;
    }

    /// What a blueprint asks of its entities; asked for once in a resync.
    async fn form(&self, blueprint: &BlueprintId) -> Result<Option<blueprints::Form>, PortError> {
        if let Some(known) = self.session().forms.get(blueprint) {
            return Ok(known.clone());
        }
        let form = blueprints::form(self, blueprint).await?;
        self.session().forms.insert(blueprint.clone(), form.clone());
        Ok(form)
    }

    fn session(&self) -> std::sync::MutexGuard<'_, SessionState> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A point in time as Ocean writes it: `2026-11-23T11:37:10.801273+00:00`.
fn iso(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()
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
        let started = {
            let mut session = self.session();
            session.resync_id = Uuid::new_v4();
            session.forms.clear();
            session.examples.clear();
            session.cache = Arc::default();
            session.opened = None;
            session.raw = None;
            session.lifecycle = None;
            session.started
        };
        let (mut opened, integration) = match intent {
            Intent::ReadOnly => integration::look(self, defaults).await?,
            Intent::Write if started => integration::reload(self).await?,
            Intent::Write => integration::start(self, defaults).await?,
        };
        {
            let mut session = self.session();
            session.started |= intent == Intent::Write;
            session.deleted = false;
            session.entries = metrics::entries(&opened.config);
        }
        if intent == Intent::Write {
            self.prepare(&mut opened, integration.as_ref())?;
        }
        let (identity, note) = integration::identity(self).await;
        opened.identity = identity;
        opened.notes.extend(note);
        // After the last answer: nothing of this session is written before.
        self.session().opened = Some(self.client.clock.end_of_now());
        Ok(opened)
    }

    async fn begin(&self, started: SystemTime) -> Result<(), CatalogError> {
        let (resync, entries) = {
            let mut session = self.session();
            session.since = Some(self.client.clock.convert(started));
            (session.resync_id, Arc::clone(&session.entries))
        };
        self.set_running(Some(resync));
        let reported = integration::report_begin(self, started).await;
        metrics::begin(self, resync, &entries);
        Ok(reported?)
    }

    async fn accompany(&self) -> Problem {
        tokio::select! {
            biased;
            problem = lifecycle::watch(self) => problem,
            problem = outage::watch(self) => problem,
            never = heartbeat::beat(self) => match never {},
        }
    }

    async fn milestone(&self, milestone: &Milestone) -> Result<(), CatalogError> {
        let entries = Arc::clone(&self.session().entries);
        logs::milestone(&entries, milestone);
        metrics::milestone(self, milestone);
        Ok(lifecycle::milestone(self, milestone).await?)
    }

    async fn documents(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        raw::add(self, batch).await
    }

    async fn documents_end(&self, resource: usize) -> Result<(), DocumentsError> {
        raw::end(self, resource).await
    }

    async fn event_documents(&self, kind: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        Ok(raw::event::send(self, kind, documents).await?)
    }

    async fn examples(&self, kind: &Kind, documents: &[Document]) -> Result<(), CatalogError> {
        Ok(examples::add(self, kind, documents).await?)
    }

    async fn end(&self, status: ResyncStatus) -> Result<(), CatalogError> {
        if status != ResyncStatus::Aborted {
            examples::finish(self).await;
        }
        let told = lifecycle::end(self, status).await;
        // What Port's processor was not told of is not complete.
        let status =
            if told.is_err() && status == ResyncStatus::Completed { ResyncStatus::Failed } else { status };
        let closing = metrics::settle(self, status).await;
        let reported = integration::report_end(self, status).await;
        if let Some(closing) = closing {
            closing.conclude(status).await;
        }
        self.set_running(None);
        reported?;
        Ok(told?)
    }

    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        let opened = self.session().opened;
        let before = opened.unwrap_or_else(|| self.client.clock.end_of_now());
        search::owned(self, before).map_err(CatalogError::from).boxed()
    }

    async fn current(&self, keys: &[EntityKey], fields: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        Ok(search::current(self, keys, fields).await?)
    }

    async fn foreign(
        &self,
        keys: &[EntityKey],
        adoption: &Adoption,
    ) -> Result<Vec<ForeignEntity>, CatalogError> {
        Ok(foreign::foreign(self, keys, adoption).await?)
    }

    async fn dependents(&self, keys: &[EntityKey]) -> Result<Vec<Dependent>, CatalogError> {
        Ok(dependents::dependents(self, keys).await?)
    }

    async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        Ok(self.form(blueprint).await?.map(|form| form.relations))
    }

    async fn required(&self, blueprint: &BlueprintId) -> Result<BTreeSet<String>, CatalogError> {
        Ok(self.form(blueprint).await?.unwrap_or_default().required)
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
        upsert::upsert(self, blueprint, entities, options).await
    }

    async fn delete(&self, keys: &[EntityKey], dependents: bool) -> DeleteReport {
        delete::delete(self, keys, dependents).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_ocean_writes_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_273);
        assert_eq!(iso(time), "2026-11-23T11:37:10.801273+00:00");
    }
}
