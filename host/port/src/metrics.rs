//! How a resync goes, as Port shows it: a metric for each entry of `resources[]`, for the deletion of
//! what is gone (`__reconciliation__`) and for the resync as a whole (`__runtime__`).
//!
//! Metrics are told by a task of their own, in order and beside the resync, which they never hold up
//! and never fail. What Port has not taken by the end goes along with the last metric, so that
//! nothing is shown as running for ever.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use berth_core::{AppConfig, Milestone, Processing, ResourceResult, ResyncStatus};
use futures::{FutureExt, future::BoxFuture};
use reqwest::Method;
use serde_json::Value;
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};
use url::Url;
use uuid::Uuid;

use crate::{
    OCEAN_CORE_VERSION, PortCatalog, PortConfig,
    client::{Call, Client},
    error::PortError,
    ingest,
    integration::INSTALLATION_TYPE,
    upsert::{BODY_LIMIT, batches},
    wire::reporting::{Figures, Metric, MetricList, OneMetric, SyncState},
};

/// The pseudo-kind of the resync as a whole.
const RUNTIME: &str = "__runtime__";
/// The pseudo-kind of the deletion.
const RECONCILIATION: &str = "__reconciliation__";
/// How the peer calls running in one process; it has no other way any more.
const EXECUTION_MODE: &str = "single_process";

/// How long one metric may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of a resync waits for metrics that are on their way.
const SETTLE: Duration = Duration::from_secs(3);
/// How long the last metric may take.
const LAST_WORD: Duration = Duration::from_secs(5);
/// The same when the resync was stopped: whoever stopped it waits for the process to end.
const LAST_WORD_OF_A_STOPPED: Duration = Duration::from_secs(2);

/// An entry of `resources[]`, as far as Port is told of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) kind: String,
    /// The mapping's expression, quotes included.
    blueprint: Value,
}

/// The entries of an app-config.
pub(crate) fn entries(config: &AppConfig) -> Arc<[Entry]> {
    let entry = |resource: &berth_core::ResourceConfig| Entry {
        kind: resource.kind.to_string(),
        blueprint: resource.port.entity.mappings.blueprint.clone(),
    };
    config.resources.iter().map(entry).collect()
}

/// The metrics of the resync that runs, if they are told to anybody.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Option<Telling>>);

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Option<Telling>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A resync begins: every kind is pending, and the whole runs.
pub(crate) fn begin(port: &PortCatalog, resync: Uuid, entries: &[Entry]) {
    let addressee = Addressee {
        client: Arc::clone(&port.client),
        ingest: port.ingest.metrics(),
        webhook: port.config.metrics_webhook.clone(),
        resync,
    };
    let telling = addressee.exists().then(|| Telling::begin(addressee, &port.config, entries));
    *port.metrics.lock() = telling;
}

/// Takes note of a step.
pub(crate) fn milestone(port: &PortCatalog, milestone: &Milestone) {
    let processing = if port.lifecycle().is_some() { Processing::Documents } else { Processing::Entities };
    if let Some(telling) = port.metrics.lock().as_mut() {
        telling.milestone(milestone, processing);
    }
}

/// A resync has ended like this: waits a little for what is on its way, and keeps the rest for the
/// last word.
pub(crate) async fn settle(port: &PortCatalog, status: ResyncStatus) -> Option<Closing> {
    let mut telling = port.metrics.lock().take()?;
    telling.end_deletion(status);
    let Telling { sheet, addressee, clock, rows, deletion, messages, told, mut task } = telling;
    // Without a sender the task ends when everything is told.
    drop(messages);
    let patience = if status == ResyncStatus::Aborted { Duration::ZERO } else { SETTLE };
    if tokio::time::timeout(patience, &mut task).await.is_err() {
        task.abort();
    }
    let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let rows = rows.into_iter().chain(deletion.map(|(_, row)| row)).enumerate();
    let untold = rows.filter(|(position, _)| !told.contains(position)).map(|(_, row)| row).collect();
    Some(Closing { sheet, addressee, clock, untold })
}

/// What is still to be told when a resync has ended.
pub(crate) struct Closing {
    sheet: Sheet,
    addressee: Arc<Addressee>,
    clock: Instant,
    /// Rows whose end Port has not taken.
    untold: Vec<Row>,
}

