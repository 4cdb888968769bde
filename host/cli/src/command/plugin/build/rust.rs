//! Rust: compiles for `wasm32-unknown-unknown`, which has no system interface, and encodes the result as a
//! component; or for `wasm32-wasip2`, which gives a component that imports WASI.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use berth_embed::{Problem, ProblemCode};
use serde_json::Value;
use wit_component::ComponentEncoder;

use super::{Built, Tool};

/// The default.
const PLAIN: &str = "wasm32-unknown-unknown";
/// The whole standard library, through WASI.
const WASI: &str = "wasm32-wasip2";

const TOOL: Tool = Tool { remedy: "install Rust with rustup (https://rustup.rs)" };

/// Builds a crate.
pub(super) fn build(dir: &Path) -> Result<Built, Problem> {
    let metadata = cargo(dir, &["metadata", "--no-deps", "--format-version=1"], Stdio::piped())?;
    let metadata: Value = serde_json::from_slice(&metadata).map_err(|error| {
        Problem::new(ProblemCode::PluginBuild, format!("cannot parse cargo's metadata: {error}"))
    })?;
    let Library { package, name, target: wanted } = library(&metadata).ok_or_else(|| {
        Problem::new(
            ProblemCode::PluginBuild,
            format!("{} builds no dynamic library", dir.join("Cargo.toml").display()),
        )
        .remedy("add `[lib] crate-type = [\"cdylib\", \"rlib\"]` to it")
    })?;
    let triple = match wanted.as_deref() {
        None | Some(PLAIN) => PLAIN,
        Some(WASI) => WASI,
        Some(other) => {
            return Err(Problem::new(
                ProblemCode::PluginBuild,
                format!("[package.metadata.berth] of {package} has the target `{other}`"),
            )
            .remedy(format!("use `{PLAIN}`, the default, or `{WASI}`")));
        }
    };
    add_target(dir, triple)?;
    cargo(dir, &["build", "--release", "--target", triple, "--lib"], Stdio::inherit())?;
    let target = PathBuf::from(metadata["target_directory"].as_str().unwrap_or_default());
    let module = target.join(triple).join("release").join(name.replace('-', "_")).with_extension("wasm");
    let bytes = fs::read(&module)
        .map_err(|error| Problem::new(ProblemCode::PluginBuild, format!("{}: {error}", module.display())))?;
    let component = if triple == WASI { bytes } else { encode(&package, &bytes)? };
    Built::write(target.join("plugin").join(format!("{package}.wasm")), &component)
}

fn encode(package: &str, module: &[u8]) -> Result<Vec<u8>, Problem> {
    ComponentEncoder::default().validate(true).module(module).and_then(ComponentEncoder::encode).map_err(
        |error| {
            Problem::new(
                ProblemCode::PluginBuild,
                format!("{package} is not a component of the plugin contract: {error:#}"),
            )
            .remedy("call `berth_plugin::export!` in src/lib.rs, as `berth plugin new` does")
        },
    )
}

/// The package to build.
struct Library {
    package: String,
    name: String,
    /// The compilation target that the package names.
    target: Option<String>,
}

/// Finds the package with a dynamic library.
fn library(metadata: &Value) -> Option<Library> {
    metadata["packages"].as_array()?.iter().find_map(|package| {
        let target = package["targets"].as_array()?.iter().find(|target| {
            target["crate_types"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
        })?;
        Some(Library {
            package: package["name"].as_str()?.to_owned(),
            name: target["name"].as_str()?.to_owned(),
            target: package["metadata"]["berth"]["target"].as_str().map(ToOwned::to_owned),
        })
    })
}

/// Adds the compilation target if it is missing.
fn add_target(dir: &Path, target: &str) -> Result<(), Problem> {
    let libraries = Command::new("rustc")
        .current_dir(dir)
        .args(["--print=target-libdir", "--target", target])
        .output()
        .map_err(|error| TOOL.missing("rustc", &error))?;
    if Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return Ok(());
    }
    let remedy = format!("add it with `rustup target add {target}`, or with your system's package manager");
    let added = Command::new("rustup").current_dir(dir).args(["target", "add", target]).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => {
            Err(Problem::new(ProblemCode::PluginBuild, format!("the compilation target {target} is missing"))
                .remedy(remedy))
        }
    }
}

/// Runs cargo in the plugin's folder; returns its output if that is piped.
fn cargo(dir: &Path, arguments: &[&str], output: Stdio) -> Result<Vec<u8>, Problem> {
    let ended = Command::new("cargo")
        .current_dir(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| TOOL.missing("cargo", &error))?;
    if ended.status.success() {
        Ok(ended.stdout)
    } else {
        Err(Problem::new(ProblemCode::PluginBuild, format!("`cargo {}` failed", arguments.join(" ")))
            .remedy("see the output above"))
    }
}
