//! What a service says when it refuses.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::{WireError, cbor, xml::Element};
use crate::Protocol;

pub(super) fn decode(protocol: Protocol, status: u16, headers: &HeaderMap, body: &[u8]) -> WireError {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let parsed = if is_generic(status, body) {
        Parsed::default()
    } else {
        match protocol {
            Protocol::Ec2 | Protocol::Query | Protocol::RestXml => from_xml(body),
            Protocol::Json | Protocol::RestJson => from_json(protocol, &header, body),
            Protocol::RpcV2Cbor => from_object(&header, &cbor::decode_any(body).unwrap_or_default()),
        }
    };
    let headers = ["x-amzn-requestid", "x-amz-request-id", "x-amz-cf-id"];
    let request_id =
        parsed.request_id.or_else(|| headers.into_iter().find_map(header).map(ToOwned::to_owned));
    let reason = || {
        StatusCode::from_u16(status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or_default()
            .to_owned()
    };
    WireError {
        code: parsed.code.filter(|code| !code.is_empty()).unwrap_or_else(|| status.to_string()),
        message: parsed.message.filter(|message| !message.is_empty()).unwrap_or_else(reason),
        request_id,
        region: parsed.region,
    }
}

#[derive(Default)]
struct Parsed {
    code: Option<String>,
    message: Option<String>,
    request_id: Option<String>,
    region: Option<String>,
}

/// A load balancer's or proxy's answer, rather than the service's.
fn is_generic(status: u16, body: &[u8]) -> bool {
    let body = body.trim_ascii();
    status >= 500 && (body.is_empty() || body.starts_with(b"<html>"))
}

/// `<ErrorResponse><Error>`, `<Response><Errors><Error>`, or S3's plain `<Error>`.
fn from_xml(body: &[u8]) -> Parsed {
    let Some(root) = Element::parse(body) else { return Parsed::default() };
    let error = match root.child("Errors") {
        _ if root.name == "Error" => Some(&root),
        Some(errors) => errors.child("Error"),
        None => root.child("Error"),
    };
    let text = |element: Option<&Element>, name: &str| Some(element?.child(name)?.text.clone());
    Parsed {
        code: text(error, "Code"),
        message: text(error, "Message"),
        request_id: ["RequestId", "RequestID"].into_iter().find_map(|name| text(Some(&root), name)),
        region: text(error, "Region").filter(|region| !region.is_empty()),
    }
}

fn from_json<'h>(protocol: Protocol, header: &impl Fn(&str) -> Option<&'h str>, body: &[u8]) -> Parsed {
    // A body that is no JSON is the message itself.
    let body = berth_core::from_json(body).map_or_else(
        |_| serde_json::json!({"message": String::from_utf8_lossy(body)}),
        |(body, _): (Value, u64)| body,
    );
    let mut parsed = from_object(header, &body);
    if protocol == Protocol::RestJson {
        let code = header("x-amzn-errortype").map(ToOwned::to_owned).or_else(|| {
            ["code", "Code"].into_iter().find_map(|name| match body.get(name)? {
                Value::String(code) => Some(code.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            })
        });
        if let Some(code) = code {
            parsed.code = Some(sanitise(&code));
        }
    }
    parsed
}

fn from_object<'h>(header: &impl Fn(&str) -> Option<&'h str>, body: &Value) -> Parsed {
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let mut code = text("__type").map(|code| sanitise(&code));
    // `AWS.SimpleQueueService.NonExistentQueue;Sender`: the code that the service used to give
    // over the query protocol.
    let query_code =
        header("x-amzn-query-error").and_then(|value| match value.split(';').collect::<Vec<_>>()[..] {
            [code, _] if !code.is_empty() => Some(code.to_owned()),
            _ => None,
        });
    if query_code.is_some() {
        code = query_code;
    }
    Parsed { code, message: text("message").or_else(|| text("Message")), ..Parsed::default() }
}

/// `com.amazon.coral#ThrottlingException:http://internal.amazon.com/` is `ThrottlingException`.
fn sanitise(code: &str) -> String {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().to_owned()
}
