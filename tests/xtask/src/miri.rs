//! `cargo xtask miri`: the tests of the SDK under Miri, which finds undefined behaviour. The SDK has the only
//! code of Berth that reads memory by its own rules.

use anyhow::{Context, Result, ensure};

use crate::repo::{Repo, run};

/// Miri is a part of nightly compilers only.
const TOOLCHAIN: &str = "+nightly";

pub(crate) fn test(repo: &Repo) -> Result<()> {
    let mut version = repo.command("cargo");
    let found = version.args([TOOLCHAIN, "miri", "--version"]).output().context("could not start `cargo`")?;
    ensure!(
        found.status.success(),
        "there is no Miri: `rustup toolchain install nightly --component miri,rust-src` brings it"
    );
    // Not the cargo that runs this: it belongs to the pinned compiler.
    let mut tests = repo.guest_command("cargo", &repo.path("plugins"));
    tests.args([TOOLCHAIN, "miri", "test", "--locked", "--package=berth-plugin", "--lib"]);
    run(tests.env_remove("RUSTUP_TOOLCHAIN").env("CARGO_TARGET_DIR", repo.path("target/miri")))
}
