//! Ships the log to Port, which shows it on the integration's page.
//!
//! Records wait in a bounded buffer and are sent in batches: when there are enough, after a while, after an
//! error, and at the end. Records inside a span, or with a field, named `local_only` are not shipped. This
//! way failures of the shipping itself stay local.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use berth_port::service::{LogLevel, LogRecord, PortService};
use serde_json::{Map, Value, json};
use tokio::{sync::Notify, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{
    Event, Instrument, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::filter_fn,
    layer::Context,
    registry::{LookupSpan, Scope},
};
use uuid::Uuid;

/// Records per batch, and the number that triggers one.
const BATCH: usize = 100;
/// How long a record waits.
const INTERVAL: Duration = Duration::from_secs(5);
/// The most records that wait. The oldest are dropped first.
const BUFFER: usize = 5_000;
/// The most bytes of waiting records, by their texts.
const BUFFER_BYTES: usize = 16 << 20;
/// How long the end of the process waits for the last records.
const LAST_WORD: Duration = Duration::from_secs(3);
/// Marks records that are not shipped.
const LOCAL_ONLY: &str = "local_only";

/// The buffer of log records for Port. Cheap to clone.
#[derive(Clone)]
pub struct LogShipping(Arc<Shared>);

struct Shared {
    buffer: Mutex<Buffer>,
    /// Wakes the task to ship at once.
    wake: Notify,
    port: RwLock<Option<Arc<PortService>>>,
    task: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
    /// Fields that are added to every record.
    process: Map<String, Value>,
}

#[derive(Default)]
struct Buffer {
    /// Whether records are kept at all.
    open: bool,
    records: VecDeque<LogRecord>,
    /// The bytes of the records.
    bytes: usize,
    /// Records that were dropped, or that Port rejected, since the last report to Port.
    lost: u64,
}

impl Default for LogShipping {
    fn default() -> Self {
        Self::new()
    }
}

impl LogShipping {
    /// Creates an empty buffer, which collects records from now on, even if Port is not reachable.
    pub fn new() -> Self {
        let hostname = gethostname::gethostname().to_string_lossy().into_owned();
        let process = [("hostname", json!(hostname)), ("instance", json!(Uuid::new_v4().to_string()))];
        Self(Arc::new(Shared {
            buffer: Mutex::new(Buffer { open: true, ..Buffer::default() }),
            wake: Notify::new(),
            port: RwLock::default(),
            task: Mutex::default(),
            process: process.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        }))
    }

    /// Returns the layer that fills it.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        LogShippingLayer(Arc::clone(&self.0)).with_filter(filter_fn(may_be_shipped))
    }

    /// Ships to this Port from now on, even if it was closed or shipped to another one.
    pub fn start(&self, port: Arc<PortService>) {
        *self.0.port.write().unwrap_or_else(PoisonError::into_inner) = Some(port);
        self.0.buffer().open = true;
        if let Some((_, task)) = &*self.0.task.lock().unwrap_or_else(PoisonError::into_inner)
            && !task.is_finished()
        {
            return;
        }
        let stop = CancellationToken::new();
        let shared = Arc::clone(&self.0);
        // Log lines of the shipping itself are local.
        let span = tracing::info_span!("shipping", local_only = true);
        let task = tokio::spawn(shared.ship_until(stop.clone()).instrument(span));
        *self.0.task.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, task));
    }

    /// Stops collecting and shipping.
    pub fn close(&self) {
        self.0.close();
    }

    /// Ships the remaining records, within a time limit.
    pub async fn finish(&self) {
        let task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((stop, task)) = task {
            stop.cancel();
            let abort = task.abort_handle();
            if timeout(LAST_WORD, task).await.is_err() {
                abort.abort();
                tracing::debug!(local_only = true, "the last log records were not shipped in time");
            }
        }
        self.0.close();
    }
}

impl fmt::Debug for LogShipping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogShipping").finish_non_exhaustive()
    }
}

impl Shared {
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Also ends the shipping task.
    fn close(&self) {
        *self.port.write().unwrap_or_else(PoisonError::into_inner) = None;
        *self.buffer() = Buffer::default();
    }

