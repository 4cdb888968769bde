//! [`PortCatalog`] with an organization that accepts raw data: what is written, what Port learns, and how
//! both end.

mod examples;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::common::{ID, Work, catalog};
use berth_core::{
    AccountId, AppConfig, CatalogInfo, Document, DocumentBatch, DocumentsError, EventDocuments, Kind,
    Milestone, Place, Processing, Region, ResourceResult, ResyncStatus, UnitId,
};
use berth_port::{PortConfig, ProcessingMode, service::PortService};
use port_stand_in::{Fault, Lifecycle, LoggedRequest, PortStandIn, StandInOptions};
use secrecy::SecretString;
use serde_json::{Value, json, value::RawValue};

const FLAGS: [&str; 2] = ["LAKEHOUSE_ELIGIBLE", "DATA_SOURCE_PROCESSOR_ENABLED"];
const KINDS: [&str; 2] = ["AWS::EC2::Instance", "AWS::S3::Bucket"];

fn resource(kind: &str, selector: &Value) -> Value {
    json!({"kind": kind, "selector": selector, "port": {"entity": {"mappings": {
        "identifier": ".Properties.Id", "blueprint": "\"b\"", "properties": {"a": ".a"}}}}})
}

fn mapping() -> Value {
    json!({
        "enableMergeEntity": true, "deleteDependentEntities": true, "createMissingRelatedEntities": true,
        "entityDeletionThreshold": 0.9,
        "resources": [
            resource(KINDS[0], &json!({"query": " true "})),
            resource(KINDS[1], &json!({"query": "", "exportEnvVariables": ["STAGE", "AWS_SECRET_ACCESS_KEY"]})),
        ],
    })
}

/// Returns a fake Port whose organization has these flags and an installed integration.
async fn stand_in(flags: &[&str]) -> PortStandIn {
    let options = StandInOptions {
        feature_flags: flags.iter().map(ToString::to_string).collect(),
        ..StandInOptions::default()
    };
    let stand_in = PortStandIn::start(options).await.unwrap();
    let document = json!({
        "installationId": ID, "installationAppType": "aws-v3", "version": "1.2.3", "changelogDestination": {},
        "config": mapping(), "actionsProcessingEnabled": false, "incrementalSyncEnabled": false,
        "processingMode": "dsp", "arePortResourcesInitialized": true,
    });
    stand_in.seed_integration(&document).unwrap();
    stand_in
}

/// Returns the settings for this fake, which check often whether the resync has been aborted.
fn config(stand_in: &PortStandIn) -> PortConfig {
    let mut config = crate::common::config(stand_in);
    config.retry.retries = 2;
    config.abort_poll = Duration::from_millis(20);
    config
}

async fn opened(catalog: &Work) -> CatalogInfo {
    let session = catalog.open(&[]).await.unwrap();
    catalog.begin(SystemTime::now()).await.unwrap();
    session
}

/// Returns a catalog whose resync has started, with both kinds.
async fn begun(config: PortConfig) -> Work {
    let catalog = catalog(config);
    assert_eq!(opened(&catalog).await.processing, Processing::Documents);
    catalog.milestone(&Milestone::Planned).await.unwrap();
    for resource in 0..2 {
        catalog.milestone(&Milestone::ResourceStarted { resource }).await.unwrap();
    }
    catalog
}

fn document(number: usize, bytes: usize) -> Document {
    let text = json!({"Type": "X", "Properties": {"Id": number, "Blob": "x".repeat(bytes)}}).to_string();
    RawValue::from_string(text).unwrap().into()
}

fn batch(resource: usize, documents: Vec<Document>) -> DocumentBatch {
    let config: AppConfig = serde_json::from_value(mapping()).unwrap();
    DocumentBatch {
        unit: UnitId {
            account: AccountId::new("111122223333").unwrap(),
            place: Some(Place::Region(Region::new("eu-west-1").unwrap())),
            kind: Kind::new(KINDS[resource]).unwrap(),
            resource,
        },
        config: Arc::new(config.resources[resource].clone()),
        documents,
    }
}

fn ended(resource: usize, complete: u64, skipped: u64, failed: u64) -> Milestone {
    let result = ResourceResult { complete, skipped, failed, ..ResourceResult::default() };
    Milestone::ResourceEnded { resource, result }
}

fn sent(stand_in: &PortStandIn, route: &str) -> Vec<LoggedRequest> {
    stand_in.requests().into_iter().filter(|request| request.call().contains(route)).collect()
}

