//! The `berth` binary as a process. It gets the environment of its test, and nothing else.

use std::{
    fmt,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use crate::aws::prepared;

/// How a run of the binary ended.
pub struct Run {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What people are told.
    pub stdout: String,
    /// Log and progress.
    pub stderr: String,
    /// The report (`--report`), null when the run wrote none.
    pub report: Value,
}

impl Run {
    pub(crate) fn of(command: &mut Command, report: &PathBuf) -> Self {
        let Output { status, stdout, stderr } =
            command.stdin(Stdio::null()).output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the binary prints UTF-8");
        let report = std::fs::read(report)
            .map(|bytes| serde_json::from_slice(&bytes).expect("the report is JSON"))
            .unwrap_or_default();
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr), report }
    }

    /// Checks the exit code; shows everything when it is another.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Checks that people are told something.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.contains(text), "`{text}` is not said: {self}");
        self
    }

    /// Checks that something is neither said nor logged nor reported.
    #[track_caller]
    pub fn hides(&self, secret: &str) -> &Self {
        assert!(
            !self.contains(secret) && !self.report.to_string().contains(secret),
            "`{secret}` is told: {self}"
        );
        self
    }

    /// However its lines are wrapped.
    fn contains(&self, text: &str) -> bool {
        let joined = |output: &str| output.split_whitespace().collect::<Vec<_>>().join(" ");
        [&self.stdout, &self.stderr]
            .iter()
            .any(|output| output.contains(text) || joined(output).contains(text))
    }

    /// The units of the report that are in this state: account, place (`-` for none), kind.
    pub fn units(&self, state: &str) -> Vec<(String, String, String)> {
        let units = self.report["units"].as_array().expect("a report lists units");
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        units
            .iter()
            .filter(|unit| unit["state"] == state)
            .map(|unit| &unit["unit"])
            .map(|unit| (text(&unit["account"]), text(&unit["place"]), text(&unit["kind"])))
            .collect()
    }

    /// One count of the report (`created`, `updated`, …), over all units.
    pub fn count(&self, name: &str) -> u64 {
        let units = self.report["units"].as_array().expect("a report lists units");
        units.iter().filter_map(|unit| unit["counts"][name].as_u64()).sum()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    let binary = prepared("BERTH_TEST_BIN", "target/debug/berth");
    assert!(binary.exists(), "no {}: run `cargo build --package berth`", binary.display());
    binary
}

/// A folder of components: `plugins` or `guests`.
pub(crate) fn components(name: &str) -> PathBuf {
    let folder = prepared("BERTH_TEST_COMPONENTS", "target/components").join(name);
    assert!(folder.is_dir(), "no {}: run `cargo xtask components --guests`", folder.display());
    folder
}

/// Where compiled components are kept from one run to the next.
pub(crate) fn cache() -> PathBuf {
    prepared("BERTH_TEST_CACHE", "target/test-cache")
}
