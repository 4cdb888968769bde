//! Decides where credentials may be sent.

use url::{Host, Url};

/// Returns whether only the recipient can read what is sent to an address: it uses TLS, or stays on this
/// machine.
pub fn is_private(address: &Url) -> bool {
    match address.scheme() {
        "https" => true,
        "http" => is_loopback(address),
        _ => false,
    }
}

/// Returns whether an address is on this machine: `127.0.0.0/8`, `::1` or `localhost`.
pub fn is_loopback(address: &Url) -> bool {
    match address.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.to_canonical().is_loopback(),
        Some(Host::Domain(name)) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// Returns whether two addresses belong to the same owner: their hosts are equal, or below the same
/// registrable domain (`api.port.example` and `ingest.port.example`).
pub fn is_same_owner(one: &Url, other: &Url) -> bool {
    match (one.host(), other.host()) {
        (Some(Host::Domain(one)), Some(Host::Domain(other))) => {
            let (one, other) = (one.trim_end_matches('.'), other.trim_end_matches('.'));
            one.eq_ignore_ascii_case(other)
                || match (psl::domain_str(one), psl::domain_str(other)) {
                    (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
                    _ => false,
                }
        }
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn unencrypted_requests_stay_on_this_machine() {
        for (address, private) in [
            ("https://api.example", true),
            ("http://api.example", false),
            ("http://127.0.0.1:3000", true),
            ("http://127.8.9.10", true),
            ("http://localhost:3000", true),
            ("http://LOCALHOST.", true),
            ("http://[::1]:3000", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://[::2]", false),
            ("http://10.0.0.1", false),
            ("http://169.254.169.254", false),
            ("http://localhost.example", false),
            ("http://0.0.0.0", false),
            ("ftp://localhost", false),
        ] {
            assert_eq!(is_private(&url(address)), private, "{address}");
        }
    }

    #[test]
    fn an_owner_has_one_domain() {
        for (one, other, same) in [
            ("https://api.getport.io", "https://ingest.getport.io:8443/x", true),
            ("https://api.getport.io", "https://getport.io", true),
            ("https://api.getport.io", "https://api.getport.io.evil.example", false),
            ("https://api.getport.io", "https://evilgetport.io", false),
            ("https://api.getport.io", "https://other.io", false),
            // Everybody can register a name below these.
            ("https://a.github.io", "https://b.github.io", false),
            ("https://a.co.uk", "https://b.co.uk", false),
            ("https://a.s3.amazonaws.com", "https://b.s3.amazonaws.com", false),
            ("http://127.0.0.1:1", "http://127.0.0.1:2", true),
            ("http://127.0.0.1:1", "http://127.0.0.2:1", false),
            ("http://localhost:1", "http://localhost:2", true),
            ("http://localhost:1", "http://127.0.0.1:1", false),
            ("https://port", "https://port:1", true),
            ("https://port", "https://other", false),
        ] {
            assert_eq!(is_same_owner(&url(one), &url(other)), same, "{one} {other}");
            assert_eq!(is_same_owner(&url(other), &url(one)), same, "{other} {one}");
        }
    }
}
