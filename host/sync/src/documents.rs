//! What happens to resource documents: sent to a catalog that maps by itself, offered to one that wants them
//! in addition to entities, or shown as examples.
//!
//! Sending documents is part of the resync: it waits for a slow catalog, and a lost document fails its
//! resource mapping. Offers and examples run in the background. They delay nothing, fail nothing, and are
//! dropped if too many wait.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use berth_core::{
    CatalogSession, Document, DocumentBatch, DocumentsError, Kind, MapContext, MapRequest, MapperSnapshot,
    Mapping, Problem, Processing, RawPage, UnitId,
};
use serde_json::value::RawValue;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::{catalog_access::CatalogAccess, index::EntryIndex};

/// The most bytes of documents that wait to be offered.
const WAITING: usize = 32 << 20;

/// Receives documents from the units.
pub(crate) struct DocumentSink {
    catalog: CatalogAccess,
    processing: Processing,
    /// Stops the resync.
    cancel: CancellationToken,
    errors: Mutex<Errors>,
    /// How many more examples of each kind are needed.
    wanted: Mutex<BTreeMap<Kind, usize>>,
    waiting: Arc<AtomicUsize>,
    background: UnboundedSender<BackgroundTask>,
    /// Cancelled once no more documents follow.
    finished: CancellationToken,
}

#[derive(Default)]
struct Errors {
    /// Resource mappings whose documents were lost.
    lost: BTreeMap<EntryIndex, Problem>,
    /// Why the resync has to stop.
    superseded: Option<Problem>,
}

/// A task in the background of the resync.
enum BackgroundTask {
    Offer(DocumentBatch),
    /// All documents of the resource mapping were offered.
    End(UnitId),
    Show(Kind, Vec<Document>),
    /// Examples that must first be created from resources.
    Make(Arc<dyn MapperSnapshot>, MapRequest),
}

/// The resources for examples, if the rest of their page maps without errors.
pub(crate) struct ExampleCandidates(Option<MapRequest>);

/// Runs in the background of the resync, until its [`DocumentSink`] are [finished](DocumentSink::finish).
pub(crate) struct BackgroundTasks {
    catalog: Arc<dyn CatalogSession>,
    waiting: Arc<AtomicUsize>,
    todo: UnboundedReceiver<BackgroundTask>,
    finished: CancellationToken,
}

impl DocumentSink {
    /// `kinds` are those of the app-config; the catalog wants `examples` examples of each. The background
    /// tasks exist only if something writes.
    pub(crate) fn new(
        catalog: CatalogAccess,
        processing: Processing,
        (kinds, examples): (impl Iterator<Item = Kind>, usize),
        cancel: CancellationToken,
    ) -> (Self, Option<BackgroundTasks>) {
        let (background, todo) = unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        // A plan sends no examples.
        let examples = if catalog.is_plan() { 0 } else { examples };
        let finished = CancellationToken::new();
        let tasks = catalog.session().map(|session| BackgroundTasks {
            catalog: Arc::clone(session),
            waiting: Arc::clone(&waiting),
            todo,
            finished: finished.clone(),
        });
        let documents = Self {
            catalog,
            processing,
            cancel,
            errors: Mutex::default(),
            wanted: Mutex::new(kinds.map(|kind| (kind, examples)).collect()),
            waiting,
            background,
            finished,
        };
        (documents, tasks)
    }

    /// Returns how to map a unit's resources whose resource mapping says `mapping`, and whether documents are
    /// wanted in addition.
    pub(crate) fn mapping(&self, mapping: &Mapping) -> (Mapping, bool) {
        match self.processing {
            Processing::Entities => (mapping.clone(), false),
            Processing::EntitiesAndDocuments => (mapping.clone(), !self.catalog.is_plan()),
            Processing::Documents => (Mapping::Documents, false),
        }
    }

