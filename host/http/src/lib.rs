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

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, crypto::CryptoProvider};

pub use body::{BodyError, read_body};
pub use client::{Answer, Carrier, Client};
pub use destination::{is_loopback, is_private, is_same_owner};
pub use failure::{Peer, TransportCause, TransportError};
pub use no_proxy::NoProxy;
pub use proxies::{Proxies, ProxyUrl, ProxyUrlError};
pub use roots::{Roots, RootsError};

/// How HTTP requests leave the process. The default: directly, to servers whose certificates the system
/// trusts.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    /// The proxies for requests. The environment's proxy settings apply only if the caller sets them here.
    pub proxies: Proxies,
    /// The trusted root certificates; `None` for those of the system.
    pub roots: Option<Roots>,
    /// Whether to trust every certificate of every server. Anyone between client and server can then read
    /// and change everything, including secrets.
    pub unverified: bool,
}

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
}

impl HttpConfig {
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
        let client = HttpConfig { proxies, ..HttpConfig::default() }.client().unwrap();
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
}
