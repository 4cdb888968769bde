//! What Port holds for this integration.

use std::{
    collections::{BTreeMap, HashSet},
    time::SystemTime,
};

use berth_core::{BlueprintId, Entity, EntityKey, FieldSet, OwnedEntity};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use reqwest::Method;
use serde_json::Value;

use crate::{
    PortCatalog,
    client::{Agent, Call},
    error::PortError,
    iso,
    wire::{self, Rule, RuleValue},
};

/// The most identifiers in one search.
const SEARCH_BATCH: usize = 50;

/// Entities per page of what is owned.
const PAGE: usize = 5000;

/// Everything this integration owns and last wrote before `before`, page by page.
pub(crate) fn owned(
    port: &PortCatalog,
    before: SystemTime,
) -> BoxStream<'_, Result<Vec<OwnedEntity>, PortError>> {
    let before = iso(before);
    // The cursor of the next page; `None` at the end.
    let first = Some((None::<Value>, before));
    stream::try_unfold(first, move |at| async move {
        let Some((cursor, before)) = at else { return Ok(None) };
        let (entities, next) = owned_page(port, &before, cursor.as_ref()).await?;
        if next.is_some() && next == cursor {
            return Err(PortError::Other(berth_core::Problem::new(
                "Port's list of this integration's entities does not end: a page names itself as the next",
            )));
        }
        Ok(Some((entities, next.map(|next| (Some(next), before)))))
    })
    .boxed()
}

async fn owned_page(
    port: &PortCatalog,
    before: &str,
    from: Option<&Value>,
) -> Result<(Vec<OwnedEntity>, Option<Value>), PortError> {
    let (prefix, suffix) = port.datasource();
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

/// What Port holds for these entities in these fields, as far as this integration owns them.
pub(crate) async fn current(
    port: &PortCatalog,
    keys: &[EntityKey],
    fields: &FieldSet,
) -> Result<Vec<Entity>, PortError> {
    let include = include(fields);
    let searches: Vec<_> = by_blueprint(keys)
        .into_iter()
        .flat_map(|(blueprint, identifiers)| {
            let chunks: Vec<Vec<&str>> = identifiers.chunks(SEARCH_BATCH).map(<[&str]>::to_vec).collect();
            chunks.into_iter().map(move |chunk| (blueprint, chunk))
        })
        .map(|(blueprint, chunk)| search(port, blueprint, chunk, &include))
        .collect();
    stream::iter(searches).buffer_unordered(port.config.concurrency).try_concat().await
}

/// Which of these entities this integration owns at Port.
pub(crate) async fn present(port: &PortCatalog, keys: &[EntityKey]) -> Result<HashSet<EntityKey>, PortError> {
    let found = current(port, keys, &FieldSet::default()).await?;
    Ok(found.into_iter().map(|entity| entity.key).collect())
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

fn include(fields: &FieldSet) -> Vec<String> {
    let mut include = vec!["blueprint".to_owned(), "identifier".to_owned()];
    include.extend(fields.title.then(|| "title".to_owned()));
    include.extend(fields.team.then(|| "team".to_owned()));
    include.extend(fields.properties.iter().map(|name| format!("properties.{name}")));
    include.extend(fields.relations.iter().map(|name| format!("relations.{name}")));
    include
}

async fn search(
    port: &PortCatalog,
    blueprint: &BlueprintId,
    identifiers: Vec<&str>,
    include: &[String],
) -> Result<Vec<Entity>, PortError> {
    let (prefix, suffix) = port.datasource();
    let rule = |property, operator, value| Rule { property, operator, value };
    let query = wire::Search {
        combinator: "and",
        rules: vec![
            rule("$identifier", "in", RuleValue::Many(identifiers)),
            rule("$blueprint", "=", RuleValue::One(blueprint.as_str())),
            rule("$datasource", "contains", RuleValue::One(&prefix)),
            rule("$datasource", "contains", RuleValue::One(&suffix)),
        ],
    };
    let mut call = Call::new("search entities", Method::POST, port.client.url(&["entities", "search"])?)
        .subject(blueprint.as_str())
        .agent(Agent::Exporter)
        .query("exclude_calculated_properties", "true");
    for field in include {
        call = call.query("include", field);
    }
    let call = call.json(&query)?;
    let _slot = port.slots.acquire().await;
    let reply: wire::SearchReply = port.client.send(call).await?.json()?;
    Ok(reply.entities.into_iter().filter_map(entity).collect())
}

fn entity(found: wire::FoundEntity) -> Option<Entity> {
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
