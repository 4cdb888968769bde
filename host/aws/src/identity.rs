//! Who Berth is towards AWS: the base identity, and the roles assumed with it.

mod chain;
mod session;

use std::sync::{Arc, OnceLock};

use berth_core::{AccountId, Partition, Problem, RoleArn};
use secrecy::SecretString;
use tokio::sync::OnceCell;

pub(crate) use self::session::{Issued, Session};
use self::{
    chain::{AmbientIssuer, Link, RoleIssuer, StaticIssuer, Sts, WebIdentityIssuer, static_credentials},
    session::IssueError,
};
use crate::{
    AwsConfig, CredentialProvider, WebIdentity,
    clock::Clock,
    errors::{AWS, is_doubtful, is_expired},
    transport::Transport,
};

/// The session names of the integration Berth replaces: trust policies and alarms may name them.
pub(crate) mod session_names {
    pub(crate) const ROLE: &str = "OceanRoleSession";
    pub(crate) const ORGANIZATION: &str = "OceanOrgAssumeRoleSession";
    pub(crate) const MEMBER: &str = "OceanMemberAssumeRoleSession";
    pub(crate) const WEB_IDENTITY: &str = "OceanWebIdentitySession";
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
    provider: CredentialProvider,
    way: Way,
    /// `None` where there is nothing but a token that no role was named for.
    base: Option<Arc<Session>>,
    /// The role between the base identity and the accounts' roles.
    hop: Option<(RoleArn, Arc<Session>)>,
    caller: OnceCell<Caller>,
    external_id: Option<SecretString>,
    external_ids: std::collections::BTreeMap<AccountId, SecretString>,
}

