//! The organization and its feature flags: `/organization`.

use reqwest::Method;
use serde::Deserialize;

use super::{
    client::{Call, PortClient},
    error::PortError,
};

#[derive(Debug, Deserialize)]
pub(crate) struct OrganizationReply {
    pub(crate) organization: Organization,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Organization {
    pub(crate) id: Option<String>,
    pub(crate) feature_flags: Option<Vec<String>>,
}

impl PortClient {
    /// Gets the organization, and keeps its ID for [`PortClient::organization_id`].
    pub(crate) async fn organization(&self) -> Result<Organization, PortError> {
        let call = Call::new("get the organization", Method::GET, self.url(&["organization"])?);
        let reply: OrganizationReply = self.send(call).await?.json()?;
        if let Some(id) = reply.organization.id.as_ref().filter(|id| !id.is_empty()) {
            self.set_organization_unless_known(id);
        }
        Ok(reply.organization)
    }
}
