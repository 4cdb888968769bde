//! Port as a [`Catalog`]: what a resync reads and writes, based on the API client.

pub(crate) mod blueprints;
mod delete;
mod dependents;
mod events;
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
mod parts;
mod phases;
pub(crate) mod process_state;
mod processing;
mod raw;
pub(crate) mod reporter;
mod resync;
mod schemas;
mod search;
mod session;
mod start_time;
mod upsert;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use berth_core::{
    Catalog, CatalogError, CatalogInfo, CatalogView, EntityStore, EventSession, KindEntry, Opened, Problem,
    ResyncStart,
};
use uuid::Uuid;

use self::{
    events::Following,
    flags::FeatureFlags,
    ownership::DataSource,
    parts::Parts,
    resync::PreparedResync,
    session::{ByHand, PortSession, Reading},
};
use crate::{
    EventType, PortConfig,
    api::{
        client::{PortClient, PortStats},
        entities::WriteOrigin,
        error::PortError,
    },
};

/// How long requests in flight may take once a resync is stopped.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(4);

/// Port as a [`Catalog`]. Create one per process: it holds the token, the concurrency limits and the pause
/// that Port may ask for.
pub struct PortCatalog {
    /// For resyncs and plans.
    pub(crate) parts: Parts,
    /// For live events: separate from resyncs, so that stopping one does not stop them. Token, limits and
    /// pauses are shared.
    events: Parts,
}

/// A catalog that sends its requests through `http`, which brings TLS, proxies and the pool of
/// connections. Nothing is sent yet.
///
/// # Errors
/// A [`Problem`] when the base URL is no HTTP URL, or when type, version or identifier of the
/// integration cannot stand in a header.
pub fn open(config: PortConfig, http: impl Into<berth_http::HttpClient>) -> Result<PortCatalog, Problem> {
    let config = Arc::new(config.normalized());
    let client = Arc::new(PortClient::new(&config, http.into()).map_err(PortError::into_problem)?);
    let parts = Parts {
        flags: Arc::new(FeatureFlags::new(config.feature_flags_ttl)),
        data_source: Arc::new(DataSource::new(&config)),
        config,
        client,
        addresses: Arc::default(),
        state: Arc::default(),
    };
    let config = PortConfig { event_type: EventType::HttpRequest, ..(*parts.config).clone() };
    let events = Parts {
        config: Arc::new(config),
        client: Arc::new(parts.client.another()),
        addresses: Arc::default(),
        state: Arc::default(),
        ..parts.clone()
    };
    Ok(PortCatalog { parts, events })
}

/// Opens Port to write entities by hand: no default resource is created, no resync is reported, nothing
/// is deleted but what is asked for.
///
/// # Errors
/// [`CatalogError`] when it cannot be used.
pub async fn open_store(catalog: &PortCatalog) -> Result<Opened<Arc<dyn EntityStore>>, CatalogError> {
    let parts = &catalog.parts;
    parts.client.stop().renew();
    let info = parts.look(&[]).await?;
    let origin = WriteOrigin { event_type: parts.config.event_type, resync: Uuid::new_v4() };
    Ok(Opened { info, session: Arc::new(PortSession::new(parts.clone(), ByHand(origin))) })
}

impl PortCatalog {
    /// Returns what was sent so far.
    pub fn stats(&self) -> PortStats {
        self.parts.client.stats()
    }
}

impl Parts {
    /// Returns what there is to work on, without changing anything.
    async fn look(&self, defaults: &[KindEntry]) -> Result<CatalogInfo, CatalogError> {
        let installation = self.installation();
        let (mut info, _) = installation.look(defaults).await?;
        self.state.set_deleted(false);
        self.identify(&mut info).await;
        Ok(info)
    }

    async fn identify(&self, info: &mut CatalogInfo) {
        let (identity, note) = self.installation().identity().await;
        info.identity = identity;
        info.notes.extend(note);
    }
}

impl Drop for PortCatalog {
    fn drop(&mut self) {
        // The session refers to the state that keeps it.
        drop(self.parts.state.take_session());
    }
}

impl fmt::Debug for PortCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortCatalog").field("config", &self.parts.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for PortCatalog {
    async fn read(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn CatalogView>>, CatalogError> {
        self.parts.client.stop().renew();
        let info = self.parts.look(defaults).await?;
        Ok(Opened { info, session: Arc::new(PortSession::new(self.parts.clone(), Reading)) })
    }

    async fn open(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Box<dyn ResyncStart>>, CatalogError> {
        self.parts.client.stop().renew();
        let parts = &self.parts;
        let installation = parts.installation();
        let (mut info, integration) = if parts.state.is_installed() {
            installation.reload().await?
        } else {
            installation.start(defaults).await?
        };
        parts.state.set_deleted(false);
        parts.state.set_installed();
        let named = integration.and_then(|found| found.ingest_attributes?.ingest_url);
        let prepared = PreparedResync::new(parts, &mut info, named.as_deref())?;
        parts.identify(&mut info).await;
        Ok(Opened { info, session: Box::new(PortSession::new(parts.clone(), prepared)) })
    }

    async fn follow(
        self: Arc<Self>,
        defaults: &[KindEntry],
    ) -> Result<Opened<Arc<dyn EventSession>>, CatalogError> {
        self.events.client.stop().renew();
        let info = self.events.look(defaults).await?;
        Ok(Opened { info, session: Arc::new(PortSession::new(self.events.clone(), Following)) })
    }

    fn upsert_batch(&self) -> usize {
        self.parts.config.upsert_batch_max_length
    }
}
