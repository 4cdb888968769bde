//! Checks the base identity, for `berth doctor`. Writes nothing.

use berth_core::{AccountId, Problem};

use crate::{AwsSource, CredentialProvider};

/// The identity with which Berth assumes roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseIdentity {
    /// The provider of its credentials.
    pub provider: CredentialProvider,
    /// Its account.
    pub account: AccountId,
    /// The principal as a trust policy names it: a user or a role, not a role's session.
    pub principal: String,
}

impl AwsSource {
    /// Asks STS for the base identity.
    ///
    /// # Errors
    /// A [`Problem`] with a remedy if there are no usable credentials.
    pub async fn base_identity(&self) -> Result<BaseIdentity, Problem> {
        let caller = self.identities().caller().await?;
        Ok(BaseIdentity {
            provider: self.identities().provider(),
            account: caller.account.clone(),
            principal: caller.principal(),
        })
    }
}
