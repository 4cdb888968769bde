//! [`PortCatalog`] with the fake Port: what it sends, in which order, and how refusals end.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
    sync::Arc,
    time::{Duration, SystemTime},
};

use berth_core::{
    BlueprintId, Entity, EntityKey, FieldSet, KindEntry, Manifest, OwnedEntity, ResyncStatus, UpsertOptions,
    UpsertOutcome,
};
use berth_port::{
    ResyncSchedule,
    service::{FeedError, LIVE_EVENTS_FLAG, PortService},
};
use common::{ID, Work, catalog, config};
use port_stand_in::{Fault, LoggedRequest, PortStandIn, StandInOptions};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

const EXPORTER: &str = "port-ocean/aws-v3/1.2.3/My-Berth/exporter";
const PEER: &str = "port-ocean/aws-v3/2.20.11-beta/My-Berth/exporter";
const WRITE: UpsertOptions = UpsertOptions { merge: true, create_missing_related_entities: true };

// === Helpers ===

async fn stand_in() -> PortStandIn {
    PortStandIn::start(StandInOptions::default()).await.unwrap()
}

fn blueprint(identifier: &str, relations: &Value) -> Value {
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

fn account() -> Value {
    blueprint("awsAccount", &json!({}))
}

fn instance() -> Value {
    let relations = json!({"account": {"target": "awsAccount", "many": false, "required": false}});
    blueprint("ec2Instance", &relations)
}

fn kind(kind: &str, blueprints: &Value, target: &str) -> KindEntry {
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
fn defaults() -> Vec<KindEntry> {
    vec![
        kind("AWS::EC2::Instance", &json!([instance(), account()]), "ec2Instance"),
        kind("AWS::Account::Info", &json!([account()]), "awsAccount"),
    ]
}

fn default_config() -> Value {
    json!({
        "enableMergeEntity": true, "deleteDependentEntities": true, "createMissingRelatedEntities": true,
        "entityDeletionThreshold": 0.9,
        "resources": defaults().iter().map(|entry| json!(entry.manifest.mapping)).collect::<Vec<_>>(),
    })
}

/// The integration as Ocean leaves it, except for the version.
fn installed() -> Value {
    json!({
        "installationId": ID, "installationAppType": "aws-v3", "version": "1.2.3",
        "changelogDestination": {}, "config": default_config(), "actionsProcessingEnabled": false,
        "incrementalSyncEnabled": false, "processingMode": "ocean-core",
        "createPortResourcesOrigin": "Default", "arePortResourcesInitialized": true,
    })
}

/// A fake Port with both blueprints and the integration.
async fn furnished() -> PortStandIn {
    let stand_in = stand_in().await;
    stand_in.seed_blueprint(&account()).unwrap();
    stand_in.seed_blueprint(&instance()).unwrap();
    stand_in.seed_integration(&installed()).unwrap();
    stand_in
}

fn id(blueprint: &str) -> BlueprintId {
    BlueprintId::new(blueprint).unwrap()
}

fn key(blueprint: &str, identifier: &str) -> EntityKey {
    EntityKey { blueprint: id(blueprint), identifier: identifier.into() }
}

fn instance_entity(identifier: &str, properties: Value, relations: Value) -> Entity {
    Entity {
        title: Some(json!(identifier)),
        properties: serde_json::from_value(properties).unwrap(),
        relations: serde_json::from_value(relations).unwrap(),
        ..Entity::new(id("ec2Instance"), identifier)
    }
}

fn calls(requests: &[LoggedRequest]) -> Vec<String> {
    requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect()
}

fn sent(stand_in: &PortStandIn, route: &str) -> Vec<LoggedRequest> {
    stand_in.requests().into_iter().filter(|request| request.call().contains(route)).collect()
}

async fn owned(catalog: &Work) -> Vec<Vec<OwnedEntity>> {
    catalog.owned().await.unwrap()
}

// === Start ===

#[tokio::test]
async fn a_first_installation_follows_the_order_of_the_contract() {
    let stand_in = stand_in().await;
    let catalog = catalog(config(&stand_in));
    let session = catalog.open(&defaults()).await.unwrap();

    let requests = stand_in.requests();
    let calls = calls(&requests);
    let integration = format!("/v1/integration/{ID}");
    let fixed = [
        "POST /v1/auth/access_token".to_owned(),
        format!("GET {integration}"),
        "GET /v1/integration/provision-enabled".into(),
        "GET /v1/organization".into(),
        format!("GET {integration}"),
        "POST /v1/integration".into(),
        format!("PATCH {integration}"),
        format!("PATCH {integration}/config"),
    ];
    assert_eq!(calls[..8], fixed);
    // Calls within a stage run at once.
    let stages: [&[&str]; 4] = [
        &["GET /v1/blueprints/awsAccount", "GET /v1/blueprints/ec2Instance"],
        &["POST /v1/blueprints", "POST /v1/blueprints"],
        &["PATCH /v1/blueprints/awsAccount", "PATCH /v1/blueprints/ec2Instance"],
        &["PATCH /v1/blueprints/awsAccount", "PATCH /v1/blueprints/ec2Instance"],
    ];
    for (index, stage) in stages.iter().enumerate() {
        let mut found = calls[8 + 2 * index..10 + 2 * index].to_vec();
        found.sort();
        assert_eq!(found, *stage);
    }
    assert_eq!(calls[16..], [format!("PATCH {integration}"), format!("GET {integration}")]);

    assert_eq!(requests[1].query, "oceanCoreVersion=0.48.12&isPolling=false");
    assert_eq!(
        requests[5].body,
        json!({
            "installationId": ID, "installationAppType": "aws-v3", "version": "1.2.3",
            "changelogDestination": {}, "config": {}, "actionsProcessingEnabled": false,
            "incrementalSyncEnabled": false, "createPortResourcesOrigin": "Default",
        })
    );
    assert_eq!(
        requests[6].body,
        json!({
            "version": "1.2.3", "installationAppType": "aws-v3", "changelogDestination": {},
            "actionsProcessingEnabled": false, "incrementalSyncEnabled": false,
            "processingMode": "ocean-core",
        })
    );
    assert_eq!(requests[7].body, json!({"config": default_config()}));
    assert_eq!(requests[16].body, json!({"version": "1.2.3", "arePortResourcesInitialized": true}));
    for request in &requests {
        let exporter = request.method != "GET" && request.path.starts_with("/v1/blueprints");
        let agent = if exporter { EXPORTER } else { "port-ocean/aws-v3/1.2.3/My-Berth" };
        assert_eq!(request.user_agent, agent, "{}", request.path);
    }

    assert_eq!(stand_in.blueprint("ec2Instance").unwrap(), instance());
    assert_eq!(serde_json::to_value(&session.config).unwrap(), default_config());
    assert!(session.notes.contains(&"created blueprint ec2Instance".to_owned()), "{:?}", session.notes);

    // A later resync of the process reads only the mapping; another process finds everything in place.
    stand_in.clear_requests();
    let again = catalog.open(&defaults()).await.unwrap();
    assert_eq!(self::calls(&stand_in.requests()), [format!("GET {integration}")]);
    assert_eq!((again.config, again.notes), (session.config, vec![]));
}

#[tokio::test]
async fn what_somebody_deleted_in_port_only_a_start_installs_again() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    assert!(PortService::of(&catalog).is_installed() && !PortService::of(&catalog).is_deleted());
    stand_in.delete_integration(ID);
    stand_in.clear_requests();
    let mut renewed = config(&stand_in);
    renewed.install = false;
    // Neither a further resync, nor one with new settings, nor an event.
    for catalog in [&catalog, &common::catalog(renewed)] {
        let error = catalog.open(&defaults()).await.unwrap_err();
        assert!(error.0.message.contains("someone deleted the data source"), "{error}");
        assert!(error.0.remedy.is_some() && PortService::of(catalog).is_deleted());
    }
    let error = catalog.follow(&defaults()).await.unwrap_err();
    assert!(error.0.message.contains("someone deleted the data source"), "{error}");
    assert!(error.0.remedy.is_some());
    assert!(!stand_in.requests().iter().any(LoggedRequest::writes));
    assert_eq!(stand_in.integration(ID), None);

    // Another process does, and this one continues.
    common::catalog(config(&stand_in)).open(&defaults()).await.unwrap();
    assert!(stand_in.integration(ID).is_some());
    catalog.open(&defaults()).await.unwrap();
    assert!(!PortService::of(&catalog).is_deleted());
}

#[tokio::test]
async fn taking_over_an_installation_writes_nothing() {
    let stand_in = furnished().await;
    let session = catalog(config(&stand_in)).open(&[]).await.unwrap();
    assert_eq!(session.config.resources.len(), 2);
    assert_eq!(session.notes, [""; 0]);
    let writes: Vec<_> = stand_in.requests().into_iter().filter(LoggedRequest::writes).collect();
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn an_upgrade_sends_one_patch_with_everything() {
    let stand_in = furnished().await;
    let mut config = config(&stand_in);
    config.integration_version = "1.3.0".into();
    catalog(config).open(&defaults()).await.unwrap();
    let writes: Vec<_> = stand_in.requests().into_iter().filter(LoggedRequest::writes).collect();
    assert_eq!(calls(&writes), [format!("PATCH /v1/integration/{ID}")]);
    assert_eq!(writes[0].body["version"], "1.3.0");
    assert_eq!(writes[0].body["processingMode"], "ocean-core");
}

#[tokio::test]
async fn an_existing_blueprint_keeps_the_others_from_being_created_and_is_left_alone() {
    let stand_in = stand_in().await;
    let mut own = account();
    own["title"] = json!("Our accounts");
    stand_in.seed_blueprint(&own).unwrap();
    let session = catalog(config(&stand_in)).open(&defaults()).await.unwrap();
    assert_eq!(stand_in.blueprint("awsAccount").unwrap(), own);
    assert_eq!(stand_in.blueprint("ec2Instance"), None);
    let told = session.notes.iter().any(|note| note.starts_with("blueprint ec2Instance does not exist"));
    assert!(told, "{:?}", session.notes);
    assert_eq!(stand_in.integration(ID).unwrap()["arePortResourcesInitialized"], true);
}

#[tokio::test]
async fn a_refused_blueprint_is_rolled_back_and_tried_again_at_the_next_start() {
    let stand_in = stand_in().await;
    stand_in.fail(Fault::on("PATCH /v1/blueprints/{blueprint}").status(500).times(4));
    let error = catalog(config(&stand_in)).open(&defaults()).await.unwrap_err();
    assert!(error.0.message.contains("complete blueprint"), "{error}");
    assert_eq!(stand_in.count("DELETE /v1/blueprints/{blueprint}"), 2);
    assert_eq!(stand_in.blueprint("awsAccount"), None);
    let integration = stand_in.integration(ID).unwrap();
    assert_eq!(integration.get("arePortResourcesInitialized"), None);

    catalog(config(&stand_in)).open(&defaults()).await.unwrap();
    assert_eq!(stand_in.blueprint("ec2Instance").unwrap(), instance());
}

#[tokio::test]
async fn a_mapping_that_port_holds_is_never_overwritten() {
    let stand_in = stand_in().await;
    let own = json!({"resources": [], "deleteDependentEntities": false});
    let document = json!({"installationId": ID, "config": own});
    stand_in.seed_integration(&document).unwrap();
    let session = catalog(config(&stand_in)).open(&defaults()).await.unwrap();
    assert_eq!(stand_in.integration(ID).unwrap()["config"], own);
    assert!(!session.config.delete_dependent_entities);
    assert_eq!(stand_in.count("/config"), 0);
}

#[tokio::test]
async fn read_only_sends_no_write() {
    let fresh = stand_in().await;
    let session = catalog(config(&fresh)).read(&defaults()).await.unwrap();
    assert_eq!(serde_json::to_value(&session.config).unwrap(), default_config());
    assert!(session.notes.iter().any(|n| n == "would create blueprint awsAccount"), "{:?}", session.notes);

    let furnished = furnished().await;
    let reader = catalog(config(&furnished));
    reader.read(&defaults()).await.unwrap();
    reader.current(&[key("ec2Instance", "i-1")], &FieldSet::default()).await.unwrap();
    owned(&reader).await;

    for stand_in in [fresh, furnished] {
        let writes: Vec<_> = stand_in.requests().into_iter().filter(LoggedRequest::writes).collect();
        assert!(writes.is_empty(), "{writes:?}");
    }
}

#[tokio::test]
async fn a_missing_or_broken_mapping_is_named_with_its_remedy() {
    for (config_at_port, said) in [
        (json!({}), "has no mapping"),
        (json!({"resources": {}}), "at `resources`: expected a list, found an object"),
        (json!({"deleteDependentEntities": "yes", "resources": []}), "at `deleteDependentEntities`"),
    ] {
        let stand_in = stand_in().await;
        let mut document = installed();
        document["config"] = config_at_port;
        stand_in.seed_integration(&document).unwrap();
        let error = catalog(config(&stand_in)).open(&defaults()).await.unwrap_err();
        assert!(error.0.message.contains(said) && error.0.remedy.is_some(), "{error}");
    }
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_costs_no_other() {
    let stand_in = stand_in().await;
    let mut document = installed();
    document["config"]["resources"][0]["port"]["entity"]["mappings"]["properties"] = json!({"count": null});
    stand_in.seed_integration(&document).unwrap();
    let session = catalog(config(&stand_in)).read(&defaults()).await.unwrap();
    let problem = &session.config.broken[&0];
    assert!(problem.message.contains("resources[0].port.entity.mappings.properties.count"), "{problem}");
    assert_eq!((session.config.broken.len(), session.config.resources.len()), (1, 2));
    assert_eq!(session.config.resources[1], defaults()[1].manifest.mapping.clone().unwrap());
}

#[tokio::test]
async fn an_installation_of_another_runtime_is_refused_before_anything_is_written() {
    let stand_in = stand_in().await;
    let mut document = installed();
    document["installationType"] = json!("Saas");
    stand_in.seed_integration(&document).unwrap();
    for writes in [true, false] {
        let catalog = catalog(config(&stand_in));
        let opened = if writes { catalog.open(&defaults()).await } else { catalog.read(&defaults()).await };
        let error = opened.unwrap_err();
        assert!(error.0.message.contains("installed as `Saas`"), "{error}");
    }
    assert!(!stand_in.requests().iter().any(LoggedRequest::writes));
}

#[tokio::test]
async fn default_resources_that_port_provides_are_not_created() {
    let stand_in = stand_in().await;
    stand_in.change_options(|options| {
        options.feature_flags = vec!["USE_PROVISIONED_DEFAULTS".into()];
        options.provisioned = BTreeMap::from([("aws-v3".into(), default_config())]);
    });
    let session = catalog(config(&stand_in)).open(&defaults()).await.unwrap();
    assert_eq!(session.config.resources.len(), 2);
    let create = &sent(&stand_in, "POST /v1/integration")[0];
    assert_eq!(create.query, "integration_modes=create_resources");
    assert_eq!(create.body["createPortResourcesOrigin"], "Port");
    assert_eq!(stand_in.count("/v1/blueprints"), 0);
}

// === Authentication and retries ===

#[tokio::test]
async fn a_refused_secret_fails_at_once_and_is_not_repeated_in_the_message() {
    let stand_in = stand_in().await;
    let mut config = config(&stand_in);
    config.client_secret = SecretString::from("hush-hush");
    let catalog = catalog(config);
    let error = catalog.open(&defaults()).await.unwrap_err().0.to_string();
    for named in ["OCEAN__PORT__CLIENT_ID", "OCEAN__PORT__CLIENT_SECRET", "OCEAN__PORT__BASE_URL"] {
        assert!(error.contains(named), "{error}");
    }
    assert!(!error.contains("hush") && !format!("{:?}", *catalog).contains("hush"));
    assert_eq!(stand_in.requests().len(), 1);
}

#[tokio::test]
async fn a_token_that_stops_working_in_mid_run_is_renewed_once_for_all() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    stand_in.expire_tokens();
    stand_in.clear_requests();
    let entities: Vec<Entity> =
        (0..100).map(|n| instance_entity(&format!("i-{n}"), json!({}), json!({}))).collect();
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert!(report.outcomes.iter().all(|outcome| *outcome == UpsertOutcome::Created), "{report:?}");
    assert_eq!(stand_in.count("access_token"), 1);
    // A call that is otherwise never retried also gets a new token.
    stand_in.expire_tokens();
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!(stand_in.count("access_token"), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let stand_in = furnished().await;
    stand_in.change_options(|options| options.token_lifetime = Duration::from_secs(1));
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(850)).await;
    catalog.begin(SystemTime::now()).await.unwrap();
    assert!(stand_in.count("access_token") >= 2);
    assert!(stand_in.requests().iter().all(|request| request.status < 400));
}

#[tokio::test]
async fn an_account_without_permission_is_told_so_and_not_asked_for_ever() {
    let stand_in = furnished().await;
    stand_in.fail(Fault::on("GET /v1/integration/{integration}").status(401).times(9));
    let error = catalog(config(&stand_in)).open(&defaults()).await.unwrap_err();
    assert!(error.0.message.contains("401"), "{error}");
    assert_eq!(stand_in.count("GET /v1/integration/{integration}"), 2);
}

#[tokio::test]
async fn retry_after_is_obeyed_by_all_requests() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    stand_in.clear_requests();
    stand_in.fail(Fault::on("entities/bulk").status(429).retry_after("1"));
    let start = std::time::Instant::now();
    let entities = [instance_entity("i-1", json!({}), json!({}))];
    let blueprint = id("ec2Instance");
    let upsert = catalog.upsert(&blueprint, &entities, WRITE);
    let other = async {
        while !sent(&stand_in, "entities/bulk").iter().any(|request| request.status == 429) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        catalog.another().read(&defaults()).await.unwrap();
        start.elapsed()
    };
    let (report, other_took) = tokio::join!(upsert, other);
    assert_eq!(report.outcomes, [UpsertOutcome::Created]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert!(other_took >= Duration::from_millis(950), "{other_took:?}");
    assert_eq!(stand_in.count("entities/bulk"), 2);
    assert_eq!(catalog.stats().retries, 1);
    assert_eq!(catalog.stats().requests["upsert entities of"], 2);
}

#[tokio::test]
async fn only_failures_that_may_pass_are_repeated() {
    for (status, requests) in [(408, 2), (429, 2), (502, 2), (503, 2), (504, 2), (500, 2), (422, 1)] {
        let stand_in = furnished().await;
        stand_in.fail(Fault::on("resync-state").status(status));
        let catalog = catalog(config(&stand_in));
        catalog.open(&defaults()).await.unwrap();
        let reported = catalog.begin(SystemTime::now()).await;
        assert_eq!((stand_in.count("resync-state"), reported.is_ok()), (requests, requests == 2), "{status}");
    }
    let stand_in = furnished().await;
    stand_in.fail(Fault::on("resync-state").status(503).times(99));
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    assert!(catalog.begin(SystemTime::now()).await.is_err());
    assert_eq!(stand_in.count("resync-state"), 4);
}

#[tokio::test]
async fn a_creation_is_repeated_only_when_port_cannot_have_acted() {
    let create = "POST /v1/integration";
    for (fault, requests) in [
        (Fault::on(create).status(429), 2),
        (Fault::on(create).status(503), 1),
        (Fault::on(create).drop_connection(), 1),
    ] {
        let stand_in = stand_in().await;
        stand_in.fail(fault);
        let opened = catalog(config(&stand_in)).open(&defaults()).await;
        let sent = stand_in.requests().iter().filter(|request| request.call() == create).count();
        assert_eq!((sent, opened.is_ok()), (requests, requests == 2), "{opened:?}");
        // The next start finds what the first one left, and completes it.
        catalog(config(&stand_in)).open(&defaults()).await.unwrap();
    }
}

#[tokio::test]
async fn a_broken_connection_is_repeated_where_that_is_safe() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    stand_in.fail(Fault::on("entities/bulk").drop_connection());
    let entities = [instance_entity("i-1", json!({}), json!({}))];
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    // The first request had its effect before its response was lost.
    assert_eq!(report.outcomes, [UpsertOutcome::Updated]);

    stand_in.fail(Fault::on("entities/bulk").drop_connection().times(9));
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    let [UpsertOutcome::Refused(problem)] = &report.outcomes[..] else { panic!("{report:?}") };
    assert!(problem.to_string().contains("OCEAN__PORT__BASE_URL"), "{problem}");
}

// === State of the resync ===

#[tokio::test]
async fn the_resync_state_is_reported_with_the_schedule() {
    let stand_in = furnished().await;
    let mut config = config(&stand_in);
    let since = SystemTime::now() - Duration::from_mins(5);
    config.schedule = Some(ResyncSchedule { interval_minutes: 60, since });
    let catalog = catalog(config);
    catalog.open(&defaults()).await.unwrap();
    let started = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_273);
    catalog.begin(started).await.unwrap();
    catalog.end(ResyncStatus::Aborted).await.unwrap();
    let states = sent(&stand_in, "resync-state");
    let begin = states[0].body.as_object().unwrap();
    assert_eq!(begin["status"], "running");
    assert_eq!(begin["lastResyncEnd"], Value::Null);
    assert_eq!(begin["lastResyncStart"], "2026-11-23T11:37:10.801273+00:00");
    assert_eq!(begin["intervalInMinuets"], 60);
    assert!(begin["nextResync"].is_string());
    let end = states[1].body.as_object().unwrap();
    let keys: BTreeSet<&str> = end.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["status", "lastResyncEnd", "nextResync", "intervalInMinuets"]));
    assert_eq!(end["status"], "aborted");
}

