//! The client of STS, which assumes roles.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sdk_sts::{
    Client as StsClient,
    config::{
        BehaviorVersion, IdentityCache, StalledStreamProtectionConfig, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    types::Credentials as StsCredentials,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use berth_core::{ErrorClass, Partition, RoleArn, main_region};

use super::{session::AccountSession, source::IssueError};
use crate::{
    AwsConfig,
    clock::AwsClock,
    errors::{is_expired, is_skewed, refuses_credentials},
    sdk_transport::SdkTransport,
};

/// The age from which temporary credentials may have been revoked, so that a denial may be due to them.
const REVOCABLE: Duration = Duration::from_mins(1);

/// The maximum number of times that one request is signed again because the clock was wrong.
const CORRECTIONS: u32 = 2;
/// The maximum number of times that one request renews the session that signs it.
const RENEWALS: u32 = 2;

/// STS, in the main region of the partition.
pub(super) struct Sts {
    transport: SdkTransport,
    pub(super) clock: AwsClock,
    region: &'static str,
    endpoint: Option<String>,
    fips: bool,
    dual_stack: bool,
    /// The lifetime of the sessions, in seconds.
    pub(super) duration: Option<i32>,
    /// The session policy.
    pub(super) policy: Option<String>,
    /// The time limit of one attempt.
    timeout: Duration,
    /// The wait before a request is repeated that STS may reject only temporarily.
    pub(super) pause: Duration,
    /// The clients. Each takes ten kilobytes, so all roles share them.
    signed: OnceLock<StsClient>,
    unsigned: OnceLock<StsClient>,
}

impl Sts {
    pub(super) fn new(
        config: &AwsConfig,
        partition: Partition,
        transport: SdkTransport,
        clock: AwsClock,
    ) -> Self {
        Self {
            transport,
            clock,
            region: main_region(partition),
            endpoint: config.endpoints.get(&["sts"]).map(ToString::to_string),
            fips: config.fips,
            dual_stack: config.dual_stack,
            duration: config.session_duration.and_then(|duration| i32::try_from(duration.as_secs()).ok()),
            policy: config.session_policy.clone(),
            timeout: config.retry.attempt_timeout,
            pause: config.retry.base,
            signed: OnceLock::new(),
            unsigned: OnceLock::new(),
        }
    }

    /// Returns the client for requests with explicit credentials.
    pub(super) fn signed(&self) -> &StsClient {
        self.signed.get_or_init(|| StsClient::from_conf(self.config().build()))
    }

    /// Returns the client for unsigned requests.
    pub(super) fn unsigned(&self) -> &StsClient {
        self.unsigned.get_or_init(|| StsClient::from_conf(self.config().allow_no_auth().build()))
    }

    fn config(&self) -> aws_sdk_sts::config::Builder {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.transport.clone().at(self.clock.clone()))
            .time_source(self.clock.clone())
            // Our own clock, which all services share, corrects the skew.
            .disable_clock_skew_correction(true)
            .region(aws_sdk_sts::config::Region::new(self.region))
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(TimeoutConfig::builder().read_timeout(self.timeout).build())
            // This protection gives up after five seconds without a response, whatever the time limit is.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // `AccountSession` caches the credentials and handles their expiry.
            .identity_cache(IdentityCache::no_cache());
        match &self.endpoint {
            // An override is used unchanged, independent of the type of AWS's endpoint.
            Some(endpoint) => config.endpoint_url(endpoint),
            None => config.use_fips(self.fips).use_dual_stack(self.dual_stack),
        }
    }

    /// Sends a request, signed by a session if there is one. Signs it again if the clock was wrong, and
    /// renews the session if STS rejects it; each a limited number of times.
    pub(super) async fn ask<T, E, F>(
        &self,
        signer: Option<&AccountSession>,
        send: impl Fn(aws_sdk_sts::config::Builder) -> F + Send + Sync,
    ) -> Result<T, IssueError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    {
        let (mut corrections, mut renewals, mut invalidated) = (0, 0, false);
        loop {
            let mut config = aws_sdk_sts::Config::builder();
            let used = match signer {
                Some(session) => {
                    let used = session.get().await?;
                    config = config.credentials_provider(used.credentials().clone());
                    Some((session, used))
                }
                None => None,
            };
            let stamp = self.clock.stamp();
            let error = match send(config).await {
                Ok(answer) => {
                    if let Some(session) = signer {
                        session.accepted();
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let date = error.raw_response().and_then(|answer| answer.headers().get("date"));
            let wrong_time = self.clock.correct_by(&stamp, date);
            let error = IssueError::of_sdk(&error);
            let code = error.code.as_deref().unwrap_or_default();
            if is_skewed(code, &error.message) && wrong_time && corrections < CORRECTIONS {
                corrections += 1;
                continue;
            }
            if let Some((session, used)) = &used {
                if is_expired(code, &error.message) && renewals < RENEWALS {
                    renewals += 1;
                    session.expire(used);
                    continue;
                }
                if !invalidated
                    && (refuses_credentials(code) || is_revoked(code, used.is_temporary(), used.age()))
                {
                    invalidated = true;
                    session.invalidate(used);
                    tokio::time::sleep(self.pause).await;
                    continue;
                }
            }
            return Err(error);
        }
    }
}

/// Returns whether a denial may be due to a revoked session: IAM then denies everything to sessions issued
/// earlier.
fn is_revoked(code: &str, temporary: bool, age: Duration) -> bool {
    ErrorClass::of(code) == ErrorClass::Denied && temporary && age > REVOCABLE
}

/// Returns the credentials of a response.
pub(super) fn credentials(
    answer: Option<&StsCredentials>,
    provider: &'static str,
) -> Result<Credentials, IssueError> {
    let answer = answer.ok_or_else(|| IssueError::new("the STS response has no credentials"))?;
    let expiry = SystemTime::try_from(*answer.expiration())
        .map_err(|error| IssueError::new(format!("the STS response has an invalid expiry: {error}")))?;
    Ok(Credentials::new(
        answer.access_key_id(),
        answer.secret_access_key(),
        Some(answer.session_token().to_owned()),
        Some(expiry),
        provider,
    ))
}

/// Checks that an assumed role is in the account of its ARN: the resources that it reads are assigned to
/// that account.
pub(super) fn check_account(role: &RoleArn, assumed: Option<&str>) -> Result<(), IssueError> {
    let account = assumed.and_then(|arn| arn.split(':').nth(4));
    match account {
        Some(account) if account == role.account().as_str() => Ok(()),
        Some(account) => Err(IssueError::new(format!("STS returned a role of account {account}"))),
        None => Err(IssueError::new("the STS response does not name the assumed role")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_old_session_may_be_revoked() {
        let (old, young) = (Duration::from_hours(1), Duration::from_secs(1));
        assert!(is_revoked("AccessDenied", true, old));
        assert!(!is_revoked("AccessDenied", true, young), "it was issued for this very call");
        assert!(!is_revoked("AccessDenied", false, old), "keys of a user have no session");
        assert!(!is_revoked("ValidationError", true, old));
    }
}
