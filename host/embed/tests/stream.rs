//! A resync as a stream of events.
#![expect(clippy::unwrap_used, reason = "tests; clippy.toml exempts only functions with #[test]")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use berth_embed::{
    CancellationToken, Catalog, Event, Mode, Observer, Outcome, Problem, ProblemCode, ResyncError,
    ResyncEvent, SyncError, SyncHost, SyncHostBuilder, SyncOptions,
    core::{BlueprintId, EnabledRegions, Entity, MapReport, MapRequest, Region},
};
use berth_test_support::{FakeCatalog, FakeMapper, FakeSource, account, page};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// One account with one region, and this many numbered things. With `endless` the read continues forever;
/// `read` is notified when the last existing page was taken.
fn things(count: usize, endless: bool, read: &Arc<Notify>) -> FakeSource {
    let read = Arc::clone(read);
    FakeSource::new(|| Ok(vec![account("111122223333", Ok(()))]))
        .with_regions(|_| Ok(EnabledRegions::Listed(vec![Region::new("eu-west-1").unwrap()])))
        .with_resources(move |request| {
            let numbers: Vec<Value> = (0..count).map(|number| json!(number)).collect();
            let region = request.regions.first();
            let pages: Vec<_> = numbers.chunks(100).map(|chunk| Ok(page(region.cloned(), chunk))).collect();
            let read = Arc::clone(&read);
            let rest = stream::once(async move {
                read.notify_one();
                if endless {
                    std::future::pending::<()>().await;
                }
            });
            stream::iter(pages).chain(rest.filter_map(|()| async { None })).boxed()
        })
}

/// Creates a thing from each number.
fn numbers() -> FakeMapper {
    let kind = json!({
        "kind": "Test::Thing", "scope": "regional",
        "plan": {"steps": [{"id": "l", "service": "x", "operation": "ListThings", "items": "Things[]"}]},
        "mapping": {"kind": "Test::Thing", "selector": {"query": "true"}, "port": {"entity": {"mappings": {
            "identifier": ".Properties.Id", "blueprint": "\"thing\""}}}}});
    FakeMapper::new([FakeMapper::kind(kind)], |request: MapRequest| {
        let numbers: Vec<usize> = serde_json::from_slice(&request.page.resources).unwrap();
        let blueprint = BlueprintId::new("thing").unwrap();
        let entities = numbers.iter().map(|n| Entity::new(blueprint.clone(), format!("{n:05}"))).collect();
        Ok(MapReport { entities, ..MapReport::default() })
    })
}

/// A catalog that refuses one thing.
fn picky() -> FakeCatalog {
    FakeCatalog {
        config: json!({"entityDeletionThreshold": 1.0}),
        notes: vec!["ready".into()],
        refuse: ["00001".to_owned()].into(),
        upsert_batch: 100,
        ..FakeCatalog::default()
    }
}

fn host(count: usize, endless: bool, catalog: &Arc<FakeCatalog>) -> (SyncHostBuilder, Arc<Notify>) {
    let read = Arc::new(Notify::new());
    let builder = SyncHost::builder()
        .source(Arc::new(things(count, endless, &read)))
        .mapper(Arc::new(numbers()))
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
async fn a_resync_shows_its_phases_units_and_entities_and_then_its_report() {
    let catalog = Arc::new(picky());
    let gone = Entity::new(BlueprintId::new("thing").unwrap(), "gone");
    catalog.entities.lock().unwrap().insert(gone.key.clone(), gone);
    let (builder, _) = host(3, false, &catalog);
    let mut resync = builder.build().unwrap().start(Mode::Apply);
    let mut reported = Vec::new();
    while let Some(event) = resync.next().await {
        reported.push(match event {
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
        reported,
        [
            r#"opened ["ready"]"#,
            "account 111122223333",
            "planned 1 0",
            "started 111122223333 eu-west-1 Test::Thing",
            "fetched 3",
            "finished 3",
            "upserted thing/00000 true 111122223333 eu-west-1 Test::Thing",
            "refused thing/00001: no",
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
    let catalog = Arc::new(picky());
    let all = Arc::new(Count::default());
    let (builder, _) = host(5_000, false, &catalog);
    let host = builder.event_buffer(10).observer(Arc::<Count>::clone(&all)).build().unwrap();
    let mut resync = host.start(Mode::Apply);
    // The catalog learns of the end although nobody has read anything.
    catalog.ended.notified().await;
    assert_eq!(*catalog.states.lock().unwrap(), ["running", "Completed"]);

    let (mut events, mut missed) = (0, 0);
    while let Some(event) = StreamExt::next(&mut resync).await {
        match event {
            ResyncEvent::Missed { count } => missed += usize::try_from(count).unwrap(),
            _ => events += 1,
        }
    }
    assert_eq!(events, 10, "no more events are kept than requested");
    assert_eq!(events + missed, all.0.load(Ordering::Relaxed), "each event is delivered or counted");
    assert!(missed > 5_000, "{missed}");
    // The report holds what must not be missed.
    let report = resync.report().await.unwrap();
    assert_eq!((report.totals().counts.created, report.refusals.len()), (4_999, 1));
}

#[tokio::test]
async fn the_place_of_a_gap_is_reported() {
    let catalog = Arc::new(picky());
    let (builder, read) = host(300, true, &catalog);
    let mut resync = builder.event_buffer(2).build().unwrap().start(Mode::Apply);
    read.notified().await;
    let mut reported = Vec::new();
    // There is room again: the event after the gap is kept, and reports the gap.
    for _ in 0..2 {
        reported.push(resync.next().await.unwrap());
    }
    resync.cancel();
    while let Some(event) = resync.next().await {
        reported.push(event);
    }
    assert!(matches!(reported[0], ResyncEvent::Opened { .. }), "{reported:?}");
    assert!(matches!(reported[1], ResyncEvent::Account { .. }), "{reported:?}");
    assert!(matches!(reported[2], ResyncEvent::Missed { count: 1.. }), "{reported:?}");
    assert_eq!(resync.report().await.unwrap().outcome, Outcome::Aborted);
}

#[tokio::test]
async fn dropping_the_handle_stops_the_resync_in_good_order() {
    for through_report in [false, true] {
        let catalog = Arc::new(picky());
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
        catalog.ended.notified().await;
        assert_eq!(*catalog.states.lock().unwrap(), ["running", "Aborted"]);
        assert!(!token.is_cancelled(), "only this resync is stopped");
    }
}

#[tokio::test]
async fn the_token_of_the_host_stops_a_resync_too() {
    let catalog = Arc::new(picky());
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
    let catalog = Arc::new(picky());
    let (builder, _) = host(3, false, &catalog);
    let report = builder.build().unwrap().start(Mode::Plan).report().await.unwrap();
    assert_eq!((report.dry_run, report.changes.len()), (true, 3));
    assert!(catalog.upserts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_keeps_a_resync_from_beginning_is_reported_at_the_end() {
    let catalog = Arc::new(FakeCatalog { broken: true, ..picky() });
    let (builder, _) = host(3, false, &catalog);
    let mut resync = builder.build().unwrap().start(Mode::Apply);
    assert!(resync.next().await.is_none());
    let error = resync.report().await.unwrap_err();
    assert_eq!(
        error,
        ResyncError::Sync(SyncError::Catalog(Problem::new(ProblemCode::Other, "it is closed")))
    );
}
