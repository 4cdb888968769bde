//! What events and a running resync do to each other.

use berth_sync::{Outcome, Refreshed};
use proptest::prelude::*;
use serde_json::json;

use super::{Read, World, held, put};

#[tokio::test]
async fn a_resync_does_not_delete_what_an_event_wrote_since_it_read() {
    let mut world = World::new();
    // It existed before the resync, so it counts as owned, and it was gone when the resync read.
    put(&world.catalog, "one", 1);
    put(&world.catalog, "two", 2);
    world.aws.put("two", json!({"Size": 2}));
    let report = world
        .resync_during(async |world| {
            world.aws.put("one", json!({"Size": 5}));
            assert_eq!(world.follow("Create", "one").await, Refreshed::Upserted);
        })
        .await;
    assert_eq!((report.outcome, report.deletion.deleted.len()), (Outcome::Done, 0));
    assert_eq!(held(&world.catalog), json!({"one": 5, "two": 2}));
    // The next resync, which reads it, may write it again.
    world.aws.remove("one");
    assert_eq!(world.resync_during(async |_| ()).await.deletion.deleted.len(), 1);
    assert_eq!(held(&world.catalog), json!({"two": 2}));
}

#[tokio::test]
async fn a_resync_does_not_write_back_what_an_event_changed_or_deleted_since_it_read() {
    let mut world = World::new();
    for (id, size) in [("changed", 1), ("gone", 2), ("other", 3)] {
        world.aws.put(id, json!({"Size": size}));
    }
    put(&world.catalog, "gone", 1);
    let report = world
        .resync_during(async |world| {
            world.aws.put("changed", json!({"Size": 9}));
            world.aws.remove("gone");
            assert_eq!(world.follow("Update", "changed").await, Refreshed::Upserted);
            assert_eq!(world.follow("Delete", "gone").await, Refreshed::Deleted);
        })
        .await;
    assert_eq!(report.outcome, Outcome::Done);
    let counts = report.totals().counts;
    assert_eq!((counts.created, counts.updated, counts.unchanged), (1, 0, 2));
    assert_eq!(held(&world.catalog), json!({"changed": 9, "other": 3}));
    assert_eq!(world.book.certain(), 1, "only the other one's content in the catalog is certain");
}

#[tokio::test]
async fn a_resync_does_not_believe_its_ledger_about_what_an_event_wrote() {
    let mut world = World::new();
    world.aws.put("one", json!({"Size": 1}));
    world.aws.put("two", json!({"Size": 2}));
    world.resync_during(async |_| ()).await;
    assert_eq!(world.book.certain(), 2);
    world.aws.put("one", json!({"Size": 9}));
    assert_eq!(world.follow("Update", "one").await, Refreshed::Upserted);
    assert_eq!(world.book.certain(), 1);
    // Back to what the ledger knew, without an event.
    world.aws.put("one", json!({"Size": 1}));
    let counts = world.resync_during(async |_| ()).await.totals().counts;
    assert_eq!((counts.updated, counts.unchanged), (1, 1));
    assert_eq!(held(&world.catalog), json!({"one": 1, "two": 2}));
    assert_eq!(world.book.certain(), 2);
}

fn reads() -> impl Strategy<Value = Option<Read>> {
    prop_oneof![
        Just(None),
        Just(Some(Read::Failed)),
        Just(Some(Read::Denied)),
        Just(Some(Read::CutOff)),
        Just(Some(Read::Partly)),
        Just(Some(Read::Missing)),
        Just(Some(Read::Unmappable)),
        Just(Some(Read::Trap)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For any events and any results of reads: an entity is deleted only after a complete read that found
    /// nothing, and only if an event names its resource.
    #[test]
    fn an_event_never_deletes_what_it_could_not_read(
        script in prop::collection::vec(reads(), 0..6), delete: bool, exists: bool,
    ) {
        let script: Vec<Read> = script.into_iter().map_while(|read| read).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            put(&world.catalog, "one", 1);
            put(&world.catalog, "bystander", 1);
            if exists {
                world.aws.put("one", json!({"Size": 1}));
            }
            world.aws.next_reads(script.clone());
            let ended = world.follow(if delete { "Delete" } else { "Update" }, "one").await;
            let held = held(&world.catalog);
            prop_assert_eq!(&held["bystander"], 1);
            let reads = world.aws.reads.lock().unwrap().len();
            // The last read: from the script or, beyond it, of what exists.
            let absent = match script.get(reads - 1) {
                Some(read) => matches!(read, Read::Missing),
                None => !exists,
            };
            prop_assert_eq!(held["one"].is_null(), ended == Refreshed::Deleted);
            prop_assert!(absent || ended != Refreshed::Deleted, "{:?} after {} reads", script, reads);
            Ok(())
        })?;
    }
}
