//! `cargo xtask test`: runs everything that a change must pass.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    components, deploy, image, models, package, readme,
    repo::{Repo, run},
    tidy, venv,
};

/// Runs every phase, stops at the first that fails, and always ends with one line of times.
/// With `all`, the container image is built and tested too, which takes its time.
/// With `kafka`, Berth talks to the cluster of librdkafka, which is compiled for that alone.
pub(crate) fn test(repo: &Repo, all: bool, kafka: bool, arguments: &[String]) -> Result<()> {
    let mut phases = Phases::default();
    let outcome = phases.run_all(repo, all, kafka, arguments);
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("\nxtask test: {verdict} in {} ({})", shown(phases.total()), phases.summary());
    outcome
}

/// What was run, and how long it took.
#[derive(Default)]
struct Phases(Vec<(&'static str, Duration)>);

impl Phases {
    fn run_all(&mut self, repo: &Repo, all: bool, kafka: bool, arguments: &[String]) -> Result<()> {
        self.run("tidy", || tidy::check(repo))?;
        self.run("readme", || readme::run(repo, true))?;
        // Python's packages arrive while the components are compiled.
        let python = std::thread::scope(|scope| {
            let python = scope.spawn(|| venv::ensure_with_tools(repo));
            self.run("components", || components::build(repo, true, true))?;
            self.run("venv", || python.join().map_err(|_| anyhow::anyhow!("the installation panicked"))?)
        })?;
        let built = self.run("build", || build(repo))?;
        // While cargo compiles the plugins' tests, what Python does alone finds a core that is free.
        std::thread::scope(|scope| {
            let mut tests = repo.guest_cargo(&repo.path("plugins"));
            tests.args(["test", "--locked"]).env("BERTH_TEST_PYTHON", &python);
            let plugins = scope.spawn(move || run(&mut tests));
            self.run("packages", || package::check(repo))?;
            self.run("models", || models::run_models(repo, true, built.packer.as_deref()))?;
            self.run("deploy", || deploy::check(repo, &python, &built.berth, false))?;
            let joined = || plugins.join().map_err(|_| anyhow::anyhow!("the plugins' tests panicked"))?;
            self.run("plugins", joined)
        })?;
        let tests = |more: &[&str]| {
            let mut tests = repo.cargo();
            tests.args(["test", "--locked", "--no-fail-fast"]).args(more);
            tests.env("BERTH_TEST_PYTHON", &python);
            with_prepared(&mut tests, repo, &built.berth);
            // Most end-to-end tests wait half of their time, for AWS in Python and for each other.
            if std::env::var_os("RUST_TEST_THREADS").is_none() {
                let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
                tests.env("RUST_TEST_THREADS", (2 * cores).to_string());
            }
            tests
        };
        self.run("host", || run(tests(&["--workspace"]).args(arguments)))?;
        if kafka {
            let mock = ["--workspace", "--features=berth-e2e/mock-kafka", "--test=e2e", "--", "kafka_mock::"];
            self.run("kafka", || run(&mut tests(&mock)))?;
        }
        if let (true, Some(missing)) = (all, image::missing()) {
            anyhow::ensure!(!in_ci(), "the image is not tested: {missing}");
            println!("\nxtask test: image skipped: {missing}");
        } else if all {
            let image = self.run("image", || image::build(repo, image::Build::Test))?;
            self.run("image tests", || {
                let mut tests = tests(&["--workspace", "--test=e2e", "--", "image::", "--ignored"]);
                // What the tests tell of size and time is part of the result, so one runs after the other.
                tests.args(["--nocapture", "--test-threads=1"]).env("BERTH_TEST_IMAGE", &image.name);
                run(tests.env("BERTH_TEST_IMAGE_STORAGE", &image.storage))
            })?;
            // What is shipped lists regions with the official SDK, which is compiled for the image alone. The
            // tests of that are the same.
            self.run("regions by the SDK", || {
                let mut shipped = tests(&["--workspace", "--test=e2e", "--", "network::", "regions::"]);
                shipped.env("BERTH_TEST_BIN", image.root.join("usr/bin/berth"));
                run(shipped.env("BERTH_TEST_COMPONENTS", &image.root))?;
                let mut library = image::cargo(repo, image::Build::Test, "test")?;
                library.args(["--package=berth-aws", "--test=it", "--", "regions"]);
                run(library.env("BERTH_TEST_PYTHON", &python))
            })?;
        }
        Ok(())
    }

    fn run<T>(&mut self, name: &'static str, phase: impl FnOnce() -> Result<T>) -> Result<T> {
        println!("\nxtask test: {name}");
        let start = Instant::now();
        let outcome = phase();
        self.0.push((name, start.elapsed()));
        outcome.with_context(|| format!("phase `{name}`"))
    }

    fn total(&self) -> Duration {
        self.0.iter().map(|(_, time)| *time).sum()
    }

    fn summary(&self) -> String {
        let parts: Vec<String> =
            self.0.iter().map(|(name, time)| format!("{name} {}", shown(*time))).collect();
        parts.join(", ")
    }
}

/// Whether CI runs this: there everything is installed, and nothing may be left out.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true" || ci == "1")
}

fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// Tells tests where the binary and the components are.
pub(crate) fn with_prepared(tests: &mut Command, repo: &Repo, berth: &Path) {
    tests
        .env("BERTH_TEST_BIN", berth)
        .env("BERTH_TEST_COMPONENTS", repo.path("target/components"))
        .env("BERTH_TEST_CACHE", repo.path("target/test-cache"));
}

/// Executables that the build of the tests leaves behind.
struct Built {
    berth: PathBuf,
    packer: Option<PathBuf>,
}

/// Builds every test and what the tests start. As one set: a binary built by itself would have its
/// dependencies compiled again, with the features that no test asks for left out.
fn build(repo: &Repo) -> Result<Built> {
    // Not `--all-targets`, which links tests of what says that it has none, such as the program.
    let all = ["build", "--workspace", "--lib", "--bins", "--examples", "--tests", "--locked"];
    let messages = messages(repo, &all)?;
    let berth = executable(&messages, "bin", "berth").context("cargo built no `berth`")?;
    Ok(Built { berth, packer: executable(&messages, "example", "pack-models") })
}

/// Builds `berth` as the tests do, and gives its path.
pub(crate) fn build_berth(repo: &Repo) -> Result<PathBuf> {
    build(repo).map(|built| built.berth)
}

/// Builds the binaries of packages of the same names, as one set, and gives their paths.
pub(crate) fn binaries<const N: usize>(repo: &Repo, names: [&str; N]) -> Result<[PathBuf; N]> {
    let mut arguments = vec!["build", "--bins"];
    arguments.extend(names.iter().flat_map(|name| ["--package", name]));
    let messages = messages(repo, &arguments)?;
    let mut paths = names.map(|_| PathBuf::new());
    for (path, name) in paths.iter_mut().zip(names) {
        *path = executable(&messages, "bin", name).with_context(|| format!("cargo built no `{name}`"))?;
    }
    Ok(paths)
}

/// Runs cargo and gives its messages for programs; those for people are shown.
pub(crate) fn messages(repo: &Repo, arguments: &[&str]) -> Result<String> {
    let mut cargo = repo.cargo();
    cargo.args(arguments);
    messages_of(cargo, &[])
}

/// Runs what builds as cargo does, and gives its messages for programs. The arguments are the compiler's, for
/// `cargo rustc`.
pub(crate) fn messages_of(mut cargo: Command, arguments: &[&str]) -> Result<String> {
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    if !arguments.is_empty() {
        cargo.arg("--").args(arguments);
    }
    crate::repo::output(&mut cargo)
}

pub(crate) fn executable(messages: &str, kind: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            let target = &message["target"];
            // The unit tests of a binary carry its name too.
            target["name"] == name && target["kind"][0] == kind && message["profile"]["test"] == false
        })
        .find_map(|message| message["executable"].as_str().map(|path| Path::new(path).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_distinguished_from_its_unit_tests() {
        let line = |kind: &str, test: bool, path: &str| {
            serde_json::json!({"reason": "compiler-artifact", "executable": path,
                "target": {"name": "berth", "kind": [kind]}, "profile": {"test": test}})
            .to_string()
        };
        let messages =
            [line("lib", false, "a"), line("bin", true, "b"), line("bin", false, "c"), "noise".into()];
        assert_eq!(executable(&messages.join("\n"), "bin", "berth"), Some(PathBuf::from("c")));
        assert_eq!(executable(&messages[1], "bin", "berth"), None);
    }
}
