//! Raw data on its way to Port: resource documents, gathered by entry of `resources[]` and written in
//! few requests.
//!
//! # Invariants
//! - All that is gathered or being written takes bounded memory: who brings more waits, or writes what
//!   is there.
//! - Nothing is lost in silence: documents that Port did not take fail their entry, whoever wrote them.

pub(crate) mod event;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use berth_core::{Document, DocumentBatch, DocumentsError, Kind, Problem, ResourceConfig};
use futures::{FutureExt, future::BoxFuture};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use uuid::Uuid;

use crate::{
    PortCatalog, PortConfig, RawDataConfig,
    client::Call,
    error::PortError,
    iso,
    lifecycle::Lifecycle,
    wire::raw::{Nothing, RawBatch, RawData, RawMetadata, WrittenBatch, WrittenData},
};

/// The raw data of one resync.
pub(crate) struct Raw {
    resync: Uuid,
    /// Port's address for raw data.
    address: Url,
    limits: RawDataConfig,
    state: Mutex<State>,
    /// Something that was being written is not any more.
    freed: Notify,
    /// Writes under way at once.
    slots: Semaphore,
}

#[derive(Default)]
struct State {
    /// By the entry's position.
    buffers: BTreeMap<usize, Buffer>,
    /// Bytes that are gathered or being written.
    held: usize,
    /// How many buffers of an entry are being written.
    flying: BTreeMap<usize, usize>,
    /// Entries of which Port did not take everything.
    lost: BTreeMap<usize, DocumentsError>,
}

/// What is gathered of one entry.
struct Buffer {
    kind: Kind,
    batches: Vec<Box<RawValue>>,
    bytes: usize,
    since: Instant,
}

/// A buffer that is being written. When it is dropped before it is done, it is lost.
struct Flight<'r> {
    raw: &'r Raw,
    resource: usize,
    buffer: Buffer,
    outcome: Result<(), DocumentsError>,
}

impl Raw {
    pub(crate) fn new(resync: Uuid, address: Url, config: &PortConfig) -> Self {
        Self {
            resync,
            address,
            limits: config.raw_data,
            state: Mutex::default(),
            freed: Notify::new(),
            slots: Semaphore::new(config.concurrency),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a buffer in order to write it.
    fn take(&self, state: &mut State, resource: usize) -> Option<Flight<'_>> {
        let buffer = state.buffers.remove(&resource)?;
        *state.flying.entry(resource).or_default() += 1;
        let stopped = Problem::new("a write of raw data was stopped before its end");
        Some(Flight { raw: self, resource, buffer, outcome: Err(DocumentsError::Lost(stopped)) })
    }

    /// Takes the buffer that gives the most room.
    fn take_largest(&self, state: &mut State) -> Option<Flight<'_>> {
        let (resource, _) = state.buffers.iter().max_by_key(|(_, buffer)| buffer.bytes)?;
        let resource = *resource;
        self.take(state, resource)
    }

    /// Adds a batch, and takes its buffer if that is due.
    fn push(&self, state: &mut State, batch: &DocumentBatch, text: Box<RawValue>) -> Option<Flight<'_>> {
        let (resource, bytes) = (batch.unit.resource, text.get().len());
        state.held += bytes;
        let buffer = state.buffers.entry(resource).or_insert_with(|| Buffer {
            kind: batch.unit.kind.clone(),
            batches: Vec::new(),
            bytes: 0,
            since: Instant::now(),
        });
        buffer.batches.push(text);
        buffer.bytes += bytes;
        let due = buffer.batches.len() >= self.limits.flush_batches
            || buffer.since.elapsed() >= self.limits.flush_interval;
        if due { self.take(state, resource) } else { None }
    }
}

impl State {
    fn lost(&self, resource: usize) -> Result<(), DocumentsError> {
        self.lost.get(&resource).map_or(Ok(()), |error| Err(error.clone()))
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut state = self.raw.state();
        state.held -= self.buffer.bytes;
        if let Some(count) = state.flying.get_mut(&self.resource) {
            *count -= 1;
        }
        if let Err(error) = &self.outcome {
            state.lost.entry(self.resource).or_insert_with(|| error.clone());
        }
        drop(state);
        self.raw.freed.notify_waiters();
    }
}

