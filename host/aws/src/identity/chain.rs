//! The chain of credentials: the base identity, the hop if there is one, and the roles of accounts. Each
//! link signs the request for the next. A link that AWS refuses is renewed first, then everything below
//! it.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_config::{default_provider::credentials::DefaultCredentialsChain, provider_config::ProviderConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError},
};
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
use berth_core::{ErrorClass, Problem, RoleArn};
use secrecy::{ExposeSecret, SecretString};

use super::session::{IssueError, Issuer, Session};
use crate::{
    StaticKeys, WebIdentity,
    clock::Clock,
    errors::{is_doubtful, is_expired, is_skewed},
    transport::Transport,
};

/// How old temporary credentials must be for a denial to be put down to them.
const REVOCABLE: Duration = Duration::from_mins(1);

/// Requests that one request to STS may come to because of clocks, and because of what signs it.
const CORRECTIONS: u32 = 2;
const RENEWALS: u32 = 2;

/// STS, in the main region of the partition.
pub(super) struct Sts {
    pub(super) transport: Transport,
    pub(super) clock: Clock,
    pub(super) region: &'static str,
    pub(super) endpoint: Option<String>,
    pub(super) fips: bool,
    pub(super) dual_stack: bool,
    pub(super) duration: Option<i32>,
    pub(super) policy: Option<String>,
    /// How long one attempt may take.
    pub(super) timeout: Duration,
    /// How long to wait before a request is repeated that may be refused for a moment only.
    pub(super) pause: Duration,
    /// The clients. One takes ten kilobytes, so that all roles share them.
    pub(super) signed: OnceLock<StsClient>,
    pub(super) unsigned: OnceLock<StsClient>,
}

impl Sts {
    /// For requests that name their credentials.
    pub(super) fn signed(&self) -> &StsClient {
        self.signed.get_or_init(|| StsClient::from_conf(self.config().build()))
    }

    /// For requests without a signature.
    fn unsigned(&self) -> &StsClient {
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

    /// Sends a request, signed by a session if by any. Signs it anew when the clock was off, and renews
    /// the session when that is what STS refuses; both so often at most as is good for anything.
    pub(super) async fn ask<T, E, F>(
        &self,
        signer: Option<&Session>,
        send: impl Fn(aws_sdk_sts::config::Builder) -> F + Send + Sync,
    ) -> Result<T, IssueError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send,
    {
        let (mut corrections, mut renewals, mut doubted) = (0, 0, false);
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
            let wrong_time = self.clock.correct(&stamp, date);
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
                if !doubted && (is_doubtful(code) || is_revoked(code, used.is_temporary(), used.age())) {
                    doubted = true;
                    session.doubt(used);
                    tokio::time::sleep(self.pause).await;
                    continue;
                }
            }
            return Err(error);
        }
    }
}

/// Whether a denial may be due to a session that somebody revoked: IAM then denies everything to what was
/// issued before.
fn is_revoked(code: &str, temporary: bool, age: Duration) -> bool {
    ErrorClass::of(code) == ErrorClass::Denied && temporary && age > REVOCABLE
}

/// A link that signs the request for the next.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) session: Arc<Session>,
    /// Its role; none for the base identity.
    pub(super) role: Option<RoleArn>,
}

pub(super) struct StaticIssuer(pub(super) Credentials);

#[async_trait]
impl Issuer for StaticIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        Ok(self.0.clone())
    }
}

/// The SDK's own chain: environment, profile, web identity, container (ECS, EKS pod identity),
/// instance profile. Built anew each time, since it reads files once only.
pub(super) struct AmbientIssuer {
    pub(super) transport: Transport,
    pub(super) clock: Clock,
    pub(super) region: &'static str,
}

#[async_trait]
impl Issuer for AmbientIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        let config = ProviderConfig::without_region()
            .with_http_client(self.transport.clone())
            .with_time_source(self.clock.clone());
        let region = aws_sdk_sts::config::Region::new(self.region);
        let chain = DefaultCredentialsChain::builder().configure(config).region(region).build().await;
        chain.provide_credentials().await.map_err(|error| match error {
            // That a machine has no metadata service is no matter of the network.
            CredentialsError::CredentialsNotLoaded(_) => IssueError::new(Problem::from_error(&error).message),
            error => IssueError::of_error(&error),
        })
    }
}

