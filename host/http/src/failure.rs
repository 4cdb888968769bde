//! Why a request got no response, whether a retry may help, and what to do about it.

use std::{error::Error, fmt, io};

use berth_core::{Problem, ProblemCode, error_chain};
use hyper_util::client::legacy::connect::{HttpConnector, proxy::Tunnel};
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use tower_service::Service;

use crate::{certificates::is_of_an_authority, resolver::NameError};

/// The error of a tunnel through a proxy. `hyper-util` exports it only as the error of its service.
type TunnelError = <Tunnel<HttpConnector> as Service<http::Uri>>::Error;

/// A request without a (complete) response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportError {
    cause: TransportCause,
    /// Whether the connection to the proxy failed.
    at_proxy: bool,
    /// Whether the request may have reached the server.
    sent: bool,
    detail: String,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportCause {
    /// The proxy requires another user name or password (407).
    ProxyLogin,
    /// The host name does not exist.
    UnknownName,
    /// No trusted root issued the certificate.
    UntrustedIssuer,
    /// The certificate has expired.
    Expired,
    /// The certificate is not yet valid.
    NotYetValid,
    /// The certificate was issued for another name.
    WrongName,
    /// The server uses the certificate of a certificate authority that is not among the roots.
    AuthorityAsServer,
    /// The certificate is invalid for another reason.
    BadCertificate,
    /// The server does not use TLS.
    NotTls,
    /// Client and server have no TLS version or cipher in common, or the server requires a client
    /// certificate.
    TlsRefused,
    /// The request could not be built.
    Request,
    /// No name server responds.
    NamesUnavailable,
    /// The proxy responds, but does not connect.
    ProxyRefused,
    /// No process listens at the address.
    Refused,
    /// There is no route to the host.
    Unreachable,
    /// The connection was closed early.
    Cut,
    /// The time limit was exceeded.
    TimedOut,
    /// Another cause.
    Other,
}

/// A service and its settings, as remedies name them.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its name, such as `Port`.
    pub name: &'static str,
    /// The setting with its address.
    pub address: &'static str,
    /// The setting with the trusted certificates.
    pub roots: &'static str,
    /// The code of a problem if there is no response.
    pub unreachable: ProblemCode,
    /// The code of a problem if the certificate is not trusted.
    pub untrusted: ProblemCode,
}

impl TransportCause {
    /// Returns whether a certificate is the cause.
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

    /// Returns whether the next attempt would fail in the same way, so that a retry does not help. A name
    /// that does not exist is such a cause. Unresponsive name servers are not, since they may start later
    /// than a container.
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
            Self::ProxyLogin => "the proxy rejects the user name and password (407)",
            Self::UnknownName => "the host name does not exist",
            Self::UntrustedIssuer => "the certificate is not issued by a trusted authority",
            Self::Expired => "the certificate has expired",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::WrongName => "the certificate is for another host name",
            Self::AuthorityAsServer => "the server presents the certificate of an authority as its own",
            Self::BadCertificate => "the certificate cannot be used",
            Self::NotTls => "the server does not use TLS at this address",
            Self::TlsRefused => "the server rejects the TLS connection",
            Self::Request => "the request cannot be built",
            Self::NamesUnavailable => "the host name cannot be resolved now",
            Self::ProxyRefused => "the proxy cannot connect to the server",
            Self::Refused => "the connection is refused",
            Self::Unreachable => "the host cannot be reached",
            Self::Cut => "the connection was closed early",
            Self::TimedOut => "no response in time",
            Self::Other => "the connection failed",
        })
    }
}

impl TransportError {
    /// Wraps an error of the client.
    pub fn new(error: reqwest::Error) -> Self {
        // Queries may contain data that must not be logged.
        Self::of(&error.without_url())
    }

    /// Finds an error of this client in a chain of errors.
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

    /// Returns the error for a proxy that responds in place of the server and requires a login.
    pub fn proxy_login() -> Self {
        let detail = "407 Proxy Authentication Required".to_owned();
        Self { cause: TransportCause::ProxyLogin, at_proxy: true, sent: false, detail }
    }

    /// Returns the error for a truncated response, or one that does not match its headers.
    pub fn unusable(detail: impl Into<String>) -> Self {
        Self { cause: TransportCause::Other, at_proxy: false, sent: true, detail: detail.into() }
    }

    /// Returns the error of a transport other than the network. `may_be_sent`: the request may have reached
    /// the server.
    pub fn of_carrier(cause: TransportCause, may_be_sent: bool) -> Self {
        Self { cause, at_proxy: false, sent: may_be_sent, detail: cause.to_string() }
    }