// === Entities ===

#[tokio::test]
async fn every_entity_of_a_bulk_has_its_own_outcome() {
    let stand_in = furnished().await;
    stand_in.seed_entity("ec2Instance", &json!({"identifier": "i-old"}), PEER).unwrap();
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let options = UpsertOptions { merge: true, create_missing_related_entities: false };
    let entities = [
        instance_entity("i-new", json!({"state": "running", "since": null}), json!({})),
        instance_entity("i-old", json!({"count": 3}), json!({"account": null})),
        instance_entity("i-state", json!({"state": "melting"}), json!({})),
        instance_entity("i-since", json!({"since": "yesterday"}), json!({})),
        instance_entity("i-count", json!({"count": "3"}), json!({})),
        instance_entity("i-what", json!({"unheardOf": 1}), json!({})),
        instance_entity("i-lost", json!({}), json!({"account": "111122223333"})),
        instance_entity("i bad id", json!({}), json!({})),
    ];
    let report = catalog.upsert(&id("ec2Instance"), &entities, options).await;
    let (fine, refused) = report.outcomes.split_at(2);
    assert_eq!(fine, [UpsertOutcome::Created, UpsertOutcome::Updated]);
    for (outcome, said) in refused.iter().zip(["state", "since", "count", "unheardOf", "111122223333", "id"])
    {
        let (UpsertOutcome::Refused(problem) | UpsertOutcome::MissingRelation(problem)) = outcome else {
            panic!("{outcome:?}")
        };
        assert!(problem.message.contains(said) && problem.remedy.is_some(), "{problem}");
        let relation = matches!(outcome, UpsertOutcome::MissingRelation(_));
        assert_eq!(relation, said == "111122223333", "{outcome:?}");
    }
    let UpsertOutcome::Refused(unfit) = &refused[5] else { panic!("{refused:?}") };
    assert!(unfit.remedy.as_ref().unwrap().contains("gsub("), "{unfit}");

    let bulk = &sent(&stand_in, "entities/bulk")[0];
    assert_eq!(bulk.user_agent, EXPORTER);
    for (name, value) in [
        ("upsert", "true"),
        ("merge", "true"),
        ("create_missing_related_entities", "false"),
        ("validation_only", "false"),
        ("ocean_info_event_type", "resync"),
    ] {
        assert_eq!(bulk.query_value(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(bulk.query_value("ocean_info_resync_id").unwrap().len(), 36);
    // Explicit nulls are sent, absent fields are not.
    assert_eq!(
        bulk.body["entities"][0],
        json!({"identifier": "i-new", "blueprint": "ec2Instance", "title": "i-new",
               "properties": {"state": "running", "since": null}})
    );
    assert_eq!(stand_in.entity("ec2Instance", "i-old").unwrap()["updatedBy"], EXPORTER);
}

#[tokio::test]
async fn missing_relation_targets_are_created_where_allowed_and_then_owned() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entity = instance_entity("i-1", json!({}), json!({"account": "111122223333"}));
    let report = catalog.upsert(&id("ec2Instance"), &[entity], WRITE).await;
    assert_eq!(report.outcomes, [UpsertOutcome::Created]);
    catalog.open(&defaults()).await.unwrap();
    let owned: Vec<OwnedEntity> = owned(&catalog).await.concat();
    let keys: Vec<String> = owned.iter().map(|entity| entity.key.to_string()).collect();
    assert_eq!(keys, ["awsAccount/111122223333", "ec2Instance/i-1"]);
}

#[tokio::test]
async fn search_queries_are_sent_and_what_port_finds_is_told() {
    let stand_in = furnished().await;
    let account = json!({"identifier": "111122223333", "title": "prod"});
    stand_in.seed_entity("awsAccount", &account, PEER).unwrap();
    for identifier in ["i-1", "i-2", "i-3"] {
        let title = if identifier == "i-1" { "web" } else { "twin" };
        let entity = json!({"identifier": identifier, "title": title});
        stand_in.seed_entity("ec2Instance", &entity, PEER).unwrap();
    }
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let titled = |title: &str| json!({"combinator": "and", "rules": [{"property": "$title", "operator": "=", "value": title}]});
    let found = |title: &str, blob: usize| Entity {
        properties: serde_json::from_value(json!({"blob": "x".repeat(blob)})).unwrap(),
        relations: serde_json::from_value(json!({"account": titled("prod")})).unwrap(),
        ..Entity::found_by(id("ec2Instance"), titled(title))
    };
    let report =
        catalog.upsert(&id("ec2Instance"), &["web", "none", "twin"].map(|t| found(t, 1)), WRITE).await;
    assert_eq!(report.outcomes[..2], [UpsertOutcome::Found("i-1".into()), UpsertOutcome::NotFound]);
    let UpsertOutcome::Refused(problem) = &report.outcomes[2] else { panic!("{report:?}") };
    assert!(problem.message.contains("more than one"), "{problem}");
    assert_eq!(sent(&stand_in, "entities/bulk")[0].body["entities"][0]["identifier"], titled("web"));
    assert_eq!(stand_in.entity("ec2Instance", "i-1").unwrap()["relations"]["account"], "111122223333");

    // Too large for a bulk, and sent alone.
    stand_in.change_options(|options| options.bulk_max_bytes = 3_000);
    stand_in.fail(Fault::on("entities/bulk").status(413));
    let report = catalog.upsert(&id("ec2Instance"), &[found("web", 2_000)], WRITE).await;
    assert_eq!(report.outcomes, [UpsertOutcome::Found("i-1".into())]);
}

#[tokio::test]
async fn bulks_keep_to_both_limits_and_halve_when_port_wants_less() {
    let stand_in = furnished().await;
    let mut config = config(&stand_in);
    config.upsert_batch_max_bytes = 10_000;
    let catalog = catalog(config);
    catalog.open(&defaults()).await.unwrap();
    let sized = |n: usize, bytes: usize| {
        instance_entity(&format!("i-{n}"), json!({"blob": "x".repeat(bytes)}), json!({}))
    };
    let entities: Vec<Entity> =
        (0..60).map(|n| sized(n, 10)).chain((60..70).map(|n| sized(n, 3_000))).collect();
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert!(report.outcomes.iter().all(|outcome| *outcome == UpsertOutcome::Created));
    let mut sizes: Vec<usize> = sent(&stand_in, "entities/bulk")
        .iter()
        .map(|bulk| {
            assert!(bulk.body.to_string().len() <= 10_000);
            bulk.body["entities"].as_array().unwrap().len()
        })
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 3, 3, 3, 20, 20, 20]);

    // Port may accept less than usual: down to single entities, and one is too large.
    stand_in.change_options(|options| options.bulk_max_bytes = 4_000);
    stand_in.clear_requests();
    let entities: Vec<Entity> = (80..84).map(|n| sized(n, if n == 82 { 6_000 } else { 1_000 })).collect();
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    let created = |n: usize| report.outcomes[n] == UpsertOutcome::Created;
    assert!(created(0) && created(1) && created(3), "{report:?}");
    let UpsertOutcome::Refused(problem) = &report.outcomes[2] else { panic!("{report:?}") };
    assert!(problem.message.contains("413") && problem.message.contains("bytes"), "{problem}");
    // 4 → 2 + 2, the second → 1 + 1, the large one alone: once more as a single upsert.
    assert_eq!(stand_in.count("entities/bulk"), 5);
    assert_eq!(sent(&stand_in, "POST /v1/blueprints/{blueprint}/entities").len(), 6);
}

