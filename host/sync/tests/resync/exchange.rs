//! Plugins that are exchanged while a resync runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, FetchError, FetchRequest, Kind, KindEntry, MapError, MapReport, MapRequest,
    Mapper, Problem, RawPage, RefusedPlugin, Region, Source,
};
use berth_sync::{NullObserver, Report, SyncOptions, run};
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};

use super::{Memory, Plugin, World};

/// The plugin of the other tests in a version, which its entities tell, and its plan as well.
struct Version {
    number: u32,
    scope: &'static str,
    maps_things: bool,
}

#[async_trait]
impl Mapper for Version {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        let mut kinds = Plugin.kinds();
        let thing = Kind::new("X::Thing").unwrap();
        let entry = kinds.get_mut(&thing).unwrap();
        let manifest = Arc::make_mut(&mut entry.manifest);
        manifest.plan.chunk = Some(self.number);
        manifest.scope = serde_json::from_value(json!(self.scope)).unwrap();
        if !self.maps_things {
            kinds.remove(&thing);
        }
        kinds
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
        let mut report = Plugin.map(request).await?;
        for entity in &mut report.entities {
            entity.title = Some(json!(format!("mapped by {}", self.number)));
        }
        Ok(report)
    }
}

/// Plugins that are exchanged when the first thing of the first unit was read.
struct Exchanged {
    world: World,
    now: Mutex<Arc<Version>>,
    next: Arc<Version>,
    /// The version that each unit was read by, as its plan says.
    plans: Mutex<Vec<Option<u32>>>,
}

#[async_trait]
impl Mapper for Exchanged {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        self.pinned().unwrap().kinds()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    fn pinned(&self) -> Option<Arc<dyn Mapper>> {
        Some(Arc::clone(&*self.now.lock().unwrap()) as Arc<dyn Mapper>)
    }

    async fn map(&self, _: MapRequest) -> Result<MapReport, MapError> {
        unreachable!("a unit maps by the version that it began with")
    }
}

struct Reading(Arc<Exchanged>);

#[async_trait]
impl Source for Reading {
    async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem> {
        self.0.world.accounts().await
    }

    async fn regions(&self, account: &Account) -> Result<Vec<Region>, Problem> {
        self.0.world.regions(account).await
    }

    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        let exchanged = Arc::clone(&self.0);
        let thing = request.kind.kind.as_str() == "X::Thing";
        if thing {
            exchanged.plans.lock().unwrap().push(request.kind.plan.chunk);
        }
        let pages = self.0.world.fetch(request);
        let exchange = move |page| {
            if thing {
                *exchanged.now.lock().unwrap() = Arc::clone(&exchanged.next);
            }
            page
        };
        pages.map(exchange).boxed()
    }
}

/// A resync, one unit after the other, in which a version takes another's place.
async fn exchanged(next: Version) -> (Report, Arc<Memory>, Vec<Option<u32>>) {
    let first = Version { number: 1, scope: "regional", maps_things: true };
    let plugins = Arc::new(Exchanged {
        world: World::new(),
        now: Mutex::new(Arc::new(first)),
        next: Arc::new(next),
        plans: Mutex::default(),
    });
    let catalog = Arc::new(Memory::default());
    let report = run(
        Arc::new(Reading(Arc::clone(&plugins))),
        Arc::clone(&plugins) as Arc<dyn Mapper>,
        Arc::clone(&catalog) as Arc<dyn berth_core::Catalog>,
        Arc::new(NullObserver),
        SyncOptions { unit_concurrency: 1, ..SyncOptions::default() },
    );
    let report = report.await.unwrap();
    let plans = plugins.plans.lock().unwrap().clone();
    (report, catalog, plans)
}

/// How many things were mapped by each version.
fn mapped(catalog: &Memory) -> BTreeMap<String, usize> {
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
    assert_eq!(plans, [Some(1), Some(2), Some(2), Some(2)], "the plan is of the version that maps");
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
