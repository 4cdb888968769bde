//! Responses: bytes into the JSON that the AWS CLI prints, in one pass guided by the model.

mod cbor;
mod error;
mod json;
mod rest;
mod scalar;
mod xml;

use http::HeaderMap;
use serde_json::{Map, Value};

use crate::{
    Operation, Protocol,
    model::{Model, Structure},
};

/// What a service says when it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct WireError {
    /// The error's code, as botocore normalises it (`AccessDenied`); the HTTP status where the
    /// answer names none.
    pub code: String,
    /// What the service says; the status's reason phrase where it says nothing.
    pub message: String,
    /// The id under which AWS's support finds the request.
    pub request_id: Option<String>,
}

/// Why an answer could not be read, although its status says that all is well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not what the model says, or is cut off.
    #[error("the answer to {operation} cannot be read: {reason}")]
    Malformed {
        /// The operation, as in `ec2.DescribeInstances`.
        operation: String,
        /// What is wrong, and where.
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

/// Whether the model binds anything to a body that is a document.
fn has_body(model: &Model, output: &Structure) -> bool {
    match output.payload {
        Some(_) => !rest::is_raw_payload(model, output),
        None => output.members.iter().any(|member| !member.reference.location.is_outside_body()),
    }
}

impl Operation {
    /// Reads the answer to a request that succeeded (status below 301, as botocore has it). The
    /// result is an object with the members that the answer has, in the model's order.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is malformed, cut off or unduly empty, or is an error in disguise.
    /// None of these is known to last: the request is worth another try.
    pub fn decode(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Value, DecodeError> {
        let model = self.service().model();
        let output = self.model().output.as_ref().and_then(|output| model.structure(output));
        // Without an output there is nothing to read, whatever the body holds.
        let Some(output) = output else { return Ok(Value::Object(Map::new())) };
        let malformed = |reason: String| DecodeError::Malformed { operation: self.to_string(), reason };
        // botocore takes an empty body for an answer without members. To a sync that would mean
        // that nothing exists, and a broken proxy must not say so.
        let may_be_empty = status == 204 || self.model().method == http::Method::HEAD;
        if body.is_empty() && !may_be_empty && has_body(model, output) {
            return Err(malformed("the body is empty".to_owned()));
        }
        let decoded = match model.protocol {
            Protocol::Ec2 | Protocol::Query => {
                xml::decode(model, output, self.model().result_wrapper.as_deref(), body)
            }
            Protocol::Json => json::decode(model, output, body),
            Protocol::RestJson | Protocol::RestXml => {
                if self.is_error_in_disguise(output, body) {
                    let error = self.decode_error(500, headers, body);
                    return Err(DecodeError::Service { operation: self.to_string(), error });
                }
                rest::decode(model, output, status, headers, body)
            }
            Protocol::RpcV2Cbor => cbor::decode(model, output, body),
        };
        let object = |value: Value| match value {
            Value::Object(_) => Ok(value),
            _ => Err("it is not an object".to_owned()),
        };
        decoded
            .and_then(object)
            .map_err(|reason| DecodeError::Malformed { operation: self.to_string(), reason })
    }

    /// S3 begins to answer before it knows how the request ends.
    fn is_error_in_disguise(&self, output: &Structure, body: &[u8]) -> bool {
        self.service().name() == "s3"
            && !rest::is_raw_payload(self.service().model(), output)
            && xml::root_name(body).is_some_and(|name| name == "Error")
    }

    /// Reads what the service says when it refuses. Never fails: of an answer that says nothing
    /// readable, the status remains.
    pub fn decode_error(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> WireError {
        error::decode(self.service().protocol(), status, headers, body)
    }
}
