//! Creates and updates entities in bulk, within Port's limits of count and bytes.

use std::ops::Range;

use crate::{
    PortConfig,
    api::{
        batches::{batches, envelope},
        client::PortClient,
        entities::{BulkError, BulkReply, EntityBody, SingleReply, UNKNOWN, WriteOrigin},
        error::{CallName, PortError, PortErrorResponse},
        halving::Halving,
    },
};
use berth_core::{
    BlueprintId, Entity, Problem, ProblemCode, UpsertOptions, UpsertOutcome, UpsertReport, port_names,
};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

/// The most entities that Port accepts in a bulk.
const BULK: usize = 20;

/// Creates or updates entities of one blueprint.
pub(crate) async fn upsert(
    client: &PortClient,
    config: &PortConfig,
    origin: WriteOrigin,
    blueprint: &BlueprintId,
    entities: &[Entity],
    options: UpsertOptions,
) -> UpsertReport {
    // An entity that Port cannot accept is not sent: it might fail the rest of its request.
    let checked: Vec<Result<Vec<u8>, Problem>> = entities.iter().map(body).collect();
    let sent: Vec<usize> = (0..entities.len()).filter(|index| checked[*index].is_ok()).collect();
    let searched = sent.iter().map(|index| entities[*index].search.is_some()).collect();
    let identifiers = sent.iter().map(|index| entities[*index].key.identifier.as_str()).collect();
    let mut outcomes = Vec::with_capacity(entities.len());
    let mut bodies = Vec::with_capacity(sent.len());
    for checked in checked {
        match checked {
            Ok(body) => {
                bodies.push(body);
                outcomes.push(None);
            }
            Err(problem) => outcomes.push(Some(UpsertOutcome::Refused(problem))),
        }
    }
    let lengths: Vec<usize> = bodies.iter().map(Vec::len).collect();
    let upsert = Upsert { client, origin, blueprint, options, bodies, searched, identifiers };
    let bulks: Vec<_> = batches(&lengths, config.upsert_batch_max_length, config.upsert_batch_max_bytes)
        .into_iter()
        .map(|range| async {
            let halving = Halving::of(BULK);
            upsert.bulk(range, &halving).await
        })
        .collect();
    let written = stream::iter(bulks).buffered(client.concurrency()).concat().await;
    let mut written = written.into_iter();
    let outcomes =
        outcomes.into_iter().map(|refused| refused.or_else(|| written.next()).unwrap_or_else(silence));
    UpsertReport { outcomes: outcomes.collect() }
}

/// Returns the JSON of an entity, if Port can accept it.
fn body(entity: &Entity) -> Result<Vec<u8>, Problem> {
    port_names::check_entity(entity)?;
    serde_json::to_vec(&EntityBody::of(entity))
        .map_err(|error| Problem::new(ProblemCode::Internal, format!("cannot be written as JSON: {error}")))
}

struct Upsert<'a> {
    client: &'a PortClient,
    origin: WriteOrigin,
    blueprint: &'a BlueprintId,
    options: UpsertOptions,
    bodies: Vec<Vec<u8>>,
    /// Which of them Port has to find by a search query.
    searched: Vec<bool>,
    identifiers: Vec<&'a str>,
}