impl Identities {
    pub(crate) fn new(
        config: &AwsConfig,
        partition: Partition,
        http: berth_http::Client,
        clock: &Clock,
    ) -> Self {
        let transport = Transport::new(http);
        let region = partition.main_region();
        let sts = Arc::new(Sts {
            transport: transport.clone(),
            clock: clock.clone(),
            region,
            endpoint: config.endpoints.get(&["sts"]).map(ToString::to_string),
            fips: config.fips,
            dual_stack: config.dual_stack,
            duration: config.session_duration.and_then(|duration| i32::try_from(duration.as_secs()).ok()),
            policy: config.session_policy.clone(),
            timeout: config.retry.attempt_timeout,
            pause: config.retry.base,
            signed: OnceLock::new(),
            unsigned: OnceLock::new(),
        });
        let provider = choose(config);
        let ambient = || {
            let issuer = AmbientIssuer { transport: transport.clone(), clock: clock.clone(), region };
            Arc::new(Session::new(clock.clone(), issuer))
        };
        let (way, base) = match provider {
            CredentialProvider::AssumeRoleWithWebIdentity => match &config.web_identity {
                Some(web_identity) => {
                    let base = web_identity.role_arn.as_ref().map(|role| {
                        let issuer = WebIdentityIssuer {
                            sts: sts.clone(),
                            web_identity: web_identity.clone(),
                            role: role.clone(),
                            name: session_names::WEB_IDENTITY,
                            narrowed: false,
                        };
                        Arc::new(Session::new(clock.clone(), issuer))
                    });
                    (Way::WebIdentity(web_identity.clone()), base)
                }
                None => (Way::Signed, Some(ambient())),
            },
            CredentialProvider::StaticCredential => match &config.static_keys {
                Some(keys) => {
                    let issuer = StaticIssuer(static_credentials(keys));
                    (Way::Signed, Some(Arc::new(Session::new(clock.clone(), issuer))))
                }
                None => (Way::Signed, Some(ambient())),
            },
            CredentialProvider::AssumeRole => (Way::Signed, Some(ambient())),
        };
        let mut identities = Self {
            sts,
            provider,
            way,
            base,
            hop: None,
            caller: OnceCell::new(),
            external_id: config.external_id.clone(),
            external_ids: config.external_ids.clone(),
        };
        if let (Some(hop), Ok(signer)) = (&config.hop_role_arn, identities.signer()) {
            let session = identities.role_session(signer, hop, session_names::ROLE, false);
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
        self.caller.get_or_try_init(|| self.ask_caller()).await
    }

    async fn ask_caller(&self) -> Result<Caller, Problem> {
        let request = self.sts.signed().get_caller_identity();
        let send = |config| request.clone().customize().config_override(config).send();
        let answer =
            self.sts.ask(Some(self.base()?), send).await.map_err(|error| match &error.transport {
                Some(silence) => Problem::new(format!("AWS cannot be asked who Berth is: {error}"))
                    .remedy(silence.remedy(AWS)),
                None => Problem::new(format!("the AWS credentials could not be used: {error}"))
                    .remedy(self.credentials_remedy()),
            })?;
        let arn = answer.arn().unwrap_or_default().to_owned();
        let account = AccountId::new(answer.account().unwrap_or_default())
            .map_err(|error| Problem::new(format!("STS named no account: {error}")))?;
        let partition = arn.split(':').nth(1).unwrap_or_default().parse().map_err(|error| {
            Problem::new(format!("STS answered with the ARN `{arn}`: {error}"))
                .remedy("a newer version of Berth may know this partition")
        })?;
        Ok(Caller { account, arn, partition })
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
            let session = self.role_session(self.signer()?, role, name, true);
            session.get().await.map(|_| session)
        };
        let outcome = match &self.way {
            Way::Signed => signed().await,
            Way::WebIdentity(_) if self.hop.is_some() => signed().await,
            Way::WebIdentity(web_identity) => {
                let issuer = WebIdentityIssuer {
                    sts: self.sts.clone(),
                    web_identity: web_identity.clone(),
                    role: role.clone(),
                    name,
                    narrowed: true,
                };
                let session = Arc::new(Session::new(self.sts.clock.clone(), issuer));
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

    /// What signs the requests for the accounts' roles: the hop or, without one, the base identity.
    fn signer(&self) -> Result<Link, IssueError> {
        match (&self.hop, &self.base) {
            (Some((role, session)), _) => Ok(Link { session: session.clone(), role: Some(role.clone()) }),
            (None, Some(session)) => Ok(Link { session: session.clone(), role: None }),
            (None, None) => Err(IssueError::new("there is no base identity to assume it with")),
        }
    }

    fn role_session(&self, signer: Link, role: &RoleArn, name: &'static str, narrowed: bool) -> Arc<Session> {
        let issuer = RoleIssuer {
            sts: self.sts.clone(),
            signer,
            role: role.clone(),
            name,
            external_id: self.external_id(role.account()).cloned(),
            narrowed,
        };
        Arc::new(Session::new(self.sts.clock.clone(), issuer))
    }

    async fn cannot_assume(&self, role: &RoleArn, hop: Option<&RoleArn>, error: &IssueError) -> Problem {
        let message = format!("Unable to assume role {role}: {error}");
        // Who did not answer has refused nothing.
        if let Some(silence) = &error.transport {
            return Problem::new(message).remedy(silence.remedy(AWS));
        }
        let caller = self.caller().await;
        let principal = match (hop, &self.way, &caller) {
            (Some(hop), ..) => hop.to_string(),
            (None, _, Ok(caller)) => caller.principal(),
            (None, Way::WebIdentity(_), Err(_)) => "the issuer of the web identity token".into(),
            (None, Way::Signed, Err(_)) => "the base identity".into(),
        };
        let refuses_credentials =
            error.code.as_deref().is_some_and(|code| is_doubtful(code) || is_expired(code, &error.message));
        let for_a_moment = |message| Problem::new(message).remedy(refused_for_a_moment(&principal, role));
        match (hop, &self.way, &self.hop, &self.base) {
            (Some(_), _, Some((_, signer)), _) if refuses_credentials && signer.has_just_worked() => {
                return for_a_moment(message);
            }
            (None, Way::Signed, _, Some(signer)) => match caller {
                _ if signer.has_just_worked() => {
                    if refuses_credentials {
                        return for_a_moment(message);
                    }
                }
                // Not the role is at fault but what it is assumed with.
                Err(problem) => return Problem { message, remedy: problem.remedy },
                Ok(_) if refuses_credentials => {
                    // That the base identity was good once says nothing about now.
                    return match self.ask_caller().await {
                        Ok(_) => for_a_moment(message),
                        Err(problem) => Problem { message, remedy: problem.remedy },
                    };
                }
                Ok(_) => {}
            },
            _ => {}
        }
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

/// What to do about credentials that STS refuses for a role and accepts otherwise.
fn refused_for_a_moment(principal: &str, role: &RoleArn) -> String {
    format!(
        "the credentials of `{principal}` are accepted for other calls, so AWS may refuse them here for a moment only; if the next resync does not go better, check that STS is active for account {} in this partition",
        role.account()
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
