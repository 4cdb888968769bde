//! One call: signed, sent, and repeated as long as that may help.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use aws_smithy_types::date_time::{DateTime, Format};
use berth_aws_wire::{Endpoint, Operation, WireError, WireRequest};
use berth_core::{AccountId, Region};
use berth_http::{BodyError, TransportError, read_body};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::sync::Semaphore;
use url::Url;

use super::{Answer, Client, LEAST_ROOM, Paces, Target, pace::Pace, redirect, sign::sign_request};
use crate::{
    CallStats,
    clock::Stamp,
    errors::{CallError, is_doubtful, is_expired, is_skewed, is_throttling, is_transient},
    identity::Issued,
};

/// What AWS leaves unencoded in a query.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What one repeat takes from the budget of its bucket.
const REPEAT_COST: u32 = 5;
/// What the repeat of a request that got no answer takes.
const SILENCE_COST: u32 = 10;
/// How often one call follows its bucket to another region.
const REDIRECTS: u32 = 3;
/// How often one call is signed again because the clock was wrong.
const CORRECTIONS: u32 = 3;
/// How often one call renews a session that has ended.
const RENEWALS: u32 = 2;
/// How often one call is repeated after a refusal of its credentials that has several meanings.
const DOUBTS: u32 = 1;

/// The second chances that a call has had.
#[derive(Debug, Default)]
struct Chances {
    redirects: u32,
    corrections: u32,
    renewals: u32,
    doubts: u32,
}

/// How a request was signed.
pub(crate) struct Signed {
    pub(crate) with: Arc<Issued>,
    pub(crate) at: Stamp,
}

/// What an attempt came to.
pub(crate) enum Attempt {
    Answered(Answer, Signed),
    Silent(TransportError),
}

/// One request, and where it goes.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) target: &'a Target,
    operation: &'a Operation,
    wire: &'a WireRequest,
    pub(crate) endpoint: &'a Endpoint,
    url: &'a Url,
}

/// What signs a request and sends it once. Limits, repeats and second chances are the client's.
pub(crate) trait Sender: Sync {
    /// Sends the request once.
    fn send(
        &self,
        client: &Client,
        request: Request<'_>,
    ) -> impl Future<Output = Result<Attempt, CallError>> + Send;
}

/// Sends what the models describe.
struct ModelSender;

impl Sender for ModelSender {
    async fn send(&self, client: &Client, request: Request<'_>) -> Result<Attempt, CallError> {
        let Request { target, operation, wire, endpoint, url } = request;
        client.attempt(target, operation, wire, endpoint, url).await
    }
}

impl Client {
    /// Asks until there is a final answer, be it an error.
    pub(super) async fn ask(
        &self,
        target: &Target,
        operation: &Operation,
        input: &Value,
    ) -> Result<Answer, CallError> {
        self.ask_by(&ModelSender, target, operation, input).await
    }

    /// The same by another sender.
    pub(crate) async fn ask_by(
        &self,
        sender: &impl Sender,
        target: &Target,
        operation: &Operation,
        input: &Value,
    ) -> Result<Answer, CallError> {
        let outcome = self.ask_repeatedly(sender, target, operation, input).await;
        if outcome.as_ref().map_or(true, |answer| !(200..300).contains(&answer.status)) {
            self.count(operation, |calls| calls.errors += 1);
        }
        outcome
    }

    /// Counts something of the calls of an operation.
    pub(super) fn count(&self, operation: &Operation, change: fn(&mut CallStats)) {
        self.counters.count(operation.service().name(), operation.name(), change);
    }

