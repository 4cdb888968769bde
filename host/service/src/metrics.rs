//! Metrics: Ocean's names where they make sense, and our own.
//!
//! Ocean's gauges show the running resync, or the last one. Berth reads units of all kinds at once, so a
//! kind's `duration_seconds` is the sum of its units' times. Processor, memory and the runtime's latency are
//! known only for the process: their kind is `__runtime__`, as is that of the elapsed time. Counters start
//! with the process, or with the last reload of its settings.

mod page;
mod process;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::SystemTime,
};

#[cfg(feature = "otlp")]
use berth_embed::{AwsStats, PortStats};
use berth_embed::{
    HostMeter, HostStats, LiveEvents, Outcome, ProblemCode, Refreshed, Report, SyncHost, UnitCounts,
    core::{AccountId, Kind, UnitState},
};
use berth_engine::{Engine, PluginUse, Reloaded};

#[cfg(feature = "otlp")]
pub(crate) use page::FamilyKind;
pub(crate) use page::{Exposition, Family};
use process::{Samples, Sampling, max_median_avg};

use crate::report::kept;

/// Ocean's name for the resync as a whole.
const RUNTIME: &str = "__runtime__";
/// Ocean's name for the deletion of stale entities.
const RECONCILIATION: &str = "__reconciliation__";

/// The metrics of a process.
#[derive(Default)]
pub struct Metrics {
    state: Mutex<State>,
    watched: RwLock<Option<Watched>>,
}

/// Sources that count by themselves.
struct Watched {
    meter: HostMeter,
    engine: Option<Arc<Engine>>,
}

#[derive(Debug, Default)]
struct State {
    /// Samples the process while a resync runs.
    running: Option<Sampling>,
    process: Samples,
    ended: BTreeMap<&'static str, u64>,
    last_end: Option<SystemTime>,
    last: Option<Last>,
    reloads: BTreeMap<&'static str, u64>,
    /// HTTP requests that were refused because of their sender.
    refused: u64,
    /// Changed plugin files, by result.
    plugins: BTreeMap<&'static str, u64>,
    /// Live events, by result of their delivery.
    events: BTreeMap<&'static str, u64>,
    /// Resources that live events named, by result.
    refreshed: BTreeMap<(Kind, Refreshed), u64>,
    /// Processes live events, if configured.
    live: Option<Arc<LiveEvents>>,
}

/// The last resync that ran.
#[derive(Debug, Default)]
struct Last {
    kinds: BTreeMap<Kind, KindResult>,
    accounts: BTreeMap<AccountId, States>,
    seconds: f64,
    good: bool,
    deletion_good: bool,
    /// Entities that were not found but kept, by reason.
    kept: Vec<(&'static str, u64)>,
    held_back: u64,
    dependents: u64,
    problems: BTreeMap<ProblemCode, u64>,
}

#[derive(Debug, Default)]
struct KindResult {
    counts: UnitCounts,
    states: States,
    deleted: u64,
    seconds: f64,
}

/// How units ended.
#[derive(Debug, Default)]
struct States {
    complete: u64,
    skipped: u64,
    failed: u64,
}

impl States {
    fn count(&mut self, state: &UnitState) {
        match state {
            UnitState::Complete => self.complete += 1,
            UnitState::Skipped(_) => self.skipped += 1,
            UnitState::Failed(_) => self.failed += 1,
        }
    }

    fn counts(&self) -> [(&'static str, u64); 3] {
        [("complete", self.complete), ("skipped", self.skipped), ("failed", self.failed)]
    }
}

/// Returns the name of a resync's outcome.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Partial => "partial",
        Outcome::NothingRead => "nothing-read",
        Outcome::DeletionsHeldBack => "deletions-held-back",
        Outcome::Aborted => "aborted",
    }
}

impl Metrics {
    /// Counts from now on what this host and its plugins do.
    pub fn watch(&self, host: &SyncHost, engine: Option<&Arc<Engine>>) {
        let watched = Watched { meter: host.meter(), engine: engine.cloned() };
        *self.watched.write().unwrap_or_else(PoisonError::into_inner) = Some(watched);
    }

