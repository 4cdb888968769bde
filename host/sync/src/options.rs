//! How a resync behaves.

use std::{sync::Arc, time::Duration};

use berth_core::{Adoption, Ledger};
use tokio_util::sync::CancellationToken;

use crate::{Approved, Journal, deletion::RemovalOptions};

/// Whether a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Everything is written.
    #[default]
    Apply,
    /// Nothing is written; the report says what would be.
    Plan,
}

/// How a run behaves.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Whether it writes.
    pub mode: Mode,
    /// Units read at once.
    pub unit_concurrency: usize,
    /// Accounts whose regions are listed at once.
    pub region_concurrency: usize,
    /// How long a run whose work is done waits for what is made beside it (documents that the catalog
    /// wants besides entities, examples).
    pub patience: Duration,
    /// What is remembered from one resync to the next. Without it everything is looked up in the
    /// catalog.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Stops the run: nothing more is read, nothing is deleted.
    pub cancel: CancellationToken,
    /// What live events write meanwhile, where the same process follows them.
    pub journal: Arc<Journal>,
    /// When the entities of removed accounts and regions are deleted.
    pub removal: RemovalOptions,
    /// The largest number of entities that one resync may delete; `None`: no such limit.
    pub max_deletions: Option<u64>,
    /// Which entities of others may be taken over.
    pub adoption: Adoption,
    /// The only changes to make, where a plan is applied.
    pub approved: Option<Arc<Approved>>,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Apply,
            unit_concurrency: 64,
            region_concurrency: 16,
            patience: Duration::from_secs(30),
            ledger: None,
            cancel: CancellationToken::new(),
            journal: Arc::default(),
            removal: RemovalOptions::default(),
            max_deletions: None,
            adoption: Adoption::Never,
            approved: None,
        }
    }
}
