//! Who Berth is towards AWS: the base identity, and the roles assumed with it.

use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_config::{default_provider::credentials::DefaultCredentialsChain, provider_config::ProviderConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use aws_sdk_sts::{
    Client as StsClient,
    config::{BehaviorVersion, IdentityCache, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::Credentials as StsCredentials,
};
use berth_core::{AccountId, Partition, Problem, RoleArn};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, OnceCell};

use crate::{
    AwsConfig, CredentialProvider, StaticKeys, WebIdentity, errors::is_mistrust, transport::Transport,
};

/// The session names of the integration Berth replaces: trust policies and alarms may name them.
pub(crate) mod session {
    pub(crate) const ROLE: &str = "OceanRoleSession";
    pub(crate) const ORGANIZATION: &str = "OceanOrgAssumeRoleSession";
    pub(crate) const MEMBER: &str = "OceanMemberAssumeRoleSession";
    pub(crate) const WEB_IDENTITY: &str = "OceanWebIdentitySession";
}

/// Where credentials come from.
#[async_trait]
trait Issuer: Send + Sync {
    async fn issue(&self) -> Result<Credentials, IssueError>;
}

/// Why no credentials were issued.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
struct IssueError {
    /// `<code>: <message>` where AWS answered.
    text: String,
    code: Option<String>,
}

/// What to do when AWS's certificate is not trusted.
const CERTIFICATE_REMEDY: &str = "if a proxy or gateway with a certificate authority of your own is on the way, name the file with its certificates (PEM) in `AWS_CA_BUNDLE` or `SSL_CERT_FILE`";

impl IssueError {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: None }
    }

    fn of_sdk<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug,
    {
        match (error.code(), error.message()) {
            (Some(code), message) => Self {
                text: format!("{code}: {}", message.unwrap_or("AWS gave no message")),
                code: Some(code.to_owned()),
            },
            (None, _) => Self::new(Problem::from_error(error).message),
        }
    }
}

/// Credentials that are kept fresh: issued once, and again ahead of their expiry, by one caller at
/// a time.
pub(crate) struct Session {
    issuer: Box<dyn Issuer>,
    current: RwLock<Option<Issued>>,
    issuing: Mutex<()>,
}

struct Issued {
    credentials: Credentials,
    at: SystemTime,
}

impl Issued {
    /// How much time must be left: five minutes, or a fifth of a short life.
    fn is_fresh(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|expiry| {
            let life = expiry.duration_since(self.at).unwrap_or_default();
            let margin = (life / 5).min(Duration::from_mins(5));
            now + margin < expiry
        })
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.credentials.expiry().is_none_or(|expiry| now + Duration::from_secs(5) < expiry)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session")
    }
}

impl Session {
    fn new(issuer: impl Issuer + 'static) -> Self {
        Self { issuer: Box::new(issuer), current: RwLock::new(None), issuing: Mutex::new(()) }
    }

    /// Credentials that are good for at least a moment.
    ///
    /// # Errors
    /// A [`Problem`] when there are none left and no new ones can be had.
    pub(crate) async fn credentials(&self) -> Result<Credentials, Problem> {
        self.get().await.map_err(|error| Problem::new(error.text))
    }

