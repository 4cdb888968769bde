//! `cargo xtask bench`: measures the cost of the sandbox and of a resync. `tests/BENCHMARKS.md` explains the
//! figures.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    components,
    repo::{Repo, run},
    suite::{executable, messages, with_prepared},
};

/// Mapping a kind takes this many times as long in the sandbox as without it, at most, or the short
/// benchmark fails. Measured are 2.2 to 3.0 with the binaries of a debug build, where the host's part
/// is slower than in a release; the limit leaves a fifth for the noise of a machine that does much else.
const SMOKE_LIMIT: &str = "3.6";

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// Debug builds, for CI: map batches of 100, and resync profile S. Fails if mapping got slower, or if a
    /// resync writes although nothing changed
    Smoke,
    /// Single steps: load, map, decode, compare, remember
    Micro,
    /// 3 accounts × 2 regions, compared with the same without a sandbox
    S,
    /// 10 accounts × 4 regions, some 11,000 entities, compared with the same without a sandbox
    M,
    /// 40 accounts × 17 regions with few resources, AWS responses that take 100 ms
    Slow,
    /// 200 accounts × 10 regions × all kinds, some 490,000 entities; takes minutes
    L,
    /// 10,000 accounts × 17 regions, nine of ten units empty: started, and extrapolated; takes minutes
    X,
    /// 1,000 accounts × 10 regions × all kinds, Port slow and then unreachable for a minute: fails if memory
    /// grows; takes minutes
    Overload,
}

impl Profile {
    /// Its name for `berth-bench resync`, if it runs a resync.
    fn size(self) -> Option<&'static str> {
        match self {
            Self::Micro => None,
            Self::Smoke | Self::S => Some("S"),
            Self::M => Some("M"),
            Self::Slow => Some("slow"),
            Self::L => Some("L"),
            Self::X => Some("X"),
            Self::Overload => Some("overload"),
        }
    }
}

/// Builds the programs, and runs them. Measures `berth` instead of building one.
pub(crate) fn start(repo: &Repo, profile: Profile, berth: Option<PathBuf>, port_limits: bool) -> Result<()> {
    let absolute = |path: PathBuf| path.canonicalize().with_context(|| path.display().to_string());
    let berth = berth.map(absolute).transpose()?;
    anyhow::ensure!(
        berth.is_none() || profile.size().is_some(),
        "single steps are measured without `berth`: leave `--berth` out"
    );
    components::build(repo, false, false)?;
    let release = profile != Profile::Smoke;
    let micro = |bench: &Path, allocator: &str, more: &[&str]| {
        let mut command = repo.command(bench);
        command.args(["micro", "--components", "target/components/plugins"]).args(more);
        run(command.env("BERTH_BENCH_ALLOCATOR", allocator))
    };
    let Some(size) = profile.size() else {
        let bench = build(repo, release, &["berth-bench"], &["--features", "berth-bench/all-kinds"])?;
        let bench = bench.first().context("cargo built nothing")?;
        for allocator in ["mimalloc", "system"] {
            micro(bench, allocator, &[])?;
        }
        return Ok(());
    };
    let Programs { bench, simulator, port, berth } = Programs::build(repo, release, berth)?;
    let mut resync = repo.command(&bench);
    resync.args(["resync", size, "--components", "target/components/plugins"]);
    resync.arg("--berth").arg(&berth).arg("--simulator").arg(&simulator).arg("--port").arg(&port);
    if port_limits {
        resync.arg("--port-limits");
    }
    if profile == Profile::Overload {
        resync.arg("--strict");
    }
    if profile == Profile::Smoke {
        micro(&bench, "mimalloc", &["--brief", "--rounds", "15", "--fail-above", SMOKE_LIMIT])?;
        resync.args(["--rounds", "1", "--strict"]);
    }
    run(&mut resync)
}

/// The length of the soak's parts; 0 skips a part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Soak {
    pub(crate) scenarios: u32,
    pub(crate) resyncs: u32,
    pub(crate) kills: u32,
    pub(crate) kill_seed: Option<u64>,
}

