//! What a ledger saves, and what it never costs.

use std::sync::{Arc, Mutex};

use berth_core::{Catalog, FetchError, LedgerEntry, Problem, ProblemCode, Processing};
use berth_sync::{Change, Mode, NullObserver, Outcome, Report, SyncOptions, run};
use berth_test_support::{FakeCatalog, FakeLedger};
use serde_json::json;

use super::{A, B, World, plugin, synced};

async fn resync(world: &World, catalog: &Arc<FakeCatalog>, ledger: &FakeLedger, mode: Mode) -> Report {
    catalog.upserts.lock().unwrap().clear();
    *catalog.searches.lock().unwrap() = 0;
    let options = SyncOptions { mode, ledger: Some(Arc::new(ledger.clone())), ..SyncOptions::default() };
    let catalog = Arc::clone(catalog) as Arc<dyn Catalog>;
    run(Arc::new(world.source()), Arc::new(plugin()), catalog, Arc::new(NullObserver), options).await.unwrap()
}

async fn apply(world: &World, catalog: &Arc<FakeCatalog>, ledger: &FakeLedger) -> Report {
    resync(world, catalog, ledger, Mode::Apply).await
}

/// Returns the number of searches, and of sent entities.
fn asked(catalog: &FakeCatalog) -> (usize, usize) {
    (*catalog.searches.lock().unwrap(), catalog.upserts.lock().unwrap().iter().sum())
}

fn start() -> (World, Arc<FakeCatalog>, FakeLedger) {
    (World::new(), Arc::new(FakeCatalog::default()), FakeLedger::default())
}

/// Edits the catalog without Berth's knowledge.
fn edit(catalog: &FakeCatalog, key: &str, change: impl Fn(&mut berth_core::Entity)) {
    let mut entities = catalog.entities.lock().unwrap();
    change(entities.iter_mut().find(|(held, _)| held.to_string() == key).unwrap().1);
}

#[tokio::test]
async fn what_is_known_and_unchanged_costs_no_request() {
    let (mut world, catalog, ledger) = start();
    let report = apply(&world, &catalog, &ledger).await;
    assert!(report.notes.contains(&"a note of the ledger".to_owned()), "{:?}", report.notes);
    assert_eq!(asked(&catalog), (0, 10));

    let again = apply(&world, &catalog, &ledger).await;
    assert_eq!((asked(&catalog), again.totals().counts.unchanged), ((0, 0), 10));
    synced(&world, &catalog).await;
    assert!(asked(&catalog).0 > 0, "without a ledger the catalog is asked");

    // Changes are sent at once; gone entities are deleted and forgotten.
    let changed =
        json!({"blueprint": "thing", "identifier": format!("{A}-eu-west-1-one"), "title": "changed"});
    *world.things(A, "eu-west-1") = vec![changed];
    let report = apply(&world, &catalog, &ledger).await;
    let counts = report.totals().counts;
    assert_eq!((counts.updated, counts.unchanged, report.deletion.deleted.len()), (1, 8, 1));
    assert_eq!((asked(&catalog), ledger.len()), ((1, 1), 9), "who owns what is deleted is looked up");
    apply(&world, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (0, 0));
}

#[tokio::test]
async fn a_catalog_that_was_filled_without_a_ledger_is_looked_at_once() {
    let (world, catalog, ledger) = start();
    synced(&world, &catalog).await;
    apply(&world, &catalog, &ledger).await;
    let (searches, sent) = asked(&catalog);
    assert!(searches > 0 && sent == 0);
    apply(&world, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (0, 0));
}

#[tokio::test]
async fn what_somebody_deleted_comes_back_with_its_relations() {
    let (world, catalog, ledger) = start();
    apply(&world, &catalog, &ledger).await;
    let before = catalog.entities.lock().unwrap().clone();
    // The catalog removes a deleted entity from the relations of others.
    catalog.entities.lock().unwrap().retain(|key, _| key.to_string() != format!("account/{A}"));
    for region in ["eu-west-1", "us-east-1"] {
        for name in ["one", "two"] {
            edit(&catalog, &format!("thing/{A}-{region}-{name}"), |thing| thing.relations.clear());
        }
    }
    let report = apply(&world, &catalog, &ledger).await;
    let counts = report.totals().counts;
    assert_eq!((counts.created, counts.updated, counts.unchanged), (1, 4, 5));
    assert_eq!(*catalog.entities.lock().unwrap(), before);
    apply(&world, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (0, 0));

    // An entity that is gone on both sides is forgotten, so that it is not looked up forever.
    let mut world = world;
    world.things(B, "eu-west-1").clear();
    catalog.entities.lock().unwrap().retain(|key, _| !key.identifier.starts_with(&format!("{B}-eu-west-1")));
    apply(&world, &catalog, &ledger).await;
    assert_eq!(ledger.len(), 8);
}

