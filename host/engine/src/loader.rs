//! Loads plugins from files: decides which files are accepted, and reports why others are not.

use std::{
    fs,
    io::Read as _,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use berth_core::{Manifest, Problem, ProblemCode, RefusedPlugin};
use serde_json::value::RawValue;
use wasmtime::component::{Component, Linker};

use crate::{
    Asks, Candidate, EngineError, Trust,
    cache::{CacheEntry, CacheRecord, CodeCache, ready, sha256},
    compiler::Compiler,
    config::Variables,
    contract::{self, ContractVersion, Program, jq_v1_0::Evaluator},
    info::CodeOrigin,
    interfaces::{Interfaces, MANIFEST_SECTION, Outline},
    isolation::{IsolatedComponent, Placed, Pool, Role},
    jq::Jq,
    misfit::{compiled_for_another_engine, misfits_the_contract},
    plugin::{CircuitBreaker, Lazy, Plugin},
    runtime::{Runtime, THREAD_STACK},
    sandbox::{Bounds, Bytes, LogContext},
    set::{Loaded, PluginFile, PluginSet},
    wasi::{self, Inputs, Seed},
};

/// Larger files are not plugins; a Python interpreter with a plugin has 18 MB.
const COMPONENT_BYTES: usize = 256 << 20;
/// A manifest is a constant; even an interpreter returns it quickly.
const MANIFEST_DEADLINE: Duration = Duration::from_secs(5);
/// A manifest with a hundred kinds and their blueprints has less than a fifth of this size.
const MANIFEST_BYTES: usize = 8 << 20;

/// Loads components.
pub(crate) struct Loader {
    pub(crate) runtime: Runtime,
    pub(crate) cache: CodeCache,
    /// Where components are compiled.
    pub(crate) compiler: Compiler,
    /// Starts the processes of components that do not run in this one.
    pub(crate) isolation: Option<Arc<Pool>>,
    /// The number of batches that are mapped at once.
    pub(crate) workers: NonZeroUsize,
    /// The environment variables that JQ mappings can read.
    pub(crate) jq_environment: Variables,
    /// Whether files may be replaced while their plugins are in use.
    pub(crate) reloads: bool,
    /// Decides which components are used.
    pub(crate) trust: Trust,
}

/// A component's code, bound to the contract of its role.
#[derive(Clone)]
pub(crate) enum Code {
    Mapper(Arc<dyn Program>),
    Jq(Arc<Evaluator>),
}

/// A component that can be called, independent of where it runs.
enum Callable {
    Mapper(Arc<Placed<dyn Program>>),
    Jq(Arc<Placed<Evaluator>>),
}

impl Loader {
    /// Loads the plugins of all directories, several at a time. Keeps a component that was loaded `before`
    /// if its file is unchanged, or if its file cannot be used any more.
    ///
    /// # Errors
    /// [`EngineError`] if a directory cannot be read, or no thread can be started.
    pub(crate) fn load(
        self: &Arc<Self>,
        dirs: &[PathBuf],
        before: Option<&PluginSet>,
    ) -> Result<PluginSet, EngineError> {
        let mut files = Vec::new();
        for (order, dir) in dirs.iter().enumerate() {
            let found =
                wasm_files(dir).map_err(|source| EngineError::Directory { path: dir.clone(), source })?;
            files.extend(found.into_iter().map(|file| (order, file)));
        }
        let next = AtomicUsize::new(0);
        let loaded = Mutex::new(Vec::with_capacity(files.len()));
        thread::scope(|scope| {
            for _ in 0..self.workers.get().min(files.len()) {
                let work = || {
                    while let Some((order, file)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let former = before.and_then(|set| set.of_file(file));
                        let admitted = |former: &Loaded| self.trust.admit(&former.candidate(None)).is_ok();
                        let outcome = match before {
                            Some(_) => self.reload_file(file, former.as_ref()),
                            None => self.load_file(file, &self.trust),
                        };
                        let former = former.filter(admitted);
                        let found = PluginFile { order: *order, file, outcome, former };
                        loaded.lock().unwrap_or_else(PoisonError::into_inner).push(found);
                    }
                };
                thread::Builder::new()
                    .name("berth-load".into())
                    .stack_size(THREAD_STACK)
                    .spawn_scoped(scope, work)
                    .map_err(EngineError::Thread)?;
            }
            Ok(())
        })?;
        let mut loaded = loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
        loaded.sort_by_key(|found| (found.order, found.file));
        Ok(PluginSet::choose(loaded))
    }

    /// Loads one file again if it has changed, and compiles it, so that units do not wait for that.
    ///
    /// # Errors
    /// [`RefusedPlugin`] with the reason.
    fn reload_file(self: &Arc<Self>, file: &Path, former: Option<&Loaded>) -> Result<Loaded, RefusedPlugin> {
        let refused = |problem| RefusedPlugin { plugin: file.display().to_string(), problem };
        let bytes = read(file).map_err(refused)?;
        let sha256 = sha256(&bytes);
        if let Some(former) = former.filter(|former| former.sha256() == sha256) {
            self.trust.admit(&former.candidate(Some(&bytes))).map_err(refused)?;
            return Ok(former.clone());
        }
        let loaded = self.load_bytes(file, bytes, sha256, former, &self.trust).map_err(refused)?;
        // Its entry in the cache is useless then.
        loaded.compile().inspect_err(|_| loaded.replaced()).map_err(refused)?;
        Ok(loaded)
    }

    /// Compiles the components of all directories into the cache, except those that it already contains.
    ///
    /// # Errors
    /// [`EngineError`] for the first component that cannot be used or stored.
    pub(crate) fn compile_all(&self, dirs: &[PathBuf]) -> Result<usize, EngineError> {
        let mut count = 0;
        for dir in dirs {
            let files =
                wasm_files(dir).map_err(|source| EngineError::Directory { path: dir.clone(), source })?;
            count += files.len();
            for file in files {
                let refused = |problem| EngineError::Precompile { path: file.clone(), problem };
                let bytes = read(&file).map_err(refused)?;
                let sha256 = sha256(&bytes);
                if self.cache.find(&sha256).is_none() {
                    self.compile(&file, &sha256, &bytes).map_err(refused)?;
                }
                if self.cache.find(&sha256).is_none() {
                    return Err(refused(
                        Problem::new(ProblemCode::FileUnwritable, "the compiled code cannot be stored")
                            .remedy("use a directory that only you can write to"),
                    ));
                }
            }
        }
        Ok(count)
    }

    /// Loads one file.
    ///
    /// # Errors
    /// [`RefusedPlugin`] with the reason.
    pub(crate) fn load_file(self: &Arc<Self>, file: &Path, trust: &Trust) -> Result<Loaded, RefusedPlugin> {
        let refused = |problem| RefusedPlugin { plugin: file.display().to_string(), problem };
        let bytes = read(file).map_err(refused)?;
        let sha256 = sha256(&bytes);
        self.load_bytes(file, bytes, sha256, None, trust).map_err(refused)
    }

    /// Loads a component. It continues the counters of the `former` component of the same file.
    fn load_bytes(
        self: &Arc<Self>,
        file: &Path,
        bytes: Vec<u8>,
        sha256: String,
        former: Option<&Loaded>,
        trust: &Trust,
    ) -> Result<Loaded, Problem> {
        let begun = Instant::now();
        let candidate = |asks| Candidate { file, bytes: Some(&bytes), sha256: &sha256, asks };
        let (facts, code, origin) = if let Some(facts) = self.remembered(&sha256) {
            (facts, None, CodeOrigin::Cached)
        } else if let Some(facts) = announced(&bytes)? {
            (facts, None, CodeOrigin::Deferred)
        } else {
            trust.admit(&candidate(Asks::Unread))?;
            let (facts, code) = self.compile(file, &sha256, &bytes)?;
            (facts, Some(code), CodeOrigin::Compiled)
        };
        trust.admit(&candidate(facts.manifest.as_ref().map_or(Asks::Evaluation, Asks::Kinds)))?;
        let size = bytes.len() as u64;
        // Until the plugin is compiled, its file may change. Most plugins are never compiled: those of
        // kinds that nobody syncs.
        let uncompiled = (self.reloads && origin == CodeOrigin::Deferred).then(|| Packed::of(&bytes));
        drop(bytes);
        let uncompiled = Mutex::new(uncompiled.flatten());
        let (loader, path, digest) = (Arc::clone(self), file.to_owned(), sha256.clone());
        let known = facts.manifest.clone();
        let lease = self.cache.lease(&sha256);
        let load = move || {
            let packed = uncompiled.lock().unwrap_or_else(PoisonError::into_inner).take();
            loader.load_again(&path, &digest, known.as_ref(), packed.and_then(Packed::unpack))
        };
        let Some(manifest) = facts.manifest else {
            let evaluator = Lazy::new(code.and_then(|code| code.jq().ok()), move || load()?.jq());
            let environment = self.jq_environment.clone();
            let jq = Jq::new((file.to_owned(), sha256), lease, evaluator, environment, self.workers.get());
            return Ok(Loaded::Jq(Arc::new(jq)));
        };
        Ok(Loaded::Plugin(Arc::new(Plugin {
            used: former.and_then(|former| former.meter_of(&manifest.name)).unwrap_or_default(),
            name: manifest.name.as_str().into(),
            file: file.to_owned(),
            size,
            contract: facts.contract,
            seed: Seed::of_plugin(self.runtime.wasi, &sha256, &facts.imports),
            imports: facts.imports,
            isolated: self.is_apart(file, Role::Mapper),
            manifest: Arc::new(manifest),
            code: origin,
            load_time: begun.elapsed(),
            program: Lazy::new(code.and_then(|code| code.mapper().ok()), move || load()?.mapper()),
            peak_memory: AtomicUsize::new(0),
            breaker: CircuitBreaker::default(),
            sha256,
            lease,
        })))
    }

    /// Returns the facts that an earlier start stored about a component.
    fn remembered(&self, sha256: &str) -> Option<Facts> {
        let record = self.cache.find(sha256)?.record;
        let manifest = record.manifest.map(|text| Manifest::parse(text.get().as_bytes()));
        Some(Facts {
            contract: record.contract.parse().ok()?,
            imports: record.imports,
            manifest: manifest.transpose().ok()?,
        })
    }

    /// Loads the code of a component that was accepted before: from the cache or, if it has no usable
    /// entry, from its bytes or its file. Its manifest must be unchanged.
    fn load_again(
        &self,
        file: &Path,
        sha256: &str,
        known: Option<&Manifest>,
        bytes: Option<Vec<u8>>,
    ) -> Result<Callable, Problem> {
        let entry = self.cache.find(sha256);
        if let Some(entry) = &entry
            && let Some(code) = self.load_kept(file, sha256, entry)?
        {
            return Ok(code);
        }
        let read_again =
            || read(file).map_err(|problem| problem.map_message(|why| format!("{} {why}", file.display())));
        let bytes = bytes.map_or_else(read_again, Ok)?;
        if crate::cache::sha256(&bytes) != sha256 {
            return Err(Problem::new(
                ProblemCode::FileUnreadable,
                format!("{} has changed since it was loaded", file.display()),
            )
            .remedy("restart to use the new file"));
        }
        if entry.is_some() {
            tracing::warn!(
                "the cached code of {} is damaged, or not for this processor; compiling it again",
                file.display()
            );
        }
        let (facts, code) = self.compile(file, sha256, &bytes)?;
        if facts.manifest.as_ref() != known {
            return Err(Problem::new(
                ProblemCode::PluginInvalid,
                format!(
                    "{} returns a manifest that differs from its section `{MANIFEST_SECTION}`",
                    file.display()
                ),
            )
            .remedy("the plugin is faulty: build it again, or report this to its author"));
        }
        Ok(code)
    }

    /// Loads precompiled or cached code. `None` if it cannot be used.
    ///
    /// # Errors
    /// Why it cannot run where it must run.
    fn load_kept(&self, file: &Path, sha256: &str, entry: &CacheEntry) -> Result<Option<Callable>, Problem> {
        let role = if entry.record.manifest.is_some() { Role::Mapper } else { Role::Evaluator };
        let Some(pool) = self.apart(file, role) else {
            return Ok(self.cache.load(entry).and_then(|component| {
                let interfaces = Interfaces::of_component(&component, &self.runtime.engine).ok()?;
                bind(&self.runtime, &component, &interfaces).ok().map(Callable::here)
            }));
        };
        let Some(code) = entry.code() else { return Ok(None) };
        match IsolatedComponent::start(pool, role, sha256, Arc::new(code)) {
            Ok(apart) => Ok(Some(Callable::apart(role, apart))),
            Err(error) if error.is_of_the_code() => Ok(None),
            Err(error) => Err(error.problem()),
        }
    }

    /// Returns the processes that a component runs in, if it does not run here.
    fn apart(&self, file: &Path, role: Role) -> Option<&Arc<Pool>> {
        self.isolation.as_ref().filter(|pool| pool.keeps_apart(file, role))
    }

    /// Returns whether a component does not run in this process.
    fn is_apart(&self, file: &Path, role: Role) -> bool {
        self.apart(file, role).is_some()
    }

    /// Compiles a component, checks it against the contract, requests its manifest, and stores the results.
    fn compile(&self, file: &Path, sha256: &str, bytes: &[u8]) -> Result<(Facts, Callable), Problem> {
        let compiled = Arc::new(self.compiler.compile(&self.runtime, bytes)?);
        let (interfaces, code) = match self.isolation {
            Some(_) => self.place(file, sha256, bytes, &compiled)?,
            None => self.load_here(&compiled)?,
        };
        let (manifest, text) = match &code {
            Callable::Mapper(program) => {
                let seed = Seed::of_plugin(self.runtime.wasi, sha256, &interfaces.imports);
                let inputs = seed.map(Inputs::of_manifest);
                self.manifest(file, inputs, program).map(|(read, text)| (Some(read), Some(text)))?
            }
            Callable::Jq(_) => (None, None),
        };
        let facts = Facts { contract: interfaces.contract, imports: interfaces.imports, manifest };
        let record = CacheRecord {
            code: String::new(),
            contract: facts.contract.to_string(),
            imports: facts.imports.clone(),
            manifest: text,
        };
        self.cache.store(sha256, &compiled, record);
        Ok((facts, code))
    }

    /// Loads code where it must run.
    fn place(
        &self,
        file: &Path,
        sha256: &str,
        bytes: &[u8],
        compiled: &Arc<Vec<u8>>,
    ) -> Result<(Interfaces, Callable), Problem> {
        // The bytes describe the component: this process does not load its code.
        let Some(Outline { interfaces, .. }) = Outline::of(bytes)? else {
            return Err(Problem::new(ProblemCode::PluginInvalid, "has no readable interfaces")
                .remedy("build it again, or copy it again"));
        };
        let role = interfaces.role;
        let Some(pool) = self.apart(file, role) else { return self.load_here(compiled) };
        let apart = IsolatedComponent::start(pool, role, sha256, Arc::clone(compiled));
        apart.map(|apart| (interfaces, Callable::apart(role, apart))).map_err(|error| error.problem())
    }

    fn load_here(&self, compiled: &[u8]) -> Result<(Interfaces, Callable), Problem> {
        let component =
            ready(&self.runtime.engine, compiled).map_err(|error| compiled_for_another_engine(&error))?;
        let interfaces = Interfaces::of_component(&component, &self.runtime.engine)?;
        let code =
            bind(&self.runtime, &component, &interfaces).map_err(|error| misfits_the_contract(&error))?;
        Ok((interfaces, Callable::here(code)))
    }

    /// Requests a plugin's manifest, in the same sandbox as a batch.
    fn manifest(
        &self,
        file: &Path,
        inputs: Option<Inputs>,
        program: &Placed<dyn Program>,
    ) -> Result<(Manifest, Box<RawValue>), Problem> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let log_context = LogContext { plugin: name.into(), at: "manifest".into() };
        let bounds = Bounds {
            deadline: self.runtime.limits.deadline.min(MANIFEST_DEADLINE),
            output_bytes: self.runtime.limits.output_bytes.min(MANIFEST_BYTES),
            log: true,
        };
        let called = program.manifest(&self.runtime, &log_context, inputs, bounds);
        let bytes = called.result.map_err(|failure| {
            failure.problem().map_message(|why| format!("returned no manifest: it {why}"))
        })?;
        let manifest = Manifest::parse(&bytes).map_err(|error| {
            Problem::new(ProblemCode::PluginInvalid, format!("has an invalid {error}"))
                .remedy("the plugin is faulty: update it, or report this to its author")
        })?;
        let text = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(ProblemCode::PluginInvalid, format!("manifest: {error}")))?;
        Ok((manifest, text))
    }
}

