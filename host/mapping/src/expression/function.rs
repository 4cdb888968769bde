//! The functions that expressions may call.

use std::borrow::Cow;

use super::{PathScope, Term};
use crate::{
    identifier::port_identifier,
    text::{Type, member},
    value::{Stop, Value, ValueView},
};

/// A call of a function.
#[derive(Debug)]
pub(crate) enum Function {
    Empty,
    Not,
    Length,
    Type,
    ToString,
    Downcase,
    Upcase,
    Any(Box<Term>),
    All(Box<Term>),
    /// `strings`, `values`, …: the input if it is of such a type.
    OfType(fn(Type) -> bool),
    Select(Box<Term>),
    First(Box<Term>),
    Split(String),
    Join(String),
    StartsWith(String),
    EndsWith(String),
    TrimStart(String),
    TrimEnd(String),
    Contains(String),
    Has(String),
    /// `unique`.
    Unique,
    /// The identifier that Port accepts.
    PortIdentifier,
}

impl Function {
    /// The function of this name without arguments.
    pub(crate) fn without(name: &str) -> Option<Term> {
        let input = || Box::new(Term::Input);
        Some(Term::Call(match name {
            "null" => return Some(Term::Null),
            "true" => return Some(Term::Bool(true)),
            "false" => return Some(Term::Bool(false)),
            "first" => return Some(Term::Index(input(), 0)),
            "last" => return Some(Term::Index(input(), -1)),
            "empty" => Self::Empty,
            "not" => Self::Not,
            "length" => Self::Length,
            "type" => Self::Type,
            "tostring" => Self::ToString,
            "ascii_downcase" => Self::Downcase,
            "ascii_upcase" => Self::Upcase,
            "any" => Self::Any(input()),
            "all" => Self::All(input()),
            "unique" => Self::Unique,
            "values" => Self::OfType(|of| of != Type::Null),
            "nulls" => Self::OfType(|of| of == Type::Null),
            "strings" => Self::OfType(|of| of == Type::String),
            "numbers" => Self::OfType(|of| of == Type::Number),
            "booleans" => Self::OfType(|of| of == Type::Bool),
            "arrays" => Self::OfType(|of| of == Type::List),
            "objects" => Self::OfType(|of| of == Type::Object),
            _ => return None,
        }))
    }

    /// The function of this name with a text.
    pub(crate) fn of_text(name: &str, text: String) -> Option<Self> {
        Some(match name {
            // Without a separator, JQ splits between all letters.
            "split" if !text.is_empty() => Self::Split(text),
            "join" => Self::Join(text),
            "startswith" => Self::StartsWith(text),
            "endswith" => Self::EndsWith(text),
            "ltrimstr" => Self::TrimStart(text),
            "rtrimstr" => Self::TrimEnd(text),
            "contains" => Self::Contains(text),
            "has" => Self::Has(text),
            _ => return None,
        })
    }

    pub(crate) fn is_single(&self) -> bool {
        !matches!(self, Self::Empty | Self::OfType(_) | Self::Select(_) | Self::First(_))
    }

