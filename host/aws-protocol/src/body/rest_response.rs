//! Reads REST responses: members bound to status, headers, and a body of JSON or XML.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use berth_core::{from_json, lossy};
use http::HeaderMap;
use serde_json::Value;

use super::{
    json_reader::{self, Numbers},
    json_sink::JsonSink,
    repairs::RepairLog,
    rest::Format,
    scalar, xml_reader,
};
use crate::model::{Location, Model, Reference, Shape, Structure};

/// Returns whether the body is the payload itself, instead of a document.
pub(crate) fn is_raw_payload(model: &Model, output: &Structure) -> bool {
    output
        .payload
        .and_then(|payload| output.members.get(payload))
        .is_some_and(|payload| matches!(model.shape(&payload.reference), Shape::Blob | Shape::String))
}

/// Reads a response.
pub(crate) fn decode<S: JsonSink>(
    sink: &mut S,
    model: &Model,
    output: &Structure,
    format: Format,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<S::Done, String> {
    let is_json = format == Format::Json;
    // As in botocore, only REST with JSON gives every number the type in the model.
    let numbers = if is_json { Numbers::AsModelled } else { Numbers::AsSent };
    let mut outside = Vec::new();
    for (index, member) in output.members.iter().enumerate() {
        let reference = &member.reference;
        let value = match reference.location {
            Location::StatusCode => Some(status.into()),
            Location::Headers => {
                Some(prefixed(headers, reference.name.as_deref().unwrap_or_default(), sink.log()))
            }
            Location::Header => {
                let name = reference.name.as_deref().unwrap_or(&member.name);
                header(headers, name, sink.log()).and_then(|text| {
                    let value = header_value(model, reference, text, is_json);
                    if value.is_none() {
                        let mark = sink.log().mark();
                        sink.log().left_out();
                        sink.log().within(mark, &member.name);
                    }
                    value
                })
            }
            Location::Body | Location::Uri | Location::Query => None,
        };
        outside.extend(value.map(|value| (index, value)));
    }
    let payload = output.payload.and_then(|payload| Some((payload, output.members.get(payload)?)));
    let Some((index, payload)) = payload else {
        // An XML body may contain no element.
        return if is_json || body.is_empty() {
            json_reader::decode(sink, model, output, numbers, body, &outside)
        } else {
            xml_reader::Decoder::new(model, body, "")?.members(sink, output, None, outside)
        };
    };
    let mut members = sink.structure();
    sink.member(&mut members, index, &payload.name);
    let mark = sink.log().mark();
    let value = match model.shape(&payload.reference) {
        Shape::Blob => sink.value(BASE64.encode(body).into()),
        Shape::String => {
            let (text, replaced) = lossy(body);
            sink.log().repairs.replaced += replaced;
            sink.string(text)
        }
        _ if is_json || body.is_empty() => {
            json_reader::decode_value(sink, model, &payload.reference, numbers, body)?
        }
        _ => xml_reader::Decoder::new(model, body, "")?.root_value(sink, &payload.reference)?,
    };
    if sink.log().mark() != mark && sink.is_null(&value) {
        return Err("the body does not match the model".to_owned());
    }
    sink.log().within(mark, &payload.name);
    sink.set(&mut members, index, value);
    for (index, value) in outside {
        sink.set_value(&mut members, output, index, value);
    }
    Ok(sink.close(members, output))
}

/// Returns a header's value; several headers with the same name form a list.
fn header(headers: &HeaderMap, name: &str, log: &mut RepairLog) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| {
            let (text, replaced) = lossy(value.as_bytes());
            log.repairs.replaced += replaced;
            text
        })
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

/// Returns all headers whose names begin with the prefix, by the rest of their names.
fn prefixed(headers: &HeaderMap, prefix: &str, log: &mut RepairLog) -> Value {
    let prefix = prefix.to_ascii_lowercase();
    let names = headers.keys().filter_map(|name| {
        let rest = name.as_str().strip_prefix(&prefix)?;
        Some((rest.to_owned(), header(headers, name.as_str(), log)?.into()))
    });
    Value::Object(names.collect())
}

/// Returns the value of a header; `None` if it does not match the model.
fn header_value(model: &Model, reference: &Reference, text: String, is_json: bool) -> Option<Value> {
    match model.shape(reference) {
        Shape::List(element) => {
            let items =
                text.split(',').map(|item| header_value(model, element, item.trim().to_owned(), is_json));
            items.collect()
        }
        Shape::String if reference.json_value => {
            let json = BASE64.decode(scalar::base64(text)).ok()?;
            from_json(&json).ok().map(|(value, _)| value)
        }
        Shape::Boolean if is_json => Some(Value::Bool(text.eq_ignore_ascii_case("true"))),
        shape => scalar::from_text(shape, text),
    }
}
