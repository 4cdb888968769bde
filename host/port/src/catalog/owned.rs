//! What Port holds for this integration.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use berth_core::{BlueprintId, Entity, EntityKey, FieldSet, OwnedEntity};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use serde_json::Value;

use super::{
    ownership::Ownership,
    search::{EntitySearch, PAGE_LIMIT, chunks, digest, endless, include},
};
use crate::api::{client::PortClient, data_sources::DatasourceQuery, error::PortError, values::iso};

/// Entities per page of the list.
const PAGE: usize = 5000;

/// The position in a list.
struct Cursor {
    /// The cursor of the next page; `None` for the first one.
    next: Option<Value>,
    /// Digests of all cursors so far: none may occur twice.
    seen: HashSet<u64>,
}

/// Lists everything this integration seems to own and that was last written before `before`, page by page.
pub(crate) fn owned(
    client: Arc<PortClient>,
    ends: (String, String),
    before: SystemTime,
) -> BoxStream<'static, Result<Vec<OwnedEntity>, PortError>> {
    let first = Some(Cursor { next: None, seen: HashSet::new() });
    let state = (client, ends, iso(before), first);
    stream::try_unfold(state, |(client, ends, before, cursor)| async move {
        let Some(mut cursor) = cursor else { return Ok(None) };
        let (entities, next) = page(&client, &ends, &before, cursor.next.as_ref()).await?;
        let cursor = match next {
            None => None,
            Some(next) => {
                if !cursor.seen.insert(digest(&next.to_string())) || cursor.seen.len() >= PAGE_LIMIT {
                    return Err(endless("list of this integration's entities"));
                }
                cursor.next = Some(next);
                Some(cursor)
            }
        };
        Ok(Some((entities, (client, ends, before, cursor))))
    })
    .boxed()
}

async fn page(
    client: &PortClient,
    (prefix, suffix): &(String, String),
    before: &str,
    from: Option<&Value>,
) -> Result<(Vec<OwnedEntity>, Option<Value>), PortError> {
    let reply = client
        .data_source_page(&DatasourceQuery {
            datasource_prefix: prefix,
            datasource_suffix: suffix,
            limit: PAGE,
            before,
            from,
        })
        .await?;
    let entities = reply
        .entities
        .into_iter()
        .filter_map(|entity| {
            // Berth cannot have written such a name, so it must not delete the entity.
            let blueprint = BlueprintId::new(&entity.blueprint)
                .inspect_err(|error| tracing::warn!(%error, "an owned entity stays unchanged"))
                .ok()?;
            Some(OwnedEntity { key: EntityKey { blueprint, identifier: entity.identifier } })
        })
        .collect();
    Ok((entities, reply.next.filter(|next| !next.is_null())))
}

/// Returns what Port holds for these entities in these fields, if they are certainly this integration's own.
pub(crate) async fn current(
    search: &EntitySearch,
    ownership: &Ownership,
    concurrency: usize,
    keys: &[EntityKey],
    fields: &FieldSet,
) -> Result<Vec<Entity>, PortError> {
    let include = include(fields);
    let searches: Vec<_> = chunks(keys)
        .into_iter()
        .map(|(blueprint, chunk)| current_chunk(search, ownership, blueprint, chunk, &include))
        .collect();
    stream::iter(searches).buffer_unordered(concurrency).try_concat().await
}

/// Needs one search as long as known versions wrote all requested entities. If one is missing, it and
/// everything later in the session is searched without regard to the version.
async fn current_chunk(
    search: &EntitySearch,
    ownership: &Ownership,
    blueprint: &BlueprintId,
    identifiers: Vec<&str>,
    include: &[String],
) -> Result<Vec<Entity>, PortError> {
    if let Some(own) = ownership.settled() {
        match search.by_identifier(blueprint, &identifiers, Some(own), include).await {
            Err(error) if error.refuses_the_query() => ownership.set_refused(&error),
            outcome => return outcome,
        }
    }
    let own = ownership.source().of_known_versions();
    let mut found = search.by_identifier(blueprint, &identifiers, Some(own), include).await?;
    if ownership.is_refused() {
        return Ok(found);
    }
    let missing: Vec<&str> = {
        let there: HashSet<&str> = found.iter().map(|entity| entity.key.identifier.as_str()).collect();
        identifiers.iter().copied().filter(|identifier| !there.contains(identifier)).collect()
    };
    if !missing.is_empty()
        && let Some(own) = ownership.complete().await
    {
        match search.by_identifier(blueprint, &missing, Some(own), include).await {
            Err(error) if error.refuses_the_query() => ownership.set_refused(&error),
            outcome => found.extend(outcome?),
        }
    }
    Ok(found)
}
