//! The trait that resources are read through.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Account, EnabledRegions, FetchError, FetchRequest, KindManifest, Problem, RawPage, RegionHints};

/// An account of the sync, and whether it can be read.
#[derive(Debug, Clone)]
pub struct AccountAccess {
    /// The account.
    pub account: Arc<Account>,
    /// Why it cannot be read, if it cannot. Everything it owns is then protected.
    pub access: Result<(), Problem>,
}

/// Where resources come from: AWS, a recording, a test.
#[async_trait]
pub trait Source: Send + Sync {
    /// Who Berth is towards the source before it enters any account, for checks; `None` where that
    /// has no meaning.
    ///
    /// # Errors
    /// A [`Problem`] when it cannot authenticate at all.
    async fn identity(&self) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    /// Authenticates to all accounts, for one resync. No answer that an earlier session got is used in the
    /// new one.
    ///
    /// # Errors
    /// A [`Problem`] when not even the list of accounts is known; the resync then ends without
    /// having changed anything.
    async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem>;
}

/// A source that is ready to be read by one resync.
#[derive(Clone)]
pub struct OpenedSource {
    /// All accounts of the sync, each with the outcome of authenticating to it.
    pub accounts: Vec<AccountAccess>,
    /// What reads them.
    pub session: Arc<dyn SourceSession>,
}

/// The accounts as one resync entered them.
#[async_trait]
pub trait SourceSession: Send + Sync {
    /// The regions that are enabled in an account. A source that is denied access to their list may take
    /// the hints for it where they are complete.
    ///
    /// # Errors
    /// A [`Problem`] when they cannot be told; all units of the account are then protected.
    async fn regions(&self, account: &Account, hints: &RegionHints) -> Result<EnabledRegions, Problem>;

    /// What reads resources. `reads` is what it will be asked for, as far as that is known: answers that
    /// nobody else will ask for need not be kept.
    fn reader(&self, reads: &[PlannedRead]) -> Arc<dyn ResourceReader>;

    /// The same accounts for live events, also after the resync. No answer that the resync got is used, or
    /// kept for longer than the resync lasts.
    fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession>;
}

/// An entry of `resources[]` that a resync reads.
#[derive(Debug, Clone)]
pub struct PlannedRead {
    /// Its kind, with its fetch plan.
    pub kind: Arc<KindManifest>,
    /// The options that are switched on.
    pub options: BTreeSet<String>,
}

/// Reads the resources of units.
pub trait ResourceReader: Send + Sync {
    /// Runs a fetch plan and streams its resources in batches of the plan's `chunk`.
    ///
    /// The stream ends after the first error. A stream that ends without one has read everything,
    /// except what pages list in [`RawPage::failures`].
    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>>;
}