#[tokio::test]
async fn what_is_to_blame_for_a_refused_bulk_is_found_and_the_others_are_written() {
    for status in [400, 413, 422, 500, 503] {
        let stand_in = furnished().await;
        let catalog = catalog(config(&stand_in));
        catalog.open(&defaults()).await.unwrap();
        let entities: Vec<Entity> =
            (0..40).map(|n| instance_entity(&format!("i-{n}-"), json!({}), json!({}))).collect();
        for culprit in ["i-0-", "i-13-", "i-39-"] {
            stand_in
                .fail(Fault::on("/entities").containing(format!("\"{culprit}\"")).status(status).times(99));
        }
        let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
        assert_eq!(report.outcomes.len(), 40);
        for (n, outcome) in report.outcomes.iter().enumerate() {
            match outcome {
                UpsertOutcome::Refused(problem) if [0, 13, 39].contains(&n) => {
                    assert!(problem.message.contains(&status.to_string()), "{problem}");
                }
                outcome => assert_eq!(*outcome, UpsertOutcome::Created, "{status} {n}"),
            }
        }
        assert_eq!(stand_in.entities()["ec2Instance"].as_object().unwrap().len(), 37);
    }
}

#[tokio::test]
async fn a_relation_that_port_does_not_take_costs_its_entity_alone() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entities = [
        instance_entity("i-1", json!({}), json!({})),
        instance_entity("i-2", json!({}), json!({"account": "my account"})),
    ];
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert_eq!(report.outcomes[0], UpsertOutcome::Created);
    let UpsertOutcome::Refused(problem) = &report.outcomes[1] else { panic!("{report:?}") };
    assert!(problem.message.contains("relations.account"), "{problem}");
    assert_eq!(sent(&stand_in, "entities/bulk").len(), 1, "it is not sent");

    // What Port has from before can still be found and deleted.
    stand_in.seed_entity("ec2Instance", &json!({"identifier": "an old one"}), EXPORTER).unwrap();
    let old = key("ec2Instance", "an old one");
    assert_eq!(catalog.current(slice::from_ref(&old), &FieldSet::default()).await.unwrap().len(), 1);
    assert_eq!(catalog.delete(slice::from_ref(&old), false).await.deleted, [old]);
}