    async fn ask_repeatedly(
        &self,
        sender: &impl Sender,
        target: &Target,
        operation: &Operation,
        input: &Value,
    ) -> Result<Answer, CallError> {
        let service = operation.service().name();
        let count = |change| self.count(operation, change);
        let wire = operation.encode(input)?;
        let bucket = redirect::bucket_of(service, input);
        let mut region =
            bucket.and_then(|bucket| self.buckets.get(bucket)).unwrap_or_else(|| target.region.clone());
        let mut pace = self.pace(&target.account, &region, service);
        let lane = self.lane(service);
        // Attempts that count, and second chances that do not.
        let (mut attempts, mut spent, mut chances) = (0, 0, Chances::default());
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
                let request = Request { target, operation, wire: &wire, endpoint: &endpoint, url: &url };
                sender.send(self, request).await?
            };
            let (answer, signed) = match attempt {
                Attempt::Answered(answer, signed) => {
                    if let Some(tally) = &target.tally {
                        tally.answered(answer.body.len());
                    }
                    (answer, signed)
                }
                Attempt::Silent(error) => {
                    let is_last = error.is_lasting() || attempts >= self.retry.attempts;
                    if is_last || !pace.spend(SILENCE_COST) {
                        let host = url.host_str().unwrap_or_default().to_owned();
                        return Err(CallError::Transport { host, error, attempts });
                    }
                    spent += SILENCE_COST;
                    tracing::debug!(service, operation = operation.name(), %region, %error, "no answer, asking again");
                    tokio::time::sleep(self.wait(self.retry.base, attempts)).await;
                    continue;
                }
            };
            if (200..300).contains(&answer.status) {
                pace.answered(spent);
                return Ok(answer);
            }
            let error = operation.decode_error(answer.status, &answer.headers, &answer.body);
            if let Some(bucket) = bucket
                && chances.redirects < REDIRECTS
                && redirect::is_elsewhere(operation, &answer, &error)
                && let Some(elsewhere) = self.region_of(target, bucket, &region, &answer, &error).await
            {
                chances.redirects += 1;
                tracing::debug!(bucket, %region, %elsewhere, "the bucket is in another region");
                region = elsewhere;
                pace = self.pace(&target.account, &region, service);
                continue;
            }
            if self.deserves_another(&mut chances, target, &signed, &answer, &error) {
                if chances.doubts > 0 {
                    tokio::time::sleep(self.wait(self.retry.base, attempts)).await;
                }
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

    /// Whether a refused request is worth signing again: because the clock was wrong, because its session has
    /// ended, or because AWS may be wrong about its credentials for a moment.
    fn deserves_another(
        &self,
        chances: &mut Chances,
        target: &Target,
        signed: &Signed,
        answer: &Answer,
        error: &WireError,
    ) -> bool {
        let (code, message) = (&error.code, &error.message);
        let date = answer.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
        if is_skewed(code, message)
            && chances.corrections < CORRECTIONS
            && self.clock.correct(&signed.at, date)
        {
            chances.corrections += 1;
        } else if is_expired(code, message) && chances.renewals < RENEWALS {
            chances.renewals += 1;
            target.session.expire(&signed.with);
        } else if is_doubtful(code) && chances.doubts < DOUBTS {
            chances.doubts += 1;
            target.session.doubt(&signed.with);
        } else {
            return false;
        }
        tracing::debug!(account = %target.account, region = %target.region, code, "signing the request again");
        true
    }

    /// Full jitter: anything up to an exponentially growing bound.
    fn wait(&self, scale: Duration, attempts: u32) -> Duration {
        let most = scale.saturating_mul(1 << (attempts - 1).min(16)).min(self.retry.cap);
        most.mul_f64(rand::random::<f64>())
    }

    /// Sends a request once.
    pub(super) async fn attempt(
        &self,
        target: &Target,
        operation: &Operation,
        wire: &WireRequest,
        endpoint: &Endpoint,
        url: &Url,
    ) -> Result<Attempt, CallError> {
        let with = target
            .session
            .credentials()
            .await
            .map_err(|problem| CallError::Credentials(Arc::new(problem)))?;
        let mut request = http::Request::builder().method(wire.method.clone()).uri(url.as_str()).body(());
        let request = request.as_mut().map_err(|error| CallError::Signing(error.to_string()))?;
        request.headers_mut().clone_from(&wire.headers);
        let at = self.clock.stamp();
        if !operation.is_unsigned() {
            let service = operation.service().name();
            sign_request(request, &wire.body, with.credentials(), endpoint, service, at.time)?;
        }
        let headers = std::mem::take(request.headers_mut());
        let mut request = reqwest::Request::new(wire.method.clone(), url.clone());
        *request.headers_mut() = headers;
        let agent = HeaderValue::from_static(concat!("berth/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(http::header::USER_AGENT, agent);
        *request.body_mut() = Some(Bytes::from(wire.body.clone()).into());
        *request.timeout_mut() = Some(self.retry.attempt_timeout);
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return Ok(Attempt::Silent(error)),
        };
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = read_body(response, self.max_response_bytes).await;
        match body.map(|body| Answer { status, headers, body }) {
            // Not AWS says so, but a proxy.
            Ok(Answer { status: 407, .. }) => Ok(Attempt::Silent(TransportError::proxy_login())),
            Ok(answer) => Ok(Attempt::Answered(answer, Signed { with, at })),
            Err(BodyError::Silent(error)) => Ok(Attempt::Silent(TransportError::new(error))),
            Err(BodyError::TooLarge) => Err(CallError::TooLarge { limit: self.max_response_bytes }),
        }
    }

    /// Where a request goes and for which region it is signed.
    pub(super) fn url(
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

    pub(super) fn pace(&self, account: &AccountId, region: &Region, service: &str) -> Arc<Pace> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let Paces { buckets, room } = &mut *paces;
        if buckets.len() >= *room {
            buckets.retain(|_, pace| Arc::strong_count(pace) > 1 || !pace.is_fresh());
            *room = (2 * buckets.len()).max(LEAST_ROOM);
        }
        let bucket = (account.clone(), region.clone(), service.into());
        buckets.entry(bucket).or_insert_with(|| Arc::new(Pace::new())).clone()
    }

    pub(super) fn lane(&self, service: &str) -> Arc<Semaphore> {
        let mut lanes = self.in_flight_per_service.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(service) {
            return lane.clone();
        }
        let lane = Arc::new(Semaphore::new(self.concurrency.requests_per_service.get()));
        lanes.insert(service.to_owned(), lane.clone());
        lane
    }
}

/// How long the service wants to be left alone: `Retry-After` in seconds or as a date, or AWS's own
/// `x-amz-retry-after` in milliseconds.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
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