impl Upsert<'_> {
    /// Sends a run in one request. If Port refuses it as a whole, it is halved until the cause is alone.
    fn bulk<'s>(&'s self, range: Range<usize>, halving: &'s Halving) -> BoxFuture<'s, Vec<UpsertOutcome>> {
        async move {
            let error = match self.send_bulk(range.clone()).await {
                Ok(outcomes) => {
                    halving.succeeded();
                    return outcomes;
                }
                Err(error) => error,
            };
            if halving.is_worth_it(&error) && range.len() > 1 {
                let middle = range.start + range.len() / 2;
                tracing::debug!(
                    blueprint = %self.blueprint, entities = range.len(), %error,
                    "refused as a whole by Port; sent in halves"
                );
                let mut outcomes = self.bulk(range.start..middle, halving).await;
                outcomes.extend(self.bulk(middle..range.end, halving).await);
                return outcomes;
            }
            if error.status() == Some(413) {
                return vec![self.single(range.start).await];
            }
            vec![UpsertOutcome::Refused(error.into_problem()); range.len()]
        }
        .boxed()
    }

    async fn send_bulk(&self, range: Range<usize>) -> Result<Vec<UpsertOutcome>, PortError> {
        let body = envelope(&self.bodies[range.clone()]);
        let (reply, name) = self.client.upsert_bulk(self.blueprint, body, self.options, self.origin).await?;
        Ok(outcomes(&self.searched[range.clone()], &self.identifiers[range], &reply, &name))
    }

    /// The last attempt for an entity that is too large for a bulk of one.
    async fn single(&self, index: usize) -> UpsertOutcome {
        let body = Bytes::copy_from_slice(&self.bodies[index]);
        match self.client.upsert_one(self.blueprint, body, self.options, self.origin).await {
            Ok(reply) if self.searched[index] => match reply.json::<SingleReply>() {
                Ok(reply) => UpsertOutcome::Found(reply.entity.identifier),
                Err(error) => UpsertOutcome::Refused(error.into_problem()),
            },
            // The response to a single upsert does not say what it did.
            Ok(_) => UpsertOutcome::Updated,
            Err(PortError::Refused(refusal))
                if is_missing_relation(refusal.status, refusal.error.as_deref()) =>
            {
                UpsertOutcome::MissingRelation(PortError::Refused(refusal).into_problem())
            }
            Err(error) if error.status() == Some(413) => {
                let length = self.bodies[index].len();
                let problem = error.into_problem();
                UpsertOutcome::Refused(
                    Problem::new(
                        problem.code,
                        format!("{} (the entity has {length} bytes)", problem.message),
                    )
                    .remedy("Map fewer or smaller properties of this kind."),
                )
            }
            Err(error) => UpsertOutcome::Refused(error.into_problem()),
        }
    }
}

/// Matches Port's two lists with the entities. A missing entity counts as failed, and an error wins over a
/// success.
fn outcomes(
    searched: &[bool],
    identifiers: &[&str],
    reply: &BulkReply,
    call: &CallName,
) -> Vec<UpsertOutcome> {
    let mut outcomes = vec![None; searched.len()];
    // An entry without an index belongs to the only entity with its identifier.
    let position = |index: Option<usize>, identifier: Option<&str>| {
        index.or_else(|| {
            let mut same = identifiers.iter().zip(searched).enumerate();
            let same = same.by_ref().filter(|(_, (own, searched))| !**searched && Some(**own) == identifier);
            let mut same = same.map(|(position, _)| position);
            same.next().filter(|_| same.next().is_none())
        })
    };
    for done in reply.done() {
        let Some(index) = position(done.index, done.identifier.as_deref()) else { continue };
        let Some(outcome) = outcomes.get_mut(index) else { continue };
        *outcome = match (searched[index], done.identifier) {
            (true, Some(identifier)) => Some(UpsertOutcome::Found(identifier)),
            // Written, but it is unknown which.
            (true, None) => None,
            (false, _) if done.created => Some(UpsertOutcome::Created),
            (false, _) => Some(UpsertOutcome::Updated),
        };
    }
    for error in reply.failed() {
        let Some(index) = position(error.index, error.identifier.as_deref()) else { continue };
        let Some(outcome) = outcomes.get_mut(index) else { continue };
        // Other errors of an entity with a search query (such as several matches) must not count as "not
        // found".
        let none = error.identifier.as_deref() == Some(UNKNOWN)
            && error.status_code.is_none_or(|status| status == 404);
        *outcome = Some(if searched[index] && none { UpsertOutcome::NotFound } else { refused(error, call) });
    }
    outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(silence)).collect()
}

fn silence() -> UpsertOutcome {
    UpsertOutcome::Refused(
        Problem::new(ProblemCode::PortInvalidAnswer, "Port's response does not mention the entity")
            .remedy("Run the sync again; if this happens again, the entity's identifier may be malformed."),
    )
}

fn refused(error: BulkError, call: &CallName) -> UpsertOutcome {
    let status = error.status_code.unwrap_or(422);
    let missing = is_missing_relation(status, error.error.as_deref());
    let refusal = PortErrorResponse {
        call: call.clone(),
        status,
        error: error.error,
        message: error.message,
        stale: false,
        trace_id: None,
    };
    let problem = PortError::Refused(refusal).into_problem();
    if missing {
        let remedy =
            "Sync the related kind, too, or set `createMissingRelatedEntities: true` in the mapping.";
        UpsertOutcome::MissingRelation(problem.remedy(remedy))
    } else {
        UpsertOutcome::Refused(problem)
    }
}

