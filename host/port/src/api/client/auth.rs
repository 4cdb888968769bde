//! The access token: fetched once for all callers, before it expires.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::{Method, header::HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{Agent, Call, PortClient, Repeat};
use crate::api::error::PortError;

/// The longest time before its expiry that a token is renewed.
const LARGEST_MARGIN: Duration = Duration::from_mins(1);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenRequest<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
}

/// Has no `Debug`, because it holds the token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenReply {
    pub(crate) access_token: String,
    /// In seconds.
    pub(crate) expires_in: u64,
    pub(crate) token_type: String,
}

/// The claims of a token.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenClaims {
    #[serde(default)]
    pub(crate) org_id: Option<String>,
}

/// A token as a header value that no log shows.
#[derive(Debug)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    renew_at: Instant,
}

/// Keeps the current token.
pub(crate) struct Auth {
    client_id: String,
    client_secret: SecretString,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    token: Option<Arc<Token>>,
    /// The last failure, for callers that waited meanwhile: they would only repeat it.
    failure: Option<(Instant, PortError)>,
}

impl Auth {
    pub(crate) fn new(client_id: String, client_secret: SecretString) -> Self {
        Self { client_id, client_secret, state: Mutex::default() }
    }

    /// Returns a token that is valid for a while and is not `rejected`. Concurrent callers share one request.
    pub(crate) async fn token(
        &self,
        client: &PortClient,
        rejected: Option<&Arc<Token>>,
    ) -> Result<Arc<Token>, PortError> {
        let asked_at = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && Instant::now() < token.renew_at
            && rejected.is_none_or(|rejected| !Arc::ptr_eq(rejected, token))
        {
            return Ok(Arc::clone(token));
        }
        if let Some((failed_at, error)) = &state.failure
            && *failed_at > asked_at
        {
            return Err(error.clone());
        }
        match self.fetch(client).await {
            Ok(token) => {
                let token = Arc::new(token);
                *state = State { token: Some(Arc::clone(&token)), failure: None };
                Ok(token)
            }
            Err(error) => {
                *state = State { token: None, failure: Some((Instant::now(), error.clone())) };
                Err(error)
            }
        }
    }

    async fn fetch(&self, client: &PortClient) -> Result<Token, PortError> {
        let call = Call::new("get an access token", Method::POST, client.url(&["auth", "access_token"])?)
            .agent(Agent::Plain)
            .repeat(Repeat::Always)
            // Closing calls need it, too. Others stop waiting for it by themselves.
            .closing()
            .json(&TokenRequest {
                client_id: &self.client_id,
                client_secret: self.client_secret.expose_secret(),
            })?;
        let asked_at = Instant::now();
        let reply = client.exchange(&call, None).await.map_err(|error| match error {
            // A refused secret needs no retry, whatever the status: 4xx responses that mean "later" (408,
            // 429) were already retried.
            PortError::Refused(mut refusal) if matches!(refusal.status, 400 | 401 | 403 | 404 | 422) => {
                refusal.message = refusal.message.map(|message| self.scrub(&message));
                PortError::Credentials(refusal)
            }
            other => other,
        })?;
        let answer: TokenReply = reply.json()?;
        if let Some(organization) = organization_of(&answer.access_token) {
            client.set_organization(organization);
        }
        let mut header = HeaderValue::from_str(&format!("{} {}", answer.token_type, answer.access_token))
            .map_err(|_| PortError::Malformed {
                call: call.name(),
                reason: "the token is not a header value".into(),
            })?;
        header.set_sensitive(true);
        let lifetime = Duration::from_secs(answer.expires_in);
        let margin = LARGEST_MARGIN.min(lifetime / 5);
        Ok(Token { header, renew_at: asked_at + lifetime.saturating_sub(margin) })
    }

    /// Removes the secret from a message, in case Port repeats it.
    fn scrub(&self, message: &str) -> String {
        let secret = self.client_secret.expose_secret();
        if secret.is_empty() { message.to_owned() } else { message.replace(secret, "***") }
    }
}

/// Returns the organization of a token. Does not verify the token: Port does.
fn organization_of(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?.trim_end_matches('=');
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: TokenClaims = serde_json::from_slice(&payload).ok()?;
    claims.org_id.filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_organization_or_not() {
        let token = |payload: &str| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload));
        let named = token(r#"{"iss": "port", "orgId": "org_1", "isMachine": true}"#);
        assert_eq!(organization_of(&named).as_deref(), Some("org_1"));
        assert_eq!(organization_of(&named.replace(".c2ln", "==.c2ln")).as_deref(), Some("org_1"));
        for other in ["opaque", "a.b.c", "..", &token("{}"), &token(r#"{"orgId": ""}"#), &token("[]")] {
            assert_eq!(organization_of(other), None, "{other}");
        }
    }
}
