//! Berth's wing towards Port: authentication, the integration and its default resources, search,
//! upsert, deletion, and the report of a resync's state.
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
//! - Nothing here reads the environment or keeps global state.

mod auth;
mod blueprints;
mod client;
mod config;
mod delete;
mod error;
mod integration;
mod search;
mod upsert;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use berth_core::{
    BlueprintId, Catalog, CatalogError, DeleteReport, Entity, EntityKey, FieldSet, Intent, KindEntry,
    OwnedEntity, Problem, ResyncStatus, Session, UpsertOptions, UpsertReport,
};
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::client::{Call, Client};

pub use client::PortStats;
pub use config::{DEFAULT_BASE_URL, EventType, PortConfig, ResourcesOrigin, ResyncSchedule, RetryPolicy};

/// The version of the Ocean core whose contract is spoken; Port is told it.
pub const OCEAN_CORE_VERSION: &str = "0.48.12";

/// The organization's flag that lets live events be followed.
pub const LIVE_EVENTS_FLAG: &str = "AWS_V3_LIVE_EVENTS_ENABLED";

/// How long the organization's flags are good for, by the contract.
const FLAGS_TTL: Duration = Duration::from_mins(5);

/// Port as a [`Catalog`]. Cheap to share by reference; make one per process, since the token, the
/// limits of concurrency and the pause that Port may ask for live in it.
pub struct PortCatalog {
    config: PortConfig,
    client: Arc<Client>,
    /// Entity requests in flight.
    slots: Arc<Semaphore>,
    session: Mutex<SessionState>,
    /// The organization's flags, and when they were read.
    flags: Arc<tokio::sync::Mutex<Option<(Instant, Vec<String>)>>>,
}

/// What holds from one `open` to the next.
#[derive(Default)]
struct SessionState {
    /// Names the resync in every write.
    resync_id: Uuid,
    /// Whether the integration and its default resources were seen to in this process.
    started: bool,
    /// When Port noted the start of the last resync, by its clock.
    begun: Option<SystemTime>,
    /// Relations by blueprint, as far as they were asked for.
    relations: HashMap<BlueprintId, Option<BTreeMap<String, BlueprintId>>>,
}

impl PortCatalog {
    /// A catalog that sends its requests through `http`, which brings TLS, proxies and the pool of
    /// connections. Nothing is sent yet.
    ///
    /// # Errors
    /// A [`Problem`] when the base URL is no HTTP URL, or when type, version or identifier of the
    /// integration cannot stand in a header.
    pub fn new(config: PortConfig, http: reqwest::Client) -> Result<Self, Problem> {
        let config = config.normalized();
        let client = Client::new(&config, http).map_err(error::PortError::into_problem)?;
        let slots = Arc::new(Semaphore::new(config.concurrency));
        Ok(Self { config, client: Arc::new(client), slots, session: Mutex::default(), flags: Arc::default() })
    }

    /// The same Port for what live events write: Port is told that a request from outside caused it,
    /// and not a resync. It has a session of its own, so that opening it does not end that of a
    /// resync; token, limits and pauses are shared.
    #[must_use]
    pub fn for_events(&self) -> Self {
        Self {
            config: PortConfig { event_type: EventType::HttpRequest, ..self.config.clone() },
            client: Arc::clone(&self.client),
            slots: Arc::clone(&self.slots),
            session: Mutex::default(),
            flags: Arc::clone(&self.flags),
        }
    }

    /// Whether the organization has a feature flag, as of five minutes ago or later.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not answer.
    pub async fn has_flag(&self, flag: &str) -> Result<bool, Problem> {
        // Held while asking, so that Port is asked once.
        let mut flags = self.flags.lock().await;
        if flags.as_ref().is_none_or(|(read, _)| read.elapsed() >= FLAGS_TTL) {
            let read = integration::feature_flags(self).await.map_err(error::PortError::into_problem)?;
            *flags = Some((Instant::now(), read));
        }
        Ok(flags.as_ref().is_some_and(|(_, flags)| flags.iter().any(|known| known == flag)))
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
        integration::resync_request(self).await.map_err(error::PortError::into_problem)
    }

