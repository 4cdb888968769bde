//! Checks a plugin's output before it is used.

use std::{collections::BTreeSet, ops::Range};

use berth_core::{BlueprintId, Document, Entity, EntityKey, ItemError, MapReport, MisconfiguredField};
use berth_mapping::{split_list, split_object};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, value::RawValue};

use crate::contract::OutputForm;

/// The output of a plugin for a batch.
pub(crate) trait PluginOutput: Default {
    /// The requested form.
    const OUTPUT: OutputForm;

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

impl PluginOutput for MapReport {
    const OUTPUT: OutputForm = OutputForm::Entities;

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

/// Resource documents, for mappings in JQ: the plugin's JSON list, and where each document begins and ends. The JQ
/// component accepts any text, so a document is [checked](Self::check) only when the host keeps it or mapping fails.
#[derive(Debug)]
pub(crate) struct ResourceDocuments {
    list: String,
    /// Where in the list each document is, with the position of the resource it is of.
    places: Vec<(usize, Range<usize>)>,
    pub(crate) errors: Vec<ItemError>,
}

impl Default for ResourceDocuments {
    fn default() -> Self {
        Self { list: "[]".to_owned(), places: Vec::new(), errors: Vec::new() }
    }
}

impl ResourceDocuments {
    /// Returns the number of resources, including those that failed.
    pub(crate) fn resources(&self) -> usize {
        self.places.len() + self.errors.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of them, as a list of JSON.
    pub(crate) fn list(&self) -> &str {
        &self.list
    }

    /// Each with the position of the resource it is of.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (usize, &str)> {
        self.places.iter().map(|(index, place)| (*index, self.list.get(place.clone()).unwrap_or_default()))
    }

    /// # Errors
    /// What is wrong with a document.
    pub(crate) fn check(&self) -> Result<(), String> {
        parse::<Vec<&RawValue>>(self.list.as_bytes()).map(drop)
    }

    /// The documents alone.
    ///
    /// # Errors
    /// What is wrong with one.
    pub(crate) fn into_documents(self) -> Result<Vec<Document>, String> {
        let documents: Vec<Box<RawValue>> = parse(self.list.as_bytes())?;
        Ok(documents.into_iter().map(Document::from).collect())
    }

    /// Takes what a plugin returned apart; none where it has another form.
    fn split(text: &str) -> Option<(&str, Vec<ItemError>)> {
        match &*split_object(text).ok()? {
            [("\"documents\"", list)] => Some((*list, Vec::new())),
            [("\"documents\"", list), ("\"errors\"", errors)] => {
                Some((*list, serde_json::from_str(errors).ok()?))
            }
            _ => None,
        }
    }

    fn of(list: String, errors: Vec<ItemError>, count: usize) -> Result<Self, String> {
        check(&errors, count)?;
        let Ok(documents) = split_list(&list) else {
            parse::<Vec<&RawValue>>(list.as_bytes())?;
            return Err("at `documents`: expected a list".to_owned());
        };
        let failed: BTreeSet<usize> = errors.iter().map(|error| error.index).collect();
        // Documents come in the order of the resources. Where a resource gave several, or none,
        // the position is a guess, and serves only to order errors.
        let resources = (0..count).filter(|index| !failed.contains(index));
        let resources = resources.chain(std::iter::repeat(count.saturating_sub(1)));
        let place = |document: &str| {
            let from = document.as_ptr().addr() - list.as_ptr().addr();
            from..from + document.len()
        };
        let places = resources.zip(documents.into_iter().map(place)).collect();
        Ok(Self { list, places, errors })
    }
}

impl PluginOutput for ResourceDocuments {
    const OUTPUT: OutputForm = OutputForm::Documents;

