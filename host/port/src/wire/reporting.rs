//! What goes beside the API: metrics of a resync, signs of life, log records.

use std::collections::BTreeMap;

use berth_core::ResourceResult;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

/// How far the resync of a kind is.
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
    /// Whether nothing comes after it.
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
    /// The expression of the mapping as it stands there; a pseudo-kind has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blueprint: Option<Value>,
    pub(crate) metrics: Figures,
}

/// `metrics`: what is counted, nested by label.
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
    /// What was read, mapped and written of a kind.
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

    /// What was deleted.
    pub(crate) fn of_deletion(deleted: u64, failed: u64) -> Self {
        let mut figures = Self::default();
        figures.objects("delete", &[("deleted", deleted), ("failed", failed)]);
        figures
    }

    /// Adds how long it took as a whole, and whether it went well.
    pub(crate) fn end(&mut self, seconds: f64, success: bool) {
        let whole = Phase::Whole { duration_seconds: seconds, success: u8::from(success) };
        self.phase.insert("resync", whole);
    }

    fn objects(&mut self, phase: &'static str, counts: &[(&'static str, u64)]) {
        let counts = counts.iter().map(|(what, count)| (*what, ObjectCount { object_count: *count }));
        self.phase.insert(phase, Phase::Objects { object_count_type: counts.collect() });
    }
}

/// Several kinds at once.
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

/// A sign of life.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Heartbeat {
    pub(crate) event_id: String,
}

#[derive(Serialize)]
pub(crate) struct Logs<'a> {
    pub(crate) logs: &'a [Box<RawValue>],
}

/// A record of the log. The time is in UTC, with microseconds and a `Z`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Log<'a> {
    pub(crate) message: String,
    pub(crate) level: &'a str,
    pub(crate) timestamp: String,
    pub(crate) extra: Map<String, Value>,
}
