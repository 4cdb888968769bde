//! HTTP towards Port: headers, retries, waits, limits, counters. The routes are in the other modules of
//! `api`.

mod auth;
mod body;
mod call;
mod failure;
mod health;
mod waits;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use berth_core::{Problem, ProblemCode};
use berth_http::{TransportError, is_private};
use reqwest::{
    StatusCode, Url,
    header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, DATE, HeaderValue, USER_AGENT},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use self::{
    auth::{Auth, Token},
    body::Unread,
    failure::{AttemptFailure, refusal},
    health::{Health, Streak},
    waits::{backoff, limit_left, requested_wait},
};
use super::{
    clock::PortClock,
    error::{PortError, PortErrorResponse},
    rate_limit::{Permit, PortRateLimiter, RouteFamily},
    stop::StopSignal,
    url::{form_url, refuse_dots},
};
use crate::{PortConfig, RetryPolicy};

pub(crate) use auth::TokenReply;
pub(crate) use call::{Agent, Call, PortResponse, Repeat, from_body};

/// How often an optional call is tried.
const OPTIONAL_ATTEMPTS: u32 = 3;

/// The most retries of a call that fails with anything other than "come back later": the cause may be the
/// call itself.
const RETRIES_OF_A_FAILURE: u32 = 1;

/// The most retries of a divisible call that Port wants later while similar calls succeed.
const RETRIES_OF_A_PART: u32 = 4;

/// How long a closing call may take once the resync is stopped.
const CLOSING: Duration = Duration::from_millis(2500);

/// How many requests a [`PortCatalog`](crate::PortCatalog) has sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Requests by action (`upsert entities`), including retries.
    pub requests: BTreeMap<&'static str, u64>,
    /// How many of them were retries.
    pub retries: u64,
    /// How long requests waited because Port asked for it, or before a retry. They wait in parallel, so the
    /// sum may exceed the duration of the resync.
    pub waited: Duration,
}

/// The client: one per catalog. Those of one process share everything except what stops them.
#[derive(Clone)]
pub(crate) struct PortClient {
    http: berth_http::HttpClient,
    api: Url,
    plain_agent: HeaderValue,
    exporter_agent: HeaderValue,
    auth: Arc<Auth>,
    pub(crate) clock: Arc<PortClock>,
    /// The organization's ID, if known.
    organization: Arc<Mutex<Option<String>>>,
    /// How many entity requests may run at once.
    concurrency: usize,
    entity_permits: Arc<Semaphore>,
    retry: RetryPolicy,
    /// How long calls are retried without a success.
    outage: Duration,
    max_response_bytes: usize,
    stats: Arc<Mutex<PortStats>>,
    health: Arc<Mutex<Health>>,
    /// Until when Port wants no request at all, from a 429.
    pause: Arc<Mutex<Option<Instant>>>,
    rate_limiter: Arc<PortRateLimiter>,
    stop: Arc<StopSignal>,
}

impl PortClient {
    pub(crate) fn new(config: &PortConfig, http: berth_http::HttpClient) -> Result<Self, PortError> {
        let other = |message: String, remedy: &str| {
            PortError::Other(Problem::new(ProblemCode::SettingsInvalid, message).remedy(remedy))
        };
        if !matches!(config.base_url.scheme(), "http" | "https") {
            return Err(other(
                format!("`{}` is not an HTTP URL", config.base_url),
                "Set OCEAN__PORT__BASE_URL to https://api.getport.io (EU) or https://api.us.getport.io (US).",
            ));
        }
        if !is_private(&config.base_url) {
            return Err(other(
                format!(
                    "`{}` does not use https: anyone on the network path could read the credentials",
                    config.base_url
                ),
                "Use an address that begins with `https://` in OCEAN__PORT__BASE_URL; Berth uses plain HTTP \
                only with this machine (localhost).",
            ));
        }
        let mut api = config.base_url.clone();
        api.set_query(None);
        api.set_fragment(None);
        if let Ok(mut path) = api.path_segments_mut() {
            path.pop_if_empty().push("v1");
        }
        let agent = |suffix| {
            let text = format!(
                "port-ocean/{}/{}/{}{suffix}",
                config.integration_type, config.integration_version, config.integration_identifier
            );
            HeaderValue::from_str(&text).map_err(|_| {
                other(
                    format!(
                        "`{text}` cannot name the integration: it contains a character that a header cannot \
                        hold"
                    ),
                    "Use an OCEAN__INTEGRATION__IDENTIFIER without control characters and non-ASCII letters.",
                )
            })
        };
        Ok(Self {
            http,
            plain_agent: agent("")?,
            exporter_agent: agent("/exporter")?,
            api,
            auth: Arc::new(Auth::new(config.client_id.clone(), config.client_secret.clone())),
            clock: Arc::default(),
            organization: Arc::default(),
            concurrency: config.concurrency,
            entity_permits: Arc::new(Semaphore::new(config.concurrency)),
            retry: config.retry,
            outage: config.outage,
            max_response_bytes: config.max_response_bytes,
            stats: Arc::default(),
            health: Arc::default(),
            pause: Arc::default(),
            rate_limiter: Arc::new(PortRateLimiter::new()),
            stop: Arc::default(),
        })
    }

