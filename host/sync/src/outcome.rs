//! How a resync went, as its caller and the catalog learn it.

use berth_core::{ItemError, MapError, Problem, ProblemCode, Processing, ResourceResult, ResyncStatus};

use crate::{Outcome, Report};

/// Why a run ended before any unit was planned. Nothing was changed in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// The catalog cannot be used.
    #[error("the catalog is not usable: {0}")]
    Catalog(Problem),
    /// The accounts are not known.
    #[error("no account can be read: {0}")]
    Source(Problem),
    /// The app-config asks for nothing.
    #[error("{0}")]
    Config(Problem),
}

impl SyncError {
    /// The cause, with its remedy.
    pub fn problem(&self) -> &Problem {
        match self {
            Self::Catalog(problem) | Self::Source(problem) | Self::Config(problem) => problem,
        }
    }
}

/// How the catalog is told that a resync ended. `told` is whether it took all steps that it cannot
/// do without.
pub(crate) fn status(report: &Report, told: bool) -> ResyncStatus {
    match report.outcome {
        Outcome::Aborted => ResyncStatus::Aborted,
        _ if !told => ResyncStatus::Failed,
        Outcome::Done | Outcome::DeletionsHeldBack => ResyncStatus::Completed,
        Outcome::Partial if report.processing == Processing::Documents => ResyncStatus::Failed,
        // An entity that the catalog refused does not fail a resync: a lasting fact, told in the report.
        Outcome::Partial => {
            let mut all = ResourceResult::default();
            report.units.iter().for_each(|unit| all.count(&unit.state));
            all.status(report.processing)
        }
        Outcome::NothingRead => ResyncStatus::Failed,
    }
}

/// How it went, for its caller.
pub(crate) fn judge(report: &Report, cancelled: bool) -> Outcome {
    let complete = report.units.iter().filter(|unit| unit.state.is_complete()).count();
    let deletion = &report.deletion;
    // A unit of which one resource was refused has failed, and yet the others were read.
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

/// A batch that could not be mapped, told to an operator.
pub fn map_problem(error: MapError) -> Problem {
    match error {
        MapError::Plugin { plugin, kind, problem } => {
            problem.map_message(|why| format!("plugin `{plugin}` failed on {kind}: {why}"))
        }
        MapError::NoPlugin(problem) | MapError::Mapping(problem) => problem,
    }
}

/// The problem as reports and logs show it.
pub(crate) fn item_problem(error: &ItemError) -> Problem {
    Problem::new(ProblemCode::MappingFailed, format!("not mapped: {}", error.reason)).remedy(
        "its entity stays as it is; check the mapping of the kind, and whether the role may read what the reason \
         names",
    )
}
