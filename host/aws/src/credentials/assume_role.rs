//! A role that is assumed with other credentials.

use std::sync::Arc;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_sts::types::AssumedRoleUser;
use berth_core::RoleArn;
use secrecy::{ExposeSecret, SecretString};

use super::{
    session::AccountSession,
    source::{CredentialSource, IssueError},
    sts::{Sts, check_account, credentials},
};

/// The session that signs the request to assume a role.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) session: Arc<AccountSession>,
    /// Its role; `None` for the base identity.
    pub(super) role: Option<RoleArn>,
}

/// A role that a signer assumes.
pub(super) struct AssumedRole {
    pub(super) sts: Arc<Sts>,
    pub(super) signer: Signer,
    pub(super) role: RoleArn,
    pub(super) name: &'static str,
    pub(super) external_id: Option<SecretString>,
    /// Whether the session policy scopes the role down.
    pub(super) scope_down: bool,
}

#[async_trait]
impl CredentialSource for AssumedRole {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        // An error of the signer names the signer's role.
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
            .set_policy(self.sts.policy.clone().filter(|_| self.scope_down));
        let send = |config| request.clone().customize().config_override(config).send();
        let answer = self.sts.ask(Some(&self.signer.session), send).await.map_err(|mut error| {
            if let Some(secret) = &self.external_id {
                error.text = without(&error.text, secret.expose_secret());
            }
            error
        })?;
        check_account(&self.role, answer.assumed_role_user().map(AssumedRoleUser::arn))?;
        credentials(answer.credentials(), "sts-assume-role")
    }
}

/// Removes a secret from a text.
fn without(text: &str, secret: &str) -> String {
    if secret.is_empty() { text.to_owned() } else { text.replace(secret, "[redacted]") }
}