    /// Forgets credentials that AWS called expired, unless newer ones are there already.
    pub(crate) fn expire(&self, used: &Credentials) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|c| c.credentials.access_key_id() == used.access_key_id()) {
            *current = None;
        }
    }

    /// Lets the official SDK sign with this session.
    #[cfg(feature = "aws-sdk-ec2")]
    pub(crate) fn provider(self: &Arc<Self>) -> impl ProvideCredentials + 'static {
        Provider(self.clone())
    }

    fn known(&self, good: impl FnOnce(&Issued) -> bool) -> Option<Credentials> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().filter(|issued| good(issued)).map(|issued| issued.credentials.clone())
    }

    async fn get(&self) -> Result<Credentials, IssueError> {
        let now = SystemTime::now();
        if let Some(credentials) = self.known(|issued| issued.is_fresh(now)) {
            return Ok(credentials);
        }
        let usable = self.known(|issued| issued.is_valid(now));
        let _turn = match (&usable, self.issuing.try_lock()) {
            (_, Ok(turn)) => turn,
            // Someone else renews them; these do meanwhile.
            (Some(credentials), Err(_)) => return Ok(credentials.clone()),
            (None, Err(_)) => self.issuing.lock().await,
        };
        if let Some(credentials) = self.known(|issued| issued.is_fresh(SystemTime::now())) {
            return Ok(credentials);
        }
        match self.issuer.issue().await {
            Ok(credentials) => {
                let issued = Issued { credentials: credentials.clone(), at: SystemTime::now() };
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(issued);
                Ok(credentials)
            }
            Err(error) => match usable {
                Some(credentials) => {
                    tracing::warn!(%error, "credentials could not be renewed ahead of their expiry");
                    Ok(credentials)
                }
                None => Err(error),
            },
        }
    }
}

/// Lets the official SDK sign with a [`Session`].
#[derive(Debug, Clone)]
struct Provider(Arc<Session>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.0.get().await.map_err(CredentialsError::provider_error)
        })
    }
}

/// Makes STS clients.
struct Sts {
    transport: Transport,
    region: &'static str,
    endpoint: Option<String>,
    fips: bool,
    dual_stack: bool,
    duration: Option<i32>,
    policy: Option<String>,
    /// How long one attempt may take.
    timeout: Duration,
}

impl Sts {
    fn client(&self, signer: Option<Arc<Session>>) -> StsClient {
        let mut config = aws_sdk_sts::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(self.transport.clone())
            .region(aws_sdk_sts::config::Region::new(self.region))
            .use_fips(self.fips)
            .use_dual_stack(self.dual_stack)
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(TimeoutConfig::builder().read_timeout(self.timeout).build())
            // Credentials are cached in their `Session`, where expiry can be acted on.
            .identity_cache(IdentityCache::no_cache());
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        config = match signer {
            Some(session) => config.credentials_provider(SharedCredentialsProvider::new(Provider(session))),
            None => config.allow_no_auth(),
        };
        StsClient::from_conf(config.build())
    }
}

struct StaticIssuer(Credentials);

#[async_trait]
impl Issuer for StaticIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        Ok(self.0.clone())
    }
}

/// The SDK's own chain: environment, profile, web identity, container (ECS, EKS pod identity),
/// instance profile.
struct AmbientIssuer {
    transport: Transport,
    region: &'static str,
    chain: OnceCell<DefaultCredentialsChain>,
}

#[async_trait]
impl Issuer for AmbientIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        let chain = self.chain.get_or_init(|| async {
            let config = ProviderConfig::without_region().with_http_client(self.transport.clone());
            let region = aws_sdk_sts::config::Region::new(self.region);
            DefaultCredentialsChain::builder().configure(config).region(region).build().await
        });
        chain
            .await
            .provide_credentials()
            .await
            .map_err(|error| IssueError::new(Problem::from_error(&error).message))
    }
}

/// Assumes one role with one signer.
struct RoleIssuer {
    sts: Arc<Sts>,
    client: StsClient,
    role: RoleArn,
    name: &'static str,
    external_id: Option<SecretString>,
    /// Whether the session policy narrows this role.
    narrowed: bool,
}

