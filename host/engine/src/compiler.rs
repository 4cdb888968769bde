//! Compiles components: in this process, or each in a separate process with resource limits.
//!
//! A component of a few megabytes can be built such that its compilation takes hours or all memory. The
//! compiler has no limits, so only the operating system can enforce them.

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

/// The first argument of a compiler process.
pub(crate) const ARGUMENT: &str = "compile-component";
/// The exit code if the component cannot be compiled. Any other failure ended the process from outside.
const REFUSED: u8 = 1;

/// Where components are compiled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Compiler {
    /// In this process, without limits. Only for components that are already trusted.
    #[default]
    InProcess,
    /// Each in a separate process, so that a component that exceeds the limits ends only that process.
    Process(CompilerProcess),
}

/// A program that compiles, with its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompilerProcess {
    /// The program. Its `main` begins with [`run_child_if_asked`](crate::run_child_if_asked).
    pub program: PathBuf,
    /// The limits for one component.
    pub limits: CompileLimits,
}

/// The limits for the compilation of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time, over all threads (default 120 s).
    pub cpu: Duration,
    /// Memory, in bytes (default 2 GiB).
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    /// Six times the needs of the largest known plugin, a Python interpreter of 18 MB.
    fn default() -> Self {
        Self { cpu: Duration::from_mins(2), memory_bytes: 2 << 30 }
    }
}

impl CompilerProcess {
    /// Creates one with the default limits.
    pub fn new(program: PathBuf) -> Self {
        Self { program, limits: CompileLimits::default() }
    }

    /// Compiles a component for an engine with this setup.
    fn compile(&self, setup: Setup, component: &[u8]) -> Result<Vec<u8>, Problem> {
        let failed = |what: &str, error: &io::Error| {
            Problem::new(
                ProblemCode::PluginCompile,
                format!("cannot be compiled: {what} {}: {error}", self.program.display()),
            )
            .remedy("allow Berth to start processes: it compiles each component in a separate process")
        };
        let CompileLimits { cpu, memory_bytes } = self.limits;
        let mut process = subprocess::command(&self.program)
            .args([ARGUMENT, setup.name(), &cpu.as_secs().to_string(), &memory_bytes.to_string()])
            .spawn()
            .map_err(|error| failed("could not start", &error))?;
        let (input, output, errors) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        // The process reads everything before it writes. The code below reports why one ended early.
        if let Some(mut input) = input {
            _ = input.write_all(component);
        }
        let (compiled, reason) = thread::scope(|scope| {
            let reason = scope.spawn(|| {
                errors.map_or_else(String::new, |mut errors| {
                    let reason = subprocess::reason(&mut errors);
                    // The process must not block because nobody reads the rest.
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
    /// Returns why a process produced no code.
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
            "do not use it before you know why: ordinary plugins need a sixth of that. Report this to its author",
        )
    }

    /// Applies the limits to this process.
    fn apply(self) -> io::Result<()> {
        Limit::Memory(self.memory_bytes).apply()?;
        Limit::Cpu(self.cpu.as_secs()).apply()?;
        // A core dump would contain the component, and be large.
        Limit::NoCore.apply()
    }
}

impl Compiler {
    /// Compiles a component for a runtime.
    ///
    /// # Errors
    /// Why the component cannot be compiled.
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
        .remedy("build it again, or copy it again")
}

/// Compiles a component from standard input to standard output, with the arguments that follow
/// [`ARGUMENT`].
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
    limits.apply().map_err(|error| format!("cannot set limits: {error}"))?;
    let setup = Setup::of_name(setup).ok_or_else(|| format!("unknown engine setup `{setup}`"))?;
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component).map_err(|error| error.to_string())?;
    let engine = setup.compiler().map_err(|error| format!("{error:#}"))?;
    let compiled = engine.precompile_component(&component).map_err(|error| format!("{error:#}"))?;
    let mut output = io::stdout().lock();
    output.write_all(&compiled).and_then(|()| output.flush()).map_err(|error| error.to_string())
}
