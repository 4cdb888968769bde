//! Digests that outlive the process: of an entity's key, and of its content.

use std::hash::Hasher;

use berth_core::{Entity, EntityKey, FieldSet};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use siphasher::sip128::{Hasher128, SipHasher13};

/// Changes whenever the digests of contents change, so that an old digest never equals a new one.
const FORM: u8 = 1;

/// Returns a 128-bit digest of an entity's key. A resync keeps nothing else of an entity to its end.
pub(crate) fn key_digest(key: &EntityKey) -> u128 {
    digest_of(key.blueprint.as_str(), &key.identifier)
}

/// Returns the digest of a key from its parts.
pub fn digest_of(blueprint: &str, identifier: &str) -> u128 {
    let mut hasher = SipHasher13::new();
    hasher.write(blueprint.as_bytes());
    // A byte that no text contains, so that different pairs have different bytes.
    hasher.write_u8(0xff);
    hasher.write(identifier.as_bytes());
    hasher.finish128().as_u128()
}

/// The relations that are search queries: only the catalog knows what they point at.
pub(crate) fn searched_relations(entity: &Entity) -> impl Iterator<Item = &str> {
    entity.relations.iter().filter(|(_, value)| value.is_object()).map(|(name, _)| name.as_str())
}

/// Whether an entity can be compared with what the catalog holds: not where a search query
/// says which entity it is, what it relates to, or who owns it.
pub(crate) fn is_comparable(entity: &Entity) -> bool {
    entity.search.is_none()
        && !entity.team.as_ref().is_some_and(Value::is_object)
        && searched_relations(entity).next().is_none()
}

/// Adds another set's fields to one.
pub(crate) fn add_fields(to: &mut FieldSet, other: &FieldSet) {
    to.title |= other.title;
    to.team |= other.team;
    to.properties.extend(other.properties.iter().cloned());
    to.relations.extend(other.relations.iter().cloned());
}

/// Returns a 128-bit digest of everything that an upsert of the entity says, except its key. Returns `None`
/// if only the catalog can evaluate it (any search query).
///
/// The order of keys and teams does not matter; `1` and `1.0` are the same number, as they are after Port has
/// stored them. Null and absent differ: null empties a field, absent leaves it unchanged.
pub(crate) fn content_digest(entity: &Entity, merge: bool) -> Option<u128> {
    is_comparable(entity).then(|| digest_of_content(entity, merge))
}

/// Returns the digest of what an upsert of the entity says, as in plans: 32 hexadecimal digits.
pub(crate) fn change_digest(entity: &Entity) -> String {
    format!("{:032x}", digest_of_content(entity, true))
}