    /// Gives the values of a function that is not single, or the one of one that is.
    pub(crate) fn run<'v>(
        &'v self,
        scope: PathScope<'v, '_>,
        input: &Value<'v>,
        emit: &mut dyn FnMut(Value<'v>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        match self {
            Self::Empty => Ok(()),
            Self::OfType(is) => {
                if is(input.kind()) {
                    emit(input.clone())
                } else {
                    Ok(())
                }
            }
            Self::Select(condition) => {
                if condition.one(scope, input)?.is_true() {
                    emit(input.clone())
                } else {
                    Ok(())
                }
            }
            Self::First(of) => match of.first(scope, input)? {
                Some(value) => emit(value),
                None => Ok(()),
            },
            _ => emit(self.one(scope, input)?),
        }
    }

    /// The value of a function that is single.
    pub(crate) fn one<'v>(&'v self, scope: PathScope<'v, '_>, input: &Value<'v>) -> Result<Value<'v>, Stop> {
        Ok(match self {
            Self::Not => Value::Bool(!input.is_true()),
            Self::Type => Value::Text(Cow::Borrowed(input.kind().name())),
            Self::ToString => Value::Text(input.to_text()?.into_owned().into()),
            Self::Length => Value::Integer(length(input)?),
            Self::Any(condition) => {
                Value::Bool(any(input, |value| condition_holds(condition, scope, value))?)
            }
            Self::All(condition) => {
                Value::Bool(!any(input, |value| Ok(!condition_holds(condition, scope, value)?))?)
            }
            Self::Split(separator) => {
                let text = text(input)?;
                let parts = text.split(separator.as_str()).map(|part| Value::Text(part.to_owned().into()));
                Value::List(if text.is_empty() { Vec::new() } else { parts.collect() })
            }
            Self::Join(separator) => join(input, separator)?,
            Self::StartsWith(start) => Value::Bool(text(input)?.starts_with(start.as_str())),
            Self::EndsWith(end) => Value::Bool(text(input)?.ends_with(end.as_str())),
            // An object may contain something, too.
            Self::Contains(_) if input.kind() != Type::String => return Err(Stop::Defer),
            Self::Contains(part) => Value::Bool(text(input)?.contains(part.as_str())),
            Self::TrimStart(start) => {
                let text = text(input)?;
                Value::Text(text.strip_prefix(start.as_str()).unwrap_or(&text).to_owned().into())
            }
            Self::TrimEnd(end) => {
                let text = text(input)?;
                Value::Text(text.strip_suffix(end.as_str()).unwrap_or(&text).to_owned().into())
            }
            Self::Downcase => Value::Text(text(input)?.to_ascii_lowercase().into()),
            Self::Upcase => Value::Text(text(input)?.to_ascii_uppercase().into()),
            Self::Has(name) => match input.view()? {
                ValueView::Object(json) => Value::Bool(member(json, name)?.is_some()),
                _ => return Err(Stop::Defer),
            },
            Self::Unique => unique(input)?,
            Self::PortIdentifier => Value::Text(port_identifier(&text(input)?).into_owned().into()),
            Self::Empty | Self::OfType(_) | Self::Select(_) | Self::First(_) => return Err(Stop::Defer),
        })
    }
}

fn text<'t>(input: &'t Value<'_>) -> Result<Cow<'t, str>, Stop> {
    match input.view()? {
        ValueView::Text(text) => Ok(text),
        _ => Err(Stop::Fail),
    }
}

fn condition_holds<'v>(
    condition: &'v Term,
    scope: PathScope<'v, '_>,
    value: &Value<'v>,
) -> Result<bool, Stop> {
    Ok(condition.one(scope, value)?.is_true())
}

fn any<'v>(input: &Value<'v>, mut holds: impl FnMut(&Value<'v>) -> Result<bool, Stop>) -> Result<bool, Stop> {
    let mut any = false;
    let walked = input.each(false, |value| {
        any = holds(&value)?;
        if any { Err(Stop::Enough) } else { Ok(()) }
    });
    match walked {
        Ok(()) | Err(Stop::Enough) => Ok(any),
        Err(stop) => Err(stop),
    }
}

fn length(input: &Value<'_>) -> Result<i64, Stop> {
    match input.view()? {
        ValueView::Null => Ok(0),
        ValueView::Text(text) => i64::try_from(text.chars().count()).map_err(|_| Stop::Defer),
        ValueView::Integer(number) => Ok(number.abs()),
        ValueView::List(_) | ValueView::JsonList(_) => input.length(),
        _ => Err(Stop::Defer),
    }
}

/// Null joins as nothing.
fn join<'v>(input: &Value<'v>, separator: &str) -> Result<Value<'v>, Stop> {
    let (mut joined, mut first) = (String::new(), true);
    input.each(false, |value| {
        if !std::mem::take(&mut first) {
            joined.push_str(separator);
        }
        if !value.is_null() {
            joined.push_str(&value.to_text()?);
        }
        Ok(())
    })?;
    Ok(Value::Text(joined.into()))
}

/// Of a list of texts, each one once, sorted.
fn unique<'v>(input: &Value<'v>) -> Result<Value<'v>, Stop> {
    let mut texts = Vec::new();
    input.each(false, |value| {
        // What is no text is sorted as well.
        texts.push(text(&value).map_err(|_| Stop::Defer)?.into_owned());
        Ok(())
    })?;
    texts.sort_unstable();
    texts.dedup();
    Ok(Value::List(texts.into_iter().map(|text| Value::Text(text.into())).collect()))
}
