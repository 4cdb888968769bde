//! The driver with in-memory fakes: what is written, what is deleted, what is protected.

mod check;
mod documents;
mod exchange;
mod ledger;
mod order;
mod protection;
mod queries;
mod steps;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use berth_core::{
    BlueprintId, Catalog, EnabledRegions, Entity, EntityKey, FetchError, FetchRequest, ItemError, KindEntry,
    MapError, MapReport, MapRequest, Mapping, MisconfiguredField, Problem, ProblemCode, RawPage, Region,
    UnreadStep,
};
use berth_sync::{
    Check, Kept, Mode, NullObserver, Outcome, Report, SyncError, SyncOptions, check, deletion::Keep, run,
};
use berth_test_support::{FakeCatalog, FakeMapper, FakeSource, Pages, account, page};
use futures::{StreamExt, stream};
use serde_json::{Value, json, value::RawValue};

const A: &str = "111111111111";
const B: &str = "222222222222";

/// The resources in AWS, by account, region (`global` for none) and kind.
#[derive(Default, Clone)]
struct World {
    accounts: Vec<(String, Result<(), Problem>)>,
    regions: Vec<String>,
    /// Whether access to the list of regions is denied.
    unlisted: bool,
    resources: BTreeMap<(String, String, String), Vec<Value>>,
    errors: BTreeMap<(String, String, String), FetchError>,
    /// Resources with a denied step.
    unread: BTreeSet<String>,
    /// How long pages take, in turn.
    delays: Vec<Duration>,
    turn: Arc<AtomicUsize>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            accounts: vec![(A.into(), Ok(())), (B.into(), Ok(()))],
            regions: vec!["eu-west-1".into(), "us-east-1".into()],
            ..Self::default()
        };
        for account in [A, B] {
            for region in ["eu-west-1", "us-east-1"] {
                let ids = ["one", "two"].map(|name| json!(format!("{account}-{region}-{name}")));
                world.resources.insert(Self::at(account, region, "X::Thing"), ids.to_vec());
            }
            world.resources.insert(Self::at(account, "global", "X::Account"), vec![json!(account)]);
        }
        world
    }

    fn at(account: &str, region: &str, kind: &str) -> (String, String, String) {
        (account.into(), region.into(), kind.into())
    }

    fn things(&mut self, account: &str, region: &str) -> &mut Vec<Value> {
        self.resources.get_mut(&Self::at(account, region, "X::Thing")).unwrap()
    }
}

impl World {
    fn source(&self) -> FakeSource {
        let (accounts, regions, resources) = (self.clone(), self.clone(), self.clone());
        FakeSource::new(move || {
            Ok(accounts.accounts.iter().map(|(id, access)| account(id, access.clone())).collect())
        })
        .with_regions(move |hints| match regions.unlisted {
            false => {
                let names = regions.regions.iter().map(|name| Region::new(name).unwrap());
                Ok(EnabledRegions::Listed(names.collect()))
            }
            true if hints.complete => Ok(EnabledRegions::Assumed(hints.allowed.iter().cloned().collect())),
            true => Err(Problem::new(ProblemCode::Other, "denied")),
        })
        .with_resources(move |request| resources.fetch(&request))
    }

    fn fetch(&self, request: &FetchRequest) -> Pages {
        let region = request.regions.first().cloned();
        let place = region.as_ref().map_or("global", Region::as_str);
        let at = Self::at(request.account.id.as_str(), place, request.kind.kind.as_str());
        let resources = self.resources.get(&at).cloned().unwrap_or_default();
        let mut pages: Vec<_> = resources
            .chunks(1)
            .map(|chunk| {
                let unread = if chunk.iter().any(|id| id.as_str().is_some_and(|id| self.unread.contains(id)))
                {
                    vec![UnreadStep {
                        step: "tags".into(),
                        call: "x:ListTags".into(),
                        denied: vec!["x:ListTags".into()],
                        problem: Problem::new(ProblemCode::Other, "denied").remedy("allow it"),
                    }]
                } else {
                    Vec::new()
                };
                Ok(RawPage { unread, ..page(region.clone(), chunk) })
            })
            .collect();
        pages.extend(self.errors.get(&at).cloned().map(Err));
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let delays = self.delays.iter().copied().cycle().skip(turn % self.delays.len().max(1));
        let delays: Vec<Duration> =
            delays.chain(std::iter::repeat(Duration::ZERO)).take(pages.len()).collect();
        stream::iter(pages.into_iter().zip(delays))
            .then(|(page, delay)| async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                page
            })
            .boxed()
    }
}

