//! Writes and deletes entities: `/blueprints/{blueprint}/entities` and its bulk routes.

use std::{collections::BTreeSet, str::FromStr};

use berth_core::{BlueprintId, Entity, UpsertOptions};
use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{
    client::{Agent, Call, PortClient, PortResponse},
    error::{CallName, PortError},
    values::words,
};
use crate::EventType;

/// What caused a write; Port records it with every entity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriteOrigin {
    pub(crate) event_type: EventType,
    /// Sent only with [`EventType::Resync`].
    pub(crate) resync: Uuid,
}

impl WriteOrigin {
    fn add_to(self, call: Call) -> Call {
        let call = call.query("ocean_info_event_type", self.event_type.as_str());
        match self.event_type {
            EventType::Resync => call.query("ocean_info_resync_id", &self.resync.to_string()),
            EventType::IncrementalResync | EventType::HttpRequest => call,
        }
    }
}

/// An entity as it is sent: only what the mapping sets, including nulls.
#[derive(Serialize)]
pub(crate) struct EntityBody<'a> {
    identifier: Identifier<'a>,
    blueprint: &'a BlueprintId,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icon: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team: Option<&'a Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    properties: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    relations: &'a Map<String, Value>,
}

/// Identifies an entity.
#[derive(Serialize)]
#[serde(untagged)]
enum Identifier<'a> {
    Text(&'a str),
    /// The entity that Port finds by this query.
    Query(&'a Value),
}

impl<'a> EntityBody<'a> {
    pub(crate) fn of(entity: &'a Entity) -> Self {
        let text = Identifier::Text(&entity.key.identifier);
        Self {
            identifier: entity.search.as_ref().map_or(text, Identifier::Query),
            blueprint: &entity.key.blueprint,
            title: entity.title.as_ref(),
            icon: entity.icon.as_ref(),
            team: entity.team.as_ref(),
            properties: &entity.properties,
            relations: &entity.relations,
        }
    }
}

/// The reply to a single upsert.
#[derive(Debug, Deserialize)]
pub(crate) struct SingleReply {
    pub(crate) entity: Upserted,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Upserted {
    pub(crate) identifier: String,
}

/// The reply to a bulk upsert. Its entries are parsed individually: an unexpected one affects only its
/// entity.
#[derive(Debug, Deserialize)]
pub(crate) struct BulkReply {
    #[serde(default)]
    entities: Value,
    #[serde(default)]
    errors: Value,
}

/// An entity that Port has written.
#[derive(Debug)]
pub(crate) struct BulkEntity {
    pub(crate) index: Option<usize>,
    pub(crate) identifier: Option<String>,
    pub(crate) created: bool,
}

/// The identifier in a reply if Port did not find the entity.
pub(crate) const UNKNOWN: &str = "unknown";

/// An entity that Port has not written.
#[derive(Debug)]
pub(crate) struct BulkError {
    pub(crate) index: Option<usize>,
    /// [`UNKNOWN`] if Port found no entity by a search query.
    pub(crate) identifier: Option<String>,
    pub(crate) status_code: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) message: Option<String>,
}

impl BulkReply {
    /// Returns the entities that Port reports as written.
    pub(crate) fn done(&self) -> impl Iterator<Item = BulkEntity> {
        entries(&self.entities).map(|entry| BulkEntity {
            index: whole(&entry["index"]),
            identifier: entry["identifier"].as_str().map(str::to_owned),
            created: entry["created"] == true || entry["created"] == "true",
        })
    }

    /// Returns the entities that Port reports as not written.
    pub(crate) fn failed(&self) -> impl Iterator<Item = BulkError> {
        entries(&self.errors).map(|entry| BulkError {
            index: whole(&entry["index"]),
            identifier: entry["identifier"].as_str().map(str::to_owned),
            status_code: whole(&entry["statusCode"]),
            error: words(&entry["error"]),
            message: words(&entry["message"]),
        })
    }
}

/// Returns the objects of a list. Other elements name no entity.
fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten().filter(|entry| entry.is_object())
}

