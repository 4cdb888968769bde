//! Reads the errors of services.

use http::HeaderMap;
use serde_json::Value;

use super::xml_reader::Element;

/// The parts of an error that a response contains.
#[derive(Debug, Default)]
pub(crate) struct ErrorParts {
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) region: Option<String>,
}

impl ErrorParts {
    /// Reads `<ErrorResponse><Error>`, `<Response><Errors><Error>`, or S3's plain `<Error>`.
    pub(crate) fn of_xml(body: &[u8]) -> Self {
        let Some(root) = Element::parse(body) else { return Self::default() };
        let error = match root.child("Errors") {
            _ if root.name == "Error" => Some(&root),
            Some(errors) => errors.child("Error"),
            None => root.child("Error"),
        };
        let text = |element: Option<&Element>, name: &str| Some(element?.child(name)?.text.clone());
        Self {
            code: text(error, "Code"),
            message: text(error, "Message"),
            request_id: ["RequestId", "RequestID"].into_iter().find_map(|name| text(Some(&root), name)),
            region: text(error, "Region").filter(|region| !region.is_empty()),
        }
    }

    /// Reads a JSON object with `__type` and `message`, or one that was converted from CBOR.
    pub(crate) fn of_json(headers: &HeaderMap, body: &Value) -> Self {
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        let mut code = text("__type").map(|code| short_code(&code));
        // `AWS.SimpleQueueService.NonExistentQueue;Sender`: the code that the service returned in the query
        // protocol.
        let query_code = header(headers, "x-amzn-query-error").and_then(|value| {
            match value.split(';').collect::<Vec<_>>()[..] {
                [code, _] if !code.is_empty() => Some(code.to_owned()),
                _ => None,
            }
        });
        if query_code.is_some() {
            code = query_code;
        }
        Self { code, message: text("message").or_else(|| text("Message")), ..Self::default() }
    }
}

/// Parses a JSON body. A body that is not JSON is the message itself.
pub(crate) fn json(body: &[u8]) -> Value {
    berth_core::from_json(body).map_or_else(
        |_| serde_json::json!({"message": String::from_utf8_lossy(body)}),
        |(body, _): (Value, u64)| body,
    )
}

/// Shortens `com.amazon.coral#ThrottlingException:http://internal.amazon.com/` to `ThrottlingException`.
pub(crate) fn short_code(code: &str) -> String {
    let code = code.split(':').next().unwrap_or_default();
    code.rsplit('#').next().unwrap_or_default().to_owned()
}

/// Returns the text of a header.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}
