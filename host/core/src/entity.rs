//! Port's entities and blueprints, as far as Berth needs to understand them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{BlueprintId, blueprint_names};

/// Identifies an entity in Port: its blueprint and its identifier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityKey {
    /// The blueprint the entity belongs to.
    pub blueprint: BlueprintId,
    /// The identifier, unique within the blueprint.
    pub identifier: String,
}

impl std::fmt::Display for EntityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.blueprint, self.identifier)
    }
}

/// An entity as the mapping produced it, or as Port holds it.
///
/// Only fields that the mapping sets are present: Port keeps an absent field and clears a field with an
/// explicit null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// Blueprint and identifier.
    #[serde(flatten)]
    pub key: EntityKey,
    /// The search query that the mapping has in place of an identifier: the catalog finds the entity by it.
    /// The identifier in the key is then the query's JSON, which cannot collide with a real identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Value>,
    /// The title, if mapped.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    pub title: Option<Value>,
    /// The icon, if mapped.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    pub icon: Option<Value>,
    /// The owning team or teams, if mapped.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    pub team: Option<Value>,
    /// Mapped properties.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
    /// Mapped relations: an identifier, a list of identifiers, null, or a search query.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub relations: Map<String, Value>,
}

/// Distinguishes "explicitly null" from "absent", which `Option<Value>` alone does not.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    #[expect(clippy::ref_option, reason = "serde requires this signature")]
    pub(super) fn serialize<S: Serializer>(value: &Option<Value>, to: S) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(from).map(Some)
    }
}

impl Entity {
    /// Creates an entity with only a key.
    pub fn new(blueprint: BlueprintId, identifier: impl Into<String>) -> Self {
        Self {
            key: EntityKey { blueprint, identifier: identifier.into() },
            search: None,
            title: None,
            icon: None,
            team: None,
            properties: Map::new(),
            relations: Map::new(),
        }
    }

    /// Creates an entity that the catalog finds by a search query.
    pub fn found_by(blueprint: BlueprintId, query: Value) -> Self {
        let key = query.to_string();
        Self { search: Some(query), ..Self::new(blueprint, key) }
    }

    /// Returns whether an upsert of this entity would change what Port holds.
    ///
    /// Follows Ocean: compares title, team (in any order), properties and relations, but not the icon. A
    /// null and an absent value are equal. Only the fields that this entity sets are compared, since an
    /// upsert merges.
    pub fn changes(&self, held: &Self) -> bool {
        let differs = |ours: &Option<Value>, theirs: &Option<Value>| {
            ours.as_ref().is_some_and(|ours| !same(ours, theirs.as_ref().unwrap_or(&Value::Null)))
        };
        let map_differs = |ours: &Map<String, Value>, theirs: &Map<String, Value>| {
            ours.iter().any(|(key, ours)| !same(ours, theirs.get(key).unwrap_or(&Value::Null)))
        };
        differs(&self.title, &held.title)
            || self.team.as_ref().is_some_and(|team| {
                sorted_team(team) != sorted_team(held.team.as_ref().unwrap_or(&Value::Null))
            })
            || map_differs(&self.properties, &held.properties)
            || map_differs(&self.relations, &held.relations)
    }
}

/// Compares structurally. `1` and `1.0` are equal, because Port does not distinguish them.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn sorted_team(team: &Value) -> BTreeSet<String> {
    match team {
        Value::String(name) => BTreeSet::from([name.clone()]),
        Value::Array(names) => {
            names.iter().map(ToString::to_string).map(|n| n.trim_matches('"').to_owned()).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// The fields of an entity that a mapping sets: a comparison must fetch these from Port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldSet {
    /// Whether the title is mapped.
    pub title: bool,
    /// Whether the team is mapped.
    pub team: bool,
    /// Mapped property names.
    pub properties: BTreeSet<String>,
    /// Mapped relation names.
    pub relations: BTreeSet<String>,
}

/// A blueprint definition in Port's JSON format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Blueprint {
    identifier: BlueprintId,
    definition: Map<String, Value>,
}

impl Blueprint {
    /// Returns the blueprint's identifier.
    pub fn identifier(&self) -> &BlueprintId {
        &self.identifier
    }

    /// Returns the whole definition.
    pub fn definition(&self) -> &Map<String, Value> {
        &self.definition
    }
}

impl TryFrom<Value> for Blueprint {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let Value::Object(definition) = value else {
            return Err("a blueprint is a JSON object".into());
        };
        let identifier = definition
            .get("identifier")
            .and_then(Value::as_str)
            .ok_or("a blueprint needs an `identifier`")?;
        let identifier = BlueprintId::new(identifier).map_err(|error| error.to_string())?;
        blueprint_names::check_blueprint(&definition)?;
        Ok(Self { identifier, definition })
    }
}

impl From<Blueprint> for Value {
    fn from(blueprint: Blueprint) -> Self {
        Self::Object(blueprint.definition)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entity(value: Value) -> Entity {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn null_and_absent_are_distinguished() {
        let with_null = json!({"blueprint": "b", "identifier": "i", "title": null});
        assert_eq!(entity(with_null.clone()).title, Some(Value::Null));
        assert_eq!(serde_json::to_value(entity(with_null.clone())).unwrap(), with_null);
        assert_eq!(entity(json!({"blueprint": "b", "identifier": "i"})).title, None);
    }

    #[test]
    fn only_mapped_fields_are_compared() {
        let held = entity(json!({"blueprint": "b", "identifier": "i", "title": "t", "team": ["x", "y"],
            "properties": {"a": 1.0, "mine": true, "n": null}, "relations": {"r": "z"}}));
        let same = [
            json!({"blueprint": "b", "identifier": "i"}),
            json!({"blueprint": "b", "identifier": "i", "title": "t", "properties": {"a": 1}}),
            json!({"blueprint": "b", "identifier": "i", "team": ["y", "x"], "icon": "AWS"}),
            json!({"blueprint": "b", "identifier": "i", "properties": {"n": null, "gone": null}}),
        ];
        for ours in same {
            assert!(!entity(ours.clone()).changes(&held), "{ours}");
        }
        let different = [
            json!({"blueprint": "b", "identifier": "i", "title": null}),
            json!({"blueprint": "b", "identifier": "i", "properties": {"a": "1"}}),
            json!({"blueprint": "b", "identifier": "i", "properties": {"n": 0}}),
            json!({"blueprint": "b", "identifier": "i", "relations": {"r": ["z"]}}),
            json!({"blueprint": "b", "identifier": "i", "team": ["x"]}),
        ];
        for ours in different {
            assert!(entity(ours.clone()).changes(&held), "{ours}");
        }
    }
}
