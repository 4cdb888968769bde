//! Live events against in-memory seams: what they write, what they delete, what they leave alone,
//! and what they and a running resync do to each other.

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
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use berth_core::{
    Account, AccountAccess, AccountId, Adoption, AppConfig, BlueprintId, Catalog, CatalogError, DeleteReport,
    Entity, EntityKey, EventDocuments, FetchError, FetchRequest, FieldSet, Intent, ItemError, ItemFailure,
    Kind, KindEntry, Ledger, LedgerEntry, LedgerSession, MapError, MapReport, MapRequest, Mapper, Mapping,
    MissingScopes, Opened, OwnedEntity, Partition, Place, Problem, Processing, Producer, Producers, RawPage,
    RefusedPlugin, Region, ResyncStatus, Session, Source, UpsertOptions, UpsertOutcome, UpsertReport,
};
use berth_sync::{
    Event, Gate, Journal, Live, LiveOptions, LiveParts, NullObserver, Observer, Outcome, Refreshed, Report,
    Roster, Submission, SyncOptions, run,
};
use futures::{StreamExt, stream, stream::BoxStream};
use proptest::prelude::*;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

const A: &str = "111111111111";
const B: &str = "222222222222";
const DENIED: &str = "333333333333";

/// What the next read of one resource gives, instead of what is there.
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

/// What AWS holds: things by id. `hold` stops a resync between its read and its writes.
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

fn page(things: &[Value]) -> RawPage {
    RawPage {
        region: Some(Region::new("eu-west-1").unwrap()),
        resources: serde_json::to_vec(&things.iter().map(|item| json!({"item": item})).collect::<Vec<_>>())
            .unwrap(),
        count: things.len(),
        failures: Vec::new(),
        unread: Vec::new(),
        reservation: berth_core::Reservation::default(),
    }
}

#[async_trait]
impl Source for Aws {
    async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem> {
        *self.listings.lock().unwrap() += 1;
        let access = |id: &str, access| AccountAccess {
            account: Arc::new(Account::unnamed(AccountId::new(id).unwrap(), Partition::Aws)),
            access,
        };
        let mut accounts = vec![access(A, Ok(()))];
        if self.with_denied.load(Ordering::Relaxed) {
            accounts.push(access(DENIED, Err(Problem::new("Unable to assume role"))));
        }
        Ok(accounts)
    }

    async fn regions(&self, _: &Account) -> Result<Vec<Region>, Problem> {
        Ok(vec![Region::new("eu-west-1").unwrap()])
    }

    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        let things = self.things.lock().unwrap().clone();
        let Some(one) = request.one else {
            let all: Vec<Value> = things.into_values().collect();
            // A second look waits for nobody.
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
        assert_eq!(request.kind.plan.steps[0].operation, "GetThing", "the plan is narrowed");
        let id = one.resource.as_str().unwrap().to_owned();
        self.reads.lock().unwrap().push(id.clone());
        let found: Vec<Value> = things.get(&id).cloned().into_iter().collect();
        let failed = || Err(FetchError::Failed(Problem::new("boom")));
        let pages = match self.script.lock().unwrap().pop_front() {
            None => vec![Ok(page(&found))],
            Some(Read::Failed) => vec![failed()],
            Some(Read::Denied) => vec![Err(FetchError::Skipped(Problem::new("denied")))],
            Some(Read::CutOff) => vec![Ok(page(&[])), failed()],
            Some(Read::Partly) => {
                let failures = vec![ItemFailure { resource: id, problem: Problem::new("boom") }];
                vec![Ok(RawPage { failures, ..page(&[]) })]
            }
            Some(Read::Missing) => Vec::new(),
            Some(Read::Unmappable) => vec![Ok(page(&[json!({"Id": id, "bad": true})]))],
            Some(Read::Trap) => vec![Ok(page(&[json!({"Id": id, "trap": true})]))],
        };
        stream::iter(pages).boxed()
    }
}

/// Maps things as a mapping of one's own would: the identifier by its expression, the selector by
/// the member that it names.
struct Plugin;

