//! Reads and maps one unit.

use std::{collections::BTreeSet, sync::Arc};

use berth_core::{
    DocumentBatch, FetchError, FetchRequest, FieldSet, ItemFailure, KindReads, MapContext, MapRequest,
    Mapping, Problem, ProblemCode, ResourceConfig, ResourceReader, Unit, UnitState, UnreadStep,
};
use futures::StreamExt;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    Event, Observer, UnitCounts, UnitReport, UnreadCall,
    content::content_digest,
    documents::Documents,
    index::{EntryIndex, UnitIndex},
    misconfigured::Misconfigured,
    outcome::{item_problem, map_problem},
    pending::{PendingEntity, WriteState},
    problems::{Log, Problems, warn_if},
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
    pub(crate) documents: Arc<Documents>,
    pub(crate) problems: Arc<Problems>,
}

impl UnitTask {
    pub(crate) async fn run(self, unit: &Unit) -> UnitRead {
        let clock = Instant::now();
        self.progress.unit_started(self.index);
        self.observer.event(&Event::UnitStarted { unit: &unit.id });
        let mut counts = UnitCounts::default();
        let mut failures = Vec::new();
        let mut misconfigured = Misconfigured::default();
        let mut unread = Vec::new();
        let mut state = self.read(unit, &mut counts, &mut failures, &mut misconfigured, &mut unread).await;
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
            self.problems.should_log((what, Log::Once), Some(&unit.id.kind), &problem.message, &names)
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

    async fn read(
        &self,
        unit: &Unit,
        counts: &mut UnitCounts,
        failures: &mut Vec<(String, Problem)>,
        misconfigured: &mut Misconfigured,
        unread: &mut Vec<UnreadCall>,
    ) -> UnitState {
        let since = Instant::now();
        let Version { mapper, mapping } = match &self.begun {
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
        let (mapping, documents) = &self.documents.mapping(mapping);
        // Reads the next batch while this one is mapped.
        let mut mapped = pages
            .map(|page| async {
                let mut page = page?;
                let mut lost = std::mem::take(&mut page.failures);
                let missed = std::mem::take(&mut page.unread);
                let count = page.count;
                let nothing = || Ok(berth_core::MapReport::default());
                if count == 0 {
                    return Ok((count, lost, missed, Vec::new(), nothing()));
                }
                let unknown = match mapping {
                    Mapping::Documents => Ok(None),
                    _ => Unknown::of(&unit.resource, unit.kind.plan(), &missed),
                };
                let unknown =
                    match unknown {
                        Ok(unknown) => unknown,
                        Err(problem) => {
                            let resource = format!("a batch of {count}");
                            lost.extend((0..count).map(|_| ItemFailure {
                                resource: resource.clone(),
                                problem: problem.clone(),
                            }));
                            return Ok((0, lost, missed, Vec::new(), nothing()));
                        }
                    };
                let kind = unit.id.kind.clone();
                let context = MapContext {
                    account: Arc::clone(&unit.account),
                    region: page.region.clone(),
                    options: unit.resource.selector.include_actions.clone(),
                };
                let examples = self.documents.sample(&kind, &context, &page);
                let (mapping, documents) = (mapping.clone(), *documents);
                let mut report = mapper.map(MapRequest { kind, context, mapping, documents, page }).await;
                self.documents.mapped(mapper, examples, report.is_ok());
                let partial = match (&unknown, &mut report) {
                    (Some(unknown), Ok(report)) => unknown.leave_out_of(report),
                    _ => Vec::new(),
                };
                Ok::<_, FetchError>((count, lost, missed, partial, report))
            })
            .buffered(2);
        while let Some(page) = mapped.next().await {
            let (count, lost, missed, partial, report) = match page {
                Ok(page) => page,
                Err(FetchError::Skipped(problem)) => return UnitState::Skipped(problem),
                Err(FetchError::Failed(problem)) => return UnitState::Failed(problem),
            };
            // Counts what people call a resource: an instance, not its reservation.
            let count = report.as_ref().map_or(count, |report| count.max(report.resources));
            note_unread(unread, missed, count);
            counts.fetched += (count + lost.len()) as u64;
            counts.failed += lost.len() as u64;
            let should_log = |what, problem: &str, resource: &str| {
                let names = [resource, unit.id.account.as_str()];
                self.problems.should_log((what, Log::ByName), Some(&unit.id.kind), problem, &names)
            };
            for failure in lost {
                warn_if!(
                    should_log(UNREAD, &failure.problem.message, &failure.resource),
                    resource = failure.resource, problem = %failure.problem, "{UNREAD}"
                );
                failures.push((failure.resource, failure.problem));
            }
            let report = match report {
                Ok(report) => report,
                Err(error) => return UnitState::Failed(map_problem(error)),
            };
            counts.filtered += report.filtered as u64;
            counts.mapped += report.entities.len() as u64;
            counts.failed += report.errors.len() as u64;
            for field in report.misconfigured {
                // Without a blueprint there is no entity: the field is one that the entity needs.
                counts.unmapped += if field.blueprint.is_none() { field.count } else { 0 };
                misconfigured.add(EntryIndex::of(&unit.id), field);
            }
            for error in report.errors {
                warn_if!(
                    should_log(UNMAPPED, &error.reason, &error.resource),
                    resource = error.resource,
                    reason = error.reason,
                    "{UNMAPPED}"
                );
                let problem = item_problem(&error);
                failures.push((error.resource, problem));
            }
            if matches!(mapping, Mapping::Documents) {
                counts.documents += report.documents.len() as u64;
            }
            let batch = DocumentBatch {
                unit: unit.id.clone(),
                config: Arc::clone(&unit.resource),
                documents: report.documents,
            };
            if let Err(problem) = self.documents.take(batch).await {
                return UnitState::Failed(problem);
            }
            self.observer.event(&Event::UnitProgress { unit: &unit.id, fetched: counts.fetched });
            for (at, entity) in report.entities.into_iter().enumerate() {
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
                if self.sender.send(mapped).await.is_err() {
                    return UnitState::Failed(Problem::new(
                        ProblemCode::Internal,
                        "the writer of the resync has ended",
                    ));
                }
            }
        }
        UnitState::Complete
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
