//! Progress while a resync runs: bars on a terminal, plain lines elsewhere, nothing with a JSON log.

use std::{
    collections::HashMap,
    fmt,
    io::IsTerminal,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use berth_embed::{
    Event, NullObserver, Observer,
    core::{UnitId, UnitState},
};
use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use crate::{
    args::LogFormat,
    output::{err, safe},
};

/// Bars of single units shown at once; the total is always shown.
const SHOWN_UNITS: usize = 8;

/// Without bars, about this many of the completed units are logged.
const PRINTED: u64 = 200;

/// Returns the observer for this run.
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
    begun: OnceLock<Instant>,
    totals: Mutex<Totals>,
}

impl Observer for Lines {
    fn event(&self, event: &Event<'_>) {
        let passed = self.begun.get().map(Instant::elapsed).unwrap_or_default();
        if let Some(line) = self.line(event, passed) {
            err(&safe(&line));
        }
    }
}

impl Lines {
    fn line(&self, event: &Event<'_>, passed: Duration) -> Option<String> {
        lock(&self.totals).count(event);
        match event {
            Event::Account { account, problem: None } => {
                Some(format!("account {} ({})", account.id, account.name))
            }
            Event::Account { account, problem: Some(problem) } => {
                Some(format!("account {}: {}", account.id, problem.message))
            }
            Event::Planned { units, settled } => {
                let (units, settled) = (units.len(), settled.len());
                self.total.store(units as u64, Ordering::Relaxed);
                _ = self.begun.set(Instant::now());
                let blocked = if settled > 0 { format!(", {settled} cannot be read") } else { String::new() };
                Some(format!("{units} units to read{blocked}"))
            }
            Event::UnitFinished { report } => {
                let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
                let total = self.total.load(Ordering::Relaxed);
                let end = match &report.state {
                    // With many units, only some lines are printed, to show the progress.
                    UnitState::Complete if !ended.is_multiple_of(total / PRINTED + 1) && ended != total => {
                        return None;
                    }
                    UnitState::Complete => format!("{} resources", report.counts.fetched),
                    UnitState::Skipped(problem) => format!("skipped: {}", problem.message),
                    UnitState::Failed(problem) => format!("failed: {}", problem.message),
                };
                let left = match left(ended, total, passed) {
                    Some(left) => format!(", about {} left", HumanDuration(left)),
                    None => String::new(),
                };
                let many = if total > PRINTED { format!(" ({})", lock(&self.totals)) } else { String::new() };
                Some(format!("[{ended}/{total}{left}] {} {end}{many}", report.unit))
            }
            Event::Deleting { count } => Some(format!("deleting {count} entities")),
            _ => None,
        }
    }
}

/// Estimates the remaining time, once there is data for an estimate.
fn left(ended: u64, total: u64, passed: Duration) -> Option<Duration> {
    let is_meaningful = passed >= Duration::from_secs(3) && ended >= total / 50 && ended < total;
    let (ended, open) = (u32::try_from(ended).ok()?, u32::try_from(total.saturating_sub(ended)).ok()?);
    is_meaningful.then(|| passed.checked_div(ended)?.checked_mul(open)).flatten()
}

/// What was read and written so far.
#[derive(Debug, Default)]
struct Totals {
    read: u64,
    created: u64,
    updated: u64,
    unchanged: u64,
    refused: u64,
}

impl Totals {
    fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::UnitFinished { report } => self.read += report.counts.fetched,
            Event::Written { created, updated, unchanged, refused } => {
                self.created += created;
                self.updated += updated;
                self.unchanged += unchanged;
                self.refused += refused;
            }
            _ => {}
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, created, updated, unchanged, refused } = self;
        write!(f, "{} resources read", HumanCount(*read))?;
        for (count, what) in
            [(created, "created"), (updated, "updated"), (unchanged, "unchanged"), (refused, "refused")]
        {
            if *count > 0 {
                write!(f, ", {} {what}", HumanCount(*count))?;
            }
        }
        Ok(())
    }
}

fn lock(totals: &Mutex<Totals>) -> MutexGuard<'_, Totals> {
    totals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A total, and one line for each of some running units.
