//! C and Zig: compiles `mapping.c` or `mapping.zig` with the C SDK. The Zig compiler handles both languages
//! and has a libc for WASI. That libc uses WASI preview 1, so a plugin that uses it gets an adapter in its
//! component.

use std::{
    ffi::OsString,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use berth_embed::{Problem, ProblemCode};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{Project, Tool, python, unreadable};

/// The source files that identify the two languages.
pub(super) const C: &str = "mapping.c";
pub(super) const ZIG: &str = "mapping.zig";

const TOOL: Tool = Tool { remedy: "install Zig 0.17 (https://ziglang.org)" };
/// The prefix of the compiler's version: other versions have other options and another language.
const VERSION: &str = "0.17.";
/// The line for requirements.txt.
const PINNED: &str = "ziglang==0.17.1";
const WIT: &str = "sdk/wit/plugin.wit";
/// The stack, in bytes. The compiler's default is 16 MiB in each instance.
const STACK: &str = "1048576";
const STACK_C: &str = "-Wl,-z,stack-size=1048576";
/// Builds a library that the host calls, not a program.
const TARGET: [&str; 3] = ["-target", "wasm32-wasi", "-mexec-model=reactor"];

/// Writes the component of a plugin in C to `into`.
pub(super) fn build_c(plugin: &Project, into: &Path) -> Result<(), Problem> {
    let module = plugin.target("module.wasm");
    let mut compile = Compiler::find(plugin)?.command(plugin, "cc");
    compile.args(TARGET).args(["-std=c23", "-O2", "-Wall", "-Wextra", "-Wl,--strip-debug", STACK_C, "-o"]);
    compile.arg(&module).args(sources(plugin, "")?).args(sources(plugin, "sdk")?);
    TOOL.run("zig cc", compile.args(sources(plugin, "sdk/bindings")?))?;
    encode(plugin, &module, into)
}

/// Writes the component of a plugin in Zig to `into`.
pub(super) fn build_zig(plugin: &Project, into: &Path) -> Result<(), Problem> {
    let module = plugin.target("module.wasm");
    let mut compile = Compiler::find(plugin)?.command(plugin, "build-exe");
    // Run-time errors are caught and reported, at little cost.
    compile.args(TARGET).args(["-O", "ReleaseSafe", "-fstrip", "-lc", "--stack", STACK]);
    // A stack guard in each function would need a random number.
    compile.args(["-fno-stack-protector", ZIG, "-cflags", "-std=c23", "--"]);
    compile.args(sources(plugin, "sdk")?).args(sources(plugin, "sdk/bindings")?);
    let mut emit = OsString::from("-femit-bin=");
    emit.push(&module);
    compile.arg("--cache-dir").arg(plugin.target("zig")).arg(emit);
    TOOL.run("zig build-exe", &mut compile)?;
    encode(plugin, &module, into)
}

/// Returns the C files of a folder of the plugin, relative to the plugin and sorted.
fn sources(plugin: &Project, folder: &str) -> Result<Vec<PathBuf>, Problem> {
    let found = plugin.dir.join(folder);
    let entries = fs::read_dir(&found).map_err(|error| unreadable(&found, &error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(Path::new(folder).join(entry.ok()?.file_name())))
        .filter(|file| file.extension().is_some_and(|extension| extension == "c"))
        .collect();
    files.sort();
    Ok(files)
}

/// How to start the compiler.
struct Compiler {
    program: PathBuf,
    arguments: &'static [&'static str],
}

impl Compiler {
    /// Returns the compiler on the path if it has the right version, else the one that requirements.txt
    /// installs.
    fn find(plugin: &Project) -> Result<Self, Problem> {
        let on_path = Self { program: "zig".into(), arguments: &[] };
        if on_path.fits(plugin) {
            return Ok(on_path);
        }
        let remedy = format!(
            "install Zig 0.17 (https://ziglang.org), or list `{PINNED}` in a requirements.txt, as `berth plugin \
             new --lang c` does, and have Python 3.10 or later"
        );
        if !plugin.dir.join("requirements.txt").is_file() {
            return Err(
                Problem::new(ProblemCode::PluginBuild, "no `zig` of version 0.17 on the path").remedy(remedy)
            );
        }
        let venv = plugin.target("venv");
        python::install(plugin, &venv)?;
        let installed = Self { program: python::executable(&venv, "python"), arguments: &["-m", "ziglang"] };
        if installed.fits(plugin) {
            Ok(installed)
        } else {
            Err(Problem::new(ProblemCode::PluginBuild, "requirements.txt does not install Zig 0.17")
                .remedy(remedy))
        }
    }

    fn fits(&self, plugin: &Project) -> bool {
        let asked = self.command(plugin, "version").stdout(Stdio::piped()).stderr(Stdio::null()).output();
        asked.is_ok_and(|asked| String::from_utf8_lossy(&asked.stdout).starts_with(VERSION))
    }

    fn command(&self, plugin: &Project, command: &str) -> Command {
        let mut started = plugin.command(&self.program);
        started.args(self.arguments).arg(command);
        started
    }
}

/// Encodes a core module as a component.
fn encode(plugin: &Project, module: &Path, into: &Path) -> Result<(), Problem> {
    let mut bytes = fs::read(module).map_err(|error| unreadable(module, &error))?;
    let wit = plugin.dir.join(WIT);
    let text = fs::read_to_string(&wit).map_err(|error| unreadable(&wit, &error))?;
    let mut resolve = Resolve::default();
    let world = resolve
        .push_source(WIT, &text)
        .and_then(|package| resolve.select_world(&[package], None))
        .map_err(|error| no_component(plugin, &error))?;
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8, false)
        .map_err(|error| no_component(plugin, &error))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .and_then(ComponentEncoder::encode)
        .map_err(|error| no_component(plugin, &error))?;
    super::put(into, &component)
}

fn no_component(plugin: &Project, error: &dyn Display) -> Problem {
    Problem::new(
        ProblemCode::PluginBuild,
        format!("{} is not a component of the plugin contract: {error:#}", plugin.name),
    )
    .remedy("keep `sdk/` as `berth plugin new` created it, and import only from it and from libc")
}
