//! Finds entities of other owners among those that are about to be created.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use berth_core::{Adoption, BlueprintId, EntityKey, FieldSet, ForeignEntity};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    ownership::{DATASOURCE, Ownership},
    search::{EntitySearch, by_blueprint, digest, include},
};
use crate::api::{
    error::PortError,
    search::{Condition, FoundEntity},
};

/// What is known about a blueprint's entities of other owners.
#[derive(Debug)]
enum ForeignList {
    /// Digests of their identifiers.
    Listed(HashSet<u64>),
    /// Port does not list them: each entity has to be looked up.
    Unlisted,
}

/// The entities of other owners by blueprint, as far as this session knows.
#[derive(Default)]
pub(crate) struct ForeignEntities(Mutex<HashMap<BlueprintId, Arc<OnceCell<ForeignList>>>>);

impl ForeignEntities {
    fn of(&self, blueprint: &BlueprintId) -> Arc<OnceCell<ForeignList>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(blueprint.clone()).or_default())
    }
}

/// Returns which of these entities exist and have another owner. One search for each blueprint and session
/// lists them all, so that a first load, which finds none, needs no search per batch.
pub(crate) async fn foreign(
    known: &ForeignEntities,
    search: &EntitySearch,
    ownership: &Ownership,
    keys: &[EntityKey],
    adoption: &Adoption,
) -> Result<Vec<ForeignEntity>, PortError> {
    let mut found = Vec::new();
    for (blueprint, identifiers) in by_blueprint(keys) {
        let cell = known.of(blueprint);
        let colliding = match cell.get_or_try_init(|| list(search, ownership, blueprint)).await? {
            ForeignList::Listed(digests) => {
                identifiers.into_iter().filter(|id| digests.contains(&digest(id))).collect()
            }
            ForeignList::Unlisted => look(search, ownership, blueprint, identifiers).await?,
        };
        if !colliding.is_empty() {
            found.extend(examine(search, ownership, blueprint, &colliding, adoption).await?);
        }
    }
    Ok(found)
}

async fn list(
    search: &EntitySearch,
    ownership: &Ownership,
    blueprint: &BlueprintId,
) -> Result<ForeignList, PortError> {
    let include = include(&FieldSet::default());
    let rules = vec![ownership.foreign().await];
    match search.all::<FoundEntity>(blueprint.as_str(), rules, &include).await {
        Ok(found) => Ok(ForeignList::Listed(found.iter().map(|entity| digest(&entity.identifier)).collect())),
        Err(error) if error.refuses_the_query() => {
            tracing::debug!(%error, "looking up each entity before it is created");
            Ok(ForeignList::Unlisted)
        }
        Err(error) => Err(error),
    }
}

/// Returns which of these exist and are not this integration's own, without the rules that Port rejects.
async fn look<'a>(
    search: &EntitySearch,
    ownership: &Ownership,
    blueprint: &BlueprintId,
    identifiers: Vec<&'a str>,
) -> Result<Vec<&'a str>, PortError> {
    let keys = keys(blueprint, &identifiers);
    let existing = search.existing(&keys).await?;
    if existing.is_empty() {
        return Ok(Vec::new());
    }
    let existing: Vec<EntityKey> = existing.into_iter().collect();
    let similar = search.matching(&existing, Some(&ownership.source().similar())).await?;
    let mut foreign: HashSet<&str> =
        existing.iter().filter(|key| !similar.contains(*key)).map(|key| key.identifier.as_str()).collect();
    let similar: Vec<EntityKey> = similar.into_iter().collect();
    let confused = search.matching(&similar, Some(&ownership.confused().await)).await?;
    foreign.extend(confused.iter().map(|key| key.identifier.as_str()));
    Ok(identifiers.into_iter().filter(|identifier| foreign.contains(identifier)).collect())
}