struct Bars {
    all: MultiProgress,
    total: ProgressBar,
    units: Mutex<HashMap<UnitId, ProgressBar>>,
    totals: Mutex<Totals>,
}

impl Bars {
    fn new(all: MultiProgress) -> Self {
        let total = all.add(ProgressBar::no_length());
        total.set_style(style("{spinner} {msg} ({elapsed})"));
        total.enable_steady_tick(Duration::from_millis(120));
        total.set_message("preparing");
        Self { all, total, units: Mutex::default(), totals: Mutex::default() }
    }
}

/// Returns a style whose template is known to parse.
fn style(template: &'static str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Returns the style for counting units, once their number is known.
fn units_style() -> ProgressStyle {
    let left = |state: &ProgressState, to: &mut dyn fmt::Write| {
        let open = state.len().unwrap_or_default().saturating_sub(state.pos());
        // Drawing is best effort.
        if open > 0 && state.pos() > 0 {
            _ = write!(to, ", about {} left", HumanDuration(state.eta()));
        }
    };
    style("{spinner} {wide_bar} {percent}%  {human_pos} of {human_len} units, {elapsed}{left}\n  {msg}")
        .with_key("left", left)
}

impl Observer for Bars {
    fn event(&self, event: &Event<'_>) {
        lock(&self.totals).count(event);
        match event {
            Event::Account { account, problem: Some(problem) } => {
                // A line above the bars that stays. Drawing is best effort.
                _ = self.all.println(safe(&format!("account {}: {}", account.id, problem.message)));
            }
            Event::Planned { units, .. } => {
                self.total.set_style(units_style());
                self.total.set_length(units.len() as u64);
                self.total.set_message("");
                // The estimate of the remaining time starts here.
                self.total.reset_eta();
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
                self.total.set_message(lock(&self.totals).to_string());
            }
            Event::Written { .. } => self.total.set_message(lock(&self.totals).to_string()),
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

#[cfg(test)]
mod tests {
    use berth_embed::{
        Problem, ProblemCode, UnitCounts, UnitReport,
        core::{AccountId, Kind},
    };

    use super::*;

    fn lines(units: usize, state: &UnitState) -> Vec<String> {
        let lines = Lines::default();
        let second = Duration::from_secs(1);
        let unit = UnitId {
            account: AccountId::new("111111111111").unwrap(),
            place: None,
            kind: Kind::new("Acme::Widget").unwrap(),
            resource: 0,
        };
        lines.line(&Event::Planned { units: &vec![unit.clone(); units], settled: &[] }, Duration::ZERO);
        lines.line(&Event::Written { created: 1, updated: 0, unchanged: 1200, refused: 0 }, second);
        let counts = UnitCounts { fetched: 10, ..UnitCounts::default() };
        let report = UnitReport { unit, state: state.clone(), counts, unread: Vec::new(), duration: second };
        let printed = |number| {
            // One unit per second.
            let passed = second * u32::try_from(number).unwrap();
            lines.line(&Event::UnitFinished { report: &report }, passed)
        };
        (1..=units).filter_map(printed).collect()
    }

    #[test]
    fn lines_show_how_long_it_takes_still() {
        let printed = lines(100, &UnitState::Complete);
        assert_eq!(printed.len(), 100);
        assert_eq!(printed[0], "[1/100] 111111111111 all regions Acme::Widget 10 resources");
        assert!(printed[9].starts_with("[10/100, about 2 minutes left] "), "{}", printed[9]);
        assert!(printed[99].starts_with("[100/100] "), "{}", printed[99]);
    }

    #[test]
    fn of_many_units_some_are_reported_and_every_problem() {
        let printed = lines(10_000, &UnitState::Complete);
        assert!((150..=250).contains(&printed.len()), "{}", printed.len());
        let last = printed.last().unwrap();
        assert!(last.ends_with("(100,000 resources read, 1 created, 1,200 unchanged)"), "{last}");
        assert_eq!(lines(10_000, &UnitState::Failed(Problem::new(ProblemCode::Other, "no"))).len(), 10_000);
    }
}
