//! The model-driven client: signs, sends, repeats and decodes the read operations of every
//! service.
//!
//! Only read operations exist in the models (`berth_aws_wire`), so that nothing here can write.

mod body;
mod pace;
mod repairs;
mod shared;

use std::{
    collections::{BTreeSet, HashMap},
    error::Error as _,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_types::date_time::{DateTime, Format};
use berth_aws_wire::{Endpoint, EndpointOptions, Operation, Page, PageCursor, Service, WireRequest};
use berth_core::{AccountId, KindManifest, Path, Region, Scope};
use bytes::Bytes;
use futures::future::FutureExt;
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

pub(crate) use self::shared::{Answer, Outcome};
use self::{body::Unread, pace::Pace, shared::SharedReads};
use crate::{
    AwsConfig, Concurrency, EndpointOverrides, Retry,
    errors::{CallError, is_expired, is_mistrust, is_skewed, is_throttling, is_transient},
    identity::Session,
    stats::{Counters, Tally},
};

/// What AWS leaves unencoded in a query.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What one repeat takes from the budget of its bucket.
const REPEAT_COST: u32 = 5;
/// What the repeat of a request that got no answer takes.
const SILENCE_COST: u32 = 10;
/// Attempts at a name that does not resolve: most often the service is not in the region.
const UNRESOLVED_ATTEMPTS: u32 = 3;
/// Buckets that are kept without a look at which are still needed.
const LEAST_ROOM: usize = 1024;
/// What is kept of the answers of one unit.
const UNIT_READ_BYTES: usize = 1 << 20;
/// How far the clocks may be apart before a refused signature is put down to them.
const SKEW_SECONDS: i64 = 240;

/// Whom to ask: an account's session, in a region.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) account: AccountId,
    pub(crate) region: Region,
    pub(crate) session: Arc<Session>,
    /// Where what it costs is written down; not for what is no kind's.
    pub(crate) tally: Option<Arc<Tally>>,
}

impl Target {
    fn waited(&self, service: &str, time: Duration) {
        if let Some(tally) = &self.tally {
            tally.waited(service, time);
        }
    }
}

/// The client. One per source, shared by all accounts.
pub(crate) struct Client {
    http: reqwest::Client,
    overrides: EndpointOverrides,
    options: EndpointOptions,
    retry: Retry,
    concurrency: Concurrency,
    in_flight: Semaphore,
    in_flight_per_service: Mutex<HashMap<String, Arc<Semaphore>>>,
    paces: Mutex<Paces>,
    bucket_regions: Mutex<HashMap<String, Region>>,
    max_pages: u32,
    max_response_bytes: usize,
    reads: SharedReads,
    /// By service and operation.
    audiences: RwLock<HashMap<(String, String), Audience>>,
    /// Seconds that AWS's clock is ahead of ours.
    skew: AtomicI64,
    pub(crate) counters: Counters,
}

/// The pace of every bucket that is not as good as new.
#[derive(Default)]
struct Paces {
    buckets: HashMap<(AccountId, Region, Arc<str>), Arc<Pace>>,
    /// How many there may be before it is looked which are still needed.
    room: usize,
}

/// Who may ask for the same answer again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Audience {
    /// Nobody: each call is made once.
    Nobody,
    /// The unit that asked for it.
    Unit,
    /// Other units, too.
    Resync,
}

/// The answers that one unit may ask for again.
#[derive(Debug)]
pub(crate) struct UnitReads(SharedReads);

impl Default for UnitReads {
    fn default() -> Self {
        Self(SharedReads::new(UNIT_READ_BYTES))
    }
}

/// What an attempt came to.
enum Attempt {
    Answered(Answer, Credentials),
    Silent { reason: String, unresolved: bool },
}

/// What an answer says.
///
/// # Errors
/// [`CallError`] where it tells of one, or cannot be read.
pub(crate) fn decode(operation: &Operation, answer: &Answer) -> Result<Value, CallError> {
    decode_list(operation, answer, &[])
}

/// What an answer says, if what `items` leads to can be read.
///
/// # Errors
/// As those of [`decode`].
pub(crate) fn decode_list(
    operation: &Operation,
    answer: &Answer,
    items: &[&Path],
) -> Result<Value, CallError> {
    accept(operation, answer)?;
    let (value, repairs) = operation.decode_list(answer.status, &answer.headers, &answer.body, items)?;
    repairs::note(operation, repairs);
    Ok(value)
}

