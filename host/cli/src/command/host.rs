//! What commands that need the whole host have in common: settings, engine, runtime, signals.

use std::{future::Future, path::PathBuf, sync::Arc};

use berth_embed::{
    Access, BuildError, Engine, Mapper, Observer, Problem, ReplaySource, SyncHost, SyncOptions, policy,
};
use tokio_util::sync::CancellationToken;

use crate::{
    args::Global,
    exit::Exit,
    output::err,
    settings::{Environment, Settings},
    summary,
};

/// How the host is put together.
pub(crate) struct Build {
    pub(crate) observer: Arc<dyn Observer>,
    /// Units read at once; `None` for the default.
    pub(crate) concurrency: Option<usize>,
    /// What the state directory is used for; `None` when the command does without.
    pub(crate) state: Option<Access>,
    /// The state directory, where the command line gives one.
    pub(crate) state_dir: Option<PathBuf>,
    /// Where AWS's answers are written.
    pub(crate) record: Option<PathBuf>,
    /// The recording that is read instead of AWS.
    pub(crate) replay: Option<PathBuf>,
}

impl Build {
    /// Reads AWS, as many units at once as is the default, and keeps and records nothing.
    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, concurrency: None, state: None, state_dir: None, record: None, replay: None }
    }
}

/// Loads the settings, puts the host together and runs something with it.
///
/// Returns the result and the settings' remarks. What goes wrong before is printed, and the exit
/// code returned.
pub(crate) fn with_host<T, F>(
    global: &Global,
    environment: &Environment,
    build: Build,
    work: impl FnOnce(SyncHost, CancellationToken) -> F,
) -> Result<(T, Vec<String>), Exit>
where
    F: Future<Output = T>,
{
    let settings = Settings::load(global, environment).map_err(|issues| {
        err(&summary::issues(&issues));
        Exit::Settings
    })?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        err(&summary::problem("the runtime cannot start", &Problem::from_error(&error)));
        Exit::Internal
    })?;
    let notes = settings.notes.clone();
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signal(&cancel);
        let host = assemble(settings, build, cancel.clone())?;
        Ok::<T, Exit>(work(host, cancel).await)
    })?;
    Ok((result, notes))
}

/// Puts the host together; takes its time, because plugins that are not in the cache are compiled.
/// What goes wrong is printed, and the exit code returned.
pub(crate) fn assemble(
    settings: Settings,
    build: Build,
    cancel: CancellationToken,
) -> Result<SyncHost, Exit> {
    let refused = |error: &dyn std::error::Error| {
        err(&summary::problem("the host cannot be put together", &Problem::from_error(error)));
        Exit::Settings
    };
    let engine = Arc::new(Engine::new(settings.engine).map_err(|error| refused(&error))?);
    let mut aws = settings.aws;
    if settings.narrow_sessions {
        let kinds = engine.kinds();
        let policy = policy::session_policy(kinds.values().map(|entry| entry.manifest.as_ref()));
        let too_long = || {
            let problem = Problem::new("the loaded kinds read too much for one session policy")
                .remedy("load fewer plugins, or switch `narrow_sessions` off");
            err(&summary::problem("the host cannot be put together", &problem));
            Exit::Settings
        };
        aws.session_policy = Some(policy.ok_or_else(too_long)?);
    }
    let mut options = SyncOptions { cancel, ..SyncOptions::default() };
    options.unit_concurrency = build.concurrency.unwrap_or(options.unit_concurrency);
    let mut builder = SyncHost::builder();
    builder = match &build.replay {
        Some(directory) => {
            builder.source(Arc::new(ReplaySource::open(directory).map_err(|error| refused(&error))?))
        }
        None => builder.aws(aws),
    };
    if let Some(directory) = build.record {
        builder = builder.record(directory);
    }
    builder = builder
        .mapper(engine)
        .port(settings.port)
        .http(settings.http)
        .observer(build.observer)
        .options(options);
    if let Some(ledger) = build.state.and_then(|access| settings.state.ledger(build.state_dir, access)) {
        builder = builder.state(ledger);
    }
    builder.build().map_err(|error| match error {
        BuildError::State(problem) => {
            err(&summary::problem("the state directory cannot be used", &problem));
            Exit::Settings
        }
        other => refused(&other),
    })
}

/// The first SIGINT or SIGTERM stops the run in order; a second one ends the process at once.
pub(crate) fn stop_on_signal(cancel: &CancellationToken) {
    let cancel = cancel.clone();
    tokio::spawn(async move {
        signalled().await;
        err("stopping: no more is read, nothing will be deleted (again to stop at once)");
        cancel.cancel();
        signalled().await;
        #[expect(clippy::exit, reason = "asked for twice: what hangs must not hold it up")]
        std::process::exit(130);
    });
}

/// Waits for SIGINT or SIGTERM.
async fn signalled() {
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
}
