//! The codec of each protocol: requests, responses and errors. The parts that several protocols share are
//! in [`body`](crate::body).

mod cbor;
mod ec2_query;
mod json;
mod query;
mod rest_json;
mod rest_xml;

use http::HeaderMap;

use crate::{
    InputError, Operation, Protocol,
    body::{error::ErrorParts, json_sink::JsonSink},
    input::Input,
    model::{Model, Structure},
    protocols::for_each_protocol,
    request::WireRequest,
};

/// The syntax of a protocol's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Xml,
    Json,
    Cbor,
}

/// A response, and the model for reading it.
#[derive(Clone, Copy)]
pub(crate) struct Response<'a> {
    pub(crate) model: &'a Model,
    pub(crate) output: &'a Structure,
    /// The element within the root that contains the members.
    pub(crate) wrapper: Option<&'a str>,
    pub(crate) status: u16,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: &'a [u8],
}

/// The codec of a protocol.
trait Codec {
    /// The syntax of its bodies.
    const SYNTAX: Syntax;

    /// Writes an input into a request.
    fn encode(operation: &Operation, input: &Input<'_>, request: &mut WireRequest) -> Result<(), InputError>;

    /// Reads a response in one pass.
    fn decode<S: JsonSink>(sink: &mut S, response: Response<'_>) -> Result<S::Done, String>;

    /// Reads an error.
    fn decode_error(headers: &HeaderMap, body: &[u8]) -> ErrorParts;
}

macro_rules! dispatch {
    ($($(#[$_meta:meta])* $protocol:ident => $codec:ty,)*) => {
        impl Protocol {
            /// The syntax of the protocol's bodies.
            pub(crate) fn syntax(self) -> Syntax {
                match self {
                    $(Self::$protocol => <$codec as Codec>::SYNTAX,)*
                }
            }

            /// Writes an input into a request.
            pub(crate) fn encode(
                self,
                operation: &Operation,
                input: &Input<'_>,
                request: &mut WireRequest,
            ) -> Result<(), InputError> {
                match self {
                    $(Self::$protocol => <$codec as Codec>::encode(operation, input, request),)*
                }
            }

            /// Reads a response.
            pub(crate) fn decode<S: JsonSink>(
                self,
                sink: &mut S,
                response: Response<'_>,
            ) -> Result<S::Done, String> {
                match self {
                    $(Self::$protocol => <$codec as Codec>::decode(sink, response),)*
                }
            }

            /// Reads an error.
            pub(crate) fn decode_error(self, headers: &HeaderMap, body: &[u8]) -> ErrorParts {
                match self {
                    $(Self::$protocol => <$codec as Codec>::decode_error(headers, body),)*
                }
            }
        }
    };
}

for_each_protocol!(dispatch);
