//! Access keys from the settings.

use async_trait::async_trait;
use aws_credential_types::Credentials;
use secrecy::ExposeSecret;

use super::source::{CredentialSource, IssueError};
use crate::StaticKeys;

/// Access keys that do not change.
pub(super) struct FixedKeys(Credentials);

impl FixedKeys {
    pub(super) fn new(keys: &StaticKeys) -> Self {
        Self(Credentials::new(
            keys.access_key_id.expose_secret(),
            keys.secret_access_key.expose_secret(),
            keys.session_token.as_ref().map(|token| token.expose_secret().to_owned()),
            None,
            "berth-settings",
        ))
    }
}

#[async_trait]
impl CredentialSource for FixedKeys {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        Ok(self.0.clone())
    }
}
