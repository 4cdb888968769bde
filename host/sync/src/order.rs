//! The order of entities for a catalog that does not create the targets of relations itself. Pure.
//!
//! Blueprints that are targets of relations go first, and the others wait while any of their entities is on
//! its way. Blueprints in a cycle do not wait for each other. Rejected entities are retried in rounds, which
//! order the entities themselves and break their cycles.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use berth_core::{BlueprintId, Entity};
use serde_json::Value;

use crate::content::digest_of;

/// Blueprints and their relations: the target blueprint by relation name.
pub(crate) type Relations = BTreeMap<BlueprintId, BTreeMap<String, BlueprintId>>;

/// Returns the identifiers that a relation's value names.
pub(crate) fn identifiers(value: &Value) -> impl Iterator<Item = &str> {
    let (one, many) = match value {
        Value::String(one) => (Some(one.as_str()), None),
        Value::Array(many) => (None, Some(many)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
}

/// What waits for what.
#[derive(Debug, Default)]
pub(crate) struct Order {
    relations: Relations,
    waits: HashMap<BlueprintId, BTreeSet<BlueprintId>>,
}

impl Order {
    /// Creates the order of these relations. Without relations, nothing waits.
    pub(crate) fn of(relations: Relations) -> Self {
        let reach: HashMap<&BlueprintId, BTreeSet<&BlueprintId>> =
            relations.keys().map(|from| (from, reachable(&relations, from))).collect();
        let returns = |target: &BlueprintId, from: &BlueprintId| {
            target == from || reach.get(target).is_some_and(|reached| reached.contains(from))
        };
        let waits = relations
            .iter()
            .map(|(from, targets)| {
                let waits = targets.values().filter(|target| !returns(target, from)).cloned().collect();
                (from.clone(), waits)
            })
            .collect();
        Self { relations, waits }
    }

    /// Returns the blueprints whose entities go before those of this one.
    pub(crate) fn before(&self, blueprint: &BlueprintId) -> impl Iterator<Item = &BlueprintId> {
        self.waits.get(blueprint).into_iter().flatten()
    }

    /// Returns the digests of the entities that one relates to, with the relation; `None` for a relation
    /// whose target is unknown.
    pub(crate) fn targets<'e>(
        &'e self,
        entity: &'e Entity,
    ) -> impl Iterator<Item = (&'e String, Option<u128>)> {
        let relations = self.relations.get(&entity.key.blueprint);
        entity.relations.iter().flat_map(move |(name, value)| {
            let target = relations.and_then(|relations| relations.get(name));
            identifiers(value)
                .map(move |identifier| (name, target.map(|t| digest_of(t.as_str(), identifier))))
        })
    }
}

/// Returns everything that can be reached from a blueprint; itself only through a cycle.
fn reachable<'r>(relations: &'r Relations, from: &'r BlueprintId) -> BTreeSet<&'r BlueprintId> {
    let mut reached = BTreeSet::new();
    let mut unseen = vec![from];
    while let Some(next) = unseen.pop() {
        for target in relations.get(next).into_iter().flat_map(BTreeMap::values) {
            if reached.insert(target) {
                unseen.push(target);
            }
        }
    }
    reached
}

/// The next round.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// These: none of them waits for another.
    Ready(Vec<usize>),
    /// Everything waits for something else. These are on a cycle, or between two.
    Cycle(Vec<usize>),
}