/// In an upsert to an existing blueprint, only a relation's target can be "not found".
fn is_missing_relation(status: u16, error: Option<&str>) -> bool {
    status == 404 && error == Some("not_found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_a_failure_and_an_error_outweighs_a_success() {
        let reply = serde_json::from_value(serde_json::json!({
            "ok": true,
            "entities": [
                {"identifier": "a", "index": 0, "created": true},
                {"identifier": "b", "index": 1, "created": false},
                {"identifier": "c", "index": 2, "created": true},
                {"identifier": "z", "index": 99, "created": true},
                {"identifier": "found", "index": 5, "created": false},
            ],
            "errors": [
                {"identifier": "c", "index": 2, "statusCode": 422, "error": "invalid", "message": "no"},
                {"identifier": "d", "index": 3, "statusCode": 404, "error": "not_found", "message": "target"},
                {"identifier": "unknown", "index": 6, "statusCode": 404, "error": "not_found", "message": "none"},
                {"identifier": "unknown", "index": 7, "statusCode": 404, "error": "not_found", "message": "its name"},
                {"identifier": "unknown", "index": 8, "statusCode": 422, "error": "invalid", "message": "two match"},
            ],
        }))
        .unwrap();
        let call = CallName { name: "upsert entities of", subject: Some("b".into()) };
        let searched = [false, false, false, false, false, true, true, false, true];
        let identifiers = ["a", "b", "c", "d", "e", "{}", "{}", "h", "{}"];
        let outcomes = outcomes(&searched, &identifiers, &reply, &call);
        assert_eq!(outcomes[..2], [UpsertOutcome::Created, UpsertOutcome::Updated]);
        assert!(matches!(&outcomes[2], UpsertOutcome::Refused(p) if p.message.contains("422 invalid: no")));
        assert!(matches!(&outcomes[3], UpsertOutcome::MissingRelation(_)));
        assert!(matches!(&outcomes[4], UpsertOutcome::Refused(p) if p.message.contains("does not mention")));
        assert_eq!(outcomes[5..7], [UpsertOutcome::Found("found".into()), UpsertOutcome::NotFound]);
        assert!(matches!(&outcomes[7], UpsertOutcome::MissingRelation(_)), "not searched for, but so named");
        assert!(matches!(&outcomes[8], UpsertOutcome::Refused(_)), "found, but not the one");
    }

    #[test]
    fn an_odd_entry_costs_its_entity_alone() {
        let call = CallName { name: "upsert entities of", subject: None };
        for odd in [
            serde_json::json!({"index": 1, "statusCode": 422, "error": {"code": "x"}, "message": "m"}),
            serde_json::json!({"index": 1, "statusCode": "422", "error": "x", "message": ["m", "n"]}),
            serde_json::json!({"index": 1, "statusCode": null, "error": null, "message": null}),
            serde_json::json!({"index": "1", "statusCode": 422.0, "error": 7, "message": {"m": true}}),
            serde_json::json!({"identifier": "b", "statusCode": {}, "error": ["x"]}),
            serde_json::json!({"identifier": "b"}),
            serde_json::json!({"index": 1, "identifier": 5}),
            serde_json::json!({"index": 1, "identifier": null, "statusCode": 99_999_999}),
        ] {
            let done = serde_json::json!([
                {"identifier": "a", "index": 0, "created": true},
                {"identifier": "c", "created": "true"},
                null, 7, "c", {"index": -1}, {"index": 99},
            ]);
            let reply = serde_json::json!({"ok": false, "entities": done, "errors": [odd, null, "x", {}]});
            let reply = serde_json::from_value(reply).unwrap();
            let outcomes = outcomes(&[false; 3], &["a", "b", "c"], &reply, &call);
            assert_eq!(outcomes[0], UpsertOutcome::Created, "{odd}");
            assert!(matches!(outcomes[1], UpsertOutcome::Refused(_)), "{odd}: {outcomes:?}");
            assert_eq!(outcomes[2], UpsertOutcome::Created, "{odd}");
        }
        for whole in ["{}", r#"{"entities": null, "errors": null}"#, r#"{"entities": {}, "errors": "x"}"#] {
            let reply = serde_json::from_str(whole).unwrap();
            let outcomes = outcomes(&[false], &["a"], &reply, &call);
            assert!(matches!(&outcomes[..], [UpsertOutcome::Refused(_)]), "{whole}");
        }
    }
}
