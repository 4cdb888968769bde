//! Resolves host names through the system, with errors that show whether they are temporary.

use std::{fmt, io, net::SocketAddr};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Calls `getaddrinfo`. The standard library does so, too, but returns its error only as text.
#[derive(Debug)]
pub(crate) struct SystemResolver;

/// Why a name has no address.
#[derive(Debug)]
pub(crate) struct NameError {
    /// Whether the name does not exist, so that a retry would not help. Not set if no name server responds
    /// (`EAI_AGAIN`), for example while a container starts.
    pub(crate) is_final: bool,
    host: String,
    source: io::Error,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve `{}`", self.host)
    }
}

impl std::error::Error for NameError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl NameError {
    fn new(host: &str, error: LookupError) -> Self {
        let is_final = matches!(error.kind(), LookupErrorKind::NoName | LookupErrorKind::NoData);
        Self { is_final, host: host.to_owned(), source: error.into() }
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::task::spawn_blocking(move || lookup(&host)).await??;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn lookup(host: &str) -> Result<Vec<SocketAddr>, NameError> {
    let hints = AddrInfoHints { socktype: SockType::Stream.into(), ..AddrInfoHints::default() };
    let found = dns_lookup::getaddrinfo(Some(host), None, Some(hints))
        .map_err(|error| NameError::new(host, error))?;
    // Omits addresses of other families than the internet's.
    Ok(found.filter_map(Result::ok).map(|info| info.sockaddr).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_does_not_exist_is_final() {
        for (code, is_final) in [
            (libc_code::NONAME, true),
            (libc_code::AGAIN, false),
            (libc_code::FAIL, false),
            (libc_code::MEMORY, false),
        ] {
            let error = NameError::new("port.example", LookupError::new(code));
            assert_eq!(error.is_final, is_final, "{code}");
            assert!(error.to_string().contains("port.example"), "{error}");
        }
    }

    /// The codes of glibc and musl.
    #[cfg(target_os = "linux")]
    mod libc_code {
        pub(super) const NONAME: i32 = -2;
        pub(super) const AGAIN: i32 = -3;
        pub(super) const FAIL: i32 = -4;
        pub(super) const MEMORY: i32 = -10;
    }

    #[cfg(not(target_os = "linux"))]
    mod libc_code {
        pub(super) const NONAME: i32 = 8;
        pub(super) const AGAIN: i32 = 2;
        pub(super) const FAIL: i32 = 4;
        pub(super) const MEMORY: i32 = 6;
    }

    #[test]
    fn this_machine_has_addresses() {
        let found = lookup("localhost").unwrap();
        assert!(!found.is_empty() && found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    }
}
