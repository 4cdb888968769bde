//! Metrics of the requests, by operation and by kind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use berth_core::Kind;
use serde::Serialize;

/// Counts since the source was created, by service and operation, and the costs of the kinds in the running
/// or last resync.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AwsStats {
    /// The counts of each operation, by `<service>:<Operation>`.
    pub calls: BTreeMap<String, CallStats>,
    /// The cost of each kind since the resync began.
    pub kinds: BTreeMap<Kind, KindStats>,
}

/// Counts of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CallStats {
    /// Requests sent, retries included.
    pub requests: u64,
    /// Requests that were retries of a failed one.
    pub retries: u64,
    /// Throttled responses.
    pub throttled: u64,
    /// Calls that failed after all retries.
    pub errors: u64,
    /// Calls that used the response to another kind's request.
    pub shared: u64,
}

/// The cost of reading one kind. Shared requests are attributed to the first kind that makes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct KindStats {
    /// Responses, including those to retries and errors.
    pub responses: u64,
    /// The size of their bodies, in bytes.
    pub bytes: u64,
    /// The median size of their bodies in bytes, over the last few thousand.
    pub median_bytes: u64,
    /// The time that requests waited because of rate limits and throttling, by service. Requests wait
    /// concurrently, so this may exceed the duration of the resync.
    pub waited: BTreeMap<String, Duration>,
}

/// The number of response sizes per kind that are kept for the median.
const SIZES: usize = 4096;

/// The metrics of one kind, while it is read.
#[derive(Debug, Default)]
pub(crate) struct KindMetrics(Mutex<Costs>);

#[derive(Debug, Default)]
struct Costs {
    responses: u64,
    bytes: u64,
    /// The last sizes, oldest overwritten first.
    sizes: Vec<u32>,
    waited: BTreeMap<String, Duration>,
}

impl KindMetrics {
    /// Records a response.
    pub(crate) fn answered(&self, bytes: usize) {
        let mut costs = lock(&self.0);
        let size = u32::try_from(bytes).unwrap_or(u32::MAX);
        match usize::try_from(costs.responses).map(|count| count % SIZES) {
            Ok(oldest) if costs.sizes.len() == SIZES => costs.sizes[oldest] = size,
            _ => costs.sizes.push(size),
        }
        costs.responses += 1;
        costs.bytes += bytes as u64;
    }

    /// Records that a request waited.
    pub(crate) fn waited(&self, service: &str, time: Duration) {
        // Shorter delays come from task scheduling, not from waiting.
        if time < Duration::from_millis(1) {
            return;
        }
        let mut costs = lock(&self.0);
        match costs.waited.get_mut(service) {
            Some(waited) => *waited += time,
            None => _ = costs.waited.insert(service.to_owned(), time),
        }
    }

    fn snapshot(&self) -> KindStats {
        let costs = lock(&self.0);
        let mut sizes = costs.sizes.clone();
        let middle = sizes.len() / 2;
        let median = (!sizes.is_empty()).then(|| *sizes.select_nth_unstable(middle).1);
        KindStats {
            responses: costs.responses,
            bytes: costs.bytes,
            median_bytes: median.unwrap_or_default().into(),
            waited: costs.waited.clone(),
        }
    }
}

/// The counters behind [`AwsStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    calls: Mutex<BTreeMap<String, CallStats>>,
    kinds: Mutex<BTreeMap<Kind, Arc<KindMetrics>>>,
}

impl Counters {
    pub(crate) fn count(&self, service: &str, operation: &str, change: impl FnOnce(&mut CallStats)) {
        change(lock(&self.calls).entry(format!("{service}:{operation}")).or_default());
    }

    /// Returns the metrics of a kind.
    pub(crate) fn kind(&self, kind: &Kind) -> Arc<KindMetrics> {
        let mut kinds = lock(&self.kinds);
        match kinds.get(kind) {
            Some(metrics) => Arc::clone(metrics),
            None => Arc::clone(kinds.entry(kind.clone()).or_default()),
        }
    }

    /// Discards the metrics of all kinds when a resync begins.
    pub(crate) fn forget_kinds(&self) {
        lock(&self.kinds).clear();
    }

    pub(crate) fn snapshot(&self) -> AwsStats {
        let kinds =
            lock(&self.kinds).iter().map(|(kind, metrics)| (kind.clone(), metrics.snapshot())).collect();
        AwsStats { calls: lock(&self.calls).clone(), kinds }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_its_metrics_since_the_resync_began() {
        let counters = Counters::default();
        let kind = Kind::new("AWS::S3::Bucket").unwrap();
        let metrics = counters.kind(&kind);
        for bytes in [100, 7, 50] {
            metrics.answered(bytes);
        }
        metrics.waited("s3", Duration::from_millis(20));
        metrics.waited("s3", Duration::from_millis(30));
        metrics.waited("s3", Duration::from_micros(1));
        let waited = [("s3".to_owned(), Duration::from_millis(50))].into();
        let stats = KindStats { responses: 3, bytes: 157, median_bytes: 50, waited };
        assert_eq!(counters.snapshot().kinds, [(kind.clone(), stats)].into());

        // Memory is bounded, and new values count.
        (0..2 * SIZES).for_each(|_| metrics.answered(9));
        assert_eq!(lock(&metrics.0).sizes.len(), SIZES);
        assert_eq!(counters.snapshot().kinds[&kind].median_bytes, 9);
        counters.forget_kinds();
        assert!(counters.snapshot().kinds.is_empty());
    }
}
