//! A gate in front of moto that adds what moto lacks: it checks external IDs, denies access by account, service
//! and region, and counts calls.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::net::TcpListener;
use url::form_urlencoded;

use crate::aws::Aws;

/// Calls that are answered with "access denied".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The account that is denied.
    pub account: String,
    /// The service's signing name, as in `ec2`.
    pub service: String,
    /// The region that is signed for.
    pub region: String,
}

/// A role as its trust policy has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrustedRole {
    pub(crate) arn: String,
    /// What must be sent.
    pub(crate) external_id: String,
    /// The access key of the principal that is trusted.
    pub(crate) access_key: String,
}

/// A running gate.
#[derive(Debug, Clone)]
pub struct Gate {
    rules: Arc<Mutex<Rules>>,
    port: u16,
}

#[derive(Debug, Default)]
struct Rules {
    /// The external ID that each role asks for.
    external_ids: BTreeMap<String, String>,
    denials: Vec<Denial>,
    /// Calls that are denied to every account, named as in [`Gate::calls`].
    denied_calls: BTreeSet<String>,
    /// The only roles that can be assumed, and by whom. Empty: any, by anybody.
    trusted: Vec<TrustedRole>,
    /// What `DescribeRegions` answers; moto's own list when empty.
    regions: Vec<String>,
    /// The account behind each access key that was handed out.
    accounts: BTreeMap<String, String>,
    /// Secret keys and session tokens that were handed out.
    secrets: Vec<String>,
    calls: BTreeMap<String, usize>,
    /// The regions that calls were signed for.
    called_regions: BTreeSet<String>,
}

/// Everything a request handler needs.
#[derive(Clone)]
struct Context {
    gate: Gate,
    upstream: &'static Aws,
    client: Client<HttpConnector, Body>,
}

impl Gate {
    /// Opens a gate in front of a moto.
    pub(crate) async fn open(upstream: &'static Aws, regions: &[&str]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let rules = Rules { regions: regions.iter().map(ToString::to_string).collect(), ..Rules::default() };
        let gate = Self { rules: Arc::new(Mutex::new(rules)), port };
        let client = Client::builder(TokioExecutor::new()).build_http();
        let router =
            Router::new().fallback(handle).with_state(Context { gate: gate.clone(), upstream, client });
        tokio::spawn(async move { axum::serve(listener, router).await });
        gate
    }

    /// What goes into `AWS_ENDPOINT_URL`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets a role be assumed only with this external ID.
    pub fn require_external_id(&self, role_arn: &str, external_id: &str) {
        self.with(|rules| rules.external_ids.insert(role_arn.to_owned(), external_id.to_owned()));
    }

    /// Lets these roles be assumed as their trust policies say, and no other.
    pub(crate) fn trust(&self, roles: Vec<TrustedRole>) {
        self.with(|rules| rules.trusted = roles);
    }

    /// Denies calls from now on.
    pub fn deny(&self, denial: Denial) {
        self.with(|rules| rules.denials.push(denial));
    }

    /// Denies a call to every account from now on, named as in [`calls`](Self::calls).
    pub fn deny_call(&self, call: &str) {
        self.with(|rules| rules.denied_calls.insert(call.to_owned()));
    }

    /// Allows all calls again.
    pub fn allow_calls(&self) {
        self.with(|rules| rules.denied_calls.clear());
    }

    /// How often each call was seen, by `<service> <operation>`, as in `ecs ListClusters`. Calls of
    /// protocols without a name for the operation are told by method and query: `s3 GET ?tagging`.
    pub fn calls(&self) -> BTreeMap<String, usize> {
        self.with(|rules| rules.calls.clone())
    }

    /// The regions that calls were signed for.
    pub fn called_regions(&self) -> BTreeSet<String> {
        self.with(|rules| rules.called_regions.clone())
    }

    /// Lets moto list the regions from now on: all of the partition, and which of them are not enabled.
    pub fn pass_regions(&self) {
        self.with(|rules| rules.regions.clear());
    }

