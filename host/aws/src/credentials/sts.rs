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

use super::{session::Session, source::IssueError};
use crate::{
    AwsConfig,
    clock::Clock,
    errors::{is_expired, is_skewed, refuses_credentials},
    sdk_transport::SdkTransport,
};

/// The age from which temporary credentials may be revoked ones, so that a denial may be due to them.
const REVOCABLE: Duration = Duration::from_mins(1);

/// The most times that one request is signed again because the clock was wrong.
const CORRECTIONS: u32 = 2;
/// The most times that one request renews the session that signs it.
const RENEWALS: u32 = 2;

/// STS, in the main region of the partition.
pub(super) struct Sts {
    transport: SdkTransport,
    pub(super) clock: Clock,
    region: &'static str,
    endpoint: Option<String>,
    fips: bool,
    dual_stack: bool,
    /// The lifetime of the sessions, in seconds.
    pub(super) duration: Option<i32>,
    /// The session policy.
    pub(super) policy: Option<String>,
    /// The limit of one attempt.
    timeout: Duration,
    /// The wait before a request is sent again that STS may refuse for a moment only.
    pub(super) pause: Duration,
    /// The clients. One takes ten kilobytes, so that all roles share them.
    signed: OnceLock<StsClient>,
    unsigned: OnceLock<StsClient>,
}

impl Sts {
    pub(super) fn new(
        config: &AwsConfig,
        partition: Partition,
        transport: SdkTransport,
        clock: Clock,
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

    /// For requests that name their credentials.
    pub(super) fn signed(&self) -> &StsClient {
        self.signed.get_or_init(|| StsClient::from_conf(self.config().build()))
    }

    /// For requests without a signature.
    pub(super) fn unsigned(&self) -> &StsClient {
        self.unsigned.get_or_init(|| StsClient::from_conf(self.config().allow_no_auth().build()))
    }

    fn config(&self) -> aws_sdk_sts::config::Builder {
        let config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.transport.clone().at(self.clock.clone()))
            .time_source(self.clock.clone())
            // Corrected by our own clock, which all services share.
            .disable_clock_skew_correction(true)
            .region(aws_sdk_sts::config::Region::new(self.region))
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(TimeoutConfig::builder().read_timeout(self.timeout).build())
            // It gives up after five seconds without an answer, whatever the limit is.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            // Credentials are cached in their `Session`, where expiry can be acted on.
            .identity_cache(IdentityCache::no_cache());
        match &self.endpoint {
            // It is asked as it is, whatever kind of endpoint AWS's own would be.
            Some(endpoint) => config.endpoint_url(endpoint),
            None => config.use_fips(self.fips).use_dual_stack(self.dual_stack),
        }
    }

    /// Sends a request, signed by a session if one is given. Signs it again when the clock was wrong, and
    /// renews the session when STS refuses it; a few times each.
    pub(super) async fn ask<T, E, F>(
        &self,
        signer: Option<&Session>,
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

/// Returns whether a denial may be due to a revoked session: IAM then denies everything to what was
/// issued before.
fn is_revoked(code: &str, temporary: bool, age: Duration) -> bool {
    ErrorClass::of(code) == ErrorClass::Denied && temporary && age > REVOCABLE
}

/// The credentials of an answer.
pub(super) fn credentials(
    answer: Option<&StsCredentials>,
    provider: &'static str,
) -> Result<Credentials, IssueError> {
    let answer = answer.ok_or_else(|| IssueError::new("STS answered without credentials"))?;
    let expiry = SystemTime::try_from(*answer.expiration())
        .map_err(|error| IssueError::new(format!("STS gave an expiry that is no time: {error}")))?;
    Ok(Credentials::new(
        answer.access_key_id(),
        answer.secret_access_key(),
        Some(answer.session_token().to_owned()),
        Some(expiry),
        provider,
    ))
}

/// A role that was assumed must be in the account that its ARN names: what it reads is filed under
/// that account.
pub(super) fn check_account(role: &RoleArn, assumed: Option<&str>) -> Result<(), IssueError> {
    let account = assumed.and_then(|arn| arn.split(':').nth(4));
    match account {
        Some(account) if account == role.account().as_str() => Ok(()),
        Some(account) => Err(IssueError::new(format!("STS answered with a role of account {account}"))),
        None => Err(IssueError::new("STS did not say which role it assumed")),
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
