//! Responses: bytes into the JSON that the AWS CLI prints, in one pass guided by the model.

use std::ops::Range;

use berth_core::{Path, PathSegment, lossy, mend_json};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use crate::{
    Operation, Pagination, Repairs,
    body::{
        error::{self, ErrorParts},
        json_sink::{JsonSink, TextSink, ValueSink},
        repairs::{RepairLog, place_of},
        rest_response, xml_reader,
    },
    model::{Model, Structure},
    pagination::says_more_at as says_more,
    protocol::{Response, Syntax},
};

/// An error that a service answers with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// The error's code, as botocore normalises it (`AccessDenied`); the HTTP status where the
    /// answer names none.
    pub code: String,
    /// The service's message; the status's reason phrase where it has none.
    pub message: String,
    /// The id under which AWS's support finds the request.
    pub request_id: Option<String>,
    /// The region that S3 names where the request was signed for another.
    pub region: Option<String>,
}

/// An answer could not be read, although its status is that of a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not what the model says, or is cut off.
    #[error("the answer to {operation} cannot be read: {reason}")]
    Malformed {
        /// The operation, as in `ec2.DescribeInstances`.
        operation: String,
        /// The error, and its place.
        reason: String,
    },
    /// S3 answers 200 and puts an error into the body. It is to be treated as if it had said 500.
    #[error("{operation} failed: {error}")]
    Service {
        /// The operation, as in `s3.GetBucketAcl`.
        operation: String,
        /// The error.
        error: WireError,
    },
}

/// An answer that lists: its items as JSON text, and what else it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The answer without its items, each of which is null in it; the whole answer where a page token
    /// is a part of an item.
    pub rest: Value,
    /// The items, in their order. All are parts of one text, which lives as long as any of them.
    pub items: Vec<Bytes>,
    /// The repairs of the answer.
    pub repairs: Repairs,
}

/// Returns whether the model binds anything to a body that is a document.
fn has_body(model: &Model, output: &Structure) -> bool {
    match output.payload {
        Some(_) => !rest_response::is_raw_payload(model, output),
        None => output.members.iter().any(|member| !member.reference.location.is_outside_body()),
    }
}

