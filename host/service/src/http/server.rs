//! Accepts connections, within limits that no client can exhaust for the others: their number, and how long
//! they may be silent.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{Router, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::config::BindAddress;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The pause if a connection cannot be accepted because no file descriptors are left.
const PAUSE: Duration = Duration::from_millis(100);

/// Limits: the number of connections; how long the head of a request may take, which is also how long a
/// connection may wait for its next request; and how long a client may not read a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    pub(crate) connections: usize,
    /// Additional connections that serve only health checks, so that probes succeed when all others are in
    /// use.
    pub(crate) reserve: usize,
    pub(crate) head: Duration,
    /// The same limit for a connection of the reserve.
    pub(crate) head_of_reserve: Duration,
    pub(crate) stalled: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 128,
            reserve: 32,
            head: Duration::from_secs(10),
            head_of_reserve: Duration::from_secs(2),
            stalled: Duration::from_secs(30),
        }
    }
}

/// The client of a connection, an extension of each request.
#[derive(Debug, Clone)]
pub(super) struct ConnectionPeer {
    pub(super) address: IpAddr,
    /// Whether the connection is part of the reserve.
    pub(super) reserve: bool,
    /// Closes the connection at once, even if data remains.
    pub(super) close: CancellationToken,
}

/// Listens where the settings say. Not every system has IPv4 and IPv6: one is enough, unless the settings
/// name it.
///
/// # Errors
/// The address, and why the service cannot listen there.
pub(crate) fn bind(
    address: BindAddress,
    port: u16,
) -> Result<Vec<TcpListener>, (SocketAddr, std::io::Error)> {
    let listen = |address: IpAddr, port: u16| {
        let address = SocketAddr::new(address, port);
        socket(address).map_err(|error| (address, error))
    };
    let (all4, all6) = (IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED));
    match address {
        BindAddress::Only(address) => Ok(vec![listen(address, port)?]),
        // One socket for both.
        BindAddress::Everywhere => match listen(all6, port) {
            Err((_, error)) if error.kind() != ErrorKind::AddrInUse => Ok(vec![listen(all4, port)?]),
            listening => Ok(vec![listening?]),
        },
        BindAddress::Loopback => {
            let four = listen(Ipv4Addr::LOCALHOST.into(), port)?;
            let port = four.local_addr().map_or(port, |address| address.port());
            let six = match listen(Ipv6Addr::LOCALHOST.into(), port) {
                Ok(six) => Some(six),
                Err((address, error)) => {
                    tracing::debug!(%address, %error, "cannot listen on an address");
                    None
                }
            };
            Ok([Some(four), six].into_iter().flatten().collect())
        }
    }
}