    /// Returns the sources that count by themselves: sent requests, and plugin usage.
    pub(crate) fn watched(&self) -> Option<(HostMeter, Option<Arc<Engine>>)> {
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        watched.as_ref().map(|Watched { meter, engine }| (meter.clone(), engine.clone()))
    }

    /// Records that a resync started. Must be called inside a runtime.
    pub fn begun(&self) {
        self.state().running = Some(Sampling::begin());
    }

    /// Records that a resync ended with this report.
    pub fn ended(&self, report: &Report) {
        let last = Last::of(report);
        let mut state = self.state();
        state.end(outcome(report.outcome));
        state.last = Some(last);
    }

    /// Records that a resync ended before anything was planned.
    pub fn ended_early(&self, outcome: &'static str) {
        self.state().end(outcome);
    }

    /// Counts a live event.
    pub(crate) fn event(&self, outcome: &'static str) {
        *self.state().events.entry(outcome).or_default() += 1;
    }

    /// Counts a resource that a live event named.
    pub(crate) fn refreshed(&self, kind: &Kind, refreshed: Refreshed) {
        *self.state().refreshed.entry((kind.clone(), refreshed)).or_default() += 1;
    }

    /// Sets what processes live events.
    pub(crate) fn follow(&self, live: &Arc<LiveEvents>) {
        self.state().live = Some(Arc::clone(live));
    }

    /// Counts an HTTP request that was refused because of its sender.
    pub(crate) fn refused(&self) {
        self.state().refused += 1;
    }

    /// Counts a reload of the settings, by result.
    pub(crate) fn reloaded(&self, outcome: &'static str) {
        *self.state().reloads.entry(outcome).or_default() += 1;
    }

    /// Counts changed plugin files.
    pub(crate) fn plugins(&self, reloaded: &Reloaded) {
        let Reloaded { loaded, removed, refused } = reloaded;
        let mut state = self.state();
        for (outcome, files) in
            [("loaded", loaded.len()), ("removed", removed.len()), ("refused", refused.len())]
        {
            *state.plugins.entry(outcome).or_default() += files as u64;
        }
    }

