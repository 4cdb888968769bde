//! The HTTP client that everything in Berth shares: proxies, trusted certificates, name resolution, where
//! credentials may go, and why a request got no answer.
//!
//! # Invariants
//! - Whether a failed request is repeated is decided here, by the types of its errors and not by their text.
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

/// How HTTP requests leave the process. The default: directly, to servers whose certificates the
/// system trusts.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    /// The proxies that requests go through. What the environment says about proxies holds only if
    /// the caller puts it here.
    pub proxies: Proxies,
    /// Whose certificates are trusted; `None` for those that the system trusts.
    pub roots: Option<Roots>,
    /// Trusts any certificate of any server. Whoever is on the way can then read and change
    /// everything, secrets included.
    pub unverified: bool,
}

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The TLS settings do not go together.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The client refused its settings.
    #[error("the client cannot be built")]
    Client(#[from] reqwest::Error),
}

impl HttpConfig {
    /// Builds a client. Requests carry their own total timeouts; here only connecting is bounded.
    ///
    /// # Errors
    /// [`HttpError`] when the settings cannot be used together.
    pub fn client(&self) -> Result<reqwest::Client, HttpError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls(&provider)?)
            .connect_timeout(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_mins(1))
            .tcp_nodelay(true)
            // A redirect would send a signed request, or a token, to somebody else.
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
                "certificates are not checked: whoever is on the way can read and change everything, secrets included"
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
    async fn a_machines_own_credentials_are_never_asked_for_through_a_proxy() {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        proxy.set_nonblocking(true).unwrap();
        let url = ProxyUrl::parse(&proxy.local_addr().unwrap().to_string()).ok();
        let proxies = Proxies { http: url.clone(), https: url, except: NoProxy::default() };
        let client = HttpConfig { proxies, ..HttpConfig::default() }.client().unwrap();
        // What comes of it does not matter, only which way it goes.
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
    fn certificates_are_only_those_that_were_named() {
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
