//! The AWS wing: everything with I/O towards AWS, behind [`berth_core::Source`].

mod config;
mod source;
mod stats;

pub use config::{
    AwsConfig, Concurrency, ConfigError, CredentialProvider, EndpointOverrides, Retry, StaticKeys,
    WebIdentity,
};
pub use source::AwsSource;
pub use stats::{AwsStats, CallStats};