    /// Returns all metrics with their current values.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut families = self.state().families();
        let watched = self.watched.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Watched { meter, engine }) = &*watched {
            of_host(&meter.stats(), &mut families);
            if let Some(engine) = engine {
                of_plugins(&engine.usage(), engine.refused().len(), &mut families);
            }
        }
        of_process(&mut families);
        families
    }

    /// Returns all metrics without values, for exporters that register them first.
    #[cfg(feature = "otlp")]
    pub(crate) fn described() -> Vec<Family> {
        let seen = || vec![0.0];
        let mut process = Samples::default();
        (process.cpu, process.memory, process.latency) = (seen(), seen(), seen());
        let stats = HostStats { aws: Some(AwsStats::default()), port: Some(PortStats::default()) };
        let (last, last_end) = (Some(Last::default()), Some(SystemTime::UNIX_EPOCH));
        let mut families = State { process, last_end, last, ..State::default() }.families();
        of_live(&BTreeMap::new(), &BTreeMap::new(), 0, &mut families);
        of_host(&stats, &mut families);
        of_plugins(&[], 0, &mut families);
        of_process(&mut families);
        families
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Last {
    fn of(report: &Report) -> Self {
        let mut kinds: BTreeMap<Kind, KindResult> = BTreeMap::new();
        let mut accounts: BTreeMap<AccountId, States> = BTreeMap::new();
        for unit in &report.units {
            let kind = kinds.entry(unit.unit.kind.clone()).or_default();
            kind.counts.add(&unit.counts);
            kind.states.count(&unit.state);
            kind.seconds += unit.duration.as_secs_f64();
            accounts.entry(unit.unit.account.clone()).or_default().count(&unit.state);
        }
        for gone in &report.deletion.deleted {
            if let Some(kind) = &gone.kind {
                kinds.entry(kind.clone()).or_default().deleted += 1;
            }
        }
        Self {
            kinds,
            accounts,
            seconds: report.duration.as_secs_f64(),
            good: matches!(report.outcome, Outcome::Done | Outcome::DeletionsHeldBack),
            deletion_good: report.deletion.held_back.is_empty()
                && report.deletion.stopped.is_none()
                && report.deletion.failed.is_empty(),
            kept: kept::counts(&report.deletion).to_vec(),
            held_back: kept::held_back(&report.deletion),
            dependents: report.deletion.dependents.len() as u64,
            problems: report.problems().fold(BTreeMap::new(), |mut codes, problem| {
                *codes.entry(problem.code).or_default() += 1;
                codes
            }),
        }
    }

    fn families(&self, to: &mut Vec<Family>) {
        let mut objects = Family::gauge("object_count", "Objects of the last resync, by kind and phase.");
        let mut durations = Family::gauge(
            "duration_seconds",
            "Time of the last resync, by kind: the sum of its units' times.",
        );
        let mut success = Family::gauge("success", "Whether the last resync succeeded, by kind.");
        let mut units = Family::gauge("berth_units", "Units of the last resync, by kind and result.");
        for (kind, result) in &self.kinds {
            let (kind, counts) = (kind.as_str(), &result.counts);
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
                objects.count([("kind", kind), ("phase", phase), ("object_count_type", what)], count);
            }
            durations.add([("kind", kind), ("phase", "resync")], result.seconds);
            let good = result.states.skipped + result.states.failed + counts.refused == 0;
            success.count([("kind", kind), ("phase", "resync")], good.into());
            for (state, count) in result.states.counts() {
                units.count([("kind", kind), ("state", state)], count);
            }
        }
        durations.add([("kind", RUNTIME), ("phase", "resync")], self.seconds);
        success.count([("kind", RUNTIME), ("phase", "resync")], self.good.into());
        success.count([("kind", RECONCILIATION), ("phase", "delete")], self.deletion_good.into());
        let mut accounts =
            Family::gauge("berth_account_units", "Units of the last resync, by account and result.");
        for (account, states) in &self.accounts {
            for (state, count) in states.counts() {
                accounts.count([("account", account.as_str()), ("state", state)], count);
            }
        }
        let mut kept = Family::gauge(
            "berth_kept_entities",
            "Entities that the last resync did not find but kept, by reason.",
        );
        for (reason, count) in &self.kept {
            kept.count([("reason", reason)], *count);
        }
        let mut held_back = Family::gauge(
            "berth_held_back_deletions",
            "Deletions of the last resync that limits skipped and that need approval.",
        );
        held_back.count([], self.held_back);
        let mut dependents = Family::gauge(
            "berth_deleted_dependents",
            "Entities that the last resync deleted because they depend on others that it deleted.",
        );
        dependents.count([], self.dependents);
        let mut problems = Family::gauge("berth_problems", "Problems of the last resync, by code.");
        for (code, count) in &self.problems {
            problems.count([("code", code.as_str())], *count);
        }
        to.extend([objects, durations, success, units, accounts, kept, held_back, dependents, problems]);
    }
}

impl State {
    fn end(&mut self, outcome: &'static str) {
        if let Some(sampling) = self.running.take() {
            self.process = sampling.end();
        }
        *self.ended.entry(outcome).or_default() += 1;
        self.last_end = Some(SystemTime::now());
    }

