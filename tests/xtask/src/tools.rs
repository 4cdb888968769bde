//! Programs for cargo that the project uses, in the versions it was tested with, in `target/tools`.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;

use crate::repo::{Repo, run};

/// A program that cargo installs from the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Checks licenses, sources, duplicates and known vulnerabilities of dependencies.
pub(crate) const DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };
/// Writes into a binary which crates it was built from.
pub(crate) const AUDITABLE: Tool = Tool { name: "cargo-auditable", version: "0.7.7" };
/// Lists what a program was built from, for other programs.
pub(crate) const CYCLONEDX: Tool = Tool { name: "cargo-cyclonedx", version: "0.5.9" };

impl Tool {
    /// A command that runs it; it is installed first where it is not yet.
    pub(crate) fn command(self, repo: &Repo) -> Result<Command> {
        let program = self.program(repo);
        if !self.is_there(repo) {
            println!("tools: installing {} {}", self.name, self.version);
            let mut install = repo.guest_cargo(&repo.path("."));
            // Quickly: a program that works for seconds is not worth minutes of optimization.
            install.args(["install", "--quiet", "--locked", "--debug", "--force", self.name]);
            install.args(["--version", self.version, "--root"]).arg(repo.path("target/tools"));
            install.env("CARGO_PROFILE_DEV_DEBUG", "0");
            run(install.env("CARGO_TARGET_DIR", repo.path("target/tools/build")))?;
        }
        Ok(repo.command(program))
    }

    fn program(self, repo: &Repo) -> PathBuf {
        repo.path("target/tools/bin").join(self.name)
    }

    fn is_there(self, repo: &Repo) -> bool {
        // Cargo keeps a list of what it has installed, in which version.
        let installed = fs::read_to_string(repo.path("target/tools/.crates.toml")).unwrap_or_default();
        installed.contains(&format!("\"{} {} ", self.name, self.version)) && self.program(repo).is_file()
    }
}