/// Maps an ID to an entity; `bad` is refused, `find <title>` is a search query, `near <title>` has a relation
/// that is one, `bare …` lacks its region, and `no …` is no entity. An object is an entity already.
fn plugin() -> FakeMapper {
    FakeMapper::new(kinds(), map)
}

fn kinds() -> Vec<KindEntry> {
    let entry = |kind: &str, scope: &str, blueprint: &str, relations: Value| {
        let steps = if scope == "account" {
            json!([])
        } else {
            json!([{"id": "l", "service": "x", "operation": "ListX", "items": "X[]"}])
        };
        FakeMapper::kind(
            json!({"kind": kind, "scope": scope, "single_account": true, "plan": {"steps": steps}, "mapping": {
            "kind": kind, "selector": {"query": "true"}, "port": {"entity": {"mappings": {
                "identifier": ".Properties.Id", "blueprint": format!("\"{blueprint}\""), "title": ".x",
                "properties": {"region": ".__ExtraContext.Region"}, "relations": relations}}}}}),
        )
    };
    vec![
        entry("X::Account", "account", "account", json!({})),
        entry("X::Thing", "regional", "thing", json!({"account": ".__ExtraContext.AccountId"})),
    ]
}

fn map(request: MapRequest) -> Result<MapReport, MapError> {
    let resources: Vec<Value> = serde_json::from_slice(&request.page.resources).unwrap();
    let mut report = MapReport::default();
    for (index, resource) in resources.into_iter().enumerate() {
        let id = match resource {
            Value::String(id) => id,
            entity => {
                report.entities.push(serde_json::from_value(entity).unwrap());
                continue;
            }
        };
        if id == "trap" {
            return Err(MapError::Plugin {
                plugin: "p".into(),
                kind: request.kind,
                problem: Problem::new(ProblemCode::Other, "trapped"),
            });
        }
        if id == "bad" {
            report.errors.push(ItemError { index, resource: id, reason: "bad".into() });
            continue;
        }
        if request.documents || matches!(request.mapping, Mapping::Documents) {
            let document = json!({"Type": request.kind, "Properties": {"Id": id}});
            report.documents.push(RawValue::from_string(document.to_string()).unwrap().into());
        }
        if matches!(request.mapping, Mapping::Documents) {
            continue;
        }
        let thing = request.kind.as_str() == "X::Thing";
        let blueprint = BlueprintId::new(if thing { "thing" } else { "account" }).unwrap();
        let nothing = |field: &str, blueprint: Option<&BlueprintId>| MisconfiguredField {
            field: field.into(),
            expression: Some(".x".into()),
            blueprint: blueprint.cloned(),
            count: 1,
            reason: "gave null".into(),
        };
        if id.starts_with("no ") {
            report.misconfigured.push(nothing("identifier", None));
            continue;
        }
        if let Some(title) = id.strip_prefix("find ") {
            report.entities.push(Entity::found_by(blueprint, json!({"title": title})));
            continue;
        }
        let mut entity = Entity::new(blueprint.clone(), &id);
        entity.title = Some(json!(id));
        if thing {
            entity.properties.insert("region".into(), json!(request.context.region));
            entity.relations.insert("account".into(), json!(request.context.account.id));
        }
        if let Some(title) = id.strip_prefix("near ") {
            entity.relations.insert("account".into(), json!({"title": title}));
        }
        if id.starts_with("bare ") {
            entity.properties.insert("region".into(), Value::Null);
            report.misconfigured.push(nothing("properties.region", Some(&blueprint)));
        }
        report.entities.push(entity);
    }
    Ok(report)
}

