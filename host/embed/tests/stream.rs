//! A resync as a stream of events.
#![expect(
    clippy::unwrap_used,
    reason = "tests; clippy.toml exempts only functions that bear #[test] themselves"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use berth_embed::{
    CancellationToken, Catalog, Event, MemoryCatalog, Mode, Observer, Outcome, ResyncError, ResyncEvent,
    SyncError, SyncHost, SyncHostBuilder, SyncOptions,
    core::{
        Account, AccountAccess, AccountId, BlueprintId, CatalogError, DeleteReport, Entity, EntityKey,
        FetchError, FetchRequest, FieldSet, Intent, Kind, KindEntry, Manifest, MapError, MapReport,
        MapRequest, Mapper, OwnedEntity, Partition, Problem, RawPage, RefusedPlugin, Region, ResyncStatus,
        Session, Source, UpsertOptions, UpsertOutcome, UpsertReport,
    },
};
use futures::{StreamExt, stream, stream::BoxStream};
use serde_json::json;
use tokio::sync::Notify;

/// One account with one region, and things that are called by numbers.
struct Things {
    count: usize,
    /// Whether the read goes on for ever.
    endless: bool,
    /// Is told when the last page of what there is was taken.
    read: Arc<Notify>,
}

#[async_trait]
impl Source for Things {
    async fn accounts(&self) -> Result<Vec<AccountAccess>, Problem> {
        let id = AccountId::new("111122223333").unwrap();
        let account = Arc::new(Account::unnamed(id, Partition::Aws));
        Ok(vec![AccountAccess { account, access: Ok(()) }])
    }

    async fn regions(&self, _: &Account) -> Result<Vec<Region>, Problem> {
        Ok(vec![Region::new("eu-west-1").unwrap()])
    }

    fn fetch(&self, request: FetchRequest) -> BoxStream<'static, Result<RawPage, FetchError>> {
        let numbers: Vec<usize> = (0..self.count).collect();
        let pages: Vec<_> = numbers
            .chunks(100)
            .map(|chunk| {
                Ok(RawPage {
                    region: request.regions.first().cloned(),
                    resources: serde_json::to_vec(chunk).unwrap(),
                    count: chunk.len(),
                    failures: Vec::new(),
                    unread: Vec::new(),
                    reservation: berth_core::Reservation::default(),
                })
            })
            .collect();
        let (read, endless) = (Arc::clone(&self.read), self.endless);
        let rest = stream::once(async move {
            read.notify_one();
            if endless {
                std::future::pending::<()>().await;
            }
        });
        stream::iter(pages).chain(rest.filter_map(|()| async { None })).boxed()
    }
}

/// Makes a thing of each number.
struct Numbers;

#[async_trait]
impl Mapper for Numbers {
    fn kinds(&self) -> BTreeMap<Kind, KindEntry> {
        let manifest = json!({"name": "numbers", "version": "1.0.0", "kinds": [{
            "kind": "Test::Thing", "scope": "regional",
            "plan": {"steps": [{"id": "l", "service": "x", "operation": "ListThings", "items": "Things[]"}]},
            "mapping": {"kind": "Test::Thing", "selector": {"query": "true"}, "port": {"entity": {"mappings": {
                "identifier": ".Properties.Id", "blueprint": "\"thing\""}}}}}]});
        let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
        let entry = |kind| KindEntry { plugin: manifest.name.clone(), manifest: Arc::new(kind) };
        manifest.kinds.iter().cloned().map(|kind| (kind.kind.clone(), entry(kind))).collect()
    }

    fn refused(&self) -> Vec<RefusedPlugin> {
        Vec::new()
    }

    async fn map(&self, request: MapRequest) -> Result<MapReport, MapError> {
        let numbers: Vec<usize> = serde_json::from_slice(&request.page.resources).unwrap();
        let blueprint = BlueprintId::new("thing").unwrap();
        let entities = numbers.iter().map(|n| Entity::new(blueprint.clone(), format!("{n:05}"))).collect();
        Ok(MapReport { entities, ..MapReport::default() })
    }
}

/// Memory that refuses some, and keeps how the resync ended.
#[derive(Default)]
struct Picky {
    memory: MemoryCatalog,
    ended: Mutex<Vec<ResyncStatus>>,
    told: Notify,
    upserts: AtomicUsize,
    broken: bool,
}

