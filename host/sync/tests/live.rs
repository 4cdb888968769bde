//! Live events with in-memory fakes: what they write, what they delete, what they leave unchanged, and how
//! they interact with a running resync.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

#[path = "live/batches.rs"]
mod batches;
#[path = "live/documents.rs"]
mod documents;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use berth_core::{
    AccountAccess, AccountId, Adoption, BlueprintId, Catalog, EnabledRegions, Entity, EntityKey, FetchError,
    FetchRequest, ItemError, ItemFailure, Kind, KindReads, Ledger, MapError, MapReport, MapRequest, Mapping,
    Place, Problem, ProblemCode, Producer, RawPage, Region,
};
use berth_sync::{
    AccountCache, Backlog, Event, Gate, Journal, Live, LiveOptions, LiveParts, NullObserver, Observer,
    Outcome, Refreshed, Report, Submission, SyncOptions, run,
};
use berth_test_support::{FakeCatalog, FakeLedger, FakeMapper, FakeSource, Pages, account};
use futures::{StreamExt, stream};
use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

const A: &str = "111111111111";
const B: &str = "222222222222";
const DENIED: &str = "333333333333";

/// What the next read of one resource returns, instead of what exists.
#[derive(Debug, Clone)]
enum Read {
    Failed,
    Denied,
    /// Some pages, then an error.
    CutOff,
    /// The resource is listed, but one of its steps failed.
    Partly,
    Missing,
    Unmappable,
    Trap,
}

/// The resources in AWS: things by ID. `hold` stops a resync between its read and its writes.
#[derive(Default)]
struct Aws {
    things: Mutex<BTreeMap<String, Value>>,
    script: Mutex<VecDeque<Read>>,
    reads: Mutex<Vec<String>>,
    listings: Mutex<u32>,
    /// Whether there is an account that cannot be entered.
    with_denied: AtomicBool,
    hold: Mutex<Option<(Arc<Notify>, Arc<Notify>)>>,
}

impl Aws {
    fn put(&self, id: &str, thing: Value) {
        let mut thing = thing;
        thing["Id"] = json!(id);
        self.things.lock().unwrap().insert(id.into(), thing);
    }

    fn remove(&self, id: &str) {
        self.things.lock().unwrap().remove(id);
    }

    fn next_reads(&self, reads: impl IntoIterator<Item = Read>) {
        self.script.lock().unwrap().extend(reads);
    }
}

fn eu_west_1() -> Region {
    Region::new("eu-west-1").unwrap()
}

fn page(things: &[Value]) -> RawPage {
    let resources: Vec<Value> = things.iter().map(|item| json!({"item": item})).collect();
    berth_test_support::page(Some(eu_west_1()), &resources)
}

impl Aws {
    fn source(self: &Arc<Self>) -> FakeSource {
        let (accounts, resources) = (Arc::clone(self), Arc::clone(self));
        FakeSource::new(move || Ok(accounts.accounts()))
            .with_regions(|_| Ok(EnabledRegions::Listed(vec![eu_west_1()])))
            .with_resources(move |request| resources.fetch(request))
    }

    fn accounts(&self) -> Vec<AccountAccess> {
        *self.listings.lock().unwrap() += 1;
        let mut accounts = vec![account(A, Ok(()))];
        if self.with_denied.load(Ordering::Relaxed) {
            accounts.push(account(DENIED, Err(Problem::new(ProblemCode::Other, "Unable to assume role"))));
        }
        accounts
    }