#[async_trait]
impl Mapper for Plugin {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        let manifest = json!({"kind": "X::Thing", "scope": "regional", "single_account": true,
            "plan": {"steps": [{"id": "things", "service": "x", "operation": "ListThings", "items": "Things[]"}]},
            "mapping": {"kind": "X::Thing", "selector": {"query": "true"}, "port": {"entity": {"mappings": {
                "identifier": ".Properties.Id", "blueprint": "\"thing\""}}}},
            "events": {
                "on": [{"source": "x.aws", "upsert": ["Create", "Update"], "delete": ["Delete"], "resource": ["ids[]"]}],
                "read": {"things": {"operation": "GetThing", "input": {"Id": "{resource}"}}},
                "gone": {"item": {"Id": "{resource}"}}}});
        let entry =
            KindEntry { plugin: "p".into(), manifest: Arc::new(serde_json::from_value(manifest).unwrap()) };
        BTreeMap::from([(entry.manifest.kind.clone(), entry)])
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
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
                let problem = Problem::new("trapped");
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
}

/// A catalog in memory. Entities that it holds for somebody else begin with `foreign`.
struct Memory {
    config: Value,
    entities: Mutex<BTreeMap<String, Value>>,
    refuse: bool,
    /// The account that each entity states.
    states: Option<&'static str>,
    processing: Mutex<Processing>,
    /// Documents by the resource's name, with what is to be done by them.
    documents: Mutex<Vec<(String, &'static str)>>,
    /// How many entities each request brought.
    requests: Mutex<Vec<usize>>,
    /// How long a request takes.
    delay: Duration,
}

impl Memory {
    fn new(selector: &Value, identifier: &str) -> Self {
        let config = json!({"resources": [{"kind": "X::Thing", "selector": selector, "port": {"entity": {"mappings": {
            "identifier": identifier, "blueprint": "\"thing\"",
            "properties": {"size": ".Properties.Size", "region": ".__ExtraContext.Region"},
            "relations": {"account": ".__ExtraContext.AccountId"}}}}}]});
        Self {
            config,
            entities: Mutex::default(),
            refuse: false,
            states: Some(A),
            processing: Mutex::default(),
            documents: Mutex::default(),
            requests: Mutex::default(),
            delay: Duration::ZERO,
        }
    }

    fn put(&self, id: &str, size: u32) {
        self.entities.lock().unwrap().insert(id.into(), json!(size));
    }

    fn held(&self) -> Value {
        json!(*self.entities.lock().unwrap())
    }
}

#[async_trait]
impl Catalog for Memory {
    async fn open(&self, _: Intent, _: &[KindEntry]) -> Result<Session, CatalogError> {
        let config: AppConfig = serde_json::from_value(self.config.clone()).unwrap();
        let processing = *self.processing.lock().unwrap();
        Ok(Session { config, processing, ..Session::default() })
    }

    async fn event_documents(&self, kind: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        assert_eq!(kind.as_str(), "X::Thing");
        let mut taken = self.documents.lock().unwrap();
        for of_resource in documents {
            for document in &of_resource.documents {
                let document: Value = serde_json::from_str(document.get()).unwrap();
                let id = document["Properties"]["Id"].as_str().unwrap().to_owned();
                taken.push((id, if of_resource.gone { "delete" } else { "upsert" }));
            }
        }
        Ok(())
    }

    async fn begin(&self, _: SystemTime) -> Result<(), CatalogError> {
        Ok(())
    }

    async fn end(&self, _: ResyncStatus) -> Result<(), CatalogError> {
        Ok(())
    }

    // Like a Port whose clock is behind: nothing counts as written after the resync began.
    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        let held = self.entities.lock().unwrap();
        let owned =
            held.keys().filter(|id| !id.starts_with("foreign")).map(|id| OwnedEntity { key: key(id) });
        stream::iter([Ok(owned.collect())]).boxed()
    }

    async fn current(&self, keys: &[EntityKey], _: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        let held = self.entities.lock().unwrap();
        let owned = keys.iter().filter(|key| !key.identifier.starts_with("foreign"));
        let found = owned.filter_map(|key| {
            let mut entity = Entity::new(key.blueprint.clone(), key.identifier.clone());
            entity.properties.insert("size".into(), held.get(&key.identifier)?.clone());
            entity.properties.insert("region".into(), json!("eu-west-1"));
            entity.relations.insert("account".into(), json!(self.states));
            Some(entity)
        });
        Ok(found.collect())
    }

    async fn relations(
        &self,
        _: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        Ok(None)
    }

    fn upsert_batch(&self) -> usize {
        20
    }

