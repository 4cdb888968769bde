//! The REST protocols: members bound to status, headers, and a body of JSON or XML.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::HeaderMap;
use serde_json::{Map, Value};

use super::{json, scalar, xml};
use crate::{
    Protocol,
    model::{Location, Model, Reference, Shape, Structure},
};

/// Whether the body is the payload as it stands, rather than a document.
pub(super) fn is_raw_payload(model: &Model, output: &Structure) -> bool {
    output
        .payload
        .and_then(|payload| output.members.get(payload))
        .is_some_and(|payload| matches!(model.shape(&payload.reference), Shape::Blob | Shape::String))
}

pub(super) fn decode(
    model: &Model,
    output: &Structure,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Value, String> {
    let is_json = model.protocol == Protocol::RestJson;
    let mut found = Vec::new();
    for (index, member) in output.members.iter().enumerate() {
        let reference = &member.reference;
        let value = match reference.location {
            Location::StatusCode => Some(status.into()),
            Location::Headers => Some(prefixed(headers, reference.name.as_deref().unwrap_or_default())),
            Location::Header => header(headers, reference.name.as_deref().unwrap_or(&member.name))
                .map(|text| header_value(model, reference, text, is_json))
                .transpose()
                .map_err(|reason| format!("header of {}: {reason}", member.name))?,
            Location::Body | Location::Uri | Location::Query => None,
        };
        found.extend(value.map(|value| (index, value)));
    }
    let payload = output.payload.and_then(|payload| Some((payload, &output.members.get(payload)?.reference)));
    if let Some((index, reference)) = payload {
        let value = match model.shape(reference) {
            Shape::Blob => BASE64.encode(body).into(),
            Shape::String => String::from_utf8(body.to_vec()).map_err(|error| error.to_string())?.into(),
            _ if is_json => json::decode_value(model, reference, body)?,
            // A document without any element in it.
            _ if body.is_empty() => Value::Object(Map::new()),
            _ => xml::decode_value(model, reference, body)?,
        };
        found.push((index, value));
        return Ok(xml::assemble(output, found));
    }
    let in_body = if is_json {
        json::decode(model, output, body)?
    } else if body.is_empty() {
        Value::Object(Map::new())
    } else {
        xml::decode(model, output, None, body)?
    };
    let outside = xml::assemble(output, found);
    Ok(match (in_body, outside) {
        (in_body, Value::Object(outside)) if outside.is_empty() => in_body,
        (Value::Object(mut in_body), Value::Object(mut outside)) => {
            let members = output.members.iter().filter_map(|member| {
                let value =
                    in_body.shift_remove(&member.name).or_else(|| outside.shift_remove(&member.name))?;
                Some((member.name.clone(), value))
            });
            Value::Object(members.collect())
        }
        (_, outside) => outside,
    })
}

/// A header's value; several headers of one name are one list.
fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// All headers whose names begin with the prefix, by the rest of their names.
fn prefixed(headers: &HeaderMap, prefix: &str) -> Value {
    let prefix = prefix.to_ascii_lowercase();
    let names = headers.keys().filter_map(|name| {
        let rest = name.as_str().strip_prefix(&prefix)?;
        Some((rest.to_owned(), header(headers, name.as_str())?.into()))
    });
    Value::Object(names.collect())
}

fn header_value(model: &Model, reference: &Reference, text: String, is_json: bool) -> Result<Value, String> {
    match model.shape(reference) {
        Shape::List(element) => {
            let items =
                text.split(',').map(|item| header_value(model, element, item.trim().to_owned(), is_json));
            items.collect()
        }
        Shape::String if reference.json_value => {
            let json = BASE64.decode(scalar::base64(text)).map_err(|error| error.to_string())?;
            serde_json::from_slice(&json).map_err(|error| error.to_string())
        }
        Shape::Boolean if is_json => Ok(Value::Bool(text.eq_ignore_ascii_case("true"))),
        shape => scalar::from_text(shape, text),
    }
}
