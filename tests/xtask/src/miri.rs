//! `cargo xtask miri` and `cargo xtask asan`: run the tests of the SDK under Miri, which finds undefined behaviour,
//! and under `AddressSanitizer`, which finds reads and writes outside of allocated memory. Only the SDK has code
//! that reads memory with its own rules.

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

/// The target that is instrumented. A target of its own keeps flags away from what runs while it builds.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// With the pinned compiler: it has the sanitizer's library, and takes the flag where it is told that it may.
pub(crate) fn test_with_address_sanitizer(repo: &Repo) -> Result<()> {
    let mut tests = repo.guest_cargo(&repo.path("plugins"));
    tests.args(["test", "--locked", "--package=berth-plugin", "--lib", "--target", TARGET]);
    tests.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
    run(tests.env("CARGO_TARGET_DIR", repo.path("target/asan")))
}
