//! Raw data, examples, and the lifecycle of a resync whose raw data Port maps by itself.

use std::collections::BTreeMap;

use berth_core::{AppConfig, Document};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// Empty objects and strings are sent where the contract has a field that Berth has nothing for.
#[derive(Serialize)]
pub(crate) struct Nothing {}

/// One write of raw data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawData<'a> {
    pub(crate) kind: &'a str,
    pub(crate) event_type: &'static str,
    /// Milliseconds since 1970.
    pub(crate) extraction_timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resync_start_time: Option<String>,
    pub(crate) event_id: String,
    pub(crate) data: &'a [Box<RawValue>],
}

/// What was written, read again.
#[derive(Deserialize)]
pub(crate) struct WrittenData {
    pub(crate) data: Vec<Box<RawValue>>,
}

/// A batch, read again; all but its items stay as they are.
#[derive(Serialize, Deserialize)]
pub(crate) struct WrittenBatch {
    pub(crate) items: Vec<Box<RawValue>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl WrittenBatch {
    /// Two batches with half of the items each; none where there is but one.
    pub(crate) fn halves(mut self) -> Option<[Self; 2]> {
        let second = self.items.split_off(self.items.len() / 2);
        let rest = self.rest.clone();
        (!self.items.is_empty()).then_some([self, Self { items: second, rest }])
    }
}

/// One batch of raw data: an element of [`RawData::data`].
#[derive(Serialize)]
pub(crate) struct RawBatch<'a> {
    pub(crate) request: Nothing,
    pub(crate) response: Nothing,
    pub(crate) items: &'a [Document],
    pub(crate) metadata: RawMetadata,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) environment_data: Option<BTreeMap<&'a str, Option<&'a str>>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawMetadata {
    pub(crate) operation: &'static str,
    pub(crate) extraction_timestamp: u64,
    /// The position in the app-config's `resources[]`.
    pub(crate) resource_index: usize,
    pub(crate) selector_hash: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Examples<'a> {
    pub(crate) examples: &'a [Value],
}

/// A resync begins.
#[derive(Serialize)]
pub(crate) struct SyncStarted<'a> {
    pub(crate) status: &'static str,
    pub(crate) integration_id: &'a str,
    pub(crate) integration_type: &'a str,
    pub(crate) integration_version: &'a str,
    pub(crate) sync_type: &'static str,
    pub(crate) ocean_version: &'static str,
    pub(crate) started_at: String,
    pub(crate) mapping: &'a Value,
    pub(crate) kind_identifiers: &'a [String],
}

/// A resync has ended: `finished` tells whose, `failed` and `aborted` tell nothing more.
#[derive(Serialize)]
pub(crate) struct SyncEnded<'a> {
    pub(crate) status: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) whose: Option<Whose<'a>>,
}

#[derive(Serialize)]
pub(crate) struct Whose<'a> {
    pub(crate) integration_id: &'a str,
    pub(crate) integration_type: &'a str,
    pub(crate) integration_version: &'a str,
    pub(crate) ocean_version: &'static str,
}

/// A kind begins or has ended.
#[derive(Serialize)]
pub(crate) struct KindStatus<'a> {
    pub(crate) status: &'static str,
    pub(crate) integration_version: &'a str,
    pub(crate) ocean_version: &'static str,
    pub(crate) kind_identifier: &'a str,
    /// With `started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) integration_id: Option<&'a str>,
    /// With `started` and `finished`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) integration_type: Option<&'a str>,
    /// With `started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<String>,
}

/// What Port says of a resync.
#[derive(Debug, Deserialize)]
pub(crate) struct SyncReply {
    #[serde(default)]
    pub(crate) status: Option<String>,
}

/// The app-config as Port maps by it: each entry's mapping in a list.
pub(crate) fn listed_mappings(config: &AppConfig) -> serde_json::Result<Value> {
    let mut config = serde_json::to_value(config)?;
    let resources = config.get_mut("resources").and_then(Value::as_array_mut);
    for resource in resources.into_iter().flatten() {
        if let Some(mappings) = resource.pointer_mut("/port/entity/mappings") {
            *mappings = Value::Array(vec![mappings.take()]);
        }
    }
    Ok(config)
}
