//! The engine's settings: the plugin directories, and the limits of plugins.

use std::{collections::BTreeMap, fmt, num::NonZeroUsize, path::PathBuf, sync::Arc, thread};

use crate::{Compiler, Isolation, Limits, Trust, Wasi};

/// Settings of an [`Engine`](crate::Engine).
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Directories with plugins (`*.wasm`), in order. If two directories have a plugin for the same kind,
    /// the one in the later directory is used, and the log says so.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where compiled code is cached between runs. `None`: plugins are compiled at each start. The
    /// directory is created with mode 0700; a directory that others can write to is not used.
    pub cache_dir: Option<PathBuf>,
    /// Directories with code that this version of the engine precompiled
    /// ([`Engine::precompile`](crate::Engine::precompile)), as in a container image. They are only read.
    pub precompiled_dirs: Vec<PathBuf>,
    /// Where components without cached code are compiled: by default in this process.
    pub compiler: Compiler,
    /// Where components run: by default in this process.
    pub isolation: Isolation,
    /// The limits of plugins.
    pub limits: Limits,
    /// The number of batches that are mapped at once, each on its own thread. These threads do no I/O.
    pub workers: NonZeroUsize,
    /// Which components of these directories are used; by default every component that implements the
    /// contract.
    pub trust: Trust,
    /// What plugins that import WASI get.
    pub wasi: Wasi,
    /// The environment variables that JQ mappings can read (`env`, `$ENV`): by default none.
    pub jq_environment: Variables,
    /// Whether the program will call [`Engine::reload`](crate::Engine::reload); true by default. Unused
    /// plugins are then kept in memory, compressed, so that a corrupt file does not affect them. Without
    /// reloads, such a plugin is read from its file at first use, and the file must not have changed since
    /// the start.
    pub reloads: bool,
}

/// Variables with their values. Only the names are ever shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Arc<BTreeMap<String, String>>);

impl Variables {
    /// Returns the values by name.
    pub(crate) fn values(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(Arc::new(variables.into_iter().collect()))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            plugin_dirs: Vec::new(),
            cache_dir: None,
            precompiled_dirs: Vec::new(),
            compiler: Compiler::default(),
            isolation: Isolation::default(),
            limits: Limits::default(),
            workers: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            trust: Trust::default(),
            wasi: Wasi::default(),
            jq_environment: Variables::default(),
            reloads: true,
        }
    }
}
