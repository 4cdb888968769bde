//! Calls AWS over the wire with its service models only: the same requests for moto and for the simulator.

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use berth_aws_protocol::{AwsService, DecodeError, Operation, WireError};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::World;

/// One account of an AWS, in one region.
#[derive(Debug)]
pub struct Wire {
    url: String,
    region: String,
    credential: String,
    client: Client<HttpConnector, Body>,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    operation: Operation,
}

impl Answer {
    /// What was asked.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// What it says, as the AWS CLI prints it.
    ///
    /// # Errors
    /// When it is not what the model says.
    pub fn decode(&self) -> Result<Value, DecodeError> {
        self.operation.decode(self.status, &self.headers, &self.body)
    }

    /// What it says when it refuses.
    pub fn error(&self) -> WireError {
        self.operation.decode_error(self.status, &self.headers, &self.body)
    }
}

impl World {
    /// Enters an account of an AWS by its role.
    ///
    /// # Panics
    /// When the role cannot be assumed.
    pub fn wire(&self, url: &str, account: &str, region: &str) -> Wire {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut wire = Wire {
            url: url.trim_end_matches('/').to_owned(),
            region: region.to_owned(),
            credential: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            client,
        };
        let form = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName=wire&ExternalId={}&RoleArn=arn%3Aaws%3Aiam%3A%3A{account}%3Arole%2FPortOceanReadRole",
            crate::EXTERNAL_ID
        );
        let request = wire
            .signed("POST", "/", "sts")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .expect("a request");
        let (status, _, body) = self.block_on(wire.send(request));
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "{text}");
        let after = text.split("<AccessKeyId>").nth(1).expect("an access key");
        after.split('<').next().unwrap_or_default().clone_into(&mut wire.credential);
        wire
    }

    /// Makes a call.
    ///
    /// # Panics
    /// When the models do not have the operation, or refuse the input.
    pub fn ask(&self, wire: &Wire, service: &str, operation: &str, input: &Value) -> Answer {
        let operation =
            AwsService::load(service).and_then(|service| service.operation(operation)).expect("an operation");
        let encoded = operation.encode(input).expect("an input that the model allows");
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&encoded.query).finish();
        let target =
            if query.is_empty() { encoded.path.clone() } else { format!("{}?{query}", encoded.path) };
        let mut request = wire.signed(encoded.method.as_str(), &target, operation.service().signing_name());
        for (name, value) in &encoded.headers {
            request = request.header(name, value);
        }
        let request = request.body(Body::from(encoded.body)).expect("a request");
        let (status, headers, body) = self.block_on(wire.send(request));
        Answer { status, headers, body, operation }
    }
}

impl Wire {
    fn signed(&self, method: &str, target: &str, service: &str) -> axum::http::request::Builder {
        let scope = format!("{}/20260101/{}/{service}/aws4_request", self.credential, self.region);
        let signature = "0".repeat(64);
        Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.url))
            .header("x-amz-date", "20260101T000000Z")
            .header("x-amz-security-token", "token")
            .header(
                header::AUTHORIZATION,
                format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={signature}"),
            )
    }

    async fn send(&self, request: Request<Body>) -> (u16, HeaderMap, Bytes) {
        let (head, body) = self.client.request(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status.as_u16(), head.headers, body)
    }
}