fn writes(stand_in: &PortStandIn) -> Vec<LoggedRequest> {
    sent(stand_in, "/lake/write")
}

fn lifecycle(stand_in: &PortStandIn) -> Lifecycle {
    stand_in.lifecycles().into_values().next().unwrap()
}

fn keys(body: &Value) -> BTreeSet<&str> {
    body.as_object().unwrap().keys().map(String::as_str).collect()
}

// === Who maps ===

#[tokio::test]
async fn settings_and_flags_decide_who_maps_and_port_is_informed_what_is_done() {
    use Processing::{Documents, Entities, EntitiesAndDocuments};
    for (flags, mode, enabled, expected) in [
        (&FLAGS[..], ProcessingMode::Dsp, true, Documents),
        (&FLAGS[..], ProcessingMode::Dsp, false, Entities),
        (&FLAGS[..], ProcessingMode::OceanCore, true, EntitiesAndDocuments),
        (&FLAGS[..1], ProcessingMode::Dsp, true, EntitiesAndDocuments),
        (&FLAGS[1..], ProcessingMode::Dsp, true, Entities),
        (&[], ProcessingMode::Dsp, true, Entities),
    ] {
        let stand_in = stand_in(flags).await;
        let mut config = config(&stand_in);
        config.processing_mode = mode;
        config.raw_data.enabled = enabled;
        for (writes, described) in
            [(false, "dsp"), (true, if expected == Documents { "dsp" } else { "ocean-core" })]
        {
            let catalog = catalog(config.clone());
            let session = if writes { catalog.open(&[]).await } else { catalog.read(&[]).await }.unwrap();
            assert_eq!(session.processing, expected, "{flags:?} {mode:?} {enabled}");
            assert_eq!(stand_in.integration(ID).unwrap()["processingMode"], described);
        }
        // Once is enough.
        stand_in.clear_requests();
        catalog(config).open(&[]).await.unwrap();
        assert!(!stand_in.requests().iter().any(LoggedRequest::writes));
    }
}

#[tokio::test]
async fn flags_are_believed_for_a_while_and_a_change_of_them_is_followed() {
    let stand_in = stand_in(&[]).await;
    let mut config = config(&stand_in);
    let patient = catalog(config.clone());
    config.feature_flags_ttl = Duration::ZERO;
    let eager = catalog(config);
    for catalog in [&patient, &eager] {
        assert_eq!(catalog.open(&[]).await.unwrap().processing, Processing::Entities);
    }
    stand_in.change_options(|options| options.feature_flags = FLAGS.map(str::to_owned).into());
    assert_eq!(*PortService::of(&patient).feature_flags().await.unwrap(), [""; 0]);
    assert_eq!(patient.open(&[]).await.unwrap().processing, Processing::Entities);
    assert_eq!(stand_in.integration(ID).unwrap()["processingMode"], "ocean-core");
    assert_eq!(eager.open(&[]).await.unwrap().processing, Processing::Documents);
    assert_eq!(stand_in.integration(ID).unwrap()["processingMode"], "dsp");
}

#[tokio::test]
async fn without_a_usable_address_for_raw_data_nothing_is_read_or_it_is_left_out() {
    for (address, said) in [
        (json!({}), "names none"),
        (json!({"ingestUrl": "nowhere"}), "not a URL"),
        (json!({"ingestUrl": "ftp://ingest.example"}), "does not use https"),
        (json!({"ingestUrl": "https://ingest.example"}), "domain of Port's API"),
    ] {
        let stand_in = stand_in(&FLAGS).await;
        let mut state = stand_in.state();
        state["integrations"][ID]["ingestAttributes"] = address;
        stand_in.load_state(state).unwrap();
        let mut config = config(&stand_in);
        let error = catalog(config.clone()).open(&[]).await.unwrap_err();
        assert!(error.0.message.contains(said), "{error}");
        assert!(error.0.remedy.unwrap().contains("OCEAN__PROCESSING_MODE=ocean-core"));
        config.processing_mode = ProcessingMode::OceanCore;
        let session = catalog(config).open(&[]).await.unwrap();
        assert_eq!(session.processing, Processing::Entities);
        assert!(session.notes.iter().any(|note| note.contains(said)), "{:?}", session.notes);
    }
}

// === Raw data ===

