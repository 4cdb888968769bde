//! Raw data, and the examples of it in Port's mapping editor.

use std::collections::BTreeMap;

use berth_core::{Document, Kind};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

use super::{
    client::{Call, PortClient},
    error::PortError,
    url::form_url,
};

/// An empty object, for a field of the contract that Berth has no value for.
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

/// Written data, parsed again.
#[derive(Deserialize)]
pub(crate) struct WrittenData {
    pub(crate) data: Vec<Box<RawValue>>,
}

/// A batch, parsed again; everything except its items stays unchanged.
#[derive(Serialize, Deserialize)]
pub(crate) struct WrittenBatch {
    pub(crate) items: Vec<Box<RawValue>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

impl WrittenBatch {
    /// Splits it into two batches with half of the items each; `None` with only one item.
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
pub(crate) struct ExamplesBody<'a> {
    pub(crate) examples: &'a [Value],
}

/// The parts of the address for a write of raw data.
#[derive(Clone, Copy)]
pub(crate) struct RawRoute<'a> {
    /// Port's address for raw data.
    pub(crate) address: &'a Url,
    pub(crate) integration_type: &'a str,
    pub(crate) integration: &'a str,
    /// The resync or, for a live event, the event.
    pub(crate) sync: Uuid,
}

impl PortClient {
    /// Shows examples of a kind. Never retried, because late examples are useless.
    pub(crate) async fn show_examples(
        &self,
        integration: &str,
        kind: &Kind,
        examples: &[Value],
    ) -> Result<(), PortError> {
        let segments = ["integration", integration, "kinds", kind.as_str(), "examples"];
        let call = Call::new("show examples of", Method::POST, self.form_url(&segments)?)
            .subject(kind.as_str())
            .once()
            .json(&ExamplesBody { examples })?;
        self.send(call).await.map(drop)
    }
}

/// Returns a call that writes raw data, for [`PortClient::send`].
pub(crate) fn raw_data_call(route: RawRoute<'_>, body: &RawData<'_>) -> Result<Call, PortError> {
    let sync = route.sync.to_string();
    let segments = [
        "lake",
        "write",
        "integration-type",
        route.integration_type,
        "integration",
        route.integration,
        "sync",
        &sync,
        "kind",
        body.kind,
    ];
    let url = form_url(route.address, &segments)?;
    Call::new("write raw data of", Method::POST, url).subject(body.kind).json(body)
}
