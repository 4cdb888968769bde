//! Why a request got no answer, whether asking again may help, and what to do about it.

use std::{error::Error, fmt, io};

use berth_core::{Problem, ProblemCode, error_chain};
use hyper_util::client::legacy::connect::{HttpConnector, proxy::Tunnel};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use tower_service::Service;

use crate::{certificates::is_of_an_authority, resolver::NameError};

/// What a tunnel through a proxy fails with. `hyper-util` exports it only as the error of its service.
type TunnelError = <Tunnel<HttpConnector> as Service<http::Uri>>::Error;

/// A request that got no (complete) answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportError {
    cause: TransportCause,
    /// Whether it happened on the way to the proxy.
    at_proxy: bool,
    /// Whether the request may have reached the other side.
    sent: bool,
    detail: String,
}

/// What kept an answer from coming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportCause {
    /// The proxy wants another user name or password (407).
    ProxyLogin,
    /// There is no such host name.
    UnknownName,
    /// No trusted root issued the certificate.
    UntrustedIssuer,
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is for another name.
    WrongName,
    /// The server's certificate is a certificate authority's, and is not among the roots.
    AuthorityAsServer,
    /// The certificate cannot be used for another reason.
    BadCertificate,
    /// The other side does not speak TLS.
    NotTls,
    /// The two sides have no TLS version or cipher in common, or the server wants a certificate.
    TlsRefused,
    /// The request could not be made.
    Request,
    /// No name server answers.
    NamesUnavailable,
    /// The proxy answers, but makes no connection.
    ProxyRefused,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    Unreachable,
    /// The connection was cut.
    Cut,
    /// There was no answer in time.
    TimedOut,
    /// Something else.
    Other,
}

/// Who is asked, by the settings that say how: for remedies.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its name, as in `Port`.
    pub name: &'static str,
    /// The setting of its address.
    pub address: &'static str,
    /// The setting that names the trusted certificates.
    pub roots: &'static str,
    /// The code of a problem where no answer came.
    pub unreachable: ProblemCode,
    /// The code of a problem where the certificate is not trusted.
    pub untrusted: ProblemCode,
}

impl TransportCause {
    /// Whether a certificate is the cause.
    fn is_distrust(self) -> bool {
        matches!(
            self,
            Self::UntrustedIssuer
                | Self::Expired
                | Self::NotYetValid
                | Self::WrongName
                | Self::AuthorityAsServer
                | Self::BadCertificate
        )
    }

    /// Whether the next try meets the same, so that repeating is of no use. A name that does not exist is
    /// so; that no name server answers is not, since they may start later than a container does.
    pub fn is_lasting(self) -> bool {
        match self {
            Self::ProxyLogin
            | Self::UnknownName
            | Self::UntrustedIssuer
            | Self::Expired
            | Self::NotYetValid
            | Self::WrongName
            | Self::AuthorityAsServer
            | Self::BadCertificate
            | Self::NotTls
            | Self::TlsRefused
            | Self::Request => true,
            Self::NamesUnavailable
            | Self::ProxyRefused
            | Self::Refused
            | Self::Unreachable
            | Self::Cut
            | Self::TimedOut
            | Self::Other => false,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::Error as Tls;
        match error {
            Tls::InvalidCertificate(error) => Self::of_certificate(error),
            Tls::InvalidMessage(
                InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
            ) => Self::NotTls,
            Tls::PeerIncompatible(_)
            | Tls::NoApplicationProtocol
            | Tls::AlertReceived(
                AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity
                | AlertDescription::UnrecognisedName
                | AlertDescription::AccessDenied
                | AlertDescription::CertificateRequired
                | AlertDescription::NoApplicationProtocol,
            ) => Self::TlsRefused,
            _ => Self::Other,
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UntrustedIssuer,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            error if is_of_an_authority(error) => Self::AuthorityAsServer,
            _ => Self::BadCertificate,
        }
    }

    fn of_io(kind: io::ErrorKind) -> Option<Self> {
        match kind {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable => Some(Self::Unreachable),
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Some(Self::Cut),
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            _ => None,
        }
    }
}

impl fmt::Display for TransportCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProxyLogin => "the proxy refuses the user name and password (407)",
            Self::UnknownName => "there is no such host name",
            Self::UntrustedIssuer => "the certificate is not issued by a trusted authority",
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::WrongName => "the certificate is for another host name",
            Self::AuthorityAsServer => "the server presents the certificate of an authority as its own",
            Self::BadCertificate => "the certificate cannot be used",
            Self::NotTls => "the server does not speak TLS there",
            Self::TlsRefused => "the server refuses the TLS connection",
            Self::Request => "the request cannot be made",
            Self::NamesUnavailable => "the host name cannot be resolved now",
            Self::ProxyRefused => "the proxy makes no connection",
            Self::Refused => "the connection is refused",
            Self::Unreachable => "the host cannot be reached",
            Self::Cut => "the connection was cut",
            Self::TimedOut => "no answer in time",
            Self::Other => "the connection failed",
        })
    }
}

