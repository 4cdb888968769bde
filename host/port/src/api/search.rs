//! Searches entities of one blueprint: page by page, or all at once.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    client::{Agent, Call, PortClient},
    error::PortError,
};

/// The most entities on one page (Port's API reference: `limit` 1 to 1,000).
pub(crate) const PAGE_SIZE: usize = 1000;

/// The condition of a search.
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

    /// Returns a rule whose operator has no value.
    pub(crate) fn bare(property: &'static str, operator: &'static str) -> Self {
        Self::Rule { property, operator, value: None }
    }

    pub(crate) fn all(rules: Vec<Self>) -> Self {
        Self::Group { combinator: "and", rules }
    }

    /// Returns a condition that at least one rule meets; with one rule, the rule itself.
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

/// The list is required: a response without it means nothing.
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

/// A page of its results. The list is required here, too.
#[derive(Debug, Deserialize)]
pub(crate) struct PageReply<E> {
    pub(crate) entities: Vec<E>,
    /// The cursor of the next page, if there is one.
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
    /// Returns the targets of a relation.
    ///
    /// # Errors
    /// The value, if it has another form.
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

impl PortClient {
    /// Gets one page of the entities that meet a condition, starting at a cursor.
    pub(crate) async fn search_page<E: DeserializeOwned>(
        &self,
        blueprint: &str,
        query: &Condition,
        include: &[String],
        from: Option<&Value>,
    ) -> Result<PageReply<E>, PortError> {
        let url = self.url(&["blueprints", blueprint, "entities", "search"])?;
        let call = Call::new("search entities", Method::POST, url)
            .subject(blueprint)
            .agent(Agent::Exporter)
            .compressed()
            .json(&PageQuery { query, include, limit: PAGE_SIZE, from })?;
        let _permit = self.entity_permit().await;
        self.send(call).await?.json()
    }

    /// Gets all entities that meet a condition at once, without the values that Port computes.
    pub(crate) async fn search_unpaged<E: DeserializeOwned>(
        &self,
        blueprint: &str,
        query: &Condition,
        include: &[String],
    ) -> Result<Vec<E>, PortError> {
        let mut call = Call::new("search entities", Method::POST, self.url(&["entities", "search"])?)
            .subject(blueprint)
            .agent(Agent::Exporter)
            .compressed()
            .query("exclude_calculated_properties", "true");
        for field in include {
            call = call.query("include", field);
        }
        let call = call.json(query)?;
        let _permit = self.entity_permit().await;
        Ok(self.send(call).await?.json::<SearchReply<E>>()?.entities)
    }
}