    /// When Port noted the start of this process's last resync, by Port's clock: it serves every
    /// [`resync_request`](Self::resync_request) before. `None` when there was none, or Port did not tell.
    pub fn last_begun(&self) -> Option<SystemTime> {
        self.session().begun
    }

    /// Adds what Port wants to know with every entity write.
    fn with_event(&self, call: Call) -> Call {
        let call = call.query("ocean_info_event_type", self.config.event_type.as_str());
        match self.config.event_type {
            EventType::Resync => call.query("ocean_info_resync_id", &self.session().resync_id.to_string()),
            EventType::IncrementalResync | EventType::HttpRequest => call,
        }
    }

    /// The two ends of this integration's datasource; its version lies between them, so that an
    /// upgrade keeps what it owns.
    fn datasource(&self) -> (String, String) {
        (
            format!("port-ocean/{}/", self.config.integration_type),
            format!("/{}/exporter", self.config.integration_identifier),
        )
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
    fn identity(&self) -> String {
        let config = &self.config;
        let mut base_url = config.base_url.clone();
        // Neither can fail for an HTTP URL. An identity is told and kept, a password must not be.
        _ = base_url.set_username("");
        _ = base_url.set_password(None);
        let base_url = base_url.as_str().trim_end_matches('/');
        format!("{} of type {} at {base_url}", config.integration_identifier, config.integration_type)
    }

    async fn open(&self, intent: Intent, defaults: &[KindEntry]) -> Result<Session, CatalogError> {
        let started = {
            let mut session = self.session();
            session.resync_id = Uuid::new_v4();
            session.relations.clear();
            session.started
        };
        let opened = match intent {
            Intent::ReadOnly => integration::look(self, defaults).await?,
            Intent::Write if started => integration::reload(self, defaults).await?,
            Intent::Write => integration::start(self, defaults).await?,
        };
        self.session().started |= intent == Intent::Write;
        Ok(opened)
    }

    async fn begin(&self, started: SystemTime) -> Result<(), CatalogError> {
        Ok(integration::report_begin(self, started).await?)
    }

    async fn end(&self, status: ResyncStatus) -> Result<(), CatalogError> {
        Ok(integration::report_end(self, status).await?)
    }

    fn owned(&self, before: SystemTime) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        search::owned(self, before).map_err(CatalogError::from).boxed()
    }

    async fn current(&self, keys: &[EntityKey], fields: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        Ok(search::current(self, keys, fields).await?)
    }

    async fn relations(
        &self,
        blueprint: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        if let Some(known) = self.session().relations.get(blueprint) {
            return Ok(known.clone());
        }
        let relations = blueprints::relations(self, blueprint).await?;
        self.session().relations.insert(blueprint.clone(), relations.clone());
        Ok(relations)
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn catalogs_are_told_apart_and_keep_their_secrets() {
        let identity = |base_url: &str, identifier: &str| {
            let mut config = PortConfig::new("client", "hush-secret".to_owned().into(), identifier);
            config.base_url = base_url.parse().unwrap();
            PortCatalog::new(config, reqwest::Client::default()).unwrap().identity()
        };
        let eu = identity("https://api.getport.io/", "aws");
        assert_eq!(eu, identity("https://api.getport.io", "aws"));
        assert_ne!(eu, identity("https://api.us.getport.io", "aws"));
        assert_ne!(eu, identity("https://api.getport.io", "Aws"));
        assert_eq!(eu, identity("https://user:hush-password@api.getport.io", "aws"));
    }

    #[test]
    fn times_are_written_as_ocean_writes_them() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_273);
        assert_eq!(iso(time), "2026-11-23T11:37:10.801273+00:00");
    }
}
