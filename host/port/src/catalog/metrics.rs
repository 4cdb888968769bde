//! The progress of a resync, as Port shows it: a metric for each resource mapping, for the deletion of stale
//! entities (`__reconciliation__`) and for the resync as a whole (`__runtime__`).
//!
//! A separate task sends the metrics, in order. It never blocks or fails the resync. Metrics that Port has
//! not accepted by the end are sent with the last one, so that nothing is shown as running forever.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use berth_core::{AppConfig, Milestone, Processing, ResourceResult, ResyncStatus};
use futures::{FutureExt, future::BoxFuture};
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};
use url::Url;
use uuid::Uuid;

use crate::{
    OCEAN_CORE_VERSION, PortConfig,
    api::{
        batches::{BODY_LIMIT, batches},
        client::PortClient,
        error::PortError,
        integrations::INSTALLATION_TYPE,
        reporting::{Figures, Metric, SyncState},
    },
};

/// The pseudo-kind of the resync as a whole.
const RUNTIME: &str = "__runtime__";
/// The pseudo-kind of the deletion.
const RECONCILIATION: &str = "__reconciliation__";
/// Ocean's name for running in one process, its only mode now.
const EXECUTION_MODE: &str = "single_process";

/// The timeout of one metric.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of a resync waits for metrics in flight.
const SETTLE: Duration = Duration::from_secs(3);
/// The timeout of the last metric.
const LAST_REPORT: Duration = Duration::from_secs(5);
/// The same if the resync was stopped: its caller waits for the process to end.
const LAST_REPORT_OF_A_STOPPED: Duration = Duration::from_secs(2);

/// The parts of a resource mapping that metrics name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReportedMapping {
    pub(crate) kind: String,
    /// The mapping's expression, including quotes.
    blueprint: Value,
}

/// Returns the resource mappings of an app-config.
pub(crate) fn entries(config: &AppConfig) -> Arc<[ReportedMapping]> {
    let entry = |resource: &berth_core::ResourceConfig| ReportedMapping {
        kind: resource.kind.to_string(),
        blueprint: resource.port.entity.mappings.blueprint.clone(),
    };
    config.resources.iter().map(entry).collect()
}

/// The metrics of a resync, if there is a receiver.
pub(crate) struct ResyncMetrics(Mutex<Option<MetricsReport>>);

impl ResyncMetrics {
    fn lock(&self) -> MutexGuard<'_, Option<MetricsReport>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the metrics of a resync: every kind is pending, and the whole runs.
    pub(crate) fn begin(receiver: Receiver, config: &PortConfig, entries: &[ReportedMapping]) -> Self {
        Self(Mutex::new(receiver.exists().then(|| MetricsReport::begin(receiver, config, entries))))
    }

    /// Records a step.
    pub(crate) fn milestone(&self, milestone: &Milestone, processing: Processing) {
        if let Some(report) = self.lock().as_mut() {
            report.milestone(milestone, processing);
        }
    }

    /// Ends the metrics of a resync with this status: waits briefly for those in flight, and keeps the rest
    /// for the last report.
    pub(crate) async fn settle(&self, status: ResyncStatus) -> Option<Closing> {
        let mut report = self.lock().take()?;
        report.end_deletion(status);
        let MetricsReport { sheet, receiver, clock, rows, deletion, messages, reported, mut task } = report;
        // Without a sender the task ends when everything is sent.
        drop(messages);
        let patience = if status == ResyncStatus::Aborted { Duration::ZERO } else { SETTLE };
        if tokio::time::timeout(patience, &mut task).await.is_err() {
            task.abort();
        }
        let reported = reported.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = rows.into_iter().chain(deletion.map(|(_, row)| row)).enumerate();
        let pending = rows.filter(|(position, _)| !reported.contains(position)).map(|(_, row)| row).collect();
        Some(Closing { sheet, receiver, clock, pending })
    }
}

/// What remains to be reported when a resync has ended.
pub(crate) struct Closing {
    sheet: Sheet,
    receiver: Arc<Receiver>,
    clock: Instant,
    /// Rows whose end Port has not accepted.
    pending: Vec<Row>,
}

impl Closing {
    /// Sends the last report: the end of the whole, and all ends that Port has not accepted.
    pub(crate) async fn conclude(self, status: ResyncStatus) {
        let state = state_of(status);
        let metrics = self.pending.into_iter().map(|mut row| {
            if !row.state.is_end() {
                // What has not ended cannot have completed.
                row.state = if state == SyncState::Aborted { state } else { SyncState::Failed };
            }
            self.sheet.metric(&row)
        });
        let mut whole = Row::pseudo(RUNTIME, Figures::default());
        whole.end(state, self.clock.elapsed(), state == SyncState::Completed);
        let metrics = metrics.chain([self.sheet.metric(&whole)]).collect();
        let patience = if state == SyncState::Aborted { LAST_REPORT_OF_A_STOPPED } else { LAST_REPORT };
        if let Err(error) = self.receiver.send(&Message { metrics, way: Way::Post }, patience).await {
            tracing::warn!(
                %error,
                "Port rejected the resync's last metric, and may show the resync as running"
            );
        }
    }
}

