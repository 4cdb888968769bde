//! The limits of one call of a plugin: memory, time, output and log, with the message for each when a
//! plugin exceeds it.

use std::{fmt, sync::Arc, time::Duration};

use berth_core::{Kind, MapContext, Problem, ProblemCode, Region};
use serde::{Deserialize, Serialize};
use wasmtime::{ResourceLimiter, Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::{
    Limits,
    log_lines::{Lines, LoggedLine, PluginLogLevel},
    runtime::{Runtime, TABLE_ELEMENTS},
    wasi::{CapturedOutput, Inputs, TooManyHandles, WasiState},
};

/// Longer log lines are cut, as the contract says.
pub(crate) const LOG_LINE_BYTES: usize = 4 << 10;
/// The depth of the reported backtrace; a plugin may recurse a hundred thousand times.
const BACKTRACE_FRAMES: usize = 32;
/// The number of last lines on standard error that are reported after a crash, each cut.
const LAST_LINES: usize = 8;
const LAST_LINE_BYTES: usize = 512;
/// wasmtime's message when a plugin passes more data than allowed; the error has no public type. A test
/// checks the wording.
const FUEL_EXHAUSTED: &str = "fuel allocated for hostcalls has been exhausted";

/// The limits of one call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Bounds {
    pub(crate) deadline: Duration,
    pub(crate) output_bytes: usize,
    /// Whether the plugin's log lines are wanted. Not if the same lines were logged before.
    pub(crate) log: bool,
}

/// The result of a call, and its peak memory.
pub(crate) struct Called<T> {
    pub(crate) result: Result<T, PluginFailure>,
    pub(crate) peak_memory: usize,
}

impl Runtime {
    /// Calls a plugin within the limits, in a new store.
    pub(crate) fn call<T>(
        &self,
        log_context: &LogContext,
        inputs: Option<Inputs>,
        bounds: Bounds,
        call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Called<T> {
        let mut store = self.store(log_context, inputs, bounds.log);
        let result = Self::call_in(&mut store, bounds, call);
        let guest = store.into_data();
        guest.log.close();
        Called { result, peak_memory: guest.memory.peak }
    }

    /// Creates a store for several calls. It must not be used again after one of them has failed.
    pub(crate) fn store(&self, log_context: &LogContext, inputs: Option<Inputs>, log: bool) -> Store<Guest> {
        let mut store = Store::new(&self.engine, Guest::new(self, log_context.clone(), inputs, log));
        store.limiter(|guest| &mut guest.memory);
        store
    }

    /// Makes one call in a store.
    pub(crate) fn call_in<T>(
        store: &mut Store<Guest>,
        bounds: Bounds,
        call: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
    ) -> Result<T, PluginFailure> {
        store.set_hostcall_fuel(bounds.output_bytes);
        // One more: the current tick began before the call.
        store.set_epoch_deadline(Self::ticks(bounds.deadline) + 1);
        let called = call(store);
        store.data_mut().end_lines();
        called.map_err(|error| {
            store.data_mut().log.backtrace(&error);
            PluginFailure::of(&error, bounds, store.data())
        })
    }
}

/// The origin of a plugin's log lines.
#[derive(Debug, Clone)]
pub(crate) struct LogContext {
    pub(crate) plugin: Arc<str>,
    /// Kind, account and region of the batch.
    pub(crate) at: Arc<str>,
}

impl LogContext {
    pub(crate) fn new(plugin: &Arc<str>, kind: &Kind, context: &MapContext) -> Self {
        let region = context.region.as_ref().map_or("global", Region::as_str);
        let at = format!("{kind} {} {region}", context.account.id).into();
        Self { plugin: Arc::clone(plugin), at }
    }
}

/// The host's side of an instance.
pub(crate) struct Guest {
    memory: MemoryMeter,
    log: PluginLog,
    /// `None` for a plugin without WASI.
    pub(crate) inputs: Option<Inputs>,
    /// Partial lines of output.
    pub(crate) output: CapturedOutput,
    /// `None` until the first WASI call.
    pub(crate) wasi: Option<Box<WasiState>>,
}

impl Guest {
    fn new(runtime: &Runtime, log_context: LogContext, inputs: Option<Inputs>, log: bool) -> Self {
        Self {
            memory: MemoryMeter { limit: runtime.limits.memory_bytes, used: 0, peak: 0 },
            log: PluginLog::new(log_context, &runtime.limits, log, runtime.lines.clone()),
            inputs,
            output: CapturedOutput::default(),
            wasi: None,
        }
    }

