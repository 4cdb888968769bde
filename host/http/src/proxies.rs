//! Chooses the proxy of a request.

use std::fmt;

use reqwest::Url;

use crate::no_proxy::NoProxy;

/// The proxies of a client.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For `http://` addresses (`HTTP_PROXY`).
    pub http: Option<ProxyUrl>,
    /// For `https://` addresses (`HTTPS_PROXY`).
    pub https: Option<ProxyUrl>,
    /// Hosts that are reached directly (`NO_PROXY`).
    pub except: NoProxy,
}

/// A proxy's address and, optionally, the user name and password for it. The `Debug` output contains
/// neither of these.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

/// Why a text is not a proxy's address. Does not repeat the text, which may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// The text is not an address.
    #[error("not an address")]
    NoAddress,
    /// Only `http` and `https` proxies are supported.
    #[error("`{0}` proxies are not supported")]
    Scheme(String),
}

impl ProxyUrl {
    /// Parses `http://name:password@host:port`. Without a scheme, `http` is assumed, as in other tools.
    ///
    /// # Errors
    /// [`ProxyUrlError`] if it is not the address of an HTTP proxy.
    pub fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let text = text.trim();
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let address = Url::parse(&text).map_err(|_| ProxyUrlError::NoAddress)?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(ProxyUrlError::Scheme(address.scheme().to_owned()));
        }
        if !address.has_host() {
            return Err(ProxyUrlError::NoAddress);
        }
        Ok(Self(address))
    }

    /// Returns the address with the user name and password, for clients that need them in this form: a
    /// secret.
    pub fn with_login(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut address = self.0.clone();
        // Both fail only for an address without a host.
        _ = address.set_username("");
        _ = address.set_password(None);
        f.write_str(address.as_str())
    }
}

impl Proxies {
    /// Returns the proxy for an address, if there is one.
    pub fn of(&self, address: &Url) -> Option<&ProxyUrl> {
        let proxy = match address.scheme() {
            "http" => self.http.as_ref(),
            "https" => self.https.as_ref(),
            _ => None,
        };
        proxy.filter(|_| !self.except.contains(address))
    }

    /// Returns all proxies, in the form that the client needs.
    pub(super) fn for_client(&self) -> Option<reqwest::Proxy> {
        let proxies = self.clone();
        let any = proxies.http.is_some() || proxies.https.is_some();
        any.then(|| reqwest::Proxy::custom(move |url| proxies.of(url).map(|proxy| proxy.0.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_proxy_is_kept_and_never_shown() {
        let proxy = ProxyUrl::parse("http://berth:hush%20%2541@proxy.example:3128").unwrap();
        assert_eq!(format!("{proxy:?}"), "http://proxy.example:3128/");
        assert_eq!(proxy.with_login(), "http://berth:hush%20%2541@proxy.example:3128/");
        assert_eq!(ProxyUrl::parse("proxy.example:3128"), ProxyUrl::parse("http://proxy.example:3128/"));
    }

    #[test]
    fn an_invalid_proxy_is_rejected_without_showing_it() {
        assert_eq!(
            ProxyUrl::parse("socks5://berth:hush@proxy.example"),
            Err(ProxyUrlError::Scheme("socks5".to_owned()))
        );
        for text in ["http://", "http://berth:hush@:x", "::"] {
            let error = ProxyUrl::parse(text).unwrap_err();
            assert_eq!(error, ProxyUrlError::NoAddress, "{text}");
            assert!(!error.to_string().contains("hush"));
        }
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let proxies = Proxies {
            http: ProxyUrl::parse("plain:1").ok(),
            https: ProxyUrl::parse("secure:1").ok(),
            except: NoProxy::parse("direct.example").0,
        };
        for (address, proxy) in [
            ("http://port.example", Some("http://plain:1/")),
            ("https://port.example", Some("http://secure:1/")),
            ("https://direct.example", None),
            ("ftp://port.example", None),
        ] {
            let found = proxies.of(&Url::parse(address).unwrap());
            assert_eq!(found.map(ProxyUrl::with_login), proxy, "{address}");
        }
        let mut everything = proxies.clone();
        everything.except = NoProxy::parse("*").0;
        assert_eq!(everything.of(&Url::parse("https://port.example").unwrap()), None);
        assert!(Proxies::default().for_client().is_none() && proxies.for_client().is_some());
    }
}
