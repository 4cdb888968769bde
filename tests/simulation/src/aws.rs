//! AWS, as far as the simulated kinds use it: its responses and its failures.
#![expect(clippy::result_large_err, reason = "an answer of the model is made once for each request")]

use berth_http::{TransportCause, TransportError};
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::{
    os,
    scenario::{AwsFault, Call},
    sim::State,
    world::{Key, Kind, REGIONS, Resource, account_at, account_id, region_at},
};

/// Resources of a page.
const PAGE: usize = 2;
/// How long a session lasts, in seconds.
const SESSION: u64 = 3600;

/// What becomes of a request.
#[derive(Debug)]
pub enum Reaction {
    /// An answer.
    Answer(http::Response<Bytes>),
    /// An answer that breaks off.
    Broken(http::Response<Bytes>),
    /// No answer.
    Hang,
    /// A failure on the way.
    Fails(TransportError),
}

impl Reaction {
    /// As the client sees it. Nothing comes of what hangs.
    ///
    /// # Errors
    /// What fails on the way.
    pub async fn into_response(self) -> Result<reqwest::Response, TransportError> {
        let answer = |answer: http::Response<Bytes>, broken: bool| {
            let (mut parts, bytes) = answer.into_parts();
            if !broken {
                return reqwest::Response::from(http::Response::from_parts(
                    parts,
                    reqwest::Body::from(bytes),
                ));
            }
            parts.headers.remove(http::header::CONTENT_LENGTH);
            let half = bytes.slice(..bytes.len() / 2);
            let cut = || Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
            let frames = [Ok(Frame::data(half)), cut()];
            let body = StreamBody::new(futures::stream::iter(frames));
            reqwest::Response::from(http::Response::from_parts(parts, reqwest::Body::wrap(body)))
        };
        match self {
            Self::Answer(bytes) => Ok(answer(bytes, false)),
            Self::Broken(bytes) => Ok(answer(bytes, true)),
            Self::Hang => std::future::pending().await,
            Self::Fails(error) => Err(error),
        }
    }
}

/// A request, as far as it matters.
struct Asked {
    service: String,
    region: usize,
    /// The account whose session signs; none for the base identity.
    account: Option<usize>,
    /// Which session it is.
    issued: u64,
    operation: String,
    input: Value,
    form: Vec<(String, String)>,
    /// When it says that it was signed, in seconds since 1970.
    signed: Option<u64>,
}

impl Asked {
    fn read(request: &http::Request<Bytes>) -> Option<Self> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let authorization = header("authorization")?;
        let credential = authorization.split("Credential=").nth(1)?.split(',').next()?;
        let mut scope = credential.split('/');
        let (access_key, _, region, service) = (scope.next()?, scope.next()?, scope.next()?, scope.next()?);
        let (account, issued) = match access_key.strip_prefix("ASIA") {
            Some(rest) => (account_at(rest.get(..12)?), rest.get(12..)?.parse().unwrap_or(0)),
            None => (None, 0),
        };
        let text = String::from_utf8_lossy(request.body());
        let form: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        let action = form.iter().find(|(name, _)| name == "Action").map(|(_, value)| value.clone());
        let target = header("x-amz-target").and_then(|target| target.split('.').nth(1)).map(str::to_owned);
        Some(Self {
            service: service.to_owned(),
            region: region_at(region).unwrap_or(0),
            account,
            issued,
            operation: target.or(action).unwrap_or_else(|| request.uri().path().to_owned()),
            input: serde_json::from_slice(request.body()).unwrap_or_default(),
            form,
            signed: header("x-amz-date").and_then(seconds),
        })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What kind it is about, and how.
    fn call(&self) -> Option<(Kind, Call)> {
        Some(match self.operation.as_str() {
            "ListClusters" => (Kind::Cluster, Call::List),
            "DescribeClusters" => (Kind::Cluster, Call::Describe),
            "ListTables" => (Kind::Table, Call::List),
            "DescribeTable" => (Kind::Table, Call::Describe),
            "ListTagsOfResource" => (Kind::Table, Call::Tags),
            "DescribeSubnets" => (Kind::Subnet, Call::List),
            "ListUsers" => (Kind::User, Call::List),
            _ => return None,
        })
    }
}

/// Seconds since 1970 of `20270115T080000Z`.
fn seconds(text: &str) -> Option<u64> {
    let time = NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok()?;
    u64::try_from(time.and_utc().timestamp()).ok()
}

/// A date as a header has it.
pub fn http_date(seconds: u64) -> String {
    date(seconds, "%a, %d %b %Y %H:%M:%S GMT")
}

fn iso(seconds: u64) -> String {
    date(seconds, "%Y-%m-%dT%H:%M:%SZ")
}

