//! One resync of a service, and how it is given up.

use std::{sync::Arc, time::Duration};

use berth_embed::{PortCatalog, RemovalAfter, Report, SyncError};
use berth_port::service::PortService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    http::HttpState,
    listeners::{Ended, Reason},
    report::kept,
    state::ServiceState,
};

/// How long a resync that is to stop may take for it, where neither AWS nor Port hangs.
pub const GRACE: Duration = Duration::from_secs(12);
/// How long the last request to Port, and the last replies of a server, may take.
pub const LAST_WORD: Duration = Duration::from_secs(3);

/// Takes the report of a resync that ended.
pub(crate) type ReportSink = Arc<dyn Fn(&Report, RemovalAfter) + Send + Sync>;

/// Runs one resync, and records how it went.
pub(crate) async fn run(
    state: &ServiceState,
    http: &HttpState,
    reports: Option<&ReportSink>,
    reason: Reason,
    cancel: CancellationToken,
) -> Ended {
    tracing::info!(reason = reason.as_str(), "resync begins");
    http.metrics.begun();
    http.model.begun(reason.as_str());
    let host = state.host.stopped_by(cancel.clone()).observed_by(http.model.clone());
    let result = tokio::select! {
        result = host.sync() => result,
        () = overdue(&cancel, GRACE) => {
            tracing::warn!("the resync did not stop in time; it is given up");
            http.metrics.ended_early("aborted");
            http.model.ended_early("aborted", None);
            if let Some(port) = host.port() {
                report_aborted(port).await;
            }
            return Ended::Ran;
        }
    };
    match result {
        Ok(report) => {
            http.metrics.ended(&report);
            let after = state.config.removal_after;
            http.model.ended(&report, after);
            log(&report);
            if let Some(reports) = reports {
                reports(&report, after);
            }
            Ended::Ran
        }
        Err(error) => {
            let deleted = host.port().is_some_and(|port| PortService::of(port).is_deleted());
            not_begun(http, &error, deleted)
        }
    }
}

fn log(report: &Report) {
    let totals = report.totals();
    tracing::info!(
        outcome = ?report.outcome,
        units = totals.units,
        complete = totals.complete,
        created = totals.counts.created,
        updated = totals.counts.updated,
        unchanged = totals.counts.unchanged,
        deleted = report.deletion.deleted.len(),
        kept = report.deletion.kept.len(),
        held_back = kept::held_back(&report.deletion),
        documents = totals.counts.documents,
        seconds = report.duration.as_secs_f64(),
        "resync ended"
    );
}

/// Records a resync that could not begin: `deleted`, because its integration was deleted in Port.
fn not_begun(http: &HttpState, error: &SyncError, deleted: bool) -> Ended {
    let outcome = if deleted { "deleted-in-port" } else { "not-begun" };
    http.metrics.ended_early(outcome);
    http.model.ended_early(outcome, Some(error.problem()));
    tracing::error!(problem = %error.problem(), "the resync could not begin: {error}");
    match error {
        // Another try gives the same, until somebody installs it again and asks for a resync.
        _ if deleted => Ended::Ran,
        SyncError::Catalog(_) | SyncError::Source(_) => Ended::NotBegun,
        // Another try gives the same; a changed mapping comes with a request.
        SyncError::Config(_) => Ended::Ran,
    }
}

/// Reports to Port that a resync is given up: else Port would show one that runs for ever.
pub async fn report_aborted(port: &PortCatalog) {
    let reported = timeout(LAST_WORD, PortService::of(port).give_up()).await;
    if !matches!(reported, Ok(Ok(()))) {
        tracing::warn!("Port could not be told that the resync was stopped");
    }
}

/// Waits until a stop was asked for that long ago.
pub async fn overdue(cancel: &CancellationToken, grace: Duration) {
    cancel.cancelled().await;
    tokio::time::sleep(grace).await;
}
