//! A whole mapping: selector, splitting, and an expression for every field of an entity.

use berth_mapping::{
    Broken, DocumentReader, Found, append_str as write_str,
    document::{BatchContext, BatchTexts, DocumentShape, ResourceView, Split},
    split_object,
};
use jaq_json::Val;
use serde_json::{Map, Value};

use crate::{
    document::{Document, Output, Paths},
    expression::{Expression, begin_batch},
    items::ItemsToParse,
};

/// The fields of an entity that a mapping may set, in the order in which they are written.
const FIELDS: [&str; 7] = ["identifier", "title", "icon", "team", "blueprint", "properties", "relations"];
/// Entities without these are none.
const REQUIRED: [&str; 2] = ["identifier", "blueprint"];
/// Port's are text, so that numbers are written as text.
const TEXTS: [&str; 3] = ["identifier", "title", "blueprint"];

/// A mapping, ready to be evaluated.
pub struct Mapping {
    environment: Val,
    /// What all expressions read of a document.
    paths: Paths,
    /// How many fields' expressions there are.
    leaves: usize,
    selector: Expression,
    items: Option<(String, ItemsToParse)>,
    fields: Vec<(&'static str, Field)>,
}

/// What a mapping says about a field.
enum Field {
    Leaf(Leaf),
    /// Properties and relations, by name: as it is written, with the colon.
    Object(Vec<(Vec<u8>, Field)>),
    /// A search query: the fields of it, and the rules that it combines.
    Query(Vec<(&'static str, Leaf)>, Option<Vec<Field>>),
}

/// One expression.
struct Leaf {
    /// Its position among all expressions of the mapping.
    id: usize,
    /// Where it stands, as in `properties.size`.
    path: String,
    /// What stands there; none for an explicit null.
    text: Option<String>,
    expression: Result<Expression, String>,
}

/// What the expressions of a mapping have in common while they are compiled.
#[derive(Default)]
struct Compiling {
    /// What they read of a document.
    paths: Paths,
    /// How many there are.
    leaves: usize,
}

/// A leaf that gave nothing, and why.
type Nothing<'m> = (&'m Leaf, Reason);

/// Why an expression gave nothing.
enum Reason {
    Null,
    NoOutput,
    Other(String),
}

impl Reason {
    fn into_text(self) -> String {
        match self {
            Self::Null => "gave null".to_owned(),
            Self::NoOutput => "gave nothing".to_owned(),
            Self::Other(reason) => reason,
        }
    }
}

/// What came of a batch.
#[derive(Default)]
struct Report<'m> {
    entities: Vec<u8>,
    errors: Vec<(usize, String)>,
    filtered: usize,
    /// How many elements of the batch have a document, or were refused one.
    documents: usize,
    /// What gave nothing, by blueprint and by the position of the expression.
    nothing: Vec<(Option<String>, Vec<Option<Count<'m>>>)>,
}

struct Count<'m> {
    path: &'m str,
    expression: Option<&'m str>,
    count: usize,
    /// The first reason.
    reason: String,
}

impl Mapping {
    /// Compiles `{"selector": {"query": …}, "port": …, "environment": {…}, "document": {…}}`. With the last, it is
    /// evaluated on resources, whose documents it says how to make.
    ///
    /// # Errors
    /// Which expression is wrong and why. An expression of a field that an entity can do without
    /// is no error; the field is null, as in the integration that Berth replaces.
    pub fn compile(json: &[u8]) -> Result<Self, String> {
        let mapping: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let port = &mapping["port"];
        let mut compiling = Compiling::default();
        if mapping["document"].is_object() {
            let shape: DocumentShape =
                serde_json::from_value(mapping["document"].clone()).map_err(|error| error.to_string())?;
            compiling.paths = Paths::Resources(Box::new(ResourceView::new(shape)?));
        }
        let query = mapping["selector"]["query"].as_str();
        let query = query.ok_or("`selector.query` is not a JQ expression")?;
        let selector = Expression::compile(query, &mut compiling.paths)
            .map_err(|reason| format!("`selector.query`, `{query}`: {reason}"))?
            .reporting_each_error();
        let items = port["itemsToParse"].as_str().map(|expression| {
            let name = port["itemsToParseName"].as_str().unwrap_or("item");
            let transform = port["itemsToParseTopLevelTransform"].as_bool().unwrap_or(true);
            ItemsToParse::compile(expression, name, transform)
                .map(|items| (expression.to_owned(), items))
                .map_err(|reason| format!("`itemsToParse`, `{expression}`: {reason}"))
        });
        let empty = Map::new();
        let mappings = port["entity"]["mappings"].as_object().unwrap_or(&empty);
        for name in REQUIRED {
            if !mappings.get(name).is_some_and(|field| field.is_string() || field.is_object()) {
                return Err(format!("`{name}` is not a JQ expression"));
            }
        }
        let fields: Vec<_> = FIELDS
            .into_iter()
            .filter_map(|name| Some((name, Field::compile(name, mappings.get(name)?, &mut compiling))))
            .collect();
        for (_, field) in fields.iter().filter(|(name, _)| REQUIRED.contains(name)) {
            field.check()?;
        }
        let environment = match &mapping["environment"] {
            Value::Object(variables) => from_json(&Value::Object(variables.clone())),
            _ => Val::obj(jaq_json::Map::default()),
        };
        Ok(Self {
            environment,
            paths: compiling.paths,
            leaves: compiling.leaves,
            selector,
            items: items.transpose()?,
            fields,
        })
    }

