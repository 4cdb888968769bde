//! Berth's wing towards Port.

mod config;

pub use config::{DEFAULT_BASE_URL, EventType, PortConfig, ResourcesOrigin, ResyncSchedule, RetryPolicy};

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use async_trait::async_trait;
use berth_core::{
    BlueprintId, Catalog, CatalogError, DeleteReport, Entity, EntityKey, FieldSet, Intent, KindEntry,
    OwnedEntity, Problem, ResyncStatus, Session, UpsertOptions, UpsertReport,
};
use futures::stream::BoxStream;

/// Port as a [`Catalog`].
#[derive(Debug)]
pub struct PortCatalog {
    config: PortConfig,
}

/// How many requests were sent, for the report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Requests by name of the call, retries included.
    pub requests: BTreeMap<&'static str, u64>,
    /// How many of them were retries.
    pub retries: u64,
}

impl PortCatalog {
    /// A catalog that sends its requests through `http`. Nothing is sent yet.
    ///
    /// # Errors
    /// A [`Problem`] when the base URL is no HTTP URL, or the integration's type, version or identifier cannot stand
    /// in a header.
    pub fn new(config: PortConfig, http: reqwest::Client) -> Result<Self, Problem> {
        let _ = http;
        Ok(Self { config: config.normalized() })
    }

    /// What was sent so far.
    pub fn stats(&self) -> PortStats {
        PortStats::default()
    }
}

fn unfinished() -> CatalogError {
    CatalogError(Problem::new("the Port wing is being written"))
}

#[async_trait]
impl Catalog for PortCatalog {
    async fn open(&self, _: Intent, _: &[KindEntry]) -> Result<Session, CatalogError> {
        Err(unfinished())
    }
    async fn begin(&self, _: SystemTime) -> Result<(), CatalogError> {
        Err(unfinished())
    }
    async fn end(&self, _: ResyncStatus) -> Result<(), CatalogError> {
        Err(unfinished())
    }
    fn owned(&self, _: SystemTime) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        Box::pin(futures::stream::empty())
    }
    async fn current(&self, _: &[EntityKey], _: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        let _: BTreeSet<u8> = BTreeSet::new();
        Err(unfinished())
    }
    async fn relations(&self, _: &BlueprintId) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        Err(unfinished())
    }
    fn upsert_batch(&self) -> usize {
        self.config.upsert_batch_max_length
    }
    async fn upsert(&self, _: &BlueprintId, _: &[Entity], _: UpsertOptions) -> UpsertReport {
        UpsertReport::default()
    }
    async fn delete(&self, _: &[EntityKey], _: bool) -> DeleteReport {
        DeleteReport::default()
    }
}
