//! One process that maps, from the side that started it: nothing that is asked of it takes longer than it may.

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

/// A process and the pipes to it. It is ended when this is dropped.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
}

/// Why a process gave no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// It took longer than it may.
    Late,
    /// It ended, or said what makes no sense.
    Ended(String),
}

impl Process {
    /// Takes a process that was just started.
    pub(super) fn of(mut child: Child) -> io::Result<Self> {
        let (Some(input), Some(output), Some(errors)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("it has no pipes"));
        };
        let process = Self { child, input, output, errors };
        rustix::io::ioctl_fionbio(&process.input, true)?;
        rustix::io::ioctl_fionbio(&process.output, true)?;
        // What it says of its end is read after that, and nobody else may hold the pipe open.
        rustix::io::ioctl_fionbio(&process.errors, true)?;
        Ok(process)
    }

    /// Whether it has not ended.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(super) fn send(&mut self, header: &impl Serialize, body: &[u8], until: Instant) -> Result<(), Lost> {
        let sent = protocol::write(&mut Timed { pipe: &mut self.input, until }, header, body);
        sent.map_err(|error| self.lost(&error))
    }

    /// The next frame, with a body of `most` bytes at most.
    pub(super) fn receive<H: DeserializeOwned>(
        &mut self,
        most: usize,
        until: Instant,
    ) -> Result<(H, Vec<u8>), Lost> {
        let received = protocol::read(&mut Timed { pipe: &mut self.output, until }, most);
        received.map_err(|error| self.lost(&error))
    }

    fn lost(&mut self, error: &io::Error) -> Lost {
        match error.kind() {
            io::ErrorKind::TimedOut => Lost::Late,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => Lost::Ended(self.end()),
            _ => Lost::Ended(format!("it sent what makes no sense: {error}")),
        }
    }

    /// How a process ended that closed its pipes.
    fn end(&mut self) -> String {
        // One that closes its pipes and lives on gets no more time.
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
        // It may have ended already, and there is nobody to tell.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(libc::SIGSYS) => "was ended for a system call that no mapping makes (SIGSYS)".into(),
        Some(libc::SIGKILL) => "was killed (SIGKILL), as the kernel does when memory runs out".into(),
        Some(libc::SIGSEGV) => "crashed (SIGSEGV)".into(),
        Some(libc::SIGBUS) => "crashed (SIGBUS)".into(),
        Some(libc::SIGILL) => "crashed (SIGILL)".into(),
        Some(libc::SIGABRT) => "gave up (SIGABRT)".into(),
        Some(signal) => format!("was ended by signal {signal}"),
        None => format!("ended by itself ({status})"),
    }
}

/// A pipe that is waited for until a time.
struct Timed<'p, P> {
    pipe: &'p mut P,
    until: Instant,
}

impl<P: AsFd> Timed<'_, P> {
    /// Does what may not be possible yet, as soon as it is.
    fn when<T>(&mut self, ready: PollFlags, mut act: impl FnMut(&mut P) -> io::Result<T>) -> io::Result<T> {
        loop {
            // What is always ready must not go on for ever, either.
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
