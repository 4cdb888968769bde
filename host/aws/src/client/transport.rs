//! Sends a request once.

use std::{sync::Arc, time::Duration};

use berth_aws_protocol::{Operation, WireRequest};
use berth_http::{BodyError, TransportError, read_body};
use bytes::Bytes;
use http::HeaderValue;

use super::{answer::AwsResponse, endpoint::RequestEndpoint, sign::sign_request};
use crate::{
    AwsConfig,
    clock::{AwsClock, SigningTime},
    credentials::{AccountSession, Issued},
    errors::CallError,
};

/// Signs requests and sends them.
pub(super) struct Transport {
    http: berth_http::HttpClient,
    clock: AwsClock,
    timeout: Duration,
    max_response_bytes: usize,
}

/// The credentials and the time with which a request was signed.
pub(crate) struct Signature {
    pub(crate) credentials: Arc<Issued>,
    pub(crate) at: SigningTime,
}

/// The result of one attempt.
pub(crate) enum AttemptReply {
    Answer(AwsResponse, Signature),
    NoAnswer(TransportError),
}

impl Transport {
    pub(super) fn new(config: &AwsConfig, http: berth_http::HttpClient, clock: AwsClock) -> Self {
        Self {
            http,
            clock,
            timeout: config.retry.attempt_timeout,
            max_response_bytes: config.max_response_bytes,
        }
    }

    /// Returns what the official SDK needs to send like this transport: connections, clock, limit of one
    /// attempt.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(super) fn sdk_parts(&self) -> (crate::sdk_transport::SdkTransport, AwsClock, Duration) {
        let transport = crate::sdk_transport::SdkTransport::new(self.http.clone());
        (transport, self.clock.clone(), self.timeout)
    }
}

/// A request, and its destination.
#[derive(Clone, Copy)]
pub(crate) struct AwsRequest<'r> {
    pub(crate) session: &'r AccountSession,
    pub(super) operation: &'r Operation,
    pub(super) wire: &'r WireRequest,
    pub(crate) to: &'r RequestEndpoint,
}

/// Signs a request and sends it once. The [attempts](super::attempts) apply limits and retries.
pub(crate) trait Sender: Sync {
    /// Sends the request.
    ///
    /// # Errors
    /// [`CallError`] if the request cannot be signed, or its response is too large.
    fn send(&self, request: AwsRequest<'_>) -> impl Future<Output = Result<AttemptReply, CallError>> + Send;
}

impl Sender for Transport {
    async fn send(&self, request: AwsRequest<'_>) -> Result<AttemptReply, CallError> {
        let AwsRequest { session, operation, wire, to } = request;
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
            Err(error) => return Ok(AttemptReply::NoAnswer(error)),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_body(response, self.max_response_bytes).await;
        match body.map(|body| AwsResponse { status, headers, body }) {
            // This status comes from a proxy, not from AWS.
            Ok(AwsResponse { status: 407, .. }) => Ok(AttemptReply::NoAnswer(TransportError::proxy_login())),
            Ok(answer) => Ok(AttemptReply::Answer(answer, Signature { credentials, at })),
            Err(BodyError::Silent(error)) => Ok(AttemptReply::NoAnswer(TransportError::new(error))),
            Err(BodyError::TooLarge) => Err(CallError::TooLarge { limit: self.max_response_bytes }),
        }
    }
}
