//! Reads and maps one unit.

use std::{collections::BTreeSet, sync::Arc};

use berth_core::{
    DocumentBatch, Entity, FetchError, FetchRequest, FieldSet, ItemFailure, KindReads, MapContext, MapError,
    MapReport, MapRequest, MapperSnapshot, Mapping, Problem, ProblemCode, RawPage, ResourceConfig,
    ResourceReader, Unit, UnitState, UnreadStep,
};
use futures::StreamExt;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Event, Observer, UnitCounts, UnitReport, UnreadCall,
    content::content_digest,
    documents::DocumentSink,
    index::{EntryIndex, UnitIndex},
    misconfigured::Misconfigured,
    outcome::{item_problem, map_problem},
    pending::{PendingEntity, WriteState},
    problems::{ProblemLog, Problems, warn_if},
    progress::ProgressTracker,
    unread::Unknown,
    version::Version,
};

/// A unit whose read ended, with or without errors.
pub(crate) struct UnitRead {
    pub(crate) index: UnitIndex,
    /// Whether it was the last of its resource mapping, so that no more documents of the mapping are on their
    /// way.
    pub(crate) last_of_entry: bool,
    /// The report.
    pub(crate) report: UnitReport,
    /// Its resources that failed.
    pub(crate) failures: Vec<(String, Problem)>,
    /// The fields that gave no value.
    pub(crate) misconfigured: Misconfigured,
}

// The texts about problems.
const STEP_UNREAD: &str = "cannot read a step; its values stay unchanged";
const UNREAD: &str = "cannot read a resource";
const UNMAPPED: &str = "cannot map a resource";

pub(crate) struct UnitTask {
    pub(crate) index: UnitIndex,
    pub(crate) reader: Arc<dyn ResourceReader>,
    pub(crate) observer: Arc<dyn Observer>,
    /// The version of the plugin for this unit, or why there is none any longer.
    pub(crate) begun: Result<Version, Problem>,
    pub(crate) fields: Arc<FieldSet>,
    /// How entities are written, if their contents are recorded.
    pub(crate) merge: Option<bool>,
    pub(crate) sender: mpsc::Sender<PendingEntity>,
    pub(crate) progress: Arc<ProgressTracker>,
    pub(crate) documents: Arc<DocumentSink>,
    pub(crate) problems: Arc<Problems>,
}

impl UnitTask {
    pub(crate) async fn run(self, unit: &Unit) -> UnitRead {
        let clock = Instant::now();
        self.progress.unit_started(self.index);
        self.observer.event(&Event::UnitStarted { unit: &unit.id });
        let mut found = Findings::default();
        let mut state = self.read(unit, &mut found).await;
        let Findings { counts, failures, misconfigured, unread } = found;
        let last_of_entry = self.progress.unit_read(self.index);
        if last_of_entry && let Err(problem) = self.documents.end(&unit.id).await {
            state = UnitState::Failed(problem);
        }
        let state = match (state, failures.first()) {
            (UnitState::Complete, Some((resource, problem))) => {
                UnitState::Failed(problem.clone().map_message(|first| {
                    format!(
                        "{} of {} resources could not be read or mapped (first: {resource}: {first})",
                        counts.failed, counts.fetched
                    )
                }))
            }
            (state, _) => state,
        };
        let place = unit.id.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let names = [unit.id.account.as_str(), place.as_str()];
        let should_log = |what, problem: &Problem| {
            self.problems.should_log((what, ProblemLog::Once), Some(&unit.id.kind), &problem.message, &names)
        };
        for call in &unread {
            warn_if!(
                should_log(STEP_UNREAD, &call.problem),
                call = call.call, resources = call.resources, problem = %call.problem,
                "{STEP_UNREAD}"
            );
        }
        let duration = clock.elapsed();
        let report = UnitReport { unit: unit.id.clone(), state, counts, unread, duration };
        UnitRead { index: self.index, last_of_entry, report, failures, misconfigured }
    }

