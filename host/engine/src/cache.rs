//! Compiled code, kept between runs. Compiling a plugin takes half a second, loading it from here a
//! fraction of a millisecond.
//!
//! An entry is two files, named by the SHA-256 of the component and by what the compiled code
//! depends on (versions of Berth and wasmtime, settings, the machine): `<sha256>-<engine>.cwasm`, the
//! code, and `<sha256>-<engine>.json`, the [`Record`]. The record is written last and holds the
//! digest of the code, so that an entry is whole or absent.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

/// Where compiled code is looked for, and where it is put.
pub(crate) struct CodeCache {
    writable: Option<PathBuf>,
    readable: Vec<PathBuf>,
    engine: wasmtime::Engine,
    engine_key: String,
    /// The key of code that was compiled ahead of time, for any machine.
    portable_key: Option<String>,
}

/// What is known about a component without loading its code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// SHA-256 of the code's file.
    pub(crate) code: String,
    pub(crate) contract: String,
    pub(crate) imports: Vec<String>,
    /// The plugin's manifest, as it gave it. None for the JQ component.
    pub(crate) manifest: Option<Box<RawValue>>,
}

/// An entry of the cache.
pub(crate) struct Entry {
    pub(crate) record: Record,
    code: PathBuf,
}

impl CodeCache {
    /// Takes the directories that can be trusted: code that someone else could have put there would
    /// run outside of every wall. Says in the log which ones it does not use, and why.
    ///
    /// `portable` is the engine that the code in `readable` may have been compiled with.
    pub(crate) fn open(
        engine: &wasmtime::Engine,
        writable: Option<&Path>,
        readable: &[PathBuf],
        portable: Option<&wasmtime::Engine>,
    ) -> Self {
        let usable = |dir: &Path, checked: io::Result<()>| match checked {
            Ok(()) => Some(dir.to_owned()),
            Err(error) => {
                tracing::warn!(
                    "compiled plugin code in {} is not used, so that starting takes longer: {error}",
                    dir.display()
                );
                None
            }
        };
        Self {
            writable: writable.and_then(|dir| usable(dir, create(dir).and_then(|()| trusted(dir)))),
            readable: readable.iter().filter_map(|dir| usable(dir, trusted(dir))).collect(),
            engine: engine.clone(),
            engine_key: key(engine),
            portable_key: portable.map(key),
        }
    }

    /// Looks for an entry. One that cannot be read counts as absent. What was compiled here comes
    /// first: it was, because what came along could not be used.
    pub(crate) fn find(&self, component: &str) -> Option<Entry> {
        let compiled_here = self.writable.iter().map(|dir| (dir, &self.engine_key));
        let brought = self.readable.iter().flat_map(|dir| {
            [Some(&self.engine_key), self.portable_key.as_ref()]
                .into_iter()
                .flatten()
                .map(move |key| (dir, key))
        });
        compiled_here.chain(brought).find_map(|(dir, key)| {
            let record = fs::read(path(dir, component, key, "json")).ok()?;
            let record = serde_json::from_slice(&record).ok()?;
            Some(Entry { record, code: path(dir, component, key, "cwasm") })
        })
    }

    /// Loads the code of an entry. `None` when it is not what was written.
    pub(crate) fn load(&self, entry: &Entry) -> Option<Component> {
        let bytes = fs::read(&entry.code).ok()?;
        if sha256(&bytes) != entry.record.code {
            return None;
        }
        drop(bytes);
        #[expect(
            unsafe_code,
            reason = "running code that was not compiled here is what the checks above are for: the \
                      directory can be written by nobody else, and the digest is the one that was stored"
        )]
        // SAFETY: the file was written by `store` of this or an equal engine, see the reason above.
        let component = unsafe { Component::deserialize_file(&self.engine, &entry.code) };
        component.ok()
    }

    /// Keeps a component's code. A failure costs only time at the next start, so it is only logged.
    pub(crate) fn store(&self, component: &str, code: &Component, record: Record) {
        let Some(dir) = &self.writable else { return };
        let written = code.serialize().map_err(io::Error::other).and_then(|bytes| {
            let record = Record { code: sha256(&bytes), ..record };
            write(dir, &path(dir, component, &self.engine_key, "cwasm"), &bytes)?;
            write(dir, &path(dir, component, &self.engine_key, "json"), &serde_json::to_vec(&record)?)
        });
        if let Err(error) = written {
            tracing::warn!("could not keep compiled plugin code in {}: {error}", dir.display());
        }
    }
}

/// What the code of an engine depends on.
fn key(engine: &wasmtime::Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    // What counts as a plugin may change with Berth's version.
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn path(dir: &Path, component: &str, key: &str, extension: &str) -> PathBuf {
    dir.join(format!("{component}-{key}.{extension}"))
}

/// SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Writes a file so that readers see all of it or nothing.
fn write(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    use io::Write as _;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(unix)]
fn create(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn create(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)
}

/// Whether nobody but ourselves (or root, who could do anything) can have put files there.
#[cfg(unix)]
fn trusted(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(dir)?;
    let us = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        Err(io::Error::other("it is not a directory"))
    } else if metadata.uid() != us && metadata.uid() != 0 {
        Err(io::Error::other(format!("it belongs to user {}, not to user {us} or root", metadata.uid())))
    } else if metadata.mode() & 0o022 != 0 {
        Err(io::Error::other(format!(
            "others can write to it (mode {:03o}); give it mode 700",
            metadata.mode() & 0o777
        )))
    } else {
        Ok(())
    }
}

#[cfg(not(unix))]
fn trusted(dir: &Path) -> io::Result<()> {
    fs::metadata(dir).map(drop)
}
