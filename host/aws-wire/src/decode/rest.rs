//! The REST protocols: members bound to status, headers, and a body of JSON or XML.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use berth_core::{from_json, lossy};
use http::HeaderMap;
use serde_json::Value;

use super::{form::Form, json, repairs::Log, scalar, xml};
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

pub(super) fn decode<F: Form>(
    form: &mut F,
    model: &Model,
    output: &Structure,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<F::Done, String> {
    let is_json = model.protocol == Protocol::RestJson;
    let mut outside = Vec::new();
    for (index, member) in output.members.iter().enumerate() {
        let reference = &member.reference;
        let value = match reference.location {
            Location::StatusCode => Some(status.into()),
            Location::Headers => {
                Some(prefixed(headers, reference.name.as_deref().unwrap_or_default(), form.log()))
            }
            Location::Header => {
                let name = reference.name.as_deref().unwrap_or(&member.name);
                header(headers, name, form.log()).and_then(|text| {
                    let value = header_value(model, reference, text, is_json);
                    if value.is_none() {
                        let mark = form.log().mark();
                        form.log().left_out();
                        form.log().within(mark, &member.name);
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
        // A body of XML may be without any element in it.
        return if is_json || body.is_empty() {
            json::decode(form, model, output, body, &outside)
        } else {
            xml::decode(form, model, output, None, body, outside)
        };
    };
    let mut members = form.structure();
    form.member(&mut members, index, &payload.name);
    let mark = form.log().mark();
    let value = match model.shape(&payload.reference) {
        Shape::Blob => form.value(BASE64.encode(body).into()),
        Shape::String => {
            let (text, replaced) = lossy(body);
            form.log().repairs.replaced += replaced;
            form.string(text)
        }
        _ if is_json || body.is_empty() => json::decode_value(form, model, &payload.reference, body)?,
        _ => xml::decode_value(form, model, &payload.reference, body)?,
    };
    if form.log().mark() != mark && form.is_null(&value) {
        return Err("the body is not what the model says".to_owned());
    }
    form.log().within(mark, &payload.name);
    form.set(&mut members, index, value);
    for (index, value) in outside {
        form.set_value(&mut members, output, index, value);
    }
    Ok(form.close(members, output))
}

/// A header's value; several headers of one name are one list.
fn header(headers: &HeaderMap, name: &str, log: &mut Log) -> Option<String> {
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

/// All headers whose names begin with the prefix, by the rest of their names.
fn prefixed(headers: &HeaderMap, prefix: &str, log: &mut Log) -> Value {
    let prefix = prefix.to_ascii_lowercase();
    let names = headers.keys().filter_map(|name| {
        let rest = name.as_str().strip_prefix(&prefix)?;
        Some((rest.to_owned(), header(headers, name.as_str(), log)?.into()))
    });
    Value::Object(names.collect())
}

/// What a header holds; `None` where it is not what the model says.
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
