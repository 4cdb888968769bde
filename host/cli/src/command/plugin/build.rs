//! `berth plugin build`: builds a plugin's folder into a component.

mod javascript;
mod python;
mod rust;
mod zig;

use std::{
    borrow::Cow,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use berth_embed::{Problem, ProblemCode};
use serde_json::{Value, json};
use wasm_encoder::{ComponentSection as _, CustomSection};

use crate::output::CommandOutput;

/// Name of the section that holds the manifest. The host reads it without compiling the plugin, which is slow
/// for an interpreter.
const MANIFEST_SECTION: &str = "berth:manifest";
/// Folders that do not go into a component.
const NO_SOURCES: &[&str] = &["__pycache__", "fixtures", "golden", "node_modules", "target"];

/// A component that was built.
pub(super) struct Built {
    pub(super) file: PathBuf,
    bytes: usize,
}

impl Built {
    pub(super) fn output(&self, as_json: bool) -> CommandOutput {
        if as_json {
            json!({"file": self.file, "bytes": self.bytes}).into()
        } else {
            format!("{} ({} KiB)", self.file.display(), self.bytes.div_ceil(1024)).into()
        }
    }

    fn write(file: PathBuf, component: &[u8]) -> Result<Self, Problem> {
        put(&file, component)?;
        Ok(Self { file, bytes: component.len() })
    }
}

/// Builds the plugin of a folder.
///
/// # Errors
/// A [`Problem`] with the toolchain's message, or with what is missing and how to get it.
pub(super) fn build(dir: &Path) -> Result<Built, Problem> {
    let has = |name: &str| dir.join(name).is_file();
    if has("Cargo.toml") {
        rust::build(dir)
    } else if has("package.json") {
        Project::read(dir)?.build(javascript::build)
    } else if has(zig::C) {
        Project::read(dir)?.build(zig::build_c)
    } else if has(zig::ZIG) {
        Project::read(dir)?.build(zig::build_zig)
    } else if has("requirements.txt") {
        Project::read(dir)?.build(python::build)
    } else if has("pyproject.toml") {
        Err(Problem::new(
            ProblemCode::PluginBuild,
            format!("{} has a pyproject.toml, but no requirements.txt", dir.display()),
        )
        .remedy("list `componentize-py` in a requirements.txt, as `berth plugin new --lang python` does"))
    } else {
        Err(Problem::new(
            ProblemCode::PluginBuild,
            format!(
                "{} has no Cargo.toml (Rust), package.json (JavaScript), mapping.c (C), mapping.zig (Zig) or \
             requirements.txt (Python)",
                dir.display()
            ),
        )
        .remedy(
            "name the folder of a plugin (`berth plugin new` creates one); build components of other \
            languages with their own tools",
        ))
    }
}

/// A plugin in a language other than Rust: its folder holds the code, `manifest.json` and the SDK.
struct Project {
    dir: PathBuf,
    /// The text of `manifest.json`.
    manifest: String,
    /// The plugin's name.
    name: String,
}

impl Project {
    fn read(dir: &Path) -> Result<Self, Problem> {
        // The tools run in the folder, so paths must not depend on the working directory.
        let dir = dir.canonicalize().map_err(|error| unreadable(dir, &error))?;
        let file = dir.join("manifest.json");
        let manifest = fs::read_to_string(&file).map_err(|error| {
            unreadable(&file, &error)
                .remedy("write one: `berth plugin new` does, and wit/README.md describes it")
        })?;
        let parsed: Value = serde_json::from_str(&manifest).map_err(|error| {
            Problem::new(ProblemCode::PluginBuild, format!("{} is not JSON: {error}", file.display()))
        })?;
        let name = parsed["name"].as_str().filter(|name| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        });
        let name = name.ok_or_else(|| {
            Problem::new(
                ProblemCode::PluginBuild,
                format!("{} has no `name` of letters, digits and dashes", file.display()),
            )
        })?;
        Ok(Self { name: name.to_owned(), dir, manifest })
    }

    /// Builds the component with a language's tools, which write it to the given file, unless it is newer
    /// than all of its sources.
    fn build(&self, make: fn(&Self, &Path) -> Result<(), Problem>) -> Result<Built, Problem> {
        let file = self.target("plugin").join(format!("{}.wasm", self.name));
        let written = fs::metadata(&file).and_then(|found| Ok((found.modified()?, found.len())));
        if let (Ok((written, bytes)), Ok(changed)) = (written, changed(&self.dir, true))
            && written > changed
        {
            return Ok(Built { file, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) });
        }
        let made = self.target("component.wasm");
        fs::create_dir_all(self.target("plugin")).map_err(|error| unwritable(&made, &error))?;
        make(self, &made)?;
        let mut component = fs::read(&made).map_err(|error| unreadable(&made, &error))?;
        CustomSection { name: MANIFEST_SECTION.into(), data: Cow::Borrowed(self.manifest.as_bytes()) }
            .append_to_component(&mut component);
        Built::write(file, &component)
    }

    /// Returns the path of a build output below the folder.
    fn target(&self, name: &str) -> PathBuf {
        self.dir.join("target").join(name)
    }

    /// Returns a command that runs in the plugin's folder. Its output is for people.
    fn command(&self, tool: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(tool);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(io::stderr());
        command
    }
}

