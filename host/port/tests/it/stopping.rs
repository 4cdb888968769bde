//! How [`PortCatalog`] ends: when a resync is stopped, and when Port is unreachable.

use std::time::{Duration, Instant, SystemTime};

use crate::common::{ID, Work, catalog, config};
use berth_core::{BlueprintId, Entity, ResyncStatus, UpsertOptions, UpsertOutcome};
use berth_port::{PortConfig, service::PortService};
use port_stand_in::{Fault, PortStandIn, StandInOptions};
use serde_json::json;

const WRITE: UpsertOptions = UpsertOptions { merge: true, create_missing_related_entities: true };

/// How long a stopped resync may still use Port.
const AT_MOST: Duration = Duration::from_secs(12);

async fn stand_in() -> PortStandIn {
    let stand_in = PortStandIn::start(StandInOptions::default()).await.unwrap();
    stand_in.seed_blueprint(&json!({"identifier": "vm", "schema": {"properties": {}}})).unwrap();
    let mapping = json!({"resources": []});
    stand_in
        .seed_integration(&json!({"installationId": ID, "installationAppType": "aws-v3", "config": mapping}))
        .unwrap();
    stand_in
}

async fn begun(config: PortConfig) -> Work {
    let catalog = catalog(config);
    catalog.open(&[]).await.unwrap();
    catalog.begin(SystemTime::now()).await.unwrap();
    catalog
}

async fn upsert(catalog: &Work) -> UpsertOutcome {
    let entity = Entity::new(BlueprintId::new("vm").unwrap(), "vm-1");
    let report = catalog.upsert(&entity.key.blueprint, std::slice::from_ref(&entity), WRITE).await;
    report.outcomes.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_stopped_resync_waits_for_nothing_and_is_reported_as_aborted() {
    let hour = "3600";
    for fault in [
        Fault::on("entities/bulk").latency(Duration::from_hours(1)),
        Fault::on("entities/bulk").status(429).retry_after(hour),
        Fault::on("entities/bulk").status(503),
    ] {
        let stand_in = stand_in().await;
        let mut config = config(&stand_in);
        config.retry.retries = 9_999;
        config.retry.base = Duration::from_secs(1);
        let catalog = begun(config).await;
        stand_in.fail(fault.times(9_999));
        let start = Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            PortService::of(&catalog).stop();
        };
        let (outcome, ()) = tokio::join!(upsert(&catalog), stop);
        assert!(matches!(&outcome, UpsertOutcome::Refused(_)), "{outcome:?}");
        // Later calls do not wait either, and the end is still reported.
        assert!(matches!(upsert(&catalog).await, UpsertOutcome::Refused(_)));
        catalog.end(ResyncStatus::Aborted).await.unwrap();
        assert!(start.elapsed() < AT_MOST, "{:?}", start.elapsed());
        assert_eq!(stand_in.integration(ID).unwrap()["resyncState"]["status"], "aborted");

        // The next resync starts afresh.
        stand_in.clear_faults();
        if stand_in.requests().iter().all(|request| request.status != 429) {
            catalog.open(&[]).await.unwrap();
            assert_eq!(upsert(&catalog).await, UpsertOutcome::Created);
        }
    }
}

#[tokio::test]
async fn what_is_on_its_way_when_a_resync_is_stopped_is_finished() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    stand_in.fail(Fault::on("entities/bulk").latency(Duration::from_millis(600)));
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        PortService::of(&catalog).stop();
    };
    let (outcome, ()) = tokio::join!(upsert(&catalog), stop);
    assert_eq!(outcome, UpsertOutcome::Created);
    // So is what was read already, as long as Port responds.
    assert_eq!(upsert(&catalog).await, UpsertOutcome::Updated);
}

#[tokio::test]
async fn events_go_on_when_a_resync_is_stopped() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    let events = catalog.another();
    PortService::of(&catalog).stop();
    tokio::time::sleep(Duration::from_millis(4_200)).await;
    assert!(matches!(upsert(&catalog).await, UpsertOutcome::Refused(_)));
    assert_eq!(upsert(&events).await, UpsertOutcome::Created);
}

#[tokio::test]
async fn a_stop_with_everything_hanging_takes_no_longer() {
    let stand_in = stand_in().await;
    let catalog = begun(config(&stand_in)).await;
    stand_in.fail(Fault::on("").latency(Duration::from_hours(1)).times(9_999));
    let start = Instant::now();
    PortService::of(&catalog).stop();
    assert!(matches!(upsert(&catalog).await, UpsertOutcome::Refused(_)));
    catalog.end(ResyncStatus::Aborted).await.unwrap_err();
    assert!(start.elapsed() < AT_MOST, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_outage_ends_the_resync() {
    let stand_in = stand_in().await;
    let mut config = config(&stand_in);
    config.retry.retries = 9_999;
    config.outage = Duration::from_secs(2);
    let catalog = begun(config).await;
    stand_in.fail(Fault::on("").status(503).times(9_999));
    let start = Instant::now();
    let (outcome, problem) = tokio::join!(upsert(&catalog), catalog.watch_for_abort());
    assert!(matches!(outcome, UpsertOutcome::Refused(_)));
    assert!(problem.to_string().contains("outage_seconds"), "{problem}");
    let took = start.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&took), "{took:?}");

    // One success is enough to continue, even if other requests fail.
    stand_in.clear_faults();
    catalog.open(&[]).await.unwrap();
    stand_in.fail(Fault::on("entities/bulk").status(503).times(9_999));
    let (outcome, ended) = tokio::join!(
        upsert(&catalog),
        tokio::time::timeout(Duration::from_secs(4), async {
            let looks = async {
                loop {
                    PortService::of(&catalog).resync_request().await.unwrap();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::select! {
                problem = catalog.watch_for_abort() => problem,
                () = looks => unreachable!(),
            }
        })
    );
    assert!(ended.is_err(), "{ended:?}");
    assert!(matches!(outcome, UpsertOutcome::Refused(_)), "such a request is not retried forever");
}
