//! Chooses among the configured credential providers.

use crate::{AwsConfig, CredentialProvider};

/// Returns the first provider of the priority list whose settings are complete.
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
        // The priority list does not include the keys, but they are the only configured identity.
        Some(_) => CredentialProvider::StaticCredential,
        // Nothing is configured: use the credentials of the machine.
        None => CredentialProvider::AssumeRole,
    })
}
