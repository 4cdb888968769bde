//! The phase that reads and maps all units, within the limits of the options and of each selector.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use berth_core::{Problem, ProblemCode, Unit, UnitId, UnitState};
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{Instrument, Span};

use super::{Context, prepare::Prepared};
use crate::{
    Event, UnitCounts, UnitReport,
    documents::DocumentSink,
    index::{EntryIndex, PerUnit, UnitIndex},
    misconfigured::Misconfigured,
    pending::PendingEntity,
    problems::{ProblemLog, warn_if},
    progress::ProgressTracker,
    schedule::Schedule,
    unit_task::{UnitRead, UnitTask},
    version::Versions,
};

/// The most failed resources in a report; further ones are only counted.
const LISTED_FAILURES: usize = 100;
// The texts about problems.
const SKIPPED: &str = "unit skipped";
const FAILED: &str = "unit failed";

/// What is read, and where it goes.
pub(super) struct ReadInput<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) progress: &'a Arc<ProgressTracker>,
    pub(super) documents: &'a Arc<DocumentSink>,
    /// Receives mapped entities.
    pub(super) entities: mpsc::Sender<PendingEntity>,
}

/// The result of reading.
pub(super) struct ReadOutput {
    /// The reports of the units, in their order.
    pub(super) reports: Vec<UnitReport>,
    pub(super) item_failures: Vec<(UnitId, String, Problem)>,
    pub(super) misconfigured: Misconfigured,
}

/// Reads all units.
pub(super) async fn read(context: &Context, input: ReadInput<'_>) -> ReadOutput {
    let units = &input.prepared.units;
    let cancel = &context.options.cancel;
    let mut schedule = Schedule::new(units);
    let prepared = input.prepared;
    let mut versions = Versions::new(&context.mapper, Arc::clone(&prepared.snapshot), &prepared.config);
    let mut running: JoinSet<UnitRead> = JoinSet::new();
    let mut outcomes = Outcomes::new(context, &input);
    let mut stopped = false;
    loop {
        while running.len() < context.options.unit_concurrency.max(1)
            && !cancel.is_cancelled()
            && let Some(index) = schedule.next()
        {
            if let Some((unit, task)) = begin(context, &input, &mut versions, index) {
                let span = span(&unit.id);
                running.spawn(async move { task.run(&unit).await }.instrument(span));
            }
        }
        let joined = tokio::select! {
            biased;
            () = cancel.cancelled(), if !stopped && !running.is_empty() => {
                // A unit that has ended meanwhile keeps its outcome.
                stopped = true;
                running.abort_all();
                continue;
            }
            joined = running.join_next() => joined,
        };
        match joined {
            None => break,
            Some(Ok(read)) => {
                schedule.done(read.index);
                outcomes.add(read);
            }
            Some(Err(error)) if error.is_cancelled() => {}
            // A panic in a unit's task is a bug, but affects only that unit; it has no report and counts as
            // failed below.
            Some(Err(error)) => tracing::error!(%error, "a unit's task panicked"),
        }
    }
    outcomes.finish(cancel.is_cancelled())
}

/// Creates the task of a unit.
fn begin(
    context: &Context,
    input: &ReadInput<'_>,
    versions: &mut Versions<'_>,
    index: UnitIndex,
) -> Option<(Arc<Unit>, UnitTask)> {
    let prepared = input.prepared;
    let unit = prepared.units.get(index.position())?;
    let resource = prepared.resources.get(unit.id.resource)?;
    let (unit, begun) = versions.begin(unit, resource);
    let task = UnitTask {
        index,
        reader: Arc::clone(&prepared.reader),
        observer: Arc::clone(&context.observer),
        begun,
        fields: Arc::clone(&resource.fields),
        merge: prepared.ledger.as_ref().map(|_| prepared.upsert_options().merge),
        sender: input.entities.clone(),
        progress: Arc::clone(input.progress),
        documents: Arc::clone(input.documents),
        problems: Arc::clone(&context.problems),
    };
    Some((unit, task))
}

fn span(unit: &UnitId) -> Span {
    tracing::info_span!(
        "unit",
        account = %unit.account,
        region = unit.place.as_ref().map(tracing::field::display),
        kind = %unit.kind,
        index = unit.resource
    )
}