#[async_trait]
impl Catalog for Picky {
    async fn open(&self, intent: Intent, defaults: &[KindEntry]) -> Result<Session, CatalogError> {
        if self.broken {
            return Err(CatalogError(Problem::new("it is closed")));
        }
        let mut session = self.memory.open(intent, defaults).await?;
        session.notes.push("ready".into());
        session.config.entity_deletion_threshold = 1.0;
        Ok(session)
    }

    async fn begin(&self, started: std::time::SystemTime) -> Result<(), CatalogError> {
        self.memory.begin(started).await
    }

    async fn end(&self, status: ResyncStatus) -> Result<(), CatalogError> {
        self.ended.lock().unwrap().push(status);
        self.told.notify_one();
        Ok(())
    }

    fn owned(&self) -> BoxStream<'_, Result<Vec<OwnedEntity>, CatalogError>> {
        self.memory.owned()
    }

    async fn current(&self, keys: &[EntityKey], fields: &FieldSet) -> Result<Vec<Entity>, CatalogError> {
        self.memory.current(keys, fields).await
    }

    async fn relations(
        &self,
        of: &BlueprintId,
    ) -> Result<Option<BTreeMap<String, BlueprintId>>, CatalogError> {
        self.memory.relations(of).await
    }

    fn upsert_batch(&self) -> usize {
        self.memory.upsert_batch()
    }

    async fn upsert(&self, of: &BlueprintId, entities: &[Entity], options: UpsertOptions) -> UpsertReport {
        self.upserts.fetch_add(1, Ordering::Relaxed);
        let mut report = self.memory.upsert(of, entities, options).await;
        for (outcome, entity) in report.outcomes.iter_mut().zip(entities) {
            if entity.key.identifier == "00001" {
                *outcome = UpsertOutcome::Refused(Problem::new("not this one"));
            }
        }
        report
    }

    async fn delete(&self, keys: &[EntityKey], dependents: bool) -> DeleteReport {
        self.memory.delete(keys, dependents).await
    }
}

