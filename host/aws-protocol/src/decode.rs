//! Responses: decodes bytes into the JSON that the AWS CLI prints, in one pass guided by the model.

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

/// An error that a service returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// The error's code, as botocore normalizes it (`AccessDenied`); the HTTP status if the response has no
    /// code.
    pub code: String,
    /// The service's message; the reason phrase of the status if there is none.
    pub message: String,
    /// The id by which AWS's support finds the request.
    pub request_id: Option<String>,
    /// The region that S3 names if the request was signed for another one.
    pub region: Option<String>,
}

/// A response with a success status that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body does not match the model, or is truncated.
    #[error("cannot read the response to {operation}: {reason}")]
    Malformed {
        /// The operation, such as `ec2.DescribeInstances`.
        operation: String,
        /// The error, and its place.
        reason: String,
    },
    /// S3 returned 200 with an error in the body. Handle it like a 500.
    #[error("{operation} failed: {error}")]
    Service {
        /// The operation, such as `s3.GetBucketAcl`.
        operation: String,
        /// The error.
        error: WireError,
    },
}

/// A response with a list: its items as JSON text, and the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The response with null in place of each item; the whole response if a page token is part of an item.
    pub rest: Value,
    /// The items, in order. All are slices of one text, which lives as long as any of them.
    pub items: Vec<Bytes>,
    /// The repairs of the response.
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
    /// Reads the response to a successful request (status below 301, as in botocore). The result is an
    /// object with the members of the response, in the model's order.
    ///
    /// A malformed text, or a member that does not match the model, does not affect the rest; see
    /// [`decode_list`](Self::decode_list), which also counts them.
    ///
    /// # Errors
    /// [`DecodeError`] if the body is malformed, truncated or unexpectedly empty, or contains an error.
    /// None of these is known to be permanent: the request can be retried.
    pub fn decode(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Value, DecodeError> {
        self.decode_list(status, headers, body, &[]).map(|(value, _)| value)
    }

    /// Reads a response like [`decode`](Self::decode), and counts the parts that could not be read
    /// unchanged:
    ///
    /// - U+FFFD replaces invalid UTF-8, half of a surrogate pair, and characters and entities that do not
    ///   exist (`&#0;`, `&nbsp;`).
    /// - A scalar in place of a text becomes its text.
    /// - Any other member that does not match the model is omitted; an element of a list becomes null.
    ///
    /// This is an error where it may hide further items: on the path to a page token, and to the values at
    /// `items`. These paths are joined, so that `Services[]` and `serviceArn` mean that member of each
    /// service.
    ///
    /// # Errors
    /// [`DecodeError`], like [`decode`](Self::decode).
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

    /// Reads a response like [`decode_list`](Self::decode_list), but keeps the items at `items` as JSON
    /// text for the mapping, without building values. The content is the same.
    ///
    /// # Errors
    /// [`DecodeError`], like [`decode`](Self::decode).
    pub fn decode_page(
        &self,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
        items: &Path,
    ) -> Result<Page, DecodeError> {
        self.mending(body, |body| {
            let mut sink = TextSink::new(items.segments(), body.len());
            // A token that is part of an item can only be found in the whole response.
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

    /// Reads a body; if that fails, reads it again with malformed text replaced. A body without malformed
    /// text costs nothing extra.
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

    /// Rejects a response that lacks a part that is needed to know which items exist.
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
            Some(place) => Err(self.malformed(&format_args!("`{place}` does not match the model"))),
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
        // Without an output there is nothing to read, whatever the body contains.
        let Some(output) = self.output() else { return Ok(sink.value(Value::Object(Map::new()))) };
        // botocore treats an empty body as a response without members. For a sync that would mean that
        // nothing exists, and a broken proxy must not cause that.
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
            .and_then(|done| {
                if sink.is_object(&done) { Ok(done) } else { Err("the body is not an object".to_owned()) }
            })
            .map_err(|reason| self.malformed(&reason))
    }

    /// Returns whether a response contains an error despite its status: S3 begins to respond before it
    /// knows how the request ends.
    fn is_error_in_disguise(&self, output: &Structure, body: &[u8]) -> bool {
        self.service().name() == "s3"
            && !rest_response::is_raw_payload(self.service().model(), output)
            && xml_reader::root_name(body).is_some_and(|name| name == "Error")
    }

    /// Reads an error. Never fails: for a response without a readable error, it returns the status.
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

/// Returns whether a load balancer or proxy responded instead of the service.
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

/// Returns whether a token of an operation is part of its items.
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

/// Returns a response without its items.
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
