//! What happens to resource documents: sent, offered in addition, or shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use berth_core::{
    Catalog, DocumentsError, FetchError, Milestone, Problem, ProblemCode, Processing, ResourceResult,
    UnitState,
};
use berth_sync::{Event, Mode, NullObserver, Observer, Outcome, SyncOptions, run};
use berth_test_support::FakeCatalog;
use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{A, World, plugin, resync, synced};

/// A catalog that maps by itself.
fn mapping_itself() -> FakeCatalog {
    FakeCatalog { processing: Mutex::new(Processing::Documents), ..FakeCatalog::default() }
}

fn result_of(catalog: &FakeCatalog, resource: usize) -> ResourceResult {
    let milestone = catalog.milestones.lock().unwrap();
    let ended = |milestone: &Milestone| match milestone {
        Milestone::ResourceEnded { resource: at, result } if *at == resource => Some(*result),
        _ => None,
    };
    milestone.iter().find_map(ended).unwrap()
}

#[tokio::test]
async fn a_catalog_that_maps_by_itself_gets_documents_and_nothing_else() {
    let catalog = Arc::new(mapping_itself());
    let plan = resync(&World::new(), &catalog, Mode::Plan).await.unwrap();
    assert_eq!((plan.outcome, plan.totals().counts.documents), (Outcome::Done, 10));
    assert!(catalog.documents.lock().unwrap().is_empty());

    let report = synced(&World::new(), &catalog).await;
    let counts = report.totals().counts;
    assert_eq!((report.outcome, report.processing), (Outcome::Done, Processing::Documents));
    assert_eq!((counts.fetched, counts.documents, counts.mapped), (10, 10, 0));
    let documents = catalog.documents.lock().unwrap();
    for (resource, count) in [(0, 2), (1, 8)] {
        let all = &documents[&resource];
        assert_eq!((all.len(), all.last().unwrap().as_str()), (count + 1, "end"), "{all:?}");
    }
    assert!(catalog.held().is_empty() && catalog.upserts.lock().unwrap().is_empty());
    assert_eq!(*catalog.states.lock().unwrap(), ["running", "Completed"]);
    let milestone = catalog.milestones.lock().unwrap();
    assert!(
        !milestone.iter().any(|milestone| matches!(milestone, Milestone::DeletionStarted)),
        "{milestone:?}"
    );
}

#[tokio::test]
async fn to_a_catalog_that_maps_by_itself_nothing_incomplete_looks_complete() {
    let failed = || FetchError::Failed(Problem::new(ProblemCode::Other, "boom"));
    let skipped = || FetchError::Skipped(Problem::new(ProblemCode::Other, "denied"));
    for error in [failed(), skipped()] {
        let catalog = Arc::new(mapping_itself());
        let mut world = World::new();
        world.errors.insert(World::at(A, "eu-west-1", "X::Thing"), error);
        let report = synced(&world, &catalog).await;
        assert_eq!(report.outcome, Outcome::Partial);
        let (accounts, things) = (result_of(&catalog, 0), result_of(&catalog, 1));
        assert_eq!((accounts.failed + accounts.skipped, things.failed + things.skipped), (0, 1));
        assert_eq!(*catalog.states.lock().unwrap(), ["running", "Failed"]);
    }
}

/// How each unit ended, as reported.
#[derive(Default)]
struct Announced(Mutex<BTreeMap<String, bool>>);

impl Observer for Announced {
    fn event(&self, event: &Event<'_>) {
        if let Event::UnitFinished { report } = event {
            let known = self.0.lock().unwrap().insert(report.unit.to_string(), report.state.is_complete());
            assert_eq!(known, None, "announced once");
        }
    }
}

