//! The AWS wing: everything with I/O towards AWS, behind [`berth_core::Source`].

mod accounts;
mod client;
mod config;
mod doctor;
mod errors;
mod fetch;
mod identity;
pub mod policy;
mod refusals;
mod regions;
mod source;
mod stats;
mod transport;

pub use config::{
    AwsConfig, Concurrency, ConfigError, CredentialProvider, EndpointOverrides, Retry, StaticKeys,
    WebIdentity,
};
pub use doctor::{BaseIdentity, Glance};
pub use source::AwsSource;
pub use stats::{AwsStats, CallStats};
