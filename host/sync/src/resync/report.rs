//! The last phase: creates the report for the caller.

use std::time::Duration;

use berth_core::{Problem, UnitId};

use super::{Context, prepare::Prepared};
use crate::{Deletion, Misconfiguration, Outcome, Report, UnitReport, written::WriteSummary};

/// The results of the other phases.
pub(super) struct ReportInput {
    /// Why the catalog stopped the resync, if so.
    pub(super) superseded: Option<Problem>,
    pub(super) units: Vec<UnitReport>,
    pub(super) item_failures: Vec<(UnitId, String, Problem)>,
    pub(super) misconfigurations: Vec<Misconfiguration>,
    pub(super) written: WriteSummary,
    pub(super) deletion: Deletion,
    /// Whether the ledger is up to date.
    pub(super) remembered: Result<(), Problem>,
}

/// Creates the report, without its duration and outcome.
pub(super) fn report(context: &Context, prepared: Prepared, input: ReportInput) -> Report {
    let Prepared { identity, processing, accounts, refused, mut notes, .. } = prepared;
    let ReportInput { superseded, units, item_failures, misconfigurations, written, deletion, remembered } =
        input;
    notes.extend(superseded.map(|problem| format!("stopped before its end: {problem}")));
    if let Err(problem) = remembered {
        tracing::warn!(%problem, "the ledger is not up to date");
        notes.push(format!("the next resync compares with the catalog: {problem}"));
    }
    for (entry, count) in &written.not_found {
        notes.push(format!(
            "resources[{entry}]: the catalog found nothing for the search query of {count} entities, so \
            nothing was written for them"
        ));
    }
    if let (count @ 1.., Some(example)) = &written.duplicates {
        notes.push(format!(
            "{count} entities were mapped more than once (such as {example}): the identifier is not unique \
            over accounts, regions or resources, and the last one wins"
        ));
    }
    let accounts = accounts.into_iter();
    Report {
        dry_run: context.catalog.is_plan(),
        processing,
        catalog: identity,
        started: context.started,
        duration: Duration::ZERO,
        outcome: Outcome::Done,
        units,
        accounts: accounts.map(|access| (access.account.as_ref().clone(), access.access.err())).collect(),
        refusals: written.refusals,
        foreign: written.foreign,
        item_failures,
        misconfigurations,
        changes: written.changes,
        deletion,
        refused_plugins: refused,
        notes,
    }
}
