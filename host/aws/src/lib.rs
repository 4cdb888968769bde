//! The AWS wing: everything with I/O towards AWS, behind [`berth_core::Source`].

mod accounts;
mod client;
mod config;
mod errors;
mod fetch;
mod identity;
mod refusals;
mod regions;
mod source;
mod stats;
mod transport;

pub use config::{
    AwsConfig, Concurrency, ConfigError, CredentialProvider, EndpointOverrides, Retry, StaticKeys,
    WebIdentity,
};
pub use source::AwsSource;
pub use stats::{AwsStats, CallStats};