#[tokio::test]
async fn what_somebody_edited_is_put_right_when_everything_is_verified() {
    let (world, catalog, ledger) = start();
    apply(&world, &catalog, &ledger).await;
    let before = catalog.entities.lock().unwrap().clone();
    edit(&catalog, &format!("thing/{A}-eu-west-1-one"), |thing| thing.title = Some(json!("edited")));
    apply(&world, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (0, 0));

    ledger.set(|state| state.expired = true);
    let report = apply(&world, &catalog, &ledger).await;
    let counts = report.totals().counts;
    assert_eq!((counts.updated, counts.unchanged, asked(&catalog).1), (1, 9, 1));
    assert_eq!(*catalog.entities.lock().unwrap(), before);
}

#[tokio::test]
async fn a_killed_run_loses_and_repeats_nothing() {
    let (world, catalog, ledger) = start();
    apply(&world, &catalog, &ledger).await;
    let before = catalog.entities.lock().unwrap().clone();

    // The catalog applies a change, and the process is killed before it learns that.
    let stalls_at = "111111111111-eu-west-1-one";
    let mut changed = world.clone();
    let entity = json!({"blueprint": "thing", "identifier": stalls_at, "title": "for a moment"});
    *changed.things(A, "eu-west-1") = vec![entity, json!(format!("{A}-eu-west-1-two"))];
    changed.things(B, "us-east-1").push(json!("new"));
    let entities = Mutex::new(before.clone());
    let stalls = Arc::new(FakeCatalog { stalls_at: Some(stalls_at), entities, ..FakeCatalog::default() });
    tokio::select! {
        report = apply(&changed, &stalls, &ledger) => panic!("it ended: {report:?}"),
        () = stalls.stalled.notified() => {}
    }
    let held = stalls.entities.lock().unwrap().clone();
    assert_ne!(held, before, "the change arrived");

    // Then AWS is as before. The ledger agrees, but the catalog does not.
    let catalog = Arc::new(FakeCatalog { entities: Mutex::new(held), ..FakeCatalog::default() });
    let report = apply(&world, &catalog, &ledger).await;
    assert_eq!(report.outcome, Outcome::Done);
    assert_eq!(*catalog.entities.lock().unwrap(), before);
    apply(&world, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (0, 0), "and all is known again");
}

/// Returns which things are gone after a region failed and two resources were deleted, one of them there.
async fn gone(ledger: Option<&FakeLedger>) -> (Vec<String>, usize) {
    let (mut world, catalog, fresh) = start();
    apply(&world, &catalog, ledger.unwrap_or(&fresh)).await;
    // Nothing in the catalog says whose an entity is.
    for thing in catalog.entities.lock().unwrap().values_mut() {
        thing.properties.clear();
        thing.relations.clear();
    }
    world.errors.insert(
        World::at(A, "eu-west-1", "X::Thing"),
        FetchError::Failed(Problem::new(ProblemCode::Other, "boom")),
    );
    world.things(A, "eu-west-1").clear();
    world.things(A, "us-east-1").pop();
    world.things(B, "eu-west-1").pop();
    let report = match ledger {
        Some(ledger) => apply(&world, &catalog, ledger).await,
        None => synced(&world, &catalog).await,
    };
    let gone = report.deletion.deleted.iter().map(|gone| {
        let account = gone.account.as_ref().map(ToString::to_string);
        assert!(gone.entity.identifier.starts_with(&account.unwrap()));
        gone.entity.identifier.clone()
    });
    (gone.collect(), report.deletion.kept.len())
}

#[tokio::test]
async fn the_unit_that_produced_an_entity_decides_about_it() {
    let (mut all, protected) = gone(Some(&FakeLedger::default())).await;
    all.sort();
    assert_eq!((all, protected), (vec![format!("{A}-us-east-1-two"), format!("{B}-eu-west-1-two")], 2));
    assert_eq!(gone(None).await, (Vec::new(), 4), "without a ledger all of them might be the region's");
}

#[tokio::test]
async fn what_several_units_produce_belongs_to_all_of_them_and_is_always_compared() {
    let (mut world, catalog, ledger) = start();
    for account in [A, B] {
        world.things(account, "eu-west-1").push(json!("shared"));
    }
    apply(&world, &catalog, &ledger).await;
    let doubtful = |ledger: &FakeLedger| {
        let state = ledger.state();
        let shared = |entry: &LedgerEntry| {
            entry.content.is_none() && entry.producers.known().is_some_and(|known| known.len() == 2)
        };
        state.entries.values().filter(|(entry, _)| shared(entry)).count()
    };
    assert_eq!(doubtful(&ledger), 1);
    apply(&world, &catalog, &ledger).await;
    assert!(asked(&catalog).0 > 0);

    // One of them is not read, the other no longer has it: it may still be the first one's.
    edit(&catalog, "thing/shared", |thing| {
        thing.properties.clear();
        thing.relations.clear();
    });
    world.errors.insert(
        World::at(A, "eu-west-1", "X::Thing"),
        FetchError::Failed(Problem::new(ProblemCode::Other, "boom")),
    );
    world.things(A, "eu-west-1").clear();
    world.things(B, "eu-west-1").pop();
    let report = apply(&world, &catalog, &ledger).await;
    assert!(report.deletion.deleted.is_empty(), "{:?}", report.deletion);
    // It stays so if only one of them produced it for a while.
    world.things(B, "eu-west-1").push(json!("shared"));
    apply(&world, &catalog, &ledger).await;
    world.things(B, "eu-west-1").pop();
    edit(&catalog, "thing/shared", |thing| {
        thing.properties.clear();
        thing.relations.clear();
    });
    let report = apply(&world, &catalog, &ledger).await;
    assert!(report.deletion.deleted.is_empty(), "{:?}", report.deletion);
}

