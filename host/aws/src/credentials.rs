//! The credentials that Berth uses: those of the base identity, and those of the roles that it assumes.
//!
//! The base identity signs the request for the hop role, if there is one, and the hop role signs those for
//! the roles of accounts. If AWS rejects a session, Berth renews that session first, then every session
//! that signed for it.

mod ambient;
mod assume_role;
mod caller;
mod priority;
mod remedy;
mod session;
mod source;
mod static_keys;
mod sts;
mod web_identity;

use std::{collections::BTreeMap, sync::Arc};

use berth_core::{AccountId, Partition, Problem, ProblemCode, RoleArn, main_region};
use secrecy::SecretString;
use tokio::sync::OnceCell;

pub(crate) use self::session::{AccountSession, Issued};
use self::{
    ambient::Ambient,
    assume_role::{AssumedRole, Signer},
    caller::CallerIdentity,
    source::IssueError,
    static_keys::FixedKeys,
    sts::Sts,
    web_identity::WebIdentityRole,
};
use crate::{
    AwsConfig, CredentialProvider, WebIdentity,
    clock::AwsClock,
    errors::{AWS, is_expired, refuses_credentials},
    sdk_transport::SdkTransport,
};

/// The same session names as Ocean's: trust policies and alarms may refer to them.
pub(crate) mod session_names {
    pub(crate) const ROLE: &str = "OceanRoleSession";
    pub(crate) const ORGANIZATION: &str = "OceanOrgAssumeRoleSession";
    pub(crate) const MEMBER: &str = "OceanMemberAssumeRoleSession";
    pub(crate) const WEB_IDENTITY: &str = "OceanWebIdentitySession";
}

/// How roles are assumed.
enum Method {
    /// The base identity (or the hop role) signs the request.
    Signed,
    /// Each role is assumed directly with the web identity token.
    WebIdentity(WebIdentity),
}

/// The base identity, and the roles that it can assume.
pub(crate) struct Identities {
    sts: Arc<Sts>,
    provider: CredentialProvider,
    method: Method,
    /// `None` if there is only a token without a role.
    base: Option<Arc<AccountSession>>,
    /// The role between the base identity and the accounts' roles.
    hop: Option<(RoleArn, Arc<AccountSession>)>,
    caller: OnceCell<CallerIdentity>,
    external_id: Option<SecretString>,
    external_ids: BTreeMap<AccountId, SecretString>,
}