impl Operation {
    /// Reads the answer to a request that succeeded (status below 301, as botocore has it). The
    /// result is an object with the members that the answer has, in the model's order.
    ///
    /// A text that is malformed and a member that is not what the model says cost only themselves; see
    /// [`decode_list`](Self::decode_list), which also counts them.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is malformed, cut off or unduly empty, or is an error in disguise.
    /// None of these is known to last: the request is worth another try.
    pub fn decode(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Value, DecodeError> {
        self.decode_list(status, headers, body, &[]).map(|(value, _)| value)
    }

    /// Reads an answer as [`decode`](Self::decode) does, and counts what could not be read as it came:
    ///
    /// - U+FFFD stands for invalid UTF-8, half of a surrogate pair, and characters and entities that do not
    ///   exist (`&#0;`, `&nbsp;`).
    /// - A scalar in place of a text becomes its text.
    /// - Any other member that is not what the model says is left out; an element of a list is null.
    ///
    /// That is an error where it may hide that there is more: on the way to a page token, and to what
    /// `items` leads to. These paths are one after the other, so that `Services[]` and `serviceArn` are that
    /// member of each service.
    ///
    /// # Errors
    /// [`DecodeError`], as [`decode`](Self::decode).
    pub fn decode_list(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        items: &[&Path],
    ) -> Result<(Value, Repairs), DecodeError> {
        self.mending(body, |body| {
            let mut sink = ValueSink::default();
            let value = self.decode_as(&mut sink, status, headers, body)?;
            Ok((value, self.checked(&sink.log, items)?))
        })
    }

    /// Reads an answer as [`decode_list`](Self::decode_list) does, but without making values of the items
    /// that `items` leads to: they stay JSON text, as which they go to the mapping. Says the same.
    ///
    /// # Errors
    /// [`DecodeError`], as [`decode`](Self::decode).
    pub fn decode_page(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        items: &Path,
    ) -> Result<Page, DecodeError> {
        self.mending(body, |body| {
            let mut sink = TextSink::new(items.segments(), body.len());
            // A token that is a part of an item is found in the whole answer only.
            let whole = if self.pagination().is_some_and(|pagination| reads_items(pagination, items)) {
                let mut values = ValueSink::default();
                let whole = self.decode_as(&mut values, status, headers, body)?;
                sink.value(whole.clone());
                sink.log = values.log;
                Some(whole)
            } else {
                self.decode_as(&mut sink, status, headers, body)?;
                None
            };
            let repairs = self.checked(&sink.log, &[items])?;
            let (text, spans) = sink.finish();
            let rest = match whole {
                Some(whole) => whole,
                None => rest(&text, &spans).map_err(|reason| self.malformed(&reason))?,
            };
            let text = Bytes::from(text);
            let items = spans.into_iter().map(|span| text.slice(span)).collect();
            Ok(Page { rest, items, repairs })
        })
    }

    /// Reads a body; one that cannot be read, once more without what is malformed in its texts. A body
    /// without such costs nothing.
    fn mending<T: Repaired>(
        &self,
        body: &[u8],
        read: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let syntax = self.service().protocol().syntax();
        let is_raw =
            self.output().is_some_and(|output| rest_response::is_raw_payload(self.service().model(), output));
        if syntax == Syntax::Xml && !is_raw && body.contains(&0) {
            let parts: Vec<&[u8]> = body.split(|byte| *byte == 0).collect();
            let (without, replaced) = (parts.join("\u{fffd}".as_bytes()), parts.len() as u64 - 1);
            return self.mending(&without, read).map(|read| read.replaced(replaced));
        }
        let error = match read(body) {
            Err(error @ DecodeError::Malformed { .. }) => error,
            read => return read,
        };
        let mended = match syntax {
            Syntax::Json => mend_json(body).map(|mended| (mended.json, mended.replaced)),
            Syntax::Xml => match lossy(body) {
                (text, replaced @ 1..) => Some((text.into_owned().into_bytes(), replaced)),
                _ => None,
            },
            Syntax::Cbor => None,
        };
        match mended.map(|(body, replaced)| (read(&body), replaced)) {
            Some((Ok(read), replaced)) => Ok(read.replaced(replaced)),
            _ => Err(error),
        }
    }

    /// Refuses an answer of which something is left out without which it does not say what there is.
    fn checked(&self, log: &RepairLog, items: &[&Path]) -> Result<Repairs, DecodeError> {
        let tokens = self
            .pagination()
            .into_iter()
            .flat_map(Pagination::reads)
            .map(|token| token.replace("[-1]", "[]"));
        let mut needed = tokens.chain((!items.is_empty()).then(|| place_of(items)));
        let missing = needed.find_map(|place| log.on_the_way_to(&place).map(ToOwned::to_owned));
        let missing = missing.or_else(|| log.places().find(|place| says_more(place)).map(ToOwned::to_owned));
        match missing {
            Some(place) => Err(self.malformed(&format_args!("`{place}` is not what the model says"))),
            None => Ok(log.repairs),
        }
    }

    fn output(&self) -> Option<&Structure> {
        self.model().output.as_ref().and_then(|output| self.service().model().structure(output))
    }

    fn malformed(&self, reason: &dyn std::fmt::Display) -> DecodeError {
        DecodeError::Malformed { operation: self.to_string(), reason: reason.to_string() }
    }

    fn decode_as<S: JsonSink>(
        &self,
        sink: &mut S,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<S::Done, DecodeError> {
        let model = self.service().model();
        // Without an output there is nothing to read, whatever the body holds.
        let Some(output) = self.output() else { return Ok(sink.value(Value::Object(Map::new()))) };
        // botocore takes an empty body for an answer without members. To a sync that would mean
        // that nothing exists, and a broken proxy must not say so.
        let may_be_empty = status == 204 || self.model().method == http::Method::HEAD;
        if body.is_empty() && !may_be_empty && has_body(model, output) {
            return Err(self.malformed(&"the body is empty"));
        }
        if self.is_error_in_disguise(output, body) {
            let error = self.decode_error(500, headers, body);
            return Err(DecodeError::Service { operation: self.to_string(), error });
        }
        let wrapper = self.model().result_wrapper.as_deref();
        let response = Response { model, output, wrapper, status, headers, body };
        let decoded = model.protocol.decode(sink, response);
        decoded
            .and_then(
                |done| {
                    if sink.is_object(&done) { Ok(done) } else { Err("it is not an object".to_owned()) }
                },
            )
            .map_err(|reason| self.malformed(&reason))
    }

    /// S3 begins to answer before it knows how the request ends.
    fn is_error_in_disguise(&self, output: &Structure, body: &[u8]) -> bool {
        self.service().name() == "s3"
            && !rest_response::is_raw_payload(self.service().model(), output)
            && xml_reader::root_name(body).is_some_and(|name| name == "Error")
    }

    /// Reads an error. Never fails: of an answer without a readable error, the status remains.
    pub fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> WireError {
        let parts = if is_generic(status, body) {
            ErrorParts::default()
        } else {
            self.service().protocol().decode_error(headers, body)
        };
        let header = |name: &str| error::header(headers, name).map(ToOwned::to_owned);
        let ids = ["x-amzn-requestid", "x-amz-request-id", "x-amz-cf-id"];
        let reason = || {
            let status = StatusCode::from_u16(status).ok();
            status.and_then(|status| status.canonical_reason()).unwrap_or_default().to_owned()
        };
        WireError {
            code: parts.code.filter(|code| !code.is_empty()).unwrap_or_else(|| status.to_string()),
            message: parts.message.filter(|message| !message.is_empty()).unwrap_or_else(reason),
            request_id: parts.request_id.or_else(|| ids.into_iter().find_map(header)),
            region: parts.region,
        }
    }
}

/// A load balancer's or proxy's answer, rather than the service's.
fn is_generic(status: u16, body: &[u8]) -> bool {
    let body = body.trim_ascii();
    status >= 500 && (body.is_empty() || body.starts_with(b"<html>"))
}

/// A value with a count of repairs.
trait Repaired {
    /// Adds to the count.
    fn replaced(self, count: u64) -> Self;
}

impl<T> Repaired for (T, Repairs) {
    fn replaced(mut self, count: u64) -> Self {
        self.1.replaced += count;
        self
    }
}

impl Repaired for Page {
    fn replaced(mut self, count: u64) -> Self {
        self.repairs.replaced += count;
        self
    }
}

/// Returns whether a token of an operation is a part of its items.
fn reads_items(pagination: &Pagination, items: &Path) -> bool {
    let names = items.segments().iter().filter_map(|segment| match segment {
        PathSegment::Name(name) => Some(name.as_str()),
        PathSegment::Flatten | PathSegment::Index(_) => None,
    });
    pagination.reads().any(|token| {
        let mut token = token.split('.').map(|name| name.split('[').next().unwrap_or_default());
        names.clone().all(|name| token.next() == Some(name))
    })
}

/// An answer without its items.
fn rest(text: &[u8], items: &[Range<usize>]) -> serde_json::Result<Value> {
    let mut rest = Vec::new();
    let mut from = 0;
    for item in items {
        rest.extend_from_slice(&text[from..item.start]);
        rest.extend_from_slice(b"null");
        from = item.end;
    }
    rest.extend_from_slice(&text[from..]);
    serde_json::from_slice(&rest)
}