    fn fetch(&self, request: FetchRequest) -> Pages {
        let things = self.things.lock().unwrap().clone();
        let Some(one) = request.one else {
            let all: Vec<Value> = things.into_values().collect();
            // A second listing does not wait.
            let hold = self.hold.lock().unwrap().clone().filter(|_| !request.fresh);
            return stream::once(async move {
                if let Some((read, go)) = hold {
                    read.notify_one();
                    go.notified().await;
                }
                Ok(page(&all))
            })
            .boxed();
        };
        assert_eq!(request.kind.plan().steps[0].operation, "GetThing", "the plan reads a single resource");
        let id = one.resource.as_str().unwrap().to_owned();
        self.reads.lock().unwrap().push(id.clone());
        let found: Vec<Value> = things.get(&id).cloned().into_iter().collect();
        let failed = || Err(FetchError::Failed(Problem::new(ProblemCode::Other, "boom")));
        let pages = match self.script.lock().unwrap().pop_front() {
            None => vec![Ok(page(&found))],
            Some(Read::Failed) => vec![failed()],
            Some(Read::Denied) => vec![Err(FetchError::Skipped(Problem::new(ProblemCode::Other, "denied")))],
            Some(Read::CutOff) => vec![Ok(page(&[])), failed()],
            Some(Read::Partly) => {
                let failures =
                    vec![ItemFailure { resource: id, problem: Problem::new(ProblemCode::Other, "boom") }];
                vec![Ok(RawPage { failures, ..page(&[]) })]
            }
            Some(Read::Missing) => Vec::new(),
            Some(Read::Unmappable) => vec![Ok(page(&[json!({"Id": id, "bad": true})]))],
            Some(Read::Trap) => vec![Ok(page(&[json!({"Id": id, "trap": true})]))],
        };
        stream::iter(pages).boxed()
    }
}

/// Maps things like a user's own mapping: the identifier by its expression, the selector by the member that
/// it names.
fn plugin() -> FakeMapper {
    let manifest = json!({"kind": "X::Thing", "scope": "regional", "single_account": true,
        "plan": {"steps": [{"id": "things", "service": "x", "operation": "ListThings", "items": "Things[]"}]},
        "mapping": {"kind": "X::Thing", "selector": {"query": "true"}, "port": {"entity": {"mappings": {
            "identifier": ".Properties.Id", "blueprint": "\"thing\""}}}},
        "events": {
            "on": [{"source": "x.aws", "upsert": ["Create", "Update"], "delete": ["Delete"], "resource": ["ids[]"]}],
            "read": {"things": {"operation": "GetThing", "input": {"Id": "{resource}"}}},
            "gone": {"item": {"Id": "{resource}"}}}});
    FakeMapper::new([FakeMapper::kind(manifest)], map)
}

fn map(request: MapRequest) -> Result<MapReport, MapError> {
    let config = match &request.mapping {
        Mapping::Custom(config) => Some(config),
        Mapping::Documents => None,
        Mapping::Native => panic!("these mappings are users' own"),
    };
    let resources: Vec<Value> = serde_json::from_slice(&request.page.resources).unwrap();
    let mut report = MapReport::default();
    for (index, resource) in resources.iter().enumerate() {
        let item = &resource["item"];
        if item["trap"] == true {
            let problem = Problem::new(ProblemCode::Other, "trapped");
            return Err(MapError::Plugin { plugin: "p".into(), kind: request.kind, problem });
        }
        if item["bad"] == true {
            report.errors.push(ItemError { index, resource: item.to_string(), reason: "bad".into() });
            continue;
        }
        if config.is_none() || request.documents {
            let document = json!({"Properties": item}).to_string();
            report.documents.push(RawValue::from_string(document).unwrap().into());
        }
        let Some(config) = config else { continue };
        if config.selector.query == ".Keep" && item["Keep"] == false {
            report.filtered += 1;
            continue;
        }
        let identifier = match config.port.entity.mappings.identifier.as_str().unwrap() {
            ".__ExtraContext.AccountId" => request.context.account.id.to_string(),
            _ => item["Id"].as_str().unwrap().to_owned(),
        };
        let mut entity = Entity::new(BlueprintId::new("thing").unwrap(), identifier);
        entity.properties.insert("size".into(), item["Size"].clone());
        report.entities.push(entity);
    }
    Ok(report)
}

/// A catalog in memory, with one resource mapping. The entities of another owner begin with `foreign`; its
/// own state account A and the region.
fn catalog(selector: &Value, identifier: &str) -> FakeCatalog {
    let config = json!({"resources": [{"kind": "X::Thing", "selector": selector, "port": {"entity": {"mappings": {
        "identifier": identifier, "blueprint": "\"thing\"",
        "properties": {"size": ".Properties.Size", "region": ".__ExtraContext.Region"},
        "relations": {"account": ".__ExtraContext.AccountId"}}}}}]});
    FakeCatalog {
        config,
        foreign_prefix: Some("foreign"),
        without_blueprints: true,
        upsert_batch: 20,
        states_of: states(Some(A)),
        ..FakeCatalog::default()
    }
}

