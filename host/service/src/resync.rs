//! Runs one resync of a service, or aborts it.

use std::{sync::Arc, time::Duration};

use berth_embed::{PortCatalog, RemovalAfter, Report, SyncError};
use berth_port::service::PortService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    http::HttpState,
    listeners::{Reason, ResyncEnd},
    report::kept,
    state::ServiceState,
};

/// How long a stopped resync may take to end, if neither AWS nor Port hangs.
pub const GRACE: Duration = Duration::from_secs(12);
/// How long the last request to Port, and the last replies of a server, may take.
pub const LAST_WORD: Duration = Duration::from_secs(3);

/// Receives the report of a resync that ended.
pub(crate) type ReportSink = Arc<dyn Fn(&Report, RemovalAfter) + Send + Sync>;

/// Runs one resync, and records its result.
pub(crate) async fn run(
    state: &ServiceState,
    http: &HttpState,
    reports: Option<&ReportSink>,
    reason: Reason,
    cancel: CancellationToken,
) -> ResyncEnd {
    tracing::info!(reason = reason.as_str(), "resync started");
    http.metrics.begun();
    http.model.begun(reason.as_str());
    let host = state.host.stopped_by(cancel.clone()).observed_by(http.model.clone());
    let result = tokio::select! {
        result = host.sync() => result,
        () = overdue(&cancel, GRACE) => {
            tracing::warn!("the resync did not stop in time; it is aborted");
            http.metrics.ended_early("aborted");
            http.model.ended_early("aborted", None);
            if let Some(port) = host.port() {
                report_aborted(port).await;
            }
            return ResyncEnd::Ran;
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
            ResyncEnd::Ran
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

/// Records a resync that could not start: `deleted`, because its integration was deleted in Port.
fn not_begun(http: &HttpState, error: &SyncError, deleted: bool) -> ResyncEnd {
    let outcome = if deleted { "deleted-in-port" } else { "not-begun" };
    http.metrics.ended_early(outcome);
    http.model.ended_early(outcome, Some(error.problem()));
    tracing::error!(problem = %error.problem(), "the resync could not start: {error}");
    match error {
        // A retry gives the same, until someone installs it again and requests a resync.
        _ if deleted => ResyncEnd::Ran,
        SyncError::Catalog(_) | SyncError::Source(_) => ResyncEnd::NotBegun,
        // A retry gives the same; a changed mapping comes with a request.
        SyncError::Config(_) => ResyncEnd::Ran,
    }
}

/// Reports an aborted resync to Port, which would otherwise show it as running forever.
pub async fn report_aborted(port: &PortCatalog) {
    let reported = timeout(LAST_WORD, PortService::of(port).give_up()).await;
    if !matches!(reported, Ok(Ok(()))) {
        tracing::warn!("cannot report to Port that the resync was stopped");
    }
}

/// Waits until the grace period after a stop has passed.
pub async fn overdue(cancel: &CancellationToken, grace: Duration) {
    cancel.cancelled().await;
    tokio::time::sleep(grace).await;
}