    async fn upsert(&self, _: &BlueprintId, entities: &[Entity], _: UpsertOptions) -> UpsertReport {
        self.requests.lock().unwrap().push(entities.len());
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let mut held = self.entities.lock().unwrap();
        let outcome = |entity: &Entity| {
            if self.refuse {
                return UpsertOutcome::Refused(Problem::new("no"));
            }
            match held.insert(entity.key.identifier.clone(), entity.properties["size"].clone()) {
                None => UpsertOutcome::Created,
                Some(_) => UpsertOutcome::Updated,
            }
        };
        UpsertReport { outcomes: entities.iter().map(outcome).collect() }
    }

    async fn delete(&self, keys: &[EntityKey], _: bool) -> DeleteReport {
        let mut held = self.entities.lock().unwrap();
        let deleted = keys.iter().filter(|key| held.remove(&key.identifier).is_some()).cloned().collect();
        DeleteReport { deleted, failed: Vec::new() }
    }
}

fn key(id: &str) -> EntityKey {
    EntityKey { blueprint: BlueprintId::new("thing").unwrap(), identifier: id.into() }
}

/// A ledger in memory. What a session records is there at once.
#[derive(Debug, Default, Clone)]
struct Book(Arc<Mutex<BTreeMap<u128, LedgerEntry>>>);

impl Book {
    /// Entities of which it is known what the catalog holds.
    fn certain(&self) -> usize {
        self.0.lock().unwrap().values().filter(|known| known.content.is_some()).count()
    }
}

impl Ledger for Book {
    fn begin(&self, _: &str, _: Intent) -> Result<Opened, Problem> {
        let known = self.0.lock().unwrap().clone();
        Ok(Opened { session: Arc::new(Page(self.clone(), known)), notes: Vec::new() })
    }

    fn invalidate(&self, _: &str, keys: &[(u128, Option<Producer>)]) -> Result<(), Problem> {
        let mut book = self.0.lock().unwrap();
        for (key, producer) in keys {
            match (book.get_mut(key), producer) {
                (None, None) => {}
                (None, Some(producer)) => {
                    let producers = Producers::one(producer.clone());
                    book.insert(*key, LedgerEntry { content: None, producers });
                }
                (Some(entry), producer) => {
                    entry.content = None;
                    if let Some(producer) = producer {
                        entry.producers = entry.producers.and(producer);
                    }
                }
            }
        }
        Ok(())
    }

    fn entries(&self, _: &str, keys: &[u128]) -> Result<Vec<Option<LedgerEntry>>, Problem> {
        let book = self.0.lock().unwrap();
        Ok(keys.iter().map(|key| book.get(key).cloned()).collect())
    }

    fn totals(&self, _: &str) -> Result<BTreeMap<(AccountId, Kind), u64>, Problem> {
        let mut totals = BTreeMap::new();
        for entry in self.0.lock().unwrap().values() {
            for producer in entry.producers.known().unwrap_or_default() {
                *totals.entry((producer.account.clone(), producer.kind.clone())).or_default() += 1;
            }
        }
        Ok(totals)
    }
}

/// The book, and what was in it at the beginning.
#[derive(Debug)]
struct Page(Book, BTreeMap<u128, LedgerEntry>);

impl LedgerSession for Page {
    fn look_up(&self, key: u128) -> Option<LedgerEntry> {
        self.1.get(&key).cloned()
    }

    fn each_key(&self, tell: &mut dyn FnMut(u128)) -> Result<(), Problem> {
        self.1.keys().for_each(|key| tell(*key));
        Ok(())
    }

    fn record(&self, entries: &[(u128, Option<LedgerEntry>)]) -> Result<(), Problem> {
        let mut book = self.0.0.lock().unwrap();
        for (key, known) in entries {
            match known {
                Some(known) => _ = book.insert(*key, known.clone()),
                None => _ = book.remove(key),
            }
        }
        Ok(())
    }

    fn missing_scopes(&self) -> Result<MissingScopes, Problem> {
        Ok(MissingScopes::new())
    }

    fn record_producers(&self, entries: &[(u128, Producers)]) -> Result<(), Problem> {
        let mut book = self.0.0.lock().unwrap();
        for (key, producers) in entries {
            if let Some(entry) = book.get_mut(key) {
                entry.producers = producers.clone();
            }
        }
        Ok(())
    }

    fn end(&self, _: &MissingScopes) -> Result<(), Problem> {
        Ok(())
    }
}

