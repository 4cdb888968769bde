//! The HTTP client that all parts of Berth share: proxies, trusted certificates, name resolution, where
//! credentials may be sent, and why a request got no response.
//!
//! # Invariants
//! - This crate decides whether a failed request is retried, by the types of its errors and not by their
//!   text.
//! - No redirect is followed.

mod body;
mod certificates;
mod client;
mod destination;
mod failure;
mod no_proxy;
mod proxies;
mod resolver;
mod roots;
mod unverified;

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use rustls::{ClientConfig, crypto::CryptoProvider};

pub use body::{BodyError, read_body};
pub use client::{Carrier, HttpClient, ResponseFuture};
pub use destination::{is_loopback, is_private, is_same_owner};
pub use failure::{Peer, TransportCause, TransportError};
pub use no_proxy::NoProxy;
pub use proxies::{Proxies, ProxyUrl, ProxyUrlError};
pub use roots::{Roots, RootsError};

/// How HTTP requests leave the process, as settings say it. The default: directly, to servers whose
/// certificates the system trusts.
#[derive(Debug, Clone, Default)]
pub struct HttpParts {
    /// The proxies for requests. The environment's proxy settings apply only if the caller sets them here.
    pub proxies: Proxies,
    /// The trusted root certificates; `None` for those of the system.
    pub roots: Option<Roots>,
    /// Whether to trust every certificate of every server. Anyone between client and server can then read
    /// and change everything, including secrets.
    pub unverified: bool,
}

/// How HTTP requests leave the process. The default: directly, to servers whose certificates the
/// system trusts.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig(HttpParts);

/// Why the HTTP client cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The TLS settings contradict each other.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// The client rejected its settings.
    #[error("cannot build the client")]
    Client(#[from] reqwest::Error),
    /// The address of a proxy cannot be used.
    #[error("the proxy cannot be used")]
    Proxy(#[source] Box<dyn Error + Send + Sync>),
    /// What shall be reached without a proxy cannot be understood.
    #[error("`{0}` names nothing that can be reached without a proxy: give host names, domains or networks")]
    NoProxy(String),
    /// Certificates cannot be read.
    #[error("the certificates cannot be used")]
    Certificates(#[source] Box<dyn Error + Send + Sync>),
}

impl HttpConfig {
    /// Sends requests through a proxy.
    ///
    /// # Errors
    /// [`HttpError`] when the address cannot be used.
    pub fn proxy(mut self, url: &str) -> Result<Self, HttpError> {
        let proxy = ProxyUrl::parse(url).map_err(|error| HttpError::Proxy(error.into()))?;
        self.0.proxies = Proxies { http: Some(proxy.clone()), https: Some(proxy), ..self.0.proxies };
        Ok(self)
    }

    /// Reaches these without the proxy: a list as in the variable `NO_PROXY`.
    ///
    /// # Errors
    /// [`HttpError`] when an entry has no meaning.
    pub fn no_proxy(mut self, list: &str) -> Result<Self, HttpError> {
        let (except, unknown) = NoProxy::parse(list);
        self.0.proxies.except = except;
        match unknown.into_iter().next() {
            Some(entry) => Err(HttpError::NoProxy(entry)),
            None => Ok(self),
        }
    }

    /// Trusts the authorities in these files and directories, too.
    ///
    /// # Errors
    /// [`HttpError`] when one cannot be read or holds no certificate.
    pub fn certificates<'p>(mut self, paths: impl IntoIterator<Item = &'p Path>) -> Result<Self, HttpError> {
        let roots = self.0.roots.take().unwrap_or_else(Roots::system);
        self.0.roots = Some(roots.and(paths).map_err(|error| HttpError::Certificates(error.into()))?);
        Ok(self)
    }

    /// Builds a client; see [`HttpParts::client`].
    ///
    /// # Errors
    /// [`HttpError`] when the settings cannot be used together.
    pub fn client(&self) -> Result<reqwest::Client, HttpError> {
        self.0.client()
    }
}

impl HttpParts {
    /// The same for whoever puts clients together.
    pub fn into_config(self) -> HttpConfig {
        HttpConfig(self)
    }

    /// Builds a client. Requests have their own total timeouts; the client only limits the time to connect.
    ///
    /// # Errors
    /// [`HttpError`] if the settings contradict each other.
    pub fn client(&self) -> Result<reqwest::Client, HttpError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls(&provider)?)
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_mins(1))
            .tcp_nodelay(true)
            // A redirect would send a signed request, or a token, to another server.
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(resolver::SystemResolver))
            .no_proxy();
        if let Some(proxy) = self.proxies.for_client() {
            client = client.proxy(proxy);
        }
        Ok(client.build()?)
    }

    fn tls(&self, provider: &Arc<CryptoProvider>) -> Result<ClientConfig, rustls::Error> {
        let tls = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()?;
        let mut tls = if self.unverified {
            tracing::warn!(
                "certificates are not verified: anyone on the network path can read and change everything, including secrets"
            );
            let any = Arc::new(unverified::AnyCertificate::new(provider));
            tls.dangerous().with_custom_certificate_verifier(any).with_no_client_auth()
        } else {
            let roots = self.roots.clone().unwrap_or_else(Roots::system);
            match roots.verifier(provider) {
                Some(verifier) => {
                    tls.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
                }
                None => tls.with_root_certificates(roots.store()).with_no_client_auth(),
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(tls)
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn a_machines_own_credentials_never_use_a_proxy() {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        proxy.set_nonblocking(true).unwrap();
        let url = ProxyUrl::parse(&proxy.local_addr().unwrap().to_string()).ok();
        let proxies = Proxies { http: url.clone(), https: url, except: NoProxy::default() };
        let client = HttpParts { proxies, ..HttpParts::default() }.client().unwrap();
        // Only the route of the request matters, not its result.
        let ask = |url: &'static str| client.get(url).timeout(Duration::from_millis(200)).send();
        for own in ["http://169.254.169.254/", "http://169.254.170.2/", "http://[fd00:ec2::254]/"] {
            _ = ask(own).await;
            let none = proxy.accept().unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock, "{own}");
        }
        _ = ask("http://berth.invalid/").await;
        assert!(proxy.accept().is_ok());
    }

    #[test]
    fn only_the_configured_certificates_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let (none, rubbish) = (dir.path().join("none.pem"), dir.path().join("rubbish.pem"));
        std::fs::write(&none, "nothing\n").unwrap();
        std::fs::write(&rubbish, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        for path in [none.as_path(), rubbish.as_path(), dir.path()] {
            let error = Roots::of([path]).unwrap_err();
            assert!(matches!(error, RootsError::Empty { .. }), "{error}");
        }
        let missing = Roots::of([dir.path().join("missing").as_path()]).unwrap_err();
        assert!(matches!(missing, RootsError::File { .. }), "{missing}");
    }

    #[test]
    fn a_config_says_at_once_what_it_cannot_use() {
        let config = HttpConfig::default().proxy("http://proxy:3128").unwrap().no_proxy(".internal").unwrap();
        assert!(config.client().is_ok());
        let shown = |result: Result<HttpConfig, HttpError>| result.unwrap_err().to_string();
        assert!(shown(HttpConfig::default().proxy("socks5://proxy:1")).contains("proxy"));
        assert!(shown(HttpConfig::default().no_proxy(".internal, 10.*")).contains("`10.*`"));
        let missing = HttpConfig::default().certificates([Path::new("/nowhere/missing.pem")]);
        assert!(shown(missing).contains("certificates"));
    }
}