/// Makes entities state this account, and the region.
#[expect(clippy::type_complexity, clippy::unnecessary_wraps, reason = "the type of the fake's field")]
fn states(account: Option<&'static str>) -> Option<Box<dyn Fn(&mut Entity) + Send + Sync>> {
    let states = move |entity: &mut Entity| {
        entity.properties.insert("region".into(), json!("eu-west-1"));
        entity.relations.insert("account".into(), json!(account));
    };
    Some(Box::new(states))
}

/// Puts a thing of this size into the catalog.
fn put(catalog: &FakeCatalog, id: &str, size: u32) {
    let mut entity = Entity::new(key(id).blueprint, id);
    entity.properties.insert("size".into(), json!(size));
    catalog.entities.lock().unwrap().insert(key(id), entity);
}

/// Returns the sizes of the things in the catalog.
fn held(catalog: &FakeCatalog) -> Value {
    let entities = catalog.entities.lock().unwrap();
    let sizes =
        entities.values().map(|entity| (entity.key.identifier.clone(), entity.properties["size"].clone()));
    Value::Object(sizes.collect())
}

fn key(id: &str) -> EntityKey {
    EntityKey { blueprint: BlueprintId::new("thing").unwrap(), identifier: id.into() }
}

/// Passes on the result for each resource.
struct Told(mpsc::UnboundedSender<Refreshed>);

impl Observer for Told {
    fn event(&self, event: &Event<'_>) {
        if let Event::Refreshed { refreshed, .. } = event {
            self.0.send(*refreshed).unwrap();
        }
    }
}

/// All parts together, running.
struct World {
    aws: Arc<Aws>,
    accounts: Arc<AccountCache>,
    catalog: Arc<FakeCatalog>,
    journal: Arc<Journal>,
    book: FakeLedger,
    live: Arc<Live>,
    told: mpsc::UnboundedReceiver<Refreshed>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        Self::with(catalog(&json!({"query": "true"}), ".Properties.Id"), LiveOptions::default(), None)
    }

    fn of(catalog: FakeCatalog) -> Self {
        Self::with(catalog, LiveOptions::default(), None)
    }

    fn with(catalog: FakeCatalog, options: LiveOptions, gate: Option<Gate>) -> Self {
        let (aws, catalog, journal) =
            (Arc::new(Aws::default()), Arc::new(catalog), Arc::new(Journal::default()));
        let accounts = Arc::new(AccountCache::new(Arc::new(aws.source())));
        let (tell, told) = mpsc::unbounded_channel();
        let book = FakeLedger::default();
        let parts = LiveParts {
            source: Arc::clone(&accounts),
            mapper: Arc::new(plugin()),
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            journal: Arc::clone(&journal),
            ledger: Some(Arc::new(book.clone())),
            gate,
            observer: Arc::new(Told(tell)),
            adoption: Adoption::Never,
            max_deletions: None,
        };
        let live = Arc::new(parts.follow(options));
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&live).run(stop.clone()));
        Self { aws, accounts, catalog, journal, book, live, told, stop, running }
    }

    /// Sends an event about some things.
    fn send(&self, name: &str, ids: &[&str]) -> Submission {
        self.live.submit(&event(A, name, ids))
    }

    /// Sends an event about one thing and waits for its result.
    async fn follow(&mut self, name: &str, id: &str) -> Refreshed {
        assert_eq!(self.send(name, &[id]), Submission::Queued(1));
        self.end().await
    }

    /// Returns the result for the next resource, except retries.
    async fn end(&mut self) -> Refreshed {
        loop {
            match self.told.recv().await.unwrap() {
                Refreshed::Retried => {}
                ended => return ended,
            }
        }
    }

    /// Runs a resync, and `meanwhile` after its read, before its writes.
    async fn resync_during(&mut self, meanwhile: impl AsyncFnOnce(&mut Self)) -> Report {
        let (read, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        *self.aws.hold.lock().unwrap() = Some((Arc::clone(&read), Arc::clone(&go)));
        let options = SyncOptions {
            journal: Arc::clone(&self.journal),
            ledger: Some(Arc::new(self.book.clone())),
            ..SyncOptions::default()
        };
        let (source, catalog) = (Arc::clone(&self.accounts), Arc::clone(&self.catalog));
        let resync = run(source, Arc::new(plugin()), catalog, Arc::new(NullObserver), options);
        let meanwhile = async {
            read.notified().await;
            meanwhile(self).await;
            go.notify_one();
        };
        futures::join!(resync, meanwhile).0.unwrap()
    }
}

