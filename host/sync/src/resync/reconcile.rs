//! The phase that deletes what is gone.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use berth_core::{Milestone, Problem, ProblemCode, Processing, UnitId, UnitState};

use super::{Context, prepare::Prepared};
use crate::{
    Deletion, UnitCounts, UnitReport,
    deletion::{
        DeletionPolicy, LimitOptions,
        lookup::{DeletionOptions, StaleEntities},
    },
    index::EntryIndex,
    progress::ProgressTracker,
    written::WriteSummary,
};

/// What was read and written.
pub(super) struct ReconcileInput<'a> {
    pub(super) prepared: &'a Prepared,
    /// All units; those that were settled without being read come last.
    pub(super) units: &'a [UnitReport],
    pub(super) written: &'a WriteSummary,
    pub(super) progress: &'a ProgressTracker,
}

/// Returns all units of the resync, with the results of their entities.
pub(super) fn units(
    settled: &[(UnitId, UnitState)],
    mut read: Vec<UnitReport>,
    written: &WriteSummary,
) -> Vec<UnitReport> {
    for (report, counts) in read.iter_mut().zip(written.counts.iter()) {
        report.counts.add(counts);
    }
    read.extend(settled.iter().map(|(unit, state)| UnitReport {
        unit: unit.clone(),
        state: state.clone(),
        counts: UnitCounts::default(),
        unread: Vec::new(),
        duration: Duration::ZERO,
    }));
    read
}

/// Returns how many entities were mapped, by resource mapping.
pub(super) fn mapped(units: &[UnitReport]) -> BTreeMap<EntryIndex, u64> {
    let mut mapped = BTreeMap::new();
    for report in units {
        *mapped.entry(EntryIndex::of(&report.unit)).or_default() += report.counts.mapped;
    }
    mapped
}

/// Deletes what is gone, as far as `policy` allows. A catalog that maps by itself deletes by itself.
pub(super) async fn reconcile(
    context: &Context,
    input: ReconcileInput<'_>,
    policy: &mut DeletionPolicy<'_>,
) -> Deletion {
    let ReconcileInput { prepared, units, written, progress } = input;
    if prepared.processing == Processing::Documents {
        return Deletion::default();
    }
    progress.report(Milestone::DeletionStarted);
    let deletion = if context.options.cancel.is_cancelled() {
        let problem = Problem::new(ProblemCode::ResyncStopped, "the resync was stopped before its end")
            .remedy("the next resync deletes what is gone");
        Deletion { stopped: Some(problem), ..Deletion::default() }
    } else {
        let stale = StaleEntities {
            catalog: &context.catalog,
            reader: &*prepared.reader,
            mapper: &*prepared.snapshot,
            observer: context.observer.as_ref(),
            write_arbiter: &context.options.write_arbiter,
            resources: &prepared.resources,
            units: &prepared.units,
            reports: units,
            policy,
            written,
            ledger: prepared.ledger.as_deref(),
            settings: settings(context, prepared),
            begun: context.begun,
            deletion: Deletion::default(),
        };
        stale.delete(&prepared.owned).await
    };
    progress.report(Milestone::DeletionEnded {
        deleted: deletion.deleted.len() as u64,
        failed: deletion.failed.len() as u64,
        held_back: deletion.stopped.is_some() || !deletion.held_back.is_empty(),
    });
    deletion
}

fn settings(context: &Context, prepared: &Prepared) -> DeletionOptions {
    let config = &prepared.config;
    DeletionOptions {
        limits: LimitOptions {
            threshold: config.entity_deletion_threshold,
            maximum: context.options.max_deletions,
        },
        delete_dependents: config.delete_dependent_entities,
        creates_targets: config.create_missing_related_entities,
        approved: context.options.approved.as_ref().map(Arc::clone),
    }
}
