//! The memory budget of unmapped data, over all units.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of the budget, in bytes. A decoded response takes several times its size, and its batches for
/// the mapping take its size again.
const UNIT: usize = 1 << 10;

/// The multiple of the budget that may be requested at once: while some responses are mapped, others
/// arrive.
const AHEAD: usize = 2;
/// The assumed size of the first response to a call.
const UNKNOWN: usize = 1 << 20;

/// The maximum time that a unit waits for others' responses: those of a throttled account may take minutes,
/// and must not delay the others.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The memory for unmapped responses, in bytes as received.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    limit: usize,
    /// For requested responses, by the size of earlier responses to the same call.
    pending: Arc<Semaphore>,
    /// Only one unit at a time estimates how much to request: responses that arrived in the meantime may
    /// lower the estimate.
    requesting: tokio::sync::Mutex<()>,
    usual: Mutex<HashMap<String, usize>>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let limit = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let pending = limit.saturating_mul(AHEAD).min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(limit)),
            limit,
            pending: Arc::new(Semaphore::new(pending)),
            requesting: tokio::sync::Mutex::default(),
            usual: Mutex::default(),
        }
    }

    /// Returns the expected size of a response to a call.
    fn usual(&self, call: &str) -> usize {
        let usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        usual.get(call).copied().unwrap_or(UNKNOWN)
    }

    /// Updates the estimate. The largest response counts for a long time, since most units may have little
    /// data and a few may have much.
    fn learn(&self, call: String, bytes: usize) {
        let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        let usual = usual.entry(call).or_insert(UNKNOWN);
        *usual = bytes.max(*usual - *usual / 8);
    }

    /// Returns the share of one unit.
    pub(crate) fn unit(self: &Arc<Self>) -> Arc<UnitBudget> {
        Arc::new(UnitBudget { budget: Arc::clone(self), permits: AtomicUsize::new(0) })
    }
}

/// The share of a [`Budget`] that one unit uses.
///
/// A unit that holds a permit never waits: it releases the permit only when it continues. So units that
/// have begun may exceed the limit, and no further units begin. A unit without a permit may wait for one
/// while its request is in flight, since no unit with a permit waits for that request.
#[derive(Debug)]
pub(crate) struct UnitBudget {
    budget: Arc<Budget>,
    permits: AtomicUsize,
}

impl UnitBudget {
    /// Waits until a response may be requested. Its size is estimated from responses to the same `call`.
    pub(crate) async fn request(self: &Arc<Self>, call: String) -> PendingPermit {
        let mut permit = None;
        if self.permits.load(Ordering::Relaxed) == 0 {
            // Neither is ever closed; the first permit is returned at once.
            _ = self.budget.room.acquire().await;
            let pending = async {
                let _requesting = self.budget.requesting.lock().await;
                let weight = self.weight(self.budget.usual(&call));
                Arc::clone(&self.budget.pending).acquire_many_owned(weight).await.ok()
            };
            permit = tokio::time::timeout(LONGEST_WAIT, pending).await.ok().flatten();
        }
        PendingPermit { unit: Arc::clone(self), call, _permit: permit }
    }

    async fn acquire(self: &Arc<Self>, bytes: usize) -> MemoryPermit {
        if self.permits.load(Ordering::Relaxed) > 0 {
            return self.reserve(bytes);
        }
        let room = Arc::clone(&self.budget.room);
        let permit = room.acquire_many_owned(self.weight(bytes)).await;
        self.permit(permit.ok())
    }

    /// Reserves memory for a response, beyond the limit if necessary.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> MemoryPermit {
        let room = Arc::clone(&self.budget.room);
        self.permit(room.try_acquire_many_owned(self.weight(bytes)).ok())
    }

    fn permit(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> MemoryPermit {
        self.permits.fetch_add(1, Ordering::Relaxed);
        MemoryPermit { unit: Arc::clone(self), _permit: permit }
    }

    fn weight(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).clamp(1, self.budget.limit)).unwrap_or(u32::MAX)
    }
}

/// Memory for a requested response.
pub(crate) struct PendingPermit {
    unit: Arc<UnitBudget>,
    call: String,
    _permit: Option<OwnedSemaphorePermit>,
}

impl PendingPermit {
    /// Acquires memory for the response itself, and waits for it if this unit holds none. Until then it
    /// counts as pending: its bytes are there, and no further ones are requested.
    pub(crate) async fn answered(mut self, bytes: usize) -> MemoryPermit {
        self.unit.budget.learn(std::mem::take(&mut self.call), bytes);
        self.unit.acquire(bytes).await
    }
}

