//! Reports to Port outside its API: metrics of a resync, heartbeats, log records.

use std::{collections::BTreeMap, time::Duration};

use berth_core::ResourceResult;
use reqwest::{Method, Url};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use uuid::Uuid;

use super::{
    client::{Call, PortClient, Repeat},
    error::PortError,
    url::below,
};

/// The state of a kind's resync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncState {
    Pending,
    Syncing,
    Completed,
    Failed,
    Aborted,
}

impl SyncState {
    /// Returns whether it is final.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Aborted)
    }
}

/// One kind's metric.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metric {
    pub(crate) integration_type: String,
    pub(crate) installation_type: &'static str,
    pub(crate) execution_mode: &'static str,
    pub(crate) integration_identifier: String,
    pub(crate) integration_version: String,
    pub(crate) ocean_version: &'static str,
    /// `{kind}-{index}`, or the name of a pseudo-kind.
    pub(crate) kind_identifier: String,
    pub(crate) kind: String,
    pub(crate) kind_index: usize,
    pub(crate) event_id: String,
    pub(crate) sync_state: SyncState,
    /// The mapping's expression, unchanged; a pseudo-kind has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blueprint: Option<Value>,
    pub(crate) metrics: Figures,
}

/// `metrics`: the counts, nested by label.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Figures {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    phase: BTreeMap<&'static str, Phase>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
enum Phase {
    Objects { object_count_type: BTreeMap<&'static str, ObjectCount> },
    Whole { duration_seconds: f64, success: u8 },
}

#[derive(Debug, Clone, Serialize)]
struct ObjectCount {
    object_count: u64,
}

impl Figures {
    /// Returns what was read, mapped and written of a kind.
    pub(crate) fn of_resource(result: &ResourceResult) -> Self {
        let counts = &result.counts;
        let mut figures = Self::default();
        figures.objects("extract", &[("raw_extracted", counts.fetched)]);
        figures.objects(
            "transform",
            &[("transformed", counts.mapped), ("filtered_out", counts.filtered), ("failed", counts.failed)],
        );
        figures.objects(
            "load",
            &[
                ("loaded", counts.created + counts.updated),
                ("failed", counts.refused),
                ("skipped", counts.unchanged),
            ],
        );
        figures
    }

    /// Returns what was deleted.
    pub(crate) fn of_deletion(deleted: u64, failed: u64) -> Self {
        let mut figures = Self::default();
        figures.objects("delete", &[("deleted", deleted), ("failed", failed)]);
        figures
    }

    /// Adds the total duration, and the result.
    pub(crate) fn end(&mut self, seconds: f64, success: bool) {
        let whole = Phase::Whole { duration_seconds: seconds, success: u8::from(success) };
        self.phase.insert("resync", whole);
    }

    fn objects(&mut self, phase: &'static str, counts: &[(&'static str, u64)]) {
        let counts = counts.iter().map(|(what, count)| (*what, ObjectCount { object_count: *count }));
        self.phase.insert(phase, Phase::Objects { object_count_type: counts.collect() });
    }
}

/// Several kinds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MetricList<'a> {
    pub(crate) sync_kinds_metrics: &'a [Metric],
}

/// One kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneMetric<'a> {
    pub(crate) sync_kind_metrics: &'a Metric,
}

/// A heartbeat.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Heartbeat {
    pub(crate) event_id: String,
}

#[derive(Serialize)]
pub(crate) struct Logs<'a> {
    pub(crate) logs: &'a [Box<RawValue>],
}

/// A log record. The time is in UTC, with microseconds and a `Z`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct LogEntry<'a> {
    pub(crate) message: String,
    pub(crate) level: &'a str,
    pub(crate) timestamp: String,
    pub(crate) extra: Map<String, Value>,
}

impl PortClient {
    /// Sends several metrics to Port's address for metrics.
    pub(crate) async fn report_metrics(
        &self,
        base: &Url,
        metrics: &[Metric],
        patience: Duration,
    ) -> Result<(), PortError> {
        let call = Call::new("report metrics", Method::POST, below(base, &["syncMetrics"])?)
            .json(&MetricList { sync_kinds_metrics: metrics })?;
        self.send_optional(&call, patience).await
    }

    /// Updates the metric of one kind.
    pub(crate) async fn report_metric(
        &self,
        base: &Url,
        resync: Uuid,
        metric: &Metric,
        patience: Duration,
    ) -> Result<(), PortError> {
        let resync = resync.to_string();
        let parts = ["syncMetrics", "resync", &resync, "kind", &metric.kind_identifier];
        let call = Call::new("report a metric", Method::PUT, below(base, &parts)?)
            .subject(&metric.kind_identifier)
            .json(&OneMetric { sync_kind_metrics: metric })?;
        self.send_optional(&call, patience).await
    }

    /// Sends a copy of a metric to the operator's webhook, without a token.
    pub(crate) async fn copy_metric(
        &self,
        webhook: &Url,
        metric: &Metric,
        patience: Duration,
    ) -> Result<(), PortError> {
        let call = Call::new("send a metric to the webhook", Method::POST, webhook.clone())
            .unauthorized()
            .json(metric)?;
        self.send_optional(&call, patience).await
    }

    /// Sends a heartbeat of a resync.
    pub(crate) async fn send_heartbeat(
        &self,
        base: &Url,
        resync: Uuid,
        patience: Duration,
    ) -> Result<(), PortError> {
        let call = Call::new("send a sign of life", Method::POST, below(base, &["heartbeat"])?)
            .json(&Heartbeat { event_id: resync.to_string() })?;
        self.send_optional(&call, patience).await
    }

    /// Sends log records. Not retried if Port may have accepted them.
    pub(crate) async fn ship_logs(
        &self,
        url: &Url,
        logs: &[Box<RawValue>],
        patience: Duration,
    ) -> Result<(), PortError> {
        let call = Call::new("ship logs", Method::POST, url.clone())
            .repeat(Repeat::Unprocessed)
            .json(&Logs { logs })?;
        self.send_optional(&call, patience).await
    }
}
