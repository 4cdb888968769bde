//! Processes: the fake servers of a benchmark, and the process that is measured.

use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How often is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);
/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_mins(1);

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

    /// What it has used so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        cpu(self.process.id())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        self::signal(&self.process, signal)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.request("GET", path)?).with_context(|| format!("{path} gives no JSON"))
    }

    /// Sends JSON and gives the answer's text.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<String> {
        self.send("POST", path, &body.to_string())
    }

    /// One request without a body.
    pub(crate) fn request(&self, method: &str, path: &str) -> Result<String> {
        self.send(method, path, "")
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<String> {
        ask(&self.authority, method, path, body)
    }
}

/// One request to a local server that closes the connection at the end; gives the answer's text.
pub(crate) fn ask(authority: &str, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(authority).with_context(|| format!("could not reach {authority}"))?;
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {authority}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    ensure!(
        head.lines().next().is_some_and(|status| status.contains(" 20")),
        "{method} {path}: {head}\n{body}"
    );
    Ok(body.to_owned())
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

/// Runs a process to its end and tells what it used. `watch` is called again and again meanwhile, each
/// time after the pause that it asked for, until it asks for none.
///
/// The kernel's figure of the peak begins with the memory of the process that starts another, so this one
/// must stay small.
pub(crate) fn run(
    command: &mut Command,
    mut watch: impl FnMut(Duration) -> Option<Duration>,
) -> Result<Used> {
    let name = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).spawn().with_context(|| format!("could not start {name}"))?;
    let id = i32::try_from(child.id())?;
    let mut due = Some(Duration::ZERO);
    loop {
        let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
        let options = if due.is_some() { libc::WNOHANG } else { 0 };
        #[expect(unsafe_code, reason = "the only way to learn what one process used")]
        // SAFETY: both pointers are to values of the right type that live longer than the call.
        let ended = unsafe { libc::wait4(id, &raw mut status, options, usage.as_mut_ptr()) };
        if ended == 0 {
            if due.is_some_and(|due| due <= begun.elapsed()) {
                due = watch(begun.elapsed()).map(|pause| begun.elapsed() + pause);
            }
            std::thread::sleep(LOOK);
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
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -libc::WTERMSIG(status) }
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

/// Runs a process for some time, tells what it has used until then, and ends it. `watch` is called every
/// half second, and when the time is over.
///
/// # Errors
/// When the process ends before.
pub(crate) fn run_for(
    command: &mut Command,
    time: Duration,
    mut watch: impl FnMut(Duration) -> Result<()>,
) -> Result<Used> {
    const PAUSE: Duration = Duration::from_millis(500);
    let name = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).spawn().with_context(|| format!("could not start {name}"))?;
    let watched = loop {
        if let Some(status) = child.try_wait()? {
            bail!("{name} ended before the time was over, with {status} (`--seconds` sets it)");
        }
        if let Err(error) = watch(begun.elapsed()) {
            break Err(error);
        }
        if begun.elapsed() >= time {
            break used(child.id(), begun.elapsed());
        }
        std::thread::sleep(PAUSE.min(time.saturating_sub(begun.elapsed())));
    };
    end(&mut child)?;
    watched
}

/// Sends a process a signal.
pub(crate) fn signal(child: &Child, signal: Signal) -> Result<()> {
    let id = Pid::from_raw(i32::try_from(child.id())?).context("a process has a number")?;
    Ok(kill_process(id, signal)?)
}

/// Asks a process to end, and makes it end.
pub(crate) fn end(child: &mut Child) -> Result<()> {
    let asked = Instant::now();
    signal(child, Signal::TERM)?;
    while child.try_wait()?.is_none() {
        if asked.elapsed() > GRACE {
            child.kill()?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What a process that still runs has used.
fn used(id: u32, wall: Duration) -> Result<Used> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    Ok(Used {
        cpu: cpu(id)?,
        wall,
        resident_bytes: number(&status, "VmHWM").context("no peak of memory in /proc")? * 1024,
    })
}

fn cpu(id: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let ticks = cpu_ticks(&stat).context("no times in /proc")?;
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// Ticks of the clock in user and kernel mode, in `/proc/<id>/stat`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name may hold anything, parentheses as well.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// A number in `/proc/<id>/status`, by the name of its line; memory is in KiB.
pub(crate) fn number(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_read_as_the_kernel_writes_them() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 900 0 0 0 120 34 0 0 20 0 4 0 99 1 2";
        assert_eq!(cpu_ticks(stat), Some(154));
        assert_eq!(cpu_ticks("42 (x) S 1"), None);
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t 5 kB\nThreads:\t9\n";
        for (name, value) in [("VmHWM", Some(20_480)), ("VmRSS", Some(5)), ("Threads", Some(9)), ("Vm", None)]
        {
            assert_eq!(number(status, name), value, "{name}");
        }
        assert_eq!(number("Name:\tx\n", "VmHWM"), None);
    }

    #[test]
    fn a_process_is_stopped_when_its_time_is_over_and_its_end_before_is_an_error() {
        let mut seen = 0;
        let time = Duration::from_millis(20);
        let used = run_for(Command::new("sleep").arg("60"), time, |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
        assert!(used.wall >= time && used.wall < Duration::from_secs(30), "{used:?}");
        assert!(seen >= 2 && used.resident_bytes > 0, "{seen} {used:?}");
        let early = run_for(&mut Command::new("true"), Duration::from_secs(30), |_| Ok(())).unwrap_err();
        assert!(early.to_string().contains("ended before"), "{early}");
    }

    #[test]
    fn a_process_that_fails_is_an_error() {
        assert!(run(&mut Command::new("true"), |_| None).is_ok());
        let error = run(&mut Command::new("false"), |_| Some(Duration::ZERO)).unwrap_err();
        assert_eq!(error.to_string(), "false ended with 1");
    }
}