fn state_of(status: ResyncStatus) -> SyncState {
    match status {
        ResyncStatus::Completed => SyncState::Completed,
        ResyncStatus::Failed => SyncState::Failed,
        ResyncStatus::Aborted => SyncState::Aborted,
    }
}

struct MetricsReport {
    sheet: Sheet,
    receiver: Arc<Receiver>,
    clock: Instant,
    /// One for each resource mapping.
    rows: Vec<Row>,
    /// The start and the state of the deletion, once it has started.
    deletion: Option<(Instant, Row)>,
    messages: UnboundedSender<Message>,
    /// Rows whose end Port has accepted; the deletion comes after the resource mappings.
    reported: Arc<Mutex<BTreeSet<usize>>>,
    task: JoinHandle<()>,
}

impl MetricsReport {
    fn begin(receiver: Receiver, config: &PortConfig, entries: &[ReportedMapping]) -> Self {
        let receiver = Arc::new(receiver);
        let (messages, queue) = unbounded_channel();
        let reported = Arc::default();
        let report = Self {
            sheet: Sheet::new(config, receiver.resync),
            clock: Instant::now(),
            rows: entries.iter().enumerate().map(|(index, entry)| Row::of(index, entry)).collect(),
            deletion: None,
            messages,
            task: tokio::spawn(send_all(Arc::clone(&receiver), queue, Arc::clone(&reported))),
            receiver,
            reported,
        };
        report.post(&report.rows);
        let whole = Row { state: SyncState::Syncing, ..Row::pseudo(RUNTIME, Figures::default()) };
        report.post(&[whole]);
        report
    }

    fn milestone(&mut self, milestone: &Milestone, processing: Processing) {
        match milestone {
            Milestone::Planned => {}
            Milestone::ResourceStarted { resource } => {
                if let Some(row) = self.rows.get_mut(*resource) {
                    row.state = SyncState::Syncing;
                    self.put(*resource);
                }
            }
            Milestone::ResourceEnded { resource, result } => {
                let state = state_of(result.status(processing));
                if let Some(row) = self.rows.get_mut(*resource) {
                    row.figures = Figures::of_resource(result);
                    row.end(state, result.duration, state == SyncState::Completed);
                    // The last report contains all that were stopped.
                    if state != SyncState::Aborted {
                        self.put(*resource);
                    }
                }
            }
            Milestone::DeletionStarted => {
                let figures = Figures::of_deletion(0, 0);
                let row = Row { state: SyncState::Syncing, ..Row::pseudo(RECONCILIATION, figures) };
                self.post(std::slice::from_ref(&row));
                self.deletion = Some((Instant::now(), row));
            }
            Milestone::DeletionEnded { deleted, failed, held_back } => {
                if let Some((since, row)) = &mut self.deletion {
                    let state = if *failed > 0 { SyncState::Failed } else { SyncState::Completed };
                    row.figures = Figures::of_deletion(*deleted, *failed);
                    // Reported at the end of the resync, which may have been stopped meanwhile.
                    row.end(state, since.elapsed(), state == SyncState::Completed && !held_back);
                }
            }
        }
    }

    fn end_deletion(&mut self, status: ResyncStatus) {
        let Some((since, row)) = &mut self.deletion else { return };
        if status == ResyncStatus::Aborted {
            row.end(SyncState::Aborted, since.elapsed(), false);
        } else if row.state.is_end() {
            self.put(self.rows.len());
        }
    }

    /// Sends several rows, as a list.
    fn post(&self, rows: &[Row]) {
        let metrics = rows.iter().map(|row| self.sheet.metric(row)).collect();
        self.send(Message { metrics, way: Way::Post });
    }

    /// Sends one row.
    fn put(&self, position: usize) {
        let deletion = self.deletion.as_ref().map(|(_, row)| row);
        let Some(row) = self.rows.get(position).or(deletion) else { return };
        let ends = row.state.is_end().then_some(position);
        self.send(Message { metrics: vec![self.sheet.metric(row)], way: Way::Put { ends } });
    }

    fn send(&self, message: Message) {
        // The task ends only after its sender, unless it panicked.
        _ = self.messages.send(message);
    }
}

/// Sends the messages in order until the channel closes.
async fn send_all(
    receiver: Arc<Receiver>,
    mut messages: UnboundedReceiver<Message>,
    reported: Arc<Mutex<BTreeSet<usize>>>,
) {
    let mut failing = false;
    while let Some(message) = messages.recv().await {
        match (receiver.send(&message, PATIENCE).await, message.way) {
            (Ok(()), Way::Put { ends: Some(row) }) => {
                reported.lock().unwrap_or_else(PoisonError::into_inner).insert(row);
            }
            (Ok(()), _) => {}
            // Logged once, not for each kind: an endpoint that is down stays down for a while.
            (Err(error), _) if !failing => {
                failing = true;
                tracing::warn!(%error, "Port rejected the resync's metrics");
            }
            (Err(error), _) => tracing::debug!(%error, "Port still rejects the resync's metrics"),
        }
    }
}

