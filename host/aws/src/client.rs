//! The model-driven client: the read operations of every service.
//!
//! [`attempts`] makes a call: it encodes the request, waits for the [rate limit](rate_limit) and the
//! [permits], [signs](sign) and [sends](transport) it, and repeats it according to the [retry
//! policy](retry). The [response cache](response_cache) keeps responses as long as the [cache
//! scope](cache_scope) of their operation says.
//!
//! The models (`berth_aws_protocol`) contain only read operations, so this client cannot write.

mod answer;
mod attempts;
mod cache_scope;
mod endpoint;
mod permits;
mod rate_limit;
mod repair_log;
mod response_cache;
mod retry;
mod s3_redirect;
mod sign;
mod transport;

use std::{sync::Arc, time::Duration};

use berth_aws_protocol::{AwsService, Operation, PageCursor};
use berth_core::{AccountId, Path, PlannedRead, Region};
use futures::future::FutureExt;
use serde_json::Value;

pub(crate) use self::answer::{SharedAnswer, decode, decode_list, decode_page};
#[cfg(feature = "aws-sdk-ec2")]
pub(crate) use self::{
    answer::AwsResponse,
    transport::{AttemptReply, AwsRequest, Sender, Signature},
};
use self::{
    attempts::Attempts,
    cache_scope::{CacheScope, CacheScopes},
    response_cache::ResponseCache,
};
use crate::{
    AwsConfig,
    clock::AwsClock,
    credentials::AccountSession,
    errors::CallError,
    metrics::{Counters, KindMetrics},
};

/// The default size of the cache for all units of a resync, in bytes.
const RESYNC_CACHE_BYTES: usize = 64 << 20;
/// The size of the cache for one unit, in bytes.
const UNIT_CACHE_BYTES: usize = 1 << 20;

/// An account's session, in a region.
#[derive(Debug, Clone)]
pub(crate) struct RegionalSession {
    pub(crate) account: AccountId,
    pub(crate) region: Region,
    pub(crate) session: Arc<AccountSession>,
    /// The metrics of the kind that is read; `None` for a call that belongs to no kind.
    pub(crate) metrics: Option<Arc<KindMetrics>>,
}

impl RegionalSession {
    fn waited(&self, service: &str, time: Duration) {
        if let Some(metrics) = &self.metrics {
            metrics.waited(service, time);
        }
    }

    fn answered(&self, bytes: usize) {
        if let Some(metrics) = &self.metrics {
            metrics.answered(bytes);
        }
    }
}

/// The client. All accounts of a source share its sender; its cached responses belong to one resync.
pub(crate) struct AwsClient {
    attempts: Arc<Attempts>,
    cache: Arc<ResponseCache>,
    cache_bytes: usize,
    cache_scopes: CacheScopes,
    max_pages: u32,
    pub(crate) counters: Arc<Counters>,
}

/// The responses that one unit may use again.
#[derive(Debug)]
pub(crate) struct UnitCache(ResponseCache);

impl Default for UnitCache {
    fn default() -> Self {
        Self(ResponseCache::new(UNIT_CACHE_BYTES))
    }
}

impl AwsClient {
    pub(crate) fn new(config: &AwsConfig, http: berth_http::HttpClient, clock: AwsClock) -> Self {
        let counters = Arc::new(Counters::default());
        let cache_bytes = config.shared_read_bytes.unwrap_or(RESYNC_CACHE_BYTES);
        Self {
            attempts: Arc::new(Attempts::new(config, http, clock, counters.clone())),
            cache: Arc::new(ResponseCache::new(cache_bytes)),
            cache_bytes,
            cache_scopes: CacheScopes::default(),
            max_pages: config.max_pages_per_list,
            counters,
        }
    }

    /// Returns the same client for a new resync, with an empty cache.
    pub(crate) fn for_resync(&self) -> Self {
        self.with(Arc::new(ResponseCache::new(self.cache_bytes)), CacheScopes::default())
    }

