//! Berth as a library: the composition root for programs that embed the host.
//!
//! A [`SyncHost`] consists of a source, a mapper and a catalog. By default they are AWS, the plugin engine
//! and Port; each can be replaced by another implementation of its trait.
//!
//! This crate does not read the environment, install a logger, keep global state, or exit. (The ambient AWS
//! credential chain reads the variables and files that AWS defines, if the configuration uses it.)
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use berth_embed::{AwsConfig, PluginConfig, PortConfig, SyncHost};
//!
//! let host = SyncHost::builder()
//!     .aws(AwsConfig { account_role_arns: vec!["arn:aws:iam::111122223333:role/Reader".into()], ..AwsConfig::default() })
//!     .plugins(PluginConfig { dirs: vec!["plugins".into()], ..PluginConfig::default() })
//!     .port(PortConfig::new("id", "secret".to_owned().into(), "my-aws"))
//!     .build()?;
//! let report = host.sync().await?;
//! println!("{} entities created", report.totals().counts.created);
//! # Ok(())
//! # }
//! ```

pub mod core;
mod memory;
mod plugins;
mod recording;
mod resync;

use std::{error::Error, path::PathBuf, pin::pin, sync::Arc};

use berth_aws::AwsSource;
pub use berth_aws::{
    AwsConfig, AwsStats, CallStats, Concurrency, ConfigError, CredentialProvider, EndpointOverrides,
    KindStats, Retry, StaticKeys, WebIdentity,
};
pub use berth_core::{Catalog, Ledger, Mapper, Problem, ProblemCode, Source, UnitCounts, error_chain};
use berth_engine::Engine;
pub use berth_engine::Limits;
pub use berth_http::{HttpConfig, HttpError};
use berth_ledger::FileLedger;
pub use berth_ledger::{Access, LedgerConfig};
use berth_port::service::{LIVE_EVENTS_FLAG, PortService};
pub use berth_port::{
    EventType, PortCatalog, PortConfig, PortStats, ProcessingMode, RawDataConfig, ResourcesOrigin,
    ResyncSchedule, RetryPolicy,
};
use berth_sync::{AccountCache, Gate, LiveParts};
pub use berth_sync::{
    Approved, Change, ChangeRecord, Check, Deletion, Event, FieldChange, Finding, ForeignIdentifier, Gone,
    Kept, LiveEvents, LiveOptions, Misconfiguration, Mode, NullObserver, Observer, Outcome, Refreshed,
    Refusal, Report, SecondLook, Submission, SyncError, SyncOptions, Totals, UnitReport, UnreadCall,
    WriteArbiter,
    deletion::{HeldBack, Keep, RemovalAfter, RemovalOptions},
};
pub use memory::MemoryCatalog;
pub use plugins::PluginConfig;
pub use recording::{RecordingError, RecordingSource, ReplaySource};
pub use resync::{Resync, ResyncError, ResyncEvent};
pub use tokio_util::sync::CancellationToken;

/// Events that are kept for a slow reader: about a second of a fast resync, and less than a megabyte.
const EVENT_BUFFER: usize = 1024;

/// Runs resyncs. Cheap to clone; the parts are shared.
#[derive(Clone)]
pub struct SyncHost {
    source: Arc<AccountCache>,
    mapper: Arc<dyn Mapper>,
    catalog: Arc<dyn Catalog>,
    aws: Option<Arc<AwsSource>>,
    port: Option<Arc<PortCatalog>>,
    recording: Option<Arc<RecordingSource>>,
    observer: Arc<dyn Observer>,
    event_buffer: usize,
    options: SyncOptions,
}

/// What a host has sent so far. Replaced parts count for themselves.
#[derive(Debug, Clone, Default)]
pub struct HostStats {
    /// Requests to AWS.
    pub aws: Option<AwsStats>,
    /// Requests to Port.
    pub port: Option<PortStats>,
}

/// Reports what a host has sent so far. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HostMeter {
    aws: Option<Arc<AwsSource>>,
    port: Option<Arc<PortCatalog>>,
}

