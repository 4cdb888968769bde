//! AWS on the wire: service models and one codec per AWS protocol. Bytes in, bytes out.
#![expect(dead_code, unused_variables, reason = "API skeleton, filled in next")]
#![allow(missing_docs, reason = "API skeleton, filled in next")]

use std::sync::Arc;

#[derive(Debug, Clone)]
pub struct Service(Arc<()>);

#[derive(Debug, Clone)]
pub struct Operation(Arc<()>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    Ec2,
    Query,
    Json,
    RestJson,
    RestXml,
    RpcV2Cbor,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// No such service; `near` holds names that are alike.
    #[error("AWS service `{name}` is not known")]
    UnknownService { name: String, near: Vec<String> },
    /// No such read operation.
    #[error("`{operation}` is not a read operation of AWS service `{service}`")]
    UnknownOperation { service: String, operation: String, near: Vec<String> },
    /// The embedded table is damaged.
    #[error("the embedded model of `{service}` cannot be read: {reason}")]
    Damaged { service: String, reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: input `{path}`: {reason}")]
pub struct InputError {
    pub operation: String,
    pub path: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: the response cannot be read{}: {reason}", if path.is_empty() { String::new() } else { format!(" at `{path}`") })]
pub struct DecodeError {
    pub operation: String,
    pub path: String,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pagination {
    /// Input members that carry the token, in step with `output_tokens`.
    pub input_tokens: Vec<String>,
    /// JMESPath expressions as botocore has them (`Marker`, `A.B`, `A || B[-1].C`), evaluated by [`Pagination::next`].
    pub output_tokens: Vec<String>,
    pub more_results: Option<String>,
    pub result_keys: Vec<String>,
    pub limit_key: Option<String>,
}

impl Pagination {
    /// The input members that ask for the page after `output`: empty when it was the last one.
    pub fn next(&self, output: &serde_json::Value) -> Vec<(&str, serde_json::Value)> {
        unimplemented!()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireRequest {
    pub method: http::Method,
    /// Percent-encoded, begins with `/`.
    pub path: String,
    /// Not encoded.
    pub query: Vec<(String, String)>,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
    /// To be put before the endpoint's host, if any (`data.`, with its dot).
    pub host_prefix: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireError {
    pub code: String,
    pub message: String,
    pub request_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub url: url::Url,
    pub signing_region: String,
    pub signing_name: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    pub fips: bool,
    pub dual_stack: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{0}")]
    Unsupported(String),
}

pub fn endpoint(
    service: &Service,
    region: &berth_core::Region,
    options: EndpointOptions,
) -> Result<Endpoint, EndpointError> {
    unimplemented!()
}

impl Service {
    pub fn load(name: &str) -> Result<Self, ModelError> {
        unimplemented!()
    }
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::empty()
    }
    pub fn name(&self) -> &str {
        unimplemented!()
    }
    pub fn operation(&self, name: &str) -> Result<Operation, ModelError> {
        unimplemented!()
    }
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
    pub fn signing_name(&self) -> &str {
        unimplemented!()
    }
    pub fn endpoint_prefix(&self) -> &str {
        unimplemented!()
    }
    pub fn protocol(&self) -> Protocol {
        unimplemented!()
    }
}

impl Operation {
    pub fn name(&self) -> &str {
        unimplemented!()
    }
    pub fn service(&self) -> &Service {
        unimplemented!()
    }
    /// Whether the model says that the call is not signed (`auth: none`).
    pub fn is_unsigned(&self) -> bool {
        unimplemented!()
    }
    pub fn encode(&self, input: &serde_json::Value) -> Result<WireRequest, InputError> {
        unimplemented!()
    }
    pub fn decode(
        &self,
        status: u16,
        headers: &http::HeaderMap,
        body: &[u8],
    ) -> Result<serde_json::Value, DecodeError> {
        unimplemented!()
    }
    pub fn decode_error(&self, status: u16, headers: &http::HeaderMap, body: &[u8]) -> WireError {
        unimplemented!()
    }
    pub fn pagination(&self) -> Option<&Pagination> {
        unimplemented!()
    }
}