    /// Returns the same client with the same cache. From now on, it caches only the responses that another
    /// read uses, according to the fetch plans of the resync.
    pub(crate) fn for_reads(&self, reads: &[PlannedRead]) -> Self {
        self.with(Arc::clone(&self.cache), CacheScopes::of_reads(reads))
    }

    fn with(&self, cache: Arc<ResponseCache>, cache_scopes: CacheScopes) -> Self {
        Self {
            attempts: self.attempts.clone(),
            cache,
            cache_bytes: self.cache_bytes,
            cache_scopes,
            max_pages: self.max_pages,
            counters: self.counters.clone(),
        }
    }

    /// Calls an operation, or returns the response of the same call made earlier in this resync.
    ///
    /// # Errors
    /// [`CallError`], after all retries.
    pub(crate) async fn call(
        &self,
        target: &RegionalSession,
        operation: &Operation,
        input: &Value,
    ) -> Result<Value, CallError> {
        decode(operation, &*self.answer(target, operation, input, None).await?)
    }

    /// Returns the undecoded response of [`call`](Self::call). A response that only this unit may use again
    /// is cached in `own`.
    ///
    /// # Errors
    /// [`CallError`], after all retries. The response itself may be an error, too.
    pub(crate) async fn answer(
        &self,
        target: &RegionalSession,
        operation: &Operation,
        input: &Value,
        own: Option<&UnitCache>,
    ) -> SharedAnswer {
        let (service, name) = (operation.service().name(), operation.name());
        let key = response_cache::key(target.account.as_str(), target.region.as_str(), service, name, input);
        let ask = || {
            let (attempts, target) = (self.attempts.clone(), target.clone());
            let (operation, input) = (operation.clone(), input.clone());
            async move { attempts.call(&target, &operation, &input).await.map(Arc::new) }.boxed()
        };
        let scope = self.cache_scopes.of(service, name);
        let cache = match (scope, own) {
            (CacheScope::Unit, Some(UnitCache(own))) => own,
            _ => &self.cache,
        };
        let (answer, shared): (SharedAnswer, bool) = cache.get(key, scope != CacheScope::Call, ask).await;
        if shared {
            self.counters.count(service, name, |calls| calls.shared += 1);
        }
        answer
    }

    /// Makes a call without the cache.
    ///
    /// # Errors
    /// The same as [`answer`](Self::answer).
    pub(crate) async fn fresh_answer(
        &self,
        target: &RegionalSession,
        operation: &Operation,
        input: &Value,
    ) -> SharedAnswer {
        self.attempts.call(target, operation, input).await.map(Arc::new)
    }

    /// Returns a cursor over the pages of one list.
    pub(crate) fn pages(&self) -> PageCursor {
        PageCursor::new(self.max_pages)
    }

    /// Calls an operation with all its pages and returns the list at `items`.
    ///
    /// # Errors
    /// [`CallError`] of any page, and if a response does not have the list.
    pub(crate) async fn all(
        &self,
        target: &RegionalSession,
        service: &str,
        operation: &str,
        mut input: Value,
        items: &str,
    ) -> Result<Vec<Value>, CallError> {
        let operation = AwsService::load(service)?.operation(operation)?;
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

    /// Makes a call through another sender, without the cache.
    ///
    /// # Errors
    /// The same as [`answer`](Self::answer).
    #[cfg(feature = "aws-sdk-ec2")]
    pub(crate) async fn call_by(
        &self,
        sender: &impl Sender,
        target: &RegionalSession,
        operation: &Operation,
        input: &Value,
    ) -> Result<AwsResponse, CallError> {
        self.attempts.call_by(sender, target, operation, input).await
    }

    /// Returns what the official SDK needs to send like this client: connections, clock, limit of one
    /// attempt.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(crate) fn sdk_parts(&self) -> (crate::sdk_transport::SdkTransport, AwsClock, Duration) {
        self.attempts.sdk_parts()
    }
}