/// The values that all metrics of a resync share.
struct Sheet {
    integration_type: String,
    integration_identifier: String,
    integration_version: String,
    resync: Uuid,
}

impl Sheet {
    fn new(config: &PortConfig, resync: Uuid) -> Self {
        Self {
            integration_type: config.integration_type.clone(),
            integration_identifier: config.integration_identifier.clone(),
            integration_version: config.integration_version.clone(),
            resync,
        }
    }

    fn metric(&self, row: &Row) -> Metric {
        Metric {
            integration_type: self.integration_type.clone(),
            installation_type: INSTALLATION_TYPE,
            execution_mode: EXECUTION_MODE,
            integration_identifier: self.integration_identifier.clone(),
            integration_version: self.integration_version.clone(),
            ocean_version: OCEAN_CORE_VERSION,
            kind_identifier: row.identifier.clone(),
            kind: row.kind.clone(),
            kind_index: row.index,
            event_id: self.resync.to_string(),
            sync_state: row.state,
            blueprint: row.blueprint.clone(),
            metrics: row.figures.clone(),
        }
    }
}

/// The metric of one kind.
#[derive(Debug, Clone)]
struct Row {
    identifier: String,
    kind: String,
    index: usize,
    blueprint: Option<Value>,
    state: SyncState,
    figures: Figures,
}

impl Row {
    fn of(index: usize, entry: &ReportedMapping) -> Self {
        Self {
            identifier: format!("{}-{index}", entry.kind),
            kind: entry.kind.clone(),
            index,
            blueprint: Some(entry.blueprint.clone()),
            state: SyncState::Pending,
            figures: Figures::of_resource(&ResourceResult::default()),
        }
    }

    fn pseudo(kind: &str, figures: Figures) -> Self {
        Self {
            identifier: kind.to_owned(),
            kind: kind.to_owned(),
            index: 0,
            blueprint: None,
            state: SyncState::Pending,
            figures,
        }
    }

    fn end(&mut self, state: SyncState, duration: Duration, success: bool) {
        self.state = state;
        self.figures.end(duration.as_secs_f64(), success);
    }
}

/// Some metrics and how to send them.
struct Message {
    metrics: Vec<Metric>,
    way: Way,
}

enum Way {
    /// `POST`, as a list.
    Post,
    /// `PUT`, one, with its row's position if it is the row's end.
    Put { ends: Option<usize> },
}

/// The receivers of the metrics.
pub(crate) struct Receiver {
    pub(crate) client: Arc<PortClient>,
    /// `metricAttributes.ingestUrl`
    pub(crate) ingest: Option<Url>,
    pub(crate) webhook: Option<Url>,
    pub(crate) resync: Uuid,
}

impl Receiver {
    fn exists(&self) -> bool {
        self.ingest.is_some() || self.webhook.is_some()
    }

    /// Sends to Port, and to the receiver of copies. Only Port's result matters.
    async fn send(&self, message: &Message, patience: Duration) -> Result<(), PortError> {
        let port = async {
            let Some(base) = &self.ingest else { return Ok(()) };
            if let (Way::Put { .. }, [metric]) = (&message.way, &message.metrics[..]) {
                return self.client.report_metric(base, self.resync, metric, patience).await;
            }
            let length = |metric| serde_json::to_vec(metric).map_or(0, |json| json.len());
            let lengths: Vec<usize> = message.metrics.iter().map(length).collect();
            let mut outcome = Ok(());
            for range in batches(&lengths, usize::MAX, BODY_LIMIT) {
                outcome = outcome.and(self.post(base, message, range, patience).await);
            }
            outcome
        };
        let copies = async {
            let Some(webhook) = &self.webhook else { return };
            for metric in &message.metrics {
                if let Err(error) = self.client.copy_metric(webhook, metric, patience).await {
                    tracing::debug!(%error, "the webhook rejected a metric");
                }
            }
        };
        // All copies together have the same timeout as Port.
        let copies = tokio::time::timeout(patience, copies);
        futures::join!(port, copies).0
    }

    /// Sends some metrics of a list in one request, or in halves if that is too large for Port.
    fn post<'a>(
        &'a self,
        base: &'a Url,
        message: &'a Message,
        range: Range<usize>,
        patience: Duration,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        async move {
            let metrics = &message.metrics[range.clone()];
            match self.client.report_metrics(base, metrics, patience).await {
                Err(error) if error.status() == Some(413) && range.len() > 1 => {
                    let middle = range.start + range.len() / 2;
                    let first = self.post(base, message, range.start..middle, patience).await;
                    first.and(self.post(base, message, middle..range.end, patience).await)
                }
                outcome => outcome,
            }
        }
        .boxed()
    }
}
