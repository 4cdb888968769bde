//! What is known about a plugin, for `berth plugin list` and `berth plugin inspect`.

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

/// What is known about a plugin that was loaded.
#[derive(Debug, Clone, Serialize)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// The file it was loaded from.
    pub file: PathBuf,
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
    /// The version of the plugin contract that it was built for, as in `1.0.0`.
    pub contract: String,
    /// The interfaces it imports, sorted: the contract's log, and those of WASI, which give it nothing.
    pub imports: Vec<String>,
    /// The file's size in bytes.
    pub size: u64,
    /// The kinds it maps, in the order of its manifest.
    pub kinds: Vec<ServedKind>,
    /// Where its compiled code came from.
    pub code: CodeOrigin,
    /// How long loading took.
    pub load_time: Duration,
    /// The most memory that one of its instances has had so far, in bytes.
    pub peak_memory: u64,
    /// Whether it runs in processes of its own.
    pub isolated: bool,
    /// The whole manifest.
    #[serde(skip)]
    pub manifest: Arc<Manifest>,
}

impl PluginInfo {
    /// The interfaces of WASI that it imports, as in `wasi:cli/stdout@0.2.6`.
    pub fn wasi(&self) -> impl Iterator<Item = &str> {
        self.imports.iter().map(String::as_str).filter(|import| is_wasi(import))
    }
}

/// A kind of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServedKind {
    /// The kind's name.
    pub kind: Kind,
    /// The file of the plugin that maps it instead, when a later directory has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<PathBuf>,
}

/// What looking at the plugin directories again has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// What was loaded, be it new or another version.
    pub loaded: Vec<LoadedComponent>,
    /// What is not used any more, and has no newer version from the same file.
    pub removed: Vec<LoadedComponent>,
    /// Files that are refused and were not before, or for another reason.
    pub refused: Vec<RefusedPlugin>,
}

/// A component that is or was in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LoadedComponent {
    /// The plugin's name; `jq` for the component that evaluates mappings of users' own.
    pub name: String,
    /// The plugin's own version; the component for JQ has none.
    pub version: Option<String>,
    /// Its file.
    pub file: PathBuf,
    /// SHA-256 of the file, in lower-case hexadecimal.
    pub sha256: String,
}

impl Reloaded {
    /// Whether all is as it was.
    pub fn is_empty(&self) -> bool {
        self.loaded.is_empty() && self.removed.is_empty() && self.refused.is_empty()
    }
}

/// How much a component was used so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PluginUse {
    /// The plugin's name; `jq` for the component that evaluates mappings of users' own.
    pub plugin: String,
    /// Batches that it was given.
    pub batches: u64,
    /// How long it took for them in all. Batches are mapped side by side.
    pub time: Duration,
    /// The most memory that one of its instances has had, in bytes. 0 where that is not measured.
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

    pub(crate) fn told(&self, plugin: &str, peak_memory: usize) -> PluginUse {
        PluginUse {
            plugin: plugin.to_owned(),
            batches: self.batches.load(Ordering::Relaxed),
            time: Duration::from_micros(self.micros.load(Ordering::Relaxed)),
            peak_memory: peak_memory as u64,
        }
    }
}

/// Where the compiled code of a plugin came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeOrigin {
    /// It was compiled at this start.
    Compiled,
    /// It was compiled before and found in the cache.
    Cached,
    /// It is compiled when it is first used: what must be known before stands in the file.
    Deferred,
}
