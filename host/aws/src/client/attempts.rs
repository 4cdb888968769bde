//! Sends a call, consults the [retry policy](super::retry), and sends the call again if needed.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use berth_aws_protocol::{AwsService, Operation, WireError, WireRequest};
use berth_core::Region;
use berth_http::TransportError;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    RegionalSession,
    answer::AwsResponse,
    endpoint::{Endpoints, RequestEndpoint},
    permits::Permits,
    rate_limit::{AwsRateLimiter, RateLimits, SentAt},
    retry::{self, ErrorAnswer, History, RetryRules, RetryStep, SignAgain},
    s3_redirect::{self, BucketRegions},
    transport::{AttemptReply, AwsRequest, Sender, Signature, Transport},
};
use crate::{
    AwsConfig, CallStats,
    clock::{AwsClock, Skew},
    errors::CallError,
    metrics::Counters,
};

/// Makes calls and retries them according to the policy.
pub(super) struct Attempts {
    transport: Transport,
    endpoints: Endpoints,
    policy: RetryRules,
    rate_limits: RateLimits,
    permits: Permits,
    bucket_regions: BucketRegions,
    clock: AwsClock,
    counters: Arc<Counters>,
}

impl Attempts {
    pub(super) fn new(
        config: &AwsConfig,
        http: berth_http::HttpClient,
        clock: AwsClock,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            transport: Transport::new(config, http, clock.clone()),
            endpoints: Endpoints::new(config),
            policy: RetryRules::new(config.retry),
            rate_limits: RateLimits::default(),
            permits: Permits::new(config.concurrency),
            bucket_regions: BucketRegions::default(),
            clock,
            counters,
        }
    }

    /// Makes a call. The response may be an error.
    ///
    /// # Errors
    /// [`CallError`] if there is no response, or the request could not be built.
    pub(super) async fn call(
        &self,
        target: &RegionalSession,
        operation: &Operation,
        input: &Value,
    ) -> Result<AwsResponse, CallError> {
        self.call_by(&self.transport, target, operation, input).await
    }

    /// Makes the same call through another sender.
    ///
    /// # Errors
    /// The same as [`call`](Self::call).
    pub(super) async fn call_by(
        &self,
        sender: &impl Sender,
        target: &RegionalSession,
        operation: &Operation,
        input: &Value,
    ) -> Result<AwsResponse, CallError> {
        let answer = match Call::new(self, sender, target, operation, input) {
            Ok(call) => call.run().await,
            Err(error) => Err(error),
        };
        if !answer.as_ref().is_ok_and(AwsResponse::is_success) {
            self.count(operation, |calls| calls.errors += 1);
        }
        answer
    }

    fn count(&self, operation: &Operation, change: fn(&mut CallStats)) {
        self.counters.count(operation.service().name(), operation.name(), change);
    }

    /// Returns the region of a bucket that is not in `asked`, and remembers it for later calls.
    async fn region_of_bucket(
        &self,
        target: &RegionalSession,
        bucket: &str,
        asked: &Region,
        answer: &AwsResponse,
        error: &WireError,
    ) -> Option<Region> {
        let other = |region: &Region| region != asked;
        let named = s3_redirect::named_region(answer, error).filter(other);
        // Another call may have found it in the meantime.
        let found = match named.or_else(|| self.bucket_regions.get(bucket).filter(other)) {
            Some(region) => region,
            None => self.locate(target, bucket, asked).await.filter(other)?,
        };
        self.bucket_regions.keep(bucket, &found);
        Some(found)
    }

    /// Locates a bucket with `HEAD`, whose response names the region even if access is denied.
    async fn locate(&self, target: &RegionalSession, bucket: &str, asked: &Region) -> Option<Region> {
        let operation = AwsService::load("s3").ok()?.operation("HeadBucket").ok()?;
        let wire = operation.encode(&json!({"Bucket": bucket})).ok()?;
        let destination = self.endpoints.resolve(&operation, &wire, asked).ok()?;
        let service_permits = self.permits.of_service("s3");
        let _permits = self.permits.acquire(&service_permits).await;
        self.count(&operation, |calls| calls.requests += 1);
        let (session, to) = (&*target.session, &destination);
        let request = AwsRequest { session, operation: &operation, wire: &wire, to };
        match self.transport.send(request).await {
            Ok(AttemptReply::Answer(answer, _)) => s3_redirect::region_of_header(&answer),
            Ok(AttemptReply::NoAnswer(_)) | Err(_) => None,
        }
    }

    /// Returns what the official SDK needs to send like this client.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(super) fn sdk_parts(&self) -> (crate::sdk_transport::SdkTransport, AwsClock, std::time::Duration) {
        self.transport.sdk_parts()
    }
}

