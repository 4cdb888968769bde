//! REST with JSON bodies.

use http::HeaderMap;
use serde_json::Value;

use super::{Codec, Response, Syntax};
use crate::{
    InputError, Operation,
    body::{
        error::{self, ErrorParts},
        json_sink::JsonSink,
        rest::Format,
        rest_request, rest_response,
    },
    input::Input,
    request::WireRequest,
};

pub(super) struct RestJson;

impl Codec for RestJson {
    const SYNTAX: Syntax = Syntax::Json;

    fn encode(operation: &Operation, input: &Input<'_>, request: &mut WireRequest) -> Result<(), InputError> {
        rest_request::encode(operation, input, Format::Json, request)
    }

    fn decode<S: JsonSink>(sink: &mut S, response: Response<'_>) -> Result<S::Done, String> {
        rest_response::decode(
            sink,
            response.model,
            response.output,
            Format::Json,
            response.status,
            response.headers,
            response.body,
        )
    }

    fn decode_error(headers: &HeaderMap, body: &[u8]) -> ErrorParts {
        let body = error::json(body);
        let mut parts = ErrorParts::of_json(headers, &body);
        let in_header = error::header(headers, "x-amzn-errortype").map(ToOwned::to_owned);
        if let Some(code) = in_header.or_else(|| code_of(&body)) {
            parts.code = Some(error::short_code(&code));
        }
        parts
    }
}

/// Returns the code that a body contains in its own member.
fn code_of(body: &Value) -> Option<String> {
    ["code", "Code"].into_iter().find_map(|name| match body.get(name)? {
        Value::String(code) => Some(code.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    })
}
