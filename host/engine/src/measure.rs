//! Runs the steps of mapping one by one on the caller's thread, for benchmarks. Not part of the engine's
//! interface.

use std::{num::NonZeroUsize, path::Path, sync::Arc};

use berth_core::{
    Document, Kind, MapContext, MapReport, Problem, ProblemCode, RawPage, RefusedPlugin, ResourceConfig,
};

use crate::{
    EngineConfig, EngineError,
    cache::CodeCache,
    contract::{MapBatch, OutputForm},
    isolation,
    jq::Jq,
    loader::Loader,
    output::{PluginOutput, ResourceDocuments},
    plugin::{Plugin, output_bound},
    policy::Trust,
    runtime::Runtime,
    sandbox::{Bounds, LogContext, PluginFailure},
    set::Loaded,
};

/// Loads components.
pub struct Bench(Arc<Loader>);

impl Bench {
    /// Creates it with the limits, the cache and the number of workers of a configuration.
    ///
    /// # Errors
    /// If wasmtime or a mapping process does not start.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        let runtime = Runtime::new(config.limits.clone(), config.workers.get(), config.wasi)?;
        let cache = CodeCache::open(&runtime.engine, config.cache_dir.as_deref(), &[], None);
        let isolation = isolation(config, &runtime, config.workers.get())?;
        let jq_environment = config.jq_environment.clone();
        Ok(Self(Arc::new(Loader {
            runtime,
            cache,
            compiler: config.compiler.clone(),
            isolation,
            workers: NonZeroUsize::MIN,
            jq_environment,
            reloads: false,
            trust: Trust::default(),
        })))
    }

    /// Loads a plugin and its code, and compiles it if the cache has none.
    ///
    /// # Errors
    /// Why it is rejected.
    pub fn plugin(&self, file: &Path) -> Result<Sandboxed, Problem> {
        match self.0.load_file(file, &Trust::default()) {
            Ok(Loaded::Plugin(plugin)) => {
                plugin.program.get().map_err(|failure| failure.problem())?;
                Ok(Sandboxed { loader: Arc::clone(&self.0), plugin })
            }
            Ok(Loaded::Jq(_)) => Err(Problem::new(ProblemCode::PluginInvalid, "it is the JQ component")),
            Err(RefusedPlugin { problem, .. }) => Err(problem),
        }
    }

    /// Loads the JQ component.
    ///
    /// # Errors
    /// Why it is rejected.
    pub fn jq(&self, file: &Path) -> Result<Expressions, Problem> {
        match self.0.load_file(file, &Trust::default()) {
            Ok(Loaded::Jq(jq)) => Ok(Expressions { loader: Arc::clone(&self.0), jq }),
            Ok(Loaded::Plugin(_)) => {
                Err(Problem::new(ProblemCode::PluginInvalid, "it is not the JQ component"))
            }
            Err(RefusedPlugin { problem, .. }) => Err(problem),
        }
    }
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").finish_non_exhaustive()
    }
}

/// A plugin in its sandbox.
pub struct Sandboxed {
    loader: Arc<Loader>,
    plugin: Arc<Plugin>,
}

impl Sandboxed {
    /// Creates an instance and requests its manifest: the fixed cost of every batch.
    ///
    /// # Errors
    /// How it failed.
    pub fn manifest(&self) -> Result<Vec<u8>, Problem> {
        let program = self.plugin.program.get().map_err(|failure| failure.problem())?;
        let runtime = &self.loader.runtime;
        let log_context = LogContext { plugin: Arc::clone(&self.plugin.name), at: "manifest".into() };
        let bounds = self.bounds(0);
        let called = program.manifest(runtime, &log_context, self.plugin.inputs(runtime), bounds);
        called.result.map_err(|failure| failure.problem())
    }

    /// Maps a batch in its own instance and returns the unparsed output.
    ///
    /// # Errors
    /// How it failed.
    pub fn call(&self, kind: &Kind, context: &MapContext, resources: &[u8]) -> Result<Vec<u8>, Problem> {
        let program = self.plugin.program.get().map_err(|failure| failure.problem())?;
        let runtime = &self.loader.runtime;
        let log_context = LogContext::new(&self.plugin.name, kind, context);
        let batch = MapBatch { kind, context, output: OutputForm::Entities, resources };
        let bounds = self.bounds(resources.len());
        let called = program.map_batch(runtime, &log_context, self.plugin.inputs(runtime), bounds, batch);
        let answer = called.result.map_err(|failure| failure.problem())?;
        answer.map_err(|reason| PluginFailure::refused(&reason).problem())
    }

    /// Maps a batch like a resync.
    ///
    /// # Errors
    /// How it failed.
    pub fn map(&self, kind: &Kind, context: &MapContext, page: &RawPage) -> Result<MapReport, Problem> {
        self.plugin.map(&self.loader.runtime, kind, context, page).map_err(|failure| failure.problem())
    }

    /// Makes a batch's documents, which mappings of users are evaluated on, as a resync does. Gives their number.
    ///
    /// # Errors
    /// How it failed.
    pub fn documents(&self, kind: &Kind, context: &MapContext, page: &RawPage) -> Result<usize, Problem> {
        let documents: Result<ResourceDocuments, _> =
            self.plugin.map(&self.loader.runtime, kind, context, page);
        documents.map(|documents| documents.resources()).map_err(|failure| failure.problem())
    }

    fn bounds(&self, input: usize) -> Bounds {
        let runtime = &self.loader.runtime;
        let output_bytes = output_bound(runtime, input);
        Bounds { deadline: runtime.limits.deadline, output_bytes, log: true }
    }
}

impl std::fmt::Debug for Sandboxed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sandboxed").field(&self.plugin.name).finish()
    }
}

/// The JQ component in its sandbox.
pub struct Expressions {
    loader: Arc<Loader>,
    jq: Arc<Jq>,
}

impl Expressions {
    /// Maps a batch with JQ expressions like a resync: over the resources, or over the documents that the plugin
    /// returns.
    ///
    /// # Errors
    /// How it failed.
    pub fn map(
        &self,
        plugin: &Sandboxed,
        kind: &Kind,
        context: &MapContext,
        resource: &ResourceConfig,
        page: &RawPage,
    ) -> Result<MapReport, Problem> {
        let runtime = &self.loader.runtime;
        if let Some(document) = plugin.plugin.document_for(kind, resource) {
            return self.jq.map_resources(runtime, kind, context, (resource, document), page);
        }
        let documents: ResourceDocuments =
            plugin.plugin.map(runtime, kind, context, page).map_err(|failure| failure.problem())?;
        self.jq.map(runtime, kind, context, resource, &documents)
    }
}

impl std::fmt::Debug for Expressions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expressions").finish_non_exhaustive()
    }
}

/// Parses the output of a plugin for a batch of `count` resources, like the engine.
///
/// # Errors
/// What is invalid, with its place.
pub fn read(bytes: &[u8], count: usize) -> Result<MapReport, String> {
    MapReport::read(bytes, count)
}

/// Parses the documents that a plugin returned for a batch of `count` resources, like the engine.
///
/// # Errors
/// What is invalid, with its place.
pub fn read_documents(bytes: &[u8], count: usize) -> Result<Vec<Document>, String> {
    ResourceDocuments::read(bytes, count).and_then(ResourceDocuments::into_documents)
}
