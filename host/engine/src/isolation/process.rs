//! One mapping process, on the parent's side: no request takes longer than its limit.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::process::ExitStatusExt as _,
    },
    process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Serialize, de::DeserializeOwned};

use super::protocol;
use crate::{sandbox::printable, subprocess};

/// A process and its pipes. Dropping it ends the process.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
}

/// Why a process gave no response.
#[derive(Debug)]
pub(super) enum ProcessLost {
    /// It exceeded the time limit.
    Late,
    /// It ended, or sent invalid data.
    Ended(String),
}

impl Process {
    /// Wraps a process that was just started.
    pub(super) fn of(mut child: Child) -> io::Result<Self> {
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let process = Self { child, input, output, errors };
        rustix::io::ioctl_fionbio(&process.input, true)?;
        rustix::io::ioctl_fionbio(&process.output, true)?;
        // The error output is read after the end of the process. A descendant that holds the pipe open must
        // not block that.
        rustix::io::ioctl_fionbio(&process.errors, true)?;
        Ok(process)
    }

    /// Returns whether it is still running.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn send(
        &mut self,
        header: &impl Serialize,
        body: &[u8],
        until: Instant,
    ) -> Result<(), ProcessLost> {
        let sent = protocol::write(&mut Timed { pipe: &mut self.input, until }, header, body);
        sent.map_err(|error| self.lost(&error))
    }

    /// Returns the next frame, with a body of at most `most` bytes.
    pub(super) fn receive<H: DeserializeOwned>(
        &mut self,
        most: usize,
        until: Instant,
    ) -> Result<(H, Vec<u8>), ProcessLost> {
        let received = protocol::read(&mut Timed { pipe: &mut self.output, until }, most);
        received.map_err(|error| self.lost(&error))
    }

    fn lost(&mut self, error: &io::Error) -> ProcessLost {
        match error.kind() {
            io::ErrorKind::TimedOut => ProcessLost::Late,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => ProcessLost::Ended(self.end()),
            _ => ProcessLost::Ended(format!("it sent invalid data: {error}")),
        }
    }

    /// Describes the end of a process that closed its pipes.
    fn end(&mut self) -> String {
        // A process that closes its pipes and keeps running gets no more time.
        let ended = (0..20).find_map(|wait| {
            std::thread::sleep(Duration::from_millis(wait));
            self.child.try_wait().ok().flatten()
        });
        let Some(status) = ended else { return "it closed its pipes".into() };
        let reason = subprocess::reason(&mut self.errors);
        let colon = if reason.is_empty() { "" } else { ": " };
        format!("it {}{colon}{}", describe(status), printable(&reason))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended already; nothing else can be done about an error.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGSYS) => "was killed for a forbidden system call (SIGSYS)".into(),
        Some(libc::SIGKILL) => "was killed (SIGKILL), possibly because memory ran out".into(),
        Some(libc::SIGSEGV) => "crashed (SIGSEGV)".into(),
        Some(libc::SIGBUS) => "crashed (SIGBUS)".into(),
        Some(libc::SIGILL) => "crashed (SIGILL)".into(),
        Some(libc::SIGABRT) => "aborted (SIGABRT)".into(),
        Some(signal) => format!("was killed by signal {signal}"),
        None => format!("exited ({status})"),
    }
}

/// A pipe with a time limit.
struct Timed<'p, P> {
    pipe: &'p mut P,
    until: Instant,
}

impl<P: AsFd> Timed<'_, P> {
    /// Retries an operation on the pipe until it is possible.
    fn when<T>(&mut self, ready: PollFlags, mut act: impl FnMut(&mut P) -> io::Result<T>) -> io::Result<T> {
        loop {
            // A pipe that is always ready must not loop forever, either.
            if Instant::now() >= self.until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match act(self.pipe) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(self.pipe.as_fd(), ready, self.until)?;
                }
                done => return done,
            }
        }
    }
}

fn wait(pipe: BorrowedFd<'_>, ready: PollFlags, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut [PollFd::from_borrowed_fd(pipe, ready)], Some(&left)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl<P: AsFd + Read> Read for Timed<'_, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.when(PollFlags::IN, |pipe| pipe.read(buffer))
    }
}

impl<P: AsFd + Write> Write for Timed<'_, P> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.when(PollFlags::OUT, |pipe| pipe.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
