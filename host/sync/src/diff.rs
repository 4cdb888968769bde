//! What an upsert would change, told per field.

use berth_core::Entity;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What becomes of one entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// The catalog does not hold it for this integration.
    Create,
    /// Somebody else owns it, and it is taken over.
    Adopt,
    /// Somebody else owns it, and it is left alone.
    Foreign,
    /// The catalog holds it with other values.
    Update {
        /// The fields that differ.
        fields: Vec<FieldChange>,
    },
    /// The catalog holds it as it is.
    Unchanged,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `title`, `team`, `properties.<name>` or `relations.<name>`.
    pub field: String,
    /// What the catalog holds (null where it holds nothing).
    pub from: Value,
    /// What the mapping says.
    pub to: Value,
}

/// Compares what the mapping produced with what the catalog holds.
///
/// The rule is [`Entity::changes`]; this adds which fields are concerned, for people.
pub(crate) fn diff(ours: &Entity, held: Option<&Entity>) -> Change {
    let Some(held) = held else { return Change::Create };
    if !ours.changes(held) {
        return Change::Unchanged;
    }
    let mut fields = Vec::new();
    let mut compare = |field: String, from: Option<&Value>, to: &Value, probe: Entity| {
        if probe.changes(held) {
            fields.push(FieldChange { field, from: from.cloned().unwrap_or(Value::Null), to: to.clone() });
        }
    };
    let probe = || Entity::new(ours.key.blueprint.clone(), ours.key.identifier.clone());
    if let Some(title) = &ours.title {
        compare("title".into(), held.title.as_ref(), title, Entity { title: Some(title.clone()), ..probe() });
    }
    if let Some(team) = &ours.team {
        compare("team".into(), held.team.as_ref(), team, Entity { team: Some(team.clone()), ..probe() });
    }
    let one = |name: &String, value: &Value| Map::from_iter([(name.clone(), value.clone())]);
    for (name, value) in &ours.properties {
        let probe = Entity { properties: one(name, value), ..probe() };
        compare(format!("properties.{name}"), held.properties.get(name), value, probe);
    }
    for (name, value) in &ours.relations {
        let probe = Entity { relations: one(name, value), ..probe() };
        compare(format!("relations.{name}"), held.relations.get(name), value, probe);
    }
    Change::Update { fields }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changed_fields_are_named() {
        let entity = |value: Value| serde_json::from_value::<Entity>(value).unwrap();
        let held = entity(json!({"blueprint": "b", "identifier": "i", "title": "old",
            "properties": {"same": 1, "other": "x"}, "relations": {"account": "1"}}));
        let ours = entity(json!({"blueprint": "b", "identifier": "i", "title": "new",
            "properties": {"same": 1, "added": [1]}, "relations": {"account": "2"}}));
        let Change::Update { fields } = diff(&ours, Some(&held)) else { panic!() };
        let named: Vec<_> = fields.iter().map(|f| (f.field.as_str(), &f.from, &f.to)).collect();
        assert_eq!(
            named,
            [
                ("title", &json!("old"), &json!("new")),
                ("properties.added", &json!(null), &json!([1])),
                ("relations.account", &json!("1"), &json!("2")),
            ]
        );
        assert_eq!(diff(&ours, None), Change::Create);
        assert_eq!(diff(&ours, Some(&ours)), Change::Unchanged);
    }
}
