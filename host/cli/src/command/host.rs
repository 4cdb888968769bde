//! What commands that need the whole host have in common: settings, engine, runtime, signals.

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use berth_embed::{
    Access, Approved, BuildError, Engine, FileLedger, Journal, Ledger, Mapper, Observer, PortCatalog,
    Problem, ReplaySource, SyncHost, SyncOptions,
    core::{Adoption, RemovedScope},
    policy,
};
use berth_port::service::PortService;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    args::Global,
    exit::Exit,
    output::err,
    settings::{DeletionSettings, Environment, Settings, StateDir},
    summary,
    telemetry::{self, Shipping},
};

/// When a command that was told to stop is given up. Kubernetes kills 30 s after SIGTERM.
const GIVEN_UP: Duration = Duration::from_secs(16);

/// How long a resync that is told to stop may take for it, where neither AWS nor Port hangs.
pub(super) const GRACE: Duration = Duration::from_secs(12);
/// How long the last word to Port, and the last replies of a server, may take.
pub(super) const LAST_WORD: Duration = Duration::from_secs(3);

/// How the host is put together.
pub(crate) struct Build {
    pub(crate) observer: Arc<dyn Observer>,
    /// Units read at once; `None` for what the settings say, else the default.
    pub(crate) concurrency: Option<usize>,
    /// What the state directory is used for; `None` when the command does without.
    pub(crate) state: Option<Access>,
    /// The state directory, where the command line gives one.
    pub(crate) state_dir: Option<PathBuf>,
    /// Where the log waits for Port, if it is shipped there.
    pub(crate) logs: Option<Shipping>,
    /// A ledger that is open already: nobody else can open its directory.
    pub(crate) ledger: Option<Arc<dyn Ledger>>,
    /// What resyncs and live events know of each other, where another host has both already.
    pub(crate) journal: Option<Arc<Journal>>,
    /// An engine that has the plugins already.
    pub(crate) engine: Option<Arc<Engine>>,
    /// Where AWS's answers are written.
    pub(crate) record: Option<PathBuf>,
    /// The recording that is read instead of AWS.
    pub(crate) replay: Option<PathBuf>,
    /// Removals that are confirmed, beside those of the settings.
    pub(crate) confirmed: Vec<RemovedScope>,
    /// Which entities of others may be taken over, where not the settings say so.
    pub(crate) adoption: Option<Adoption>,
    /// The only changes to make.
    pub(crate) approved: Option<Arc<Approved>>,
}

impl Build {
    /// Reads AWS, as many units at once as is the default, and keeps, ships and records nothing.
    pub(crate) fn new(observer: Arc<dyn Observer>) -> Self {
        Self {
            observer,
            concurrency: None,
            state: None,
            state_dir: None,
            logs: None,
            ledger: None,
            journal: None,
            engine: None,
            record: None,
            replay: None,
            confirmed: Vec::new(),
            adoption: None,
            approved: None,
        }
    }
}

/// A host, and the engine in it.
#[derive(Debug)]
pub(crate) struct Assembled {
    pub(crate) host: SyncHost,
    pub(crate) engine: Arc<Engine>,
    /// What may be deleted and taken over, by settings and command line.
    pub(crate) deletion: DeletionSettings,
    /// Stops what the host does.
    pub(crate) cancel: CancellationToken,
    /// Remarks for the operator.
    pub(crate) notes: Vec<String>,
}

/// Why there is no host.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) title: &'static str,
    pub(crate) problem: Problem,
}

impl Refusal {
    fn of(problem: Problem) -> Self {
        Self { title: "the host cannot be put together", problem }
    }

