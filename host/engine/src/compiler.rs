//! Where components are compiled: in this process, or each in a process of its own that may use only so much.
//!
//! A component of a few megabytes can be made such that its compilation takes hours or all memory. The
//! compiler has no limits of its own, so that only the operating system can hold it.

use std::{
    io::{self, Read as _, Write as _},
    path::PathBuf,
    process::{ExitCode, ExitStatus},
    thread,
    time::Duration,
};

use berth_core::{Problem, ProblemCode};

use crate::{
    runtime::{Runtime, Setup},
    subprocess::{self, Limit},
};

/// The first argument of a process that compiles.
pub(crate) const ARGUMENT: &str = "compile-component";
/// How a process ends whose component cannot be compiled. Anything else is an end that it did not choose.
const REFUSED: u8 = 1;

/// Where components are compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Compiler {
    /// In this process, without a limit. Only for components that are trusted already.
    #[default]
    InProcess,
    /// Each in a process of its own, which a component that takes too much ends alone.
    Process(CompilerProcess),
}

/// A program that compiles, and how much it may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerProcess {
    /// The program. Its `main` begins with [`run_child_if_asked`](crate::run_child_if_asked).
    pub program: PathBuf,
    /// What one component may use.
    pub limits: CompileLimits,
}

/// What the compilation of one component may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time, over all threads (default 120 s).
    pub cpu: Duration,
    /// Memory, in bytes (default 2 GiB).
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    /// Six times what the largest known plugin takes, a Python interpreter of 18 MB.
    fn default() -> Self {
        Self { cpu: Duration::from_mins(2), memory_bytes: 2 << 30 }
    }
}

impl CompilerProcess {
    /// A program, with the usual limits.
    pub fn new(program: PathBuf) -> Self {
        Self { program, limits: CompileLimits::default() }
    }

    /// Compiles a component for an engine that is set up so.
    fn compile(&self, setup: Setup, component: &[u8]) -> Result<Vec<u8>, Problem> {
        let failed = |what: &str, error: &io::Error| {
            Problem::new(
                ProblemCode::PluginCompile,
                format!("cannot be compiled: {what} {}: {error}", self.program.display()),
            )
            .remedy("let Berth start processes: each component is compiled in one of its own")
        };
        let CompileLimits { cpu, memory_bytes } = self.limits;
        let mut process = subprocess::command(&self.program)
            .args([ARGUMENT, setup.name(), &cpu.as_secs().to_string(), &memory_bytes.to_string()])
            .spawn()
            .map_err(|error| failed("could not start", &error))?;
        let (input, output, errors) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        // It reads all before it writes. One that ended early says why below.
        if let Some(mut input) = input {
            _ = input.write_all(component);
        }
        let (compiled, reason) = thread::scope(|scope| {
            let reason = scope.spawn(|| {
                errors.map_or_else(String::new, |mut errors| {
                    let reason = subprocess::reason(&mut errors);
                    // It must not wait for somebody to read the rest.
                    _ = io::copy(&mut errors, &mut io::sink());
                    reason
                })
            });
            let mut compiled = Vec::new();
            let read = output.map_or(Ok(0), |mut output| output.read_to_end(&mut compiled));
            (read.map(|_| compiled), reason.join().unwrap_or_default())
        });
        let status = process.wait().map_err(|error| failed("could not wait for", &error))?;
        if status.success() {
            return compiled.map_err(|error| failed("could not read from", &error));
        }
        Err(self.limits.refusal(status, &reason))
    }
}

impl CompileLimits {
    /// Why a process gave no code.
    fn refusal(&self, status: ExitStatus, reason: &str) -> Problem {
        if status.code() == Some(i32::from(REFUSED)) {
            return not_compiled(reason);
        }
        let Self { cpu, memory_bytes } = self;
        let message = format!(
            "cannot be compiled within {} s of processor time and {} MiB of memory ({status}{}{reason})",
            cpu.as_secs(),
            memory_bytes >> 20,
            if reason.is_empty() { "" } else { ": " },
        );
        Problem::new(ProblemCode::PluginCompile, message).remedy(
            "do not use it before you know why: real plugins take a sixth of that. Report this to its author",
        )
    }

    /// Takes what is beyond the limits from this process.
    fn apply(self) -> io::Result<()> {
        Limit::Memory(self.memory_bytes).apply()?;
        Limit::Cpu(self.cpu.as_secs()).apply()?;
        // It would hold the component, and be large.
        Limit::NoCore.apply()
    }
}

impl Compiler {
    /// Compiles a component for a runtime.
    ///
    /// # Errors
    /// The reason for which it cannot be.
    pub(crate) fn compile(&self, runtime: &Runtime, component: &[u8]) -> Result<Vec<u8>, Problem> {
        match self {
            Self::InProcess => runtime
                .engine
                .precompile_component(component)
                .map_err(|error| not_compiled(&format!("{error:#}"))),
            Self::Process(process) => process.compile(runtime.setup, component),
        }
    }
}

fn not_compiled(reason: &str) -> Problem {
    Problem::new(ProblemCode::PluginCompile, format!("cannot be compiled: {reason}"))
        .remedy("build or copy it again")
}

/// Compiles a component from standard input to standard output, with the arguments that follow [`ARGUMENT`].
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let [setup, cpu, memory] = arguments else { return ExitCode::from(REFUSED) };
    match compile_from_input(setup, cpu, memory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            _ = writeln!(io::stderr(), "{reason}");
            ExitCode::from(REFUSED)
        }
    }
}

fn compile_from_input(setup: &str, cpu: &str, memory: &str) -> Result<(), String> {
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let limits = CompileLimits { cpu: Duration::from_secs(number(cpu)?), memory_bytes: number(memory)? };
    limits.apply().map_err(|error| format!("limits cannot be set: {error}"))?;
    let setup = Setup::of_name(setup).ok_or_else(|| format!("no engine is set up as `{setup}`"))?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(|error| error.to_string())?;
    let engine = setup.compiler().map_err(|error| format!("{error:#}"))?;
    let compiled = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    let mut output = io::stdout().lock();
    output.write_all(&compiled).and_then(|()| output.flush()).map_err(|error| error.to_string())
}
