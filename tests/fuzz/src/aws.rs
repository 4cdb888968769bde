//! Responses of AWS in XML, JSON and CBOR, and requests to AWS.
//!
//! The first line of an input names an operation, so that people can read a file of the corpus. If it names none,
//! its bytes select one, so that no mutation is wasted.

use std::sync::OnceLock;

use berth_aws_protocol::{AwsService, EndpointOptions, Operation, Protocol};
use berth_core::Path;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

/// One service of each sort that reads differently: the quirks of S3, and attributes, flattened lists and
/// headers.
const XML: &[&str] = &["ec2", "rds", "iam", "cloudformation", "autoscaling", "s3", "route53", "cloudfront"];
const JSON: &[&str] = &["ecs", "dynamodb", "organizations", "kms", "lambda", "eks", "apigateway", "wafv2"];
const CBOR: &[&str] = &["cloudwatchomni", "eventbridgev2"];

/// The most that an answer's JSON may be larger than its body: a number may stand for a time, and a
/// control character for six of JSON.
const GROWTH: usize = 64;

/// Answers in XML: the protocols `ec2`, `query` and `rest-xml`.
pub(crate) fn xml(input: &[u8]) {
    static OPERATIONS: OnceLock<Vec<Operation>> = OnceLock::new();
    answer(OPERATIONS.get_or_init(|| operations(XML)), input);
}

/// Answers in JSON: the protocols `json` and `rest-json`.
pub(crate) fn json(input: &[u8]) {
    static OPERATIONS: OnceLock<Vec<Operation>> = OnceLock::new();
    answer(OPERATIONS.get_or_init(|| operations(JSON)), input);
}

/// Answers in CBOR: the protocol `smithy-rpc-v2-cbor`.
pub(crate) fn cbor(input: &[u8]) {
    static OPERATIONS: OnceLock<Vec<Operation>> = OnceLock::new();
    answer(OPERATIONS.get_or_init(|| operations(CBOR)), input);
}

/// Requests of all protocols.
pub(crate) fn requests(input: &[u8]) {
    static OPERATIONS: OnceLock<Vec<Operation>> = OnceLock::new();
    let operations = OPERATIONS.get_or_init(|| operations(&[XML, JSON, CBOR].concat()));
    let (head, body) = split(input, b"\n");
    let (operation, _) = find(operations, head);
    let Ok(input) = serde_json::from_slice::<Value>(body) else { return };
    let request = match operation.encode(&input) {
        Ok(request) => request,
        Err(error) => {
            assert!(!error.path.is_empty() && !error.reason.is_empty(), "an error names its place: {error}");
            return;
        }
    };
    assert_eq!(operation.encode(&input).as_ref(), Ok(&request), "the same input gives the same request");
    let plain = |c: char| c.is_ascii_graphic() && c != '?' && c != '#';
    assert!(request.path.starts_with('/') && request.path.chars().all(plain), "path `{}`", request.path);
    let body = request.body.as_slice();
    match operation.service().protocol() {
        _ if body.is_empty() => {}
        // A payload may be any bytes.
        Protocol::Json => _ = serde_json::from_slice::<Value>(body).unwrap(),
        Protocol::Ec2 | Protocol::Query => {
            let pairs: Vec<_> = url::form_urlencoded::parse(body).collect();
            assert!(pairs.iter().any(|(name, value)| name == "Action" && value == operation.name()));
        }
        Protocol::RestXml if body.starts_with(b"<") => {
            let text = std::str::from_utf8(body).unwrap();
            let mut reader = quick_xml::Reader::from_str(text);
            loop {
                match reader.read_event() {
                    Ok(quick_xml::events::Event::Eof) => break,
                    Ok(_) => {}
                    Err(error) => panic!("the body is no XML: {error}: {text}"),
                }
            }
        }
        Protocol::RestJson | Protocol::RestXml | Protocol::RpcV2Cbor => {}
    }
    let region = "eu-west-1".parse().unwrap();
    if let Ok(endpoint) = operation.endpoint(&region, EndpointOptions::default()) {
        assert_eq!(endpoint.url.scheme(), "https");
    }
}