fn date(seconds: u64, format: &str) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.unwrap_or_default().format(format).to_string()
}

fn answer(status: u16, body: impl Into<Bytes>) -> http::Response<Bytes> {
    let mut answer = http::Response::new(body.into());
    *answer.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    let date = http_date(os::world_seconds()).parse();
    answer.headers_mut().extend(date.ok().map(|date| (http::header::DATE, date)));
    answer
}

fn refusal(asked: &Asked, status: u16, code: &str, message: &str) -> Reaction {
    let body = match asked.service.as_str() {
        "ec2" => format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>r</RequestID></Response>"
        ),
        "iam" | "sts" => format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        ),
        _ => json!({"__type": code, "message": message}).to_string(),
    };
    let mut answer = answer(status, body);
    if asked.service == "account" {
        answer.headers_mut().extend(code.parse().ok().map(|code| (X_ERROR, code)));
    }
    Reaction::Answer(answer)
}

const X_ERROR: http::HeaderName = http::HeaderName::from_static("x-amzn-errortype");

/// Answers a request.
pub fn react(state: &mut State, request: &http::Request<Bytes>) -> Reaction {
    let Some(asked) = Asked::read(request) else {
        return Reaction::Answer(answer(400, "{}"));
    };
    if asked.signed.is_none_or(|signed| signed.abs_diff(os::world_seconds()) > 300) {
        let code = if asked.service == "ec2" { "RequestExpired" } else { "SignatureDoesNotMatch" };
        state.count("aws: clock skew");
        return refusal(
            &asked,
            403,
            code,
            "Signature expired: it is now earlier than the date of the request",
        );
    }
    match (asked.service.as_str(), asked.operation.as_str()) {
        ("sts", "AssumeRole") => assume(state, &asked),
        ("sts", _) => {
            let account = account_id(0);
            Reaction::Answer(answer(
                200,
                format!(
                    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>arn:aws:iam::{account}:user/berth</Arn><UserId>AIDA</UserId><Account>{account}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
                ),
            ))
        }
        ("account", _) => regions(state, &asked),
        _ => read(state, &asked),
    }
}

/// A failure that any call may meet.
fn common(state: &mut State, asked: &Asked, fault: AwsFault) -> Option<Reaction> {
    Some(match fault {
        AwsFault::Denied => {
            let code = match asked.service.as_str() {
                "ec2" => "UnauthorizedOperation",
                "iam" | "sts" => "AccessDenied",
                _ => "AccessDeniedException",
            };
            refusal(asked, 403, code, "not authorized to perform this action")
        }
        AwsFault::Throttled => {
            let code = if asked.service == "ec2" { "RequestLimitExceeded" } else { "ThrottlingException" };
            refusal(asked, 400, code, "Rate exceeded")
        }
        AwsFault::Hang => Reaction::Hang,
        AwsFault::Reset => Reaction::Fails(TransportError::of_carrier(TransportCause::Cut, true)),
        AwsFault::Failed => refusal(asked, 500, "InternalFailure", "try again"),
        AwsFault::Expired => {
            state.revoked = os::elapsed();
            refusal(asked, 403, "ExpiredToken", "The security token included in the request is expired")
        }
        AwsFault::Malformed => Reaction::Answer(answer(200, "<html>welcome</html")),
        _ => return None,
    })
}

fn assume(state: &mut State, asked: &Asked) -> Reaction {
    let role = asked.get("RoleArn").unwrap_or_default();
    let account = role.split(':').nth(4).and_then(account_at);
    let Some(account) = account.filter(|account| *account < state.world.accounts) else {
        return refusal(asked, 403, "AccessDenied", "not authorized to perform: sts:AssumeRole");
    };
    if let Some(fault) = state.role_fault(account)
        && let Some(reaction) = common(state, asked, fault)
    {
        return reaction;
    }
    let id = account_id(account);
    let issued = os::elapsed();
    let expiration = iso(os::world_seconds() + SESSION);
    Reaction::Answer(answer(
        200,
        format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials><AccessKeyId>ASIA{id}{issued}</AccessKeyId><SecretAccessKey>canary-session-secret</SecretAccessKey><SessionToken>canary-session-token</SessionToken><Expiration>{expiration}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROA:s</AssumedRoleId><Arn>arn:aws:sts::{id}:assumed-role/Reader/s</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>"
        ),
    ))
}

