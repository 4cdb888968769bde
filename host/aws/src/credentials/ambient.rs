//! The credentials of the machine, as the official SDK finds them.

use async_trait::async_trait;
use aws_config::{default_provider::credentials::DefaultCredentialsChain, provider_config::ProviderConfig};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError},
};
use berth_core::error_chain;

use super::source::{CredentialSource, IssueError};
use crate::{clock::AwsClock, sdk_transport::SdkTransport};

/// The SDK's own chain: environment, profile, web identity, container (ECS, EKS pod identity), instance
/// profile. Built for each refresh, since it reads files only once.
pub(super) struct Ambient {
    pub(super) transport: SdkTransport,
    pub(super) clock: AwsClock,
    pub(super) region: &'static str,
}

#[async_trait]
impl CredentialSource for Ambient {
    async fn issue(&self) -> Result<Credentials, IssueError> {
        let config = ProviderConfig::without_region()
            .with_http_client(self.transport.clone())
            .with_time_source(self.clock.clone());
        let region = aws_sdk_sts::config::Region::new(self.region);
        let chain = DefaultCredentialsChain::builder().configure(config).region(region).build().await;
        chain.provide_credentials().await.map_err(|error| match error {
            // A missing metadata service is not a network problem.
            CredentialsError::CredentialsNotLoaded(_) => IssueError::new(error_chain(&error)),
            error => IssueError::of_error(&error),
        })
    }
}