    /// Evaluates the mapping on a JSON array of documents; see `wit/jq/jq.wit` for what it returns.
    ///
    /// # Errors
    /// When the documents are no JSON array.
    pub fn evaluate(&self, documents: &[u8], now: u64) -> Result<Vec<u8>, String> {
        begin_batch(now, self.environment.clone());
        let no_list = |Broken: Broken| "the documents are no JSON array".to_owned();
        let documents = std::str::from_utf8(documents).map_err(|error| error.to_string())?;
        let paths = match &self.paths {
            Paths::Documents(paths) => paths,
            Paths::Resources(view) => return self.evaluate_resources(view, documents),
        };
        let mut batch = DocumentReader::new(documents).map_err(no_list)?;
        let mut found = Found::default();
        let mut report = Report::default();
        let mut index = 0;
        while let Some(text) = batch.next(paths, &mut found).map_err(no_list)? {
            report.documents += 1;
            let document = Document::new(text, paths, &found);
            match &self.items {
                None => self.map(index, &document, &mut report),
                Some((text, items)) => match items.split(document.whole()) {
                    Ok(items) => {
                        for (value, text) in items {
                            self.map_item(index, value, &text, &mut report).map_err(no_list)?;
                        }
                    }
                    Err(reason) => {
                        report.count(self.leaves, "itemsToParse", Some(text), None, Reason::Other(reason));
                    }
                },
            }
            if document.is_broken() {
                return Err(no_list(Broken));
            }
            index += 1;
        }
        Ok(report.into_json())
    }

    /// Evaluates the mapping on `{"context": …, "resources": […]}`.
    fn evaluate_resources(&self, view: &ResourceView, batch: &str) -> Result<Vec<u8>, String> {
        let no_batch = |Broken: Broken| "it is no batch of resources".to_owned();
        let members = split_object(batch).map_err(no_batch)?;
        let member = |name: &str| {
            members.iter().find(|(known, _)| known.trim_matches('"') == name).map(|(_, text)| *text)
        };
        let context = member("context").unwrap_or_default();
        let context: BatchContext = serde_json::from_str(context).map_err(|error| error.to_string())?;
        let texts = BatchTexts::new(&context);
        let resources = member("resources").unwrap_or_default();
        let mut reader = DocumentReader::new(resources).map_err(no_batch)?;
        let (mut found, mut report, mut index) = (Found::default(), Report::default(), 0);
        let paths = view.split().map_or(self.paths.tree(), Split::paths);
        while let Some(text) = reader.next(paths, &mut found).map_err(no_batch)? {
            if let Some(split) = view.split() {
                match split.parts(&found) {
                    Ok(parts) => {
                        for part in &parts {
                            let mut found = Found::default();
                            self.paths.tree().find(part, &mut found).map_err(no_batch)?;
                            self.map_resource(index, (part, &found), (view, &context, &texts), &mut report)?;
                        }
                    }
                    Err(reason) => {
                        report.documents += 1;
                        report.errors.push((index, reason));
                    }
                }
            } else {
                self.map_resource(index, (text, &found), (view, &context, &texts), &mut report)?;
            }
            index += 1;
        }
        Ok(report.into_json())
    }