/// A call in progress.
struct Call<'c, S> {
    attempts: &'c Attempts,
    sender: &'c S,
    target: &'c RegionalSession,
    operation: &'c Operation,
    wire: WireRequest,
    /// The bucket of the call, if any.
    bucket: Option<&'c str>,
    region: Region,
    destination: RequestEndpoint,
    rate_limiter: Arc<AwsRateLimiter>,
    service_permits: Arc<Semaphore>,
    history: History,
    /// The part of the retry budget that the retries used.
    spent: u32,
}

impl<'c, S: Sender> Call<'c, S> {
    fn new(
        attempts: &'c Attempts,
        sender: &'c S,
        target: &'c RegionalSession,
        operation: &'c Operation,
        input: &'c Value,
    ) -> Result<Self, CallError> {
        let service = operation.service().name();
        let wire = operation.encode(input)?;
        let bucket = s3_redirect::bucket_of(service, input);
        let known = bucket.and_then(|bucket| attempts.bucket_regions.get(bucket));
        let region = known.unwrap_or_else(|| target.region.clone());
        Ok(Self {
            destination: attempts.endpoints.resolve(operation, &wire, &region)?,
            rate_limiter: attempts.rate_limits.get(&target.account, &region, service),
            service_permits: attempts.permits.of_service(service),
            attempts,
            sender,
            target,
            operation,
            wire,
            bucket,
            region,
            history: History::default(),
            spent: 0,
        })
    }

    /// Sends the request until its response is final.
    async fn run(mut self) -> Result<AwsResponse, CallError> {
        loop {
            let (reply, sent_at) = self.attempt().await?;
            match reply {
                AttemptReply::Answer(answer, _) if answer.is_success() => {
                    self.rate_limiter.succeeded(self.spent);
                    return Ok(answer);
                }
                AttemptReply::Answer(answer, signature) => {
                    let error = self.operation.decode_error(answer.status, &answer.headers, &answer.body);
                    if !self.follow_bucket(&answer, &error).await?
                        && !self.try_again(&answer, &error, &signature, sent_at).await
                    {
                        return Ok(answer);
                    }
                }
                AttemptReply::NoAnswer(error) => self.after_no_answer(error).await?,
            }
        }
    }

    /// Sends the request once.
    async fn attempt(&mut self) -> Result<(AttemptReply, SentAt), CallError> {
        let attempts = self.attempts;
        let waiting_since = Instant::now();
        let sent_at = self.rate_limiter.acquire().await;
        self.target.waited(self.service(), waiting_since.elapsed());
        self.history.attempts += 1;
        attempts.count(self.operation, |calls| calls.requests += 1);
        if self.history.attempts > 1 {
            attempts.count(self.operation, |calls| calls.retries += 1);
        }
        let _permits = attempts.permits.acquire(&self.service_permits).await;
        let reply = self
            .sender
            .send(AwsRequest {
                session: &self.target.session,
                operation: self.operation,
                wire: &self.wire,
                to: &self.destination,
            })
            .await?;
        if let AttemptReply::Answer(answer, _) = &reply {
            self.target.answered(answer.body.len());
        }
        Ok((reply, sent_at))
    }