    async fn read(&self, unit: &Unit, found: &mut Findings) -> UnitState {
        let since = Instant::now();
        let version = match &self.begun {
            Ok(version) => version,
            Err(problem) => return UnitState::Failed(problem.clone()),
        };
        let pages = self.reader.fetch(FetchRequest {
            account: Arc::clone(&unit.account),
            regions: unit.regions.clone(),
            kind: Arc::clone(&unit.kind),
            options: options(&unit.resource),
            one: None,
            fresh: false,
        });
        let (mapping, documents) = self.documents.mapping(&version.mapping);
        let wanted = Wanted { mapper: &version.mapper, mapping: &mapping, documents };
        // Reads the next batch while this one is mapped.
        let mut mapped =
            pages.map(|page| async { Ok::<_, FetchError>(self.map(unit, &wanted, page?).await) }).buffered(2);
        while let Some(page) = mapped.next().await {
            let page = match page {
                Ok(page) => page,
                Err(FetchError::Skipped(problem)) => return UnitState::Skipped(problem),
                Err(FetchError::Failed(problem)) => return UnitState::Failed(problem),
            };
            if let Err(problem) = self.take(unit, page, &mapping, since, found).await {
                return UnitState::Failed(problem);
            }
        }
        UnitState::Complete
    }

    /// Maps a page, and leaves out of its entities what steps that were not read would have filled.
    async fn map(&self, unit: &Unit, wanted: &Wanted<'_>, mut page: RawPage) -> MappedPage {
        let count = page.count;
        let mut mapped = MappedPage {
            count,
            lost: std::mem::take(&mut page.failures),
            missed: std::mem::take(&mut page.unread),
            partial: Vec::new(),
            report: Ok(MapReport::default()),
        };
        if count == 0 {
            return mapped;
        }
        let unknown = match wanted.mapping {
            Mapping::Documents => Ok(None),
            _ => Unknown::of(&unit.resource, unit.kind.plan(), &mapped.missed),
        };
        let unknown = match unknown {
            Ok(unknown) => unknown,
            Err(problem) => {
                let resource = format!("a batch of {count}");
                let lost = ItemFailure { resource, problem };
                mapped.count = 0;
                mapped.lost.extend(std::iter::repeat_n(lost, count));
                return mapped;
            }
        };
        let kind = unit.id.kind.clone();
        let context = MapContext {
            account: Arc::clone(&unit.account),
            region: page.region.clone(),
            options: unit.resource.selector.include_actions.clone(),
        };
        let examples = self.documents.sample(&kind, &context, &page);
        let (mapping, documents) = (wanted.mapping.clone(), wanted.documents);
        mapped.report = wanted.mapper.map(MapRequest { kind, context, mapping, documents, page }).await;
        self.documents.mapped(wanted.mapper, examples, mapped.report.is_ok());
        if let (Some(unknown), Ok(report)) = (&unknown, &mut mapped.report) {
            mapped.partial = unknown.leave_out_of(report);
        }
        mapped
    }

    /// Counts a page, logs its failures, and sends its documents and entities. An error fails the unit.
    async fn take(
        &self,
        unit: &Unit,
        page: MappedPage,
        mapping: &Mapping,
        since: Instant,
        found: &mut Findings,
    ) -> Result<(), Problem> {
        let MappedPage { count, lost, missed, partial, report } = page;
        // Counts what people call a resource: an instance, not its reservation.
        let count = report.as_ref().map_or(count, |report| count.max(report.resources));
        let should_log = |what, problem: &str, resource: &str| {
            let names = [resource, unit.id.account.as_str()];
            self.problems.should_log((what, ProblemLog::ByName), Some(&unit.id.kind), problem, &names)
        };
        for failure in &lost {
            warn_if!(
                should_log(UNREAD, &failure.problem.message, &failure.resource),
                resource = failure.resource, problem = %failure.problem, "{UNREAD}"
            );
        }
        found.add_read(count, lost, missed);
        let report = report.map_err(map_problem)?;
        for error in &report.errors {
            warn_if!(
                should_log(UNMAPPED, &error.reason, &error.resource),
                resource = error.resource,
                reason = error.reason,
                "{UNMAPPED}"
            );
        }
        let MapReport { entities, documents, .. } =
            found.add_mapped(EntryIndex::of(&unit.id), report, matches!(mapping, Mapping::Documents));
        let config = Arc::clone(&unit.resource);
        self.documents.take(DocumentBatch { unit: unit.id.clone(), config, documents }).await?;
        self.observer.event(&Event::UnitProgress { unit: &unit.id, fetched: found.counts.fetched });
        self.send(entities, &partial, since).await
    }