impl Closing {
    /// The last word: the end of the whole, and with it all ends that Port has not taken.
    pub(crate) async fn conclude(self, status: ResyncStatus) {
        let state = state_of(status);
        let metrics = self.untold.into_iter().map(|mut row| {
            if !row.state.is_end() {
                // What has not ended cannot have completed.
                row.state = if state == SyncState::Aborted { state } else { SyncState::Failed };
            }
            self.sheet.metric(&row)
        });
        let mut whole = Row::pseudo(RUNTIME, Figures::default());
        whole.end(state, self.clock.elapsed(), state == SyncState::Completed);
        let metrics = metrics.chain([self.sheet.metric(&whole)]).collect();
        let patience = if state == SyncState::Aborted { LAST_WORD_OF_A_STOPPED } else { LAST_WORD };
        if let Err(error) = self.addressee.send(&Message { metrics, way: Way::Post }, patience).await {
            tracing::warn!(%error, "Port does not take the resync's last metric, and may show it as running");
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

struct Telling {
    sheet: Sheet,
    addressee: Arc<Addressee>,
    clock: Instant,
    /// One for each entry of `resources[]`.
    rows: Vec<Row>,
    /// Since when and how the deletion goes, once it has begun.
    deletion: Option<(Instant, Row)>,
    messages: UnboundedSender<Message>,
    /// Rows whose end Port has taken; the deletion stands behind the entries.
    told: Arc<Mutex<BTreeSet<usize>>>,
    task: JoinHandle<()>,
}

impl Telling {
    fn begin(addressee: Addressee, config: &PortConfig, entries: &[Entry]) -> Self {
        let addressee = Arc::new(addressee);
        let (messages, receiver) = unbounded_channel();
        let told = Arc::default();
        let telling = Self {
            sheet: Sheet::new(config, addressee.resync),
            clock: Instant::now(),
            rows: entries.iter().enumerate().map(|(index, entry)| Row::of(index, entry)).collect(),
            deletion: None,
            messages,
            task: tokio::spawn(tell(Arc::clone(&addressee), receiver, Arc::clone(&told))),
            addressee,
            told,
        };
        telling.post(&telling.rows);
        let whole = Row { state: SyncState::Syncing, ..Row::pseudo(RUNTIME, Figures::default()) };
        telling.post(&[whole]);
        telling
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
                    // All that were stopped are told at once, with the last word.
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
                    // Told at the end of the resync, which may have been stopped meanwhile.
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

    /// Tells how several rows are, as a list.
    fn post(&self, rows: &[Row]) {
        let metrics = rows.iter().map(|row| self.sheet.metric(row)).collect();
        self.send(Message { metrics, way: Way::Post });
    }

    /// Tells how one row is.
    fn put(&self, position: usize) {
        let deletion = self.deletion.as_ref().map(|(_, row)| row);
        let Some(row) = self.rows.get(position).or(deletion) else { return };
        let ends = row.state.is_end().then_some(position);
        self.send(Message { metrics: vec![self.sheet.metric(row)], way: Way::Put { ends } });
    }

    fn send(&self, message: Message) {
        // The task ends after its sender only, unless it panicked.
        _ = self.messages.send(message);
    }
}

/// Tells the messages in order until there will be no more.
async fn tell(
    addressee: Arc<Addressee>,
    mut messages: UnboundedReceiver<Message>,
    told: Arc<Mutex<BTreeSet<usize>>>,
) {
    let mut failing = false;
    while let Some(message) = messages.recv().await {
        match (addressee.send(&message, PATIENCE).await, message.way) {
            (Ok(()), Way::Put { ends: Some(row) }) => {
                told.lock().unwrap_or_else(PoisonError::into_inner).insert(row);
            }
            (Ok(()), _) => {}
            // Once, not for each kind: an endpoint that is down is down for a while.
            (Err(error), _) if !failing => {
                failing = true;
                tracing::warn!(%error, "Port does not take the resync's metrics");
            }
            (Err(error), _) => tracing::debug!(%error, "Port still does not take the resync's metrics"),
        }
    }
}

/// What is the same in every metric of a resync.
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

/// What is told of one kind.
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
    fn of(index: usize, entry: &Entry) -> Self {
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

/// Some metrics and the way they go.
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

/// Who is told.
struct Addressee {
    client: Arc<Client>,
    /// `metricAttributes.ingestUrl`
    ingest: Option<Url>,
    webhook: Option<Url>,
    resync: Uuid,
}

impl Addressee {
    fn exists(&self) -> bool {
        self.ingest.is_some() || self.webhook.is_some()
    }

    /// Tells Port, and whoever wants a copy. Only what Port says matters.
    async fn send(&self, message: &Message, patience: Duration) -> Result<(), PortError> {
        let port = async {
            let Some(base) = &self.ingest else { return Ok(()) };
            let Way::Post = message.way else {
                return self.client.tell(&self.call(base, message, &message.metrics)?, patience).await;
            };
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
                let call = Call::new("send a metric to the webhook", Method::POST, webhook.clone())
                    .unauthorized()
                    .json(metric);
                let told = match call {
                    Ok(call) => self.client.tell(&call, patience).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = told {
                    tracing::debug!(%error, "the webhook does not take a metric");
                }
            }
        };
        // All copies together take no longer than Port may.
        let copies = tokio::time::timeout(patience, copies);
        futures::join!(port, copies).0
    }

    /// Sends some metrics of a list in one request, or in halves where that is too large for Port.
    fn post<'a>(
        &'a self,
        base: &'a Url,
        message: &'a Message,
        range: Range<usize>,
        patience: Duration,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        async move {
            let call = self.call(base, message, &message.metrics[range.clone()])?;
            match self.client.tell(&call, patience).await {
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

    fn call(&self, base: &Url, message: &Message, metrics: &[Metric]) -> Result<Call, PortError> {
        match (&message.way, metrics) {
            (Way::Put { .. }, [metric]) => {
                let resync = self.resync.to_string();
                let parts = ["syncMetrics", "resync", &resync, "kind", &metric.kind_identifier];
                Call::new("report a metric", Method::PUT, ingest::below(base, &parts)?)
                    .subject(&metric.kind_identifier)
                    .json(&OneMetric { sync_kind_metrics: metric })
            }
            (_, metrics) => Call::new("report metrics", Method::POST, ingest::below(base, &["syncMetrics"])?)
                .json(&MetricList { sync_kinds_metrics: metrics }),
        }
    }
}