#[tokio::test]
async fn an_outage_is_not_searched_for_a_culprit() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entities: Vec<Entity> =
        (0..20).map(|n| instance_entity(&format!("i-{n}"), json!({}), json!({}))).collect();
    stand_in.fail(Fault::on("entities/bulk").status(500).times(9_999));
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert!(report.outcomes.iter().all(|outcome| matches!(outcome, UpsertOutcome::Refused(_))));
    assert!(stand_in.count("entities/bulk") <= 24, "{}", stand_in.count("entities/bulk"));
}

#[tokio::test]
async fn one_failure_of_a_bulk_is_repeated() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.open(&defaults()).await.unwrap();
    let entities = [instance_entity("i-1", json!({}), json!({}))];
    stand_in.fail(Fault::on("entities/bulk").status(500));
    let report = catalog.upsert(&id("ec2Instance"), &entities, WRITE).await;
    assert_eq!(report.outcomes, [UpsertOutcome::Created]);

    let nowhere = Entity::new(id("noSuchBlueprint"), "x");
    let report = catalog.upsert(&id("noSuchBlueprint"), &[nowhere], WRITE).await;
    let [UpsertOutcome::Refused(problem)] = &report.outcomes[..] else { panic!("{report:?}") };
    assert!(problem.message.contains("noSuchBlueprint"), "{problem}");
}

