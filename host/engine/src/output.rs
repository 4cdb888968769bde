//! Checks a plugin's output before it is used.

use std::collections::BTreeSet;

use berth_core::{BlueprintId, Document, Entity, EntityKey, ItemError, MapReport, MisconfiguredField};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};

use crate::contract::Output;

/// The output of a plugin for a batch.
pub(crate) trait Answer: Default {
    /// The requested form.
    const OUTPUT: Output;

    /// Parses the output for a batch of `count` resources.
    ///
    /// # Errors
    /// What is invalid, with its place.
    fn read(bytes: &[u8], count: usize) -> Result<Self, String>;

    /// Adds the output for the one resource at `index`.
    fn add(&mut self, index: usize, one: Self);

    /// Returns the resources that have failed.
    fn errors(&mut self) -> &mut Vec<ItemError>;
}

impl Answer for MapReport {
    const OUTPUT: Output = Output::Entities;

    /// A resource may become several entities, or none.
    fn read(bytes: &[u8], count: usize) -> Result<Self, String> {
        let Entities { entities, errors } = parse(bytes)?;
        check(&errors, count)?;
        if let Some(index) = entities.iter().position(|entity| entity.search.is_some()) {
            return Err(format!(
                "at `entities[{index}].search`: only a mapping in JQ may search for entities"
            ));
        }
        Ok(Self { entities: checked(entities)?, errors, ..Self::default() })
    }

    fn add(&mut self, index: usize, one: Self) {
        self.entities.extend(one.entities);
        self.errors.extend(one.errors.into_iter().map(|error| ItemError { index, ..error }));
    }

    fn errors(&mut self) -> &mut Vec<ItemError> {
        &mut self.errors
    }
}

/// Resource documents, for mappings in JQ.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// Each with the position of its resource.
    pub(crate) documents: Vec<(usize, Box<RawValue>)>,
    pub(crate) errors: Vec<ItemError>,
}

impl Documents {
    /// Returns the number of resources, including those that failed.
    pub(crate) fn resources(&self) -> usize {
        self.documents.len() + self.errors.len()
    }

    /// Returns the documents only.
    pub(crate) fn into_documents(self) -> Vec<Document> {
        self.documents.into_iter().map(|(_, document)| document.into()).collect()
    }
}

impl Answer for Documents {
    const OUTPUT: Output = Output::Documents;

    fn read(bytes: &[u8], count: usize) -> Result<Self, String> {
        let WireDocuments { documents, errors } = parse(bytes)?;
        check(&errors, count)?;
        let failed: BTreeSet<usize> = errors.iter().map(|error| error.index).collect();
        // Documents come in the order of the resources. If a resource returned several, or none, the
        // position is a guess that only affects the order of errors.
        let resources = (0..count).filter(|index| !failed.contains(index));
        let resources = resources.chain(std::iter::repeat(count.saturating_sub(1)));
        Ok(Self { documents: resources.zip(documents).collect(), errors })
    }

    fn add(&mut self, index: usize, one: Self) {
        self.documents.extend(one.documents.into_iter().map(|(_, document)| (index, document)));
        self.errors.extend(one.errors.into_iter().map(|error| ItemError { index, ..error }));
    }

    fn errors(&mut self) -> &mut Vec<ItemError> {
        &mut self.errors
    }
}

/// The result of the JQ component for documents.
pub(crate) struct Evaluated {
    pub(crate) entities: Vec<Entity>,
    /// By position of the document: why it could not be mapped.
    pub(crate) errors: Vec<(usize, String)>,
    pub(crate) filtered: usize,
    pub(crate) misconfigured: Vec<MisconfiguredField>,
}

impl Evaluated {
    /// # Errors
    /// What is invalid, with its place.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let WireEvaluated { entities, errors, filtered, misconfigured } = parse(bytes)?;
        let errors = errors.into_iter().map(|WireError { index, reason }| (index, reason)).collect();
        Ok(Self { entities: checked(entities)?, errors, filtered, misconfigured })
    }
}

