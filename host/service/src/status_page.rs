//! The state of a resync, as the status page and the HTML report show it.
//!
//! The model follows the resync's events, so that it can be shown while the resync runs; at the end the
//! report's values replace it. A client gets everything once, and then the changes since its last request:
//! nothing waits for slow clients.

mod grid;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use berth_embed::{Event, HostStats, Observer, Problem, RemovalAfter, Report, core::Processing};
use berth_engine::PluginUse;
use serde::Serialize;
use tokio::task::AbortHandle;

use crate::{
    metrics::{Metrics, outcome},
    report::model::{About, ProblemGroup, ProblemGroups},
};
use grid::{Grid, Layout, UnitRow};

/// How often traffic is measured.
const EVERY: Duration = Duration::from_secs(1);
/// The most measurements; beyond that, every other one is dropped.
const MEASURED: usize = 240;
/// The most resyncs in the history.
const REMEMBERED: usize = 20;
/// The most notes that are shown.
const NOTES: usize = 100;

/// The state of this process's resyncs, for the status page.
pub struct StatusModel {
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with every change.
    version: u64,
    /// The version of the last new layout; a client with an older version gets everything.
    laid_out: u64,
    resync: Resync,
    clock: Option<Instant>,
    sampling: Option<AbortHandle>,
    grid: Grid,
    counts: Counts,
    problems: ProblemGroups,
    traffic: Vec<Traffic>,
    plugins: Vec<Plugin>,
    notes: Vec<String>,
    history: VecDeque<Past>,
}

/// The phase of a resync.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    /// No resync yet.
    #[default]
    Idle,
    /// Looking up accounts and regions.
    Opening,
    /// Reading units.
    Reading,
    /// Deleting stale entities.
    Deleting,
    /// It has ended.
    Ended,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Resync {
    /// The number of this process's resyncs; 0 before the first.
    number: u64,
    phase: Phase,
    /// Why it runs.
    reason: String,
    /// In milliseconds since 1970.
    started: u64,
    seconds: f64,
    outcome: Option<&'static str>,
    dry_run: bool,
    /// Whether Port creates entities from the documents that it gets.
    documents: bool,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Counts {
    fetched: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
    deleted: u64,
    documents: u64,
}

/// Totals at one moment: seconds since the start, resources read, entities written, requests to AWS and to
/// Port.
#[derive(Debug, Clone, Copy, Serialize)]
struct Traffic(f64, u64, u64, u64, u64);

/// A plugin's usage so far.
#[derive(Debug, Clone, Serialize)]
struct Plugin {
    #[serde(rename = "plugin")]
    name: String,
    batches: u64,
    seconds: f64,
    peak_memory: u64,
}

/// A resync that ended.
#[derive(Debug, Clone, Serialize)]
struct Past {
    #[serde(flatten)]
    resync: Resync,
    units: u64,
    complete: u64,
    skipped: u64,
    failed: u64,
    counts: Counts,
}

/// What a client gets: everything, or the changes.
#[derive(Serialize)]
struct View<'s> {
    berth: &'static str,
    /// In milliseconds since 1970.
    now: u64,
    resync: Resync,
    counts: Counts,
    traffic: &'s [Traffic],
    plugins: &'s [Plugin],
    history: &'s VecDeque<Past>,
    notes: &'s [String],
    #[serde(rename = "untold")]
    omitted: u64,
    /// Problems that are new or affect more, by position.
    #[serde(rename = "troubles")]
    problems: Vec<(usize, &'s ProblemGroup)>,
    /// Everything; it replaces all earlier data.
    #[serde(skip_serializing_if = "Option::is_none")]
    layout: Option<Layout>,
    /// Units that have changed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    units: Vec<UnitRow>,
}

impl StatusModel {
    /// Creates a model without a resync. The metrics provide sent requests and plugin usage.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, state: Mutex::default() }
    }

    /// Records that a resync started. Must be called inside a runtime.
    pub fn begun(self: &Arc<Self>, reason: &str) {
        let model = Arc::downgrade(self);
        let sampling = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(model) = model.upgrade() else { return };
                model.measure();
            }
        });
        let refused = self.metrics.watched().and_then(|(_, engine)| Some(engine?.refused()));
        let mut state = self.state();
        state.begin(reason, SystemTime::now());
        state.sampling = Some(sampling.abort_handle());
        for plugin in refused.into_iter().flatten() {
            state.problems.plugin(&plugin);
        }
        drop(state);
        self.measure();
    }

    /// Records that the resync ended with this report.
    pub fn ended(&self, report: &Report, after: RemovalAfter) {
        self.measure();
        self.state().end(report, after);
    }

    /// Records that the resync ended before anything was planned.
    pub fn ended_early(&self, outcome: &'static str, problem: Option<&Problem>) {
        self.measure();
        let mut state = self.state();
        if let Some(problem) = problem {
            state.problems.add(About::Resync, problem, "the resync");
        }
        state.close(outcome);
    }

    /// Returns everything, as JSON.
    pub fn whole(&self) -> String {
        self.since(0).map(|(json, _)| json).unwrap_or_default()
    }

    /// Returns the changes since this version as JSON, and the new version; `None` without changes. 0 returns
    /// everything.
    pub fn since(&self, version: u64) -> Option<(String, u64)> {
        let state = self.state();
        let seen = version > 0;
        if seen && version == state.version {
            return None;
        }
        let view = state.view(version);
        // Numbers and texts always serialize. A version of 0 would request everything again.
        Some((serde_json::to_string(&view).unwrap_or_default(), state.version.max(1)))
    }

    /// Measures what was sent so far.
    fn measure(&self) {
        let watched = self.metrics.watched();
        let (stats, used) = watched
            .map(|(meter, engine)| (meter.stats(), engine.map(|engine| engine.usage()).unwrap_or_default()))
            .unwrap_or_default();
        let mut state = self.state();
        state.version += 1;
        state.measure(&stats, used);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for StatusModel {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl std::fmt::Debug for StatusModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusModel").finish_non_exhaustive()
    }
}