/// Returns when the newest file below a folder was written, or a folder below it changed.
fn changed(dir: &Path, top: bool) -> io::Result<SystemTime> {
    let mut newest = if top { SystemTime::UNIX_EPOCH } else { fs::metadata(dir)?.modified()? };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name.ends_with(".md") || NO_SOURCES.contains(&&*name) {
            continue;
        }
        let kind = entry.file_type()?;
        newest = newest.max(if kind.is_dir() {
            changed(&entry.path(), false)?
        } else {
            entry.metadata()?.modified()?
        });
    }
    Ok(newest)
}

/// How to get a toolchain.
struct Tool {
    remedy: &'static str,
}

impl Tool {
    fn missing(&self, tool: &str, error: &io::Error) -> Problem {
        let problem = Problem::new(ProblemCode::PluginBuild, format!("cannot start `{tool}`: {error}"));
        if error.kind() == ErrorKind::NotFound { problem.remedy(self.remedy) } else { problem }
    }

    /// Runs a tool to its end.
    fn run(&self, command_line: &str, command: &mut Command) -> Result<(), Problem> {
        let tool = command_line.split(' ').next().unwrap_or(command_line);
        let status = command.status().map_err(|error| self.missing(tool, &error))?;
        if status.success() {
            Ok(())
        } else {
            Err(Problem::new(ProblemCode::PluginBuild, format!("`{command_line}` failed"))
                .remedy("see the output above"))
        }
    }

    /// Checks that a tool is installed and recent enough: it prints a version that begins with these numbers
    /// or later ones.
    fn require(&self, command: &mut Command, tool: &str, least: (u32, u32)) -> Result<(), Problem> {
        let asked = command.stdout(Stdio::piped()).stderr(Stdio::null()).output();
        let asked = asked.map_err(|error| self.missing(tool, &error))?;
        let text = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let mut numbers =
            text.trim_start_matches(|c: char| !c.is_ascii_digit()).split('.').map(str::parse::<u32>);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= least => Ok(()),
            _ if text.is_empty() => Err(Problem::new(
                ProblemCode::PluginBuild,
                format!("`{tool} --version` failed ({})", asked.status),
            )
            .remedy(self.remedy)),
            _ => Err(Problem::new(ProblemCode::PluginBuild, format!("`{tool}` is too old: {text}"))
                .remedy(self.remedy)),
        }
    }
}

fn put(file: &Path, content: &[u8]) -> Result<(), Problem> {
    let made = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(file, content));
    made.map_err(|error| unwritable(file, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ProblemCode::FileUnreadable, format!("cannot read {}: {error}", path.display()))
}

fn unwritable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(ProblemCode::FileUnwritable, format!("cannot write {}: {error}", path.display()))
}