    fn port(&self) -> Option<Arc<PortService>> {
        self.port.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn push(&self, record: LogRecord) {
        let urgent = record.level >= LogLevel::Error;
        let waiting = self.buffer().push(record);
        if urgent || waiting >= BATCH {
            self.wake.notify_one();
        }
    }

    async fn ship_until(self: Arc<Self>, stop: CancellationToken) {
        let mut failing = false;
        while !stop.is_cancelled() {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
                () = stop.cancelled() => {}
            }
            let Some(port) = self.port() else { return };
            match port.takes_logs() {
                // Not open yet: the records wait.
                None => continue,
                Some(true) => {}
                Some(false) => return self.close(),
            }
            loop {
                let Some(batch) = self.buffer().batch() else { break };
                let count = batch.len() as u64;
                match port.ship_logs(batch).await {
                    Ok(()) => failing = false,
                    Err(problem) => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(%problem, "Port rejected log records");
                        }
                        self.buffer().lost += count;
                        // The next records wait for the interval, so that they are not lost at once, too.
                        break;
                    }
                }
            }
        }
    }
}

impl Buffer {
    /// Keeps a record and returns how many wait.
    fn push(&mut self, record: LogRecord) -> usize {
        if !self.open {
            return 0;
        }
        self.bytes += size(&record);
        self.records.push_back(record);
        while self.records.len() > BUFFER || self.bytes > BUFFER_BYTES {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(size(&oldest));
            self.lost += 1;
        }
        self.records.len()
    }

    /// Returns the next records to ship, if there are any; the first one says how many were lost.
    fn batch(&mut self) -> Option<Vec<LogRecord>> {
        if self.records.is_empty() {
            return None;
        }
        let lost = (self.lost > 0).then(|| LogRecord {
            message: format!("{} log records were lost on their way to Port", self.lost),
            level: LogLevel::Warning,
            time: self.records.front().map_or_else(SystemTime::now, |record| record.time),
            extra: Map::new(),
        });
        self.lost = 0;
        let room = BATCH - usize::from(lost.is_some());
        let next: Vec<LogRecord> = self.records.drain(..self.records.len().min(room)).collect();
        self.bytes = self.bytes.saturating_sub(next.iter().map(size).sum());
        Some(lost.into_iter().chain(next).collect())
    }
}

/// Returns the approximate size of a record in bytes.
fn size(record: &LogRecord) -> usize {
    let texts = record.extra.iter().map(|(name, value)| name.len() + value.as_str().map_or(8, str::len));
    record.message.len() + texts.sum::<usize>()
}

/// Returns whether a record may be shipped: Berth's own from INFO up, those of libraries from WARN up.
fn may_be_shipped(event: &Metadata<'_>) -> bool {
    let own = event.target().starts_with("berth");
    *event.level() <= if own { Level::INFO } else { Level::WARN }
}

struct LogShippingLayer(Arc<Shared>);

/// The fields of a span or an event.
#[derive(Default)]
struct Fields {
    values: Map<String, Value>,
    message: String,
    local_only: bool,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        // Usually milliseconds, which always fit.
        let value = u64::try_from(value).map_or_else(|_| value.to_string().into(), Value::from);
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, berth_embed::error_chain(value).into());
    }
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (LOCAL_ONLY, value) => self.local_only = value == json!(true),
            (name, value) => _ = self.values.insert(name.to_owned(), value),
        }
    }
}

impl<S> Layer<S> for LogShippingLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let mut extra = self.0.process.clone();
        // Reads the resync now: the record may be shipped after it has ended.
        if let Some(resync) = self.0.port().and_then(|port| port.running()) {
            extra.insert("event_id".into(), resync.to_string().into());
            extra.insert("event_kind".into(), "resync".into());
        }
        if own.local_only || !add_spans(&mut extra, context.event_scope(event)) {
            return;
        }
        extra.extend(own.values);
        self.0.push(LogRecord {
            message: own.message,
            level: level(*event.metadata().level()),
            time: SystemTime::now(),
            extra,
        });
    }
}

