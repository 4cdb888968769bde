//! The plugin SDK for Rust, embedded so that this binary and cargo are enough to write a plugin: the crate itself, its
//! macro, and what both evaluate mappings with. Their manifests take versions from a workspace here; the copies stand
//! alone.

use berth_embed::{Problem, ProblemCode};
use toml::{Table, Value};

use super::Files;

/// A package of the SDK.
struct Package {
    name: &'static str,
    /// Its folder in the plugin's.
    folder: &'static str,
    manifest: &'static str,
    /// The manifest that `workspace = true` refers to.
    workspace: &'static str,
    /// What it consists of beside the manifest.
    files: &'static [(&'static str, &'static str)],
}

macro_rules! embedded {
    ($path:expr) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../", $path))
    };
}
macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(($name, embedded!(concat!($folder, "/", $name)))),*]
    };
}

const PACKAGES: [Package; 3] = [
    Package {
        name: "berth-plugin",
        folder: "sdk",
        manifest: embedded!("plugins/sdk/Cargo.toml"),
        workspace: embedded!("plugins/Cargo.toml"),
        files: files!["plugins/sdk":
            "README.md", "src/aws.rs", "src/batch.rs", "src/document.rs", "src/entity.rs", "src/generated.rs",
            "src/json.rs", "src/lib.rs", "src/log.rs", "src/read.rs", "src/resource.rs", "src/scan.rs",
            "src/testing.rs", "src/time.rs", "wit/plugin.wit",
        ],
    },
    Package {
        name: "berth-plugin-macros",
        folder: "sdk/macros",
        manifest: embedded!("plugins/sdk-macros/Cargo.toml"),
        workspace: embedded!("plugins/Cargo.toml"),
        files: files!["plugins/sdk-macros":
            "src/documents.rs", "src/entities.rs", "src/lib.rs", "src/resource.rs", "src/shape.rs",
            "src/source.rs", "src/tests.rs",
        ],
    },
    Package {
        name: "berth-mapping",
        folder: "sdk/mapping",
        manifest: embedded!("host/mapping/Cargo.toml"),
        workspace: embedded!("Cargo.toml"),
        files: files!["host/mapping":
            "src/document.rs", "src/document/source.rs", "src/document/trace.rs", "src/document/view.rs",
            "src/document/view/computed.rs", "src/document/view/split.rs", "src/document/view/whole.rs",
            "src/expression.rs", "src/expression/function.rs", "src/identifier.rs", "src/letters.rs",
            "src/lib.rs", "src/parse.rs", "src/paths.rs", "src/scan.rs", "src/text.rs", "src/time.rs",
            "src/value.rs",
        ],
    },
];

pub(super) const WIT: &str = embedded!("wit/plugin.wit");

/// Returns its files: path and text.
///
/// # Errors
/// When a manifest does not say what cargo needs; a test makes sure that they do.
pub(super) fn files() -> Result<Files, Problem> {
    let mut files = Files::new();
    for package in &PACKAGES {
        let in_folder = |name: &str| format!("{}/{name}", package.folder);
        let manifest = package.stand_alone().map_err(|reason| {
            Problem::new(ProblemCode::Internal, format!("the manifest of {}: {reason}", package.name))
        })?;
        files.push((in_folder("Cargo.toml"), manifest));
        files.extend(package.files.iter().map(|(name, text)| (in_folder(name), (*text).to_owned())));
    }
    Ok(files)
}