fn regions(state: &mut State, asked: &Asked) -> Reaction {
    let Some(account) = asked.account else {
        return refusal(asked, 403, "AccessDeniedException", "no session");
    };
    let enabled =
        (0..state.world.regions).filter(|region| !state.world.scope().off.contains(&(account, *region)));
    let enabled: Vec<Value> =
        enabled.map(|region| json!({"RegionName": REGIONS[region], "RegionOptStatus": "ENABLED"})).collect();
    let mut body = json!({"Regions": enabled});
    if let Some(fault) = state.region_fault(account) {
        match fault {
            AwsFault::TokenCycle => body["NextToken"] = json!("again"),
            AwsFault::NoList => body = json!({}),
            AwsFault::Truncated => return Reaction::Broken(answer(200, body.to_string())),
            fault => {
                if let Some(reaction) = common(state, asked, fault) {
                    return reaction;
                }
            }
        }
    }
    Reaction::Answer(answer(200, body.to_string()))
}

/// Answers a read of a resource.
fn read(state: &mut State, asked: &Asked) -> Reaction {
    if asked.service == "ec2" && asked.operation == "DescribeRegions" {
        // Only the Account service tells regions here.
        return refusal(asked, 403, "UnauthorizedOperation", "not authorized to perform this action");
    }
    let (Some((kind, call)), Some(account)) = (asked.call(), asked.account) else {
        return refusal(asked, 400, "InvalidAction", "there is no such action");
    };
    let session = asked.issued;
    if session < state.revoked || os::elapsed() > session + SESSION * 1_000_000_000 {
        return refusal(asked, 403, "ExpiredToken", "The security token included in the request is expired");
    }
    let region = if kind.is_regional() { asked.region } else { 0 };
    if kind.is_regional() && state.world.scope().off.contains(&(account, region)) {
        return refusal(asked, 403, "UnrecognizedClientException", "the region is not enabled");
    }
    let fault = state.aws_fault(kind, call, account, region);
    if let Some(fault) = fault
        && let Some(reaction) = common(state, asked, fault)
    {
        return reaction;
    }
    let body = match call {
        Call::List => list(state, asked, kind, account, region, fault),
        Call::Describe if kind == Kind::Cluster => {
            Ok(describe_clusters(state, asked, account, region, fault))
        }
        Call::Describe => describe_table(state, asked, account, region, fault),
        Call::Tags => tags(state, asked, account, region, fault),
    };
    match body {
        Ok(body) if fault == Some(AwsFault::Truncated) => Reaction::Broken(answer(200, body)),
        Ok(body) => Reaction::Answer(answer(200, body)),
        Err(reaction) => reaction,
    }
}

fn list(
    state: &mut State,
    asked: &Asked,
    kind: Kind,
    account: usize,
    region: usize,
    fault: Option<AwsFault>,
) -> Result<String, Reaction> {
    let mut all = state.world.seen(kind, account, region);
    let one = asked.get("SubnetId.1").map(str::to_owned);
    if let Some(one) = &one {
        all.retain(|(key, _)| key.identifier() == *one);
        if all.is_empty() {
            return Err(refusal(asked, 400, "InvalidSubnetID.NotFound", "the subnet does not exist"));
        }
    }
    let text = |name: &str| asked.input[name].as_str().map(str::to_owned);
    let token = match kind {
        Kind::Cluster => text("nextToken"),
        Kind::Table => text("ExclusiveStartTableName"),
        Kind::Subnet => asked.get("NextToken").map(str::to_owned),
        _ => asked.get("Marker").map(str::to_owned),
    };
    // A token is the name of the last resource of the page before.
    let name = |key: &Key| format!("{}{}", key.account, key.name());
    all.sort_by_key(|(key, _)| name(key));
    if let Some(token) = &token {
        all.retain(|(key, _)| name(key) > *token);
    }
    let mut page: Vec<(Key, Resource)> = all.iter().take(PAGE).cloned().collect();
    let mut next = (all.len() > PAGE).then(|| page.last().map(|(key, _)| name(key))).flatten();
    let (mut has_list, mut has_more) = (true, next.is_some());
    match fault {
        Some(AwsFault::TokenCycle) => {
            // Two tokens that lead to each other.
            next = Some(if token.as_deref() == Some("0") { "00".into() } else { "0".into() });
            has_more = true;
        }
        Some(AwsFault::EmptyPage) if token.is_none() => {
            page.clear();
            next = Some("0".into());
            has_more = true;
        }
        Some(AwsFault::NoList) => has_list = false,
        // Only here an answer says so.
        Some(AwsFault::NoToken) if kind == Kind::User => {
            has_more = true;
            next = None;
        }
        Some(AwsFault::LaggingList) if one.is_none() => {
            if let Some((key, _)) = page.first().cloned()
                && state.lag(key)
            {
                page.remove(0);
            }
        }
        _ => {}
    }
    Ok(match kind {
        Kind::Cluster | Kind::Table => {
            let (list, token) = if kind == Kind::Cluster {
                ("clusterArns", "nextToken")
            } else {
                ("TableNames", "LastEvaluatedTableName")
            };
            let names =
                page.iter().map(|(key, _)| if kind == Kind::Cluster { key.identifier() } else { key.name() });
            let mut body = json!({});
            if has_list {
                body[list] = names.collect();
            }
            if let Some(next) = next {
                body[token] = json!(next);
            }
            body.to_string()
        }
        Kind::Subnet => {
            let items: Vec<String> = page
                .iter()
                .map(|(key, resource)| {
                    format!(
                        "<item><subnetId>{}</subnetId><state>rev-{}</state><ownerId>{}</ownerId></item>",
                        key.identifier(),
                        resource.revision,
                        account_id(key.account)
                    )
                })
                .collect();
            let list =
                if has_list { format!("<subnetSet>{}</subnetSet>", items.concat()) } else { String::new() };
            let token = next.map(|next| format!("<nextToken>{next}</nextToken>")).unwrap_or_default();
            format!(
                "<DescribeSubnetsResponse><requestId>r</requestId>{list}{token}</DescribeSubnetsResponse>"
            )
        }
        _ => {
            let items: Vec<String> = page.iter().map(|(key, resource)| format!(
                "<member><Path>/rev-{}/</Path><UserName>{}</UserName><UserId>AIDA{}</UserId><Arn>{}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate></member>",
                resource.revision, key.name(), key.name(), key.identifier()
            )).collect();
            let list = if has_list { format!("<Users>{}</Users>", items.concat()) } else { String::new() };
            let token = next.map(|next| format!("<Marker>{next}</Marker>")).unwrap_or_default();
            format!(
                "<ListUsersResponse><ListUsersResult>{list}<IsTruncated>{has_more}</IsTruncated>{token}</ListUsersResult></ListUsersResponse>"
            )
        }
    })
}

