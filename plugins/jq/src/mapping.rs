//! A whole mapping: selector, splitting, and an expression for every field of an entity.

use std::{collections::BTreeMap, fmt::Write as _};

use jaq_json::Val;
use serde_json::{Map, Value};

use crate::{
    expression::{Expression, set_now},
    items::ItemsToParse,
    write::{write, write_str},
};

/// The fields of an entity that a mapping may set, in the order in which they are written.
const FIELDS: [&str; 7] = ["identifier", "title", "icon", "team", "blueprint", "properties", "relations"];
/// Entities without these are none; they must be text.
const REQUIRED: [&str; 2] = ["identifier", "blueprint"];

/// A mapping, ready to be evaluated.
pub struct Mapping {
    selector: Expression,
    items: Option<ItemsToParse>,
    fields: Vec<(&'static str, Field)>,
}

/// What a mapping says about a field.
enum Field {
    Expression {
        /// Where it stands (`properties.size`), for warnings.
        path: String,
        expression: Result<Expression, String>,
    },
    /// Properties, relations, and search queries: expressions below.
    Object(Vec<(String, Field)>),
    List(Vec<Field>),
    /// Neither text nor anything that holds text.
    Literal(Val),
}

/// What came of a batch.
#[derive(Default)]
struct Report {
    entities: Vec<u8>,
    errors: Vec<(usize, String)>,
    filtered: usize,
    /// By field: how often, and the first reason.
    warnings: BTreeMap<String, (usize, String)>,
}

impl Mapping {
    /// Compiles `{"selector": {"query": …}, "port": …}`.
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
                .map_err(|reason| format!("`itemsToParse`, `{expression}`: {reason}"))
        });
        let empty = Map::new();
        let mappings = port["entity"]["mappings"].as_object().unwrap_or(&empty);
        for name in REQUIRED {
            let expression = mappings.get(name).unwrap_or(&Value::Null);
            if expression.is_object() {
                return Err(format!(
                    "`{name}` is a search query; only relations and teams can be searched for"
                ));
            }
            needed(name, expression)?;
        }
        let fields = FIELDS
            .into_iter()
            .filter_map(|name| Some((name, Field::compile(name, mappings.get(name)?))))
            .collect();
        Ok(Self { selector, items: items.transpose()?, fields })
    }

    /// Evaluates the mapping on a JSON array of documents; see `wit/jq/jq.wit` for what it returns.
    ///
    /// # Errors
    /// When the documents are no JSON array.
    pub fn evaluate(&self, documents: &[u8], now: u64) -> Result<Vec<u8>, String> {
        set_now(now);
        let documents = jaq_json::read::parse_single(documents).map_err(|error| error.to_string())?;
        let Val::Arr(documents) = documents else { return Err("the documents are no JSON array".into()) };
        let mut report = Report::default();
        for (index, document) in documents.iter().enumerate() {
            match &self.items {
                None => self.map(index, document, &mut report),
                Some(items) => match items.split(document) {
                    Ok(items) => items.for_each(|item| self.map(index, &item, &mut report)),
                    Err(reason) => report.warn("itemsToParse", reason),
                },
            }
        }
        Ok(report.into_json())
    }

    fn map(&self, index: usize, item: &Val, report: &mut Report) {
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
        let values: Vec<(&str, Val)> =
            self.fields.iter().map(|(name, field)| (*name, field.evaluate(item, report))).collect();
        for (name, value) in values.iter().filter(|(name, _)| REQUIRED.contains(name)) {
            if !is_truthy(value) {
                report.warn(name, format!("gave {}, so that there is no entity", shown(value)));
                return;
            }
            if !matches!(value, Val::TStr(_) | Val::Num(_)) {
                report.errors.push((index, format!("{name}: gave {} instead of text", shown(value))));
                return;
            }
        }
        report.entity(&values);
    }
}

impl Field {
    fn compile(path: &str, value: &Value) -> Self {
        match value {
            Value::String(text) => {
                Self::Expression { path: path.to_owned(), expression: Expression::compile(text) }
            }
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, member)| (name.clone(), Self::compile(&format!("{path}.{name}"), member)))
                    .collect(),
            ),
            Value::Array(elements) => Self::List(
                elements
                    .iter()
                    .enumerate()
                    .map(|(index, element)| Self::compile(&format!("{path}[{index}]"), element))
                    .collect(),
            ),
            literal => Self::Literal(
                jaq_json::read::parse_single(literal.to_string().as_bytes()).unwrap_or_default(),
            ),
        }
    }

    fn evaluate(&self, item: &Val, report: &mut Report) -> Val {
        match self {
            Self::Expression { path, expression } => {
                let value = match expression {
                    Ok(expression) => expression.evaluate(item),
                    Err(reason) => Err(reason.clone()),
                };
                match value {
                    Ok(value) => value.unwrap_or_default(),
                    Err(reason) => {
                        report.warn(path, reason);
                        Val::Null
                    }
                }
            }
            Self::Object(members) => Val::obj(
                members
                    .iter()
                    .map(|(name, field)| (Val::utf8_str(name.clone()), field.evaluate(item, report)))
                    .collect(),
            ),
            Self::List(elements) => elements.iter().map(|field| field.evaluate(item, report)).collect(),
            Self::Literal(value) => value.clone(),
        }
    }
}

impl Report {
    fn warn(&mut self, field: &str, reason: String) {
        match self.warnings.get_mut(field) {
            Some((count, _)) => *count += 1,
            None => drop(self.warnings.insert(field.to_owned(), (1, reason))),
        }
    }

    fn entity(&mut self, values: &[(&str, Val)]) {
        let out = &mut self.entities;
        if !out.is_empty() {
            out.push(b',');
        }
        for (position, (name, value)) in values.iter().enumerate() {
            out.push(if position == 0 { b'{' } else { b',' });
            write_str(name, out);
            out.push(b':');
            // An identifier may be a number; Port's are text.
            let quoted = REQUIRED.contains(name) && matches!(value, Val::Num(_));
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
        out.extend_from_slice(format!("],\"filtered\":{},\"warnings\":[", self.filtered).as_bytes());
        for (position, (field, (count, reason))) in self.warnings.iter().enumerate() {
            out.extend_from_slice(if position == 0 { b"{\"field\":" } else { b",{\"field\":" });
            write_str(field, &mut out);
            out.extend_from_slice(format!(",\"count\":{count},\"reason\":").as_bytes());
            write_str(reason, &mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        out
    }
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