#[async_trait]
impl Issuer for RoleIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        let answer = self
            .client
            .assume_role()
            .role_arn(self.role.as_str())
            .role_session_name(self.name)
            .set_external_id(self.external_id.as_ref().map(|id| id.expose_secret().to_owned()))
            .set_duration_seconds(self.sts.duration)
            .set_policy(self.sts.policy.clone().filter(|_| self.narrowed))
            .send()
            .await
            .map_err(|error| {
                let mut error = IssueError::of_sdk(&error);
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
struct WebIdentityIssuer {
    sts: Arc<Sts>,
    client: StsClient,
    web_identity: WebIdentity,
    role: RoleArn,
    name: &'static str,
    narrowed: bool,
}

#[async_trait]
impl Issuer for WebIdentityIssuer {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        let answer = self
            .client
            .assume_role_with_web_identity()
            .role_arn(self.role.as_str())
            .role_session_name(self.name)
            .web_identity_token(read_token(&self.web_identity.token_file).await?)
            .set_duration_seconds(self.sts.duration)
            .set_policy(self.sts.policy.clone().filter(|_| self.narrowed))
            .send()
            .await
            .map_err(|error| IssueError::of_sdk(&error))?;
        check_account(&self.role, answer.assumed_role_user().map(aws_sdk_sts::types::AssumedRoleUser::arn))?;
        credentials(answer.credentials(), "sts-assume-role-with-web-identity")
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

/// Who the base identity is, as STS tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) account: AccountId,
    pub(crate) arn: String,
    pub(crate) partition: Partition,
}

impl Caller {
    /// The principal as a trust policy names it: the role, not its session.
    pub(crate) fn principal(&self) -> String {
        let parts: Vec<&str> = self.arn.splitn(6, ':').collect();
        match parts[..] {
            ["arn", partition, "sts", _, account, resource] => {
                match resource.strip_prefix("assumed-role/").and_then(|rest| rest.split('/').next()) {
                    // The path of a role is not part of a session's ARN; the name is enough to find it.
                    Some(role) => format!("arn:{partition}:iam::{account}:role/{role}"),
                    None => self.arn.clone(),
                }
            }
            _ => self.arn.clone(),
        }
    }
}

/// How roles are assumed.
enum Way {
    /// Signed by the base identity (or the hop).
    Signed,
    /// With the web identity token, each role directly.
    WebIdentity(WebIdentity),
}

/// The base identity and what can be done with it.
pub(crate) struct Identities {
    sts: Arc<Sts>,
    /// What all roles of accounts are assumed with: a client takes ten kilobytes.
    signed: OnceLock<StsClient>,
    unsigned: OnceLock<StsClient>,
    provider: CredentialProvider,
    way: Way,
    /// `None` where there is nothing but a token that no role was named for.
    base: Option<Arc<Session>>,
    hop: Option<(RoleArn, Arc<Session>)>,
    caller: OnceCell<Caller>,
    external_id: Option<SecretString>,
    external_ids: std::collections::BTreeMap<AccountId, SecretString>,
}

impl Identities {
    pub(crate) fn new(config: &AwsConfig, partition: Partition, http: reqwest::Client) -> Self {
        let transport = Transport::new(http);
        let region = partition.main_region();
        let sts = Arc::new(Sts {
            transport: transport.clone(),
            region,
            endpoint: config.endpoints.get(&["sts"]).map(ToString::to_string),
            fips: config.fips,
            dual_stack: config.dual_stack,
            duration: config.session_duration.and_then(|duration| i32::try_from(duration.as_secs()).ok()),
            policy: config.session_policy.clone(),
            timeout: config.retry.attempt_timeout,
        });
        let provider = choose(config);
        let ambient = || {
            Arc::new(Session::new(AmbientIssuer {
                transport: transport.clone(),
                region,
                chain: OnceCell::new(),
            }))
        };
        let (way, base) = match provider {
            CredentialProvider::AssumeRoleWithWebIdentity => match &config.web_identity {
                Some(web_identity) => {
                    let base = web_identity.role_arn.as_ref().map(|role| {
                        Arc::new(Session::new(WebIdentityIssuer {
                            sts: sts.clone(),
                            client: sts.client(None),
                            web_identity: web_identity.clone(),
                            role: role.clone(),
                            name: session::WEB_IDENTITY,
                            narrowed: false,
                        }))
                    });
                    (Way::WebIdentity(web_identity.clone()), base)
                }
                None => (Way::Signed, Some(ambient())),
            },
            CredentialProvider::StaticCredential => match &config.static_keys {
                Some(keys) => {
                    (Way::Signed, Some(Arc::new(Session::new(StaticIssuer(static_credentials(keys))))))
                }
                None => (Way::Signed, Some(ambient())),
            },
            CredentialProvider::AssumeRole => (Way::Signed, Some(ambient())),
        };
        let mut identities = Self {
            sts,
            signed: OnceLock::new(),
            unsigned: OnceLock::new(),
            provider,
            way,
            base,
            hop: None,
            caller: OnceCell::new(),
            external_id: config.external_id.clone(),
            external_ids: config.external_ids.clone(),
        };
        if let Some(hop) = &config.hop_role_arn {
            let client = identities.sts.client(identities.base.clone());
            let session = identities.role_session(client, hop, session::ROLE, false);
            identities.hop = Some((hop.clone(), session));
        }
        identities
    }

    /// Where the base identity comes from.
    pub(crate) fn provider(&self) -> CredentialProvider {
        self.provider
    }

    /// The session of the base identity itself.
    ///
    /// # Errors
    /// A [`Problem`] where there is only a web identity token and no role to use it with.
    pub(crate) fn base(&self) -> Result<&Arc<Session>, Problem> {
        self.base.as_ref().ok_or_else(|| {
            Problem::new("there is a web identity token, but no role to use it with").remedy(
                "set `AWS_ROLE_ARN`, or `OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS` to the roles to read with",
            )
        })
    }

    /// Asks STS who the base identity is. The answer is kept.
    ///
    /// # Errors
    /// A [`Problem`] when there are no credentials or STS refuses them.
    pub(crate) async fn caller(&self) -> Result<&Caller, Problem> {
        self.caller
            .get_or_try_init(|| async {
                let client = self.sts.client(Some(self.base()?.clone()));
                let answer = client.get_caller_identity().send().await.map_err(|error| {
                    let error = IssueError::of_sdk(&error);
                    let remedy =
                        if is_mistrust(&error.text) { CERTIFICATE_REMEDY } else { self.credentials_remedy() };
                    Problem::new(format!("the AWS credentials could not be used: {error}")).remedy(remedy)
                })?;
                let arn = answer.arn().unwrap_or_default().to_owned();
                let account = AccountId::new(answer.account().unwrap_or_default())
                    .map_err(|error| Problem::new(format!("STS named no account: {error}")))?;
                let partition = arn.split(':').nth(1).and_then(|p| p.parse().ok()).unwrap_or_default();
                Ok(Caller { account, arn, partition })
            })
            .await
    }

    fn credentials_remedy(&self) -> &'static str {
        match self.provider {
            CredentialProvider::StaticCredential => {
                "check `OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID`, `…AWS_SECRET_ACCESS_KEY` and, for temporary keys, `…AWS_SESSION_TOKEN`"
            }
            CredentialProvider::AssumeRoleWithWebIdentity => {
                "check the token in `AWS_WEB_IDENTITY_TOKEN_FILE` and that the role in `AWS_ROLE_ARN` trusts its issuer"
            }
            CredentialProvider::AssumeRole => {
                "give Berth credentials: keys in `OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID` and `…AWS_SECRET_ACCESS_KEY`, a profile, EKS pod identity, an ECS task role or an instance profile"
            }
        }
    }

    /// Assumes a role and returns its session once it has credentials.
    ///
    /// # Errors
    /// A [`Problem`] that names the role, what AWS said, and what to check.
    pub(crate) async fn assume(&self, role: &RoleArn, name: &'static str) -> Result<Arc<Session>, Problem> {
        if let Some((hop, session)) = &self.hop
            && let Err(error) = session.get().await
        {
            return Err(self.cannot_assume(hop, None, &error).await);
        }
        let signed = || async {
            let signer = self.hop.as_ref().map(|(_, session)| session).or(self.base.as_ref());
            let client = self.signed.get_or_init(|| self.sts.client(signer.cloned())).clone();
            let session = self.role_session(client, role, name, true);
            session.get().await.map(|_| session)
        };
        let outcome = match &self.way {
            Way::Signed => signed().await,
            Way::WebIdentity(_) if self.hop.is_some() => signed().await,
            Way::WebIdentity(web_identity) => {
                let session = Arc::new(Session::new(WebIdentityIssuer {
                    sts: self.sts.clone(),
                    client: self.unsigned.get_or_init(|| self.sts.client(None)).clone(),
                    web_identity: web_identity.clone(),
                    role: role.clone(),
                    name,
                    narrowed: true,
                }));
                match session.get().await {
                    Ok(_) => Ok(session),
                    // A role that trusts not the identity provider but the role of `AWS_ROLE_ARN`.
                    Err(direct) if self.base.is_some() && direct.code.as_deref() == Some("AccessDenied") => {
                        signed().await
                    }
                    Err(direct) => Err(direct),
                }
            }
        };
        match outcome {
            Ok(session) => Ok(session),
            Err(error) => Err(self.cannot_assume(role, self.hop.as_ref().map(|(hop, _)| hop), &error).await),
        }
    }

    fn external_id(&self, account: &AccountId) -> Option<&SecretString> {
        self.external_ids.get(account).or(self.external_id.as_ref())
    }

    fn role_session(
        &self,
        client: StsClient,
        role: &RoleArn,
        name: &'static str,
        narrowed: bool,
    ) -> Arc<Session> {
        Arc::new(Session::new(RoleIssuer {
            sts: self.sts.clone(),
            client,
            role: role.clone(),
            name,
            external_id: self.external_id(role.account()).cloned(),
            narrowed,
        }))
    }

    async fn cannot_assume(&self, role: &RoleArn, hop: Option<&RoleArn>, error: &IssueError) -> Problem {
        let message = format!("Unable to assume role {role}: {error}");
        let principal = match (hop, &self.way, self.caller().await) {
            (Some(hop), ..) => hop.to_string(),
            (None, _, Ok(caller)) => caller.principal(),
            (None, Way::WebIdentity(_), Err(_)) => "the issuer of the web identity token".into(),
            // Not the role is at fault but what it is assumed with.
            (None, Way::Signed, Err(problem)) => return Problem { message, remedy: problem.remedy },
        };
        let name = role.as_str().split_once(":role/").map_or("", |(_, name)| name);
        let sent = match self.external_id(role.account()) {
            Some(_) => "one was sent",
            None => "none was sent",
        };
        Problem::new(message).remedy(format!(
            "check that the role `{name}` exists in account {account}, spelled like this\n\
             check that its trust policy names `{principal}` as a principal that may `sts:AssumeRole`\n\
             check that the external ID (`OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID`; {sent}) equals `sts:ExternalId` in the trust policy\n\
             check that a policy of `{principal}` allows `sts:AssumeRole` on `{role}`",
            account = role.account(),
        ))
    }
}

fn static_credentials(keys: &StaticKeys) -> Credentials {
    Credentials::new(
        keys.access_key_id.expose_secret(),
        keys.secret_access_key.expose_secret(),
        keys.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
        None,
        "berth-settings",
    )
}

/// The first provider of the priority list that has what it needs.
fn choose(config: &AwsConfig) -> CredentialProvider {
    let priority = match &config.credential_provider_priority[..] {
        [] => &CredentialProvider::DEFAULT_PRIORITY[..],
        given => given,
    };
    let roles = config.account_role_arn.is_some() || !config.account_role_arns.is_empty();
    let found = priority.iter().copied().find(|provider| match provider {
        CredentialProvider::AssumeRoleWithWebIdentity => config.web_identity.is_some(),
        CredentialProvider::StaticCredential => config.static_keys.is_some(),
        CredentialProvider::AssumeRole => roles,
    });
    found.unwrap_or(match config.static_keys {
        // Keys that the priority list forgets are still the only identity that was given.
        Some(_) => CredentialProvider::StaticCredential,
        // Nothing configured: whatever the machine has.
        None => CredentialProvider::AssumeRole,
    })
}