async fn resync(world: &World, catalog: &Arc<FakeCatalog>, mode: Mode) -> Result<Report, SyncError> {
    resync_with(world, catalog, SyncOptions { mode, ..SyncOptions::default() }).await
}

async fn resync_with(
    world: &World,
    catalog: &Arc<FakeCatalog>,
    options: SyncOptions,
) -> Result<Report, SyncError> {
    run(
        Arc::new(world.source()),
        Arc::new(plugin()),
        Arc::clone(catalog) as Arc<dyn Catalog>,
        Arc::new(NullObserver),
        options,
    )
    .await
}

async fn checked(world: &World, catalog: &Arc<FakeCatalog>, all_kinds: bool) -> Vec<Check> {
    let catalog = Arc::clone(catalog) as Arc<dyn Catalog>;
    check(Arc::new(world.source()), &plugin(), catalog, all_kinds).await
}

async fn synced(world: &World, catalog: &Arc<FakeCatalog>) -> Report {
    resync(world, catalog, Mode::Apply).await.unwrap()
}

/// Returns what is kept because something kept relates to it.
fn related(report: &Report) -> Vec<String> {
    let kept = report.deletion.kept.iter().filter(|kept| kept.keep == Keep::Related);
    kept.map(|kept| kept.entity.to_string()).collect()
}

fn gone(report: &Report) -> Vec<String> {
    let mut gone: Vec<_> =
        report.deletion.deleted.iter().map(|gone| gone.entity.identifier.clone()).collect();
    gone.sort();
    gone
}

#[tokio::test]
async fn what_a_denied_step_shows_stays_as_the_catalog_has_it() {
    for merge in [true, false] {
        let mut world = World::new();
        world.things(A, "eu-west-1").push(json!("bare three"));
        let config = json!({"enableMergeEntity": merge});
        let catalog = Arc::new(FakeCatalog { config, ..FakeCatalog::default() });
        synced(&world, &catalog).await;
        let key =
            EntityKey { blueprint: BlueprintId::new("thing").unwrap(), identifier: "bare three".into() };
        let region = |value: Value| {
            catalog.entities.lock().unwrap().get_mut(&key).unwrap().properties.insert("region".into(), value)
        };
        region(json!("eu-west-1"));

        world.unread.insert("bare three".into());
        world.things(A, "eu-west-1").retain(|id| *id != format!("{A}-eu-west-1-one"));
        let report = synced(&world, &catalog).await;
        assert_eq!(region(json!("eu-west-1")), Some(json!("eu-west-1")), "not emptied, merge {merge}");
        assert_eq!(report.outcome, Outcome::Partial);
        assert!(report.misconfigurations.is_empty(), "{:?}", report.misconfigurations);
        let unread: Vec<_> = report.units.iter().flat_map(|unit| &unit.unread).collect();
        assert_eq!((unread.len(), unread[0].resources, unread[0].call.as_str()), (1, 1, "x:ListTags"));
        // All resources are known, so a missing one is gone.
        assert_eq!(report.deletion.deleted.len(), 1, "{:?}", report.deletion);

        // Once it can be read again, nothing is left out.
        world.unread.clear();
        let report = synced(&world, &catalog).await;
        assert_eq!((report.outcome, region(Value::Null)), (Outcome::Done, Some(Value::Null)));
    }
}

