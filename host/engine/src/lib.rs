//! The engine wing: runs each kind's mapping as a sandboxed WebAssembly component.

mod config;
mod info;

use std::{collections::BTreeMap, path::Path};

use async_trait::async_trait;
use berth_core::{Kind, KindEntry, MapError, MapReport, MapRequest, Mapper, Problem, RefusedPlugin};

pub use config::{EngineConfig, Limits};
pub use info::{CodeOrigin, PluginInfo, ServedKind};

/// Why an engine cannot be had at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A plugin directory cannot be read.
    #[error("could not read the plugin directory {}", path.display())]
    Directory {
        /// The directory.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// The plugins of a sync and what runs them.
#[derive(Debug)]
pub struct Engine {}

impl Engine {
    /// Loads every plugin of the configured directories.
    ///
    /// # Errors
    /// [`EngineError`] when a directory cannot be read or the engine cannot start. A plugin that
    /// cannot be used is no error; see [`Mapper::refused`].
    pub fn new(_config: EngineConfig) -> Result<Self, EngineError> {
        Ok(Self {})
    }

    /// The plugins that were loaded, in the order of directories and file names.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        Vec::new()
    }

    /// Loads one file, which need not be in a plugin directory, and tells what it is.
    ///
    /// # Errors
    /// The [`Problem`] for which it would be refused.
    pub fn inspect(&self, file: &Path) -> Result<PluginInfo, Problem> {
        Err(Problem::new(format!("{} cannot be inspected", file.display())))
    }
}

#[async_trait]
impl Mapper for Engine {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        BTreeMap::new()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
        Err(MapError::NoPlugin(Problem::new(format!("no plugin maps {}", request.kind))))
    }
}
