//! What the writing side of a resync knows at its end.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{Hash, Hasher},
};

use berth_core::{BlueprintId, Entity, EntityKey, Producers, UnitId};
use siphasher::sip::SipHasher13;

use crate::{
    ChangeRecord, ForeignIdentifier, Refusal, UnitCounts,
    content::searched_relations,
    index::{EntryIndex, PerUnit, UnitIndex},
    ledger_view::KeyedLedgerEntry,
    order::identifiers,
};

fn digest_text(text: &str) -> u64 {
    let mut hasher = SipHasher13::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// What the writer knows at the end.
#[derive(Debug, Default)]
pub(crate) struct WriteSummary {
    /// Created, updated, unchanged and rejected entities, by unit.
    pub(crate) counts: PerUnit<UnitCounts>,
    pub(crate) refusals: Vec<Refusal>,
    pub(crate) foreign: Vec<ForeignIdentifier>,
    pub(crate) changes: Vec<ChangeRecord>,
    /// Digests of all mapped entities, written or rejected, with the unit that produced each first.
    pub(crate) seen: HashMap<u128, UnitIndex>,
    /// The other units that produced an entity, if there are several.
    pub(crate) also_seen_by: HashMap<u128, Vec<UnitIndex>>,
    /// Entities whose producers are only certain when all units have ended, by blueprint.
    pub(crate) unsettled: BTreeMap<BlueprintId, Vec<u128>>,
    /// How many entities of each unit the catalog held before, each counted once.
    pub(crate) held: PerUnit<u64>,
    /// The same by blueprint.
    pub(crate) held_by_blueprint: BTreeMap<BlueprintId, u64>,
    /// How often a unit produced an entity again, by resource mapping.
    pub(crate) repeated: BTreeMap<EntryIndex, u64>,
    /// The targets of the mapped entities' relations: digests of identifiers by blueprint and relation.
    pub(crate) relates_to: Targets,
    /// Identifiers that more than one resource mapped to: a count, and an example.
    pub(crate) duplicates: (u64, Option<EntityKey>),
    /// The entities whose relation is a search query, by blueprint and relation: only the catalog knows their
    /// targets.
    pub(crate) searching: BTreeMap<BlueprintId, BTreeMap<String, Vec<String>>>,
    /// Blueprints with an entity that is known only by a search query, with its unit: it may be any entity.
    pub(crate) unresolved: BTreeMap<BlueprintId, UnitId>,
    /// How many entities the catalog did not find by their search query, by resource mapping.
    pub(crate) not_found: BTreeMap<EntryIndex, u64>,
    /// The entries to record.
    pub(crate) entries: Vec<KeyedLedgerEntry>,
    /// The unit whose entity arrived last, as a producer: entities of a unit arrive in a row.
    pub(crate) last_producer: Option<(UnitIndex, Producers)>,
}

/// The targets of relations: digests of target identifiers by blueprint and relation.
pub(crate) type Targets = BTreeMap<BlueprintId, BTreeMap<String, HashSet<u64>>>;

impl WriteSummary {
    /// Records an entity until the end. Returns whether it is mapped for the first time.
    pub(crate) fn note(
        &mut self,
        digest: u128,
        unit: UnitIndex,
        entry: Option<EntryIndex>,
        entity: &Entity,
    ) -> bool {
        note_targets(&mut self.relates_to, entity);
        if entity.search.is_none() {
            self.note_searching(entity, &entity.key.identifier);
        }
        let Some(first) = self.seen.get(&digest).copied() else {
            self.seen.insert(digest, unit);
            return true;
        };
        let others = self.also_seen_by.entry(digest).or_default();
        if first == unit || others.contains(&unit) {
            if let Some(entry) = entry {
                *self.repeated.entry(entry).or_default() += 1;
            }
        } else {
            others.push(unit);
        }
        self.duplicates.0 += 1;
        self.duplicates.1.get_or_insert_with(|| entity.key.clone());
        false
    }

    /// Returns the units that produced an entity in this resync.
    pub(crate) fn units_of(&self, digest: u128) -> impl Iterator<Item = UnitIndex> {
        let others = self.also_seen_by.get(&digest).into_iter().flatten();
        let units = self.seen.get(&digest).into_iter().chain(others);
        units.copied().filter(|unit| *unit != UnitIndex::SOMEBODY)
    }

    pub(crate) fn note_searching(&mut self, entity: &Entity, identifier: &str) {
        for relation in searched_relations(entity) {
            let relations = self.searching.entry(entity.key.blueprint.clone()).or_default();
            relations.entry(relation.to_owned()).or_default().push(identifier.to_owned());
        }
    }
}

/// Returns whether that relation of an entity has a target with that identifier.
pub(crate) fn relates(targets: &Targets, from: &BlueprintId, relation: &str, identifier: &str) -> bool {
    targets
        .get(from)
        .and_then(|relations| relations.get(relation))
        .is_some_and(|targets| targets.contains(&digest_text(identifier)))
}

/// Adds the targets of an entity's relations.
pub(crate) fn note_targets(targets: &mut Targets, entity: &Entity) {
    for (relation, value) in &entity.relations {
        for identifier in identifiers(value) {
            note_target(targets, &entity.key.blueprint, relation, identifier);
        }
    }
}

/// Clones names only the first time that a relation of a blueprint occurs.
fn note_target(targets: &mut Targets, from: &BlueprintId, relation: &str, identifier: &str) {
    let known = targets.get_mut(from).and_then(|relations| relations.get_mut(relation));
    let identifiers = match known {
        Some(identifiers) => identifiers,
        None => targets.entry(from.clone()).or_default().entry(relation.to_owned()).or_default(),
    };
    identifiers.insert(digest_text(identifier));
}