    /// Returns the memory of the instance.
    pub(crate) fn memory(&self) -> usize {
        self.memory.used
    }

    /// Returns its peak memory.
    pub(crate) fn peak_memory(&self) -> usize {
        self.memory.peak
    }

    /// Returns the number of lines beyond the limit.
    pub(crate) fn dropped_lines(&self) -> usize {
        self.log.dropped
    }

    /// Logs a line of the plugin.
    pub(crate) fn write_log(&mut self, level: PluginLogLevel, message: &str) {
        self.log.write(level, message);
    }

    /// Keeps a line of standard error, which may be one of the last.
    pub(crate) fn keep_last_line(&mut self, line: &str) {
        let words = &mut self.log.last_lines;
        if words.len() == LAST_LINES {
            words.remove(0);
        }
        words.push(printable(&line[..line.floor_char_boundary(LAST_LINE_BYTES)]));
    }
}

/// Limits memory, and records the peak.
struct MemoryMeter {
    limit: usize,
    used: usize,
    peak: usize,
}

/// A plugin requested more memory than allowed.
#[derive(Debug, thiserror::Error)]
#[error("needed more than {} of memory", Bytes(*limit))]
struct MemoryExceeded {
    limit: usize,
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_sub(current).saturating_add(desired);
        if used > self.limit {
            // A trap instead of a failed allocation: the plugin would turn that into a panic that hides the
            // reason.
            return Err(MemoryExceeded { limit: self.limit }.into());
        }
        self.used = used;
        self.peak = self.peak.max(used);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }
}

/// The log of a plugin, within its limits.
pub(crate) struct PluginLog {
    log_context: LogContext,
    lines: Lines,
    muted: bool,
    lines_left: usize,
    bytes_left: usize,
    dropped: usize,
    frames: usize,
    panic: Option<String>,
    /// The last lines of standard error.
    last_lines: Vec<String>,
}

impl PluginLog {
    pub(crate) fn new(log_context: LogContext, limits: &Limits, wanted: bool, lines: Lines) -> Self {
        Self {
            log_context,
            lines,
            muted: !wanted,
            lines_left: limits.log_lines,
            bytes_left: limits.log_bytes,
            dropped: 0,
            frames: 0,
            panic: None,
            last_lines: Vec::new(),
        }
    }

    pub(crate) fn write(&mut self, level: PluginLogLevel, message: &str) {
        let message = &message[..message.floor_char_boundary(LOG_LINE_BYTES)];
        // A plugin without WASI cannot print, so the message of a panic arrives in the log, just before the
        // trap.
        if level == PluginLogLevel::Error && message.starts_with("panicked") {
            self.panic = Some(printable(&message.replace('\n', " ")));
            return;
        }
        if self.muted {
            return;
        }
        if self.lines_left == 0 || self.bytes_left < message.len() {
            self.lines_left = 0;
            self.dropped += 1;
            return;
        }
        self.lines_left -= 1;
        self.bytes_left -= message.len();
        self.say(LoggedLine::Line(level, message));
    }

