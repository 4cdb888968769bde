//! Validates what a manifest declares of its documents, and the paths of its default mapping, on the sample responses
//! that its plan was validated on. Otherwise a misspelled member would be null in every entity.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::{KindManifest, KindReads};
use berth_mapping::{
    Expression,
    document::{DocumentShape, names_of},
};
use serde_json::{Map, Value, json};

use crate::service::near;

/// Returns every name that AWS's models do not have. `items` are sample items of the list steps, and `steps` what
/// enriches them.
pub(crate) fn document_violations(
    kind: &KindManifest,
    items: &BTreeMap<String, Value>,
    steps: &Map<String, Value>,
) -> Vec<String> {
    let Some(document) = kind.document() else { return Vec::new() };
    let Some(item) = kind.plan().resource_step().and_then(|step| items.get(&step.id)) else {
        return Vec::new();
    };
    let mut resource = json!({"item": item, "steps": steps, "parents": items});
    add_elements(document, &mut resource);
    let mut validator = DocumentValidator {
        kind,
        document,
        resource: &resource,
        excused: BTreeSet::new(),
        violations: Vec::new(),
    };
    validator.check_document();
    validator.check_mapping();
    validator.check_excuses();
    validator.violations
}

/// Adds the elements that documents are made for, and what is joined to them.
fn add_elements(document: &DocumentShape, resource: &mut Value) {
    let lists = [("each", document.each.as_ref()), ("joined", document.join.as_ref().map(|join| &join.from))];
    for (name, list) in lists {
        let Some(list) = list else { continue };
        let element = match follow(resource, &names_of(list)) {
            Ok(Value::Array(elements)) => elements.first().cloned(),
            Ok(other) => Some(other.clone()),
            Err(_) => None,
        };
        resource[name] = element.unwrap_or_default();
    }
}

struct DocumentValidator<'a> {
    kind: &'a KindManifest,
    document: &'a DocumentShape,
    /// A sample: `item`, `steps` and `parents`.
    resource: &'a Value,
    /// The names in `unmodeled` that are needed there.
    excused: BTreeSet<&'a str>,
    violations: Vec<String>,
}

/// A name that the models do not have.
struct Unknown {
    /// The path up to it.
    path: String,
    /// The names that stand beside it.
    known: Vec<String>,
}

impl<'a> DocumentValidator<'a> {
    fn check_document(&mut self) {
        let document = self.document;
        for path in document.merge_paths() {
            self.check("merge", self.source(&format!("{{{path}}}")));
        }
        if let Some(owner) = &document.owner {
            self.check("owner", self.source(&format!("{{{owner}}}")));
        }
        for (place, source) in document.sources() {
            self.check(&place, self.source(source));
        }
        for (list, property) in document.listed_in() {
            let found = self.property(property, &[]);
            let is_there = found.is_ok();
            self.check(list, found);
            // Where the times are is not said: anywhere in the property.
            if list == "nestedTimes" && is_there {
                for time in document.times_in(property) {
                    let mut known = BTreeSet::new();
                    self.values(property).for_each(|value| names_in(value, &mut known));
                    let is_known = known.is_empty() || known.contains(time.as_str());
                    let unknown = || Unknown {
                        path: format!("{property}.{time}"),
                        known: known.iter().map(|name| (*name).to_owned()).collect(),
                    };
                    self.check(list, if is_known { Ok(()) } else { Err(unknown()) });
                }
            }
        }
    }

    fn check_mapping(&mut self) {
        let Some(mapping) = &self.kind.mapping else { return };
        let mappings = &mapping.port.entity.mappings;
        let single = [
            ("identifier", Some(&mappings.identifier)),
            ("title", mappings.title.as_ref()),
            ("icon", mappings.icon.as_ref()),
            ("team", mappings.team.as_ref()),
        ];
        let single = single.into_iter().filter_map(|(name, code)| Some((name.to_owned(), code?)));
        let properties = mappings.properties.iter().map(|(name, code)| (format!("properties.{name}"), code));
        let relations = mappings.relations.iter().map(|(name, code)| (format!("relations.{name}"), code));
        for (place, code) in single.chain(properties).chain(relations) {
            let Some(parsed) = code.as_str().and_then(Expression::parse) else { continue };
            for path in parsed.paths() {
                let found = match path.as_slice() {
                    [first, name, below @ ..] if first == "Properties" => self.property(name, below),
                    [first, name, ..] if first == "__ExtraContext" && !self.document.has_context(name) => {
                        Err(Unknown { path: path.join("."), known: Vec::new() })
                    }
                    _ => Ok(()),
                };
                self.report(&format!("the default mapping, `{place}`"), found);
            }
        }
    }

    /// Finds names in `unmodeled` that are not needed there.
    fn check_excuses(&mut self) {
        for name in &self.document.unmodeled {
            if !self.excused.contains(name.as_str()) {
                self.violations.push(format!(
                    "{}, `document.unmodeled`: AWS's models have `{name}`, or nothing reads it: leave it out",
                    self.kind.kind
                ));
            }
        }
    }