impl Observer for StatusModel {
    fn event(&self, event: &Event<'_>) {
        let mut state = self.state();
        state.version += 1;
        state.event(event);
    }
}

impl State {
    fn begin(&mut self, reason: &str, now: SystemTime) {
        self.version += 1;
        self.laid_out = self.version;
        self.stop_sampling();
        self.resync = Resync {
            number: self.resync.number + 1,
            phase: Phase::Opening,
            reason: reason.to_owned(),
            started: millis(now),
            ..Resync::default()
        };
        self.clock = Some(Instant::now());
        self.grid = Grid::default();
        self.counts = Counts::default();
        self.problems = ProblemGroups::default();
        self.problems.version = self.version;
        self.traffic.clear();
        self.notes.clear();
    }

    fn event(&mut self, event: &Event<'_>) {
        self.problems.version = self.version;
        match event {
            Event::Account { account, problem } => {
                self.grid.account(account);
                if let Some(problem) = problem {
                    self.problems.account(account, problem);
                }
            }
            Event::Planned { units, settled } => {
                self.grid.plan(units.iter().chain(settled.iter().map(|(unit, _)| unit)));
                for (unit, state) in *settled {
                    let group = self.problems.unit(unit, state);
                    self.grid.settled(unit, state, group, self.version);
                }
                self.resync.phase = Phase::Reading;
                self.laid_out = self.version;
            }
            Event::UnitStarted { unit } => self.grid.started(unit, self.version),
            Event::UnitProgress { unit, fetched } => {
                self.counts.fetched += self.grid.progress(unit, *fetched, self.version);
            }
            Event::UnitFinished { report } => {
                let group = self.problems.unit(&report.unit, &report.state);
                self.counts.fetched += self.grid.progress(&report.unit, report.counts.fetched, self.version);
                self.grid.ended(report, group, self.version);
            }
            Event::Written { created, updated, unchanged, refused } => {
                self.counts.created += created;
                self.counts.updated += updated;
                self.counts.unchanged += unchanged;
                self.counts.refused += refused;
            }
            Event::Deleting { .. } => self.resync.phase = Phase::Deleting,
            _ => {}
        }
    }

