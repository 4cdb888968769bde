//! One resync: prepare, read and write, reconcile, update the ledger, report.

mod prepare;
mod read;
mod reconcile;
mod remember;
mod report;
mod write;

use std::{convert::Infallible, sync::Arc, time::SystemTime};

use berth_core::{
    Catalog, CatalogInfo, CatalogSession, Mapper, MapperSnapshot, Opened, OpenedSource, Problem,
    ResyncStatus, Source,
};
use tokio::{sync::mpsc, time::Instant};

use self::{
    prepare::{PrepareInput, Prepared},
    read::ReadInput,
    reconcile::ReconcileInput,
    remember::RememberInput,
    report::ReportInput,
    write::WriteInput,
};
use crate::{
    Event, Observer, Report, SyncError, SyncOptions,
    catalog_access::CatalogAccess,
    deletion::{DeletionPolicy, lookup::Reports},
    documents::DocumentSink,
    ledger_view::Recorder,
    outcome::{judge, status},
    plan::defaults,
    problems::Problems,
    progress::ProgressTracker,
};

/// Entities on their way from the mapping to the catalog.
const CHANNEL: usize = 2_000;

/// What all phases of a resync use.
struct Context {
    mapper: Arc<dyn Mapper>,
    catalog: CatalogAccess,
    /// Entities that fit into one request to the catalog.
    upsert_batch: usize,
    observer: Arc<dyn Observer>,
    options: SyncOptions,
    problems: Arc<Problems>,
    started: SystemTime,
    begun: Instant,
}

/// Runs one resync.
///
/// # Errors
/// [`SyncError`] if the run ends before any unit is planned. Later errors are in the [`Report`].
#[tracing::instrument(name = "sync", level = "info", skip_all)]
pub async fn run(
    source: Arc<dyn Source>,
    mapper: Arc<dyn Mapper>,
    catalog: Arc<dyn Catalog>,
    observer: Arc<dyn Observer>,
    options: SyncOptions,
) -> Result<Report, SyncError> {
    let (started, begun) = (SystemTime::now(), Instant::now());
    let write_arbiter = Arc::clone(&options.write_arbiter);
    let _running = write_arbiter.begin();
    let snapshot = Arc::clone(&mapper).snapshot();
    let defaults = defaults(&snapshot.kinds());
    let upsert_batch = catalog.upsert_batch();
    let (opened, source) = futures::join!(prepare::open(catalog, options.mode, &defaults), source.open());
    let Opened { info, session } = opened.map_err(|error| SyncError::Catalog(error.0))?;
    observer.event(&Event::Opened { notes: &info.notes });
    // The catalog may stop this resync, but not others that share the caller's token.
    let options = SyncOptions { cancel: options.cancel.child_token(), ..options };
    let catalog = prepare::begin(session, started).await;
    let session = catalog.session().cloned();
    let problems = Arc::default();
    let context = Context { mapper, catalog, upsert_batch, observer, options, problems, started, begun };

    let mut notes = info.notes.clone();
    let mut resync = Box::pin(resync(&context, info, source, snapshot));
    let ended = match session.as_deref() {
        None => resync.await,
        Some(session) => tokio::select! {
            biased;
            ended = &mut resync => ended,
            never = stopped_by_catalog(&context, session, &mut notes) => match never {},
        },
    };
    let (mut report, reported) = match ended {
        Ok(ended) => ended,
        Err(error) => {
            tracing::warn!(%error, "the resync ended before anything was read");
            end(session, ResyncStatus::Failed).await;
            return Err(error);
        }
    };
    report.duration = begun.elapsed();
    report.notes.splice(0..0, notes);
    report.outcome = judge(&report, context.options.cancel.is_cancelled());
    end(session, status(&report, reported)).await;
    Ok(report)
}

/// Waits until the catalog asks to stop the resync, then stops it.
async fn stopped_by_catalog(
    context: &Context,
    session: &dyn CatalogSession,
    notes: &mut Vec<String>,
) -> Infallible {
    let problem = session.watch_for_abort().await;
    tracing::warn!(%problem, "the catalog stops the resync");
    notes.push(format!("stopped before its end: {problem}"));
    context.options.cancel.cancel();
    std::future::pending().await
}

async fn end(session: Option<Arc<dyn CatalogSession>>, status: ResyncStatus) {
    if let Some(session) = session
        && let Err(error) = session.end(status).await
    {
        tracing::warn!(%error, "cannot report the end of the resync");
    }
}

/// The second value is false if the catalog missed a required step.
async fn resync(
    context: &Context,
    info: CatalogInfo,
    source: Result<OpenedSource, Problem>,
    snapshot: Arc<dyn MapperSnapshot>,
) -> Result<(Report, bool), SyncError> {
    let prepared = prepare::prepare(context, PrepareInput { info, source, snapshot }).await?;
    let Prepared { resources, units, settled, .. } = &prepared;
    let (progress, milestones) = ProgressTracker::new(resources.len(), units, settled);
    let session = context.catalog.session().cloned();
    let work = Box::pin(phases(context, prepared, Arc::new(progress)));
    Ok(milestones.report_during(session.as_deref(), work).await)
}

/// Reads and writes, reconciles, updates the ledger, and reports.
async fn phases(context: &Context, mut prepared: Prepared, progress: Arc<ProgressTracker>) -> Report {
    let cancel = &context.options.cancel;
    let kinds = prepared.config.resources.iter().map(|resource| resource.kind.clone());
    let (documents, background) = DocumentSink::new(
        context.catalog.clone(),
        prepared.processing,
        (kinds, prepared.examples),
        cancel.clone(),
    );
    let documents = Arc::new(documents);
    let background = async {
        if let Some(tasks) = background {
            tasks.run(cancel, context.options.patience).await;
        }
    };
    let work = async {
        let recorder = prepared.ledger.as_deref().and_then(Recorder::start);
        let order = std::mem::take(&mut prepared.order);
        let prepared = &prepared;
        let (sender, entities) = mpsc::channel(CHANNEL);
        let records = recorder.as_ref().map(|recorder| recorder.sender.clone());
        let (read, written) = futures::join!(
            read::read(
                context,
                ReadInput { prepared, progress: &progress, documents: &documents, entities: sender }
            ),
            write::write(context, WriteInput { prepared, order, progress: &progress, entities, records }),
        );
        progress.finish(cancel.is_cancelled());
        context.problems.log_repeats();
        documents.finish();

        let units = reconcile::units(&prepared.settled, read.reports, &written);
        let outcomes = Reports(&units);
        let mut policy = DeletionPolicy::new(&prepared.facts, &outcomes);
        let reconcile = ReconcileInput { prepared, units: &units, written: &written, progress: &progress };
        let deletion = reconcile::reconcile(context, reconcile, &mut policy).await;
        let remember = RememberInput { prepared, policy: &policy, deletion: &deletion, written: &written };
        let remembered = remember::remember(context, remember, recorder).await;
        let mapped = reconcile::mapped(&units);
        let misconfigurations =
            read.misconfigured.finish(context.catalog.view(), &prepared.resources, &mapped).await;
        ReportInput {
            superseded: documents.superseded(),
            units,
            item_failures: read.item_failures,
            misconfigurations,
            written,
            deletion,
            remembered,
        }
    };
    let (input, ()) = futures::join!(work, background);
    report::report(context, prepared, input)
}