fn describe_clusters(
    state: &mut State,
    asked: &Asked,
    account: usize,
    region: usize,
    fault: Option<AwsFault>,
) -> String {
    let all = state.world.seen(Kind::Cluster, account, region);
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    let asked_for = asked.input["clusters"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for (index, arn) in asked_for.enumerate() {
        let found = all.iter().find(|(key, _)| key.identifier() == arn);
        match (found, fault.filter(|_| index == 0)) {
            (Some((key, _)), Some(AwsFault::LaggingDescribe)) if state.lag(*key) => {
                failures.push(json!({"arn": arn, "reason": "MISSING"}));
            }
            (_, Some(AwsFault::BatchThrottled)) => failures.push(json!({"arn": arn, "reason": "THROTTLED"})),
            (_, Some(AwsFault::BatchSilent)) => {}
            (Some((key, resource)), _) => clusters.push(json!({
                "clusterArn": arn, "clusterName": key.name(), "status": format!("rev-{}", resource.revision)
            })),
            (None, _) => failures.push(json!({"arn": arn, "reason": "MISSING"})),
        }
    }
    json!({"clusters": clusters, "failures": failures}).to_string()
}

fn table(state: &State, account: usize, region: usize, name: &str) -> Option<(Key, Resource)> {
    let name = name.rsplit('/').next().unwrap_or_default();
    state.world.seen(Kind::Table, account, region).into_iter().find(|(key, _)| key.name() == name)
}

fn describe_table(
    state: &mut State,
    asked: &Asked,
    account: usize,
    region: usize,
    fault: Option<AwsFault>,
) -> Result<String, Reaction> {
    let found = table(state, account, region, asked.input["TableName"].as_str().unwrap_or_default());
    let lags = fault == Some(AwsFault::LaggingDescribe);
    match found {
        Some((key, resource)) if !(lags && state.lag(key)) => Ok(json!({"Table": {
            "TableName": key.name(), "TableArn": key.identifier(), "TableStatus": format!("rev-{}", resource.revision)
        }})
        .to_string()),
        _ => Err(refusal(asked, 400, "ResourceNotFoundException", "the table does not exist")),
    }
}

fn tags(
    state: &mut State,
    asked: &Asked,
    account: usize,
    region: usize,
    fault: Option<AwsFault>,
) -> Result<String, Reaction> {
    let found = table(state, account, region, asked.input["ResourceArn"].as_str().unwrap_or_default());
    match found {
        Some(_) if fault == Some(AwsFault::NoList) => Ok("{}".into()),
        Some((_, resource)) if fault != Some(AwsFault::LaggingDescribe) => {
            Ok(json!({"Tags": [{"Key": "revision", "Value": resource.tags.to_string()}]}).to_string())
        }
        _ => Err(refusal(asked, 400, "ResourceNotFoundException", "the table does not exist")),
    }
}
