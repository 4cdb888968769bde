//! Lines that a plugin logs, and where they go.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The destination of plugins' log lines.
#[derive(Clone, Default)]
pub(crate) enum Lines {
    /// The log of this process.
    #[default]
    Log,
    /// The parent process, which has the log.
    #[cfg(target_os = "linux")]
    To(Arc<dyn Fn(LoggedLine<'_>) + Send + Sync>),
}

/// A message about a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LoggedLine<'a> {
    /// A line of the plugin.
    Line(PluginLogLevel, &'a str),
    /// A position in its code where the call ended.
    Frame(&'a str),
}

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PluginLogLevel {
    Debug,
    Info,
    Warn,
    Error,
}
