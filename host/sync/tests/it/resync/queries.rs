//! Entities and relations that the catalog finds by a query.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use berth_sync::{Mode, Outcome};
use berth_test_support::FakeCatalog;
use serde_json::json;

use super::{A, B, World, gone, related, resync, synced};

/// A world in which a thing has replaced another, whose entity is now found by a search query.
async fn searching(search: &str, refuse: &str) -> (World, Arc<FakeCatalog>) {
    let (mut world, first) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &first).await;
    let entities = std::mem::take(&mut *first.entities.lock().unwrap());
    let refuse = BTreeSet::from([refuse.to_owned()]);
    let catalog = Arc::new(FakeCatalog { entities: Mutex::new(entities), refuse, ..FakeCatalog::default() });
    *world.things(A, "eu-west-1") = vec![json!(search)];
    (world, catalog)
}

#[tokio::test]
async fn an_entity_that_is_found_by_a_query_is_updated_and_stays() {
    let (one, two) = (format!("{A}-eu-west-1-one"), format!("{A}-eu-west-1-two"));
    let (world, catalog) = searching(&format!("find {one}"), "").await;
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!((report.totals().counts.updated, report.totals().counts.created), (1, 0));
    assert_eq!(gone(&report), std::slice::from_ref(&two), "what was found counts as seen");

    let (world, catalog) = searching("find nobody", "").await;
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Done, "finding nothing is no failure: {report:?}");
    assert!(report.notes.iter().any(|note| note.contains("found nothing for the search query of 1")));
    assert_eq!(gone(&report), [one.clone(), two]);

    // If it is unknown which entity it is, all candidates are kept.
    let query = json!({"title": one}).to_string();
    let (world, catalog) = searching(&format!("find {one}"), &query).await;
    let report = synced(&world, &catalog).await;
    assert_eq!((report.refusals.len(), report.deletion.kept.len()), (1, 2), "{report:?}");
    let (world, catalog) = searching(&format!("find {one}"), "").await;
    let report = resync(&world, &catalog, Mode::Plan).await.unwrap();
    assert_eq!((report.changes.len(), report.deletion.kept.len()), (1, 2), "{report:?}");
}

#[tokio::test]
async fn a_relation_by_a_query_is_sent_every_time_and_keeps_what_it_found() {
    let (mut world, catalog) = searching(&format!("near {B}"), "").await;
    // No account is read any longer, and everything of B except the account is gone.
    for account in [A, B] {
        world.resources.insert(World::at(account, "global", "X::Account"), Vec::new());
    }
    for region in ["eu-west-1", "us-east-1"] {
        world.things(B, region).clear();
    }
    world.things(A, "us-east-1").clear();
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!(related(&report), [format!("account/{B}")], "A's account is related to no more");
    assert_eq!(catalog.held(), [format!("account/{B}"), format!("thing/near {B}")]);

    let again = synced(&world, &catalog).await;
    assert_eq!((again.totals().counts.unchanged, again.totals().counts.updated), (0, 1), "{again:?}");
    assert_eq!(related(&again).len(), 1);
    let plan = resync(&world, &catalog, Mode::Plan).await.unwrap();
    assert_eq!((plan.changes.len(), related(&plan).len()), (1, 1), "{plan:?}");
}