    /// Returns another client of the same process, which is stopped separately.
    pub(crate) fn another(&self) -> Self {
        Self { stop: Arc::default(), ..self.clone() }
    }

    /// Returns what stops it.
    pub(crate) fn stop(&self) -> &StopSignal {
        &self.stop
    }

    /// Returns how long no request has succeeded, if that is an outage.
    pub(crate) fn outage(&self) -> Option<Duration> {
        let silent = self.health().silent?.length();
        (silent >= self.outage).then_some(silent)
    }

    /// Returns the URL of a route. Escapes segments where they would otherwise end or change the path.
    pub(crate) fn url(&self, segments: &[&str]) -> Result<Url, PortError> {
        refuse_dots(segments)?;
        let mut url = self.api.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        Ok(url)
    }

    /// Returns the URL of a route whose segments the contract escapes as form values.
    pub(crate) fn form_url(&self, segments: &[&str]) -> Result<Url, PortError> {
        form_url(&self.api, segments)
    }

    /// Returns how many requests of the same kind may run at once.
    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Waits until another entity request may run.
    pub(super) async fn entity_permit(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed.
        self.entity_permits.acquire().await.ok()
    }

    /// Returns the organization's ID, if a response of Port named it.
    pub(crate) fn organization_id(&self) -> Option<String> {
        self.organization.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the organization from a token. It wins over the API, whose spelling may differ.
    pub(crate) fn set_organization(&self, id: String) {
        *self.organization.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
    }

    /// Sets the organization from the API.
    pub(crate) fn set_organization_unless_known(&self, id: &str) {
        let mut known = self.organization.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert_with(|| id.to_owned());
    }

    pub(crate) fn stats(&self) -> PortStats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a call with a token. Renews a rejected token once.
    ///
    /// Once this client is stopped, a call no longer waits, and may continue as long as the stop allows. A
    /// closing call gets its own short time from then on.
    pub(crate) async fn send(&self, call: Call) -> Result<PortResponse, PortError> {
        let stopped = || PortError::Stopped { call: call.name() };
        if !call.closing && self.stop.is_over() {
            return Err(stopped());
        }
        let over = async {
            if call.closing {
                self.stop.asked().await;
                tokio::time::sleep(CLOSING).await;
            } else {
                self.stop.over().await;
            }
        };
        tokio::select! {
            biased;
            outcome = self.send_with_token(&call) => outcome,
            () = over => Err(stopped()),
        }
    }

    async fn send_with_token(&self, call: &Call) -> Result<PortResponse, PortError> {
        let token = self.auth.token(self, None).await?;
        match self.exchange(call, Some(&token)).await {
            Err(PortError::Refused(refusal)) if refusal.status == 401 => {
                tracing::debug!(call = %call.name, "the token was rejected; getting another one");
                let token = self.auth.token(self, Some(&token)).await?;
                self.exchange(call, Some(&token)).await
            }
            outcome => outcome,
        }
    }

    /// Like [`send`](Self::send), with `None` for "not found".
    pub(crate) async fn find(&self, call: Call) -> Result<Option<PortResponse>, PortError> {
        match self.send(call).await {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends an optional call: tries a few times within `patience`. The response of an endpoint outside the
    /// API affects only that endpoint: it neither pauses the API's calls nor renews the token.
    pub(super) async fn send_optional(&self, call: &Call, patience: Duration) -> Result<(), PortError> {
        let attempts = async {
            let token = if call.authorized { Some(self.auth.token(self, None).await?) } else { None };
            let mut attempt = 1;
            loop {
                let Err(failure) = self.send_once(call, token.as_ref(), attempt > 1, None).await else {
                    return Ok(());
                };
                let may_pass = match &failure {
                    AttemptFailure::Transport(error) => call.may_repeat(error),
                    AttemptFailure::Status(refusal, _) => {
                        call.repeat == Repeat::Always && (refusal.status == 429 || refusal.status >= 500)
                    }
                };
                if !may_pass || attempt == OPTIONAL_ATTEMPTS {
                    return Err(failure.into_error(call));
                }
                tokio::time::sleep(backoff(&self.retry, attempt)).await;
                attempt += 1;
            }
        };
        match tokio::time::timeout(patience, attempts).await {
            Ok(outcome) => outcome,
            Err(_) => Err(PortError::Transport {
                call: call.name(),
                error: TransportError::timed_out(format!("no response within {} s", patience.as_secs_f32())),
            }),
        }
    }

    /// Sends a call until it succeeds, fails permanently, or no retries are left.
    pub(crate) async fn exchange(
        &self,
        call: &Call,
        token: Option<&Arc<Token>>,
    ) -> Result<PortResponse, PortError> {
        let policy = call.retry.unwrap_or(self.retry);
        // A pause applies to Port's API, and to all of it.
        let is_api = call.url.origin() == self.api.origin();
        let name = call.name.name;
        let done_before = self.health().done.get(name).copied();
        let mut retries = 0;
        loop {
            if is_api {
                self.wait(call, self.wait_for_pause()).await?;
            }
            let failure = match self.attempt(call, token, retries > 0).await? {
                Ok(reply) => {
                    self.succeeded(name, is_api);
                    return Ok(reply);
                }
                Err(failure) => failure,
            };
            let at_most = match &failure {
                AttemptFailure::Transport(error) if call.may_repeat(error) => policy.retries,
                AttemptFailure::Status(PortErrorResponse { status: 429, .. }, _) => policy.retries,
                AttemptFailure::Status(..) if call.repeat == Repeat::Unprocessed => 0,
                AttemptFailure::Status(PortErrorResponse { status: 502..=504, .. }, _)
                    if call.divisible && self.health().done.get(name).copied() > done_before =>
                {
                    policy.retries.min(RETRIES_OF_A_PART)
                }
                AttemptFailure::Status(PortErrorResponse { status: 408 | 502..=504, .. }, _) => {
                    policy.retries
                }
                AttemptFailure::Status(PortErrorResponse { status: 500.., .. }, _) => {
                    policy.retries.min(RETRIES_OF_A_FAILURE)
                }
                AttemptFailure::Transport(_) | AttemptFailure::Status(..) => 0,
            };
            let patience = self.failed(name, is_api, &failure);
            let stopped = self.stop.is_asked();
            if retries >= at_most || patience.is_zero() || (stopped && !call.closing) {
                return Err(failure.into_error(call));
            }
            retries += 1;
            let requested = match &failure {
                // A closing call does not wait.
                AttemptFailure::Status(_, wait) if !stopped => *wait,
                _ => None,
            };
            let delay = requested.unwrap_or_else(|| backoff(&policy, retries)).min(policy.cap).min(patience);
            match &failure {
                AttemptFailure::Status(refusal, _) => {
                    tracing::warn!(
                        call = %call.name, status = refusal.status, retry = retries, ?delay,
                        "Port asks to retry"
                    );
                    if refusal.status == 429 && requested.is_some() && is_api {
                        // Counted where it waits.
                        self.pause_for(delay);
                        continue;
                    }
                }
                AttemptFailure::Transport(error) => {
                    tracing::warn!(
                        call = %call.name, %error, retry = retries, ?delay,
                        "no response from Port; retrying"
                    );
                }
            }
            self.wait(call, tokio::time::sleep(delay)).await?;
            self.waited(delay);
        }
    }

    /// Waits for something, unless this client is stopped: then a closing call continues at once, and others
    /// end.
    async fn wait(&self, call: &Call, something: impl Future<Output = ()>) -> Result<(), PortError> {
        tokio::select! {
            biased;
            () = something => Ok(()),
            () = self.stop.asked() => {
                if call.closing { Ok(()) } else { Err(PortError::Stopped { call: call.name() }) }
            }
        }
    }

    /// Records that a call succeeded.
    fn succeeded(&self, name: &'static str, is_api: bool) {
        let mut health = self.health();
        *health.done.entry(name).or_default() += 1;
        health.failing.remove(name);
        if is_api {
            health.silent = None;
        }
    }

    /// Records that a call failed. Returns how long it may still be retried.
    fn failed(&self, name: &'static str, is_api: bool, failure: &AttemptFailure) -> Duration {
        let mut health = self.health();
        let answered = !matches!(
            failure,
            AttemptFailure::Status(PortErrorResponse { status: 408 | 429 | 500.., .. }, _)
                | AttemptFailure::Transport(_)
        );
        // A refusal is a response.
        if answered {
            health.failing.remove(name);
            health.silent = health.silent.filter(|_| !is_api);
            return self.outage;
        }
        // Longer than the time between two tries.
        let gap = self.outage + self.retry.cap + self.retry.timeout;
        let now = Instant::now();
        if is_api {
            health.silent = Some(Streak::with(health.silent, now, gap));
        }
        let streak = Streak::with(health.failing.get(name).copied(), now, gap);
        health.failing.insert(name, streak);
        self.outage.saturating_sub(streak.length())
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a call once, when the rate limit of its route allows it.
    async fn attempt(
        &self,
        call: &Call,
        token: Option<&Arc<Token>>,
        again: bool,
    ) -> Result<Result<PortResponse, AttemptFailure>, PortError> {
        let Some(path) = self.api_path(&call.url) else {
            return Ok(self.send_once(call, token, again, None).await);
        };
        let family = RouteFamily::of(&call.method, path);
        let since = Instant::now();
        let permit = tokio::select! {
            biased;
            permit = self.rate_limiter.acquire(family) => Some(permit),
            () = self.stop.asked() => {
                if !call.closing {
                    return Err(PortError::Stopped { call: call.name() });
                }
                None
            }
        };
        self.waited(since.elapsed());
        Ok(self.send_once(call, token, again, permit.as_ref()).await)
    }

    /// Returns the path of a route of Port's API, below `/v1`.
    fn api_path<'u>(&self, url: &'u Url) -> Option<&'u str> {
        let below = (url.origin() == self.api.origin()).then(|| url.path().strip_prefix(self.api.path()))?;
        below.filter(|path| path.starts_with('/'))
    }

    async fn send_once(
        &self,
        call: &Call,
        token: Option<&Arc<Token>>,
        again: bool,
        permit: Option<&Permit<'_>>,
    ) -> Result<PortResponse, AttemptFailure> {
        {
            let mut stats = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
            *stats.requests.entry(call.name.name).or_default() += 1;
            stats.retries += u64::from(again);
        }
        let agent = match call.agent {
            Agent::Plain => &self.plain_agent,
            Agent::Exporter => &self.exporter_agent,
        };
        let mut request = reqwest::Request::new(call.method.clone(), call.url.clone());
        *request.timeout_mut() = Some(call.retry.unwrap_or(self.retry).timeout);
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, agent.clone());
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.header.clone());
        }
        if call.compressed {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(body) = &call.body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.clone().into());
        }
        let failed = |error: reqwest::Error| AttemptFailure::Transport(TransportError::new(error));
        let sent = SystemTime::now();
        let response = self.http.execute(request).await.map_err(AttemptFailure::Transport)?;
        let status = response.status();
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            // This response is from a proxy, not from Port.
            return Err(AttemptFailure::Transport(TransportError::proxy_login()));
        }
        let headers = response.headers().clone();
        if call.url.origin() == self.api.origin()
            && let Some(date) = headers.get(DATE).and_then(|date| date.to_str().ok())
        {
            self.clock.learn_date(date, sent, SystemTime::now());
        }
        if let Some(permit) = permit
            && let Some((left, reset)) = limit_left(&headers, self.clock.now())
        {
            permit.learn(left, reset);
        }
        let body = body::read(response, self.max_response_bytes).await.map_err(|unread| match unread {
            Unread::Silent(error) => failed(error),
            Unread::Unusable(reason) => AttemptFailure::Transport(TransportError::unusable(reason)),
        })?;
        if status.is_success() {
            return Ok(PortResponse { call: call.name(), body });
        }
        Err(AttemptFailure::Status(
            refusal(call, status, &headers, &body),
            requested_wait(&headers, self.clock.now()),
        ))
    }

    fn waited(&self, time: Duration) {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).waited += time;
    }

    fn pause_for(&self, delay: Duration) {
        let until = Instant::now() + delay;
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        *pause = Some(pause.map_or(until, |earlier| earlier.max(until)));
    }

    async fn wait_for_pause(&self) {
        let until = *self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until {
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep_until(until).await;
            self.waited(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn client(base: &str) -> PortClient {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = PortConfig::new("id", SecretString::from("secret"), "my-berth");
        config.base_url = Url::parse(base).unwrap();
        PortClient::new(&config, reqwest::Client::new().into()).unwrap()
    }

    #[test]
    fn v1_is_appended_and_slashes_are_tolerated() {
        for (base, url) in [
            ("https://api.getport.io", "https://api.getport.io/v1/blueprints/a"),
            ("https://api.getport.io/", "https://api.getport.io/v1/blueprints/a"),
            ("https://gw.example:8080/port/", "https://gw.example:8080/port/v1/blueprints/a"),
        ] {
            assert_eq!(client(base).url(&["blueprints", "a"]).unwrap().as_str(), url);
        }
    }

    #[test]
    fn no_identifier_leaves_its_segment() {
        let client = client("https://port.example");
        for identifier in ["a/b", "a?b=c", "a#b", "%2e%2e", "a\\b", "../x", "..%2fx", "ä b"] {
            let url = client.url(&["blueprints", identifier, "entities"]).unwrap();
            assert_eq!(url.path_segments().unwrap().count(), 4, "{url}");
            assert!(url.path().starts_with("/v1/blueprints/") && url.path().ends_with("/entities"), "{url}");
            assert_eq!((url.query(), url.fragment()), (None, None));
        }
        for identifier in ["", ".", ".."] {
            assert!(client.url(&["blueprints", identifier]).is_err(), "{identifier:?}");
        }
    }

    #[test]
    fn an_unusable_configuration_is_refused_with_a_remedy() {
        let config = PortConfig::new("id", SecretString::from("secret"), "bad\nname");
        let problem = PortClient::new(&config, reqwest_client()).err().unwrap().into_problem();
        assert!(problem.to_string().contains("OCEAN__INTEGRATION__IDENTIFIER"), "{problem}");
        let mut config = PortConfig::new("id", SecretString::from("secret"), "fine");
        for address in ["ftp://port.example", "http://port.example", "http://10.0.0.1:3000"] {
            config.base_url = Url::parse(address).unwrap();
            let problem = PortClient::new(&config, reqwest_client()).err().unwrap().into_problem();
            assert!(problem.to_string().contains("OCEAN__PORT__BASE_URL"), "{problem}");
        }
        for address in ["http://localhost:3000", "http://127.0.0.1:3000", "http://[::1]:3000"] {
            config.base_url = Url::parse(address).unwrap();
            assert!(PortClient::new(&config, reqwest_client()).is_ok(), "{address}");
        }
    }

    fn reqwest_client() -> berth_http::HttpClient {
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::new().into()
    }
}