/// What an answer that lists says, with its items as text.
///
/// # Errors
/// As those of [`decode`].
pub(crate) fn decode_page(operation: &Operation, answer: &Answer, items: &Path) -> Result<Page, CallError> {
    accept(operation, answer)?;
    let page = operation.decode_page(answer.status, &answer.headers, &answer.body, items)?;
    repairs::note(operation, page.repairs);
    Ok(page)
}

/// Refuses an answer that tells of an error.
fn accept(operation: &Operation, answer: &Answer) -> Result<(), CallError> {
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    let error = operation.decode_error(answer.status, &answer.headers, &answer.body);
    let has_body = operation.model().method != http::Method::HEAD;
    Err(CallError::of_answer(answer.status, error, has_body))
}

impl Client {
    pub(crate) fn new(config: &AwsConfig, http: reqwest::Client) -> Self {
        Self {
            http,
            overrides: config.endpoints.clone(),
            options: EndpointOptions { fips: config.fips, dual_stack: config.dual_stack },
            retry: config.retry,
            concurrency: config.concurrency,
            in_flight: Semaphore::new(config.concurrency.requests.get()),
            in_flight_per_service: Mutex::default(),
            paces: Mutex::default(),
            bucket_regions: Mutex::default(),
            max_pages: config.max_pages_per_list,
            max_response_bytes: config.max_response_bytes,
            reads: SharedReads::new(config.shared_read_bytes.unwrap_or(64 << 20)),
            audiences: RwLock::default(),
            skew: AtomicI64::new(0),
            counters: Counters::default(),
        }
    }

    /// Forgets all answers: a new resync reads anew.
    pub(crate) fn forget_reads(&self) {
        self.reads.clear();
        self.audiences.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.counters.forget_kinds();
    }

    /// Learns from the fetch plans of a resync which answers nobody else will ask for, so that they are
    /// not kept.
    pub(crate) fn expect(&self, reads: &[(Arc<KindManifest>, BTreeSet<String>)]) {
        let mut audiences: HashMap<(String, String), Audience> = HashMap::new();
        for (kind, options) in reads {
            let mut own: HashMap<(&str, &str), Audience> = HashMap::new();
            for step in kind.plan.steps.iter().filter(|step| step.is_on(options)) {
                // Units of an organization's kinds all ask the same; so do those of the regions of an
                // account, where a step has a region of its own.
                let audience = if kind.scope == Scope::Organization
                    || (kind.scope == Scope::Regional && step.region.is_some())
                {
                    Audience::Resync
                } else if step.parent().is_some() {
                    // What runs for each item may ask the same for two of them.
                    Audience::Unit
                } else {
                    Audience::Nobody
                };
                own.entry((&step.service, &step.operation))
                    .and_modify(|known| *known = audience.max(Audience::Unit).max(*known))
                    .or_insert(audience);
            }
            for ((service, operation), audience) in own {
                audiences
                    .entry((service.to_owned(), operation.to_owned()))
                    .and_modify(|known| *known = Audience::Resync)
                    .or_insert(audience);
            }
        }
        *self.audiences.write().unwrap_or_else(PoisonError::into_inner) = audiences;
    }

    /// Who may ask for the answers of an operation again. Of one that no plan told of, anyone.
    fn audience(&self, service: &str, operation: &str) -> Audience {
        let audiences = self.audiences.read().unwrap_or_else(PoisonError::into_inner);
        audiences.get(&(service.to_owned(), operation.to_owned())).copied().unwrap_or(Audience::Resync)
    }

    /// Calls an operation, or takes the answer of the same call made before in this resync.
    ///
    /// # Errors
    /// [`CallError`], once repeating is of no use.
    pub(crate) async fn call(
        self: &Arc<Self>,
        target: &Target,
        operation: &Operation,
        input: &Value,
    ) -> Result<Value, CallError> {
        decode(operation, &*self.answer(target, operation, input, None).await?)
    }

