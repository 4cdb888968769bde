//! The HTTP client that AWS and Port share.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};

/// How HTTP requests leave the process.
#[derive(Debug, Clone, Default)]
pub struct HttpConfig {
    /// Whether the proxy settings of the system and the environment hold (`HTTPS_PROXY`,
    /// `NO_PROXY`, …).
    pub system_proxy: bool,
    /// PEM files with further root certificates.
    pub extra_roots: Vec<PathBuf>,
}

/// Why there is no HTTP client.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// A file of root certificates cannot be used.
    #[error("could not read root certificates from {}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls::pki_types::pem::Error,
    },
    /// The TLS settings do not go together.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    /// The client refused its settings.
    #[error("the client cannot be built")]
    Client(#[from] reqwest::Error),
}

/// Builds the client. Requests carry their own total timeouts; here only connecting is bounded.
pub(crate) fn client(config: &HttpConfig) -> Result<reqwest::Client, HttpError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be used");
    }
    roots.add_parsable_certificates(native.certs);
    for path in &config.extra_roots {
        let refused = |source| HttpError::Roots { path: path.clone(), source };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(refused)?;
        roots.add_parsable_certificates(certificates);
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_mins(1))
        .tcp_nodelay(true);
    if !config.system_proxy {
        client = client.no_proxy();
    }
    // A redirect would send a signed request, or a token, to somebody else.
    Ok(client.redirect(reqwest::redirect::Policy::none()).build()?)
}
