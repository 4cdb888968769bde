//! The processes of an engine, on the parent's side.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use berth_core::{Account, Problem, ProblemCode};

use super::{
    ARGUMENT, IsolationProcess, ProcessLockdown, Role,
    process::{Process, ProcessLost},
    protocol::{BatchOf, CallEnd, CallFailure, CallOutcome, ProcessReply, ProcessRequest, Start, Started},
};
use crate::{
    Limits, Wasi,
    contract::{MapBatch, OutputForm},
    log_lines::Lines,
    misfit::{compiled_for_another_engine, misfits_the_contract},
    runtime::Setup,
    sandbox::{Bounds, Called, LOG_LINE_BYTES, LogContext, PluginFailure, PluginLog, printable},
    subprocess,
    wasi::Inputs,
};

/// The maximum time that a process may take to load its code.
const START: Duration = Duration::from_mins(1);
/// The additional time that the parent waits for a process, which stops a batch by itself.
const GRACE: Duration = Duration::from_secs(2);
/// In addition to its log lines, a process sends a backtrace and the result.
const MORE_REPLIES: usize = 64;

/// Starts processes, and keeps some of them for later batches.
pub(crate) struct Pool {
    trusted_dirs: Vec<PathBuf>,
    setup: Setup,
    limits: Limits,
    wasi: Wasi,
    lockdown: ProcessLockdown,
    starts: mpsc::Sender<mpsc::Sender<io::Result<Child>>>,
    /// Idle processes by component, most recently used last.
    idle: Mutex<Vec<(u64, Process)>>,
    most_idle: usize,
    components: AtomicU64,
}

impl Pool {
    /// Starts processes for code of a setup, at most `workers` at once. The first one reports the isolation
    /// mechanisms.
    ///
    /// # Errors
    /// Why no process can be started.
    pub(crate) fn open(
        process: &IsolationProcess,
        setup: Setup,
        (limits, wasi): (Limits, Wasi),
        workers: usize,
    ) -> Result<Arc<Self>, String> {
        let (starts, asked) = mpsc::channel::<mpsc::Sender<io::Result<Child>>>();
        let program = process.program.clone();
        // A process ends with the thread that started it. This thread lives as long as the pool.
        let starting = thread::Builder::new().name("berth-isolation".into()).spawn(move || {
            for started in asked {
                // The caller waits for the result.
                _ = started.send(command(&program).spawn());
            }
        });
        starting.map_err(|error| format!("cannot start a thread: {error}"))?;
        let mut pool = Self {
            trusted_dirs: process.trusted_dirs.iter().filter_map(|dir| fs::canonicalize(dir).ok()).collect(),
            setup,
            limits,
            wasi,
            lockdown: ProcessLockdown { landlock: true },
            starts,
            idle: Mutex::default(),
            // Each worker uses one, and may need one of another component next.
            most_idle: workers.saturating_mul(2),
            components: AtomicU64::new(0),
        };
        let (_, lockdown) = pool.start(Role::Probe, "", &[]).map_err(|error| error.problem().message)?;
        pool.lockdown = lockdown;
        Ok(Arc::new(pool))
    }

    /// Returns the mechanisms that isolate the processes.
    pub(crate) fn lockdown(&self) -> ProcessLockdown {
        self.lockdown
    }

    /// Returns whether a component of a file runs in separate processes.
    pub(crate) fn keeps_apart(&self, file: &Path, role: Role) -> bool {
        let trusted = || {
            let dir = file.parent().and_then(|dir| fs::canonicalize(dir).ok());
            dir.is_some_and(|dir| self.trusted_dirs.contains(&dir))
        };
        role == Role::Evaluator || !trusted()
    }

