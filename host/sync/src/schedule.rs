//! The order in which units start.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use berth_core::{AccountId, Unit};

use crate::index::{EntryIndex, UnitIndex};

/// Picks the next unit: in planning order, but never more accounts of one resource mapping at once than its
/// selector allows (`maxConcurrentAccounts`).
pub(crate) struct Schedule<'u> {
    units: &'u [Arc<Unit>],
    queues: Vec<Queue>,
}

/// The units of one resource mapping.
struct Queue {
    entry: EntryIndex,
    pending: VecDeque<UnitIndex>,
    limit: usize,
    active: HashMap<AccountId, usize>,
}

impl<'u> Schedule<'u> {
    pub(crate) fn new(units: &'u [Arc<Unit>]) -> Self {
        let mut pending: BTreeMap<EntryIndex, VecDeque<UnitIndex>> = BTreeMap::new();
        // In the order in which the first unit of each was planned.
        let mut order = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            let units = pending.entry(EntryIndex::of(&unit.id)).or_insert_with(|| {
                order.push(unit);
                VecDeque::new()
            });
            units.push_back(UnitIndex::at(index));
        }
        let queues = order.into_iter().map(|first| {
            let limit = first.resource.selector.max_concurrent_accounts.unwrap_or(0);
            Queue {
                entry: EntryIndex::of(&first.id),
                pending: pending.remove(&EntryIndex::of(&first.id)).unwrap_or_default(),
                // Unset or zero: only the limits of the whole run apply.
                limit: if limit == 0 { usize::MAX } else { limit as usize },
                active: HashMap::new(),
            }
        });
        Self { units, queues: queues.collect() }
    }

    pub(crate) fn next(&mut self) -> Option<UnitIndex> {
        let units = self.units;
        self.queues.iter_mut().find_map(|queue| {
            let account = &units.get(queue.pending.front()?.position())?.id.account;
            if queue.active.len() >= queue.limit && !queue.active.contains_key(account) {
                return None;
            }
            *queue.active.entry(account.clone()).or_default() += 1;
            queue.pending.pop_front()
        })
    }

    pub(crate) fn done(&mut self, unit: UnitIndex) {
        let Some(unit) = self.units.get(unit.position()) else { return };
        let entry = EntryIndex::of(&unit.id);
        let Some(queue) = self.queues.iter_mut().find(|queue| queue.entry == entry) else { return };
        if let Some(running) = queue.active.get_mut(&unit.id.account) {
            *running -= 1;
            if *running == 0 {
                queue.active.remove(&unit.id.account);
            }
        }
    }
}