/// Takes documents. Waits while there is no room.
pub(crate) async fn add(port: &PortCatalog, batch: DocumentBatch) -> Result<(), DocumentsError> {
    let Some(raw) = port.raw() else { return Ok(()) };
    let resource = batch.unit.resource;
    if let Some(problem) = port.lifecycle().and_then(|lifecycle| lifecycle.refused()) {
        return Err(DocumentsError::Lost(problem));
    }
    let entry = entry(port, &batch.config, resource, &batch.documents, "upsert");
    let mut text = Some(entry.map_err(DocumentsError::Lost)?);
    while let Some(entry) = text.take() {
        // Before the look at the state, so that nothing which happens after it is missed.
        let freed = raw.freed.notified();
        let flight = {
            let mut state = raw.state();
            state.lost(resource)?;
            if state.held == 0 || state.held + entry.get().len() <= raw.limits.memory_bytes {
                raw.push(&mut state, &batch, entry)
            } else {
                text = Some(entry);
                raw.take_largest(&mut state)
            }
        };
        match flight {
            Some(flight) => write(port, flight).await,
            // All that is held is being written.
            None if text.is_some() => freed.await,
            None => {}
        }
    }
    raw.state().lost(resource)
}

/// Writes what is left of an entry, and waits for what others write of it.
pub(crate) async fn end(port: &PortCatalog, resource: usize) -> Result<(), DocumentsError> {
    let Some(raw) = port.raw() else { return Ok(()) };
    loop {
        let freed = raw.freed.notified();
        let (flight, flying) = {
            let mut state = raw.state();
            let flying = state.flying.get(&resource).is_some_and(|count| *count > 0);
            (raw.take(&mut state, resource), flying)
        };
        match flight {
            Some(flight) => write(port, flight).await,
            None if flying => freed.await,
            None => return raw.state().lost(resource),
        }
    }
}

/// One batch as Port takes it.
fn entry(
    port: &PortCatalog,
    config: &ResourceConfig,
    resource: usize,
    documents: &[Document],
    operation: &'static str,
) -> Result<Box<RawValue>, Problem> {
    let selector = &config.selector;
    let environment: BTreeMap<&str, Option<&str>> = selector
        .export_env_variables()
        .map(|name| (name, port.config.exported_variables.get(name).map(SecretString::expose_secret)))
        .collect();
    let query = selector.query.trim();
    let entry = RawBatch {
        request: Nothing {},
        response: Nothing {},
        items: documents,
        metadata: RawMetadata {
            operation,
            extraction_timestamp: now(port),
            resource_index: resource,
            selector_hash: (!query.is_empty()).then(|| format!("{:x}", Sha256::digest(query))),
        },
        environment_data: (!environment.is_empty()).then_some(environment),
    };
    serde_json::value::to_raw_value(&entry)
        .map_err(|error| Problem::new(format!("cannot be written as JSON: {error}")))
}

/// Writes a buffer. How that went is noted under its entry.
async fn write(port: &PortCatalog, mut flight: Flight<'_>) {
    let sent = send(port, &mut flight).await;
    if let Err(error) = &sent {
        tracing::warn!(kind = %flight.buffer.kind, %error, "raw data did not get into Port");
    }
    flight.outcome = sent;
}

async fn send(port: &PortCatalog, flight: &mut Flight<'_>) -> Result<(), DocumentsError> {
    let (raw, resource) = (flight.raw, flight.resource);
    let lifecycle: Option<Arc<Lifecycle>> = port.lifecycle();
    if let Some(lifecycle) = &lifecycle {
        lifecycle.begun(resource).await.map_err(DocumentsError::Lost)?;
    }
    let _slot = raw.slots.acquire().await;
    let batches = std::mem::take(&mut flight.buffer.batches);
    let write = Write {
        address: &raw.address,
        sync: raw.resync,
        event: None,
        started: port.resync_started(),
        kind: flight.buffer.kind.as_str(),
    };
    match send_batches(port, &write, batches).await {
        Ok(()) => Ok(()),
        Err(PortError::Refused(refusal)) if refusal.stale => {
            if let Some(lifecycle) = &lifecycle {
                lifecycle.close();
            }
            Err(DocumentsError::Superseded(Problem::new(
                "Port takes no more raw data of this resync, because a newer one has begun",
            )))
        }
        Err(error) => Err(lost(flight, error)),
    }
}

