//! Settings and plugins that change while the service runs: looked at anew on SIGHUP, and when their
//! files change.
//!
//! Settings are checked as a whole first. What is wrong is told like at the start, and the former
//! settings stay. What is right holds from the next resync on; one that runs ends as it began.
//!
//! Plugins are checked one by one. What is right holds for the next unit; a unit that runs ends as it
//! began.

mod files;

use std::sync::Arc;

use berth_embed::{Engine, EngineConfig, LoadedComponent, Observer, Problem, Reloaded, ResyncSchedule};
use berth_port::service::PortService;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::files::Files;
use super::host::{Assembled, Build, Refusal, assemble};
use crate::{
    args::Global,
    http::{HttpAccess, Status},
    listener::{Identity, Live},
    settings::{AT_START, Environment, Issue, Listener, Service, Settings, State, variable},
    telemetry::{self, Shipping},
    trust::Trust,
};

/// The plugins of the service, and how they were set up.
pub(super) struct Plugins {
    pub(super) engine: Arc<Engine>,
    pub(super) config: EngineConfig,
    pub(super) trust: Trust,
    /// Whether sessions with AWS are narrowed to what the plugins read.
    pub(super) narrowed: bool,
}

/// Reads settings and plugins anew.
pub(super) struct Reloader<'r> {
    pub(super) global: &'r Global,
    pub(super) environment: &'r Environment,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) concurrency: Option<usize>,
    pub(super) status: &'r Status,
    pub(super) stop: CancellationToken,
    pub(super) hangups: Hangups,
    pub(super) logs: Option<Shipping>,
}

impl Reloader<'_> {
    /// Takes new settings and plugins whenever there are some. Never returns.
    pub(super) async fn run(mut self, live: watch::Sender<Arc<Live>>, mut plugins: Plugins) {
        let paths = Settings::files(self.global, self.environment);
        let mut looked_at = Files::watch(move || files::of_files(&paths)).await;
        let mut components = files::components(&plugins.config.plugin_dirs, &plugins.trust.lock);
        loop {
            let reason = tokio::select! {
                () = self.hangups.next() => "SIGHUP",
                () = looked_at.change() => "a file has changed",
                () = components.change() => {
                    components.seen().await;
                    if self.exchange(&plugins.engine).await && plugins.narrowed {
                        // Sessions are narrowed to what the plugins of now read.
                        self.renew(&live, &mut plugins).await;
                    }
                    continue;
                }
            };
            looked_at.seen().await;
            tracing::info!(reason, "reading the settings anew");
            let former = (plugins.config.plugin_dirs.clone(), plugins.trust.lock.clone());
            let outcome = if self.renew(&live, &mut plugins).await { "applied" } else { "refused" };
            self.status.metrics.reloaded(outcome);
            if (&plugins.config.plugin_dirs, &plugins.trust.lock) != (&former.0, &former.1) {
                components = files::components(&plugins.config.plugin_dirs, &plugins.trust.lock);
            }
        }
    }

    /// Takes the settings as they are now, if they are right.
    async fn renew(&self, live: &watch::Sender<Arc<Live>>, plugins: &mut Plugins) -> bool {
        let former = Arc::clone(&live.borrow());
        match self.read(&former, plugins).await {
            Ok(new) => {
                let (new, access) = new;
                self.status.metrics.watch(&new.host, &plugins.engine);
                self.status.allow(access);
                live.send_replace(Arc::new(new));
                tracing::info!("the settings were taken; they hold from the next resync on");
                true
            }
            Err(issues) => {
                for Issue { setting, problem, remedy } in issues {
                    tracing::error!(setting, problem, remedy, "wrong setting");
                }
                tracing::error!("the settings were not taken; the former ones stay");
                false
            }
        }
    }

    /// Takes plugins whose files have changed. Tells whether any is another now.
    async fn exchange(&self, engine: &Arc<Engine>) -> bool {
        let of_engine = Arc::clone(engine);
        // Plugins may have to be compiled, and a resync may be running.
        let reloaded = match tokio::task::spawn_blocking(move || of_engine.reload()).await {
            Ok(Ok(reloaded)) => reloaded,
            Ok(Err(error)) => {
                let problem = Problem::from_error(&error);
                tracing::error!(%problem, "the plugins were not looked at again; all stay as they are");
                return false;
            }
            Err(panicked) => {
                tracing::error!(%panicked, "looking at the plugins again ended abnormally");
                return false;
            }
        };
        let Reloaded { loaded, removed, refused } = &reloaded;
        for LoadedComponent { name, version, file, sha256 } in loaded {
            let (file, version) = (file.display(), version.as_deref());
            tracing::info!(plugin = name, version, %file, sha256, "a plugin was taken; it holds for the next unit");
        }
        for LoadedComponent { name, file, .. } in removed {
            let file = file.display();
            tracing::warn!(plugin = name, %file, "a plugin is gone; entities of its kinds stay as they are");
        }
        for refused in refused {
            let Problem { message, remedy } = &refused.problem;
            tracing::error!(file = refused.plugin, problem = message, remedy, "a plugin was not taken");
        }
        self.status.metrics.plugins(&reloaded);
        !loaded.is_empty() || !removed.is_empty()
    }

    async fn read(&self, former: &Live, plugins: &mut Plugins) -> Result<(Live, HttpAccess), Vec<Issue>> {
        let (mut settings, mut service) = Settings::load_service(self.global, self.environment)?;
        for setting in keep(&Former::of(former), &mut settings, &mut service) {
            tracing::warn!(setting, "this setting cannot change while the service runs: restart it");
        }
        // What somebody has deleted in Port, only a start installs again.
        settings.port.install = !former.host.port().is_some_and(|port| PortService::of(port).is_installed());
        for note in &settings.notes {
            tracing::warn!("{note}");
        }
        let access = service.access(&settings.port.client_secret);
        let schedule = settings.port.schedule;
        let changelog_destination = settings.port.changelog_destination.clone();
        let log_level = settings.log_level.clone();
        let events = settings.live.take().filter(|_| service.process_webhooks);
        // An engine that is set up alike keeps what it has, also where a file of it is broken now.
        let alike = settings.engine == plugins.config && settings.trust == plugins.trust;
        let engine = alike.then(|| Arc::clone(&plugins.engine));
        if let Some(engine) = &engine {
            self.exchange(engine).await;
        }
        let build = Build {
            concurrency: self.concurrency,
            ledger: former.host.ledger(),
            journal: Some(former.host.journal()),
            engine,
            logs: self.logs.clone(),
            ..Build::new(Arc::clone(&self.observer))
        };
        let (identity, state) = (former.identity.clone(), former.state.clone());
        let stop = self.stop.clone();
        let (config, trust) = (settings.engine.clone(), settings.trust.clone());
        let narrowed = settings.narrow_sessions;
        // Plugins may have to be compiled, and a resync may be running.
        let made = tokio::task::spawn_blocking(move || assemble(settings, build, stop)).await;
        let whole = |title: &str, Problem { message, remedy }| {
            vec![Issue { setting: title.into(), problem: message, remedy: remedy.unwrap_or_default() }]
        };
        let made = made.map_err(|panicked| whole("the host", Problem::from_error(&panicked)))?;
        let Assembled { host, engine, deletion, .. } =
            made.map_err(|Refusal { title, problem }| whole(title, problem))?;
        *plugins = Plugins { engine, config, trust, narrowed };
        telemetry::follow(log_level.as_deref());
        Ok((
            Live { host, service, schedule, changelog_destination, identity, state, events, deletion },
            access,
        ))
    }
}

