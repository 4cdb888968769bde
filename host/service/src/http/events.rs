//! The webhook for live events: EventBridge posts CloudTrail events, and an API destination adds the key.
//! Path, header and replies are those of the Ocean contract.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{MethodRouter, post},
};
use berth_core::from_json;
use berth_embed::{LiveEvents, Submission, core::AccountId};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::HttpState;
use crate::config::LiveKey;

/// The header with the key.
const KEY_HEADER: &str = "x-port-aws-ocean-api-key";
const WRONG_KEY: &str = "refused live events: their `x-port-aws-ocean-api-key` is missing, or is neither \
    `live_events_api_key` nor one of `live_events_keys`";
const OTHER_ACCOUNT: &str =
    "refused live events: their key is not valid for their account (`live_events_keys`)";
/// Who may send events, and what processes them. A reload replaces it as a whole.
#[derive(Debug)]
pub(crate) struct EventWebhook {
    keys: Vec<LiveKey>,
    /// Processes events, once the plugins are loaded.
    pub(super) live: Option<Arc<LiveEvents>>,
}

/// The accounts whose events a sender may send.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Every,
    These(BTreeSet<AccountId>),
}

impl Allowed {
    /// Returns whether the sender may send this event. The account is the one that the event is processed
    /// for: that of the envelope or, without it, of the call. An event without a valid account passes, and is
    /// rejected later for that reason.
    fn covers(&self, event: &Value) -> bool {
        let Self::These(accounts) = self else { return true };
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        let account = text(&event["account"]).or_else(|| text(&event["detail"]["recipientAccountId"]));
        match account.map(AccountId::new) {
            Some(Ok(account)) => accounts.contains(&account),
            Some(Err(_)) | None => true,
        }
    }
}

/// Returns the handler of `/integration/webhook`.
pub(super) fn answers(status: Arc<HttpState>) -> MethodRouter {
    post(take).with_state(status)
}

