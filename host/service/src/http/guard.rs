//! Decides who may send which requests, before anything else is read.
//!
//! The status page, the metrics and the API's documents are for people who can reach the port. Another site
//! must not use their browser to read them: neither by a name of that site that resolves to this address, nor
//! by a request from one of its pages.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, Uri, header, uri::Authority};

use crate::config::KnownNames;

/// Suffixes of names that nobody can register on the internet.
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
    /// Returns the text for the sender and the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Host => {
                "refused requests: their `Host` is not a name of this service (`allowed_hosts` adds names)"
            }
            Self::Origin => {
                "refused requests: they come from pages of other sites (`allowed_hosts` adds names)"
            }
        }
    }
}

/// Returns whether a request is for this service, by its `Host`. A request without `Host` is not from a
/// browser.
pub(super) fn host_is_ours(uri: &Uri, headers: &HeaderMap, names: &KnownNames) -> Result<(), Foreign> {
    let Some(host) = host(uri, headers) else { return Ok(()) };
    let ours = host.is_some_and(|host| names.knows(&host) || is_private(&host));
    if ours { Ok(()) } else { Err(Foreign::Host) }
}

/// Returns whether a request comes from a page of this service, or from no page.
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

/// Returns the name or address in a request, without its port; `Some(None)` if it cannot be parsed.
#[expect(clippy::option_option, reason = "distinguishes a missing name from one that cannot be parsed")]
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

/// Returns whether nobody outside can choose where a name resolves to: an address, a name without a dot, or
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

/// Returns whether a proxy forwarded a request.
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
