//! Port's JSON, as far as Berth speaks it. No other module names a field of it.

pub(crate) mod raw;
pub(crate) mod reporting;

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
};

use berth_core::{AppConfig, BlueprintId, Entity};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRequest<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
}

/// Has no `Debug`: it holds the token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenReply {
    pub(crate) access_token: String,
    /// Seconds.
    pub(crate) expires_in: u64,
    pub(crate) token_type: String,
}

/// What a token says.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenClaims {
    #[serde(default)]
    pub(crate) org_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ErrorReply {
    #[serde(default)]
    pub(crate) error: Value,
    #[serde(default)]
    pub(crate) message: Value,
    #[serde(default)]
    pub(crate) code: Value,
}

impl ErrorReply {
    /// Whether it is about a resync that a newer one has replaced. The word stands in one of several
    /// places.
    pub(crate) fn is_stale(&self) -> bool {
        let places = [&self.error["code"], &self.error["name"], &self.code, &self.error];
        places.into_iter().any(|word| word == "resync_stale")
    }
}

// Integration and organization.

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
    pub(crate) resync_state: Option<Stamp>,
    pub(crate) ingest_attributes: Option<Ingest>,
    pub(crate) log_attributes: Option<Ingest>,
    pub(crate) metric_attributes: Option<Ingest>,
}

/// Where something is sent beside the API.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Ingest {
    pub(crate) ingest_url: Option<String>,
}

/// Something of which only the time of its last change matters here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Stamp {
    #[serde(deserialize_with = "time")]
    pub(crate) updated_at: Option<DateTime<Utc>>,
}

/// A time in ISO 8601. Anything else is none: no resync may fail for it.
fn time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    Ok(iso_time(&Value::deserialize(from)?))
}

/// See [`time`].
pub(crate) fn iso_time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok()).map(DateTime::from)
}

#[derive(Debug, Deserialize)]
pub(crate) struct ResyncRequestReply {
    #[serde(default)]
    pub(crate) request: Option<Stamp>,
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

#[derive(Deserialize)]
pub(crate) struct KafkaCredentialsReply {
    #[serde(default)]
    pub(crate) credentials: Option<KafkaCredentials>,
}

/// Has no `Debug`: it holds the password.
#[derive(Deserialize)]
pub(crate) struct KafkaCredentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// A message of one of the Kafka topics, as far as it may be a resync request. Of what else these
/// topics carry no form is known, so anything that is missing or of another form is null.
pub(crate) struct TopicMessage(Value);

impl TopicMessage {
    /// `None` when it is no JSON.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        serde_json::from_slice(message).ok().map(Self)
    }

    pub(crate) fn action(&self) -> Option<&str> {
        self.text("/action")
    }

    /// The integration that the message is for.
    pub(crate) fn addressee(&self) -> Option<&str> {
        self.text("/context/integrationId")
    }

    /// The integration that was changed.
    pub(crate) fn changed(&self) -> Option<&str> {
        self.text("/diff/after/identifier")
    }

    /// When the integration was changed.
    pub(crate) fn changed_at(&self) -> Option<&Value> {
        self.0.pointer("/diff/after/updatedAt")
    }

    /// When the state of its resync was.
    pub(crate) fn resync_state_at(&self) -> Option<&Value> {
        self.0.pointer("/diff/after/resyncState/updatedAt")
    }

    /// Where the integration has its changes sent: told beside the change, else in it.
    pub(crate) fn destination(&self) -> Option<&str> {
        self.text("/changelogDestination/type").or_else(|| self.text("/diff/after/changelogDestination/type"))
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.0.pointer(pointer).and_then(Value::as_str)
    }
}

/// `resyncState` at the start: `lastResyncEnd` is sent as null.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResyncStarted {
    pub(crate) status: &'static str,
    pub(crate) last_resync_end: Option<String>,
    pub(crate) last_resync_start: String,
    pub(crate) next_resync: Option<String>,
    /// The spelling is Port's.
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

// Blueprints.

#[derive(Debug, Deserialize)]
pub(crate) struct BlueprintsReply {
    pub(crate) blueprints: Vec<BlueprintRelations>,
}

/// A blueprint and what it relates to.
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
    pub(crate) blueprint: BlueprintForm,
}

