//! A small AWS server whose responses a test defines: volumes, subnets, log groups, clusters, services and users
//! by account and region, and any wrong response instead of the right one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use url::form_urlencoded;

use crate::world::{REGIONS, World, role};

/// The size of volumes, unless it is changed.
pub const VOLUME_SIZE: u32 = 8;

/// What the scripted AWS holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// EBS volumes, by id.
    Volume,
    /// Subnets, by id.
    Subnet,
    /// Log groups, by name.
    LogGroup,
    /// ECS clusters, by name.
    Cluster,
    /// Services in the first cluster, by name.
    Service,
    /// IAM users, by name. They are in no region; `us-east-1` stands for that.
    User,
}

/// A call to the scripted AWS.
#[derive(Debug, Clone)]
pub struct AwsCall {
    /// The account whose credentials signed it.
    pub account: String,
    /// The region that it is signed for.
    pub region: String,
    /// The service's signing name.
    pub service: String,
    /// `DescribeVolumes`; method and path where no name is sent.
    pub operation: String,
    /// Everything that is asked.
    pub input: Map<String, Value>,
}

impl AwsCall {
    /// One text of the input.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.input.get(name)?.as_str()
    }

    /// One list of the input.
    pub fn list(&self, name: &str) -> Vec<String> {
        let listed = self.input.get(name).and_then(Value::as_array).into_iter().flatten();
        listed.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
    }
}

/// An answer of the scripted AWS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

impl Reply {
    /// An answer in JSON.
    pub fn json(body: &Value) -> Self {
        let content_type = "application/x-amz-json-1.1";
        Self { status: StatusCode::OK, content_type, body: body.to_string() }
    }

    /// An answer in XML: the elements in the result of an operation.
    pub fn xml(operation: &str, elements: &str) -> Self {
        let body = format!("<{operation}Response>{elements}</{operation}Response>");
        Self { status: StatusCode::OK, content_type: "text/xml", body }
    }

    /// Subnets on a page, with the token of the next one.
    pub fn subnets(call: &AwsCall, ids: &[String], next: Option<&str>) -> Self {
        let (account, region) = (&call.account, &call.region);
        let item = |id: &String| {
            format!(
                "<item><subnetId>{id}</subnetId><subnetArn>arn:aws:ec2:{region}:{account}:subnet/{id}</subnetArn>\
                 <state>available</state><cidrBlock>10.0.0.0/24</cidrBlock></item>"
            )
        };
        let items: String = ids.iter().map(item).collect();
        let next = next.map(|token| format!("<nextToken>{token}</nextToken>")).unwrap_or_default();
        Self::xml("DescribeSubnets", &format!("<subnetSet>{items}</subnetSet>{next}"))
    }

    /// Volumes.
    pub fn volumes(ids: &[String]) -> Self {
        Self::sized_volumes(ids, &BTreeMap::new())
    }

    fn sized_volumes(ids: &[String], sizes: &BTreeMap<String, u32>) -> Self {
        let item = |id: &String| {
            let size = sizes.get(id).unwrap_or(&VOLUME_SIZE);
            format!("<item><volumeId>{id}</volumeId><size>{size}</size><status>in-use</status></item>")
        };
        let items: String = ids.iter().map(item).collect();
        Self::xml("DescribeVolumes", &format!("<volumeSet>{items}</volumeSet>"))
    }

    /// IAM users: whether more follow, and where.
    pub fn users(account: &str, names: &[String], cut_off: bool, marker: Option<&str>) -> Self {
        let member = |name: &String| {
            format!(
                "<member><UserName>{name}</UserName><UserId>{name}</UserId><Path>/</Path>\
                 <Arn>arn:aws:iam::{account}:user/{name}</Arn><CreateDate>2024-01-01T00:00:00Z</CreateDate></member>"
            )
        };
        let members: String = names.iter().map(member).collect();
        let marker = marker.map(|marker| format!("<Marker>{marker}</Marker>")).unwrap_or_default();
        Self::xml(
            "ListUsers",
            &format!(
                "<ListUsersResult><IsTruncated>{cut_off}</IsTruncated>{marker}<Users>{members}</Users></ListUsersResult>"
            ),
        )
    }

    /// The refusal of a call, in the form of EC2.
    pub fn denied() -> Self {
        Self::refused(StatusCode::FORBIDDEN, "UnauthorizedOperation")
    }

    fn refused(status: StatusCode, code: &str) -> Self {
        let body = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{code}</Message></Error></Errors><RequestID>r</RequestID></Response>"
        );
        Self { status, content_type: "text/xml", body }
    }

    fn error(code: &str, message: &str) -> Self {
        let body = json!({"__type": code, "message": message});
        Self { status: StatusCode::BAD_REQUEST, ..Self::json(&body) }
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, [(header::CONTENT_TYPE, self.content_type)], self.body).into_response()
    }
}

/// Answers in place of the right ones; `None` leaves a call to the rest.
type Script = Box<dyn Fn(&AwsCall) -> Option<Reply> + Send>;

/// A running scripted AWS.
#[derive(Clone)]
pub struct ScriptedAws {
    held: Arc<Mutex<Held>>,
}