    /// Tells it.
    pub(crate) fn print(&self) -> Exit {
        err(&summary::problem(self.title, &self.problem));
        Exit::Settings
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
    work: impl FnOnce(Assembled) -> F,
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
        err(&summary::problem("the runtime cannot start", &Problem::from_error(&error)));
        Exit::Internal
    })?;
    let mut notes = settings.notes.clone();
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signal(&cancel);
        let logs = build.logs.clone();
        let mut made = assemble(settings, build, cancel).map_err(|refusal| refusal.print())?;
        notes.append(&mut made.notes);
        let stopped = made.cancel.clone();
        let result = tokio::select! {
            result = work(made) => Ok(result),
            () = overdue(&stopped, GIVEN_UP) => {
                err("given up: it did not stop in time");
                Err(Exit::Partial)
            }
        };
        if let Some(logs) = logs {
            logs.finish().await;
        }
        result
    });
    // What still blocks a thread must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok((result?, notes))
}

/// Puts the host together; takes its time, because plugins that are not in the cache are compiled.
///
/// # Errors
/// A [`Refusal`] of settings that do not go together.
pub(crate) fn assemble(
    settings: Settings,
    build: Build,
    cancel: CancellationToken,
) -> Result<Assembled, Refusal> {
    let engine = if let Some(engine) = build.engine {
        engine
    } else {
        let config = settings.trust.applied_to(settings.engine).map_err(Refusal::of)?;
        let engine = Engine::new(config);
        Arc::new(engine.map_err(|error| Refusal::of(Problem::from_error(&error)))?)
    };
    let mut aws = settings.aws;
    if settings.narrow_sessions {
        let kinds = engine.kinds();
        let policy = policy::session_policy(kinds.values().map(|entry| entry.manifest.as_ref()));
        let too_long = || {
            let problem = Problem::new("the loaded kinds read too much for one session policy")
                .remedy("load fewer plugins, or switch `narrow_sessions` off");
            Refusal::of(problem)
        };
        aws.session_policy = Some(policy.ok_or_else(too_long)?);
    }
    let mut deletion = settings.deletion;
    deletion.removal.confirmed.extend(build.confirmed);
    if let Some(adoption) = build.adoption {
        deletion.adoption = adoption;
    }
    let mut options = SyncOptions {
        cancel: cancel.clone(),
        ledger: build.ledger,
        removal: deletion.removal.clone(),
        max_deletions: deletion.max_deletions,
        adoption: deletion.adoption.clone(),
        approved: build.approved,
        ..SyncOptions::default()
    };
    if let Some(journal) = build.journal {
        options.journal = journal;
    }
    options.unit_concurrency = build.concurrency.or(settings.concurrency).unwrap_or(options.unit_concurrency);
    let mut builder = SyncHost::builder();
    let mut notes = Vec::new();
    match build.state.map(|access| (access, settings.state.dir(build.state_dir.as_deref()))) {
        Some((access, StateDir::Given(dir))) => builder = builder.state(settings.state.ledger(dir, access)),
        Some((access, StateDir::Default(Some(dir)))) => {
            match FileLedger::open(settings.state.ledger(dir, access)) {
                Ok(ledger) => options.ledger = Some(Arc::new(ledger)),
                Err(problem) => notes.push(without_ledger(&problem.message)),
            }
        }
        Some((_, StateDir::Default(None))) => notes.push(without_ledger("the user has no home directory")),
        Some((_, StateDir::Off)) | None => {}
    }
    if let Some(http) = settings.aws_http {
        builder = builder.aws_http(http);
    }
    builder = match &build.replay {
        Some(directory) => {
            let recording = ReplaySource::open(directory);
            let recording = recording.map_err(|error| {
                let problem = Problem::from_error(&error);
                Refusal::of(
                    problem.remedy("give a directory that `berth sync --record` has written with --replay"),
                )
            })?;
            builder.source(Arc::new(recording))
        }
        None => builder.aws(aws),
    };
    if let Some(directory) = build.record {
        builder = builder.record(directory);
    }
    builder = builder
        .mapper(Arc::clone(&engine) as Arc<dyn Mapper>)
        .port(settings.port)
        .http(settings.http)
        .observer(build.observer)
        .options(options);
    let host = builder.build().map_err(|error| match error {
        BuildError::State(problem) => Refusal { title: "the state directory cannot be used", problem },
        other => Refusal::of(Problem::from_error(&other)),
    })?;
    if let Some(logs) = build.logs {
        match host.port().filter(|_| settings.ship_logs) {
            Some(port) => logs.start(Arc::new(PortService::of(port))),
            None => logs.close(),
        }
    }
    Ok(Assembled { host, engine, deletion, cancel, notes })
}