/// What a blueprint asks of its entities.
#[derive(Debug, Deserialize)]
pub(crate) struct BlueprintForm {
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

// Entities.

/// An entity as it is sent: only what the mapping sets, nulls included.
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

/// Which entity is meant.
#[derive(Serialize)]
#[serde(untagged)]
enum Identifier<'a> {
    Text(&'a str),
    /// The one that Port finds by this query.
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
pub(crate) struct UpsertReply {
    pub(crate) entity: Upserted,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Upserted {
    pub(crate) identifier: String,
}

/// The reply to a bulk upsert. Its entries are read one by one: an odd one costs its entity alone.
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

/// How Port names an entity that it did not find.
pub(crate) const UNKNOWN: &str = "unknown";

/// An entity that Port has not written.
#[derive(Debug)]
pub(crate) struct BulkError {
    pub(crate) index: Option<usize>,
    /// [`UNKNOWN`] when Port found no entity by a search query.
    pub(crate) identifier: Option<String>,
    pub(crate) status_code: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) message: Option<String>,
}

impl BulkReply {
    /// What Port says it has written.
    pub(crate) fn done(&self) -> impl Iterator<Item = BulkEntity> {
        entries(&self.entities).map(|entry| BulkEntity {
            index: whole(&entry["index"]),
            identifier: entry["identifier"].as_str().map(str::to_owned),
            created: entry["created"] == true || entry["created"] == "true",
        })
    }

    /// What Port says it has not written.
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

/// The objects of a list. What else stands in it names no entity.
fn entries(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten().filter(|entry| entry.is_object())
}

/// A whole number, also as a text or with a fraction of zero.
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

/// What is to be read, whatever its form.
pub(crate) fn words(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// What an entity must meet to be found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Condition {
    Group {
        combinator: &'static str,
        rules: Vec<Condition>,
    },
    Rule {
        property: &'static str,
        operator: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<Value>,
    },
}

impl Condition {
    pub(crate) fn rule(property: &'static str, operator: &'static str, value: impl Into<Value>) -> Self {
        Self::Rule { property, operator, value: Some(value.into()) }
    }

    /// A rule whose operator takes no value.
    pub(crate) fn bare(property: &'static str, operator: &'static str) -> Self {
        Self::Rule { property, operator, value: None }
    }

    pub(crate) fn all(rules: Vec<Self>) -> Self {
        Self::Group { combinator: "and", rules }
    }

    /// At least one of them; the rule itself where there is but one.
    pub(crate) fn any(mut rules: Vec<Self>) -> Self {
        match (rules.pop(), rules.is_empty()) {
            (Some(only), true) => only,
            (last, _) => {
                rules.extend(last);
                Self::Group { combinator: "or", rules }
            }
        }
    }
}

/// The list must be there: an answer without it says nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct SearchReply<E> {
    pub(crate) entities: Vec<E>,
}

/// A search of one blueprint. `include` may be empty for everything.
#[derive(Serialize)]
pub(crate) struct PageQuery<'a> {
    pub(crate) query: &'a Condition,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) include: &'a [String],
    pub(crate) limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<&'a Value>,
}

/// A page of its answer. The list must be there here, too.
#[derive(Debug, Deserialize)]
pub(crate) struct PageReply<E> {
    pub(crate) entities: Vec<E>,
    /// Where it goes on, if it does.
    #[serde(default)]
    pub(crate) next: Option<Value>,
}

/// An entity with some of its relations.
#[derive(Debug, Deserialize)]
pub(crate) struct RelatedEntity {
    pub(crate) identifier: String,
    #[serde(default)]
    relations: Option<BTreeMap<String, Value>>,
}

impl RelatedEntity {
    /// What it relates to by a relation.
    ///
    /// # Errors
    /// The value, where it has another form.
    pub(crate) fn targets(&self, relation: &str) -> Result<Vec<&str>, Value> {
        let Some(value) = self.relations.as_ref().and_then(|relations| relations.get(relation)) else {
            return Ok(Vec::new());
        };
        let targets = match value {
            Value::Null => Some(Vec::new()),
            Value::String(one) => Some(vec![one.as_str()]),
            Value::Array(many) => many.iter().map(Value::as_str).collect(),
            _ => None,
        };
        targets.ok_or_else(|| value.clone())
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct FoundEntity {
    pub(crate) identifier: String,
    pub(crate) blueprint: String,
    #[serde(default)]
    pub(crate) title: Option<Value>,
    #[serde(default)]
    pub(crate) icon: Option<Value>,
    #[serde(default)]
    pub(crate) team: Option<Value>,
    #[serde(default)]
    pub(crate) properties: Option<Map<String, Value>>,
    #[serde(default)]
    pub(crate) relations: Option<Map<String, Value>>,
}

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

/// Port names a deleted entity by its identifier alone, or as an entity.
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
    /// The identifiers that are gone from `blueprint`; and everything that is named with its blueprint.
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
