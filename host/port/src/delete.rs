//! Deleting entities: in bulk, and only what Port confirms counts as gone.

use std::collections::HashSet;

use berth_core::{BlueprintId, DeleteReport, EntityKey, Problem};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use reqwest::Method;

use crate::{
    PortCatalog,
    client::{Agent, Call},
    error::PortError,
    halving::Halving,
    search, wire,
};

/// The most entities that Port takes in a bulk deletion.
const BULK: usize = 100;

/// What a request did with each of its entities.
type Outcomes = Vec<(EntityKey, Result<(), Problem>)>;

/// Deletes entities, with those that require them if `dependents`.
///
/// Without `dependents` an entity that another requires is refused until the other is gone, so what
/// is left over is tried again as long as each round deletes something.
pub(crate) async fn delete(port: &PortCatalog, keys: &[EntityKey], dependents: bool) -> DeleteReport {
    let mut report = DeleteReport::default();
    let mut left: Vec<EntityKey> = keys.to_vec();
    let mut gone = HashSet::new();
    loop {
        let before = report.deleted.len();
        report.failed.clear();
        for (key, outcome) in round(port, &left, dependents).await {
            match outcome {
                // Two requests may name the same dependent.
                Ok(()) if gone.insert(key.clone()) => report.deleted.push(key),
                Ok(()) => {}
                Err(problem) => report.failed.push((key, problem)),
            }
        }
        report.failed.retain(|(key, _)| !gone.contains(key));
        if dependents || report.failed.is_empty() || report.deleted.len() == before {
            return report;
        }
        left = report.failed.iter().map(|(key, _)| key.clone()).collect();
    }
}

/// Tries everything once. What Port does not confirm is looked for, whoever owns it: it may be gone by a
/// request that ran at the same time and took it along as a dependent.
async fn round(port: &PortCatalog, keys: &[EntityKey], dependents: bool) -> Outcomes {
    let requests: Vec<_> = search::by_blueprint(keys)
        .into_iter()
        .flat_map(|(blueprint, identifiers)| {
            let chunks: Vec<Vec<&str>> =
                identifiers.chunks(port.config.delete_batch_max).map(<[&str]>::to_vec).collect();
            chunks.into_iter().map(move |chunk| async move {
                let halving = Halving::of(BULK);
                bulk(port, blueprint, chunk, dependents, &halving).await
            })
        })
        .collect();
    let mut outcomes = stream::iter(requests).buffer_unordered(port.config.concurrency).concat().await;

    let unsure: Vec<EntityKey> =
        outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(key, _)| key.clone()).collect();
    if !unsure.is_empty() {
        match search::existing(port, &unsure).await {
            Ok(existing) => confirm(&mut outcomes, &existing),
            Err(error) => tracing::debug!(%error, "could not look for entities whose deletion failed"),
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

/// One request. When Port refuses it for one of its entities, or fails, it is halved until what is to
/// blame is alone.
fn bulk<'a>(
    port: &'a PortCatalog,
    blueprint: &'a BlueprintId,
    identifiers: Vec<&'a str>,
    dependents: bool,
    halving: &'a Halving,
) -> BoxFuture<'a, Outcomes> {
    async move {
        match send(port, blueprint, &identifiers, dependents).await {
            Ok(reply) => {
                halving.succeeded();
                let (gone, named) = reply.split(blueprint.as_str());
                // Dependents among them.
                let named = named.into_iter().filter_map(|(blueprint, identifier)| {
                    Some((key(&BlueprintId::new(&blueprint).ok()?, &identifier), Ok(())))
                });
                let asked = identifiers.into_iter();
                asked.map(|id| (key(blueprint, id), confirmed(gone.contains(id)))).chain(named).collect()
            }
            Err(error) if halve(&error, halving) && identifiers.len() > 1 => {
                let (first, second) = identifiers.split_at(identifiers.len() / 2);
                let mut outcomes = bulk(port, blueprint, first.to_vec(), dependents, halving).await;
                outcomes.extend(bulk(port, blueprint, second.to_vec(), dependents, halving).await);
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
    Err(Problem::new("Port did not delete it").remedy(
        "Another entity may require it: set `deleteDependentEntities: true` in the mapping, or delete it in Port.",
    ))
}

/// Whether fewer entities may do.
fn halve(error: &PortError, halving: &Halving) -> bool {
    // One that does not exist any more, or has dependents.
    let is_of_one = matches!(error, PortError::Refused(refusal)
        if refusal.status == 404 || refusal.error.as_deref() == Some("has_dependents"));
    halving.is_worth_it(error) || is_of_one
}

async fn send(
    port: &PortCatalog,
    blueprint: &BlueprintId,
    identifiers: &[&str],
    dependents: bool,
) -> Result<wire::DeleteReply, PortError> {
    let url = port.client.url(&["blueprints", blueprint.as_str(), "bulk", "entities", "delete"])?;
    let call = Call::new("delete entities of", Method::POST, url)
        .subject(blueprint.as_str())
        .agent(Agent::Exporter)
        .query("delete_dependents", if dependents { "true" } else { "false" });
    let call = port.with_event(call.divisible()).json(&wire::DeleteRequest { entities: identifiers })?;
    let _slot = port.slots.acquire().await;
    port.client.send(call).await?.json()
}
