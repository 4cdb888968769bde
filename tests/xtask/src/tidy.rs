//! House rules that no compiler checks: which crate may know which, what the top level holds, and
//! what must not stand in the sources.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::repo::{self, Repo};

/// The only arrows between the workspace's own crates: the middle, the wings and the leaf of
/// the design, and the two crates that wire them.
const ARROWS: &[(&str, &[&str])] = &[
    ("berth-core", &[]),
    ("berth-sync", &["berth-core"]),
    ("berth-aws-wire", &["berth-core"]),
    ("berth-aws", &["berth-core", "berth-aws-wire"]),
    ("berth-engine", &["berth-core"]),
    ("berth-port", &["berth-core"]),
    ("berth-ledger", &["berth-core"]),
    ("berth-embed", &["berth-core", "berth-sync", "berth-aws", "berth-engine", "berth-port", "berth-ledger"]),
    // The binary talks to the host through `berth-embed`; the others only for types in its settings.
    ("berth", &["berth-embed", "berth-core", "berth-sync", "berth-aws", "berth-engine", "berth-port"]),
    // The stand-in knows Port only from Port's contract, so that it can disagree with the host.
    ("port-stand-in", &[]),
    // The simulator takes plans and models from where the host takes them, and nothing of what the host makes
    // of them; moto keeps it honest.
    ("aws-simulator", &["berth-core", "berth-aws-wire"]),
    // Single steps are measured where they are made.
    ("berth-bench", &["berth-core", "berth-aws-wire", "berth-engine", "berth-ledger"]),
    ("berth-differential", &["berth-core", "berth-aws-wire"]),
    ("berth-e2e", &["aws-simulator", "berth-aws-wire", "berth-core", "port-stand-in"]),
    ("xtask", &[]),
];

/// What a host crate's tests may use besides.
const TEST_ONLY: &[&str] = &["port-stand-in"];

/// What the top level may hold besides dotfiles.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "examples",
    "host",
    "plugins",
    "rust-toolchain.toml",
    "target",
    "tests",
    "wit",
];

/// Folders that hold nothing of ours.
const SKIPPED: &[&str] = &[".git", "__pycache__", "node_modules", "target"];

/// The kinds of text that are looked through. Recorded answers (JSON) are not: they are others'.
const TEXT: &[&str] = &["md", "py", "rs", "sh", "toml", "wit", "yaml", "yml"];

/// Fails with every offence at once.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    let mut metadata = repo.cargo();
    metadata.args(["metadata", "--no-deps", "--format-version=1", "--locked"]);
    let metadata: Value = serde_json::from_str(&repo::output(&mut metadata)?)?;
    let mut offences = arrows(&metadata);

    let root = repo.path("");
    for entry in fs::read_dir(&root).context("could not list the repository")? {
        offences.extend(top_level(&entry?.file_name().to_string_lossy()));
    }
    let mut files = 0_usize;
    visit(&root, &mut |path| {
        let name = repo.shown(path).to_string().replace('\\', "/");
        if is_text(&name) {
            files += 1;
            let text = fs::read_to_string(path).with_context(|| format!("could not read {name}"))?;
            offences.extend(texts(&name, &text));
        }
        Ok(())
    })?;

    if offences.is_empty() {
        println!("tidy: {files} files, nothing to say");
        return Ok(());
    }
    for offence in &offences {
        eprintln!("tidy: {offence}");
    }
    bail!("{} of the house rules broken, see above", offences.len())
}

fn visit(folder: &Path, file: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            file(&entry.path())?;
        } else if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            visit(&entry.path(), file)?;
        }
    }
    Ok(())
}

fn is_text(name: &str) -> bool {
    name == ".ci/run" || Path::new(name).extension().is_some_and(|ext| TEXT.iter().any(|text| ext == *text))
}

/// Dependencies between the workspace's own crates that the design does not have.
fn arrows(metadata: &Value) -> Vec<String> {
    let mut offences = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            offences.push(format!(
                "the crate `{name}` is not in the design: place it in tests/xtask/src/tidy.rs"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let target = dependency["name"].as_str().unwrap_or_default();
            // The bundled plugins are a workspace of their own: only the benchmark compares with them.
            let plugin = name == "berth-bench"
                && dependency["path"].as_str().is_some_and(|path| path.contains("/plugins/"));
            let ours = !dependency["path"].is_null() && !plugin;
            let test_only = dependency["kind"] == "dev" && TEST_ONLY.contains(&target);
            // A crate may use itself in its tests, to switch on a feature.
            if ours && !allowed.contains(&target) && !test_only && target != name {
                offences.push(format!("`{name}` must not depend on `{target}`"));
            }
        }
    }
    offences
}

fn top_level(name: &str) -> Option<String> {
    let allowed = name.starts_with('.') || TOP_LEVEL.contains(&name);
    (!allowed).then(|| format!("`{name}` does not belong on the top level"))
}