    /// The answer of [`call`](Self::call) as it came. What only the unit may ask for again is kept
    /// with `own`.
    ///
    /// # Errors
    /// [`CallError`], once repeating is of no use. An answer may tell of an error, too.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        target: &Target,
        operation: &Operation,
        input: &Value,
        own: Option<&UnitReads>,
    ) -> Outcome {
        let (service, name) = (operation.service().name(), operation.name());
        let key = shared::key(target.account.as_str(), target.region.as_str(), service, name, input);
        let ask = || {
            let (client, target) = (self.clone(), target.clone());
            let (operation, input) = (operation.clone(), input.clone());
            async move { client.ask(&target, &operation, &input).await.map(Arc::new) }.boxed()
        };
        let audience = self.audience(service, name);
        let reads = match (audience, own) {
            (Audience::Unit, Some(UnitReads(own))) => own,
            _ => &self.reads,
        };
        let (outcome, shared): (Outcome, bool) = reads.get(key, audience != Audience::Nobody, ask).await;
        if shared {
            self.counters.count(service, name, |calls| calls.shared += 1);
        }
        outcome
    }

    /// The answer to a call, whatever was asked before.
    ///
    /// # Errors
    /// As those of [`answer`](Self::answer).
    pub(crate) async fn answer_anew(&self, target: &Target, operation: &Operation, input: &Value) -> Outcome {
        self.ask(target, operation, input).await.map(Arc::new)
    }

    /// Follows the pages of one list.
    pub(crate) fn pages(&self) -> PageCursor {
        PageCursor::new(self.max_pages)
    }

    /// Calls an operation with all its pages and returns the list that `items` names.
    ///
    /// # Errors
    /// [`CallError`] of any page, and where an answer does not have the list.
    pub(crate) async fn all(
        self: &Arc<Self>,
        target: &Target,
        service: &str,
        operation: &str,
        mut input: Value,
        items: &str,
    ) -> Result<Vec<Value>, CallError> {
        let operation = Service::load(service)?.operation(operation)?;
        let items = Path::list_of(items);
        let mut all = Vec::new();
        let mut pages = self.pages();
        loop {
            let mut answer = self.call(target, &operation, &input).await?;
            operation.check_list(&answer, &items, None)?;
            let more = pages.advance(&operation, &answer, &mut input)?;
            all.extend(items.take_all(&mut answer));
            if !more {
                return Ok(all);
            }
        }
    }

    /// Asks until there is a final answer, be it an error.
    async fn ask(&self, target: &Target, operation: &Operation, input: &Value) -> Result<Answer, CallError> {
        let service = operation.service().name();
        let count =
            |change: fn(&mut crate::CallStats)| self.counters.count(service, operation.name(), change);
        let outcome = self.ask_repeatedly(target, operation, input).await;
        if outcome.as_ref().map_or(true, |answer| !(200..300).contains(&answer.status)) {
            count(|calls| calls.errors += 1);
        }
        outcome
    }

    async fn ask_repeatedly(
        &self,
        target: &Target,
        operation: &Operation,
        input: &Value,
    ) -> Result<Answer, CallError> {
        let service = operation.service().name();
        let count =
            |change: fn(&mut crate::CallStats)| self.counters.count(service, operation.name(), change);
        let wire = operation.encode(input)?;
        let bucket = (service == "s3").then(|| input.get("Bucket").and_then(Value::as_str)).flatten();
        let mut region =
            bucket.and_then(|bucket| self.bucket_region(bucket)).unwrap_or(target.region.clone());
        let pace = self.pace(&target.account, &region, service);
        let lane = self.lane(service);
        // What happened so far: attempts that count, and second chances that do not.
        let (mut attempts, mut spent, mut redirects, mut renewals, mut corrected) = (0, 0, 0, 0, false);
        loop {
            let (endpoint, url) = self.url(operation, &wire, &region)?;
            let asked = Instant::now();
            let turn = pace.turn().await;
            target.waited(service, asked.elapsed());
            attempts += 1;
            count(|calls| calls.requests += 1);
            if attempts > 1 {
                count(|calls| calls.retries += 1);
            }
            let attempt = {
                // Neither semaphore is ever closed, and each is taken in the same order.
                let _lane = lane.acquire().await;
                let _seat = self.in_flight.acquire().await;
                self.attempt(target, operation, &wire, &endpoint, &url).await?
            };
            let (answer, used) = match attempt {
                Attempt::Answered(answer, used) => {
                    if let Some(tally) = &target.tally {
                        tally.answered(answer.body.len());
                    }
                    (answer, used)
                }
                Attempt::Silent { reason, unresolved } => {
                    let most = match unresolved {
                        true => UNRESOLVED_ATTEMPTS,
                        false if is_mistrust(&reason) => 1,
                        false => self.retry.attempts,
                    };
                    if attempts >= most || !pace.spend(SILENCE_COST) {
                        let host = url.host_str().unwrap_or_default().to_owned();
                        return Err(CallError::Transport { host, reason, attempts, unresolved });
                    }
                    spent += SILENCE_COST;
                    tracing::debug!(service, operation = operation.name(), %region, reason, "no answer, asking again");
                    tokio::time::sleep(self.wait(self.retry.base, attempts)).await;
                    continue;
                }
            };
            if (200..300).contains(&answer.status) {
                pace.answered(spent);
                return Ok(answer);
            }
            if let Some(bucket) = bucket
                && let Some(elsewhere) = moved_to(&answer).filter(|elsewhere| *elsewhere != region)
                && redirects < 2
            {
                redirects += 1;
                self.keep_bucket_region(bucket, &elsewhere);
                region = elsewhere;
                continue;
            }
            let error = operation.decode_error(answer.status, &answer.headers, &answer.body);
            if is_skewed(&error.code) && !corrected && self.correct_clock(&answer.headers) {
                corrected = true;
                continue;
            }
            if is_expired(&error.code) && renewals < 2 {
                renewals += 1;
                target.session.expire(&used);
                continue;
            }
            let throttled = is_throttling(answer.status, &error.code);
            if !throttled && !is_transient(answer.status, &error.code) {
                pace.answered(spent);
                return Ok(answer);
            }
            let quiet = retry_after(&answer.headers).map(|wait| wait.min(self.retry.longest_retry_after));
            let scale = if throttled {
                count(|calls| calls.throttled += 1);
                pace.throttled(turn, quiet);
                self.retry.base * 3
            } else {
                self.retry.base
            };
            // Throttling is an answer of a healthy service, and the pace deals with it; the budget
            // is for services that fail.
            if attempts >= self.retry.attempts || !(throttled || pace.spend(REPEAT_COST)) {
                return Ok(answer);
            }
            spent += if throttled { 0 } else { REPEAT_COST };
            let wait = self.wait(scale, attempts).max(quiet.unwrap_or_default());
            tracing::debug!(
                service, operation = operation.name(), account = %target.account, %region,
                code = error.code, ?wait, "asking again"
            );
            tokio::time::sleep(wait).await;
            if throttled {
                target.waited(service, wait);
            }
        }
    }

    /// Full jitter: anything up to an exponentially growing bound.
    fn wait(&self, scale: Duration, attempts: u32) -> Duration {
        let most = scale.saturating_mul(1 << (attempts - 1).min(16)).min(self.retry.cap);
        most.mul_f64(rand::random::<f64>())
    }

    async fn attempt(
        &self,
        target: &Target,
        operation: &Operation,
        wire: &WireRequest,
        endpoint: &Endpoint,
        url: &Url,
    ) -> Result<Attempt, CallError> {
        let credentials = target
            .session
            .credentials()
            .await
            .map_err(|problem| CallError::Credentials(Arc::new(problem)))?;
        let mut request = http::Request::builder().method(wire.method.clone()).uri(url.as_str()).body(());
        let request = request.as_mut().map_err(|error| CallError::Signing(error.to_string()))?;
        request.headers_mut().clone_from(&wire.headers);
        if !operation.is_unsigned() {
            let time = self.now();
            sign_request(request, &wire.body, &credentials, endpoint, operation.service().name(), time)?;
        }
        let headers = std::mem::take(request.headers_mut());
        let sent = self
            .http
            .request(wire.method.clone(), url.clone())
            .headers(headers)
            .header(http::header::USER_AGENT, concat!("berth/", env!("CARGO_PKG_VERSION")))
            .body(Bytes::from(wire.body.clone()))
            .timeout(self.retry.attempt_timeout)
            .send();
        let answer = async {
            let response = sent.await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok(Answer { status, headers, body: body::read(response, self.max_response_bytes).await? })
        };
        match answer.await {
            Ok(answer) => Ok(Attempt::Answered(answer, credentials)),
            Err(Unread::Silent(error)) => Ok(silent(error)),
            Err(Unread::TooLarge) => Err(CallError::TooLarge { limit: self.max_response_bytes }),
        }
    }

    fn now(&self) -> SystemTime {
        let skew = self.skew.load(Ordering::Relaxed);
        let offset = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 { SystemTime::now() - offset } else { SystemTime::now() + offset }
    }

    /// Whether AWS's clock is off ours by so much that a signature was refused for it; if so,
    /// signs by AWS's clock from now on.
    fn correct_clock(&self, headers: &HeaderMap) -> bool {
        let Some(theirs) = headers
            .get(http::header::DATE)
            .and_then(|date| date.to_str().ok())
            .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
        else {
            return false;
        };
        let seconds = |time: SystemTime| DateTime::from(time).secs();
        let off = (theirs.secs() - seconds(self.now())).abs() > SKEW_SECONDS;
        if off {
            let skew = theirs.secs() - seconds(SystemTime::now());
            tracing::warn!(skew, "this machine's clock is off; signing by the clock of AWS");
            self.skew.store(skew, Ordering::Relaxed);
        }
        off
    }

    /// Where a request goes and for which region it is signed.
    fn url(
        &self,
        operation: &Operation,
        wire: &WireRequest,
        region: &Region,
    ) -> Result<(Endpoint, Url), CallError> {
        let service = operation.service();
        let resolved = operation.endpoint(region, self.options);
        let (endpoint, prefix) = match self.overrides.get(&[service.name()]) {
            // A stand-in answers under its own name, for regions it knows better than we do.
            Some(url) => {
                let (signing_region, signing_name) = match resolved {
                    Ok(resolved) => (resolved.signing_region, resolved.signing_name),
                    Err(_) => (region.to_string(), service.signing_name().to_owned()),
                };
                (Endpoint { url: url.clone(), signing_region, signing_name }, None)
            }
            None => (resolved?, wire.host_prefix.as_deref()),
        };
        let base = &endpoint.url;
        let port = base.port().map_or_else(String::new, |port| format!(":{port}"));
        let host = base.host_str().unwrap_or_default();
        let mut url = format!("{}://{}{host}{port}", base.scheme(), prefix.unwrap_or_default());
        url.push_str(base.path().trim_end_matches('/'));
        url.push_str(&wire.path);
        for (index, (name, value)) in wire.query.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.extend(utf8_percent_encode(name, UNRESERVED));
            url.push('=');
            url.extend(utf8_percent_encode(value, UNRESERVED));
        }
        let url = Url::parse(&url).map_err(|error| CallError::Signing(format!("`{url}`: {error}")))?;
        Ok((endpoint, url))
    }

    /// The same connections for the official SDK.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(crate) fn transport(&self) -> crate::transport::Transport {
        crate::transport::Transport::new(self.http.clone())
    }

    /// The endpoint that stands in for a service's own.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(crate) fn endpoint_override(&self, service: &str) -> Option<&Url> {
        self.overrides.get(&[service])
    }

    fn pace(&self, account: &AccountId, region: &Region, service: &str) -> Arc<Pace> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let Paces { buckets, room } = &mut *paces;
        if buckets.len() >= *room {
            buckets.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.is_fresh());
            *room = (2 * buckets.len()).max(LEAST_ROOM);
        }
        let bucket = (account.clone(), region.clone(), service.into());
        buckets.entry(bucket).or_insert_with(|| Arc::new(Pace::new())).clone()
    }

    fn lane(&self, service: &str) -> Arc<Semaphore> {
        let mut lanes = self.in_flight_per_service.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(service) {
            return lane.clone();
        }
        let lane = Arc::new(Semaphore::new(self.concurrency.requests_per_service.get()));
        lanes.insert(service.to_owned(), lane.clone());
        lane
    }

    fn bucket_region(&self, bucket: &str) -> Option<Region> {
        self.bucket_regions.lock().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned()
    }

    fn keep_bucket_region(&self, bucket: &str, region: &Region) {
        let mut regions = self.bucket_regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.insert(bucket.to_owned(), region.clone());
    }
}

