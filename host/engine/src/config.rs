//! The engine's settings: the plugin directories, and the limits of plugins.

use std::{collections::BTreeMap, fmt, num::NonZeroUsize, path::PathBuf, sync::Arc, thread, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Compiler, Isolation, Trust};

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

/// What a plugin that imports interfaces of WASI 0.2 gets. No variant grants a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Wasi {
    /// An empty implementation: no environment, files or network, the time of the batch, random numbers
    /// that are derived from the plugin's digest, and sleep that returns at once. Output becomes log lines.
    #[default]
    Empty,
    /// Every call fails the batch.
    Deny,
    /// Like [`Wasi::Empty`], with the random numbers and clocks of this variant. For tests: a plugin's
    /// output must be the same for all variants.
    Variant(u16),
}

/// The limits of a plugin for one batch. Exceeding a limit fails the batch, never the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The time limit of a batch, by the clock (default 10 s; measured in steps of 10 ms).
    pub deadline: Duration,
    /// The maximum memory of a plugin, in bytes (default 128 MiB).
    pub memory_bytes: usize,
    /// The maximum output of a plugin, in bytes (default 64 MiB). A batch may also return at most 16 times
    /// its input, but always 1 MiB.
    pub output_bytes: usize,
    /// The maximum number of lines that a plugin may log (default 100). Further lines are dropped and
    /// counted.
    pub log_lines: usize,
    /// The maximum number of bytes that a plugin may log (default 64 KiB). A single line is cut at 4 KiB.
    pub log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            memory_bytes: 128 << 20,
            output_bytes: 64 << 20,
            log_lines: 100,
            log_bytes: 64 << 10,
        }
    }
}