    /// Returns the error for an exceeded time limit.
    pub fn timed_out(detail: impl Into<String>) -> Self {
        Self { cause: TransportCause::TimedOut, at_proxy: false, sent: true, detail: detail.into() }
    }

    fn of(error: &reqwest::Error) -> Self {
        let mut found = None;
        let mut at_proxy = false;
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(error) = next {
            let cause = cause_of(error, &mut at_proxy);
            // An error further down is more specific.
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

    /// Returns why there is no response.
    pub fn cause(&self) -> TransportCause {
        self.cause
    }

    /// Returns whether a retry would not help.
    pub fn is_lasting(&self) -> bool {
        self.cause.is_lasting()
    }

    /// Returns whether the request may have reached the server.
    pub fn may_be_sent(&self) -> bool {
        self.sent
    }

    /// Returns whether the requested host name does not exist. Does not include the proxy's name.
    pub fn is_unknown_host(&self) -> bool {
        self.cause == TransportCause::UnknownName && !self.at_proxy
    }

    /// Returns the problem of a call to this service: the message, with code, remedy and cause.
    pub fn problem(&self, peer: Peer, message: impl Into<String>) -> Problem {
        Problem::new(self.code(peer), message).remedy(self.remedy(peer)).caused_by(self.clone())
    }

    /// Returns the code of the problem.
    pub fn code(&self, peer: Peer) -> ProblemCode {
        if self.cause.is_distrust() { peer.untrusted } else { peer.unreachable }
    }

    /// Returns the remedy for the operator.
    pub fn remedy(&self, peer: Peer) -> String {
        const PROXY: &str = "`HTTPS_PROXY` (or `HTTP_PROXY`, `ALL_PROXY`)";
        let Peer { name, address, roots, .. } = peer;
        let (where_, whose) = if self.at_proxy { (PROXY, "the proxy") } else { (address, name) };
        match self.cause {
            TransportCause::ProxyLogin => format!(
                "Check the user name and password in {PROXY}; percent-encode special characters, for example `%40` for `@`. To reach {name} without the proxy, add its host to `NO_PROXY`."
            ),
            TransportCause::UnknownName => format!(
                "Check the host name in {where_}, and the name resolution of this machine. If only a proxy can resolve the name, set `HTTPS_PROXY`."
            ),
            TransportCause::NamesUnavailable => {
                format!(
                    "Check the name resolution (DNS) of this machine, and the host name in {where_}. If only a proxy can resolve the name, set `HTTPS_PROXY`."
                )
            }
            TransportCause::UntrustedIssuer => format!(
                "If a proxy or gateway on the way uses a private certificate authority, set {roots} to the file with its certificates (PEM)."
            ),
            TransportCause::AuthorityAsServer => format!(
                "If this is your own certificate, set {roots} to its file (PEM): the server may use a certificate from that file as its own."
            ),
            TransportCause::Expired => format!(
                "Renew the certificate of {whose} (or of a gateway on the way), or correct the clock of this machine."
            ),
            TransportCause::NotYetValid => "Correct the clock of this machine.".into(),
            TransportCause::WrongName => format!(
                "Use a host name from the certificate in {where_}, or issue a certificate for this name."
            ),
            TransportCause::BadCertificate => {
                format!("Issue another certificate for {whose} (or for the gateway on the way).")
            }
            TransportCause::NotTls => format!(
                "Check scheme and port in {where_}: addresses that begin with `https://` require TLS. Most proxies use `http://`."
            ),
            TransportCause::TlsRefused => format!(
                "Check {where_}, and the gateways on the way: Berth supports TLS 1.2 and 1.3, and has no client certificate."
            ),
            TransportCause::ProxyRefused => format!(
                "Check that the proxy in {PROXY} may connect to {name}, or add the host to `NO_PROXY` to reach it directly."
            ),
            TransportCause::Request => format!("Check {address}."),
            TransportCause::Refused
            | TransportCause::Unreachable
            | TransportCause::Cut
            | TransportCause::TimedOut
            | TransportCause::Other => {
                format!(
                    "Check that {whose} is reachable from this machine, and check {address} and the proxy settings (`HTTPS_PROXY`, `NO_PROXY`)."
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

/// Returns the cause that one error of a chain states.
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

/// Returns the error below. An I/O error does not return a wrapped error as its source, but through its own
/// method.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}