    /// Maps a resource, or a part of it that has a document of its own.
    fn map_resource<'m>(
        &'m self,
        index: usize,
        (text, found): (&str, &Found<'_>),
        (view, context, texts): (&ResourceView, &BatchContext, &BatchTexts),
        report: &mut Report<'m>,
    ) -> Result<(), String> {
        let made = match view.make(text, found, context, texts) {
            Ok(Some(made)) => made,
            Ok(None) => return Ok(()),
            Err(reason) => {
                report.documents += 1;
                report.errors.push((index, reason));
                return Ok(());
            }
        };
        report.documents += 1;
        match view.found(found, context, texts, &made) {
            Ok(document) => {
                let document = Document::of_resource(text, found, view, context, &document);
                self.map(index, &document, report);
                if document.is_broken() {
                    return Err("it is no batch of resources".to_owned());
                }
            }
            Err(reason) => report.errors.push((index, reason)),
        }
        Ok(())
    }

    fn map_item<'m>(
        &'m self,
        index: usize,
        value: Val,
        text: &[u8],
        report: &mut Report<'m>,
    ) -> Result<(), Broken> {
        let text = std::str::from_utf8(text).map_err(|_| Broken)?;
        let mut found = Found::default();
        let paths = self.paths.tree();
        paths.find(text, &mut found)?;
        self.map(index, &Document::with_value(value, text, paths, &found), report);
        Ok(())
    }

    fn map<'m>(&'m self, index: usize, item: &Document<'_, '_>, report: &mut Report<'m>) {
        let selected = match self.selector.evaluate(item) {
            Ok(Some(output)) => {
                output.as_bool().ok_or_else(|| format!("gave {} instead of true or false", output.shown()))
            }
            Ok(None) => Err("gave nothing instead of true or false".to_owned()),
            Err(reason) => Err(reason),
        };
        match selected {
            Ok(true) => {}
            Ok(false) => {
                report.filtered += 1;
                return;
            }
            Err(reason) => {
                report.errors.push((index, format!("selector.query: {reason}")));
                return;
            }
        }
        let start = report.entities.len();
        if !self.write_entity(index, item, report) {
            report.entities.truncate(start);
        }
    }

    /// Appends the entity of a document, if it has one.
    fn write_entity<'m>(&'m self, index: usize, item: &Document<'_, '_>, report: &mut Report<'m>) -> bool {
        let mut nothing = Vec::new();
        let mut blueprint = None;
        let mut out = std::mem::take(&mut report.entities);
        if !out.is_empty() {
            out.push(b',');
        }
        for (position, (name, field)) in self.fields.iter().enumerate() {
            let before = nothing.len();
            out.push(if position == 0 { b'{' } else { b',' });
            let written = if let Field::Leaf(leaf) = field {
                write_str(name, &mut out);
                out.push(b':');
                let output = leaf.evaluate(item, &mut nothing);
                if *name == "blueprint" {
                    blueprint = Some(output.to_text().into_owned());
                }
                write_leaf(name, &output, &mut out);
                if REQUIRED.contains(name) { leaf.refuse(&output) } else { None }
            } else {
                // An identifier that is a query is searched for.
                write_str(if *name == "identifier" { "search" } else { name }, &mut out);
                out.push(b':');
                field.write(item, &mut nothing, &mut out);
                let lost = REQUIRED.contains(name) && (nothing.len() > before || field.is_empty());
                lost.then_some(Refused::NoEntity(None))
            };
            if let Some(refused) = written {
                report.entities = out;
                match refused {
                    Refused::NoEntity(gave) => {
                        if let Some((leaf, reason)) = nothing.drain(before..).next().or(gave) {
                            let reason = format!("{}, {NO_ENTITY}", reason.into_text());
                            report.leaf(leaf, None, Reason::Other(reason));
                        }
                    }
                    Refused::Error(reason) => report.errors.push((index, format!("{name}: {reason}"))),
                }
                return false;
            }
        }
        out.push(b'}');
        report.entities = out;
        for (leaf, reason) in nothing {
            report.leaf(leaf, blueprint.as_deref(), reason);
        }
        true
    }
}

/// A member's name as it is written, with the colon.
fn label(name: &str) -> Vec<u8> {
    let mut label = Vec::new();
    write_str(name, &mut label);
    label.push(b':');
    label
}

/// What follows the reason why a field that an entity needs is nothing.
const NO_ENTITY: &str = "so that there is no entity";