fn event(account: &str, name: &str, ids: &[&str]) -> Value {
    json!({"account": account, "region": "eu-west-1",
        "detail": {"eventName": name, "eventSource": "x.aws", "ids": ids}})
}

#[tokio::test(start_paused = true)]
async fn an_entity_follows_its_resource() {
    let mut world = World::new();
    world.aws.put("one", json!({"Size": 1}));
    assert_eq!(world.follow("Create", "one").await, Refreshed::Upserted);
    assert_eq!(held(&world.catalog), json!({"one": 1}));
    world.aws.put("one", json!({"Size": 2}));
    assert_eq!(world.follow("Update", "one").await, Refreshed::Upserted);
    assert_eq!(held(&world.catalog), json!({"one": 2}));
    world.aws.remove("one");
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Deleted);
    assert_eq!(held(&world.catalog), json!({}));
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Unchanged);
    assert_eq!(*world.aws.listings.lock().unwrap(), 1, "accounts are listed once");
}

#[tokio::test(start_paused = true)]
async fn an_event_about_several_resources_reads_each() {
    let mut world = World::new();
    world.aws.put("one", json!({"Size": 1}));
    world.aws.put("two", json!({"Size": 2}));
    assert_eq!(world.send("Create", &["one", "two", "one"]), Submission::Queued(2));
    assert_eq!((world.end().await, world.end().await), (Refreshed::Upserted, Refreshed::Upserted));
    assert_eq!(held(&world.catalog), json!({"one": 1, "two": 2}));
}

#[tokio::test(start_paused = true)]
async fn what_is_none_of_ours_is_left_alone() {
    let mut world = World::new();
    world.aws.with_denied.store(true, Ordering::Relaxed);
    put(&world.catalog, "foreign-1", 7);
    assert_eq!(world.follow("Delete", "foreign-1").await, Refreshed::Unchanged);
    assert_eq!(held(&world.catalog), json!({"foreign-1": 7}));
    for (account, refreshed) in [(B, Refreshed::Ignored), (DENIED, Refreshed::Denied)] {
        assert_eq!(world.live.submit(&event(account, "Delete", &["one"])), Submission::Queued(1));
        assert_eq!(world.end().await, refreshed, "{account}");
    }
    assert_eq!(world.send("List", &["one"]), Submission::Ignored);
    assert!(matches!(world.live.submit(&json!({"hello": 1})), Submission::Malformed(_)));
    assert_eq!(*world.aws.reads.lock().unwrap(), ["foreign-1"], "nothing else was read");
}

#[tokio::test(start_paused = true)]
async fn what_the_selector_leaves_out_is_deleted_and_what_its_regions_leave_out_is_not_looked_at() {
    let mut world = World::of(catalog(&json!({"query": ".Keep"}), ".Properties.Id"));
    put(&world.catalog, "one", 1);
    world.aws.put("one", json!({"Size": 1, "Keep": false}));
    assert_eq!(world.follow("Update", "one").await, Refreshed::Deleted);
    assert_eq!(held(&world.catalog), json!({}));

    let policy = json!({"query": "true", "regionPolicy": {"deny": ["eu-west-1"]}});
    let mut world = World::of(catalog(&policy, ".Properties.Id"));
    put(&world.catalog, "one", 1);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Ignored);
    assert_eq!(held(&world.catalog), json!({"one": 1}));
    assert!(world.aws.reads.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_many_resources_share_is_not_deleted_with_one_of_them() {
    let mut world = World::of(catalog(&json!({"query": "true"}), ".__ExtraContext.AccountId"));
    put(&world.catalog, A, 1);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Unchanged);
    assert_eq!(held(&world.catalog), json!({A: 1}));
}

