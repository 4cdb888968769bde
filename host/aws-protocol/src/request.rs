//! The parts of an HTTP request.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::CONTENT_TYPE};

use crate::model::Model;

/// The parts of an HTTP request, except for the endpoint and the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireRequest {
    /// The method.
    pub method: Method,
    /// Percent-encoded; begins with `/`.
    pub path: String,
    /// Names and values, unencoded.
    pub query: Vec<(String, String)>,
    /// Headers of the protocol and of the input; without `host` and those of a signature.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The prefix of the endpoint's host, if there is one, with its dot: `111122223333.`.
    pub host_prefix: Option<String>,
}

impl WireRequest {
    /// Returns the same request to S3 with the bucket in the host instead of the path. AWS asks for this
    /// form; test servers for S3 often support only the other. Buckets whose names are not plain host
    /// labels, with a dot or a capital, stay in the path: the certificate or the host would not match.
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

    /// Sets a header whose name and value are known to be valid.
    pub(crate) fn set_header(&mut self, name: &str, value: &str) {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            self.headers.insert(name, value);
        }
    }

    pub(crate) fn set_content_type(&mut self, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(CONTENT_TYPE, value);
        }
    }

    /// Services that formerly used the query protocol return its error codes on request.
    pub(crate) fn set_query_mode(&mut self, model: &Model) {
        if model.query_compatible {
            self.set_header("x-amzn-query-mode", "true");
        }
    }
}

/// Encodes like botocore's `percent_encode`: everything except letters, digits, `-._~` and the characters
/// in `safe`.
pub(crate) fn percent_encode(text: &str, safe: &[u8]) -> String {
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
