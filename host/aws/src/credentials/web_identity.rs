//! A role that is assumed with a web identity token (for example, IRSA).

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_sts::types::AssumedRoleUser;
use berth_core::RoleArn;

use super::{
    source::{CredentialSource, IssueError},
    sts::{Sts, check_account, credentials},
};
use crate::{WebIdentity, errors::is_expired};

/// A role that a web identity token assumes. STS accepts no external ID here.
pub(super) struct WebIdentityRole {
    pub(super) sts: Arc<Sts>,
    pub(super) web_identity: WebIdentity,
    pub(super) role: RoleArn,
    pub(super) name: &'static str,
    /// Whether the session policy scopes the role down.
    pub(super) scope_down: bool,
}

impl WebIdentityRole {
    async fn with_token(&self, token: &str) -> Result<Credentials, IssueError> {
        let request = self
            .sts
            .unsigned()
            .assume_role_with_web_identity()
            .role_arn(self.role.as_str())
            .role_session_name(self.name)
            .web_identity_token(token)
            .set_duration_seconds(self.sts.duration)
            .set_policy(self.sts.policy.clone().filter(|_| self.scope_down));
        let send = |_| request.clone().send();
        let answer = self.sts.ask(None, send).await?;
        check_account(&self.role, answer.assumed_role_user().map(AssumedRoleUser::arn))?;
        credentials(answer.credentials(), "sts-assume-role-with-web-identity")
    }
}

#[async_trait]
impl CredentialSource for WebIdentityRole {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        let token = read_token(&self.web_identity.token_file).await?;
        match self.with_token(&token).await {
            Err(error) if error.code.as_deref().is_some_and(|code| is_expired(code, &error.message)) => {
                // The file may have been renewed in the meantime.
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
        IssueError::new(format!("cannot read the web identity token file `{}`: {error}", file.display()))
    })?;
    match token.trim() {
        "" => Err(IssueError::new(format!("the web identity token file `{}` is empty", file.display()))),
        token => Ok(token.to_owned()),
    }
}
