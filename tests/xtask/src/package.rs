//! `cargo xtask package`: packs the crates that are published, and fails where one needs a file or a crate that
//! would not be there.

use std::path::{Component, Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::repo::{Repo, output, run};

/// Packs what the workspaces of the host and of the plugins publish. Nothing is compiled: the same sources are
/// compiled by the tests, and the SDK also as the copy that `berth plugin new` writes.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    for workspace in [repo.path("."), repo.path("plugins")] {
        let metadata = output(repo.guest_cargo(&workspace).args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--offline",
        ]))?;
        let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
        let published = published(&metadata);
        ensure!(!published.is_empty(), "{} publishes nothing", workspace.display());
        let mut package = repo.guest_cargo(&workspace);
        package.args(["package", "--quiet", "--no-verify", "--locked", "--offline", "--allow-dirty"]);
        run(package.args(published.iter().flat_map(|(name, _)| ["--package", name])))?;
        for (name, manifest) in &published {
            let folder = Path::new(manifest).parent().context("a manifest is in a folder")?;
            let mut list = repo.guest_cargo(&workspace);
            list.args([
                "package",
                "--quiet",
                "--list",
                "--locked",
                "--offline",
                "--allow-dirty",
                "--package",
                name,
            ]);
            let mut escaping = Vec::new();
            for file in output(&mut list)?.lines().filter(|file| is_compiled_by_others(file)) {
                let text =
                    std::fs::read_to_string(folder.join(file)).with_context(|| format!("{name}: {file}"))?;
                escaping.extend(escaping_paths(file, &text).map(|line| format!("{name}: {file}:{line}")));
            }
            ensure!(
                escaping.is_empty(),
                "a package has no files outside its folder:\n{}",
                escaping.join("\n")
            );
        }
    }
    Ok(())
}

/// Name and manifest of the packages that may be published.
fn published(metadata: &Value) -> Vec<(String, String)> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let published = packages.filter(|package| package["publish"].is_null());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    published
        .filter_map(|package| Some((text(&package["name"])?, text(&package["manifest_path"])?)))
        .collect()
}

/// Whether a file is compiled where the crate is a dependency.
fn is_compiled_by_others(file: &str) -> bool {
    let tests = file.ends_with("/tests.rs") || file.contains("/tests/");
    let is_rust = Path::new(file).extension().is_some_and(|extension| extension == "rs");
    file == "build.rs" || (file.starts_with("src/") && is_rust && !tests)
}

/// The lines in which a literal leads out of the package, up to the file's own tests.
fn escaping_paths(file: &str, text: &str) -> impl Iterator<Item = usize> {
    let depth = Path::new(file).components().count() - 1;
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    let escapes = move |literal: &str| {
        let ups = Path::new(literal).components().take_while(|part| *part == Component::ParentDir).count();
        ups > depth
    };
    let literals = |line: &str| -> Vec<String> {
        let is_comment = line.trim_start().starts_with("//");
        line.split('"').skip(1).step_by(2).filter(|_| !is_comment).map(str::to_owned).collect()
    };
    let lines = code.enumerate().filter(move |(_, line)| literals(line).iter().any(|text| escapes(text)));
    lines.map(|(index, _)| index + 1).collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_leads_out_of_the_package_is_found() {
        let found = |file: &str, text: &str| escaping_paths(file, text).collect::<Vec<_>>();
        assert_eq!(found("src/lib.rs", "path: \"wit\",\npath: \"../../wit\",\n"), [2]);
        assert_eq!(found("build.rs", "(\"plugin\", \"../wit/plugin.wit\")\n"), [1]);
        assert_eq!(found("src/service.rs", "include_bytes!(\"../models/models.bin\")\n"), [0_usize; 0]);
        assert_eq!(
            found("src/a/b.rs", "// \"../../../x\"\n#[cfg(test)]\ninclude_str!(\"../../../x\")\n"),
            [0_usize; 0]
        );
    }

    #[test]
    fn tests_are_not_compiled_by_others() {
        assert!(is_compiled_by_others("src/lib.rs") && is_compiled_by_others("build.rs"));
        assert!(!is_compiled_by_others("src/problem/tests.rs") && !is_compiled_by_others("tests/it.rs"));
    }
}
