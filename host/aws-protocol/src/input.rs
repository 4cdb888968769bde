//! Checks the input of an operation against the model, for the serializers.

use std::{borrow::Cow, fmt::Write};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Number, Value};

use crate::{
    Operation,
    model::{Location, Member, Model, Quirk, Reference, Shape, Structure},
    timestamp::Timestamp,
};

/// The idempotency token of a request whose input has none. Reads change nothing, so the token may be the
/// same for all.
const IDEMPOTENCY_TOKEN: &str = "00000000-0000-0000-0000-000000000000";

/// An input that does not match the operation's model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("input of {operation}, at `{path}`: {reason}")]
pub struct InputError {
    /// The operation, such as `ec2.DescribeInstances`.
    pub operation: String,
    /// The member, such as `Filters[0].Name`; `.` for the input itself.
    pub path: String,
    /// The error at that place.
    pub reason: String,
}

/// A checked value, with the binding of each part to the request.
#[derive(Debug)]
pub(crate) enum Input<'v> {
    Structure(Vec<(&'v Member, Input<'v>)>),
    List(&'v Reference, Vec<Input<'v>>),
    Map(&'v Reference, &'v Reference, Vec<(&'v str, Input<'v>)>),
    Text(Cow<'v, str>),
    Integer(&'v Number),
    Float(f64),
    Boolean(bool),
    Blob(Vec<u8>),
    Time(Timestamp),
    Document(&'v Value),
}

impl Input<'_> {
    /// Formats a float outside a body, or in a form: path, query, header.
    pub(crate) fn float_text(value: f64) -> String {
        if value.is_nan() {
            "NaN".to_owned()
        } else if value.is_infinite() {
            if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        } else {
            // Formatted like in JSON: `1.0` instead of `1`.
            Value::from(value).to_string()
        }
    }
}

/// Checks the input of an operation.
pub(crate) fn check<'v>(operation: &'v Operation, input: &'v Value) -> Result<Input<'v>, InputError> {
    let mut checker = Checker { operation, model: operation.service().model(), path: Vec::new() };
    let empty = || Input::Structure(Vec::new());
    match (&operation.model().input, input) {
        (None, Value::Null) => Ok(empty()),
        (None, Value::Object(members)) if members.is_empty() => Ok(empty()),
        (None, _) => Err(checker.refuse("the operation takes no input")),
        (Some(reference), input) => {
            let members = match input {
                Value::Null => None,
                Value::Object(members) => Some(members),
                _ => return Err(checker.refuse(format!("{} is not an object", describe(input)))),
            };
            match checker.model.structure(reference) {
                Some(structure) => checker.structure(structure, members, true),
                None => Ok(empty()),
            }
        }
    }
}

/// A step of the path to a member.
enum Step<'v> {
    Name(&'v str),
    Index(usize),
}

struct Checker<'v> {
    operation: &'v Operation,
    model: &'v Model,
    path: Vec<Step<'v>>,
}

