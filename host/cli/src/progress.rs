//! Progress while a resync runs: bars on a terminal, plain lines elsewhere, nothing beside a JSON
//! log.

use std::{
    collections::HashMap,
    io::IsTerminal,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use berth_embed::{
    Event, NullObserver, Observer,
    core::{UnitId, UnitState},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{
    args::LogFormat,
    output::{err, safe},
};

/// Bars of single units shown at once; the total is always shown.
const SHOWN_UNITS: usize = 8;

/// The observer for this run.
pub(crate) fn observer(format: LogFormat, bars: &MultiProgress) -> Arc<dyn Observer> {
    match format {
        LogFormat::Json => Arc::new(NullObserver),
        LogFormat::Text if std::io::stderr().is_terminal() => Arc::new(Bars::new(bars.clone())),
        LogFormat::Text => Arc::new(Lines::default()),
    }
}

/// One line per event that matters.
#[derive(Default)]
struct Lines {
    total: AtomicU64,
    ended: AtomicU64,
}

impl Observer for Lines {
    fn event(&self, event: &Event<'_>) {
        if let Some(line) = self.line(event) {
            err(&safe(&line));
        }
    }
}

impl Lines {
    fn line(&self, event: &Event<'_>) -> Option<String> {
        match event {
            Event::Account { account, problem: None } => {
                Some(format!("account {} ({})", account.id, account.name))
            }
            Event::Account { account, problem: Some(problem) } => {
                Some(format!("account {}: {}", account.id, problem.message))
            }
            Event::Planned { units, settled, .. } => {
                self.total.store(*units as u64, Ordering::Relaxed);
                let blocked =
                    if *settled > 0 { format!(", {settled} cannot be read") } else { String::new() };
                Some(format!("{units} units to read{blocked}"))
            }
            Event::UnitFinished { report } => {
                let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
                let total = self.total.load(Ordering::Relaxed);
                let end = match &report.state {
                    UnitState::Complete => format!("{} resources", report.counts.fetched),
                    UnitState::Skipped(problem) => format!("skipped: {}", problem.message),
                    UnitState::Failed(problem) => format!("failed: {}", problem.message),
                };
                Some(format!("[{ended}/{total}] {} {end}", report.unit))
            }
            Event::Deleting { count } => Some(format!("deleting {count} entities")),
            _ => None,
        }
    }
}

/// A total, and a line for each of some running units.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    units: Mutex<HashMap<UnitId, ProgressBar>>,
    written: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
}

impl Bars {
    fn new(all: MultiProgress) -> Self {
        let total = all.add(ProgressBar::no_length());
        total.set_style(style("{spinner} {bar:30} {pos}/{len} units  {elapsed}  eta {eta}  {msg}"));
        total.enable_steady_tick(Duration::from_millis(120));
        total.set_message("getting ready");
        Self { all, total, units: Mutex::default(), written: Mutex::default() }
    }
}

/// A style whose template is known to parse.
fn style(template: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl Observer for Bars {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Account { account, problem: Some(problem) } => {
                // A line above the bars that stays. Drawing is best effort.
                _ = self.all.println(safe(&format!("account {}: {}", account.id, problem.message)));
            }
            Event::Planned { units, .. } => {
                self.total.set_length(*units as u64);
                self.total.set_message("");
            }
            Event::UnitStarted { unit } => {
                let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
                if units.len() < SHOWN_UNITS {
                    let bar = self.all.add(ProgressBar::new_spinner());
                    bar.set_style(style("  {spinner} {prefix} {msg}"));
                    bar.set_prefix(unit.to_string());
                    bar.enable_steady_tick(Duration::from_millis(120));
                    units.insert((*unit).clone(), bar);
                }
            }
            Event::UnitProgress { unit, fetched } => {
                let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bar) = units.get(*unit) {
                    bar.set_message(format!("{fetched} resources"));
                }
            }
            Event::UnitFinished { report } => {
                let bar = self.units.lock().unwrap_or_else(PoisonError::into_inner).remove(&report.unit);
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                if let Some(problem) = report.state.problem() {
                    _ = self.all.println(safe(&format!("{}: {}", report.unit, problem.message)));
                }
                self.total.inc(1);
            }
            Event::Written { created, updated, unchanged, refused } => {
                let mut counts = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                counts.created += created;
                counts.updated += updated;
                counts.unchanged += unchanged;
                counts.refused += refused;
                self.total.set_message(format!(
                    "{} created, {} updated, {} unchanged, {} refused",
                    counts.created, counts.updated, counts.unchanged, counts.refused
                ));
            }
            Event::Deleting { count } => self.total.set_message(format!("deleting {count} entities")),
            _ => {}
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.total.finish_and_clear();
    }
}
