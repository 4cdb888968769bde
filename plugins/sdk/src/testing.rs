//! Runs a plugin's mapper natively on fixtures, where a debugger and `println!` work. What every plugin
//! promises, `berth plugin test` checks on the component.
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
//! for fixture in bench.answers("fixtures") {
//!     println!("{}: {:#}", fixture.name, bench.report(&fixture));
//! }
//! ```
//!
//! Everything here panics where a test would: a bench is for tests only.
#![expect(clippy::panic, reason = "for tests only, where a panic is how a failure is told")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::{Context, Mapper, Output, map_batch};

/// A mapper with the entry of its manifest.
pub struct Bench {
    /// Where the resources are in an answer of AWS.
    items: Option<String>,
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
        let plan = &kind["plan"];
        let step = list(&plan["steps"])
            .iter()
            .find(|step| plan["resources"].is_null() || step["id"] == plan["resources"]);
        let items = step.and_then(|step| step["items"].as_str()).map(str::to_owned);
        Self { items, context, map: map_batch::<M> }
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

    /// Everything a batch yields.
    pub fn report(&self, fixture: &Fixture) -> Value {
        let entities = self.entities(&fixture.resources);
        let documents = self.documents(&fixture.resources);
        json!({
            "entities": entities["entities"],
            "documents": documents["documents"],
            "errors": entities["errors"],
        })
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
