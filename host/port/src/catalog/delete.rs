//! Deletes entities in bulk. Only what Port confirms counts as deleted.

use std::collections::HashSet;

use super::search::{EntitySearch, by_blueprint};
use crate::api::{client::PortClient, entities::WriteOrigin, error::PortError, halving::Halving};
use berth_core::{BlueprintId, DeleteReport, EntityKey, Problem, ProblemCode};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

/// The most entities that Port accepts in a bulk deletion.
const BULK: usize = 100;

/// The result of a request for each of its entities.
type Outcomes = Vec<(EntityKey, Result<(), Problem>)>;

/// Deletes entities.
pub(crate) struct EntityDeletion<'a> {
    pub(crate) client: &'a PortClient,
    pub(crate) search: &'a EntitySearch,
    pub(crate) origin: WriteOrigin,
    /// The most entities in one request.
    pub(crate) batch_max: usize,
    /// Whether to delete what requires them, too.
    pub(crate) dependents: bool,
}

/// Deletes entities and, with `dependents`, those that require them.
///
/// Without `dependents`, Port refuses an entity that another requires until the other is gone, so the rest is
/// retried as long as each round deletes something.
pub(crate) async fn delete(deletion: &EntityDeletion<'_>, keys: &[EntityKey]) -> DeleteReport {
    let mut report = DeleteReport::default();
    let mut left: Vec<EntityKey> = keys.to_vec();
    let mut gone = HashSet::new();
    loop {
        let before = report.deleted.len();
        report.failed.clear();
        for (key, outcome) in round(deletion, &left).await {
            match outcome {
                // Two requests may name the same dependent.
                Ok(()) if gone.insert(key.clone()) => report.deleted.push(key),
                Ok(()) => {}
                Err(problem) => report.failed.push((key, problem)),
            }
        }
        report.failed.retain(|(key, _)| !gone.contains(key));
        if deletion.dependents || report.failed.is_empty() || report.deleted.len() == before {
            return report;
        }
        left = report.failed.iter().map(|(key, _)| key.clone()).collect();
    }
}

/// Tries everything once. Looks up what Port does not confirm, whoever owns it: a concurrent request may have
/// deleted it as a dependent.
async fn round(deletion: &EntityDeletion<'_>, keys: &[EntityKey]) -> Outcomes {
    let requests: Vec<_> = by_blueprint(keys)
        .into_iter()
        .flat_map(|(blueprint, identifiers)| {
            let chunks: Vec<Vec<&str>> =
                identifiers.chunks(deletion.batch_max).map(<[&str]>::to_vec).collect();
            chunks.into_iter().map(move |chunk| async move {
                let halving = Halving::of(BULK);
                bulk(deletion, blueprint, chunk, &halving).await
            })
        })
        .collect();
    let mut outcomes = stream::iter(requests).buffer_unordered(deletion.client.concurrency()).concat().await;

    let unsure: Vec<EntityKey> =
        outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(key, _)| key.clone()).collect();
    if !unsure.is_empty() {
        match deletion.search.existing(&unsure).await {
            Ok(existing) => confirm(&mut outcomes, &existing),
            Err(error) => tracing::debug!(%error, "could not look up entities whose deletion failed"),
        }
    }
    outcomes
}

fn confirm(outcomes: &mut Outcomes, existing: &HashSet<EntityKey>) {
    for (key, outcome) in outcomes {
        if outcome.is_err() && !existing.contains(key) {
            *outcome = Ok(());
        }
    }
}

/// Sends one request. If Port refuses it for one of its entities, or fails, it is halved until the cause is
/// alone.
fn bulk<'a>(
    deletion: &'a EntityDeletion<'_>,
    blueprint: &'a BlueprintId,
    identifiers: Vec<&'a str>,
    halving: &'a Halving,
) -> BoxFuture<'a, Outcomes> {
    async move {
        let EntityDeletion { client, origin, dependents, .. } = deletion;
        match client.delete_entities(blueprint, &identifiers, *dependents, *origin).await {
            Ok(reply) => {
                halving.succeeded();
                let (gone, named) = reply.split(blueprint.as_str());
                // Including dependents.
                let named = named.into_iter().filter_map(|(blueprint, identifier)| {
                    Some((key(&BlueprintId::new(&blueprint).ok()?, &identifier), Ok(())))
                });
                let asked = identifiers.into_iter();
                asked.map(|id| (key(blueprint, id), confirmed(gone.contains(id)))).chain(named).collect()
            }
            Err(error) if halve(&error, halving) && identifiers.len() > 1 => {
                let (first, second) = identifiers.split_at(identifiers.len() / 2);
                let mut outcomes = bulk(deletion, blueprint, first.to_vec(), halving).await;
                outcomes.extend(bulk(deletion, blueprint, second.to_vec(), halving).await);
                outcomes
            }
            Err(error) => {
                let problem = error.into_problem();
                identifiers.into_iter().map(|id| (key(blueprint, id), Err(problem.clone()))).collect()
            }
        }
    }
    .boxed()
}

fn key(blueprint: &BlueprintId, identifier: &str) -> EntityKey {
    EntityKey { blueprint: blueprint.clone(), identifier: identifier.to_owned() }
}

fn confirmed(gone: bool) -> Result<(), Problem> {
    if gone {
        return Ok(());
    }
    Err(Problem::new(ProblemCode::PortHasDependents, "Port did not delete it").remedy(
        "Another entity may require it: set `deleteDependentEntities: true` in the mapping, or delete it in \
         Port.",
    ))
}

/// Returns whether fewer entities may succeed.
fn halve(error: &PortError, halving: &Halving) -> bool {
    // An entity that no longer exists, or has dependents.
    let is_of_one = matches!(error, PortError::Refused(refusal)
        if refusal.status == 404 || refusal.error.as_deref() == Some("has_dependents"));
    halving.is_worth_it(error) || is_of_one
}
