//! The mapping, as native code without the engine that runs plugins. It fails like plugins do.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use berth_core::{
    BlueprintId, Entity, ItemError, Kind as KindName, KindEntry, Manifest, MapError, MapReport, MapRequest,
    Mapper, MapperSnapshot, Mapping, MisconfiguredField, Problem, ProblemCode, RefusedPlugin,
};
use serde_json::{Map, Value, json};

use crate::{scenario::MapFault, sim::State, world::Kind};

/// What every kind says of itself.
pub const KINDS: &str = include_str!("kinds.json");

/// Maps.
#[derive(Debug)]
pub struct SimulatedMapper {
    kinds: BTreeMap<KindName, KindEntry>,
    state: Arc<Mutex<State>>,
}

impl SimulatedMapper {
    /// A mapper whose faults are in the state.
    pub fn new(state: Arc<Mutex<State>>) -> Self {
        let manifest = Manifest::parse(KINDS.as_bytes()).unwrap_or_else(|error| unreachable!("{error}"));
        let kinds = manifest.kinds.into_iter().map(|kind| {
            (kind.kind.clone(), KindEntry { plugin: "simulated".into(), manifest: Arc::new(kind) })
        });
        Self { kinds: kinds.collect(), state }
    }
}

impl Mapper for SimulatedMapper {
    fn snapshot(self: Arc<Self>) -> Arc<dyn MapperSnapshot> {
        self
    }
}

#[async_trait]
impl MapperSnapshot for SimulatedMapper {
    fn kinds(&self) -> BTreeMap<KindName, KindEntry> {
        self.kinds.clone()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
        let kind = Kind::of(request.kind.as_str()).unwrap_or(Kind::Account);
        let fault = self.state.lock().unwrap_or_else(PoisonError::into_inner).map_fault(kind);
        let failed = |problem: &str| {
            Err(MapError::Plugin {
                plugin: "simulated".into(),
                kind: request.kind.clone(),
                problem: Problem::new(ProblemCode::Other, problem).remedy("ask whoever wrote the plugin"),
            })
        };
        match fault {
            Some(MapFault::Trap) => return failed("it trapped: unreachable"),
            Some(MapFault::Loop) => {
                tokio::time::sleep(Duration::from_secs(10)).await;
                return failed("it ran for longer than 10 s");
            }
            Some(MapFault::Nonsense) => return failed("its answer is not JSON"),
            Some(MapFault::Refuses) | None => {}
        }
        let blueprint = match &request.mapping {
            Mapping::Custom(config) => {
                let text = config.port.entity.mappings.blueprint.as_str().unwrap_or_default();
                text.trim_matches('"').to_owned()
            }
            _ => kind.blueprint().to_owned(),
        };
        let nameless = matches!(&request.mapping, Mapping::Custom(config)
            if config.port.entity.mappings.identifier == ".Properties.Nothing");
        let account = request.context.account.id.as_str();
        let Ok(blueprint) = BlueprintId::new(blueprint) else { return failed("it names no blueprint") };
        let resources: Vec<Value> = serde_json::from_slice(&request.page.resources).unwrap_or_default();
        let mut report = MapReport { resources: resources.len(), ..MapReport::default() };
        if nameless {
            report.misconfigured.push(MisconfiguredField {
                field: "identifier".into(),
                expression: Some(".Properties.Nothing".into()),
                blueprint: None,
                count: resources.len() as u64,
                reason: "it gave null".into(),
            });
            return Ok(report);
        }
        for (index, resource) in resources.iter().enumerate() {
            let (identifier, title, properties) = read(kind, resource);
            let Some(identifier) = identifier.filter(|_| fault.is_none() || index > 0) else {
                report.errors.push(ItemError {
                    index,
                    resource: title.unwrap_or_default(),
                    reason: "a required field is missing".into(),
                });
                continue;
            };
            let mut entity = Entity::new(blueprint.clone(), identifier);
            entity.title = Some(json!(title));
            entity.properties = properties;
            if kind != Kind::Account {
                entity.relations.insert("account".into(), json!(account));
            }
            report.entities.push(entity);
        }
        Ok(report)
    }
}

/// Identifier, title and properties of a resource.
fn read(kind: Kind, resource: &Value) -> (Option<String>, Option<String>, Map<String, Value>) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (item, steps) = (&resource["item"], &resource["steps"]);
    let (identifier, title, properties) = match kind {
        Kind::Cluster => {
            let cluster = &steps["describe"];
            (&cluster["clusterArn"], &cluster["clusterName"], json!({"status": cluster["status"]}))
        }
        Kind::Table => {
            let table = &steps["describe"];
            let properties = json!({"status": table["TableStatus"], "tags": steps["tags"]});
            (&table["TableArn"], &table["TableName"], properties)
        }
        Kind::Subnet => {
            let properties = json!({"state": item["State"], "owner": item["OwnerId"]});
            (&item["SubnetId"], &item["SubnetId"], properties)
        }
        Kind::User => (&item["Arn"], &item["UserName"], json!({"path": item["Path"]})),
        Kind::Account => (&item["Id"], &item["Name"], json!({})),
    };
    let properties = properties.as_object().cloned().unwrap_or_default();
    (text(identifier), text(title), properties)
}
