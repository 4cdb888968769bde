//! The lifecycle of a resync whose raw data Port maps itself: `/lifecycle/{resync}`.

use berth_core::AppConfig;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::{
    client::{Call, PortClient},
    error::PortError,
};
use crate::RetryPolicy;

/// A resync started.
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

/// A resync has ended: `finished` names the integration, `failed` and `aborted` add nothing.
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

/// A kind started or ended.
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

/// Port's state of a resync.
#[derive(Debug, Deserialize)]
pub(crate) struct SyncReply {
    #[serde(default)]
    pub(crate) status: Option<String>,
}

/// Returns the app-config in the form for Port's mapping: each resource mapping's mapping in a list.
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

/// A report to `/lifecycle/{resync}`.
pub(crate) enum LifecycleReport<'a> {
    Started(SyncStarted<'a>),
    Ended(SyncEnded<'a>),
    Kind(KindStatus<'a>),
}

impl PortClient {
    /// Reports a step of a resync. With `closing` it is sent even after a stop.
    pub(crate) async fn report_lifecycle(
        &self,
        resync: Uuid,
        report: &LifecycleReport<'_>,
        retry: RetryPolicy,
        closing: bool,
    ) -> Result<(), PortError> {
        let id = resync.to_string();
        let call = |name, route: &[&str]| {
            let url = self.url(&[&["lifecycle", id.as_str()], route].concat())?;
            Ok::<_, PortError>(Call::new(name, Method::POST, url).retry(retry))
        };
        let call = match report {
            LifecycleReport::Started(body) => {
                call("report the begin of the resync's raw data", &[])?.json(body)
            }
            LifecycleReport::Ended(body) => call("report the end of the resync's raw data", &[])?.json(body),
            LifecycleReport::Kind(body) => call("report a kind's raw data", &["kind"])?.json(body),
        }?;
        self.send(if closing { call.closing() } else { call }).await.map(drop)
    }

    /// Gets the status of a resync; `None` if Port does not know it.
    pub(crate) async fn lifecycle_status(&self, resync: Uuid) -> Result<Option<String>, PortError> {
        let url = self.url(&["lifecycle", &resync.to_string()])?;
        let call = Call::new("look whether the resync was aborted", Method::GET, url).once();
        let Some(reply) = self.find(call).await? else { return Ok(None) };
        Ok(reply.json::<SyncReply>()?.status)
    }
}
