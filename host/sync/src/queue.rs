//! Entities that wait to be compared with the catalog, and to be sent to it.

use std::collections::HashMap;

use berth_core::BlueprintId;

use crate::{order::Order, pending::PendingEntity};

/// Entities compared with one call: as many as Port finds in one search.
const COMPARE: usize = 1_000;
/// Once this many entities wait to be compared, over all blueprints, one call may compare fewer.
const COMPARE_FULL: usize = 4_000;
/// Once this many entities wait to be sent, no more are accepted: more than enough to fill batches.
const FULL: usize = 2_000;

pub(crate) type EntityBatch = Vec<PendingEntity>;

/// The next request to the catalog.
pub(crate) enum CatalogRequest {
    Compare(BlueprintId, EntityBatch),
    Upsert(BlueprintId, EntityBatch),
}

/// Entities on their way, by blueprint.
pub(crate) struct WriteQueue {
    compare: Buffers,
    send: Buffers,
    /// Running requests.
    running: HashMap<BlueprintId, usize>,
    order: Order,
    upsert_size: usize,
}

#[derive(Default)]
struct Buffers(HashMap<BlueprintId, EntityBatch>);

impl Buffers {
    fn push(&mut self, mapped: PendingEntity) {
        if let Some(batch) = self.0.get_mut(&mapped.entity.key.blueprint) {
            batch.push(mapped);
        } else {
            self.0.insert(mapped.entity.key.blueprint.clone(), vec![mapped]);
        }
    }

    fn holds(&self, blueprint: &BlueprintId) -> bool {
        self.0.get(blueprint).is_some_and(|batch| !batch.is_empty())
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Returns a blueprint with a full batch or, if nothing more is expected, the one with the largest batch.
    fn pick(&self, size: usize, any: bool, due: impl Fn(&BlueprintId) -> bool) -> Option<BlueprintId> {
        self.0
            .iter()
            .filter(|(blueprint, batch)| {
                (batch.len() >= size || (any && !batch.is_empty())) && due(blueprint)
            })
            .max_by_key(|(_, batch)| batch.len())
            .map(|(blueprint, _)| blueprint.clone())
    }

    fn take(&mut self, blueprint: &BlueprintId, size: usize) -> EntityBatch {
        let Some(batch) = self.0.get_mut(blueprint) else { return Vec::new() };
        let rest = batch.split_off(batch.len().min(size));
        std::mem::replace(batch, rest)
    }
}

impl WriteQueue {
    pub(crate) fn new(order: Order, upsert_size: usize) -> Self {
        Self {
            compare: Buffers::default(),
            send: Buffers::default(),
            running: HashMap::new(),
            order,
            upsert_size: upsert_size.max(1),
        }
    }

    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    pub(crate) fn compare(&mut self, mapped: PendingEntity) {
        self.compare.push(mapped);
    }

    pub(crate) fn send(&mut self, mapped: PendingEntity) {
        self.send.push(mapped);
    }

    /// Returns whether nothing waits. Requests may still be running.
    pub(crate) fn is_empty(&self) -> bool {
        self.compare.len() == 0 && self.send.len() == 0
    }

    /// Returns whether nothing more should be added until something is sent.
    pub(crate) fn is_full(&self) -> bool {
        self.send.len() >= FULL
    }

    /// Takes the next request. `quiet` means that nothing more is expected, so batches need not be full.
    /// `idle` means that no request is running, or everything has arrived; before that, more may arrive to be
    /// compared together.
    ///
    /// If no request is running and the queue is quiet or full, there is always a next request: blueprints
    /// never wait for each other in a cycle.
    pub(crate) fn next(&mut self, quiet: bool, idle: bool) -> Option<CatalogRequest> {
        let full = self.is_full();
        let any = full || (quiet && self.compare.len() == 0);
        let due = |blueprint: &BlueprintId| self.order.before(blueprint).all(|first| !self.is_busy(first));
        let request = if let Some(blueprint) = self.send.pick(self.upsert_size, any, due) {
            let batch = self.send.take(&blueprint, self.upsert_size);
            CatalogRequest::Upsert(blueprint, batch)
        } else {
            let any = quiet && idle || full || self.compare.len() >= COMPARE_FULL;
            let blueprint = self.compare.pick(COMPARE, any, |_| true)?;
            let batch = self.compare.take(&blueprint, COMPARE);
            CatalogRequest::Compare(blueprint, batch)
        };
        let (CatalogRequest::Upsert(blueprint, _) | CatalogRequest::Compare(blueprint, _)) = &request;
        *self.running.entry(blueprint.clone()).or_default() += 1;
        Some(request)
    }

    /// Returns whether entities of a blueprint are on their way.
    fn is_busy(&self, blueprint: &BlueprintId) -> bool {
        self.compare.holds(blueprint)
            || self.send.holds(blueprint)
            || self.running.get(blueprint).is_some_and(|running| *running > 0)
    }

    /// Records that a request for a blueprint has ended.
    pub(crate) fn done(&mut self, blueprint: &BlueprintId) {
        if let Some(running) = self.running.get_mut(blueprint) {
            *running = running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use berth_core::{Entity, FieldSet};
    use tokio::time::Instant;

    use super::*;
    use crate::{index::UnitIndex, pending::WriteState};

    fn mapped(blueprint: &str, n: usize) -> PendingEntity {
        PendingEntity {
            unit: UnitIndex::at(0),
            fields: Arc::new(FieldSet::default()),
            content: None,
            entity: Entity::new(BlueprintId::new(blueprint).unwrap(), n.to_string()),
            partial: false,
            since: Instant::now(),
            state: WriteState::default(),
        }
    }

    /// Returns the sizes of the comparisons that the queue returns now.
    fn comparisons(queue: &mut WriteQueue, quiet: bool, idle: bool) -> Vec<usize> {
        let mut sizes = Vec::new();
        while let Some(request) = queue.next(quiet, idle) {
            let CatalogRequest::Compare(_, batch) = request else { panic!("nothing is to be sent") };
            sizes.push(batch.len());
        }
        sizes
    }

    #[test]
    fn entities_are_compared_by_the_thousand_and_the_rest_when_nothing_else_is_to_do() {
        let mut queue = WriteQueue::new(Order::default(), 20);
        (0..2_300).for_each(|n| queue.compare(mapped("a", n)));
        (0..40).for_each(|n| queue.compare(mapped("b", n)));
        assert_eq!(comparisons(&mut queue, false, false), [1_000, 1_000]);
        assert_eq!(comparisons(&mut queue, true, false), [0; 0], "more may come while others are compared");
        assert_eq!(comparisons(&mut queue, true, true), [300, 40]);
        assert!(queue.is_empty());
    }

    #[test]
    fn many_blueprints_do_not_gather_without_end() {
        let mut queue = WriteQueue::new(Order::default(), 20);
        for blueprint in 0..50 {
            (0..100).for_each(|n| queue.compare(mapped(&format!("b{blueprint}"), n)));
        }
        assert!(comparisons(&mut queue, false, false).len() >= 10);
        assert!(queue.compare.len() < COMPARE_FULL);
    }
}
