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

/// What is counted. An answer takes several times its size once it is decoded, and its size again as
/// the batches that are mapped.
const UNIT: usize = 1 << 10;

/// How much more than the room may be asked for at the same time: while some answers are mapped, others
/// come.
const AHEAD: usize = 2;
/// What an answer is taken for before there were any to the same call.
const UNKNOWN: usize = 1 << 20;

/// How long a unit waits for others' answers before it asks all the same: those of an account that AWS
/// throttles may take minutes, and must not hold up the others.
const PATIENCE: Duration = Duration::from_secs(1);

/// Room for answers on their way to the mapping, in bytes as they came over the wire.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    limit: usize,
    /// For answers that have been asked for, by how large those to the same call are.
    asked: Arc<Semaphore>,
    /// Whose turn it is to ask. How much to ask for is only looked up then: answers that came meanwhile
    /// may tell that it is less.
    turn: tokio::sync::Mutex<()>,
    usual: Mutex<HashMap<String, usize>>,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let limit = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let asked = limit.saturating_mul(AHEAD).min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(limit)),
            limit,
            asked: Arc::new(Semaphore::new(asked)),
            turn: tokio::sync::Mutex::default(),
            usual: Mutex::default(),
        }
    }

    /// How large an answer to a call is likely to be.
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

/// What one unit takes of a [`Budget`].
///
/// A unit that holds something never waits: what it holds is only given back when it goes on. So the
/// limit is exceeded by what the pipelines of the units hold that are within, and no more of them
/// begin. A unit that holds nothing may wait while it has asked, since nobody who holds something
/// waits for that.
#[derive(Debug)]
pub(crate) struct UnitBudget {
    budget: Arc<Budget>,
    permits: AtomicUsize,
}

impl UnitBudget {
    /// Waits until there is room to ask for an answer. Of how many bytes it will be, only the answers to
    /// the same `call` tell.
    pub(crate) async fn request(self: &Arc<Self>, call: String) -> PendingPermit {
        let mut permit = None;
        if self.permits.load(Ordering::Relaxed) == 0 {
            // Neither is ever closed; the first is given back at once.
            _ = self.budget.room.acquire().await;
            let asked = async {
                let _turn = self.budget.turn.lock().await;
                let weight = self.weight(self.budget.usual(&call));
                Arc::clone(&self.budget.asked).acquire_many_owned(weight).await.ok()
            };
            permit = tokio::time::timeout(PATIENCE, asked).await.ok().flatten();
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

    /// Takes room for an answer, or goes over the limit.
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

/// Room for an answer that has been asked for.
pub(crate) struct PendingPermit {
    unit: Arc<UnitBudget>,
    call: String,
    _permit: Option<OwnedSemaphorePermit>,
}

impl PendingPermit {
    /// Takes room for the answer itself, and waits for it if this unit holds none. Until then it counts
    /// as asked for: its bytes are there, and no more are wanted.
    pub(crate) async fn answered(mut self, bytes: usize) -> MemoryPermit {
        self.unit.budget.learn(std::mem::take(&mut self.call), bytes);
        self.unit.acquire(bytes).await
    }
}

/// Room that is taken, until it is dropped.
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
        let ask = |call: &str| budget.unit().request(call.to_owned()).now_or_never();
        // Of an unknown size: few at once.
        let mut asked: Vec<PendingPermit> =
            std::iter::repeat_with(|| ask("list")).map_while(|asked| asked).collect();
        assert_eq!(asked.len(), AHEAD);
        let (third, fourth) = (budget.unit(), budget.unit());
        let mut waiting = [third.request("list".into()).boxed(), fourth.request("list".into()).boxed()];
        assert!(waiting.iter_mut().all(|ask| ask.now_or_never().is_none()));
        for _ in 0..100 {
            budget.learn("list".to_owned(), 10);
        }
        asked.pop();
        let both = waiting.map(|mut ask| (&mut ask).now_or_never());
        assert!(both.iter().all(Option::is_some), "the second one knows that answers are small");
        drop(both);
        for asked in asked.drain(..) {
            assert!(asked.answered(UNKNOWN / 8).now_or_never().is_some());
        }
        let small: Vec<PendingPermit> =
            std::iter::repeat_with(|| ask("list")).map_while(|asked| asked).collect();
        assert_eq!(small.len(), 8 * AHEAD, "by how large they were");
        assert!(ask("another").is_none());
        drop(small);
        // One large answer is remembered beyond the small ones after it.
        budget.learn("list".to_owned(), UNKNOWN);
        budget.learn("list".to_owned(), 10);
        assert!(budget.usual("list") > UNKNOWN / 2);

        let large = budget.unit();
        let _held = large.acquire(UNKNOWN + UNIT).now_or_never();
        assert!(ask("list").is_none(), "there is no room");
        assert!(large.request("list".into()).now_or_never().is_some(), "who holds something goes on");
    }

    #[tokio::test]
    async fn answers_that_do_not_come_hold_nobody_up_for_long() {
        let budget = Arc::new(Budget::new(UNKNOWN));
        let throttled: Vec<PendingPermit> =
            std::iter::repeat_with(|| budget.unit().request("throttled".into()).now_or_never())
                .map_while(|asked| asked)
                .collect();
        assert_eq!(throttled.len(), AHEAD);
        let others = (0..60).map(|_| {
            let unit = budget.unit();
            async move { unit.request("list".into()).await.answered(10).await }
        });
        // All of them at once, not one after the other.
        let waited = tokio::time::timeout(PATIENCE * 30, futures::future::join_all(others)).await;
        assert!(waited.is_ok());
        drop(throttled);
        assert_eq!(budget.asked.available_permits(), AHEAD * UNKNOWN / UNIT);
    }
}
