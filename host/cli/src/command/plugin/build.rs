//! `berth plugin build`: from a folder to a component.
//!
//! A Rust plugin is compiled for `wasm32-unknown-unknown`, which has no system to ask anything of, and
//! its module is then encoded as a component: what comes out imports the contract's log and nothing
//! else.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use berth_embed::Problem;
use serde_json::{Value, json};
use wit_component::ComponentEncoder;

use crate::output::Said;

const TARGET: &str = "wasm32-unknown-unknown";

/// A component that was built.
pub(super) struct Built {
    pub(super) file: PathBuf,
    bytes: usize,
}

impl Built {
    pub(super) fn told(&self, as_json: bool) -> Said {
        if as_json {
            json!({"file": self.file, "bytes": self.bytes}).into()
        } else {
            format!("{} ({} KiB)", self.file.display(), self.bytes.div_ceil(1024)).into()
        }
    }
}

/// Builds the plugin of a folder.
///
/// # Errors
/// A [`Problem`] with what the toolchain says, or with what is missing and how to get it.
pub(super) fn build(dir: &Path) -> Result<Built, Problem> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(Problem::new(format!("{} has no Cargo.toml", dir.display()))
            .remedy("give the folder of a Rust plugin (`berth plugin new` makes one); components of other languages are built with their own tools"));
    }
    let metadata = cargo(dir, &["metadata", "--no-deps", "--format-version=1"], Stdio::piped())?;
    let metadata: Value = serde_json::from_slice(&metadata)
        .map_err(|error| Problem::new(format!("cargo's metadata is not understood: {error}")))?;
    let (package, library) = library(&metadata).ok_or_else(|| {
        Problem::new(format!("{} builds no dynamic library", dir.join("Cargo.toml").display()))
            .remedy("add `[lib] crate-type = [\"cdylib\", \"rlib\"]` to it")
    })?;
    add_target(dir)?;
    cargo(dir, &["build", "--release", "--target", TARGET, "--lib"], Stdio::inherit())?;
    let target = PathBuf::from(metadata["target_directory"].as_str().unwrap_or_default());
    let module = target.join(TARGET).join("release").join(library.replace('-', "_")).with_extension("wasm");
    let bytes = fs::read(&module).map_err(|error| Problem::new(format!("{}: {error}", module.display())))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(ComponentEncoder::encode)
        .map_err(|error| {
            Problem::new(format!("{package} is no component of the plugin contract: {error:#}"))
                .remedy("call `berth_plugin::export!` in src/lib.rs, as `berth plugin new` does")
        })?;
    let folder = target.join("plugin");
    let file = folder.join(format!("{package}.wasm"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&file, &component))
        .map_err(|error| Problem::new(format!("{} cannot be written: {error}", file.display())))?;
    Ok(Built { file, bytes: component.len() })
}

/// The package with a dynamic library, and the library's name.
fn library(metadata: &Value) -> Option<(String, String)> {
    metadata["packages"].as_array()?.iter().find_map(|package| {
        let target = package["targets"].as_array()?.iter().find(|target| {
            target["crate_types"].as_array().is_some_and(|types| types.iter().any(|kind| kind == "cdylib"))
        })?;
        Some((package["name"].as_str()?.to_owned(), target["name"].as_str()?.to_owned()))
    })
}

/// Adds the compilation target when it is missing.
fn add_target(dir: &Path) -> Result<(), Problem> {
    let libraries = Command::new("rustc")
        .current_dir(dir)
        .args(["--print=target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| missing("rustc", &error))?;
    if Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return Ok(());
    }
    let remedy = format!("add it with `rustup target add {TARGET}`, or with your system's package manager");
    let added = Command::new("rustup").current_dir(dir).args(["target", "add", TARGET]).status();
    match added {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Problem::new(format!("the compilation target {TARGET} is missing")).remedy(remedy)),
    }
}

/// Runs cargo in the plugin's folder; gives its output where that is piped.
fn cargo(dir: &Path, arguments: &[&str], output: Stdio) -> Result<Vec<u8>, Problem> {
    let ended = Command::new("cargo")
        .current_dir(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| missing("cargo", &error))?;
    if ended.status.success() {
        Ok(ended.stdout)
    } else {
        Err(Problem::new(format!("`cargo {}` failed", arguments.join(" "))).remedy("see what it says above"))
    }
}

fn missing(tool: &str, error: &std::io::Error) -> Problem {
    let problem = Problem::new(format!("`{tool}` cannot be started: {error}"));
    if error.kind() == ErrorKind::NotFound {
        problem.remedy("install Rust with rustup (https://rustup.rs)")
    } else {
        problem
    }
}
