//! Live events of a catalog that takes documents.

use berth_core::Processing;
use berth_sync::{LiveOptions, Refreshed};
use berth_test_support::FakeCatalog;
use serde_json::json;

use super::{B, Read, World, catalog, held, put, states};

#[tokio::test(start_paused = true)]
async fn a_catalog_that_maps_by_itself_gets_documents_of_events_and_nothing_else() {
    let catalog = catalog(&json!({"query": ".Keep"}), ".Properties.Id");
    *catalog.processing.lock().unwrap() = Processing::Documents;
    let mut world = World::of(catalog);
    put(&world.catalog, "gone", 1);
    // The catalog evaluates its selector.
    world.aws.put("one", json!({"Size": 1, "Keep": false}));
    assert_eq!(world.follow("Create", "one").await, Refreshed::Upserted);
    assert_eq!(world.follow("Delete", "gone").await, Refreshed::Deleted);
    assert_eq!(world.follow("Delete", "unknown-to-the-catalog").await, Refreshed::Deleted);
    let documents = world.catalog.event_documents.lock().unwrap().clone();
    let expected = [("one", "upsert"), ("gone", "delete"), ("unknown-to-the-catalog", "delete")];
    assert_eq!(documents, expected.map(|(id, operation)| (id.to_owned(), operation)));
    assert_eq!(held(&world.catalog), json!({"gone": 1}), "the catalog writes and deletes by itself");
    assert!(world.catalog.upserts.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_maps_by_itself_is_not_informed_that_things_of_others_are_gone() {
    // The entity states another account, or none.
    for account in [Some(B), None] {
        let catalog = FakeCatalog {
            states_of: states(account),
            ..catalog(&json!({"query": "true"}), ".Properties.Id")
        };
        *catalog.processing.lock().unwrap() = Processing::Documents;
        let mut world = World::of(catalog);
        put(&world.catalog, "of-another", 1);
        assert_eq!(world.follow("Delete", "of-another").await, Refreshed::Unchanged);
        // A resource that cannot be read is not gone.
        world.aws.next_reads([Read::Denied]);
        assert_eq!(world.follow("Delete", "one").await, Refreshed::Denied);
        assert!(world.catalog.event_documents.lock().unwrap().is_empty());
    }
    // The limits of resyncs also apply.
    let catalog = catalog(&json!({"query": "true"}), ".Properties.Id");
    *catalog.processing.lock().unwrap() = Processing::Documents;
    let mut world = World::of(catalog);
    for number in 0..30 {
        world.follow("Delete", &format!("thing-{number}")).await;
    }
    let deleted = world.catalog.event_documents.lock().unwrap().len();
    assert!((1..=20).contains(&deleted), "{deleted}");
}

#[tokio::test(start_paused = true)]
async fn events_follow_the_processing_of_the_moment_and_both_where_both_are_wanted() {
    let mut world = World::new();
    world.aws.put("one", json!({"Size": 1}));
    for (processing, size, documents) in [
        (Processing::Entities, 1, 0),
        (Processing::EntitiesAndDocuments, 2, 1),
        (Processing::Documents, 2, 2),
        (Processing::Entities, 4, 2),
    ] {
        *world.catalog.processing.lock().unwrap() = processing;
        // The cache of the catalog's state expires.
        tokio::time::sleep(LiveOptions::default().config_ttl).await;
        let written = if processing == Processing::Documents { 3 } else { size };
        world.aws.put("one", json!({"Size": written}));
        assert_eq!(world.follow("Update", "one").await, Refreshed::Upserted);
        assert_eq!(held(&world.catalog), json!({"one": size}), "{processing:?}");
        assert_eq!(world.catalog.event_documents.lock().unwrap().len(), documents, "{processing:?}");
    }
    *world.catalog.processing.lock().unwrap() = Processing::EntitiesAndDocuments;
    tokio::time::sleep(LiveOptions::default().config_ttl).await;
    world.aws.remove("one");
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Deleted);
    assert_eq!(held(&world.catalog), json!({}));
    assert_eq!(world.catalog.event_documents.lock().unwrap().last(), Some(&("one".to_owned(), "delete")));
}
