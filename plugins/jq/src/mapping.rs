//! A whole mapping: selector, splitting, and an expression for every field of an entity.

use std::{collections::BTreeMap, fmt::Write as _};

use jaq_json::Val;
use serde_json::{Map, Value};

use crate::{
    expression::{Expression, set_surroundings},
    items::ItemsToParse,
    write::{write, write_str},
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
    selector: Expression,
    items: Option<(String, ItemsToParse)>,
    fields: Vec<(&'static str, Field)>,
}

/// What a mapping says about a field.
enum Field {
    Leaf(Leaf),
    /// Properties and relations, by name.
    Object(Vec<(String, Field)>),
    /// A search query: the fields of it, and the rules that it combines.
    Query(Vec<(&'static str, Leaf)>, Option<Vec<Field>>),
}

/// One expression.
struct Leaf {
    /// Where it stands, as in `properties.size`.
    path: String,
    /// What stands there; none for an explicit null.
    text: Option<String>,
    expression: Result<Expression, String>,
}

/// A leaf that gave nothing, and why.
type Nothing<'m> = (&'m Leaf, String);

/// What came of a batch.
#[derive(Default)]
struct Report<'m> {
    entities: Vec<u8>,
    errors: Vec<(usize, String)>,
    filtered: usize,
    /// What gave nothing, by path and blueprint.
    nothing: BTreeMap<(&'m str, Option<String>), Count<'m>>,
}

struct Count<'m> {
    expression: Option<&'m str>,
    count: usize,
    /// The first reason.
    reason: String,
}

impl Mapping {
    /// Compiles `{"selector": {"query": …}, "port": …, "environment": {…}}`.
    ///
    /// # Errors
    /// Which expression is wrong and why. An expression of a field that an entity can do without
    /// is no error; the field is null, as in the integration that Berth replaces.
    pub fn compile(json: &[u8]) -> Result<Self, String> {
        let mapping: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let port = &mapping["port"];
        let needed = |name: &str, expression: &Value| {
            let text = expression.as_str().ok_or_else(|| format!("`{name}` is not a JQ expression"))?;
            Expression::compile(text).map_err(|reason| format!("`{name}`, `{text}`: {reason}"))
        };
        let selector = needed("selector.query", &mapping["selector"]["query"])?;
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
            .filter_map(|name| Some((name, Field::compile(name, mappings.get(name)?))))
            .collect();
        for (_, field) in fields.iter().filter(|(name, _)| REQUIRED.contains(name)) {
            field.check()?;
        }
        let environment = match &mapping["environment"] {
            Value::Object(variables) => from_json(&Value::Object(variables.clone())),
            _ => Val::obj(jaq_json::Map::default()),
        };
        Ok(Self { environment, selector, items: items.transpose()?, fields })
    }

    /// Evaluates the mapping on a JSON array of documents; see `wit/jq/jq.wit` for what it returns.
    ///
    /// # Errors
    /// When the documents are no JSON array.
    pub fn evaluate(&self, documents: &[u8], now: u64) -> Result<Vec<u8>, String> {
        set_surroundings(now, self.environment.clone());
        let documents = jaq_json::read::parse_single(documents).map_err(|error| error.to_string())?;
        let Val::Arr(documents) = documents else { return Err("the documents are no JSON array".into()) };
        let mut report = Report::default();
        for (index, document) in documents.iter().enumerate() {
            match &self.items {
                None => self.map(index, document, &mut report),
                Some((text, items)) => match items.split(document) {
                    Ok(items) => items.for_each(|item| self.map(index, &item, &mut report)),
                    Err(reason) => report.count("itemsToParse", Some(text), None, reason),
                },
            }
        }
        Ok(report.into_json())
    }

    fn map<'m>(&'m self, index: usize, item: &Val, report: &mut Report<'m>) {
        let selected = match self.selector.evaluate(item) {
            Ok(Some(Val::Bool(selected))) => Ok(selected),
            Ok(Some(other)) => Err(format!("gave {} instead of true or false", shown(&other))),
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
        let mut nothing = Vec::new();
        let mut values = Vec::with_capacity(self.fields.len());
        for (name, field) in &self.fields {
            let before = nothing.len();
            let value = field.evaluate(item, &mut nothing);
            if REQUIRED.contains(name) && !is_truthy(&value) {
                let dropped = "so that there is no entity";
                match (nothing.drain(before..).next(), field) {
                    (Some((leaf, reason)), _) => report.leaf(leaf, None, format!("{reason}, {dropped}")),
                    (None, Field::Leaf(leaf)) => {
                        report.leaf(leaf, None, format!("gave {}, {dropped}", shown(&value)));
                    }
                    (None, _) => {}
                }
                return;
            }
            let fits = match value {
                Val::TStr(_) | Val::Num(_) => true,
                // Only a search query makes one.
                Val::Obj(_) => matches!(field, Field::Query(..)),
                _ => false,
            };
            if REQUIRED.contains(name) && !fits {
                report.errors.push((index, format!("{name}: gave {} instead of text", shown(&value))));
                return;
            }
            values.push((*name, value));
        }
        let blueprint = values.iter().find_map(|(name, value)| match (*name, value) {
            ("blueprint", Val::TStr(text)) => Some(String::from_utf8_lossy(text).into_owned()),
            ("blueprint", other) => Some(other.to_string()),
            _ => None,
        });
        for (leaf, reason) in nothing {
            report.leaf(leaf, blueprint.as_deref(), reason);
        }
        report.entity(&values);
    }
}

impl Field {
    fn compile(path: &str, value: &Value) -> Self {
        match value {
            Value::Object(members) if ["properties", "relations"].contains(&path) => Self::Object(
                members
                    .iter()
                    .map(|(name, member)| (name.clone(), Self::compile(&format!("{path}.{name}"), member)))
                    .collect(),
            ),
            Value::Object(members) => Self::query(path, members),
            other => Self::Leaf(Leaf::compile(path.to_owned(), other)),
        }
    }

    fn query(path: &str, members: &Map<String, Value>) -> Self {
        let leaves = ["combinator", "property", "operator", "value"]
            .into_iter()
            .filter_map(|name| Some((name, Leaf::compile(format!("{path}.{name}"), members.get(name)?))))
            .collect();
        let rules = members.get("rules").and_then(Value::as_array).map(|rules| {
            let rule = |(index, rule)| Self::compile(&format!("{path}.rules[{index}]"), rule);
            rules.iter().enumerate().map(rule).collect()
        });
        Self::Query(leaves, rules)
    }

    /// Whether every expression compiles.
    fn check(&self) -> Result<(), String> {
        let leaf = |Leaf { path, text, expression }: &Leaf| match expression {
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

    /// The value, and in `nothing` the leaves that have none. A search query in which something is
    /// missing would find something else: it is null as a whole.
    fn evaluate<'m>(&'m self, item: &Val, nothing: &mut Vec<Nothing<'m>>) -> Val {
        match self {
            Self::Leaf(leaf) => leaf.evaluate(item, nothing),
            Self::Object(members) => Val::obj(
                members
                    .iter()
                    .map(|(name, field)| (Val::utf8_str(name.clone()), field.evaluate(item, nothing)))
                    .collect(),
            ),
            Self::Query(leaves, rules) => {
                let before = nothing.len();
                let mut members: jaq_json::Map = leaves
                    .iter()
                    .map(|(name, leaf)| (Val::utf8_str((*name).to_owned()), leaf.evaluate(item, nothing)))
                    .collect();
                if let Some(rules) = rules {
                    let rules = rules.iter().map(|rule| rule.evaluate(item, nothing)).collect();
                    members.insert(Val::utf8_str("rules".to_owned()), rules);
                }
                if nothing.len() > before { Val::Null } else { Val::obj(members) }
            }
        }
    }
}

impl Leaf {
    fn compile(path: String, value: &Value) -> Self {
        let text = value.as_str().map(ToOwned::to_owned);
        let expression = match &text {
            Some(text) => Expression::compile(text),
            None => Err(format!("is {}, which is no JQ expression", shown(&from_json(value)))),
        };
        Self { path, text, expression }
    }

    fn evaluate<'m>(&'m self, item: &Val, nothing: &mut Vec<Nothing<'m>>) -> Val {
        let value = match &self.expression {
            Ok(expression) => expression.evaluate(item),
            Err(reason) => Err(reason.clone()),
        };
        let reason = match value {
            Ok(Some(Val::Null)) => "gave null".to_owned(),
            Ok(None) => "gave nothing".to_owned(),
            Ok(Some(value)) => return value,
            Err(reason) => reason,
        };
        nothing.push((self, reason));
        Val::Null
    }
}

impl<'m> Report<'m> {
    fn leaf(&mut self, leaf: &'m Leaf, blueprint: Option<&str>, reason: String) {
        self.count(&leaf.path, leaf.text.as_deref(), blueprint, reason);
    }

    fn count(&mut self, path: &'m str, text: Option<&'m str>, blueprint: Option<&str>, reason: String) {
        self.nothing
            .entry((path, blueprint.map(ToOwned::to_owned)))
            .or_insert(Count { expression: text, count: 0, reason })
            .count += 1;
    }

    fn entity(&mut self, values: &[(&str, Val)]) {
        let out = &mut self.entities;
        if !out.is_empty() {
            out.push(b',');
        }
        for (position, (name, value)) in values.iter().enumerate() {
            out.push(if position == 0 { b'{' } else { b',' });
            if *name == "identifier" && matches!(value, Val::Obj(_)) {
                out.extend_from_slice(b"\"search\":");
                write(value, out);
                continue;
            }
            write_str(name, out);
            out.push(b':');
            let quoted = TEXTS.contains(name) && matches!(value, Val::Num(_) | Val::Bool(_));
            out.extend_from_slice(if quoted { b"\"" } else { b"" });
            write(value, out);
            out.extend_from_slice(if quoted { b"\"" } else { b"" });
        }
        out.push(b'}');
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
        out.extend_from_slice(format!("],\"filtered\":{},\"misconfigured\":[", self.filtered).as_bytes());
        let member = |out: &mut Vec<u8>, name: &str, text: Option<&str>| {
            if let Some(text) = text {
                write_str(name, out);
                out.push(b':');
                write_str(text, out);
                out.push(b',');
            }
        };
        for (position, ((path, blueprint), Count { expression, count, reason })) in
            self.nothing.iter().enumerate()
        {
            out.extend_from_slice(if position == 0 { b"{" } else { b",{" });
            member(&mut out, "field", Some(path));
            member(&mut out, "expression", *expression);
            member(&mut out, "blueprint", blueprint.as_deref());
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

/// What counts as given: the rule of the integration that Berth replaces.
fn is_truthy(value: &Val) -> bool {
    match value {
        Val::Null | Val::Bool(false) => false,
        Val::Bool(true) => true,
        Val::Num(number) => *number != jaq_json::Num::Int(0),
        Val::TStr(text) | Val::BStr(text) => !text.is_empty(),
        Val::Arr(elements) => !elements.is_empty(),
        Val::Obj(members) => !members.is_empty(),
    }
}

/// A value in a message: its beginning.
pub(crate) fn shown(value: &Val) -> String {
    const LONGEST: usize = 60;
    let mut json = Vec::new();
    write(value, &mut json);
    let mut text = String::from_utf8_lossy(&json).into_owned();
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        let _ = write!(text, "…");
    }
    format!("`{text}`")
}
