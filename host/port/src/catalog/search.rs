//! Searches entities by identifier and by condition, within Port's limits.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use berth_core::{BlueprintId, Entity, EntityKey, FieldSet, Problem, ProblemCode};
use futures::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{
    client::PortClient,
    error::PortError,
    search::{Condition, FoundEntity, PAGE_SIZE},
};

/// The most bytes of identifiers in one search; Port accepts bodies of 1 MiB.
const IDENTIFIER_BYTES: usize = 512 * 1024;

/// The most identifiers in one search of the route without pages.
const UNPAGED_BATCH: usize = 50;

/// The most pages of one list: more than any catalog has.
pub(crate) const PAGE_LIMIT: usize = 20_000;

/// The searches of one session, and what they have found out about Port's routes.
pub(crate) struct EntitySearch {
    client: Arc<PortClient>,
    /// Blueprints whose entities Port does not search page by page.
    unpaged: Mutex<BTreeSet<String>>,
    /// Whether Port accepts searches only for a few identifiers.
    small_searches: AtomicBool,
}

impl EntitySearch {
    pub(crate) fn new(client: Arc<PortClient>) -> Self {
        Self { client, unpaged: Mutex::default(), small_searches: AtomicBool::new(false) }
    }

    /// Returns which of these entities exist in Port, whoever owns them.
    pub(crate) async fn existing(&self, keys: &[EntityKey]) -> Result<HashSet<EntityKey>, PortError> {
        self.matching(keys, None).await
    }

    /// Returns which of these entities exist in Port and meet a condition.
    pub(crate) async fn matching(
        &self,
        keys: &[EntityKey],
        condition: Option<&Condition>,
    ) -> Result<HashSet<EntityKey>, PortError> {
        let include = include(&FieldSet::default());
        let searches: Vec<_> = chunks(keys)
            .into_iter()
            .map(|(blueprint, chunk)| {
                let include = &include;
                async move { self.by_identifier(blueprint, &chunk, condition.cloned(), include).await }
            })
            .collect();
        let found = stream::iter(searches).buffer_unordered(self.client.concurrency()).try_concat().await?;
        Ok(found.into_iter().map(|entity| entity.key).collect())
    }

    /// Returns these entities with all their values, whoever owns them.
    pub(crate) async fn whole(
        &self,
        blueprint: &BlueprintId,
        identifiers: &[&str],
    ) -> Result<Vec<FoundEntity>, PortError> {
        // Without named fields, only this route can leave out the values that Port computes.
        let queries = identifiers.chunks(UNPAGED_BATCH);
        let queries = queries.map(|chunk| of_blueprint(blueprint.as_str(), vec![among(chunk)]));
        let searches: Vec<_> = queries
            .map(|query| async move { self.client.search_unpaged(blueprint.as_str(), &query, &[]).await })
            .collect();
        stream::iter(searches).buffered(self.client.concurrency()).try_concat().await
    }

    /// Returns those of these entities that meet a condition, with the named fields.
    pub(crate) async fn by_identifier(
        &self,
        blueprint: &BlueprintId,
        identifiers: &[&str],
        condition: Option<Condition>,
        include: &[String],
    ) -> Result<Vec<Entity>, PortError> {
        let query = |chunk: &[&str]| {
            let rules = [among(chunk)].into_iter().chain(condition.clone()).collect();
            of_blueprint(blueprint.as_str(), rules)
        };
        let small = identifiers.len() <= UNPAGED_BATCH;
        if small || !self.small_searches.load(Ordering::Relaxed) {
            match self.paged::<FoundEntity>(blueprint.as_str(), &query(identifiers), include).await {
                Ok(Some(found)) => return Ok(found.into_iter().filter_map(entity).collect()),
                Ok(None) => {}
                // Port may reject the number of identifiers.
                Err(error) if !small && error.refuses_the_query() => {
                    tracing::debug!(%error, %blueprint, "searching for fewer entities at once");
                }
                Err(error) => return Err(error),
            }
        }
        let searches: Vec<_> = identifiers
            .chunks(UNPAGED_BATCH)
            .map(&query)
            .map(|query| async move {
                self.client.search_unpaged::<FoundEntity>(blueprint.as_str(), &query, include).await
            })
            .collect();
        let found = stream::iter(searches).buffer_unordered(self.client.concurrency()).try_concat().await?;
        if !small {
            // Nothing else was wrong with the query.
            self.small_searches.store(true, Ordering::Relaxed);
        }
        Ok(found.into_iter().filter_map(entity).collect())
    }

