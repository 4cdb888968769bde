//! EC2's variant of the query protocol: form-encoded requests, XML responses.

use http::HeaderMap;

use super::{Codec, Response, Syntax};
use crate::{
    InputError, Operation,
    body::{
        error::ErrorParts,
        form_writer::{self, Dialect},
        json_sink::JsonSink,
        xml_reader,
    },
    input::Input,
    request::WireRequest,
};

pub(super) struct Ec2Query;

impl Codec for Ec2Query {
    const SYNTAX: Syntax = Syntax::Xml;

    fn encode(operation: &Operation, input: &Input<'_>, request: &mut WireRequest) -> Result<(), InputError> {
        form_writer::encode(operation, input, Dialect::Ec2, request);
        Ok(())
    }

    fn decode<S: JsonSink>(sink: &mut S, response: Response<'_>) -> Result<S::Done, String> {
        let Response { model, output, wrapper, body, .. } = response;
        // Otherwise the login page of a network would pass for a response without members, and mean that
        // nothing exists. Only the names of EC2's roots are known.
        let reader = xml_reader::Decoder::new(model, body, "Response")?;
        reader.members(sink, output, wrapper, Vec::new())
    }

    fn decode_error(_: &HeaderMap, body: &[u8]) -> ErrorParts {
        ErrorParts::of_xml(body)
    }
}