/// What Port got of a resync of raw data, from begin to end: three batches of one kind, and one of the other.
async fn after_a_resync() -> PortStandIn {
    let stand_in = stand_in(&FLAGS).await;
    let mut config = config(&stand_in);
    config.exported_variables = BTreeMap::from([("STAGE".into(), SecretString::from("prod"))]);
    let catalog = begun(config).await;
    for number in 0..3 {
        catalog.documents(batch(0, vec![document(number, 0), document(number + 10, 0)])).await.unwrap();
    }
    catalog.documents(batch(1, vec![document(0, 0)])).await.unwrap();
    assert_eq!(writes(&stand_in).len(), 0, "a few batches wait for more");
    for resource in 0..2 {
        catalog.documents_end(resource).await.unwrap();
        catalog.milestone(&ended(resource, 4, 0, 0)).await.unwrap();
    }
    catalog.end(ResyncStatus::Completed).await.unwrap();
    stand_in
}

#[tokio::test]
async fn a_resync_of_raw_data_is_distinguished_from_begin_to_end() {
    let stand_in = after_a_resync().await;
    let calls: Vec<String> = stand_in.requests().iter().skip(5).map(LoggedRequest::call).collect();
    let ingest =
        "POST /ingest/lake/write/integration-type/{type}/integration/{integration}/sync/{sync}/kind/{kind}";
    assert_eq!(
        calls,
        [
            "PATCH /v1/integration/{integration}/resync-state",
            "POST /v1/lifecycle/{resync}",
            "POST /v1/lifecycle/{resync}/kind",
            "POST /v1/lifecycle/{resync}/kind",
            ingest,
            "POST /v1/lifecycle/{resync}/kind",
            ingest,
            "POST /v1/lifecycle/{resync}/kind",
            "POST /v1/lifecycle/{resync}",
            "PATCH /v1/integration/{integration}/resync-state",
        ]
    );
    let found = lifecycle(&stand_in);
    assert_eq!(
        (found.status.as_str(), &found.announced[..]),
        ("finished", &["AWS::EC2::Instance-0".to_owned(), "AWS::S3::Bucket-1".into()][..])
    );
    assert_eq!(
        found.items,
        BTreeMap::from([("AWS::EC2::Instance-0".into(), 6), ("AWS::S3::Bucket-1".into(), 1)])
    );
    assert!(found.kinds.values().all(|status| status == "finished"));
}

#[tokio::test]
async fn port_is_reported_who_resyncs_by_which_mapping() {
    let stand_in = after_a_resync().await;
    let described = sent(&stand_in, "/v1/lifecycle");
    let start = &described[0].body;
    let fixed = json!({
        "status": "started", "integration_id": ID, "integration_type": "aws-v3", "integration_version": "1.2.3",
        "sync_type": "full_sync", "ocean_version": "0.48.12",
    });
    for (key, value) in fixed.as_object().unwrap() {
        assert_eq!(start[key], *value);
    }
    // Port uses the mapping as it was when the resync started, each in a list.
    let mut listed = mapping();
    for resource in listed["resources"].as_array_mut().unwrap() {
        let mappings = resource["port"]["entity"]["mappings"].take();
        resource["port"]["entity"]["mappings"] = json!([mappings]);
    }
    assert_eq!(start["mapping"], listed);
    let common = ["status", "integration_version", "ocean_version", "kind_identifier"];
    let started: BTreeSet<&str> =
        common.into_iter().chain(["integration_id", "integration_type", "started_at"]).collect();
    assert_eq!(keys(&described[1].body), started);
    let finished: BTreeSet<&str> = common.into_iter().chain(["integration_type"]).collect();
    assert_eq!(keys(&described[3].body), finished);
    assert_eq!(
        described[5].body,
        json!({"status": "finished", "integration_id": ID, "integration_type": "aws-v3",
               "integration_version": "1.2.3", "ocean_version": "0.48.12"})
    );
}

