//! Reloads settings and plugins while the service runs: when their files change, and on request.
//!
//! New settings are validated as a whole first. Invalid settings are logged as at the start, and the former
//! settings stay. Valid settings apply from the next resync; a running resync keeps its settings.
//!
//! Plugins are checked one by one. A valid plugin applies from the next unit; a running unit keeps its
//! plugin.

mod files;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use berth_embed::{Problem, ProblemCode, SyncHost};
use berth_engine::{Engine, LoadedComponent, Reloaded};
use tokio::sync::watch;

use self::files::Files;
use crate::{
    config::ServiceConfig,
    http::HttpState,
    metrics::Metrics,
    state::{LoadedPlugins, ServiceHost, ServiceState},
};

/// Reloads the settings of a running service.
#[async_trait]
pub trait ReloadSource: Send {
    /// Returns the files that settings come from, whether or not they exist. A change triggers
    /// [`reload`](Self::reload).
    fn files(&self) -> Vec<PathBuf>;

    /// Waits for another trigger of a reload, such as a signal, and returns the reason for the log. It is
    /// dropped and called again.
    async fn requested(&mut self) -> &'static str;

    /// Reads the settings, and builds a host with them. Ignores what a running service cannot change: where
    /// its server listens, what it serves, and the type of its listener. The new host must use the ledger and
    /// the journal of the running one.
    ///
    /// # Errors
    /// All invalid settings. The service continues with the former ones.
    async fn reload(&mut self, running: &RunningService<'_>) -> Result<Reload, Vec<WrongSetting>>;
}

/// The new state of a service.
#[derive(Debug)]
pub struct Reload {
    /// The host.
    pub host: ServiceHost,
    /// The configuration of the service.
    pub config: ServiceConfig,
}

/// A problem with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongSetting {
    /// Its name.
    pub setting: String,
    /// What was found. Never holds a secret.
    pub problem: String,
    /// The remedy.
    pub remedy: String,
}

/// The running service, for a [`ReloadSource`].
#[derive(Debug)]
pub struct RunningService<'r> {
    state: &'r ServiceState,
    metrics: &'r Metrics,
}

impl RunningService<'_> {
    /// Returns the host. The new host uses its ledger and its journal.
    pub fn host(&self) -> &SyncHost {
        &self.state.host
    }

    /// Returns its plugins, which another host may share.
    pub fn plugins(&self) -> Option<&LoadedPlugins> {
        self.state.plugins.as_ref()
    }

    /// Reloads plugins whose files have changed, for a new host that uses the same engine.
    pub async fn reload_plugins(&self) {
        if let Some(engine) = self.state.engine() {
            reload_plugins(engine, self.metrics).await;
        }
    }
}

/// Applies new settings and plugins when there are any.
pub(crate) struct Reloader {
    pub(crate) source: Option<Box<dyn ReloadSource>>,
    pub(crate) http: Arc<HttpState>,
}

impl Reloader {
    /// Never returns.
    pub(crate) async fn run(mut self, states: watch::Sender<Arc<ServiceState>>) {
        let paths = self.source.as_ref().map(|source| source.files()).unwrap_or_default();
        let mut settings = Files::watch(move || files::of_files(&paths)).await;
        let mut watched = Watched::of(&states.borrow());
        loop {
            let reason = tokio::select! {
                reason = requested(self.source.as_mut()) => reason,
                () = settings.change() => "a file changed",
                () = watched.files.change() => {
                    watched.files.seen().await;
                    self.take_plugins(&states).await;
                    continue;
                }
            };
            settings.seen().await;
            tracing::info!(reason, "reloading the settings");
            let outcome = if self.renew(&states).await { "applied" } else { "refused" };
            self.http.metrics.reloaded(outcome);
            watched.follow(&states.borrow());
        }
    }

    /// Reloads plugins whose files have changed, and rebuilds the host if it depends on them.
    async fn take_plugins(&mut self, states: &watch::Sender<Arc<ServiceState>>) {
        let Some(plugins) = states.borrow().plugins.clone() else { return };
        if reload_plugins(&plugins.engine, &self.http.metrics).await && plugins.host_depends {
            self.renew(states).await;
        }
    }

    /// Applies the current settings, if they are valid. Returns whether they are.
    async fn renew(&mut self, states: &watch::Sender<Arc<ServiceState>>) -> bool {
        let Some(source) = &mut self.source else { return false };
        let former = Arc::clone(&states.borrow());
        let running = RunningService { state: &former, metrics: &self.http.metrics };
        let renewed = match source.reload(&running).await {
            Ok(Reload { host, mut config }) => {
                config.keep_fixed(&former.config);
                config.validate().map(|()| (host, config)).map_err(|problem| vec![of_service(problem)])
            }
            Err(wrong) => Err(wrong),
        };
        match renewed {
            Ok((host, config)) => {
                let access = config.http.access.clone();
                let new = ServiceState::new(host, config);
                self.http.metrics.watch(&new.host, new.engine());
                self.http.allow(access);
                states.send_replace(Arc::new(new));
                tracing::info!("applied the settings; they take effect from the next resync");
                true
            }
            Err(wrong) => {
                for WrongSetting { setting, problem, remedy } in wrong {
                    tracing::error!(setting, problem, remedy, "invalid setting");
                }
                tracing::error!("rejected the settings; the former ones stay in effect");
                false
            }
        }
    }
}

fn of_service(Problem { message, remedy, .. }: Problem) -> WrongSetting {
    WrongSetting { setting: "the service".into(), problem: message, remedy: remedy.unwrap_or_default() }
}

async fn requested(source: Option<&mut Box<dyn ReloadSource>>) -> &'static str {
    match source {
        Some(source) => source.requested().await,
        None => std::future::pending().await,
    }
}

