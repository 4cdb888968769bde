//! Plugins that are reloaded while a resync runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use berth_core::KindReads;
use berth_sync::{NullObserver, Report, SyncOptions, run};
use berth_test_support::{ExchangedMapper, FakeCatalog, FakeMapper};
use futures::StreamExt;
use serde_json::{Value, json};

use super::{World, kinds, map};

/// The plugin of the other tests in a version, which its entities and its plan name.
#[derive(Clone, Copy)]
struct Version {
    number: u32,
    scope: &'static str,
    maps_things: bool,
}

impl Version {
    fn mapper(self) -> FakeMapper {
        let mut kinds = kinds();
        let things = kinds.iter_mut().find(|entry| entry.manifest.kind.as_str() == "X::Thing").unwrap();
        let manifest = Arc::make_mut(&mut things.manifest);
        manifest.plan_mut().chunk = Some(self.number);
        manifest.scope = serde_json::from_value(json!(self.scope)).unwrap();
        kinds.retain(|entry| self.maps_things || entry.manifest.kind.as_str() != "X::Thing");
        FakeMapper::new(kinds, move |request| {
            let mut report = map(request)?;
            for entity in &mut report.entities {
                entity.title = Some(json!(format!("mapped by {}", self.number)));
            }
            Ok(report)
        })
    }
}

/// Runs a resync, one unit after the other, in which a version replaces another when the first thing of the
/// first unit was read. Returns the version that each unit was read with, from its plan.
async fn exchanged(next: Version) -> (Report, Arc<FakeCatalog>, Vec<Option<u32>>) {
    let first = Version { number: 1, scope: "regional", maps_things: true };
    let plugins = Arc::new(ExchangedMapper::new(first.mapper()));
    let plans: Arc<Mutex<Vec<Option<u32>>>> = Arc::default();
    let (world, exchanged, read) = (World::new(), Arc::clone(&plugins), Arc::clone(&plans));
    let source = world.clone().source().with_resources(move |request| {
        let pages = world.fetch(&request);
        if request.kind.kind.as_str() != "X::Thing" {
            return pages;
        }
        read.lock().unwrap().push(request.kind.plan().chunk);
        let mut exchanged = Some(Arc::clone(&exchanged));
        let exchange = move |page| {
            if let Some(plugins) = exchanged.take() {
                plugins.exchange(next.mapper());
            }
            page
        };
        pages.map(exchange).boxed()
    });
    let catalog = Arc::new(FakeCatalog::default());
    let report = run(
        Arc::new(source),
        plugins,
        Arc::clone(&catalog) as Arc<dyn berth_core::Catalog>,
        Arc::new(NullObserver),
        SyncOptions { unit_concurrency: 1, ..SyncOptions::default() },
    );
    let report = report.await.unwrap();
    let plans = plans.lock().unwrap().clone();
    (report, catalog, plans)
}

/// Returns how many things each version mapped.
fn mapped(catalog: &FakeCatalog) -> BTreeMap<String, usize> {
    let mut mapped = BTreeMap::new();
    for entity in catalog.entities.lock().unwrap().values() {
        if entity.key.blueprint.as_str() == "thing" {
            let title = entity.title.as_ref().and_then(Value::as_str).unwrap().to_owned();
            *mapped.entry(title).or_default() += 1;
        }
    }
    mapped
}

#[tokio::test]
async fn a_unit_ends_with_the_version_that_it_began_with_and_the_next_takes_the_new_one() {
    let next = Version { number: 2, scope: "regional", maps_things: true };
    let (report, catalog, plans) = exchanged(next).await;
    assert!(report.units.iter().all(|unit| unit.state.is_complete()), "{:?}", report.units);
    assert_eq!(plans, [Some(1), Some(2), Some(2), Some(2)], "the plan belongs to the version that maps");
    let expected = [("mapped by 1".to_owned(), 2), ("mapped by 2".to_owned(), 6)];
    assert_eq!(mapped(&catalog), BTreeMap::from(expected));
}

#[tokio::test]
async fn a_version_that_would_be_planned_otherwise_waits_for_the_next_resync() {
    let next = Version { number: 2, scope: "global", maps_things: true };
    let (report, catalog, plans) = exchanged(next).await;
    assert!(report.units.iter().all(|unit| unit.state.is_complete()), "{:?}", report.units);
    assert_eq!(plans, [Some(1); 4]);
    assert_eq!(mapped(&catalog), BTreeMap::from([("mapped by 1".to_owned(), 8)]));
}

#[tokio::test]
async fn a_plugin_that_goes_fails_the_units_to_come() {
    let next = Version { number: 2, scope: "regional", maps_things: false };
    let (report, catalog, plans) = exchanged(next).await;
    assert_eq!(plans, [Some(1)], "nothing is read that nothing maps");
    let failed: Vec<String> = report
        .units
        .iter()
        .filter_map(|unit| match &unit.state {
            berth_core::UnitState::Failed(problem) => Some(problem.message.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(failed, ["no plugin maps X::Thing"; 3]);
    assert_eq!(mapped(&catalog), BTreeMap::from([("mapped by 1".to_owned(), 2)]));
}