async fn take(State(status): State<Arc<HttpState>>, request: Request) -> Response {
    let Some(webhook) = status.event_webhook() else { return super::not_found() };
    let count = |outcome| status.metrics.event(outcome);
    let refuse = |why| {
        count("unauthorized");
        status.refuse(why);
        // Ocean returns 200. With 401, EventBridge keeps the event and delivers it again: no event is lost if
        // a key is replaced on one side first.
        refused(StatusCode::UNAUTHORIZED, "the key is missing or not known")
    };
    let Some(allowed) = webhook.authorize(request.headers()) else {
        return refuse(WRONG_KEY);
    };
    let body = match super::body(request).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => {
            count("malformed");
            return refused(StatusCode::OK, &format!("cannot read the body: {error}"));
        }
        Err(_) => {
            count("malformed");
            return refused(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time");
        }
    };
    let payload: Value = match from_json(&body) {
        Ok((payload, 0)) => payload,
        Ok((payload, replaced)) => {
            tracing::warn!(replaced, "a live event contains malformed text; replaced it with U+FFFD");
            payload
        }
        Err(error) => {
            count("malformed");
            return refused(StatusCode::OK, &format!("the body is not JSON: {error}"));
        }
    };
    let Some(live) = &webhook.live else {
        count("refused");
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the service is starting");
    };
    let mut reply = accepted();
    for event in events(payload) {
        if !allowed.covers(&event) {
            reply = refuse(OTHER_ACCOUNT);
            continue;
        }
        match live.submit(&event) {
            Submission::Queued(_) => count("queued"),
            Submission::Ignored => count("ignored"),
            Submission::Malformed(reason) => {
                count("malformed");
                tracing::warn!(reason, "received a live event that is not an EventBridge event");
                reply = refused(StatusCode::OK, &format!("not an EventBridge event: {reason}"));
            }
            // Ocean returns 200. With 503, EventBridge delivers the event again. Events of the same request
            // that were accepted before are then delivered twice, which does no harm.
            Submission::Full => {
                count("refused");
                return refused(StatusCode::SERVICE_UNAVAILABLE, "too many events wait");
            }
            Submission::Closed => {
                count("refused");
                return refused(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping");
            }
        }
    }
    reply
}

impl EventWebhook {
    /// Creates a webhook for these keys; at least one.
    pub(crate) fn new(keys: Vec<LiveKey>, live: Option<Arc<LiveEvents>>) -> Self {
        Self { keys, live }
    }

    /// Returns what the sender may send; nothing without a known key. The time does not depend on the key or
    /// on the first wrong byte.
    fn authorize(&self, headers: &HeaderMap) -> Option<Allowed> {
        let given = headers.get(KEY_HEADER).map_or(&[][..], |value| value.as_bytes());
        let mut allowed: Option<Allowed> = None;
        for LiveKey { key, accounts } in &self.keys {
            let right: bool = given.ct_eq(key.expose_secret().as_bytes()).into();
            if right {
                allowed = Some(match (allowed, accounts) {
                    (Some(Allowed::Every), _) | (_, None) => Allowed::Every,
                    (None, Some(accounts)) => Allowed::These(accounts.clone()),
                    (Some(Allowed::These(more)), Some(accounts)) => Allowed::These(&more | accounts),
                });
            }
        }
        allowed
    }
}

/// Returns the events of a body: one, a list, or those in an SNS notification.
fn events(payload: Value) -> Vec<Value> {
    match payload {
        Value::Array(events) => events.into_iter().flat_map(self::events).collect(),
        Value::Object(members) if !members.contains_key("detail") => {
            let wrapped = members.get("Message").and_then(Value::as_str);
            match wrapped.and_then(|text| from_json(text.as_bytes()).ok()) {
                Some((event, _)) => vec![event],
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

    fn webhook(keys: &[(&str, Option<&[&str]>)]) -> EventWebhook {
        let accounts = |ids: &[&str]| ids.iter().map(|id| AccountId::new(*id).unwrap()).collect();
        let keys = keys.iter().map(|(key, of)| LiveKey { key: (*key).into(), accounts: of.map(accounts) });
        EventWebhook::new(keys.collect(), None)
    }

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("X-Port-AWS-Ocean-API-Key", HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn only_the_key_is_accepted() {
        let webhook = webhook(&[("s3cret", None)]);
        assert_eq!(webhook.authorize(&headers("s3cret")), Some(Allowed::Every));
        for wrong in ["", "s3cre", "s3cret ", "s3cretx", "S3cret"] {
            assert_eq!(webhook.authorize(&headers(wrong)), None, "{wrong}");
        }
        assert_eq!(webhook.authorize(&HeaderMap::new()), None);
        assert!(!format!("{webhook:?}").contains("s3cret"));
    }

    #[test]
    fn a_key_is_valid_for_its_accounts_alone() {
        let (one, two, three) = ("111111111111", "222222222222", "333333333333");
        let webhook =
            webhook(&[("a", Some(&[one])), ("a", Some(&[two])), ("b", Some(&[three])), ("all", None)]);
        let event = |account: &str| json!({"account": account, "detail": {"recipientAccountId": one}});
        let call = |account: &str| json!({"detail": {"recipientAccountId": account}});
        for (key, allowed) in
            [("a", [true, true, false]), ("b", [false, false, true]), ("all", [true, true, true])]
        {
            let of_key = webhook.authorize(&headers(key)).unwrap();
            for (account, allowed) in [one, two, three].into_iter().zip(allowed) {
                assert_eq!(of_key.covers(&event(account)), allowed, "{key} {account}");
                assert_eq!(of_key.covers(&call(account)), allowed, "{key} {account}");
            }
        }
        assert_eq!(webhook.authorize(&headers("c")), None);
        // An event without an account is malformed, which is found later.
        assert!(webhook.authorize(&headers("a")).unwrap().covers(&json!({"detail": {}})));
    }

    #[test]
    fn events_come_alone_or_wrapped() {
        let event = json!({"detail": {"eventName": "CreateBucket"}});
        let wrapped = json!({"Type": "Notification", "Message": event.to_string()});
        assert_eq!(events(event.clone()), std::slice::from_ref(&event));
        assert_eq!(events(json!([event, wrapped])), [event.clone(), event]);
        assert_eq!(events(json!({"Message": "hello"})), [json!({"Message": "hello"})]);
        let malformed = json!({"Message": r#"{"detail": {"name": "cut \ud83d"}}"#});
        assert_eq!(events(malformed), [json!({"detail": {"name": "cut \u{fffd}"}})]);
    }
}
