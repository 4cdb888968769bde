//! The repository's folders, and commands that run in them.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail};

/// The repository this task runner was built from.
pub(crate) struct Repo {
    root: PathBuf,
    program: PathBuf,
}

impl Repo {
    /// Finds the repository: two folders above the task runner's own manifest.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest
            .ancestors()
            .nth(2)
            .with_context(|| format!("{} is not tests/xtask of a repository", manifest.display()))?;
        // Asked at the start: later the file may be another one, since builds of all programs write it anew.
        let program = std::env::current_exe().context("this program's own path is unknown")?;
        Ok(Self { root: root.to_owned(), program })
    }

    /// This task runner as a program, to be called in the compiler's place.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// A path inside the repository.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// The path of a command's output, as it is told to people.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }

    /// A command that starts in the repository's top folder.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// The cargo that runs this task runner, without what it says of this task runner: `ring` is compiled anew
    /// where that has changed, with all that needs it, such as from `cargo xtask test` to `cargo test`.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = self.command(cargo_program());
        for (name, _) in std::env::vars_os() {
            let is_ours =
                |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|of| name.starts_with(of));
            if name.to_str().is_some_and(is_ours) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Cargo in a guest workspace: what the caller set for building the host (flags, target,
    /// wrapper) must reach no guest.
    pub(crate) fn guest_cargo(&self, workspace: &Path) -> Command {
        self.guest_command(cargo_program(), workspace)
    }

    /// The same for another cargo.
    pub(crate) fn guest_command(&self, cargo: impl AsRef<OsStr>, workspace: &Path) -> Command {
        let mut command = self.command(cargo);
        command.current_dir(workspace);
        for variable in [
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_BUILD_TARGET",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET_DIR",
        ] {
            command.env_remove(variable);
        }
        command
    }
}

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a command with its output shown, and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a command in whose place this program was called, and gives its exit code.
pub(crate) fn exit_code_of(command: &mut Command) -> ExitCode {
    let code = command.status().ok().and_then(|status| status.code());
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Runs a command and gives its standard output; what it says on standard error is shown.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not start `{}`", line(command)))?;
    if !done.status.success() {
        bail!("`{}` failed ({})", line(command), done.status);
    }
    String::from_utf8(done.stdout).with_context(|| format!("`{}` printed no UTF-8", line(command)))
}

/// Whether a program can be started at all.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

/// All files below a folder.
pub(crate) fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files_below(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Writes a file whole or not at all, and only when its bytes differ. Says whether it wrote.
pub(crate) fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<bool> {
    let same = fs::read(path).is_ok_and(|held| held == bytes);
    if same {
        return Ok(false);
    }
    let folder = path.parent().with_context(|| format!("{} has no folder", path.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    fs::write(&partial, bytes).with_context(|| format!("could not write {}", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("could not write {}", path.display()))?;
    Ok(true)
}