    /// Takes documents of a unit.
    ///
    /// # Errors
    /// The [`Problem`] that fails the unit.
    pub(crate) async fn take(&self, batch: DocumentBatch) -> Result<(), Problem> {
        let Some(session) = self.catalog.session().filter(|_| !batch.documents.is_empty()) else {
            return Ok(());
        };
        self.show(&batch.unit.kind, &batch.documents);
        match self.processing {
            Processing::Entities => Ok(()),
            Processing::EntitiesAndDocuments => {
                self.offer(batch);
                Ok(())
            }
            Processing::Documents => {
                let entry = EntryIndex::of(&batch.unit);
                session.documents(batch).await.map_err(|error| self.refused(entry, error))
            }
        }
    }

    /// Records that all units of a resource mapping were read to their end, `unit` as the last.
    ///
    /// # Errors
    /// The [`Problem`] that fails the resource mapping.
    pub(crate) async fn end(&self, unit: &UnitId) -> Result<(), Problem> {
        let Some(session) = self.catalog.session() else { return Ok(()) };
        match self.processing {
            Processing::Entities => Ok(()),
            Processing::EntitiesAndDocuments => {
                _ = self.background.send(BackgroundTask::End(unit.clone()));
                Ok(())
            }
            Processing::Documents => {
                let ended = session.documents_end(unit.resource).await;
                ended.map_err(|error| self.refused(EntryIndex::of(unit), error))
            }
        }
    }

    /// Returns whether documents that a unit has sent may still get lost, so that its outcome is unknown
    /// until all units of its resource mapping end.
    pub(crate) fn are_handed_over(&self) -> bool {
        self.processing == Processing::Documents && !self.catalog.is_plan()
    }

    /// Records that no unit sends more documents.
    pub(crate) fn finish(&self) {
        self.finished.cancel();
    }

    /// Returns why documents of a resource mapping did not reach the catalog, if so.
    pub(crate) fn lost(&self, entry: EntryIndex) -> Option<Problem> {
        self.errors().lost.get(&entry).cloned()
    }

    /// Returns why the catalog wants no more of this resync, if so.
    pub(crate) fn superseded(&self) -> Option<Problem> {
        self.errors().superseded.clone()
    }

    fn refused(&self, entry: EntryIndex, error: DocumentsError) -> Problem {
        let (DocumentsError::Lost(problem) | DocumentsError::Superseded(problem)) = &error;
        let problem = problem.clone();
        match error {
            DocumentsError::Lost(problem) => _ = self.errors().lost.entry(entry).or_insert(problem),
            DocumentsError::Superseded(problem) => {
                self.errors().superseded.get_or_insert(problem);
                self.cancel.cancel();
            }
        }
        problem
    }