/// Runs the host in simulated worlds. Then runs hundreds of resyncs of one service, and fails if memory, files,
/// threads or the ledger grow. Then kills hundreds of processes, and fails if Port loses a live entity.
pub(crate) fn soak(repo: &Repo, length: Soak, release: bool, berth: Option<PathBuf>) -> Result<()> {
    if length.scenarios > 0 {
        simulate(repo, length.scenarios, release)?;
    }
    if length.resyncs == 0 && length.kills == 0 {
        return Ok(());
    }
    components::build(repo, false, false)?;
    let Programs { bench, simulator, port, berth } = Programs::build(repo, release, berth)?;
    if length.resyncs > 0 {
        let mut soak = repo.command(&bench);
        soak.args(["soak", "--components", "target/components/plugins"]);
        soak.args(["--resyncs", &length.resyncs.to_string()]);
        soak.arg("--berth").arg(&berth).arg("--simulator").arg(&simulator).arg("--port").arg(&port);
        run(&mut soak)?;
    }
    if length.kills > 0 {
        kill(repo, length, &berth)?;
    }
    Ok(())
}

/// Runs the host in this many simulated worlds. The seeds begin where those of the tests end.
fn simulate(repo: &Repo, scenarios: u32, release: bool) -> Result<()> {
    let mut test = repo.cargo();
    test.args(["test", "--locked", "--test=simulation"]);
    if release {
        test.args(["--release", "--package=berth-simulation"]);
    } else {
        // With the features of all tests, whose dependencies are built already.
        test.arg("--workspace");
    }
    run(test.env("BERTH_SIMULATION_SEED", "1000").env("BERTH_SIMULATION_CASES", scenarios.to_string()))
}

/// Kills processes at random points, with the end-to-end tests. Prints how many were killed where.
fn kill(repo: &Repo, length: Soak, berth: &Path) -> Result<()> {
    let mut tests = repo.cargo();
    // With the features of all tests, whose dependencies are built already. One case at a time, so that their
    // output does not mix.
    tests.args([
        "test",
        "--locked",
        "--workspace",
        "--test=e2e",
        "--",
        "kill::",
        "--nocapture",
        "--test-threads=1",
    ]);
    with_prepared(&mut tests, repo, berth);
    tests.env("BERTH_KILLS", length.kills.to_string());
    if let Some(seed) = length.kill_seed {
        tests.env("BERTH_KILL_SEED", seed.to_string());
    }
    run(&mut tests)
}

/// The programs of a resync.
struct Programs {
    bench: PathBuf,
    simulator: PathBuf,
    port: PathBuf,
    berth: PathBuf,
}

impl Programs {
    /// Builds all of them except a given `berth`.
    fn build(repo: &Repo, release: bool, berth: Option<PathBuf>) -> Result<Self> {
        let mut names = vec!["berth-bench", "aws-simulator", "port-stand-in"];
        if berth.is_none() {
            names.push("berth");
        }
        let mut programs = build(repo, release, &names, &[])?.into_iter();
        let (Some(bench), Some(simulator), Some(port), Some(berth)) =
            (programs.next(), programs.next(), programs.next(), berth.or(programs.next()))
        else {
            anyhow::bail!("cargo built too little")
        };
        Ok(Self { bench, simulator, port, berth })
    }
}

/// Builds programs. Debug builds have the features of all tests, whose dependencies are built already.
fn build(repo: &Repo, release: bool, names: &[&str], more: &[&str]) -> Result<Vec<PathBuf>> {
    let mut arguments = vec!["build", "--locked"];
    if release {
        arguments.push("--release");
        arguments.extend(names.iter().flat_map(|name| ["--package", name]));
    } else {
        // The example has the dependencies of the tests, so the features are those of the tests.
        arguments.extend(["--workspace", "--example", "pack-models"]);
    }
    arguments.extend(names.iter().flat_map(|name| ["--bin", name]));
    arguments.extend(more);
    let messages = messages(repo, &arguments)?;
    let path =
        |name: &&str| executable(&messages, "bin", name).with_context(|| format!("cargo built no `{name}`"));
    names.iter().map(path).collect()
}
