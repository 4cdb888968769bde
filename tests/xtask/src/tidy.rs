//! House rules that no compiler checks: which crate may know which, what the top level holds, and
//! what must not stand in the sources.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    defects, lengths, pages,
    repo::{self, Repo},
    security,
};

/// The only arrows between the workspace's own crates: the middle, the wings and the leaf of
/// the design, and the two crates that wire them.
const ARROWS: &[(&str, &[&str])] = &[
    ("berth-common", &[]),
    ("berth-core", &[]),
    ("berth-sync", &["berth-core"]),
    ("berth-aws-protocol", &["berth-core"]),
    ("berth-http", &["berth-core"]),
    ("berth-aws", &["berth-core", "berth-aws-protocol", "berth-http"]),
    // It tells documents apart with the leaf that the JQ component evaluates them by.
    ("berth-engine", &["berth-core", "berth-mapping"]),
    ("berth-port", &["berth-common", "berth-core", "berth-http"]),
    ("berth-ledger", &["berth-core"]),
    (
        "berth-embed",
        &[
            "berth-common",
            "berth-core",
            "berth-sync",
            "berth-aws",
            "berth-engine",
            "berth-http",
            "berth-port",
            "berth-ledger",
        ],
    ),
    ("berth-conformance", &["berth-core", "berth-sync", "berth-engine"]),
    // The service knows the host by `berth-embed`; of the others only what a service needs beside its resyncs.
    (
        "berth-service",
        &["berth-core", "berth-embed", "berth-engine", "berth-http", "berth-port", "berth-sync"],
    ),
    // The binary reads settings and hands them to these.
    (
        "berth",
        &[
            "berth-aws",
            "berth-conformance",
            "berth-core",
            "berth-embed",
            "berth-engine",
            "berth-http",
            "berth-ledger",
            "berth-port",
            "berth-service",
            "berth-sync",
        ],
    ),
    // The stand-in knows Port only from Port's contract, so that it can disagree with the host.
    ("port-stand-in", &[]),
    // The simulator takes plans and models from where the host takes them, and nothing of what the host makes
    // of them; moto keeps it honest.
    ("aws-simulator", &["berth-core", "berth-aws-protocol"]),
    // Single steps are measured where they are made.
    ("berth-bench", &["berth-core", "berth-aws-protocol", "berth-embed", "berth-engine", "berth-ledger"]),
    ("berth-differential", &["berth-core", "berth-aws-protocol"]),
    // Feeds every crate that reads bytes from outside; the binary's settings are among them.
    (
        "berth-fuzz",
        &[
            "berth",
            "berth-aws-protocol",
            "berth-core",
            "berth-plugin",
            "berth-port",
            "berth-sync",
            "berth-test-support",
            "jq",
        ],
    ),
    ("berth-model", &["berth-core", "berth-sync"]),
    ("berth-test-support", &["berth-core"]),
    (
        "berth-simulation",
        &[
            "berth-aws",
            "berth-core",
            "berth-http",
            "berth-ledger",
            "berth-port",
            "berth-sync",
            "port-stand-in",
        ],
    ),
    ("berth-e2e", &["aws-simulator", "berth-aws-protocol", "berth-core", "port-stand-in"]),
    ("xtask", &[]),
];

/// What a host crate's tests may use besides.
const TEST_ONLY: &[&str] = &["berth-test-support", "port-stand-in"];

/// What the top level may hold besides dotfiles.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "SECURITY.md",
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
            offences.extend(lengths::check(&name, &text));
            if path.extension().is_some_and(|extension| extension == "md") {
                offences.extend(pages::links(&root, &name, &text));
            }
            if name == "SECURITY.md" {
                offences.extend(security::tests(&root, &text));
            }
            if name == "CHANGELOG.md" {
                offences.extend(pages::changelog(&text, env!("CARGO_PKG_VERSION")));
            }
        }
        Ok(())
    })?;

    offences.extend(contracts(&root)?);
    offences.extend(defects::check(&root)?);
    for name in ["Dockerfile", ".github/workflows/ci.yml"] {
        let text = fs::read_to_string(root.join(name)).with_context(|| format!("could not read {name}"))?;
        offences.extend(security::pins(name, &text));
    }

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

/// The files of the plugin contract that are frozen when a version is published.
const CONTRACT: [&str; 2] = ["plugin.wit", "manifest.schema.json"];

/// Where the contract in `wit/` is not what was published under its version: what plugins were built
/// against must stay what it was.
fn contracts(root: &Path) -> Result<Vec<String>> {
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()));
    let mut offences = Vec::new();
    let wit = read(&root.join("wit/plugin.wit"))?;
    let current = contract_version(&wit).context("wit/plugin.wit names no version")?;
    let folder = format!("tests/guests/contract-{current}");
    if root.join(&folder).is_dir() {
        for file in CONTRACT {
            if read(&root.join("wit").join(file))? != read(&root.join(&folder).join("wit").join(file))? {
                offences.push(format!(
                    "wit/{file} is not the one in {folder}/wit: what was published as {current} does not \
                     change; give wit/ a new version with a folder of its own (wit/README.md, \"Publishing a \
                     version\"), or, before {current} is final, change both"
                ));
            }
        }
    } else {
        offences.push(format!(
            "wit/plugin.wit is version {current}, which has no plugin that is kept as a test: add {folder} \
             (wit/README.md, \"Publishing a version\")"
        ));
    }
    for entry in fs::read_dir(root.join("tests/guests")).context("could not list the guests")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(version) = name.strip_prefix("contract-") else { continue };
        let wit = format!("tests/guests/{name}/wit/plugin.wit");
        if contract_version(&read(&root.join(&wit))?) != Some(version) {
            offences.push(format!("{wit} is not version {version}"));
        }
    }
    Ok(offences)
}

