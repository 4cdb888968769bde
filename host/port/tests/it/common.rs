//! The setup that all suites of [`PortCatalog`] share: a catalog that uses the fake Port.

pub(crate) mod fixtures;
mod work;

use std::time::Duration;

use berth_port::{PortConfig, RetryPolicy};
use port_stand_in::PortStandIn;
use secrecy::SecretString;

/// The identifier of the integration.
pub(crate) const ID: &str = "My-Berth";

/// Returns how a catalog reaches this fake, with retries that delay no test.
pub(crate) fn config(stand_in: &PortStandIn) -> PortConfig {
    let options = stand_in.options();
    let mut config = PortConfig::new(options.client_id, SecretString::from(options.client_secret), ID);
    config.base_url = stand_in.base_url().clone();
    config.integration_version = "1.2.3".into();
    config.retry = RetryPolicy { retries: 3, base: Duration::from_millis(5), ..RetryPolicy::default() };
    config
}

pub(crate) use work::Work;

/// Returns a catalog that has not been opened.
pub(crate) fn catalog(config: PortConfig) -> Work {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Work::new(berth_port::open(config, reqwest::Client::new()).unwrap())
}
