//! Values on their way through an expression.

use std::{borrow::Cow, cmp::Ordering};

use crate::text::{self, Broken, Type, append, append_number, append_str, elements, small_integer};

/// Why an evaluation ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Nobody asks for further values.
    Enough,
    /// See [`EvaluationResult::Deferred`](crate::EvaluationResult).
    Defer,
    /// See [`EvaluationResult::Failed`](crate::EvaluationResult).
    Fail,
}

impl From<Broken> for Stop {
    fn from(Broken: Broken) -> Self {
        Self::Defer
    }
}

/// A value: a text of JSON, or what was made of some.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// A value of the document, as its text.
    Json(&'a str),
    /// A text that was made.
    Text(Cow<'a, str>),
    /// A whole number that was made.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
    /// A list that was made.
    List(Vec<Value<'a>>),
}

/// What a value is to the one who looks at it.
pub(crate) enum ValueView<'v, 'a> {
    Null,
    Bool(bool),
    /// A number of at most 15 digits.
    Integer(i64),
    /// Any other number.
    Number,
    Text(Cow<'v, str>),
    List(&'v [Value<'a>]),
    JsonList(&'a str),
    Object(&'a str),
}

impl<'a> Value<'a> {
    pub(crate) fn kind(&self) -> Type {
        match self {
            Self::Json(json) => Type::of(json),
            Self::Text(_) => Type::String,
            Self::Integer(_) => Type::Number,
            Self::Bool(_) => Type::Bool,
            Self::Null => Type::Null,
            Self::List(_) => Type::List,
        }
    }

    pub(crate) fn view(&self) -> Result<ValueView<'_, 'a>, Stop> {
        Ok(match self {
            Self::Null => ValueView::Null,
            Self::Bool(is) => ValueView::Bool(*is),
            Self::Integer(number) => ValueView::Integer(*number),
            Self::Text(text) => ValueView::Text(Cow::Borrowed(text)),
            Self::List(list) => ValueView::List(list),
            Self::Json(json) => match Type::of(json) {
                Type::Null => ValueView::Null,
                Type::Bool => ValueView::Bool(*json == "true"),
                Type::Number => small_integer(json).map_or(ValueView::Number, ValueView::Integer),
                Type::String => ValueView::Text(text::string(json)?),
                Type::List => ValueView::JsonList(json),
                Type::Object => ValueView::Object(json),
            },
        })
    }

    /// Whether JQ takes it for true: all but null and false.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Null | Self::Bool(false) => false,
            Self::Json(json) => !matches!(*json, "null" | "false"),
            _ => true,
        }
    }

    /// Whether it is null, false, zero, or a text, list or object with nothing in it.
    pub fn is_empty(&self) -> bool {
        match self.view() {
            Ok(ValueView::Null) => true,
            Ok(ValueView::Bool(is)) => !is,
            Ok(ValueView::Integer(number)) => number == 0,
            Ok(ValueView::Number) => matches!(self, Self::Json(json) if json.parse() == Ok(0.0)),
            Ok(ValueView::Text(text)) => text.is_empty(),
            Ok(ValueView::List(list)) => list.is_empty(),
            Ok(ValueView::JsonList(json) | ValueView::Object(json)) => {
                json.bytes().all(|byte| byte.is_ascii_whitespace() || b"[]{}".contains(&byte))
                    && json.bytes().filter(|byte| b"[{".contains(byte)).count() == 1
            }
            Err(_) => false,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.kind() == Type::Null
    }

    /// Whether it is a text.
    pub fn is_text(&self) -> bool {
        self.kind() == Type::String
    }

    /// Whether it is a number.
    pub fn is_number(&self) -> bool {
        self.kind() == Type::Number
    }

    /// Whether it is true or false.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(is) => Some(*is),
            Self::Json("true") => Some(true),
            Self::Json("false") => Some(false),
            _ => None,
        }
    }

    /// The text that it is.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        match self.view() {
            Ok(ValueView::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The text that is put into a text in its place, where that is certain.
    pub(crate) fn to_text(&self) -> Result<Cow<'_, str>, Stop> {
        Ok(match self.view()? {
            ValueView::Text(text) => text,
            ValueView::Null => Cow::Borrowed("null"),
            ValueView::Bool(is) => Cow::Borrowed(if is { "true" } else { "false" }),
            ValueView::Integer(number) => Cow::Owned(number.to_string()),
            _ => return Err(Stop::Defer),
        })
    }

    /// Calls for each element of the list that it is.
    pub(crate) fn each(
        &self,
        lenient: bool,
        mut call: impl FnMut(Value<'a>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        match self.view()? {
            ValueView::List(list) => list.iter().try_for_each(|element| call(element.clone())),
            ValueView::JsonList(json) => elements(json, |element| call(Value::Json(element)))?,
            // A name may stand twice in an object.
            ValueView::Object(_) => Err(Stop::Defer),
            _ if lenient => Ok(()),
            _ => Err(Stop::Fail),
        }
    }

    /// The member of an object.
    pub(crate) fn field(&self, name: &str) -> Result<Value<'a>, Stop> {
        match self {
            Self::Json(json) => match Type::of(json) {
                Type::Object => Ok(text::member(json, name)?.map_or(Value::Null, Value::Json)),
                Type::Null => Ok(Value::Null),
                _ => Err(Stop::Fail),
            },
            Self::Null => Ok(Value::Null),
            _ => Err(Stop::Fail),
        }
    }

    /// The element of a list; a negative position counts from the end.
    pub(crate) fn index(&self, position: i64) -> Result<Value<'a>, Stop> {
        if self.is_null() {
            return Ok(Value::Null);
        }
        match self.kind() {
            Type::List => {}
            // jaq takes it otherwise than libjq.
            Type::Object => return Err(Stop::Defer),
            _ => return Err(Stop::Fail),
        }
        let position = match usize::try_from(position) {
            Ok(position) => position,
            Err(_) => match usize::try_from(position + self.length()?) {
                Ok(position) => position,
                Err(_) => return Ok(Value::Null),
            },
        };
        let (mut at, mut found) = (0, Value::Null);
        let walked = self.each(false, |element| {
            if at == position {
                found = element;
                return Err(Stop::Enough);
            }
            at += 1;
            Ok(())
        });
        match walked {
            Ok(()) | Err(Stop::Enough) => Ok(found),
            Err(stop) => Err(stop),
        }
    }

    /// The number of elements of the list that it is.
    pub(crate) fn length(&self) -> Result<i64, Stop> {
        let mut count = 0;
        self.each(false, |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// How two values compare, where that is certain.
    pub(crate) fn compare(&self, other: &Self) -> Result<Ordering, Stop> {
        match self.kind().cmp(&other.kind()) {
            Ordering::Equal => {}
            different => return Ok(different),
        }
        match (self.view()?, other.view()?) {
            (ValueView::Null, ValueView::Null) => Ok(Ordering::Equal),
            (ValueView::Bool(left), ValueView::Bool(right)) => Ok(left.cmp(&right)),
            (ValueView::Integer(left), ValueView::Integer(right)) => Ok(left.cmp(&right)),
            // As bytes of UTF-8, which sort as code points.
            (ValueView::Text(left), ValueView::Text(right)) => Ok(left.cmp(&right)),
            _ => Err(Stop::Defer),
        }
    }

    /// Appends it as JSON, with numbers as libjq writes them.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(json) => append(json, out),
            Self::Text(text) => append_str(text, out),
            Self::Integer(number) => append_number(&number.to_string(), out),
            Self::Bool(is) => out.extend_from_slice(if *is { b"true" } else { b"false" }),
            Self::Null => out.extend_from_slice(b"null"),
            Self::List(list) => {
                out.push(b'[');
                for (position, element) in list.iter().enumerate() {
                    out.extend_from_slice(if position == 0 { b"" } else { b"," });
                    element.write(out);
                }
                out.push(b']');
            }
        }
    }
}
