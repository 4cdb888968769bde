//! Tests the errors for failing servers and proxies, and which certificates the client accepts.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::{sync::Arc, time::Duration};

use berth_core::ProblemCode;
use berth_http::{HttpParts, NoProxy, Peer, Proxies, ProxyUrl, Roots, TransportCause, TransportError};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    date_time_ymd,
};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

const PORT: Peer = Peer {
    name: "Port",
    address: "`BASE_URL`",
    roots: "`SSL_CERT_FILE`",
    unreachable: ProblemCode::PortUnreachable,
    untrusted: ProblemCode::PortTlsUntrusted,
};

/// A certificate and its key.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Identity {
    fn pem(&self) -> String {
        pem(&self.certificate)
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        BASE64_STANDARD.encode(certificate)
    )
}

fn params(name: &str, is_ca: bool, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

/// Creates the same certificate as `openssl req -x509`, or one without the flag of an authority.
fn self_signed(name: &str, is_ca: bool, years: (i32, i32)) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = params(name, is_ca, years).self_signed(&key).unwrap();
    Identity { certificate: certificate.der().clone(), key }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issued(by: &CertifiedIssuer<'static, KeyPair>, name: &str, years: (i32, i32)) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = params(name, false, years);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.signed_by(&key, by).unwrap();
    Identity { certificate: certificate.der().clone(), key }
}

/// Serves one response per TLS connection; returns the port.
async fn serve(identity: &Identity) -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![identity.certificate.clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.key.serialize_der())),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                _ = stream.read(&mut [0; 1024]).await?;
                stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await?;
                stream.shutdown().await
            });
        }
    });
    port
}

/// Sends the same plain text to every client, and closes; returns the port.
async fn say(text: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            _ = stream.read(&mut [0; 1024]).await;
            _ = stream.write_all(text).await;
        }
    });
    port
}

/// Returns a port at which no process listens.
async fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

fn client(roots: &str, proxy: Option<u16>) -> reqwest::Client {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("roots.pem");
    std::fs::write(&file, roots).unwrap();
    let proxy = proxy.and_then(|port| ProxyUrl::parse(&format!("http://berth:hush@127.0.0.1:{port}")).ok());
    let proxies = Proxies { http: proxy.clone(), https: proxy, except: NoProxy::default() };
    let roots = Some(Roots::of([file.as_path()]).unwrap());
    HttpParts { proxies, roots, unverified: false }.client().unwrap()
}

async fn ask(client: &reqwest::Client, url: &str) -> Result<u16, TransportError> {
    let answer = client.get(url).timeout(Duration::from_secs(5)).send().await;
    answer.map(|answer| answer.status().as_u16()).map_err(TransportError::new)
}

const GOOD: (i32, i32) = (2020, 2096);

