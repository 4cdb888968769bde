//! The outcome of a resync, for its caller and the catalog.

use berth_core::{ItemError, MapError, Problem, ProblemCode, Processing, ResourceResult, ResyncStatus};

use crate::{Outcome, Report};

/// Why a run ended before any unit was planned. Nothing was changed in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The catalog is unusable.
    #[error("the catalog is not usable: {0}")]
    Catalog(Problem),
    /// The accounts are unknown.
    #[error("no account can be read: {0}")]
    Source(Problem),
    /// The app-config maps nothing.
    #[error("{0}")]
    Config(Problem),
}

impl SyncError {
    /// Returns the cause, with its remedy.
    pub fn problem(&self) -> &Problem {
        match self {
            Self::Catalog(problem) | Self::Source(problem) | Self::Config(problem) => problem,
        }
    }
}

/// Returns the status for the catalog. `reported` means that the catalog accepted all required steps.
pub(crate) fn status(report: &Report, reported: bool) -> ResyncStatus {
    match report.outcome {
        Outcome::Aborted => ResyncStatus::Aborted,
        _ if !reported => ResyncStatus::Failed,
        Outcome::Done | Outcome::DeletionsHeldBack => ResyncStatus::Completed,
        Outcome::Partial if report.processing == Processing::Documents => ResyncStatus::Failed,
        // An entity that the catalog refused does not fail a resync: it is permanent, and the report lists
        // it.
        Outcome::Partial => {
            let mut all = ResourceResult::default();
            report.units.iter().for_each(|unit| all.count(&unit.state));
            all.status(report.processing)
        }
        Outcome::NothingRead => ResyncStatus::Failed,
    }
}

/// Returns the outcome for the caller.
pub(crate) fn judge(report: &Report, cancelled: bool) -> Outcome {
    let complete = report.units.iter().filter(|unit| unit.state.is_complete()).count();
    let deletion = &report.deletion;
    // A unit with a refused resource has failed, although the others were read.
    let counts = report.totals().counts;
    let nothing_read = complete == 0 && counts.mapped == 0 && counts.documents == 0;
    if cancelled {
        Outcome::Aborted
    } else if nothing_read && (!report.units.is_empty() || report.accounts.iter().all(|(_, p)| p.is_some())) {
        Outcome::NothingRead
    } else if complete < report.units.len()
        || report.accounts.iter().any(|(_, problem)| problem.is_some())
        || report.units.iter().any(|unit| !unit.unread.is_empty())
        || !report.refusals.is_empty()
        || !deletion.failed.is_empty()
    {
        Outcome::Partial
    } else if deletion.needs_decision() {
        Outcome::DeletionsHeldBack
    } else {
        Outcome::Done
    }
}

/// Describes a batch that could not be mapped, for an operator.
pub fn map_problem(error: MapError) -> Problem {
    match error {
        MapError::Plugin { plugin, kind, problem } => {
            problem.map_message(|why| format!("plugin `{plugin}` failed on {kind}: {why}"))
        }
        MapError::NoPlugin(problem) | MapError::Mapping(problem) => problem,
    }
}

/// Returns the problem for reports and logs.
pub(crate) fn item_problem(error: &ItemError) -> Problem {
    Problem::new(ProblemCode::MappingFailed, format!("not mapped: {}", error.reason)).remedy(
        "its entity is kept unchanged; check the mapping of the kind, and whether the role may read the data that \
         the reason names",
    )
}
