//! How many requests were sent, and what became of them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

/// Counts since the source was made, by service and operation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AwsStats {
    /// The counts of each operation, by `<service>:<Operation>`.
    pub calls: BTreeMap<String, CallStats>,
}

/// Counts of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallStats {
    /// Requests sent, repeats included.
    pub requests: u64,
    /// Requests that repeated a failed one.
    pub retries: u64,
    /// Answers that told to slow down.
    pub throttled: u64,
    /// Calls that failed for good.
    pub errors: u64,
    /// Calls that were answered by another kind's request.
    pub shared: u64,
}

impl AwsStats {
    /// Requests sent in all.
    pub fn requests(&self) -> u64 {
        self.calls.values().map(|call| call.requests).sum()
    }
}

/// The counters behind [`AwsStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<BTreeMap<String, CallStats>>);

impl Counters {
    pub(crate) fn count(&self, service: &str, operation: &str, change: impl FnOnce(&mut CallStats)) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(calls.entry(format!("{service}:{operation}")).or_default());
    }

    pub(crate) fn snapshot(&self) -> AwsStats {
        AwsStats { calls: self.0.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}