    fn families(&self) -> Vec<Family> {
        let mut families = Vec::new();
        if let Some(last) = &self.last {
            last.families(&mut families);
        }
        let process = self.running.as_ref().map_or_else(|| self.process.clone(), Sampling::seen);
        of_samples(&process, &mut families);
        let running = u8::from(self.running.is_some());
        families
            .push(Family::gauge("berth_resync_running", "Whether a resync is running.").of(running.into()));
        let mut ended = Family::counter("berth_resyncs", "Resyncs of this process, by outcome.");
        for (outcome, count) in &self.ended {
            ended.count([("outcome", outcome)], *count);
        }
        let mut reloads = Family::counter("berth_settings_reloads", "Reloads of the settings, by result.");
        for (outcome, count) in &self.reloads {
            reloads.count([("outcome", outcome)], *count);
        }
        let mut plugins = Family::counter(
            "berth_plugin_changes",
            "Plugin files that changed while the service ran, by result.",
        );
        for (outcome, count) in &self.plugins {
            plugins.count([("outcome", outcome)], *count);
        }
        let mut refused = Family::counter(
            "berth_http_requests_refused",
            "HTTP requests that were refused: without a key, with another host name, or from another site.",
        );
        refused.count([], self.refused);
        families.extend([ended, reloads, plugins, refused]);
        if let Some(end) = self.last_end.and_then(|end| end.duration_since(SystemTime::UNIX_EPOCH).ok()) {
            families.push(
                Family::gauge("berth_resync_last_end_seconds", "When the last resync ended, in Unix time.")
                    .of(end.as_secs_f64()),
            );
        }
        if let Some(live) = &self.live {
            of_live(&self.events, &self.refreshed, live.waiting(), &mut families);
        }
        families
    }
}

/// Returns the metrics of live events.
fn of_live(
    events: &BTreeMap<&'static str, u64>,
    refreshed: &BTreeMap<(Kind, Refreshed), u64>,
    waiting: usize,
    to: &mut Vec<Family>,
) {
    let mut taken = Family::counter("berth_live_events", "Live events, by result of their delivery.");
    for (outcome, count) in events {
        taken.count([("outcome", outcome)], *count);
    }
    let mut resources =
        Family::counter("berth_live_resources", "Resources that live events named, by result.");
    for ((kind, refreshed), count) in refreshed {
        resources.count([("kind", kind.as_str()), ("outcome", refreshed.as_str())], *count);
    }
    let waiting_now = u32::try_from(waiting).unwrap_or(u32::MAX);
    let waiting = Family::gauge("berth_live_waiting", "Resources that wait to be read again.");
    to.extend([taken, resources, waiting.of(waiting_now.into())]);
}

/// Returns Ocean's gauges of the process. Its `event_loop` is what runs tasks, here the Tokio runtime.
fn of_samples(samples: &Samples, to: &mut Vec<Family>) {
    let families = [
        (
            &samples.cpu,
            [
                Family::gauge("cpu_max_percent", "Processor usage during the resync: maximum."),
                Family::gauge("cpu_median_percent", "Processor usage during the resync: median."),
                Family::gauge("cpu_avg_percent", "Processor usage during the resync: mean."),
            ],
        ),
        (
            &samples.memory,
            [
                Family::gauge("memory_max_bytes", "Resident memory during the resync: maximum."),
                Family::gauge("memory_median_bytes", "Resident memory during the resync: the median."),
                Family::gauge("memory_avg_bytes", "Resident memory during the resync: the mean."),
            ],
        ),
        (
            &samples.latency,
            [
                Family::gauge(
                    "event_loop_latency_max_ms",
                    "How late timers fired during the resync: maximum.",
                ),
                Family::gauge(
                    "event_loop_latency_median_ms",
                    "How late timers fired during the resync: the median.",
                ),
                Family::gauge(
                    "event_loop_latency_avg_ms",
                    "How late timers fired during the resync: the mean.",
                ),
            ],
        ),
    ];
    for (samples, families) in families {
        let Some(values) = max_median_avg(samples) else { continue };
        for (mut family, value) in families.into_iter().zip(values) {
            family.add([("kind", RUNTIME)], value);
            to.push(family);
        }
    }
}

