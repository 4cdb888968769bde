//! What a mapping proves about its entities. Pure.

use berth_core::{AccountId, Entity, EntityMapping, FieldSet, Region};
use serde_json::Value;

/// The fields in which a mapping states the account and the region that were read, as whole values.
///
/// Only an expression that is exactly `.__ExtraContext.AccountId` (or `.__AccountId`, and the same for the
/// region) counts. An ARN, an identifier or a composed string proves nothing: it may name another account or
/// region than the one that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributionRules {
    /// Relations that hold the account.
    pub account_relations: Vec<String>,
    /// Properties that hold the region.
    pub region_properties: Vec<String>,
}

impl AttributionRules {
    /// Reads the rules from a mapping.
    pub fn of(mapping: &EntityMapping) -> Self {
        let fields = |values: &std::collections::BTreeMap<String, Value>, names: [&str; 2]| {
            values
                .iter()
                .filter(|(_, value)| value.as_str().is_some_and(|text| names.contains(&text.trim())))
                .map(|(field, _)| field.clone())
                .collect()
        };
        Self {
            account_relations: fields(&mapping.relations, [".__ExtraContext.AccountId", ".__AccountId"]),
            region_properties: fields(&mapping.properties, [".__ExtraContext.Region", ".__Region"]),
        }
    }

    /// Returns the fields that both state.
    #[must_use]
    pub fn common(&self, other: &Self) -> Self {
        let common = |own: &[String], other: &[String]| {
            own.iter().filter(|field| other.contains(field)).cloned().collect()
        };
        Self {
            account_relations: common(&self.account_relations, &other.account_relations),
            region_properties: common(&self.region_properties, &other.region_properties),
        }
    }

    /// Returns the fields to fetch.
    pub fn fields(&self) -> FieldSet {
        FieldSet {
            relations: self.account_relations.iter().cloned().collect(),
            properties: self.region_properties.iter().cloned().collect(),
            ..FieldSet::default()
        }
    }

    /// Returns the account that an entity states; `None` if it states none, or two.
    pub fn account(&self, entity: &Entity) -> Option<AccountId> {
        unanimous(self.account_relations.iter().map(|name| {
            let text = entity.relations.get(name).and_then(Value::as_str)?;
            AccountId::new(text).ok()
        }))
    }

    /// Returns the region that an entity states; `None` if it states none, or two.
    pub fn region(&self, entity: &Entity) -> Option<Region> {
        unanimous(self.region_properties.iter().map(|name| {
            let text = entity.properties.get(name).and_then(Value::as_str)?;
            Region::new(text).ok()
        }))
    }
}

/// Returns the value that all have in common; a field without a value contradicts the others.
fn unanimous<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next()??;
    values.all(|value| value.as_ref() == Some(&first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(mapping: Value) -> AttributionRules {
        AttributionRules::of(&serde_json::from_value(mapping).unwrap())
    }

    fn entity(value: Value) -> Entity {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_the_account_and_region_themselves_count() {
        let rules = rules(json!({"identifier": ".__ExtraContext.AccountId", "blueprint": "\"b\"",
            "properties": {"region": " .__ExtraContext.Region ", "account": ".__AccountId",
                           "arn": "\"arn:aws:ec2:\" + .__Region + \":\" + .__AccountId"},
            "relations": {"account": ".__ExtraContext.AccountId", "owner": ".Properties.OwnerId",
                          "found": {"combinator": "and", "rules": []}}}));
        assert_eq!(rules.account_relations, ["account"]);
        assert_eq!(rules.region_properties, ["region"]);
        let entity = |relations: Value, properties: Value| {
            entity(json!({"blueprint": "b", "identifier": "111111111111",
                "relations": relations, "properties": properties}))
        };
        let full = entity(json!({"account": "222222222222"}), json!({"region": "eu-west-1"}));
        assert_eq!(rules.account(&full).unwrap().as_str(), "222222222222");
        assert_eq!(rules.region(&full).unwrap().as_str(), "eu-west-1");
        for (relations, properties) in [
            (json!({}), json!({})),
            (json!({"account": null}), json!({"region": 7})),
            (json!({"account": "x"}), json!({"region": "Mars!"})),
            (json!({"account": ["222222222222"]}), json!({"region": ["eu-west-1"]})),
        ] {
            let empty = entity(relations, properties);
            assert_eq!((rules.account(&empty), rules.region(&empty)), (None, None), "{empty:?}");
        }
    }

    #[test]
    fn contradicting_fields_prove_nothing() {
        let rules = rules(json!({"identifier": ".x", "blueprint": "\"b\"",
            "relations": {"a": ".__AccountId", "b": ".__ExtraContext.AccountId"}}));
        for (relations, account) in [
            (json!({"a": "111111111111", "b": "111111111111"}), Some("111111111111")),
            (json!({"a": "111111111111", "b": "222222222222"}), None),
            (json!({"a": "111111111111"}), None),
        ] {
            let entity = entity(json!({"blueprint": "b", "identifier": "i", "relations": relations}));
            assert_eq!(rules.account(&entity), account.map(|id| AccountId::new(id).unwrap()));
        }
    }
}
