//! The engine: runs each kind's mapping as a sandboxed WebAssembly component.
//!
//! A plugin gets a batch of raw resources and returns entities. It has no network, files, environment or
//! credentials; it may log a limited amount. A plugin that crashes, loops, exhausts memory, or returns
//! invalid or too much output fails its own batch, with a message that names the plugin, the kind and the
//! limit.
//!
//! # Invariants
//! - A plugin that cannot be used is rejected by name; it never prevents the engine from starting.
//! - Each batch has its own instance: no state of a plugin outlives its batch.
//! - No import grants a capability. In addition to the contract's `log` there is WASI 0.2, because standard
//!   libraries import it: every call returns nothing or a constant, except for the time of the batch. With
//!   [`Wasi::Deny`], such calls fail.
//! - Compiled code comes from the compiler that this process runs or starts, or from files and directories
//!   that nobody else can write to, and then only if its digest matches.
//! - Entities have the blueprints that the mapping names, or else those of the manifest; others are
//!   rejected.
//! - Mapping runs on separate threads, so that a plugin does not delay I/O.

mod blueprints;
mod cache;
mod compiler;
mod config;
mod contract;
mod imports;
mod info;
mod interfaces;
mod isolation;
mod jq;
mod limits;
mod loader;
mod log_lines;
#[cfg(feature = "measure")]
pub mod measure;
mod misfit;
mod output;
mod plugin;
mod policy;
mod runtime;
mod sandbox;
mod set;
mod subprocess;
mod wasi;
mod workers;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::Ordering},
};

use async_trait::async_trait;
use berth_core::{
    Kind, KindEntry, MapError, MapReport, MapRequest, Mapper, MapperSnapshot, Mapping, Problem, ProblemCode,
    RefusedPlugin,
};

pub use compiler::{CompileLimits, Compiler, CompilerProcess};
pub use config::{EngineConfig, Variables};
pub use info::{CodeOrigin, LoadedComponent, PluginInfo, PluginUse, Reloaded, ServedKind};
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub use isolation::close_up_this_process;
pub use isolation::{Isolation, IsolationProcess, ProcessLockdown};
pub use limits::{Limits, Wasi};
pub use policy::{Asks, Candidate, PluginPolicy, Trust};

use blueprints::Blueprints;
use cache::CodeCache;
use isolation::Pool;
use loader::Loader;
use output::{PluginOutput, ResourceDocuments};
use plugin::Plugin;
use runtime::Runtime;
use set::{Loaded, PluginSet};
use workers::Workers;

/// Why an engine cannot start or reload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// A plugin directory cannot be read.
    #[error("could not read the plugin directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A component cannot be precompiled.
    #[error("{} {}", path.display(), problem.message)]
    Precompile {
        /// Its file.
        path: PathBuf,
        /// The cause.
        problem: Problem,
    },
    /// The settings require plugins to run in separate processes, but they cannot.
    #[error("plugins cannot run in separate processes, as the settings require: {reason}")]
    Isolation {
        /// The missing requirement.
        reason: String,
    },
    /// A thread cannot be started.
    #[error("could not start a thread for plugins")]
    Thread(#[source] io::Error),
    /// wasmtime does not start on this machine.
    #[error("could not start the WebAssembly engine: {reason}")]
    Start {
        /// The cause.
        reason: String,
    },
}

impl EngineError {
    fn start(error: &wasmtime::Error) -> Self {
        Self::Start { reason: format!("{error:#}") }
    }
}

/// Compiles or maps if an engine started this process for that, and returns its exit code. Call it first in
/// the `main` of a program that is a [`CompilerProcess`] or an [`IsolationProcess`], with the arguments of
/// the process ([`std::env::args_os`]), and return the exit code.
pub fn run_child_if_asked(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let arguments: Vec<String> =
        arguments.into_iter().skip(1).map_while(|given| given.into_string().ok()).collect();
    match arguments.split_first()? {
        (argument, rest) if argument == compiler::ARGUMENT => Some(compiler::run(rest)),
        #[cfg(target_os = "linux")]
        (argument, []) if argument == isolation::ARGUMENT => Some(isolation::run()),
        _ => None,
    }
}