#[tokio::test]
async fn raw_data_comes_with_what_port_maps_it_by() {
    let stand_in = after_a_resync().await;
    let (resync, _) = stand_in.lifecycles().into_iter().next().unwrap();
    let start = &sent(&stand_in, "/v1/lifecycle")[0].body;
    let writes = writes(&stand_in);
    let path = format!("/ingest/lake/write/integration-type/aws-v3/integration/My-Berth/sync/{resync}/kind/");
    assert_eq!(writes[0].path, format!("{path}AWS%3A%3AEC2%3A%3AInstance"));
    let body = &writes[0].body;
    assert_eq!((&body["kind"], &body["eventType"]), (&json!(KINDS[0]), &json!("resync")));
    assert_eq!(body["resyncStartTime"], start["started_at"]);
    assert_eq!(body["data"].as_array().unwrap().len(), 3);
    let first = &body["data"][0];
    assert_eq!(first["items"][1], serde_json::from_str::<Value>(document(10, 0).get()).unwrap());
    // The SHA-256 of `true`.
    let hash = "b5bea41b6c623f7c09f1bf24dcae58ebab3c0cdd90ad966bc43a45b44867e12b";
    assert_eq!(
        (&first["metadata"]["selectorHash"], &first["metadata"]["resourceIndex"]),
        (&json!(hash), &json!(0))
    );
    assert_eq!(first.get("environment_data"), None);
    // A variable that is not exported is sent as null, even if the mapping asks for it.
    let second = &writes[1].body["data"][0];
    assert_eq!(second["environment_data"], json!({"STAGE": "prod", "AWS_SECRET_ACCESS_KEY": null}));
    assert_eq!(second["metadata"]["selectorHash"], Value::Null);
}

#[tokio::test]
async fn raw_data_of_live_events_belongs_to_no_resync() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = begun(config(&stand_in)).await;
    let events = catalog.another();
    assert_eq!(events.follow(&[]).await.unwrap().processing, Processing::Documents);
    let of = |number: usize, gone| {
        let DocumentBatch { config, documents, .. } = batch(0, vec![document(number, 300_000)]);
        EventDocuments { resource: 0, config, gone, documents }
    };
    let kind = Kind::new(KINDS[0]).unwrap();
    let documents: Vec<EventDocuments> = (0..5).map(|number| of(number, number == 4)).collect();
    events.event_documents(&kind, &documents).await.unwrap();
    let writes = writes(&stand_in);
    assert_eq!(writes.len(), 2, "as much as fits in a request");
    let mut operations = Vec::new();
    for write in &writes {
        assert_eq!(write.status, 202, "{}", write.body);
        assert_eq!(
            (&write.body["eventType"], &write.body["resyncStartTime"]),
            (&json!("live-event"), &Value::Null)
        );
        let id = write.body["eventId"].as_str().unwrap();
        assert!(
            write.path.ends_with(&format!("/sync/{id}/kind/AWS%3A%3AEC2%3A%3AInstance")),
            "{}",
            write.path
        );
        let data = write.body["data"].as_array().unwrap();
        operations
            .extend(data.iter().map(|batch| batch["metadata"]["operation"].as_str().unwrap().to_owned()));
    }
    assert_eq!(operations, ["upsert", "upsert", "upsert", "upsert", "delete"]);
    assert!(lifecycle(&stand_in).items.is_empty(), "the resync that runs has brought nothing yet");
}

#[tokio::test]
async fn batches_are_written_when_they_are_many_old_or_large() {
    type Change = fn(&mut PortConfig);
    let many: Change = |config| config.raw_data.flush_batches = 3;
    let old: Change = |config| config.raw_data.flush_interval = Duration::ZERO;
    let large: Change = |config| config.raw_data.memory_bytes = 2_500;
    for (change, sizes) in [(many, vec![3, 3]), (old, vec![1; 6]), (large, vec![1; 5])] {
        let stand_in = stand_in(&FLAGS).await;
        let mut config = config(&stand_in);
        change(&mut config);
        let catalog = begun(config).await;
        for number in 0..6 {
            catalog.documents(batch(0, vec![document(number, 1_200)])).await.unwrap();
        }
        let found: Vec<usize> =
            writes(&stand_in).iter().map(|write| write.body["data"].as_array().unwrap().len()).collect();
        assert_eq!(found, sizes);
        catalog.documents_end(0).await.unwrap();
        assert_eq!(lifecycle(&stand_in).items["AWS::EC2::Instance-0"], 6);
    }
}

#[tokio::test]
async fn all_kinds_together_stay_within_the_memory() {
    let stand_in = stand_in(&FLAGS).await;
    let mut config = config(&stand_in);
    config.raw_data.memory_bytes = 4_000;
    let catalog = Arc::new(begun(config).await);
    let bring = |resource: usize| {
        let catalog = Arc::clone(&catalog);
        async move {
            for number in 0..10 {
                catalog.documents(batch(resource, vec![document(number, 1_000)])).await.unwrap();
            }
        }
    };
    // Four at once, two of each kind, with one document that exceeds the whole memory.
    futures::join!(bring(0), bring(1), bring(0), bring(1));
    catalog.documents(batch(0, vec![document(99, 9_000)])).await.unwrap();
    for resource in 0..2 {
        catalog.documents_end(resource).await.unwrap();
    }
    let items = lifecycle(&stand_in).items;
    assert_eq!((items["AWS::EC2::Instance-0"], items["AWS::S3::Bucket-1"]), (21, 20));
    for write in writes(&stand_in) {
        let batches = write.body["data"].as_array().unwrap().len();
        assert!(batches <= 3, "{batches} batches of more than 1000 bytes in 4000");
    }
}

