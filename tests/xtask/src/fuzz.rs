//! `cargo xtask fuzz`: runs the targets of `tests/fuzz` under libFuzzer. See the README there.
//!
//! Everything is stable Rust: the coverage instrumentation is LLVM's own. Only the fuzzed crates are compiled with
//! it. Everything else comes from the build of the tests, so that a run in CI does not compile it twice. For that,
//! the task runner is cargo's `RUSTC_WRAPPER`, and adds the flags for these crates.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    repo::{Repo, exit_code_of},
    suite::{executable, messages_of},
};

/// What counts edges and comparisons, for LLVM.
const COVERAGE: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// The packages that are compiled with it: those that are fuzzed, and parsers on which nothing else depends.
/// A crate in which most of Berth has a part would have all of that compiled again.
const INSTRUMENTED: &[&str] = &[
    "berth",
    "berth-aws-protocol",
    "berth-core",
    "berth-fuzz",
    "berth-plugin",
    "berth-port",
    "berth-sync",
    "jaq-core",
    "jaq-json",
    "jaq-std",
    "jq",
    "quick-xml",
];

/// Those of them that are optimised: where most of the time of a run is spent.
const QUICK: &[&str] =
    &["berth-aws-protocol", "berth-plugin", "jaq-core", "jaq-json", "jaq-std", "jq", "quick-xml"];

/// Set where the task runner is called in the compiler's place.
const WRAPS: &str = "BERTH_FUZZ_WRAPS_RUSTC";

/// The inputs that are kept, one folder for each target.
const CORPORA: &str = "tests/fuzz/corpus";
/// The target that needs all of Berth.
const SETTINGS: &str = "settings";

/// No input of the corpora is longer, so that one stays readable.
const LONGEST: &str = "-max_len=4096";
/// An input that takes longer is a mistake: most take less than a millisecond.
const TIMEOUT: &str = "-timeout=20";
const MEMORY: &str = "-rss_limit_mb=2048";

/// What to fuzz, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Fuzz only these targets (default: all except `settings`, which needs a second build of Berth)
    targets: Vec<String>,
    /// How many seconds each target runs
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// How many targets run at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// Builds the binary, and runs its targets.
pub(crate) fn run(repo: &Repo, options: &Options) -> Result<()> {
    let all = names_in(&repo.path(CORPORA))?;
    let mut targets = options.targets.clone();
    if targets.is_empty() {
        targets = all.iter().filter(|name| *name != SETTINGS).cloned().collect();
    }
    if let Some(unknown) = targets.iter().find(|name| !all.contains(name)) {
        bail!("there is no target `{unknown}`; there are: {}", all.join(", "));
    }
    let binary = build(repo, targets.iter().any(|name| name == SETTINGS))?;
    let mut waiting = targets.iter();
    let mut running: Vec<(&String, Child)> = Vec::new();
    let mut failed = Vec::new();
    loop {
        while running.len() < options.jobs.max(1)
            && let Some(target) = waiting.next()
        {
            running.push((target, start(repo, &binary, target, options)?));
        }
        if running.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
        let mut index = 0;
        while index < running.len() {
            let Some(status) = running[index].1.try_wait()? else {
                index += 1;
                continue;
            };
            let (target, _) = running.remove(index);
            let log = log(repo, target);
            let text = fs::read(&log).with_context(|| format!("could not read {}", log.display()))?;
            println!("{target:>16}: {}", summary(&String::from_utf8_lossy(&text)));
            if !status.success() {
                failed.push(format!("{target}: {}", repo.shown(&log)));
            }
        }
    }
    ensure!(
        failed.is_empty(),
        "targets failed; these logs tell why, and name the input in target/fuzz/failures:\n{}",
        failed.join("\n")
    );
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Runs the compiler, in whose place cargo called this program. `None` where it was called for another reason.
pub(crate) fn wrap_rustc() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let mut arguments = std::env::args_os().skip(1);
    let mut rustc = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.to_str()
    };
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let is_script = after("--crate-name").is_none_or(|name| name.starts_with("build_script"));
    if INSTRUMENTED.contains(&package.as_str()) && !is_script {
        rustc.args(COVERAGE);
    }
    Some(exit_code_of(rustc.args(arguments)))
}

