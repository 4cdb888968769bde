//! Processes that map: a second wall around the code of others, for the case that the first one, the sandbox of
//! WebAssembly, has a hole.
//!
//! Such a process is this program again, without environment, files, network and privileges. It gets compiled
//! code and then batches by a pipe, and answers by another. The same limits hold in it, and the same failures
//! come out of it; what it does beside that ends with it, and with the batch that it was at.
//!
//! # Invariants
//! - Nothing of a component that runs apart is run in this process: neither its manifest nor its mapping, nor is
//!   its compiled code loaded here.
//! - What a process sends is bounded, waited for no longer than the deadline allows, and checked as any answer.
//! - A process that was late, ended or sent nonsense is not used again.

#[cfg(target_os = "linux")]
mod child;
#[cfg_attr(not(target_os = "linux"), path = "isolation/elsewhere.rs")]
mod pool;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod protocol;
#[cfg(target_os = "linux")]
mod walls;

use std::{path::PathBuf, sync::Arc};

#[cfg(target_os = "linux")]
pub(crate) use child::run;
pub(crate) use pool::{Apart, Pool, Session};
use serde::{Deserialize, Serialize};

use crate::{
    contract::{Batch, Program},
    runtime::Runtime,
    sandbox::{Bounds, Called, Speaker},
    wasi::Inputs,
};

/// The first argument of a process that maps.
#[cfg(target_os = "linux")]
pub(crate) const ARGUMENT: &str = "map-in-isolation";

/// Where components run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Isolation {
    /// In this process, each batch in a sandbox of its own.
    #[default]
    None,
    /// In processes of their own besides. On Linux alone.
    Process(IsolationProcess),
}

/// A program that maps, and what it maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsolationProcess {
    /// The program. Its `main` begins with [`run_child_if_asked`](crate::run_child_if_asked).
    pub program: PathBuf,
    /// Directories whose plugins are one's own, and run in this process nevertheless. The component that
    /// evaluates expressions of users never does.
    pub trusted_dirs: Vec<PathBuf>,
}

impl IsolationProcess {
    /// A program that maps for all plugins.
    pub fn new(program: PathBuf) -> Self {
        Self { program, trusted_dirs: Vec::new() }
    }
}

/// What keeps a process that maps from everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsolationWalls {
    /// Whether the kernel has Landlock, beside the filter of system calls.
    pub landlock: bool,
}

/// What the code of a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// There is no code: the process tells whether it can be closed up.
    Probe,
    Mapper,
    Evaluator,
}

/// Code, and where it runs.
pub(crate) enum Placed<T: ?Sized> {
    /// In this process.
    Here(Arc<T>),
    /// In processes of its own.
    Apart(Apart),
}

impl Placed<dyn Program> {
    /// Asks for the manifest.
    pub(crate) fn manifest(
        &self,
        runtime: &Runtime,
        speaker: &Speaker,
        inputs: Option<Inputs>,
        bounds: Bounds,
    ) -> Called<Vec<u8>> {
        match self {
            Self::Here(program) => runtime.call(speaker, inputs, bounds, |store| program.manifest(store)),
            Self::Apart(apart) => apart.manifest(speaker, bounds),
        }
    }

    /// Maps a batch. The inner error is the plugin's own refusal of the whole batch.
    pub(crate) fn map_batch(
        &self,
        runtime: &Runtime,
        speaker: &Speaker,
        inputs: Option<Inputs>,
        bounds: Bounds,
        batch: Batch<'_>,
    ) -> Called<Result<Vec<u8>, String>> {
        match self {
            Self::Here(program) => {
                runtime.call(speaker, inputs, bounds, |store| program.map_batch(store, batch))
            }
            Self::Apart(apart) => apart.map_batch(speaker, inputs, bounds, batch),
        }
    }
}

/// Closes this process up as one that maps, for tests of what is then left to it.
///
/// # Errors
/// What cannot be closed.
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub fn close_up_this_process() -> Result<IsolationWalls, String> {
    let walls = walls::close_first()?;
    walls::close(1 << 30)?;
    Ok(walls)
}
