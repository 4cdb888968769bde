//! Compiled code, kept between runs. Compiling a plugin takes half a second, loading it from here a
//! fraction of a millisecond.
//!
//! An entry is two files, named by the SHA-256 of the component and by what the compiled code
//! depends on (versions of Berth and wasmtime, settings, the machine): `<sha256>-<engine>.cwasm`, the
//! code, and `<sha256>-<engine>.json`, the [`Record`]. The record is written last and holds the
//! digest of the code, so that an entry is whole or absent.

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

/// Longer files are no code and no record: code has three times the bytes of its component at most.
pub(crate) const CODE_BYTES: usize = 1 << 30;
const RECORD_BYTES: u64 = 64 << 20;

/// Where compiled code is looked for, and where it is put.
pub(crate) struct CodeCache {
    writable: Option<Arc<Keeper>>,
    readable: Vec<PathBuf>,
    engine: wasmtime::Engine,
    engine_key: String,
    /// The key of code that was compiled ahead of time, for any machine.
    portable_key: Option<String>,
    /// Whether a failure to write was told: a disk that is full is so for each plugin.
    warned: AtomicBool,
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

impl Entry {
    /// Its code. `None` when it is not what was written.
    pub(crate) fn code(&self) -> Option<Vec<u8>> {
        let bytes = checked(&self.code, CODE_BYTES as u64)?;
        (sha256(&bytes) == self.record.code).then_some(bytes)
    }
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
        let usable = |dir: &Path, checked: Result<PathBuf, Untrusted>| match checked {
            Ok(dir) => Some(dir),
            Err(untrusted) => {
                tracing::warn!(
                    "compiled plugin code in {} is not used, so that starting takes longer: {untrusted}",
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

    /// Uses the code of a component from now on, for as long as what is returned lives.
    pub(crate) fn lease(&self, component: &str) -> Option<Arc<Lease>> {
        self.writable.as_ref().map(|keeper| keeper.lease(component))
    }

    /// Says now and then what is in use, so that no other process removes it.
    pub(crate) fn renew(&self) {
        if let Some(keeper) = &self.writable {
            keeper.renew();
        }
    }

    /// Looks for an entry. One that cannot be read counts as absent. What was compiled here comes
    /// first: it was, because what came along could not be used.
    pub(crate) fn find(&self, component: &str) -> Option<Entry> {
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
            Some(Entry { record, code: path(dir, component, key, "cwasm") })
        })
    }

    /// Loads the code of an entry. `None` when it is not what was written.
    pub(crate) fn load(&self, entry: &Entry) -> Option<Component> {
        ready(&self.engine, &entry.code()?).ok()
    }

    /// Keeps a component's code. A failure costs only time at the next start, so it is only logged.
    pub(crate) fn store(&self, component: &str, code: &[u8], record: Record) {
        let Some(keeper) = &self.writable else { return };
        let dir = &keeper.dir;
        let file = |extension| path(dir, component, &self.engine_key, extension);
        let record = Record { code: sha256(code), ..record };
        let written = files::write(dir, &file("cwasm"), code).and_then(|()| {
            let whole = serde_json::to_vec(&record).map_err(io::Error::from);
            whole.and_then(|record| files::write(dir, &file("json"), &record)).inspect_err(|_| {
                // Alone it is of no use, and the disk may be full.
                _ = std::fs::remove_file(file("cwasm"));
            })
        });
        match written {
            Ok(()) => keeper.made(component),
            Err(error) if self.warned.swap(true, Ordering::Relaxed) => {
                tracing::debug!("could not keep compiled plugin code in {}: {error}", dir.display());
            }
            Err(error) => tracing::warn!(
                "could not keep compiled plugin code in {}, so that the next start takes longer: {error}; free \
                 space there, or let Berth write to it",
                dir.display()
            ),
        }
    }
}

/// Makes compiled code ready to run.
///
/// # Errors
/// When the code is for another engine than this.
pub(crate) fn ready(engine: &wasmtime::Engine, code: &[u8]) -> wasmtime::Result<Component> {
    #[expect(
        unsafe_code,
        reason = "compiled code runs outside of the sandbox, so that it comes from two places only: a file \
                  that nobody else can have written, of which these very bytes have the digest that was \
                  stored, and our own compiler, whether in this process or in one that this process started"
    )]
    // SAFETY: the bytes are what the compiler of this or an equal engine wrote, see the reason above.
    let component = unsafe { Component::deserialize(engine, code) };
    component
}

/// The content of a file that nobody else can have written. What is there and not used is told.
fn checked(path: &Path, limit: u64) -> Option<Vec<u8>> {
    match files::read(path, limit) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(
                "{} is not used, so that a plugin is compiled again: {error}; remove it",
                path.display()
            );
            None
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
