//! Runs plugins in separate processes: a second layer around third-party code, in case the WebAssembly
//! sandbox has a vulnerability.
//!
//! Such a process is this program again, without environment, files, network and privileges. It receives
//! compiled code and then batches through one pipe, and responds through another. The same limits apply to
//! it, and it reports the same failures. Anything else that it does ends with the process, and affects only
//! its current batch.
//!
//! # Invariants
//! - No part of an isolated component runs in this process: neither its manifest nor its mapping, and its
//!   compiled code is not loaded here.
//! - The output of a process is bounded, awaited no longer than the deadline, and checked like any plugin
//!   output.
//! - A process that was late, ended or sent invalid data is not used again.

#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod lockdown;
#[cfg_attr(not(target_os = "linux"), path = "isolation/elsewhere.rs")]
mod pool;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod protocol;

use std::{path::PathBuf, sync::Arc};

#[cfg(target_os = "linux")]
pub(crate) use child::run;
pub(crate) use pool::{IsolatedComponent, MappingProcess, Pool};
use serde::{Deserialize, Serialize};

use crate::{
    contract::{MapBatch, Program},
    runtime::Runtime,
    sandbox::{Bounds, Called, LogContext},
    wasi::Inputs,
};

/// The first argument of a mapping process.
#[cfg(target_os = "linux")]
pub(crate) const ARGUMENT: &str = "map-in-isolation";

/// Where components run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Isolation {
    /// In this process, each batch in its own sandbox.
    #[default]
    None,
    /// In separate processes as well. Linux only.
    Process(IsolationProcess),
}

/// A program that maps, and the components that it maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsolationProcess {
    /// The program. Its `main` begins with [`run_child_if_asked`](crate::run_child_if_asked).
    pub program: PathBuf,
    /// Directories whose plugins are trusted and therefore run in this process. The component that
    /// evaluates users' expressions never does.
    pub trusted_dirs: Vec<PathBuf>,
}

impl IsolationProcess {
    /// Creates one that maps for all plugins.
    pub fn new(program: PathBuf) -> Self {
        Self { program, trusted_dirs: Vec::new() }
    }
}

/// The mechanisms that isolate a mapping process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessLockdown {
    /// Whether the kernel supports Landlock, in addition to the system call filter.
    pub landlock: bool,
}

/// The purpose of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// No code: the process reports whether it can be isolated.
    Probe,
    Mapper,
    Evaluator,
}

/// Code, with the place where it runs.
pub(crate) enum Placed<T: ?Sized> {
    /// In this process.
    Here(Arc<T>),
    /// In separate processes.
    Apart(IsolatedComponent),
}

impl Placed<dyn Program> {
    /// Requests the manifest.
    pub(crate) fn manifest(
        &self,
        runtime: &Runtime,
        log_context: &LogContext,
        inputs: Option<Inputs>,
        bounds: Bounds,
    ) -> Called<Vec<u8>> {
        match self {
            Self::Here(program) => runtime.call(log_context, inputs, bounds, |store| program.manifest(store)),
            Self::Apart(apart) => apart.manifest(log_context, bounds),
        }
    }

    /// Maps a batch. The inner error is the plugin's own rejection of the whole batch.
    pub(crate) fn map_batch(
        &self,
        runtime: &Runtime,
        log_context: &LogContext,
        inputs: Option<Inputs>,
        bounds: Bounds,
        batch: MapBatch<'_>,
    ) -> Called<Result<Vec<u8>, String>> {
        match self {
            Self::Here(program) => {
                runtime.call(log_context, inputs, bounds, |store| program.map_batch(store, batch))
            }
            Self::Apart(apart) => apart.map_batch(log_context, inputs, bounds, batch),
        }
    }
}

/// Isolates this process like a mapping process, so that tests can check what is still possible.
///
/// # Errors
/// The restriction that cannot be applied.
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub fn close_up_this_process() -> Result<ProcessLockdown, String> {
    let lockdown = lockdown::close_first()?;
    lockdown::close(1 << 30)?;
    Ok(lockdown)
}