    /// The report's values win: writes may have failed since a unit ended.
    fn end(&mut self, report: &Report, after: RemovalAfter) {
        self.version += 1;
        self.laid_out = self.version;
        self.problems = ProblemGroups::of(report);
        self.problems.add_remarks(report, after);
        self.grid = Grid::default();
        for (account, _) in &report.accounts {
            self.grid.account(account);
        }
        self.grid.plan(report.units.iter().map(|unit| &unit.unit));
        for unit in &report.units {
            // The problem is known by now: this only finds its position.
            let group = self.problems.position(unit.state.problem());
            self.grid.ended(unit, group, self.version);
        }
        let totals = report.totals();
        let counts = totals.counts;
        self.counts = Counts {
            fetched: counts.fetched,
            created: counts.created,
            updated: counts.updated,
            unchanged: counts.unchanged,
            refused: counts.refused,
            deleted: report.deletion.deleted.len() as u64,
            documents: counts.documents,
        };
        self.notes = report.notes.iter().take(NOTES).cloned().collect();
        self.resync.dry_run = report.dry_run;
        self.resync.documents = report.processing == Processing::Documents;
        self.resync.seconds = report.duration.as_secs_f64();
        self.clock = None;
        self.close(outcome(report.outcome));
    }

    fn close(&mut self, outcome: &'static str) {
        self.version += 1;
        self.stop_sampling();
        self.resync.seconds = self.seconds();
        self.clock = None;
        self.resync.phase = Phase::Ended;
        self.resync.outcome = Some(outcome);
        let [units, complete, skipped, failed] = self.grid.states();
        let counts = self.counts;
        let resync = self.resync.clone();
        self.history.push_front(Past { resync, units, complete, skipped, failed, counts });
        self.history.truncate(REMEMBERED);
    }

    fn stop_sampling(&mut self) {
        if let Some(sampling) = self.sampling.take() {
            sampling.abort();
        }
    }

    fn seconds(&self) -> f64 {
        self.clock.map_or(self.resync.seconds, |clock| clock.elapsed().as_secs_f64())
    }

    fn measure(&mut self, stats: &HostStats, used: Vec<PluginUse>) {
        let aws = stats.aws.iter().flat_map(|aws| aws.calls.values()).map(|call| call.requests).sum();
        let port = stats.port.iter().flat_map(|port| port.requests.values()).sum();
        let written = self.counts.created + self.counts.updated;
        self.traffic.push(Traffic(round(self.seconds()), self.counts.fetched, written, aws, port));
        if self.traffic.len() > MEASURED {
            let mut even = false;
            self.traffic.retain(|_| {
                even = !even;
                even
            });
        }
        self.plugins = used
            .into_iter()
            .map(|PluginUse { plugin, batches, time, peak_memory }| Plugin {
                name: plugin,
                batches,
                seconds: round(time.as_secs_f64()),
                peak_memory,
            })
            .collect();
    }

    fn view(&self, since: u64) -> View<'_> {
        let whole = since < self.laid_out || since == 0;
        let since = if whole { 0 } else { since };
        let changed = |group: &ProblemGroup| whole || group.version > since;
        View {
            berth: env!("CARGO_PKG_VERSION"),
            now: millis(SystemTime::now()),
            resync: Resync { seconds: round(self.seconds()), ..self.resync.clone() },
            counts: self.counts,
            traffic: &self.traffic,
            plugins: &self.plugins,
            history: &self.history,
            notes: &self.notes,
            omitted: self.problems.omitted,
            problems: self.problems.iter().enumerate().filter(|(_, group)| changed(group)).collect(),
            layout: whole.then(|| self.grid.layout()),
            units: if whole { Vec::new() } else { self.grid.since(since) },
        }
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Rounds to milliseconds; the page shows no more.
fn round(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests;