/// Parses a whole number, also as a text or with a zero fraction.
fn whole<N: FromStr>(value: &Value) -> Option<N> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        Value::Number(number) => {
            let text = number.to_string();
            text.strip_suffix(".0").unwrap_or(&text).parse().ok()
        }
        _ => None,
    }
}

#[derive(Serialize)]
pub(crate) struct DeleteRequest<'a> {
    pub(crate) entities: &'a [&'a str],
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeleteReply {
    #[serde(default)]
    pub(crate) deleted_entities: Vec<Deleted>,
}

/// Port names a deleted entity by its identifier, or as an entity.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Deleted {
    Identifier(String),
    Entity {
        identifier: String,
        #[serde(default)]
        blueprint: Option<String>,
    },
}

impl DeleteReply {
    /// Returns the deleted identifiers of `blueprint`, and everything that is named with its blueprint.
    pub(crate) fn split(self, blueprint: &str) -> (BTreeSet<String>, Vec<(String, String)>) {
        let (mut here, mut named) = (BTreeSet::new(), Vec::new());
        for deleted in self.deleted_entities {
            let (identifier, of) = match deleted {
                Deleted::Identifier(identifier) => (identifier, None),
                Deleted::Entity { identifier, blueprint } => (identifier, blueprint),
            };
            if of.as_ref().is_none_or(|of| of == blueprint) {
                here.insert(identifier.clone());
            }
            named.extend(of.map(|of| (of, identifier)));
        }
        (here, named)
    }
}

impl PortClient {
    /// Creates or updates several entities of one blueprint. `body` is a list of [`EntityBody`], as JSON.
    ///
    /// Also returns the call's name, for the errors of single entities.
    pub(crate) async fn upsert_bulk(
        &self,
        blueprint: &BlueprintId,
        body: Vec<u8>,
        options: UpsertOptions,
        origin: WriteOrigin,
    ) -> Result<(BulkReply, CallName), PortError> {
        let call = self.upsert_call(blueprint, &["bulk"], options, origin)?.divisible().body(body);
        let name = call.name();
        let _permit = self.entity_permit().await;
        Ok((self.send(call).await?.json()?, name))
    }

    /// Creates or updates one entity. The reply is a [`SingleReply`].
    pub(crate) async fn upsert_one(
        &self,
        blueprint: &BlueprintId,
        body: Bytes,
        options: UpsertOptions,
        origin: WriteOrigin,
    ) -> Result<PortResponse, PortError> {
        let call = self.upsert_call(blueprint, &[], options, origin)?.body(body);
        let _permit = self.entity_permit().await;
        self.send(call).await
    }

    fn upsert_call(
        &self,
        blueprint: &BlueprintId,
        more: &[&str],
        options: UpsertOptions,
        origin: WriteOrigin,
    ) -> Result<Call, PortError> {
        let mut segments = vec!["blueprints", blueprint.as_str(), "entities"];
        segments.extend(more);
        let text = |flag| if flag { "true" } else { "false" };
        let call = Call::new("upsert entities of", Method::POST, self.url(&segments)?)
            .subject(blueprint.as_str())
            .agent(Agent::Exporter)
            .query("upsert", "true")
            .query("merge", text(options.merge))
            .query("create_missing_related_entities", text(options.create_missing_related_entities))
            .query("validation_only", "false");
        Ok(origin.add_to(call))
    }

    /// Deletes entities of one blueprint and, with `dependents`, those that require them.
    pub(crate) async fn delete_entities(
        &self,
        blueprint: &BlueprintId,
        identifiers: &[&str],
        dependents: bool,
        origin: WriteOrigin,
    ) -> Result<DeleteReply, PortError> {
        let url = self.url(&["blueprints", blueprint.as_str(), "bulk", "entities", "delete"])?;
        let call = Call::new("delete entities of", Method::POST, url)
            .subject(blueprint.as_str())
            .agent(Agent::Exporter)
            .query("delete_dependents", if dependents { "true" } else { "false" });
        let call = origin.add_to(call.divisible()).json(&DeleteRequest { entities: identifiers })?;
        let _permit = self.entity_permit().await;
        self.send(call).await?.json()
    }
}