fn digest_of_content(entity: &Entity, merge: bool) -> u128 {
    let Entity { key: _, search: _, title, icon, team, properties, relations } = entity;
    let mut form = ContentHasher(Sha256::new());
    form.0.update([FORM, u8::from(merge)]);
    for field in [title, icon] {
        form.optional(field.as_ref());
    }
    form.optional(team.as_ref().map(sorted_team).as_ref());
    form.object(properties);
    form.object(relations);
    let digest = form.0.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

/// Returns one or several teams, sorted.
fn sorted_team(team: &Value) -> Value {
    match team {
        Value::String(_) => Value::Array(vec![team.clone()]),
        Value::Array(names) if names.iter().all(Value::is_string) => {
            let mut names = names.clone();
            names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            names.dedup();
            Value::Array(names)
        }
        other => other.clone(),
    }
}

/// Writes values so that different values give different bytes.
struct ContentHasher(Sha256);

impl ContentHasher {
    fn optional(&mut self, value: Option<&Value>) {
        match value {
            None => self.0.update(b"-"),
            Some(value) => self.value(value),
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(b"n"),
            Value::Bool(flag) => self.0.update([b'b', u8::from(*flag)]),
            Value::Number(number) => {
                // Adding zero turns negative zero into zero.
                let number = number.as_f64().unwrap_or(f64::NAN) + 0.0;
                self.0.update(b"d");
                self.0.update(number.to_bits().to_be_bytes());
            }
            Value::String(text) => self.text(text),
            Value::Array(list) => {
                self.0.update(b"[");
                for value in list {
                    self.value(value);
                }
                self.0.update(b"]");
            }
            Value::Object(map) => self.object(map),
        }
    }

    fn object(&mut self, map: &Map<String, Value>) {
        let mut fields: Vec<(&String, &Value)> = map.iter().collect();
        fields.sort_unstable_by_key(|(key, _)| *key);
        self.0.update(b"{");
        for (key, value) in fields {
            self.text(key);
            self.value(value);
        }
        self.0.update(b"}");
    }

    fn text(&mut self, text: &str) {
        self.0.update(b"s");
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn entity(value: &Value) -> Entity {
        let mut whole = json!({"blueprint": "b", "identifier": "i"});
        for (key, value) in value.as_object().unwrap() {
            whole[key] = value.clone();
        }
        serde_json::from_value(whole).unwrap()
    }

    fn digest(value: &Value) -> u128 {
        content_digest(&entity(value), true).unwrap()
    }

    #[test]
    fn what_means_the_same_gives_the_same() {
        for (a, b) in [
            (
                json!({"properties": {"a": 1, "b": {"c": 2, "d": 3}}}),
                json!({"properties": {"b": {"d": 3, "c": 2}, "a": 1}}),
            ),
            (json!({"properties": {"a": 1}}), json!({"properties": {"a": 1.0}})),
            (json!({"properties": {"a": 0}}), json!({"properties": {"a": -0.0}})),
            (json!({"team": "x"}), json!({"team": ["x"]})),
            (json!({"team": ["y", "x"]}), json!({"team": ["x", "y", "x"]})),
            (json!({"properties": {}}), json!({})),
        ] {
            assert_eq!(digest(&a), digest(&b), "{a} {b}");
        }
    }

    #[test]
    fn what_means_something_else_gives_something_else() {
        let all = [
            json!({}),
            json!({"title": null}),
            json!({"title": "t"}),
            json!({"icon": "t"}),
            json!({"team": "t"}),
            json!({"team": null}),
            json!({"properties": {"a": null}}),
            json!({"properties": {"a": "1"}}),
            json!({"properties": {"a": 1}}),
            json!({"properties": {"a": true}}),
            json!({"properties": {"a": [1]}}),
            json!({"properties": {"a": [[1]]}}),
            json!({"properties": {"a": [[], 1]}}),
            json!({"properties": {"a": ["b", "c"]}}),
            json!({"properties": {"a": ["bsc"]}}),
            json!({"properties": {"a": {"b": "c"}}}),
            json!({"relations": {"a": "1"}}),
            json!({"relations": {"a": ["x", "y"]}}),
            json!({"relations": {"a": ["y", "x"]}}),
        ];
        let digests: std::collections::BTreeSet<u128> = all.iter().map(digest).collect();
        assert_eq!(digests.len(), all.len());
        let entity = entity(&json!({"properties": {"a": 1}}));
        assert_ne!(content_digest(&entity, true), content_digest(&entity, false), "merging or not");
        let key = |blueprint, identifier| digest_of(blueprint, identifier);
        assert_ne!(key("ab", "c"), key("a", "bc"));
        // These digests are on disks: a change only costs a comparison, but must be intended.
        assert_eq!(key("ec2Instance", "i-1"), 0x6824_6adc_c33e_26f7_41ad_f363_7b4b_bbdc);
    }

    #[test]
    fn what_only_the_catalog_can_decide_has_no_digest() {
        for unclear in [
            json!({"relations": {"r": {"combinator": "and", "rules": []}}}),
            json!({"team": {"combinator": "and", "rules": []}}),
        ] {
            assert_eq!(content_digest(&entity(&unclear), true), None);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-3..3_i64).prop_map(Value::from),
            (-3..3_i32).prop_map(|number| Value::from(f64::from(number) / 2.0)),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_entity() -> impl Strategy<Value = Entity> {
        let field = || prop::option::of(any_value());
        let team = prop::option::of(prop::collection::vec("[ab]", 0..3).prop_map(Value::from));
        let map = || prop::collection::btree_map("[abc]", any_value(), 0..3);
        (field(), team, map(), prop::collection::btree_map("[abc]", "[ab]{1,2}", 0..2)).prop_map(
            |(title, team, properties, relations)| Entity {
                title,
                team,
                properties: properties.into_iter().collect(),
                relations: relations.into_iter().map(|(name, id)| (name, id.into())).collect(),
                ..entity(&json!({}))
            },
        )
    }

    /// Returns the value with all keys in reverse order.
    fn reversed(value: &Value) -> Value {
        match value {
            Value::Array(list) => list.iter().map(reversed).collect(),
            Value::Object(map) => {
                Value::Object(map.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect())
            }
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn the_order_of_keys_does_not_count(entity in any_entity()) {
            let value = serde_json::to_value(&entity).unwrap();
            let other: Entity = serde_json::from_value(reversed(&value)).unwrap();
            // Lists keep their order; only teams are unordered, and they are lists of texts.
            prop_assert_eq!(content_digest(&entity, true), content_digest(&other, true));
        }

        /// An entity that would change the catalog never counts as unchanged.
        #[test]
        fn equal_digests_mean_that_nothing_changes(a in any_entity(), b in any_entity()) {
            if content_digest(&a, true) == content_digest(&b, true) {
                prop_assert!(!a.changes(&b) && !b.changes(&a), "{a:?} {b:?}");
            } else {
                prop_assert!(a != b);
            }
        }
    }

    #[test]
    fn entities_with_search_queries_cannot_be_compared() {
        let query = json!({"combinator": "and", "rules": []});
        let plain =
            json!({"blueprint": "b", "identifier": "i", "team": ["x"], "relations": {"r": ["z"], "n": null}});
        assert!(is_comparable(&entity(&plain)));
        for (field, value) in [("team", query.clone()), ("relations", json!({"r": query.clone()}))] {
            let mut searched = plain.clone();
            searched[field] = value;
            assert!(!is_comparable(&entity(&searched)), "{field}");
        }
        let found = Entity::found_by(berth_core::BlueprintId::new("b").unwrap(), query.clone());
        assert!(!is_comparable(&found));
        assert_eq!(found.key.identifier, query.to_string());
    }
}
