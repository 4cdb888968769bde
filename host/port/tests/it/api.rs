//! Calls of Port's API: tokens, and what is tried again.

use std::time::{Duration, SystemTime};

use berth_core::{Entity, ResyncStatus, UpsertOutcome};
use port_stand_in::Fault;
use secrecy::SecretString;
use serde_json::json;

use crate::common::{
    catalog, config,
    fixtures::{WRITE, defaults, furnished, id, instance_entity, sent, stand_in},
};

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
async fn an_account_without_permission_is_reported_and_not_asked_for_ever() {
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
