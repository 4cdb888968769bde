//! Entities by the data source that wrote them: `/blueprints/entities/datasource-entities`.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    client::{Agent, Call, PortClient},
    error::PortError,
};

#[derive(Serialize)]
pub(crate) struct DatasourceQuery<'a> {
    pub(crate) datasource_prefix: &'a str,
    pub(crate) datasource_suffix: &'a str,
    pub(crate) limit: usize,
    pub(crate) before: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<&'a Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DatasourceReply {
    pub(crate) entities: Vec<EntityRef>,
    #[serde(default)]
    pub(crate) next: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct EntityRef {
    pub(crate) identifier: String,
    pub(crate) blueprint: String,
}

impl PortClient {
    /// Gets one page of the entities of a data source.
    pub(crate) async fn data_source_page(
        &self,
        query: &DatasourceQuery<'_>,
    ) -> Result<DatasourceReply, PortError> {
        let url = self.url(&["blueprints", "entities", "datasource-entities"])?;
        let call = Call::new("list owned entities", Method::POST, url)
            .agent(Agent::Exporter)
            .compressed()
            .json(query)?;
        self.send(call).await?.json()
    }
}
