//! What Port also deletes with other entities.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use berth_core::{BlueprintId, Dependent, EntityKey, FieldSet, Problem, ProblemCode};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use super::{
    owned,
    ownership::Ownership,
    search::{EntitySearch, include},
};
use crate::api::{
    blueprints::BlueprintRelations, client::PortClient, error::PortError, search::RelatedEntity,
};

/// The longest chain of dependents.
const ROUNDS: usize = 100;

/// Returns everything that relates to these entities, directly or indirectly, without the entities
/// themselves.
///
/// Reads whole blueprints, and evaluates the relations here: a filter that Port evaluates differently must
/// not hide a dependent.
pub(crate) async fn dependents(
    client: &PortClient,
    blueprints: &OnceCell<Vec<BlueprintRelations>>,
    search: &EntitySearch,
    ownership: &Ownership,
    keys: &[EntityKey],
) -> Result<Vec<Dependent>, PortError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let blueprints = blueprints.get_or_try_init(|| client.blueprints()).await?;
    let concurrency = client.concurrency();
    let mut seen: HashSet<EntityKey> = keys.iter().cloned().collect();
    let mut found: BTreeMap<EntityKey, EntityKey> = BTreeMap::new();
    let mut frontier: Vec<EntityKey> = keys.to_vec();
    for _ in 0..ROUNDS {
        let mut next = Vec::new();
        for (entity, depends_on) in related_to(search, concurrency, blueprints, &frontier).await? {
            if seen.insert(entity.clone()) {
                next.push(entity.clone());
                found.insert(entity, depends_on);
            }
        }
        if next.is_empty() {
            return with_owners(search, ownership, concurrency, found).await;
        }
        frontier = next;
    }
    Err(PortError::Other(Problem::new(
        ProblemCode::DeletionUnproven,
        format!("the entities to delete have dependents in chains of more than {ROUNDS} relations"),
    )))
}

/// Returns what relates to some entities, each with one of them.
async fn related_to(
    search: &EntitySearch,
    concurrency: usize,
    blueprints: &[BlueprintRelations],
    targets: &[EntityKey],
) -> Result<BTreeMap<EntityKey, EntityKey>, PortError> {
    let mut wanted: HashMap<&str, HashMap<&str, &EntityKey>> = HashMap::new();
    for key in targets {
        wanted.entry(key.blueprint.as_str()).or_default().insert(&key.identifier, key);
    }
    let wanted = &wanted;
    let searches: Vec<_> = blueprints
        .iter()
        .filter_map(|blueprint| {
            let relations: Vec<(&str, &HashMap<&str, &EntityKey>)> = blueprint
                .relations
                .iter()
                .flatten()
                .filter_map(|(name, relation)| Some((name.as_str(), wanted.get(relation.target.as_str())?)))
                .collect();
            (!relations.is_empty()).then(|| referrers(search, &blueprint.identifier, relations))
        })
        .collect();
    stream::iter(searches)
        .buffer_unordered(concurrency)
        .try_fold(BTreeMap::new(), async |mut all, found| {
            all.extend(found);
            Ok(all)
        })
        .await
}

/// Returns the entities of a blueprint that relate to one of the wanted ones.
async fn referrers(
    search: &EntitySearch,
    blueprint: &str,
    relations: Vec<(&str, &HashMap<&str, &EntityKey>)>,
) -> Result<Vec<(EntityKey, EntityKey)>, PortError> {
    let mut fields = include(&FieldSet::default());
    fields.extend(relations.iter().map(|(name, _)| format!("relations.{name}")));
    let entities: Vec<RelatedEntity> = search.all(blueprint, Vec::new(), &fields).await?;
    let mut found = Vec::new();
    for entity in entities {
        let mut target = None;
        for (name, wanted) in &relations {
            let values = entity.targets(name).map_err(|value| {
                PortError::Other(Problem::new(
                    ProblemCode::DeletionUnproven,
                    format!(
                        "relation `{name}` of entity {blueprint}/{} is neither an identifier nor a list of \
                    identifiers: {value}",
                        entity.identifier
                    ),
                ))
            })?;
            target = target.or_else(|| values.into_iter().find_map(|value| wanted.get(value).copied()));
        }
        if let Some(target) = target {
            let blueprint = BlueprintId::new(blueprint).map_err(|error| {
                PortError::Other(Problem::new(
                    ProblemCode::DeletionUnproven,
                    format!("a dependent of {target} has an invalid name: {error}"),
                ))
            })?;
            found.push((EntityKey { blueprint, identifier: entity.identifier }, target.clone()));
        }
    }
    Ok(found)
}

/// Looks up which of them this integration owns.
async fn with_owners(
    search: &EntitySearch,
    ownership: &Ownership,
    concurrency: usize,
    found: BTreeMap<EntityKey, EntityKey>,
) -> Result<Vec<Dependent>, PortError> {
    let keys: Vec<EntityKey> = found.keys().cloned().collect();
    let own = owned::current(search, ownership, concurrency, &keys, &FieldSet::default()).await?;
    let own: BTreeSet<EntityKey> = own.into_iter().map(|entity| entity.key).collect();
    let dependent = |(entity, depends_on)| {
        let owned = own.contains(&entity);
        Dependent { entity, depends_on, owned }
    };
    Ok(found.into_iter().map(dependent).collect())
}