/// The version in `package berth:plugin@<version>;`.
fn contract_version(wit: &str) -> Option<&str> {
    wit.lines().find_map(|line| line.trim().strip_prefix("package berth:plugin@")?.strip_suffix(';'))
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
    // The binary alone reads the environment, prints, logs to somewhere, and exits: a program that
    // embeds the rest must not be surprised.
    let edge = [
        concat!("std::", "env"),
        concat!("env:", ":"),
        concat!("process::", "exit"),
        concat!("process::", "abort"),
        concat!("print", "!("),
        concat!("print", "ln!("),
        concat!("tracing_", "subscriber"),
        concat!(".try_", "init("),
        concat!("set_global_", "default"),
        concat!("set_", "logger"),
        concat!("panic::", "set_hook"),
        concat!("install_", "default("),
        concat!("static ", "mut "),
        concat!("thread_", "local!"),
    ];

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
        // The service has layers for a log that the program installs.
        let has_layers = |call: &str| krate == "service" && call == concat!("tracing_", "subscriber");
        let allowed = |call: &str| krate == "cli" || has_layers(call);
        for call in edge.iter().filter(|call| !allowed(call) && line.contains(**call)) {
            let what = "a library must not: only host/cli reads the environment, prints, logs and exits";
            offence(number, format!("`{call}`: {what}"));
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
            ("berth-aws", &[("berth-core", Value::Null), ("berth-aws-protocol", Value::Null)]),
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
    fn a_published_contract_does_not_change() {
        let root = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let publish = |folder: &str, wit: &str| {
            write(&format!("{folder}/plugin.wit"), wit);
            write(&format!("{folder}/manifest.schema.json"), "{}");
        };
        let one = "/// Words.\npackage berth:plugin@1.0.0;\n";
        publish("wit", one);
        publish("tests/guests/contract-1.0.0/wit", one);
        assert_eq!(contracts(root.path()).unwrap(), Vec::<String>::new());

        write("wit/manifest.schema.json", "{ }");
        let said = contracts(root.path()).unwrap();
        assert!(
            said.len() == 1 && said[0].starts_with("wit/manifest.schema.json is not the one in"),
            "{said:?}"
        );

        // A new version without a plugin of its own.
        publish("wit", "package berth:plugin@1.1.0;");
        let said = contracts(root.path()).unwrap();
        assert!(said.len() == 1 && said[0].contains("add tests/guests/contract-1.1.0"), "{said:?}");

        // The new one beside the old one, which is changed by mistake.
        publish("tests/guests/contract-1.1.0/wit", "package berth:plugin@1.1.0;");
        publish("tests/guests/contract-1.0.0/wit", "package berth:plugin@1.1.0;");
        let said = contracts(root.path()).unwrap();
        assert_eq!(said, ["tests/guests/contract-1.0.0/wit/plugin.wit is not version 1.0.0"]);
    }

    #[test]
    fn texts_are_reported_with_their_line() {
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
    }

    #[test]
    fn a_library_does_nothing_behind_the_back_of_its_program() {
        let said = |name: &str, text: &str| !texts(name, text).is_empty();
        for line in [
            concat!("std::env::", "var(\"X\")"),
            concat!("use std::", "env;"),
            concat!("env:", ":current_dir()"),
            concat!("std::process::", "exit(1)"),
            concat!("process::", "abort()"),
            concat!("print", "!(\"x\")"),
            concat!("print", "ln!(\"x\")"),
            concat!("eprint", "ln!(\"x\")"),
            concat!("tracing_", "subscriber::fmt().init()"),
            concat!("tracing::subscriber::set_global_", "default(x)"),
            concat!("log::set_", "logger(&X)"),
            concat!("std::panic::", "set_hook(hook)"),
            concat!("provider.install_", "default()"),
            concat!("static ", "mut X: u8 = 0;"),
            concat!("thread_", "local! {"),
        ] {
            for krate in
                ["common", "core", "sync", "aws", "aws-protocol", "engine", "port", "ledger", "embed"]
            {
                assert!(said(&format!("host/{krate}/src/deep/a.rs"), line), "{krate}: {line}");
            }
            assert!(!said("host/cli/src/a.rs", line), "the binary may: {line}");
            assert!(!said("host/aws/tests/a.rs", line), "tests may: {line}");
            assert!(!said("host/aws/src/a.rs", &format!("#[cfg(test)]\nmod tests {{ {line} }}")), "{line}");
            assert!(!said("host/aws/src/a.rs", &format!("/// As {line}")), "a comment: {line}");
        }
        // The service gives layers of a log, which the program installs.
        let layers = concat!("use tracing_", "subscriber::Layer;");
        assert!(!said("host/service/src/a.rs", layers));
        for line in [concat!("registry.try_", "init()"), concat!("std::", "env::var(\"X\")")] {
            assert!(said("host/service/src/a.rs", line), "{line}");
        }
        // What the compiler knows is no environment of the program.
        assert!(!said("host/aws/src/a.rs", "env!(\"CARGO_PKG_VERSION\")"));
    }
}
