//! Handles one request: finds the caller and the operation, and writes the response.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use axum::{body::Body, extract::State, response::Response};
use berth_aws_protocol::Protocol;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::{
    Options, answer, caller,
    caller::Scope,
    catalog::{Catalog, Known, Role},
    error::Refusal,
    latency::Clock,
    own,
    own::Trust,
    pages,
    protocol::{self, json, query, rest},
    stats::{Counted, Counters},
    template::{Context, Template},
    throttle::{Buckets, Throttle},
    world::{Place, World, account_id},
};

/// No request that only reads comes near.
const BODY_LIMIT: usize = 1 << 20;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) world: World,
    /// The templates of the catalog's operations, made on first use.
    templates: Vec<OnceLock<Template>>,
    pub(crate) counters: Counters,
    buckets: Buckets,
    throttle: Throttle,
    clock: Clock,
    trust: Trust,
    denied_regions: BTreeSet<String>,
    faults: BTreeMap<String, String>,
}

/// A request whose operation is known.
struct Asked<'s> {
    known: &'s Known,
    index: usize,
    input: Value,
}

/// What went wrong, and the protocol to tell it in.
struct Failed {
    protocol: Protocol,
    service: String,
    query_compatible: bool,
    refusal: Refusal,
}

impl Server {
    pub(crate) fn new(options: &Options, catalog: Catalog) -> Self {
        let templates = catalog.operations.iter().map(|_| OnceLock::new()).collect();
        Self {
            templates,
            world: World::new(options, catalog),
            counters: Counters::default(),
            buckets: Buckets::default(),
            throttle: options.throttle,
            clock: Clock::new(options.latency, options.seed),
            trust: Trust { role_name: options.role_name.clone(), external_id: options.external_id.clone() },
            denied_regions: options.denied_regions.iter().cloned().collect(),
            faults: options.faults.iter().cloned().collect(),
        }
    }

    pub(crate) fn reset(&self) {
        self.counters.clear();
        self.buckets.clear();
    }

    fn template(&self, index: usize) -> &Template {
        let make = || {
            let known = &self.world.catalog.operations[index];
            let root = answer::build(&self.world.catalog, known, &self.world.regions);
            protocol::template(&known.operation, &root)
        };
        self.templates[index].get_or_init(make)
    }

    fn answer(
        &self,
        head: &http::request::Parts,
        body: &[u8],
        counted: &mut Counted,
    ) -> Result<Response, Failed> {
        let scope = caller::scope(&head.headers).map_err(|refusal| failed("", refusal))?;
        let form = head.uri.path() == "/" && !body.is_empty() && is_form(head);
        let form = form.then(|| query::form(body));
        let action = form.as_ref().and_then(|form| form.get("Action")).map(String::as_str);
        let Some(scope) = scope else {
            // The one call of all that needs no signature.
            return match (&form, action) {
                (Some(form), Some("AssumeRoleWithWebIdentity")) => self.sts(form, None, "us-east-1", counted),
                _ => Err(failed("", own::unsigned())),
            };
        };
        scope.region.clone_into(&mut counted.region);
        let account = caller::account(&self.world, scope, &head.headers)
            .map_err(|refusal| failed(scope.service, refusal))?;
        account_id(account, &mut counted.account);
        if let ("sts", Some(form)) = (scope.service, &form) {
            return self.sts(form, Some((account, scope.key)), scope.region, counted);
        }
        let asked = self.find(head, body, scope, form.as_ref())?;
        asked.known.name.clone_into(&mut counted.operation);
        self.resources(&asked, Place { account, region: scope.region }, counted).map_err(|refusal| {
            let service = asked.known.operation.service();
            Failed {
                protocol: service.protocol(),
                service: service.name().to_owned(),
                query_compatible: service.model().query_compatible,
                refusal,
            }
        })
    }