fn operations(services: &[&str]) -> Vec<Operation> {
    let services = services.iter().map(|name| AwsService::load(name).unwrap());
    services
        .flat_map(|service| {
            let names: Vec<String> = service.operations().map(ToOwned::to_owned).collect();
            names.into_iter().map(move |name| service.operation(&name).unwrap())
        })
        .collect()
}

/// The two parts of an input around the first separator; without one, all of it is the second.
fn split<'i>(input: &'i [u8], separator: &[u8]) -> (&'i [u8], &'i [u8]) {
    match input.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&input[..at], &input[at + separator.len()..]),
        None => (b"", input),
    }
}

/// The operation that `service.Operation` names, and what stands behind it.
fn find<'o, 'h>(operations: &'o [Operation], head: &'h [u8]) -> (&'o Operation, &'h str) {
    let head = std::str::from_utf8(head).unwrap_or_default();
    let (name, rest) = head.split_once(['\n', ' ']).unwrap_or((head, ""));
    let named = operations.iter().find(|operation| operation.to_string() == name);
    let sum = || head.bytes().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    (named.unwrap_or_else(|| &operations[sum() % operations.len()]), rest)
}

/// `service.Operation 200`, headers, an empty line, the body.
fn answer(operations: &[Operation], input: &[u8]) {
    let (head, body) = split(input, b"\n\n");
    let (operation, rest) = find(operations, head);
    let mut lines = rest.lines();
    let status = lines.next().and_then(|status| status.parse().ok()).unwrap_or(200);
    let headers: HeaderMap = lines
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?))
        })
        .collect();

    let error = operation.decode_error(status, &headers, body);
    assert!(!error.code.is_empty(), "an error has a code");
    let whole = match operation.decode(status, &headers, body) {
        Ok(whole) => whole,
        Err(error) => {
            assert!(error.to_string().contains(&operation.to_string()), "an error names the operation");
            // Then there is no page of it either.
            if operation.pagination().is_some() {
                operation.decode_page(status, &headers, body, &Path::itself()).unwrap_err();
            }
            return;
        }
    };
    assert!(whole.is_object(), "an answer is an object");
    let headed: usize = headers.values().map(HeaderValue::len).sum();
    let (length, limit) = (whole.to_string().len(), (body.len() + headed) * GROWTH + 4096);
    assert!(length <= limit, "an answer of {} bytes becomes {length}", body.len());
    for path in lists(&whole) {
        agree(operation, status, &headers, body, &path);
    }
}

/// An answer read as values says what it says when its items are left as text.
fn agree(operation: &Operation, status: u16, headers: &HeaderMap, body: &[u8], path: &Path) {
    let list = operation.decode_list(status, headers, body, &[path]);
    let page = operation.decode_page(status, headers, body, path);
    match (list, page) {
        (Ok((whole, repairs)), Ok(page)) => {
            let items: Vec<Value> =
                page.items.iter().map(|item| serde_json::from_slice(item).unwrap()).collect();
            let mut rest = whole.clone();
            let expected = path.take_all(&mut rest);
            assert_eq!(items, expected, "items at `{}`", path.as_str());
            // Where a token is a part of an item, the items are there, too.
            assert!(page.rest == rest || page.rest == whole, "rest beside `{}`", path.as_str());
            assert_eq!(page.repairs, repairs, "repairs beside `{}`", path.as_str());
        }
        (Err(_), Err(_)) => {}
        (list, page) => panic!("`{}`: as values {list:?}, as text {page:?}", path.as_str()),
    }
}

/// Paths to what an answer has one or two levels deep.
fn lists(answer: &Value) -> Vec<Path> {
    let mut paths = Vec::new();
    for (name, value) in answer.as_object().into_iter().flatten().take(4) {
        let (path, inner) = match value {
            Value::Array(items) => (format!("{name}[]"), items.first()),
            value => (name.clone(), Some(value)),
        };
        let inner = inner.and_then(Value::as_object).and_then(|members| members.iter().next());
        paths.extend(inner.map(|(name, value)| match value {
            Value::Array(_) => format!("{path}.{name}[]"),
            _ => format!("{path}.{name}"),
        }));
        paths.push(path);
    }
    // What a document or a map holds may have any name.
    paths.iter().filter_map(|path| Path::parse(path).ok()).collect()
}