    fn service(&self) -> &'c str {
        self.operation.service().name()
    }

    /// Waits before the next attempt after one without a response.
    ///
    /// # Errors
    /// [`CallError::Transport`] if it was the last attempt.
    async fn after_no_answer(&mut self, error: TransportError) -> Result<(), CallError> {
        match self.attempts.policy.after_no_answer(&self.history, error.is_lasting()) {
            Some(backoff) if self.rate_limiter.spend(backoff.cost) => {
                self.spent += backoff.cost;
                tracing::debug!(
                    service = self.service(), operation = self.operation.name(), region = %self.region, %error,
                    "no response, retrying"
                );
                tokio::time::sleep(backoff.wait(rand::random())).await;
                Ok(())
            }
            _ => {
                let host = self.destination.url.host_str().unwrap_or_default().to_owned();
                Err(CallError::Transport { host, error, attempts: self.history.attempts })
            }
        }
    }

    /// Follows the bucket if S3 reports that it is in another region. Returns whether it did.
    ///
    /// # Errors
    /// [`CallError`] if that region has no endpoint.
    async fn follow_bucket(&mut self, answer: &AwsResponse, error: &WireError) -> Result<bool, CallError> {
        let Some(bucket) = self.bucket else { return Ok(false) };
        let attempts = self.attempts;
        if !self.history.may_follow_bucket() || !s3_redirect::is_elsewhere(self.operation, answer, error) {
            return Ok(false);
        }
        let found = attempts.region_of_bucket(self.target, bucket, &self.region, answer, error).await;
        let Some(elsewhere) = found else { return Ok(false) };
        self.history.redirects += 1;
        tracing::debug!(bucket, region = %self.region, %elsewhere, "the bucket is in another region");
        self.destination = attempts.endpoints.resolve(self.operation, &self.wire, &elsewhere)?;
        self.rate_limiter = attempts.rate_limits.get(&self.target.account, &elsewhere, self.service());
        self.region = elsewhere;
        Ok(true)
    }

    /// Prepares the next attempt after an error response, and waits for it. Returns whether there is one.
    async fn try_again(
        &mut self,
        answer: &AwsResponse,
        error: &WireError,
        signature: &Signature,
        sent_at: SentAt,
    ) -> bool {
        let policy = self.attempts.policy;
        let skew = signature.at.skew_shown_by(answer.header(http::header::DATE));
        let pause = retry::retry_after(answer, SystemTime::now()).map(|pause| policy.granted_pause(pause));
        let refusal = ErrorAnswer {
            status: answer.status,
            code: &error.code,
            message: &error.message,
            pause,
            wrong_time: skew.is_some(),
        };
        let step = policy.after_refusal(&self.history, &refusal);
        if let RetryStep::GiveUp { throttled: true }
        | RetryStep::Retry(retry::Backoff { throttled: true, .. }) = step
        {
            self.attempts.count(self.operation, |calls| calls.throttled += 1);
            self.rate_limiter.throttled(sent_at, pause);
        }
        match step {
            RetryStep::Return => {
                self.rate_limiter.succeeded(self.spent);
                false
            }
            RetryStep::GiveUp { .. } => false,
            RetryStep::SignAgain { because, longest_wait } => {
                self.sign_again(because, signature, skew, &error.code);
                if !longest_wait.is_zero() {
                    tokio::time::sleep(longest_wait.mul_f64(rand::random())).await;
                }
                true
            }
            RetryStep::Retry(backoff) => {
                if !self.rate_limiter.spend(backoff.cost) {
                    return false;
                }
                self.spent += backoff.cost;
                let wait = backoff.wait(rand::random());
                tracing::debug!(
                    service = self.service(), operation = self.operation.name(), account = %self.target.account,
                    region = %self.region, code = error.code, ?wait, "retrying"
                );
                tokio::time::sleep(wait).await;
                if backoff.throttled {
                    self.target.waited(self.service(), wait);
                }
                true
            }
        }
    }

    /// Prepares the request to be signed again.
    fn sign_again(&mut self, because: SignAgain, signature: &Signature, skew: Option<Skew>, code: &str) {
        self.history.signed_again(because);
        let session = &self.target.session;
        match because {
            SignAgain::WrongTime => {
                if let Some(skew) = skew {
                    self.attempts.clock.correct(skew);
                }
            }
            SignAgain::Expired => session.expire(&signature.credentials),
            SignAgain::Refused => session.invalidate(&signature.credentials),
        }
        tracing::debug!(
            account = %self.target.account, region = %self.target.region, code, "signing the request again"
        );
    }
}
