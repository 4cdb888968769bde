//! Raw data on its way to Port: resource documents, gathered by entry of `resources[]` and written in
//! few requests.
//!
//! # Invariants
//! - All that is gathered or being written takes bounded memory: who brings more waits, or writes what
//!   is there.
//! - Nothing is lost in silence: documents that Port did not take fail their entry, whoever wrote them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

use berth_core::{DocumentBatch, DocumentsError, Kind, Problem};
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
    wire::raw::{Nothing, RawBatch, RawData, RawMetadata},
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
    let mut text = Some(entry(port, &batch)?);
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
fn entry(port: &PortCatalog, batch: &DocumentBatch) -> Result<Box<RawValue>, DocumentsError> {
    let selector = &batch.config.selector;
    let environment: BTreeMap<&str, Option<&str>> = selector
        .export_env_variables()
        .map(|name| (name, port.config.exported_variables.get(name).map(SecretString::expose_secret)))
        .collect();
    let query = selector.query.trim();
    let entry = RawBatch {
        request: Nothing {},
        response: Nothing {},
        items: &batch.documents,
        metadata: RawMetadata {
            operation: "upsert",
            extraction_timestamp: now(port),
            resource_index: batch.unit.resource,
            selector_hash: (!query.is_empty()).then(|| format!("{:x}", Sha256::digest(query))),
        },
        environment_data: (!environment.is_empty()).then_some(environment),
    };
    serde_json::value::to_raw_value(&entry)
        .map_err(|error| DocumentsError::Lost(Problem::new(format!("cannot be written as JSON: {error}"))))
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
    let call = call(port, flight).map_err(|error| lost(flight, error))?;
    match port.client.send(call).await {
        Ok(_) => Ok(()),
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

fn call(port: &PortCatalog, flight: &mut Flight<'_>) -> Result<Call, PortError> {
    let (raw, config) = (flight.raw, &port.config);
    let kind = flight.buffer.kind.as_str();
    let resync = raw.resync.to_string();
    let segments = [
        "lake",
        "write",
        "integration-type",
        &config.integration_type,
        "integration",
        &config.integration_identifier,
        "sync",
        &resync,
        "kind",
        kind,
    ];
    let body = RawData {
        kind,
        event_type: config.event_type.as_raw(),
        extraction_timestamp: now(port),
        resync_start_time: port.resync_started().map(iso),
        // Made once: a repeated request is the same event.
        event_id: Uuid::new_v4().to_string(),
        data: &flight.buffer.batches,
    };
    let url = crate::client::form_url(&raw.address, &segments)?;
    let call = Call::new("write raw data of", Method::POST, url).subject(kind).json(&body)?;
    // The body has it all now.
    flight.buffer.batches = Vec::new();
    Ok(call)
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
