//! The state of a running service. A reload replaces it as a whole.

use std::{path::PathBuf, sync::Arc};

use berth_embed::{Problem, SyncHost};
use berth_engine::Engine;

use crate::config::ServiceConfig;

/// A host for a service, and the plugins in it.
#[derive(Debug, Clone)]
pub struct ServiceHost {
    /// Runs the resyncs.
    pub host: SyncHost,
    /// Its plugins, if the service is to reload them and count their usage.
    pub plugins: Option<LoadedPlugins>,
}

impl From<SyncHost> for ServiceHost {
    fn from(host: SyncHost) -> Self {
        Self { host, plugins: None }
    }
}

/// The plugins of a host, and their files.
#[derive(Debug, Clone)]
pub struct LoadedPlugins {
    /// The mapper of the host.
    pub engine: Arc<Engine>,
    /// The directories that it loads plugins from. They are loaded again when a file in them changes, where
    /// the engine [can](berth_engine::EngineConfig::reloads).
    pub dirs: Vec<PathBuf>,
    /// The file that approves plugins, if there is one. A change of it also triggers a reload.
    pub lock: Option<PathBuf>,
    /// Whether the host depends on what the plugins read, so that it is rebuilt when they change.
    pub host_depends: bool,
}

/// Why there is no host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// What cannot be done, in a few words.
    pub title: &'static str,
    /// The cause.
    pub problem: Problem,
}

/// The current state of a service.
#[derive(Debug)]
pub(crate) struct ServiceState {
    pub(crate) host: SyncHost,
    pub(crate) plugins: Option<LoadedPlugins>,
    pub(crate) config: ServiceConfig,
}

impl ServiceState {
    pub(crate) fn new(host: ServiceHost, config: ServiceConfig) -> Self {
        let ServiceHost { host, plugins } = host;
        Self { host, plugins, config }
    }

    pub(crate) fn engine(&self) -> Option<&Arc<Engine>> {
        self.plugins.as_ref().map(|plugins| &plugins.engine)
    }
}
