//! What Port holds for this integration.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::Ordering,
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

/// The most identifiers in one search, and entities on one page of what it finds (Port's API reference:
/// `limit` 1 to 1,000).
const SEARCH_BATCH: usize = 1000;

/// The most bytes of identifiers in one search; Port takes bodies of 1 MiB.
const SEARCH_BYTES: usize = 512 * 1024;

/// The most identifiers in one search of the route without pages.
const UNPAGED_BATCH: usize = 50;

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
                    return Err(endless("list of this integration's entities"));
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
    let call = Call::new("list owned entities", Method::POST, url).agent(Agent::Exporter).compressed().json(
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
    // Only this route can leave out what Port computes, where no fields are named.
    let searches: Vec<_> = identifiers
        .chunks(UNPAGED_BATCH)
        .map(|chunk| unpaged(port, blueprint.as_str(), vec![among(chunk)], &[]))
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
    let rules = |chunk: &[&str]| [among(chunk)].into_iter().chain(condition.clone()).collect::<Vec<_>>();
    let small = identifiers.len() <= UNPAGED_BATCH;
    if small || !port.cache().small_searches.load(Ordering::Relaxed) {
        match paged::<FoundEntity>(port, blueprint.as_str(), rules(identifiers), include).await {
            Ok(Some(found)) => return Ok(found.into_iter().filter_map(entity).collect()),
            Ok(None) => {}
            // It may be the number of identifiers that Port does not take.
            Err(error) if !small && error.refuses_the_query() => {
                tracing::debug!(%error, %blueprint, "searching for fewer entities at once");
            }
            Err(error) => return Err(error),
        }
    }
    let searches: Vec<_> = identifiers
        .chunks(UNPAGED_BATCH)
        .map(|chunk| unpaged::<FoundEntity>(port, blueprint.as_str(), rules(chunk), include))
        .collect();
    let found = stream::iter(searches).buffer_unordered(port.config.concurrency).try_concat().await?;
    if !small {
        // Nothing else was wrong with the query.
        port.cache().small_searches.store(true, Ordering::Relaxed);
    }
    Ok(found.into_iter().filter_map(entity).collect())
}

/// Identifiers by blueprint, as many as one search takes.
fn chunks(keys: &[EntityKey]) -> Vec<(&BlueprintId, Vec<&str>)> {
    let mut chunks: Vec<(&BlueprintId, Vec<&str>)> = Vec::new();
    for (blueprint, identifiers) in by_blueprint(keys) {
        let mut bytes = SEARCH_BYTES;
        for identifier in identifiers {
            match chunks.last_mut() {
                Some((of, chunk))
                    if *of == blueprint
                        && chunk.len() < SEARCH_BATCH
                        && bytes + identifier.len() <= SEARCH_BYTES =>
                {
                    chunk.push(identifier);
                    bytes += identifier.len();
                }
                _ => {
                    chunks.push((blueprint, vec![identifier]));
                    bytes = identifier.len();
                }
            }
        }
    }
    chunks
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

/// The entities of a blueprint that meet all rules, with the fields named.
pub(crate) async fn search<E: DeserializeOwned>(
    port: &PortCatalog,
    blueprint: &str,
    rules: Vec<Condition>,
    include: &[String],
) -> Result<Vec<E>, PortError> {
    match paged(port, blueprint, rules.clone(), include).await? {
        Some(found) => Ok(found),
        None => unpaged(port, blueprint, rules, include).await,
    }
}

/// The same, page by page. `None` where this Port has no such route, or no such blueprint.
async fn paged<E: DeserializeOwned>(
    port: &PortCatalog,
    blueprint: &str,
    rules: Vec<Condition>,
    include: &[String],
) -> Result<Option<Vec<E>>, PortError> {
    let cache = port.cache();
    if cache.is_unpaged(blueprint) {
        return Ok(None);
    }
    let query = of_blueprint(blueprint, rules);
    let mut found = Vec::new();
    let mut cursors = HashSet::new();
    let mut from: Option<Value> = None;
    loop {
        let url = port.client.url(&["blueprints", blueprint, "entities", "search"])?;
        let call = Call::new("search entities", Method::POST, url)
            .subject(blueprint)
            .agent(Agent::Exporter)
            .compressed()
            .json(&wire::PageQuery { query: &query, include, limit: SEARCH_BATCH, from: from.as_ref() })?;
        let slot = port.slots.acquire().await;
        let page: wire::PageReply<E> = match port.client.send(call).await {
            Ok(reply) => reply.json()?,
            Err(error) if matches!(error.status(), Some(404 | 405)) => {
                cache.set_unpaged(blueprint);
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        drop(slot);
        found.extend(page.entities);
        let Some(next) = page.next.filter(|next| !next.is_null() && next != "") else {
            return Ok(Some(found));
        };
        if !cursors.insert(digest(&next.to_string())) || cursors.len() >= PAGE_LIMIT {
            return Err(endless("list of a blueprint's entities"));
        }
        from = Some(next);
    }
}

/// The same by the route that gives everything at once.
async fn unpaged<E: DeserializeOwned>(
    port: &PortCatalog,
    blueprint: &str,
    rules: Vec<Condition>,
    include: &[String],
) -> Result<Vec<E>, PortError> {
    let mut call = Call::new("search entities", Method::POST, port.client.url(&["entities", "search"])?)
        .subject(blueprint)
        .agent(Agent::Exporter)
        .compressed()
        .query("exclude_calculated_properties", "true");
    for field in include {
        call = call.query("include", field);
    }
    let call = call.json(&of_blueprint(blueprint, rules))?;
    let _slot = port.slots.acquire().await;
    let reply: wire::SearchReply<E> = port.client.send(call).await?.json()?;
    Ok(reply.entities)
}

fn of_blueprint(blueprint: &str, mut rules: Vec<Condition>) -> Condition {
    let at = rules.len().min(1);
    rules.insert(at, Condition::rule("$blueprint", "=", blueprint));
    Condition::all(rules)
}

fn endless(what: &str) -> PortError {
    let problem = format!("Port's {what} does not end: its pages name each other as the next");
    PortError::Other(
        Problem::new(problem)
            .remedy("Run the sync again later. If it happens again, contact Port's support."),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_has_a_thousand_identifiers_of_one_blueprint_and_half_a_mebibyte() {
        let key = |blueprint: &str, identifier: String| EntityKey {
            blueprint: BlueprintId::new(blueprint).unwrap(),
            identifier,
        };
        let mut keys: Vec<EntityKey> = (0..2500).map(|n| key("a", format!("{n}"))).collect();
        keys.extend((0..3).map(|n| key("b", format!("{n}{}", "x".repeat(200 * 1024)))));
        keys.push(key("b", "y".repeat(SEARCH_BYTES + 1)));
        let chunks = chunks(&keys);
        let sizes: Vec<usize> = chunks.iter().map(|(_, chunk)| chunk.len()).collect();
        assert_eq!(sizes, [1000, 1000, 500, 2, 1, 1]);
        assert_eq!(chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>(), keys.len());
    }
}
