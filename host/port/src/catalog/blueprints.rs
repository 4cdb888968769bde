//! The default blueprints of a new installation.

use std::collections::BTreeSet;

use berth_core::{AppConfig, Blueprint, BlueprintId, KindEntry};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value};

use crate::api::{client::PortClient, error::PortError};

/// References to other blueprints, which wait until all exist.
const REFERENCES: [&str; 3] = ["teamInheritance", "ownership", "relations"];

/// Values computed along references, which wait until those exist.
const COMPUTED: [&str; 3] = ["calculationProperties", "mirrorProperties", "aggregationProperties"];

/// Which of the default blueprints exist.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    pub(crate) existing: Vec<&'a Blueprint>,
    pub(crate) missing: Vec<&'a Blueprint>,
}

impl Survey<'_> {
    /// Returns a note for each missing blueprint that the mapping needs. Berth does not create them if others
    /// exist: someone has arranged the catalog, and Ocean does not create them either.
    pub(crate) fn gaps(&self, config: &AppConfig) -> Vec<String> {
        let needed: BTreeSet<BlueprintId> = config
            .resources
            .iter()
            .filter_map(|resource| resource.port.entity.mappings.literal_blueprint())
            .collect();
        let existing = self.existing.first().map_or("", |blueprint| blueprint.identifier().as_str());
        self.missing
            .iter()
            .filter(|blueprint| needed.contains(blueprint.identifier()))
            .map(|blueprint| {
                format!(
                    "blueprint {} does not exist, and Berth did not create it because {existing} exists; \
                    create it in Port or remove its kind from the mapping",
                    blueprint.identifier()
                )
            })
            .collect()
    }
}

/// Looks up the blueprints of all kinds, each once.
pub(crate) async fn survey<'a>(
    client: &PortClient,
    defaults: &'a [KindEntry],
) -> Result<Survey<'a>, PortError> {
    let mut seen = BTreeSet::new();
    let blueprints: Vec<&Blueprint> = defaults
        .iter()
        .flat_map(|entry| &entry.manifest.blueprints)
        .filter(|blueprint| seen.insert(blueprint.identifier()))
        .collect();
    let lookups: Vec<_> =
        blueprints.iter().map(|blueprint| client.blueprint(blueprint.identifier())).collect();
    let found: Vec<bool> = stream::iter(lookups)
        .buffered(client.concurrency())
        .map_ok(|found| found.is_some())
        .try_collect()
        .await?;
    let mut survey = Survey { existing: Vec::new(), missing: Vec::new() };
    for (blueprint, exists) in blueprints.into_iter().zip(found) {
        if exists { survey.existing.push(blueprint) } else { survey.missing.push(blueprint) }
    }
    Ok(survey)
}

/// Creates blueprints that refer to each other: first bare, then with relations, then complete. If one is
/// refused, those already created are deleted again.
pub(crate) async fn create(client: &PortClient, blueprints: &[&Blueprint]) -> Result<(), PortError> {
    let bare = blueprints.iter().map(|blueprint| write(client, blueprint, Stage::Bare)).collect();
    let outcomes: Vec<Result<(), PortError>> = run(client, bare).await;
    let created: Vec<&Blueprint> =
        blueprints.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(b, _)| *b).collect();
    let mut outcome = outcomes.into_iter().collect::<Result<(), PortError>>();
    for stage in [Stage::Related, Stage::Whole] {
        if outcome.is_ok() {
            let writes = blueprints.iter().map(|blueprint| write(client, blueprint, stage)).collect();
            outcome = run(client, writes).await.into_iter().collect();
        }
    }
    if let Err(error) = outcome {
        let undo = created.iter().map(|blueprint| client.delete_blueprint(blueprint.identifier())).collect();
        for failed in run(client, undo).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%failed, "a blueprint of an unfinished installation remains");
        }
        return Err(error);
    }
    Ok(())
}

/// Runs calls concurrently and returns their results in order.
async fn run<F>(client: &PortClient, calls: Vec<F>) -> Vec<Result<(), PortError>>
where
    F: Future<Output = Result<(), PortError>>,
{
    stream::iter(calls).buffered(client.concurrency()).collect().await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Bare,
    Related,
    Whole,
}

impl Stage {
    /// Returns the part of a definition for this stage.
    fn of(self, definition: &Map<String, Value>) -> Map<String, Value> {
        let leave_out: &[&[&str]] = match self {
            Self::Bare => &[&REFERENCES, &COMPUTED],
            Self::Related => &[&COMPUTED],
            Self::Whole => &[],
        };
        definition
            .iter()
            .filter(|(key, _)| !leave_out.iter().any(|keys| keys.contains(&key.as_str())))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

async fn write(client: &PortClient, blueprint: &Blueprint, stage: Stage) -> Result<(), PortError> {
    let definition = stage.of(blueprint.definition());
    match stage {
        Stage::Bare => client.create_blueprint(blueprint.identifier(), &definition).await,
        Stage::Related | Stage::Whole => client.complete_blueprint(blueprint.identifier(), &definition).await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stages_add_references_then_computed_properties() {
        let definition = json!({
            "identifier": "a", "title": "A", "schema": {"properties": {}}, "relations": {"r": {}},
            "ownership": {}, "teamInheritance": {}, "mirrorProperties": {"m": {}},
            "calculationProperties": {}, "aggregationProperties": {}, "icon": "AWS",
        });
        let definition = definition.as_object().unwrap();
        let keys = |stage: Stage| stage.of(definition).keys().cloned().collect::<BTreeSet<_>>();
        let set = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let bare = set(&["identifier", "title", "schema", "icon"]);
        assert_eq!(keys(Stage::Bare), bare);
        assert_eq!(keys(Stage::Related), &bare | &set(&["relations", "ownership", "teamInheritance"]));
        assert_eq!(keys(Stage::Whole), definition.keys().cloned().collect());
    }
}
