//! Raw data for Port: resource documents, collected by resource mapping and written in few requests.
//!
//! # Invariants
//! - Collected data and data being written use bounded memory: a sender beyond the limit waits, or writes
//!   what there is.
//! - Nothing is lost silently: documents that Port rejected fail their resource mapping, no matter which task
//!   wrote them.

mod send;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use berth_core::{DocumentBatch, DocumentsError, Kind, Problem, ProblemCode};
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use url::Url;
use uuid::Uuid;

pub(crate) use self::send::RawSender;
use self::send::Write;
use super::{lifecycle::Lifecycle, start_time::StartTime};
use crate::{RawDataConfig, api::error::PortError};

/// The raw data of one resync.
pub(crate) struct RawBuffers {
    resync: Uuid,
    /// Port's address for raw data.
    address: Url,
    sender: RawSender,
    started: Arc<StartTime>,
    lifecycle: Option<Arc<Lifecycle>>,
    limits: RawDataConfig,
    state: Mutex<State>,
    /// Notified when a write has ended.
    freed: Notify,
    /// Concurrent writes.
    permits: Semaphore,
}

#[derive(Default)]
struct State {
    /// By the position of the resource mapping.
    buffers: BTreeMap<usize, Buffer>,
    /// Bytes that are collected or being written.
    held: usize,
    /// How many buffers of a resource mapping are being written.
    flying: BTreeMap<usize, usize>,
    /// Resource mappings whose data Port did not fully accept.
    lost: BTreeMap<usize, DocumentsError>,
}

/// The collected data of one resource mapping.
struct Buffer {
    kind: Kind,
    batches: Vec<Box<RawValue>>,
    bytes: usize,
    since: Instant,
}

/// A buffer that is being written. If it is dropped before it is done, its data is lost.
struct Flight<'r> {
    raw: &'r RawBuffers,
    resource: usize,
    buffer: Buffer,
    outcome: Result<(), DocumentsError>,
}

impl RawBuffers {
    pub(crate) fn new(
        resync: Uuid,
        address: Url,
        sender: RawSender,
        started: Arc<StartTime>,
        lifecycle: Option<Arc<Lifecycle>>,
    ) -> Self {
        Self {
            resync,
            address,
            started,
            lifecycle,
            limits: sender.config.raw_data,
            state: Mutex::default(),
            freed: Notify::new(),
            permits: Semaphore::new(sender.client.concurrency()),
            sender,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a buffer to write it.
    fn take(&self, state: &mut State, resource: usize) -> Option<Flight<'_>> {
        let buffer = state.buffers.remove(&resource)?;
        *state.flying.entry(resource).or_default() += 1;
        let stopped =
            Problem::new(ProblemCode::ResyncStopped, "a write of raw data was stopped before its end");
        Some(Flight { raw: self, resource, buffer, outcome: Err(DocumentsError::Lost(stopped)) })
    }

    /// Takes the buffer that frees the most memory.
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

    /// Takes documents. Waits while there is no memory.
    pub(crate) async fn add(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        let resource = batch.unit.resource;
        if let Some(problem) = self.lifecycle.as_ref().and_then(|lifecycle| lifecycle.refused()) {
            return Err(DocumentsError::Lost(problem));
        }
        let entry = self.sender.entry(&batch.config, resource, &batch.documents, "upsert");
        let mut text = Some(entry.map_err(DocumentsError::Lost)?);
        while let Some(entry) = text.take() {
            // Before reading the state, so that no later notification is missed.
            let freed = self.freed.notified();
            let flight = {
                let mut state = self.state();
                state.lost(resource)?;
                if state.held == 0 || state.held + entry.get().len() <= self.limits.memory_bytes {
                    self.push(&mut state, &batch, entry)
                } else {
                    text = Some(entry);
                    self.take_largest(&mut state)
                }
            };
            match flight {
                Some(flight) => self.write(flight).await,
                // Everything is being written.
                None if text.is_some() => freed.await,
                None => {}
            }
        }
        self.state().lost(resource)
    }

    /// Writes the rest of a resource mapping, and waits for writes of other tasks.
    pub(crate) async fn end(&self, resource: usize) -> Result<(), DocumentsError> {
        loop {
            let freed = self.freed.notified();
            let (flight, flying) = {
                let mut state = self.state();
                let flying = state.flying.get(&resource).is_some_and(|count| *count > 0);
                (self.take(&mut state, resource), flying)
            };
            match flight {
                Some(flight) => self.write(flight).await,
                None if flying => freed.await,
                None => return self.state().lost(resource),
            }
        }
    }

    /// Writes a buffer. The result is recorded for its resource mapping.
    async fn write(&self, mut flight: Flight<'_>) {
        let sent = self.send(&mut flight).await;
        if let Err(error) = &sent {
            tracing::warn!(kind = %flight.buffer.kind, %error, "cannot write raw data to Port");
        }
        flight.outcome = sent;
    }

    async fn send(&self, flight: &mut Flight<'_>) -> Result<(), DocumentsError> {
        if let Some(lifecycle) = &self.lifecycle {
            lifecycle.begun(flight.resource).await.map_err(DocumentsError::Lost)?;
        }
        let _permit = self.permits.acquire().await;
        let batches = std::mem::take(&mut flight.buffer.batches);
        let write = Write {
            address: &self.address,
            sync: self.resync,
            event: None,
            started: self.started.get(),
            kind: flight.buffer.kind.as_str(),
        };
        match self.sender.send(&write, batches).await {
            Ok(()) => Ok(()),
            Err(PortError::Refused(refusal)) if refusal.stale => {
                if let Some(lifecycle) = &self.lifecycle {
                    lifecycle.close();
                }
                Err(DocumentsError::Superseded(Problem::new(
                    ProblemCode::ResyncSuperseded,
                    "Port accepts no more raw data of this resync, because a newer one has started",
                )))
            }
            Err(error) => Err(lost(flight, error)),
        }
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

fn lost(flight: &Flight<'_>, error: PortError) -> DocumentsError {
    let kind = &flight.buffer.kind;
    let problem = error.into_problem();
    DocumentsError::Lost(problem.map_message(|why| format!("cannot write raw data of {kind} to Port: {why}")))
}