/// What new settings are compared with.
struct Former<'l> {
    service: &'l Service,
    identity: Identity,
    state: &'l State,
    schedule: Option<ResyncSchedule>,
    changelog_destination: &'l Value,
}

impl<'l> Former<'l> {
    fn of(live: &'l Live) -> Self {
        let Live { service, identity, state, schedule, changelog_destination, .. } = live;
        Self { service, identity: identity.clone(), state, schedule: *schedule, changelog_destination }
    }
}

/// Takes back what the running service cannot change: where it listens, what for, and which integration
/// it is. Returns the names of the settings that need a restart.
fn keep(former: &Former<'_>, settings: &mut Settings, service: &mut Service) -> Vec<String> {
    let mut kept: Vec<String> = AT_START
        .iter()
        .filter(|path| service.at_start.get(*path) != former.service.at_start.get(*path))
        .map(|path| variable(path))
        .collect();
    let (old, port) = (former.service, &mut settings.port);
    // Without values of their own they depend on other settings.
    let changed =
        [("status_page", service.status_page != old.status_page), ("bind_address", service.bind != old.bind)];
    for (path, changed) in changed {
        if changed && !kept.contains(&variable(path)) {
            kept.push(variable(path));
        }
    }
    service.path_prefix.clone_from(&old.path_prefix);
    (service.status_page, service.bind) = (old.status_page, old.bind);
    service.at_start.clone_from(&old.at_start);
    if (service.listener == Listener::Idle) != (old.listener == Listener::Idle) {
        service.scheduled_minutes = old.scheduled_minutes;
    }
    match (&mut service.listener, &old.listener) {
        (Listener::Polling { resync_on_start, .. }, Listener::Polling { resync_on_start: old, .. })
        | (Listener::Webhook { resync_on_start, .. }, Listener::Webhook { resync_on_start: old, .. }) => {
            *resync_on_start = *old;
        }
        (new, old) => {
            new.clone_from(old);
            port.changelog_destination.clone_from(former.changelog_destination);
        }
    }
    // The ledger is open already, and nobody else can open it.
    settings.state.clone_from(former.state);
    former.identity.keep(port);
    if service.scheduled_minutes == old.scheduled_minutes {
        // Ticks go on as they began.
        port.schedule = former.schedule;
    }
    kept
}

/// SIGHUP, where there is such a thing. Until this exists the signal ends the process, so that it
/// is made before anything that takes its time.
pub(super) struct Hangups(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangups {
    /// Listens from now on. Must be called inside a runtime.
    #[cfg(unix)]
    pub(super) fn listen() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    /// Listens from now on.
    #[cfg(not(unix))]
    pub(super) fn listen() -> Self {
        Self()
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.0
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
