//! Compiled code, cached between runs. Compiling a plugin takes half a second, loading it from here a
//! fraction of a millisecond.
//!
//! An entry consists of two files. Their names contain the SHA-256 of the component, and a hash of
//! everything that the compiled code depends on (versions of Berth and wasmtime, settings, the machine):
//! `<sha256>-<engine>.cwasm`, the code, and `<sha256>-<engine>.json`, the [`CacheRecord`]. The record is written
//! last and contains the digest of the code, so that an entry is either complete or absent.

mod files;
mod keeper;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use files::Untrusted;
use keeper::Keeper;
pub(crate) use keeper::Lease;

/// Longer files are neither code nor a record: code is at most three times as large as its component.
pub(crate) const CODE_BYTES: usize = 1 << 30;
const RECORD_BYTES: u64 = 64 << 20;

/// The directories with compiled code: those to read, and the one to write.
pub(crate) struct CodeCache {
    writable: Option<Arc<Keeper>>,
    readable: Vec<PathBuf>,
    engine: wasmtime::Engine,
    engine_key: String,
    /// The key of code that was precompiled for any machine.
    portable_key: Option<String>,
    /// Whether a write failure was logged: a full disk affects every plugin.
    warned: AtomicBool,
}

/// The facts about a component that do not require loading its code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CacheRecord {
    /// SHA-256 of the code's file.
    pub(crate) code: String,
    pub(crate) contract: String,
    pub(crate) imports: Vec<String>,
    /// The plugin's manifest, as the plugin returned it. `None` for the JQ component.
    pub(crate) manifest: Option<Box<RawValue>>,
}

/// An entry of the cache.
pub(crate) struct CacheEntry {
    pub(crate) record: CacheRecord,
    code: PathBuf,
}

impl CacheEntry {
    /// Returns its code, or `None` if it differs from what was written.
    pub(crate) fn code(&self) -> Option<Vec<u8>> {
        let bytes = checked(&self.code, CODE_BYTES as u64)?;
        (sha256(&bytes) == self.record.code).then_some(bytes)
    }
}

impl CodeCache {
    /// Opens the directories that can be trusted: code that someone else could have put there would run
    /// outside the sandbox. Logs which directories it does not use, and why.
    ///
    /// `portable` is the engine that may have compiled the code in `readable`.
    pub(crate) fn open(
        engine: &wasmtime::Engine,
        writable: Option<&Path>,
        readable: &[PathBuf],
        portable: Option<&wasmtime::Engine>,
    ) -> Self {
        let usable = |dir: &Path, checked: Result<PathBuf, Untrusted>| match checked {
            Ok(dir) => Some(dir),
            Err(untrusted) => {
                tracing::warn!(
                    "not using the compiled plugin code in {}, so starting takes longer: {untrusted}",
                    dir.display()
                );
                None
            }
        };
        let engine_key = key(engine);
        let writable =
            writable.and_then(|dir| usable(dir, files::create(dir).and_then(|()| files::trusted(dir))));
        Self {
            writable: writable.map(|dir| Arc::new(Keeper::of(dir, engine_key.clone()))),
            readable: readable.iter().filter_map(|dir| usable(dir, files::trusted(dir))).collect(),
            engine: engine.clone(),
            engine_key,
            portable_key: portable.map(key),
            warned: AtomicBool::new(false),
        }
    }

    /// Marks the code of a component as used until the returned lease is dropped.
    pub(crate) fn lease(&self, component: &str) -> Option<Arc<Lease>> {
        self.writable.as_ref().map(|keeper| keeper.lease(component))
    }

    /// Renews the marks of use from time to time, so that no other process removes the entries.
    pub(crate) fn renew(&self) {
        if let Some(keeper) = &self.writable {
            keeper.renew();
        }
    }

    /// Finds an entry. An unreadable entry counts as absent. Code that was compiled here takes precedence:
    /// it exists because the precompiled code could not be used.
    pub(crate) fn find(&self, component: &str) -> Option<CacheEntry> {
        let compiled_here = self.writable.iter().map(|keeper| (&keeper.dir, &self.engine_key));
        let brought = self.readable.iter().flat_map(|dir| {
            [Some(&self.engine_key), self.portable_key.as_ref()]
                .into_iter()
                .flatten()
                .map(move |key| (dir, key))
        });
        compiled_here.chain(brought).find_map(|(dir, key)| {
            let record = checked(&path(dir, component, key, "json"), RECORD_BYTES)?;
            let record = serde_json::from_slice(&record).ok()?;
            if let Some(keeper) = self.writable.as_ref().filter(|keeper| &keeper.dir == dir) {
                keeper.touch(component);
            }
            Some(CacheEntry { record, code: path(dir, component, key, "cwasm") })
        })
    }

    /// Loads the code of an entry, or returns `None` if it differs from what was written.
    pub(crate) fn load(&self, entry: &CacheEntry) -> Option<Component> {
        ready(&self.engine, &entry.code()?).ok()
    }

    /// Stores a component's code. A failure is only logged, since it only makes the next start slower.
    pub(crate) fn store(&self, component: &str, code: &[u8], record: CacheRecord) {
        let Some(keeper) = &self.writable else { return };
        let dir = &keeper.dir;
        let file = |extension| path(dir, component, &self.engine_key, extension);
        let record = CacheRecord { code: sha256(code), ..record };
        let written = files::write(dir, &file("cwasm"), code).and_then(|()| {
            let whole = serde_json::to_vec(&record).map_err(io::Error::from);
            whole.and_then(|record| files::write(dir, &file("json"), &record)).inspect_err(|_| {
                // The code is useless without its record, and the disk may be full.
                _ = std::fs::remove_file(file("cwasm"));
            })
        });
        match written {
            Ok(()) => keeper.made(component),
            Err(error) if self.warned.swap(true, Ordering::Relaxed) => {
                tracing::debug!("could not store compiled plugin code in {}: {error}", dir.display());
            }
            Err(error) => tracing::warn!(
                "could not store compiled plugin code in {}, so the next start takes longer: {error}; free \
                 disk space there, or give Berth write access",
                dir.display()
            ),
        }
    }
}

/// Loads compiled code.
///
/// # Errors
/// If the code was compiled for another engine.
pub(crate) fn ready(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    #[expect(
        unsafe_code,
        reason = "compiled code is not sandboxed, so it comes from two sources only: a file that nobody else \
                  can have written, and whose bytes have the stored digest; or our own compiler, in this \
                  process or in one that this process started"
    )]
    // SAFETY: the compiler of this or an equal engine wrote the bytes, see the reason above.
    let component = unsafe { Component::deserialize(engine, code) };
    component
}

/// Reads a file that nobody else can have written. Logs a file that exists and is not used.
fn checked(path: &Path, limit: u64) -> Option<Vec<u8>> {
    match files::read(path, limit) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(
                "not using {}, so a plugin is compiled again: {error}; remove the file",
                path.display()
            );
            None
        }
    }
}

/// Returns a hash of everything that the code of an engine depends on.
fn key(engine: &wasmtime::Engine) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    // The definition of a valid plugin may change with Berth's version.
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn path(dir: &Path, component: &str, key: &str, extension: &str) -> PathBuf {
    dir.join(format!("{component}-{key}.{extension}"))
}

/// Returns the SHA-256 in lower-case hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
