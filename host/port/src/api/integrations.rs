//! Integrations: `/integration` and what is below it.

use std::time::SystemTime;

use berth_core::AppConfig;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    client::{Call, PortClient, Repeat},
    error::PortError,
    values::UpdateTime,
};
use crate::OCEAN_CORE_VERSION;

/// The installation type of the host, by which Port distinguishes installations.
pub(crate) const INSTALLATION_TYPE: &str = "OnPrem";

#[derive(Debug, Deserialize)]
pub(crate) struct IntegrationReply {
    pub(crate) integration: Integration,
}

#[derive(Debug, Deserialize)]
pub(crate) struct IntegrationsReply {
    pub(crate) integrations: Vec<IntegrationSummary>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IntegrationSummary {
    pub(crate) installation_id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Integration {
    pub(crate) config: Option<Value>,
    pub(crate) changelog_destination: Option<Value>,
    pub(crate) installation_app_type: Option<String>,
    pub(crate) installation_type: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) actions_processing_enabled: Option<bool>,
    pub(crate) incremental_sync_enabled: Option<bool>,
    pub(crate) processing_mode: Option<String>,
    pub(crate) create_port_resources_origin: Option<String>,
    pub(crate) are_port_resources_initialized: Option<bool>,
    pub(crate) resync_state: Option<UpdateTime>,
    pub(crate) ingest_attributes: Option<Ingest>,
    pub(crate) log_attributes: Option<Ingest>,
    pub(crate) metric_attributes: Option<Ingest>,
}

/// An address outside the API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ingest {
    pub(crate) ingest_url: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ResyncRequestReply {
    #[serde(default)]
    pub(crate) request: Option<UpdateTime>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateIntegration<'a> {
    pub(crate) installation_id: &'a str,
    pub(crate) installation_app_type: &'a str,
    pub(crate) version: &'a str,
    pub(crate) changelog_destination: &'a Value,
    pub(crate) config: Map<String, Value>,
    pub(crate) actions_processing_enabled: bool,
    pub(crate) incremental_sync_enabled: bool,
    pub(crate) create_port_resources_origin: &'static str,
}

/// A change of an integration; always with the version.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PatchIntegration<'a> {
    pub(crate) version: &'a str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) traits: Option<Traits<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<&'a AppConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) are_port_resources_initialized: Option<bool>,
}

/// What an integration must agree with its settings on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Traits<'a> {
    pub(crate) installation_app_type: &'a str,
    pub(crate) changelog_destination: &'a Value,
    pub(crate) actions_processing_enabled: bool,
    pub(crate) incremental_sync_enabled: bool,
    pub(crate) processing_mode: &'static str,
}

#[derive(Serialize)]
pub(crate) struct PatchConfig<'a> {
    pub(crate) config: &'a AppConfig,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ProvisionEnabledReply {
    #[serde(default)]
    pub(crate) integrations: Vec<String>,
}

/// `resyncState` at the start: `lastResyncEnd` is sent as null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResyncStarted {
    pub(crate) status: &'static str,
    pub(crate) last_resync_end: Option<String>,
    pub(crate) last_resync_start: String,
    pub(crate) next_resync: Option<String>,
    /// Port's spelling.
    #[serde(rename = "intervalInMinuets")]
    pub(crate) interval_in_minutes: Option<u32>,
}

/// `resyncState` at the end.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResyncEnded {
    pub(crate) status: &'static str,
    pub(crate) last_resync_end: String,
    pub(crate) next_resync: Option<String>,
    #[serde(rename = "intervalInMinuets")]
    pub(crate) interval_in_minutes: Option<u32>,
}

/// The state of a resync, as [`PortClient::report_resync_state`] sends it.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum ResyncState {
    Started(ResyncStarted),
    Ended(ResyncEnded),
}

impl PortClient {
    /// Gets an integration; `None` if it does not exist.
    pub(crate) async fn integration(&self, identifier: &str) -> Result<Option<Integration>, PortError> {
        let call = Call::new("get the integration", Method::GET, self.url(&["integration", identifier])?)
            .subject(identifier)
            .query("oceanCoreVersion", OCEAN_CORE_VERSION)
            .query("isPolling", "false");
        let Some(reply) = self.find(call).await? else { return Ok(None) };
        Ok(Some(reply.json::<IntegrationReply>()?.integration))
    }

