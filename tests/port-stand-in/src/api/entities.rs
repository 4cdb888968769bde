//! Entities: upserts, deletions, searches.

use std::io::Write as _;

use axum::{
    Json,
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE},
};
use serde_json::{Value, json};

use super::{
    Answer, DELETE_LIMIT, PAGE_LIMIT, SEARCH_DEFAULT, SEARCH_LIMIT, check_event, check_size, datasource,
    object, only, query_flag, query_values, text, too_large,
};
use crate::{
    error::ApiError,
    schema::check_in_bulk,
    search,
    server::Shared,
    store::{Cascade, UpsertFlags, time},
};

pub(super) async fn list_entities(State(server): State<Shared>, Path(blueprint): Path<String>) -> Answer {
    let inner = server.lock();
    inner.store.blueprint(&blueprint)?;
    let entities: Vec<Value> = inner
        .store
        .entities
        .get(&blueprint)
        .into_iter()
        .flatten()
        .map(|(identifier, entity)| entity.to_json(&blueprint, identifier))
        .collect();
    Ok(Json(json!({"ok": true, "entities": entities})))
}

pub(super) async fn get_entity(
    State(server): State<Shared>,
    Path((blueprint, identifier)): Path<(String, String)>,
) -> Answer {
    let inner = server.lock();
    inner.store.blueprint(&blueprint)?;
    let entity = inner
        .store
        .entity(&blueprint, &identifier)
        .ok_or_else(|| ApiError::not_found("Entity", &identifier))?;
    Ok(Json(json!({"ok": true, "entity": entity.to_json(&blueprint, &identifier)})))
}

fn upsert_flags(query: Option<&str>) -> Result<UpsertFlags, ApiError> {
    check_event(query)?;
    Ok(UpsertFlags {
        upsert: query_flag(query, "upsert")?,
        merge: query_flag(query, "merge")?,
        create_missing: query_flag(query, "create_missing_related_entities")?,
        validation_only: query_flag(query, "validation_only")?,
        any_identifier: false,
    })
}

pub(super) async fn upsert_entity(
    State(server): State<Shared>,
    Path(blueprint): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_size(&body, server.options().bulk_max_bytes)?;
    let flags = upsert_flags(query.as_deref())?;
    let entity = Value::Object(object(&body)?);
    let (identifier, created) =
        server.change(|store| store.upsert(&blueprint, &entity, flags, datasource(&headers)))?;
    let entity =
        server.lock().store.entity(&blueprint, &identifier).map(|e| e.to_json(&blueprint, &identifier));
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json!({"ok": true, "entity": entity}))).into_response())
}

pub(super) async fn bulk_upsert(
    State(server): State<Shared>,
    Path(blueprint): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_size(&body, server.options().bulk_max_bytes)?;
    let flags = upsert_flags(query.as_deref())?;
    let body = object(&body)?;
    only(&body, &["entities"])?;
    let entities = body
        .get("entities")
        .and_then(Value::as_array)
        .filter(|entities| !entities.is_empty())
        .ok_or_else(|| ApiError::invalid("body must have \"entities\", a non-empty array"))?;
    let limit = server.options().bulk_max_entities;
    if entities.len() > limit {
        return Err(too_large(format!("{} entities, more than {limit}", entities.len())));
    }
    for (position, entity) in entities.iter().enumerate() {
        check_in_bulk(position, entity)?;
    }
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    server.change(|store| {
        store.blueprint(&blueprint)?;
        for (index, entity) in entities.iter().enumerate() {
            match store.upsert(&blueprint, entity, flags, datasource(&headers)) {
                Ok((identifier, created)) => {
                    done.push(json!({"identifier": identifier, "index": index, "created": created}));
                }
                Err(error) => errors.push(json!({
                    "identifier": entity.get("identifier").filter(|it| !it.is_object()).unwrap_or(&json!("unknown")),
                    "index": index,
                    "statusCode": error.status, "error": error.error, "message": error.message,
                })),
            }
        }
        Ok::<(), ApiError>(())
    })?;
    let body = json!({"ok": errors.is_empty(), "entities": done, "errors": errors});
    Ok((StatusCode::MULTI_STATUS, Json(body)).into_response())
}

fn cascade(query: Option<&str>) -> Result<Cascade, ApiError> {
    let dependents = query_flag(query, "delete_dependents")?;
    Ok(if dependents { Cascade::Related } else { Cascade::Nothing })
}

