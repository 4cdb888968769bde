//! [`PortCatalog`](berth_port::PortCatalog) at its start: what it installs in Port, and what it leaves alone.

use std::collections::BTreeMap;

use berth_core::FieldSet;
use berth_port::service::PortService;
use port_stand_in::{Fault, LoggedRequest};
use serde_json::json;

use crate::common::{
    ID, catalog, config,
    fixtures::{
        EXPORTER, account, calls, default_config, defaults, furnished, installed, instance, key, owned, sent,
        stand_in,
    },
};

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
    for catalog in [&catalog, &crate::common::catalog(renewed)] {
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
    crate::common::catalog(config(&stand_in)).open(&defaults()).await.unwrap();
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
    let described = session.notes.iter().any(|note| note.starts_with("blueprint ec2Instance does not exist"));
    assert!(described, "{:?}", session.notes);
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
