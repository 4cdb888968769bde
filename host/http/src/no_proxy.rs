//! Hosts that are reached without a proxy: reads `NO_PROXY` like curl, Go and Python.

use std::net::IpAddr;

use ipnet::IpNet;
use url::{Host, Url};

/// The addresses of a machine's own credentials on AWS: link-local, and therefore not reachable through a
/// proxy.
const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fd00:ec2::/32"];

/// Hosts that are reached without a proxy. Always includes the addresses at which AWS serves a machine its
/// own credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoProxy {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hosts: Hosts,
    /// `None`: all ports.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    /// A name, and all names below it.
    Domain(String),
    Address(IpAddr),
    Network(IpNet),
}

impl NoProxy {
    /// Parses a list whose entries are separated by commas or blanks: `*` for everything, a name (with or
    /// without a leading dot or `*.`) for itself and all names below it, an IP address, or a network in
    /// CIDR form; each, except networks, optionally with a port. Names are not resolved, so networks match
    /// only literal addresses. The second list contains the invalid entries.
    pub fn parse(list: &str) -> (Self, Vec<String>) {
        let mut unknown = Vec::new();
        let mut entries = Vec::new();
        for text in list.split(|c: char| c == ',' || c.is_whitespace()).filter(|text| !text.is_empty()) {
            match Entry::parse(text) {
                Some(entry) => entries.push(entry),
                None => unknown.push(text.to_owned()),
            }
        }
        (Self { entries }, unknown)
    }

    /// Returns whether an address is reached without a proxy.
    pub fn contains(&self, address: &Url) -> bool {
        let port = address.port_or_known_default();
        let Some(host) = address.host() else { return false };
        let is_local = || {
            let networks = LINK_LOCAL.iter().filter_map(|network| network.parse::<IpNet>().ok());
            ip_of(&host).is_some_and(|ip| networks.into_iter().any(|network| network.contains(&ip)))
        };
        let named = |entry: &Entry| {
            entry.port.is_none_or(|wanted| Some(wanted) == port) && entry.hosts.contain(&host)
        };
        self.entries.iter().any(named) || is_local()
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        // Some users write whole URLs.
        let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
        if text == "*" {
            return Some(Self { hosts: Hosts::All, port: None });
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Some(Self { hosts: Hosts::Network(network.trunc()), port: None });
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self { hosts: Hosts::Address(ip.to_canonical()), port: None });
        }
        // An entry with a colon that is not an address ends with a port.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse().ok()?)),
            _ => (text, None),
        };
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let host = host.trim_start_matches('.').trim_end_matches('.');
        if host.is_empty() || host.contains('*') {
            return None;
        }
        let hosts = match Host::parse(host).ok()? {
            Host::Domain(name) => Hosts::Domain(name),
            Host::Ipv4(ip) => Hosts::Address(ip.into()),
            Host::Ipv6(ip) => Hosts::Address(IpAddr::from(ip).to_canonical()),
        };
        Some(Self { hosts, port })
    }
}

impl Hosts {
    fn contain(&self, host: &Host<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Domain(domain) => match host {
                Host::Domain(name) => {
                    let name = name.trim_end_matches('.');
                    let above = name.len().checked_sub(domain.len()).map(|length| name.split_at(length));
                    above.is_some_and(|(above, end)| {
                        end.eq_ignore_ascii_case(domain) && (above.is_empty() || above.ends_with('.'))
                    })
                }
                Host::Ipv4(_) | Host::Ipv6(_) => false,
            },
            Self::Address(address) => ip_of(host) == Some(*address),
            Self::Network(network) => ip_of(host).is_some_and(|ip| network.contains(&ip)),
        }
    }
}

