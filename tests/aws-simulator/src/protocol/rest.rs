//! Requests of the REST protocols: method, path and query select the operation and contain members.

use berth_aws_protocol::{
    Operation, Protocol,
    model::{Location, OperationModel, Shape},
};
use http::Method;
use serde_json::{Map, Value};

use super::json;
use crate::error::Refusal;

/// A segment of a path's pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Fixed(String),
    Label(String),
    /// A label that spans segments.
    Rest(String),
}

/// What requests to an operation look like: `GET /{Bucket}?tagging`.
#[derive(Debug)]
pub(crate) struct Route {
    method: Method,
    segments: Vec<Segment>,
    query: Vec<(String, String)>,
}

/// The parts of a request that tell its operation.
#[derive(Debug)]
pub(crate) struct Target<'t> {
    pub(crate) method: &'t Method,
    /// Percent-encoded.
    pub(crate) path: &'t str,
    /// Decoded names and values.
    pub(crate) query: &'t [(String, String)],
}

impl Route {
    pub(crate) fn of(operation: &OperationModel) -> Self {
        let (path, query) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
        let segments = path.split('/').filter(|segment| !segment.is_empty()).map(|segment| {
            match segment.strip_prefix('{').and_then(|label| label.strip_suffix('}')) {
                Some(label) => match label.strip_suffix('+') {
                    Some(label) => Segment::Rest(label.to_owned()),
                    None => Segment::Label(label.to_owned()),
                },
                None => Segment::Fixed(segment.to_owned()),
            }
        });
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        });
        Self { method: operation.method.clone(), segments: segments.collect(), query: query.collect() }
    }

    /// How particular the route is: the greater, the sooner it is tried.
    pub(crate) fn weight(&self) -> (usize, usize) {
        (
            self.query.len(),
            self.segments.iter().filter(|segment| matches!(segment, Segment::Fixed(_))).count(),
        )
    }

    /// The labels' values, if a request fits.
    pub(crate) fn fit(&self, target: &Target<'_>) -> Option<Vec<(&str, String)>> {
        if self.method != *target.method || !self.query.iter().all(|pair| target.query.contains(pair)) {
            return None;
        }
        let mut given = target.path.split('/').filter(|segment| !segment.is_empty());
        let mut labels = Vec::new();
        for segment in &self.segments {
            match segment {
                Segment::Rest(label) => {
                    let rest = given.by_ref().collect::<Vec<_>>().join("/");
                    labels.push((label.as_str(), decode(&rest)));
                }
                Segment::Label(label) => labels.push((label.as_str(), decode(given.next()?))),
                Segment::Fixed(fixed) if decode(given.next()?) == *fixed => {}
                Segment::Fixed(_) => return None,
            }
        }
        given.next().is_none().then_some(labels)
    }
}

/// As in a path: `+` is itself.
fn decode(text: &str) -> String {
    let pair = text.replace('+', "%2B");
    url::form_urlencoded::parse(pair.as_bytes()).map(|(name, _)| name.into_owned()).next().unwrap_or_default()
}

/// The input of an operation from labels, query and body. Bodies of XML hold nothing that a bundled kind
/// asks for, and are not read.
pub(crate) fn input(
    operation: &Operation,
    labels: &[(&str, String)],
    target: &Target<'_>,
    body: &[u8],
) -> Result<Value, Refusal> {
    let model = operation.service().model();
    let in_body =
        if model.protocol == Protocol::RestJson { json::input(operation, body)? } else { Value::Null };
    let mut input = match in_body {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    let structure = operation.model().input.as_ref().and_then(|input| model.structure(input));
    for member in structure.into_iter().flat_map(|structure| &structure.members) {
        let name = member.reference.name.as_deref().unwrap_or(&member.name);
        let scalar = |text: &str| match model.shape(&member.reference) {
            Shape::Integer | Shape::Float | Shape::Boolean => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
            }
            _ => Value::from(text),
        };
        let values =
            || target.query.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str());
        let value = match member.reference.location {
            Location::Uri => labels.iter().find(|(label, _)| *label == name).map(|(_, value)| scalar(value)),
            Location::Query => match model.shape(&member.reference) {
                Shape::List(_) => Some(values().map(Value::from).collect::<Vec<_>>())
                    .filter(|values| !values.is_empty())
                    .map(Value::Array),
                _ => values().next().map(scalar),
            },
            _ => None,
        };
        if let Some(value) = value {
            input.insert(member.name.clone(), value);
        }
    }
    Ok(Value::Object(input))
}
