//! When a request that failed as a whole is worth sending in halves.

use std::sync::atomic::{AtomicU32, Ordering};

use super::error::PortError;

/// Decides for one bulk and its halves. Halving finds the entity that Port refuses, or fails for. Where
/// no request succeeds any more, it is not for an entity, and halving only adds to the load.
#[derive(Debug)]
pub(crate) struct Halving {
    /// So many requests in a row that Port fails (5xx) are not for one entity.
    limit: u32,
    failed: AtomicU32,
}

impl Halving {
    /// For a bulk of at most so many entities: one more than it takes to halve them to one.
    pub(crate) fn of(entities: usize) -> Self {
        Self { limit: entities.max(1).next_power_of_two().ilog2() + 2, failed: AtomicU32::new(0) }
    }

    /// A request succeeded.
    pub(crate) fn succeeded(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// Whether fewer entities may do where a request of several ended so.
    pub(crate) fn is_worth_it(&self, error: &PortError) -> bool {
        match error.status() {
            // Port refuses what is in the request.
            Some(400 | 409 | 413 | 422) => true,
            // It may be for an entity, or for no reason of the request's.
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