#[tokio::test]
async fn what_the_catalog_refused_is_not_believed_to_be_there() {
    let (mut world, first, ledger) = start();
    apply(&world, &first, &ledger).await;
    let entities = || Mutex::new(first.entities.lock().unwrap().clone());
    let identifier = format!("{A}-eu-west-1-one");
    let refuses =
        FakeCatalog { refuse: [identifier.clone()].into(), entities: entities(), ..FakeCatalog::default() };
    let before = world.clone();
    let changed = json!({"blueprint": "thing", "identifier": identifier, "title": "changed"});
    world.things(A, "eu-west-1")[0] = changed;
    let report = apply(&world, &Arc::new(refuses), &ledger).await;
    assert_eq!(report.refusals.len(), 1);
    // An error may be a lost response: the catalog's state is compared.
    let catalog = Arc::new(FakeCatalog { entities: entities(), ..FakeCatalog::default() });
    apply(&before, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (1, 0));
}

#[tokio::test]
async fn a_plan_reads_what_is_known_and_writes_nothing() {
    let (mut world, catalog, ledger) = start();
    apply(&world, &catalog, &ledger).await;
    let identifier = format!("{A}-eu-west-1-one");
    let mut iconic =
        json!({"blueprint": "thing", "identifier": identifier, "title": identifier, "icon": "AWS"});
    iconic["properties"] = json!({"region": "eu-west-1"});
    iconic["relations"] = json!({"account": A});
    world.things(A, "eu-west-1")[0] = iconic;
    let before = format!("{ledger:?}");
    let plan = resync(&world, &catalog, &ledger, Mode::Plan).await;
    assert_eq!(format!("{ledger:?}"), before);
    assert_eq!(asked(&catalog), (1, 0), "only what changed is looked at, to tell how");
    // A comparison does not cover the icon, but the plan still lists what a sync would send.
    let update = Change::Update { fields: Vec::new() };
    assert_eq!((plan.totals().counts.unchanged, &plan.changes[0].change), (9, &update));
    let report = apply(&world, &catalog, &ledger).await;
    assert_eq!((report.totals().counts.updated, asked(&catalog)), (1, (0, 1)));
}

#[tokio::test]
async fn a_ledger_that_fails_costs_only_comparisons() {
    let (world, catalog, ledger) = start();
    apply(&world, &catalog, &ledger).await;
    ledger.set(|state| state.unreadable = true);
    let report = apply(&world, &catalog, &ledger).await;
    assert!(report.notes.iter().any(|note| note.contains("bad sector")), "{:?}", report.notes);
    assert_eq!((report.outcome, report.totals().counts.unchanged), (Outcome::Done, 10));

    ledger.set(|state| {
        state.unreadable = false;
        state.unwritable = true;
    });
    let mut changed = world.clone();
    changed.things(A, "eu-west-1").push(json!("new"));
    let report = apply(&changed, &catalog, &ledger).await;
    assert!(report.notes.iter().any(|note| note.contains("disk full")), "{:?}", report.notes);
    assert_eq!((report.outcome, report.totals().counts.created), (Outcome::Done, 1));
    ledger.set(|state| state.unwritable = false);
    let report = apply(&changed, &catalog, &ledger).await;
    assert_eq!(report.totals().counts.unchanged, 11);
    assert!(asked(&catalog).0 > 0 && asked(&catalog).1 == 0, "what was not recorded is looked at");
    apply(&changed, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (0, 0));

    // A catalog that cannot be listed may hold anything.
    let entities = Mutex::new(catalog.entities.lock().unwrap().clone());
    let unlisted = Arc::new(FakeCatalog { unlisted: true, entities, ..FakeCatalog::default() });
    apply(&changed, &unlisted, &ledger).await;
    assert!(asked(&unlisted).0 > 0);
}

#[tokio::test]
async fn what_was_known_counts_for_nothing_after_the_catalog_mapped_by_itself() {
    let (world, catalog, ledger) = start();
    apply(&world, &catalog, &ledger).await;
    apply(&world, &catalog, &ledger).await;
    assert_eq!(asked(&catalog), (0, 0), "all is known");

    let itself = FakeCatalog { processing: Mutex::new(Processing::Documents), ..FakeCatalog::default() };
    let report = apply(&world, &Arc::new(itself), &ledger).await;
    assert_eq!(report.outcome, Outcome::Done);
    // The other writer changed it.
    let changed = format!("thing/{A}-eu-west-1-one");
    edit(&catalog, &changed, |entity| entity.title = Some(json!("mapped elsewhere")));
    apply(&world, &catalog, &ledger).await;
    let (searches, sent) = asked(&catalog);
    assert!(searches > 0 && sent == 1, "{searches} searches, {sent} sent");
}
