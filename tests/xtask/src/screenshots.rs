//! `cargo xtask screenshots`: makes the screenshots of the status page for the README.

use anyhow::Result;

use crate::{
    components,
    repo::{Repo, run},
    suite, venv,
};

/// Takes them anew. Needs Chromium.
pub(crate) fn take(repo: &Repo) -> Result<()> {
    components::build(repo, false, false)?;
    let python = venv::ensure(repo)?;
    let berth = suite::build_berth(repo)?;
    let mut tests = repo.cargo();
    tests.args([
        "test",
        "--package=berth-e2e",
        "--test=e2e",
        "--",
        "status::pictures",
        "--exact",
        "--ignored",
    ]);
    tests.env("BERTH_TEST_PYTHON", &python).env("BERTH_SCREENSHOTS", repo.path("examples/guides/images"));
    suite::with_prepared(&mut tests, repo, &berth);
    run(&mut tests)
}
