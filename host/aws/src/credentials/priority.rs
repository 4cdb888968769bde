//! Which of the configured credential providers is used.

use crate::{AwsConfig, CredentialProvider};

/// The first provider of the priority list that has what it needs.
pub(super) fn choose(config: &AwsConfig) -> CredentialProvider {
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
