//! Settings and plugins that change while the service runs: looked at anew on SIGHUP, and when their
//! files change.
//!
//! Settings are checked as a whole first. What is wrong is told like at the start, and the former
//! settings stay. What is right holds from the next resync on; one that runs ends as it began.
//!
//! Plugins are checked one by one. What is right holds for the next unit; a unit that runs ends as it
//! began.

mod files;

use std::{mem::discriminant, sync::Arc};

use berth_embed::{Engine, EngineConfig, LoadedComponent, Observer, PortConfig, Problem, Reloaded};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::files::Files;
use super::host::{Assembled, Build, Refusal, assemble};
use crate::{
    args::Global,
    http::Status,
    listener::Live,
    settings::{Environment, Issue, Service, Settings},
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
                self.status.metrics.watch(&new.host, &plugins.engine);
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

    async fn read(&self, former: &Live, plugins: &mut Plugins) -> Result<Live, Vec<Issue>> {
        let (mut settings, mut service) = Settings::load_service(self.global, self.environment)?;
        let mut kept = keep(&former.service, &former.changelog_destination, &mut settings.port, &mut service);
        // The ledger is open already, and nobody else can open it.
        if settings.state.dir != former.state_dir {
            kept.push("BERTH_STATE_DIR");
        }
        for setting in kept {
            tracing::warn!(setting, "this setting cannot change while the service runs: restart it");
        }
        // What somebody has deleted in Port, only a start installs again.
        settings.port.install = !former.host.port().is_some_and(|port| port.is_installed());
        for note in &settings.notes {
            tracing::warn!("{note}");
        }
        if service.scheduled_minutes == former.service.scheduled_minutes {
            // Ticks go on as they began.
            settings.port.schedule = former.schedule;
        }
        let schedule = settings.port.schedule;
        let changelog_destination = settings.port.changelog_destination.clone();
        let log_level = settings.log_level.clone();
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
        let state_dir = former.state_dir.clone();
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
        Ok(Live { host, service, schedule, changelog_destination, state_dir, deletion })
    }
}

/// Takes back what the running service cannot change: where it listens, and what for. Returns the
/// names of what was taken back.
fn keep(
    former: &Service,
    changelog_destination: &Value,
    port: &mut PortConfig,
    service: &mut Service,
) -> Vec<&'static str> {
    let mut kept = Vec::new();
    if service.port != former.port {
        kept.push("APPLICATION__PORT");
        service.port = former.port;
    }
    if service.path_prefix != former.path_prefix {
        kept.push("OCEAN__PATH_PREFIX");
        service.path_prefix.clone_from(&former.path_prefix);
    }
    if service.status_page != former.status_page {
        kept.push("OCEAN__STATUS_PAGE");
        service.status_page = former.status_page;
    }
    if discriminant(&service.listener) != discriminant(&former.listener) {
        kept.push("OCEAN__EVENT_LISTENER__TYPE");
        service.listener.clone_from(&former.listener);
        port.changelog_destination.clone_from(changelog_destination);
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
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::settings::Listener;

    fn service(port: u16, prefix: &str, listener: Listener) -> Service {
        Service {
            listener,
            scheduled_minutes: None,
            port,
            path_prefix: prefix.to_owned(),
            process_webhooks: false,
            status_page: true,
        }
    }

    fn polling(seconds: u64) -> Listener {
        Listener::Polling { interval: Duration::from_secs(seconds), resync_on_start: true }
    }

    #[test]
    fn what_cannot_change_is_kept_and_told() {
        let mut port = PortConfig::new("id", "secret".to_owned().into(), "aws");
        let told = json!({"type": "WEBHOOK", "url": "https://berth.example/resync"});
        let webhook =
            Listener::Webhook { app_host: "https://berth.example".parse().unwrap(), resync_on_start: true };
        let former = service(8000, "/a", webhook.clone());
        let mut new = service(8001, "/b", polling(60));
        let kept = keep(&former, &told, &mut port, &mut new);
        assert_eq!(kept, ["APPLICATION__PORT", "OCEAN__PATH_PREFIX", "OCEAN__EVENT_LISTENER__TYPE"]);
        assert_eq!((new, port.changelog_destination), (former, told));
    }

    #[test]
    fn what_can_change_does() {
        let mut port = PortConfig::new("id", "secret".to_owned().into(), "aws");
        let mut new = Service { scheduled_minutes: Some(5), ..service(8000, "", polling(7)) };
        let kept = keep(&service(8000, "", polling(60)), &json!({}), &mut port, &mut new);
        assert!(kept.is_empty(), "{kept:?}");
        assert_eq!((new.listener, new.scheduled_minutes), (polling(7), Some(5)));
    }
}