/// What must not stand in a file; `name` is its path in the repository.
fn texts(name: &str, text: &str) -> Vec<String> {
    // Spelt in two parts, so that this file passes its own check.
    let unfinished = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("db", "g!(")];
    let machine = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/Us", "ers/"),
        concat!("/wo", "rk/"),
        concat!("/t", "mp/"),
    ];
    let kind = concat!("\"AW", "S::");
    let edge = [concat!("env::", "var"), concat!("process::", "exit")];

    let mut offences = Vec::new();
    let mut offence = |line: usize, what: String| offences.push(format!("{name}:{}: {what}", line + 1));
    for (number, line) in text.lines().enumerate() {
        for word in unfinished.iter().filter(|word| line.contains(**word)) {
            offence(number, format!("`{word}`: finish it, or file it as an issue"));
        }
        for path in machine.iter().filter(|path| holds_path(line, path)) {
            offence(number, format!("`{path}` is a path of some machine"));
        }
    }

    let in_host = name.strip_prefix("host/").and_then(|rest| rest.split_once('/'));
    let Some((krate, file)) = in_host else { return offences };
    let is_source = Path::new(file).extension().is_some_and(|ext| ext == "rs");
    if !is_source || !file.starts_with("src/") || file.ends_with("tests.rs") {
        return offences;
    }
    for (number, line) in shipped(text) {
        if line.contains(kind) {
            offence(number, "the host names no kind: a kind lives in its plugin's folder".into());
        }
        for call in edge.iter().filter(|call| krate != "cli" && line.contains(**call)) {
            offence(number, format!("`{call}`: only host/cli reads the environment and exits"));
        }
    }
    offences
}

/// The lines of a source file that ship: neither comments nor the tests at its end.
fn shipped(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// Whether a line holds an absolute path with this beginning (and not a URL or a path in which
/// it merely occurs).
fn holds_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        line[..at]
            .chars()
            .next_back()
            .is_none_or(|before| !(before.is_alphanumeric() || "/._-}>*~$".contains(before)))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workspace(packages: &[(&str, &[(&str, Value)])]) -> Value {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, dependencies)| {
                let dependencies: Vec<Value> = dependencies
                    .iter()
                    .map(|(name, kind)| json!({"name": name, "kind": kind, "path": "/somewhere"}))
                    .chain([json!({"name": "serde", "kind": null, "path": null})])
                    .collect();
                json!({"name": name, "dependencies": dependencies})
            })
            .collect();
        json!({"packages": packages})
    }

    #[test]
    fn arrows_of_the_design_pass() {
        let metadata = workspace(&[
            ("berth-core", &[]),
            ("berth-aws", &[("berth-core", Value::Null), ("berth-aws-wire", Value::Null)]),
            ("berth-port", &[("berth-core", Value::Null), ("port-stand-in", json!("dev"))]),
            ("berth", &[("berth-embed", Value::Null)]),
        ]);
        assert_eq!(arrows(&metadata), Vec::<String>::new());
    }

    #[test]
    fn every_other_arrow_is_named() {
        let metadata = workspace(&[
            ("berth-core", &[("berth-sync", Value::Null)]),
            ("berth-aws", &[("berth-port", json!("dev"))]),
            ("berth-port", &[("port-stand-in", Value::Null)]),
            ("berth-new", &[]),
        ]);
        assert_eq!(
            arrows(&metadata),
            [
                "`berth-core` must not depend on `berth-sync`",
                "`berth-aws` must not depend on `berth-port`",
                "`berth-port` must not depend on `port-stand-in`",
                "the crate `berth-new` is not in the design: place it in tests/xtask/src/tidy.rs",
            ]
        );
    }

    #[test]
    fn the_top_level_is_closed() {
        for name in ["host", "README.md", ".ci", ".deny.toml"] {
            assert_eq!(top_level(name), None);
        }
        for name in ["src", "docs", "notes.txt", "docker-compose.yml"] {
            assert!(top_level(name).is_some(), "{name}");
        }
    }

    #[test]
    fn texts_are_told_with_their_line() {
        let said = |name: &str, text: &str| texts(name, text).len();
        let (later, debug) = (concat!("// TO", "DO later"), concat!("db", "g!(x);"));
        assert_eq!(texts("a.rs", &format!("fn a() {{}}\n{later}"))[0].split(": ").next(), Some("a.rs:2"));
        assert_eq!(said("host/core/src/a.rs", debug), 1);

        let home = concat!("/ho", "me/someone");
        assert_eq!(said("README.md", &format!("cd {home}")), 1);
        assert_eq!(said("README.md", &format!("see https://example.com{home}")), 0);

        let kind = concat!("\"AW", "S::S3::Bucket\"");
        assert_eq!(said("host/sync/src/a.rs", &format!("if kind == {kind} {{")), 1);
        assert_eq!(said("host/sync/src/a.rs", &format!("/// As in {kind}.")), 0);
        assert_eq!(said("host/sync/src/a.rs", &format!("#[cfg(test)]\nmod tests {{ {kind} }}")), 0);
        assert_eq!(said("host/sync/tests/a.rs", kind), 0);
        assert_eq!(said("plugins/s3-bucket/src/lib.rs", kind), 0);

        let reads = concat!("std::env::", "var(\"X\")");
        assert_eq!(said("host/aws/src/a.rs", reads), 1);
        assert_eq!(said("host/cli/src/a.rs", reads), 0);
    }
}