impl fmt::Debug for ScriptedAws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedAws").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Held {
    regions: BTreeMap<String, Vec<String>>,
    resources: BTreeMap<(String, String, Resource), Vec<String>>,
    /// The sizes of volumes that were changed.
    sizes: BTreeMap<String, u32>,
    /// How long each answer takes.
    latency: Duration,
    /// Accounts whose role cannot be assumed.
    closed: BTreeSet<String>,
    script: Option<Script>,
    calls: Vec<AwsCall>,
    /// The account of each access key that was handed out.
    keys: BTreeMap<String, String>,
}

impl World {
    /// Lets the runs to come read a scripted AWS rather than moto. Nothing is in its accounts.
    pub fn script_aws(&mut self) -> ScriptedAws {
        let regions: Vec<String> = REGIONS.iter().map(ToString::to_string).collect();
        let regions = self.accounts().iter().map(|account| (account.clone(), regions.clone())).collect();
        let aws = ScriptedAws { held: Arc::new(Mutex::new(Held { regions, ..Held::default() })) };
        let port = self.block_on(aws.clone().serve());
        self.set("AWS_ENDPOINT_URL", &format!("http://127.0.0.1:{port}"));
        aws
    }

    /// Lets the runs to come read only these accounts.
    pub fn list_accounts(&mut self, accounts: &[String]) {
        let roles: Vec<String> = accounts.iter().map(|account| role(account)).collect();
        self.set("OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS", &json!(roles).to_string());
    }
}

