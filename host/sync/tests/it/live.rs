//! Live events with in-memory fakes: what they write, what they delete, what they leave unchanged, and how
//! they interact with a running resync.

mod batches;
mod beside_resync;
mod deletion;
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
    AccountAccess, Adoption, BlueprintId, Catalog, EnabledRegions, Entity, EntityKey, FetchError,
    FetchRequest, ItemError, ItemFailure, KindReads, MapError, MapReport, MapRequest, Mapping, Problem,
    ProblemCode, RawPage, Region,
};
use berth_sync::{
    AccountCache, Backlog, Event, Gate, LiveEvents, LiveOptions, LiveParts, NullObserver, Observer,
    Refreshed, Report, Submission, SyncOptions, WriteArbiter, run,
};
use berth_test_support::{FakeCatalog, FakeLedger, FakeMapper, FakeSource, Pages, account};
use futures::{StreamExt, stream};
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
struct OutcomeReporter(mpsc::UnboundedSender<Refreshed>);

impl Observer for OutcomeReporter {
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
    write_arbiter: Arc<WriteArbiter>,
    book: FakeLedger,
    live: Arc<LiveEvents>,
    reported: mpsc::UnboundedReceiver<Refreshed>,
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
        let (aws, catalog, write_arbiter) =
            (Arc::new(Aws::default()), Arc::new(catalog), Arc::new(WriteArbiter::default()));
        let accounts = Arc::new(AccountCache::new(Arc::new(aws.source())));
        let (report, reported) = mpsc::unbounded_channel();
        let book = FakeLedger::default();
        let parts = LiveParts {
            source: Arc::clone(&accounts),
            mapper: Arc::new(plugin()),
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            write_arbiter: Arc::clone(&write_arbiter),
            ledger: Some(Arc::new(book.clone())),
            gate,
            observer: Arc::new(OutcomeReporter(report)),
            adoption: Adoption::Never,
            max_deletions: None,
        };
        let live = Arc::new(parts.follow(options));
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&live).run(stop.clone()));
        Self { aws, accounts, catalog, write_arbiter, book, live, reported, stop, running }
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
            match self.reported.recv().await.unwrap() {
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
            write_arbiter: Arc::clone(&self.write_arbiter),
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
async fn aws_is_believed_against_the_event_only_after_looking_again() {
    let mut world = World::new();
    put(&world.catalog, "one", 1);
    world.aws.put("one", json!({"Size": 2}));
    // It still exists after the event said it was deleted: read again, and gone by then.
    assert_eq!(world.send("Delete", &["one"]), Submission::Queued(1));
    assert_eq!(world.reported.recv().await, Some(Refreshed::Retried));
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
async fn a_refused_entity_is_reported_and_not_tried_again() {
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
    assert_eq!(world.reported.recv().await, Some(Refreshed::Retried));
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
