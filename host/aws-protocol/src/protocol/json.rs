//! The JSON protocol: requests and responses in JSON, with the operation in a header (awsJson 1.0 and 1.1).

use http::HeaderMap;

use super::{Codec, Response, Syntax};
use crate::{
    InputError, Operation,
    body::{
        error::{self, ErrorParts},
        json_reader::{self, Numbers},
        json_sink::JsonSink,
        json_writer,
    },
    input::Input,
    request::WireRequest,
};

pub(super) struct Json;

impl Codec for Json {
    const SYNTAX: Syntax = Syntax::Json;

    fn encode(operation: &Operation, input: &Input<'_>, request: &mut WireRequest) -> Result<(), InputError> {
        let model = operation.service().model();
        let version = model.json_version.as_deref().unwrap_or("1.0");
        request.set_content_type(&format!("application/x-amz-json-{version}"));
        let prefix = model.target_prefix.as_deref().unwrap_or_default();
        request.set_header("x-amz-target", &format!("{prefix}.{}", operation.name()));
        request.set_query_mode(model);
        request.body = match input {
            Input::Structure(given) => json_writer::members(given.iter()).to_string().into_bytes(),
            _ => b"{}".to_vec(),
        };
        Ok(())
    }

    fn decode<S: JsonSink>(sink: &mut S, response: Response<'_>) -> Result<S::Done, String> {
        json_reader::decode(sink, response.model, response.output, Numbers::AsSent, response.body, &[])
    }

    fn decode_error(headers: &HeaderMap, body: &[u8]) -> ErrorParts {
        ErrorParts::of_json(headers, &error::json(body))
    }
}