#[tokio::test]
async fn a_units_outcome_is_announced_as_it_is_reported() {
    for when in ["first", "end"] {
        let refuses =
            BTreeMap::from([((1, when), DocumentsError::Lost(Problem::new(ProblemCode::Other, "503")))]);
        let catalog = Arc::new(FakeCatalog { refuses, ..mapping_itself() });
        let announced = Arc::new(Announced::default());
        let report = run(
            Arc::new(World::new().source()),
            Arc::new(plugin()),
            catalog as Arc<dyn Catalog>,
            Arc::clone(&announced) as Arc<dyn Observer>,
            SyncOptions { unit_concurrency: 1, ..SyncOptions::default() },
        );
        let units = report.await.unwrap().units;
        let reported: BTreeMap<String, bool> =
            units.iter().map(|unit| (unit.unit.to_string(), unit.state.is_complete())).collect();
        assert_eq!(*announced.0.lock().unwrap(), reported);
        assert!(reported.values().any(|complete| !complete) && reported.values().any(|complete| *complete));
    }
}

#[tokio::test]
async fn documents_that_are_lost_fail_their_entry_and_no_other() {
    let lost = || DocumentsError::Lost(Problem::new(ProblemCode::Other, "503"));
    for when in ["first", "end"] {
        let refuses = BTreeMap::from([((1, when), lost())]);
        let catalog = Arc::new(FakeCatalog { refuses, ..mapping_itself() });
        let report = synced(&World::new(), &catalog).await;
        assert_eq!(report.outcome, Outcome::Partial);
        for unit in &report.units {
            let problem = unit.state.problem().map(|problem| problem.message.as_str());
            assert_eq!(problem, (unit.unit.resource == 1).then_some("503"), "{when}: {}", unit.unit);
        }
        assert!(result_of(&catalog, 1).failed > 0 && result_of(&catalog, 0).failed == 0);
        assert_eq!(*catalog.states.lock().unwrap(), ["running", "Failed"]);
    }
}

#[tokio::test]
async fn a_resync_that_another_has_replaced_stops_and_is_no_failure() {
    let stale = DocumentsError::Superseded(Problem::new(ProblemCode::Other, "a newer one"));
    let catalog =
        Arc::new(FakeCatalog { refuses: BTreeMap::from([((1, "first"), stale)]), ..mapping_itself() });
    let report = synced(&World::new(), &catalog).await;
    assert_eq!(report.outcome, Outcome::Aborted);
    assert!(report.notes.iter().any(|note| note.contains("a newer one")), "{:?}", report.notes);
    // A stopped unit is not reported as complete.
    assert!(result_of(&catalog, 1).failed > 0);
    assert_eq!(*catalog.states.lock().unwrap(), ["running", "Aborted"]);
}

#[tokio::test]
async fn documents_beside_entities_cannot_harm_them() {
    let beside =
        || FakeCatalog { processing: Mutex::new(Processing::EntitiesAndDocuments), ..FakeCatalog::default() };
    let lost = DocumentsError::Lost(Problem::new(ProblemCode::Other, "503"));
    let stale = DocumentsError::Superseded(Problem::new(ProblemCode::Other, "a newer one"));
    let refuses = BTreeMap::from([((0, "first"), lost), ((1, "first"), stale)]);
    for (catalog, documents) in [(beside(), 10), (FakeCatalog { refuses, ..beside() }, 0)] {
        let catalog = Arc::new(catalog);
        let report = synced(&World::new(), &catalog).await;
        assert_eq!((report.outcome, catalog.held().len()), (Outcome::Done, 10), "{report:?}");
        assert_eq!(report.totals().counts.documents, 0, "they are not what the resync is for");
        let taken = catalog.documents.lock().unwrap();
        let ends = taken.values().flatten().filter(|id| *id == "end").count();
        assert_eq!((ends, taken.values().flatten().count() - ends), (2, documents));
        assert_eq!(*catalog.states.lock().unwrap(), ["running", "Completed"]);
    }
}

#[tokio::test]
async fn a_catalog_that_is_stuck_with_documents_does_not_keep_a_resync_from_its_end() {
    let stuck = FakeCatalog {
        processing: Mutex::new(Processing::EntitiesAndDocuments),
        stuck: true,
        ..FakeCatalog::default()
    };
    let catalog = Arc::new(stuck);
    let options = SyncOptions { patience: Duration::from_millis(10), ..SyncOptions::default() };
    let catalog_dyn = Arc::clone(&catalog) as Arc<dyn Catalog>;
    let run = run(
        Arc::new(World::new().source()),
        Arc::new(plugin()),
        catalog_dyn,
        Arc::new(NullObserver),
        options,
    );
    let report = run.await.unwrap();
    assert_eq!((report.outcome, catalog.held().len()), (Outcome::Done, 10));
}

