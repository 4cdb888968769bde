//! The service: built, then run until it stops.

use std::{future::Future, io, net::SocketAddr, path::PathBuf, pin::pin, sync::Arc};

use berth_embed::{Problem, RemovalAfter, Report, ResyncSchedule};
#[cfg(feature = "kafka")]
use berth_port::service::PortService;
use futures::future::BoxFuture;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

#[cfg(feature = "kafka")]
use crate::listeners::kafka;
use crate::{
    backlog::BacklogFile,
    config::{HttpServer, Listener, LiveSettings, ServiceConfig},
    http::{self, EventWebhook, HttpState, Routes},
    listeners::{self, Reason, Requests, Resyncs, polling, schedule},
    live_events,
    metrics::Metrics,
    reload::{ReloadSource, Reloader},
    resync::{self, LAST_WORD, ReportSink},
    state::{ServiceHost, ServiceState, StartError},
    telemetry::LogShipping,
};

/// Why a service cannot start or continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The configuration is invalid.
    #[error("the configuration of the service is invalid: {0}")]
    Config(Problem),
    /// The HTTP server cannot listen.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        error: io::Error,
    },
    /// There is no host to run.
    #[error("{}: {}", .0.title, .0.problem)]
    Start(StartError),
    /// An internal error.
    #[error("cannot start the service: {0}")]
    Internal(Problem),
    /// The listener failed, and a retry cannot help.
    #[error("the listener failed: {0}")]
    Listener(Problem),
}

/// A host that is still being built.
type Starting = BoxFuture<'static, Result<ServiceHost, ServiceError>>;

/// A long-running service, ready to [run](Self::run).
pub struct Service {
    host: Starting,
    config: ServiceConfig,
    sockets: Vec<TcpListener>,
    http: Arc<HttpState>,
    state_dir: Option<PathBuf>,
    reload: Option<Box<dyn ReloadSource>>,
    log_shipping: Option<LogShipping>,
    reports: Option<ReportSink>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Builds a [`Service`].
pub struct ServiceBuilder {
    host: Starting,
    config: ServiceConfig,
    state_dir: Option<PathBuf>,
    reload: Option<Box<dyn ReloadSource>>,
    log_shipping: Option<LogShipping>,
    reports: Option<ReportSink>,
}

impl std::fmt::Debug for ServiceBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl ServiceBuilder {
    /// Sets the whole configuration.
    #[must_use]
    pub fn config(mut self, config: ServiceConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets what triggers resyncs; without a listener, only the schedule does.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.config.listener = listener;
        self
    }

    /// Sets the schedule.
    #[must_use]
    pub fn schedule(mut self, schedule: ResyncSchedule) -> Self {
        self.config.schedule = Some(schedule);
        self
    }

    /// Sets the HTTP server; without it, the server listens only on this machine, on a port that the system
    /// chooses.
    #[must_use]
    pub fn http(mut self, http: HttpServer) -> Self {
        self.config.http = http;
        self
    }

    /// Turns live events on.
    #[must_use]
    pub fn live_events(mut self, events: LiveSettings) -> Self {
        self.config.live_events = Some(events);
        self
    }

    /// Sets the directory of the host's ledger, which also stores live events that wait when the service
    /// ends. A host without a ledger stores none.
    #[must_use]
    pub fn state_dir(mut self, dir: PathBuf) -> Self {
        self.state_dir = Some(dir);
        self
    }

    /// Sets how to reload the configuration while the service runs.
    #[must_use]
    pub fn reload(mut self, source: impl ReloadSource + 'static) -> Self {
        self.reload = Some(Box::new(source));
        self
    }

    /// Ships the rest of the log when the service ends.
    #[must_use]
    pub fn log_shipping(mut self, logs: LogShipping) -> Self {
        self.log_shipping = Some(logs);
        self
    }

    /// Sets what receives the report of each resync that ended, and when entities of removed accounts and
    /// regions are deleted by the configuration at that time.
    #[must_use]
    pub fn on_report(mut self, reports: impl Fn(&Report, RemovalAfter) + Send + Sync + 'static) -> Self {
        self.reports = Some(Arc::new(reports));
        self
    }

    /// Starts to listen; the service replies once it runs. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// [`ServiceError::Config`] and [`ServiceError::Bind`].
    pub fn build(self) -> Result<Service, ServiceError> {
        let Self { host, config, state_dir, reload, log_shipping, reports } = self;
        config.validate().map_err(ServiceError::Config)?;
        let sockets = http::bind(config.http.bind, config.http.port)
            .map_err(|(address, error)| ServiceError::Bind { address, error })?;
        for address in sockets.iter().filter_map(|socket| socket.local_addr().ok()) {
            tracing::info!(%address, "listening");
        }
        let http = Arc::<HttpState>::default();
        Ok(Service { host, config, sockets, http, state_dir, reload, log_shipping, reports })
    }
}

impl Service {
    /// Returns a builder for a service with this host.
    pub fn builder(host: impl Into<ServiceHost>) -> ServiceBuilder {
        let host = host.into();
        Self::starting(async { Ok(host) })
    }

    /// Returns a builder for a service whose host is still being built, which takes time if plugins have to
    /// be compiled. Meanwhile the HTTP server replies that the service is not ready.
    pub fn starting(
        host: impl Future<Output = Result<ServiceHost, ServiceError>> + Send + 'static,
    ) -> ServiceBuilder {
        ServiceBuilder {
            host: Box::pin(host),
            config: ServiceConfig::default(),
            state_dir: None,
            reload: None,
            log_shipping: None,
            reports: None,
        }
    }

    /// Returns the addresses that the service listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
    }