    /// Logs where in the plugin's code a call ended, for its author. Components that contain function names
    /// show them.
    fn backtrace(&mut self, error: &wasmtime::Error) {
        let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return };
        // wasmtime writes a heading and then a line for each frame, with the names from the source.
        for frame in backtrace.to_string().lines().skip(1).take(BACKTRACE_FRAMES) {
            self.frame(frame.split_once('!').map_or(frame, |(_, name)| name).trim());
        }
    }

    /// Logs one frame of a backtrace.
    pub(crate) fn frame(&mut self, frame: &str) {
        if self.muted || self.frames == BACKTRACE_FRAMES {
            return;
        }
        self.say(LoggedLine::Frame(&frame[..frame.floor_char_boundary(LOG_LINE_BYTES)]));
        self.frames += 1;
    }

    fn say(&self, said: LoggedLine<'_>) {
        match &self.lines {
            Lines::Log => {}
            #[cfg(target_os = "linux")]
            Lines::To(elsewhere) => return elsewhere(said),
        }
        let LogContext { plugin, at } = &self.log_context;
        let (level, message) = match said {
            LoggedLine::Line(level, message) => (level, printable(message)),
            LoggedLine::Frame(frame) => {
                (PluginLogLevel::Debug, format!("backtrace {}: {}", self.frames, printable(frame)))
            }
        };
        match level {
            PluginLogLevel::Debug => tracing::debug!(%plugin, %at, "{message}"),
            PluginLogLevel::Info => tracing::info!(%plugin, %at, "{message}"),
            PluginLogLevel::Warn => tracing::warn!(%plugin, %at, "{message}"),
            PluginLogLevel::Error => tracing::error!(%plugin, %at, "{message}"),
        }
    }

    /// Returns the plugin's message about its crash, from the log or from standard error.
    fn crash(&self, trap: &str) -> PluginFailure {
        if let Some(text) = &self.panic {
            return PluginFailure::Panicked(text.clone());
        }
        let words = self.last_lines.join(" ");
        match words.find("panicked at ") {
            // The hint of Rust's standard library does not help here.
            Some(at) => {
                let text = words[at..].split(" note: run with `RUST_BACKTRACE").next().unwrap_or_default();
                PluginFailure::Panicked(text.to_owned())
            }
            None if words.is_empty() => PluginFailure::Trapped(trap.to_owned()),
            None => PluginFailure::Trapped(format!("{trap}; last output: {words}")),
        }
    }

    /// Counts lines that another process dropped.
    #[cfg(target_os = "linux")]
    pub(crate) fn dropped_before(&mut self, lines: usize) {
        self.dropped = self.dropped.saturating_add(lines);
    }

    pub(crate) fn close(&self) {
        if self.dropped > 0 {
            let LogContext { plugin, at } = &self.log_context;
            tracing::warn!(%plugin, %at, "dropped {} more log lines of the plugin", self.dropped);
        }
    }
}

/// Escapes control characters, so that a plugin can neither forge log lines nor control a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let control = c.is_control() && c != '\t';
            control.then(|| c.escape_default()).into_iter().flatten().chain((!control).then_some(c))
        })
        .collect()
}

/// A WASI call was denied.
#[derive(Debug, thiserror::Error)]
#[error("called `{0}`, but WASI is denied")]
pub(crate) struct Denied(pub(crate) String);

/// How a call failed. The text continues after the plugin's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PluginFailure {
    Deadline {
        limit: Duration,
    },
    /// It ran out of time in so many consecutive batches that it is paused.
    Paused {
        consecutive_timeouts: u32,
    },
    Memory {
        limit: usize,
    },
    Output {
        limit: usize,
    },
    Panicked(String),
    Recursion,
    Denied(String),
    /// It exited.
    Exited {
        code: i32,
    },
    /// It holds more streams and pollables than allowed.
    Handles,
    Trapped(String),
    /// The plugin rejected the batch.
    Refused(String),
    /// Its output is invalid.
    Nonsense(String),
    /// Its process ended, with a description.
    Ended(String),
    /// Its code cannot be loaded any more.
    Unloadable(Problem),
}

impl PluginFailure {
    /// Returns the plugin's own rejection of a batch.
    pub(crate) fn refused(reason: &str) -> Self {
        let cut = reason.floor_char_boundary(LOG_LINE_BYTES);
        Self::Refused(printable(&reason[..cut]))
    }