/// The watched files of plugins.
struct Watched {
    dirs: Vec<PathBuf>,
    lock: Option<PathBuf>,
    files: Files,
}

impl Watched {
    fn of(state: &ServiceState) -> Self {
        let (dirs, lock) = Self::places(state);
        let files = files::components(&dirs, lock.as_deref());
        Self { dirs, lock, files }
    }

    fn places(state: &ServiceState) -> (Vec<PathBuf>, Option<PathBuf>) {
        state.plugins.as_ref().map(|plugins| (plugins.dirs.clone(), plugins.lock.clone())).unwrap_or_default()
    }

    /// Watches the current files, if they differ.
    fn follow(&mut self, state: &ServiceState) {
        if Self::places(state) != (self.dirs.clone(), self.lock.clone()) {
            *self = Self::of(state);
        }
    }
}

/// Reloads plugins whose files have changed. Returns whether any plugin changed.
async fn reload_plugins(engine: &Arc<Engine>, metrics: &Metrics) -> bool {
    let of_engine = Arc::clone(engine);
    // Plugins may have to be compiled, and a resync may be running.
    let reloaded = match tokio::task::spawn_blocking(move || of_engine.reload()).await {
        Ok(Ok(reloaded)) => reloaded,
        Ok(Err(error)) => {
            let problem = Problem::from_error(ProblemCode::Internal, &error);
            tracing::error!(%problem, "cannot reload the plugins; all stay as they are");
            return false;
        }
        Err(panicked) => {
            tracing::error!(%panicked, "reloading the plugins panicked");
            return false;
        }
    };
    let Reloaded { loaded, removed, refused } = &reloaded;
    for LoadedComponent { name, version, file, sha256 } in loaded {
        let (file, version) = (file.display(), version.as_deref());
        tracing::info!(
            plugin = name, version, %file, sha256,
            "reloaded a plugin; it applies from the next unit"
        );
    }
    for LoadedComponent { name, file, .. } in removed {
        let file = file.display();
        tracing::warn!(plugin = name, %file, "a plugin is gone; entities of its kinds stay as they are");
    }
    for refused in refused {
        let Problem { message, remedy, .. } = &refused.problem;
        tracing::error!(file = refused.plugin, problem = message, remedy, "rejected a plugin");
    }
    metrics.plugins(&reloaded);
    !loaded.is_empty() || !removed.is_empty()
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, path::Path, time::Duration};

    use berth_embed::{MemoryCatalog, PluginConfig, ReplaySource};
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::{HttpServer, Listener};

    /// Returns its values one after another on request; then only errors.
    struct Source {
        requests: mpsc::Receiver<()>,
        configs: VecDeque<ServiceConfig>,
    }

    #[async_trait]
    impl ReloadSource for Source {
        fn files(&self) -> Vec<PathBuf> {
            Vec::new()
        }

        async fn requested(&mut self) -> &'static str {
            match self.requests.recv().await {
                Some(()) => "a test",
                None => std::future::pending().await,
            }
        }

        async fn reload(&mut self, running: &RunningService<'_>) -> Result<Reload, Vec<WrongSetting>> {
            let host = ServiceHost::from(running.host().clone());
            match self.configs.pop_front() {
                Some(config) => Ok(Reload { host, config }),
                None => Err(vec![of_service(Problem::new(ProblemCode::Other, "there is none"))]),
            }
        }
    }

    fn host() -> SyncHost {
        let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/embed/recording");
        let builder = SyncHost::builder().source(Arc::new(ReplaySource::open(&recording).unwrap()));
        let catalog = Arc::new(MemoryCatalog::with_resources(Vec::new()));
        builder.plugins(PluginConfig::default()).catalog(catalog).build().unwrap()
    }

    fn polling(seconds: u64) -> ServiceConfig {
        let interval = Duration::from_secs(seconds);
        let listener = Listener::Polling { interval, resync_on_start: false };
        ServiceConfig { listener, ..ServiceConfig::default() }
    }

    #[tokio::test]
    async fn right_settings_are_taken_as_a_whole_and_wrong_ones_not_at_all() {
        let (ask, requests) = mpsc::channel(1);
        let elsewhere = HttpServer { port: 9000, ..HttpServer::default() };
        let configs = [polling(5), polling(0), ServiceConfig { http: elsewhere, ..polling(7) }].into();
        let http = Arc::<HttpState>::default();
        let reloader =
            Reloader { source: Some(Box::new(Source { requests, configs })), http: Arc::clone(&http) };
        let (renew, mut states) = watch::channel(Arc::new(ServiceState::new(host().into(), polling(1))));
        let running = tokio::spawn(reloader.run(renew));

        ask.send(()).await.unwrap();
        states.changed().await.unwrap();
        assert_eq!(states.borrow_and_update().config.listener, polling(5).listener);
        // The second one is invalid; the third one is valid, but the server keeps its address.
        ask.send(()).await.unwrap();
        ask.send(()).await.unwrap();
        states.changed().await.unwrap();
        let config = states.borrow_and_update().config.clone();
        assert_eq!((&config.listener, config.http.port), (&polling(7).listener, 0));
        // There are no more.
        ask.send(()).await.unwrap();
        ask.send(()).await.unwrap();
        ask.reserve().await.unwrap();
        assert!(!states.has_changed().unwrap());
        running.abort();
        let families = http.metrics.families();
        let reloads = families.iter().find(|family| family.name == "berth_settings_reloads").unwrap();
        let counted = |outcome: &str| {
            let mut samples = reloads.samples.iter();
            samples.find(|sample| sample.labels == [("outcome", outcome.to_owned())]).map(|it| it.value)
        };
        assert_eq!(counted("applied"), Some(2.0));
        assert!(counted("refused") >= Some(2.0), "{reloads:?}");
    }
}
