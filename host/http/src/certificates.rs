//! Checks a server's certificate against the roots.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// Accepts certificates that a root issued, and a root itself if a server uses it as its own certificate:
/// `openssl req -x509` creates such certificates, and OpenSSL and Go accept them. This weakens nothing: the
/// owner of such a key could issue a certificate for any name anyway.
#[derive(Debug)]
pub(super) struct IssuedOrNamed {
    issued: Arc<WebPkiServerVerifier>,
    roots: Arc<Vec<CertificateDer<'static>>>,
}

impl IssuedOrNamed {
    /// Returns `None` if there is no root.
    pub(super) fn new(
        store: Arc<RootCertStore>,
        roots: Arc<Vec<CertificateDer<'static>>>,
        provider: &Arc<CryptoProvider>,
    ) -> Option<Self> {
        let issued = WebPkiServerVerifier::builder_with_provider(store, Arc::clone(provider)).build().ok()?;
        Some(Self { issued, roots })
    }
}

/// Returns whether a certificate was rejected only because it belongs to a certificate authority: the dates
/// are checked before, in the same step.
pub(super) fn is_of_an_authority(error: &CertificateError) -> bool {
    let CertificateError::Other(other) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for IssuedOrNamed {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.issued.verify_server_cert(certificate, intermediates, name, ocsp_response, now) {
            Err(Error::InvalidCertificate(error))
                if is_of_an_authority(&error) && self.roots.iter().any(|root| root == certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.issued.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.issued.supported_verify_schemes()
    }
}
