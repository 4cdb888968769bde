//! Fields of mappings that gave no value, summed over all batches of a resync.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::{BlueprintId, CatalogView, Kind, MisconfiguredField};
use serde::Serialize;

use crate::{ResolvedResource, index::EntryIndex};

/// A field of a resource mapping that gave no value for some of its resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Misconfiguration {
    /// The position in `resources[]`.
    pub resource: usize,
    /// Its kind.
    pub kind: Kind,
    /// The field's dotted path, as in `properties.size`.
    pub field: String,
    /// Its expression; `None` if the mapping has null instead.
    pub expression: Option<String>,
    /// The blueprint of the entities; `None` if the resources became no entity because of the field.
    pub blueprint: Option<BlueprintId>,
    /// Whether the blueprint requires the field.
    pub required: bool,
    /// The number of resources without a value.
    pub count: u64,
    /// The number of resources in total.
    pub of: u64,
    /// Why, for the first of them.
    pub reason: String,
}

impl Misconfiguration {
    /// Returns whether resources became no entity because of this field.
    pub fn drops(&self) -> bool {
        self.blueprint.is_none()
    }
}

/// A resource mapping, a field of it, and the blueprint of the entities that lack it.
type At = (EntryIndex, String, Option<BlueprintId>);

/// The findings so far.
#[derive(Debug, Default)]
pub(crate) struct Misconfigured(BTreeMap<At, MisconfiguredField>);

impl Misconfigured {
    pub(crate) fn add(&mut self, entry: EntryIndex, field: MisconfiguredField) {
        let at = (entry, field.field.clone(), field.blueprint.clone());
        match self.0.get_mut(&at) {
            Some(known) => known.count += field.count,
            None => drop(self.0.insert(at, field)),
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for ((entry, ..), field) in other.0 {
            self.add(entry, field);
        }
    }

    /// Returns how many resources of a resource mapping became no entity.
    fn dropped(&self, entry: EntryIndex) -> u64 {
        let fields = self.0.iter().filter(|((of, ..), field)| *of == entry && field.blueprint.is_none());
        fields.map(|(_, field)| field.count).sum()
    }

    /// Returns all findings, with what the catalog requires. If the catalog does not say, nothing is
    /// required.
    pub(crate) async fn finish(
        self,
        catalog: &dyn CatalogView,
        resources: &[ResolvedResource],
        mapped: &BTreeMap<EntryIndex, u64>,
    ) -> Vec<Misconfiguration> {
        let blueprints: BTreeSet<&BlueprintId> =
            self.0.keys().filter_map(|(.., blueprint)| blueprint.as_ref()).collect();
        let mut required: BTreeMap<BlueprintId, BTreeSet<String>> = BTreeMap::new();
        for blueprint in blueprints {
            match catalog.required(blueprint).await {
                Ok(fields) => drop(required.insert(blueprint.clone(), fields)),
                Err(error) => tracing::debug!(%blueprint, %error, "cannot read what the blueprint requires"),
            }
        }
        let of: BTreeMap<EntryIndex, u64> = self
            .0
            .keys()
            .map(|(entry, ..)| {
                (*entry, mapped.get(entry).copied().unwrap_or_default() + self.dropped(*entry))
            })
            .collect();
        self.0
            .into_iter()
            .filter_map(|((entry, ..), field)| {
                let MisconfiguredField { field, expression, blueprint, count, reason } = field;
                // A search query in a relation is as required as the relation.
                let top: String = field.splitn(3, '.').take(2).collect::<Vec<_>>().join(".");
                let needs = blueprint.as_ref().and_then(|blueprint| required.get(blueprint));
                Some(Misconfiguration {
                    resource: entry.position(),
                    kind: resources.get(entry.position())?.config.kind.clone(),
                    required: needs.is_some_and(|fields| fields.contains(&top)),
                    field,
                    expression,
                    blueprint,
                    count,
                    of: of.get(&entry).copied().unwrap_or_default(),
                    reason,
                })
            })
            .inspect(log)
            .collect()
    }
}

fn log(found: &Misconfiguration) {
    let Misconfiguration { resource, kind, field, expression, count, of, reason, .. } = found;
    let expression = expression.as_deref().unwrap_or("null");
    if found.drops() {
        tracing::warn!(
            "resources[{resource}] ({kind}): {count} of {of} resources became no entity: `{field}` \
             (`{expression}`) {reason}"
        );
    } else if found.required {
        tracing::error!(
            "resources[{resource}] ({kind}): `{field}` (`{expression}`), which the blueprint requires, gave \
             no value for {count} of {of} resources: {reason}"
        );
    } else {
        tracing::warn!(
            "resources[{resource}] ({kind}): `{field}` (`{expression}`) gave no value for {count} of {of} \
             resources: {reason}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, blueprint: Option<&str>, count: u64) -> MisconfiguredField {
        MisconfiguredField {
            field: name.into(),
            expression: Some(".x".into()),
            blueprint: blueprint.map(|blueprint| BlueprintId::new(blueprint).unwrap()),
            count,
            reason: format!("gave null ({count})"),
        }
    }

    #[test]
    fn batches_are_added_up_by_entry_field_and_blueprint() {
        let mut all = Misconfigured::default();
        let (first, second) = (EntryIndex::at(0), EntryIndex::at(1));
        all.add(first, field("title", Some("a"), 2));
        all.add(first, field("title", Some("b"), 1));
        let mut unit = Misconfigured::default();
        unit.add(first, field("title", Some("a"), 3));
        unit.add(second, field("title", Some("a"), 7));
        all.merge(unit);
        let counts: Vec<(usize, u64, &str)> = all
            .0
            .iter()
            .map(|((at, ..), field)| (at.position(), field.count, field.reason.as_str()))
            .collect();
        assert_eq!(counts, [(0, 5, "gave null (2)"), (0, 1, "gave null (1)"), (1, 7, "gave null (7)")]);
    }
}
