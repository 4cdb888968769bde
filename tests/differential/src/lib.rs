//! Compares Berth's AWS requests and parsed responses with botocore's.
//!
//! `truth.py` generates cases from botocore's models, or takes botocore's own protocol tests, and records
//! botocore's result for each. [`Comparison`] runs the same cases through `berth-aws-protocol` and keeps every
//! difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use berth_aws_protocol::{AwsService, EndpointError, EndpointOptions, Operation};
use berth_core::Region;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_xml::{Reader, events::Event};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The Python that has the pinned botocore: `BERTH_TEST_PYTHON`, else the environment that
/// `cargo xtask venv` makes in `target/venv`.
pub fn python() -> PathBuf {
    std::env::var_os("BERTH_TEST_PYTHON")
        .map_or_else(|| workspace().join("target/venv/bin/python"), PathBuf::from)
}

/// Where `truth.py` keeps what it downloads.
pub fn cache() -> PathBuf {
    workspace().join("target/differential")
}

fn workspace() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// One case, with what botocore makes of it.
#[derive(Debug, Deserialize)]
struct Case {
    service: String,
    operation: String,
    name: String,
    #[serde(flatten)]
    kind: Kind,
    expected: Value,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Kind {
    /// The parsed answer.
    Response(Answer),
    /// Code, message and request id.
    Error(Answer),
    /// The parts of the request.
    Request { input: Value },
    /// URL, and region and name of the signature; null where there is none.
    Endpoint { region: String, fips: bool, dual_stack: bool },
}

#[derive(Debug, Deserialize)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Model { name: String, json: Value },
    Case(Case),
    Done(BTreeMap<String, u64>),
}

/// What came out of all cases.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Operations with at least one compared case.
    pub operations: BTreeSet<(String, String)>,
    /// Compared cases by kind, and what `truth.py` counted itself.
    pub counts: BTreeMap<String, u64>,
    /// What differs.
    pub differences: Vec<String>,
}

impl Comparison {
    /// Adds another's results to these.
    pub fn merge(&mut self, other: Self) {
        self.operations.extend(other.operations);
        for (name, count) in other.counts {
            *self.counts.entry(name).or_default() += count;
        }
        self.differences.extend(other.differences);
    }

    fn count(&mut self, name: &str, by: u64) {
        *self.counts.entry(name.to_owned()).or_default() += by;
    }

    /// Runs `truth.py` with these arguments, and every case that it prints.
    ///
    /// # Errors
    /// When `truth.py` cannot be run, fails, or prints something else.
    pub fn run(arguments: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(python())
            .arg(workspace().join("tests/differential/truth.py"))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", python().display())))?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        let mut comparison = Self::default();
        let mut models = BTreeMap::new();
        let mut done = false;
        for line in BufReader::new(output).lines() {
            match serde_json::from_str(&line?)? {
                Line::Model { name, json } => {
                    let service = AwsService::from_json(&name, json.to_string().as_bytes());
                    models.insert(name, service.map_err(io::Error::other)?);
                }
                Line::Case(case) => comparison.case(&models, &case),
                Line::Done(counts) => {
                    done = true;
                    for (name, count) in counts {
                        comparison.count(&format!("truth.py: {name}"), count);
                    }
                }
            }
        }
        let status = child.wait()?;
        if !status.success() || !done {
            return Err(io::Error::other(format!("truth.py {arguments:?}: {status}")));
        }
        Ok(comparison)
    }

    fn case(&mut self, models: &BTreeMap<String, AwsService>, case: &Case) {
        let service = models.get(&case.service).cloned().map_or_else(|| AwsService::load(&case.service), Ok);
        let operation = service.and_then(|service| service.operation(&case.operation));
        let (kind, found, expected) = match operation {
            Err(error) => ("unknown operations", Value::String(error.to_string()), case.expected.clone()),
            Ok(operation) => {
                self.operations.insert((case.service.clone(), case.operation.clone()));
                match &case.kind {
                    Kind::Response(answer) => {
                        ("responses", response(&operation, answer), case.expected.clone())
                    }
                    Kind::Endpoint { region, fips, dual_stack } => {
                        let options = EndpointOptions { fips: *fips, dual_stack: *dual_stack };
                        ("endpoints", endpoint(&operation, region, options), case.expected.clone())
                    }
                    Kind::Error(answer) => {
                        let mut found = error(&operation, answer);
                        // Berth looks for the id in more places.
                        if case.expected["request_id"].is_null() {
                            found["request_id"] = Value::Null;
                        }
                        ("errors", found, case.expected.clone())
                    }
                    Kind::Request { input } => {
                        let mut expected = case.expected.clone();
                        normalise_request(&mut expected);
                        ("requests", request(&operation, input, &expected), expected)
                    }
                }
            }
        };
        self.count(kind, 1);
        if found != expected {
            let difference = first_difference("", &found, &expected);
            self.count(&format!("different {kind}"), 1);
            self.differences.push(format!(
                "{} {} ({}), {kind}{difference}\n    case: {}",
                case.service,
                case.operation,
                case.name,
                evidence(&case.kind),
            ));
        }
    }
}