/// One binary with all targets. Of the whole workspace, so that dependencies have the features that the tests
/// have compiled them with.
fn build(repo: &Repo, settings: bool) -> Result<PathBuf> {
    let mut cargo = repo.cargo();
    let mut arguments: Vec<String> =
        ["build", "--locked", "--workspace", "--bin=fuzz", "--features=berth-fuzz/libfuzzer"]
            .map(Into::into)
            .into();
    if settings {
        arguments.push("--features=berth-fuzz/settings".to_owned());
    }
    // Other settings of the compiler than those of the tests, so that neither build is taken for the other.
    for package in INSTRUMENTED {
        let setting = if QUICK.contains(package) { "opt-level=1" } else { "codegen-units=16" };
        arguments.push(format!("--config=profile.dev.package.{package}.{setting}"));
    }
    // libFuzzer itself, which makes the inputs.
    arguments.push("--config=profile.dev.package.libfuzzer-sys.opt-level=2".to_owned());
    cargo.env("RUSTC_WRAPPER", repo.program()).env(WRAPS, "1");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    cargo.args(arguments);
    executable(&messages_of(cargo, &[])?, "bin", "fuzz").context("cargo built no `fuzz`")
}

/// Starts a target. What it says goes to a log, what it finds to `target/fuzz/found`.
fn start(repo: &Repo, binary: &Path, target: &str, options: &Options) -> Result<Child> {
    let found = repo.path("target/fuzz/found").join(target);
    let failures = repo.path("target/fuzz/failures");
    for folder in [&found, &failures] {
        fs::create_dir_all(folder).with_context(|| format!("could not create {}", folder.display()))?;
    }
    let log = log(repo, target);
    let log = fs::File::create(&log).with_context(|| format!("could not create {}", log.display()))?;
    let failures = failures.join(format!("{target}-"));
    let mut command = repo.command(binary);
    command
        .args([LONGEST, TIMEOUT, MEMORY, "-print_final_stats=1"])
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-artifact_prefix={}", failures.display()))
        .args([&found, &repo.path(CORPORA).join(target)])
        .env("BERTH_FUZZ_TARGET", target)
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().with_context(|| format!("could not start {}", binary.display()))
}

fn log(repo: &Repo, target: &str) -> PathBuf {
    repo.path("target/fuzz").join(format!("{target}.log"))
}

/// What a log says of a run: how many inputs, how much of the code they reached, how many are worth keeping.
fn summary(log: &str) -> String {
    let last = |name: &str| {
        let mut values =
            log.lines().rev().filter_map(|line| line.split_once(name)).map(|(_, rest)| rest.trim());
        values.next().and_then(|rest| rest.split_whitespace().next()).unwrap_or("?").to_owned()
    };
    let (runs, edges) = (last("stat::number_of_executed_units:"), last(" cov: "));
    let (features, kept) = (last(" ft: "), last(" corp: "));
    format!("{runs} inputs, {edges} edges, {features} features, {kept} inputs kept")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_summed_up() {
        let log = "#2\tINITED cov: 10 ft: 11 corp: 2/9b exec/s: 0 rss: 40Mb\n\
                   #900\tDONE   cov: 25 ft: 61 corp: 7/99b lim: 4096 exec/s: 450 rss: 50Mb\n\
                   stat::number_of_executed_units: 900\nstat::average_exec_per_sec:     450\n";
        assert_eq!(summary(log), "900 inputs, 25 edges, 61 features, 7/99b inputs kept");
        assert_eq!(summary("error: no"), "? inputs, ? edges, ? features, ? inputs kept");
    }
}
