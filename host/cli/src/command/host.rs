//! What all commands that need a host share: settings, engine, runtime and signals.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use berth_aws::policy;
use berth_embed::{
    Access, Approved, AwsConfig, BuildError, Ledger, Mapper, NullObserver, Observer, Problem, ProblemCode,
    ReplaySource, SyncHost, SyncHostBuilder, SyncOptions, WriteArbiter,
    core::{Adoption, RemovedScope},
};
use berth_engine::{Engine, EngineConfig};
use berth_ledger::FileLedger;
use berth_port::service::PortService;
use berth_service::{StartError, overdue, telemetry::LogShipping};
use tokio_util::sync::CancellationToken;

use crate::{
    args::Global,
    exit::Exit,
    output::err,
    settings::{DeletionSettings, Environment, Settings, StateDir, StateSettings},
    summary, telemetry,
    trust::PluginTrust,
};

/// How long a stopped command may take to end. Kubernetes kills a container 30 s after SIGTERM.
const GIVEN_UP: Duration = Duration::from_secs(16);

/// How to build the host, where the settings do not say.
pub(crate) struct HostOptions {
    /// Observes the host's runs.
    pub(crate) observer: Arc<dyn Observer>,
    /// Units to read at once; `None` for the setting, else the default.
    pub(crate) concurrency: Option<usize>,
    /// Where the host keeps its ledger.
    pub(crate) memory: HostMemory,
    /// What the host reads.
    pub(crate) reads: HostSource,
    /// An engine that has loaded the plugins already.
    pub(crate) engine: Option<Arc<Engine>>,
    /// The queue of log lines for Port, if the log is shipped there.
    pub(crate) logs: Option<LogShipping>,
    /// What the host may change.
    pub(crate) changes: AllowedChanges,
}

/// Where a host keeps its ledger.
#[derive(Default)]
pub(crate) enum HostMemory {
    /// No ledger.
    #[default]
    None,
    /// In the state directory.
    Directory {
        /// What the directory is used for.
        access: Access,
        /// The directory from the command line; it wins over the settings.
        given: Option<PathBuf>,
    },
    /// In the ledger of the host that this one replaces: nobody else can open its directory.
    Of {
        /// The ledger, if the host has one.
        ledger: Option<Arc<dyn Ledger>>,
        /// What resyncs and live events know of each other's writes.
        write_arbiter: Arc<WriteArbiter>,
    },
}

impl HostMemory {
    /// Returns the memory of a host that another one replaces.
    pub(crate) fn of(host: &SyncHost) -> Self {
        Self::Of { ledger: host.ledger(), write_arbiter: host.write_arbiter() }
    }
}

/// What a host reads.
#[derive(Debug, Default)]
pub(crate) enum HostSource {
    /// AWS.
    #[default]
    Aws,
    /// AWS, with its responses recorded in a directory.
    Recorded(PathBuf),
    /// A recording in a directory.
    Replayed(PathBuf),
}

/// What a command may change, in addition to the settings.
#[derive(Debug, Default)]
pub(crate) struct AllowedChanges {
    /// Additional confirmed removals.
    pub(crate) confirmed: Vec<RemovedScope>,
    /// Which entities of other owners the command may take over; it replaces the setting.
    pub(crate) adoption: Option<Adoption>,
    /// The only changes to make; `None` for all that are due.
    pub(crate) approved: Option<Arc<Approved>>,
}

impl Default for HostOptions {
    /// Reads AWS with the default concurrency; keeps no ledger, ships no log and records nothing.
    fn default() -> Self {
        Self {
            observer: Arc::new(NullObserver),
            concurrency: None,
            memory: HostMemory::None,
            reads: HostSource::Aws,
            engine: None,
            logs: None,
            changes: AllowedChanges::default(),
        }
    }
}

/// A host and its engine.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) sync: SyncHost,
    pub(crate) engine: Arc<Engine>,
    /// What the settings and the command line allow to delete and take over.
    pub(crate) deletion: DeletionSettings,
    /// Stops the host.
    pub(crate) cancel: CancellationToken,
    /// Warnings for the operator.
    pub(crate) notes: Vec<String>,
}

fn cannot_be_put_together(problem: Problem) -> StartError {
    StartError { title: "cannot start", problem }
}

/// Prints why the host cannot start.
pub(crate) fn refused(error: &StartError) -> Exit {
    err(&summary::problem(error.title, &error.problem));
    Exit::Settings
}