/// Starts the processes of components that do not run in this one.
fn isolation(
    config: &EngineConfig,
    runtime: &Runtime,
    workers: usize,
) -> Result<Option<Arc<Pool>>, EngineError> {
    match &config.isolation {
        Isolation::None => Ok(None),
        Isolation::Process(process) => {
            let limits = (runtime.limits.clone(), runtime.wasi);
            let pool = Pool::open(process, runtime.setup, limits, workers);
            pool.map(Some).map_err(|reason| EngineError::Isolation { reason })
        }
    }
}

/// The plugins of a sync, with the threads that run them.
///
/// Dropping the engine ends the threads, each after its current batch.
pub struct Engine {
    plugin_dirs: Vec<PathBuf>,
    // Replaced as a whole, while units continue with the previous one.
    now: RwLock<Arc<Snapshot>>,
    reloading: Mutex<()>,
}

/// The plugins at one moment.
struct Snapshot {
    loader: Arc<Loader>,
    workers: Arc<Workers>,
    set: PluginSet,
}

impl Engine {
    /// Loads every plugin of the configured directories. Compiles plugins that are not in the cache,
    /// several at a time; call it where blocking is allowed.
    ///
    /// # Errors
    /// [`EngineError`] if a directory cannot be read or the engine cannot start. A plugin that cannot be
    /// used is not an error; see [`Engine::refused`].
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let runtime = Runtime::new(config.limits.clone(), config.workers.get(), config.wasi)?;
        // If the portable engine cannot start, code that was compiled with it cannot run either.
        let portable =
            (!config.precompiled_dirs.is_empty()).then(|| runtime::portable(&runtime.limits).ok()).flatten();
        let cache = CodeCache::open(
            &runtime.engine,
            config.cache_dir.as_deref(),
            &config.precompiled_dirs,
            portable.as_ref(),
        );
        let isolation = isolation(&config, &runtime, config.workers.get())?;
        if isolation.as_ref().is_some_and(|pool| !pool.lockdown().landlock) {
            tracing::warn!(
                "this kernel does not support Landlock: only the system call filter keeps the processes of plugins \
                 from files and the network"
            );
        }
        let loader = Arc::new(Loader {
            runtime,
            cache,
            compiler: config.compiler,
            isolation,
            workers: config.workers,
            jq_environment: config.jq_environment,
            reloads: config.reloads,
            trust: config.trust,
        });
        let set = loader.load(&config.plugin_dirs, None)?;
        set.log_components();
        let workers = Arc::new(Workers::start(config.workers).map_err(EngineError::Thread)?);
        let now = RwLock::new(Arc::new(Snapshot { loader, workers, set }));
        Ok(Self { plugin_dirs: config.plugin_dirs, now, reloading: Mutex::new(()) })
    }

    /// Reads the plugin directories again and applies the changes: units that begin from now on use the new
    /// plugins, running units finish with the old ones. If a file cannot be used, the version that was
    /// loaded from it before stays in use as long as the file exists, and the file is among the
    /// [rejected](Self::refused) ones. If a file is gone, its plugin is removed.
    ///
    /// Compiles all new plugins before any of them is used; call it where blocking is allowed. A file that
    /// is still being written may be read incompletely: check that it has settled first.
    ///
    /// # Errors
    /// [`EngineError`] if a directory cannot be read; all plugins then stay unchanged.
    pub fn reload(&self) -> Result<Reloaded, EngineError> {
        let _turn = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let former = self.now();
        let set = former.loader.load(&self.plugin_dirs, Some(&former.set))?;
        let reloaded = set.since(&former.set);
        if !set.is_as(&former.set) {
            set.replaces(&former.set);
            let (loader, workers) = (Arc::clone(&former.loader), Arc::clone(&former.workers));
            let now = Arc::new(Snapshot { loader, workers, set });
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
        }
        Ok(reloaded)
    }

    /// Precompiles every plugin of the configured directories for any processor of this architecture, into
    /// a directory for [`EngineConfig::precompiled_dirs`]: an image with this directory starts without
    /// compiling on any machine. Returns the number of plugins.
    ///
    /// # Errors
    /// [`EngineError`] for the first plugin or directory that cannot be used.
    pub fn precompile(config: &EngineConfig, into: &Path) -> Result<usize, EngineError> {
        let runtime = Runtime::portable(Limits::default())?;
        let cache = CodeCache::open(&runtime.engine, Some(into), &[], None);
        let isolation = isolation(config, &runtime, 1)?;
        let jq_environment = Variables::default();
        Loader {
            runtime,
            cache,
            compiler: config.compiler.clone(),
            isolation,
            workers: NonZeroUsize::MIN,
            jq_environment,
            reloads: false,
            trust: Trust::default(),
        }
        .compile_all(&config.plugin_dirs)
    }

    /// Returns the current plugins.
    pub fn current(&self) -> Arc<dyn MapperSnapshot> {
        self.now()
    }

    /// Returns all kinds that can be mapped, by name.
    pub fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        self.now().kinds()
    }

    /// Returns plugins that were found but are not used, with the reason.
    pub fn refused(&self) -> Vec<RefusedPlugin> {
        self.now().refused()
    }

    /// Returns the loaded plugins, in the order of directories and file names.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let set = &self.now().set;
        set.plugins.iter().map(|plugin| info(plugin, |kind| set.serving.get(kind))).collect()
    }

    /// Returns the use of each component that was used so far, in the order of directories and file names.
    pub fn usage(&self) -> Vec<PluginUse> {
        let set = &self.now().set;
        let plugins = set
            .plugins
            .iter()
            .map(|plugin| plugin.used.usage(&plugin.name, plugin.peak_memory.load(Ordering::Relaxed)));
        let jq = set.jq.iter().map(|jq| jq.used.usage("jq", 0));
        plugins.chain(jq).filter(|used| used.batches > 0).collect()
    }

    /// Loads and compiles one file and describes it. The file need not be in a plugin directory nor
    /// admitted by the policy. It is compiled so that nobody is asked to trust a file that cannot be
    /// compiled. Blocks.
    ///
    /// # Errors
    /// The [`Problem`] for which it would be rejected.
    pub fn inspect(&self, file: &Path) -> Result<PluginInfo, Problem> {
        let named = |message: &str| format!("{} {message}", file.display());
        let refused = |problem: Problem| {
            let is_named = problem.message.starts_with(&*file.to_string_lossy());
            if is_named { problem } else { problem.map_message(named) }
        };
        match self.now().loader.load_file(file, &Trust::default()) {
            Ok(Loaded::Plugin(plugin)) => match plugin.program.get() {
                Ok(_) => Ok(info(&plugin, |_| None)),
                Err(failure) => Err(refused(failure.problem())),
            },
            Ok(Loaded::Jq(_)) => Err(Problem::new(
                ProblemCode::PluginInvalid,
                named("is the JQ component, which maps no kind"),
            )),
            Err(RefusedPlugin { problem, .. }) => Err(refused(problem)),
        }
    }

    /// Returns the file of the component that evaluates users' own mappings, if there is one.
    pub fn jq(&self) -> Option<PathBuf> {
        self.now().set.jq.as_ref().map(|jq| jq.file.clone())
    }

    /// Returns the mechanisms that isolate the processes of plugins; `None` if all plugins run in this
    /// process.
    pub fn isolation(&self) -> Option<ProcessLockdown> {
        self.now().loader.isolation.as_ref().map(|pool| pool.lockdown())
    }

    fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("kinds", &self.now().set.kinds.keys()).finish_non_exhaustive()
    }
}