impl TransportError {
    /// Why a request got no answer.
    pub fn new(error: reqwest::Error) -> Self {
        // Queries may hold what no log should.
        Self::of(&error.without_url())
    }

    /// What an error says that a request of this client's caused, if one did.
    pub fn find(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<reqwest::Error>() {
                return Some(Self::of(error));
            }
            if let Some(error) = error.downcast_ref::<Self>() {
                return Some(error.clone());
            }
            next = error.source();
        }
        None
    }

    /// A proxy's answer in place of the server's: it asks for a login.
    pub fn proxy_login() -> Self {
        let detail = "407 Proxy Authentication Required".to_owned();
        Self { cause: TransportCause::ProxyLogin, at_proxy: true, sent: false, detail }
    }

    /// An answer that broke off, or is not what its headers say.
    pub fn unusable(detail: impl Into<String>) -> Self {
        Self { cause: TransportCause::Other, at_proxy: false, sent: true, detail: detail.into() }
    }

    /// What a carrier beside the network fails with. `may_be_sent` is whether the request may have reached
    /// the other side.
    pub fn of_carrier(cause: TransportCause, may_be_sent: bool) -> Self {
        Self { cause, at_proxy: false, sent: may_be_sent, detail: cause.to_string() }
    }

    /// Nothing within the time that there was.
    pub fn timed_out(detail: impl Into<String>) -> Self {
        Self { cause: TransportCause::TimedOut, at_proxy: false, sent: true, detail: detail.into() }
    }

    fn of(error: &reqwest::Error) -> Self {
        let mut found = None;
        let mut at_proxy = false;
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            let cause = cause_of(error, &mut at_proxy);
            // What is below says it more exactly.
            found = cause.or(found);
            next = inner(error);
        }
        let cause = found.unwrap_or(match error {
            error if error.is_timeout() => TransportCause::TimedOut,
            error if error.is_builder() => TransportCause::Request,
            _ => TransportCause::Other,
        });
        Self { cause, at_proxy, sent: !error.is_connect(), detail: error_chain(error) }
    }

    /// What kept the answer from coming.
    pub fn cause(&self) -> TransportCause {
        self.cause
    }

    /// Whether repeating the request is of no use.
    pub fn is_lasting(&self) -> bool {
        self.cause.is_lasting()
    }

    /// Whether the request may have reached the other side.
    pub fn may_be_sent(&self) -> bool {
        self.sent
    }

    /// Whether the host that was asked has no such name. The proxy's name is another matter.
    pub fn is_unknown_host(&self) -> bool {
        self.cause == TransportCause::UnknownName && !self.at_proxy
    }

    /// The problem of a call to this peer: the message, with code, remedy and cause.
    pub fn problem(&self, peer: Peer, message: impl Into<String>) -> Problem {
        Problem::new(self.code(peer), message).remedy(self.remedy(peer)).caused_by(self.clone())
    }

    /// The code of the problem.
    pub fn code(&self, peer: Peer) -> ProblemCode {
        if self.cause.is_distrust() { peer.untrusted } else { peer.unreachable }
    }

    /// What an operator can do.
    pub fn remedy(&self, peer: Peer) -> String {
        const PROXY: &str = "`HTTPS_PROXY` (or `HTTP_PROXY`, `ALL_PROXY`)";
        let Peer { name, address, roots, .. } = peer;
        let (where_, whose) = if self.at_proxy { (PROXY, "the proxy") } else { (address, name) };
        match self.cause {
            TransportCause::ProxyLogin => format!(
                "Check the user name and password in {PROXY}; write special characters percent-encoded, as in `%40` for `@`. To reach {name} without the proxy, name its host in `NO_PROXY`."
            ),
            TransportCause::UnknownName => format!(
                "Check the host name in {where_}, and the name resolution of this machine. If only a proxy knows the name, set `HTTPS_PROXY`."
            ),
            TransportCause::NamesUnavailable => {
                format!(
                    "Check the name resolution (DNS) of this machine, and the host name in {where_}. If only a proxy knows the name, set `HTTPS_PROXY`."
                )
            }
            TransportCause::UntrustedIssuer => format!(
                "If a proxy or gateway with a certificate authority of your own is on the way, name the file with its certificates (PEM) in {roots}."
            ),
            TransportCause::AuthorityAsServer => format!(
                "If this is your own certificate, name its file (PEM) in {roots}: a certificate that is named there may be the server's own."
            ),
            TransportCause::Expired => format!(
                "Have the certificate of {whose} (or of a gateway on the way) renewed, or correct the clock of this machine."
            ),
            TransportCause::NotYetValid => "Correct the clock of this machine.".into(),
            TransportCause::WrongName => format!(
                "Use a host name in {where_} that the certificate is for, or have one issued for this name."
            ),
            TransportCause::BadCertificate => {
                format!("Have another certificate issued for {whose} (or for the gateway on the way).")
            }
            TransportCause::NotTls => format!(
                "Check scheme and port in {where_}: TLS is spoken with addresses that begin with `https://`. Most proxies want `http://`."
            ),
            TransportCause::TlsRefused => format!(
                "Check {where_}, and the gateways on the way: Berth speaks TLS 1.2 and 1.3, and has no certificate of its own."
            ),
            TransportCause::ProxyRefused => format!(
                "Check that the proxy in {PROXY} may connect to {name}, or name the host in `NO_PROXY` to reach it directly."
            ),
            TransportCause::Request => format!("Check {address}."),
            TransportCause::Refused
            | TransportCause::Unreachable
            | TransportCause::Cut
            | TransportCause::TimedOut
            | TransportCause::Other => {
                format!(
                    "Check that {whose} can be reached from here, and {address} and the proxy settings (`HTTPS_PROXY`, `NO_PROXY`)."
                )
            }
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            TransportCause::Other => f.write_str(&self.detail),
            cause => write!(f, "{cause}: {}", self.detail),
        }
    }
}

impl Error for TransportError {}

/// What one error of a chain says.
fn cause_of(error: &(dyn Error + 'static), at_proxy: &mut bool) -> Option<TransportCause> {
    if let Some(error) = error.downcast_ref::<TunnelError>() {
        *at_proxy = true;
        return match error {
            TunnelError::ProxyAuthRequired => Some(TransportCause::ProxyLogin),
            TunnelError::TunnelUnsuccessful | TunnelError::ProxyHeadersTooLong => {
                Some(TransportCause::ProxyRefused)
            }
            TunnelError::TunnelUnexpectedEof => Some(TransportCause::Cut),
            TunnelError::ConnectFailed(_) | TunnelError::Io(_) | TunnelError::MissingHost => None,
        };
    }
    if let Some(error) = error.downcast_ref::<NameError>() {
        return Some(if error.is_final {
            TransportCause::UnknownName
        } else {
            TransportCause::NamesUnavailable
        });
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(TransportCause::of_tls(error));
    }
    TransportCause::of_io(error.downcast_ref::<io::Error>()?.kind())
}

/// The error below. An I/O error that holds another does not name it as its source, but gives it.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}