    /// Returns the service's metrics.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.http.metrics)
    }

    /// Runs until `shutdown`, or until it cannot continue. Stops a running resync cleanly, which takes up to
    /// 12 s and deletes nothing.
    ///
    /// # Errors
    /// [`ServiceError::Start`], [`ServiceError::Internal`] and [`ServiceError::Listener`].
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServiceError> {
        let stop = CancellationToken::new();
        let mut serving = pin!(self.serve(stop.clone()));
        tokio::select! {
            ended = &mut serving => return ended,
            () = shutdown => stop.cancel(),
        }
        serving.await
    }

    async fn serve(mut self, stop: CancellationToken) -> Result<(), ServiceError> {
        let (resyncs, requests) = listeners::channel();
        // Before the host is ready, which takes time: the process is alive meanwhile.
        let mut server = self.answer(&resyncs);
        let drain = self.http.drain.clone();
        let Some(host) = stop.run_until_cancelled(&mut self.host).await else {
            drain.cancel();
            tracing::info!("stopped");
            return Ok(());
        };
        let logs = self.log_shipping.take();
        let host = host.inspect_err(|_| drain.cancel())?;
        let ended = Box::pin(self.work(host, &resyncs, requests, &stop)).await;
        drain.cancel();
        let shipped = async {
            if let Some(logs) = logs {
                logs.finish().await;
            }
        };
        let (served, ()) = tokio::join!(timeout(LAST_WORD, server.join_next()), shipped);
        if served.is_err() {
            tracing::warn!("stopped before all HTTP requests were answered");
        }
        tracing::info!("stopped");
        ended
    }

    /// Serves HTTP requests from now on.
    fn answer(&mut self, resyncs: &Resyncs) -> JoinSet<()> {
        let (config, http) = (&self.config, &self.http);
        http.allow(config.http.access.clone());
        // Until the host is ready, senders are asked to try again.
        let keys = config.live_events.as_ref().map(|events| events.keys.clone());
        http.take_events(keys.map(|keys| EventWebhook::new(keys, None)));
        let webhook = matches!(config.listener, Listener::Webhook { .. }).then(|| resyncs.clone());
        let HttpServer { path_prefix, status_page, .. } = &config.http;
        let router = http::router(path_prefix, http, Routes { webhook, page: *status_page });
        if *status_page {
            tracing::info!("serving the status page at {path_prefix}/status");
        } else {
            tracing::info!(
                "the status page is off, because the port may be reachable from outside or the settings turn \
                 it off; `status_page = true` turns it on"
            );
        }
        let sockets = std::mem::take(&mut self.sockets);
        let mut server = JoinSet::new();
        server.spawn(http::serve(sockets, router, http::ConnectionLimits::default(), http.drain.clone()));
        server
    }

    /// Runs resyncs, processes live events and applies new settings until `stop`, or until the listener
    /// cannot continue.
    async fn work(
        self,
        host: ServiceHost,
        resyncs: &Resyncs,
        requests: Requests,
        stop: &CancellationToken,
    ) -> Result<(), ServiceError> {
        let Self { config, http, state_dir, reload, reports, .. } = self;
        let state = ServiceState::new(host, config);
        // If there is a ledger, its directory is usable.
        let backlog = state.host.ledger().and(state_dir.as_deref()).map(BacklogFile::in_dir);
        http.metrics.watch(&state.host, state.engine());
        let (renew, states) = watch::channel(Arc::new(state));
        let following = live_events::follow(states.clone(), &http, backlog, stop);
        let resync = |reason, cancel| {
            let (state, http) = (Arc::clone(&states.borrow()), Arc::clone(&http));
            let reports = reports.clone();
            async move { resync::run(&state, &http, reports.as_ref(), reason, cancel).await }
        };
        let reloader = Reloader { source: reload, http: Arc::clone(&http) };
        let resyncing = async {
            let mut resyncing = pin!(listeners::run(requests, stop.clone(), resync));
            let mut listening = pin!(trigger(&states, resyncs, stop));
            tokio::select! {
                () = &mut resyncing => timeout(LAST_WORD, listening).await.unwrap_or(Ok(())),
                ended = &mut listening => {
                    // By a signal, or because there is nothing to listen to.
                    stop.cancel();
                    resyncing.await;
                    ended
                }
                () = reloader.run(renew) => Ok(()),
            }
        };
        let (ended, ()) = tokio::join!(resyncing, following);
        ended
    }
}

/// Requests resyncs as the configuration says until `stop`, or until the listener cannot continue.
async fn trigger(
    states: &watch::Receiver<Arc<ServiceState>>,
    resyncs: &Resyncs,
    stop: &CancellationToken,
) -> Result<(), ServiceError> {
    let begun = Arc::clone(&states.borrow());
    let listening = async {
        match (&begun.config.listener, begun.host.port()) {
            (Listener::Polling { .. }, _) => {
                stop.run_until_cancelled(polling::poll(states.clone(), resyncs)).await;
            }
            // Ocean leaves a new installation empty until someone requests a resync. This resync also tells
            // Port the address of the webhook.
            (Listener::Webhook { resync_on_start: true, .. }, _) => {
                stop.run_until_cancelled(resyncs.run(Reason::Start)).await;
            }
            // New settings do not apply to it: joining its group again would look like another process.
            #[cfg(feature = "kafka")]
            (Listener::Kafka(settings), Some(port)) => {
                let port = PortService::of(port);
                return kafka::listen(&port, settings, resyncs, stop).await.map_err(ServiceError::Listener);
            }
            _ => {}
        }
        stop.cancelled().await;
        Ok(())
    };
    tokio::select! {
        ended = listening => ended,
        () = schedule::follow(states.clone(), resyncs) => Ok(()),
    }
}
