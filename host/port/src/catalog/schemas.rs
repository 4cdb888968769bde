//! What blueprints require of their entities.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use berth_core::BlueprintId;

use crate::api::{blueprints::BlueprintDefinition, client::PortClient, error::PortError};

/// What a blueprint requires of its entities.
#[derive(Debug, Clone, Default)]
pub(crate) struct BlueprintSchema {
    /// Target blueprints by relation.
    pub(crate) relations: BTreeMap<String, BlueprintId>,
    /// `properties.<name>` and `relations.<name>` that are required.
    pub(crate) required: BTreeSet<String>,
}

impl From<BlueprintDefinition> for BlueprintSchema {
    fn from(BlueprintDefinition { schema, relations }: BlueprintDefinition) -> Self {
        let properties = schema.required.unwrap_or_default().into_iter();
        let properties = properties.map(|name| format!("properties.{name}"));
        let required = relations.iter().filter(|(_, relation)| relation.required == Some(true));
        Self {
            required: properties.chain(required.map(|(name, _)| format!("relations.{name}"))).collect(),
            relations: relations.into_iter().map(|(name, relation)| (name, relation.target)).collect(),
        }
    }
}

/// The schemas that a resync has needed so far; `None` for blueprints that do not exist.
pub(crate) struct BlueprintSchemas {
    client: Arc<PortClient>,
    known: Mutex<HashMap<BlueprintId, Option<BlueprintSchema>>>,
}

impl BlueprintSchemas {
    pub(crate) fn new(client: Arc<PortClient>) -> Self {
        Self { client, known: Mutex::default() }
    }

    pub(crate) async fn get(&self, blueprint: &BlueprintId) -> Result<Option<BlueprintSchema>, PortError> {
        if let Some(known) = self.known().get(blueprint) {
            return Ok(known.clone());
        }
        let schema = self.client.blueprint(blueprint).await?.map(BlueprintSchema::from);
        self.known().insert(blueprint.clone(), schema.clone());
        Ok(schema)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<BlueprintId, Option<BlueprintSchema>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