/// A component's bytes, compressed to about a quarter.
struct Packed {
    bytes: Vec<u8>,
    unpacked: usize,
}

impl Packed {
    /// `None` if that fails: the file is then read again.
    fn of(bytes: &[u8]) -> Option<Self> {
        // The fastest level, since this happens at every start.
        let mut packed = zstd::bulk::compress(bytes, 1).ok()?;
        packed.shrink_to_fit();
        Some(Self { bytes: packed, unpacked: bytes.len() })
    }

    fn unpack(self) -> Option<Vec<u8>> {
        zstd::bulk::decompress(&self.bytes, self.unpacked).ok()
    }
}

/// The facts that the host needs about a plugin before its first batch.
struct Facts {
    contract: ContractVersion,
    imports: Vec<String>,
    /// `None` for the JQ component.
    manifest: Option<Manifest>,
}

/// Binds a component to the contract of its role.
pub(crate) fn bind(
    runtime: &Runtime,
    component: &Component,
    interfaces: &Interfaces,
) -> wasmtime::Result<Code> {
    let engine = &runtime.engine;
    let mut linker = Linker::new(engine);
    wasi::link(runtime.wasi, &mut linker, engine, component, &interfaces.imports)?;
    Ok(match interfaces.role {
        Role::Evaluator => Code::Jq(Arc::new(Evaluator::bind(component, &linker)?)),
        Role::Mapper | Role::Probe => Code::Mapper(contract::bind(component, linker)?),
    })
}