/// Why a document has no entity.
enum Refused<'m> {
    /// The expression gave nothing that an entity could have.
    NoEntity(Option<Nothing<'m>>),
    /// It gave something else than text.
    Error(String),
}

/// Appends the value of a field that is one expression.
fn write_leaf(name: &str, output: &Output<'_>, out: &mut Vec<u8>) {
    let quoted = TEXTS.contains(&name) && (output.is_number() || output.as_bool().is_some());
    out.extend_from_slice(if quoted { b"\"" } else { b"" });
    output.write(out);
    out.extend_from_slice(if quoted { b"\"" } else { b"" });
}

impl Field {
    fn compile(path: &str, value: &Value, compiling: &mut Compiling) -> Self {
        match value {
            Value::Object(members) if ["properties", "relations"].contains(&path) => Self::Object(
                members
                    .iter()
                    .map(|(name, member)| {
                        (label(name), Self::compile(&format!("{path}.{name}"), member, compiling))
                    })
                    .collect(),
            ),
            Value::Object(members) => Self::query(path, members, compiling),
            other => Self::Leaf(Leaf::compile(path.to_owned(), other, compiling)),
        }
    }

    fn query(path: &str, members: &Map<String, Value>, compiling: &mut Compiling) -> Self {
        let leaves = ["combinator", "property", "operator", "value"]
            .into_iter()
            .filter_map(|name| {
                Some((name, Leaf::compile(format!("{path}.{name}"), members.get(name)?, compiling)))
            })
            .collect();
        let rules = members.get("rules").and_then(Value::as_array).map(|rules| {
            let mut rule = |(index, rule)| Self::compile(&format!("{path}.rules[{index}]"), rule, compiling);
            rules.iter().enumerate().map(&mut rule).collect()
        });
        Self::Query(leaves, rules)
    }

    /// Whether every expression compiles.
    fn check(&self) -> Result<(), String> {
        let leaf = |Leaf { path, text, expression, .. }: &Leaf| match expression {
            Ok(_) => Ok(()),
            Err(reason) => Err(format!("`{path}`, `{}`: {reason}", text.as_deref().unwrap_or("null"))),
        };
        match self {
            Self::Leaf(one) => leaf(one),
            Self::Object(members) => members.iter().try_for_each(|(_, field)| field.check()),
            Self::Query(leaves, rules) => {
                leaves.iter().try_for_each(|(_, one)| leaf(one))?;
                rules.iter().flatten().try_for_each(Self::check)
            }
        }
    }

    /// Whether it is a query of nothing.
    fn is_empty(&self) -> bool {
        matches!(self, Self::Query(leaves, None) if leaves.is_empty())
    }

    /// Appends the value, and to `nothing` the leaves that have none. A search query in which something is
    /// missing would find something else: it is null as a whole.
    fn write<'m>(&'m self, item: &Document<'_, '_>, nothing: &mut Vec<Nothing<'m>>, out: &mut Vec<u8>) {
        let begin = |out: &mut Vec<u8>, position: usize, label: &[u8]| {
            out.extend_from_slice(if position == 0 { b"" } else { b"," });
            out.extend_from_slice(label);
        };
        match self {
            Self::Leaf(leaf) => leaf.evaluate(item, nothing).write(out),
            Self::Object(members) => {
                out.push(b'{');
                for (position, (label, field)) in members.iter().enumerate() {
                    begin(out, position, label);
                    field.write(item, nothing, out);
                }
                out.push(b'}');
            }
            Self::Query(leaves, rules) => {
                let (before, from) = (nothing.len(), out.len());
                out.push(b'{');
                for (position, (name, leaf)) in leaves.iter().enumerate() {
                    begin(out, position, &label(name));
                    leaf.evaluate(item, nothing).write(out);
                }
                if let Some(rules) = rules {
                    begin(out, leaves.len(), &label("rules"));
                    out.push(b'[');
                    for (position, rule) in rules.iter().enumerate() {
                        out.extend_from_slice(if position == 0 { b"" } else { b"," });
                        rule.write(item, nothing, out);
                    }
                    out.push(b']');
                }
                out.push(b'}');
                if nothing.len() > before {
                    out.truncate(from);
                    out.extend_from_slice(b"null");
                }
            }
        }
    }
}

