//! What an upsert would change, per field.

use berth_core::Entity;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What happens to one entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    /// The catalog does not hold it for this integration.
    Create,
    /// Another owner has it, and it is taken over.
    Adopt,
    /// Another owner has it, and it is left unchanged.
    Foreign,
    /// The catalog holds it with other values.
    Update {
        /// The fields that differ.
        fields: Vec<FieldChange>,
    },
    /// The catalog holds it with the same values.
    Unchanged,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// `title`, `team`, `properties.<name>` or `relations.<name>`.
    pub field: String,
    /// The catalog's value (null if it has none).
    pub from: Value,
    /// The mapping's value.
    pub to: Value,
    /// Why nothing changed in AWS, if the update only corrects what another tool wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<String>,
}

/// Explains why a field differs although nothing changed: Ocean's `aws-v3` writes ARNs without a region and
/// an account (`arn:aws:ec2:::instance/…`), because its records lack what the default mapping reads.
fn correction(from: Option<&Value>, to: &Value) -> Option<String> {
    let parts = |value: &Value| {
        let parts: Vec<String> = value.as_str()?.splitn(6, ':').map(str::to_owned).collect();
        <[String; 6]>::try_from(parts).ok().filter(|parts| parts[0] == "arn")
    };
    let [_, _, from_service, from_region, from_account, from_resource] = parts(from?)?;
    let [_, _, service, region, account, resource] = parts(to)?;
    let is_same = (from_service, from_resource) == (service, resource);
    let was_empty = from_region.is_empty() && from_account.is_empty();
    (is_same && was_empty && !region.is_empty() && !account.is_empty())
        .then(|| "Port's own integration leaves the region and the account out of this ARN".into())
}

/// Compares what the mapping produced with what the catalog holds.
///
/// [`Entity::changes`] defines the rule; this adds the affected fields, for people.
pub(crate) fn diff(ours: &Entity, held: Option<&Entity>) -> Change {
    let Some(held) = held else { return Change::Create };
    if !ours.changes(held) {
        return Change::Unchanged;
    }
    let mut fields = Vec::new();
    let mut compare = |field: String, from: Option<&Value>, to: &Value, probe: Entity| {
        if probe.changes(held) {
            fields.push(FieldChange {
                field,
                from: from.cloned().unwrap_or(Value::Null),
                to: to.clone(),
                correction: correction(from, to),
            });
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
    fn an_arn_without_region_and_account_is_a_correction() {
        let arn = |text: &str| json!(text);
        let right = arn("arn:aws:ec2:eu-west-1:111122223333:instance/i-1");
        let reported = |from: Value| correction(Some(&from), &right).is_some();
        assert!(
            reported(arn("arn:aws:ec2:::instance/i-1")) && reported(arn("arn:aws-cn:ec2:::instance/i-1"))
        );
        for other in [
            arn("arn:aws:ec2:::instance/i-2"),
            arn("arn:aws:ec2:us-east-1:111122223333:instance/i-1"),
            arn("arn:aws:s3:::instance/i-1"),
            arn("i-1"),
            Value::Null,
        ] {
            assert!(!reported(other.clone()), "{other}");
        }
        let entity = |arn: &Value, size: &str| {
            let json = json!({"blueprint": "b", "identifier": "i", "properties": {"arn": arn, "size": size}});
            serde_json::from_value::<Entity>(json).unwrap()
        };
        let held = entity(&arn("arn:aws:ec2:::instance/i-1"), "small");
        let corrected = |size: &str| match diff(&entity(&right, size), Some(&held)) {
            Change::Update { fields } => fields.into_iter().map(|field| field.correction.is_some()).collect(),
            _ => Vec::new(),
        };
        assert_eq!((corrected("small"), corrected("large")), (vec![true], vec![true, false]));
    }

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
