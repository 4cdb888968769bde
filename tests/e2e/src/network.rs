//! A company's network: a gateway with its own certificate authority, and a forward proxy that requires a
//! password.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring::default_provider,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// A certificate authority that nobody trusts unless told to.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Serves TLS on a port of its own, as `localhost` and `berth.test`, and passes on to `upstream`
    /// what comes.
    pub(crate) async fn serve(&self, upstream: String) -> u16 {
        let key = KeyPair::generate().expect("a key");
        let mut params =
            CertificateParams::new(["localhost".to_owned(), "berth.test".to_owned()]).expect("names");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .expect("a key that fits its certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
                // A client that does not trust us goes away: none of the server's business.
                tokio::spawn(async move {
                    let mut client = acceptor.accept(stream).await?;
                    let mut server = TcpStream::connect(upstream).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
        port
    }
}

/// A forward proxy for HTTP and, by `CONNECT`, for anything.
#[derive(Debug, Clone)]
pub struct ForwardProxy {
    /// Connections by what was asked for: `CONNECT host:port`, or `http host:port`.
    passed: Arc<Mutex<BTreeMap<String, usize>>>,
    port: u16,
}

impl ForwardProxy {
    /// The name and password that the proxy asks for.
    pub const LOGIN: (&'static str, &'static str) = ("berth", "hush-proxy");
    /// The same, as a request carries them.
    const AUTHORIZATION: &'static str = "proxy-authorization: basic ymvydgg6ahvzac1wcm94eq==";

    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let proxy = Self { passed: Arc::default(), port };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.pass(stream).await });
            }
        });
        proxy
    }

    /// What goes into `HTTPS_PROXY`.
    pub fn url(&self) -> String {
        let (name, password) = Self::LOGIN;
        format!("http://{name}:{password}@127.0.0.1:{}", self.port)
    }

    /// How many connections went through, by what was asked for: `CONNECT host:port`, or
    /// `http host:port`.
    pub fn passed(&self) -> BTreeMap<String, usize> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn pass(&self, mut client: TcpStream) -> io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await?);
        }
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if !text.contains(Self::AUTHORIZATION) {
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
            return client.write_all(refusal.as_bytes()).await;
        }
        let mut words = text.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let tunnel = method == "connect";
        let authority = match target.strip_prefix("http://") {
            Some(url) => url.split('/').next().unwrap_or_default(),
            None => target,
        };
        let asked = format!("{} {authority}", if tunnel { "CONNECT" } else { "http" });
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner).entry(asked).or_default() += 1;
        // Only the proxy finds what is below `.test`, as it finds what else is outside of a company.
        let address = authority
            .rsplit_once(".test:")
            .map_or(authority.to_owned(), |(_, port)| format!("127.0.0.1:{port}"));
        let mut server = TcpStream::connect(address).await?;
        if tunnel {
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
        } else {
            // Servers take a request that names them in full, too.
            server.write_all(&head).await?;
        }
        copy_bidirectional(&mut client, &mut server).await.map(|_| ())
    }
}