#[tokio::test]
async fn a_search_asks_for_the_mapped_fields_of_what_is_owned() {
    let stand_in = furnished().await;
    stand_in.seed_entity("awsAccount", &json!({"identifier": "111122223333"}), "UI").unwrap();
    for n in 0..120 {
        let entity = json!({
            "identifier": format!("i-{n}"), "title": "old", "team": "a",
            "properties": {"count": n, "state": "running"}, "relations": {"account": "111122223333"},
        });
        let datasource = if n == 7 { "UI" } else { EXPORTER };
        stand_in.seed_entity("ec2Instance", &entity, datasource).unwrap();
    }
    let catalog = catalog(config(&stand_in));
    catalog.read(&[]).await.unwrap();
    stand_in.clear_requests();
    let keys: Vec<EntityKey> = (0..130)
        .map(|n| key("ec2Instance", &format!("i-{n}")))
        .chain([key("awsAccount", "111122223333")])
        .collect();
    let fields = FieldSet {
        title: true,
        team: false,
        properties: ["count", "since"].map(str::to_owned).into(),
        relations: ["account".to_owned()].into(),
    };
    let found = catalog.current(&keys, &fields).await.unwrap();
    // Neither the one that a person owns nor the ten that do not exist.
    assert_eq!(found.len(), 119);
    let one = found.iter().find(|entity| entity.key.identifier == "i-42").unwrap();
    assert_eq!(one.properties["count"], 42);
    assert_eq!(one.relations["account"], "111122223333");
    assert_eq!((&one.title, &one.team), (&Some(json!("old")), &None));

    // One search for each blueprint, and another one if something is missing: after Port's list of
    // integrations, which is read once, any version may have written it.
    let searches = sent(&stand_in, "search");
    assert_eq!((searches.len(), stand_in.count("GET /v1/integration")), (4, 1));
    let first = searches.iter().find(|search| search.body.to_string().contains("\"i-0\"")).unwrap();
    assert_eq!(first.path, "/v1/blueprints/ec2Instance/entities/search");
    assert_eq!(
        first.body["include"],
        json!([
            "blueprint",
            "identifier",
            "title",
            "properties.count",
            "properties.since",
            "relations.account"
        ])
    );
    assert_eq!(first.body["limit"], 1000);
    assert_eq!(first.user_agent, EXPORTER);
    let rules = &first.body["query"]["rules"];
    assert_eq!(rules[0]["value"].as_array().unwrap().len(), 130);
    assert_eq!(
        json!([rules[1], rules[2]]),
        json!([
            {"property": "$blueprint", "operator": "=", "value": "ec2Instance"},
            {"property": "$datasource", "operator": "=", "value": EXPORTER},
        ])
    );

    // From then on, one search is enough for whatever exists.
    stand_in.clear_requests();
    assert_eq!(catalog.current(&keys, &fields).await.unwrap().len(), 119);
    let again = sent(&stand_in, "");
    assert_eq!(again.len(), 2);
    assert_eq!(
        again[0].body["query"]["rules"][2],
        json!({"combinator": "or", "rules": [
            {"property": "$datasource", "operator": "=", "value": EXPORTER},
            {"combinator": "and", "rules": [
                {"property": "$datasource", "operator": "contains", "value": "port-ocean/aws-v3/"},
                {"property": "$datasource", "operator": "contains", "value": "/My-Berth/exporter"},
                {"property": "$datasource", "operator": "doesNotContains", "value": "port-ocean/aws-v3/1.2.3/"},
            ]},
        ]})
    );
}