fn socket(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // On Windows this would let another process listen, too.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Routes requests until `drain`, and then until all responses are sent.
pub(crate) async fn serve(
    sockets: Vec<TcpListener>,
    router: Router,
    limits: ConnectionLimits,
    drain: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let server = Server {
        router,
        limits,
        connections: Arc::new(Semaphore::new(limits.connections)),
        reserve: Arc::new(Semaphore::new(limits.reserve)),
    };
    let accepting = sockets.iter().map(|socket| server.accept(socket, &graceful));
    tokio::select! {
        _ = futures::future::join_all(accepting) => {}
        () = drain.cancelled() => {}
    }
    drop(sockets);
    graceful.shutdown().await;
}

struct Server {
    router: Router,
    limits: ConnectionLimits,
    connections: Arc<Semaphore>,
    reserve: Arc<Semaphore>,
}

impl Server {
    /// Accepts connections. Without a free place, they wait.
    async fn accept(&self, socket: &TcpListener, graceful: &GracefulShutdown) {
        loop {
            // Before it is known to be needed, so that every accepted connection has a place.
            let Ok(reserve) = Arc::clone(&self.reserve).acquire_owned().await else { return };
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let (permit, reserve) = match Arc::clone(&self.connections).try_acquire_owned() {
                Ok(permit) => (permit, false),
                Err(_) => (reserve, true),
            };
            let peer = ConnectionPeer {
                address: peer.ip().to_canonical(),
                reserve,
                close: CancellationToken::new(),
            };
            tokio::spawn(connection(
                stream,
                peer,
                self.router.clone(),
                self.limits,
                graceful.watcher(),
                permit,
            ));
        }
    }
}

/// Serves one connection.
async fn connection(
    stream: TcpStream,
    peer: ConnectionPeer,
    router: Router,
    limits: ConnectionLimits,
    graceful: Watcher,
    _permit: OwnedSemaphorePermit,
) {
    // Sends small responses at once.
    _ = stream.set_nodelay(true);
    let (close, reserve) = (peer.close.clone(), peer.reserve);
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, peer) = (router.clone(), peer.clone());
        async move {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer);
            router.oneshot(request).await
        }
    });
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.stalled));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(if reserve { limits.head_of_reserve } else { limits.head })
        .keep_alive(!reserve)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::select! {
        // Ignores how the connection ended: usually the client left.
        _ = graceful.watch(connection) => {}
        () = close.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::{Instant, timeout},
    };

    use super::*;

    /// A server on its own port, whose responses say whether the connection is part of the reserve.
    fn start(limits: ConnectionLimits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let who = async |Extension(peer): Extension<ConnectionPeer>| {
            if peer.reserve { "reserve" } else { "ordinary" }
        };
        let slow = async || tokio::time::sleep(Duration::from_millis(200)).await;
        let long = async || vec![0; 16 << 20];
        let router = Router::new().route("/", get(who)).route("/slow", get(slow)).route("/long", get(long));
        let sockets = bind(BindAddress::Only(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
        let address = sockets[0].local_addr().unwrap();
        let drain = CancellationToken::new();
        (address, drain.clone(), tokio::spawn(serve(sockets, router, limits, drain)))
    }

    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Reads until the connection ends.
    async fn read(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        // A reset also ends a connection.
        _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("it ends");
        String::from_utf8(answer).unwrap()
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: berth\r\nConnection: close\r\n\r\n");
        read(send(address, &request).await).await
    }

    const HALF: &str = "GET / HTTP/1.1\r\nHost: berth\r\nX-Slow: ";

    #[tokio::test]
    async fn half_a_request_is_given_up_and_leaves_room_for_health() {
        let head = Duration::from_millis(400);
        let limits = ConnectionLimits {
            connections: 4,
            reserve: 2,
            head,
            head_of_reserve: head / 4,
            ..ConnectionLimits::default()
        };
        let (address, _drain, _server) = start(limits);
        assert!(ask(address, "/").await.ends_with("ordinary"));
        let mut half = Vec::new();
        for _ in 0..20 {
            half.push(send(address, HALF).await);
        }
        let begun = Instant::now();
        // After all of those. The regular places are not free yet.
        assert!(ask(address, "/").await.ends_with("reserve"));
        assert!(begun.elapsed() < Duration::from_secs(10));
        for stream in half {
            assert_eq!(read(stream).await, "");
        }
        assert!(ask(address, "/").await.ends_with("ordinary"), "the places are free again");
    }

    #[tokio::test]
    async fn a_connection_that_waits_for_nothing_ends() {
        let head = Duration::from_millis(100);
        let (address, _drain, _server) = start(ConnectionLimits { head, ..ConnectionLimits::default() });
        let stream = send(address, "GET / HTTP/1.1\r\nHost: berth\r\n\r\n").await;
        assert!(read(stream).await.ends_with("ordinary"));
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_is_given_up() {
        let limits = ConnectionLimits {
            connections: 1,
            stalled: Duration::from_millis(200),
            ..ConnectionLimits::default()
        };
        let (address, _drain, _server) = start(limits);
        let stalled = send(address, "GET /long HTTP/1.1\r\nHost: berth\r\n\r\n").await;
        assert!(ask(address, "/").await.ends_with("reserve"));
        let begun = Instant::now();
        while !ask(address, "/").await.ends_with("ordinary") {
            assert!(begun.elapsed() < Duration::from_secs(10), "it keeps its place");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(stalled);
    }

    #[tokio::test]
    async fn the_end_waits_for_answers_alone() {
        let (address, drain, server) = start(ConnectionLimits::default());
        let idle = TcpStream::connect(address).await.unwrap();
        let answer = tokio::spawn(async move { ask(address, "/slow").await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        drain.cancel();
        timeout(Duration::from_secs(5), server).await.expect("nothing delays it").unwrap();
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 200"));
        assert!(TcpStream::connect(address).await.is_err());
        drop(idle);
    }

    #[tokio::test]
    async fn both_families_are_listened_at() {
        for address in [BindAddress::Loopback, BindAddress::Everywhere] {
            let sockets = bind(address, 0).unwrap();
            let port = sockets[0].local_addr().unwrap().port();
            assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok(), "{address:?}");
            // Not every machine has IPv6.
            if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
                assert!(TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.is_ok(), "{address:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_named() {
        let first = bind(BindAddress::Everywhere, 0).unwrap();
        let port = first[0].local_addr().unwrap().port();
        for address in [BindAddress::Everywhere, BindAddress::Loopback] {
            let (refused, error) = bind(address, port).unwrap_err();
            assert_eq!((refused.port(), error.kind()), (port, ErrorKind::AddrInUse), "{address:?}");
        }
    }
}