/// What a write of raw data belongs to.
struct Write<'a> {
    /// Port's address for raw data.
    address: &'a Url,
    /// The resync or, of what a live event is about, the event.
    sync: Uuid,
    /// The event; of a resync each request is one.
    event: Option<Uuid>,
    /// When the resync began.
    started: Option<SystemTime>,
    kind: &'a str,
}

/// Sends batches in one request, or in halves where that is too large for Port.
fn send_batches<'a>(
    port: &'a PortCatalog,
    write: &'a Write<'_>,
    batches: Vec<Box<RawValue>>,
) -> BoxFuture<'a, Result<(), PortError>> {
    async move {
        let call = call(port, write, &batches)?;
        // The body has it all now.
        drop(batches);
        let body = call.sent();
        let error = match port.client.send(call).await {
            Ok(_) => return Ok(()),
            Err(error) if error.status() == Some(413) => error,
            Err(error) => return Err(error),
        };
        let halves = halves(&body);
        drop(body);
        let Some([first, second]) = halves else { return Err(error) };
        tracing::debug!(kind = write.kind, "raw data was too large for Port; sent in halves");
        send_batches(port, write, first).await?;
        send_batches(port, write, second).await
    }
    .boxed()
}

/// What a body has, in two parts; none where it is one document.
fn halves(body: &[u8]) -> Option<[Vec<Box<RawValue>>; 2]> {
    let WrittenData { mut data } = serde_json::from_slice(body).ok()?;
    let second = data.split_off(data.len().div_ceil(2));
    if !second.is_empty() {
        return Some([data, second]);
    }
    let batch: WrittenBatch = serde_json::from_str(data.first()?.get()).ok()?;
    let [first, second] = batch.halves()?;
    let text = |batch: &WrittenBatch| Some(vec![serde_json::value::to_raw_value(batch).ok()?]);
    Some([text(&first)?, text(&second)?])
}

fn call(port: &PortCatalog, write: &Write<'_>, batches: &[Box<RawValue>]) -> Result<Call, PortError> {
    let config = &port.config;
    let sync = write.sync.to_string();
    let segments = [
        "lake",
        "write",
        "integration-type",
        &config.integration_type,
        "integration",
        &config.integration_identifier,
        "sync",
        &sync,
        "kind",
        write.kind,
    ];
    let body = RawData {
        kind: write.kind,
        event_type: config.event_type.as_raw(),
        extraction_timestamp: now(port),
        resync_start_time: write.started.map(iso),
        // Made once: a repeated request is the same event.
        event_id: write.event.unwrap_or_else(Uuid::new_v4).to_string(),
        data: batches,
    };
    let url = crate::client::form_url(write.address, &segments)?;
    Call::new("write raw data of", Method::POST, url).subject(write.kind).json(&body)
}

fn lost(flight: &Flight<'_>, error: PortError) -> DocumentsError {
    let Problem { message, remedy } = error.into_problem();
    let kind = &flight.buffer.kind;
    DocumentsError::Lost(Problem {
        message: format!("raw data of {kind} did not get into Port: {message}"),
        remedy,
    })
}

/// Milliseconds since 1970, by the same clock as the start of the resync.
fn now(port: &PortCatalog) -> u64 {
    let since = port.client.clock.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_too_large_is_halved_down_to_one_document() {
        let batch = |items: &[u32]| json!({"items": items, "metadata": {"resourceIndex": 3}, "request": {}});
        let mut left = vec![json!({"kind": "k", "data": [batch(&[1, 2, 3]), batch(&[]), batch(&[4])]})];
        let mut alone = Vec::new();
        while let Some(body) = left.pop() {
            match halves(body.to_string().as_bytes()) {
                Some(halves) => left.extend(halves.map(|data| json!({"data": data}))),
                None => alone.push(body["data"][0].clone()),
            }
        }
        alone.sort_by_key(Value::to_string);
        assert_eq!(alone, [batch(&[1]), batch(&[2]), batch(&[3]), batch(&[4]), batch(&[])]);
    }
}
