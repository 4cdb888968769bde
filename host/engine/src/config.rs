//! What the engine is told: where plugins are, and how far they may go.

use std::{collections::BTreeMap, fmt, num::NonZeroUsize, path::PathBuf, sync::Arc, thread, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Compiler, Isolation, Trust};

/// Settings of an [`Engine`](crate::Engine).
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Directories with plugins (`*.wasm`), in order: where two directories have a plugin for the
    /// same kind, the later directory's is used, and the log says so.
    pub plugin_dirs: Vec<PathBuf>,
    /// Where compiled code is kept between runs. `None` compiles at each start. The directory is
    /// created with mode 0700; one that others can write to is not used.
    pub cache_dir: Option<PathBuf>,
    /// Directories with code that was compiled ahead of time by this version of the engine
    /// ([`Engine::precompile`](crate::Engine::precompile)), as in a container image. They are only
    /// read.
    pub precompiled_dirs: Vec<PathBuf>,
    /// Where components are compiled that are in neither: by default in this process.
    pub compiler: Compiler,
    /// Where components run: by default in this process.
    pub isolation: Isolation,
    /// What a plugin may use.
    pub limits: Limits,
    /// How many batches are mapped at once, each on a thread of its own. These threads do no I/O.
    pub workers: NonZeroUsize,
    /// Which components of these directories are used; by default every one that fulfils the contract.
    pub trust: Trust,
    /// What plugins get that import WASI.
    pub wasi: Wasi,
    /// The environment variables that mappings in JQ see (`env`, `$ENV`): by default none.
    pub jq_environment: Variables,
    /// Whether [`Engine::reload`](crate::Engine::reload) will be called; true by default. Plugins that nothing
    /// has used yet are then kept in memory, packed, and a file that breaks takes nothing away. Without it,
    /// such a plugin is read from its file when it is first used, which must be the same as at the start.
    pub reloads: bool,
}

/// Variables with their values, of which only the names are ever shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(Arc<BTreeMap<String, String>>);

impl Variables {
    /// The values by name.
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

/// What a plugin gets that imports interfaces of WASI 0.2. None of it is a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Wasi {
    /// An implementation with nothing behind it: no environment, files or network, the time of the batch,
    /// random numbers that follow from the plugin's digest, sleep that takes no time. What is printed
    /// becomes lines of the log.
    #[default]
    Empty,
    /// Every call fails the batch.
    Deny,
    /// As [`Wasi::Empty`], with the random numbers and clocks of this variant: what a plugin makes must be
    /// the same for all of them.
    Variant(u16),
}

/// What a plugin may use for one batch. Reaching a limit fails the batch, never the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How long a batch may take, by the clock (default 10 s; told apart in steps of 10 ms).
    pub deadline: Duration,
    /// How many bytes of memory a plugin may have (default 128 MiB).
    pub memory_bytes: usize,
    /// How many bytes a plugin may return (default 64 MiB). A batch may return no more than 16
    /// times its input either, but always 1 MiB.
    pub output_bytes: usize,
    /// How many lines a plugin may log (default 100). More are dropped and counted.
    pub log_lines: usize,
    /// How many bytes a plugin may log (default 64 KiB). A single line is cut at 4 KiB.
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
