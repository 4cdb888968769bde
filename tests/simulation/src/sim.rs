//! The state of a running scenario, and the path of every request of the host.

mod judge;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::body::{Body, to_bytes};
use berth_http::{Carrier, ResponseFuture, TransportCause, TransportError};
use bytes::Bytes;
use port_stand_in::PortStandIn;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::{
    aws::{self, Reaction},
    os,
    scenario::{AwsFault, Call, Draws, MapFault, PortFault, Route, Scenario, What},
    world::{EntityKey, Kind, World},
};

/// What every secret of a scenario has in it.
pub const CANARY: &str = "canary-";
/// The host that Port answers at.
pub const PORT: &str = "api.port.example";
/// What the integration is called.
pub const INTEGRATION: &str = "simulated";

/// A fault that is still to happen.
#[derive(Debug)]
struct Armed {
    what: What,
    skip: u32,
    times: u32,
}

/// What a scenario knows.
#[derive(Debug)]
pub struct State {
    /// The truth.
    pub world: World,
    /// Sessions from before that moment are not accepted.
    pub revoked: u64,
    armed: Vec<Armed>,
    /// Resources that a list or a description has left out in this process: at most once.
    lagged: BTreeSet<crate::world::Key>,
    /// Whether lists may lag: not where single reads decide.
    pub may_lag: bool,
    /// Whether tags could not be read in this process.
    pub tags_failed: bool,
    /// What happened, by name.
    pub counts: BTreeMap<String, u64>,
    /// What must not have happened.
    pub violations: Vec<String>,
    /// Calls of the host so far.
    pub calls: u64,
    /// The call at which it is killed, and whether after it is done.
    pub crash: Option<(u64, bool)>,
    /// Whether it is killed.
    pub dead: bool,
    /// Counts processes.
    pub process: u32,
    /// Whether the ledger may miss what the catalog holds.
    pub lost_records: bool,
    /// In which process a region was taken away last.
    pub narrowed: u32,
    /// In which process an account was.
    pub unlisted: BTreeMap<usize, u32>,
    /// What others own in Port, as they wrote it.
    pub foreign: BTreeMap<EntityKey, Value>,
    /// What others touched in this process.
    pub touched: BTreeSet<EntityKey>,
    /// Whether somebody deleted the entity of an account, and a live event's relation created it again before the
    /// next process began. No listing shows that, so the relations that Port cleared stay empty until everything is
    /// verified.
    pub account_restored: bool,
    /// In which order others wrote entities and the host looked at blueprints: the last of each.
    touched_at: BTreeMap<EntityKey, u64>,
    looked_at: BTreeMap<String, u64>,
    order: u64,
    /// Keys with a record in the ledger.
    pub recorded: BTreeSet<u128>,
    /// Accounts that a process of the host has read.
    read: BTreeSet<usize>,
    /// Whether a second host runs in this process. It writes without the ledger, which then does not know what that was.
    pub two_hosts: bool,
    /// Whether a second host may have written entities without tags that AWS did not give yet. The ledger still has the
    /// tags that the first host wrote, so they come back when everything is verified.
    pub tags_unknown: bool,
    tags_lagged: bool,
    trace: Sha256,
    /// The trace as text, where it is wanted.
    pub reported: Option<String>,
    draws: Draws,
}

/// Whether an entity stands for an account.
pub fn is_account((blueprint, _): &EntityKey) -> bool {
    blueprint.starts_with(Kind::Account.blueprint())
}

impl State {
    /// The state at the beginning of a scenario.
    pub fn new(scenario: &Scenario, traces: bool) -> Self {
        let mut world = World::new(scenario.accounts, scenario.regions);
        for (key, shared) in &scenario.resources {
            world.put(*key, *shared);
        }
        Self {
            world,
            revoked: 0,
            armed: Vec::new(),
            lagged: BTreeSet::new(),
            may_lag: !scenario.live,
            tags_failed: false,
            counts: BTreeMap::new(),
            violations: Vec::new(),
            calls: 0,
            crash: None,
            dead: false,
            process: 0,
            lost_records: false,
            narrowed: 0,
            unlisted: BTreeMap::new(),
            foreign: BTreeMap::new(),
            touched: BTreeSet::new(),
            account_restored: false,
            touched_at: BTreeMap::new(),
            looked_at: BTreeMap::new(),
            order: 0,
            recorded: BTreeSet::new(),
            read: BTreeSet::new(),
            two_hosts: false,
            tags_unknown: false,
            tags_lagged: false,
            trace: Sha256::new(),
            reported: traces.then(String::new),
            draws: Draws::new(!scenario.seed),
        }
    }