impl Callable {
    fn here(code: Code) -> Self {
        match code {
            Code::Mapper(program) => Self::Mapper(Arc::new(Placed::Here(program))),
            Code::Jq(evaluator) => Self::Jq(Arc::new(Placed::Here(evaluator))),
        }
    }

    fn apart(role: Role, apart: IsolatedComponent) -> Self {
        match role {
            Role::Evaluator => Self::Jq(Arc::new(Placed::Apart(apart))),
            Role::Mapper | Role::Probe => Self::Mapper(Arc::new(Placed::Apart(apart))),
        }
    }

    fn mapper(self) -> Result<Arc<Placed<dyn Program>>, Problem> {
        match self {
            Self::Mapper(program) => Ok(program),
            Self::Jq(_) => {
                Err(Problem::new(ProblemCode::PluginInvalid, "it is the JQ component, not a plugin"))
            }
        }
    }

    fn jq(self) -> Result<Arc<Placed<Evaluator>>, Problem> {
        match self {
            Self::Jq(evaluator) => Ok(evaluator),
            Self::Mapper(_) => {
                Err(Problem::new(ProblemCode::PluginInvalid, "it is a plugin, not the JQ component"))
            }
        }
    }
}

/// Returns the facts in a component that are available without compiling it: its imports and exports, and
/// the manifest in a custom section of its code, where the SDK puts it. `None` if there is no such section,
/// or if it can only be read by loading the component.
///
/// # Errors
/// Why the component is not a plugin, or not one for this host.
fn announced(bytes: &[u8]) -> Result<Option<Facts>, Problem> {
    let Some(Outline { interfaces, manifests }) = Outline::of(bytes)? else { return Ok(None) };
    let Interfaces { role, contract, imports } = interfaces;
    let manifest = match (role, &manifests[..]) {
        (Role::Evaluator, _) => None,
        (_, [manifest]) => Some(Manifest::parse(manifest).map_err(|error| {
            Problem::new(ProblemCode::PluginInvalid, format!("has an invalid {error}"))
                .remedy("the plugin is faulty: update it, or report this to its author")
        })?),
        _ => return Ok(None),
    };
    Ok(Some(Facts { contract, imports, manifest }))
}

