//! What a plugin returned, checked before anything believes it.

use std::collections::BTreeSet;

use berth_core::{BlueprintId, Entity, EntityKey, ItemError, MapReport};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value};

/// Reads the entities of a batch of `count` resources. A resource may become several entities, or
/// none.
///
/// # Errors
/// What is wrong, with its place.
pub(crate) fn entities(bytes: &[u8], count: usize) -> Result<MapReport, String> {
    let Entities { entities, errors } = parse(bytes)?;
    if let Some(index) = entities.iter().position(|entity| entity.identifier.is_empty()) {
        return Err(format!("at `entities[{index}].identifier`: an entity without an identifier"));
    }
    check(&errors, count)?;
    Ok(MapReport { entities: entities.into_iter().map(Entity::from).collect(), errors, filtered: 0 })
}

fn check(errors: &[ItemError], count: usize) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (position, error) in errors.iter().enumerate() {
        let at = format_args!("at `errors[{position}].index`: ");
        if error.index >= count {
            return Err(format!("{at}there is no resource {} in a batch of {count}", error.index));
        }
        if !seen.insert(error.index) {
            return Err(format!("{at}resource {} is listed twice", error.index));
        }
    }
    Ok(())
}

/// Parses JSON. Only when that fails it is done again, in the slower way that tells the place.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("the text is not UTF-8 from byte {} on", error.valid_up_to()))?;
    serde_json::from_str(text).map_err(|error| {
        let mut reader = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut reader) {
            Err(placed) if placed.path().iter().next().is_some() => {
                format!("at `{}`: {}", placed.path(), placed.inner())
            }
            _ => error.to_string(),
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entities {
    entities: Vec<WireEntity>,
    #[serde(default)]
    errors: Vec<ItemError>,
}

/// An entity as a plugin writes it. Not [`Entity`] itself: that one's flattened key makes serde
/// buffer every entity, and errors lose their place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEntity {
    identifier: String,
    blueprint: BlueprintId,
    #[serde(default, deserialize_with = "present")]
    title: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    icon: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    team: Option<Value>,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    relations: Map<String, Value>,
}

/// Keeps an explicit null apart from an absent field.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl From<WireEntity> for Entity {
    fn from(wire: WireEntity) -> Self {
        Self {
            key: EntityKey { blueprint: wire.blueprint, identifier: wire.identifier },
            title: wire.title,
            icon: wire.icon,
            team: wire.team,
            properties: wire.properties,
            relations: wire.relations,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn entities_are_read_as_they_are() {
        let entity = json!({"identifier": "i", "blueprint": "b", "title": null, "team": ["x"],
            "properties": {"n": null, "a": 1.5}, "relations": {"r": ["z"]}});
        let output = json!({
            "entities": [entity, {"identifier": "j", "blueprint": "b"}],
            "errors": [{"index": 1, "resource": "k", "reason": "why"}]
        });
        let report = entities(output.to_string().as_bytes(), 3).unwrap();
        assert_eq!(serde_json::to_value(&report.entities[0]).unwrap(), entity);
        assert_eq!(report.entities[1].title, None);
        assert_eq!(report.errors[0].index, 1);
    }

    #[test]
    fn nonsense_is_named_with_its_place() {
        let good = json!({"identifier": "i", "blueprint": "b"});
        let error = |index: usize| json!({"index": index, "resource": "r", "reason": "why"});
        let cases = [
            (json!([]), 0, "invalid length 0"),
            (json!({"entites": []}), 0, "at `entites`: unknown field"),
            (json!({}), 1, "missing field `entities`"),
            (
                json!({"entities": [good, {"identifier": 3, "blueprint": "b"}]}),
                2,
                "at `entities[1].identifier`: invalid type",
            ),
            (
                json!({"entities": [{"identifier": "", "blueprint": "b"}]}),
                1,
                "at `entities[0].identifier`: an entity without",
            ),
            (
                json!({"entities": [{"identifier": "i", "blueprint": ""}]}),
                1,
                "at `entities[0].blueprint`: `` is not a blueprint identifier",
            ),
            (
                json!({"entities": [{"identifier": "i", "blueprint": "b", "propertys": {}}]}),
                1,
                "at `entities[0].propertys`: unknown field",
            ),
            (
                json!({"entities": [], "errors": [error(1)]}),
                1,
                "at `errors[0].index`: there is no resource 1 in a batch of 1",
            ),
            (
                json!({"entities": [], "errors": [error(0), error(0)]}),
                2,
                "at `errors[1].index`: resource 0 is listed twice",
            ),
        ];
        for (output, count, expected) in cases {
            let found = entities(output.to_string().as_bytes(), count).unwrap_err();
            assert!(found.starts_with(expected), "{output}: {found}");
        }
        assert_eq!(
            entities(b"{\"entities\": [", 1).unwrap_err(),
            "at `entities`: EOF while parsing a list at line 1 column 14"
        );
        assert_eq!(entities(b"{\"\xff", 1).unwrap_err(), "the text is not UTF-8 from byte 2 on");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0usize..4) {
            let _ = entities(&bytes, count);
        }
    }
}
