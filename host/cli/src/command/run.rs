//! `berth run`: the long-lived service, which an operator's container runs.

use std::{future::IntoFuture, net::Ipv4Addr, sync::Arc, time::Duration};

use berth_embed::{Access, Catalog, Mode, Problem, SyncError, SyncHost, core::ResyncStatus};
use indicatif::MultiProgress;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    host::{Build, assemble, stop_on_signal},
    sync,
};
use crate::{
    args::{Global, LogFormat, RunArgs, ServiceArgs},
    exit::Exit,
    http::{self, Status},
    listener::{self, Ended, Reason, Resyncs, polling, schedule},
    output::{err, out},
    progress,
    settings::{Environment, Listener, Service, Settings},
    summary,
};

/// How long a resync that is told to stop may take for it. Kubernetes kills 30 s after SIGTERM.
const GRACE: Duration = Duration::from_secs(20);
/// How long the last word to Port, and the last replies of the server, may take.
const LAST_WORD: Duration = Duration::from_secs(4);

/// Runs the service until SIGTERM or SIGINT; with the listener ONCE, one resync.
pub(crate) fn run(
    global: &Global,
    args: &ServiceArgs,
    environment: &Environment,
    bars: &MultiProgress,
) -> Exit {
    let (settings, service) = match Settings::load_service(global, environment) {
        Ok(loaded) => loaded,
        Err(issues) => {
            err(&summary::issues(&issues));
            return Exit::Settings;
        }
    };
    if service.listener == Listener::Once {
        let once = RunArgs {
            json: false,
            report: None,
            concurrency: args.concurrency,
            state_dir: args.state_dir.clone(),
            record: None,
            replay: None,
        };
        return sync::run(global, &once, environment, Mode::Apply, bars);
    }
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            err(&summary::problem("the runtime cannot start", &Problem::from_error(&error)));
            return Exit::Internal;
        }
    };
    let build = Build {
        concurrency: Some(args.concurrency.get()),
        state: Some(Access::Write),
        state_dir: args.state_dir.clone(),
        // The log tells what a service does.
        ..Build::new(progress::observer(LogFormat::Json, bars))
    };
    match runtime.block_on(serve(settings, &service, build, global.log_format)) {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn serve(settings: Settings, service: &Service, build: Build, log: LogFormat) -> Result<(), Exit> {
    let stop = CancellationToken::new();
    stop_on_signal(&stop);
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    let status = Arc::new(Status::default());
    let (resyncs, requests) = listener::channel();

    // Before the plugins are loaded, which takes its time: the process is alive meanwhile.
    let webhook = matches!(service.listener, Listener::Webhook { .. }).then(|| resyncs.clone());
    let socket = bind(service.port).await?;
    let router = http::router(&service.path_prefix, Arc::clone(&status), webhook);
    let drain = CancellationToken::new();
    let server = axum::serve(socket, router).with_graceful_shutdown(drain.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());

    let host = assemble(settings, build, stop.clone())?;
    status.set_ready();
    tracing::info!("ready");

    let resync = |reason, cancel| resync(&host, &status, log, reason, cancel);
    tokio::select! {
        () = listener::run(requests, stop.clone(), resync) => {}
        () = trigger(service, &host, &resyncs) => {}
    }
    drain.cancel();
    if timeout(LAST_WORD, server).await.is_err() {
        tracing::warn!("some HTTP requests were still open at the end");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn bind(port: u16) -> Result<TcpListener, Exit> {
    let refused = |error: std::io::Error| {
        let problem = Problem::new(format!("port {port} cannot be listened on: {error}"))
            .remedy("give APPLICATION__PORT a free port");
        err(&summary::problem("the HTTP server cannot start", &problem));
        Exit::Settings
    };
    let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await.map_err(refused)?;
    let address = socket.local_addr().map_err(refused)?;
    tracing::info!(%address, "listening");
    Ok(socket)
}

/// Asks for resyncs as the settings say. Never returns: what ends the service is the other side.
async fn trigger(service: &Service, host: &SyncHost, resyncs: &Resyncs) {
    let listening = async {
        match (&service.listener, host.port()) {
            (Listener::Polling { interval, resync_on_start }, Some(port)) => {
                polling::poll(port, resyncs, *interval, *resync_on_start).await;
            }
            // Other than the peer, which leaves a fresh installation empty until somebody asks. It
            // is also what tells Port where the webhook is.
            (Listener::Webhook { resync_on_start: true, .. }, _) => {
                resyncs.run(Reason::Start).await;
            }
            _ => {}
        }
    };
    let ticking = async {
        if let Some(minutes) = service.scheduled_minutes {
            schedule::tick(resyncs, Duration::from_secs(60 * u64::from(minutes))).await;
        }
    };
    tokio::join!(listening, ticking);
    std::future::pending::<()>().await;
}

/// Runs one resync and tells how it went.
async fn resync(
    host: &SyncHost,
    status: &Status,
    log: LogFormat,
    reason: Reason,
    cancel: CancellationToken,
) -> Ended {
    tracing::info!(reason = reason.as_str(), "resync begins");
    status.metrics.begun();
    let host = host.stopped_by(cancel.clone());
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    let result = tokio::select! {
        result = host.sync() => result,
        () = overdue => {
            tracing::warn!("the resync did not stop in time; it is given up");
            status.metrics.ended_early("aborted");
            if let Some(port) = host.port() {
                // Else Port would show a resync that runs for ever. It is logged if it fails.
                let told = timeout(LAST_WORD, port.end(ResyncStatus::Aborted)).await;
                if !matches!(told, Ok(Ok(()))) {
                    tracing::warn!("Port could not be told that the resync was stopped");
                }
            }
            return Ended::Ran;
        }
    };
    match result {
        Ok(report) => {
            status.metrics.ended(&report);
            let totals = report.totals();
            tracing::info!(
                outcome = ?report.outcome,
                units = totals.units,
                complete = totals.complete,
                created = totals.counts.created,
                updated = totals.counts.updated,
                unchanged = totals.counts.unchanged,
                deleted = report.deletion.deleted.len(),
                seconds = report.duration.as_secs_f64(),
                "resync ended"
            );
            if log == LogFormat::Text {
                out(&summary::render(&report));
            }
            Ended::Ran
        }
        Err(error) => {
            status.metrics.ended_early("not-begun");
            tracing::error!(problem = %error.problem(), "the resync could not begin: {error}");
            match error {
                SyncError::Catalog(_) | SyncError::Source(_) => Ended::NotBegun,
                // Another try gives the same; a changed mapping comes with a request.
                SyncError::Config(_) => Ended::Ran,
            }
        }
    }
}
