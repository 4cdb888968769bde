//! Updates the ledger, after everything else.

use std::collections::{BTreeSet, HashSet};

use berth_core::{LedgerEntry, Problem, Producers, RemovedScope, UnitId};

use super::{Context, prepare::Prepared};
use crate::{
    Deletion,
    content::key_digest,
    deletion::{DeletionPolicy, Keep},
    ledger_view::{LedgerView, Recorder},
    write::producer_of,
    written::WriteSummary,
};

/// What a resync knows at its end.
pub(super) struct RememberInput<'a, 'p> {
    pub(super) prepared: &'a Prepared,
    pub(super) policy: &'a DeletionPolicy<'p>,
    pub(super) deletion: &'a Deletion,
    pub(super) written: &'a WriteSummary,
}

/// Updates the ledger, if there is one that records.
///
/// # Errors
/// A [`Problem`] if it could not be updated.
pub(super) async fn remember(
    context: &Context,
    input: RememberInput<'_, '_>,
    recorder: Option<Recorder>,
) -> Result<(), Problem> {
    match (&input.prepared.ledger, recorder) {
        (Some(ledger), Some(recorder)) => input.remember(context, ledger, recorder).await,
        _ => Ok(()),
    }
}

impl RememberInput<'_, '_> {
    async fn remember(
        &self,
        context: &Context,
        ledger: &LedgerView,
        recorder: Recorder,
    ) -> Result<(), Problem> {
        let writer = recorder.finish().await?;
        let Self { policy, deletion, written, prepared } = self;
        let stopped = context.options.cancel.is_cancelled();
        let mut gone: HashSet<u128> = HashSet::new();
        // If the catalog does not create targets itself, other entities may relate to a deleted one. It then
        // counts as vanished in the next resync, so that they are compared.
        if prepared.config.create_missing_related_entities {
            gone.extend(deletion.deleted.iter().map(|gone| key_digest(&gone.entity)));
        }
        // Everything that related to these was compared in this resync, if everything was.
        if !stopped && policy.is_complete() {
            gone.extend(ledger.vanished().iter().filter(|key| !written.seen.contains_key(key)));
        }
        let mut entries: Vec<_> = gone.into_iter().map(|key| (key, None)).collect();
        // Live events wrote these meanwhile, so the resync's view of them is outdated.
        let touched: HashSet<u128> = context.options.write_arbiter.touched().into_iter().collect();
        entries.extend(touched.iter().filter_map(|key| {
            let known = ledger.look_up(*key).map(|known| LedgerEntry { content: None, ..known });
            // An entity that is new to this resync is forgotten, so that it is compared.
            (known.is_some() || written.seen.contains_key(key)).then_some((*key, known))
        }));
        writer.record(entries).await?;
        if !stopped {
            let producers = self.producers_after(ledger, &touched);
            writer.record_producers(producers).await?;
        }
        let kept = deletion.kept.iter().filter_map(|kept| match &kept.keep {
            Keep::ScopeRemoved { scope, .. } => Some(scope),
            _ => None,
        });
        let kept: BTreeSet<&RemovedScope> = kept.collect();
        // If nothing was decided, nothing is known about the scopes either.
        let missing =
            if deletion.stopped.is_some() { ledger.missing_scopes() } else { policy.missing_after(kept) };
        writer.end(missing).await
    }

    /// Returns the producers of the entities whose producers were not certain before all units had ended.
    fn producers_after(&self, ledger: &LedgerView, touched: &HashSet<u128>) -> Vec<(u128, Producers)> {
        let Self { policy, written, prepared, .. } = self;
        let Prepared { units, resources, .. } = prepared;
        let mut producers = Vec::new();
        for (blueprint, digests) in &written.unsettled {
            for digest in digests.iter().filter(|digest| !touched.contains(digest)) {
                let before = ledger.look_up(*digest).map(|known| known.producers).unwrap_or_default();
                let seen_by: Vec<&UnitId> = written
                    .units_of(*digest)
                    .filter_map(|unit| Some(&units.get(unit.position())?.id))
                    .collect();
                let single_account = seen_by
                    .iter()
                    .all(|unit| resources.get(unit.resource).is_some_and(|r| r.entry.single_account));
                let seen_by = seen_by.into_iter().filter_map(producer_of).collect();
                let after = policy.producers_after(blueprint, &before, seen_by, single_account);
                producers.push((*digest, after));
            }
        }
        producers
    }
}