#[tokio::test]
async fn a_certificate_is_accepted_if_a_root_issued_it_or_it_is_a_root() {
    let (ours, theirs) = (authority(), authority());
    let roots = pem(ours.der());
    let own = |name, is_ca, years| {
        let identity = self_signed(name, is_ca, years);
        let roots = identity.pem();
        (identity, roots)
    };
    let foreign = self_signed("localhost", true, GOOD);
    for (what, (identity, roots), refused) in [
        ("issued", (issued(&ours, "localhost", GOOD), roots.clone()), None),
        (
            "issued, expired",
            (issued(&ours, "localhost", (2019, 2020)), roots.clone()),
            Some(TransportCause::Expired),
        ),
        (
            "issued, too early",
            (issued(&ours, "localhost", (2095, 2096)), roots.clone()),
            Some(TransportCause::NotYetValid),
        ),
        (
            "issued, another's",
            (issued(&ours, "berth.example", GOOD), roots.clone()),
            Some(TransportCause::WrongName),
        ),
        (
            "issued by another",
            (issued(&theirs, "localhost", GOOD), roots.clone()),
            Some(TransportCause::UntrustedIssuer),
        ),
        ("self-signed, named", own("localhost", true, GOOD), None),
        ("self-signed, no authority, named", own("localhost", false, GOOD), None),
        ("self-signed, named, expired", own("localhost", true, (2019, 2020)), Some(TransportCause::Expired)),
        (
            "self-signed, named, too early",
            own("localhost", true, (2095, 2096)),
            Some(TransportCause::NotYetValid),
        ),
        ("self-signed, named, another's", own("berth.example", true, GOOD), Some(TransportCause::WrongName)),
        (
            "self-signed, not named",
            (self_signed("localhost", true, GOOD), roots.clone()),
            Some(TransportCause::AuthorityAsServer),
        ),
        (
            "self-signed, another named",
            (self_signed("localhost", true, GOOD), foreign.pem()),
            Some(TransportCause::AuthorityAsServer),
        ),
        (
            "self-signed, no authority, not named",
            (self_signed("localhost", false, GOOD), roots),
            Some(TransportCause::UntrustedIssuer),
        ),
    ] {
        let url = format!("https://localhost:{}/", serve(&identity).await);
        let outcome = ask(&client(&roots, None), &url).await;
        match (outcome, refused) {
            (Ok(status), None) => assert_eq!(status, 204, "{what}"),
            (Err(error), Some(cause)) => {
                assert_eq!(error.cause(), cause, "{what}: {error}");
                assert!(error.is_lasting() && !error.may_be_sent(), "{what}: {error:?}");
            }
            (outcome, _) => panic!("{what}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn lasting_and_temporary_failures_are_distinguished() {
    let roots = pem(authority().der());
    let direct = client(&roots, None);
    for (what, url, cause, lasting) in [
        (
            "no TLS",
            format!("https://127.0.0.1:{}", say(b"HTTP/1.1 400 Bad Request\r\n\r\n").await),
            TransportCause::NotTls,
            true,
        ),
        ("cut in the handshake", format!("https://127.0.0.1:{}", say(b"").await), TransportCause::Cut, false),
        ("nobody there", format!("http://127.0.0.1:{}", closed().await), TransportCause::Refused, false),
    ] {
        let error = ask(&direct, &url).await.unwrap_err();
        assert_eq!((error.cause(), error.is_lasting()), (cause, lasting), "{what}: {error}");
        assert!(error.remedy(PORT).contains("`BASE_URL`"), "{what}: {}", error.remedy(PORT));
    }
    let error = ask(&direct, "https://berth.invalid").await.unwrap_err();
    // Without any name server, the existence of a name is unknown.
    let expected = [TransportCause::UnknownName, TransportCause::NamesUnavailable];
    assert!(expected.contains(&error.cause()), "{error:?}");
    assert_eq!(error.is_lasting(), error.is_unknown_host());
}

#[tokio::test]
async fn a_timeout_is_temporary() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let client = client(&pem(authority().der()), None);
    let error = client.get(&url).timeout(Duration::from_millis(100)).send().await.unwrap_err();
    let error = TransportError::new(error);
    assert_eq!(error.cause(), TransportCause::TimedOut, "{error:?}");
    assert!(!error.is_lasting() && error.may_be_sent());
}

#[tokio::test]
async fn failures_of_the_proxy_and_the_server_are_distinguished() {
    let login = b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
    for (what, proxy, cause, lasting) in [
        ("login", say(login).await, TransportCause::ProxyLogin, true),
        ("forbidden", say(b"HTTP/1.1 403 Forbidden\r\n\r\n").await, TransportCause::ProxyRefused, false),
        ("gateway", say(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await, TransportCause::ProxyRefused, false),
        ("cut", say(b"").await, TransportCause::Cut, false),
        ("nobody there", closed().await, TransportCause::Refused, false),
    ] {
        let client = client(&pem(authority().der()), Some(proxy));
        let error = ask(&client, "https://berth.invalid").await.unwrap_err();
        assert_eq!((error.cause(), error.is_lasting()), (cause, lasting), "{what}: {error}");
        assert!(!error.is_unknown_host(), "{what}");
        let reported = format!("{error} {error:?} {}", error.remedy(PORT));
        assert!(reported.contains("HTTPS_PROXY") && !reported.contains("hush"), "{what}: {reported}");
    }
}

#[tokio::test]
async fn an_error_is_found_in_a_chain() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] Box<dyn std::error::Error>);
    let client = client(&pem(authority().der()), None);
    let error = client.get(format!("http://127.0.0.1:{}", closed().await)).send().await.unwrap_err();
    let found = TransportError::find(&Outer(Box::new(Outer(error.into())))).unwrap();
    assert_eq!(found.cause(), TransportCause::Refused);
    let outer = Outer(Box::new(TransportError::proxy_login()));
    assert_eq!(TransportError::find(&outer), Some(TransportError::proxy_login()));
    assert_eq!(TransportError::find(&Outer("other".into())), None);
}
