//! The options of a resync.

use std::{sync::Arc, time::Duration};

use berth_core::{Adoption, Ledger};
use tokio_util::sync::CancellationToken;

use crate::{Approved, WriteArbiter, deletion::RemovalOptions};

/// Whether a run writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Writes everything.
    #[default]
    Apply,
    /// Writes nothing; the report says what would be written.
    Plan,
}

/// The options of a run.
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Whether it writes.
    pub mode: Mode,
    /// Units to read at once.
    pub unit_concurrency: usize,
    /// Accounts whose regions are listed at once.
    pub region_concurrency: usize,
    /// How long a finished run waits for its background tasks (documents that the catalog wants in addition
    /// to entities, examples).
    pub patience: Duration,
    /// What is kept between resyncs. Without it everything is looked up in the catalog.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Stops the run: no more reads, and no deletions.
    pub cancel: CancellationToken,
    /// What live events write meanwhile, if the same process processes them.
    pub write_arbiter: Arc<WriteArbiter>,
    /// When to delete the entities of removed accounts and regions.
    pub removal: RemovalOptions,
    /// The most entities that one resync may delete; `None` for no such limit.
    pub max_deletions: Option<u64>,
    /// Which entities of other owners may be taken over.
    pub adoption: Adoption,
    /// The only changes to make, if a plan is applied.
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
            write_arbiter: Arc::default(),
            removal: RemovalOptions::default(),
            max_deletions: None,
            adoption: Adoption::Never,
            approved: None,
        }
    }
}
