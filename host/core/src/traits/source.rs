//! The trait that reads resources.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Account, EnabledRegions, FetchError, FetchRequest, KindManifest, Problem, RawPage, RegionHints};

/// An account of the sync, and whether it can be read.
#[derive(Debug, Clone)]
pub struct AccountAccess {
    /// The account.
    pub account: Arc<Account>,
    /// Why the account cannot be read, if it cannot. All its entities are then protected from deletion.
    pub access: Result<(), Problem>,
}

/// A source of resources: AWS, a recording, or a test.
#[async_trait]
pub trait Source: Send + Sync {
    /// Returns the identity that Berth has before it enters any account, for checks; `None` if the source
    /// has no identity.
    ///
    /// # Errors
    /// A [`Problem`] if Berth cannot authenticate at all.
    async fn identity(&self) -> Result<Option<String>, Problem> {
        Ok(None)
    }

    /// Authenticates to all accounts for one resync. A new session uses no response of an earlier session.
    ///
    /// # Errors
    /// A [`Problem`] if the list of accounts is unknown; the resync then ends without any change.
    async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem>;
}

/// A source that one resync can read.
#[derive(Clone)]
pub struct OpenedSource {
    /// All accounts of the sync, each with the result of authenticating to it.
    pub accounts: Vec<AccountAccess>,
    /// The session that reads them.
    pub session: Arc<dyn SourceSession>,
}

/// The accounts of one resync.
#[async_trait]
pub trait SourceSession: Send + Sync {
    /// Returns the regions that are enabled in an account. A source that is denied access to this list may
    /// use the hints instead, if they are complete.
    ///
    /// # Errors
    /// A [`Problem`] if the regions are unknown; all units of the account are then protected from deletion.
    async fn regions(&self, account: &Account, hints: &RegionHints) -> Result<EnabledRegions, Problem>;

    /// Returns a reader of resources. `reads` lists the planned reads as far as they are known: a response
    /// that no other read uses need not be cached.
    fn reader(&self, reads: &[PlannedRead]) -> Arc<dyn ResourceReader>;

    /// Returns the same accounts for live events, also after the resync. Live events use no response that
    /// the resync got, and their responses are cached only while the resync runs.
    fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession>;
}

/// An entry of `resources[]` that a resync reads.
#[derive(Debug, Clone)]
pub struct PlannedRead {
    /// The kind, with its fetch plan.
    pub kind: Arc<KindManifest>,
    /// The options that are switched on.
    pub options: BTreeSet<String>,
}

/// Reads the resources of units.
pub trait ResourceReader: Send + Sync {
    /// Runs a fetch plan and streams its resources in batches of the plan's `chunk` size.
    ///
    /// The stream ends after the first error. A stream that ends without an error has read everything,
    /// except what pages list in [`RawPage::failures`].
    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>>;
}
