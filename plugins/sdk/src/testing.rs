//! The native test bench of a plugin: runs a mapper on fixtures, without a WebAssembly runtime.
//!
//! A fixture is a batch: a JSON array of resources in the form that the host hands over,
//! `{"item": …, "steps": {…}, "parents": {…}}`, with parts of `aws … --output json` answers in it.
//!
//! ```no_run
//! # use berth_plugin::{Context, Documents, Entities, Mapper, RawResource, Refused, Resource};
//! # struct S3Bucket;
//! # impl Mapper for S3Bucket {
//! #     const KIND: &'static str = "AWS::S3::Bucket";
//! #     type Resource<'a> = Resource<String>;
//! #     fn entities(_: &Context, _: Resource<String>, _: &mut Entities) -> Result<(), Refused> { Ok(()) }
//! #     fn documents(_: &Context, _: RawResource<'_>, _: &mut Documents) -> Result<(), Refused> { Ok(()) }
//! # }
//! # const MANIFEST: &[u8] = b"{}";
//! use berth_plugin::testing::Bench;
//!
//! let bench = Bench::of::<S3Bucket>(MANIFEST);
//! for fixture in Bench::fixtures("fixtures") {
//!     bench.assert_conforms(&fixture);
//!     // insta::assert_json_snapshot!(fixture.name.clone(), bench.report(&fixture));
//! }
//! ```
//!
//! Everything here panics where a test would: a bench is for tests only.
#![expect(clippy::panic, reason = "for tests only, where a panic is how a failure is told")]

use std::{collections::BTreeSet, fs, path::Path};

use jaq_core::{
    Compiler, Ctx, Filter, Vars, data,
    load::{Arena, File, Loader},
    unwrap_valr,
};
use jaq_json::Val;
use serde_json::{Map, Value, json};

use crate::{Context, Mapper, Output, map_batch, regex};

/// A mapper with the entry of its manifest.
pub struct Bench {
    mapping: Option<Mapping>,
    /// The expression of the default mapping that makes the identifier.
    identifier: Option<String>,
    /// Where the resources are in an answer of AWS.
    items: Option<String>,
    /// The steps that a resource is mapped without where they are denied, each with what it says it fills.
    optional: Vec<(String, BTreeSet<String>)>,
    context: Context,
    map: fn(&Context, &[u8]) -> Result<Vec<u8>, String>,
}

/// A batch with a name.
#[derive(Debug, Clone)]
pub struct Fixture {
    /// The file's name without `.json`.
    pub name: String,
    /// A JSON array of resources.
    pub resources: Value,
}

impl Bench {
    /// A bench for one mapper of a plugin.
    pub fn of<M: Mapper>(manifest: &[u8]) -> Self {
        let manifest: Value = serde_json::from_slice(manifest)
            .unwrap_or_else(|error| panic!("the manifest is not JSON: {error}"));
        let kind = list(&manifest["kinds"])
            .iter()
            .find(|kind| kind["kind"] == M::KIND)
            .unwrap_or_else(|| panic!("the manifest has no kind {}", M::KIND))
            .clone();
        let context = Context {
            kind: M::KIND.to_owned(),
            account_id: "111122223333".to_owned(),
            account_name: "Account 111122223333".to_owned(),
            region: (kind["scope"] == "regional").then(|| "eu-west-1".to_owned()),
            partition: "aws".to_owned(),
            options: Vec::new(),
            output: Output::Entities,
        };
        let mappings = &kind["mapping"]["port"]["entity"]["mappings"];
        let mapping = mappings.is_object().then(|| Mapping::compile(mappings));
        let identifier = mappings["identifier"].as_str().map(str::to_lowercase);
        let plan = &kind["plan"];
        let step = list(&plan["steps"])
            .iter()
            .find(|step| plan["resources"].is_null() || step["id"] == plan["resources"]);
        let items = step.and_then(|step| step["items"].as_str()).map(str::to_owned);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let optional = list(&plan["steps"])
            .iter()
            .filter(|step| step["errors"].as_object().is_some_and(|rules| rules.contains_key("denied")))
            .map(|step| (text(&step["id"]), list(&step["fills"]).iter().map(text).collect()))
            .collect();
        Self { mapping, identifier, items, optional, context, map: map_batch::<M> }
    }

    /// Where batches come from: account 111122223333 in `aws`, and `eu-west-1` for a regional
    /// kind, unless changed here.
    pub fn context_mut(&mut self) -> &mut Context {
        &mut self.context
    }