    /// A process of the host begins.
    pub fn begin(&mut self) {
        self.world.begin();
        self.process += 1;
        self.calls = 0;
        self.dead = false;
        self.tags_failed = false;
        self.tags_unknown |= self.two_hosts && self.tags_lagged;
        (self.two_hosts, self.tags_lagged) = (false, false);
        self.lagged.clear();
        self.touched.clear();
        self.read.extend(self.world.listed());
    }

    /// Has something fail.
    pub fn arm(&mut self, what: What) {
        let (skip, times) = match what {
            What::Aws(_, _, _, skip, times)
            | What::Port(_, _, skip, times)
            | What::Map(_, _, skip, times)
            | What::DiskFull(skip, times) => (skip, times),
            What::Role(_, _, times) | What::Regions(_, _, times) => (0, times),
            _ => (0, 0),
        };
        self.armed.push(Armed { what, skip, times });
    }

    /// Nothing fails any more.
    pub fn disarm(&mut self) {
        self.armed.clear();
        self.crash = None;
    }

    /// Notes that something happened.
    pub fn count(&mut self, what: &str) {
        self.lost_records |= matches!(
            what,
            "host: ledger lost"
                | "host: ledger torn"
                | "host: disk full"
                | "host: two at once"
                | "host: killed"
        );
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    /// Notes what must not have happened.
    pub fn violation(&mut self, what: String) {
        self.note(&format!("VIOLATION {what}"));
        self.violations.push(what);
    }

    /// Adds to the trace.
    pub fn note(&mut self, what: &str) {
        self.trace.update(what.as_bytes());
        self.trace.update(b"\n");
        if let Some(reported) = &mut self.reported {
            let _ = writeln!(reported, "{:>12.3} {what}", Duration::from_nanos(os::elapsed()).as_secs_f64());
        }
    }

    /// A digest of the trace so far.
    pub fn digest(&self) -> String {
        format!("{:x}", self.trace.clone().finalize())
    }

    /// Takes the first fault that hits.
    fn take<T>(&mut self, hits: impl Fn(&What) -> Option<T>) -> Option<T> {
        for index in 0..self.armed.len() {
            let armed = &mut self.armed[index];
            let Some(found) = hits(&armed.what) else { continue };
            if armed.skip > 0 {
                armed.skip -= 1;
                continue;
            }
            armed.times = armed.times.saturating_sub(1);
            if armed.times == 0 {
                self.armed.remove(index);
            }
            return Some(found);
        }
        None
    }

    /// What a read meets.
    pub fn aws_fault(&mut self, kind: Kind, call: Call, account: usize, region: usize) -> Option<AwsFault> {
        let may_lag = self.may_lag;
        let fault = self.take(|what| match what {
            What::Aws(fault, on, key, ..)
                if *on == call && key.kind == kind && key.account == account && key.region == region =>
            {
                let lags = matches!(fault, AwsFault::LaggingList | AwsFault::LaggingDescribe);
                (may_lag || !lags || call == Call::Tags).then_some(*fault)
            }
            _ => None,
        })?;
        self.tags_failed |= call == Call::Tags;
        self.tags_lagged |= call == Call::Tags && fault == AwsFault::LaggingDescribe;
        self.count(&format!("aws: {call:?} {fault:?}"));
        Some(fault)
    }

    /// Whether a resource may be left out of an answer.
    pub fn lag(&mut self, key: crate::world::Key) -> bool {
        self.may_lag && self.lagged.insert(key)
    }

    /// Whether relations to an account may be empty, as somebody touched its entity.
    pub fn account_touched(&self) -> bool {
        self.account_restored || self.touched.iter().any(is_account)
    }

    /// Whether a resource was left out of an answer in this process.
    pub fn has_lagged(&self, key: &crate::world::Key) -> bool {
        self.lagged.contains(key)
    }

    /// What assuming a role meets.
    pub fn role_fault(&mut self, account: usize) -> Option<AwsFault> {
        self.met("aws: role", |what| match what {
            What::Role(fault, of, _) if *of == account => Some(*fault),
            _ => None,
        })
    }

    /// What listing regions meets.
    pub fn region_fault(&mut self, account: usize) -> Option<AwsFault> {
        self.met("aws: regions", |what| match what {
            What::Regions(fault, of, _) if *of == account => Some(*fault),
            _ => None,
        })
    }

    /// What mapping a batch meets.
    pub fn map_fault(&mut self, kind: Kind) -> Option<MapFault> {
        self.met("host: mapper", |what| match what {
            What::Map(fault, of, ..) if *of == kind => Some(*fault),
            _ => None,
        })
    }

    /// Takes the first fault that hits, and counts it.
    fn met<F: std::fmt::Debug>(&mut self, place: &str, hits: impl Fn(&What) -> Option<F>) -> Option<F> {
        let fault = self.take(hits)?;
        self.count(&format!("{place} {fault:?}"));
        Some(fault)
    }

    /// Whether the disk is full.
    pub fn disk_fault(&mut self) -> bool {
        let full = self.take(|what| matches!(what, What::DiskFull(..)).then_some(())).is_some();
        if full {
            self.count("host: disk full");
        }
        full
    }

    fn port_fault(&mut self, method: &http::Method, path: &str) -> Option<PortFault> {
        self.met("port:", |what| match what {
            What::Port(fault, route, ..) if route.hits(method, path) => Some(*fault),
            _ => None,
        })
    }
}

impl Route {
    fn hits(self, method: &http::Method, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Upsert => path.ends_with("/entities/bulk"),
            Self::Delete => path.ends_with("/bulk/entities/delete") || *method == http::Method::DELETE,
            Self::Search => path.ends_with("/entities/search"),
            Self::Owned => path.ends_with("/datasource-entities"),
            Self::Integration => path.starts_with("/v1/integration"),
            Self::Token => path.ends_with("/access_token"),
        }
    }
}

