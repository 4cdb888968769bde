//! `berth run`: the long-lived service, which an operator's container runs.

use std::{num::NonZeroUsize, pin::pin, sync::Arc, time::Duration};

use berth_embed::{Access, LiveOptions, Observer, Problem, SyncError};
use berth_port::service::PortService;
use indicatif::MultiProgress;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    host::{Assembled, Build, GRACE, LAST_WORD, assemble, overdue, stop_on_signal, tell_given_up},
    reload::{Hangups, Plugins, Reloader},
    sync,
};
#[cfg(feature = "kafka")]
use crate::listener::kafka;
use crate::{
    args::{Global, LogFormat, RecordingArgs, RemovalArgs, RunArgs, ServiceArgs, SyncArgs},
    backlog::BacklogFile,
    exit::Exit,
    http::{self, EventWebhook, Serves, Status},
    kept,
    listener::{self, Ended, Identity, Live, Reason, Resyncs, polling, schedule},
    output::{err, out},
    settings::{Environment, Listener, Service, Settings},
    summary,
    telemetry::{self, Shipping},
};

/// Runs the service until SIGTERM or SIGINT; with the listener ONCE, one resync.
pub(crate) fn run(
    global: &Global,
    args: &ServiceArgs,
    environment: &Environment,
    bars: &MultiProgress,
    logs: Option<Shipping>,
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
            reports: Vec::new(),
            concurrency: args.concurrency,
            state: args.state.clone(),
        };
        let once =
            SyncArgs { run: once, removal: RemovalArgs::default(), recording: RecordingArgs::default() };
        return sync::sync(global, &once, environment, bars, logs);
    }
    telemetry::follow(settings.log_level.as_deref());
    settings.log_files();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            err(&summary::problem("the runtime cannot start", &Problem::from_error(&error)));
            return Exit::Internal;
        }
    };
    let status = Arc::new(Status::default());
    // The log and the status page tell what a service does.
    let board = Arc::clone(&status.board);
    let build = Build {
        concurrency: args.concurrency.map(NonZeroUsize::get),
        state: Some(Access::Write),
        state_dir: args.state.state_dir.clone(),
        logs,
        ..Build::new(board)
    };
    let served = runtime.block_on(serve(global, environment, settings, service, status, build));
    // What still blocks a thread must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match served {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn serve(
    global: &Global,
    environment: &Environment,
    mut settings: Settings,
    service: Service,
    status: Arc<Status>,
    build: Build,
) -> Result<(), Exit> {
    let stop = CancellationToken::new();
    let hangups = Hangups::listen();
    stop_on_signal(&stop);
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    let (resyncs, requests) = listener::channel();

    // Before the plugins are loaded, which takes its time: the process is alive meanwhile.
    let webhook = matches!(service.listener, Listener::Webhook { .. }).then(|| resyncs.clone());
    let sockets = bind(&service)?;
    status.allow(service.access(&settings.port.client_secret));
    let events = settings.live.take().filter(|_| service.process_webhooks);
    // Until the plugins are loaded senders are asked to try again.
    status.take_events(events.as_ref().map(|events| EventWebhook::new(events.keys.clone(), None)));
    let serves = Serves { webhook, page: service.status_page };
    let router = http::router(&service.path_prefix, &status, serves);
    let drain = status.drain.clone();
    if service.status_page {
        tracing::info!("the status page is served at {}/status", service.path_prefix);
    } else {
        tracing::info!(
            "the status page is not served, because the port may be reached from outside or the settings \
             say so; `status_page = true` serves it"
        );
    }
    let server = tokio::spawn(http::serve(sockets, router, http::Limits::default(), drain.clone()));

    let reloader = Reloader {
        global,
        environment,
        observer: Arc::clone(&build.observer),
        concurrency: build.concurrency,
        status: &status,
        stop: stop.clone(),
        hangups,
        logs: build.logs.clone(),
    };
    let logs = build.logs.clone();
    let schedule = settings.port.schedule;
    let changelog_destination = settings.port.changelog_destination.clone();
    let used_dir = settings.state.dir(build.state_dir.as_deref());
    let (identity, state) = (Identity::of(&settings.port), settings.state.clone());
    let (config, trust) = (settings.engine.clone(), settings.trust.clone());
    let narrowed = settings.narrow_sessions;
    // Plugins may have to be compiled, which takes its time; a signal must not wait for that.
    let cancel = stop.clone();
    let made = tokio::task::spawn_blocking(move || assemble(settings, build, cancel));
    let Some(made) = stop.run_until_cancelled(made).await else {
        tracing::info!("stopped");
        return Ok(());
    };
    let made = made.map_err(|panicked| {
        err(&summary::problem("the service cannot start", &Problem::from_error(&panicked)));
        Exit::Internal
    })?;
    let Assembled { host, engine, deletion, notes, .. } = made.map_err(|refusal| refusal.print())?;
    for note in notes {
        tracing::warn!("{note}");
    }
    // Where there is a ledger, its directory can be used.
    let backlog = host.ledger().and(used_dir.path()).map(BacklogFile::in_dir);
    status.metrics.watch(&host, &engine);
    let plugins = Plugins { engine, config, trust, narrowed };
    telemetry::export(&status.metrics);
    let (renew, live) = watch::channel(Arc::new(Live {
        host,
        service,
        schedule,
        changelog_destination,
        identity,
        state,
        events,
        deletion,
    }));
    let following = follow(live.clone(), &status, backlog, &stop);

    let resync = |reason, cancel| {
        let live = Arc::clone(&live.borrow());
        let status = Arc::clone(&status);
        async move { resync(&live, &status, global.log_format, reason, cancel).await }
    };
    let resyncing = async {
        let mut resyncing = pin!(listener::run(requests, stop.clone(), resync));
        let mut listening = pin!(trigger(&live, &resyncs, &stop));
        tokio::select! {
            () = &mut resyncing => timeout(LAST_WORD, listening).await.unwrap_or(Ok(())),
            ended = &mut listening => {
                // By a signal, or because there is nothing to listen to.
                stop.cancel();
                resyncing.await;
                ended
            }
            () = reloader.run(renew, plugins) => Ok(()),
        }
    };
    let (ended, ()) = tokio::join!(resyncing, following);
    drain.cancel();
    let shipped = async {
        if let Some(logs) = logs {
            logs.finish().await;
        }
    };
    let (served, ()) = tokio::join!(timeout(LAST_WORD, server), shipped);
    if served.is_err() {
        tracing::warn!("some HTTP requests were still open at the end");
    }
    tracing::info!("stopped");
    ended
}