    /// The fixtures in a folder, by name. The path is relative to the crate under test.
    pub fn fixtures(folder: impl AsRef<Path>) -> Vec<Fixture> {
        let folder = folder.as_ref();
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let paths: BTreeSet<_> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .collect();
        assert!(!paths.is_empty(), "{} has no fixture", folder.display());
        paths.iter().map(|path| Fixture::read(path)).collect()
    }

    /// The fixtures in a folder, by name, of which some are plain answers of AWS, as
    /// `aws … --output json` prints them: the plan's `items` tells where the resources are in one.
    pub fn answers(&self, folder: impl AsRef<Path>) -> Vec<Fixture> {
        let mut fixtures = Self::fixtures(folder);
        for Fixture { name, resources } in &mut fixtures {
            if resources.is_object() {
                let items = self.items.as_deref().unwrap_or_else(|| panic!("{name}: the plan lists nothing"));
                let found = items.split('.').fold(vec![&*resources], |found, part| {
                    let name = part.trim_end_matches("[]");
                    let next = found.into_iter().map(|value| &value[name]);
                    if part.ends_with("[]") { next.flat_map(list).collect() } else { next.collect() }
                });
                // An empty page has the list, or what holds it, and nothing in it.
                let holder = &resources[items.split(['.', '[']).next().unwrap_or_default()];
                let is_page = holder.is_array() || holder.is_object();
                assert!(!found.is_empty() || is_page, "{name}: there is nothing at `{items}`");
                *resources = found.into_iter().map(|item| json!({ "item": item })).collect();
            }
        }
        fixtures
    }

    /// The entities of a batch, as the plugin's own code makes them: `entities` and `errors`.
    pub fn entities(&self, resources: &Value) -> Value {
        self.run(Output::Entities, resources)
    }

    /// The resource documents of a batch: `documents` and `errors`.
    pub fn documents(&self, resources: &Value) -> Value {
        self.run(Output::Documents, resources)
    }

    /// The entities that the manifest's default mapping makes of a batch's documents; `None` for a
    /// kind without a default mapping.
    pub fn jq_entities(&self, resources: &Value) -> Option<Vec<Value>> {
        let mapping = self.mapping.as_ref()?;
        let documents = self.documents(resources);
        Some(list(&documents["documents"]).iter().map(|document| mapping.entity(document)).collect())
    }

    /// Everything a batch yields, for a snapshot.
    pub fn report(&self, fixture: &Fixture) -> Value {
        let entities = self.entities(&fixture.resources);
        let documents = self.documents(&fixture.resources);
        json!({
            "entities": entities["entities"],
            "documents": documents["documents"],
            "errors": entities["errors"],
        })
    }

    /// Asserts what every plugin promises, on a fixture and on variants of it:
    ///
    /// - the plugin's own entities are those of its default mapping in JQ, and both forms refuse
    ///   the same resources, also when any one member is missing or null;
    /// - a document is refused only for want of what its identifier is made of;
    /// - output does not differ between runs, and each entity of the fixture is made once;
    /// - a document differs without a step that may be denied only in what the step says it fills;
    /// - nothing that may stand in place of a member makes it panic or return nonsense.
    pub fn assert_conforms(&self, fixture: &Fixture) {
        let Fixture { name, resources } = fixture;
        self.assert_native_equals_jq(name, resources);
        let native = self.entities(resources);
        assert_eq!(native, self.entities(resources), "{name}: two runs differ");
        let mut keys = BTreeSet::new();
        for entity in list(&native["entities"]) {
            let key = (entity["blueprint"].to_string(), entity["identifier"].to_string());
            assert!(keys.insert(key.clone()), "{name}: the entity {key:?} is made twice");
        }
        self.assert_fills(name, resources);
        for (index, resource) in list(resources).iter().enumerate() {
            for place in members(resource) {
                let name = format!("{name}, resource {index}, `{place}`");
                let mut missing = resource.clone();
                remove(&mut missing, &place);
                self.assert_native_equals_jq(&format!("{name} missing"), &json!([missing]));
                self.assert_refused_for_its_identifier(&name, resource, &json!([missing]));
                // The parts of a resource itself are never null.
                if place.matches('/').count() > 1 {
                    let emptied = with(resource, &place, Value::Null);
                    self.assert_native_equals_jq(&format!("{name} null"), &json!([emptied]));
                }
                for odd in [json!("\u{0}\"\\\u{10ffff}"), json!(-1.5e300), json!([[]]), json!({"": {}})] {
                    self.assert_survives(&name, &json!([with(resource, &place, odd)]));
                }
            }
        }
    }