impl Identities {
    pub(crate) fn new(
        config: &AwsConfig,
        partition: Partition,
        http: berth_http::HttpClient,
        clock: &AwsClock,
    ) -> Self {
        let transport = SdkTransport::new(http);
        let sts = Arc::new(Sts::new(config, partition, transport.clone(), clock.clone()));
        let provider = priority::choose(config);
        let ambient = || {
            let region = main_region(partition);
            let source = Ambient { transport: transport.clone(), clock: clock.clone(), region };
            Arc::new(AccountSession::new(clock.clone(), source))
        };
        let (method, base) = match provider {
            CredentialProvider::AssumeRoleWithWebIdentity => match &config.web_identity {
                Some(web_identity) => {
                    let base = web_identity.role_arn.as_ref().map(|role| {
                        let source = WebIdentityRole {
                            sts: sts.clone(),
                            web_identity: web_identity.clone(),
                            role: role.clone(),
                            name: session_names::WEB_IDENTITY,
                            scope_down: false,
                        };
                        Arc::new(AccountSession::new(clock.clone(), source))
                    });
                    (Method::WebIdentity(web_identity.clone()), base)
                }
                None => (Method::Signed, Some(ambient())),
            },
            CredentialProvider::StaticCredential => match &config.static_keys {
                Some(keys) => {
                    let source = FixedKeys::new(keys);
                    (Method::Signed, Some(Arc::new(AccountSession::new(clock.clone(), source))))
                }
                None => (Method::Signed, Some(ambient())),
            },
            CredentialProvider::AssumeRole => (Method::Signed, Some(ambient())),
        };
        let mut identities = Self {
            sts,
            provider,
            method,
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

    /// Returns the provider of the base identity.
    pub(crate) fn provider(&self) -> CredentialProvider {
        self.provider
    }

    /// Returns the session of the base identity.
    ///
    /// # Errors
    /// A [`Problem`] if there is only a web identity token and no role to use it with.
    pub(crate) fn base(&self) -> Result<&Arc<AccountSession>, Problem> {
        self.base.as_ref().ok_or_else(|| {
            Problem::new(ProblemCode::AwsCredentials, "there is a web identity token, but no role to use it with").remedy(
                "set `AWS_ROLE_ARN`, or set `OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS` to the roles to read with",
            )
        })
    }

    /// Asks STS for the identity of the credentials, and caches the response.
    ///
    /// # Errors
    /// A [`Problem`] if there are no credentials or STS rejects them.
    pub(crate) async fn caller(&self) -> Result<&CallerIdentity, Problem> {
        self.caller.get_or_try_init(|| self.ask_caller()).await
    }

    async fn ask_caller(&self) -> Result<CallerIdentity, Problem> {
        let request = self.sts.signed().get_caller_identity();
        let send = |config| request.clone().customize().config_override(config).send();
        let answer =
            self.sts.ask(Some(self.base()?), send).await.map_err(|error| match &error.transport {
                Some(silence) => {
                    silence.problem(AWS, format!("cannot ask AWS for Berth's identity: {error}"))
                }
                None => Problem::new(
                    ProblemCode::AwsCredentials,
                    format!("the AWS credentials could not be used: {error}"),
                )
                .remedy(remedy::credentials_remedy(self.provider)),
            })?;
        let arn = answer.arn().unwrap_or_default().to_owned();
        let account = AccountId::new(answer.account().unwrap_or_default()).map_err(|error| {
            Problem::new(
                ProblemCode::AwsInvalidAnswer,
                format!("STS did not return a valid account: {error}"),
            )
        })?;
        let partition = arn.split(':').nth(1).unwrap_or_default().parse().map_err(|error| {
            Problem::new(ProblemCode::AwsInvalidAnswer, format!("STS returned the ARN `{arn}`: {error}"))
                .remedy("update Berth: a newer version may know this partition")
        })?;
        Ok(CallerIdentity { account, arn, partition })
    }

    /// Assumes a role and returns its session once it has credentials.
    ///
    /// # Errors
    /// A [`Problem`] that contains the role, AWS's message, and what to check.
    pub(crate) async fn assume(
        &self,
        role: &RoleArn,
        name: &'static str,
    ) -> Result<Arc<AccountSession>, Problem> {
        if let Some((hop, session)) = &self.hop
            && let Err(error) = session.get().await
        {
            return Err(self.cannot_assume(hop, None, &error).await);
        }
        let signed = || async {
            let session = self.role_session(self.signer()?, role, name, true);
            session.get().await.map(|_| session)
        };
        let outcome = match &self.method {
            Method::Signed => signed().await,
            Method::WebIdentity(_) if self.hop.is_some() => signed().await,
            Method::WebIdentity(web_identity) => {
                let source = WebIdentityRole {
                    sts: self.sts.clone(),
                    web_identity: web_identity.clone(),
                    role: role.clone(),
                    name,
                    scope_down: true,
                };
                let session = Arc::new(AccountSession::new(self.sts.clock.clone(), source));
                match session.get().await {
                    Ok(_) => Ok(session),
                    // The role does not trust the identity provider, but it may trust the role of
                    // `AWS_ROLE_ARN`.
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

    /// Returns the signer of the requests for the accounts' roles: the hop role or, without one, the base
    /// identity.
    fn signer(&self) -> Result<Signer, IssueError> {
        match (&self.hop, &self.base) {
            (Some((role, session)), _) => Ok(Signer { session: session.clone(), role: Some(role.clone()) }),
            (None, Some(session)) => Ok(Signer { session: session.clone(), role: None }),
            (None, None) => Err(IssueError::new("there is no base identity to assume the role with")),
        }
    }

    fn role_session(
        &self,
        signer: Signer,
        role: &RoleArn,
        name: &'static str,
        scope_down: bool,
    ) -> Arc<AccountSession> {
        let source = AssumedRole {
            sts: self.sts.clone(),
            signer,
            role: role.clone(),
            name,
            external_id: self.external_id(role.account()).cloned(),
            scope_down,
        };
        Arc::new(AccountSession::new(self.sts.clock.clone(), source))
    }

    async fn cannot_assume(&self, role: &RoleArn, hop: Option<&RoleArn>, error: &IssueError) -> Problem {
        let message = format!("Unable to assume role {role}: {error}");
        // A service that did not respond has not denied anything.
        if let Some(silence) = &error.transport {
            return silence.problem(AWS, message);
        }
        let caller = self.caller().await;
        let principal = match (hop, &self.method, &caller) {
            (Some(hop), ..) => hop.to_string(),
            (None, _, Ok(caller)) => caller.principal(),
            (None, Method::WebIdentity(_), Err(_)) => "the issuer of the web identity token".into(),
            (None, Method::Signed, Err(_)) => "the base identity".into(),
        };
        let credentials_refused = error
            .code
            .as_deref()
            .is_some_and(|code| refuses_credentials(code) || is_expired(code, &error.message));
        let for_a_moment = |message| {
            Problem::new(ProblemCode::AwsCannotAssumeRole, message)
                .remedy(remedy::refused_for_a_moment(&principal, role))
        };
        match (hop, &self.method, &self.hop, &self.base) {
            (Some(_), _, Some((_, signer)), _) if credentials_refused && signer.has_just_worked() => {
                return for_a_moment(message);
            }
            (None, Method::Signed, _, Some(signer)) => match caller {
                _ if signer.has_just_worked() => {
                    if credentials_refused {
                        return for_a_moment(message);
                    }
                }
                // The cause is not the role, but the credentials that assume it.
                Err(problem) => return Problem { message, ..problem.clone() },
                Ok(_) if credentials_refused => {
                    // The base identity may have stopped working since the last check.
                    return match self.ask_caller().await {
                        Ok(_) => for_a_moment(message),
                        Err(problem) => Problem { message, ..problem },
                    };
                }
                Ok(_) => {}
            },
            _ => {}
        }
        let external_id_sent = self.external_id(role.account()).is_some();
        Problem::new(ProblemCode::AwsCannotAssumeRole, message).remedy(remedy::cannot_assume(
            &principal,
            role,
            external_id_sent,
        ))
    }
}
