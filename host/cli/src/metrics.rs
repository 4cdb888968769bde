//! What Prometheus is told, in its text format: the peer's names as far as a report tells them,
//! and ours.
//!
//! The peer's gauges show the last resync that ran. Units of one kind are read at once, so a kind's
//! `duration_seconds` is the time of its units added up; that of `__runtime__` is the time passed.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use berth_embed::{
    Outcome, Refreshed, Report, UnitCounts,
    core::{Kind, UnitState},
};

/// The peer's name for the resync as a whole.
const RUNTIME: &str = "__runtime__";
/// The peer's name for the deletion of what is gone.
const RECONCILIATION: &str = "__reconciliation__";

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    running: bool,
    ended: BTreeMap<&'static str, u64>,
    last_end: Option<SystemTime>,
    last: Option<Last>,
    /// Live events, by what became of them at the door.
    events: BTreeMap<&'static str, u64>,
    /// Resources that live events named, by what became of them.
    refreshed: BTreeMap<(Kind, Refreshed), u64>,
}

/// The last resync that ran.
#[derive(Debug)]
struct Last {
    kinds: BTreeMap<Kind, KindResult>,
    units: [(&'static str, u64); 3],
    seconds: f64,
    good: bool,
    deletion_good: bool,
}

#[derive(Debug, Default)]
struct KindResult {
    counts: UnitCounts,
    deleted: u64,
    seconds: f64,
    incomplete: bool,
}

impl Metrics {
    /// A resync begins.
    pub(crate) fn begun(&self) {
        self.state().running = true;
    }

    /// A resync ended with this report.
    pub(crate) fn ended(&self, report: &Report) {
        let last = Last::of(report);
        let mut state = self.state();
        state.end(match report.outcome {
            Outcome::Done => "done",
            Outcome::Partial => "partial",
            Outcome::NothingRead => "nothing-read",
            Outcome::DeletionsHeldBack => "deletions-held-back",
            Outcome::Aborted => "aborted",
        });
        state.last = Some(last);
    }

    /// A resync ended before anything was planned.
    pub(crate) fn ended_early(&self, outcome: &'static str) {
        self.state().end(outcome);
    }

    /// A live event came in.
    pub(crate) fn event(&self, outcome: &'static str) {
        *self.state().events.entry(outcome).or_default() += 1;
    }

    /// A resource that a live event named was looked at.
    pub(crate) fn refreshed(&self, kind: &Kind, refreshed: Refreshed) {
        *self.state().refreshed.entry((kind.clone(), refreshed)).or_default() += 1;
    }

    /// The whole page. `waiting`: resources that live events named and that wait for being read,
    /// where live events are followed.
    pub(crate) fn render(&self, waiting: Option<usize>) -> String {
        let mut page = String::new();
        // Writing to a String cannot fail.
        _ = self.state().write(waiting, &mut page);
        page
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn of(report: &Report) -> Self {
        let mut kinds: BTreeMap<Kind, KindResult> = BTreeMap::new();
        for unit in &report.units {
            let kind = kinds.entry(unit.unit.kind.clone()).or_default();
            kind.counts.add(&unit.counts);
            kind.seconds += unit.duration.as_secs_f64();
            kind.incomplete |= !matches!(unit.state, UnitState::Complete);
        }
        for gone in &report.deletion.deleted {
            if let Some(kind) = &gone.kind {
                kinds.entry(kind.clone()).or_default().deleted += 1;
            }
        }
        let totals = report.totals();
        Self {
            kinds,
            units: [("complete", totals.complete), ("skipped", totals.skipped), ("failed", totals.failed)],
            seconds: report.duration.as_secs_f64(),
            good: matches!(report.outcome, Outcome::Done | Outcome::DeletionsHeldBack),
            deletion_good: report.deletion.held_back.is_none() && report.deletion.failed.is_empty(),
        }
    }
}

impl State {
    fn end(&mut self, outcome: &'static str) {
        self.running = false;
        *self.ended.entry(outcome).or_default() += 1;
        self.last_end = Some(SystemTime::now());
    }

    fn write(&self, waiting: Option<usize>, page: &mut String) -> fmt::Result {
        if let Some(last) = &self.last {
            last.write(page)?;
        }
        head(page, "berth_resync_running", "gauge", "Whether a resync runs now.")?;
        writeln!(page, "berth_resync_running {}", u8::from(self.running))?;
        head(page, "berth_resyncs_total", "counter", "Resyncs of this process, by how they ended.")?;
        for (outcome, count) in &self.ended {
            writeln!(page, "berth_resyncs_total{{outcome=\"{outcome}\"}} {count}")?;
        }
        if let Some(end) = self.last_end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            head(
                page,
                "berth_resync_last_end_seconds",
                "gauge",
                "When the last resync ended, in Unix time.",
            )?;
            writeln!(page, "berth_resync_last_end_seconds {:.3}", end.as_secs_f64())?;
        }
        if let Some(waiting) = waiting {
            self.write_live(waiting, page)?;
        }
        page.push_str("# EOF\n");
        Ok(())
    }

    fn write_live(&self, waiting: usize, page: &mut String) -> fmt::Result {
        head(page, "berth_live_events_total", "counter", "Live events, by what became of them at the door.")?;
        for (outcome, count) in &self.events {
            writeln!(page, "berth_live_events_total{{outcome=\"{outcome}\"}} {count}")?;
        }
        head(page, "berth_live_resources_total", "counter", "Resources that live events named, by outcome.")?;
        for ((kind, refreshed), count) in &self.refreshed {
            let outcome = refreshed.as_str();
            writeln!(page, "berth_live_resources_total{{kind=\"{kind}\",outcome=\"{outcome}\"}} {count}")?;
        }
        head(page, "berth_live_waiting", "gauge", "Resources that wait for being read again.")?;
        writeln!(page, "berth_live_waiting {waiting}")
    }
}

impl Last {
    fn write(&self, page: &mut String) -> fmt::Result {
        head(page, "object_count", "gauge", "Objects of the last resync, by kind and phase.")?;
        for (kind, result) in &self.kinds {
            let counts = &result.counts;
            for (phase, what, count) in [
                ("extract", "raw_extracted", counts.fetched),
                ("transform", "transformed", counts.mapped),
                ("transform", "filtered_out", counts.filtered),
                ("transform", "failed", counts.failed),
                ("load", "loaded", counts.created + counts.updated),
                ("load", "skipped", counts.unchanged),
                ("load", "failed", counts.refused),
                ("delete", "deleted", result.deleted),
            ] {
                writeln!(
                    page,
                    "object_count{{kind=\"{kind}\",phase=\"{phase}\",object_count_type=\"{what}\"}} {count}"
                )?;
            }
        }
        head(page, "duration_seconds", "gauge", "Time that the last resync took, by kind.")?;
        for (kind, result) in &self.kinds {
            writeln!(page, "duration_seconds{{kind=\"{kind}\",phase=\"resync\"}} {:.3}", result.seconds)?;
        }
        writeln!(page, "duration_seconds{{kind=\"{RUNTIME}\",phase=\"resync\"}} {:.3}", self.seconds)?;
        head(page, "success", "gauge", "Whether the last resync went well, by kind.")?;
        for (kind, result) in &self.kinds {
            let good = !result.incomplete && result.counts.refused == 0;
            writeln!(page, "success{{kind=\"{kind}\",phase=\"resync\"}} {}", u8::from(good))?;
        }
        writeln!(page, "success{{kind=\"{RUNTIME}\",phase=\"resync\"}} {}", u8::from(self.good))?;
        let deletion_good = u8::from(self.deletion_good);
        writeln!(page, "success{{kind=\"{RECONCILIATION}\",phase=\"delete\"}} {deletion_good}")?;
        head(page, "berth_units", "gauge", "Units (account, region, kind) of the last resync, by state.")?;
        for (state, count) in self.units {
            writeln!(page, "berth_units{{state=\"{state}\"}} {count}")?;
        }
        Ok(())
    }
}

fn head(page: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}")
}