    fn start(&self, role: Role, sha256: &str, code: &[u8]) -> Result<(Process, ProcessLockdown), NotStarted> {
        let failed = |error: &dyn std::fmt::Display| NotStarted::Failed(error.to_string());
        let (started, starting) = mpsc::channel();
        self.starts.send(started).map_err(|error| failed(&error))?;
        let child = starting.recv().map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let mut process = Process::of(child).map_err(|error| failed(&error))?;
        let start = Start {
            setup: self.setup.name().to_owned(),
            role,
            sha256: sha256.to_owned(),
            limits: self.limits.clone(),
            wasi: self.wasi,
        };
        let until = Instant::now() + START;
        let sent = process.send(&start, code, until);
        match sent.and_then(|()| process.receive::<Started>(0, until)) {
            Ok((Started::Ready(lockdown), _)) => Ok((process, lockdown)),
            Ok((Started::OtherEngine(reason), _)) => Err(NotStarted::OtherEngine(text(&reason))),
            Ok((Started::Unfit(reason), _)) => Err(NotStarted::Unfit(text(&reason))),
            Ok((Started::Open(reason), _)) => Err(NotStarted::Failed(text(&reason))),
            Err(ProcessLost::Late) => {
                Err(NotStarted::Failed(format!("it took longer than {} s to start", START.as_secs())))
            }
            Err(ProcessLost::Ended(how)) => Err(NotStarted::Failed(how)),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Process)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn command(program: &Path) -> Command {
    let mut command = subprocess::command(program);
    command.arg(ARGUMENT);
    // Ctrl-C in the terminal is for the host, which ends its processes when it has finished.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

/// Why a process with code does not run.
pub(crate) enum NotStarted {
    /// The code was compiled for another engine.
    OtherEngine(String),
    /// The code does not fit the contract.
    Unfit(String),
    /// The process could not be started.
    Failed(String),
}

impl NotStarted {
    /// Returns whether other code may work.
    pub(crate) fn is_of_the_code(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::OtherEngine(reason) => compiled_for_another_engine(reason),
            Self::Unfit(reason) => misfits_the_contract(reason),
            Self::Failed(reason) => {
                Problem::new(ProblemCode::PluginIsolation, format!("cannot run in a separate process, as the settings require: {reason}")).remedy(
                    "allow Berth to start processes with enough memory, or set `plugin_isolation` to `none` if you \
                     trust the plugins",
                )
            }
        }
    }
}

/// A component whose code runs in separate processes.
pub(crate) struct IsolatedComponent {
    pool: Arc<Pool>,
    component: u64,
    role: Role,
    sha256: String,
    code: Arc<Vec<u8>>,
}

impl IsolatedComponent {
    /// Starts a first process, which takes the next batch.
    ///
    /// # Errors
    /// Why the process does not run.
    pub(crate) fn start(
        pool: &Arc<Pool>,
        role: Role,
        sha256: &str,
        code: Arc<Vec<u8>>,
    ) -> Result<Self, NotStarted> {
        let (process, _) = pool.start(role, sha256, &code)?;
        let component = pool.components.fetch_add(1, Ordering::Relaxed);
        let apart = Self { pool: Arc::clone(pool), component, role, sha256: sha256.to_owned(), code };
        apart.keep(process);
        Ok(apart)
    }

    /// Requests the manifest.
    pub(crate) fn manifest(&self, log_context: &LogContext, bounds: Bounds) -> Called<Vec<u8>> {
        let Called { result, peak_memory } =
            self.call(log_context, bounds, &ProcessRequest::Manifest { bounds }, &[]);
        let result = result.and_then(|returned| returned.map_err(|reason| PluginFailure::refused(&reason)));
        Called { result, peak_memory }
    }

    /// Maps a batch.
    pub(crate) fn map_batch(
        &self,
        log_context: &LogContext,
        inputs: Option<Inputs>,
        bounds: Bounds,
        batch: MapBatch<'_>,
    ) -> Called<Result<Vec<u8>, String>> {
        let context = batch.context;
        let of = BatchOf {
            kind: batch.kind.clone(),
            account: Account::clone(&context.account),
            region: context.region.clone(),
            options: context.options.clone(),
            documents: batch.output == OutputForm::Documents,
        };
        let request = ProcessRequest::Map { bounds, time: inputs.map(|inputs| inputs.time), batch: of };
        self.call(log_context, bounds, &request, batch.resources)
    }

    fn call(
        &self,
        log_context: &LogContext,
        bounds: Bounds,
        request: &ProcessRequest,
        body: &[u8],
    ) -> Called<Result<Vec<u8>, String>> {
        let mut log = PluginLog::new(log_context.clone(), &self.pool.limits, bounds.log, Lines::Log);
        let called = self.process().and_then(|mut process| {
            let answer = self.ask(&mut process, &mut log, bounds, request, body)?;
            self.keep(process);
            Ok(answer)
        });
        log.close();
        match called {
            Ok(PluginOutput { result, peak_memory, .. }) => Called { result, peak_memory },
            Err(failure) => Called { result: Err(failure), peak_memory: 0 },
        }
    }

    /// Returns a process that waits for a batch.
    fn process(&self) -> Result<Process, PluginFailure> {
        loop {
            let mut idle = self.pool.idle();
            let Some(at) = idle.iter().rposition(|(component, _)| *component == self.component) else {
                break;
            };
            let (_, mut process) = idle.remove(at);
            drop(idle);
            // It may have ended in the meantime.
            if process.lives() {
                return Ok(process);
            }
        }
        self.new_process()
    }

    fn new_process(&self) -> Result<Process, PluginFailure> {
        let started = self.pool.start(self.role, &self.sha256, &self.code);
        started.map(|(process, _)| process).map_err(|error| PluginFailure::Unloadable(error.problem()))
    }

    fn keep(&self, process: Process) {
        let mut idle = self.pool.idle();
        idle.push((self.component, process));
        let more = idle.len().saturating_sub(self.pool.most_idle);
        let ended: Vec<_> = idle.drain(..more).collect();
        drop(idle);
        drop(ended);
    }

    /// Sends a request and reads the response. The process must not be used again after a failure.
    fn ask(
        &self,
        process: &mut Process,
        log: &mut PluginLog,
        bounds: Bounds,
        request: &ProcessRequest,
        body: &[u8],
    ) -> Result<PluginOutput, PluginFailure> {
        let limits = &self.pool.limits;
        // The process must hold the body in memory.
        if body.len() > limits.memory_bytes {
            return Err(PluginFailure::Memory { limit: limits.memory_bytes });
        }
        let until = Instant::now() + bounds.deadline + GRACE;
        let failed = |lost| match lost {
            ProcessLost::Late => PluginFailure::Deadline { limit: bounds.deadline },
            ProcessLost::Ended(how) => PluginFailure::Ended(how),
        };
        process.send(request, body, until).map_err(failed)?;
        for _ in 0..limits.log_lines.saturating_add(MORE_REPLIES) {
            match process.receive::<ProcessReply>(bounds.output_bytes, until).map_err(failed)? {
                (ProcessReply::Line { level, message }, _) => log.write(level, &message),
                (ProcessReply::Frame(frame), _) => log.frame(&frame),
                (ProcessReply::Done(done), body) => {
                    log.dropped_before(done.dropped);
                    return Ok(PluginOutput::of(done, body, bounds, limits));
                }
            }
        }
        Err(PluginFailure::Ended("it sent too many log lines".into()))
    }
}

impl Drop for IsolatedComponent {
    /// No further batch will use its processes.
    fn drop(&mut self) {
        let mut idle = self.pool.idle();
        let (ended, kept) = idle.drain(..).partition(|(component, _)| *component == self.component);
        *idle = kept;
        drop::<Vec<_>>(ended);
    }
}

/// The response to a request.
struct PluginOutput {
    result: Result<Result<Vec<u8>, String>, PluginFailure>,
    peak_memory: usize,
    memory: usize,
}

impl PluginOutput {
    fn of(done: CallEnd, body: Vec<u8>, bounds: Bounds, limits: &Limits) -> Self {
        let result = match done.outcome {
            CallOutcome::Returned => Ok(Ok(body)),
            CallOutcome::Refused(reason) => Ok(Err(reason)),
            CallOutcome::Failed(ended) => Err(match ended {
                CallFailure::Deadline => PluginFailure::Deadline { limit: bounds.deadline },
                CallFailure::Memory => PluginFailure::Memory { limit: limits.memory_bytes },
                CallFailure::Output => PluginFailure::Output { limit: bounds.output_bytes },
                CallFailure::Recursion => PluginFailure::Recursion,
                CallFailure::Handles => PluginFailure::Handles,
                CallFailure::Exited(code) => PluginFailure::Exited { code },
                CallFailure::Panicked(what) => PluginFailure::Panicked(text(&what)),
                CallFailure::Denied(what) => PluginFailure::Denied(text(&what)),
                CallFailure::Trapped(what) => PluginFailure::Trapped(text(&what)),
            }),
        };
        let within = |memory: usize| memory.min(limits.memory_bytes);
        Self { result, peak_memory: within(done.peak_memory), memory: within(done.memory) }
    }
}

/// Prepares a text of a process for a message.
fn text(text: &str) -> String {
    // The longest is a panic message in which each character may be escaped.
    printable(&text[..text.floor_char_boundary(4 * LOG_LINE_BYTES)])
}

/// A process that has compiled a user's own mapping.
pub(crate) struct MappingProcess {
    process: Process,
    log: PluginLog,
    memory: usize,
}

impl MappingProcess {
    /// Compiles a mapping, in the process of an earlier mapping if there is one. The inner error says what
    /// is wrong with the mapping.
    pub(crate) fn compile(
        apart: &IsolatedComponent,
        former: Option<Self>,
        log_context: &LogContext,
        mapping: &[u8],
        bounds: Bounds,
    ) -> Result<Result<Self, String>, PluginFailure> {
        let process = match former {
            Some(Self { process, .. }) => process,
            None => apart.process()?,
        };
        let log = PluginLog::new(log_context.clone(), &apart.pool.limits, bounds.log, Lines::Log);
        let mut session = Self { process, log, memory: 0 };
        let compiled = session.ask(apart, bounds, &ProcessRequest::Compile { bounds }, mapping)?;
        Ok(compiled.map(|_| session))
    }

    /// Evaluates the mapping on documents.
    pub(crate) fn evaluate(
        &mut self,
        apart: &IsolatedComponent,
        documents: &[u8],
        now: u64,
        bounds: Bounds,
    ) -> Result<Result<Vec<u8>, String>, PluginFailure> {
        self.ask(apart, bounds, &ProcessRequest::Evaluate { bounds, now }, documents)
    }

    fn ask(
        &mut self,
        apart: &IsolatedComponent,
        bounds: Bounds,
        request: &ProcessRequest,
        body: &[u8],
    ) -> Result<Result<Vec<u8>, String>, PluginFailure> {
        let answer = apart.ask(&mut self.process, &mut self.log, bounds, request, body)?;
        self.memory = answer.memory;
        answer.result
    }

    /// Returns the memory of its instance.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }
}