    /// The secret keys and session tokens that STS handed out.
    pub fn secrets(&self) -> Vec<String> {
        self.with(|rules| rules.secrets.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Rules) -> T) -> T {
        act(&mut self.rules.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the gate needs to know about a call.
#[derive(Debug, Default)]
struct Call {
    access_key: String,
    region: String,
    service: String,
    operation: String,
    form: BTreeMap<String, String>,
}

impl Call {
    fn read(headers: &HeaderMap, method: &str, uri: &Uri, body: &[u8]) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let scope = text("authorization").split("Credential=").nth(1).unwrap_or_default();
        let mut scope = scope.split(',').next().unwrap_or_default().split('/');
        let access_key = scope.next().unwrap_or_default().to_owned();
        let region = scope.nth(1).unwrap_or_default().to_owned();
        let service = scope.next().unwrap_or_default().to_owned();
        let form: BTreeMap<String, String> =
            if text("content-type").starts_with("application/x-www-form-urlencoded") {
                form_urlencoded::parse(body).into_owned().collect()
            } else {
                BTreeMap::new()
            };
        let target = text("x-amz-target").rsplit('.').next().filter(|name| !name.is_empty());
        let operation = target.or(form.get("Action").map(String::as_str)).map_or_else(
            || {
                let query = uri.query().unwrap_or_default();
                let first = query.split(['&', '=']).next().unwrap_or_default();
                format!("{method} ?{first}")
            },
            ToOwned::to_owned,
        );
        Self { access_key, region, service, operation, form }
    }
}

async fn handle(State(context): State<Context>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let call = Call::read(&parts.headers, parts.method.as_str(), &parts.uri, &body);
    let refusal = context.gate.with(|rules| {
        *rules.calls.entry(format!("{} {}", call.service, call.operation)).or_default() += 1;
        rules.called_regions.insert(call.region.clone());
        rules.answer(&call)
    });
    if let Some(refusal) = refusal {
        return refusal;
    }

    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let upstream = tokio::task::block_in_place(|| context.upstream.authority());
    parts.uri = format!("http://{upstream}{path}").parse().expect("a path is part of a URL");
    parts.headers.remove(header::TRANSFER_ENCODING);
    let assumes = call.operation == "AssumeRole";
    let answer = context.client.request(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = match answer {
        Ok(answer) => answer.into_parts(),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    if assumes {
        context.gate.with(|rules| rules.remember(&call, &body));
    }
    Response::from_parts(parts, Body::from(body))
}

impl Rules {
    /// The gate's own answer to a call, if it lets it not through.
    fn answer(&self, call: &Call) -> Option<Response> {
        if call.operation == "AssumeRole" {
            let role = call.form.get("RoleArn").map_or("", String::as_str);
            let wanted = self.external_ids.get(role);
            let sent = call.form.get("ExternalId");
            let trusted = self.trusted.is_empty()
                || self.trusted.iter().any(|trusted| {
                    trusted.arn == role
                        && trusted.access_key == call.access_key
                        && Some(&trusted.external_id) == sent
                });
            let refused = !trusted || (wanted.is_some() && wanted != sent);
            return refused.then(|| role_refused(role));
        }
        let denied = self.denials.iter().any(|denial| {
            denial.service == call.service
                && denial.region == call.region
                && self.accounts.get(&call.access_key) == Some(&denial.account)
        });
        let name = format!("{} {}", call.service, call.operation);
        if denied || self.denied_calls.contains(&name) {
            return Some(access_denied(call));
        }
        (call.operation == "DescribeRegions" && !self.regions.is_empty()).then(|| self.enabled_regions())
    }

    /// Learns whose the credentials are that moto hands out.
    fn remember(&mut self, call: &Call, answer: &Bytes) {
        let answer = String::from_utf8_lossy(answer);
        let element = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>"))?;
            Some(rest.split('<').next()?.to_owned())
        };
        self.secrets.extend(element("SecretAccessKey"));
        self.secrets.extend(element("SessionToken"));
        let key = element("AccessKeyId");
        let account = call.form.get("RoleArn").and_then(|arn| arn.split(':').nth(4));
        if let (Some(key), Some(account)) = (key, account) {
            self.accounts.insert(key, account.to_owned());
        }
    }

    fn enabled_regions(&self) -> Response {
        let items: Vec<String> = self
            .regions
            .iter()
            .map(|region| {
                format!(
                    "<item><regionName>{region}</regionName>\
                     <regionEndpoint>ec2.{region}.amazonaws.com</regionEndpoint>\
                     <optInStatus>opt-in-not-required</optInStatus></item>"
                )
            })
            .collect();
        let items = items.concat();
        let answer = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>59dbff89-35bd-4eac-99ed-be587EXAMPLE</requestId><regionInfo>{items}</regionInfo></DescribeRegionsResponse>"#
        );
        xml(StatusCode::OK, answer)
    }
}

/// STS's words when the trust policy's condition on the external ID does not hold.
fn role_refused(role: &str) -> Response {
    xml(
        StatusCode::FORBIDDEN,
        format!(
            r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>User: arn:aws:iam::999999999999:user/berth is not authorized to perform: sts:AssumeRole on resource: {role}</Message></Error><RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId></ErrorResponse>"#
        ),
    )
}

/// Each service says it in the form of its protocol.
fn access_denied(call: &Call) -> Response {
    let message = format!("You are not authorized to perform this operation: {}", call.operation);
    match call.service.as_str() {
        "ec2" => xml(
            StatusCode::FORBIDDEN,
            format!(
                "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>{message}</Message></Error></Errors><RequestID>r</RequestID></Response>"
            ),
        ),
        "s3" => xml(
            StatusCode::FORBIDDEN,
            format!(
                "<Error><Code>AccessDenied</Code><Message>{message}</Message><RequestId>r</RequestId></Error>"
            ),
        ),
        _ => (
            StatusCode::BAD_REQUEST,
            [(header::CONTENT_TYPE, "application/x-amz-json-1.1")],
            format!(r#"{{"__type":"AccessDeniedException","message":"{message}"}}"#),
        )
            .into_response(),
    }
}

fn xml(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "text/xml")], body).into_response()
}
