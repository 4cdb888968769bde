//! The limits on deletions by live events: those of a resync, applied between two resyncs.

use std::collections::BTreeMap;

use berth_core::{AccountId, EntityKey, Kind, Producer};

use crate::deletion::{Basis, Counts, Doomed, LimitOptions, Part, apply_limits, check_total};

/// How many entities of a part may be deleted if their total is unknown.
const UNCOUNTED: u64 = 20;

/// The deletions of live events since the last resync.
#[derive(Debug, Default)]
pub(super) struct LiveLimits {
    /// How many resyncs had ended when the totals were counted.
    pub(super) counted_at: Option<u64>,
    /// The totals at that time, by account and kind; `None` if unknown.
    totals: Option<BTreeMap<(AccountId, Kind), u64>>,
    deleted: BTreeMap<(AccountId, Kind), u64>,
}

impl LiveLimits {
    /// Starts over with these totals, after this many resyncs.
    pub(super) fn start(&mut self, ended: u64, totals: Option<BTreeMap<(AccountId, Kind), u64>>) {
        *self = Self { counted_at: Some(ended), totals, deleted: BTreeMap::new() };
    }

    /// Checks whether this many entities of this producer may be deleted, including dependents.
    ///
    /// # Errors
    /// The reason, if not.
    pub(super) fn check(
        &self,
        producer: &Producer,
        keys: &[EntityKey],
        more: u64,
        options: &LimitOptions,
    ) -> Result<(), String> {
        let at = (producer.account.clone(), producer.kind.clone());
        let before = self.deleted.get(&at).copied().unwrap_or(0);
        let Some(totals) = &self.totals else {
            let count = before + keys.len() as u64 + more;
            return if count <= UNCOUNTED {
                Ok(())
            } else {
                Err(format!(
                    "more than {UNCOUNTED} deletions of {} in account {} since the last resync",
                    at.1, at.0
                ))
            };
        };
        let part = Part { kind: Some(at.1.clone()), account: Some(at.0.clone()), blueprint: None };
        let lost = before + keys.len() as u64;
        let total = totals.get(&at).copied().unwrap_or(0).max(lost);
        let basis = Basis { parts: [part].into(), removed: false };
        // Earlier deletions by events count as much as the current one.
        let all: Vec<Doomed> = (0..lost)
            .map(|at| Doomed {
                key: keys[usize::try_from(at).unwrap_or(0) % keys.len()].clone(),
                basis: basis.clone(),
            })
            .collect();
        let counts = Counts { kept: BTreeMap::from([((at.1, at.0), total - lost)]), ..Counts::default() };
        if let Some(held) = apply_limits(all, &counts).held_back.into_iter().next() {
            return Err(held.problem.message);
        }
        let deleted = self.deleted.values().sum::<u64>() + keys.len() as u64 + more;
        let owned: u64 = totals.values().sum();
        // With few entities, single deletions soon add up to most of them.
        let threshold = if owned < UNCOUNTED { f64::INFINITY } else { options.threshold };
        let options = LimitOptions { threshold, ..options.clone() };
        check_total(deleted, owned, &options).map_err(|problem| problem.message)
    }

    /// Records deletions.
    pub(super) fn deleted(&mut self, producer: &Producer, count: u64) {
        *self.deleted.entry((producer.account.clone(), producer.kind.clone())).or_default() += count;
    }
}
