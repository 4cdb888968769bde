//! What a service runs with. It is exchanged as a whole when settings are read anew.

use std::{path::PathBuf, sync::Arc};

use berth_embed::{Problem, SyncHost};
use berth_engine::Engine;

use crate::config::ServiceConfig;

/// A host for a service, and the plugins in it.
#[derive(Debug, Clone)]
pub struct ServiceHost {
    /// Runs the resyncs.
    pub host: SyncHost,
    /// Its plugins, where the service is to load them again and to count what they take.
    pub plugins: Option<Plugins>,
}

impl From<SyncHost> for ServiceHost {
    fn from(host: SyncHost) -> Self {
        Self { host, plugins: None }
    }
}

/// The plugins of a host, and the files that they come from.
#[derive(Debug, Clone)]
pub struct Plugins {
    /// The mapper of the host.
    pub engine: Arc<Engine>,
    /// The directories that it loads plugins from. They are loaded again when a file in them changes, where
    /// the engine [can](berth_engine::EngineConfig::reloads).
    pub dirs: Vec<PathBuf>,
    /// The file that approves plugins, if there is one. A change of it is one of the plugins.
    pub lock: Option<PathBuf>,
    /// Whether the host depends on what the plugins read, so that it is made anew when they change.
    pub host_depends: bool,
}

/// Why there is no host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// What cannot be done, in a few words.
    pub title: &'static str,
    /// Why.
    pub problem: Problem,
}

/// What a service runs with now.
#[derive(Debug)]
pub(crate) struct ServiceState {
    pub(crate) host: SyncHost,
    pub(crate) plugins: Option<Plugins>,
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
