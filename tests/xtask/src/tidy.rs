//! `cargo xtask tidy`: checks the rules that no compiler checks: dependencies between crates, the content of the
//! top level, and forbidden texts.

mod arrows;
mod circles;
mod code;
mod contracts;
mod lengths;
mod names;
mod texts;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::code::Source;
use crate::{
    defects, pages,
    repo::{self, Repo},
    security,
};

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
    let mut offences = arrows::arrows(&metadata);

    let root = repo.path("");
    for entry in fs::read_dir(&root).context("could not list the repository")? {
        offences.extend(top_level(&entry?.file_name().to_string_lossy()));
    }
    let mut files = 0_usize;
    let mut sources = Vec::new();
    visit(&root, &mut |path| {
        let name = repo.shown(path).to_string().replace('\\', "/");
        if is_text(&name) {
            files += 1;
            let text = fs::read_to_string(path).with_context(|| format!("could not read {name}"))?;
            offences.extend(texts::texts(&name, &text));
            offences.extend(lengths::check(&name, &text));
            if is_code(&name) {
                sources.push(Source::new(&name, &text)?);
            }
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

    sources.sort_by(|one, other| one.name.cmp(&other.name));
    offences.extend(names::unique(&sources));
    offences.extend(names::words(&sources));
    offences.extend(circles::circles(&sources));
    offences.extend(contracts::contracts(&root)?);
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

/// Whether the names of a file are checked. What was published as a test of the contract stays as it is.
fn is_code(name: &str) -> bool {
    let checked = name.starts_with("host/") || name.starts_with("tests/");
    checked
        && !name.starts_with("tests/guests/contract-")
        && Path::new(name).extension().is_some_and(|ext| ext == "rs")
}

fn top_level(name: &str) -> Option<String> {
    let allowed = name.starts_with('.') || TOP_LEVEL.contains(&name);
    (!allowed).then(|| format!("`{name}` does not belong on the top level"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_level_is_closed() {
        for name in ["host", "README.md", ".ci", ".deny.toml"] {
            assert_eq!(top_level(name), None);
        }
        for name in ["src", "docs", "notes.txt", "docker-compose.yml"] {
            assert!(top_level(name).is_some(), "{name}");
        }
    }
}