    fn of(error: &wasmtime::Error, bounds: Bounds, guest: &Guest) -> Self {
        if let Some(MemoryExceeded { limit }) = error.downcast_ref() {
            return Self::Memory { limit: *limit };
        }
        if let Some(Denied(import)) = error.downcast_ref() {
            return Self::Denied(import.clone());
        }
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Self::Exited { code: *code };
        }
        if error.is::<TooManyHandles>() {
            return Self::Handles;
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => return Self::Deadline { limit: bounds.deadline },
            Some(Trap::StackOverflow) => return Self::Recursion,
            Some(trap) => return guest.log.crash(&trap.to_string()),
            None => {}
        }
        let text = format!("{error:#}");
        if text.contains(FUEL_EXHAUSTED) {
            return Self::Output { limit: bounds.output_bytes };
        }
        Self::Trapped(printable(&text))
    }

    /// Returns whether one bad resource may be the cause, so that mapping each resource alone helps. Not
    /// for failures that would cost the same again: time and memory.
    pub(crate) fn may_be_one_resource(&self) -> bool {
        match self {
            Self::Panicked(_)
            | Self::Recursion
            | Self::Denied(_)
            | Self::Exited { .. }
            | Self::Ended(_)
            | Self::Trapped(_) => true,
            Self::Handles
            | Self::Deadline { .. }
            | Self::Paused { .. }
            | Self::Memory { .. }
            | Self::Output { .. }
            | Self::Refused(_)
            | Self::Nonsense(_)
            | Self::Unloadable(_) => false,
        }
    }

    /// Returns the code of the problem.
    pub(crate) fn code(&self) -> ProblemCode {
        match self {
            Self::Deadline { .. }
            | Self::Paused { .. }
            | Self::Memory { .. }
            | Self::Output { .. }
            | Self::Handles => ProblemCode::PluginLimit,
            Self::Panicked(_)
            | Self::Recursion
            | Self::Denied(_)
            | Self::Exited { .. }
            | Self::Trapped(_)
            | Self::Ended(_) => ProblemCode::PluginTrap,
            Self::Refused(_) | Self::Nonsense(_) => ProblemCode::PluginInvalidOutput,
            Self::Unloadable(problem) => problem.code,
        }
    }

    /// Returns the failure with a remedy.
    pub(crate) fn problem(&self) -> Problem {
        let remedy = match self {
            Self::Unloadable(problem) => return problem.clone(),
            Self::Deadline { .. } | Self::Paused { .. } => {
                "if the machine is just slow, raise the plugins' deadline or lower the batch size of the \
                 kind's plan; if the plugin never ends, update or remove it"
            }
            Self::Memory { .. } => {
                "if the resources are just large, raise the plugins' memory limit or lower the batch size of \
                 the kind's plan; otherwise update or remove the plugin"
            }
            Self::Output { .. } => {
                "a batch's entities should not be much larger than its resources; update or remove the plugin"
            }
            Self::Denied(_) => {
                "`wasi` is `deny`, so code that calls WASI fails: remove the setting (no call grants a \
                 capability either way), or use a plugin without WASI"
            }
            Self::Ended(_) => {
                "check in the kernel's log why the process ended; if memory ran out, provide more. If there is no \
                 such reason, the plugin caused it, possibly as an attack: do not use the plugin \
                 before you know why"
            }
            Self::Panicked(_)
            | Self::Recursion
            | Self::Exited { .. }
            | Self::Handles
            | Self::Trapped(_)
            | Self::Refused(_)
            | Self::Nonsense(_) => {
                "the plugin is faulty: update it, report this to its author, or remove it (for its author, the log \
                 level `debug` shows where it happened)"
            }
        };
        Problem::new(self.code(), self.to_string()).remedy(remedy)
    }
}

impl fmt::Display for PluginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { limit } => {
                write!(f, "ran longer than {}, the limit for a batch", Seconds(*limit))
            }
            Self::Paused { consecutive_timeouts } => {
                write!(f, "is paused for 5 minutes: it ran out of time {consecutive_timeouts} times in a row")
            }
            Self::Memory { limit } => MemoryExceeded { limit: *limit }.fmt(f),
            Self::Output { limit } => {
                write!(f, "returned more than {}, the limit for this batch", Bytes(*limit))
            }
            // The text begins with "panicked".
            Self::Panicked(text) => f.write_str(text),
            Self::Recursion => f.write_str("recursed too deeply"),
            Self::Denied(import) => Denied(import.clone()).fmt(f),
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Handles => TooManyHandles.fmt(f),
            Self::Trapped(trap) => write!(f, "crashed ({trap})"),
            Self::Ended(how) => write!(f, "failed because of its process: {how}"),
            Self::Refused(reason) => write!(f, "refused the batch: {reason}"),
            Self::Nonsense(what) => write!(f, "returned invalid output: {what}"),
            Self::Unloadable(problem) => f.write_str(&problem.message),
        }
    }
}

/// A duration for people.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

/// Bytes for people, in the largest unit without a fraction.
pub(crate) struct Bytes(pub(crate) usize);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 20) => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes > 0 && bytes.is_multiple_of(1 << 10) => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_forge_others() {
        assert_eq!(printable("a\nb\x1b[31m\tü"), "a\\nb\\u{1b}[31m\tü");
    }

    #[test]
    fn bytes_are_formatted_without_fractions() {
        for (bytes, text) in
            [(128 << 20, "128 MiB"), (1536 << 10, "1536 KiB"), (1000, "1000 bytes"), (0, "0 bytes")]
        {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