fn sign_request(
    request: &mut http::Request<()>,
    body: &[u8],
    credentials: &Credentials,
    endpoint: &Endpoint,
    service: &str,
    time: SystemTime,
) -> Result<(), CallError> {
    let failed = |error: &dyn std::fmt::Display| CallError::Signing(error.to_string());
    let mut settings = SigningSettings::default();
    if service.starts_with("s3") {
        // S3 alone takes paths as they are and wants to see the body's hash.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&endpoint.signing_region)
        .name(&endpoint.signing_name)
        .time(time)
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let uri = request.uri().to_string();
    let mut headers = Vec::with_capacity(request.headers().len());
    for (name, value) in request.headers() {
        headers.push((name.as_str(), value.to_str().map_err(|error| failed(&error))?));
    }
    let signable =
        SignableRequest::new(request.method().as_str(), uri, headers.into_iter(), SignableBody::Bytes(body))
            .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &params).map_err(|error| failed(&error))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

fn silent(error: reqwest::Error) -> Attempt {
    // Queries may hold what no log should.
    let error = error.without_url();
    let reason = berth_core::Problem::from_error(&error).message;
    let mut unresolved = false;
    let mut cause = error.source();
    while let Some(error) = cause {
        unresolved |= error.to_string().contains("dns error");
        cause = error.source();
    }
    Attempt::Silent { reason, unresolved }
}

/// Where S3 says that a bucket is, if not here.
fn moved_to(answer: &Answer) -> Option<Region> {
    let region = answer.headers.get("x-amz-bucket-region")?.to_str().ok()?;
    matches!(answer.status, 301 | 307 | 400).then(|| Region::new(region).ok()).flatten()
}

/// How long the service wants to be left alone: `Retry-After` in seconds or as a date, or AWS's own
/// `x-amz-retry-after` in milliseconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text =
        |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::trim);
    if let Some(millis) = text("x-amz-retry-after").and_then(|text| text.parse().ok()) {
        return Some(Duration::from_millis(millis));
    }
    let text = text("retry-after")?;
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = SystemTime::try_from(DateTime::from_str(text, Format::HttpDate).ok()?).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn client() -> Client {
        let provider = rustls::crypto::ring::default_provider();
        _ = provider.install_default();
        Client::new(&AwsConfig::default(), reqwest::Client::new())
    }

    fn kind(name: &str, scope: &str, steps: &Value) -> (Arc<KindManifest>, BTreeSet<String>) {
        let kind = json!({"kind": name, "scope": scope, "plan": {"resources": "list", "steps": steps},
            "blueprints": []});
        (Arc::new(serde_json::from_value(kind).unwrap()), BTreeSet::from(["extra".to_owned()]))
    }

    fn list(service: &str, operation: &str) -> Value {
        json!({"id": "list", "service": service, "operation": operation, "items": "Items[]"})
    }

    #[test]
    fn answers_are_kept_for_whoever_may_ask_again() {
        let client = client();
        assert_eq!(client.audience("ec2", "DescribeInstances"), Audience::Resync, "nothing is known yet");
        let step = |id: &str, operation: &str, more: Value| {
            let mut step = json!({"id": id, "service": "ecs", "operation": operation, "each": "list"});
            step.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            step
        };
        client.expect(&[
            kind("A::B::Instance", "regional", &json!([list("ec2", "DescribeInstances")])),
            kind(
                "A::B::Cluster",
                "regional",
                &json!([
                    list("ecs", "ListClusters"),
                    step("tags", "ListTagsForResource", json!({})),
                    step("fixed", "ListAttributes", json!({"region": "us-east-1"})),
                    step("extra", "ListTasks", json!({"option": "extra"})),
                    step("off", "ListServices", json!({"option": "another"})),
                ]),
            ),
            kind("A::B::Service", "regional", &json!([list("ecs", "ListClusters")])),
            kind("A::B::Account", "organization", &json!([list("organizations", "ListAccounts")])),
        ]);
        for (service, operation, audience) in [
            ("ec2", "DescribeInstances", Audience::Nobody),
            ("ecs", "ListTagsForResource", Audience::Unit),
            ("ecs", "ListTasks", Audience::Unit),
            ("ecs", "ListClusters", Audience::Resync),
            ("ecs", "ListAttributes", Audience::Resync),
            ("organizations", "ListAccounts", Audience::Resync),
            ("ecs", "ListServices", Audience::Resync),
        ] {
            assert_eq!(client.audience(service, operation), audience, "{service}:{operation}");
        }
    }

    #[test]
    fn buckets_that_are_as_good_as_new_are_forgotten() {
        let client = client();
        let region = Region::new("eu-west-1").unwrap();
        let account = |n: usize| AccountId::new(format!("{n:012}")).unwrap();
        let throttled = client.pace(&account(0), &region, "ec2");
        throttled.spend(REPEAT_COST);
        drop(throttled);
        for n in 1..10 * LEAST_ROOM {
            client.pace(&account(n), &region, "ec2");
        }
        let paces = client.paces.lock().unwrap();
        assert!(paces.buckets.len() <= LEAST_ROOM, "{}", paces.buckets.len());
        assert!(paces.buckets.keys().any(|(kept, ..)| *kept == account(0)), "its budget is not full");
    }
}
