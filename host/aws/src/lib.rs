//! The AWS source: all I/O with AWS, behind [`berth_core::Source`].
//!
//! - `credentials`: a base identity (keys, web identity token, or the machine's own credentials), and one
//!   role per account, which the official SDK assumes.
//! - `accounts` from the settings or from Organizations, and the enabled `regions` of each account.
//! - `client`: the read operations of every service, based on AWS's own service models
//!   (`berth_aws_protocol`).
//! - `fetch`: runs a kind's fetch plan with the client, and streams the resources in batches.
//!
//! # Invariants
//! - Nothing reads the environment, except the SDK's ambient credential chain if it is the base identity.
//! - Only read operations exist. Operations that return secrets or bulk data must be granted by name.
//! - One `reqwest` client sends every request, including those of the SDK.
//! - A stream that ends without an error has read everything. A call that failed (denied, throttled, no
//!   response) is never an empty response.
//! - Data in flight and in memory is bounded, independent of the number of accounts, regions, kinds and
//!   resources.
//! - No error, log line or `Debug` output contains a secret.

mod accounts;
mod client;
mod clock;
mod config;
mod credentials;
mod doctor;
mod errors;
mod fetch;
mod listing;
mod metrics;
mod once;
pub mod policy;
mod regions;
mod sdk_transport;
mod sensitive_reads;
mod source;

pub use berth_aws_protocol::validate_plan;
pub use config::{
    AwsConfig, Concurrency, ConfigError, CredentialProvider, EndpointOverrides, Retry, StaticKeys,
    WebIdentity,
};
pub use doctor::BaseIdentity;
pub use listing::Listing;
pub use metrics::{AwsStats, CallStats, KindStats};
pub use sensitive_reads::check_read;
pub use source::AwsSource;