fn evidence(kind: &Kind) -> String {
    let text = match kind {
        Kind::Response(answer) | Kind::Error(answer) => {
            let body = BASE64.decode(&answer.body).unwrap_or_default();
            format!("{:?} {}", answer.headers, String::from_utf8_lossy(&body))
        }
        Kind::Request { input } => input.to_string(),
        Kind::Endpoint { region, fips, dual_stack } => {
            format!("{region}, FIPS {fips}, dual-stack {dual_stack}")
        }
    };
    text.chars().take(1500).collect()
}

fn response(operation: &Operation, answer: &Answer) -> Value {
    let body = BASE64.decode(&answer.body).unwrap_or_default();
    let whole = match operation.decode(answer.status, &headers(answer), &body) {
        Ok(whole) => whole,
        Err(error) => return Value::String(error.to_string()),
    };
    // The other way of reading has to say the same, whatever it takes for the items.
    for path in lists(&whole) {
        match operation.decode_page(answer.status, &headers(answer), &body, &path) {
            Ok(page) => {
                let items: Vec<Value> =
                    page.items.iter().map(|item| serde_json::from_slice(item).unwrap_or_default()).collect();
                let mut rest = whole.clone();
                let expected = path.take_all(&mut rest);
                // Where a token is a part of an item, the items are there, too.
                if items != expected || (page.rest != rest && page.rest != whole) {
                    return json!({"items": path.as_str(), "read": items, "rest": page.rest, "expected": expected});
                }
            }
            Err(error) => return Value::String(format!("{} as items: {error}", path.as_str())),
        }
    }
    whole
}

/// Paths to what an answer has one or two levels deep.
fn lists(answer: &Value) -> Vec<berth_core::Path> {
    let mut paths = Vec::new();
    for (name, value) in answer.as_object().into_iter().flatten() {
        let path = match value {
            Value::Array(_) => format!("{name}[]"),
            _ => name.clone(),
        };
        let inner = match value {
            Value::Array(items) => items.first(),
            value => Some(value),
        };
        let inner = inner.and_then(Value::as_object).and_then(|members| members.iter().next());
        paths.extend(inner.map(|(name, value)| match value {
            Value::Array(_) => format!("{path}.{name}[]"),
            _ => format!("{path}.{name}"),
        }));
        paths.push(path);
    }
    // What a document or a map holds may have any name.
    paths.iter().filter_map(|path| berth_core::Path::parse(path).ok()).collect()
}

fn error(operation: &Operation, answer: &Answer) -> Value {
    let body = BASE64.decode(&answer.body).unwrap_or_default();
    let error = operation.decode_error(answer.status, &headers(answer), &body);
    json!({"code": error.code, "message": error.message, "request_id": error.request_id})
}

fn endpoint(operation: &Operation, region: &str, options: EndpointOptions) -> Value {
    let region = match Region::new(region) {
        Ok(region) => region,
        Err(error) => return Value::String(error.to_string()),
    };
    match operation.endpoint(&region, options) {
        Ok(endpoint) => json!({
            "url": endpoint.url.as_str().trim_end_matches('/'),
            "region": endpoint.signing_region,
            "name": endpoint.signing_name,
        }),
        Err(EndpointError::NotOffered { .. }) => Value::Null,
        Err(error) => Value::String(error.to_string()),
    }
}

fn headers(answer: &Answer) -> HeaderMap {
    let pairs = answer.headers.iter().filter_map(|(name, value)| {
        Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_bytes(value.as_bytes()).ok()?))
    });
    pairs.collect()
}