pub(super) async fn delete_entity(
    State(server): State<Shared>,
    Path((blueprint, identifier)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Answer {
    check_event(query.as_deref())?;
    let cascade = cascade(query.as_deref())?;
    server.change(|store| store.delete(&blueprint, &identifier, cascade))?;
    Ok(Json(json!({"ok": true})))
}

pub(super) async fn bulk_delete(
    State(server): State<Shared>,
    Path(blueprint): Path<String>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answer {
    check_event(query.as_deref())?;
    let cascade = cascade(query.as_deref())?;
    let body = object(&body)?;
    only(&body, &["entities"])?;
    let identifiers: Vec<String> = body
        .get("entities")
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .filter(|list: &Vec<String>| (1..=DELETE_LIMIT).contains(&list.len()))
        .ok_or_else(|| ApiError::invalid("body must have \"entities\", 1 to 100 identifiers"))?;
    let deleted = server.change(|store| store.delete_all(&blueprint, identifiers, cascade))?;
    Ok(Json(json!({"ok": true, "deletedEntities": deleted})))
}

pub(super) async fn datasource_entities(State(server): State<Shared>, body: Bytes) -> Answer {
    let body = object(&body)?;
    only(&body, &["datasource_prefix", "datasource_suffix", "limit", "before", "from"])?;
    let (prefix, suffix) = (text(&body, "datasource_prefix")?, text(&body, "datasource_suffix")?);
    let before = time(body.get("before").unwrap_or(&Value::Null))?;
    let limit = match body.get("limit") {
        None => PAGE_LIMIT,
        Some(limit) => limit
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=PAGE_LIMIT).contains(limit))
            .ok_or_else(|| ApiError::invalid("\"/limit\" must be an integer from 1 to 5000"))?,
    };
    let limit = limit.min(server.options().page_limit);
    // A cursor is the key of the first entity of its page.
    let from: (String, String) = match body.get("from") {
        None => Default::default(),
        Some(from) => from
            .as_str()
            .and_then(|cursor| serde_json::from_str(cursor).ok())
            .ok_or_else(|| ApiError::invalid("\"/from\" is no cursor of this route"))?,
    };
    let inner = server.lock();
    let mut owned = inner
        .store
        .entities
        .range(from.0.clone()..)
        .flat_map(|(blueprint, entities)| entities.iter().map(move |(id, entity)| (blueprint, id, entity)))
        .skip_while(|(blueprint, id, _)| (*blueprint, *id) < (&from.0, &from.1))
        .filter(|(.., entity)| {
            entity.datasource.starts_with(prefix)
                && entity.datasource.ends_with(suffix)
                && entity.updated_at < before
        });
    let page: Vec<Value> =
        owned.by_ref().take(limit).map(|(blueprint, id, entity)| entity.to_json(blueprint, id)).collect();
    let next = owned.next().map(|(blueprint, id, _)| json!([blueprint, id]).to_string());
    Ok(Json(json!({"ok": true, "entities": page, "next": next})))
}

pub(super) async fn search_entities(
    State(server): State<Shared>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Answer {
    let include = query_values(query.as_deref(), "include");
    query_flag(query.as_deref(), "exclude_calculated_properties")?;
    let query = Value::Object(object(&body)?);
    let found = search::search(&server.lock().store, &query, &include)?;
    Ok(Json(json!({"ok": true, "matchingBlueprints": [], "entities": found})))
}

pub(super) async fn search_blueprint(
    State(server): State<Shared>,
    Path(blueprint): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    check_size(&body, 1024 * 1024)?;
    let body = object(&body)?;
    only(&body, &["query", "include", "exclude", "limit", "from"])?;
    if body.contains_key("exclude") {
        return Err(ApiError::invalid("\"/exclude\" is not known to the stand-in"));
    }
    let include: Vec<String> = match body.get("include") {
        None => Vec::new(),
        Some(list) => serde_json::from_value(list.clone())
            .map_err(|_| ApiError::invalid("\"/include\" must be string[]"))?,
    };
    let limit = match body.get("limit") {
        None => SEARCH_DEFAULT,
        Some(limit) => limit
            .as_u64()
            .and_then(|limit| usize::try_from(limit).ok())
            .filter(|limit| (1..=SEARCH_LIMIT).contains(limit))
            .ok_or_else(|| ApiError::invalid("\"/limit\" must be an integer from 1 to 1000"))?,
    };
    let limit = limit.min(server.options().page_limit);
    // A cursor is the identifier that the page begins after.
    let after = match body.get("from") {
        None => None,
        Some(from) => Some(
            from.as_str()
                .and_then(|from| from.strip_prefix("after:"))
                .ok_or_else(|| ApiError::invalid("\"/from\" is no cursor of this route"))?,
        ),
    };
    let query = body.get("query").cloned().unwrap_or_else(|| json!({"combinator": "and", "rules": []}));
    let (page, next) = {
        let inner = server.lock();
        inner.store.blueprint(&blueprint)?;
        search::page(&inner.store, &blueprint, &query, &include, limit, after)?
    };
    let next = next.map(|after| format!("after:{after}"));
    let reply = json!({"ok": true, "entities": page, "next": next});
    let takes = headers.get(ACCEPT_ENCODING).is_some_and(|takes| takes.as_bytes() == b"gzip");
    if !takes {
        return Ok(Json(reply).into_response());
    }
    let packed = packed(reply.to_string().as_bytes()).map_err(|error| ApiError {
        status: 500,
        error: "internal",
        message: error.to_string(),
    })?;
    let headers = [(CONTENT_TYPE, "application/json"), (CONTENT_ENCODING, "gzip")];
    Ok((headers, packed).into_response())
}

fn packed(body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(body)?;
    packed.finish()
}
