//! The webhook for resync requests.
//!
//! If a key is set, a request needs it or Port's signature. Without a key anyone who reaches the port may
//! send requests, as with Ocean; then the listener limits the harm.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use secrecy::ExposeSecret;
use serde_json::Value;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{HttpState, body, guard::is_forwarded, refusal, server::ConnectionPeer};
use crate::{
    config::ResyncAccess,
    listeners::{Reason, Resyncs},
};

/// How far a signature's time may differ from this clock.
const TOLERANCE: Duration = Duration::from_mins(5);
const REFUSED: &str = "refused resync requests: they have neither `Authorization: Bearer` with the \
    `event_listener.resync_key` nor a valid signature of Port";

/// Requests a resync. Callers on this machine get a reply when it ends, as with Ocean; others get one at
/// once, so that nobody holds connections. The resync continues if the caller does not wait.
pub(super) async fn ask(
    State((resyncs, status)): State<(Resyncs, Arc<HttpState>)>,
    request: Request,
) -> Response {
    let local = request
        .extensions()
        .get::<ConnectionPeer>()
        .is_some_and(|peer| peer.address.is_loopback() && !is_forwarded(request.headers()));
    let headers = request.headers().clone();
    let mut reason = Reason::Anonymous;
    if let Some(access) = &status.access().resync {
        let body = body(request).await.ok().and_then(Result::ok).unwrap_or_default();
        if !access.allows(&headers, &body, SystemTime::now()) {
            status.refuse(REFUSED);
            return refusal(StatusCode::UNAUTHORIZED, "the key is missing or not known");
        }
        reason = Reason::Webhook;
    }
    let stopping = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping");
    let Some(ended) = resyncs.ask(reason).await else { return stopping() };
    if !local {
        return (StatusCode::ACCEPTED, Json(Value::Null)).into_response();
    }
    match ended.await {
        Ok(_) => Json(Value::Null).into_response(),
        Err(_) => stopping(),
    }
}

impl ResyncAccess {
    fn allows(&self, headers: &HeaderMap, body: &Bytes, now: SystemTime) -> bool {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let known =
            bearer.is_some_and(|key| key.as_bytes().ct_eq(self.key.expose_secret().as_bytes()).into());
        known || self.is_signed(text("x-port-timestamp"), text("x-port-signature"), body, now)
    }

    /// Returns whether Port signed the body: with HMAC-SHA-256 of `<time>.<body>` and the client's secret, in
    /// Base64 after `v1,`. The time is in seconds.
    fn is_signed(
        &self,
        timestamp: Option<&str>,
        signature: Option<&str>,
        body: &Bytes,
        now: SystemTime,
    ) -> bool {
        let (Some(timestamp), Some(signature)) = (timestamp, signature) else { return false };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let fresh = timestamp.parse::<u64>().is_ok_and(|then| then.abs_diff(now) <= TOLERANCE.as_secs());
        let signature = signature.strip_prefix("v1,").and_then(|text| STANDARD.decode(text).ok());
        let (true, Some(signature)) = (fresh, signature) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.client_secret.expose_secret().as_bytes())
        else {
            return false;
        };
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        // The time does not depend on the first wrong byte.
        mac.verify_slice(&signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::HeaderValue};

    use super::*;
    use crate::{
        config::HttpAccess,
        listeners::{self, Requests},
    };

    const NOW: u64 = 1_800_000_000;
    /// For `1800000000.{"a":1}` with the secret `secret`, by another implementation.
    const SIGNATURE: &str = "v1,RA37uDqryiTZ5QJ2Kc/YHLRSVGkPjUELso8cwXyZDbw=";

    fn access() -> ResyncAccess {
        ResyncAccess { key: "hush-key".into(), client_secret: "secret".into() }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn the_key_or_a_signature_of_port_is_needed() {
        let allows = |pairs: &[(&'static str, &str)], body: &'static str, now: u64| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            access().allows(&headers(pairs), &Bytes::from_static(body.as_bytes()), now)
        };
        assert!(allows(&[("authorization", "Bearer hush-key")], "", NOW));
        assert!(allows(&[("authorization", "bearer  hush-key")], "", NOW));
        for wrong in ["hush-key", "Bearer hush-ke", "Basic hush-key", "Bearer "] {
            assert!(!allows(&[("authorization", wrong)], "", NOW), "{wrong}");
        }
        assert!(!allows(&[], "", NOW));
        let signed: &[_] = &[("x-port-timestamp", "1800000000"), ("x-port-signature", SIGNATURE)];
        let body = r#"{"a":1}"#;
        assert!(allows(signed, body, NOW));
        assert!(allows(signed, body, NOW + 300) && allows(signed, body, NOW - 300));
        assert!(!allows(signed, body, NOW + 301), "it is too old");
        assert!(!allows(signed, r#"{"a":2}"#, NOW), "the body differs");
        assert!(!allows(&signed[..1], body, NOW) && !allows(&signed[1..], body, NOW));
        let later: &[_] = &[("x-port-timestamp", "1800000001"), ("x-port-signature", SIGNATURE)];
        assert!(!allows(later, body, NOW), "the time differs");
        assert!(!format!("{:?}", access()).contains("hush"));
    }

    fn asked(peer: Option<&str>, pairs: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(Body::empty());
        *request.headers_mut() = headers(pairs);
        if let Some(address) = peer {
            let close = tokio_util::sync::CancellationToken::new();
            request.extensions_mut().insert(ConnectionPeer {
                address: address.parse().unwrap(),
                reserve: false,
                close,
            });
        }
        request
    }

    /// A listener whose resyncs end when the sender is dropped.
    fn listening() -> (State<(Resyncs, Arc<HttpState>)>, Requests) {
        let (resyncs, requests) = listeners::channel();
        (State((resyncs, Arc::default())), requests)
    }

    #[tokio::test]
    async fn others_are_answered_at_once_and_this_machine_after_the_end() {
        for (peer, pairs) in [
            (Some("10.1.2.3"), &[][..]),
            (Some("127.0.0.1"), &[("x-forwarded-for", "10.1.2.3")]),
            (None, &[]),
        ] {
            let (state, _requests) = listening();
            let response = ask(state, asked(peer, pairs)).await;
            assert_eq!(response.status(), StatusCode::ACCEPTED, "{peer:?}");
        }
        for peer in ["127.0.0.1", "::1"] {
            let (state, requests) = listening();
            let answer = tokio::spawn(ask(state, asked(Some(peer), &[])));
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!answer.is_finished(), "{peer}");
            // Nothing runs the resync: the service stops.
            drop(requests);
            assert_eq!(answer.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        }
    }

    #[tokio::test]
    async fn where_there_is_a_key_nobody_goes_without() {
        let (State((resyncs, status)), _requests) = listening();
        status.allow(HttpAccess { resync: Some(access()), ..HttpAccess::default() });
        let state = State((resyncs, status));
        for peer in ["10.1.2.3", "127.0.0.1"] {
            let response = ask(state.clone(), asked(Some(peer), &[])).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{peer}");
        }
        let response = ask(state, asked(Some("10.1.2.3"), &[("authorization", "Bearer hush-key")])).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
    }
}