    fn errors(&self) -> std::sync::MutexGuard<'_, Errors> {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, batch: DocumentBatch) {
        let size = size(&batch);
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > WAITING {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            tracing::warn!(
                unit = %batch.unit, documents = batch.documents.len(),
                "the catalog is too slow for documents; some are dropped"
            );
            return;
        }
        _ = self.background.send(BackgroundTask::Offer(batch));
    }

    // Examples.

    /// Keeps resources of a page if examples of the kind are still needed and the page's report will have no
    /// documents.
    pub(crate) fn sample(&self, kind: &Kind, context: &MapContext, page: &RawPage) -> ExampleCandidates {
        if self.processing != Processing::Entities {
            return ExampleCandidates(None);
        }
        let count = self.reserve(kind, page.count);
        if count == 0 {
            return ExampleCandidates(None);
        }
        let resources: Vec<&RawValue> = serde_json::from_slice(&page.resources).unwrap_or_default();
        let first = &resources[..count.min(resources.len())];
        ExampleCandidates(Some(MapRequest {
            kind: kind.clone(),
            context: context.clone(),
            mapping: Mapping::Documents,
            documents: false,
            page: RawPage {
                region: page.region.clone(),
                resources: serde_json::to_vec(first).unwrap_or_default(),
                count: first.len(),
                failures: Vec::new(),
                unread: Vec::new(),
                reservation: berth_core::Reservation::default(),
            },
        }))
    }

    /// Records that `mapper` mapped the page of these examples, with or without errors.
    pub(crate) fn mapped(&self, mapper: &Arc<dyn MapperSnapshot>, examples: ExampleCandidates, well: bool) {
        let Some(request) = examples.0 else { return };
        if well {
            _ = self.background.send(BackgroundTask::Make(Arc::clone(mapper), request));
        } else if let Some(wanted) = self.wanted().get_mut(&request.kind) {
            *wanted += request.page.count;
        }
    }

    fn show(&self, kind: &Kind, documents: &[Document]) {
        let count = self.reserve(kind, documents.len());
        if let Some(first) = documents.get(..count).filter(|first| !first.is_empty()) {
            _ = self.background.send(BackgroundTask::Show(kind.clone(), first.to_vec()));
        }
    }

    /// Takes up to `count` of the examples that are still needed.
    fn reserve(&self, kind: &Kind, count: usize) -> usize {
        let mut wanted = self.wanted();
        let Some(wanted) = wanted.get_mut(kind) else { return 0 };
        let count = count.min(*wanted);
        *wanted -= count;
        count
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, BTreeMap<Kind, usize>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackgroundTasks {
    /// Runs the tasks. Stops when the resync is stopped, and `patience` after the documents are finished.
    pub(crate) async fn run(mut self, cancel: &CancellationToken, patience: Duration) {
        let finished = self.finished.clone();
        let late = async {
            finished.cancelled().await;
            tokio::time::sleep(patience).await;
        };
        tokio::select! {
            biased;
            () = self.work() => {}
            () = cancel.cancelled() => {}
            () = late => tracing::warn!("the catalog is too slow for documents; the rest is dropped"),
        }
    }

    async fn next(&mut self) -> Option<BackgroundTask> {
        loop {
            tokio::select! {
                biased;
                task = self.todo.recv() => return task,
                () = self.finished.cancelled(), if !self.todo.is_closed() => self.todo.close(),
            }
        }
    }

    async fn work(&mut self) {
        // Resource mappings whose documents the catalog no longer accepts.
        let mut refused = BTreeMap::new();
        while let Some(task) = self.next().await {
            match task {
                BackgroundTask::Offer(batch) => {
                    self.waiting.fetch_sub(size(&batch), Ordering::Relaxed);
                    let unit = batch.unit.clone();
                    if !refused.contains_key(&unit.resource)
                        && let Err(error) = self.catalog.documents(batch).await
                    {
                        tracing::warn!(kind = %unit.kind, %error, "the catalog rejected documents");
                        refused.insert(unit.resource, error);
                    }
                }
                BackgroundTask::End(unit) => {
                    if let Err(error) = self.catalog.documents_end(unit.resource).await
                        && !refused.contains_key(&unit.resource)
                    {
                        tracing::warn!(kind = %unit.kind, %error, "the catalog rejected documents");
                    }
                }
                BackgroundTask::Show(kind, documents) => self.show(&kind, &documents).await,
                BackgroundTask::Make(mapper, request) => {
                    let kind = request.kind.clone();
                    match mapper.map(request).await {
                        Ok(report) => self.show(&kind, &report.documents).await,
                        Err(error) => tracing::warn!(%kind, %error, "cannot create examples"),
                    }
                }
            }
        }
    }

    async fn show(&self, kind: &Kind, documents: &[Document]) {
        if !documents.is_empty()
            && let Err(error) = self.catalog.examples(kind, documents).await
        {
            tracing::warn!(%kind, %error, "the catalog rejected examples");
        }
    }
}

fn size(batch: &DocumentBatch) -> usize {
    batch.documents.iter().map(|document| document.get().len()).sum()
}