/// Loads the settings, builds the host and runs a task with it.
///
/// Returns the result and the warnings about the settings. Prints earlier errors, and returns their exit
/// code.
pub(crate) fn with_host<T, F>(
    global: &Global,
    environment: &Environment,
    options: HostOptions,
    work: impl FnOnce(Host) -> F,
) -> Result<(T, Vec<String>), Exit>
where
    F: Future<Output = T>,
{
    let settings = Settings::load(global, environment).map_err(|issues| {
        err(&summary::issues(&issues));
        Exit::Settings
    })?;
    telemetry::follow(settings.log_level.as_deref());
    settings.log_files();
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        err(&summary::problem(
            "cannot start the runtime",
            &Problem::from_error(ProblemCode::Internal, &error),
        ));
        Exit::Internal
    })?;
    let mut notes = settings.notes.clone();
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signal(&cancel);
        let logs = options.logs.clone();
        let mut made = assemble(settings, options, cancel).map_err(|error| refused(&error))?;
        notes.append(&mut made.notes);
        let stopped = made.cancel.clone();
        let result = tokio::select! {
            result = work(made) => Ok(result),
            () = overdue(&stopped, GIVEN_UP) => {
                err("gave up: the command did not stop in time");
                Err(Exit::Partial)
            }
        };
        if let Some(logs) = logs {
            logs.finish().await;
        }
        result
    });
    // A blocked thread must not delay the exit.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok((result?, notes))
}

/// Builds the host. This takes time, because plugins that are not in the cache are compiled.
///
/// # Errors
/// A [`StartError`] if the settings contradict each other.
pub(crate) fn assemble(
    settings: Settings,
    options: HostOptions,
    cancel: CancellationToken,
) -> Result<Host, StartError> {
    let HostOptions { observer, concurrency, memory, reads, engine, logs, changes } = options;
    let engine = match engine {
        Some(engine) => engine,
        None => load(settings.trust, settings.engine)?,
    };
    let aws = scope_down_sessions(settings.aws, settings.narrow_sessions, &engine)?;
    let mut deletion = settings.deletion;
    deletion.removal.confirmed.extend(changes.confirmed);
    deletion.adoption = changes.adoption.unwrap_or(deletion.adoption);
    let mut options = SyncOptions {
        cancel: cancel.clone(),
        removal: deletion.removal.clone(),
        max_deletions: deletion.max_deletions,
        adoption: deletion.adoption.clone(),
        approved: changes.approved,
        ..SyncOptions::default()
    };
    options.unit_concurrency = concurrency.or(settings.concurrency).unwrap_or(options.unit_concurrency);
    let mut notes = Vec::new();
    let mut builder = remember(SyncHost::builder(), memory, &settings.state, &mut options, &mut notes);
    if let Some(http) = settings.aws_http {
        builder = builder.aws_http(http.into_config());
    }
    let host = read(builder, reads, aws)?
        .mapper(Arc::clone(&engine) as Arc<dyn Mapper>)
        .port(settings.port)
        .http(settings.http.into_config())
        .observer(observer)
        .options(options)
        .build()
        .map_err(|error| match error {
            BuildError::State(problem) => StartError { title: "cannot use the state directory", problem },
            other => cannot_be_put_together(Problem::from_error(ProblemCode::Internal, &other)),
        })?;
    if let Some(logs) = logs {
        match host.port().filter(|_| settings.ship_logs) {
            Some(port) => logs.start(Arc::new(PortService::of(port))),
            None => logs.close(),
        }
    }
    Ok(Host { sync: host, engine, deletion, cancel, notes })
}

/// Loads the plugins.
fn load(trust: PluginTrust, config: EngineConfig) -> Result<Arc<Engine>, StartError> {
    let config = trust.applied_to(config).map_err(cannot_be_put_together)?;
    let engine = Engine::new(config);
    Ok(Arc::new(
        engine.map_err(|error| cannot_be_put_together(Problem::from_error(ProblemCode::Internal, &error)))?,
    ))
}

/// Restricts sessions to what the loaded plugins read, if `narrow_sessions` is on.
fn scope_down_sessions(mut aws: AwsConfig, narrow: bool, engine: &Engine) -> Result<AwsConfig, StartError> {
    if narrow {
        let kinds = engine.kinds();
        let policy = policy::session_policy(kinds.values().map(|entry| entry.manifest.as_ref()));
        let too_long = || {
            let problem = Problem::new(
                ProblemCode::SettingsInvalid,
                "the loaded kinds need more permissions than one session policy can hold",
            )
            .remedy("load fewer plugins, or set `narrow_sessions` to `false`");
            cannot_be_put_together(problem)
        };
        aws.session_policy = Some(policy.ok_or_else(too_long)?);
    }
    Ok(aws)
}