/// Passes on what became of each resource.
struct Told(mpsc::UnboundedSender<Refreshed>);

impl Observer for Told {
    fn event(&self, event: &Event<'_>) {
        if let Event::Refreshed { refreshed, .. } = event {
            self.0.send(*refreshed).unwrap();
        }
    }
}

/// Everything together, running.
struct World {
    aws: Arc<Aws>,
    roster: Arc<Roster>,
    catalog: Arc<Memory>,
    journal: Arc<Journal>,
    book: Book,
    live: Arc<Live>,
    told: mpsc::UnboundedReceiver<Refreshed>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl World {
    fn new() -> Self {
        Self::with(Memory::new(&json!({"query": "true"}), ".Properties.Id"), LiveOptions::default(), None)
    }

    fn of(catalog: Memory) -> Self {
        Self::with(catalog, LiveOptions::default(), None)
    }

    fn with(catalog: Memory, options: LiveOptions, gate: Option<Gate>) -> Self {
        let (aws, catalog, journal) =
            (Arc::new(Aws::default()), Arc::new(catalog), Arc::new(Journal::default()));
        let roster = Arc::new(Roster::new(Arc::clone(&aws) as Arc<dyn Source>));
        let (tell, told) = mpsc::unbounded_channel();
        let book = Book::default();
        let parts = LiveParts {
            source: Arc::clone(&roster),
            mapper: Arc::new(Plugin),
            catalog: Arc::clone(&catalog) as Arc<dyn Catalog>,
            journal: Arc::clone(&journal),
            ledger: Some(Arc::new(book.clone())),
            gate,
            observer: Arc::new(Told(tell)),
            adoption: Adoption::Never,
            max_deletions: None,
        };
        let live = Arc::new(Live::new(parts, options));
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&live).run(stop.clone()));
        Self { aws, roster, catalog, journal, book, live, told, stop, running }
    }

    /// Sends an event about some things.
    fn send(&self, name: &str, ids: &[&str]) -> Submission {
        self.live.submit(&event(A, name, ids))
    }

    /// Sends an event about one thing and waits for what becomes of it.
    async fn follow(&mut self, name: &str, id: &str) -> Refreshed {
        assert_eq!(self.send(name, &[id]), Submission::Queued(1));
        self.end().await
    }

    /// What becomes of the next resource, retries aside.
    async fn end(&mut self) -> Refreshed {
        loop {
            match self.told.recv().await.unwrap() {
                Refreshed::Retried => {}
                ended => return ended,
            }
        }
    }

    /// A resync, during which `meanwhile` runs: after its read, before its writes.
    async fn resync_during(&mut self, meanwhile: impl AsyncFnOnce(&mut Self)) -> Report {
        let (read, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        *self.aws.hold.lock().unwrap() = Some((Arc::clone(&read), Arc::clone(&go)));
        let options = SyncOptions {
            journal: Arc::clone(&self.journal),
            ledger: Some(Arc::new(self.book.clone())),
            ..SyncOptions::default()
        };
        let (source, catalog) = (Arc::clone(&self.roster), Arc::clone(&self.catalog));
        let resync = run(source, Arc::new(Plugin), catalog, Arc::new(NullObserver), options);
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
    assert_eq!(world.catalog.held(), json!({"one": 1}));
    world.aws.put("one", json!({"Size": 2}));
    assert_eq!(world.follow("Update", "one").await, Refreshed::Upserted);
    assert_eq!(world.catalog.held(), json!({"one": 2}));
    world.aws.remove("one");
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Deleted);
    assert_eq!(world.catalog.held(), json!({}));
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
    assert_eq!(world.catalog.held(), json!({"one": 1, "two": 2}));
}

