//! The memory budget of what is read and not mapped yet, over all units.

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

/// The unit of the budget, in bytes. An answer takes several times its size once it is decoded, and its
/// size again as the batches that are mapped.
const UNIT: usize = 1 << 10;

/// How many times the budget may be requested at once: while some answers are mapped, others come.
const AHEAD: usize = 2;
/// The assumed size of an answer before there was one to the same call.
const UNKNOWN: usize = 1 << 20;

/// The longest that a unit waits for others' answers: those of an account that AWS throttles may take
/// minutes, and must not delay the others.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// The memory for answers on their way to the mapping, in bytes as they came over the wire.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    limit: usize,
    /// For answers that have been requested, by the size of those to the same call.
    pending: Arc<Semaphore>,
    /// One unit at a time looks up how much to request: answers that came meanwhile may show that it is
    /// less.
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

    /// The likely size of an answer to a call.
    fn usual(&self, call: &str) -> usize {
        let usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        usual.get(call).copied().unwrap_or(UNKNOWN)
    }

    /// The largest answer counts for long, since most units may have little and a few have much.
    fn learn(&self, call: String, bytes: usize) {
        let mut usual = self.usual.lock().unwrap_or_else(PoisonError::into_inner);
        let usual = usual.entry(call).or_insert(UNKNOWN);
        *usual = bytes.max(*usual - *usual / 8);
    }

    /// The part of one unit.
    pub(crate) fn unit(self: &Arc<Self>) -> Arc<UnitBudget> {
        Arc::new(UnitBudget { budget: Arc::clone(self), permits: AtomicUsize::new(0) })
    }
}

/// The part of a [`Budget`] that one unit uses.
///
/// A unit that holds a permit never waits: it releases the permit only when it goes on. So the units that
/// already read may exceed the limit, and no more of them begin. A unit without a permit may wait for one
/// while its request is under way, since no unit with a permit waits for that.
#[derive(Debug)]
pub(crate) struct UnitBudget {
    budget: Arc<Budget>,
    permits: AtomicUsize,
}

impl UnitBudget {
    /// Waits until an answer may be requested. Its size is estimated by those of answers to the same `call`.
    pub(crate) async fn request(self: &Arc<Self>, call: String) -> PendingPermit {
        let mut permit = None;
        if self.permits.load(Ordering::Relaxed) == 0 {
            // Neither is ever closed; the first is given back at once.
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

    /// Reserves memory for an answer, beyond the limit if need be.
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

/// Memory for an answer that has been requested.
pub(crate) struct PendingPermit {
    unit: Arc<UnitBudget>,
    call: String,
    _permit: Option<OwnedSemaphorePermit>,
}

impl PendingPermit {
    /// Acquires memory for the answer itself, and waits for it if this unit holds none. Until then it counts
    /// as pending: its bytes are there, and no more are wanted.
    pub(crate) async fn answered(mut self, bytes: usize) -> MemoryPermit {
        self.unit.budget.learn(std::mem::take(&mut self.call), bytes);
        self.unit.acquire(bytes).await
    }
}

/// Memory in use, until the permit is dropped.
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
    async fn a_unit_without_room_waits_and_one_that_holds_some_goes_on() {
        let budget = Arc::new(Budget::new(10 * UNIT));
        let (first, second) = (budget.unit(), budget.unit());
        let held = first.acquire(9 * UNIT).await;
        assert!(second.request("list".into()).now_or_never().is_some(), "there is some room");
        assert!(second.acquire(2 * UNIT).now_or_never().is_none(), "but not enough");
        // Over the limit, since nobody else could make the first one's room free.
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
    async fn what_is_larger_than_the_limit_waits_for_all_of_it() {
        let budget = Arc::new(Budget::new(10 * UNIT));
        let held = budget.unit().acquire(1).await;
        let large = budget.unit();
        assert!(large.acquire(1000 * UNIT).now_or_never().is_none());
        drop(held);
        assert!(large.acquire(1000 * UNIT).now_or_never().is_some());
    }

    #[tokio::test]
    async fn no_more_is_asked_for_than_there_will_be_room_for() {
        let budget = Arc::new(Budget::new(UNKNOWN + UNIT));
        let request = |call: &str| budget.unit().request(call.to_owned()).now_or_never();
        // Of an unknown size: few at once.
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
        // One large answer is remembered beyond the small ones after it.
        budget.learn("list".to_owned(), UNKNOWN);
        budget.learn("list".to_owned(), 10);
        assert!(budget.usual("list") > UNKNOWN / 2);

        let large = budget.unit();
        let _held = large.acquire(UNKNOWN + UNIT).now_or_never();
        assert!(request("list").is_none(), "there is no room");
        assert!(large.request("list".into()).now_or_never().is_some(), "a unit with a permit goes on");
    }

    #[tokio::test]
    async fn answers_that_do_not_come_hold_nobody_up_for_long() {
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