impl HostMeter {
    /// Returns what was sent so far.
    pub fn stats(&self) -> HostStats {
        HostStats {
            aws: self.aws.as_ref().map(|aws| aws.stats()),
            port: self.port.as_ref().map(|port| port.stats()),
        }
    }
}

/// Two observers.
struct Both(Arc<dyn Observer>, Arc<dyn Observer>);

impl Observer for Both {
    fn event(&self, event: &Event<'_>) {
        self.0.event(event);
        self.1.event(event);
    }
}

impl std::fmt::Debug for SyncHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncHost").field("options", &self.options).finish_non_exhaustive()
    }
}

impl SyncHost {
    /// Returns a builder for a host.
    pub fn builder() -> SyncHostBuilder {
        SyncHostBuilder::default()
    }

    /// Starts one resync in a separate task, and returns its stream of events.
    ///
    /// ```no_run
    /// # async fn example(host: berth_embed::SyncHost) -> Result<(), berth_embed::ResyncError> {
    /// use berth_embed::{Mode, ResyncEvent};
    ///
    /// let mut resync = host.start(Mode::Apply);
    /// while let Some(event) = resync.next().await {
    ///     if let ResyncEvent::Upserted { entity, created, .. } = event {
    ///         println!("{} {entity}", if created { "new" } else { "changed" });
    ///     }
    /// }
    /// let report = resync.report().await?;
    /// println!("{} units", report.totals().units);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The [observer](SyncHostBuilder::observer) also receives all events.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub fn start(&self, mode: Mode) -> Resync {
        let host = self.clone();
        let stop = self.options.cancel.child_token();
        Resync::start(
            self.event_buffer,
            stop,
            Arc::clone(&self.observer),
            move |cancel, observer| async move { Self { observer, ..host.stopped_by(cancel) }.run(mode).await },
        )
    }

    /// Runs one resync.
    ///
    /// # Errors
    /// [`SyncError`] if the run ends before any unit is planned; see [`berth_sync::run`].
    pub async fn sync(&self) -> Result<Report, SyncError> {
        self.run(Mode::Apply).await
    }

    /// Runs one resync that writes nothing; the report says what would be written.
    ///
    /// # Errors
    /// As for [`sync`](Self::sync).
    pub async fn plan(&self) -> Result<Report, SyncError> {
        self.run(Mode::Plan).await
    }

    /// Returns the same host, whose runs stop at this token instead of the one that it was built with. A
    /// cancelled token stays cancelled, so a service that runs many resyncs gives each its own.
    #[must_use]
    pub fn stopped_by(&self, cancel: CancellationToken) -> Self {
        Self { options: SyncOptions { cancel, ..self.options.clone() }, ..self.clone() }
    }

    /// Returns the same host, whose runs this observer also follows.
    #[must_use]
    pub fn observed_by(&self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Arc::new(Both(observer, Arc::clone(&self.observer))), ..self.clone() }
    }

    /// Returns Port, unless the catalog was [replaced](SyncHostBuilder::catalog).
    pub fn port(&self) -> Option<&Arc<PortCatalog>> {
        self.port.as_ref()
    }

    /// Returns the ledger, for a host that replaces this one.
    pub fn ledger(&self) -> Option<Arc<dyn Ledger>> {
        self.options.ledger.clone()
    }

    /// Returns what resyncs and live events of this host know of each other's writes, for a host that
    /// replaces it.
    pub fn write_arbiter(&self) -> Arc<WriteArbiter> {
        Arc::clone(&self.options.write_arbiter)
    }

    /// Returns a meter of what was sent so far. It outlives the host without keeping its plugins or its
    /// ledger open.
    pub fn meter(&self) -> HostMeter {
        HostMeter { aws: self.aws.clone(), port: self.port.clone() }
    }

    /// Returns the recorder of the source's responses, if the host was [built](SyncHostBuilder::record) with
    /// one.
    pub fn recording(&self) -> Option<&RecordingSource> {
        self.recording.as_deref()
    }

    /// Checks that a resync would work, without writing anything: identities, roles, regions, one read per
    /// kind and account, the catalog, the plugins. The kinds are those of the app-config or, with
    /// `all_kinds`, of all plugins.
    pub async fn check(&self, all_kinds: bool) -> Vec<Check> {
        let source = Arc::clone(&self.source) as Arc<dyn Source>;
        let mapper = Arc::clone(&self.mapper).snapshot();
        berth_sync::check(source, &*mapper, Arc::clone(&self.catalog), all_kinds).await
    }

    /// Returns a processor of live events for this host; it runs in parallel with resyncs, and notifies
    /// `observer` of each resource.
    ///
    /// [`LiveEvents::submit`] accepts events; the caller has to check who may send them. With Port as the catalog
    /// they are processed only if the organization has the flag `AWS_V3_LIVE_EVENTS_ENABLED`.
    pub fn live(&self, options: LiveOptions, observer: Arc<dyn Observer>) -> LiveEvents {
        let gate = self.port.as_deref().map(PortService::of).map(|port| -> Gate {
            Arc::new(move || {
                let port = port.clone();
                Box::pin(async move { port.has_flag(LIVE_EVENTS_FLAG).await })
            })
        });
        let parts = LiveParts {
            source: Arc::clone(&self.source),
            mapper: Arc::clone(&self.mapper),
            catalog: Arc::clone(&self.catalog),
            write_arbiter: Arc::clone(&self.options.write_arbiter),
            ledger: self.options.ledger.clone(),
            gate,
            observer,
            adoption: self.options.adoption.clone(),
            max_deletions: self.options.max_deletions,
        };
        parts.follow(options)
    }

    async fn run(&self, mode: Mode) -> Result<Report, SyncError> {
        let source = Arc::clone(&self.source);
        let mut run = pin!(berth_sync::run(
            source,
            Arc::clone(&self.mapper),
            Arc::clone(&self.catalog),
            Arc::clone(&self.observer),
            SyncOptions { mode, ..self.options.clone() },
        ));
        let Some(port) = &self.port else { return run.await };
        tokio::select! {
            biased;
            report = &mut run => return report,
            () = self.options.cancel.cancelled() => PortService::of(port).stop(),
        }
        let report = run.await;
        PortService::of(port).resume();
        report
    }
}