    /// Gets the version of any integration; `None` if it does not exist or has no version.
    pub(crate) async fn integration_version(&self, identifier: &str) -> Result<Option<String>, PortError> {
        let url = self.url(&["integration", identifier])?;
        let call = Call::new("get the integration", Method::GET, url).subject(identifier);
        let Some(reply) = self.find(call).await? else { return Ok(None) };
        Ok(reply.json::<IntegrationReply>()?.integration.version)
    }

    /// Lists the organization's integrations.
    pub(crate) async fn integrations(&self) -> Result<Vec<IntegrationSummary>, PortError> {
        let call = Call::new("list the integrations", Method::GET, self.url(&["integration"])?);
        Ok(self.send(call).await?.json::<IntegrationsReply>()?.integrations)
    }

    /// Creates an integration; with `provisioned`, Port creates its default resources.
    pub(crate) async fn create_integration(
        &self,
        integration: &CreateIntegration<'_>,
        provisioned: bool,
    ) -> Result<Integration, PortError> {
        let mut call = Call::new("create the integration", Method::POST, self.url(&["integration"])?)
            .subject(integration.installation_id)
            .repeat(Repeat::Unprocessed);
        if provisioned {
            call = call.query("integration_modes", "create_resources");
        }
        Ok(self.send(call.json(integration)?).await?.json::<IntegrationReply>()?.integration)
    }

    /// Changes an integration.
    pub(crate) async fn update_integration(
        &self,
        identifier: &str,
        change: &PatchIntegration<'_>,
    ) -> Result<(), PortError> {
        let url = self.url(&["integration", identifier])?;
        let call =
            Call::new("update the integration", Method::PATCH, url).subject(identifier).json(change)?;
        self.send(call).await.map(drop)
    }

    /// Writes the mapping of a new integration.
    pub(crate) async fn set_mapping(&self, identifier: &str, config: &AppConfig) -> Result<(), PortError> {
        let url = self.url(&["integration", identifier, "config"])?;
        let call = Call::new("set the default mapping", Method::PATCH, url).json(&PatchConfig { config })?;
        self.send(call).await.map(drop)
    }

    /// Lists the types of integrations whose default resources Port creates.
    pub(crate) async fn provision_enabled(&self) -> Result<Vec<String>, PortError> {
        let url = self.url(&["integration", "provision-enabled"])?;
        let call = Call::new("list integrations with provisioned defaults", Method::GET, url);
        match self.find(call).await? {
            Some(reply) => Ok(reply.json::<ProvisionEnabledReply>()?.integrations),
            None => Ok(Vec::new()),
        }
    }

    /// Gets the time of the last resync request; `None` if there was none.
    pub(crate) async fn resync_request(&self, identifier: &str) -> Result<Option<SystemTime>, PortError> {
        let url = self.url(&["integration", identifier, "resync-request"])?;
        let call = Call::new("look for a resync request", Method::GET, url).subject(identifier);
        let reply: ResyncRequestReply = self.send(call).await?.json()?;
        Ok(reply.request.and_then(|request| request.updated_at).map(SystemTime::from))
    }

    /// Reports the state of a resync. Returns when Port recorded it, if the response says so.
    pub(crate) async fn report_resync_state(
        &self,
        identifier: &str,
        state: &ResyncState,
    ) -> Result<Option<SystemTime>, PortError> {
        let url = self.url(&["integration", identifier, "resync-state"])?;
        // Retried, unlike Ocean's: one 503 must not leave a resync in Port that runs forever.
        let call = Call::new("report the resync's state", Method::PATCH, url).closing().json(state)?;
        // A response without the time is also valid.
        let reply: Option<IntegrationReply> = self.send(call).await?.json().ok();
        Ok(reply.and_then(|reply| reply.integration.resync_state?.updated_at).map(SystemTime::from))
    }
}
