//! Programs that only some tests need.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
};

/// Says that a test is left out because a program is missing. `missing` names it, and how to get it.
///
/// # Panics
/// In CI (`CI=true`): there everything is installed, and a test that is left out proves nothing.
pub fn left_out(missing: &str) {
    assert!(!may_not_be_left_out(env::var_os("CI").as_deref()), "{missing}; with CI=true all tests run");
    // Not by the macro: what that prints is hidden unless the test fails.
    writeln!(io::stderr(), "skipped: {missing}").expect("a standard error");
}

/// Whether this value of `CI` says that all tests must run.
fn may_not_be_left_out(ci: Option<&OsStr>) -> bool {
    ci.is_some_and(|ci| ci == "true" || ci == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_ci_all_tests_run() {
        for (ci, all) in [(None, false), (Some(""), false), (Some("false"), false), (Some("true"), true)] {
            assert_eq!(may_not_be_left_out(ci.map(OsStr::new)), all, "CI={ci:?}");
        }
    }
}