/// Whether an entity's last writer is the integration.
pub fn is_ours(writer: &str) -> bool {
    writer.contains(&format!("/{INTEGRATION}"))
}

/// The way to AWS and Port.
#[derive(Debug, Clone)]
pub struct Net {
    /// What the scenario knows.
    pub state: Arc<Mutex<State>>,
    /// Port.
    pub port: Arc<PortStandIn>,
    /// Is told when the host is killed.
    pub killed: Arc<Notify>,
    /// Whether the host has a ledger.
    pub has_ledger: bool,
}

impl Carrier for Net {
    fn carry(&self, request: reqwest::Request) -> ResponseFuture {
        let net = self.clone();
        Box::pin(async move {
            let limit = request.timeout().copied().unwrap_or(Duration::from_mins(5));
            let late = TransportError::of_carrier(TransportCause::TimedOut, true);
            tokio::time::timeout(limit, net.exchange(request)).await.unwrap_or(Err(late))
        })
    }
}

impl Net {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of the host begins. False: it is killed, and nothing comes of it.
    pub fn call_begins(&self) -> bool {
        let mut state = self.state();
        if state.dead {
            return false;
        }
        state.calls += 1;
        if state.crash.is_some_and(|(at, after)| at == state.calls && !after) {
            state.kill(&self.killed);
            return false;
        }
        true
    }

