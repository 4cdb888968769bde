//! The trait of credential sources. Each source has a file: static keys, the machine's own credentials, a
//! web identity token, and a role that other credentials assume.

use std::fmt;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use berth_core::error_chain;
use berth_http::TransportError;

/// A source of credentials.
#[async_trait]
pub(super) trait CredentialSource: Send + Sync {
    async fn issue(&self) -> Result<Credentials, IssueError>;
}

/// A source could not issue credentials.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(super) struct IssueError {
    /// `<code>: <message>` if AWS responded.
    pub(super) text: String,
    pub(super) code: Option<String>,
    pub(super) message: String,
    /// The cause, if there was no response.
    pub(super) transport: Option<TransportError>,
}

impl IssueError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: None, message: String::new(), transport: None }
    }

    pub(super) fn of_sdk<E, R>(error: &SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        R: fmt::Debug + 'static,
    {
        match (error.code(), error.message()) {
            (Some(code), message) => {
                let message = message.unwrap_or("AWS gave no message").to_owned();
                let text = format!("{code}: {message}");
                Self { text, code: Some(code.to_owned()), message, transport: None }
            }
            (None, _) => Self::of_error(error),
        }
    }

    /// Wraps an error other than an AWS response.
    pub(super) fn of_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let transport = TransportError::find(error);
        let text = match &transport {
            Some(silence) => silence.to_string(),
            None => error_chain(error),
        };
        Self { transport, ..Self::new(text) }
    }
}