#[tokio::test]
async fn a_port_without_searches_in_pages_or_of_many_entities_is_asked_as_before() {
    const PAGED: &str = "{blueprint}/entities/search";
    for (status, searches) in [(404, [1, 3]), (405, [1, 3]), (422, [1, 3]), (413, [1, 3])] {
        let stand_in = furnished().await;
        for n in 0..120 {
            stand_in.seed_entity("ec2Instance", &json!({"identifier": format!("i-{n}")}), EXPORTER).unwrap();
        }
        let catalog = catalog(config(&stand_in));
        catalog.read(&[]).await.unwrap();
        stand_in.fail(Fault::on(PAGED).status(status).times(99));
        let keys: Vec<EntityKey> = (0..120).map(|n| key("ec2Instance", &format!("i-{n}"))).collect();
        for _ in 0..2 {
            assert_eq!(catalog.current(&keys, &FieldSet::default()).await.unwrap().len(), 120, "{status}");
        }
        // Read once, and not again.
        assert_eq!(
            [stand_in.count(PAGED), stand_in.count("POST /v1/entities/search") / 2],
            searches,
            "{status}"
        );
        let first = &sent(&stand_in, "POST /v1/entities/search")[0];
        assert_eq!(first.query_value("exclude_calculated_properties").as_deref(), Some("true"));
        assert_eq!(first.query_values("include"), ["blueprint", "identifier"]);
        assert_eq!(first.body["rules"][0]["value"].as_array().unwrap().len(), 50);
    }
}

#[tokio::test]
async fn what_is_owned_comes_in_pages_and_without_other_owners() {
    let stand_in = furnished().await;
    stand_in.change_options(|options| options.page_limit = 10);
    let seed = |n: usize, datasource: &str, at: &str| {
        let entity = json!({"identifier": format!("i-{n:02}"), "updatedAt": at});
        stand_in.seed_entity("ec2Instance", &entity, datasource).unwrap();
    };
    let (early, late) = ("2026-01-01T00:00:00.000Z", "2026-03-01T00:00:00.000Z");
    (0..25).for_each(|n| seed(n, if n % 2 == 0 { PEER } else { EXPORTER }, early));
    seed(30, EXPORTER, late);
    seed(31, "UI", early);
    seed(32, "port-ocean/aws-v3/1.2.3/Other/exporter", early);
    seed(33, "port-ocean/aws/1.2.3/My-Berth/exporter", early);
    let catalog = catalog(config(&stand_in));
    // By Port's clock, it is the first of February.
    let february = SystemTime::UNIX_EPOCH + Duration::from_hours(491_640);
    let ahead = SystemTime::now().duration_since(february).unwrap().as_secs();
    stand_in.set_clock_ahead(-i64::try_from(ahead).unwrap());
    catalog.read(&defaults()).await.unwrap();
    let pages = owned(&catalog).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
    let identifiers: BTreeSet<&str> =
        pages.iter().flatten().map(|entity| entity.key.identifier.as_str()).collect();
    assert_eq!(
        identifiers,
        (0..25).map(|n| format!("i-{n:02}")).collect::<Vec<_>>().iter().map(String::as_str).collect()
    );

    let requests = sent(&stand_in, "datasource-entities");
    let before = requests[0].body["before"].as_str().unwrap();
    assert!(before.starts_with("2026-02-01T00:00:") && before.ends_with(".000000+00:00"), "{before}");
    assert_eq!(
        requests[0].body,
        json!({
            "datasource_prefix": "port-ocean/aws-v3/", "datasource_suffix": "/My-Berth/exporter",
            "limit": 5000, "before": before,
        })
    );
    assert!(requests.iter().all(|request| request.body["before"] == before));
    assert!(requests[1].body["from"].is_string() && requests[2].body["from"].is_string());

    stand_in.fail(Fault::on("datasource-entities").status(500).times(2));
    let failed: Result<Vec<_>, _> = catalog.owned().await;
    assert!(failed.unwrap_err().0.message.contains("list owned entities"));
}

