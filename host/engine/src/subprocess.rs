//! Starts and limits this program's own child processes. Each runs the same program, and shares only its
//! pipes with this process.

use std::{
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
};

/// The maximum size of an error message from a process.
const REASON_BYTES: u64 = 4 << 10;

/// Returns a command with pipes. The process inherits nothing else, in particular no credentials.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns the beginning of what a process wrote to standard error.
pub(crate) fn reason(errors: &mut impl Read) -> String {
    let mut reason = Vec::new();
    _ = errors.by_ref().take(REASON_BYTES).read_to_end(&mut reason);
    String::from_utf8_lossy(&reason).trim().to_owned()
}

/// A limit that a process sets for itself before it does anything else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// Processor time, in seconds.
    Cpu(u64),
    /// Memory, in bytes.
    Memory(u64),
    /// Core dumps: none.
    #[cfg_attr(not(unix), expect(dead_code, reason = "this platform has no such limits"))]
    NoCore,
    /// The number of files that it may open, in addition to those that are open: none.
    #[cfg(target_os = "linux")]
    NoFiles,
}

impl Limit {
    /// Sets the limit for this process, permanently.
    #[cfg(unix)]
    pub(crate) fn apply(self) -> io::Result<()> {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let (resource, most) = match self {
            Self::Cpu(seconds) => (Resource::Cpu, seconds),
            // On Linux, reserved but unused memory does not count.
            Self::Memory(bytes) if cfg!(target_os = "linux") => (Resource::Data, bytes),
            Self::Memory(bytes) => (Resource::As, bytes),
            Self::NoCore => (Resource::Core, 0),
            #[cfg(target_os = "linux")]
            Self::NoFiles => {
                // Open files must not grow either.
                setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum: Some(0) })?;
                (Resource::Nofile, 0)
            }
        };
        Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
    }

    /// This platform has no such limits.
    #[cfg(not(unix))]
    pub(crate) fn apply(self) -> io::Result<()> {
        _ = self;
        Ok(())
    }
}
