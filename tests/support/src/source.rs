//! A fake source.

use std::sync::Arc;

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, AccountId, EnabledRegions, FetchError, FetchRequest, OpenedSource, Partition,
    PlannedRead, Problem, RawPage, Region, RegionHints, Reservation, ResourceReader, Source, SourceSession,
};
use futures::{StreamExt, stream, stream::BoxStream};
use serde_json::Value;

/// What a fetch gives.
pub type Pages = BoxStream<'static, Result<RawPage, FetchError>>;

type Accounts = dyn Fn() -> Result<Vec<AccountAccess>, Problem> + Send + Sync;
type Regions = dyn Fn(&RegionHints) -> Result<EnabledRegions, Problem> + Send + Sync;
type Fetch = dyn Fn(FetchRequest) -> Pages + Send + Sync;

/// A source whose answers are closures. It serves as its own session and reader.
#[derive(Clone)]
pub struct FakeSource {
    accounts: Arc<Accounts>,
    regions: Arc<Regions>,
    fetch: Arc<Fetch>,
}

impl FakeSource {
    /// A source with these accounts, no region and no resource.
    pub fn new(accounts: impl Fn() -> Result<Vec<AccountAccess>, Problem> + Send + Sync + 'static) -> Self {
        Self {
            accounts: Arc::new(accounts),
            regions: Arc::new(|_| Ok(EnabledRegions::Listed(Vec::new()))),
            fetch: Arc::new(|_| stream::empty().boxed()),
        }
    }

    /// The same, with these regions in every account.
    #[must_use]
    pub fn with_regions(
        mut self,
        regions: impl Fn(&RegionHints) -> Result<EnabledRegions, Problem> + Send + Sync + 'static,
    ) -> Self {
        self.regions = Arc::new(regions);
        self
    }

    /// The same, with these resources.
    #[must_use]
    pub fn with_resources(mut self, fetch: impl Fn(FetchRequest) -> Pages + Send + Sync + 'static) -> Self {
        self.fetch = Arc::new(fetch);
        self
    }
}

#[async_trait]
impl Source for FakeSource {
    async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem> {
        Ok(OpenedSource { accounts: (self.accounts)()?, session: self })
    }
}

#[async_trait]
impl SourceSession for FakeSource {
    async fn regions(&self, _: &Account, hints: &RegionHints) -> Result<EnabledRegions, Problem> {
        (self.regions)(hints)
    }

    fn reader(&self, _: &[PlannedRead]) -> Arc<dyn ResourceReader> {
        Arc::new(self.clone())
    }

    fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession> {
        self
    }
}

impl ResourceReader for FakeSource {
    fn fetch(&self, request: FetchRequest) -> Pages {
        (self.fetch)(request)
    }
}

/// An account, and whether it can be read.
pub fn account(id: &str, access: Result<(), Problem>) -> AccountAccess {
    AccountAccess { account: Arc::new(Account::unnamed(AccountId::new(id).unwrap(), Partition::Aws)), access }
}

/// A page of these resources, of which nothing is unread.
pub fn page(region: Option<Region>, resources: &[Value]) -> RawPage {
    RawPage {
        region,
        resources: serde_json::to_vec(resources).unwrap(),
        count: resources.len(),
        failures: Vec::new(),
        unread: Vec::new(),
        reservation: Reservation::default(),
    }
}