/// A world whose entities state no account, and a ledger that records their producers.
fn recorded(things: &[(&str, &str, &str)]) -> World {
    let catalog =
        FakeCatalog { states_of: states(None), ..catalog(&json!({"query": "true"}), ".Properties.Id") };
    let world = World::of(catalog);
    for (id, account, region) in things {
        put(&world.catalog, id, 1);
        let producer = Producer {
            account: AccountId::new(account).unwrap(),
            place: Place::Region(Region::new(region).unwrap()),
            kind: Kind::new("X::Thing").unwrap(),
        };
        world.book.invalidate("", &[(digest(id), Some(producer))]).unwrap();
    }
    world
}

/// Returns the ledger's key of a thing.
fn digest(id: &str) -> u128 {
    use std::hash::Hasher;

    use siphasher::sip128::{Hasher128, SipHasher13};
    let mut hasher = SipHasher13::new();
    hasher.write(b"thing");
    hasher.write_u8(0xff);
    hasher.write(id.as_bytes());
    hasher.finish128().as_u128()
}

#[tokio::test(start_paused = true)]
async fn an_event_deletes_only_what_its_own_account_and_region_produced() {
    let things = [("own", A, "eu-west-1"), ("of-another", B, "eu-west-1"), ("elsewhere", A, "us-east-1")];
    let mut world = recorded(&things);
    put(&world.catalog, "unrecorded", 1);
    for (id, refreshed) in [
        ("own", Refreshed::Deleted),
        ("of-another", Refreshed::Unchanged),
        ("elsewhere", Refreshed::Unchanged),
        ("unrecorded", Refreshed::Unchanged),
    ] {
        assert_eq!(world.follow("Delete", id).await, refreshed, "{id}");
    }
    assert_eq!(held(&world.catalog), json!({"of-another": 1, "elsewhere": 1, "unrecorded": 1}));
}

#[tokio::test(start_paused = true)]
async fn events_delete_no_more_of_a_part_than_a_resync_may() {
    let ids: Vec<String> = (0..40).map(|number| format!("thing-{number}")).collect();
    let things: Vec<_> = ids.iter().map(|id| (id.as_str(), A, "eu-west-1")).collect();
    let mut world = recorded(&things);
    let mut deleted = 0;
    for id in &ids {
        deleted += usize::from(world.follow("Delete", id).await == Refreshed::Deleted);
    }
    assert_eq!(deleted, 36, "90 % of 40");
}

