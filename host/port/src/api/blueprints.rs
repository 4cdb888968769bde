//! Blueprints: `/blueprints`.

use std::collections::BTreeMap;

use berth_core::BlueprintId;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    client::{Agent, Call, PortClient, Repeat},
    error::PortError,
};

#[derive(Debug, Deserialize)]
pub(crate) struct BlueprintsReply {
    pub(crate) blueprints: Vec<BlueprintRelations>,
}

/// A blueprint and the targets of its relations.
#[derive(Debug, Deserialize)]
pub(crate) struct BlueprintRelations {
    pub(crate) identifier: String,
    #[serde(default)]
    pub(crate) relations: Option<BTreeMap<String, RelationTarget>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RelationTarget {
    pub(crate) target: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct BlueprintReply {
    pub(crate) blueprint: BlueprintDefinition,
}

/// What a blueprint requires of its entities.
#[derive(Debug, Deserialize)]
pub(crate) struct BlueprintDefinition {
    #[serde(default)]
    pub(crate) schema: Schema,
    #[serde(default)]
    pub(crate) relations: BTreeMap<String, Relation>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Schema {
    #[serde(default)]
    pub(crate) required: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Relation {
    pub(crate) target: BlueprintId,
    #[serde(default)]
    pub(crate) required: Option<bool>,
}

impl PortClient {
    /// Lists all blueprints with their relations.
    pub(crate) async fn blueprints(&self) -> Result<Vec<BlueprintRelations>, PortError> {
        let call = Call::new("list the blueprints", Method::GET, self.url(&["blueprints"])?);
        Ok(self.send(call).await?.json::<BlueprintsReply>()?.blueprints)
    }

    /// Gets a blueprint; `None` if it does not exist.
    pub(crate) async fn blueprint(
        &self,
        identifier: &BlueprintId,
    ) -> Result<Option<BlueprintDefinition>, PortError> {
        let url = self.url(&["blueprints", identifier.as_str()])?;
        let call = Call::new("get blueprint", Method::GET, url).subject(identifier.as_str());
        let Some(reply) = self.find(call).await? else { return Ok(None) };
        Ok(Some(reply.json::<BlueprintReply>()?.blueprint))
    }

    /// Creates a blueprint.
    pub(crate) async fn create_blueprint(
        &self,
        identifier: &BlueprintId,
        definition: &Map<String, Value>,
    ) -> Result<(), PortError> {
        let call = Call::new("create blueprint", Method::POST, self.url(&["blueprints"])?)
            .repeat(Repeat::Unprocessed)
            .subject(identifier.as_str())
            .agent(Agent::Exporter)
            .json(definition)?;
        self.send(call).await.map(drop)
    }

    /// Adds a blueprint's references to others.
    pub(crate) async fn complete_blueprint(
        &self,
        identifier: &BlueprintId,
        definition: &Map<String, Value>,
    ) -> Result<(), PortError> {
        let url = self.url(&["blueprints", identifier.as_str()])?;
        let call = Call::new("complete blueprint", Method::PATCH, url)
            .subject(identifier.as_str())
            .agent(Agent::Exporter)
            .json(definition)?;
        self.send(call).await.map(drop)
    }

    /// Deletes a blueprint, if it exists.
    pub(crate) async fn delete_blueprint(&self, identifier: &BlueprintId) -> Result<(), PortError> {
        let url = self.url(&["blueprints", identifier.as_str()])?;
        let call = Call::new("delete blueprint", Method::DELETE, url)
            .subject(identifier.as_str())
            .agent(Agent::Exporter);
        self.find(call).await.map(drop)
    }
}
