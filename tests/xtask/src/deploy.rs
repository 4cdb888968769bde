//! `cargo xtask deploy`: checks the deployment examples with helm, cfn-lint, moto and Terraform's language, or
//! writes the files that follow from the chart and the plugins.

use std::path::Path;

use anyhow::Result;

use crate::{
    components,
    repo::{Repo, run},
    suite, venv,
};

/// Builds what the checks need, and runs them.
pub(crate) fn prepare_and_check(repo: &Repo, bless: bool) -> Result<()> {
    components::build(repo, false, true)?;
    let python = venv::ensure_with_tools(repo)?;
    let [berth] = suite::binaries(repo, ["berth"])?;
    check(repo, &python, &berth, bless)
}

/// Runs the checks; with `bless`, expected manifests and embedded policies are written instead of
/// compared.
pub(crate) fn check(repo: &Repo, python: &Path, berth: &Path, bless: bool) -> Result<()> {
    let mut tests = repo.command(python);
    tests.args(["-m", "pytest", "--quiet", "-p", "no:cacheprovider", "tests/deploy"]);
    suite::with_prepared(&mut tests, repo, berth);
    if bless {
        tests.env("BERTH_BLESS", "1");
    }
    run(&mut tests)
}