fn checked(entities: Vec<WireEntity>) -> Result<Vec<Entity>, String> {
    let nameless = |entity: &WireEntity| entity.identifier.is_empty() && entity.search.is_none();
    if let Some(index) = entities.iter().position(nameless) {
        return Err(format!("at `entities[{index}].identifier`: an entity without an identifier"));
    }
    Ok(entities.into_iter().map(Entity::from).collect())
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

/// Parses JSON. On failure, parses again in a slower way that reports the place.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()))?;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDocuments {
    documents: Vec<Box<RawValue>>,
    #[serde(default)]
    errors: Vec<ItemError>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEvaluated {
    entities: Vec<WireEntity>,
    errors: Vec<WireError>,
    filtered: usize,
    misconfigured: Vec<MisconfiguredField>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireError {
    index: usize,
    reason: String,
}

/// An entity as a plugin writes it. Not [`Entity`] itself: with its flattened key, serde would buffer every
/// entity, and errors would lose their place.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEntity {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    search: Option<Value>,
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

/// Distinguishes an explicit null from an absent field.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl From<WireEntity> for Entity {
    fn from(wire: WireEntity) -> Self {
        let identifier = wire.search.as_ref().map_or(wire.identifier, Value::to_string);
        Self {
            key: EntityKey { blueprint: wire.blueprint, identifier },
            search: wire.search,
            title: wire.title.map(text),
            icon: wire.icon,
            team: wire.team,
            properties: wire.properties,
            relations: wire.relations,
        }
    }
}

/// Converts a title to text, which Port requires. Ocean sends titles unchanged.
fn text(title: Value) -> Value {
    match &title {
        Value::Bool(_) => Value::String(title.to_string()),
        Value::Number(number) => match number.as_f64() {
            // 1.0 is 1, as in JQ.
            Some(float) if number.is_f64() && float.fract() == 0.0 => Value::String(format!("{float:.0}")),
            _ => Value::String(title.to_string()),
        },
        _ => title,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn entities_are_parsed_unchanged() {
        let entity = json!({"identifier": "i", "blueprint": "b", "title": null, "team": ["x"],
            "properties": {"n": null, "a": 1.5}, "relations": {"r": ["z"]}});
        let output = json!({
            "entities": [entity, {"identifier": "j", "blueprint": "b"}],
            "errors": [{"index": 1, "resource": "k", "reason": "why"}]
        });
        let report = MapReport::read(output.to_string().as_bytes(), 3).unwrap();
        assert_eq!(serde_json::to_value(&report.entities[0]).unwrap(), entity);
        assert_eq!(report.entities[1].title, None);
        assert_eq!(report.errors[0].index, 1);
    }

    #[test]
    fn titles_are_text() {
        for (title, expected) in [
            (json!(5), json!("5")),
            (json!(1.0), json!("1")),
            (json!(1.5), json!("1.5")),
            (json!(true), json!("true")),
        ] {
            let output = json!({"entities": [{"identifier": "i", "blueprint": "b", "title": title}]});
            let report = MapReport::read(output.to_string().as_bytes(), 1).unwrap();
            assert_eq!(report.entities[0].title.as_ref(), Some(&expected));
        }
    }

    #[test]
    fn a_mapping_may_search_for_entities() {
        let query = json!({"combinator": "and", "rules": []});
        let output = json!({
            "entities": [{"search": query, "blueprint": "b"}], "errors": [], "filtered": 2,
            "misconfigured": [{"field": "title", "blueprint": "b", "count": 1, "reason": "gave null"}],
        });
        let Evaluated { entities, filtered, misconfigured, .. } =
            Evaluated::read(output.to_string().as_bytes()).unwrap();
        assert_eq!(entities, [Entity::found_by(BlueprintId::new("b").unwrap(), query)]);
        assert_eq!((filtered, misconfigured[0].expression.as_deref()), (2, None));
    }

    #[test]
    fn documents_are_assigned_to_their_resources() {
        let output = r#"{"documents": [{"a": 1}, {"b": 2}, {"c": 3}],
            "errors": [{"index": 1, "resource": "r", "reason": "why"}]}"#;
        let Documents { documents, errors } = Documents::read(output.as_bytes(), 4).unwrap();
        let found: Vec<(usize, &str)> = documents.iter().map(|(at, text)| (*at, text.get())).collect();
        assert_eq!(found, [(0, r#"{"a": 1}"#), (2, r#"{"b": 2}"#), (3, r#"{"c": 3}"#)]);
        assert_eq!(errors.len(), 1);
        assert_eq!(Documents::read(b"{\"documents\": [1, 2, 3]}", 2).unwrap().documents[2].0, 1);
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
                json!({"entities": [good, {"search": {}, "blueprint": "b"}]}),
                2,
                "at `entities[1].search`: only a mapping in JQ",
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
            let found = MapReport::read(output.to_string().as_bytes(), count).unwrap_err();
            assert!(found.starts_with(expected), "{output}: {found}");
        }
        assert_eq!(
            MapReport::read(b"{\"entities\": [", 1).unwrap_err(),
            "at `entities`: EOF while parsing a list at line 1 column 14"
        );
        assert_eq!(MapReport::read(b"{\"\xff", 1).unwrap_err(), "invalid UTF-8 at byte 2");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0usize..4) {
            let _ = MapReport::read(&bytes, count);
            let _ = Documents::read(&bytes, count);
            let _ = Evaluated::read(&bytes);
        }
    }
}
