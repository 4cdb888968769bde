//! The trusted root certificates.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};

use crate::certificates::IssuedOrNamed;

/// Root certificates. Cheap to clone.
#[derive(Clone)]
pub struct Roots {
    store: Arc<RootCertStore>,
    /// The certificates in the store.
    certificates: Arc<Vec<CertificateDer<'static>>>,
}

/// Why there are no root certificates.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootsError {
    /// A file cannot be read, or does not have the PEM format.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: pem::Error,
    },
    /// A directory cannot be read.
    #[error("cannot list {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file or directory contains no certificate.
    #[error("{} contains no usable certificate", path.display())]
    Empty {
        /// The file or directory.
        path: PathBuf,
    },
}

impl Roots {
    /// Returns the certificates that the system trusts. Logs and omits unusable certificates.
    pub fn system() -> Self {
        let native = rustls_native_certs::load_native_certs();
        for error in &native.errors {
            tracing::warn!(%error, "cannot use some of the system's root certificates");
        }
        let mut roots = Self::none();
        roots.add(native.certs);
        roots
    }

    /// Adds the certificates of these PEM files and directories.
    ///
    /// # Errors
    /// The same as [`of`](Self::of).
    pub fn and<'p>(self, paths: impl IntoIterator<Item = &'p Path>) -> Result<Self, RootsError> {
        let mut roots = self;
        for path in paths {
            let certificates = if path.is_dir() { in_directory(path)? } else { in_file(path)? };
            if roots.add(certificates) == 0 {
                return Err(RootsError::Empty { path: path.to_owned() });
            }
        }
        Ok(roots)
    }

    /// Returns the certificates of these PEM files and directories only. A file may contain many.
    ///
    /// # Errors
    /// [`RootsError`] for the first path that cannot be read, or that contains no certificate. In a
    /// directory, files without a certificate are skipped.
    pub fn of<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<Self, RootsError> {
        Self::none().and(paths)
    }

    /// Returns the certificates in DER format, for clients that need them in this form.
    pub fn certificates(&self) -> impl Iterator<Item = &[u8]> {
        self.certificates.iter().map(AsRef::as_ref)
    }

    fn none() -> Self {
        Self { store: Arc::new(RootCertStore::empty()), certificates: Arc::default() }
    }

    /// Adds the usable certificates, and returns their number.
    fn add(&mut self, certificates: Vec<CertificateDer<'static>>) -> usize {
        let store = Arc::make_mut(&mut self.store);
        let mut usable = certificates;
        usable.retain(|certificate| store.add(certificate.clone()).is_ok());
        let count = usable.len();
        Arc::make_mut(&mut self.certificates).append(&mut usable);
        count
    }

    pub(super) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }

    /// Returns the verifier of server certificates; `None` if no certificate is trusted at all.
    pub(super) fn verifier(&self, provider: &Arc<CryptoProvider>) -> Option<Arc<IssuedOrNamed>> {
        let (store, certificates) = (self.store(), Arc::clone(&self.certificates));
        IssuedOrNamed::new(store, certificates, provider).map(Arc::new)
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.certificates.len())
    }
}

fn in_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| RootsError::File { path: path.to_owned(), source })
}

fn in_directory(path: &Path) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let refused = |source| RootsError::Directory { path: path.to_owned(), source };
    let mut certificates = Vec::new();
    for entry in std::fs::read_dir(path).map_err(refused)? {
        let file = entry.map_err(refused)?.path();
        // Follows links: such directories, and mounted secrets, consist of links.
        if !file.is_file() {
            continue;
        }
        match in_file(&file) {
            Ok(found) => certificates.extend(found),
            Err(error) => tracing::debug!(%error, "skipped a file in a directory of certificates"),
        }
    }
    Ok(certificates)
}
