//! Decides when to split a failed request into halves.

use std::sync::atomic::{AtomicU32, Ordering};

use super::error::PortError;

/// Decides for one bulk and its halves. Halving finds the entity that Port refuses, or fails for. If no
/// request succeeds any longer, the cause is not an entity, and halving only adds load.
#[derive(Debug)]
pub(crate) struct Halving {
    /// This many failed requests in a row (5xx) are not caused by one entity.
    limit: u32,
    failed: AtomicU32,
}

impl Halving {
    /// Creates it for a bulk of at most this many entities: the limit is one more than the halvings down to
    /// one entity.
    pub(crate) fn of(entities: usize) -> Self {
        Self { limit: entities.max(1).next_power_of_two().ilog2() + 2, failed: AtomicU32::new(0) }
    }

    /// Records a success.
    pub(crate) fn succeeded(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Returns whether fewer entities may succeed after a request of several failed this way.
    pub(crate) fn is_worth_it(&self, error: &PortError) -> bool {
        match error.status() {
            // Port refuses the content of the request.
            Some(400 | 409 | 413 | 422) => true,
            // The cause may be an entity, or unrelated to the request.
            Some(500..=599) => self.failed.fetch_add(1, Ordering::Relaxed) + 1 < self.limit,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entity_of_a_full_bulk_can_be_found() {
        // 20 entities in an upsert, 100 in a deletion.
        assert_eq!([1, 2, 20, 100].map(|entities| Halving::of(entities).limit), [2, 3, 7, 9]);
    }
}
