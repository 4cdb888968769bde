//! What is not deleted: what could not be read, and more than the threshold allows.

use std::sync::{Arc, Mutex};

use berth_core::{AccountId, FetchError, Problem, ProblemCode, RemovedScope};
use berth_sync::{Kept, Outcome, SyncOptions, deletion::Keep};
use berth_test_support::FakeCatalog;
use serde_json::json;

use super::{A, B, World, gone, related, resync_with, synced};

#[tokio::test]
async fn what_was_not_read_is_not_deleted() {
    let failed = || FetchError::Failed(Problem::new(ProblemCode::Other, "boom"));
    let skipped = || FetchError::Skipped(Problem::new(ProblemCode::Other, "denied"));
    for (error, status) in [(failed(), "Failed"), (skipped(), "Completed")] {
        let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
        synced(&world, &catalog).await;
        world.errors.insert(World::at(A, "eu-west-1", "X::Thing"), error);
        world.things(A, "eu-west-1").clear();
        world.things(A, "us-east-1").clear();
        world.things(B, "eu-west-1").pop();
        let report = synced(&world, &catalog).await;
        assert_eq!(report.outcome, Outcome::Partial);
        // Without a ledger an entity is known to belong to its account, but not to a region.
        assert_eq!(gone(&report), [format!("{B}-eu-west-1-two")]);
        assert_eq!(report.deletion.kept.len(), 4);
        let of_unit =
            |kept: &Kept| matches!(&kept.keep, Keep::Incomplete { unit } if unit.account.as_str() == A);
        assert!(report.deletion.kept.iter().all(of_unit), "{:?}", report.deletion.kept);
        assert_eq!(catalog.states.lock().unwrap().last().unwrap(), status);
    }
}

#[tokio::test]
async fn a_whole_account_that_fails_is_protected() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &catalog).await;
    world.accounts[1].1 = Err(Problem::new(ProblemCode::Other, "Unable to assume role"));
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert!(report.deletion.deleted.is_empty(), "{:?}", report.deletion);
    assert_eq!((report.deletion.kept.len(), catalog.held().len()), (5, 10));
}

#[tokio::test]
async fn an_account_that_left_the_list_is_kept_until_that_is_confirmed() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &catalog).await;
    world.accounts.pop();
    for _ in 0..4 {
        let report = synced(&world, &catalog).await;
        assert_eq!(report.outcome, Outcome::DeletionsHeldBack);
        assert_eq!((report.deletion.kept.len(), catalog.held().len()), (5, 10), "nobody counts resyncs");
        let scope = RemovedScope::Account(AccountId::new(B).unwrap());
        let removed = Keep::ScopeRemoved { scope, resyncs: None };
        assert!(report.deletion.kept.iter().all(|kept| kept.keep == removed), "{:?}", report.deletion.kept);
    }
    let mut options = SyncOptions::default();
    options.removal.confirmed.insert(format!("account={B}").parse().unwrap());
    let report = resync_with(&world, &catalog, options).await.unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!((report.deletion.deleted.len(), catalog.held().len()), (5, 5));
}

#[tokio::test]
async fn an_unmapped_resource_protects_its_unit() {
    for poison in ["bad", "trap"] {
        let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
        synced(&world, &catalog).await;
        *world.things(A, "eu-west-1") = vec![json!(format!("{A}-eu-west-1-one")), json!(poison)];
        world.things(B, "eu-west-1").pop();
        let report = synced(&world, &catalog).await;
        assert_eq!(report.outcome, Outcome::Partial, "{poison}");
        let gone: Vec<_> =
            report.deletion.deleted.iter().map(|gone| gone.entity.identifier.as_str()).collect();
        assert_eq!(gone, [format!("{B}-eu-west-1-two")], "{poison}");
    }
}

#[tokio::test]
async fn too_large_a_share_is_held_back() {
    let (mut world, catalog) = (
        World::new(),
        Arc::new(FakeCatalog { config: json!({"entityDeletionThreshold": 0.2}), ..FakeCatalog::default() }),
    );
    synced(&world, &catalog).await;
    world.things(A, "eu-west-1").clear();
    world.things(A, "us-east-1").pop();
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::DeletionsHeldBack);
    let [held] = &*report.deletion.held_back else { panic!("{:?}", report.deletion) };
    assert!(held.problem.message.contains("3 of 10"), "{}", held.problem);
    assert_eq!(held.entities.len(), 3);
    assert_eq!(catalog.held().len(), 10);
    world.things(A, "eu-west-1").extend([json!(format!("{A}-eu-west-1-one"))]);
    assert_eq!(synced(&world, &catalog).await.outcome, Outcome::Done, "exactly the threshold is allowed");
    assert_eq!(catalog.held().len(), 8);
}

#[tokio::test]
async fn nothing_is_deleted_when_the_catalog_cannot_be_listed() {
    let (mut world, first) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &first).await;
    let entities = std::mem::take(&mut *first.entities.lock().unwrap());
    let catalog =
        Arc::new(FakeCatalog { unlisted: true, entities: Mutex::new(entities), ..FakeCatalog::default() });
    world.things(A, "eu-west-1").pop();
    let report = synced(&world, &catalog).await;
    assert!(report.deletion.stopped.as_ref().unwrap().message.contains("503"));
    assert_eq!(catalog.held().len(), 10);
    assert_eq!(report.totals().counts.unchanged, 9, "comparison still spares needless upserts");
}

#[tokio::test]
async fn a_related_target_is_kept() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &catalog).await;
    world.resources.insert(World::at(A, "global", "X::Account"), Vec::new());
    let report = synced(&world, &catalog).await;
    assert_eq!(related(&report), [format!("account/{A}")]);
    assert_eq!(catalog.held().len(), 10);
}
