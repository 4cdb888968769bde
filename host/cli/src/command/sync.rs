//! `berth sync` and `berth plan`: the same run, with and without writing.

use std::sync::Arc;

use berth_embed::{BuildError, Mode, Observer, Problem, Report, SyncError, SyncHost, SyncOptions};
use tokio_util::sync::CancellationToken;

use crate::{
    args::{Global, RunArgs},
    exit::Exit,
    output::{err, out},
    progress,
    settings::{Environment, Settings},
    summary,
};

/// Runs one resync and tells about it.
pub(crate) fn run(global: &Global, args: &RunArgs, environment: &Environment, mode: Mode) -> Exit {
    let settings = match Settings::load(global, environment) {
        Ok(settings) => settings,
        Err(issues) => {
            err(&summary::issues(&issues));
            return Exit::Settings;
        }
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            err(&summary::problem("the runtime cannot start", &Problem::from_error(&error)));
            return Exit::Internal;
        }
    };
    let observer = progress::observer(global.log_format);
    let notes = settings.notes.clone();
    let result = runtime.block_on(resync(settings, args, Arc::clone(&observer), mode));
    // Clears the bars before anything else is printed.
    drop(observer);
    match result {
        Ok(mut report) => {
            report.notes.splice(0..0, notes);
            finish(&report, args)
        }
        Err(Failure::Build(error)) => {
            err(&summary::problem("the host cannot be put together", &Problem::from_error(&error)));
            Exit::Settings
        }
        Err(Failure::Sync(error)) => {
            let (title, exit) = match &error {
                SyncError::Catalog(_) => {
                    ("Port cannot be used; nothing was read or changed", Exit::NothingRead)
                }
                SyncError::Source(_) => ("AWS cannot be read; nothing was changed", Exit::NothingRead),
                SyncError::Config(_) => ("there is nothing to do; nothing was changed", Exit::Settings),
            };
            err(&summary::problem(title, error.problem()));
            exit
        }
    }
}

enum Failure {
    Build(BuildError),
    Sync(SyncError),
}

async fn resync(
    settings: Settings,
    args: &RunArgs,
    observer: Arc<dyn Observer>,
    mode: Mode,
) -> Result<Report, Failure> {
    let cancel = CancellationToken::new();
    stop_on_signal(&cancel);
    let host = SyncHost::builder()
        .aws(settings.aws)
        .plugins(settings.engine)
        .port(settings.port)
        .http(settings.http)
        .observer(observer)
        .options(SyncOptions { unit_concurrency: args.concurrency.get(), cancel, ..SyncOptions::default() })
        .build()
        .map_err(Failure::Build)?;
    match mode {
        Mode::Apply => host.sync().await,
        Mode::Plan => host.plan().await,
    }
    .map_err(Failure::Sync)
}

/// The first SIGINT or SIGTERM stops the run in order; a second one ends the process.
fn stop_on_signal(cancel: &CancellationToken) {
    let cancel = cancel.clone();
    tokio::spawn(async move {
        #[cfg(unix)]
        let terminated = async {
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(mut signal) => _ = signal.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        #[cfg(not(unix))]
        let terminated = std::future::pending::<()>();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = terminated => {}
        }
        err("stopping: no more is read, nothing will be deleted");
        cancel.cancel();
    });
}

fn finish(report: &Report, args: &RunArgs) -> Exit {
    let mut exit = Exit::from(report.outcome);
    let json = match serde_json::to_string_pretty(report) {
        Ok(json) => json,
        Err(error) => {
            err(&summary::problem("the report cannot be written as JSON", &Problem::from_error(&error)));
            return Exit::Internal;
        }
    };
    if let Some(path) = &args.report
        && let Err(error) = std::fs::write(path, &json)
    {
        let problem =
            Problem::new(format!("{}: {error}", path.display())).remedy("check the path given with --report");
        err(&summary::problem("the report cannot be written", &problem));
        exit = Exit::Internal;
    }
    out(&if args.json { json } else { summary::render(report) });
    exit
}
