//! `cargo xtask package`: packs the published crates, and fails if one needs a file or a crate that its package
//! does not have.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::repo::{self, Repo, output, run};

/// Packs what the workspaces of the host and of the plugins publish. Nothing is compiled: the same sources are
/// compiled by the tests, and the SDK also as the copy that `berth plugin new` writes.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    let workspaces = [repo.path("."), repo.path("plugins")];
    let metadata = |workspace: &Path| -> Result<Value> {
        let mut cargo = repo.guest_cargo(workspace);
        let text = output(cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
        serde_json::from_str(&text).context("cargo metadata")
    };
    let metadata = [metadata(&workspaces[0])?, metadata(&workspaces[1])?];
    let missing = unpublished_dependencies(&metadata);
    ensure!(missing.is_empty(), "a package needs only what is published:\n{}", missing.join("\n"));
    for (workspace, metadata) in workspaces.iter().zip(&metadata) {
        let published = published(metadata);
        ensure!(!published.is_empty(), "{} publishes nothing", workspace.display());
        let mut package = repo.guest_cargo(workspace);
        package.args(["package", "--quiet", "--no-verify", "--locked", "--offline", "--allow-dirty"]);
        // A lock file would need the packages of the other workspace at the registry, before their first release.
        package.arg("--exclude-lockfile");
        run(package.args(published.iter().flat_map(|(name, _)| ["--package", name])))?;
        for (name, manifest) in &published {
            let folder = Path::new(manifest).parent().context("a manifest is in a folder")?;
            let mut escaping = Vec::new();
            for path in compiled_by_others(folder)? {
                let file = path.strip_prefix(folder)?;
                let text =
                    fs::read_to_string(&path).with_context(|| format!("{name}: {}", file.display()))?;
                let lines = escaping_paths(file, &text);
                escaping.extend(lines.map(|line| format!("{name}: {}:{line}", file.display())));
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

/// The dependencies of published packages that are not published by any of the workspaces.
fn unpublished_dependencies(workspaces: &[Value]) -> Vec<String> {
    let all: Vec<String> = workspaces.iter().flat_map(published).map(|(name, _)| name).collect();
    let packages =
        workspaces.iter().flat_map(|metadata| metadata["packages"].as_array().into_iter().flatten());
    let mut missing = Vec::new();
    for package in packages.filter(|package| package["publish"].is_null()) {
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        // Those of tests are not in the package.
        let own =
            dependencies.filter(|dependency| dependency["path"].is_string() && dependency["kind"] != "dev");
        for name in own.filter_map(|dependency| dependency["name"].as_str()) {
            if !all.iter().any(|published| published == name) {
                missing.push(format!("{} needs {name}", package["name"].as_str().unwrap_or_default()));
            }
        }
    }
    missing
}

/// The sources of a crate that are compiled where it is a dependency.
fn compiled_by_others(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = repo::files_below(&folder.join("src"))?;
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "rs")
            && !is_test(file.strip_prefix(folder).unwrap_or(file))
    });
    files.extend(Some(folder.join("build.rs")).filter(|script| script.is_file()));
    Ok(files)
}

/// Whether a file of `src` has only tests.
fn is_test(file: &Path) -> bool {
    file.ends_with("tests.rs") || file.components().any(|part| part.as_os_str() == "tests")
}

/// The lines in which a literal leads out of the package, up to the file's own tests.
fn escaping_paths(file: &Path, text: &str) -> impl Iterator<Item = usize> {
    let depth = file.components().count() - 1;
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
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_published_needs_only_what_is_published() {
        let package = |name: &str, publish: Value, dependencies: Value| json!({"name": name, "manifest_path": "/Cargo.toml", "publish": publish, "dependencies": dependencies});
        let on = |name: &str, kind: Value| json!({"name": name, "path": "/x", "kind": kind});
        let sdk = json!([
            on("mapping", Value::Null),
            on("core", json!("dev")),
            on("secret", Value::Null),
            {"name": "serde", "path": null, "kind": null}
        ]);
        let host = json!({"packages": [package("mapping", Value::Null, json!([]))]});
        let plugins = json!({"packages": [
            package("sdk", Value::Null, sdk),
            package("secret", json!([]), json!([on("core", Value::Null)]))
        ]});
        assert_eq!(unpublished_dependencies(&[host, plugins]), ["sdk needs secret"]);
    }

    #[test]
    fn only_what_leads_out_of_the_package_is_found() {
        let found = |file: &str, text: &str| escaping_paths(Path::new(file), text).collect::<Vec<_>>();
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
        let is_test = |file: &str| is_test(Path::new(file));
        assert!(!is_test("src/lib.rs") && !is_test("src/problem.rs"));
        assert!(is_test("src/problem/tests.rs") && is_test("src/deletion/tests/limits.rs"));
    }
}