    /// A call of the host is done. False: it is killed, and does not get to know.
    pub fn call_ends(&self, call: u64) -> bool {
        let mut state = self.state();
        if state.crash.is_some_and(|(at, after)| at == call && after) {
            state.kill(&self.killed);
        }
        !state.dead
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<reqwest::Response, TransportError> {
        if !self.call_begins() {
            std::future::pending::<()>().await;
        }
        let (call, latency) = {
            let mut state = self.state();
            let latency = 1 + state.draws.below(40);
            (state.calls, Duration::from_millis(latency))
        };
        tokio::time::sleep(latency / 2).await;
        let reaction = self.react(&request).await;
        if !self.call_ends(call) {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(latency / 2).await;
        reaction.into_response().await
    }

    async fn react(&self, request: &reqwest::Request) -> Reaction {
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        let mut plain = http::Request::new(Bytes::copy_from_slice(body));
        plain.method_mut().clone_from(request.method());
        plain.headers_mut().clone_from(request.headers());
        if let Ok(uri) = request.url().as_str().parse() {
            *plain.uri_mut() = uri;
        }
        let is_port = request.url().host_str() == Some(PORT);
        let asked = format!("{} {} {}", request.method(), request.url(), String::from_utf8_lossy(body));
        let secret = request.url().path() != "/v1/auth/access_token";
        if is_port && secret && asked.contains(CANARY) {
            self.state().violation(format!("a secret is sent to Port: {}", request.url()));
        }
        let reaction =
            if is_port { self.react_as_port(plain).await } else { aws::react(&mut self.state(), &plain) };
        let reported = match &reaction {
            Reaction::Answer(answer) | Reaction::Broken(answer) => {
                let cut = if matches!(reaction, Reaction::Broken(_)) { " cut" } else { "" };
                format!("{}{cut} {}", answer.status().as_u16(), String::from_utf8_lossy(answer.body()))
            }
            Reaction::Hang => "hangs".to_owned(),
            Reaction::Fails(error) => format!("fails: {error:?}"),
        };
        let mut state = self.state();
        state.note(&format!("{} {asked} -> {reported}", os::elapsed()));
        reaction
    }

    async fn react_as_port(&self, request: http::Request<Bytes>) -> Reaction {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let fault = self.state().port_fault(&method, &path);
        let refusal = |status: u16, headers: &[(&'static str, &'static str)]| {
            let body = json!({"ok": false, "error": "fault", "message": "it was asked for"}).to_string();
            let mut answer = http::Response::new(Bytes::from(body));
            *answer.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
            for (name, value) in headers {
                answer.headers_mut().insert(*name, http::HeaderValue::from_static(value));
            }
            Reaction::Answer(answer)
        };
        match fault {
            Some(PortFault::Limited) => {
                let headers =
                    [("retry-after", "3"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "3")];
                refusal(429, &headers)
            }
            Some(PortFault::Failed) => refusal(500, &[]),
            Some(PortFault::BadGateway) => refusal(502, &[]),
            Some(PortFault::Hang) => Reaction::Hang,
            Some(PortFault::ResetBefore) => {
                Reaction::Fails(TransportError::of_carrier(TransportCause::Cut, true))
            }
            Some(PortFault::ResetAfter) => {
                self.ask_port(request).await;
                Reaction::Fails(TransportError::of_carrier(TransportCause::Cut, true))
            }
            Some(PortFault::Truncated) => Reaction::Broken(self.ask_port(request).await),
            Some(PortFault::Malformed) => {
                self.ask_port(request).await;
                Reaction::Answer(http::Response::new(Bytes::from_static(b"<html>welcome</html>")))
            }
            Some(PortFault::Expired) => {
                self.port.expire_tokens();
                Reaction::Answer(self.ask_port(request).await)
            }
            Some(PortFault::Partial) => self.partly(request).await,
            None => Reaction::Answer(self.ask_port(request).await),
        }
    }

    /// Writes all entities of a bulk but the last.
    async fn partly(&self, request: http::Request<Bytes>) -> Reaction {
        let (parts, body) = request.into_parts();
        let mut bulk: Value = serde_json::from_slice(&body).unwrap_or_default();
        let entities = bulk["entities"].as_array_mut();
        let Some(last) = entities.and_then(Vec::pop) else {
            return Reaction::Answer(self.ask_port(http::Request::from_parts(parts, body)).await);
        };
        let index = bulk["entities"].as_array().map_or(0, Vec::len);
        let mut reported = json!({"ok": false, "entities": [], "errors": []});
        if index > 0 {
            let answer = self.ask_port(http::Request::from_parts(parts, bulk.to_string().into())).await;
            if answer.status() != 207 {
                return Reaction::Answer(answer);
            }
            reported = serde_json::from_slice(answer.body()).unwrap_or_default();
        }
        let error = json!({"identifier": last["identifier"], "index": index, "statusCode": 500,
                           "error": "internal", "message": "an error occurred"});
        if let Some(errors) = reported["errors"].as_array_mut() {
            errors.push(error);
        }
        reported["ok"] = json!(false);
        let mut answer = http::Response::new(Bytes::from(reported.to_string()));
        *answer.status_mut() = http::StatusCode::MULTI_STATUS;
        Reaction::Answer(answer)
    }

    async fn ask_port(&self, request: http::Request<Bytes>) -> http::Response<Bytes> {
        let deletes = Route::Delete.hits(request.method(), request.uri().path());
        let writes = Route::Upsert.hits(request.method(), request.uri().path());
        if Route::Search.hits(request.method(), request.uri().path())
            && let Some(blueprint) = request.uri().path().split('/').nth(3)
        {
            self.state().looked_at(blueprint);
        }
        let before = if deletes { self.port.writers() } else { BTreeMap::new() };
        let (mut parts, body) = request.into_parts();
        if let Some(path) = parts.uri.path_and_query() {
            parts.uri = path.clone().into();
        }
        let answer = self.port.answer(http::Request::from_parts(parts, Body::from(body))).await;
        let (parts, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
        if writes {
            let writers = self.port.writers();
            self.state().judge_writes(&writers);
        }
        if deletes {
            let after = self.port.writers();
            let mut state = self.state();
            for (key, writer) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
                state.note(&format!("deleted {}/{}", key.0, key.1));
                state.judge(key, writer, self.has_ledger);
            }
        }
        http::Response::from_parts(parts, body)
    }
}

impl State {
    fn kill(&mut self, killed: &Notify) {
        self.crash = None;
        self.dead = true;
        self.count("host: killed");
        self.note("the host is killed");
        killed.notify_one();
    }
}
