//! `berth plugin push` and `berth plugin pull`: plugins in OCI registries.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use berth_embed::{Problem, ProblemCode};
use berth_engine::EngineConfig;

use super::{component, started};
use crate::{
    exit::Exit,
    files,
    output::safe,
    registry::{Pulled, Registry},
    trust::{PluginTrust, SIGNATURE_BYTES, signature_file},
};

/// Pushes a component, and its signature if there is one, to a registry.
///
/// # Errors
/// A [`Problem`] if the file is not a plugin, or if the registry rejects it.
pub(super) fn push(config: EngineConfig, plugin: &Path, to: &Registry) -> Result<(String, Exit), Problem> {
    let file = component(plugin)?;
    let info = started(EngineConfig { plugin_dirs: Vec::new(), ..config })?.inspect(&file)?;
    let unreadable =
        |error| Problem::new(ProblemCode::FileUnreadable, format!("{}: {error}", file.display()));
    let bytes = files::read(&file, info.size).map_err(unreadable)?;
    let beside = signature_file(&file);
    let signature = if beside.is_file() {
        Some(files::read_text(&beside, SIGNATURE_BYTES).map_err(unreadable)?)
    } else {
        None
    };
    let signed = if signature.is_some() { ", with its signature" } else { "" };
    let digest = runtime()?.block_on(to.push(&info, bytes, signature))?;
    Ok((safe(&format!("pushed {} {}{signed}: {digest}", info.name, info.version)), Exit::Done))
}

/// Pulls a component, and its signature if it has one, into a directory.
///
/// # Errors
/// A [`Problem`] if there is no plugin, or if it cannot be written.
pub(super) fn pull(from: &Registry, to: &Path, trust: &PluginTrust) -> Result<(String, Exit), Problem> {
    let (file, digest) = fetch(from, to)?;
    let approve = trust.approving(&file);
    let summary = format!("pulled {digest}\n  to {}\nto use it, approve it: {approve}", file.display());
    Ok((safe(&summary), Exit::Done))
}

/// Pulls a component into a directory; returns its file and the digest of its manifest.
///
/// # Errors
/// As [`pull`].
pub(super) fn fetch(from: &Registry, to: &Path) -> Result<(PathBuf, String), Problem> {
    let Pulled { component, signature, digest, file_name } = runtime()?.block_on(from.pull())?;
    let file = to.join(file_name);
    let write = |file: &Path, bytes: &[u8]| {
        let written = fs::create_dir_all(to).and_then(|()| {
            let mut part = tempfile::Builder::new().prefix(".pull").tempfile_in(to)?;
            // The usual mode of a downloaded file.
            #[cfg(unix)]
            fs::set_permissions(part.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            part.write_all(bytes)?;
            part.persist(file).map_err(|error| error.error)
        });
        written.map(drop).map_err(|error| {
            Problem::new(ProblemCode::FileUnwritable, format!("{}: {error}", file.display()))
        })
    };
    let beside = signature_file(&file);
    match signature {
        Some(text) => write(&beside, text.as_bytes())?,
        // The signature of an earlier version is not valid for this one.
        None if beside.is_file() => {
            fs::remove_file(&beside).map_err(|error| {
                Problem::new(ProblemCode::FileUnwritable, format!("{}: {error}", beside.display()))
            })?;
        }
        None => {}
    }
    write(&file, &component)?;
    Ok((file, digest))
}

fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Runtime::new().map_err(|error| Problem::from_error(ProblemCode::Internal, &error))
}