#[tokio::test(start_paused = true)]
async fn aws_is_believed_against_the_event_only_after_looking_again() {
    let mut world = World::new();
    put(&world.catalog, "one", 1);
    world.aws.put("one", json!({"Size": 2}));
    // It still exists after the event said it was deleted: read again, and gone by then.
    assert_eq!(world.send("Delete", &["one"]), Submission::Queued(1));
    assert_eq!(world.told.recv().await, Some(Refreshed::Retried));
    world.aws.remove("one");
    assert_eq!(world.end().await, Refreshed::Deleted);

    // It exists until the end, whatever the event says.
    world.aws.put("one", json!({"Size": 3}));
    let begun = tokio::time::Instant::now();
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Upserted);
    assert_eq!(begun.elapsed().as_secs(), 2 + 8 + 30);
    assert_eq!(held(&world.catalog), json!({"one": 3}));

    // It does not exist after the event said it was created, three times: deleted.
    world.aws.reads.lock().unwrap().clear();
    world.aws.remove("one");
    assert_eq!(world.follow("Create", "one").await, Refreshed::Deleted);
    assert_eq!(world.aws.reads.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_tried_again_and_then_left_as_it_is() {
    let mut world = World::new();
    put(&world.catalog, "one", 1);
    world.aws.next_reads([Read::Failed, Read::Partly, Read::CutOff, Read::Failed]);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Failed);
    assert_eq!(world.aws.reads.lock().unwrap().len(), 4);
    assert_eq!(held(&world.catalog), json!({"one": 1}));

    // A retry does not help against denied access.
    world.aws.next_reads([Read::Denied]);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Denied);
    for read in [Read::Unmappable, Read::Trap] {
        world.aws.next_reads([read]);
        assert_eq!(world.follow("Update", "one").await, Refreshed::Failed);
    }
    assert_eq!(world.aws.reads.lock().unwrap().len(), 4 + 3);
    assert_eq!(held(&world.catalog), json!({"one": 1}));

    // The next event is processed as usual.
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_refused_entity_is_told_and_not_tried_again() {
    let refusing = FakeCatalog { refuses_all: true, ..catalog(&json!({"query": "true"}), ".Properties.Id") };
    let mut world = World::of(refusing);
    world.aws.put("one", json!({"Size": 1}));
    assert_eq!(world.follow("Create", "one").await, Refreshed::Failed);
    assert_eq!(world.aws.reads.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_followed_while_the_flag_is_off_and_a_flag_that_cannot_be_read_is_asked_for_again() {
    let answers = Arc::new(Mutex::new(VecDeque::from([
        Ok(false),
        Err(Problem::new(ProblemCode::Other, "503")),
        Ok(true),
    ])));
    let gate: Gate = Arc::new(move || {
        let answer = answers.lock().unwrap().pop_front().unwrap();
        Box::pin(async move { answer })
    });
    let catalog = catalog(&json!({"query": "true"}), ".Properties.Id");
    let mut world = World::with(catalog, LiveOptions::default(), Some(gate));
    put(&world.catalog, "one", 1);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Ignored);
    assert!(world.aws.reads.lock().unwrap().is_empty());
    assert_eq!(world.send("Delete", &["one"]), Submission::Queued(1));
    assert_eq!(world.told.recv().await, Some(Refreshed::Retried));
    assert_eq!(world.end().await, Refreshed::Deleted);
}

#[tokio::test(start_paused = true)]
async fn too_many_are_refused_and_a_stop_reads_what_waits() {
    let catalog = catalog(&json!({"query": "true"}), ".Properties.Id");
    let options = LiveOptions { capacity: 2, workers: 1, ..LiveOptions::default() };
    let mut world = World::with(catalog, options, None);
    world.aws.put("one", json!({"Size": 1}));
    world.aws.put("two", json!({"Size": 2}));
    // Nothing runs before this task waits for something.
    assert_eq!(world.send("Create", &["one", "two"]), Submission::Queued(2));
    assert_eq!(world.send("Create", &["three"]), Submission::Full);
    assert_eq!(world.send("Create", &["two"]), Submission::Queued(1), "it waits already");
    assert_eq!(world.live.waiting(), 2);
    world.stop.cancel();
    (&mut world.running).await.unwrap();
    assert_eq!(held(&world.catalog), json!({"one": 1, "two": 2}));
    assert_eq!(world.send("Create", &["three"]), Submission::Closed, "nobody would read it");
    assert!(Backlog::take(&world.live).is_empty());
}

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

/// Not paused, because this tests a deadline.
#[tokio::test]
async fn one_that_hangs_holds_up_nobody_else() {
    let catalog = catalog(&json!({"query": "true"}), ".Properties.Id");
    let options =
        LiveOptions { workers: 1, deadline: Duration::from_millis(50), retries: 0, ..LiveOptions::default() };
    let asked = Arc::new(Mutex::new(0));
    let gate: Gate = Arc::new(move || {
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        let first = *asked == 1;
        Box::pin(async move { if first { std::future::pending().await } else { Ok(true) } })
    });
    let mut world = World::with(catalog, options, Some(gate));
    world.aws.put("two", json!({"Size": 2}));
    assert_eq!(world.send("Create", &["one", "two"]), Submission::Queued(2));
    assert_eq!((world.end().await, world.end().await), (Refreshed::Failed, Refreshed::Upserted));
}