/// Memory in use, held until dropped.
pub(crate) struct MemoryPermit {
    unit: Arc<UnitBudget>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for MemoryPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryPermit").finish_non_exhaustive()
    }
}

impl Drop for MemoryPermit {
    fn drop(&mut self) {
        self.unit.permits.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_unit_without_memory_waits_and_one_with_memory_continues() {
        let budget = Arc::new(Budget::new(10 * UNIT));
        let (first, second) = (budget.unit(), budget.unit());
        let held = first.acquire(9 * UNIT).await;
        assert!(second.request("list".into()).now_or_never().is_some(), "there is some room");
        assert!(second.acquire(2 * UNIT).now_or_never().is_none(), "but not enough");
        // Exceeds the limit: nobody else could free the memory of the first one.
        let more = first.acquire(5 * UNIT).now_or_never();
        assert!(more.is_some());
        let waits = tokio::spawn({
            let second = Arc::clone(&second);
            async move { second.acquire(2 * UNIT).await }
        });
        drop(held);
        let held = tokio::time::timeout(Duration::from_secs(5), waits).await;
        drop((more, held));
        assert_eq!(budget.room.available_permits(), 10);
    }

    #[tokio::test]
    async fn a_response_above_the_limit_waits_for_the_whole_limit() {
        let budget = Arc::new(Budget::new(10 * UNIT));
        let held = budget.unit().acquire(1).await;
        let large = budget.unit();
        assert!(large.acquire(1000 * UNIT).now_or_never().is_none());
        drop(held);
        assert!(large.acquire(1000 * UNIT).now_or_never().is_some());
    }

    #[tokio::test]
    async fn no_more_is_requested_than_memory_allows() {
        let budget = Arc::new(Budget::new(UNKNOWN + UNIT));
        let request = |call: &str| budget.unit().request(call.to_owned()).now_or_never();
        // Responses of unknown size: few at once.
        let mut pending: Vec<PendingPermit> =
            std::iter::repeat_with(|| request("list")).map_while(|permit| permit).collect();
        assert_eq!(pending.len(), AHEAD);
        let (third, fourth) = (budget.unit(), budget.unit());
        let mut waiting = [third.request("list".into()).boxed(), fourth.request("list".into()).boxed()];
        assert!(waiting.iter_mut().all(|request| request.now_or_never().is_none()));
        for _ in 0..100 {
            budget.learn("list".to_owned(), 10);
        }
        pending.pop();
        let both = waiting.map(|mut request| (&mut request).now_or_never());
        assert!(both.iter().all(Option::is_some), "the second one knows that answers are small");
        drop(both);
        for permit in pending.drain(..) {
            assert!(permit.answered(UNKNOWN / 8).now_or_never().is_some());
        }
        let small: Vec<PendingPermit> =
            std::iter::repeat_with(|| request("list")).map_while(|permit| permit).collect();
        assert_eq!(small.len(), 8 * AHEAD, "by how large they were");
        assert!(request("another").is_none());
        drop(small);
        // A large response counts longer than the small ones after it.
        budget.learn("list".to_owned(), UNKNOWN);
        budget.learn("list".to_owned(), 10);
        assert!(budget.usual("list") > UNKNOWN / 2);

        let large = budget.unit();
        let _held = large.acquire(UNKNOWN + UNIT).now_or_never();
        assert!(request("list").is_none(), "there is no room");
        assert!(large.request("list".into()).now_or_never().is_some(), "a unit with a permit goes on");
    }

    #[tokio::test]
    async fn missing_responses_do_not_delay_others_for_long() {
        let budget = Arc::new(Budget::new(UNKNOWN));
        let throttled: Vec<PendingPermit> =
            std::iter::repeat_with(|| budget.unit().request("throttled".into()).now_or_never())
                .map_while(|permit| permit)
                .collect();
        assert_eq!(throttled.len(), AHEAD);
        let others = (0..60).map(|_| {
            let unit = budget.unit();
            async move { unit.request("list".into()).await.answered(10).await }
        });
        // All of them at once, not one after the other.
        let waited = tokio::time::timeout(LONGEST_WAIT * 30, futures::future::join_all(others)).await;
        assert!(waited.is_ok());
        drop(throttled);
        assert_eq!(budget.pending.available_permits(), AHEAD * UNKNOWN / UNIT);
    }
}
