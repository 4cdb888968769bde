//! What Port holds for this integration.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::SystemTime,
};

use berth_core::{BlueprintId, Entity, EntityKey, FieldSet, OwnedEntity, Problem};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    PortCatalog,
    client::{Agent, Call},
    error::PortError,
    iso, ownership,
    wire::{self, Condition, FoundEntity},
};

/// The most identifiers in one search.
const SEARCH_BATCH: usize = 50;

/// Entities per page of what seems to be owned.
const PAGE: usize = 5000;

/// The most pages of one list: more than any catalog has.
const PAGE_LIMIT: usize = 20_000;

/// Where a list goes on.
struct At {
    /// The cursor of the next page; none for the first one.
    cursor: Option<Value>,
    /// Digests of all cursors so far: none may come twice.
    seen: HashSet<u64>,
}

/// Everything this integration seems to own and that was last written before `before`, page by page.
pub(crate) fn owned(
    port: &PortCatalog,
    before: SystemTime,
) -> BoxStream<'_, Result<Vec<OwnedEntity>, PortError>> {
    let first = Some(At { cursor: None, seen: HashSet::new() });
    let before = iso(before);
    stream::try_unfold((first, before), move |(at, before)| async move {
        let Some(mut at) = at else { return Ok(None) };
        let (entities, next) = owned_page(port, &before, at.cursor.as_ref()).await?;
        let next = match next {
            None => None,
            Some(cursor) => {
                if !at.seen.insert(digest(&cursor.to_string())) || at.seen.len() >= PAGE_LIMIT {
                    return Err(PortError::Other(
                        Problem::new(
                            "Port's list of this integration's entities does not end: its pages name each \
                             other as the next",
                        )
                        .remedy("Run the sync again later. If it happens again, contact Port's support."),
                    ));
                }
                at.cursor = Some(cursor);
                Some(at)
            }
        };
        Ok(Some((entities, (next, before))))
    })
    .boxed()
}

async fn owned_page(
    port: &PortCatalog,
    before: &str,
    from: Option<&Value>,
) -> Result<(Vec<OwnedEntity>, Option<Value>), PortError> {
    let (prefix, suffix) = ownership::ends(port);
    let url = port.client.url(&["blueprints", "entities", "datasource-entities"])?;
    let call = Call::new("list owned entities", Method::POST, url).agent(Agent::Exporter).json(
        &wire::DatasourceQuery {
            datasource_prefix: &prefix,
            datasource_suffix: &suffix,
            limit: PAGE,
            before,
            from,
        },
    )?;
    let reply: wire::DatasourceReply = port.client.send(call).await?.json()?;
    let entities = reply
        .entities
        .into_iter()
        .filter_map(|entity| {
            // Not a name that Berth could have written, so nothing that it may delete.
            let blueprint = BlueprintId::new(&entity.blueprint)
                .inspect_err(|error| tracing::warn!(%error, "an owned entity is left alone"))
                .ok()?;
            Some(OwnedEntity { key: EntityKey { blueprint, identifier: entity.identifier } })
        })
        .collect();
    Ok((entities, reply.next.filter(|next| !next.is_null())))
}

/// What Port holds for these entities in these fields, as far as they are certainly this integration's
/// own.
pub(crate) async fn current(
    port: &PortCatalog,
    keys: &[EntityKey],
    fields: &FieldSet,
) -> Result<Vec<Entity>, PortError> {
    let include = include(fields);
    let searches: Vec<_> = chunks(keys)
        .into_iter()
        .map(|(blueprint, chunk)| current_chunk(port, blueprint, chunk, &include))
        .collect();
    stream::iter(searches).buffer_unordered(port.config.concurrency).try_concat().await
}

/// One search, as long as known versions wrote everything that is asked for. When something is missing,
/// it is looked for without regard to the version, and so is everything later in the session.
async fn current_chunk(
    port: &PortCatalog,
    blueprint: &BlueprintId,
    identifiers: Vec<&str>,
    include: &[String],
) -> Result<Vec<Entity>, PortError> {
    if let Some(own) = ownership::settled(port) {
        match look(port, blueprint, &identifiers, Some(own), include).await {
            Err(error) if error.refuses_the_query() => ownership::refused(port, &error),
            outcome => return outcome,
        }
    }
    let own = ownership::of_known_versions(port);
    let mut found = look(port, blueprint, &identifiers, Some(own), include).await?;
    if ownership::is_refused(port) {
        return Ok(found);
    }
    let missing: Vec<&str> = {
        let there: HashSet<&str> = found.iter().map(|entity| entity.key.identifier.as_str()).collect();
        identifiers.iter().copied().filter(|identifier| !there.contains(identifier)).collect()
    };
    if !missing.is_empty()
        && let Some(own) = ownership::complete(port).await
    {
        match look(port, blueprint, &missing, Some(own), include).await {
            Err(error) if error.refuses_the_query() => ownership::refused(port, &error),
            outcome => found.extend(outcome?),
        }
    }
    Ok(found)
}

