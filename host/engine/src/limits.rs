//! What a plugin may use for one batch, and what it gets of WASI.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many compiled mappings are kept in this process at least: kinds with edited mappings are read at the same time,
/// and compiling a mapping takes as long as evaluating it on a batch.
pub(crate) const KEPT_MAPPINGS: usize = 8;

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