/// Removes what has no owner, and decides what may be taken over.
async fn examine(
    search: &EntitySearch,
    ownership: &Ownership,
    blueprint: &BlueprintId,
    identifiers: &[&str],
    adoption: &Adoption,
) -> Result<Vec<ForeignEntity>, PortError> {
    let entities = search.whole(blueprint, identifiers).await?;
    let (bare, mut owned): (Vec<&FoundEntity>, Vec<&FoundEntity>) =
        entities.iter().partition(|entity| is_bare(entity));
    let nobodys = if bare.is_empty() { HashSet::new() } else { of_nobody(search, blueprint, &bare).await? };
    owned.extend(bare.into_iter().filter(|entity| !nobodys.contains(&key(blueprint, &entity.identifier))));
    let owned: Vec<EntityKey> = owned.into_iter().map(|entity| key(blueprint, &entity.identifier)).collect();
    let adoptable = match adoption {
        _ if owned.is_empty() => HashSet::new(),
        Adoption::Never => HashSet::new(),
        Adoption::Any => owned.iter().cloned().collect(),
        Adoption::From(integration) => {
            let theirs = ownership.of(integration).await?;
            search.matching(&owned, Some(&theirs)).await?
        }
    };
    let foreign = |key: EntityKey| ForeignEntity { adoptable: adoptable.contains(&key), key };
    Ok(owned.into_iter().map(foreign).collect())
}

/// Returns which of these no data source wrote. Without a response they count as owned: a person's bare
/// entity must not be taken over.
async fn of_nobody(
    search: &EntitySearch,
    blueprint: &BlueprintId,
    bare: &[&FoundEntity],
) -> Result<HashSet<EntityKey>, PortError> {
    let keys: Vec<EntityKey> = bare.iter().map(|entity| key(blueprint, &entity.identifier)).collect();
    let unwritten = Condition::bare(DATASOURCE, "isEmpty");
    match search.matching(&keys, Some(&unwritten)).await {
        Err(error) if error.refuses_the_query() => {
            tracing::warn!(
                %error, %blueprint,
                "Berth does not write to entities without values, because Port does not say whether someone \
                 owns them"
            );
            Ok(HashSet::new())
        }
        outcome => outcome,
    }
}

/// Returns whether an entity has no values that someone could have written.
fn is_bare(entity: &FoundEntity) -> bool {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    let blank = |value: &Option<Value>| {
        value.as_ref().is_none_or(|value| empty(value) || value.as_str().is_some_and(str::is_empty))
    };
    // Both must be in the response: a missing field may have a value.
    entity.properties.as_ref().is_some_and(|properties| properties.values().all(Value::is_null))
        && entity.relations.as_ref().is_some_and(|relations| relations.values().all(empty))
        && blank(&entity.team)
        && blank(&entity.icon)
        && (blank(&entity.title) || entity.title.as_ref().is_some_and(|title| *title == *entity.identifier))
}

fn keys(blueprint: &BlueprintId, identifiers: &[&str]) -> Vec<EntityKey> {
    identifiers.iter().map(|identifier| key(blueprint, identifier)).collect()
}

fn key(blueprint: &BlueprintId, identifier: &str) -> EntityKey {
    EntityKey { blueprint: blueprint.clone(), identifier: identifier.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_an_entity_without_any_value_is_bare() {
        let bare = json!({
            "identifier": "a", "blueprint": "b", "title": null, "icon": null, "team": [],
            "properties": {"p": null}, "relations": {"r": null, "many": []},
        });
        let is_bare = |changed: &str, value: Value| {
            let mut entity = bare.clone();
            entity[changed] = value;
            is_bare(&serde_json::from_value(entity).unwrap())
        };
        assert!(is_bare("title", json!("a")) && is_bare("team", Value::Null));
        for (changed, value) in [
            ("title", json!("A")),
            ("team", json!(["t"])),
            ("icon", json!("AWS")),
            ("properties", json!({"p": false})),
            ("properties", Value::Null),
            ("relations", json!({"r": "x"})),
            ("relations", json!({"many": ["x"]})),
            ("relations", Value::Null),
        ] {
            assert!(!is_bare(changed, value.clone()), "{changed}: {value}");
        }
    }
}
