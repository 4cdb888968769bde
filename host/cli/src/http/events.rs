//! The webhook of live events: EventBridge posts what CloudTrail saw, an API destination brings the
//! key. Path, header and replies are those of the Ocean contract.

use std::sync::Arc;

use axum::{
    Json,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use berth_embed::Submission;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::Status;

/// The header that holds the key.
const KEY_HEADER: &str = "x-port-aws-ocean-api-key";
/// An event of EventBridge has at most this size.
const BODY_LIMIT: usize = 1 << 20;

/// Who may bring events, and whom they are for.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) key: SecretString,
    pub(crate) status: Arc<Status>,
}

/// Who answers at `/integration/webhook`.
pub(super) fn answers(door: Door) -> MethodRouter {
    post(take).with_state(Arc::new(door))
}

async fn take(State(door): State<Arc<Door>>, request: Request) -> Response {
    let count = |outcome| door.status.metrics.event(outcome);
    if !door.opens(request.headers()) {
        count("unauthorized");
        tracing::warn!(
            "a live event is dropped: its `{KEY_HEADER}` is missing or is not `live_events_api_key`"
        );
        // As the contract has it: who does not know the key learns nothing.
        return accepted();
    }
    let body = match to_bytes(request.into_body(), BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => {
            count("malformed");
            return refused(StatusCode::OK, &format!("the body cannot be read: {error}"));
        }
    };
    let payload: Value = match serde_json::from_slice(&body) {
        Ok(payload) => payload,
        Err(error) => {
            count("malformed");
            return refused(StatusCode::OK, &format!("the body is not JSON: {error}"));
        }
    };
    let Some(live) = door.status.live() else {
        count("refused");
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the service is starting");
    };
    let mut reply = accepted();
    for event in events(payload) {
        match live.submit(&event) {
            Submission::Queued(_) => count("queued"),
            Submission::Ignored => count("ignored"),
            Submission::Malformed(reason) => {
                count("malformed");
                tracing::warn!(reason, "a live event is no event of EventBridge");
                reply = refused(StatusCode::OK, &format!("not an event of EventBridge: {reason}"));
            }
            // Unlike the peer's 200 this makes EventBridge deliver it again. Events of the same
            // request that were taken before then come twice, which does no harm.
            Submission::Full => {
                count("refused");
                return refused(StatusCode::SERVICE_UNAVAILABLE, "too many events wait");
            }
        }
    }
    reply
}

impl Door {
    /// Whether the key is right; takes the same time whichever byte is wrong.
    fn opens(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(KEY_HEADER).map_or(&[][..], |value| value.as_bytes());
        given.ct_eq(self.key.expose_secret().as_bytes()).into()
    }
}

/// The events of a body: one, a list of them, or what a topic of SNS wraps.
fn events(payload: Value) -> Vec<Value> {
    match payload {
        Value::Array(events) => events.into_iter().flat_map(self::events).collect(),
        Value::Object(members) if !members.contains_key("detail") => {
            let wrapped = members.get("Message").and_then(Value::as_str);
            match wrapped.and_then(|text| serde_json::from_str(text).ok()) {
                Some(event) => vec![event],
                None => vec![Value::Object(members)],
            }
        }
        event => vec![event],
    }
}

fn accepted() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

fn refused(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"status": "error", "message": message}))).into_response()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_key_opens() {
        let door = Door { key: SecretString::from("s3cret"), status: Arc::default() };
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("X-Port-AWS-Ocean-API-Key", HeaderValue::from_str(value).unwrap());
            headers
        };
        assert!(door.opens(&headers("s3cret")));
        for wrong in ["", "s3cre", "s3cret ", "s3cretx", "S3cret"] {
            assert!(!door.opens(&headers(wrong)), "{wrong}");
        }
        assert!(!door.opens(&HeaderMap::new()));
        assert!(!format!("{door:?}").contains("s3cret"));
    }

    #[test]
    fn events_come_alone_or_wrapped() {
        let event = json!({"detail": {"eventName": "CreateBucket"}});
        let wrapped = json!({"Type": "Notification", "Message": event.to_string()});
        assert_eq!(events(event.clone()), std::slice::from_ref(&event));
        assert_eq!(events(json!([event, wrapped])), [event.clone(), event]);
        assert_eq!(events(json!({"Message": "hello"})), [json!({"Message": "hello"})]);
    }
}
