//! The AWS source: everything with I/O towards AWS, behind [`berth_core::Source`].
//!
//! - `credentials`: a base identity (keys, web identity token, or the machine's own), and one role
//!   per account that the official SDK assumes with it.
//! - `accounts` from settings or Organizations, and the `regions` that each has enabled.
//! - `client`: the read operations of every service, by AWS's own service models (`berth_aws_protocol`).
//! - `fetch`: runs a kind's fetch plan with the client, and streams the resources in batches.
//!
//! # Invariants
//! - Nothing reads the environment, except the SDK's ambient credential chain where that is the
//!   base identity.
//! - Only read operations exist, and those that return secrets or bulk data must be granted by
//!   name.
//! - One `reqwest` client carries every request, those of the SDK included.
//! - A stream that ends without an error has read everything. What AWS did not answer (denied,
//!   throttled, failed) is never an empty answer.
//! - What is in flight and in memory is bounded, whatever the number of accounts, regions, kinds
//!   and resources.
//! - No secret is in an error, a log line or a `Debug` text.

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
