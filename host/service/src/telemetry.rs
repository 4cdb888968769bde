//! Telemetry in addition to the metrics page: spans and metrics for an OpenTelemetry collector, and the log
//! for Port. Both are layers of `tracing`, which the program installs; this crate does not.

mod log_shipping;
#[cfg(feature = "otlp")]
mod otlp;

pub use log_shipping::LogShipping;
#[cfg(feature = "otlp")]
pub use otlp::{Otlp, OtlpConfig};
