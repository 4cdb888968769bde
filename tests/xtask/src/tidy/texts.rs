//! Texts that no file may contain.

use std::path::Path;

/// What must not stand in a file; `name` is its path in the repository.
pub(super) fn texts(name: &str, text: &str) -> Vec<String> {
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
    use super::*;

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
