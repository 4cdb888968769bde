//! Checks the promises of `SECURITY.md`: each named test exists, and dependencies are pinned.

use std::{fs, path::Path};

/// Tests that the page names and that are not there. A name in backquotes belongs to the last file before
/// it.
pub(crate) fn tests(root: &Path, page: &str) -> Vec<String> {
    let mut offences = Vec::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let mut text = None;
        for word in line.split('`').skip(1).step_by(2) {
            if Path::new(word).extension().is_some_and(|extension| extension == "rs") {
                text = fs::read_to_string(root.join(word)).ok();
                if text.is_none() {
                    offences.push(format!("SECURITY.md names `{word}`, which is not there"));
                }
            } else if is_test(word)
                && let Some(text) = &text
                && !text.contains(&format!("fn {word}("))
            {
                offences
                    .push(format!("SECURITY.md names the test `{word}`, which is not in the file before it"));
            }
        }
    }
    offences
}

fn is_test(word: &str) -> bool {
    word.matches('_').count() > 2
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Base images and actions that are not pinned by a digest.
pub(crate) fn pins(name: &str, text: &str) -> Vec<String> {
    let of = |line: &str| {
        let (what, is_pinned) = if let Some(image) = line.strip_prefix("FROM ") {
            let image = image.split_whitespace().next()?;
            let digest = image.split_once("@sha256:").map_or("", |(_, digest)| digest);
            (image, image == "scratch" || is_hex(digest, 64))
        } else {
            let action = line.trim_start().trim_start_matches("- ").strip_prefix("uses: ")?;
            let action = action.split_whitespace().next()?;
            (action, is_hex(action.split_once('@').map_or("", |(_, commit)| commit), 40))
        };
        (!is_pinned).then(|| format!("{name} uses `{what}`, which is not pinned by a digest"))
    };
    text.lines().filter_map(of).collect()
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_promise_without_its_test_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = "| a | `src/security.rs`, `a_promise_without_its_test_is_found` |\n\
                    | b | `src/security.rs`, `a_test_that_is_not_there` |\n| c | `src/nowhere.rs` |\n\
                    | d | `berth run` and `OCEAN__INGEST_DOMAINS` |";
        let offences = tests(root, page);
        assert_eq!(offences.len(), 2, "{offences:?}");
        assert!(
            offences[0].contains("a_test_that_is_not_there") && offences[1].contains("nowhere"),
            "{offences:?}"
        );
    }

    #[test]
    fn what_is_not_pinned_is_found() {
        let digest = "a".repeat(64);
        let file =
            format!("FROM rust:1 AS build\nFROM rust:1@sha256:{digest} AS build\nFROM scratch\nCOPY x /\n");
        assert_eq!(pins("Dockerfile", &file).len(), 1);
        let workflow = format!("  - uses: actions/checkout@v4\n  - uses: a/b@{} # v4\n", "b".repeat(40));
        assert_eq!(pins("ci.yml", &workflow).len(), 1);
    }
}
