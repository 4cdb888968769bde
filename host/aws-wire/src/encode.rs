//! Requests: a checked input in the form that the service's protocol wants.

mod cbor;
mod form;
mod json;
mod rest;
mod xml;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};
use serde_json::Value;

use crate::{
    InputError, Operation, Protocol,
    input::{self, Input},
};

/// The parts of an HTTP request, but for the endpoint and the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// Percent-encoded, begins with `/`.
    pub path: String,
    /// Names and values, not encoded.
    pub query: Vec<(String, String)>,
    /// Headers of the protocol and of the input; neither `host` nor those of a signature.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// What stands before the endpoint's host, if anything, with its dot: `111122223333.`.
    pub host_prefix: Option<String>,
}

impl Operation {
    /// Checks an input against the model and makes the request of it. `null` is an input without
    /// members. Blobs are given in base64, timestamps as ISO 8601, RFC 822 or seconds since 1970.
    ///
    /// S3's buckets stand in the path (path style), which serves buckets of any name; see
    /// [`WireRequest::virtual_hosted`].
    ///
    /// # Errors
    /// [`InputError`] with the path of the first member that is unknown, missing or of another type.
    pub fn encode(&self, input: &Value) -> Result<WireRequest, InputError> {
        let input = input::check(self, input)?;
        let mut request = WireRequest {
            method: self.model().method.clone(),
            path: "/".to_owned(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            host_prefix: self.host_prefix(&input),
        };
        match self.service().protocol() {
            Protocol::Ec2 | Protocol::Query => form::encode(self, &input, &mut request),
            Protocol::Json => json::encode(self, &input, &mut request),
            Protocol::RestJson | Protocol::RestXml => rest::encode(self, &input, &mut request)?,
            Protocol::RpcV2Cbor => cbor::encode(self, &input, &mut request),
        }
        for (name, value) in &self.service().model().headers {
            if !request.headers.contains_key(name.as_str()) {
                set_header(&mut request.headers, name, value);
            }
        }
        Ok(request)
    }

    fn host_prefix(&self, input: &Input<'_>) -> Option<String> {
        let mut prefix = self.model().host_prefix.clone()?;
        if let Input::Structure(members) = input {
            for (member, value) in members {
                if let (true, Input::Text(text)) = (member.reference.host_label, value) {
                    prefix = prefix.replace(&format!("{{{}}}", member.name), text);
                }
            }
        }
        Some(prefix)
    }
}

impl WireRequest {
    /// The same request to S3, with the bucket before the host rather than in the path. AWS asks
    /// for this form; a stand-in for S3 often understands the other only. Buckets whose names are
    /// not plain host labels, with a dot or a capital, stay in the path: the certificate or the
    /// host would not fit.
    #[must_use]
    pub fn virtual_hosted(mut self) -> Self {
        let (bucket, rest) = self.path[1..].split_once('/').unwrap_or((&self.path[1..], ""));
        let is_label = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !bucket.starts_with('-')
            && !bucket.ends_with('-');
        if is_label && self.host_prefix.is_none() {
            self.host_prefix = Some(format!("{bucket}."));
            self.path = format!("/{rest}");
        }
        self
    }
}

/// Sets a header whose name and value are known to be valid.
fn set_header(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn set_content_type(request: &mut WireRequest, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        request.headers.insert(CONTENT_TYPE, value);
    }
}

/// Services that once spoke the query protocol answer with its error codes when asked.
fn set_query_mode(operation: &Operation, request: &mut WireRequest) {
    if operation.service().model().query_compatible {
        set_header(&mut request.headers, "x-amzn-query-mode", "true");
    }
}

/// As botocore's `percent_encode`: all but letters, digits and `-._~`, and what `safe` adds.
fn percent_encode(text: &str, safe: &[u8]) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || safe.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