    /// Returns the entities of a blueprint that meet all rules, with the named fields.
    pub(crate) async fn all<E: DeserializeOwned>(
        &self,
        blueprint: &str,
        rules: Vec<Condition>,
        include: &[String],
    ) -> Result<Vec<E>, PortError> {
        let query = of_blueprint(blueprint, rules);
        match self.paged(blueprint, &query, include).await? {
            Some(found) => Ok(found),
            None => self.client.search_unpaged(blueprint, &query, include).await,
        }
    }

    /// Does the same page by page. Returns `None` if this Port has no such route, or no such blueprint.
    async fn paged<E: DeserializeOwned>(
        &self,
        blueprint: &str,
        query: &Condition,
        include: &[String],
    ) -> Result<Option<Vec<E>>, PortError> {
        if self.unpaged.lock().unwrap_or_else(PoisonError::into_inner).contains(blueprint) {
            return Ok(None);
        }
        let mut found = Vec::new();
        let mut cursors = HashSet::new();
        let mut from: Option<Value> = None;
        loop {
            let page = match self.client.search_page(blueprint, query, include, from.as_ref()).await {
                Ok(page) => page,
                Err(error) if matches!(error.status(), Some(404 | 405)) => {
                    let mut unpaged = self.unpaged.lock().unwrap_or_else(PoisonError::into_inner);
                    unpaged.insert(blueprint.to_owned());
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
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
}

/// Returns identifiers by blueprint, as many as fit into one search.
pub(crate) fn chunks(keys: &[EntityKey]) -> Vec<(&BlueprintId, Vec<&str>)> {
    let mut chunks: Vec<(&BlueprintId, Vec<&str>)> = Vec::new();
    for (blueprint, identifiers) in by_blueprint(keys) {
        let mut bytes = IDENTIFIER_BYTES;
        for identifier in identifiers {
            match chunks.last_mut() {
                Some((of, chunk))
                    if *of == blueprint
                        && chunk.len() < PAGE_SIZE
                        && bytes + identifier.len() <= IDENTIFIER_BYTES =>
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

/// Returns a number for a text: smaller than the text.
pub(crate) fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Returns identifiers by blueprint, each once.
pub(crate) fn by_blueprint(keys: &[EntityKey]) -> BTreeMap<&BlueprintId, Vec<&str>> {
    let mut seen = HashSet::new();
    let mut grouped: BTreeMap<&BlueprintId, Vec<&str>> = BTreeMap::new();
    for key in keys.iter().filter(|key| seen.insert(*key)) {
        grouped.entry(&key.blueprint).or_default().push(&key.identifier);
    }
    grouped
}

/// Returns the names of an entity's fields in a search.
pub(crate) fn include(fields: &FieldSet) -> Vec<String> {
    let mut include = vec!["blueprint".to_owned(), "identifier".to_owned()];
    include.extend(fields.title.then(|| "title".to_owned()));
    include.extend(fields.team.then(|| "team".to_owned()));
    include.extend(fields.properties.iter().map(|name| format!("properties.{name}")));
    include.extend(fields.relations.iter().map(|name| format!("relations.{name}")));
    include
}

fn of_blueprint(blueprint: &str, mut rules: Vec<Condition>) -> Condition {
    let at = rules.len().min(1);
    rules.insert(at, Condition::rule("$blueprint", "=", blueprint));
    Condition::all(rules)
}

pub(crate) fn endless(what: &str) -> PortError {
    let problem = format!("Port's {what} does not end: its pages name each other as the next");
    PortError::Other(
        Problem::new(ProblemCode::PortInvalidAnswer, problem)
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
        keys.push(key("b", "y".repeat(IDENTIFIER_BYTES + 1)));
        let chunks = chunks(&keys);
        let sizes: Vec<usize> = chunks.iter().map(|(_, chunk)| chunk.len()).collect();
        assert_eq!(sizes, [1000, 1000, 500, 2, 1, 1]);
        assert_eq!(chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>(), keys.len());
    }
}