#[tokio::test]
async fn relations_are_told_by_name_and_asked_for_once_per_resync() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    catalog.read(&[]).await.unwrap();
    let expected = BTreeMap::from([("account".to_owned(), id("awsAccount"))]);
    for _ in 0..3 {
        assert_eq!(catalog.relations(&id("ec2Instance")).await.unwrap(), Some(expected.clone()));
        assert_eq!(catalog.relations(&id("noSuchBlueprint")).await.unwrap(), None);
    }

    assert_eq!(catalog.required(&id("ec2Instance")).await.unwrap(), BTreeSet::new());
    assert_eq!(catalog.required(&id("noSuchBlueprint")).await.unwrap(), BTreeSet::new());
    assert_eq!(stand_in.count("GET /v1/blueprints/{blueprint}"), 2);
    catalog.open(&[]).await.unwrap();
    assert_eq!(catalog.relations(&id("ec2Instance")).await.unwrap(), Some(expected));
    assert_eq!(stand_in.count("GET /v1/blueprints/{blueprint}"), 3);
    stand_in.fail(Fault::on("GET /v1/blueprints/{blueprint}").status(500).times(2));
    assert!(catalog.relations(&id("awsAccount")).await.is_err());

    let mut strict = blueprint("strict", &json!({"owner": {"target": "awsAccount", "required": true}}));
    strict["schema"]["required"] = json!(["state"]);
    stand_in.seed_blueprint(&strict).unwrap();
    let fields = ["properties.state", "relations.owner"].map(ToOwned::to_owned);
    assert_eq!(catalog.required(&id("strict")).await.unwrap(), BTreeSet::from(fields));
}

// === Deletion ===

/// `child` requires `parent`.
async fn family() -> PortStandIn {
    let stand_in = furnished().await;
    let relations = json!({"parent": {"target": "awsAccount", "many": false, "required": true}});
    stand_in.seed_blueprint(&blueprint("child", &relations)).unwrap();
    stand_in.seed_entity("awsAccount", &json!({"identifier": "p"}), EXPORTER).unwrap();
    let child = json!({"identifier": "c", "relations": {"parent": "p"}});
    stand_in.seed_entity("child", &child, EXPORTER).unwrap();
    stand_in
}

#[tokio::test]
async fn deletion_goes_in_bulks_of_at_most_a_hundred() {
    let stand_in = furnished().await;
    let keys: Vec<EntityKey> = (0..230).map(|n| key("ec2Instance", &format!("i-{n}"))).collect();
    for key in &keys {
        stand_in.seed_entity("ec2Instance", &json!({"identifier": key.identifier}), EXPORTER).unwrap();
    }
    let mut config = config(&stand_in);
    config.delete_batch_max = 1000;
    let catalog = catalog(config);
    let report = catalog.delete(&keys, true).await;
    assert_eq!((report.deleted.len(), report.failed.len()), (230, 0));
    assert_eq!(stand_in.entities(), json!({}));
    let requests = sent(&stand_in, "bulk/entities/delete");
    let mut sizes: Vec<usize> =
        requests.iter().map(|r| r.body["entities"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [30, 100, 100]);
    assert_eq!(requests[0].query_value("delete_dependents").as_deref(), Some("true"));
    assert_eq!(requests[0].query_value("ocean_info_event_type").as_deref(), Some("resync"));
    assert_eq!(requests[0].user_agent, EXPORTER);
}

#[tokio::test]
async fn what_port_does_not_confirm_and_still_holds_has_failed() {
    let stand_in = family().await;
    stand_in.seed_entity("awsAccount", &json!({"identifier": "free"}), EXPORTER).unwrap();
    let catalog = catalog(config(&stand_in));
    let keys = [key("awsAccount", "p"), key("awsAccount", "free"), key("awsAccount", "gone already")];
    let report = catalog.delete(&keys, false).await;
    let deleted: BTreeSet<String> = report.deleted.iter().map(ToString::to_string).collect();
    assert_eq!(deleted, ["awsAccount/free", "awsAccount/gone already"].map(str::to_owned).into());
    let [(failed, problem)] = &report.failed[..] else { panic!("{report:?}") };
    assert_eq!(*failed, key("awsAccount", "p"));
    assert!(problem.to_string().contains("deleteDependentEntities"), "{problem}");
    assert!(stand_in.entity("awsAccount", "p").is_some() && stand_in.entity("child", "c").is_some());
}

#[tokio::test]
async fn what_is_to_blame_for_a_refused_deletion_is_found_and_the_others_are_deleted() {
    for status in [400, 403, 422, 500] {
        let stand_in = furnished().await;
        let names: Vec<String> = (0..100).map(|n| format!("i-{n}-")).collect();
        for name in &names {
            stand_in.seed_entity("ec2Instance", &json!({"identifier": name}), EXPORTER).unwrap();
        }
        let catalog = catalog(config(&stand_in));
        let fault = Fault::on("bulk/entities/delete").containing("\"i-57-\"").times(999);
        let refusal = json!({"ok": false, "error": "has_dependents", "message": "no"});
        stand_in.fail(fault.status(status).body(refusal));
        let keys: Vec<EntityKey> = names.iter().map(|name| key("ec2Instance", name)).collect();
        let report = catalog.delete(&keys, true).await;
        assert_eq!(report.deleted.len(), 99, "{status}");
        let [(failed, problem)] = &report.failed[..] else { panic!("{report:?}") };
        assert!(*failed == keys[57] && problem.message.contains(&status.to_string()), "{problem}");
    }
}

#[tokio::test]
async fn dependents_go_along_or_first() {
    for dependents in [true, false] {
        let stand_in = family().await;
        let catalog = catalog(config(&stand_in));
        let keys = [key("awsAccount", "p"), key("child", "c")];
        let report = catalog.delete(&keys, dependents).await;
        assert_eq!((report.deleted.len(), report.failed.len()), (2, 0), "{dependents}: {report:?}");
        assert_eq!(stand_in.entities(), json!({}));
    }
}

#[tokio::test]
async fn a_deletion_that_fails_reports_every_entity_with_the_reason() {
    let stand_in = family().await;
    let catalog = catalog(config(&stand_in));
    stand_in.fail(Fault::on("bulk/entities/delete").status(500).times(2));
    let report = catalog.delete(&[key("child", "c")], true).await;
    assert!(report.deleted.is_empty());
    assert!(report.failed[0].1.message.contains("500"), "{report:?}");
    assert!(stand_in.entity("child", "c").is_some());
}

// === Resync requests ===

#[tokio::test]
async fn a_resync_request_is_newer_than_the_resync_before_it_and_older_than_the_one_after() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    assert_eq!(
        (PortService::of(&catalog).resync_request().await.unwrap(), PortService::of(&catalog).last_begun()),
        (None, None)
    );
    let last_call = |stand_in: &PortStandIn| calls(&stand_in.requests()).pop().unwrap();
    assert_eq!(last_call(&stand_in), format!("GET /v1/integration/{ID}/resync-request"));

    catalog.open(&[]).await.unwrap();
    catalog.begin(SystemTime::now()).await.unwrap();
    let first = PortService::of(&catalog).last_begun().unwrap();
    // Port's times are in milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    stand_in.request_resync(ID);
    let request = PortService::of(&catalog).resync_request().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!(PortService::of(&catalog).last_begun(), Some(first), "the end of a resync serves no request");
    catalog.open(&[]).await.unwrap();
    catalog.begin(SystemTime::now()).await.unwrap();
    let second = PortService::of(&catalog).last_begun().unwrap();
    assert!(first < request && request < second, "{first:?} {request:?} {second:?}");
}

