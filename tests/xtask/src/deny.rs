//! `cargo xtask deny`: checks the dependencies: licenses, sources, duplicates, and known vulnerabilities if their
//! database is available.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::{
    repo::{Repo, run},
    tools::DENY,
};

/// The host, and the plugins, which are a workspace of their own. An exception that only the host needs
/// is no fault of the plugins; one that the host needs no more is.
const WORKSPACES: [(&str, &str); 2] = [("Cargo.toml", "--deny"), ("plugins/Cargo.toml", "--allow")];
const STALE: [&str; 3] = ["unmatched-skip", "unmatched-skip-root", "unnecessary-skip"];

pub(crate) fn check(repo: &Repo) -> Result<()> {
    for (manifest, stale) in WORKSPACES {
        println!("deny: {manifest}");
        let mut deny = deny(repo, manifest)?;
        deny.args(["check", "--hide-inclusion-graph"]).args(STALE.iter().flat_map(|lint| [stale, lint]));
        run(deny.args(["bans", "licenses", "sources"]))?;
    }
    // Not everybody may reach the database, and that is no fault of ours.
    let mut fetch = deny(repo, WORKSPACES[0].0)?;
    if !fetch.args(["fetch", "db"]).stderr(Stdio::null()).status()?.success() {
        println!("deny: the database of vulnerabilities cannot be had here; they are not checked");
        return Ok(());
    }
    for (manifest, _) in WORKSPACES {
        run(deny(repo, manifest)?.args(["check", "--disable-fetch", "advisories"]))?;
    }
    Ok(())
}

fn deny(repo: &Repo, manifest: &str) -> Result<Command> {
    let mut deny = DENY.command(repo)?;
    deny.args(["--manifest-path", manifest, "--locked", "--config"]).arg(repo.path(".deny.toml"));
    Ok(deny)
}
