//! Who may ask for what, before anything else is looked at.
//!
//! What the status page, the metrics and the pages about the API show is for those who reach the port.
//! The browser of somebody inside must not be made to show it to another site: neither by a name of that
//! site that leads to this address, nor by a request from one of its pages.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

use crate::config::KnownNames;

/// Endings of names that nobody can register on the internet.
const PRIVATE: [&str; 6] = [".localhost", ".local", ".svc", ".internal", ".home.arpa", ".lan"];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Its `Host` is the name of another site.
    Host,
    /// It comes from a page of another site.
    Origin,
}

impl Foreign {
    /// What the sender is told, and the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Host => {
                "requests are refused: their `Host` is no name of this service (`allowed_hosts` names more)"
            }
            Self::Origin => {
                "requests are refused: they come from pages of other sites (`allowed_hosts` names more)"
            }
        }
    }
}

/// Whether a request is for this service, by its `Host`. Without one it comes from no browser.
pub(super) fn host_is_ours(uri: &Uri, headers: &HeaderMap, names: &KnownNames) -> Result<(), Foreign> {
    let Some(host) = host(uri, headers) else { return Ok(()) };
    let ours = host.is_some_and(|host| names.knows(&host) || is_private(&host));
    if ours { Ok(()) } else { Err(Foreign::Host) }
}

/// Whether a request comes from a page of this service, or from no page.
pub(super) fn origin_is_ours(uri: &Uri, headers: &HeaderMap, names: &KnownNames) -> Result<(), Foreign> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let origin = origin.as_ref().and_then(Uri::authority);
    let same = origin.is_some_and(|origin| {
        let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        asked.or(uri.authority().map(Authority::as_str)) == Some(origin.as_str())
            || names.knows(&name_of(origin))
    });
    if same { Ok(()) } else { Err(Foreign::Origin) }
}

/// The name or address that a request asks for, without its port; `Some(None)` for what is neither.
#[expect(clippy::option_option, reason = "none, and one that cannot be read, are told apart")]
fn host(uri: &Uri, headers: &HeaderMap) -> Option<Option<String>> {
    if let Some(authority) = uri.authority() {
        return Some(Some(name_of(authority)));
    }
    let host = headers.get(header::HOST)?;
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    Some(authority.as_ref().map(name_of))
}

fn name_of(authority: &Authority) -> String {
    authority.host().trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a name leads nowhere that somebody outside could choose: an address, a name without a dot, or
/// one of a private network.
fn is_private(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    address.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || PRIVATE.iter().any(|ending| host.ends_with(ending))
}

/// Headers that proxies add.
const OF_PROXIES: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];

/// Whether a request was handed on by a proxy.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    OF_PROXIES.iter().any(|name| headers.contains_key(HeaderName::from_static(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn names_of_other_sites_are_refused() {
        let names = KnownNames::new(["Berth.example.com"]);
        let path = Uri::from_static("/status");
        for (host, ours) in [
            ("127.0.0.1:8000", true),
            ("[::1]:8000", true),
            ("10.1.2.3", true),
            ("localhost:8000", true),
            ("berth", true),
            ("berth.monitoring.svc:8000", true),
            ("berth.monitoring.svc.cluster.local", true),
            ("berth.example.com", true),
            ("BERTH.example.com.:8000", true),
            ("evil.example", false),
            ("berth.example.com.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(host_is_ours(&path, &headers(&[("host", host)]), &names).is_ok(), ours, "{host}");
        }
        assert!(host_is_ours(&path, &HeaderMap::new(), &names).is_ok());
        let absolute = Uri::from_static("http://evil.example/status");
        assert_eq!(host_is_ours(&absolute, &headers(&[("host", "berth")]), &names), Err(Foreign::Host));
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let names = KnownNames::new(["berth.example.com"]);
        let path = Uri::from_static("/resync");
        for (host, origin, ours) in [
            ("127.0.0.1:8000", "http://127.0.0.1:8000", true),
            ("127.0.0.1:8000", "http://127.0.0.1:9000", false),
            ("10.1.2.3", "https://berth.example.com", true),
            ("127.0.0.1:8000", "https://evil.example", false),
            ("127.0.0.1:8000", "null", false),
            ("127.0.0.1:8000", "", false),
        ] {
            let headers = headers(&[("host", host), ("origin", origin)]);
            assert_eq!(origin_is_ours(&path, &headers, &names).is_ok(), ours, "{host} {origin}");
        }
        assert!(origin_is_ours(&path, &headers(&[("host", "evil.example")]), &names).is_ok());
    }
}
