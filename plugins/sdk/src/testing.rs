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
    Compiler, Ctx, Vars, data,
    load::{Arena, File, Loader},
    unwrap_valr,
};
use jaq_json::Val;
use serde_json::{Map, Value, json};

use crate::{Context, Mapper, Output, map_batch};

/// A mapper with the entry of its manifest.
#[derive(Debug)]
pub struct Bench {
    kind: Value,
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
        Self { kind, context, map: map_batch::<M> }
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

    /// The entities of a batch, as the plugin's own code makes them: `entities` and `errors`.
    pub fn entities(&self, resources: &Value) -> Value {
        self.run(Output::Entities, resources)
    }

    /// The resource documents of a batch: `documents` and `errors`.
    pub fn documents(&self, resources: &Value) -> Value {
        self.run(Output::Documents, resources)
    }

    /// The entities that the manifest's default mapping makes of a batch's documents.
    pub fn jq_entities(&self, resources: &Value) -> Vec<Value> {
        let mappings = &self.kind["mapping"]["port"]["entity"]["mappings"];
        assert!(mappings.is_object(), "the kind has no default mapping");
        list(&self.documents(resources)["documents"])
            .iter()
            .map(|document| entity(mappings, document))
            .collect()
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

    /// Asserts that the plugin's own entities are those of its default mapping in JQ, that both
    /// forms refuse the same resources, that output does not differ between runs, and that each
    /// entity has an identifier of its own.
    pub fn assert_conforms(&self, fixture: &Fixture) {
        let Fixture { name, resources } = fixture;
        let native = self.entities(resources);
        assert_eq!(native, self.entities(resources), "{name}: two runs differ");
        let entities = list(&native["entities"]);
        if self.kind["mapping"].is_object() {
            let by_jq = self.jq_entities(resources);
            assert_eq!(
                Value::from(entities.to_vec()),
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
        let mut keys = BTreeSet::new();
        for entity in entities {
            let key = (entity["blueprint"].to_string(), entity["identifier"].to_string());
            assert!(keys.insert(key.clone()), "{name}: the entity {key:?} is made twice");
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

/// An entity as a mapping makes it of a document: a field whose expression fails is null.
fn entity(mappings: &Value, document: &Value) -> Value {
    let mut entity = Map::new();
    for (field, expression) in mappings.as_object().into_iter().flatten() {
        let value = match expression {
            Value::Object(fields) if fields.is_empty() => continue,
            Value::Object(fields) => fields
                .iter()
                .map(|(name, expression)| (name.clone(), evaluate(expression, document)))
                .collect::<Map<_, _>>()
                .into(),
            expression => evaluate(expression, document),
        };
        entity.insert(field.clone(), value);
    }
    entity.into()
}

fn evaluate(expression: &Value, document: &Value) -> Value {
    let code = expression.as_str().unwrap_or_else(|| panic!("{expression} is not a JQ expression"));
    let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let arena = Arena::default();
    let modules = Loader::new(definitions)
        .load(&arena, File { code, path: () })
        .unwrap_or_else(|errors| panic!("`{code}` is not JQ: {errors:?}"));
    let filter = Compiler::default()
        .with_funs(functions)
        .compile(modules)
        .unwrap_or_else(|errors| panic!("`{code}` is not JQ: {errors:?}"));
    let input: Val = serde_json::from_value(document.clone())
        .unwrap_or_else(|error| panic!("the document is no JQ value: {error}"));
    let context = Ctx::<data::JustLut<Val>>::new(&filter.lut, Vars::new([]));
    match filter.id.run((context, input)).map(unwrap_valr).next() {
        Some(Ok(value)) => serde_json::from_str(&value.to_string())
            .unwrap_or_else(|error| panic!("`{code}` yields no JSON: {error}")),
        _ => Value::Null,
    }
}