/// Decides how each unit ended, once, and reports it then.
struct Outcomes<'a> {
    context: &'a Context,
    progress: &'a ProgressTracker,
    documents: &'a DocumentSink,
    units: &'a [Arc<Unit>],
    reports: PerUnit<Option<UnitReport>>,
    /// Units that were read, but whose documents may still get lost.
    undecided: BTreeMap<EntryIndex, Vec<(UnitIndex, UnitReport)>>,
    /// Resource mappings with no more documents on their way.
    over: BTreeSet<EntryIndex>,
    item_failures: Vec<(UnitId, String, Problem)>,
    misconfigured: Misconfigured,
}

impl<'a> Outcomes<'a> {
    fn new(context: &'a Context, input: &ReadInput<'a>) -> Self {
        let units = &input.prepared.units;
        Self {
            context,
            progress: input.progress,
            documents: input.documents,
            units,
            reports: PerUnit::new(units.len(), || None),
            undecided: BTreeMap::new(),
            over: BTreeSet::new(),
            item_failures: Vec::new(),
            misconfigured: Misconfigured::default(),
        }
    }

    /// Adds a unit that was read.
    fn add(&mut self, read: UnitRead) {
        let UnitRead { index, last_of_entry, report, failures, misconfigured } = read;
        self.misconfigured.merge(misconfigured);
        let room = LISTED_FAILURES.saturating_sub(self.item_failures.len());
        let failures = failures.into_iter().take(room);
        self.item_failures.extend(failures.map(|(resource, p)| (report.unit.clone(), resource, p)));
        let entry = EntryIndex::of(&report.unit);
        if last_of_entry {
            self.over.insert(entry);
        }
        let may_change = self.documents.are_handed_over() && report.state.is_complete();
        if may_change && !self.over.contains(&entry) {
            self.undecided.entry(entry).or_default().push((index, report));
        } else {
            self.decide(index, report);
        }
        if last_of_entry {
            for (index, report) in self.undecided.remove(&entry).unwrap_or_default() {
                self.decide(index, report);
            }
        }
    }

    fn decide(&mut self, index: UnitIndex, mut report: UnitReport) {
        // It is unknown which documents were in a failed write: it may be all of the resource mapping's.
        if report.state.is_complete()
            && let Some(problem) = self.documents.lost(EntryIndex::of(&report.unit))
        {
            report.state = UnitState::Failed(problem);
        }
        let _unit = span(&report.unit).entered();
        let place = report.unit.place.as_ref().map(ToString::to_string).unwrap_or_default();
        let names = [report.unit.account.as_str(), place.as_str()];
        let should_log = |what, problem: &Problem| {
            let kind = Some(&report.unit.kind);
            self.context.problems.should_log((what, ProblemLog::Once), kind, &problem.message, &names)
        };
        match &report.state {
            UnitState::Complete => tracing::debug!(
                fetched = report.counts.fetched,
                mapped = report.counts.mapped,
                elapsed_ms = report.duration.as_millis(),
                "unit complete"
            ),
            UnitState::Skipped(problem) => {
                warn_if!(should_log(SKIPPED, problem), %problem, "{SKIPPED}");
            }
            UnitState::Failed(problem) => {
                warn_if!(should_log(FAILED, problem), %problem, "{FAILED}");
            }
        }
        self.progress.unit_ended(index, &report.state, &report.counts);
        self.context.observer.event(&Event::UnitFinished { report: &report });
        if let Some(slot) = self.reports.get_mut(index) {
            *slot = Some(report);
        }
    }

    /// Ends all units; those without a report were stopped, or panicked.
    fn finish(mut self, stopped: bool) -> ReadOutput {
        for (index, report) in std::mem::take(&mut self.undecided).into_values().flatten() {
            self.decide(index, report);
        }
        let unread = |unit: &Unit| UnitReport {
            unit: unit.id.clone(),
            state: UnitState::Failed(if stopped {
                Problem::new(ProblemCode::ResyncStopped, "not read: the resync was stopped")
                    .remedy("the next resync reads it")
            } else {
                Problem::new(ProblemCode::Internal, "the unit's task panicked")
                    .remedy("nothing of it is deleted; report this bug, with the log")
            }),
            counts: UnitCounts::default(),
            unread: Vec::new(),
            duration: Duration::ZERO,
        };
        // In place: there may be hundreds of thousands.
        let reports = self.reports.into_vec().into_iter().zip(self.units);
        ReadOutput {
            reports: reports.map(|(report, unit)| report.unwrap_or_else(|| unread(unit))).collect(),
            item_failures: self.item_failures,
            misconfigured: self.misconfigured,
        }
    }
}
