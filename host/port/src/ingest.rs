//! The addresses beside the API: the integration's document names where metrics, logs and raw data go.

use std::sync::{Mutex, PoisonError};

use url::{Url, form_urlencoded};

use crate::{error::PortError, wire};

/// What the integration's document said last.
#[derive(Default)]
pub(crate) struct Ingest(Mutex<Option<Addresses>>);

#[derive(Clone, Default)]
struct Addresses {
    metrics: Option<Url>,
    logs: Option<Url>,
    /// As it is named: it must be as well protected as the API, which who uses it sees to.
    raw_data: Option<String>,
}

impl Ingest {
    /// Keeps what a document says, so that no other request has to ask for it.
    pub(crate) fn learn(&self, integration: &wire::Integration) {
        let addresses = Addresses {
            metrics: address(integration.metric_attributes.as_ref()),
            logs: address(integration.log_attributes.as_ref()),
            raw_data: integration.ingest_attributes.as_ref().and_then(|named| named.ingest_url.clone()),
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
    }

    /// Where metrics go, if anywhere.
    pub(crate) fn metrics(&self) -> Option<Url> {
        self.known().and_then(|addresses| addresses.metrics)
    }

    /// Where logs go, if anywhere.
    pub(crate) fn logs(&self) -> Option<Url> {
        self.known().and_then(|addresses| addresses.logs)
    }

    /// Where raw data goes, if anywhere.
    pub(crate) fn raw_data(&self) -> Option<String> {
        self.known().and_then(|addresses| addresses.raw_data)
    }

    /// Whether a document was read yet.
    pub(crate) fn is_known(&self) -> bool {
        self.known().is_some()
    }

    fn known(&self) -> Option<Addresses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An address that is none is as good as none at all: no resync may fail for it.
fn address(from: Option<&wire::Ingest>) -> Option<Url> {
    let url = Url::parse(from?.ingest_url.as_deref()?).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// A route below such an address. Its parts are escaped as forms escape them (`%3A` for a colon).
pub(crate) fn below(base: &Url, parts: &[&str]) -> Result<Url, PortError> {
    let mut text = base.as_str().trim_end_matches('/').to_owned();
    for part in parts {
        text.push('/');
        text.extend(form_urlencoded::byte_serialize(part.as_bytes()));
    }
    Url::parse(&text).map_err(|error| {
        PortError::Other(berth_core::Problem::new(format!("`{text}` is no address: {error}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_escaped_as_in_forms_and_the_base_keeps_its_path() {
        for base in ["https://ingest.port.example/metrics", "https://ingest.port.example/metrics/"] {
            let base = Url::parse(base).unwrap();
            let url = below(&base, &["syncMetrics", "kind", "AWS::S3::Bucket-0"]).unwrap();
            let expected = "https://ingest.port.example/metrics/syncMetrics/kind/AWS%3A%3AS3%3A%3ABucket-0";
            assert_eq!(url.as_str(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        let named = |url: &str| {
            let integration = wire::Integration {
                metric_attributes: Some(wire::Ingest { ingest_url: Some(url.into()) }),
                ..wire::Integration::default()
            };
            let ingest = Ingest::default();
            assert!(!ingest.is_known());
            ingest.learn(&integration);
            assert!(ingest.is_known());
            assert_eq!(ingest.logs(), None);
            ingest.metrics()
        };
        assert_eq!(named("https://a.example/x").unwrap().path(), "/x");
        for no_address in ["", "ingest", "file:///etc/passwd", "ftp://a.example"] {
            assert_eq!(named(no_address), None, "{no_address}");
        }
    }
}
