//! Entities on their way to the catalog, and those that wait for the targets of their relations.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use berth_core::{Entity, FieldSet, Problem, Producers};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    content::key_digest,
    index::UnitIndex,
    order::{Order, Round, next_round},
};

/// A mapped entity on its way to the catalog.
#[derive(Debug)]
pub(crate) struct PendingEntity {
    /// The unit that produced it.
    pub(crate) unit: UnitIndex,
    /// The fields its mapping sets.
    pub(crate) fields: Arc<FieldSet>,
    /// The entity.
    pub(crate) entity: Entity,
    /// The digest of its content; `None` if nothing is recorded, or it has none.
    pub(crate) content: Option<u128>,
    /// Whether fields are left out because they could not be read: then it is merged into the catalog's
    /// entity, even if the app-config says otherwise.
    pub(crate) partial: bool,
    /// When its unit's read started.
    pub(crate) since: Instant,
    /// Its state.
    pub(crate) state: WriteState,
}

/// The state of an entity on its way.
#[derive(Debug, Default)]
pub(crate) struct WriteState {
    /// Whether the catalog did not hold it for this integration.
    pub(crate) new: bool,
    /// Whether it is known to have changed, regardless of a comparison.
    pub(crate) changed: bool,
    /// Whether the owner of the catalog's entity with its key is unknown.
    pub(crate) unowned: bool,
    /// Its producers, if there is a ledger.
    pub(crate) producers: Producers,
    /// How much had been written when it was last sent, and whether that was in a round.
    pub(crate) tried: u64,
    again: bool,
    cut: CycleBreak,
}

/// Whether an entity was sent without the relations of a cycle.
#[derive(Debug, Default)]
enum CycleBreak {
    #[default]
    Never,
    /// Now; these are all its relations.
    Open(Map<String, Value>),
    /// Earlier, and all its relations are restored.
    Closed,
}

impl PendingEntity {
    /// Removes the relations to these entities, until [`whole`](Self::whole).
    fn cut(&mut self, order: &Order, others: &HashMap<u128, usize>) {
        let within = |target: Option<u128>| target.is_some_and(|target| others.contains_key(&target));
        let names: HashSet<String> = order
            .targets(&self.entity)
            .filter(|(_, target)| within(*target))
            .map(|(n, _)| n.clone())
            .collect();
        self.state.cut = CycleBreak::Open(self.entity.relations.clone());
        self.entity.relations.retain(|name, _| !names.contains(name));
    }

    /// Restores the removed relations; returns whether there were any.
    pub(crate) fn whole(&mut self) -> bool {
        match std::mem::take(&mut self.state.cut) {
            CycleBreak::Never => false,
            CycleBreak::Closed => {
                self.state.cut = CycleBreak::Closed;
                false
            }
            CycleBreak::Open(relations) => {
                self.entity.relations = relations;
                self.state.cut = CycleBreak::Closed;
                true
            }
        }
    }
}

/// Entities whose relations had no target when they were sent.
#[derive(Default)]
pub(crate) struct RetryQueue {
    pub(crate) entities: Vec<(PendingEntity, Problem)>,
    /// How much was written so far.
    pub(crate) written: u64,
}

impl RetryQueue {
    /// Takes the entities that are worth a retry: something was written since their last try, or they had
    /// none, and they do not wait for another of these. Entities of a cycle are sent without the relations of
    /// the cycle, once.
    pub(crate) fn round(&mut self, order: &Order) -> Vec<PendingEntity> {
        let written = self.written;
        let worth = |(PendingEntity { state, .. }, _): &(PendingEntity, Problem)| {
            !state.again || state.tried < written
        };
        let (again, mut rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entities).into_iter().partition(worth);
        let digests: Vec<u128> = again.iter().map(|(mapped, _)| key_digest(&mapped.entity.key)).collect();
        let places: HashMap<u128, usize> =
            digests.iter().enumerate().map(|(place, digest)| (*digest, place)).collect();
        let targets = |(mapped, _): &(PendingEntity, Problem)| -> Vec<usize> {
            order.targets(&mapped.entity).filter_map(|(_, target)| places.get(&target?).copied()).collect()
        };
        let all: Vec<Vec<usize>> = again.iter().map(targets).collect();
        let others: Vec<Vec<usize>> = all
            .iter()
            .enumerate()
            .map(|(own, targets)| targets.iter().copied().filter(|target| *target != own).collect())
            .collect();
        let (picked, cycle) = match next_round(&others) {
            Round::Ready(picked) => (picked, false),
            Round::Cycle(picked) => (picked, true),
        };
        let picked: HashSet<usize> = picked.into_iter().collect();
        let mut round = Vec::with_capacity(picked.len());
        for (place, (mut mapped, problem)) in again.into_iter().enumerate() {
            if !picked.contains(&place) {
                rest.push((mapped, problem));
                continue;
            }
            if (cycle || all[place].contains(&place)) && matches!(mapped.state.cut, CycleBreak::Never) {
                mapped.cut(order, &places);
            }
            mapped.state.again = true;
            round.push(mapped);
        }
        self.entities = rest;
        round
    }
}
