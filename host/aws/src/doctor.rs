//! Looking before syncing: who Berth is, and whether a kind can be read. Nothing is written.

use std::sync::Arc;

use berth_core::{AccountId, FetchError, FetchRequest, Problem, Source};
use futures::StreamExt;

use crate::{AwsSource, CredentialProvider};

/// Who Berth is towards AWS, before it assumes any role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseIdentity {
    /// Where its credentials come from.
    pub provider: CredentialProvider,
    /// Its account.
    pub account: AccountId,
    /// The principal as a trust policy names it: a user or a role, not a role's session.
    pub principal: String,
}

/// What a first look at a kind found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// There are resources, and they can be read.
    Some,
    /// The kind can be listed, and there are none.
    None,
}

impl AwsSource {
    /// Asks STS who Berth is.
    ///
    /// # Errors
    /// A [`Problem`] with what to check when there are no usable credentials.
    pub async fn base_identity(&self) -> Result<BaseIdentity, Problem> {
        let caller = self.identities().caller().await?;
        Ok(BaseIdentity {
            provider: self.identities().provider(),
            account: caller.account.clone(),
            principal: caller.principal(),
        })
    }

    /// Reads a unit just far enough to know whether it can be read: one page of its list, and the
    /// enrichments of a few resources. [`accounts`](Source::accounts) must have run.
    ///
    /// # Errors
    /// A [`Problem`] that names the missing IAM action where access is denied.
    pub async fn glance(&self, mut request: FetchRequest) -> Result<Glance, Problem> {
        let mut kind = (*request.kind).clone();
        kind.plan.chunk = Some(1);
        request.kind = Arc::new(kind);
        match self.fetch(request).next().await {
            None => Ok(Glance::None),
            Some(Ok(page)) => match page.failures.into_iter().next() {
                Some(failure) => Err(failure.problem),
                None => Ok(Glance::Some),
            },
            Some(Err(FetchError::Skipped(problem) | FetchError::Failed(problem))) => Err(problem),
        }
    }
}
