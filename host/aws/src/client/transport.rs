//! Sends a request once.

use std::{sync::Arc, time::Duration};

use berth_aws_protocol::{Operation, WireRequest};
use berth_http::{BodyError, TransportError, read_body};
use bytes::Bytes;
use http::HeaderValue;

use super::{answer::Answer, endpoint::Destination, sign::sign_request};
use crate::{
    AwsConfig,
    clock::{Clock, Stamp},
    credentials::{Issued, Session},
    errors::CallError,
};

/// Signs requests and sends them.
pub(super) struct Transport {
    http: berth_http::Client,
    clock: Clock,
    timeout: Duration,
    max_response_bytes: usize,
}

/// The credentials and the time that a request was signed with.
pub(super) struct Signature {
    pub(super) credentials: Arc<Issued>,
    pub(super) at: Stamp,
}

/// The result of one attempt.
pub(super) enum Reply {
    Answer(Answer, Signature),
    NoAnswer(TransportError),
}

impl Transport {
    pub(super) fn new(config: &AwsConfig, http: berth_http::Client, clock: Clock) -> Self {
        Self {
            http,
            clock,
            timeout: config.retry.attempt_timeout,
            max_response_bytes: config.max_response_bytes,
        }
    }

    /// The same connections for the official SDK.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(super) fn http(&self) -> &berth_http::Client {
        &self.http
    }

    /// Signs a request and sends it.
    ///
    /// # Errors
    /// [`CallError`] where the request cannot be signed, or its answer is too large.
    pub(super) async fn send(
        &self,
        session: &Session,
        operation: &Operation,
        wire: &WireRequest,
        to: &Destination,
    ) -> Result<Reply, CallError> {
        let credentials =
            session.credentials().await.map_err(|problem| CallError::Credentials(Arc::new(problem)))?;
        let mut request = http::Request::builder().method(wire.method.clone()).uri(to.url.as_str()).body(());
        let request = request.as_mut().map_err(|error| CallError::Signing(error.to_string()))?;
        request.headers_mut().clone_from(&wire.headers);
        let at = self.clock.stamp();
        if !operation.is_unsigned() {
            let service = operation.service().name();
            sign_request(request, &wire.body, credentials.credentials(), &to.endpoint, service, at.time)?;
        }
        let headers = std::mem::take(request.headers_mut());
        let mut request = reqwest::Request::new(wire.method.clone(), to.url.clone());
        *request.headers_mut() = headers;
        let agent = HeaderValue::from_static(concat!("berth/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(http::header::USER_AGENT, agent);
        *request.body_mut() = Some(Bytes::from(wire.body.clone()).into());
        *request.timeout_mut() = Some(self.timeout);
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return Ok(Reply::NoAnswer(error)),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_body(response, self.max_response_bytes).await;
        match body.map(|body| Answer { status, headers, body }) {
            // A proxy says so, not AWS.
            Ok(Answer { status: 407, .. }) => Ok(Reply::NoAnswer(TransportError::proxy_login())),
            Ok(answer) => Ok(Reply::Answer(answer, Signature { credentials, at })),
            Err(BodyError::Silent(error)) => Ok(Reply::NoAnswer(TransportError::new(error))),
            Err(BodyError::TooLarge) => Err(CallError::TooLarge { limit: self.max_response_bytes }),
        }
    }
}