impl ScriptedAws {
    async fn serve(self) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let router = Router::new().fallback(handle).with_state(self);
        tokio::spawn(async move { axum::serve(listener, router).await });
        port
    }

    /// Adds resources.
    pub fn add(&self, account: &str, region: &str, resource: Resource, names: &[&str]) {
        let key = (account.to_owned(), region.to_owned(), resource);
        let names = names.iter().map(ToString::to_string);
        self.with(|held| held.resources.entry(key).or_default().extend(names));
    }

    /// Removes a resource.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, account: &str, region: &str, resource: Resource, name: &str) {
        let key = (account.to_owned(), region.to_owned(), resource);
        let removed = self.with(|held| {
            let names = held.resources.entry(key).or_default();
            let before = names.len();
            names.retain(|held| held != name);
            before - names.len()
        });
        assert_eq!(removed, 1, "{name} in {account} {region}");
    }

    /// Changes the size of a volume.
    pub fn resize(&self, volume: &str, size: u32) {
        self.with(|held| held.sizes.insert(volume.to_owned(), size));
    }

    /// Lets each answer take so long.
    pub fn slow_down(&self, latency: Duration) {
        self.with(|held| held.latency = latency);
    }

    /// Enables just these regions in an account.
    pub fn enable_regions(&self, account: &str, regions: &[&str]) {
        let regions = regions.iter().map(ToString::to_string).collect();
        self.with(|held| held.regions.insert(account.to_owned(), regions));
    }

    /// Refuses the role of an account from now on.
    pub fn close(&self, account: &str) {
        self.with(|held| held.closed.insert(account.to_owned()));
    }

    /// Takes [`close`](Self::close) back.
    pub fn open(&self, account: &str) {
        self.with(|held| held.closed.remove(account));
    }

    /// Answers in place of the right answers, from now on; `None` leaves a call to them.
    pub fn script(&self, script: impl Fn(&AwsCall) -> Option<Reply> + Send + 'static) {
        self.with(|held| held.script = Some(Box::new(script)));
    }

    /// Gives the right answers from now on.
    pub fn end_script(&self) {
        self.with(|held| held.script = None);
    }

    /// How often each operation was called since the last time, by `<service> <operation>`.
    pub fn take_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in self.with(|held| std::mem::take(&mut held.calls)) {
            *counts.entry(format!("{} {}", call.service, call.operation)).or_default() += 1;
        }
        counts
    }

    /// How many resources were asked for since the counts were last taken: roles and regions are none.
    pub fn reads(&self) -> usize {
        let reads = |call: &&AwsCall| !matches!(call.operation.as_str(), "AssumeRole" | "POST /listRegions");
        self.with(|held| held.calls.iter().filter(reads).count())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Held) -> T) -> T {
        act(&mut self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn handle(
    State(aws): State<ScriptedAws>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Reply {
    let (reply, latency) = aws.with(|held| {
        let call = held.read(&method, &uri, &headers, &body);
        held.calls.push(call.clone());
        (held.answer(&call), held.latency)
    });
    tokio::time::sleep(latency).await;
    reply
}

impl Held {
    fn read(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> AwsCall {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let scope = text("authorization").split("Credential=").nth(1).unwrap_or_default();
        let scope: Vec<&str> = scope.split(',').next().unwrap_or_default().split('/').collect();
        let part = |at: usize| scope.get(at).copied().unwrap_or_default().to_owned();
        let pairs = |encoded: &[u8]| -> Map<String, Value> {
            form_urlencoded::parse(encoded).map(|(name, value)| (name.into_owned(), json!(value))).collect()
        };
        let json = || -> Map<String, Value> { serde_json::from_slice(body).unwrap_or_default() };
        let (operation, input) = if let Some((_, name)) = text("x-amz-target").split_once('.') {
            (name.to_owned(), json())
        } else if text("content-type").starts_with("application/x-www-form-urlencoded") {
            let mut form = pairs(body);
            let action = form.remove("Action");
            (action.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(), form)
        } else {
            let mut asked = pairs(uri.query().unwrap_or_default().as_bytes());
            asked.extend(json());
            (format!("{method} {}", uri.path()), asked)
        };
        let account = self.keys.get(&part(0)).cloned().unwrap_or_default();
        AwsCall { account, region: part(2), service: part(3), operation, input }
    }

    fn answer(&mut self, call: &AwsCall) -> Reply {
        if call.operation == "AssumeRole" {
            return self.assume(call);
        }
        if let Some(reply) = self.script.as_ref().and_then(|script| script(call)) {
            return reply;
        }
        let (account, region) = (&call.account, &call.region);
        let held = |resource: Resource| -> Vec<String> {
            let key = (account.clone(), region.clone(), resource);
            self.resources.get(&key).cloned().unwrap_or_default()
        };
        let arn = |kind: &str, name: &String| format!("arn:aws:ecs:{region}:{account}:{kind}/{name}");
        match call.operation.as_str() {
            "POST /listRegions" => {
                let region = |name: &String| json!({"RegionName": name, "RegionOptStatus": "ENABLED"});
                let regions: Value = self.regions.get(account).into_iter().flatten().map(region).collect();
                Reply::json(&json!({"Regions": regions}))
            }
            "DescribeVolumes" => {
                let held = held(Resource::Volume);
                let asked = call.input.iter().filter(|(name, _)| name.starts_with("VolumeId."));
                let asked: Vec<String> =
                    asked.filter_map(|(_, id)| id.as_str().map(ToOwned::to_owned)).collect();
                if asked.iter().any(|id| !held.contains(id)) {
                    return Reply::refused(StatusCode::BAD_REQUEST, "InvalidVolume.NotFound");
                }
                Reply::sized_volumes(if asked.is_empty() { &held } else { &asked }, &self.sizes)
            }
            "DescribeSubnets" => Reply::subnets(call, &held(Resource::Subnet), None),
            "DescribeLogGroups" => {
                let group = |name: String| {
                    let arn = format!("arn:aws:logs:{region}:{account}:log-group:{name}");
                    json!({"logGroupName": name, "logGroupArn": arn, "creationTime": 1_700_000_000_000_u64})
                };
                let groups: Value = held(Resource::LogGroup).into_iter().map(group).collect();
                Reply::json(&json!({"logGroups": groups}))
            }
            "ListClusters" => {
                let arns: Value = held(Resource::Cluster).iter().map(|name| arn("cluster", name)).collect();
                Reply::json(&json!({"clusterArns": arns}))
            }
            "DescribeClusters" => {
                let described = |arn: String| {
                    let name = arn.rsplit('/').next().unwrap_or_default().to_owned();
                    json!({"clusterArn": arn, "clusterName": name, "status": "ACTIVE"})
                };
                let clusters: Value = call.list("clusters").into_iter().map(described).collect();
                Reply::json(&json!({"clusters": clusters, "failures": []}))
            }
            "ListServices" => {
                let arns: Value = held(Resource::Service).iter().map(|name| arn("service", name)).collect();
                Reply::json(&json!({"serviceArns": arns}))
            }
            "DescribeServices" => services(&call.list("services")),
            "ListUsers" => Reply::users(account, &held(Resource::User), false, None),
            other => Reply::error("NotScripted", &format!("{} {other} is not answered here", call.service)),
        }
    }

    fn assume(&mut self, call: &AwsCall) -> Reply {
        let arn = call.text("RoleArn").unwrap_or_default();
        let account = arn.split(':').nth(4).unwrap_or_default().to_owned();
        if self.closed.contains(&account) {
            let error =
                "<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not allowed</Message></Error>";
            let body = format!("<ErrorResponse>{error}</ErrorResponse>");
            return Reply { status: StatusCode::FORBIDDEN, content_type: "text/xml", body };
        }
        let key = format!("ASIA{account}{}", self.keys.len());
        let result = format!(
            "<AssumeRoleResult><AssumedRoleUser><AssumedRoleId>AROA:berth</AssumedRoleId>\
             <Arn>arn:aws:sts::{account}:assumed-role/PortOceanReadRole/berth</Arn></AssumedRoleUser>\
             <Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>"
        );
        self.keys.insert(key, account);
        Reply::xml("AssumeRole", &result)
    }
}

/// What `DescribeServices` answers when nothing is wrong.
fn services(arns: &[String]) -> Reply {
    let described = |arn: &String| {
        let name = arn.rsplit('/').next().unwrap_or_default();
        json!({"serviceArn": arn, "serviceName": name, "status": "ACTIVE"})
    };
    let services: Value = arns.iter().map(described).collect();
    Reply::json(&json!({"services": services, "failures": []}))
}
