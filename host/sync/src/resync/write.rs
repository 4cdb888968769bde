//! The phase that writes, in parallel with the one that reads.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Context, prepare::Prepared};
use crate::{
    ledger_view::KeyedLedgerEntry, order::Order, pending::PendingEntity, progress::ProgressTracker,
    write::Writer, written::WriteSummary,
};

/// What to write, and how.
pub(super) struct WriteInput<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) order: Order,
    pub(super) progress: &'a Arc<ProgressTracker>,
    /// The source of mapped entities.
    pub(super) entities: mpsc::Receiver<PendingEntity>,
    /// Receives records of what the catalog confirms.
    pub(super) records: Option<mpsc::Sender<KeyedLedgerEntry>>,
}

/// Writes until the channel closes.
pub(super) async fn write(context: &Context, input: WriteInput<'_>) -> WriteSummary {
    let WriteInput { prepared, order, progress, entities, records } = input;
    let writer = Writer {
        catalog: context.catalog.clone(),
        upsert_batch: context.upsert_batch,
        observer: Arc::clone(&context.observer),
        options: prepared.upsert_options(),
        units: Arc::clone(&prepared.units),
        owned: Arc::clone(&prepared.owned),
        progress: Arc::clone(progress),
        ledger: prepared.ledger.clone(),
        single_account: prepared.resources.iter().map(|resource| resource.entry.single_account).collect(),
        adoption: context.options.adoption.clone(),
        approved: context.options.approved.clone(),
        records,
        write_arbiter: Arc::clone(&context.options.write_arbiter),
        problems: Arc::clone(&context.problems),
    };
    writer.run(entities, order).await
}