#[tokio::test]
async fn raw_data_waits_until_port_knows_its_kind() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = catalog(config(&stand_in));
    opened(&catalog).await;
    catalog.documents(batch(0, vec![document(0, 0)])).await.unwrap();
    // The end is requested first, and must wait until the start is reported.
    let described = async {
        catalog.milestone(&Milestone::Planned).await.unwrap();
        catalog.milestone(&Milestone::ResourceStarted { resource: 0 }).await.unwrap();
    };
    let (written, ()) = tokio::join!(biased; catalog.documents_end(0), described);
    written.unwrap();
    assert_eq!(lifecycle(&stand_in).items["AWS::EC2::Instance-0"], 1);
}

#[tokio::test]
async fn lost_raw_data_fails_its_kind_whoever_wrote_it() {
    let stand_in = stand_in(&FLAGS).await;
    let mut config = config(&stand_in);
    config.raw_data.memory_bytes = 1_500;
    let catalog = begun(config).await;
    catalog.documents(batch(0, vec![document(0, 1_000)])).await.unwrap();
    stand_in.fail(Fault::on("/lake/write").status(422));
    // There is no memory: the other kind's document is written, which fails.
    catalog.documents(batch(1, vec![document(0, 1_000)])).await.unwrap();
    let error = catalog.documents(batch(0, vec![document(1, 0)])).await.unwrap_err();
    assert!(matches!(&error, DocumentsError::Lost(problem) if problem.message.contains("422")), "{error:?}");
    assert_eq!(catalog.documents_end(0).await, Err(error));
    catalog.documents_end(1).await.unwrap();
    catalog.milestone(&ended(0, 0, 0, 1)).await.unwrap();
    catalog.milestone(&ended(1, 1, 0, 0)).await.unwrap();
    catalog.end(ResyncStatus::Failed).await.unwrap();
    let found = lifecycle(&stand_in);
    assert_eq!(
        (found.kinds["AWS::EC2::Instance-0"].as_str(), found.kinds["AWS::S3::Bucket-1"].as_str()),
        ("failed", "finished")
    );
    assert_eq!(found.status, "failed");
    assert_eq!(sent(&stand_in, "POST /v1/lifecycle").pop().unwrap().body, json!({"status": "failed"}));
}

#[tokio::test]
async fn a_write_that_may_pass_is_repeated_as_the_same_event() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = begun(config(&stand_in)).await;
    catalog.documents(batch(0, vec![document(0, 0)])).await.unwrap();
    stand_in.fail(Fault::on("/lake/write").status(503));
    catalog.documents_end(0).await.unwrap();
    let [first, second] = &writes(&stand_in)[..] else { panic!("written twice") };
    assert_eq!(first.body, second.body);
}

#[tokio::test]
async fn a_kind_that_was_not_read_completely_is_not_finished() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = begun(config(&stand_in)).await;
    catalog.milestone(&ended(0, 5, 1, 0)).await.unwrap();
    catalog.milestone(&ended(1, 5, 0, 1)).await.unwrap();
    assert!(lifecycle(&stand_in).kinds.values().all(|status| status == "failed"));
}

#[tokio::test]
async fn a_newer_resync_ends_this_one_without_a_word_about_its_end() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = begun(config(&stand_in)).await;
    catalog.documents(batch(0, vec![document(0, 0)])).await.unwrap();
    stand_in.make_stale();
    let error = catalog.documents_end(0).await.unwrap_err();
    assert!(
        matches!(&error, DocumentsError::Superseded(problem) if problem.message.contains("newer")),
        "{error:?}"
    );
    let described = sent(&stand_in, "/v1/lifecycle").len();
    catalog.milestone(&ended(0, 0, 0, 1)).await.unwrap();
    catalog.end(ResyncStatus::Aborted).await.unwrap();
    assert_eq!(sent(&stand_in, "/v1/lifecycle").len(), described);
    assert_eq!(stand_in.integration(ID).unwrap()["resyncState"]["status"], "aborted");
}

