//! Processes: stand-ins that run as long as they are needed, and one that is measured.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A stand-in that runs as long as this value lives.
pub(crate) struct StandIn {
    process: Child,
    pub(crate) authority: String,
}

impl StandIn {
    /// Starts it and reads its first line, which it prints when it is ready and which has its URL.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {name}"))?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let authority = line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split(['/', ' ', '\n']).next())
            .with_context(|| format!("{name} tells no address: {line}"))?
            .to_owned();
        Ok(Self { process, authority })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.request("GET", path)?).with_context(|| format!("{path} gives no JSON"))
    }

    /// One request to a local server that closes the connection at the end.
    pub(crate) fn request(&self, method: &str, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(&self.authority)
            .with_context(|| format!("could not reach {}", self.authority))?;
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", self.authority)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
        ensure!(head.lines().next().is_some_and(|status| status.contains(" 20")), "{method} {path}: {head}");
        Ok(body.to_owned())
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// What a process used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Used {
    /// Of all its threads, in the kernel too.
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
    /// At most, at any time.
    pub(crate) resident_bytes: u64,
}

/// Runs a process to its end and tells what it used. `watch` is called again and again meanwhile,
/// until it says that it has seen enough.
pub(crate) fn run(command: &mut Command, mut watch: impl FnMut(Duration) -> bool) -> Result<Used> {
    let name = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("could not start {name}"))?;
    let id = i32::try_from(child.id())?;
    let mut watching = true;
    loop {
        let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
        let options = if watching { libc::WNOHANG } else { 0 };
        #[expect(unsafe_code, reason = "the only way to learn what one process used")]
        // SAFETY: both pointers are to values of the right type that live longer than the call.
        let ended = unsafe { libc::wait4(id, &raw mut status, options, usage.as_mut_ptr()) };
        if ended == 0 {
            watching = !watch(begun.elapsed());
            if watching {
                std::thread::sleep(Duration::from_millis(5));
            }
            continue;
        }
        if ended != id {
            bail!("could not wait for {name}: {}", std::io::Error::last_os_error());
        }
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: zeroes are a value of it, and the call has written another.
        let usage = unsafe { usage.assume_init() };
        ensure!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "{name} ended with {}",
            libc::WEXITSTATUS(status)
        );
        let time = |time: libc::timeval| {
            Duration::from_secs(time.tv_sec.unsigned_abs())
                + Duration::from_micros(time.tv_usec.unsigned_abs())
        };
        return Ok(Used {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            wall: begun.elapsed(),
            resident_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
        });
    }
}
