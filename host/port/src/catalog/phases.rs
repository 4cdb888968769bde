//! Log lines for the phases of a resync.

use berth_core::Milestone;

use super::metrics::ReportedMapping;

/// Logs the phases of a resource mapping in the words that Port's event log knows. Reading, mapping and
/// writing overlap, so they complete together.
pub(crate) fn log(entries: &[ReportedMapping], milestone: &Milestone) {
    match milestone {
        Milestone::Planned => tracing::info!(kinds = entries.len(), "Starting resync"),
        Milestone::ResourceStarted { resource } => {
            let Some(ReportedMapping { kind, .. }) = entries.get(*resource) else { return };
            tracing::info!(
                resource_kind = kind.as_str(),
                index = resource,
                etl_phase = "extract",
                "Starting extract phase"
            );
        }
        Milestone::ResourceEnded { resource, result } => {
            let Some(ReportedMapping { kind, .. }) = entries.get(*resource) else { return };
            let (kind, counts) = (kind.as_str(), &result.counts);
            tracing::info!(
                resource_kind = kind,
                index = resource,
                etl_phase = "extract",
                raw_extracted = counts.fetched,
                scopes_complete = result.complete,
                scopes_skipped = result.skipped,
                scopes_failed = result.failed,
                "Extract phase complete"
            );
            tracing::info!(
                resource_kind = kind,
                index = resource,
                etl_phase = "transform",
                transformed = counts.mapped,
                filtered_out = counts.filtered,
                failed = counts.failed,
                "Transform phase complete"
            );
            tracing::info!(
                resource_kind = kind,
                index = resource,
                etl_phase = "load",
                loaded = counts.created + counts.updated,
                skipped = counts.unchanged,
                failed = counts.refused,
                seconds = result.duration.as_secs_f64(),
                "Load phase complete"
            );
        }
        Milestone::DeletionStarted => tracing::info!(etl_phase = "delete", "Starting delete phase"),
        Milestone::DeletionEnded { deleted, failed, held_back } => {
            tracing::info!(etl_phase = "delete", deleted, failed, held_back, "Delete phase complete");
        }
    }
}