    fn check(&mut self, place: &str, found: Result<(), Unknown>) {
        self.report(&format!("`document.{place}`"), found);
    }

    fn report(&mut self, place: &str, found: Result<(), Unknown>) {
        let Err(Unknown { path, known }) = found else { return };
        if let Some(excuse) = self.document.unmodeled.iter().find(|excuse| **excuse == path) {
            self.excused.insert(excuse);
            return;
        }
        let name = path.rsplit('.').next().unwrap_or_default();
        let suggestion = near(name, known.iter().map(String::as_str)).into_iter().next();
        let suggestion = suggestion.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        self.violations.push(format!(
            "{}, {place}: AWS's models have no `{path}`{suggestion} (What AWS returns nevertheless stands in \
             `document.unmodeled`.)",
            self.kind.kind,
        ));
    }

    /// Looks up what the placeholders of a source read.
    fn source(&self, source: &str) -> Result<(), Unknown> {
        for placeholder in source.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)) {
            let Some(parsed) = Expression::parse(&format!(".{placeholder}")) else { continue };
            for path in parsed.paths().iter().filter(|path| self.resource.get(&path[0]).is_some()) {
                follow(self.resource, path)?;
            }
        }
        Ok(())
    }

    /// Looks up a property and what is read below it: it is fine if one of its origins has it.
    fn property(&self, name: &str, below: &[String]) -> Result<(), Unknown> {
        let mut failed = None;
        for value in self.values(name) {
            match follow(value, below) {
                Ok(_) => return Ok(()),
                Err(unknown) => failed = failed.or(Some(unknown)),
            }
        }
        if let Some(Unknown { path, known }) = failed {
            return Err(Unknown { path: format!("{name}.{path}"), known });
        }
        // A text, or what an expression computes, is not in the models.
        if self.document.source_of(name).is_some_and(|source| path_of(source).is_none()) {
            return Ok(());
        }
        let members = self.merged().filter_map(Value::as_object).flat_map(Map::keys).cloned();
        let set = self.document.set.0.iter().map(|(name, _)| name.clone());
        let listed = self.document.listed_in().map(|(_, listed)| listed.to_owned());
        Err(Unknown {
            path: name.to_owned(),
            known: members.chain(set).chain(listed).filter(|other| other != name).collect(),
        })
    }

    /// The values that a property may have.
    fn values(&self, property: &str) -> impl Iterator<Item = &'a Value> {
        static ANYTHING: Value = Value::Null;
        let is_listed = self.document.listed_in().any(|(_, listed)| listed == property);
        let set = self.document.source_of(property).and_then(path_of);
        let set = set.and_then(|path| follow(self.resource, &path).ok());
        let member = self.document.member_of(property);
        let names = match member {
            Some(member) => vec![member.to_owned()],
            None if is_listed => vec![property.to_owned(), uncapitalized(property)],
            None if self.document.keep_unknown => vec![property.to_owned()],
            None => Vec::new(),
        };
        let merged = self.merged().filter_map(move |object| match object {
            Value::Object(members) if !members.is_empty() => {
                names.iter().chain([&"sample".to_owned()]).find_map(|name| members.get(name))
            }
            _ => Some(&ANYTHING),
        });
        set.into_iter().chain(merged)
    }

    /// The objects that are merged.
    fn merged(&self) -> impl Iterator<Item = &'a Value> {
        let resource = self.resource;
        self.document
            .merge_paths()
            .into_iter()
            .filter_map(move |path| follow(resource, &names_of(&path)).ok())
    }
}

/// The path of a source that is one.
fn path_of(source: &str) -> Option<Vec<String>> {
    let code = source.strip_prefix('{')?.strip_suffix('}')?;
    let parsed = Expression::parse(&format!(".{code}")).filter(berth_mapping::Parsed::is_path)?;
    parsed.paths().first().cloned()
}

/// Returns what stands at a path of a sample; null where the models say nothing.
fn follow<'v>(sample: &'v Value, path: &[String]) -> Result<&'v Value, Unknown> {
    let mut value = sample;
    for (depth, name) in path.iter().enumerate() {
        value = match value {
            // A structure within itself is empty in a sample.
            Value::Object(members) if members.is_empty() => return Ok(&Value::Null),
            // The keys of a map are not in the models.
            Value::Object(members) => match members.get(name).or_else(|| members.get("sample")) {
                Some(value) => value,
                None => {
                    return Err(Unknown {
                        path: path[..=depth].join("."),
                        known: members.keys().cloned().collect(),
                    });
                }
            },
            _ => return Ok(&Value::Null),
        };
    }
    Ok(value)
}

/// The names of the members of a value, at any depth.
fn names_in<'v>(value: &'v Value, names: &mut BTreeSet<&'v str>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            names.insert(name);
            names_in(value, names);
        }),
        Value::Array(values) => values.iter().for_each(|value| names_in(value, names)),
        _ => {}
    }
}

/// `clusterArn` for `ClusterArn`.
fn uncapitalized(name: &str) -> String {
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    name
}