/// Assumes one role with one signer.
pub(super) struct RoleIssuer {
    pub(super) sts: Arc<Sts>,
    pub(super) signer: Link,
    pub(super) role: RoleArn,
    pub(super) name: &'static str,
    pub(super) external_id: Option<SecretString>,
    /// Whether the session policy narrows this role.
    pub(super) narrowed: bool,
}

#[async_trait]
impl Issuer for RoleIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        // What the link above says of itself is told as that link's.
        self.signer.session.get().await.map_err(|error| match &self.signer.role {
            Some(role) => IssueError { text: format!("role {role}: {error}"), ..error },
            None => error,
        })?;
        let request = self
            .sts
            .signed()
            .assume_role()
            .role_arn(self.role.as_str())
            .role_session_name(self.name)
            .set_external_id(self.external_id.as_ref().map(|id| id.expose_secret().to_owned()))
            .set_duration_seconds(self.sts.duration)
            .set_policy(self.sts.policy.clone().filter(|_| self.narrowed));
        let send = |config| request.clone().customize().config_override(config).send();
        let answer = self.sts.ask(Some(&self.signer.session), send).await.map_err(|mut error| {
            if let Some(secret) = &self.external_id {
                error.text = without(&error.text, secret.expose_secret());
            }
            error
        })?;
        check_account(&self.role, answer.assumed_role_user().map(aws_sdk_sts::types::AssumedRoleUser::arn))?;
        credentials(answer.credentials(), "sts-assume-role")
    }
}

/// Assumes one role with the web identity token. STS takes no external ID here.
pub(super) struct WebIdentityIssuer {
    pub(super) sts: Arc<Sts>,
    pub(super) web_identity: WebIdentity,
    pub(super) role: RoleArn,
    pub(super) name: &'static str,
    pub(super) narrowed: bool,
}

impl WebIdentityIssuer {
    async fn with_token(&self, token: &str) -> Result<Credentials, IssueError> {
        let request = self
            .sts
            .unsigned()
            .assume_role_with_web_identity()
            .role_arn(self.role.as_str())
            .role_session_name(self.name)
            .web_identity_token(token)
            .set_duration_seconds(self.sts.duration)
            .set_policy(self.sts.policy.clone().filter(|_| self.narrowed));
        let send = |_| request.clone().send();
        let answer = self.sts.ask(None, send).await?;
        check_account(&self.role, answer.assumed_role_user().map(aws_sdk_sts::types::AssumedRoleUser::arn))?;
        credentials(answer.credentials(), "sts-assume-role-with-web-identity")
    }
}

#[async_trait]
impl Issuer for WebIdentityIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        let token = read_token(&self.web_identity.token_file).await?;
        match self.with_token(&token).await {
            Err(error) if error.code.as_deref().is_some_and(|code| is_expired(code, &error.message)) => {
                // Whoever keeps the file fresh may have done so meanwhile.
                tokio::time::sleep(self.sts.pause).await;
                match read_token(&self.web_identity.token_file).await {
                    Ok(fresh) if fresh != token => self.with_token(&fresh).await,
                    _ => Err(error),
                }
            }
            outcome => outcome,
        }
    }
}

async fn read_token(file: &Path) -> Result<String, IssueError> {
    let token = tokio::fs::read_to_string(file).await.map_err(|error| {
        IssueError::new(format!("web identity token file `{}` cannot be read: {error}", file.display()))
    })?;
    match token.trim() {
        "" => Err(IssueError::new(format!("web identity token file `{}` is empty", file.display()))),
        token => Ok(token.to_owned()),
    }
}

pub(super) fn static_credentials(keys: &StaticKeys) -> Credentials {
    Credentials::new(
        keys.access_key_id.expose_secret(),
        keys.secret_access_key.expose_secret(),
        keys.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "berth-settings",
    )
}

fn credentials(answer: Option<&StsCredentials>, provider: &'static str) -> Result<Credentials, IssueError> {
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
fn check_account(role: &RoleArn, assumed: Option<&str>) -> Result<(), IssueError> {
    let account = assumed.and_then(|arn| arn.split(':').nth(4));
    match account {
        Some(account) if account == role.account().as_str() => Ok(()),
        Some(account) => Err(IssueError::new(format!("STS answered with a role of account {account}"))),
        None => Err(IssueError::new("STS did not say which role it assumed")),
    }
}

fn without(text: &str, secret: &str) -> String {
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, "[redacted]") }
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
