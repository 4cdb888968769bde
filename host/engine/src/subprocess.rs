//! Processes of this program's own: how they are started and bounded. Each is the same program again, with
//! nothing of this process but the pipes between the two.

use std::{
    io::{self, Read},
    path::Path,
    process::{Command, Stdio},
};

/// What a process says of an error, at most.
const REASON_BYTES: u64 = 4 << 10;

/// A process that gets pipes, and nothing else of ours, least of all credentials.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The beginning of what a process wrote to standard error.
pub(crate) fn reason(errors: &mut impl Read) -> String {
    let mut reason = Vec::new();
    _ = errors.by_ref().take(REASON_BYTES).read_to_end(&mut reason);
    String::from_utf8_lossy(&reason).trim().to_owned()
}

/// What a process takes from itself before it does anything else.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// Processor time, in seconds.
    Cpu(u64),
    /// Memory, in bytes.
    Memory(u64),
    /// Memory that is written to a file when it crashes: none.
    #[cfg_attr(not(unix), expect(dead_code, reason = "there are no such limits here"))]
    NoCore,
    /// How many files it may open, those that are open left out: none.
    #[cfg(target_os = "linux")]
    NoFiles,
}

impl Limit {
    /// Takes what is beyond the limit from this process, for good.
    #[cfg(unix)]
    pub(crate) fn apply(self) -> io::Result<()> {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let (resource, most) = match self {
            Self::Cpu(seconds) => (Resource::Cpu, seconds),
            // Where it is known, what is reserved and not used does not count.
            Self::Memory(bytes) if cfg!(target_os = "linux") => (Resource::Data, bytes),
            Self::Memory(bytes) => (Resource::As, bytes),
            Self::NoCore => (Resource::Core, 0),
            #[cfg(target_os = "linux")]
            Self::NoFiles => {
                // Nor may one that is open grow.
                setrlimit(Resource::Fsize, Rlimit { current: Some(0), maximum: Some(0) })?;
                (Resource::Nofile, 0)
            }
        };
        Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
    }

    /// There are no such limits here.
    #[cfg(not(unix))]
    pub(crate) fn apply(self) -> io::Result<()> {
        _ = self;
        Ok(())
    }
}
