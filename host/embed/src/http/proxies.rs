//! Which requests go through which proxy.

use std::fmt;

use reqwest::{NoProxy, Url};

/// Where a machine on AWS gets its own credentials: on the very link, which no proxy reaches.
const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fd00:ec2::/32"];

/// The proxies of a client.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For `http://` addresses (`HTTP_PROXY`).
    pub http: Option<ProxyUrl>,
    /// For `https://` addresses (`HTTPS_PROXY`).
    pub https: Option<ProxyUrl>,
    /// What is asked directly (`NO_PROXY`): domains with all below them, IP addresses, networks
    /// (`10.0.0.0/8`), or `*` for everything. The addresses at which AWS hands a machine its own
    /// credentials are always asked directly.
    pub except: Vec<String>,
}

/// A proxy's address and, maybe, the name and password that it asks for. Neither of these is in
/// its `Debug` text.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    address: Url,
    login: Option<(String, String)>,
}

/// Why a text is no proxy's address. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyUrlError {
    /// It is no address at all.
    #[error("not an address")]
    NoAddress,
    /// Only `http` and `https` proxies are spoken to.
    #[error("`{0}` proxies are not supported")]
    Scheme(String),
}

impl ProxyUrl {
    /// Reads `http://name:password@host:port`. Without a scheme it is `http`, as everybody takes it.
    ///
    /// # Errors
    /// [`ProxyUrlError`] when it is no address of an HTTP proxy.
    pub fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let text = text.trim();
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let mut address = Url::parse(&text).map_err(|_| ProxyUrlError::NoAddress)?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(ProxyUrlError::Scheme(address.scheme().to_owned()));
        }
        if !address.has_host() {
            return Err(ProxyUrlError::NoAddress);
        }
        let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let login = (!address.username().is_empty() || address.password().is_some())
            .then(|| (plain(address.username()), plain(address.password().unwrap_or_default())));
        // Both can only be refused for an address that has no host.
        _ = address.set_username("");
        _ = address.set_password(None);
        Ok(Self { address, login })
    }

    /// The address with the name and password, for clients that are given them so: a secret.
    pub fn with_login(&self) -> String {
        let mut address = self.address.clone();
        if let Some((name, password)) = &self.login {
            // Both can only be refused for an address that has no host.
            _ = address.set_username(name);
            _ = address.set_password(Some(password));
        }
        address.into()
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address.as_str())
    }
}

impl Proxies {
    /// What is asked directly, as most clients understand it: separated by commas. `None` for everything.
    pub fn exceptions(&self) -> Option<String> {
        if self.except.iter().any(|except| except == "*") {
            return None;
        }
        // `*.example.com` is what many write for `.example.com`.
        let given = self.except.iter().map(|except| except.strip_prefix('*').unwrap_or(except));
        Some(given.chain(LINK_LOCAL).collect::<Vec<_>>().join(","))
    }

    pub(super) fn for_client(&self) -> reqwest::Result<Vec<reqwest::Proxy>> {
        let Some(except) = self.exceptions() else { return Ok(Vec::new()) };
        let except = NoProxy::from_string(&except);
        let mut proxies = Vec::new();
        for (url, kind) in [
            (&self.http, reqwest::Proxy::http::<Url> as fn(Url) -> reqwest::Result<reqwest::Proxy>),
            (&self.https, reqwest::Proxy::https::<Url>),
        ] {
            let Some(ProxyUrl { address, login }) = url else { continue };
            let mut proxy = kind(address.clone())?.no_proxy(except.clone());
            if let Some((name, password)) = login {
                proxy = proxy.basic_auth(name, password);
            }
            proxies.push(proxy);
        }
        Ok(proxies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_proxy_is_kept_and_never_shown() {
        let proxy = ProxyUrl::parse("http://berth:hush%20hush@proxy.example:3128").unwrap();
        assert_eq!(proxy.login, Some(("berth".to_owned(), "hush hush".to_owned())));
        assert_eq!(format!("{proxy:?}"), "http://proxy.example:3128/");
        assert_eq!(proxy.with_login(), "http://berth:hush%20hush@proxy.example:3128/");
        assert_eq!(ProxyUrl::parse("proxy.example:3128"), ProxyUrl::parse("http://proxy.example:3128/"));
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_being_shown() {
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
    fn everything_is_excepted_by_a_star() {
        let proxies = |except: &str| Proxies {
            http: ProxyUrl::parse("proxy:1").ok(),
            https: ProxyUrl::parse("proxy:1").ok(),
            except: vec![except.to_owned()],
        };
        assert_eq!(proxies("*").for_client().unwrap().len(), 0);
        assert_eq!(proxies("*.example.com").for_client().unwrap().len(), 2);
    }
}
