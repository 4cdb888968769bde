//! A request to Port before it is sent, and its response.

use std::time::Duration;

use berth_core::place;
use berth_http::TransportError;
use bytes::Bytes;
use reqwest::{Method, Url};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    RetryPolicy,
    api::error::{CallName, PortError},
};

/// Which of the integration's two names a call uses. Port derives an entity's data source from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agent {
    /// `port-ocean/{type}/{version}/{identifier}`
    Plain,
    /// The same with `/exporter`: entity, search and blueprint-write calls.
    Exporter,
}

/// Which failures of a call are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// All temporary ones: sending it twice has the same effect as once.
    Always,
    /// Only those where Port cannot have acted: no connection, too many requests.
    Unprocessed,
}

/// A request that is not sent yet.
#[derive(Debug)]
pub(crate) struct Call {
    pub(super) name: CallName,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) agent: Agent,
    pub(super) repeat: Repeat,
    /// Its own retry policy, if it differs from the client's.
    pub(super) retry: Option<RetryPolicy>,
    /// Whether it has a token.
    pub(super) authorized: bool,
    /// Whether it can be sent in parts, so that it need not wait out Port's failures.
    pub(super) divisible: bool,
    /// Whether to ask for a compressed response.
    pub(super) compressed: bool,
    /// Whether it ends something, so that it is sent even if the resync is stopped.
    pub(super) closing: bool,
    pub(super) body: Option<Bytes>,
}

impl Call {
    /// Creates a call that `name` describes in the imperative (`get the integration`).
    pub(crate) fn new(name: &'static str, method: Method, url: Url) -> Self {
        let name = CallName { name, subject: None };
        let (agent, repeat) = (Agent::Plain, Repeat::Always);
        Self {
            name,
            method,
            url,
            agent,
            repeat,
            retry: None,
            authorized: true,
            divisible: false,
            compressed: false,
            closing: false,
            body: None,
        }
    }

    pub(crate) fn subject(mut self, subject: impl Into<String>) -> Self {
        self.name.subject = Some(subject.into());
        self
    }

    pub(crate) fn agent(mut self, agent: Agent) -> Self {
        self.agent = agent;
        self
    }

    pub(crate) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Sets its own retry policy.
    pub(crate) fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Disables retries: a late response is useless.
    pub(crate) fn once(self) -> Self {
        let timeout = Duration::from_secs(10);
        self.retry(RetryPolicy { retries: 0, timeout, ..RetryPolicy::default() })
    }

    /// Marks it as divisible. If similar calls succeed and this one fails, the cause may be its content, so
    /// it is retried only a few times.
    pub(crate) fn divisible(mut self) -> Self {
        self.divisible = true;
        self
    }

    /// Marks it as closing: it is sent even if the resync is stopped.
    pub(crate) fn closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// Asks for a compressed response, because it is large.
    pub(crate) fn compressed(mut self) -> Self {
        self.compressed = true;
        self
    }

    /// Sends no token, because the receiver is not Port.
    pub(crate) fn unauthorized(mut self) -> Self {
        self.authorized = false;
        self
    }

    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.url.query_pairs_mut().append_pair(key, value);
        self
    }

    pub(crate) fn body(mut self, json: impl Into<Bytes>) -> Self {
        self.body = Some(json.into());
        self
    }

    pub(crate) fn json(self, body: &impl Serialize) -> Result<Self, PortError> {
        let json = serde_json::to_vec(body)
            .map_err(|error| PortError::Malformed { call: self.name.clone(), reason: error.to_string() })?;
        Ok(self.body(json))
    }

    /// Returns whether it may be retried after a failure without a response.
    pub(super) fn may_repeat(&self, error: &TransportError) -> bool {
        !error.is_lasting() && (self.repeat == Repeat::Always || !error.may_be_sent())
    }

    /// Returns the body, as it is sent.
    pub(crate) fn sent(&self) -> Bytes {
        self.body.clone().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> CallName {
        self.name.clone()
    }
}

/// A successful response: status 2xx.
#[derive(Debug)]
pub(crate) struct PortResponse {
    pub(super) call: CallName,
    pub(super) body: Bytes,
}

impl PortResponse {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, PortError> {
        from_body(&self.body).map_err(|reason| PortError::Malformed { call: self.call.clone(), reason })
    }
}

/// Parses the body of a response.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn from_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| format!("at `{}`: {}", place(error.path()), error.inner()))
}