fn bind(service: &Service) -> Result<Vec<TcpListener>, Exit> {
    let sockets = http::bind(service.bind, service.port).map_err(|(address, error)| {
        let problem = Problem::new(format!("{address} cannot be listened at: {error}"))
            .remedy("give APPLICATION__PORT a free port, and OCEAN__BIND_ADDRESS an address of this machine");
        err(&summary::problem("the HTTP server cannot start", &problem));
        Exit::Settings
    })?;
    for address in sockets.iter().filter_map(|socket| socket.local_addr().ok()) {
        tracing::info!(%address, "listening");
    }
    Ok(sockets)
}

/// Follows live events until `stop`, where the settings say so, and keeps those that wait then, where
/// there is a `file` for them. New settings hold for those that come after them, the keys among them.
async fn follow(
    mut renewed: watch::Receiver<Arc<Live>>,
    status: &Arc<Status>,
    file: Option<BacklogFile>,
    stop: &CancellationToken,
) {
    let observer: Arc<dyn Observer> = Arc::<Status>::clone(status);
    let mut running = JoinSet::new();
    let mut former: Option<CancellationToken> = None;
    let mut announced: Option<String> = None;
    let mut ready = false;
    let mut waiting = file.as_ref().map(BacklogFile::read).unwrap_or_default();
    loop {
        let now = Arc::clone(&renewed.borrow_and_update());
        let events = now.events.as_ref().map(|settings| {
            let options = LiveOptions {
                keeps_backlog: file.is_some(),
                // Beyond that it is given up.
                drain: settings.options.drain.min(GRACE.saturating_sub(Duration::from_secs(2))),
                ..settings.options.clone()
            };
            let events = Arc::new(now.host.live(options, Arc::clone(&observer)));
            events.restore(std::mem::take(&mut waiting));
            status.take_events(Some(EventWebhook::new(settings.keys.clone(), Some(Arc::clone(&events)))));
            events
        });
        if events.is_none() {
            status.take_events(None);
        }
        if !std::mem::replace(&mut ready, true) {
            // Not before events can be taken.
            status.set_ready();
            tracing::info!("ready");
        }
        let place = now.events.as_ref().map(|settings| {
            let base = settings.base_url.as_ref().map_or("", Url::as_str).trim_end_matches('/');
            format!("{base}{}/integration/webhook", now.service.path_prefix)
        });
        match &place {
            _ if place == announced => {}
            Some(place) => tracing::info!("live events are taken at {place}"),
            None => tracing::info!("live events are no longer taken"),
        }
        announced = place;
        let next = events.as_ref().map(|events| {
            let (own, follower) = (stop.child_token(), Arc::clone(events));
            let stopped = own.clone();
            running.spawn(async move {
                Arc::clone(&follower).run(stopped).await;
                follower.take_backlog()
            });
            own
        });
        // What is being read ends the former way; what waits then is handed on.
        if let Some(former) = std::mem::replace(&mut former, next) {
            former.cancel();
        }
        let stopped = loop {
            tokio::select! {
                () = stop.cancelled() => break true,
                Ok(()) = renewed.changed() => break false,
                Some(Ok(left)) = running.join_next() => match &events {
                    Some(events) => _ = events.restore(left),
                    None => waiting.append(left),
                },
            }
        };
        if stopped {
            break;
        }
    }
    let ending = async {
        while let Some(ended) = running.join_next().await {
            waiting.append(ended.unwrap_or_default());
        }
    };
    // What hangs is given up.
    if timeout(GRACE, ending).await.is_err() {
        tracing::warn!("some live events were still being read at the end");
    }
    if let Some(file) = file {
        file.write(&waiting);
    }
}

