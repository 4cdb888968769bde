//! The accounts and regions that the last resync found, for events that come in between.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, AccountId, EnabledRegions, FetchError, FetchRequest, KindManifest, Problem,
    RawPage, Region, RegionHints, Source,
};
use futures::stream::BoxStream;

/// A [`Source`] that remembers which accounts it found, so that an event need not authenticate to
/// all of them again.
pub struct Roster {
    source: Arc<dyn Source>,
    known: Mutex<Known>,
    /// Held by who lists the accounts because of an event, so that others wait for its result.
    listing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    /// `None` as long as nobody has listed them.
    accounts: Option<HashMap<AccountId, AccountAccess>>,
    regions: HashMap<AccountId, Vec<Region>>,
}

impl Roster {
    /// Remembers what `source` finds.
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self { source, known: Mutex::default(), listing: tokio::sync::Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_listed(&self) -> bool {
        self.known().accounts.is_some()
    }

    /// An account of the sync, as the last listing found it; `None` when it is none of them. An
    /// account that joined since is found by the next resync.
    ///
    /// # Errors
    /// A [`Problem`] when the accounts were never listed and cannot be now.
    pub(crate) async fn find(&self, account: &AccountId) -> Result<Option<AccountAccess>, Problem> {
        if !self.is_listed() {
            let _turn = self.listing.lock().await;
            // Somebody else may have listed them meanwhile.
            if !self.is_listed() {
                self.accounts().await?;
            }
        }
        Ok(self.known().accounts.as_ref().and_then(|accounts| accounts.get(account)).cloned())
    }

    /// The regions of an account, as they were last listed.
    ///
    /// # Errors
    /// A [`Problem`] when they cannot be told.
    pub(crate) async fn regions_of(
        &self,
        account: &Account,
        hints: &RegionHints,
    ) -> Result<Vec<Region>, Problem> {
        let known = self.known().regions.get(&account.id).cloned();
        match known {
            Some(regions) => Ok(regions),
            None => Ok(self.enabled_regions(account, hints).await?.regions().to_vec()),
        }
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for Roster {
    async fn identity(&self) -> Result<Option<String>, Problem> {
        self.source.identity().await
    }

    async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem> {
        let accounts = self.source.accounts().await?;
        let found = accounts.iter().map(|access| (access.account.id.clone(), access.clone())).collect();
        *self.known() = Known { accounts: Some(found), regions: HashMap::new() };
        Ok(accounts)
    }

    async fn regions(&self, account: &Account) -> Result<Vec<Region>, Problem> {
        let regions = self.source.regions(account).await?;
        self.known().regions.insert(account.id.clone(), regions.clone());
        Ok(regions)
    }

    async fn enabled_regions(
        &self,
        account: &Account,
        hints: &RegionHints,
    ) -> Result<EnabledRegions, Problem> {
        let enabled = self.source.enabled_regions(account, hints).await?;
        self.known().regions.insert(account.id.clone(), enabled.regions().to_vec());
        Ok(enabled)
    }

    fn prepare(&self, reads: &[(Arc<KindManifest>, BTreeSet<String>)]) {
        self.source.prepare(reads);
    }

    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        self.source.fetch(request)
    }
}
