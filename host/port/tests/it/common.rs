//! What every suite of [`PortCatalog`] sets up: a catalog that speaks with the stand-in.

pub(crate) mod fixtures;
mod work;

use std::time::Duration;

use berth_port::{PortCatalog, PortConfig, RetryPolicy};
use port_stand_in::PortStandIn;
use secrecy::SecretString;

/// The identifier of the integration.
pub(crate) const ID: &str = "My-Berth";

/// How a catalog reaches this stand-in, with retries that keep no test waiting.
pub(crate) fn config(stand_in: &PortStandIn) -> PortConfig {
    let options = stand_in.options();
    let mut config = PortConfig::new(options.client_id, SecretString::from(options.client_secret), ID);
    config.base_url = stand_in.base_url().clone();
    config.integration_version = "1.2.3".into();
    config.retry = RetryPolicy { retries: 3, base: Duration::from_millis(5), ..RetryPolicy::default() };
    config
}

pub(crate) use work::Work;

/// A catalog that has not been opened.
pub(crate) fn catalog(config: PortConfig) -> Work {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Work::new(PortCatalog::new(config, reqwest::Client::new()).unwrap())
}