#[tokio::test(start_paused = true)]
async fn what_is_none_of_ours_is_left_alone() {
    let mut world = World::new();
    world.aws.with_denied.store(true, Ordering::Relaxed);
    world.catalog.put("foreign-1", 7);
    assert_eq!(world.follow("Delete", "foreign-1").await, Refreshed::Unchanged);
    assert_eq!(world.catalog.held(), json!({"foreign-1": 7}));
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
    let mut world = World::of(Memory::new(&json!({"query": ".Keep"}), ".Properties.Id"));
    world.catalog.put("one", 1);
    world.aws.put("one", json!({"Size": 1, "Keep": false}));
    assert_eq!(world.follow("Update", "one").await, Refreshed::Deleted);
    assert_eq!(world.catalog.held(), json!({}));

    let policy = json!({"query": "true", "regionPolicy": {"deny": ["eu-west-1"]}});
    let mut world = World::of(Memory::new(&policy, ".Properties.Id"));
    world.catalog.put("one", 1);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Ignored);
    assert_eq!(world.catalog.held(), json!({"one": 1}));
    assert!(world.aws.reads.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_many_resources_share_is_not_deleted_with_one_of_them() {
    let mut world = World::of(Memory::new(&json!({"query": "true"}), ".__ExtraContext.AccountId"));
    world.catalog.put(A, 1);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Unchanged);
    assert_eq!(world.catalog.held(), json!({A: 1}));
}

/// A world whose entities state no account, and a ledger that records who produced them.
fn recorded(things: &[(&str, &str, &str)]) -> World {
    let catalog = Memory { states: None, ..Memory::new(&json!({"query": "true"}), ".Properties.Id") };
    let world = World::of(catalog);
    for (id, account, region) in things {
        world.catalog.put(id, 1);
        let producer = Producer {
            account: AccountId::new(account).unwrap(),
            place: Place::Region(Region::new(region).unwrap()),
            kind: Kind::new("X::Thing").unwrap(),
        };
        world.book.invalidate("", &[(digest(id), Some(producer))]).unwrap();
    }
    world
}

/// The ledger's key of a thing.
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
    world.catalog.put("unrecorded", 1);
    for (id, refreshed) in [
        ("own", Refreshed::Deleted),
        ("of-another", Refreshed::Unchanged),
        ("elsewhere", Refreshed::Unchanged),
        ("unrecorded", Refreshed::Unchanged),
    ] {
        assert_eq!(world.follow("Delete", id).await, refreshed, "{id}");
    }
    assert_eq!(world.catalog.held(), json!({"of-another": 1, "elsewhere": 1, "unrecorded": 1}));
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
    world.catalog.put("one", 1);
    world.aws.put("one", json!({"Size": 2}));
    // Still there after its deletion was told: looked at again, and gone by then.
    assert_eq!(world.send("Delete", &["one"]), Submission::Queued(1));
    assert_eq!(world.told.recv().await, Some(Refreshed::Retried));
    world.aws.remove("one");
    assert_eq!(world.end().await, Refreshed::Deleted);

    // There to the last: it exists, whatever the event says.
    world.aws.put("one", json!({"Size": 3}));
    let begun = tokio::time::Instant::now();
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Upserted);
    assert_eq!(begun.elapsed().as_secs(), 2 + 8 + 30);
    assert_eq!(world.catalog.held(), json!({"one": 3}));

    // Not there after its creation was told, three times: deleted.
    world.aws.reads.lock().unwrap().clear();
    world.aws.remove("one");
    assert_eq!(world.follow("Create", "one").await, Refreshed::Deleted);
    assert_eq!(world.aws.reads.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_tried_again_and_then_left_as_it_is() {
    let mut world = World::new();
    world.catalog.put("one", 1);
    world.aws.next_reads([Read::Failed, Read::Partly, Read::CutOff, Read::Failed]);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Failed);
    assert_eq!(world.aws.reads.lock().unwrap().len(), 4);
    assert_eq!(world.catalog.held(), json!({"one": 1}));

    // Denied access does not go away by trying.
    world.aws.next_reads([Read::Denied]);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Denied);
    for read in [Read::Unmappable, Read::Trap] {
        world.aws.next_reads([read]);
        assert_eq!(world.follow("Update", "one").await, Refreshed::Failed);
    }
    assert_eq!(world.aws.reads.lock().unwrap().len(), 4 + 3);
    assert_eq!(world.catalog.held(), json!({"one": 1}));

    // And the next one is none the worse for it.
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Deleted);
}