    fn read(bytes: &[u8], count: usize) -> Result<Self, String> {
        let text = utf8(bytes)?;
        if let Some((list, errors)) = Self::split(text) {
            return Self::of(list.to_owned(), errors, count);
        }
        // The parser accepts unusual forms, and says what is wrong with others.
        let WireDocuments { documents, errors } = parse(bytes)?;
        let list: Vec<&str> = documents.iter().map(|document| document.get()).collect();
        Self::of(format!("[{}]", list.join(",")), errors, count)
    }

    fn add(&mut self, index: usize, one: Self) {
        for (_, document) in one.iter() {
            // Before the bracket at the end.
            self.list.pop();
            self.list.push_str(if self.places.is_empty() { "" } else { "," });
            let from = self.list.len();
            self.list.push_str(document);
            self.places.push((index, from..self.list.len()));
            self.list.push(']');
        }
        self.errors.extend(one.errors.into_iter().map(|error| ItemError { index, ..error }));
    }

    fn errors(&mut self) -> &mut Vec<ItemError> {
        &mut self.errors
    }
}

/// The result of the JQ component for documents.
#[derive(Default)]
pub(crate) struct Evaluated {
    pub(crate) entities: Vec<Entity>,
    /// By position of the document: why it could not be mapped.
    pub(crate) errors: Vec<(usize, String)>,
    pub(crate) filtered: usize,
    /// How many resources have a document, or were refused one.
    pub(crate) documents: usize,
    pub(crate) misconfigured: Vec<MisconfiguredField>,
}

impl Evaluated {
    /// # Errors
    /// What is invalid, with its place.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let WireEvaluated { entities, errors, filtered, documents, misconfigured } = parse(bytes)?;
        let errors = errors.into_iter().map(|WireError { index, reason }| (index, reason)).collect();
        Ok(Self { entities: checked(entities)?, errors, filtered, documents, misconfigured })
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

fn utf8(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()))
}

/// Parses JSON. Only when that fails it is done again, in the slower way that tells the place.
fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    let text = utf8(bytes)?;
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
    documents: usize,
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
            "entities": [{"search": query, "blueprint": "b"}], "errors": [], "filtered": 2, "documents": 3,
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
        let documents = ResourceDocuments::read(output.as_bytes(), 4).unwrap();
        let found: Vec<(usize, &str)> = documents.iter().collect();
        assert_eq!(found, [(0, r#"{"a": 1}"#), (2, r#"{"b": 2}"#), (3, r#"{"c": 3}"#)]);
        assert_eq!(documents.errors.len(), 1);
        let more = ResourceDocuments::read(b"{\"documents\": [1, 2, 3]}", 2).unwrap();
        assert_eq!(more.iter().last(), Some((1, "3")));
        let mut all = ResourceDocuments::default();
        all.add(5, more);
        all.add(7, ResourceDocuments::read(br#"{"\u0064ocuments": ["x"]}"#, 1).unwrap());
        assert_eq!(all.list(), r#"[1,2,3,"x"]"#);
        assert_eq!(all.iter().map(|(index, _)| index).collect::<Vec<_>>(), [5, 5, 5, 7]);
        assert_eq!(all.into_documents().unwrap().len(), 4);
    }

    #[test]
    fn documents_that_are_no_json_are_noticed_by_whoever_asks() {
        for (output, expected) in [
            ("{\"documents\": [{]}", "line 1 column"),
            ("{\"documents\": {}}", "invalid type: map, expected a sequence"),
            ("{\"documents\": [1], \"more\": 2}", "unknown field `more`"),
            ("{\"errors\": []}", "missing field `documents`"),
        ] {
            let refused = ResourceDocuments::read(output.as_bytes(), 3).unwrap_err();
            assert!(refused.contains(expected), "{output}: {refused}");
        }
        let documents = ResourceDocuments::read(b"{\"documents\": [{\"a\": nonsense}]}", 1).unwrap();
        assert!(documents.check().is_err() && documents.into_documents().is_err());
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
            let _ = ResourceDocuments::read(&bytes, count);
            let _ = Evaluated::read(&bytes);
        }
    }
}
