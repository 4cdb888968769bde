//! JSON bodies, and the protocol that knows nothing else (awsJson 1.0 and 1.1).

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Map, Value};

use super::{WireRequest, set_content_type, set_header, set_query_mode};
use crate::{
    Operation,
    input::Input,
    model::{Member, Reference},
    timestamp::TimestampFormat,
};

pub(super) fn encode(operation: &Operation, input: &Input<'_>, request: &mut WireRequest) {
    let model = operation.service().model();
    let version = model.json_version.as_deref().unwrap_or("1.0");
    set_content_type(request, &format!("application/x-amz-json-{version}"));
    let target = format!("{}.{}", model.target_prefix.as_deref().unwrap_or_default(), operation.name());
    set_header(&mut request.headers, "x-amz-target", &target);
    set_query_mode(operation, request);
    request.body = match input {
        Input::Structure(given) => members(given.iter()).to_string().into_bytes(),
        _ => b"{}".to_vec(),
    };
}

/// A body of these members.
pub(super) fn members<'i, 'v: 'i>(given: impl Iterator<Item = &'i (&'v Member, Input<'v>)>) -> Value {
    let members = given.map(|(member, input)| {
        let name = member.reference.name.as_ref().unwrap_or(&member.name);
        (name.clone(), value(&member.reference, input))
    });
    Value::Object(members.collect())
}

/// A body of one value.
pub(super) fn value(reference: &Reference, input: &Input<'_>) -> Value {
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
