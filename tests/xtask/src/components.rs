//! Builds guests: `cargo build` for a WebAssembly target, then encodes the core module as a component. No
//! `build.rs` runs cargo.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::ComponentEncoder;

use crate::repo::{self, Repo, run, write_if_changed};

/// Core modules that import nothing but the contract, or WASI by its functions: they become components here.
const PLAIN: &str = "wasm32-unknown-unknown";
/// What plugin authors get from plain `cargo build`: already a component.
const WASI: &str = "wasm32-wasip2";

/// Builds the bundled plugins, and with `guests` the hostile guests of the tests.
pub(crate) fn build(repo: &Repo, guests: bool, locked: bool) -> Result<()> {
    build_workspace(repo, "plugins", "target/components/plugins", locked, &[])?;
    if guests {
        build_workspace(repo, "tests/guests", "target/components/guests", locked, &[])?;
    }
    Ok(())
}

/// Builds some of the bundled plugins anew, and leaves the others as they are.
pub(crate) fn build_some(repo: &Repo, plugins: &[String], locked: bool) -> Result<()> {
    build_workspace(repo, "plugins", "target/components/plugins", locked, plugins)
}

fn build_workspace(repo: &Repo, workspace: &str, output: &str, locked: bool, only: &[String]) -> Result<()> {
    let folder = repo.path(workspace);
    if !folder.join("Cargo.toml").is_file() {
        println!("components: {workspace} has no Cargo.toml, skipped");
        return Ok(());
    }
    // Of both workspaces: they compile the same macros for this machine, a third of all that is compiled.
    let target = repo.path("plugins/target");
    let cargo = || {
        let mut cargo = repo.guest_cargo(&folder);
        cargo.env("CARGO_TARGET_DIR", &target);
        cargo
    };
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version=1"]).args(locked.then_some("--locked"));
    let metadata: Value = serde_json::from_str(&repo::output(&mut metadata)?)?;
    let mut guests = guests(&metadata)?;
    if let Some(unknown) = only.iter().find(|name| guests.iter().all(|guest| guest.package != **name)) {
        bail!("{workspace} has no plugin `{unknown}`");
    }
    guests.retain(|guest| only.is_empty() || only.contains(&guest.package));

    for (triple, group) in group_by_target(&guests) {
        ensure_target(repo, triple)?;
        let mut build = cargo();
        build.args(["build", "--release", "--target", triple]).args(locked.then_some("--locked"));
        // A component has the same digest wherever it is built.
        let flags = serde_json::to_string(&without_paths(repo)?)?;
        build.arg("--config").arg(format!("build.rustflags={flags}"));
        for guest in group {
            build.args(["--package", &guest.package]);
        }
        run(&mut build)?;
    }

    let output = repo.path(output);
    for guest in &guests {
        let bytes = fs::read(&guest.artifact)
            .with_context(|| format!("cargo left no {}", guest.artifact.display()))?;
        let component = if guest.target == PLAIN { encode(&guest.package, &bytes)? } else { bytes };
        let path = output.join(format!("{}.wasm", guest.package));
        let note = if write_if_changed(&path, &component)? { "written" } else { "unchanged" };
        println!("components: {} {} bytes, {note}", repo.shown(&path), component.len());
    }
    if only.is_empty() { remove_others(repo, &output, &guests) } else { Ok(()) }
}

/// Compiler flags that keep this machine's paths out of what is built, where messages of panics would
/// have them.
pub(crate) fn without_paths(repo: &Repo) -> Result<Vec<String>> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir().context("there is no home directory")?.join(".cargo"),
    };
    let root = repo.path("");
    let root = root.to_str().context("the repository's path is no text")?.trim_end_matches('/');
    let cargo_home = cargo_home.to_str().context("cargo's home is no text")?;
    Ok(vec![format!("--remap-path-prefix={root}=/berth"), format!("--remap-path-prefix={cargo_home}=/cargo")])
}

/// A workspace member that becomes a component.
#[derive(Debug, PartialEq)]
struct Guest {
    package: String,
    target: &'static str,
    artifact: PathBuf,
}