#[tokio::test]
async fn an_abort_in_port_is_noticed_and_not_sent_back() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = begun(config(&stand_in)).await;
    // A failed check does nothing.
    stand_in.fail(Fault::on("GET /v1/lifecycle").status(500));
    let stopped = catalog.watch_for_abort();
    let button = async {
        while stand_in.count("GET /v1/lifecycle") < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stand_in.abort_resyncs();
    };
    let (problem, ()) = tokio::join!(stopped, button);
    assert!(problem.message.contains("aborted in Port"), "{problem}");
    catalog.end(ResyncStatus::Aborted).await.unwrap();
    assert_eq!(stand_in.count("POST /v1/lifecycle/{resync}"), 3, "the begin of the resync and of two kinds");
}

#[tokio::test]
async fn a_resync_that_is_stopped_here_is_reported_as_aborted() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = begun(config(&stand_in)).await;
    catalog.end(ResyncStatus::Aborted).await.unwrap();
    catalog.end(ResyncStatus::Aborted).await.unwrap();
    assert_eq!(lifecycle(&stand_in).status, "aborted");
    let ends = sent(&stand_in, "POST /v1/lifecycle/{resync}")
        .into_iter()
        .filter(|request| request.body["status"] == "aborted");
    assert_eq!(ends.map(|request| request.body).collect::<Vec<_>>(), [json!({"status": "aborted"})]);
}

#[tokio::test]
async fn a_begin_that_port_refuses_fails_everything_but_silence_does_not() {
    let begin = "POST /v1/lifecycle/{resync}";
    let stand_in = stand_in(&FLAGS).await;
    let catalog = catalog(config(&stand_in));
    opened(&catalog).await;
    stand_in.fail(Fault::on(begin).status(422));
    assert!(catalog.milestone(&Milestone::Planned).await.is_err());
    catalog.milestone(&Milestone::ResourceStarted { resource: 0 }).await.unwrap();
    let error = catalog.documents(batch(0, vec![document(0, 0)])).await.unwrap_err();
    assert!(matches!(&error, DocumentsError::Lost(problem) if problem.message.contains("422")), "{error:?}");
    catalog.end(ResyncStatus::Failed).await.unwrap();
    assert_eq!((stand_in.count(begin), writes(&stand_in).len()), (1, 0), "what was refused is not ended");

    let stand_in = self::stand_in(&FLAGS).await;
    let catalog = self::catalog(config(&stand_in));
    opened(&catalog).await;
    // Three failed attempts: Port may or may not have received it.
    stand_in.fail(Fault::on(begin).drop_connection().times(3));
    catalog.milestone(&Milestone::Planned).await.unwrap();
    catalog.milestone(&Milestone::ResourceStarted { resource: 0 }).await.unwrap();
    catalog.documents(batch(0, vec![document(0, 0)])).await.unwrap();
    catalog.documents_end(0).await.unwrap();
    catalog.milestone(&ended(0, 1, 0, 0)).await.unwrap();
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!(lifecycle(&stand_in).status, "finished");
}

#[tokio::test]
async fn an_end_that_port_refuses_is_no_completed_resync() {
    let stand_in = stand_in(&FLAGS).await;
    let catalog = begun(config(&stand_in)).await;
    for resource in 0..2 {
        catalog.milestone(&ended(resource, 1, 0, 0)).await.unwrap();
    }
    stand_in.fail(Fault::on("POST /v1/lifecycle/{resync}").status(500).times(2));
    assert!(catalog.end(ResyncStatus::Completed).await.is_err());
    assert_eq!(stand_in.integration(ID).unwrap()["resyncState"]["status"], "failed");
}

#[tokio::test]
async fn beside_entities_raw_data_has_no_lifecycle() {
    let stand_in = stand_in(&FLAGS[..1]).await;
    let catalog = catalog(config(&stand_in));
    assert_eq!(opened(&catalog).await.processing, Processing::EntitiesAndDocuments);
    for milestone in [Milestone::Planned, Milestone::ResourceStarted { resource: 0 }, ended(0, 1, 0, 0)] {
        catalog.milestone(&milestone).await.unwrap();
    }
    catalog.documents(batch(0, vec![document(0, 0)])).await.unwrap();
    catalog.documents_end(0).await.unwrap();
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!((writes(&stand_in).len(), stand_in.count("/v1/lifecycle")), (1, 0));
}