    fn assert_native_equals_jq(&self, name: &str, resources: &Value) {
        let native = self.entities(resources);
        if let Some(by_jq) = self.jq_entities(resources) {
            assert_eq!(
                native["entities"],
                Value::from(by_jq),
                "{name}: native entities (left) are not those of the default mapping in JQ (right)"
            );
        }
        let refused = |report: &Value| -> Vec<Value> {
            list(&report["errors"]).iter().map(|error| error["index"].clone()).collect()
        };
        assert_eq!(
            refused(&native),
            refused(&self.documents(resources)),
            "{name}: entities (left) and documents (right) refuse different resources"
        );
    }

    fn assert_fills(&self, name: &str, resources: &Value) {
        for (step, fills) in &self.optional {
            let mut filled = BTreeSet::new();
            for resource in list(resources) {
                let mut without = resource.clone();
                if without["steps"].as_object_mut().and_then(|steps| steps.shift_remove(step)).is_none() {
                    continue;
                }
                let [with, without] = [resource, &without].map(|resource| self.documents(&json!([resource])));
                let document = |report: &Value| list(&report["documents"]).first().cloned();
                // What cannot be read for the step's own answer has no document.
                let (Some(mut with), Some(mut without)) = (document(&with), document(&without)) else {
                    continue;
                };
                filled.extend(differences(&with["Properties"], &without["Properties"]));
                with["Properties"].take();
                without["Properties"].take();
                assert_eq!(with, without, "{name}: `{step}` fills more than `Properties`");
            }
            filled.retain(|member| !fills.contains(member));
            assert!(filled.is_empty(), "{name}: `fills` of step `{step}` lacks {filled:?}");
        }
    }

    /// That a document is refused only for what identifies the resource, where the reason names it. An ARN that
    /// is in no answer is made of other members.
    fn assert_refused_for_its_identifier(&self, name: &str, whole: &Value, resources: &Value) {
        let Some(identifier) = &self.identifier else { return };
        // What is made of it afterwards, such as an identifier that Port takes, needs nothing else.
        let source = identifier.split(" | ").next().unwrap_or_default();
        let is_arn = source.split('.').next_back() == Some("arn");
        let has_arn = members(whole)
            .iter()
            .any(|place| place.to_lowercase().ends_with("/arn") && place.matches('/').count() < 5);
        for error in list(&self.documents(resources)["errors"]) {
            let reason = error["reason"].as_str().unwrap_or_default();
            let Some((member, _)) = reason.strip_prefix("it has no `").and_then(|rest| rest.split_once('`'))
            else {
                continue;
            };
            assert!(
                identifier.contains(&member.to_lowercase()) || (is_arn && !has_arn),
                "{name} missing: there is no document, as {reason}; its identifier is {identifier}"
            );
        }
    }

    fn assert_survives(&self, name: &str, resources: &Value) {
        for report in [self.entities(resources), self.documents(resources)] {
            let errors = list(&report["errors"]);
            assert!(
                errors.len() < 2 && errors.iter().all(|error| error["index"] == 0),
                "{name}: errors {errors:?} in a batch of one"
            );
            for entity in list(&report["entities"]) {
                let is_text = |field: &str| entity[field].as_str().is_some_and(|text| !text.is_empty());
                assert!(is_text("identifier") && is_text("blueprint"), "{name}: {entity}");
            }
        }
    }

    fn run(&self, output: Output, resources: &Value) -> Value {
        let context = Context { output, ..self.context.clone() };
        let bytes = (self.map)(&context, resources.to_string().as_bytes())
            .unwrap_or_else(|reason| panic!("the batch was refused: {reason}"));
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            panic!("the output is not JSON ({error}): {}", String::from_utf8_lossy(&bytes))
        })
    }
}

impl Fixture {
    /// Reads a fixture.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let resources =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self { name, resources }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A default mapping, compiled.
struct Mapping(Vec<(String, Field)>);

enum Field {
    One(Expression),
    Many(Vec<(String, Expression)>),
}

struct Expression(Filter<data::JustLut<Val>>);

impl Mapping {
    fn compile(mappings: &Value) -> Self {
        let fields = mappings.as_object().into_iter().flatten();
        Self(
            fields
                .map(|(field, value)| {
                    let field_of = match value {
                        Value::Object(members) => Field::Many(
                            members
                                .iter()
                                .map(|(name, code)| (name.clone(), Expression::compile(code)))
                                .collect(),
                        ),
                        code => Field::One(Expression::compile(code)),
                    };
                    (field.clone(), field_of)
                })
                .collect(),
        )
    }

