//! Sends the official SDK's requests over Berth's own `reqwest` client: one connection pool, one TLS stack.

use std::time::Duration;

use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use berth_http::{BodyError, TransportCause, TransportError, read_body};

use crate::clock::AwsClock;

/// The maximum size of a response in bytes: those of STS and of credential sources are small.
const ANSWER_BYTES: usize = 16 << 20;

/// Sends the official SDK's requests through a `reqwest` client.
#[derive(Debug, Clone)]
pub(crate) struct SdkTransport {
    http: berth_http::HttpClient,
    /// The time limit of one request, if the SDK's caller sets one: for example, it must give up quickly on
    /// the metadata service of an instance.
    timeout: Option<Duration>,
    /// The clock that the dates of responses correct, if AWS itself responds.
    clock: Option<AwsClock>,
}

impl SdkTransport {
    pub(crate) fn new(http: berth_http::HttpClient) -> Self {
        Self { http, timeout: None, clock: None }
    }

    /// Returns the same transport with a clock that its responses correct. AWS never rejects an unsigned
    /// request because of its time, but the response may contain credentials whose expiry is checked
    /// against the clock.
    pub(crate) fn at(self, clock: AwsClock) -> Self {
        Self { clock: Some(clock), ..self }
    }

    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let user = |error: &dyn std::fmt::Display| ConnectorError::user(error.to_string().into());
        let request = request.try_into_http1x().map_err(|error| user(&error))?;
        let (parts, body) = request.into_parts();
        let body =
            body.bytes().ok_or_else(|| user(&"cannot send a request whose body is a stream"))?.to_vec();
        let url = reqwest::Url::parse(&parts.uri.to_string()).map_err(|error| user(&error))?;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(body.into());
        *request.timeout_mut() = self.timeout;
        let asked = self.clock.as_ref().map(|clock| (clock, clock.stamp()));
        let response = self.http.execute(request).await.map_err(connector_error)?;
        if let Some((clock, stamp)) = asked {
            let date = response.headers().get(http::header::DATE);
            clock.correct_by(&stamp, date.and_then(|date| date.to_str().ok()));
        }
        if response.status() == http::StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            // This status comes from a proxy, not from AWS.
            return Err(ConnectorError::user(TransportError::proxy_login().into()));
        }
        let mut answer = http::Response::builder().status(response.status());
        if let Some(headers) = answer.headers_mut() {
            headers.clone_from(response.headers());
        }
        let body = read_body(response, ANSWER_BYTES).await.map_err(|error| match error {
            BodyError::Silent(error) => connector_error(TransportError::new(error)),
            error @ BodyError::TooLarge => ConnectorError::user(error.into()),
        })?;
        let answer = answer.body(SdkBody::from(body)).map_err(|error| user(&error))?;
        HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
    }
}

/// Keeps the information that the SDK's retries need: whether the request timed out, the connection failed,
/// or a retry would not help.
fn connector_error(error: TransportError) -> ConnectorError {
    if error.cause() == TransportCause::TimedOut {
        ConnectorError::timeout(error.into())
    } else if error.is_lasting() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

impl HttpConnector for SdkTransport {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().send(request))
    }
}

impl HttpClient for SdkTransport {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let timeout = match (settings.connect_timeout(), settings.read_timeout()) {
            (None, None) => None,
            // `reqwest` sets the connect timeout per client; the sum bounds both together.
            (connect, read) => Some(connect.unwrap_or_default() + read.unwrap_or(Duration::from_mins(1))),
        };
        SharedHttpConnector::new(Self { timeout, ..self.clone() })
    }
}
