//! The log as Port shows it on the page of the integration: records shipped by the host, and the
//! lines that tell the phases of a resync.

use std::time::{Duration, SystemTime};

use berth_core::{Milestone, Problem};
use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Map, Value};

use crate::{
    PortCatalog,
    client::{Call, Repeat},
    error::PortError,
    metrics::Entry,
    wire::reporting::{Log, Logs},
};

/// How long Port may take for some records.
const PATIENCE: Duration = Duration::from_secs(10);

/// A record of the log, for Port to show.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// What happened.
    pub message: String,
    /// How grave it is.
    pub level: LogLevel,
    /// When.
    pub time: SystemTime,
    /// Where and with what: `hostname`, `resource_kind`, counts.
    pub extra: Map<String, Value>,
}

/// How grave a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

impl LogLevel {
    /// As Port spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

/// Sends records. Not repeated when Port may have taken them.
pub(crate) async fn ship(port: &PortCatalog, records: Vec<LogRecord>) -> Result<(), PortError> {
    let Some(url) = port.ingest.logs() else {
        return Err(PortError::Other(Problem::new("Port names no address for logs")));
    };
    let logs = records
        .into_iter()
        .map(|record| Log {
            message: port.masker.text(record.message),
            level: record.level.as_str(),
            timestamp: timestamp(record.time),
            extra: port.masker.object(record.extra),
        })
        .collect();
    let call = Call::new("ship logs", Method::POST, url).repeat(Repeat::Unprocessed).json(&Logs { logs })?;
    port.client.tell(&call, PATIENCE).await
}

/// As Ocean writes it: `2026-11-23T11:37:10.801273Z`.
fn timestamp(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Logs the phases of an entry in the words that Port's event log knows. Reading, mapping and writing
/// overlap here, so that they are complete together.
pub(crate) fn milestone(entries: &[Entry], milestone: &Milestone) {
    match milestone {
        Milestone::Planned => tracing::info!(kinds = entries.len(), "Starting resync"),
        Milestone::ResourceStarted { resource } => {
            let Some(Entry { kind, .. }) = entries.get(*resource) else { return };
            tracing::info!(
                resource_kind = kind.as_str(),
                index = resource,
                etl_phase = "extract",
                "Starting extract phase"
            );
        }
        Milestone::ResourceEnded { resource, result } => {
            let Some(Entry { kind, .. }) = entries.get(*resource) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_have_microseconds_and_a_z() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_270);
        assert_eq!(timestamp(time), "2026-11-23T11:37:10.801270Z");
    }
}
