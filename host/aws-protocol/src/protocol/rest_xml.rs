//! REST with XML bodies.

use http::HeaderMap;

use super::{Codec, Response, Syntax};
use crate::{
    InputError, Operation,
    body::{error::ErrorParts, json_sink::JsonSink, rest::Format, rest_request, rest_response},
    input::Input,
    request::WireRequest,
};

pub(super) struct RestXml;

impl Codec for RestXml {
    const SYNTAX: Syntax = Syntax::Xml;

    fn encode(operation: &Operation, input: &Input<'_>, request: &mut WireRequest) -> Result<(), InputError> {
        rest_request::encode(operation, input, Format::Xml, request)
    }

    fn decode<S: JsonSink>(sink: &mut S, response: Response<'_>) -> Result<S::Done, String> {
        rest_response::decode(
            sink,
            response.model,
            response.output,
            Format::Xml,
            response.status,
            response.headers,
            response.body,
        )
    }

    fn decode_error(_: &HeaderMap, body: &[u8]) -> ErrorParts {
        ErrorParts::of_xml(body)
    }
}
