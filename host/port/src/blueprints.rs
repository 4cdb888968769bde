//! Blueprints: the default ones of a fresh installation, and the relations of any.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::{AppConfig, Blueprint, BlueprintId, KindEntry};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde_json::{Map, Value};

use crate::{
    PortCatalog,
    client::{Agent, Call, Repeat},
    error::PortError,
    wire,
};

/// What refers to other blueprints, and so waits until all exist.
const REFERENCES: [&str; 3] = ["teamInheritance", "ownership", "relations"];

/// What is computed along references, and so waits until those exist.
const COMPUTED: [&str; 3] = ["calculationProperties", "mirrorProperties", "aggregationProperties"];

/// Which of the default blueprints exist.
#[derive(Debug)]
pub(crate) struct Survey<'a> {
    pub(crate) existing: Vec<&'a Blueprint>,
    pub(crate) missing: Vec<&'a Blueprint>,
}

impl Survey<'_> {
    /// What to tell about missing blueprints that the mapping needs. They are not created beside
    /// existing ones: the catalog was arranged by somebody, and the peer leaves it alone too.
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
                    "blueprint {} is missing, and was not created because {existing} exists already; create it \
                     in Port or take its kind out of the mapping",
                    blueprint.identifier()
                )
            })
            .collect()
    }
}

/// Looks for the blueprints of all kinds, each once.
pub(crate) async fn survey<'a>(
    port: &PortCatalog,
    defaults: &'a [KindEntry],
) -> Result<Survey<'a>, PortError> {
    let mut seen = BTreeSet::new();
    let blueprints: Vec<&Blueprint> = defaults
        .iter()
        .flat_map(KindEntry::blueprints)
        .filter(|blueprint| seen.insert(blueprint.identifier()))
        .collect();
    let lookups: Vec<_> = blueprints.iter().map(|blueprint| form(port, blueprint.identifier())).collect();
    let found: Vec<bool> = stream::iter(lookups)
        .buffered(port.config.concurrency)
        .map_ok(|form| form.is_some())
        .try_collect()
        .await?;
    let mut survey = Survey { existing: Vec::new(), missing: Vec::new() };
    for (blueprint, exists) in blueprints.into_iter().zip(found) {
        if exists { survey.existing.push(blueprint) } else { survey.missing.push(blueprint) }
    }
    Ok(survey)
}

/// What a blueprint asks of its entities.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    /// Target blueprints by relation.
    pub(crate) relations: BTreeMap<String, BlueprintId>,
    /// `properties.<name>` and `relations.<name>` that must be there.
    pub(crate) required: BTreeSet<String>,
}

/// What a blueprint asks of its entities, `None` when it does not exist.
pub(crate) async fn form(port: &PortCatalog, blueprint: &BlueprintId) -> Result<Option<Form>, PortError> {
    let url = port.client.url(&["blueprints", blueprint.as_str()])?;
    let call = Call::new("get blueprint", Method::GET, url).subject(blueprint.as_str());
    let Some(reply) = port.client.find(call).await? else { return Ok(None) };
    let wire::BlueprintForm { schema, relations } = reply.json::<wire::BlueprintReply>()?.blueprint;
    let properties = schema.required.unwrap_or_default().into_iter().map(|name| format!("properties.{name}"));
    let required = relations.iter().filter(|(_, relation)| relation.required == Some(true));
    Ok(Some(Form {
        required: properties.chain(required.map(|(name, _)| format!("relations.{name}"))).collect(),
        relations: relations.into_iter().map(|(name, relation)| (name, relation.target)).collect(),
    }))
}

/// Creates blueprints that refer to each other: bare, then with relations, then whole. When one is
/// refused, those already created are deleted again.
pub(crate) async fn create(port: &PortCatalog, blueprints: &[&Blueprint]) -> Result<(), PortError> {
    let bare = blueprints.iter().map(|blueprint| write(port, blueprint, Stage::Bare)).collect();
    let outcomes: Vec<Result<(), PortError>> = run(port, bare).await;
    let created: Vec<&Blueprint> =
        blueprints.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok()).map(|(b, _)| *b).collect();
    let mut outcome = outcomes.into_iter().collect::<Result<(), PortError>>();
    for stage in [Stage::Related, Stage::Whole] {
        if outcome.is_ok() {
            let writes = blueprints.iter().map(|blueprint| write(port, blueprint, stage)).collect();
            outcome = run(port, writes).await.into_iter().collect();
        }
    }
    if let Err(error) = outcome {
        let undo = created.iter().map(|blueprint| undo(port, blueprint)).collect();
        for failed in run(port, undo).await.into_iter().filter_map(Result::err) {
            tracing::warn!(%failed, "a blueprint of an unfinished installation stays behind");
        }
        return Err(error);
    }
    Ok(())
}

/// Runs calls concurrently and gives their outcomes in order.
async fn run<F>(port: &PortCatalog, calls: Vec<F>) -> Vec<Result<(), PortError>>
where
    F: Future<Output = Result<(), PortError>>,
{
    stream::iter(calls).buffered(port.config.concurrency).collect().await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Bare,
    Related,
    Whole,
}

impl Stage {
    /// The part of a definition that this stage may send.
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

async fn write(port: &PortCatalog, blueprint: &Blueprint, stage: Stage) -> Result<(), PortError> {
    let identifier = blueprint.identifier().as_str();
    let call = match stage {
        Stage::Bare => Call::new("create blueprint", Method::POST, port.client.url(&["blueprints"])?)
            .repeat(Repeat::Unprocessed),
        Stage::Related | Stage::Whole => {
            Call::new("complete blueprint", Method::PATCH, port.client.url(&["blueprints", identifier])?)
        }
    };
    let call = call.subject(identifier).agent(Agent::Exporter).json(&stage.of(blueprint.definition()))?;
    port.client.send(call).await.map(drop)
}

async fn undo(port: &PortCatalog, blueprint: &Blueprint) -> Result<(), PortError> {
    let identifier = blueprint.identifier().as_str();
    let url = port.client.url(&["blueprints", identifier])?;
    let call = Call::new("delete blueprint", Method::DELETE, url).subject(identifier).agent(Agent::Exporter);
    port.client.find(call).await.map(drop)
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
