//! Scalars in text form, and their conversions.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use berth_core::from_json;
use serde_json::Value;

use crate::{
    model::{Quirk, Shape},
    timestamp::Timestamp,
};

/// Converts a scalar in text form, from XML or from a header. `None` if the text is not such a scalar.
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

/// JSON cannot represent values that are not finite; these are the texts of AWS's own JSON protocols.
pub(crate) fn number(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.into()
    } else {
        value.into()
    }
}

/// Parses a time in any format; `None` if the text is not a time in the supported range, because consumers
/// of a time cannot handle that.
pub(crate) fn timestamp(text: &str) -> Option<Value> {
    Timestamp::parse(text).map(|time| Value::String(time.iso8601()))
}

/// Removes line breaks and similar characters from base64.
pub(crate) fn base64(mut text: String) -> String {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
    if !text.bytes().all(is_base64) {
        text.retain(|letter| u8::try_from(letter).is_ok_and(is_base64));
    }
    text
}

/// Converts a text like the AWS CLI. A text of another form is kept unchanged.
pub(crate) fn unquirk(quirk: Quirk, value: Value) -> Value {
    let Value::String(text) = value else { return value };
    let changed = match quirk {
        Quirk::Json => json(text.as_bytes()),
        Quirk::UrlEncodedJson => json(percent_decode(&text).as_bytes()),
        // A result that is not ASCII was not base64.
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

/// Decodes like Python's `unquote`: `+` and invalid escapes are kept.
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