impl Leaf {
    fn compile(path: String, value: &Value, compiling: &mut Compiling) -> Self {
        let text = value.as_str().map(ToOwned::to_owned);
        let expression = if let Some(text) = &text {
            Expression::compile(text, &mut compiling.paths)
        } else {
            let shown = Output::Value(from_json(value)).shown();
            Err(format!("is {shown}, which is no JQ expression"))
        };
        let id = compiling.leaves;
        compiling.leaves += 1;
        Self { id, path, text, expression }
    }

    fn evaluate<'m, 'v>(&'m self, item: &Document<'v, '_>, nothing: &mut Vec<Nothing<'m>>) -> Output<'v>
    where
        'm: 'v,
    {
        let output = match &self.expression {
            Ok(expression) => expression.evaluate(item),
            Err(reason) => Err(reason.clone()),
        };
        let reason = match output {
            Ok(Some(output)) if output.is_null() => Reason::Null,
            Ok(None) => Reason::NoOutput,
            Ok(Some(output)) => return output,
            Err(reason) => Reason::Other(reason),
        };
        nothing.push((self, reason));
        Output::Value(Val::Null)
    }

    /// Why an entity cannot have such an identifier or blueprint.
    fn refuse(&self, output: &Output<'_>) -> Option<Refused<'_>> {
        if !output.is_truthy() {
            let reason = Reason::Other(format!("gave {}", output.shown()));
            return Some(Refused::NoEntity(Some((self, reason))));
        }
        let fits = output.is_text() || output.is_number();
        (!fits).then(|| Refused::Error(format!("gave {} instead of text", output.shown())))
    }
}

impl<'m> Report<'m> {
    fn leaf(&mut self, leaf: &'m Leaf, blueprint: Option<&str>, reason: Reason) {
        self.count(leaf.id, &leaf.path, leaf.text.as_deref(), blueprint, reason);
    }

    fn count(
        &mut self,
        id: usize,
        path: &'m str,
        expression: Option<&'m str>,
        blueprint: Option<&str>,
        reason: Reason,
    ) {
        let known = self.nothing.iter().position(|(known, _)| known.as_deref() == blueprint);
        let known = known.unwrap_or_else(|| {
            self.nothing.push((blueprint.map(ToOwned::to_owned), Vec::new()));
            self.nothing.len() - 1
        });
        let counts = &mut self.nothing[known].1;
        if counts.len() <= id {
            counts.resize_with(id + 1, || None);
        }
        let first = || Count { path, expression, count: 0, reason: reason.into_text() };
        counts[id].get_or_insert_with(first).count += 1;
    }

    fn into_json(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entities.len() + 128);
        out.extend_from_slice(b"{\"entities\":[");
        out.extend_from_slice(&self.entities);
        out.extend_from_slice(b"],\"errors\":[");
        for (position, (index, reason)) in self.errors.iter().enumerate() {
            out.extend_from_slice(if position == 0 { b"" } else { b"," });
            out.extend_from_slice(format!("{{\"index\":{index},\"reason\":").as_bytes());
            write_str(reason, &mut out);
            out.push(b'}');
        }
        let (filtered, documents) = (self.filtered, self.documents);
        let counts = format!("],\"filtered\":{filtered},\"documents\":{documents},\"misconfigured\":[");
        out.extend_from_slice(counts.as_bytes());
        let member = |out: &mut Vec<u8>, name: &str, text: Option<&str>| {
            if let Some(text) = text {
                write_str(name, out);
                out.push(b':');
                write_str(text, out);
                out.push(b',');
            }
        };
        let mut nothing: Vec<(&Count<'m>, Option<&str>)> = self
            .nothing
            .iter()
            .flat_map(|(blueprint, counts)| {
                counts.iter().flatten().map(|count| (count, blueprint.as_deref()))
            })
            .collect();
        nothing.sort_unstable_by_key(|(count, blueprint)| (count.path, *blueprint));
        for (position, (Count { path, expression, count, reason }, blueprint)) in nothing.iter().enumerate() {
            out.extend_from_slice(if position == 0 { b"{" } else { b",{" });
            member(&mut out, "field", Some(path));
            member(&mut out, "expression", *expression);
            member(&mut out, "blueprint", *blueprint);
            member(&mut out, "reason", Some(reason));
            out.extend_from_slice(format!("\"count\":{count}}}").as_bytes());
        }
        out.extend_from_slice(b"]}");
        out
    }
}

fn from_json(value: &Value) -> Val {
    jaq_json::read::parse_single(value.to_string().as_bytes()).unwrap_or_default()
}