#[tokio::test]
async fn everything_is_created_once_and_then_left_alone() {
    let (world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    let counts = report.totals().counts;
    assert_eq!((counts.fetched, counts.created, counts.updated), (10, 10, 0));
    assert_eq!(catalog.held().len(), 10);
    // Batches are filled across units: 8 things by 3, 2 accounts.
    assert_eq!(catalog.upserts.lock().unwrap().iter().sum::<usize>(), 10);
    assert!(catalog.upserts.lock().unwrap().len() <= 5, "{:?}", catalog.upserts);

    catalog.upserts.lock().unwrap().clear();
    let again = synced(&world, &catalog).await;
    let counts = again.totals().counts;
    assert_eq!((counts.unchanged, counts.created, counts.updated), (10, 0, 0));
    assert!(catalog.upserts.lock().unwrap().is_empty() && again.deletion.deleted.is_empty());
    assert_eq!(*catalog.states.lock().unwrap(), ["running", "Completed", "running", "Completed"]);
}

#[tokio::test]
async fn a_removed_resource_is_deleted_and_reported_by_kind_and_account() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &catalog).await;
    world.things(A, "eu-west-1").pop();
    let report = synced(&world, &catalog).await;
    let gone = &report.deletion.deleted;
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].entity.to_string(), format!("thing/{A}-eu-west-1-two"));
    assert_eq!(gone[0].kind.as_ref().unwrap().as_str(), "X::Thing");
    assert_eq!(gone[0].account.as_ref().unwrap().as_str(), A);
    assert_eq!(catalog.held().len(), 9);
}

#[tokio::test]
async fn a_plan_writes_nothing_and_says_what_it_would() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&world, &catalog).await;
    catalog.upserts.lock().unwrap().clear();
    world.things(A, "eu-west-1").pop();
    world.things(A, "us-east-1").push(json!("new"));
    let report = resync(&world, &catalog, Mode::Plan).await.unwrap();
    assert_eq!((report.changes.len(), report.deletion.deleted.len()), (1, 1), "{report:?}");
    assert!(catalog.upserts.lock().unwrap().is_empty());
    assert_eq!(catalog.held().len(), 10);
    assert_eq!(catalog.states.lock().unwrap().len(), 2, "a plan reports no state");
}

#[tokio::test]
async fn a_refused_entity_is_named_and_the_rest_goes_on() {
    let world = World::new();
    let refused = format!("{A}-eu-west-1-one");
    let catalog =
        Arc::new(FakeCatalog { refuse: BTreeSet::from([refused.clone()]), ..FakeCatalog::default() });
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Partial);
    assert_eq!(report.refusals.len(), 1);
    assert_eq!(report.refusals[0].entity.identifier, refused);
    assert_eq!(report.totals().counts.created, 9);
    assert_eq!(
        catalog.states.lock().unwrap().last().unwrap(),
        "Completed",
        "a refusal does not fail a resync"
    );
}

#[tokio::test]
async fn a_relation_whose_target_comes_later_is_tried_again() {
    let mut world = World::new();
    // Things fill a batch before the two accounts do, so their first try finds no account.
    world.regions = vec!["eu-west-1".into()];
    let catalog = Arc::new(FakeCatalog { needs_account: true, ..FakeCatalog::default() });
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Done, "{report:?}");
    assert_eq!(catalog.held().len(), 6);
    let tried: usize = catalog.upserts.lock().unwrap().iter().sum();
    assert!(tried > 6, "nothing was retried: {tried}");
}

/// Returns a mapping of things that are read only in these regions.
fn things_in(regions: &[&str]) -> Value {
    let mappings = json!({"identifier": ".Properties.Id", "blueprint": "\"thing\"", "title": ".x",
        "properties": {"region": ".__ExtraContext.Region"},
        "relations": {"account": ".__ExtraContext.AccountId"}});
    json!({"resources": [{"kind": "X::Thing",
        "selector": {"query": "true", "regionPolicy": {"allow": regions, "deny": []}},
        "port": {"entity": {"mappings": mappings}}}]})
}