/// Returns the metrics of requests to AWS and Port.
fn of_host(stats: &HostStats, to: &mut Vec<Family>) {
    let mut waits = Family::gauge(
        "rate_limit_wait_seconds",
        "Time that requests waited because of rate limits, before or after throttling, summed over parallel \
         requests.",
    );
    if let Some(aws) = &stats.aws {
        let mut total = Family::gauge("response_size_total_bytes", "Bytes of AWS's responses, by kind.");
        let mut avg = Family::gauge("response_size_avg_bytes", "Bytes of one AWS response: mean.");
        let mut median = Family::gauge("response_size_median_bytes", "Bytes of one AWS response: median.");
        for (kind, costs) in &aws.kinds {
            let kind = kind.as_str();
            total.count([("kind", kind)], costs.bytes);
            avg.count([("kind", kind)], costs.bytes.checked_div(costs.responses).unwrap_or(0));
            median.count([("kind", kind)], costs.median_bytes);
            for (service, waited) in &costs.waited {
                let labels = [("kind", kind), ("phase", "extract"), ("endpoint", service)];
                waits.add(labels, waited.as_secs_f64());
            }
        }
        let mut requests = Family::counter("berth_aws_requests", "Requests to AWS, including retries.");
        let mut retries = Family::counter("berth_aws_retries", "Requests to AWS that retried a failed one.");
        let mut throttled = Family::counter("berth_aws_throttled", "AWS responses that throttled a request.");
        let mut errors = Family::counter("berth_aws_errors", "AWS calls that failed after all retries.");
        let mut shared = Family::counter(
            "berth_aws_shared",
            "AWS calls that shared the response to another kind's \
                request.",
        );
        for (call, counts) in &aws.calls {
            let (service, operation) = call.split_once(':').unwrap_or((call, ""));
            for (family, count) in [
                (&mut requests, counts.requests),
                (&mut retries, counts.retries),
                (&mut throttled, counts.throttled),
                (&mut errors, counts.errors),
                (&mut shared, counts.shared),
            ] {
                family.count([("service", service), ("operation", operation)], count);
            }
        }
        to.extend([total, avg, median, requests, retries, throttled, errors, shared]);
    }
    if let Some(port) = &stats.port {
        let labels = [("kind", RUNTIME), ("phase", "load"), ("endpoint", "port")];
        waits.add(labels, port.waited.as_secs_f64());
        let mut requests = Family::counter("berth_port_requests", "Requests to Port, including retries.");
        for (call, count) in &port.requests {
            // Some names end with "of", so that a blueprint's name can follow.
            requests.count([("call", call.trim_end_matches(" of"))], *count);
        }
        let mut retries =
            Family::counter("berth_port_retries", "Requests to Port that retried a failed one.");
        retries.count([], port.retries);
        to.extend([requests, retries]);
    }
    to.push(waits);
}

fn of_plugins(usage: &[PluginUse], refused: usize, to: &mut Vec<Family>) {
    let mut seconds = Family::counter("berth_plugin_seconds", "Time that plugins spent on their batches.");
    let mut batches = Family::counter("berth_plugin_batches", "Batches that plugins mapped.");
    let mut memory =
        Family::gauge("berth_plugin_peak_memory_bytes", "The most memory that one instance used.");
    for used in usage {
        let labels = [("plugin", used.plugin.as_str())];
        seconds.add(labels, used.time.as_secs_f64());
        batches.count(labels, used.batches);
        if used.peak_memory > 0 {
            memory.count(labels, used.peak_memory);
        }
    }
    let mut unused = Family::gauge("berth_plugins_refused", "Plugins that were found but are not used.");
    unused.count([], refused as u64);
    to.extend([seconds, batches, memory, unused]);
}

/// Returns the process metrics of Prometheus' own libraries, and Berth's version.
fn of_process(to: &mut Vec<Family>) {
    if let Some(time) = process::cpu_time() {
        to.push(
            Family::counter("process_cpu_seconds", "Processor time of this process.").of(time.as_secs_f64()),
        );
    }
    if let Some(memory) = process::resident_memory() {
        to.push(
            Family::gauge("process_resident_memory_bytes", "Resident memory of this process.").of(memory),
        );
    }
    let mut info = Family::gauge("berth_info", "Always 1; the label is the version.");
    info.count([("version", env!("CARGO_PKG_VERSION"))], 1);
    to.push(info);
}
