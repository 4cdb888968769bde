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
    /// The digest of what it says; `None` when nothing is remembered, or it has none.
    pub(crate) content: Option<u128>,
    /// Whether fields are left out of it, since they could not be read: it is merged into what the
    /// catalog has, whatever the app-config says.
    pub(crate) partial: bool,
    /// From when on its unit was read.
    pub(crate) since: Instant,
    /// How it has fared.
    pub(crate) state: WriteState,
}

/// How an entity has fared on its way.
#[derive(Debug, Default)]
pub(crate) struct WriteState {
    /// Whether the catalog did not hold it for this integration.
    pub(crate) new: bool,
    /// Whether it is known to have changed, whatever a comparison says.
    pub(crate) changed: bool,
    /// Whether nobody knows who owns what the catalog holds under its key.
    pub(crate) unowned: bool,
    /// Who counts as its producer, where there is a ledger.
    pub(crate) producers: Producers,
    /// How much had been written when it was last sent, and whether that was in a round.
    pub(crate) tried: u64,
    again: bool,
    cut: CycleBreak,
}

/// Whether an entity was sent without the relations that make a cycle.
#[derive(Debug, Default)]
enum CycleBreak {
    #[default]
    Never,
    /// Now; these are all its relations.
    Open(Map<String, Value>),
    /// Before, and all its relations are back.
    Closed,
}

impl PendingEntity {
    /// Takes out the relations to these entities, until [`whole`](Self::whole).
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

    /// Puts back what was taken out; tells whether anything was.
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
    /// Takes what is worth another try: it had none, or something was written since, and it does not
    /// wait for another of these. A cycle goes without the relations that make it, once.
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