#[tokio::test]
async fn regions_that_the_mapping_names_are_read_where_none_are_listed() {
    let mut world = World::new();
    let mut catalog =
        Arc::new(FakeCatalog { config: things_in(&["eu-west-1", "us-east-1"]), ..FakeCatalog::default() });
    synced(&world, &catalog).await;
    assert_eq!(catalog.held().len(), 8);
    // A policy denies the list; one region is disabled in an account, so that it denies access.
    world.unlisted = true;
    world.things(A, "eu-west-1").pop();
    world.things(A, "us-east-1").clear();
    let off = FetchError::Skipped(Problem::new(ProblemCode::Other, "denied"));
    world.errors.insert(World::at(A, "us-east-1", "X::Thing"), off);
    for _ in 0..3 {
        let report = synced(&world, &catalog).await;
        assert_eq!(report.outcome, Outcome::Partial);
        assert!(report.notes.iter().any(|note| note.contains("denies access to the list")), "{report:?}");
    }
    let held = catalog.held();
    assert!(held.iter().any(|id| id.contains(&format!("{A}-us-east-1"))), "{held:?}");
    // A resource mapping without regions does not say which there are.
    let entities = std::mem::take(&mut *catalog.entities.lock().unwrap());
    catalog = Arc::new(FakeCatalog {
        config: things_in(&[]),
        entities: Mutex::new(entities),
        ..FakeCatalog::default()
    });
    let report = synced(&world, &catalog).await;
    assert_ne!(report.outcome, Outcome::Done);
    assert_eq!(catalog.held(), held);
}

#[tokio::test]
async fn fields_that_gave_nothing_are_added_up_and_reported() {
    let mut world = World::new();
    world.things(A, "eu-west-1").push(json!("bare one"));
    world.things(B, "us-east-1").extend([json!("bare two"), json!("no identifier")]);
    let report = synced(&world, &Arc::new(FakeCatalog::default())).await;
    assert_eq!(report.outcome, Outcome::Done, "a mapping with gaps is no failure: {report:?}");
    let reported: Vec<_> = report
        .misconfigurations
        .iter()
        .map(|it| (it.field.as_str(), it.count, it.of, it.required, it.drops(), it.resource))
        .collect();
    assert_eq!(
        reported,
        [("identifier", 1, 11, false, true, 1), ("properties.region", 2, 11, true, false, 1)]
    );
    // The blueprint only says how serious it is.
    let report = synced(&world, &Arc::new(FakeCatalog { unlisted: true, ..FakeCatalog::default() })).await;
    assert!(report.misconfigurations.iter().all(|it| !it.required) && report.misconfigurations.len() == 2);
}

#[tokio::test]
async fn a_mapping_that_makes_no_entity_at_all_deletes_nothing() {
    let (mut world, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    for account in [A, B] {
        for region in ["eu-west-1", "us-east-1"] {
            *world.things(account, region) = vec![json!("no identifier")];
        }
    }
    let report = synced(&world, &catalog).await;
    assert_eq!(report.outcome, Outcome::Done, "where nothing is lost: {report:?}");

    let (healthy, catalog) = (World::new(), Arc::new(FakeCatalog::default()));
    synced(&healthy, &catalog).await;
    let report = synced(&world, &catalog).await;
    assert_eq!((report.outcome, catalog.held().len()), (Outcome::DeletionsHeldBack, 10));
    assert!(report.units.iter().all(|unit| unit.state.is_complete()), "everything was read");
    let unmapped = |kept: &Kept| matches!(kept.keep, Keep::Unmapped { resources: 1, .. });
    assert!(report.deletion.kept.len() == 8 && report.deletion.kept.iter().all(unmapped), "{report:?}");

    // One entity does not make the others known.
    world.things(A, "eu-west-1").push(json!("one"));
    let report = synced(&world, &catalog).await;
    assert_eq!((report.outcome, report.deletion.kept.len()), (Outcome::DeletionsHeldBack, 8), "{report:?}");
}