/// The request in the form that `truth.py` gives it; the body as the expected one is.
fn request(operation: &Operation, input: &Value, expected: &Value) -> Value {
    let request = match operation.encode(input) {
        Ok(request) => request,
        Err(error) => return Value::String(error.to_string()),
    };
    let text = || String::from_utf8_lossy(&request.body).into_owned();
    let body = &expected["body"];
    let body = if request.body.is_empty() {
        json!({"empty": true})
    } else if body.get("form").is_some() {
        let mut pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(&request.body).into_owned().collect();
        pairs.sort();
        json!({"form": pairs})
    } else if body.get("json").is_some() {
        json!({"json": serde_json::from_slice(&request.body).unwrap_or_else(|_| Value::String(text()))})
    } else if body.get("xml").is_some() {
        json!({"xml": tree(&text())})
    } else {
        json!({"bytes": BASE64.encode(&request.body)})
    };
    let headers: Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| {
            (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into())
        })
        .collect();
    let mut query = request.query;
    query.sort();
    let mut found = json!({
        "method": request.method.as_str(), "path": request.path, "query": query,
        "headers": headers, "body": body, "host_prefix": request.host_prefix,
    });
    normalise_request(&mut found);
    found
}

/// Evens out what may differ: botocore spells floats as Python does, and sends XML without a
/// content type.
fn normalise_request(request: &mut Value) {
    for place in ["/query", "/body/form"] {
        for pair in request.pointer_mut(place).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(text) = pair.get_mut(1) {
                even_float(text);
            }
        }
    }
    if let Some(Value::String(xml)) = request.pointer("/body/xml") {
        let tree = tree(xml);
        request["body"]["xml"] = tree;
    }
    if let Some(headers) = request.get_mut("headers").and_then(Value::as_object_mut) {
        if headers.get("content-type").is_some_and(|kind| kind == "application/xml") {
            headers.shift_remove("content-type");
        }
        headers.values_mut().for_each(even_float);
    }
}

fn even_float(text: &mut Value) {
    let Some(number) = text.as_str().filter(|text| text.contains(['.', 'e'])) else { return };
    if let Ok(number) = number.parse::<f64>() {
        *text = number.to_string().into();
    }
}

/// An XML document without what does not matter: `[name, attributes, text, children]`.
fn tree(xml: &str) -> Value {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let mut open = vec![(String::new(), Map::new(), String::new(), Vec::new())];
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Start(start) => {
                let attributes = start.attributes().flatten().map(|attribute| {
                    (attribute.key.into_inner().to_owned(), Value::String(attribute.value.into_owned()))
                });
                open.push((
                    start.name().into_inner().to_owned(),
                    attributes.collect(),
                    String::new(),
                    Vec::new(),
                ));
            }
            Event::End(_) => {
                let Some((name, attributes, text, children)) = open.pop() else { break };
                if let Some((_, _, _, siblings)) = open.last_mut() {
                    siblings.push(json!([name, attributes, text, children]));
                }
            }
            Event::Text(part) => {
                if let Some((_, _, text, _)) = open.last_mut() {
                    text.push_str(&part.xml10_content());
                }
            }
            Event::GeneralRef(part) => {
                if let Some((_, _, text, _)) = open.last_mut() {
                    let letters = quick_xml::escape::resolve_predefined_entity(&part).map(ToOwned::to_owned);
                    let letter = || part.resolve_char_ref().ok().flatten().map(String::from);
                    text.push_str(&letters.or_else(letter).unwrap_or_else(|| format!("&{};", &*part)));
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    Value::Array(open.into_iter().flat_map(|(_, _, _, children)| children).collect())
}

/// Where two values part, with both sides cut short.
fn first_difference(path: &str, found: &Value, expected: &Value) -> String {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => {
            for (name, expected) in expected {
                match found.get(name) {
                    None => {
                        return format!(" at {path}.{name}: nothing, but botocore has {}", short(expected));
                    }
                    Some(found) if found != expected => {
                        return first_difference(&format!("{path}.{name}"), found, expected);
                    }
                    Some(_) => {}
                }
            }
            let more: Vec<&String> = found.keys().filter(|name| !expected.contains_key(*name)).collect();
            format!(" at {path}: also {more:?}")
        }
        (Value::Array(found), Value::Array(expected)) if found.len() == expected.len() => {
            let pairs = found.iter().zip(expected).enumerate();
            pairs
                .filter(|(_, (found, expected))| found != expected)
                .map(|(index, (found, expected))| {
                    first_difference(&format!("{path}[{index}]"), found, expected)
                })
                .next()
                .unwrap_or_default()
        }
        _ => format!(" at {path}: {}, but botocore has {}", short(found), short(expected)),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(400).collect()
}