    fn sts(
        &self,
        form: &query::Form,
        caller: Option<(u64, &str)>,
        region: &str,
        counted: &mut Counted,
    ) -> Result<Response, Failed> {
        let action = form.get("Action").map(String::as_str).unwrap_or_default();
        counted.operation = format!("sts:{action}");
        let account = caller.map_or(self.world.first_account, |(account, _)| account);
        self.admit("sts", Protocol::Query, &counted.operation, Place { account, region }, true)
            .and_then(|()| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                own::sts(&self.world, &self.trust, form, caller, now)
            })
            .map(|(body, _)| respond(body, HeaderValue::from_static("text/xml")))
            .map_err(|refusal| failed("sts", refusal))
    }

    /// The operation and its input.
    fn find(
        &self,
        head: &http::request::Parts,
        body: &[u8],
        scope: Scope<'_>,
        form: Option<&query::Form>,
    ) -> Result<Asked<'_>, Failed> {
        let catalog = &self.world.catalog;
        let service = scope.service.to_owned();
        let unknown = |what: &str| {
            let code = if form.is_some() { "InvalidAction" } else { "UnknownOperationException" };
            failed(scope.service, Refusal::new(400, code, format!("{service} has no {what} here")))
        };
        let asked = |index: usize, input: Value| Asked { known: &catalog.operations[index], index, input };
        if let Some(form) = form {
            let get = |name: &str| form.get(name).cloned().unwrap_or_default();
            let key = (service.clone(), get("Version"), get("Action"));
            let index = *catalog.actions.get(&key).ok_or_else(|| unknown(&get("Action")))?;
            let input = query::input(&catalog.operations[index].operation, form);
            return Ok(asked(index, input));
        }
        if let Some(target) = head.headers.get("x-amz-target") {
            let target = target.to_str().unwrap_or_default().to_owned();
            let index =
                *catalog.targets.get(&(service.clone(), target.clone())).ok_or_else(|| unknown(&target))?;
            let input = json::input(&catalog.operations[index].operation, body)
                .map_err(|refusal| failed(scope.service, refusal))?;
            return Ok(asked(index, input));
        }
        let pairs = head.uri.query().unwrap_or_default();
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(pairs.as_bytes()).into_owned().collect();
        let target = rest::Target { method: &head.method, path: head.uri.path(), query: &pairs };
        let routes = catalog.routes.get(scope.service).map(Vec::as_slice).unwrap_or_default();
        let found = routes.iter().find_map(|(route, index)| Some((*index, route.fit(&target)?)));
        let (index, labels) =
            found.ok_or_else(|| unknown(&format!("{} {}", head.method, head.uri.path())))?;
        let input = rest::input(&catalog.operations[index].operation, &labels, &target, body)
            .map_err(|refusal| failed(scope.service, refusal))?;
        Ok(asked(index, input))
    }

    /// Whether a request is let through at all.
    fn admit(
        &self,
        service: &str,
        protocol: Protocol,
        name: &str,
        place: Place<'_>,
        is_bounded: bool,
    ) -> Result<(), Refusal> {
        if let Some(code) = self.faults.get(name) {
            return Err(Refusal::asked_for(code));
        }
        // As in the policies that AWS suggests, what is not in a region is not denied by region.
        let is_regional =
            !["sts", "account", "organizations", "iam", "cloudfront", "route53"].contains(&service);
        if is_regional && self.denied_regions.contains(place.region) {
            return Err(Refusal::denied(service, protocol, name));
        }
        let throttled = self.throttle == Throttle::Aws
            && !self.buckets.take(name, place.account, place.region, is_bounded, Instant::now());
        if throttled { Err(Refusal::throttled(service, protocol)) } else { Ok(()) }
    }

    fn resources(
        &self,
        asked: &Asked<'_>,
        place: Place<'_>,
        counted: &mut Counted,
    ) -> Result<Response, Refusal> {
        let Asked { known, index, input } = asked;
        let service = known.operation.service();
        let bounded = pages::is_bounded(known, input);
        self.admit(service.name(), service.protocol(), &known.name, place, bounded).inspect_err(
            |refusal| {
                counted.throttled = *refusal == Refusal::throttled(service.name(), service.protocol());
            },
        )?;
        if let Some(missing) = missing_member(known, input) {
            return Err(Refusal::invalid(service.protocol(), format!("{missing} is missing")));
        }
        let body = if matches!(known.role, Role::Own) {
            own::answer(&self.world, &known.name, input)?
        } else {
            let page = pages::find(&self.world, known, place, input)?;
            let context = Context {
                world: &self.world,
                place,
                input,
                subjects: &page.subjects,
                next_token: page.next_token.as_deref(),
            };
            self.template(*index).write(&context)
        };
        Ok(respond(body, protocol::content_type(&known.operation)))
    }
}

/// A member that an input must have and lacks.
fn missing_member(known: &Known, input: &Value) -> Option<String> {
    let model = known.operation.service().model();
    let structure = model.structure(known.operation.model().input.as_ref()?)?;
    structure.required.iter().find(|name| input.get(name.as_str()).is_none()).cloned()
}

fn is_form(head: &http::request::Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    head.method == Method::POST && kind.starts_with(b"application/x-www-form-urlencoded")
}

fn failed(signing_name: &str, refusal: Refusal) -> Failed {
    let service = signing_name.to_owned();
    Failed { protocol: caller::protocol_of(signing_name), service, query_compatible: false, refusal }
}

fn respond(body: Vec<u8>, content_type: HeaderValue) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Answers a request.
pub(crate) async fn handle(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    if let Some(control) = head.uri.path().strip_prefix("/_simulator/") {
        return control_answer(&server, &head.method, control);
    }
    let running = server.counters.begin();
    let body = match http_body_util::Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let mut counted = Counted::default();
    let number = server.clock.next();
    let mut response = server.answer(&head, &body, &mut counted).unwrap_or_else(|failed| {
        counted.error = true;
        counted.throttled |= failed.refusal == Refusal::throttled(&failed.service, failed.protocol);
        let id = "00000000-0000-4000-8000-000000000000";
        protocol::refuse(failed.protocol, &failed.service, failed.query_compatible, &failed.refusal, id)
    });
    response
        .headers_mut()
        .insert("x-amzn-requestid", HeaderValue::from_static("00000000-0000-4000-8000-000000000000"));
    counted.bytes = axum::body::HttpBody::size_hint(response.body()).lower();
    if !number.is_zero() {
        tokio::time::sleep(number).await;
    }
    running.count(&counted);
    response
}

fn control_answer(server: &Server, method: &Method, path: &str) -> Response {
    match (method, path) {
        (&Method::GET, "stats") => {
            let stats = serde_json::to_vec(&server.counters.read()).unwrap_or_default();
            respond(stats, HeaderValue::from_static("application/json"))
        }
        (&Method::POST, "reset") => {
            server.reset();
            respond(b"{}".to_vec(), HeaderValue::from_static("application/json"))
        }
        _ => {
            let mut response = respond(
                b"GET /_simulator/stats, POST /_simulator/reset\n".to_vec(),
                HeaderValue::from_static("text/plain"),
            );
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