/// What it means to go on without the default state directory.
fn without_ledger(reason: &str) -> String {
    format!(
        "there is no ledger, because the default state directory cannot be used ({reason}). Everything is \
         compared with Port, an entity is deleted only when all units that could hold it were read completely, \
         and entities of removed accounts and regions are kept until that is confirmed. Name a directory with \
         `--state-dir` or `state_dir`, or switch the ledger off with `none`"
    )
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

/// Tells Port that a resync is given up: else Port would show one that runs for ever.
pub(super) async fn tell_given_up(port: &PortCatalog) {
    let told = timeout(LAST_WORD, port.give_up()).await;
    if !matches!(told, Ok(Ok(()))) {
        tracing::warn!("Port could not be told that the resync was stopped");
    }
}

/// Waits until a stop was asked for that long ago.
pub(super) async fn overdue(cancel: &CancellationToken, grace: Duration) {
    cancel.cancelled().await;
    tokio::time::sleep(grace).await;
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

    use berth_embed::{LedgerConfig, NullObserver};
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    /// A host with this state directory of the user, for a command that was given another, or none.
    fn made(state_home: Option<&Path>, given: Option<&Path>) -> Result<Assembled, Refusal> {
        let plugins = tempfile::tempdir().unwrap();
        let args = Args::parse_from(["berth", "--plugins", plugins.path().to_str().unwrap(), "sync"]);
        let mut environment = Environment::of(&[
            ("OCEAN__PORT__CLIENT_ID", "client"),
            ("OCEAN__PORT__CLIENT_SECRET", "secret"),
            ("OCEAN__SHIP_LOGS", "false"),
        ]);
        environment.state_home = state_home.map(Into::into);
        let settings = Settings::load(&args.global, &environment).unwrap();
        let build = Build {
            state: Some(Access::Write),
            state_dir: given.map(Into::into),
            ..Build::new(Arc::new(NullObserver))
        };
        assemble(settings, build, CancellationToken::new())
    }

    #[tokio::test]
    async fn the_default_ledger_is_used_where_it_can_be() {
        let home = tempfile::tempdir().unwrap();
        let first = made(Some(home.path()), None).unwrap();
        assert!(first.host.ledger().is_some() && first.notes.is_empty(), "{:?}", first.notes);
        let named: Vec<_> = std::fs::read_dir(home.path().join("berth")).unwrap().collect();
        assert_eq!(named.len(), 1, "one directory for the integration");

        // Another process of the same integration, as a sync beside a service.
        let second = made(Some(home.path()), None).unwrap();
        assert!(second.host.ledger().is_none());
        assert!(second.notes[0].contains("in use by another process"), "{:?}", second.notes);
        assert!(second.notes[0].contains("kept until that is confirmed"), "{:?}", second.notes);
    }

    #[tokio::test]
    async fn a_default_that_cannot_be_used_is_no_error_and_a_named_directory_is() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        std::fs::write(&file, "").unwrap();
        for state_home in [None, Some(file.as_path())] {
            let made = made(state_home, None).unwrap();
            assert!(made.host.ledger().is_none() && made.notes.len() == 1, "{:?}", made.notes);
        }
        let refused = made(None, Some(&file.join("state"))).unwrap_err();
        assert_eq!(refused.title, "the state directory cannot be used");
        let taken = home.path().join("taken");
        let _open = FileLedger::open(LedgerConfig::new(&taken)).unwrap();
        assert!(made(None, Some(&taken)).is_err(), "a named directory that is in use");
        let off = made(Some(home.path()), Some(Path::new("none"))).unwrap();
        assert!(off.host.ledger().is_none() && off.notes.is_empty(), "{:?}", off.notes);
    }
}
