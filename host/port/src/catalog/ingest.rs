//! The addresses outside the API: the integration's document says where metrics, logs and raw data go. The
//! token goes there, too, so not every address is allowed.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use berth_core::{Problem, ProblemCode};
use berth_http::{is_private, is_same_owner};
use url::Url;

use crate::{
    PortConfig,
    api::integrations::{Ingest, Integration},
};

/// Port's own domains. They are allowed even if the API's address is another, such as a gateway.
const PORT: [&str; 2] = ["getport.io", "port.io"];

/// Returns an address that Port names, if the token may go there.
///
/// # Errors
/// Why it may not.
fn address(config: &PortConfig, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))?;
    let api = &config.base_url;
    // An API without TLS is on this machine.
    if !is_private(&url) || (url.scheme() == "http" && api.scheme() != "http") {
        return Err(format!("`{text}` does not use https"));
    }
    let is_ports = |host: &str| PORT.iter().any(|domain| is_below(host, domain));
    let is_named = |host: &str| config.ingest_domains.iter().any(|domain| is_below(host, domain));
    match url.host_str() {
        Some(host) if is_same_owner(&url, api) || is_ports(host) || is_named(host) => Ok(url),
        _ => Err(format!(
            "`{text}` is not below the domain of Port's API, nor below one of OCEAN__INGEST_DOMAINS"
        )),
    }
}

/// Returns the address for raw data in the integration's document.
pub(crate) fn raw_address(config: &PortConfig, named: Option<&str>) -> Result<Url, Problem> {
    let named = named.ok_or_else(|| "it names none".to_owned());
    named.and_then(|text| address(config, text)).map_err(|why| {
        let identifier = &config.integration_identifier;
        Problem::new(
            ProblemCode::PortInvalidAnswer,
            format!("the address for raw data of integration `{identifier}` is not usable: {why}"),
        )
    })
}

fn is_below(host: &str, domain: &str) -> bool {
    let domain = domain.trim_start_matches('.');
    host.len().checked_sub(domain.len()).is_some_and(|above| {
        let (above, end) = host.split_at_checked(above).unwrap_or_default();
        end.eq_ignore_ascii_case(domain) && (above.is_empty() || above.ends_with('.'))
    })
}

/// The integration's last document.
#[derive(Default)]
pub(crate) struct IngestAddresses {
    known: Mutex<Option<Addresses>>,
    /// Rejected addresses: each is logged once.
    refused: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Default)]
struct Addresses {
    metrics: Option<Url>,
    logs: Option<Url>,
    /// As it is named; its user checks it.
    raw_data: Option<String>,
}

impl IngestAddresses {
    /// Keeps what a document says, so that other requests need not fetch it.
    pub(crate) fn learn(&self, config: &PortConfig, integration: &Integration) {
        let addresses = Addresses {
            metrics: self.accept(config, "metrics", integration.metric_attributes.as_ref()),
            logs: self.accept(config, "logs", integration.log_attributes.as_ref()),
            raw_data: integration.ingest_attributes.as_ref().and_then(|named| named.ingest_url.clone()),
        };
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
    }

    /// Treats an unusable address like a missing one: no resync may fail because of it.
    fn accept(&self, config: &PortConfig, what: &str, from: Option<&Ingest>) -> Option<Url> {
        let text = from?.ingest_url.as_deref().filter(|text| !text.is_empty())?;
        match address(config, text) {
            Ok(url) => Some(url),
            Err(reason) => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                if refused.insert(text.to_owned()) {
                    tracing::warn!(
                        reason,
                        "Berth sends no {what} to the address that Port names, because the token would go \
                         there"
                    );
                }
                None
            }
        }
    }

    /// Returns where metrics go, if anywhere.
    pub(crate) fn metrics(&self) -> Option<Url> {
        self.known().and_then(|addresses| addresses.metrics)
    }

    /// Returns where logs go, if anywhere.
    pub(crate) fn logs(&self) -> Option<Url> {
        self.known().and_then(|addresses| addresses.logs)
    }

    /// Returns where raw data goes, if anywhere.
    pub(crate) fn raw_data(&self) -> Option<String> {
        self.known().and_then(|addresses| addresses.raw_data)
    }

    /// Returns whether a document was read yet.
    pub(crate) fn is_known(&self) -> bool {
        self.known().is_some()
    }

    fn known(&self) -> Option<Addresses> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(api: &str) -> PortConfig {
        let mut config = PortConfig::new("id", "secret".into(), "my-berth");
        config.base_url = Url::parse(api).unwrap();
        config
    }

    #[test]
    fn the_token_goes_only_to_where_the_api_is_or_to_port_itself() {
        let eu = "https://api.getport.io";
        let local = "http://127.0.0.1:3000";
        let gateway = "https://port.corp.example/api";
        for (api, named, may) in [
            (eu, "https://ingest.getport.io/logs", true),
            (eu, "https://ingest.us.port.io", true),
            (eu, "https://getport.io:8443/x", true),
            (eu, "http://ingest.getport.io/logs", false),
            (eu, "http://127.0.0.1/logs", false),
            (eu, "http://localhost/logs", false),
            (eu, "https://evilgetport.io", false),
            (eu, "https://getport.io.evil.example", false),
            (eu, "https://getport.io@evil.example", false),
            (eu, "https://10.0.0.1", false),
            (gateway, "https://ingest.corp.example", true),
            (gateway, "https://ingest.getport.io", true),
            (gateway, "https://ingest.other.example", false),
            (gateway, "https://a.named.example", true),
            (gateway, "https://named.example", true),
            (gateway, "https://notnamed.example", false),
            (gateway, "http://named.example", false),
            (local, "http://127.0.0.1:4000/logs", true),
            (local, "http://10.0.0.1:4000", false),
            (local, "http://port.example", false),
            (eu, "", false),
            (eu, "ingest", false),
            (eu, "file:///etc/passwd", false),
            (local, "ftp://127.0.0.1", false),
        ] {
            let mut config = config(api);
            config.ingest_domains = vec!["named.example".into()];
            assert_eq!(address(&config, named).is_ok(), may, "{api}: {named}: {:?}", address(&config, named));
        }
    }

    #[test]
    fn what_will_not_do_is_none() {
        let named = |url: &str| {
            let integration = Integration {
                metric_attributes: Some(Ingest { ingest_url: Some(url.into()) }),
                ..Integration::default()
            };
            let ingest = IngestAddresses::default();
            assert!(!ingest.is_known());
            ingest.learn(&config("https://api.a.example"), &integration);
            assert!(ingest.is_known());
            assert_eq!(ingest.logs(), None);
            ingest.metrics()
        };
        assert_eq!(named("https://ingest.a.example/x").unwrap().path(), "/x");
        for no_address in ["", "ingest", "http://ingest.a.example", "https://ingest.b.example"] {
            assert_eq!(named(no_address), None, "{no_address}");
        }
    }
}
