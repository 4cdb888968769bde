//! `berth plugin run`: reads one plugin's kinds from an account or a recording, and writes the entities to a
//! file or to Port.

use std::{fmt::Write as _, io::Write as _, path::Path, sync::Arc};

use berth_embed::{
    MemoryCatalog, Outcome, PortCatalog, PortConfig, Problem, ProblemCode, RemovalAfter, ReplaySource,
    SyncHost, SyncOptions,
    core::{
        AppConfig, Entity, EntityStore, KindEntry, Opened, Processing, ResourceConfig, UpsertOptions,
        UpsertOutcome,
    },
};
use berth_engine::{Engine, PluginInfo};
use berth_http::HttpParts;
use berth_port::{open_store, service::PortService};
use indicatif::MultiProgress;
use tokio_util::sync::CancellationToken;

use crate::{
    args::LogFormat,
    command::host::stop_on_signal,
    exit::Exit,
    files::create_private,
    output::{data, err, hang, safe},
    progress,
    settings::{PortDestination, Sources},
    summary,
};

/// Where to read from, and where to write to.
pub(super) struct Run<'a> {
    pub(super) sources: Sources,
    /// Port, if the entities go there.
    pub(super) destination: Option<PortDestination>,
    pub(super) replay: Option<&'a Path>,
    pub(super) to: Option<&'a Path>,
}

/// The most rejected entities that are listed.
const SHOWN: usize = 10;

/// Syncs the plugin's kinds, each with its default mapping, and prints one entity per line, or writes the
/// entities to Port.
///
/// # Errors
/// A [`Problem`] if the run cannot start; later errors are in the summary, on standard error.
pub(super) fn run(run: Run<'_>, engine: Engine, info: &PluginInfo) -> Result<Exit, Problem> {
    let resources: Vec<ResourceConfig> =
        info.manifest.kinds.iter().filter_map(|kind| kind.mapping.clone()).collect();
    if resources.is_empty() {
        return Err(Problem::new(
            ProblemCode::PluginInvalid,
            format!("{} has no default mapping, so Berth cannot map its resources", info.name),
        )
        .remedy("add a `mapping` to its manifest"));
    }
    let error = |error: &dyn std::error::Error| Problem::from_error(ProblemCode::Internal, error);
    let runtime = tokio::runtime::Runtime::new().map_err(|e| error(&e))?;
    let catalog = Arc::new(MemoryCatalog::with_resources(resources));
    // Before the first read, so that wrong credentials do not cost that time.
    let kinds = engine.kinds().into_values().collect();
    let port = run
        .destination
        .map(|PortDestination { port, http }| runtime.block_on(Port::open(port, &http, kinds)))
        .transpose()?;
    let report = runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signal(&cancel);
        let mut host = SyncHost::builder()
            .mapper(Arc::new(engine))
            .catalog(Arc::clone(&catalog) as Arc<_>)
            .http(run.sources.http.into_config())
            .observer(progress::observer(LogFormat::Text, &MultiProgress::new()))
            .options(SyncOptions { cancel, ..SyncOptions::default() });
        host = match run.replay {
            Some(directory) => {
                let recording = ReplaySource::open(directory).map_err(|e| {
                    error(&e).remedy("use --replay with a directory that `berth sync --record` wrote")
                })?;
                host.source(Arc::new(recording))
            }
            None => host.aws(run.sources.aws),
        };
        let host = host.build().map_err(|e| error(&e))?;
        host.sync().await.map_err(|e| e.problem().clone())
    })?;
    err(&summary::render(&report, RemovalAfter::default()));
    let exit = match report.outcome {
        // This run deletes nothing, so no deletion can be skipped.
        Outcome::Done | Outcome::DeletionsHeldBack => Exit::Done,
        other => other.into(),
    };
    if let Some(port) = port {
        let (written, refused) = runtime.block_on(port.write(&catalog.entities()))?;
        err(&safe(&written));
        return Ok(if refused > 0 && exit == Exit::Done { Exit::Partial } else { exit });
    }
    let lines: Vec<String> = catalog
        .entities()
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()
        .map_err(|e| error(&e))?;
    match run.to {
        None => data(&lines.join("\n")),
        Some(path) => write(path, &lines).map_err(|e| {
            Problem::new(ProblemCode::FileUnwritable, format!("cannot write {}: {e}", path.display()))
        })?,
    }
    Ok(exit)
}

/// Port as the destination: creates missing blueprints and writes entities. It reports no resync and deletes
/// nothing.
struct Port {
    catalog: PortCatalog,
    store: Arc<dyn EntityStore>,
    config: AppConfig,
    kinds: Vec<KindEntry>,
}

impl Port {
    async fn open(config: PortConfig, http: &HttpParts, kinds: Vec<KindEntry>) -> Result<Self, Problem> {
        let client = http.client().map_err(|error| Problem::from_error(ProblemCode::Internal, &error))?;
        let catalog = berth_port::open(config, client)?;
        let Opened { info, session: store } = open_store(&catalog).await.map_err(|error| error.0)?;
        if info.processing == Processing::Documents {
            return Err(Problem::new(
                ProblemCode::SettingsInvalid,
                "Port maps the raw data of this integration itself, so it accepts no entities",
            )
            .remedy(
                "add the plugin's `mapping` to the integration's mapping in Port, and run `berth sync`",
            ));
        }
        Ok(Self { catalog, store, config: info.config, kinds })
    }

    /// Writes entities; returns a summary, and how many entities Port rejected.
    async fn write(&self, entities: &[Entity]) -> Result<(String, usize), Problem> {
        let mut text = String::new();
        if !entities.is_empty() {
            for blueprint in PortService::of(&self.catalog).create_missing_blueprints(&self.kinds).await? {
                // Writing to a String cannot fail.
                _ = writeln!(text, "Port: created blueprint {blueprint}.");
            }
        }
        let options = UpsertOptions {
            merge: self.config.enable_merge_entity,
            create_missing_related_entities: self.config.create_missing_related_entities,
        };
        let (mut created, mut updated, mut refused) = (0, 0, Vec::new());
        // The entities are sorted by blueprint.
        for entities in entities.chunk_by(|one, other| one.key.blueprint == other.key.blueprint) {
            let Some(first) = entities.first() else { continue };
            let report = self.store.upsert(&first.key.blueprint, entities, options).await;
            for (entity, outcome) in entities.iter().zip(report.outcomes) {
                match outcome {
                    UpsertOutcome::Created => created += 1,
                    UpsertOutcome::Updated | UpsertOutcome::Found(_) => updated += 1,
                    UpsertOutcome::NotFound => {
                        refused.push(format!("{}: its search finds nothing", entity.key));
                    }
                    UpsertOutcome::Refused(problem) | UpsertOutcome::MissingRelation(problem) => {
                        refused.push(format!("{}: {problem}", entity.key));
                    }
                }
            }
        }
        _ = write!(text, "Port: {created} created, {updated} updated, {} refused.", refused.len());
        for line in refused.iter().take(SHOWN) {
            _ = write!(text, "\n  ✗ {}", hang(line, "    "));
        }
        if let more @ 1.. = refused.len().saturating_sub(SHOWN) {
            _ = write!(text, "\n  and {more} more");
        }
        if created + updated > 0 {
            text.push_str(
                "\nTo keep them in sync with `berth sync`, add the plugin's `mapping` to the integration's \
                mapping in Port.",
            );
        }
        Ok((text, refused.len()))
    }
}

fn write(path: &Path, lines: &[String]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(create_private(path)?);
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.flush()
}