    /// The entity that the mapping makes of a document: a field whose expression fails is null.
    fn entity(&self, document: &Value) -> Value {
        let document: Val = serde_json::from_value(document.clone())
            .unwrap_or_else(|error| panic!("the document is no JQ value: {error}"));
        let mut entity = Map::new();
        for (name, field) in &self.0 {
            let value = match field {
                Field::One(expression) => expression.evaluate(&document),
                Field::Many(members) if members.is_empty() => continue,
                Field::Many(members) => members
                    .iter()
                    .map(|(name, expression)| (name.clone(), expression.evaluate(&document)))
                    .collect::<Map<_, _>>()
                    .into(),
            };
            entity.insert(name.clone(), value);
        }
        entity.into()
    }
}

impl Expression {
    fn compile(code: &Value) -> Self {
        let code = code.as_str().unwrap_or_else(|| panic!("{code} is not a JQ expression"));
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        // Regular expressions as Port's mappings have them: jaq's own know no letters beyond ASCII.
        let functions = jaq_core::funs()
            .chain(jaq_std::funs())
            .chain(jaq_json::funs())
            .filter(|(name, ..)| !regex::NAMES.contains(name))
            .chain(regex::functions());
        let arena = Arena::default();
        let modules = Loader::new(definitions)
            .load(&arena, File { code, path: () })
            .unwrap_or_else(|errors| panic!("`{code}` is not JQ: {errors:?}"));
        let filter = Compiler::default()
            .with_funs(functions)
            .compile(modules)
            .unwrap_or_else(|errors| panic!("`{code}` is not JQ: {errors:?}"));
        Self(filter)
    }

    fn evaluate(&self, document: &Val) -> Value {
        let context = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        match self.0.id.run((context, document.clone())).map(unwrap_valr).next() {
            Some(Ok(value)) => serde_json::from_str(&value.to_string())
                .unwrap_or_else(|error| panic!("JQ yields no JSON: {error}")),
            _ => Value::Null,
        }
    }
}

/// How deep variants of a fixture go. What lies deeper is passed on as it is, and would cost time.
const DEPTH: usize = 5;

/// The members of all objects in a value, as JSON pointers.
fn members(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(value, "", &mut found);
    found
}

fn collect(value: &Value, place: &str, found: &mut Vec<String>) {
    if place.matches('/').count() == DEPTH {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                collect(member, &place, found);
                found.push(place);
            }
        }
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                collect(element, &format!("{place}/{index}"), found);
            }
        }
        _ => {}
    }
}

/// The members that two objects do not share.
fn differences(one: &Value, other: &Value) -> Vec<String> {
    let names = [one, other].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    names.filter(|name| one.get(name.as_str()) != other.get(name.as_str())).cloned().collect()
}

fn remove(value: &mut Value, place: &str) {
    if let Some((parent, name)) = place.rsplit_once('/')
        && let Some(Value::Object(members)) = value.pointer_mut(parent)
    {
        members.shift_remove(&name.replace("~1", "/").replace("~0", "~"));
    }
}

fn with(value: &Value, place: &str, other: Value) -> Value {
    let mut value = value.clone();
    if let Some(at) = value.pointer_mut(place) {
        *at = other;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PORT_IDENTIFIER_JQ, letters, port_identifier};

    fn evaluate(code: &str, input: &str) -> Value {
        Expression::compile(&code.into()).evaluate(&Val::utf8_str(input.to_owned()))
    }

    #[test]
    fn the_table_of_letters_is_that_of_regular_expressions() {
        let all: String = ('\u{80}'..=char::MAX).collect();
        let letters = evaluate(r#"[scan("\\p{L}+")] | join("")"#, &all);
        let mut boundaries: Vec<u32> = Vec::new();
        for c in letters.as_str().unwrap_or_default().chars().map(u32::from) {
            if boundaries.last() == Some(&c) {
                boundaries.pop();
            } else {
                boundaries.push(c);
            }
            boundaries.push(c + 1);
        }
        assert_eq!(boundaries, letters::BOUNDARIES);
    }

    #[test]
    fn identifiers_are_the_same_in_jq() {
        // All of ASCII, and enough of each plane to meet every byte that UTF-8 has.
        let some: Vec<char> = ('\0'..='\u{52f}').chain(('\u{530}'..=char::MAX).step_by(1021)).collect();
        for characters in some.chunks(128) {
            let text: String = characters.iter().collect();
            assert_eq!(evaluate(PORT_IDENTIFIER_JQ, &text), *port_identifier(&text));
        }
    }
}
