//! Where plugins are, and how far they may go.

use std::{num::NonZeroUsize, path::PathBuf};

use berth_engine::{EngineConfig, Limits};

/// Settings of the plugin engine.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginConfig {
    /// Directories with plugins (`*.wasm`), in order: where two directories have a plugin for the
    /// same kind, the later directory's is used, and the log says so.
    pub dirs: Vec<PathBuf>,
    /// Where compiled code is kept between runs. `None` compiles at each start. The directory is
    /// created with mode 0700; one that others can write to is not used.
    pub cache_dir: Option<PathBuf>,
    /// Directories with code that was compiled ahead of time by this version of the engine
    /// (`berth plugin compile`), as in a container image. They are only read.
    pub precompiled_dirs: Vec<PathBuf>,
    /// What a plugin may use.
    pub limits: Limits,
    /// How many batches are mapped at once, each on a thread of its own. These threads do no I/O.
    pub workers: NonZeroUsize,
}

impl Default for PluginConfig {
    fn default() -> Self {
        let EngineConfig { plugin_dirs, cache_dir, precompiled_dirs, limits, workers, .. } =
            EngineConfig::default();
        Self { dirs: plugin_dirs, cache_dir, precompiled_dirs, limits, workers }
    }
}

impl PluginConfig {
    pub(crate) fn into_engine(self) -> EngineConfig {
        let Self { dirs, cache_dir, precompiled_dirs, limits, workers } = self;
        EngineConfig {
            plugin_dirs: dirs,
            cache_dir,
            precompiled_dirs,
            limits,
            workers,
            ..EngineConfig::default()
        }
    }
}