/// Builds a [`SyncHost`]: one of each pair is required.
///
/// ```
/// let error = berth_embed::SyncHost::builder().build().unwrap_err();
/// assert_eq!(error.to_string(), "a sync host needs a source: call `.aws(…)` or `.source(…)`");
/// ```
#[derive(Default)]
pub struct SyncHostBuilder {
    aws: Option<AwsConfig>,
    source: Option<Arc<dyn Source>>,
    plugins: Option<PluginConfig>,
    mapper: Option<Arc<dyn Mapper>>,
    port: Option<PortConfig>,
    catalog: Option<Arc<dyn Catalog>>,
    record: Option<PathBuf>,
    observer: Option<Arc<dyn Observer>>,
    event_buffer: Option<usize>,
    state: Option<LedgerConfig>,
    http: HttpConfig,
    aws_http: Option<HttpConfig>,
    options: SyncOptions,
}

impl std::fmt::Debug for SyncHostBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncHostBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// Why a host cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// One of the three parts is missing.
    #[error("a sync host needs a {part}: call `{call}`")]
    Missing {
        /// The missing part.
        part: &'static str,
        /// The builder's methods that set it.
        call: &'static str,
    },
    /// The HTTP client cannot be created.
    #[error("cannot create the HTTP client")]
    Http(#[from] HttpError),
    /// The AWS configuration is invalid.
    #[error("the AWS configuration is invalid")]
    Aws(#[from] ConfigError),
    /// The plugin engine cannot start.
    #[error("cannot start the plugin engine")]
    Engine(#[source] Box<dyn Error + Send + Sync>),
    /// The recording's directory cannot be written.
    #[error("cannot write the recording")]
    Recording(#[from] RecordingError),
    /// The Port configuration is invalid.
    #[error("the Port configuration is invalid")]
    Port(#[source] Problem),
    /// The state directory cannot be used.
    #[error("cannot use the state directory")]
    State(#[source] Problem),
}

impl SyncHostBuilder {
    /// Reads AWS.
    #[must_use]
    pub fn aws(mut self, config: AwsConfig) -> Self {
        self.aws = Some(config);
        self
    }

    /// Reads from another source than AWS.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// use std::sync::Arc;
    ///
    /// use async_trait::async_trait;
    /// use berth_embed::{MemoryCatalog, PluginConfig, Problem, Source, SyncError, SyncHost};
    /// use berth_embed::core::{
    ///     Account, EnabledRegions, FetchError, FetchRequest, OpenedSource, PlannedRead, RawPage,
    ///     RegionHints, ResourceReader, SourceSession,
    /// };
    /// use futures::{StreamExt, stream, stream::BoxStream};
    ///
    /// struct Nothing;
    ///
    /// #[async_trait]
    /// impl Source for Nothing {
    ///     async fn open(self: Arc<Self>) -> Result<OpenedSource, Problem> {
    ///         Ok(OpenedSource { accounts: Vec::new(), session: self })
    ///     }
    /// }
    ///
    /// // What it enters and what it reads: nothing needs to be remembered in between.
    /// #[async_trait]
    /// impl SourceSession for Nothing {
    ///     async fn regions(&self, _: &Account, _: &RegionHints) -> Result<EnabledRegions, Problem> {
    ///         Ok(EnabledRegions::Listed(Vec::new()))
    ///     }
    ///     fn reader(&self, _: &[PlannedRead]) -> Arc<dyn ResourceReader> {
    ///         Arc::new(Nothing)
    ///     }
    ///     fn for_events(self: Arc<Self>) -> Arc<dyn SourceSession> {
    ///         self
    ///     }
    /// }
    ///
    /// impl ResourceReader for Nothing {
    ///     fn fetch(&self, _: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
    ///         stream::empty().boxed()
    ///     }
    /// }
    ///
    /// let host = SyncHost::builder()
    ///     .source(Arc::new(Nothing))
    ///     .plugins(PluginConfig::default())
    ///     .catalog(Arc::new(MemoryCatalog::new()))
    ///     .build()?;
    /// // Without a plugin there is no kind to ask for.
    /// assert!(matches!(host.sync().await, Err(SyncError::Config(_))));
    /// # Ok::<_, Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn source(mut self, source: Arc<dyn Source>) -> Self {
        self.source = Some(source);
        self
    }

    /// Records the source's responses in a directory, which must be new or empty. A [`ReplaySource`] replays
    /// it. Values that look like secrets are replaced in the recording.
    #[must_use]
    pub fn record(mut self, directory: PathBuf) -> Self {
        self.record = Some(directory);
        self
    }

    /// Maps with the plugins in some directories.
    #[must_use]
    pub fn plugins(mut self, config: PluginConfig) -> Self {
        self.plugins = Some(config);
        self
    }

    /// Maps with something else than the plugin engine, or with an engine of `berth-engine` that is there
    /// already. That is how plugins are exchanged while the host runs, approved by a policy of the program's
    /// own, or run in a process of their own.
    #[must_use]
    pub fn mapper(mut self, mapper: Arc<dyn Mapper>) -> Self {
        self.mapper = Some(mapper);
        self
    }

    /// Writes to Port.
    #[must_use]
    pub fn port(mut self, config: PortConfig) -> Self {
        self.port = Some(config);
        self
    }

    /// Writes to another catalog than Port.
    #[must_use]
    pub fn catalog(mut self, catalog: Arc<dyn Catalog>) -> Self {
        self.catalog = Some(catalog);
        self
    }

    /// Sets the observer of all runs.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets how many events are kept for a slow reader of [`SyncHost::start`]'s stream; 1024 by default, and
    /// at least one.
    #[must_use]
    pub fn event_buffer(mut self, events: usize) -> Self {
        self.event_buffer = Some(events);
        self
    }

    /// Configures the HTTP client that AWS and Port share.
    #[must_use]
    pub fn http(mut self, config: HttpConfig) -> Self {
        self.http = config;
        self
    }

    /// Records what the catalog holds in a directory, so that a resync only queries what is unknown, and a
    /// deletion knows which unit produced an entity. Set another kind of ledger in [`SyncOptions::ledger`].
    #[must_use]
    pub fn state(mut self, config: LedgerConfig) -> Self {
        self.state = Some(config);
        self
    }

    /// Configures another HTTP client for AWS than the one for Port.
    #[must_use]
    pub fn aws_http(mut self, config: HttpConfig) -> Self {
        self.aws_http = Some(config);
        self
    }

    /// Sets concurrency and cancellation. The called method of the host sets the mode.
    #[must_use]
    pub fn options(mut self, options: SyncOptions) -> Self {
        self.options = options;
        self
    }

    /// Builds the host. Compiles plugins that are not in the cache yet, and opens the state directory.
    ///
    /// # Errors
    /// [`BuildError`] for a missing part or an invalid configuration. A plugin that cannot be used is not an
    /// error; the report names it.
    pub fn build(self) -> Result<SyncHost, BuildError> {
        // One client, so one connection pool, for everything with the same configuration.
        let client = if self.aws.is_some() || self.port.is_some() { Some(self.http.client()?) } else { None };
        let aws_client = match (&self.aws, &self.aws_http) {
            (Some(_), Some(http)) => Some(http.client()?),
            _ => client.clone(),
        };
        let mut aws = None;
        let source: Arc<dyn Source> = match (self.source, self.aws, aws_client) {
            (Some(source), _, _) => source,
            (None, Some(config), Some(client)) => {
                let source = Arc::new(AwsSource::new(config, client)?);
                aws = Some(Arc::clone(&source));
                source
            }
            _ => return Err(BuildError::Missing { part: "source", call: ".aws(…)` or `.source(…)" }),
        };
        let (source, recording) = match self.record {
            None => (source, None),
            Some(directory) => {
                let recording = Arc::new(RecordingSource::new(source, &directory)?);
                (Arc::clone(&recording) as Arc<dyn Source>, Some(recording))
            }
        };
        let mut port = None;
        let catalog: Arc<dyn Catalog> = match (self.catalog, self.port, client) {
            (Some(catalog), _, _) => catalog,
            (None, Some(config), Some(client)) => {
                let catalog = Arc::new(berth_port::open(config, client).map_err(BuildError::Port)?);
                port = Some(Arc::clone(&catalog));
                catalog
            }
            _ => return Err(BuildError::Missing { part: "catalog", call: ".port(…)` or `.catalog(…)" }),
        };
        let mapper: Arc<dyn Mapper> = match (self.mapper, self.plugins) {
            (Some(mapper), _) => mapper,
            (None, Some(config)) => {
                Arc::new(Engine::new(config.into_engine()).map_err(|error| BuildError::Engine(error.into()))?)
            }
            (None, None) => {
                return Err(BuildError::Missing { part: "mapper", call: ".plugins(…)` or `.mapper(…)" });
            }
        };
        let mut options = self.options;
        if let Some(config) = self.state {
            options.ledger = Some(Arc::new(FileLedger::open(config).map_err(BuildError::State)?));
        }
        Ok(SyncHost {
            source: Arc::new(AccountCache::new(source)),
            mapper,
            catalog,
            aws,
            port,
            recording,
            observer: self.observer.unwrap_or_else(|| Arc::new(NullObserver)),
            event_buffer: self.event_buffer.unwrap_or(EVENT_BUFFER),
            options,
        })
    }
}