/// Reads a file that may be a component.
fn read(file: &Path) -> Result<Vec<u8>, Problem> {
    let unreadable = |error| Problem::new(ProblemCode::FileUnreadable, format!("cannot be read: {error}"));
    let out = "remove the file from the plugin directory";
    let mut options = fs::OpenOptions::new();
    // Opening a pipe could block if no process writes to it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits().cast_signed(),
    );
    let opened = options.read(true).open(file).map_err(unreadable)?;
    let found = opened.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(Problem::new(ProblemCode::PluginInvalid, "is not a regular file").remedy(out));
    }
    let size = found.len();
    if size > COMPONENT_BYTES as u64 {
        return Err(Problem::new(
            ProblemCode::PluginInvalid,
            format!("has {size} bytes, more than the limit of {}", Bytes(COMPONENT_BYTES)),
        )
        .remedy(out));
    }
    // The file may grow in the meantime.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    opened.take(COMPONENT_BYTES as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.get(..8) {
        // The magic number, then version and layer: a component is layer 1, a core module layer 0.
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => Ok(bytes),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => {
            Err(Problem::new(ProblemCode::PluginInvalid, "is a core WebAssembly module, not a component")
                .remedy(
                    "build it for `wasm32-wasip2`, or encode the module of another target as a component \
                 (`wasm-tools component new`)",
                ))
        }
        _ => Err(Problem::new(ProblemCode::PluginInvalid, "is not WebAssembly")
            .remedy("build it again, or copy it again")),
    }
}

/// Returns the `*.wasm` files of a directory, sorted by name.
fn wasm_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
