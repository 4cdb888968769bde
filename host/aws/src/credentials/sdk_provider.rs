//! Lets the official SDK sign with a session.

use std::sync::Arc;

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};

use super::session::Session;

#[derive(Debug, Clone)]
pub(crate) struct Provider(pub(crate) Arc<Session>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let issued = self.0.get().await.map_err(CredentialsError::provider_error)?;
            Ok(issued.credentials().clone())
        })
    }
}