impl<'v> Checker<'v> {
    fn refuse(&self, reason: impl Into<String>) -> InputError {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) if path.is_empty() => path.push_str(name),
                Step::Name(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                // Writing to a string cannot fail.
                Step::Index(index) => drop(write!(path, "[{index}]")),
            }
        }
        if path.is_empty() {
            path.push('.');
        }
        InputError { operation: self.operation.to_string(), path, reason: reason.into() }
    }

    fn within<T>(
        &mut self,
        step: Step<'v>,
        check: impl FnOnce(&mut Self) -> Result<T, InputError>,
    ) -> Result<T, InputError> {
        self.path.push(step);
        let result = check(self);
        self.path.pop();
        result
    }

    fn structure(
        &mut self,
        structure: &'v Structure,
        given: Option<&'v Map<String, Value>>,
        top: bool,
    ) -> Result<Input<'v>, InputError> {
        let mut members = Vec::new();
        for (name, value) in given.into_iter().flatten() {
            let Some(member) = structure.members.iter().find(|member| member.name == *name) else {
                let known: Vec<&str> = structure.members.iter().map(|member| member.name.as_str()).collect();
                let reason = format!("unknown member; the known ones are: {}", known.join(", "));
                return self.within(Step::Name(name), |checker| Err(checker.refuse(reason)));
            };
            let value = self.within(Step::Name(name), |checker| checker.value(&member.reference, value))?;
            members.push((member, value));
        }
        let is_given = |name: &str| given.is_some_and(|given| given.contains_key(name));
        if top {
            for member in structure.members.iter().filter(|member| !is_given(&member.name)) {
                let text = match &member.reference {
                    Reference { idempotency_token: true, .. } => IDEMPOTENCY_TOKEN,
                    Reference { default: Some(default), .. } => default,
                    _ => continue,
                };
                members.push((member, Input::Text(text.into())));
            }
        }
        let is_set = |name: &str| members.iter().any(|(member, _)| member.name == *name);
        if let Some(missing) = structure.required.iter().find(|name| !is_set(name)) {
            return self
                .within(Step::Name(missing), |checker| Err(checker.refuse("a required member is missing")));
        }
        if structure.union && members.len() != 1 {
            return Err(self.refuse(format!("exactly one member must be set, not {}", members.len())));
        }
        Ok(Input::Structure(members))
    }

    fn value(&mut self, reference: &'v Reference, value: &'v Value) -> Result<Input<'v>, InputError> {
        Ok(match (self.model.shape(reference), value) {
            (Shape::Structure(structure), value) if structure.document => Input::Document(value),
            (Shape::Structure(structure), Value::Object(members)) => {
                return self.structure(structure, Some(members), false);
            }
            (Shape::List(element), Value::Array(items)) => {
                let items = items.iter().enumerate().map(|(index, item)| {
                    self.within(Step::Index(index), |checker| checker.value(element, item))
                });
                Input::List(element, items.collect::<Result<_, _>>()?)
            }
            (Shape::Map(key, element), Value::Object(entries)) => {
                let entries = entries.iter().map(|(name, value)| {
                    let value = self.within(Step::Name(name), |checker| checker.value(element, value))?;
                    Ok((name.as_str(), value))
                });
                Input::Map(key, element, entries.collect::<Result<_, _>>()?)
            }
            (Shape::String, value) if reference.json_value && reference.location == Location::Header => {
                Input::Document(value)
            }
            (Shape::String, Value::String(text)) => {
                let text = match reference.quirk {
                    Some(Quirk::LastSegment) => text.rsplit('/').next().unwrap_or_default(),
                    _ => text,
                };
                if text.is_empty() && reference.location == Location::Uri {
                    // The path would identify another resource, often the list of all of them.
                    return Err(self.refuse("must not be empty, because it is part of the path"));
                }
                if reference.host_label && !is_host_label(text) {
                    return Err(self.refuse(
                        "must contain only letters, digits, `-` and `.`, because it is part of the host",
                    ));
                }
                Input::Text(text.into())
            }
            (Shape::Integer, Value::Number(number)) if !number.is_f64() => Input::Integer(number),
            (Shape::Float, Value::Number(number)) => match number.as_f64() {
                Some(number) => Input::Float(number),
                None => return Err(self.refuse("the number is out of range")),
            },
            (Shape::Float, Value::String(text)) => match text.as_str() {
                "NaN" => Input::Float(f64::NAN),
                "Infinity" => Input::Float(f64::INFINITY),
                "-Infinity" => Input::Float(f64::NEG_INFINITY),
                _ => return Err(self.refuse("a text is not a number")),
            },
            (Shape::Boolean, Value::Bool(value)) => Input::Boolean(*value),
            (Shape::Blob, Value::String(text)) => match BASE64.decode(text) {
                Ok(bytes) => Input::Blob(bytes),
                Err(_) => return Err(self.refuse("not base64")),
            },
            (Shape::Timestamp, Value::String(text)) => match Timestamp::parse(text) {
                Some(time) => Input::Time(time),
                None => return Err(self.refuse("not a time (as in `2024-01-02T03:04:05Z`)")),
            },
            (Shape::Timestamp, Value::Number(number)) => match Timestamp::from_number(number) {
                Some(time) => Input::Time(time),
                None => return Err(self.refuse("not a time (in seconds since 1970)")),
            },
            (shape, value) => {
                return Err(self.refuse(format!("{} is not {}", describe(value), expected(shape))));
            }
        })
    }
}

fn is_host_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a number with a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn expected(shape: &Shape) -> &'static str {
    match shape {
        Shape::Structure(_) | Shape::Map(..) => "an object",
        Shape::List(_) => "a list",
        Shape::String => "a text",
        Shape::Integer => "a whole number",
        Shape::Float => "a number",
        Shape::Boolean => "true or false",
        Shape::Blob => "a text in base64",
        Shape::Timestamp => "a time",
    }
}