/// Picks the next round: `targets` lists for each entity the others that it relates to.
pub(crate) fn next_round(targets: &[Vec<usize>]) -> Round {
    let ready: Vec<usize> = (0..targets.len()).filter(|&entity| targets[entity].is_empty()).collect();
    if !ready.is_empty() {
        return Round::Ready(ready);
    }
    // An entity without referrers is on no cycle; without it, the same holds for others.
    let mut referrers = vec![0_usize; targets.len()];
    for target in targets.iter().flatten() {
        referrers[*target] += 1;
    }
    let mut outside: Vec<usize> = (0..targets.len()).filter(|&entity| referrers[entity] == 0).collect();
    let mut next = 0;
    while let Some(&entity) = outside.get(next) {
        next += 1;
        for &target in &targets[entity] {
            referrers[target] -= 1;
            if referrers[target] == 0 {
                outside.push(target);
            }
        }
    }
    Round::Cycle((0..targets.len()).filter(|&entity| referrers[entity] > 0).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn blueprint(name: &str) -> BlueprintId {
        BlueprintId::new(name).unwrap()
    }

    fn relations(edges: &[(&str, &str)]) -> Relations {
        let mut relations = Relations::new();
        for (from, to) in edges {
            relations.entry(blueprint(from)).or_default().insert(format!("to-{to}"), blueprint(to));
        }
        relations
    }

    fn before(order: &Order, name: &str) -> Vec<String> {
        order.before(&blueprint(name)).map(ToString::to_string).collect()
    }

    #[test]
    fn targets_go_first_and_a_cycle_does_not_wait_for_itself() {
        let order = Order::of(relations(&[
            ("instance", "subnet"),
            ("instance", "account"),
            ("subnet", "vpc"),
            // A cycle, and what leads into and out of it.
            ("left", "right"),
            ("right", "left"),
            ("right", "vpc"),
            ("outside", "left"),
            ("unit", "unit"),
        ]));
        assert_eq!(before(&order, "instance"), ["account", "subnet"]);
        assert_eq!(before(&order, "right"), ["vpc"]);
        assert_eq!(before(&order, "outside"), ["left"]);
        for first in ["left", "unit", "account", "unknown"] {
            assert_eq!(before(&order, first), Vec::<String>::new(), "{first}");
        }
    }

    #[test]
    fn targets_are_reported_by_their_keys() {
        let order = Order::of(relations(&[("instance", "account")]));
        let entity: Entity = serde_json::from_value(json!({"blueprint": "instance", "identifier": "i",
            "relations": {"to-account": ["1", "2"], "other": "3", "none": null}}))
        .unwrap();
        let targets: Vec<_> = order.targets(&entity).map(|(_, target)| target).collect();
        assert_eq!(targets, [Some(digest_of("account", "1")), Some(digest_of("account", "2")), None]);
    }

    #[test]
    fn a_cycle_is_found_without_what_hangs_on_it() {
        assert_eq!(next_round(&[vec![1], vec![], vec![]]), Round::Ready(vec![1, 2]));
        // 0 ↔ 1; 2 and 3 only lead there.
        assert_eq!(next_round(&[vec![1], vec![0], vec![0], vec![2]]), Round::Cycle(vec![0, 1]));
    }

    proptest! {
        /// With any relations: nothing waits for itself, not even indirectly, and each target is waited for
        /// unless it leads back.
        #[test]
        fn waiting_ends(edges in prop::collection::vec((0..6_u8, 0..6_u8), 0..14)) {
            let name = |number: u8| format!("b{number}");
            let pairs: Vec<(String, String)> = edges.iter().map(|(a, b)| (name(*a), name(*b))).collect();
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            let relations = relations(&pairs);
            let order = Order::of(relations.clone());
            // Repeatedly removing what waits for nothing removes everything.
            let mut left: BTreeSet<BlueprintId> = (0..6).map(|number| blueprint(&name(number))).collect();
            while !left.is_empty() {
                let free: Vec<_> =
                    left.iter().filter(|b| order.before(b).all(|t| !left.contains(t))).cloned().collect();
                prop_assert!(!free.is_empty(), "{left:?} wait for each other");
                left.retain(|blueprint| !free.contains(blueprint));
            }
            for (from, to) in pairs {
                let (from, to) = (blueprint(from), blueprint(to));
                let back = from == to || reachable(&relations, &to).contains(&from);
                prop_assert_eq!(order.before(&from).any(|waited| *waited == to), !back);
            }
        }

        /// With any relations: there is always something to send, until everything is sent.
        #[test]
        fn rounds_reach_everything(edges in prop::collection::vec((0..9_usize, 0..9_usize), 0..20)) {
            let mut left: Vec<usize> = (0..9).collect();
            while !left.is_empty() {
                let position = |entity: &usize| left.iter().position(|other| other == entity);
                let targets: Vec<Vec<usize>> = left
                    .iter()
                    .map(|entity| {
                        let own = edges.iter().filter(|(from, to)| from == entity && to != entity);
                        own.filter_map(|(_, to)| position(to)).collect()
                    })
                    .collect();
                let sent = match next_round(&targets) {
                    Round::Ready(sent) => sent,
                    Round::Cycle(sent) => {
                        prop_assert!(sent.iter().all(|&entity| !targets[entity].is_empty()));
                        sent
                    }
                };
                prop_assert!(!sent.is_empty());
                let sent: Vec<usize> = sent.iter().map(|&position| left[position]).collect();
                left.retain(|entity| !sent.contains(entity));
            }
        }
    }
}
