//! Information about plugins, for `berth plugin list` and `berth plugin inspect`.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use berth_core::{Kind, Manifest, RefusedPlugin};
use serde::Serialize;

use crate::imports::is_wasi;

/// Information about a loaded plugin.
#[derive(Debug, Clone, Serialize)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The file that it was loaded from.
    pub file: PathBuf,
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
    /// The version of the plugin contract that it was built for, such as `1.0.0`.
    pub contract: String,
    /// The interfaces that it imports, sorted: the contract's log, and those of WASI, which grant no
    /// capability.
    pub imports: Vec<String>,
    /// The file's size in bytes.
    pub size: u64,
    /// The kinds that it maps, in the order of its manifest.
    pub kinds: Vec<ServedKind>,
    /// The origin of its compiled code.
    pub code: CodeOrigin,
    /// The time that loading took.
    pub load_time: Duration,
    /// The peak memory of its instances so far, in bytes.
    pub peak_memory: u64,
    /// Whether it runs in separate processes.
    pub isolated: bool,
    /// The whole manifest.
    #[serde(skip)]
    pub manifest: Arc<Manifest>,
}

impl PluginInfo {
    /// Returns the WASI interfaces that it imports, such as `wasi:cli/stdout@0.2.6`.
    pub fn wasi(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().map(String::as_str).filter(|import| is_wasi(import))
    }
}

/// A kind of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServedKind {
    /// The kind's name.
    pub kind: Kind,
    /// The file of the plugin that maps it instead, if a later directory has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<PathBuf>,
}

/// The changes since the plugin directories were last read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Components that were loaded: new ones, or new versions.
    pub loaded: Vec<LoadedComponent>,
    /// Components that are no longer used and have no newer version in the same file.
    pub removed: Vec<LoadedComponent>,
    /// Files that are rejected and were not rejected before, or for another reason.
    pub refused: Vec<RefusedPlugin>,
}

/// A component that is or was in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadedComponent {
    /// The plugin's name; `jq` for the component that evaluates users' own mappings.
    pub name: String,
    /// The plugin's own version; `None` for the JQ component.
    pub version: Option<String>,
    /// Its file.
    pub file: PathBuf,
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
}

impl Reloaded {
    /// Returns whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty() && self.removed.is_empty() && self.refused.is_empty()
    }
}

/// The use of a component so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginUse {
    /// The plugin's name; `jq` for the component that evaluates users' own mappings.
    pub plugin: String,
    /// The number of its batches.
    pub batches: u64,
    /// The total time for its batches. Batches are mapped concurrently.
    pub time: Duration,
    /// The peak memory of its instances, in bytes. 0 if it is not measured.
    pub peak_memory: u64,
}

/// Counts the use of a component.
#[derive(Debug, Default)]
pub(crate) struct UseMeter {
    batches: AtomicU64,
    micros: AtomicU64,
}

impl UseMeter {
    /// Counts one batch.
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = work();
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        result
    }

    pub(crate) fn usage(&self, plugin: &str, peak_memory: usize) -> PluginUse {
        PluginUse {
            plugin: plugin.to_owned(),
            batches: self.batches.load(Ordering::Relaxed),
            time: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
            peak_memory: peak_memory as u64,
        }
    }
}

/// The origin of a plugin's compiled code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeOrigin {
    /// Compiled at this start.
    Compiled,
    /// Found in the cache.
    Cached,
    /// Compiled at first use: the file contains all information that is needed before.
    Deferred,
}