fn host(things: usize, endless: bool, catalog: &Arc<Picky>) -> (SyncHostBuilder, Arc<Notify>) {
    let read = Arc::new(Notify::new());
    let source = Things { count: things, endless, read: Arc::clone(&read) };
    let builder = SyncHost::builder()
        .source(Arc::new(source))
        .mapper(Arc::new(Numbers))
        .catalog(Arc::clone(catalog) as Arc<dyn Catalog>);
    (builder, read)
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Observer for Count {
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_resync_tells_its_phases_units_and_entities_and_then_its_report() {
    let catalog = Arc::new(Picky::default());
    let gone = Entity::new(BlueprintId::new("thing").unwrap(), "gone");
    let options = UpsertOptions { merge: true, create_missing_related_entities: true };
    catalog.memory.upsert(&gone.key.blueprint, std::slice::from_ref(&gone), options).await;
    let (builder, _) = host(3, false, &catalog);
    let mut resync = builder.build().unwrap().start(Mode::Apply);
    let mut told = Vec::new();
    while let Some(event) = resync.next().await {
        told.push(match event {
            ResyncEvent::Opened { notes } => format!("opened {notes:?}"),
            ResyncEvent::Account { account, problem: None } => format!("account {}", account.id),
            ResyncEvent::Planned { units, settled } => format!("planned {units} {settled}"),
            ResyncEvent::UnitStarted { unit } => format!("started {unit}"),
            ResyncEvent::UnitProgress { fetched, .. } => format!("fetched {fetched}"),
            ResyncEvent::UnitFinished { report } => format!("finished {}", report.counts.mapped),
            ResyncEvent::Upserted { entity, created, unit } => format!("upserted {entity} {created} {unit}"),
            ResyncEvent::Refused { refusal } => {
                format!("refused {}: {}", refusal.entity, refusal.problem.message)
            }
            ResyncEvent::Written { created, refused, .. } => format!("written {created} {refused}"),
            ResyncEvent::Deleting { count } => format!("deleting {count}"),
            ResyncEvent::Deleted { gone } => format!("deleted {}", gone.entity),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        told,
        [
            r#"opened ["ready"]"#,
            "account 111122223333",
            "planned 1 0",
            "started 111122223333 eu-west-1 Test::Thing",
            "fetched 3",
            "finished 3",
            "upserted thing/00000 true 111122223333 eu-west-1 Test::Thing",
            "refused thing/00001: not this one",
            "upserted thing/00002 true 111122223333 eu-west-1 Test::Thing",
            "written 2 1",
            "deleting 1",
            "deleted thing/gone",
        ]
    );
    let report = resync.report().await.unwrap();
    assert_eq!((report.outcome, report.totals().counts.created), (Outcome::Partial, 2));
}

#[tokio::test]
async fn a_reader_that_never_reads_stops_nothing_and_learns_how_much_it_missed() {
    let catalog = Arc::new(Picky::default());
    let all = Arc::new(Count::default());
    let (builder, _) = host(5_000, false, &catalog);
    let host = builder.event_buffer(10).observer(Arc::<Count>::clone(&all)).build().unwrap();
    let mut resync = host.start(Mode::Apply);
    // The catalog hears of the end although nobody has read anything.
    catalog.told.notified().await;
    assert_eq!(*catalog.ended.lock().unwrap(), [ResyncStatus::Completed]);

    let (mut events, mut missed) = (0, 0);
    while let Some(event) = StreamExt::next(&mut resync).await {
        match event {
            ResyncEvent::Missed { count } => missed += usize::try_from(count).unwrap(),
            _ => events += 1,
        }
    }
    assert_eq!(events, 10, "no more is kept than was asked for");
    assert_eq!(events + missed, all.0.load(Ordering::Relaxed), "each event is told or counted");
    assert!(missed > 5_000, "{missed}");
    // What must not be missed is in the report.
    let report = resync.report().await.unwrap();
    assert_eq!((report.totals().counts.created, report.refusals.len()), (4_999, 1));
}

#[tokio::test]
async fn the_place_of_a_gap_is_told() {
    let catalog = Arc::new(Picky::default());
    let (builder, read) = host(300, true, &catalog);
    let mut resync = builder.event_buffer(2).build().unwrap().start(Mode::Apply);
    read.notified().await;
    let mut told = Vec::new();
    // Room again: what follows the gap is kept, with the gap before it.
    for _ in 0..2 {
        told.push(resync.next().await.unwrap());
    }
    resync.cancel();
    while let Some(event) = resync.next().await {
        told.push(event);
    }
    assert!(matches!(told[0], ResyncEvent::Opened { .. }), "{told:?}");
    assert!(matches!(told[1], ResyncEvent::Account { .. }), "{told:?}");
    assert!(matches!(told[2], ResyncEvent::Missed { count: 1.. }), "{told:?}");
    assert_eq!(resync.report().await.unwrap().outcome, Outcome::Aborted);
}

#[tokio::test]
async fn dropping_the_handle_stops_the_resync_in_good_order() {
    for through_report in [false, true] {
        let catalog = Arc::new(Picky::default());
        let (builder, read) = host(100, true, &catalog);
        let token = CancellationToken::new();
        let options = SyncOptions { cancel: token.clone(), ..SyncOptions::default() };
        let resync = builder.options(options).build().unwrap().start(Mode::Apply);
        read.notified().await;
        if through_report {
            let report = resync.report();
            drop(report);
        } else {
            drop(resync);
        }
        catalog.told.notified().await;
        assert_eq!(*catalog.ended.lock().unwrap(), [ResyncStatus::Aborted]);
        assert!(!token.is_cancelled(), "only this resync is stopped");
    }
}

#[tokio::test]
async fn the_token_of_the_host_stops_a_resync_too() {
    let catalog = Arc::new(Picky::default());
    let (builder, read) = host(100, true, &catalog);
    let token = CancellationToken::new();
    let options = SyncOptions { cancel: token.clone(), ..SyncOptions::default() };
    let resync = builder.options(options).build().unwrap().start(Mode::Apply);
    read.notified().await;
    token.cancel();
    assert_eq!(resync.report().await.unwrap().outcome, Outcome::Aborted);
}

#[tokio::test]
async fn a_plan_is_followed_too_and_writes_nothing() {
    let catalog = Arc::new(Picky::default());
    let (builder, _) = host(3, false, &catalog);
    let report = builder.build().unwrap().start(Mode::Plan).report().await.unwrap();
    assert_eq!((report.dry_run, report.changes.len()), (true, 3));
    assert_eq!(catalog.upserts.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_keeps_a_resync_from_beginning_is_told_at_the_end() {
    let catalog = Arc::new(Picky { broken: true, ..Picky::default() });
    let (builder, _) = host(3, false, &catalog);
    let mut resync = builder.build().unwrap().start(Mode::Apply);
    assert!(resync.next().await.is_none());
    let error = resync.report().await.unwrap_err();
    assert_eq!(error, ResyncError::Sync(SyncError::Catalog(Problem::new("it is closed"))));
}
