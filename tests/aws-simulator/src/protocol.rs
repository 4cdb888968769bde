//! The wire protocols: parse requests into service, operation and input; build response templates; write errors.

pub(crate) mod ec2;
pub(crate) mod json;
pub(crate) mod query;
pub(crate) mod rest;
pub(crate) mod xml;

use axum::response::Response;
use berth_aws_protocol::{Operation, Protocol};
use http::{HeaderValue, header::CONTENT_TYPE};

use crate::{
    answer::Node,
    error::Refusal,
    template::{Part, Template},
};

/// Collects the parts of a template; bytes that follow bytes are one part.
#[derive(Debug, Default)]
pub(crate) struct Parts(Vec<Part>);

impl Parts {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match self.0.last_mut() {
            Some(Part::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.0.push(Part::Bytes(bytes.to_vec())),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(crate) fn part(&mut self, part: Part) {
        self.0.push(part);
    }

    pub(crate) fn into_vec(self) -> Vec<Part> {
        self.0
    }
}

/// The template of an operation's answer.
pub(crate) fn template(operation: &Operation, root: &Node) -> Template {
    match operation.service().protocol() {
        Protocol::Json | Protocol::RestJson | Protocol::RpcV2Cbor => json::template(operation, root),
        Protocol::Ec2 | Protocol::Query | Protocol::RestXml => xml::template(operation, root),
    }
}

/// What the body of an answer is.
pub(crate) fn content_type(operation: &Operation) -> HeaderValue {
    let model = operation.service().model();
    HeaderValue::from_static(match (model.protocol, model.json_version.as_deref()) {
        (Protocol::Json, Some("1.1")) => "application/x-amz-json-1.1",
        (Protocol::Json, _) => "application/x-amz-json-1.0",
        (Protocol::RestJson, _) => "application/json",
        (Protocol::RpcV2Cbor, _) => "application/cbor",
        (Protocol::Ec2, _) => "text/xml;charset=UTF-8",
        (Protocol::Query, _) => "text/xml",
        (Protocol::RestXml, _) => "application/xml",
    })
}

/// A refusal in the form of a protocol.
pub(crate) fn refuse(
    protocol: Protocol,
    service: &str,
    query_compatible: bool,
    refusal: &Refusal,
    id: &str,
) -> Response {
    let (body, content_type) = match protocol {
        Protocol::Json | Protocol::RestJson | Protocol::RpcV2Cbor => {
            (json::error(protocol, refusal), "application/json")
        }
        Protocol::Ec2 => (ec2::error(refusal, id), "text/xml;charset=UTF-8"),
        Protocol::RestXml if service == "s3" => (xml::s3_error(refusal, id), "application/xml"),
        Protocol::Query | Protocol::RestXml => (query::error(refusal, id), "text/xml"),
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = refusal.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let code = HeaderValue::from_str(&refusal.code);
    if let (Protocol::RestJson, Ok(code)) = (protocol, &code) {
        headers.insert("x-amzn-errortype", code.clone());
    }
    if query_compatible && let Ok(value) = HeaderValue::from_str(&format!("{};Sender", refusal.code)) {
        headers.insert("x-amzn-query-error", value);
    }
    response
}
