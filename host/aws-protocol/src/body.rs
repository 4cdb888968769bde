//! Readers and writers of bodies, which the protocols share. A reader makes one pass over a response, and
//! writes into a [`JsonSink`](json_sink::JsonSink) as it goes.

pub(crate) mod cbor_reader;
pub(crate) mod cbor_writer;
pub(crate) mod error;
pub(crate) mod form_writer;
pub(crate) mod json_reader;
pub(crate) mod json_sink;
pub(crate) mod json_writer;
pub(crate) mod repairs;
pub(crate) mod rest;
pub(crate) mod rest_request;
pub(crate) mod rest_response;
mod scalar;
pub(crate) mod xml_reader;
mod xml_writer;