#[tokio::test(start_paused = true)]
async fn a_refused_entity_is_told_and_not_tried_again() {
    let refusing = Memory { refuse: true, ..Memory::new(&json!({"query": "true"}), ".Properties.Id") };
    let mut world = World::of(refusing);
    world.aws.put("one", json!({"Size": 1}));
    assert_eq!(world.follow("Create", "one").await, Refreshed::Failed);
    assert_eq!(world.aws.reads.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_followed_while_the_flag_is_off_and_a_flag_that_cannot_be_read_is_asked_for_again() {
    let answers = Arc::new(Mutex::new(VecDeque::from([Ok(false), Err(Problem::new("503")), Ok(true)])));
    let gate: Gate = Arc::new(move || {
        let answer = answers.lock().unwrap().pop_front().unwrap();
        Box::pin(async move { answer })
    });
    let catalog = Memory::new(&json!({"query": "true"}), ".Properties.Id");
    let mut world = World::with(catalog, LiveOptions::default(), Some(gate));
    world.catalog.put("one", 1);
    assert_eq!(world.follow("Delete", "one").await, Refreshed::Ignored);
    assert!(world.aws.reads.lock().unwrap().is_empty());
    assert_eq!(world.send("Delete", &["one"]), Submission::Queued(1));
    assert_eq!(world.told.recv().await, Some(Refreshed::Retried));
    assert_eq!(world.end().await, Refreshed::Deleted);
}

#[tokio::test(start_paused = true)]
async fn too_many_are_refused_and_a_stop_reads_what_waits() {
    let catalog = Memory::new(&json!({"query": "true"}), ".Properties.Id");
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
    assert_eq!(world.catalog.held(), json!({"one": 1, "two": 2}));
    assert_eq!(world.send("Create", &["three"]), Submission::Closed, "nobody would read it");
    assert!(world.live.take_backlog().is_empty());
}

#[tokio::test]
async fn a_resync_does_not_delete_what_an_event_wrote_since_it_read() {
    let mut world = World::new();
    // Held before the resync, so that it counts as owned, and gone when the resync read.
    world.catalog.put("one", 1);
    world.catalog.put("two", 2);
    world.aws.put("two", json!({"Size": 2}));
    let report = world
        .resync_during(async |world| {
            world.aws.put("one", json!({"Size": 5}));
            assert_eq!(world.follow("Create", "one").await, Refreshed::Upserted);
        })
        .await;
    assert_eq!((report.outcome, report.deletion.deleted.len()), (Outcome::Done, 0));
    assert_eq!(world.catalog.held(), json!({"one": 5, "two": 2}));
    // The next one, which reads it, is free again.
    world.aws.remove("one");
    assert_eq!(world.resync_during(async |_| ()).await.deletion.deleted.len(), 1);
    assert_eq!(world.catalog.held(), json!({"two": 2}));
}

#[tokio::test]
async fn a_resync_does_not_write_back_what_an_event_changed_or_deleted_since_it_read() {
    let mut world = World::new();
    for (id, size) in [("changed", 1), ("gone", 2), ("other", 3)] {
        world.aws.put(id, json!({"Size": size}));
    }
    world.catalog.put("gone", 1);
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
    assert_eq!(world.catalog.held(), json!({"changed": 9, "other": 3}));
    assert_eq!(world.book.certain(), 1, "only of the other it is certain what the catalog holds");
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
    // Back to what the ledger knew, and nobody tells.
    world.aws.put("one", json!({"Size": 1}));
    let counts = world.resync_during(async |_| ()).await.totals().counts;
    assert_eq!((counts.updated, counts.unchanged), (1, 1));
    assert_eq!(world.catalog.held(), json!({"one": 1, "two": 2}));
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

    /// Whatever events come and however reads end: an entity is deleted only after a read that ran to
    /// its end and found nothing, and its resource is named by the event.
    #[test]
    fn an_event_never_deletes_what_it_could_not_read(
        script in prop::collection::vec(reads(), 0..6), delete: bool, exists: bool,
    ) {
        let script: Vec<Read> = script.into_iter().map_while(|read| read).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            world.catalog.put("one", 1);
            world.catalog.put("bystander", 1);
            if exists {
                world.aws.put("one", json!({"Size": 1}));
            }
            world.aws.next_reads(script.clone());
            let ended = world.follow(if delete { "Delete" } else { "Update" }, "one").await;
            let held = world.catalog.held();
            prop_assert_eq!(&held["bystander"], 1);
            let reads = world.aws.reads.lock().unwrap().len();
            // The last read: from the script, or, beyond it, of what is there.
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

/// Not paused, since a deadline is what is looked at.
#[tokio::test]
async fn one_that_hangs_holds_up_nobody_else() {
    let catalog = Memory::new(&json!({"query": "true"}), ".Properties.Id");
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
