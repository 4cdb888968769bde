//! Writes JSON bodies.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use crate::{
    input::Input,
    model::{Member, Reference},
    timestamp::TimestampFormat,
};

/// Writes a body of these members.
pub(crate) fn members<'i, 'v: 'i>(given: impl Iterator<Item = &'i (&'v Member, Input<'v>)>) -> Value {
    let members = given.map(|(member, input)| {
        let name = member.reference.name.as_ref().unwrap_or(&member.name);
        (name.clone(), value(&member.reference, input))
    });
    Value::Object(members.collect())
}

/// Writes a body of one value.
pub(crate) fn value(reference: &Reference, input: &Input<'_>) -> Value {
    match input {
        Input::Structure(given) => members(given.iter()),
        Input::List(element, items) => items.iter().map(|item| value(element, item)).collect(),
        Input::Map(_, element, entries) => {
            let entries = entries.iter().map(|(name, entry)| ((*name).to_owned(), value(element, entry)));
            Value::Object(entries.collect::<Map<_, _>>())
        }
        Input::Text(text) => text.as_ref().into(),
        Input::Integer(number) => Value::Number((*number).clone()),
        Input::Float(number) if number.is_finite() => (*number).into(),
        Input::Float(number) => Input::float_text(*number).into(),
        Input::Boolean(value) => (*value).into(),
        Input::Blob(bytes) => BASE64.encode(bytes).into(),
        Input::Time(time) => time.encode(reference.timestamp_format.unwrap_or(TimestampFormat::Unix)),
        Input::Document(value) => (*value).clone(),
    }
}
