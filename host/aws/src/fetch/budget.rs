//! Bounds what is read and not mapped yet, over all units.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted. An answer takes several times its size once it is decoded, and its size again as
/// the batches that are mapped.
const UNIT: usize = 1 << 10;

/// Room for answers on their way to the mapping, in bytes as they came over the wire.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    limit: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let limit = (bytes / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self { room: Arc::new(Semaphore::new(limit)), limit }
    }

    /// What one unit takes of it.
    pub(crate) fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { budget: Arc::clone(self), holds: AtomicUsize::new(0) })
    }
}

/// What one unit takes of a [`Budget`].
///
/// A unit that holds something never waits: what it holds is only given back when it goes on. So the
/// limit is exceeded by what the pipelines of the units hold that are within, and no more of them
/// begin.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    holds: AtomicUsize,
}

impl Share {
    /// Waits until there is any room, before something of unknown size is asked for.
    pub(crate) async fn room(&self) {
        if self.holds.load(Ordering::Relaxed) == 0 {
            // Never closed; given back at once.
            _ = self.budget.room.acquire().await;
        }
    }

    /// Takes room for an answer, and waits for it if this unit holds none.
    pub(crate) async fn hold(self: &Arc<Self>, bytes: usize) -> Hold {
        let room = Arc::clone(&self.budget.room);
        let permit = if self.holds.load(Ordering::Relaxed) == 0 {
            room.acquire_many_owned(self.weight(bytes)).await
        } else {
            return self.charge(bytes);
        };
        self.keep(permit.ok())
    }

    /// Takes room for an answer, or goes over the limit.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Hold {
        let room = Arc::clone(&self.budget.room);
        self.keep(room.try_acquire_many_owned(self.weight(bytes)).ok())
    }

    fn keep(self: &Arc<Self>, permit: Option<OwnedSemaphorePermit>) -> Hold {
        self.holds.fetch_add(1, Ordering::Relaxed);
        Hold { share: Arc::clone(self), _permit: permit }
    }

    fn weight(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(UNIT).clamp(1, self.budget.limit)).unwrap_or(u32::MAX)
    }
}

/// Room that is taken, until it is dropped.
pub(crate) struct Hold {
    share: Arc<Share>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.share.holds.fetch_sub(1, Ordering::Relaxed);
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
        let (first, second) = (budget.share(), budget.share());
        let held = first.hold(9 * UNIT).await;
        assert!(second.room().now_or_never().is_some(), "there is some room");
        assert!(second.hold(2 * UNIT).now_or_never().is_none(), "but not enough");
        // Over the limit, since nobody else could make the first one's room free.
        let more = first.hold(5 * UNIT).now_or_never();
        assert!(more.is_some());
        let waits = tokio::spawn({
            let second = Arc::clone(&second);
            async move { second.hold(2 * UNIT).await }
        });
        drop(held);
        let held = tokio::time::timeout(Duration::from_secs(5), waits).await;
        drop((more, held));
        assert_eq!(budget.room.available_permits(), 10);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_limit_waits_for_all_of_it() {
        let budget = Arc::new(Budget::new(10 * UNIT));
        let held = budget.share().hold(1).await;
        let large = budget.share();
        assert!(large.hold(1000 * UNIT).now_or_never().is_none());
        drop(held);
        assert!(large.hold(1000 * UNIT).now_or_never().is_some());
    }
}