/// Asks for resyncs as the settings say until `stop`, or until the listener cannot go on.
async fn trigger(
    live: &watch::Receiver<Arc<Live>>,
    resyncs: &Resyncs,
    stop: &CancellationToken,
) -> Result<(), Exit> {
    let begun = Arc::clone(&live.borrow());
    let listening = async {
        match (&begun.service.listener, begun.host.port()) {
            (Listener::Polling { .. }, _) => {
                stop.run_until_cancelled(polling::poll(live.clone(), resyncs)).await;
            }
            // Other than the peer, which leaves a fresh installation empty until somebody asks. It
            // is also what tells Port where the webhook is.
            (Listener::Webhook { resync_on_start: true, .. }, _) => {
                stop.run_until_cancelled(resyncs.run(Reason::Start)).await;
            }
            // New settings do not reach it: joining its group again would look like another process.
            #[cfg(feature = "kafka")]
            (Listener::Kafka(settings), Some(port)) => {
                return kafka::listen(&PortService::of(port), settings, resyncs, stop).await.map_err(
                    |problem| {
                        err(&summary::problem("the KAFKA listener cannot work", &problem));
                        Exit::Settings
                    },
                );
            }
            _ => {}
        }
        stop.cancelled().await;
        Ok(())
    };
    tokio::select! {
        ended = listening => ended,
        () = schedule::follow(live.clone(), resyncs) => Ok(()),
    }
}

/// Runs one resync and tells how it went.
async fn resync(
    live: &Live,
    status: &Status,
    log: LogFormat,
    reason: Reason,
    cancel: CancellationToken,
) -> Ended {
    tracing::info!(reason = reason.as_str(), "resync begins");
    status.metrics.begun();
    status.board.begun(reason.as_str());
    let host = live.host.stopped_by(cancel.clone());
    let result = tokio::select! {
        result = host.sync() => result,
        () = overdue(&cancel, GRACE) => {
            tracing::warn!("the resync did not stop in time; it is given up");
            status.metrics.ended_early("aborted");
            status.board.ended_early("aborted", None);
            if let Some(port) = host.port() {
                tell_given_up(port).await;
            }
            return Ended::Ran;
        }
    };
    match result {
        Ok(report) => {
            status.metrics.ended(&report);
            let after = live.deletion.removal.after;
            status.board.ended(&report, after);
            let totals = report.totals();
            tracing::info!(
                outcome = ?report.outcome,
                units = totals.units,
                complete = totals.complete,
                created = totals.counts.created,
                updated = totals.counts.updated,
                unchanged = totals.counts.unchanged,
                deleted = report.deletion.deleted.len(),
                kept = report.deletion.kept.len(),
                held_back = kept::held_back(&report.deletion),
                documents = totals.counts.documents,
                seconds = report.duration.as_secs_f64(),
                "resync ended"
            );
            if log == LogFormat::Text {
                out(&summary::render(&report, after));
            }
            Ended::Ran
        }
        Err(error) => {
            let deleted = host.port().is_some_and(|port| PortService::of(port).is_deleted());
            let outcome = if deleted { "deleted-in-port" } else { "not-begun" };
            status.metrics.ended_early(outcome);
            status.board.ended_early(outcome, Some(error.problem()));
            tracing::error!(problem = %error.problem(), "the resync could not begin: {error}");
            match error {
                // Another try gives the same, until somebody installs it again and asks for a resync.
                _ if deleted => Ended::Ran,
                SyncError::Catalog(_) | SyncError::Source(_) => Ended::NotBegun,
                // Another try gives the same; a changed mapping comes with a request.
                SyncError::Config(_) => Ended::Ran,
            }
        }
    }
}
