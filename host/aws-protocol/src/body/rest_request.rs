//! Writes REST requests: members bound to path, query, headers, and a body of JSON or XML.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde_json::Value;

use super::{json_writer, rest::Format, xml_writer};
use crate::{
    InputError, Operation,
    input::Input,
    model::{Location, Member, Reference, Shape},
    request::{WireRequest, percent_encode},
    timestamp::TimestampFormat,
};

/// Writes an input into a request.
pub(crate) fn encode(
    operation: &Operation,
    input: &Input<'_>,
    format: Format,
    request: &mut WireRequest,
) -> Result<(), InputError> {
    let refuse = |path: &str, reason: &str| InputError {
        operation: operation.to_string(),
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let no_members = Vec::new();
    let members = if let Input::Structure(members) = input { members } else { &no_members };
    let mut labels = BTreeMap::new();
    for (member, value) in members {
        let reference = &member.reference;
        let name = reference.name.as_deref().unwrap_or(&member.name);
        match reference.location {
            Location::Uri => {
                labels.insert(name, text(reference, value, TimestampFormat::Iso8601));
            }
            Location::Query => query(name, reference, value, &mut request.query),
            Location::Header => {
                let Some(text) = header_text(reference, value) else { continue };
                let name = name
                    .parse::<HeaderName>()
                    .map_err(|_| refuse(&member.name, "not a valid header name"))?;
                let value = HeaderValue::from_bytes(text.as_bytes())
                    .map_err(|_| refuse(&member.name, "not a valid header value"))?;
                request.headers.insert(name, value);
            }
            Location::Headers => {
                let Input::Map(_, _, entries) = value else { continue };
                for (key, value) in entries {
                    let at = || format!("{}.{key}", member.name);
                    let header = format!("{name}{key}")
                        .parse::<HeaderName>()
                        .map_err(|_| refuse(&at(), "not a valid header name"))?;
                    let text = text(reference, value, TimestampFormat::Rfc822);
                    let value = HeaderValue::from_bytes(text.as_bytes())
                        .map_err(|_| refuse(&at(), "not a valid header value"))?;
                    request.headers.insert(header, value);
                }
            }
            Location::Body | Location::StatusCode => {}
        }
    }
    render_uri(operation, &labels, request)
        .map_err(|label| refuse(&label, "a part of the path is missing"))?;
    body(operation, members, format, request);
    Ok(())
}

/// Fills the template `/{Bucket}/{Key+}?policy`.
fn render_uri(
    operation: &Operation,
    labels: &BTreeMap<&str, String>,
    request: &mut WireRequest,
) -> Result<(), String> {
    let uri = operation.model().uri.as_str();
    let (template, query) = uri.split_once('?').unwrap_or((uri, ""));
    let mut path = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (label, after) = after.split_once('}').unwrap_or((after, ""));
        path.push_str(before);
        // A label with a plus may span several segments.
        let (label, safe) = label.strip_suffix('+').map_or((label, &b""[..]), |label| (label, &b"/"[..]));
        path.push_str(&percent_encode(labels.get(label).ok_or_else(|| label.to_owned())?, safe));
        rest = after;
    }
    path.push_str(rest);
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    request.path = path;
    let fixed = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    });
    request.query.splice(0..0, fixed);
    Ok(())
}

/// As in botocore, a later parameter replaces an earlier one with the same name.
fn query(name: &str, reference: &Reference, value: &Input<'_>, query: &mut Vec<(String, String)>) {
    if let Input::Map(_, element, entries) = value {
        for (key, value) in entries {
            self::query(key, element, value, query);
        }
        return;
    }
    query.retain(|(known, _)| known != name);
    match value {
        Input::List(element, items) => {
            let values = items.iter().map(|item| text(element, item, TimestampFormat::Iso8601));
            query.extend(values.map(|value| (name.to_owned(), value)));
        }
        value => query.push((name.to_owned(), text(reference, value, TimestampFormat::Iso8601))),
    }
}

/// Formats a scalar outside a body.
fn text(reference: &Reference, value: &Input<'_>, default: TimestampFormat) -> String {
    match value {
        Input::Text(text) => text.as_ref().to_owned(),
        Input::Integer(number) => number.to_string(),
        Input::Float(number) => Input::float_text(*number),
        Input::Boolean(value) => value.to_string(),
        Input::Blob(bytes) => BASE64.encode(bytes),
        Input::Time(time) => match time.encode(reference.timestamp_format.unwrap_or(default)) {
            Value::String(text) => text,
            number => number.to_string(),
        },
        Input::Document(value) => value.to_string(),
        Input::Structure(_) | Input::List(..) | Input::Map(..) => String::new(),
    }
}

/// Returns a header's value; nothing for an empty list.
fn header_text(reference: &Reference, value: &Input<'_>) -> Option<String> {
    Some(match value {
        Input::List(_, items) if items.is_empty() => return None,
        Input::List(element, items) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| match item {
                    Input::Text(text) if text.contains([',', '"']) => {
                        format!("\"{}\"", text.replace('"', "\\\""))
                    }
                    item => header_text(element, item).unwrap_or_default(),
                })
                .collect();
            items.join(",")
        }
        Input::Document(value) => BASE64.encode(value.to_string()),
        Input::Time(time) => text(reference, &Input::Time(time.whole_seconds()), TimestampFormat::Rfc822),
        value => text(reference, value, TimestampFormat::Rfc822),
    })
}

fn body(operation: &Operation, members: &[(&Member, Input<'_>)], format: Format, request: &mut WireRequest) {
    let model = operation.service().model();
    let Some(input) = &operation.model().input else { return };
    let Some(structure) = model.structure(input) else { return };
    let is_json = format == Format::Json;
    let in_body = |location: Location| matches!(location, Location::Body | Location::StatusCode);
    let mut streaming = false;
    if let Some(payload) = structure.payload.and_then(|payload| structure.members.get(payload)) {
        let given = members.iter().find(|(member, _)| member.name == payload.name).map(|(_, value)| value);
        streaming = matches!(model.shape(&payload.reference), Shape::Blob | Shape::String);
        request.body = match given {
            Some(Input::Blob(bytes)) => bytes.clone(),
            Some(Input::Text(text)) => text.as_bytes().to_vec(),
            Some(value) if is_json => json_writer::value(&payload.reference, value).to_string().into_bytes(),
            Some(value) => xml_writer::document(&payload.reference, &payload.name, value),
            None if is_json && !streaming => b"{}".to_vec(),
            None => Vec::new(),
        };
    } else {
        let mut given = members.iter().filter(|(member, _)| in_body(member.reference.location)).peekable();
        if given.peek().is_some() {
            request.body = if is_json {
                json_writer::members(given).to_string().into_bytes()
            } else {
                xml_writer::members_document(input, operation.name(), given)
            };
        } else if is_json && structure.members.iter().any(|member| in_body(member.reference.location)) {
            request.body = b"{}".to_vec();
        }
    }
    if !request.body.is_empty() && !streaming && !request.headers.contains_key(CONTENT_TYPE) {
        request.set_content_type(if is_json { "application/json" } else { "application/xml" });
    }
}
