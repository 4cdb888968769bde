//! The steps of a resync: what the catalog is told of them, and what stops them.

use std::sync::{Arc, Mutex};

use berth_core::{Catalog, FetchError, Milestone, Problem, ProblemCode};
use berth_sync::{Mode, NullObserver, Outcome, SyncError, SyncOptions, run};
use berth_test_support::FakeCatalog;
use serde_json::json;

use super::{A, B, World, plugin, resync, synced};

#[tokio::test]
async fn when_nothing_can_be_read_that_is_said() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    for (_, access) in &mut world.accounts {
        *access = Err(Problem::new(ProblemCode::Other, "Unable to assume role"));
    }
    assert_eq!(synced(&world, &catalog).await.outcome, Outcome::NothingRead);
    let empty = Arc::new(FakeCatalog { config: json!({"resources": []}), ..FakeCatalog::default() });
    let error = resync(&World::new(), &empty, Mode::Apply).await.unwrap_err();
    assert!(matches!(error, SyncError::Config(_)), "{error}");
    assert_eq!(*empty.states.lock().unwrap(), ["running", "Failed"]);
}

#[tokio::test]
async fn a_stopped_run_deletes_nothing_and_says_so() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &catalog).await;
    world.things(A, "eu-west-1").clear();
    let options = SyncOptions::default();
    options.cancel.cancel();
    let catalog_dyn = Arc::clone(&catalog) as Arc<dyn Catalog>;
    let report =
        run(Arc::new(world.source()), Arc::new(plugin()), catalog_dyn, Arc::new(NullObserver), options)
            .await
            .unwrap();
    assert_eq!(report.outcome, Outcome::Aborted);
    assert_eq!(catalog.held().len(), 10);
    assert_eq!(catalog.states.lock().unwrap().last().unwrap(), "Aborted");
    // Units that were not read were stopped; they have not failed.
    let reported = catalog.milestones.lock().unwrap();
    let last = |wanted: usize| {
        reported.iter().rev().find_map(|reported| match reported {
            Milestone::ResourceEnded { resource, result } if *resource == wanted => Some(result),
            _ => None,
        })
    };
    let units = |resource: usize| last(resource).map(|r| (r.complete, r.skipped, r.failed, r.stopped));
    assert_eq!([units(0), units(1)], [Some((0, 0, 0, 2)), Some((0, 0, 0, 4))]);
}

#[tokio::test]
async fn the_catalog_is_sent_each_step_once_and_in_order() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    world.errors.insert(
        World::at(A, "eu-west-1", "X::Thing"),
        FetchError::Skipped(Problem::new(ProblemCode::Other, "denied")),
    );
    world.things(B, "us-east-1").push(json!("bad"));
    let report = synced(&world, &catalog).await;
    let reported = std::mem::take(&mut *catalog.milestones.lock().unwrap());
    assert_eq!(reported.first(), Some(&Milestone::Planned));
    let end = Milestone::DeletionEnded { deleted: 0, failed: 0, held_back: false };
    assert_eq!(reported[reported.len() - 2..], [Milestone::DeletionStarted, end]);
    for resource in 0..2 {
        let at = |wanted: fn(&Milestone) -> Option<usize>| {
            let all: Vec<_> =
                (0..reported.len()).filter(|at| wanted(&reported[*at]) == Some(resource)).collect();
            assert_eq!(all.len(), 1, "{reported:?}");
            all[0]
        };
        let started = at(|reported| match reported {
            Milestone::ResourceStarted { resource } => Some(*resource),
            _ => None,
        });
        let ended = at(|reported| match reported {
            Milestone::ResourceEnded { resource, .. } => Some(*resource),
            _ => None,
        });
        assert!(started < ended, "{reported:?}");
        let Milestone::ResourceEnded { result, .. } = &reported[ended] else { panic!() };
        let mut counts = berth_core::UnitCounts::default();
        report.units.iter().filter(|u| u.unit.resource == resource).for_each(|u| counts.add(&u.counts));
        assert_eq!(result.counts, counts, "everything is counted when the end is told");
        let units = (result.complete, result.skipped, result.failed);
        assert_eq!(units, if resource == 0 { (2, 0, 0) } else { (2, 1, 1) });
    }

    resync(&world, &catalog, Mode::Plan).await.unwrap();
    assert_eq!(catalog.milestones.lock().unwrap().len(), 0, "a plan is no resync");
}

#[tokio::test]
async fn a_catalog_that_misses_a_step_is_informed_that_the_resync_failed() {
    let (world, catalog) = (World::new(), Arc::new(FakeCatalog { deaf: true, ..FakeCatalog::default() }));
    let report = synced(&world, &catalog).await;
    assert_eq!((report.outcome, catalog.held().len()), (Outcome::Done, 10), "the work is done all the same");
    assert_eq!(*catalog.states.lock().unwrap(), ["running", "Failed"]);
}

#[tokio::test]
async fn the_catalog_can_stop_a_resync_but_not_the_next_one() {
    let mut world = World::new();
    let catalog = Arc::new(FakeCatalog::default());
    synced(&world, &catalog).await;
    world.things(A, "eu-west-1").pop();
    let stops = Some(Problem::new(ProblemCode::Other, "somebody pressed the button"));
    let entities = Mutex::new(catalog.entities.lock().unwrap().clone());
    let catalog = Arc::new(FakeCatalog { entities, stops, ..FakeCatalog::default() });
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Aborted);
    assert!(report.notes.iter().any(|note| note.contains("pressed the button")), "{:?}", report.notes);
    assert_eq!(catalog.held().len(), 10, "nothing is deleted");
    assert_eq!(*catalog.states.lock().unwrap(), ["running", "Aborted"]);
}
