//! `cargo xtask bench`: what the sandbox costs, and what a resync costs. `tests/BENCHMARKS.md` tells
//! how the figures come about.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    components,
    repo::{Repo, run},
    suite::{executable, messages},
};

/// Mapping a kind takes this many times as long in the sandbox as without it, at most, or the short
/// benchmark fails. Measured are 2.2 to 3.0 with the binaries of a debug build, where the host's part
/// is slower than in a release; the limit leaves a fifth for the noise of a machine that does much else.
const SMOKE_LIMIT: &str = "3.6";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// For CI, with debug builds: mapping in batches of 100, and the resync of profile S. Fails when a
    /// ratio is worse than it was.
    Smoke,
    /// Single steps: loading, mapping, decoding, comparing, remembering.
    Micro,
    /// 3 accounts × 2 regions.
    S,
    /// 10 accounts × 4 regions, some 13,000 entities.
    M,
    /// As M, with few resources, and answers of AWS that take 50 ms.
    Slow,
}

/// Builds what is needed, and runs it.
pub(crate) fn start(repo: &Repo, profile: Profile) -> Result<()> {
    components::build(repo, false, false)?;
    let release = profile != Profile::Smoke;
    let micro = |bench: &Path, allocator: &str, more: &[&str]| {
        let mut command = repo.command(bench);
        command.args(["micro", "--components", "target/components/plugins"]).args(more);
        run(command.env("BERTH_BENCH_ALLOCATOR", allocator))
    };
    if profile == Profile::Micro {
        let bench = build(repo, release, &["berth-bench"], &["--features", "berth-bench/all-kinds"])?;
        let bench = bench.first().context("cargo built nothing")?;
        for allocator in ["mimalloc", "system"] {
            micro(bench, allocator, &[])?;
        }
        return Ok(());
    }
    let programs = build(repo, release, &["berth-bench", "berth", "aws-simulator", "port-stand-in"], &[])?;
    let [bench, berth, simulator, port] = &programs[..] else { anyhow::bail!("cargo built too little") };
    let size = match profile {
        Profile::Smoke => {
            micro(bench, "mimalloc", &["--brief", "--rounds", "15", "--fail-above", SMOKE_LIMIT])?;
            "S"
        }
        Profile::M => "M",
        Profile::Slow => "slow",
        Profile::S | Profile::Micro => "S",
    };
    let mut resync = repo.command(bench);
    resync.args(["resync", size, "--components", "target/components/plugins", "--berth"]);
    resync.arg(berth).arg("--simulator").arg(simulator).arg("--port").arg(port);
    run(&mut resync)
}

/// Builds programs; those of a debug build as one set with the tests, which has its dependencies built
/// already.
fn build(repo: &Repo, release: bool, names: &[&str], more: &[&str]) -> Result<Vec<PathBuf>> {
    let mut arguments = vec!["build", "--locked"];
    if release {
        arguments.push("--release");
        arguments.extend(names.iter().flat_map(|name| ["--package", name]));
    } else {
        // The example needs what tests need, hence the features are those of the tests.
        arguments.extend(["--workspace", "--example", "pack-models"]);
    }
    arguments.extend(names.iter().flat_map(|name| ["--bin", name]));
    arguments.extend(more);
    let messages = messages(repo, &arguments)?;
    let path =
        |name: &&str| executable(&messages, "bin", name).with_context(|| format!("cargo built no `{name}`"));
    names.iter().map(path).collect()
}
