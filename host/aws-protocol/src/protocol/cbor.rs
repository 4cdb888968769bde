//! Smithy's RPC v2 protocol: requests and responses in CBOR.

use http::{HeaderMap, header::ACCEPT};

use super::{Codec, Response, Syntax};
use crate::{
    InputError, Operation,
    body::{cbor_reader, cbor_writer, error::ErrorParts, json_sink::JsonSink},
    input::Input,
    request::WireRequest,
};

pub(super) struct RpcV2Cbor;

impl Codec for RpcV2Cbor {
    const SYNTAX: Syntax = Syntax::Cbor;

    fn encode(operation: &Operation, input: &Input<'_>, request: &mut WireRequest) -> Result<(), InputError> {
        let model = operation.service().model();
        let target = model.target_prefix.as_deref().unwrap_or_default();
        request.path = format!("/service/{target}/operation/{}", operation.name());
        request.set_header("smithy-protocol", "rpc-v2-cbor");
        request.set_header(ACCEPT.as_str(), "application/cbor");
        request.set_query_mode(model);
        if operation.model().input.is_some() {
            request.set_content_type("application/cbor");
            cbor_writer::value(input, &mut request.body);
        }
        Ok(())
    }

    fn decode<S: JsonSink>(sink: &mut S, response: Response<'_>) -> Result<S::Done, String> {
        let Response { model, output, body, .. } = response;
        cbor_reader::decode(sink.log(), model, output, body).map(|value| sink.value(value))
    }

    fn decode_error(headers: &HeaderMap, body: &[u8]) -> ErrorParts {
        ErrorParts::of_json(headers, &cbor_reader::decode_any(body).unwrap_or_default())
    }
}