    /// Sends entities to the writer.
    async fn send(&self, entities: Vec<Entity>, partial: &[bool], since: Instant) -> Result<(), Problem> {
        for (at, entity) in entities.into_iter().enumerate() {
            let partial = partial.get(at).copied().unwrap_or_default();
            let mapped = PendingEntity {
                unit: self.index,
                fields: Arc::clone(&self.fields),
                content: self.merge.and_then(|merge| content_digest(&entity, merge || partial)),
                partial,
                entity,
                since,
                state: WriteState::default(),
            };
            self.sender
                .send(mapped)
                .await
                .map_err(|_| Problem::new(ProblemCode::Internal, "the writer of the resync has ended"))?;
        }
        Ok(())
    }
}

/// How to map a unit's resources.
struct Wanted<'u> {
    mapper: &'u Arc<dyn MapperSnapshot>,
    mapping: &'u Mapping,
    /// Whether to return documents in addition to entities.
    documents: bool,
}

/// The result of mapping a page of a unit.
struct MappedPage {
    /// How many elements were mapped.
    count: usize,
    /// Resources that could not be read.
    lost: Vec<ItemFailure>,
    /// Steps that were not read.
    missed: Vec<UnreadStep>,
    /// For each entity, whether fields were left out of it. May be shorter: no fields were.
    partial: Vec<bool>,
    report: Result<MapReport, MapError>,
}

/// The results of a unit so far.
#[derive(Default)]
struct Findings {
    counts: UnitCounts,
    failures: Vec<(String, Problem)>,
    misconfigured: Misconfigured,
    unread: Vec<UnreadCall>,
}

impl Findings {
    /// Adds `count` resources that were read, and those that were not.
    fn add_read(&mut self, count: usize, lost: Vec<ItemFailure>, missed: Vec<UnreadStep>) {
        note_unread(&mut self.unread, missed, count);
        self.counts.fetched += (count + lost.len()) as u64;
        self.counts.failed += lost.len() as u64;
        self.failures.extend(lost.into_iter().map(|failure| (failure.resource, failure.problem)));
    }

    /// Adds the result of mapping, and returns it without its errors and misconfigured fields.
    fn add_mapped(&mut self, entry: EntryIndex, mut report: MapReport, only_documents: bool) -> MapReport {
        self.counts.filtered += report.filtered as u64;
        self.counts.mapped += report.entities.len() as u64;
        self.counts.failed += report.errors.len() as u64;
        for field in std::mem::take(&mut report.misconfigured) {
            // Without a blueprint there is no entity: the field is one that the entity needs.
            self.counts.unmapped += if field.blueprint.is_none() { field.count } else { 0 };
            self.misconfigured.add(entry, field);
        }
        for error in std::mem::take(&mut report.errors) {
            let problem = item_problem(&error);
            self.failures.push((error.resource, problem));
        }
        if only_documents {
            self.counts.documents += report.documents.len() as u64;
        }
        report
    }
}

/// Counts unread steps for `count` more resources.
fn note_unread(known: &mut Vec<UnreadCall>, missed: Vec<UnreadStep>, count: usize) {
    for UnreadStep { step, call, denied, problem } in missed {
        let resources = count.max(1) as u64;
        match known.iter_mut().find(|known| known.step == step) {
            Some(known) => known.resources += resources,
            None => known.push(UnreadCall { step, call, denied, resources, problem }),
        }
    }
}

/// Returns the options that a resource mapping enables.
pub(crate) fn options(entry: &ResourceConfig) -> BTreeSet<String> {
    entry.selector.include_actions.iter().cloned().collect()
}