/// Which of these entities exist at Port, whoever owns them.
pub(crate) async fn existing(
    port: &PortCatalog,
    keys: &[EntityKey],
) -> Result<HashSet<EntityKey>, PortError> {
    matching(port, keys, None).await
}

/// Which of these entities exist at Port and meet a condition.
pub(crate) async fn matching(
    port: &PortCatalog,
    keys: &[EntityKey],
    condition: Option<&Condition>,
) -> Result<HashSet<EntityKey>, PortError> {
    let include = include(&FieldSet::default());
    let searches: Vec<_> = chunks(keys)
        .into_iter()
        .map(|(blueprint, chunk)| {
            let include = &include;
            async move { look(port, blueprint, &chunk, condition.cloned(), include).await }
        })
        .collect();
    let found = stream::iter(searches).buffer_unordered(port.config.concurrency).try_concat().await?;
    Ok(found.into_iter().map(|entity| entity.key).collect())
}

/// These entities with everything they hold, whoever owns them.
pub(crate) async fn whole(
    port: &PortCatalog,
    blueprint: &BlueprintId,
    identifiers: &[&str],
) -> Result<Vec<FoundEntity>, PortError> {
    let searches: Vec<_> = identifiers
        .chunks(SEARCH_BATCH)
        .map(|chunk| search(port, blueprint.as_str(), vec![among(chunk)], &[]))
        .collect();
    stream::iter(searches).buffered(port.config.concurrency).try_concat().await
}

async fn look(
    port: &PortCatalog,
    blueprint: &BlueprintId,
    identifiers: &[&str],
    condition: Option<Condition>,
    include: &[String],
) -> Result<Vec<Entity>, PortError> {
    let rules = [among(identifiers)].into_iter().chain(condition).collect();
    let found: Vec<FoundEntity> = search(port, blueprint.as_str(), rules, include).await?;
    Ok(found.into_iter().filter_map(entity).collect())
}

/// Identifiers by blueprint, as many as one search takes.
fn chunks(keys: &[EntityKey]) -> Vec<(&BlueprintId, Vec<&str>)> {
    by_blueprint(keys)
        .into_iter()
        .flat_map(|(blueprint, identifiers)| {
            let chunks: Vec<Vec<&str>> = identifiers.chunks(SEARCH_BATCH).map(<[&str]>::to_vec).collect();
            chunks.into_iter().map(move |chunk| (blueprint, chunk))
        })
        .collect()
}

fn among(identifiers: &[&str]) -> Condition {
    Condition::rule("$identifier", "in", identifiers)
}

/// A number for a text: cheaper to keep.
pub(crate) fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Identifiers by blueprint, each once.
pub(crate) fn by_blueprint(keys: &[EntityKey]) -> BTreeMap<&BlueprintId, Vec<&str>> {
    let mut seen = HashSet::new();
    let mut grouped: BTreeMap<&BlueprintId, Vec<&str>> = BTreeMap::new();
    for key in keys.iter().filter(|key| seen.insert(*key)) {
        grouped.entry(&key.blueprint).or_default().push(&key.identifier);
    }
    grouped
}

pub(crate) fn include(fields: &FieldSet) -> Vec<String> {
    let mut include = vec!["blueprint".to_owned(), "identifier".to_owned()];
    include.extend(fields.title.then(|| "title".to_owned()));
    include.extend(fields.team.then(|| "team".to_owned()));
    include.extend(fields.properties.iter().map(|name| format!("properties.{name}")));
    include.extend(fields.relations.iter().map(|name| format!("relations.{name}")));
    include
}

/// The entities of a blueprint that meet all rules, with everything they hold or the fields named.
pub(crate) async fn search<E: DeserializeOwned>(
    port: &PortCatalog,
    blueprint: &str,
    mut rules: Vec<Condition>,
    include: &[String],
) -> Result<Vec<E>, PortError> {
    let at = rules.len().min(1);
    rules.insert(at, Condition::rule("$blueprint", "=", blueprint));
    let mut call = Call::new("search entities", Method::POST, port.client.url(&["entities", "search"])?)
        .subject(blueprint)
        .agent(Agent::Exporter)
        .query("exclude_calculated_properties", "true");
    for field in include {
        call = call.query("include", field);
    }
    let call = call.json(&Condition::all(rules))?;
    let _slot = port.slots.acquire().await;
    let reply: wire::SearchReply<E> = port.client.send(call).await?.json()?;
    Ok(reply.entities)
}

fn entity(found: FoundEntity) -> Option<Entity> {
    let blueprint = BlueprintId::new(&found.blueprint).ok()?;
    Some(Entity {
        key: EntityKey { blueprint, identifier: found.identifier },
        search: None,
        title: found.title,
        icon: found.icon,
        team: found.team,
        properties: found.properties.unwrap_or_default(),
        relations: found.relations.unwrap_or_default(),
    })
}
