//! `berth plugin run`: one plugin's kinds, from a real or a recorded account into a file.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use berth_embed::{
    Engine, MemoryCatalog, Outcome, PluginInfo, Problem, ReplaySource, SyncHost, SyncOptions,
    core::ResourceConfig,
};
use indicatif::MultiProgress;
use tokio_util::sync::CancellationToken;

use crate::{
    args::LogFormat,
    command::host::stop_on_signal,
    exit::Exit,
    output::{data, err},
    progress,
    settings::Sources,
    summary,
};

/// Where from, where to.
pub(super) struct Run<'a> {
    pub(super) sources: Sources,
    pub(super) replay: Option<&'a Path>,
    pub(super) to: Option<&'a Path>,
}

/// Syncs the plugin's kinds, each with its default mapping, and prints the entities, one a line.
///
/// # Errors
/// A [`Problem`] when it cannot begin; what goes wrong later is in the summary, on standard error.
pub(super) fn run(run: Run<'_>, engine: Engine, info: &PluginInfo) -> Result<Exit, Problem> {
    let resources: Vec<ResourceConfig> =
        info.manifest.kinds.iter().filter_map(|kind| kind.mapping.clone()).collect();
    if resources.is_empty() {
        return Err(Problem::new(format!(
            "{} has no default mapping, so nothing says what to make of its resources",
            info.name
        ))
        .remedy("add a `mapping` to its manifest"));
    }
    let error = |error: &dyn std::error::Error| Problem::from_error(error);
    let runtime = tokio::runtime::Runtime::new().map_err(|e| error(&e))?;
    let catalog = Arc::new(MemoryCatalog::with_resources(resources));
    let report = runtime.block_on(async {
        let cancel = CancellationToken::new();
        stop_on_signal(&cancel);
        let mut host = SyncHost::builder()
            .mapper(Arc::new(engine))
            .catalog(Arc::clone(&catalog) as Arc<_>)
            .http(run.sources.http)
            .observer(progress::observer(LogFormat::Text, &MultiProgress::new()))
            .options(SyncOptions { cancel, ..SyncOptions::default() });
        host = match run.replay {
            Some(directory) => {
                let recording = ReplaySource::open(directory).map_err(|e| {
                    error(&e).remedy("give a directory that `berth sync --record` has written with --replay")
                })?;
                host.source(Arc::new(recording))
            }
            None => host.aws(run.sources.aws),
        };
        let host = host.build().map_err(|e| error(&e))?;
        host.sync().await.map_err(|e| e.problem().clone())
    })?;
    err(&summary::render(&report));
    let lines: Vec<String> = catalog
        .entities()
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()
        .map_err(|e| error(&e))?;
    match run.to {
        None => data(&lines.join("\n")),
        Some(path) => write(path, &lines)
            .map_err(|e| Problem::new(format!("{} cannot be written: {e}", path.display())))?,
    }
    Ok(match report.outcome {
        // Nothing is deleted from memory, so nothing can be held back.
        Outcome::Done | Outcome::DeletionsHeldBack => Exit::Done,
        other => other.into(),
    })
}

fn write(path: &Path, lines: &[String]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(PathBuf::from(path))?);
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.flush()
}