#[tokio::test]
async fn resync_requests_of_an_unknown_integration_are_a_problem() {
    let stand_in = stand_in().await;
    let problem = PortService::of(&catalog(config(&stand_in))).resync_request().await.unwrap_err();
    assert!(problem.message.contains("404") && problem.message.contains(ID), "{problem}");
}

// === Kafka ===

#[tokio::test]
async fn the_feed_of_requests_follows_the_organization_and_the_settings() {
    let stand_in = stand_in().await;
    let catalog = catalog(config(&stand_in));
    stand_in.change_options(|options| {
        options.kafka_credentials = Some(("port-name".into(), "port-hush".into()));
    });
    let feed = PortService::of(&catalog).request_feed(true).await.unwrap();
    let credentials = feed.credentials.as_ref().unwrap();
    assert_eq!(
        (feed.topic.as_str(), feed.group.as_str()),
        ("org_stand_in.change.log", "org_stand_in.aws-v3.My-Berth")
    );
    assert_eq!(credentials.username, "port-name");
    assert_eq!(credentials.password.expose_secret(), "port-hush");
    assert!(!format!("{feed:?}").contains("port-hush"), "{feed:?}");

    stand_in.change_options(|options| {
        options.feature_flags = vec!["OCEAN_KAFKA_INTEGRATION_RESYNC_REQUESTS_TOPIC_ENABLED".into()];
    });
    let asked = stand_in.count("kafka-credentials");
    let feed = PortService::of(&catalog).request_feed(false).await.unwrap();
    assert_eq!(
        (feed.topic.as_str(), feed.group.as_str()),
        ("org_stand_in.integration.resync.requests", "no-security")
    );
    assert!(feed.credentials.is_none());
    assert_eq!(stand_in.count("kafka-credentials"), asked, "no unneeded request is sent");
}

#[tokio::test]
async fn an_organization_without_kafka_is_told_from_a_port_that_is_away() {
    let stand_in = stand_in().await;
    let catalog = catalog(config(&stand_in));
    let error = PortService::of(&catalog).request_feed(true).await.unwrap_err();
    assert!(
        matches!(&error, FeedError::NotProvided(problem) if problem.remedy.as_ref().unwrap().contains("POLLING")),
        "{error:?}"
    );
    stand_in.change_options(|options| options.kafka_credentials = Some((String::new(), String::new())));
    let error = PortService::of(&catalog).request_feed(true).await.unwrap_err();
    assert!(matches!(error, FeedError::NotProvided(_)), "{error:?}");
    stand_in.fail(Fault::on("kafka-credentials").status(500).times(2));
    let error = PortService::of(&catalog).request_feed(true).await.unwrap_err();
    assert!(matches!(error, FeedError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn events_are_written_as_such_and_do_not_disturb_a_resync() {
    let port = furnished().await;
    port.change_options(|options| options.feature_flags = vec!["AWS_V3_LIVE_EVENTS_ENABLED".into()]);
    let resync = catalog(config(&port));
    let events = resync.another();
    resync.open(&defaults()).await.unwrap();
    let written = [instance_entity("i-1", json!({}), json!({}))];
    resync.upsert(&id("ec2Instance"), &written, WRITE).await;
    port.clear_requests();
    // An event arrives during the resync.
    events.follow(&defaults()).await.unwrap();
    events.upsert(&id("ec2Instance"), &written, WRITE).await;
    resync.upsert(&id("ec2Instance"), &written, WRITE).await;
    events.delete(&[key("ec2Instance", "i-1")], true).await;
    let told = |request: &LoggedRequest| {
        let has_id = request.query_value("ocean_info_resync_id").is_some();
        (request.query_value("ocean_info_event_type").unwrap(), has_id)
    };
    let writes = port.requests().into_iter().filter(LoggedRequest::writes);
    let writes: Vec<_> = writes.map(|request| told(&request)).collect();
    let (event, of_resync) = (("http_request".to_owned(), false), ("resync".to_owned(), true));
    assert_eq!(writes, [event.clone(), of_resync, event]);
    assert_eq!(port.count("/auth/access_token"), 0, "they share the token");

    // The organization's flags were read when the resync started, and are cached for a while.
    for catalog in [&events, &resync, &events] {
        assert!(PortService::of(catalog).has_flag(LIVE_EVENTS_FLAG).await.unwrap());
        assert!(!PortService::of(catalog).has_flag("ANOTHER").await.unwrap());
    }
    assert_eq!(sent(&port, "/v1/organization").len(), 0);
}