/// Returns a literal address. IPv4 within IPv6 counts as IPv4.
fn ip_of(host: &Host<&str>) -> Option<IpAddr> {
    match host {
        Host::Domain(_) => None,
        Host::Ipv4(ip) => Some((*ip).into()),
        Host::Ipv6(ip) => Some(IpAddr::from(*ip).to_canonical()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_parsed() {
        for (list, direct, proxied) in [
            // Names, and all names below them.
            (
                "example.com",
                "https://example.com https://a.b.example.com http://example.com:8080",
                "https://notexample.com https://example.com.evil.test https://com",
            ),
            (".example.com", "https://example.com https://a.example.com", "https://notexample.com"),
            ("*.example.com", "https://example.com https://a.example.com", "https://notexample.com"),
            ("EXAMPLE.com", "https://example.COM", "https://example.org"),
            ("example.com.", "https://example.com https://example.com./", "https://example.org"),
            ("localhost", "http://localhost https://a.localhost:1", "http://127.0.0.1 https://notlocalhost"),
            ("host", "https://host", "https://localhost https://host.example"),
            (
                "bücher.example",
                "https://xn--bcher-kva.example https://www.bücher.example",
                "https://bucher.example",
            ),
            ("https://example.com/", "https://example.com", "https://example.org"),
            // With a port.
            (
                "example.com:8443",
                "https://example.com:8443 https://a.example.com:8443",
                "https://example.com http://example.com:8444",
            ),
            (".example.com:443", "https://a.example.com", "http://a.example.com"),
            ("localhost:1", "https://localhost:1", "https://localhost:2"),
            ("10.0.0.1:80", "http://10.0.0.1", "https://10.0.0.1"),
            ("[::1]:8080", "http://[::1]:8080", "http://[::1]"),
            // Addresses.
            (
                "10.0.0.1",
                "https://10.0.0.1 https://[::ffff:10.0.0.1]:1",
                "https://10.0.0.10 https://10.0.0.2",
            ),
            ("::1", "https://[::1] http://[0:0::1]:5", "https://[::2] http://localhost"),
            ("[::1]", "https://[::1]:8080", "https://[::2]"),
            ("FD00::A", "https://[fd00::a]", "https://[fd00::b]"),
            // Networks.
            ("10.0.0.0/8", "https://10.255.1.2", "https://11.0.0.1 https://ten.example"),
            ("10.1.2.3/8", "https://10.255.1.2", "https://11.0.0.1"),
            ("fd00::/8", "https://[fdff::1]", "https://[fe00::1] https://10.0.0.1"),
            ("0.0.0.0/0", "https://8.8.8.8", "https://[::8] https://example.com"),
            // Everything.
            ("*", "https://example.com http://10.0.0.1 https://[::1]", ""),
            ("a.example, *", "https://example.com", ""),
            // Lists.
            ("a.example,b.example", "https://a.example https://b.example", "https://c.example"),
            (
                " a.example , b.example\tc.example\n",
                "https://a.example https://b.example https://c.example",
                "https://d.example",
            ),
            (",,", "", "https://a.example"),
            (
                "",
                "http://169.254.169.254 http://169.254.170.2 http://[fd00:ec2::254]",
                "https://a.example http://169.253.0.1",
            ),
        ] {
            let (no_proxy, unknown) = NoProxy::parse(list);
            assert!(unknown.is_empty(), "{list}: {unknown:?}");
            for (addresses, expected) in [(direct, true), (proxied, false)] {
                for address in addresses.split_whitespace() {
                    let url = Url::parse(address).unwrap();
                    assert_eq!(no_proxy.contains(&url), expected, "NO_PROXY={list}: {address}");
                }
            }
        }
    }

    #[test]
    fn invalid_entries_are_returned() {
        let (no_proxy, unknown) = NoProxy::parse("10.*, a.example:https, [::1, 10.0.0.0/33, b.example");
        assert_eq!(unknown, ["10.*", "a.example:https", "[::1", "10.0.0.0/33"]);
        assert!(no_proxy.contains(&Url::parse("https://b.example").unwrap()));
        assert!(!no_proxy.contains(&Url::parse("https://a.example").unwrap()));
    }
}
