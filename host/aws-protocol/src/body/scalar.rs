//! Texts and numbers that stand for other things.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use berth_core::from_json;
use serde_json::Value;

use crate::{
    model::{Quirk, Shape},
    timestamp::Timestamp,
};

/// A scalar that came as text: from XML, or from a header. `None` where the text is no such scalar.
pub(crate) fn from_text(shape: &Shape, text: String) -> Option<Value> {
    Some(match shape {
        Shape::Boolean => Value::Bool(text == "true"),
        Shape::Integer => integer(text.trim())?,
        Shape::Float => float(text.trim())?,
        Shape::Timestamp => timestamp(&text)?,
        Shape::Blob => Value::String(base64(text)),
        Shape::String | Shape::Structure(_) | Shape::List(_) | Shape::Map(..) => Value::String(text),
    })
}

pub(crate) fn integer(text: &str) -> Option<Value> {
    text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok()
}

pub(crate) fn float(text: &str) -> Option<Value> {
    text.parse::<f64>().ok().map(number)
}

/// JSON has no word for what is not finite; these are those of AWS's own JSON protocols.
pub(crate) fn number(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.into()
    } else {
        value.into()
    }
}

/// A time in any sink; `None` for what is none, or is out of reach: nothing that expects a time takes that.
pub(crate) fn timestamp(text: &str) -> Option<Value> {
    Timestamp::parse(text).map(|time| Value::String(time.iso8601()))
}

/// Base64 with line breaks and the like, in its plain sink.
pub(crate) fn base64(mut text: String) -> String {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    if !text.bytes().all(is_base64) {
        text.retain(|letter| u8::try_from(letter).is_ok_and(is_base64));
    }
    text
}

/// Treats a text as the AWS CLI does. A text that is not of the expected form stays as it is.
pub(crate) fn unquirk(quirk: Quirk, value: Value) -> Value {
    let Value::String(text) = value else { return value };
    let changed = match quirk {
        Quirk::Json => json(text.as_bytes()),
        Quirk::UrlEncodedJson => json(percent_decode(&text).as_bytes()),
        // What is not even ASCII was not base64.
        Quirk::Base64Text if !text.is_ascii() => None,
        Quirk::Base64Text => BASE64
            .decode(base64(text.clone()))
            .ok()
            .map(|bytes| Value::String(String::from_utf8_lossy(&bytes).into_owned())),
        Quirk::LastSegment | Quirk::RootText => None,
    };
    changed.unwrap_or(Value::String(text))
}

fn json(text: &[u8]) -> Option<Value> {
    from_json(text).ok().map(|(value, _)| value)
}

/// As Python's `unquote`: `+` stays, what is not an escape stays.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escape = match (first, after) {
            (b'%', [high, low, ..]) => char::from(*high)
                .to_digit(16)
                .zip(char::from(*low).to_digit(16))
                .map(|(high, low)| high * 16 + low),
            _ => None,
        };
        let escape = escape.and_then(|byte| u8::try_from(byte).ok());
        bytes.push(escape.unwrap_or(first));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
