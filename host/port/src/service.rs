//! What a long-running service needs from Port in addition to resyncs: requests for resyncs, their Kafka
//! feed, feature flags, and the log that Port shows.

mod kafka;
mod logs;

use std::{fmt, sync::Arc, time::SystemTime};

use berth_common::redact::Redactor;
use berth_core::{BlueprintId, CatalogError, KindEntry, Problem, ResyncStatus};
use secrecy::SecretString;
use uuid::Uuid;

pub use self::{
    kafka::{FeedError, KafkaCredentials, RequestFeed, ResyncRequest},
    logs::{LogLevel, LogRecord},
};
use crate::{
    PortCatalog, PortConfig,
    api::{client::PortClient, error::PortError},
    catalog::{
        STOP_GRACE, blueprints, flags::FeatureFlags, ingest::IngestAddresses, process_state::ProcessState,
        reporter,
    },
};

/// The organization's flag that enables live events.
pub const LIVE_EVENTS_FLAG: &str = "AWS_V3_LIVE_EVENTS_ENABLED";

/// Port for a long-running service, next to the [`PortCatalog`] that its resyncs write to. Cheap to clone;
/// shares the catalog's token, limits and pauses.
#[derive(Clone)]
pub struct PortService {
    config: Arc<PortConfig>,
    client: Arc<PortClient>,
    flags: Arc<FeatureFlags>,
    addresses: Arc<IngestAddresses>,
    state: Arc<ProcessState>,
    redactor: Arc<Redactor>,
}

impl fmt::Debug for PortService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortService").field("config", &self.config).finish_non_exhaustive()
    }
}

impl PortService {
    /// Returns the service of a catalog.
    pub fn of(catalog: &PortCatalog) -> Self {
        let parts = &catalog.parts;
        let config = &parts.config;
        let own = [SecretString::from(config.client_id.clone()), config.client_secret.clone()];
        Self {
            redactor: Arc::new(Redactor::new(own.into_iter().chain(config.secrets.iter().cloned()))),
            config: Arc::clone(config),
            client: Arc::clone(&parts.client),
            flags: Arc::clone(&parts.flags),
            addresses: Arc::clone(&parts.addresses),
            state: Arc::clone(&parts.state),
        }
    }

    /// Stops what resyncs and plans do: from now on nothing waits or is repeated, what is on its way has a
    /// few seconds, and only the end of a resync is still reported. It holds until the next one is opened,
    /// or until [`resume`](Self::resume).
    pub fn stop(&self) {
        self.client.stop().ask(STOP_GRACE);
    }

    /// Takes a [`stop`](Self::stop) back.
    pub fn resume(&self) {
        self.client.stop().renew();
    }

    /// Reports the end of a resync that is given up, because who ran it waits for it no longer.
    ///
    /// # Errors
    /// [`CatalogError`], for the log.
    pub async fn give_up(&self) -> Result<(), CatalogError> {
        match self.state.take_session() {
            Some(session) => session.end(ResyncStatus::Aborted).await,
            None => Ok(reporter::report_end(&self.client, &self.config, ResyncStatus::Aborted).await?),
        }
    }

    /// Returns whether the organization has a feature flag; see [`feature_flags`](Self::feature_flags).
    ///
    /// # Errors
    /// A [`Problem`] if Port does not respond.
    pub async fn has_flag(&self, flag: &str) -> Result<bool, Problem> {
        Ok(self.feature_flags().await?.iter().any(|known| known == flag))
    }

    /// Returns the organization's feature flags, cached for
    /// [`feature_flags_ttl`](PortConfig::feature_flags_ttl).
    ///
    /// # Errors
    /// A [`Problem`] if Port does not respond.
    pub async fn feature_flags(&self) -> Result<Arc<[String]>, Problem> {
        self.flags.get(&self.client).await.map_err(PortError::into_problem)
    }

    /// Returns when someone last requested a resync of this integration in Port (with the button, or by a
    /// change of the mapping), by Port's clock; `None` without a request.
    ///
    /// # Errors
    /// A [`Problem`] if Port does not respond, or does not know the integration (yet).
    pub async fn resync_request(&self) -> Result<Option<SystemTime>, Problem> {
        let identifier = &self.config.integration_identifier;
        self.client.resync_request(identifier).await.map_err(PortError::into_problem)
    }

    /// Returns where Port sends resync requests of this integration over Kafka, and the credentials to
    /// receive them; without credentials if the brokers need none (`secured` is false).
    ///
    /// # Errors
    /// [`FeedError`], which says whether a retry may help.
    pub async fn request_feed(&self, secured: bool) -> Result<RequestFeed, FeedError> {
        kafka::feed(&self.client, &self.config, secured).await
    }

    /// Returns when Port recorded the start of this process's last resync, by Port's clock: it serves every
    /// earlier [`resync_request`](Self::resync_request). Returns `None` if there was none, or Port did not
    /// say.
    pub fn last_begun(&self) -> Option<SystemTime> {
        self.state.begun()
    }

    /// Returns whether this process has set up the integration, so that only another start may install it
    /// again.
    pub fn is_installed(&self) -> bool {
        self.state.is_installed() || !self.config.install
    }

    /// Returns whether the integration was missing when a resync was about to start, because someone deleted
    /// it in Port. The same process does not install it again.
    pub fn is_deleted(&self) -> bool {
        self.state.is_deleted()
    }

    /// Returns Port's ID of the running resync.
    pub fn running(&self) -> Option<Uuid> {
        self.state.running()
    }

    /// Returns whether Port accepts logs; `None` if unknown, which is before the catalog is opened.
    pub fn takes_logs(&self) -> Option<bool> {
        self.addresses.is_known().then(|| self.addresses.logs().is_some())
    }

    /// Sends log records for Port to show. Masks the [configured](PortConfig::secrets) secrets, and
    /// everything that looks like one. Not retried if Port may have accepted them.
    ///
    /// Log lines of this call itself must not be shipped.
    ///
    /// # Errors
    /// A [`Problem`] if Port rejects them, or [names no address](Self::takes_logs) for them.
    pub async fn ship_logs(&self, records: Vec<LogRecord>) -> Result<(), Problem> {
        logs::ship(&self.client, self.addresses.logs(), &self.redactor, records)
            .await
            .map_err(PortError::into_problem)
    }

    /// Creates the blueprints of kinds that do not exist; existing ones stay unchanged. Returns those
    /// created.
    ///
    /// # Errors
    /// A [`Problem`] if Port does not say which exist, or refuses one. Then none is created.
    pub async fn create_missing_blueprints(&self, kinds: &[KindEntry]) -> Result<Vec<BlueprintId>, Problem> {
        let survey = blueprints::survey(&self.client, kinds).await.map_err(PortError::into_problem)?;
        blueprints::create(&self.client, &survey.missing).await.map_err(PortError::into_problem)?;
        Ok(survey.missing.into_iter().map(|blueprint| blueprint.identifier().clone()).collect())
    }
}