/// Adds the fields of the surrounding spans, the inner ones last. Returns false if one of them is local.
fn add_spans<'a, S>(extra: &mut Map<String, Value>, scope: Option<Scope<'a, S>>) -> bool
where
    S: Subscriber + LookupSpan<'a>,
{
    for span in scope.into_iter().flat_map(Scope::from_root) {
        let extensions = span.extensions();
        let Some(fields) = extensions.get::<Fields>() else { continue };
        if fields.local_only {
            return false;
        }
        for (name, value) in &fields.values {
            // The contract's name for it.
            let name = if name == "kind" { "resource_kind" } else { name };
            extra.insert(name.to_owned(), value.clone());
        }
    }
    true
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warning,
        Level::INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::{Registry, prelude::*};

    use super::*;

    /// Returns the records that a closure logs.
    fn kept(log: impl FnOnce()) -> Vec<LogRecord> {
        let shipping = LogShipping::new();
        let subscriber = Registry::default().with(shipping.layer());
        tracing::subscriber::with_default(subscriber, log);
        let mut records: Vec<LogRecord> = shipping.0.buffer().records.drain(..).collect();
        for record in &mut records {
            for name in ["hostname", "instance"] {
                let value = record.extra.remove(name).unwrap();
                assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{name}: {value}");
            }
        }
        records
    }

    #[test]
    fn a_record_knows_its_spans_and_its_fields() {
        let records = kept(|| {
            let unit =
                tracing::info_span!("unit", account = 1, region = tracing::field::Empty, kind = "A::B::C");
            unit.record("region", "eu-west-1");
            let _unit = unit.entered();
            tracing::warn!(problem = "denied", count = 3, good = false, share = 0.5, "unit skipped");
            tracing::info!(elapsed_ms = Duration::from_millis(9).as_millis(), "{} read", 7);
            tracing::debug!("not shipped");
        });
        assert_eq!(
            records.iter().map(|record| (record.level, record.message.as_str())).collect::<Vec<_>>(),
            [(LogLevel::Warning, "unit skipped"), (LogLevel::Info, "7 read")]
        );
        assert_eq!(
            Value::Object(records[1].extra.clone()),
            json!({"account": 1, "region": "eu-west-1", "resource_kind": "A::B::C", "elapsed_ms": 9})
        );
        assert_eq!(records[0].extra["problem"], "denied");
        assert_eq!(records[0].extra["count"], 3);
        assert_eq!(records[0].extra["share"], 0.5);
    }

    #[test]
    fn what_is_local_is_not_kept() {
        let records = kept(|| {
            tracing::error!(local_only = true, "a field");
            let _outer = tracing::info_span!("shipping", local_only = true).entered();
            let _inner = tracing::info_span!("inner").entered();
            tracing::error!("a span around");
        });
        assert_eq!(records, []);
    }

    #[test]
    fn libraries_are_kept_from_warnings_up() {
        let records = kept(|| {
            tracing::info!(target: "hyper", "connected");
            tracing::warn!(target: "hyper", "broken");
        });
        assert_eq!(records.len(), 1, "{records:?}");
    }

    fn numbered(number: usize) -> LogRecord {
        let message = number.to_string();
        LogRecord { message, level: LogLevel::Info, time: SystemTime::UNIX_EPOCH, extra: Map::new() }
    }

    #[test]
    fn the_oldest_records_give_way_and_are_reported_by_number() {
        let mut buffer = Buffer { open: true, ..Buffer::default() };
        assert_eq!(buffer.batch(), None);
        for number in 0..BUFFER + 3 {
            buffer.push(numbered(number));
        }
        let batch = buffer.batch().unwrap();
        assert_eq!(batch.len(), BATCH);
        assert_eq!(batch[0].message, "3 log records were lost on their way to Port");
        assert_eq!(batch[1], numbered(3));
        let batch = buffer.batch().unwrap();
        assert_eq!((batch.len(), &batch[0]), (BATCH, &numbered(3 + BATCH - 1)));

        let mut large = Buffer { open: true, ..Buffer::default() };
        for number in 0..40 {
            large.push(LogRecord { message: "x".repeat(1 << 20), ..numbered(number) });
        }
        assert_eq!((large.records.len(), large.lost, large.bytes), (16, 24, BUFFER_BYTES));
        large.batch();
        assert_eq!((large.records.len(), large.bytes), (0, 0));

        let mut closed = Buffer::default();
        assert_eq!(closed.push(numbered(1)), 0);
        assert_eq!(closed.batch(), None);
    }
}
