//! What becomes of resource documents: handed over to a catalog that maps by itself, offered to one
//! that only wants them besides, or shown as examples.
//!
//! Handing over is a part of the resync's work: it waits where the catalog is slow, and what is lost
//! fails the entry. Offers and examples are made beside the work. They hold nothing up, fail nothing,
//! and are dropped where too much of them waits.

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

/// Bytes of documents that may wait to be offered.
const WAITING: usize = 32 << 20;

/// Takes documents from the units.
pub(crate) struct Documents {
    catalog: CatalogAccess,
    processing: Processing,
    /// Stops the resync.
    cancel: CancellationToken,
    errors: Mutex<Errors>,
    /// How many examples of each kind are still wanted.
    wanted: Mutex<BTreeMap<Kind, usize>>,
    waiting: Arc<AtomicUsize>,
    background: UnboundedSender<BackgroundTask>,
    /// Whether there will be no more of them.
    finished: CancellationToken,
}

#[derive(Default)]
struct Errors {
    /// Entries of which documents were lost.
    lost: BTreeMap<EntryIndex, Problem>,
    /// Why the resync is to stop.
    superseded: Option<Problem>,
}

/// Something to do beside the resync's work.
enum BackgroundTask {
    Offer(DocumentBatch),
    /// All documents of the entry were offered.
    End(UnitId),
    Show(Kind, Vec<Document>),
    /// Examples that have to be made of resources first.
    Make(Arc<dyn MapperSnapshot>, MapRequest),
}

/// The resources that examples are made of, if the rest of their page maps well.
pub(crate) struct Examples(Option<MapRequest>);

/// Works beside the resync, until its [`Documents`] are [finished](Documents::finish).
pub(crate) struct BackgroundTasks {
    catalog: Arc<dyn CatalogSession>,
    waiting: Arc<AtomicUsize>,
    todo: UnboundedReceiver<BackgroundTask>,
    finished: CancellationToken,
}

impl Documents {
    /// `kinds` are those of the app-config, of each of which the catalog wants `examples` examples. What is
    /// made beside the work is there only where something writes.
    pub(crate) fn new(
        catalog: CatalogAccess,
        processing: Processing,
        (kinds, examples): (impl Iterator<Item = Kind>, usize),
        cancel: CancellationToken,
    ) -> (Self, Option<BackgroundTasks>) {
        let (background, todo) = unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        // A plan shows nobody anything.
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

    /// How a unit's resources are to be mapped, where its entry says `mapping`; and whether documents
    /// are wanted besides.
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

    /// All units of an entry have read to their end, `unit` as the last.
    ///
    /// # Errors
    /// The [`Problem`] that fails the entry.
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

    /// Whether documents that a unit has handed over may still get lost, so that it is not known before its
    /// entry's end how it ended.
    pub(crate) fn are_handed_over(&self) -> bool {
        self.processing == Processing::Documents && !self.catalog.is_plan()
    }

    /// No unit brings more documents.
    pub(crate) fn finish(&self) {
        self.finished.cancel();
    }

    /// Why documents of an entry did not reach the catalog, if so.
    pub(crate) fn lost(&self, entry: EntryIndex) -> Option<Problem> {
        self.errors().lost.get(&entry).cloned()
    }

    /// Why the catalog wants no more of this resync, if so.
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
            tracing::warn!(unit = %batch.unit, documents = batch.documents.len(), "the catalog is too slow for documents; some are left out");
            return;
        }
        _ = self.background.send(BackgroundTask::Offer(batch));
    }

    // Examples.

    /// Puts resources of a page aside if examples of the kind are still wanted and the page's report
    /// will have no documents.
    pub(crate) fn sample(&self, kind: &Kind, context: &MapContext, page: &RawPage) -> Examples {
        if self.processing != Processing::Entities {
            return Examples(None);
        }
        let count = self.reserve(kind, page.count);
        if count == 0 {
            return Examples(None);
        }
        let resources: Vec<&RawValue> = serde_json::from_slice(&page.resources).unwrap_or_default();
        let first = &resources[..count.min(resources.len())];
        Examples(Some(MapRequest {
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

    /// The page that examples were set aside of was mapped by `mapper`, well or not.
    pub(crate) fn mapped(&self, mapper: &Arc<dyn MapperSnapshot>, examples: Examples, well: bool) {
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

    /// Takes up to `count` of the examples that are still wanted.
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
    /// Does what is to be done. It is given up when the resync is stopped, and `patience` after the
    /// documents are finished.
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
            () = late => tracing::warn!("the catalog is too slow for documents; the rest is left out"),
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
        // Entries whose documents the catalog does not take any more.
        let mut refused = BTreeMap::new();
        while let Some(task) = self.next().await {
            match task {
                BackgroundTask::Offer(batch) => {
                    self.waiting.fetch_sub(size(&batch), Ordering::Relaxed);
                    let unit = batch.unit.clone();
                    if !refused.contains_key(&unit.resource)
                        && let Err(error) = self.catalog.documents(batch).await
                    {
                        tracing::warn!(kind = %unit.kind, %error, "the catalog did not take documents");
                        refused.insert(unit.resource, error);
                    }
                }
                BackgroundTask::End(unit) => {
                    if let Err(error) = self.catalog.documents_end(unit.resource).await
                        && !refused.contains_key(&unit.resource)
                    {
                        tracing::warn!(kind = %unit.kind, %error, "the catalog did not take documents");
                    }
                }
                BackgroundTask::Show(kind, documents) => self.show(&kind, &documents).await,
                BackgroundTask::Make(mapper, request) => {
                    let kind = request.kind.clone();
                    match mapper.map(request).await {
                        Ok(report) => self.show(&kind, &report.documents).await,
                        Err(error) => tracing::warn!(%kind, %error, "no examples could be made"),
                    }
                }
            }
        }
    }

    async fn show(&self, kind: &Kind, documents: &[Document]) {
        if !documents.is_empty()
            && let Err(error) = self.catalog.examples(kind, documents).await
        {
            tracing::warn!(%kind, %error, "the catalog did not take examples");
        }
    }
}

fn size(batch: &DocumentBatch) -> usize {
    batch.documents.iter().map(|document| document.get().len()).sum()
}