#[tokio::test]
async fn a_few_documents_of_each_kind_are_shown() {
    for processing in [Processing::Entities, Processing::EntitiesAndDocuments, Processing::Documents] {
        let catalog = Arc::new(FakeCatalog {
            processing: Mutex::new(processing),
            examples: 5,
            ..FakeCatalog::default()
        });
        let mut world = World::new();
        // A page that does not map gives no examples, and uses up none.
        world.things(A, "eu-west-1").insert(0, json!("trap"));
        synced(&world, &catalog).await;
        let shown = std::mem::take(&mut *catalog.shown.lock().unwrap());
        assert_eq!(shown["X::Account"], 2, "{processing:?}");
        assert_eq!(shown["X::Thing"], 5, "{processing:?}");
        resync(&World::new(), &catalog, Mode::Plan).await.unwrap();
        assert!(catalog.shown.lock().unwrap().is_empty(), "a plan shows nothing");
    }
    let catalog = Arc::new(FakeCatalog::default());
    synced(&World::new(), &catalog).await;
    assert!(catalog.shown.lock().unwrap().is_empty(), "nothing is wanted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whenever a resync is stopped, and however it went until then: a resource mapping is reported as
    /// complete only if all its documents were sent, and report and state agree.
    #[test]
    fn a_stopped_resync_never_reports_an_entry_as_whole_that_is_not(
        delays in prop::collection::vec(0_u64..60, 1..9),
        delay in 0_u64..30,
        stop_at in 0_u64..400,
        failing: bool,
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            world.delays = delays.into_iter().map(Duration::from_millis).collect();
            if failing {
                let error = FetchError::Failed(Problem::new(ProblemCode::Other, "boom"));
                world.errors.insert(World::at(A, "eu-west-1", "X::Thing"), error);
            }
            let catalog = Arc::new(FakeCatalog { delay: Duration::from_millis(delay), ..mapping_itself() });
            let cancel = CancellationToken::new();
            let options = SyncOptions { cancel: cancel.clone(), unit_concurrency: 2, ..SyncOptions::default() };
            let catalog_dyn = Arc::clone(&catalog) as Arc<dyn Catalog>;
            let resync = run(Arc::new(world.source()), Arc::new(plugin()), catalog_dyn, Arc::new(NullObserver), options);
            let stop = async {
                tokio::time::sleep(Duration::from_millis(stop_at)).await;
                cancel.cancel();
                std::future::pending::<()>().await;
            };
            let report = tokio::select! {
                report = resync => report.unwrap(),
                () = stop => return Ok(()),
            };
            let documents = catalog.documents.lock().unwrap();
            let mut whole = BTreeSet::new();
            for (resource, count) in [(0, 2), (1, 8)] {
                let result = result_of(&catalog, resource);
                let units: Vec<_> = report.units.iter().filter(|u| u.unit.resource == resource).collect();
                prop_assert_eq!(result.units(), units.len() as u64, "every unit counts");
                let complete = units.iter().filter(|unit| matches!(unit.state, UnitState::Complete)).count();
                prop_assert_eq!(result.complete, complete as u64, "the report says the same");
                if result.is_whole() {
                    let taken = documents.get(&resource).cloned().unwrap_or_default();
                    prop_assert_eq!(taken.len(), count + 1, "{:?}", taken);
                    prop_assert_eq!(taken.last().map(String::as_str), Some("end"));
                    whole.insert(resource);
                }
            }
            let states = catalog.states.lock().unwrap();
            let end = states.last().map(String::as_str);
            prop_assert!(end != Some("Completed") || whole.len() == 2, "{:?} {:?}", end, whole);
            prop_assert_eq!(end == Some("Completed"), report.outcome == Outcome::Done);
            Ok(())
        })?;
    }
}
