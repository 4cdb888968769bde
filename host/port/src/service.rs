//! What a long-running service needs of Port beside the resyncs: requests for resyncs, the Kafka feed of
//! them, feature flags, and the log that Port shows.

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
    api::{client::Client, error::PortError},
    catalog::{
        STOP_GRACE, blueprints, flags::FeatureFlags, ingest::IngestAddresses, process_state::ProcessState,
        reporter,
    },
};

/// The organization's flag that lets live events be followed.
pub const LIVE_EVENTS_FLAG: &str = "AWS_V3_LIVE_EVENTS_ENABLED";

/// Port as a long-running service uses it, beside the [`PortCatalog`] that its resyncs write to. Cheap to
/// clone; token, limits and pauses are those of the catalog.
#[derive(Clone)]
pub struct PortService {
    config: Arc<PortConfig>,
    client: Arc<Client>,
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
    /// The service beside a catalog.
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

    /// Whether the organization has a feature flag; see [`feature_flags`](Self::feature_flags).
    ///
    /// # Errors
    /// A [`Problem`] when Port does not answer.
    pub async fn has_flag(&self, flag: &str) -> Result<bool, Problem> {
        Ok(self.feature_flags().await?.iter().any(|known| known == flag))
    }

    /// The organization's feature flags, cached for
    /// [`feature_flags_ttl`](PortConfig::feature_flags_ttl).
    ///
    /// # Errors
    /// A [`Problem`] when Port does not answer.
    pub async fn feature_flags(&self) -> Result<Arc<[String]>, Problem> {
        self.flags.get(&self.client).await.map_err(PortError::into_problem)
    }

    /// When somebody last asked Port for a resync of this integration (the button in Port, a change
    /// of the mapping), by Port's clock; `None` when nobody has.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not answer, or does not know the integration (yet).
    pub async fn resync_request(&self) -> Result<Option<SystemTime>, Problem> {
        let identifier = &self.config.integration_identifier;
        self.client.resync_request(identifier).await.map_err(PortError::into_problem)
    }

    /// Where Port announces resync requests of this integration over Kafka, and with which
    /// credentials to listen there; without credentials when brokers ask for none (`secured` is
    /// false).
    ///
    /// # Errors
    /// [`FeedError`], which says whether another try may help.
    pub async fn request_feed(&self, secured: bool) -> Result<RequestFeed, FeedError> {
        kafka::feed(&self.client, &self.config, secured).await
    }

    /// When Port noted the start of this process's last resync, by Port's clock: it serves every
    /// [`resync_request`](Self::resync_request) before. `None` when there was none, or Port did not say.
    pub fn last_begun(&self) -> Option<SystemTime> {
        self.state.begun()
    }

    /// Whether this process has set up the integration, so that only another start may install it again.
    pub fn is_installed(&self) -> bool {
        self.state.is_installed() || !self.config.install
    }

    /// Whether the integration was missing when a resync wanted to begin, because somebody deleted it in
    /// Port. It is not installed again by the same process.
    pub fn is_deleted(&self) -> bool {
        self.state.is_deleted()
    }

    /// The id of the resync that runs now, by which Port knows it.
    pub fn running(&self) -> Option<Uuid> {
        self.state.running()
    }

    /// Whether Port takes logs; `None` as long as it is not known, which is before the catalog is opened.
    pub fn takes_logs(&self) -> Option<bool> {
        self.addresses.is_known().then(|| self.addresses.logs().is_some())
    }

    /// Sends records of the log for Port to show. The [configured](PortConfig::secrets) secrets, and
    /// whatever looks like one, are masked in them. Not repeated when Port may have taken them.
    ///
    /// Whatever this logs itself must not be shipped in turn.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not take them, or [names no address](Self::takes_logs) for them.
    pub async fn ship_logs(&self, records: Vec<LogRecord>) -> Result<(), Problem> {
        logs::ship(&self.client, self.addresses.logs(), &self.redactor, records)
            .await
            .map_err(PortError::into_problem)
    }

    /// Creates the blueprints of kinds, as far as they do not exist; those that do are left alone. Returns
    /// which were created.
    ///
    /// # Errors
    /// A [`Problem`] when Port does not say which exist, or refuses one. Then none is created.
    pub async fn create_missing_blueprints(&self, kinds: &[KindEntry]) -> Result<Vec<BlueprintId>, Problem> {
        let survey = blueprints::survey(&self.client, kinds).await.map_err(PortError::into_problem)?;
        blueprints::create(&self.client, &survey.missing).await.map_err(PortError::into_problem)?;
        Ok(survey.missing.into_iter().map(|blueprint| blueprint.identifier().clone()).collect())
    }
}