fn info<'s>(plugin: &Plugin, serving: impl Fn(&Kind) -> Option<&'s Arc<Plugin>>) -> PluginInfo {
    let replaced_by =
        |kind: &Kind| serving(kind).filter(|other| other.file != plugin.file).map(|other| other.file.clone());
    PluginInfo {
        name: plugin.manifest.name.clone(),
        version: plugin.manifest.version.clone(),
        file: plugin.file.clone(),
        sha256: plugin.sha256.clone(),
        contract: plugin.contract.to_string(),
        imports: plugin.imports.clone(),
        size: plugin.size,
        kinds: plugin
            .manifest
            .kinds
            .iter()
            .map(|kind| ServedKind { kind: kind.kind.clone(), replaced_by: replaced_by(&kind.kind) })
            .collect(),
        code: plugin.code,
        load_time: plugin.load_time,
        peak_memory: plugin.peak_memory.load(Ordering::Relaxed) as u64,
        isolated: plugin.isolated,
        manifest: Arc::clone(&plugin.manifest),
    }
}

impl Mapper for Engine {
    fn snapshot(self: Arc<Self>) -> Arc<dyn MapperSnapshot> {
        self.current()
    }
}

#[async_trait]
impl MapperSnapshot for Snapshot {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        self.set.kinds.clone()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        self.set.refused.clone()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
        let MapRequest { kind, context, mapping, documents: wanted, page } = request;
        let set = &self.set;
        self.loader.cache.renew();
        let Some(plugin) = set.serving(&kind) else {
            return Err(MapError::NoPlugin(set.no_plugin(&kind)));
        };
        let jq = match &mapping {
            Mapping::Native | Mapping::Documents => None,
            Mapping::Custom(_) => Some(set.jq.clone().ok_or_else(|| MapError::Mapping(no_jq(&kind)))?),
        };
        let failed = {
            let (plugin, kind) = (plugin.name.to_string(), kind.clone());
            move |problem| MapError::Plugin { plugin: plugin.clone(), kind: kind.clone(), problem }
        };
        let lost = failed(lost_batch());
        let loader = Arc::clone(&self.loader);
        let blueprints = Blueprints::of(&mapping, &kind, &plugin.manifest);
        // The span makes log lines of the mapping thread belong to the unit of the batch.
        let span = tracing::debug_span!("map", plugin = %plugin.name, resources = page.count).or_current();
        let job = move || {
            let _mapping = span.entered();
            let runtime = &loader.runtime;
            let failure = |failure: sandbox::PluginFailure| failed(failure.problem());
            let nonsense = |what| failure(sandbox::PluginFailure::Nonsense(what));
            match (mapping, jq) {
                (Mapping::Custom(resource), Some(jq)) => {
                    if let Some(document) = plugin.document_for(&kind, &resource).filter(|_| !wanted) {
                        let mapped = jq.map_resources(runtime, &kind, &context, (&resource, document), &page);
                        let mut report = mapped.map_err(MapError::Mapping)?;
                        blueprints.confine(&mut report);
                        return Ok(report);
                    }
                    let documents: ResourceDocuments =
                        plugin.map(runtime, &kind, &context, &page).map_err(failure)?;
                    let mapped = jq.map(runtime, &kind, &context, &resource, &documents);
                    let mut report = mapped.map_err(|problem| match documents.check() {
                        Ok(()) => MapError::Mapping(problem),
                        // What the plugin wrote is the cause.
                        Err(what) => nonsense(what),
                    })?;
                    blueprints.confine(&mut report);
                    if wanted {
                        report.documents = documents.into_documents().map_err(nonsense)?;
                    }
                    Ok(report)
                }
                (Mapping::Documents, _) => {
                    let mut documents: ResourceDocuments =
                        plugin.map(runtime, &kind, &context, &page).map_err(failure)?;
                    let resources = documents.resources();
                    let errors = std::mem::take(documents.errors());
                    let documents = documents.into_documents().map_err(nonsense)?;
                    Ok(MapReport { errors, documents, resources, ..MapReport::default() })
                }
                _ => {
                    let mut report: MapReport =
                        plugin.map(runtime, &kind, &context, &page).map_err(failure)?;
                    report.resources = report.entities.len() + report.errors.len();
                    blueprints.check(&report.entities).map_err(failure)?;
                    if wanted {
                        let documents = plugin.map::<ResourceDocuments>(runtime, &kind, &context, &page);
                        let documents = documents.and_then(|documents| {
                            documents.into_documents().map_err(sandbox::PluginFailure::Nonsense)
                        });
                        match documents {
                            Ok(documents) => report.documents = documents,
                            Err(failure) => {
                                let plugin = &plugin.name;
                                tracing::warn!(%plugin, %kind, %failure, "could not build the documents in addition to the entities");
                            }
                        }
                    }
                    Ok(report)
                }
            }
        };
        self.workers.run(job).await.unwrap_or(Err(lost))
    }
}

fn lost_batch() -> Problem {
    Problem::new(ProblemCode::Internal, "internal error: the host failed to map the batch (please report)")
}

fn no_jq(kind: &Kind) -> Problem {
    Problem::new(ProblemCode::MappingNeedsJq, format!(
        "the mapping of {kind} is not the kind's default, and custom mappings need the `jq` component, which \
         is not installed"
    ))
    .remedy("put `jq.wasm` into a plugin directory, or restore the kind's default mapping in Port")
}
