//! Tests against a test server with behavior that moto lacks: it rejects external IDs, throttles, fails,
//! and answers in pages and out of order.

mod accounts;
mod buckets;
mod chain;
mod client;
mod clock;
mod completeness;
mod denied;
mod plans;
mod regions;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_smithy_types::date_time::{DateTime, Format};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, Response, Uri},
};
use serde_json::Value;

/// A request to the test server.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// `<service>:<Operation>`, with the signing name of the service; S3 operations by their path.
    pub(crate) call: String,
    /// The region that it was signed for.
    pub(crate) region: String,
    /// The access key that signed it.
    pub(crate) key: String,
    /// The time that it was signed with.
    pub(crate) date: String,
    /// The number of earlier requests with this call.
    pub(crate) before: usize,
    /// The JSON body, or the form fields as an object of strings.
    pub(crate) input: Value,
    /// The request as received.
    pub(crate) raw: Value,
}

/// A response of the test server.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    pub(crate) delay: Duration,
}

impl Answer {
    pub(crate) fn json(body: &Value) -> Self {
        Self::text(200, body.to_string())
    }

    pub(crate) fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), delay: Duration::ZERO }
    }

    /// An error in the format of the JSON protocols.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        Self::text(status, serde_json::json!({"__type": code, "message": "because"}).to_string())
    }

    /// An error in the format of the XML protocols.
    pub(crate) fn xml_error(status: u16, code: &str, message: &str) -> Self {
        Self::text(
            status,
            format!(
                "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
            ),
        )
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

type Handler = dyn Fn(&Seen) -> Option<Answer> + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    seen: Mutex<Vec<Seen>>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

impl StandIn {
    /// Starts a test server. If `handler` has no response, the server acts as an STS that knows every role,
    /// or returns an error that no test expects.
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            seen: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        });
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { endpoint, shared }
    }

    /// Returns all requests of a call, in order.
    pub(crate) fn seen(&self, call: &str) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().iter().filter(|seen| seen.call == call).cloned().collect()
    }

    /// Returns all requests, in order.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(crate) fn most_in_flight(&self) -> usize {
        self.shared.most_in_flight.load(Ordering::SeqCst)
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let seen = {
        let mut all = shared.seen.lock().unwrap();
        let mut seen = understand(&method, &uri, &headers, &body);
        seen.before = all.iter().filter(|other| other.call == seen.call).count();
        all.push(seen.clone());
        seen
    };
    let now = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_in_flight.fetch_max(now, Ordering::SeqCst);
    let answer = (shared.handler)(&seen)
        .or_else(|| sts(&seen))
        .unwrap_or_else(|| Answer::error(400, &format!("NoAnswerFor{}", seen.call)));
    tokio::time::sleep(answer.delay).await;
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).unwrap()
}

fn understand(method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Seen {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let authorization = header("authorization");
    let scope: Vec<&str> = authorization
        .split("Credential=")
        .nth(1)
        .map_or(Vec::new(), |rest| rest.split(',').next().unwrap().split('/').collect());
    let part = |index: usize| scope.get(index).copied().unwrap_or_default().to_owned();
    let target = header("x-amz-target");
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(body)
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let (service, operation, input) = if !target.is_empty() {
        (part(3), target.split('.').next_back().unwrap().to_owned(), serde_json::from_slice(body).unwrap())
    } else if let Some(action) = form.get("Action") {
        let service = if scope.is_empty() { "sts".into() } else { part(3) };
        (service, action.clone(), serde_json::json!(form))
    } else {
        (part(3), uri.path_and_query().unwrap().as_str().to_owned(), Value::Null)
    };
    Seen {
        call: format!("{service}:{operation}"),
        region: part(2),
        key: part(0),
        date: header("x-amz-date"),
        before: 0,
        input,
        raw: serde_json::json!({
            "method": method.as_str(),
            "url": format!("http://{}{uri}", header("host")),
            "headers": headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect::<BTreeMap<_, _>>(),
            "body": String::from_utf8_lossy(body),
        }),
    }
}

/// An STS that issues every role to everyone for an hour. A session's access key is `ASIA` followed by the
/// account.
pub(crate) fn sts(seen: &Seen) -> Option<Answer> {
    match seen.call.as_str() {
        "sts:AssumeRole" | "sts:AssumeRoleWithWebIdentity" => {
            let arn = seen.input["RoleArn"].as_str().unwrap();
            Some(assumed(&seen.call, arn.split(':').nth(4).unwrap(), Duration::from_hours(1)))
        }
        "sts:GetCallerIdentity" => Some(Answer::text(
            200,
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:sts::999999999999:assumed-role/Base/session</Arn><UserId>u</UserId><Account>999999999999</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
        )),
        _ => None,
    }
}

/// The response for a role that was assumed in `account`.
pub(crate) fn assumed(call: &str, account: &str, life: Duration) -> Answer {
    issued(call, account, &format!("ASIA{account}"), i64::try_from(life.as_secs()).unwrap())
}

/// The same response with a given key, which expires in `life` seconds.
pub(crate) fn issued(call: &str, account: &str, key: &str, life: i64) -> Answer {
    let operation = call.split(':').nth(1).unwrap();
    let expiry = from_now(life).fmt(Format::DateTime).unwrap();
    Answer::text(
        200,
        format!(
            "<{operation}Response><{operation}Result><AssumedRoleUser><Arn>arn:aws:sts::{account}:assumed-role/Reader/s</Arn><AssumedRoleId>i</AssumedRoleId></AssumedRoleUser><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>session-secret</SecretAccessKey><SessionToken>token</SessionToken><Expiration>{expiry}</Expiration></Credentials></{operation}Result></{operation}Response>"
        ),
    )
}

/// Returns the time in this many seconds.
pub(crate) fn from_now(seconds: i64) -> DateTime {
    DateTime::from_secs(DateTime::from(std::time::SystemTime::now()).secs() + seconds)
}
