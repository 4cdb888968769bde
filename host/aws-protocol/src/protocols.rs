//! The protocols of AWS services. To add one, write its codec in `protocol/` and list it here.

/// Passes every protocol to a macro: its name in the code and in the models, and its codec.
macro_rules! for_each_protocol {
    ($macro:ident) => {
        $macro! {
            /// Form-encoded requests, XML responses, in EC2's variant.
            Ec2 => ec2_query::Ec2Query,
            /// Form-encoded requests, XML responses.
            Query => query::Query,
            /// Requests and responses in JSON, with the operation in a header (awsJson 1.0 and 1.1).
            Json => json::Json,
            /// JSON bodies, and members bound to path, query and headers.
            RestJson => rest_json::RestJson,
            /// XML bodies, and members bound to path, query and headers.
            RestXml => rest_xml::RestXml,
            /// Requests and responses in CBOR.
            #[serde(rename = "smithy-rpc-v2-cbor")]
            RpcV2Cbor => cbor::RpcV2Cbor,
        }
    };
}
pub(crate) use for_each_protocol;