/// The members that `cargo metadata` says are dynamic libraries.
fn guests(metadata: &Value) -> Result<Vec<Guest>> {
    let target_directory =
        metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut guests = Vec::new();
    for package in packages {
        let Some(library) = package["targets"].as_array().into_iter().flatten().find(|target| {
            target["crate_types"].as_array().is_some_and(|types| types.iter().any(|t| t == "cdylib"))
        }) else {
            continue;
        };
        let name = package["name"].as_str().context("a package without a name")?;
        let library = library["name"].as_str().context("a library without a name")?.replace('-', "_");
        let target = match package["metadata"]["berth"]["target"].as_str() {
            None | Some(PLAIN) => PLAIN,
            Some(WASI) => WASI,
            Some(other) => {
                bail!("{name}: [package.metadata.berth] target is `{other}`; use `{PLAIN}` or `{WASI}`")
            }
        };
        let artifact =
            Path::new(target_directory).join(target).join("release").join(library).with_extension("wasm");
        guests.push(Guest { package: name.to_owned(), target, artifact });
    }
    Ok(guests)
}

fn group_by_target(guests: &[Guest]) -> BTreeMap<&'static str, Vec<&Guest>> {
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for guest in guests {
        groups.entry(guest.target).or_default().push(guest);
    }
    groups
}

fn encode(package: &str, module: &[u8]) -> Result<Vec<u8>> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|encoder| {
            // Of no effect where a module imports nothing of preview 1.
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        })
        .and_then(ComponentEncoder::encode)
        .with_context(|| format!("{package}: the built module is no component of the plugin contract"))
}

/// A plugin folder is loaded whole, so what a former build left there must go.
fn remove_others(repo: &Repo, folder: &Path, guests: &[Guest]) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    let current: BTreeSet<String> = guests.iter().map(|guest| format!("{}.wasm", guest.package)).collect();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| !current.contains(name)) {
            fs::remove_file(entry.path())
                .with_context(|| format!("could not remove {}", entry.path().display()))?;
            println!("components: {} is of a former build, removed", repo.shown(&entry.path()));
        }
    }
    Ok(())
}

/// Adds a compilation target when it is missing. `rust-toolchain.toml` names the targets, but
/// rustup follows it by itself only where `RUSTUP_AUTO_INSTALL` allows it.
/// Installs the standard library for a target, if it is missing.
///
/// # Errors
/// With what to do, when there is no rustup that could.
pub(crate) fn ensure_target(repo: &Repo, target: &str) -> Result<()> {
    let libraries = repo::output(repo.command("rustc").args(["--print=target-libdir", "--target", target]))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    println!("xtask: adding the target {target}");
    let added = repo.command("rustup").args(["target", "add", target]).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            bail!("`rustup target add {target}` failed ({status}); run it by hand and look at what it says")
        }
        Err(error) if repo::is_missing(&error) => bail!(
            "the compilation target {target} is missing and rustup was not found: install rustup \
             (https://rustup.rs), or the target with your system's package manager"
        ),
        Err(error) => Err(error).context("could not start rustup"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_dynamic_libraries_become_components() {
        let package = |name: &str, types: &[&str], metadata: Value| {
            json!({"name": name, "metadata": metadata,
                   "targets": [{"name": name, "crate_types": types}]})
        };
        let metadata = json!({"target_directory": "/t", "packages": [
            package("berth-plugin", &["lib"], Value::Null),
            package("s3-bucket", &["cdylib", "rlib"], Value::Null),
            package("needs-wasi", &["cdylib"], json!({"berth": {"target": WASI}})),
        ]});
        let found = guests(&metadata).unwrap();
        assert_eq!(
            found,
            [
                Guest {
                    package: "s3-bucket".into(),
                    target: PLAIN,
                    artifact: "/t/wasm32-unknown-unknown/release/s3_bucket.wasm".into()
                },
                Guest {
                    package: "needs-wasi".into(),
                    target: WASI,
                    artifact: "/t/wasm32-wasip2/release/needs_wasi.wasm".into()
                },
            ]
        );

        let odd = json!({"target_directory": "/t", "packages": [
            package("odd", &["cdylib"], json!({"berth": {"target": "x86_64"}}))]});
        let refusal = guests(&odd).unwrap_err().to_string();
        assert!(refusal.contains("odd") && refusal.contains("x86_64"), "{refusal}");
    }
}
