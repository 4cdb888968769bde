//! `berth run`: the long-running service.

use std::{num::NonZeroUsize, time::Duration};

use berth_embed::{Access, Problem, ProblemCode};
use berth_service::{Service, ServiceBuilder, ServiceError, telemetry::LogShipping};
use indicatif::MultiProgress;
use tokio_util::sync::CancellationToken;

use super::{
    host::{HostMemory, HostOptions, refused, stop_on_signal},
    reload::{SettingsSource, Sighup},
    service_host::{config, host},
    sync,
};
use crate::{
    args::{Global, LogFormat, RecordingArgs, RemovalArgs, RunArgs, ServiceArgs, SyncArgs},
    exit::Exit,
    output::{err, out},
    settings::{self, Environment, Settings},
    summary, telemetry,
};

/// Runs the service until SIGTERM or SIGINT; with the listener ONCE, runs one resync.
pub(crate) fn run(
    global: &Global,
    args: &ServiceArgs,
    environment: &Environment,
    bars: &MultiProgress,
    logs: Option<LogShipping>,
) -> Exit {
    let (settings, service) = match Settings::load_service(global, environment) {
        Ok(loaded) => loaded,
        Err(issues) => {
            err(&summary::issues(&issues));
            return Exit::Settings;
        }
    };
    if service.once {
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
            err(&summary::problem(
                "cannot start the runtime",
                &Problem::from_error(ProblemCode::Internal, &error),
            ));
            return Exit::Internal;
        }
    };
    let served = runtime.block_on(serve(global, args, environment, (settings, service), logs));
    // A blocked thread must not delay the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match served {
        Ok(()) => Exit::Done,
        Err(exit) => exit,
    }
}

async fn serve(
    global: &Global,
    args: &ServiceArgs,
    environment: &Environment,
    (mut settings, service): (Settings, settings::ServiceSettings),
    logs: Option<LogShipping>,
) -> Result<(), Exit> {
    let stop = CancellationToken::new();
    let sighup = Sighup::listen();
    stop_on_signal(&stop);
    for note in &settings.notes {
        tracing::warn!("{note}");
    }
    let config = config(&mut settings, &service);
    let source = SettingsSource {
        global: global.clone(),
        environment: environment.clone(),
        concurrency: args.concurrency.map(NonZeroUsize::get),
        logs: logs.clone(),
        stop: stop.clone(),
        sighup,
        taken: SettingsSource::taken(&settings, &service),
    };
    let used_dir = settings.state.dir(args.state.state_dir.as_deref());
    let options = HostOptions {
        concurrency: source.concurrency,
        memory: HostMemory::Directory { access: Access::Write, given: args.state.state_dir.clone() },
        logs: logs.clone(),
        ..HostOptions::default()
    };
    let host = host(settings, options, stop.clone());
    let mut builder = Service::starting(host).config(config).reload(source);
    if let Some(logs) = logs {
        builder = builder.log_shipping(logs);
    }
    if let Some(dir) = used_dir.path() {
        builder = builder.state_dir(dir.to_owned());
    }
    let service = printed(builder, global.log_format).build().map_err(|error| exit(&error))?;
    telemetry::export(&service.metrics());
    service.run(stop.cancelled()).await.map_err(|error| exit(&error))
}

/// Prints a summary of each resync, unless standard output is not for people.
fn printed(builder: ServiceBuilder, log: LogFormat) -> ServiceBuilder {
    match log {
        LogFormat::Text => builder.on_report(|report, after| out(&summary::render(report, after))),
        LogFormat::Json => builder,
    }
}

/// Prints why the service ended.
fn exit(error: &ServiceError) -> Exit {
    let (title, problem, exit) = match error {
        ServiceError::Start(error) => return refused(error),
        ServiceError::Bind { .. } => {
            let problem = Problem::new(ProblemCode::Internal, error.to_string()).remedy(
                "set APPLICATION__PORT to a free port, and OCEAN__BIND_ADDRESS to an address of this machine",
            );
            ("cannot start the HTTP server", problem, Exit::Settings)
        }
        ServiceError::Listener(problem) => ("the KAFKA listener failed", problem.clone(), Exit::Settings),
        ServiceError::Config(problem) => ("cannot start the service", problem.clone(), Exit::Settings),
        ServiceError::Internal(problem) => ("cannot start the service", problem.clone(), Exit::Internal),
        other => ("the service ended", Problem::from_error(ProblemCode::Internal, other), Exit::Internal),
    };
    err(&summary::problem(title, &problem));
    exit
}