impl Package {
    /// Returns its manifest without a workspace.
    fn stand_alone(&self) -> Result<String, String> {
        let read = |text: &str| text.parse::<Table>().map_err(|error| error.to_string());
        let (mut manifest, workspace) = (read(self.manifest)?, read(self.workspace)?);
        let workspace = &workspace["workspace"];
        manifest.remove("dev-dependencies");
        manifest.remove("lints");
        if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
            inherit(package, &workspace["package"])?;
            package.insert("publish".to_owned(), false.into());
        }
        self.resolve(&mut manifest, workspace)?;
        for (_, target) in manifest.get_mut("target").and_then(Value::as_table_mut).into_iter().flatten() {
            target.as_table_mut().map_or(Ok(()), |target| self.resolve(target, workspace))?;
        }
        toml::to_string(&manifest).map_err(|error| error.to_string())
    }

    /// Gives the dependencies their versions, or the folders of the copy.
    fn resolve(&self, of: &mut Table, workspace: &Value) -> Result<(), String> {
        let Some(dependencies) = of.get_mut("dependencies").and_then(Value::as_table_mut) else {
            return Ok(());
        };
        inherit(dependencies, &workspace["dependencies"])?;
        for other in &PACKAGES {
            if let Some(dependency) = dependencies.get_mut(other.name) {
                // The SDK's folder holds the other two.
                let from_sdk = |package: &Self| package.folder.strip_prefix("sdk/").unwrap_or_default();
                let up = if from_sdk(self).is_empty() { "" } else { "../" };
                let path = format!("{up}{}", from_sdk(other));
                *dependency = Value::Table(Table::from_iter([("path".to_owned(), path.into())]));
            }
        }
        Ok(())
    }
}

/// Replaces what a table takes over from the workspace.
fn inherit(table: &mut Table, workspace: &Value) -> Result<(), String> {
    for (name, value) in table.iter_mut() {
        if value.get("workspace").is_some() {
            let inherited = workspace.get(name).ok_or_else(|| format!("the workspace has no `{name}`"))?;
            *value = inherited.clone();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path, process::Command};

    use super::*;

    const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

    fn sources(folder: &Path, name: &str) -> Vec<String> {
        let entries = fs::read_dir(folder.join(name)).unwrap();
        let names = entries.map(|entry| format!("{name}/{}", entry.unwrap().file_name().display()));
        names
            .flat_map(|name| if folder.join(&name).is_dir() { sources(folder, &name) } else { vec![name] })
            .collect()
    }

    #[test]
    fn the_copy_has_all_sources() {
        let originals = ["plugins/sdk", "plugins/sdk-macros", "host/mapping"];
        for (package, original) in PACKAGES.iter().zip(originals) {
            let original: BTreeSet<_> =
                sources(&Path::new(REPOSITORY).join(original), "src").into_iter().collect();
            let copied = package.files.iter().map(|(name, _)| (*name).to_owned());
            let copied: BTreeSet<_> = copied.filter(|name| name.starts_with("src/")).collect();
            assert_eq!(copied, original);
        }
    }

    #[test]
    fn cargo_accepts_the_copy() {
        let folder = tempfile::tempdir().unwrap();
        let root = "[package]\nname = \"acme\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n\
                    [dependencies]\nberth-plugin = { path = \"sdk\", features = [\"testing\"] }\n";
        let own = [("Cargo.toml".to_owned(), root.to_owned()), ("lib.rs".to_owned(), String::new())];
        for (path, text) in files().unwrap().into_iter().chain(own) {
            super::super::put(&folder.path().join(path), &text).unwrap();
        }
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(&folder);
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        for package in &PACKAGES {
            let copy = packages.iter().find(|other| other["name"] == package.name).unwrap();
            let requirement = |name: &str| {
                let mut dependencies = copy["dependencies"].as_array().unwrap().iter();
                let found = dependencies.find(|dependency| dependency["name"] == name)?;
                found["req"].as_str().map(ToOwned::to_owned)
            };
            let workspace: Table = package.workspace.parse().unwrap();
            let dependencies = &workspace["workspace"]["dependencies"];
            let json = dependencies["serde_json"]["version"].as_str().unwrap();
            assert_eq!(requirement("serde_json").unwrap(), format!("^{json}"), "{}", package.name);
            assert_eq!(requirement("fancy-regex"), None, "{} needs what tests need", package.name);
        }
    }
}
