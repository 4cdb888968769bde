//! Counts the requests.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

/// The counts so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// All requests to AWS.
    pub requests: u64,
    /// By service and operation (`ecs:ListClusters`).
    pub by_operation: BTreeMap<String, u64>,
    /// By the account that was asked.
    pub by_account: BTreeMap<String, u64>,
    /// By the region that was asked.
    pub by_region: BTreeMap<String, u64>,
    /// Answers that asked to slow down.
    pub throttled: u64,
    /// Answers that were errors, those included.
    pub errors: u64,
    /// Requests that were being answered at the same time, at most.
    pub concurrency_peak: u64,
    /// Bytes of all answers' bodies.
    pub bytes: u64,
}

/// Counts that many may raise at once.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    shared: Mutex<Stats>,
    running: AtomicU64,
}

impl Counters {
    pub(crate) fn begin(&self) -> Running<'_> {
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        Running { counters: self, running }
    }

    pub(crate) fn read(&self) -> Stats {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn clear(&self) {
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = Stats::default();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Running<'c> {
    counters: &'c Counters,
    running: u64,
}

/// What is counted of a request.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) operation: String,
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) throttled: bool,
    pub(crate) error: bool,
    pub(crate) bytes: u64,
}

impl Running<'_> {
    pub(crate) fn count(&self, counted: &Counted) {
        let mut stats = self.counters.shared.lock().unwrap_or_else(PoisonError::into_inner);
        stats.requests += 1;
        stats.throttled += u64::from(counted.throttled);
        stats.errors += u64::from(counted.error);
        stats.bytes += counted.bytes;
        stats.concurrency_peak = stats.concurrency_peak.max(self.running);
        raise(&mut stats.by_operation, &counted.operation);
        raise(&mut stats.by_account, &counted.account);
        raise(&mut stats.by_region, &counted.region);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
    }
}

fn raise(counts: &mut BTreeMap<String, u64>, name: &str) {
    if name.is_empty() {
        return;
    }
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_owned(), 1)),
    }
}