/// Sets where the host keeps its ledger.
fn remember(
    builder: SyncHostBuilder,
    memory: HostMemory,
    state: &StateSettings,
    options: &mut SyncOptions,
    notes: &mut Vec<String>,
) -> SyncHostBuilder {
    let (access, given) = match memory {
        HostMemory::None => return builder,
        HostMemory::Of { ledger, write_arbiter } => {
            (options.ledger, options.write_arbiter) = (ledger, write_arbiter);
            return builder;
        }
        HostMemory::Directory { access, given } => (access, given),
    };
    match state.dir(given.as_deref()) {
        StateDir::Given(dir) => return builder.state(state.ledger(dir, access)),
        StateDir::Default(Some(dir)) => match FileLedger::open(state.ledger(dir, access)) {
            Ok(ledger) => options.ledger = Some(Arc::new(ledger)),
            Err(problem) => notes.push(without_ledger(&problem.message)),
        },
        StateDir::Default(None) => notes.push(without_ledger("the user has no home directory")),
        StateDir::Off => {}
    }
    builder
}

/// Sets what the host reads.
fn read(builder: SyncHostBuilder, reads: HostSource, aws: AwsConfig) -> Result<SyncHostBuilder, StartError> {
    Ok(match reads {
        HostSource::Aws => builder.aws(aws),
        HostSource::Recorded(directory) => builder.aws(aws).record(directory),
        HostSource::Replayed(directory) => {
            let recording = ReplaySource::open(&directory).map_err(|error| {
                let problem = Problem::from_error(ProblemCode::Internal, &error);
                cannot_be_put_together(
                    problem.remedy("use --replay with a directory that `berth sync --record` wrote"),
                )
            })?;
            builder.source(Arc::new(recording))
        }
    })
}

/// Explains what it means to run without the default state directory.
fn without_ledger(reason: &str) -> String {
    format!(
        "Berth runs without a ledger, because it cannot use the default state directory ({reason}). It \
        compares everything with Port, deletes an entity only if all units that could hold it were read \
        completely, and keeps the entities of removed accounts and regions until you confirm their removal. \
        Name a directory with `--state-dir` or `state_dir`, or use `none` to turn the ledger off"
    )
}

/// Stops the run cleanly on the first SIGINT or SIGTERM, and ends the process at once on the second.
pub(crate) fn stop_on_signal(cancel: &CancellationToken) {
    let cancel = cancel.clone();
    tokio::spawn(async move {
        signalled().await;
        err("shutting down, nothing will be deleted (press Ctrl-C again to exit now)");
        cancel.cancel();
        signalled().await;
        #[expect(clippy::exit, reason = "a second signal ends the process even if something hangs")]
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use berth_embed::LedgerConfig;
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    /// Builds a host with this state directory of the user, for a command with this directory or none.
    fn made(state_home: Option<&Path>, given: Option<&Path>) -> Result<Host, StartError> {
        let plugins = tempfile::tempdir().unwrap();
        let args = Args::parse_from(["berth", "--plugins", plugins.path().to_str().unwrap(), "sync"]);
        let mut environment = Environment::of(&[
            ("OCEAN__PORT__CLIENT_ID", "client"),
            ("OCEAN__PORT__CLIENT_SECRET", "secret"),
            ("OCEAN__SHIP_LOGS", "false"),
        ]);
        environment.state_home = state_home.map(Into::into);
        let settings = Settings::load(&args.global, &environment).unwrap();
        let memory = HostMemory::Directory { access: Access::Write, given: given.map(Into::into) };
        let options = HostOptions { memory, ..HostOptions::default() };
        assemble(settings, options, CancellationToken::new())
    }

    #[tokio::test]
    async fn the_default_ledger_is_used_where_it_can_be() {
        let home = tempfile::tempdir().unwrap();
        let first = made(Some(home.path()), None).unwrap();
        assert!(first.sync.ledger().is_some() && first.notes.is_empty(), "{:?}", first.notes);
        let named: Vec<_> = std::fs::read_dir(home.path().join("berth")).unwrap().collect();
        assert_eq!(named.len(), 1, "one directory for the integration");

        // Another process of the same integration, such as `berth sync` next to a service.
        let second = made(Some(home.path()), None).unwrap();
        assert!(second.sync.ledger().is_none());
        assert!(second.notes[0].contains("in use by another process"), "{:?}", second.notes);
        assert!(second.notes[0].contains("until you confirm their removal"), "{:?}", second.notes);
    }

    #[tokio::test]
    async fn a_default_that_cannot_be_used_is_no_error_and_a_named_directory_is() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        for state_home in [None, Some(file.as_path())] {
            let made = made(state_home, None).unwrap();
            assert!(made.sync.ledger().is_none() && made.notes.len() == 1, "{:?}", made.notes);
        }
        let refused = made(None, Some(&file.join("state"))).unwrap_err();
        assert_eq!(refused.title, "cannot use the state directory");
        let taken = home.path().join("taken");
        let _open = FileLedger::open(LedgerConfig::new(&taken)).unwrap();
        assert!(made(None, Some(&taken)).is_err(), "a named directory that is in use");
        let off = made(Some(home.path()), Some(Path::new("none"))).unwrap();
        assert!(off.sync.ledger().is_none() && off.notes.is_empty(), "{:?}", off.notes);
    }
}
