//! The accounts and regions that the last resync found, for live events.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, AccountId, EnabledRegions, OpenedSource, PlannedRead, Problem, Region,
    RegionHints, ResourceReader, Source, SourceSession,
};

/// A [`Source`] that caches the accounts found last, so that an event need not authenticate to all of them
/// again.
pub struct AccountCache {
    source: Arc<dyn Source>,
    /// `None` until someone has listed them.
    latest: Mutex<Option<Arc<KnownAccounts>>>,
    /// Held while an event lists the accounts, so that others wait for its result.
    listing: tokio::sync::Mutex<()>,
}

/// The accounts of the integration, as the last listing found them. The next resync finds an account that
/// joined since.
pub(crate) struct KnownAccounts {
    accounts: HashMap<AccountId, AccountAccess>,
    regions: Mutex<HashMap<AccountId, Vec<Region>>>,
    /// Reads them for events.
    session: Arc<dyn SourceSession>,
}

/// A session whose resync also finds regions for events.
struct CachedSession {
    session: Arc<dyn SourceSession>,
    known: Arc<KnownAccounts>,
}

impl AccountCache {
    /// Caches what `source` finds.
    pub fn new(source: Arc<dyn Source>) -> Self {
        Self { source, latest: Mutex::default(), listing: tokio::sync::Mutex::default() }
    }

    fn latest(&self) -> Option<Arc<KnownAccounts>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the accounts that were found last.
    ///
    /// # Errors
    /// A [`Problem`] if the accounts were never listed and cannot be listed now.
    pub(crate) async fn accounts(&self) -> Result<Arc<KnownAccounts>, Problem> {
        if let Some(known) = self.latest() {
            return Ok(known);
        }
        let _turn = self.listing.lock().await;
        // Another task may have listed them meanwhile.
        match self.latest() {
            Some(known) => Ok(known),
            None => Ok(self.list().await?.1),
        }
    }

    async fn list(&self) -> Result<(OpenedSource, Arc<KnownAccounts>), Problem> {
        let opened = Arc::clone(&self.source).open().await?;
        let accounts = opened.accounts.iter().map(|access| (access.account.id.clone(), access.clone()));
        let known = Arc::new(KnownAccounts {
            accounts: accounts.collect(),
            regions: Mutex::default(),
            session: Arc::clone(&opened.session).for_events(),
        });
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&known));
        Ok((opened, known))
    }
}

impl KnownAccounts {
    /// Returns an account of the integration; `None` for any other.
    pub(crate) fn get(&self, account: &AccountId) -> Option<&AccountAccess> {
        self.accounts.get(account)
    }

    /// Returns the regions of an account, as last listed.
    ///
    /// # Errors
    /// A [`Problem`] if they are unknown.
    pub(crate) async fn regions(
        &self,
        account: &Account,
        hints: &RegionHints,
    ) -> Result<Vec<Region>, Problem> {
        let known = self.regions.lock().unwrap_or_else(PoisonError::into_inner).get(&account.id).cloned();
        if let Some(regions) = known {
            return Ok(regions);
        }
        let enabled = self.session.regions(account, hints).await?;
        self.keep(account, &enabled);
        Ok(enabled.regions().to_vec())
    }

    /// Returns the reader of resources for an event.
    pub(crate) fn reader(&self) -> Arc<dyn ResourceReader> {
        self.session.reader(&[])
    }

    fn keep(&self, account: &Account, enabled: &EnabledRegions) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.insert(account.id.clone(), enabled.regions().to_vec());
    }
}

impl std::fmt::Debug for AccountCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountCache").finish_non_exhaustive()
    }
}

#[async_trait]
impl Source for AccountCache {
    async fn identity(&self) -> Result<Option<String>, Problem> {
        self.source.identity().await
    }

    async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem> {
        let (OpenedSource { accounts, session }, known) = self.list().await?;
        Ok(OpenedSource { accounts, session: Arc::new(CachedSession { session, known }) })
    }
}

#[async_trait]
impl SourceSession for CachedSession {
    async fn regions(&self, account: &Account, hints: &RegionHints) -> Result<EnabledRegions, Problem> {
        let enabled = self.session.regions(account, hints).await?;
        self.known.keep(account, &enabled);
        Ok(enabled)
    }

    fn reader(&self, reads: &[PlannedRead]) -> Arc<dyn ResourceReader> {
        self.session.reader(reads)
    }

    fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession> {
        Arc::clone(&self.session).for_events()
    }
}
