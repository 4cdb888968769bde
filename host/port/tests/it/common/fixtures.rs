//! An organization of Port with two blueprints, and entities for them.

use std::sync::Arc;

use berth_core::{BlueprintId, Entity, EntityKey, KindEntry, Manifest, OwnedEntity, UpsertOptions};
use port_stand_in::{LoggedRequest, PortStandIn, StandInOptions};
use serde_json::{Value, json};

use crate::common::{ID, Work};

pub(crate) const EXPORTER: &str = "port-ocean/aws-v3/1.2.3/My-Berth/exporter";
pub(crate) const PEER: &str = "port-ocean/aws-v3/2.20.11-beta/My-Berth/exporter";
pub(crate) const WRITE: UpsertOptions = UpsertOptions { merge: true, create_missing_related_entities: true };

pub(crate) async fn stand_in() -> PortStandIn {
    PortStandIn::start(StandInOptions::default()).await.unwrap()
}

pub(crate) fn blueprint(identifier: &str, relations: &Value) -> Value {
    json!({
        "identifier": identifier, "title": identifier, "icon": "AWS",
        "schema": {"properties": {
            "state": {"type": "string", "enum": ["running", "stopped"]},
            "since": {"type": "string", "format": "date-time"},
            "count": {"type": "number"},
            "blob": {"type": "string"},
        }, "required": []},
        "relations": relations,
    })
}

pub(crate) fn account() -> Value {
    blueprint("awsAccount", &json!({}))
}

pub(crate) fn instance() -> Value {
    let relations = json!({"account": {"target": "awsAccount", "many": false, "required": false}});
    blueprint("ec2Instance", &relations)
}

pub(crate) fn kind(kind: &str, blueprints: &Value, target: &str) -> KindEntry {
    let manifest = json!({"name": "p", "version": "1.0.0", "kinds": [{
        "kind": kind, "scope": "account", "blueprints": blueprints,
        "mapping": {
            "kind": kind, "selector": {"query": "true"},
            "port": {"entity": {"mappings": {
                "identifier": ".Properties.Id", "blueprint": format!("\"{target}\""),
            }}},
        },
    }]});
    let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
    KindEntry { plugin: "p".into(), manifest: Arc::new(manifest.kinds[0].clone()) }
}

/// Two kinds whose blueprints overlap, the referring one first.
pub(crate) fn defaults() -> Vec<KindEntry> {
    vec![
        kind("AWS::EC2::Instance", &json!([instance(), account()]), "ec2Instance"),
        kind("AWS::Account::Info", &json!([account()]), "awsAccount"),
    ]
}

pub(crate) fn default_config() -> Value {
    json!({
        "enableMergeEntity": true, "deleteDependentEntities": true, "createMissingRelatedEntities": true,
        "entityDeletionThreshold": 0.9,
        "resources": defaults().iter().map(|entry| json!(entry.manifest.mapping)).collect::<Vec<_>>(),
    })
}

/// The integration as Ocean leaves it, except for the version.
pub(crate) fn installed() -> Value {
    json!({
        "installationId": ID, "installationAppType": "aws-v3", "version": "1.2.3",
        "changelogDestination": {}, "config": default_config(), "actionsProcessingEnabled": false,
        "incrementalSyncEnabled": false, "processingMode": "ocean-core",
        "createPortResourcesOrigin": "Default", "arePortResourcesInitialized": true,
    })
}

/// A fake Port with both blueprints and the integration.
pub(crate) async fn furnished() -> PortStandIn {
    let stand_in = stand_in().await;
    stand_in.seed_blueprint(&account()).unwrap();
    stand_in.seed_blueprint(&instance()).unwrap();
    stand_in.seed_integration(&installed()).unwrap();
    stand_in
}

pub(crate) fn id(blueprint: &str) -> BlueprintId {
    BlueprintId::new(blueprint).unwrap()
}

pub(crate) fn key(blueprint: &str, identifier: &str) -> EntityKey {
    EntityKey { blueprint: id(blueprint), identifier: identifier.into() }
}

pub(crate) fn instance_entity(identifier: &str, properties: Value, relations: Value) -> Entity {
    Entity {
        title: Some(json!(identifier)),
        properties: serde_json::from_value(properties).unwrap(),
        relations: serde_json::from_value(relations).unwrap(),
        ..Entity::new(id("ec2Instance"), identifier)
    }
}

pub(crate) fn calls(requests: &[LoggedRequest]) -> Vec<String> {
    requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

pub(crate) fn sent(stand_in: &PortStandIn, route: &str) -> Vec<LoggedRequest> {
    stand_in.requests().into_iter().filter(|request| request.call().contains(route)).collect()
}

pub(crate) async fn owned(catalog: &Work) -> Vec<Vec<OwnedEntity>> {
    catalog.owned().await.unwrap()
}
