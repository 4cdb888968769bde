//! Many events: what waits, what is kept at a stop, and how many requests write it.

use std::time::Duration;

use berth_sync::{Backlog, LiveOptions, Refreshed, Submission};
use berth_test_support::FakeCatalog;
use serde_json::json;

use super::{A, World, catalog, event, held, put};

#[tokio::test(start_paused = true)]
async fn events_beyond_the_bytes_that_may_wait_are_refused() {
    let catalog = catalog(&json!({"query": "true"}), ".Properties.Id");
    let options = LiveOptions { capacity_bytes: 300, ..LiveOptions::default() };
    let world = World::with(catalog, options, None);
    assert_eq!(world.send("Create", &["one"]), Submission::Queued(1));
    assert_eq!(world.send("Create", &["x".repeat(300).as_str()]), Submission::Full);
    assert_eq!(world.send("Create", &["two"]), Submission::Queued(1));
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_a_stop_and_what_was_not_done_is_kept_for_the_next_start() {
    let slow = FakeCatalog {
        upsert_delay: Duration::from_mins(1),
        ..catalog(&json!({"query": "true"}), ".Properties.Id")
    };
    let options = LiveOptions { workers: 1, keeps_backlog: true, ..LiveOptions::default() };
    let mut world = World::with(slow, options.clone(), None);
    for (id, size) in [("one", 1), ("two", 2), ("three", 3)] {
        world.aws.put(id, json!({"Size": size}));
    }
    assert_eq!(world.send("Create", &["one"]), Submission::Queued(1));
    while world.catalog.upserts.lock().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world.stop.cancel();
    // Nothing runs before this task waits for something.
    assert_eq!(world.send("Create", &["two"]), Submission::Queued(1));
    assert_eq!(world.live.submit(&event(A, "Delete", &["four"])), Submission::Queued(1));
    let begun = tokio::time::Instant::now();
    (&mut world.running).await.unwrap();
    assert_eq!(begun.elapsed(), options.drain, "what is being written may take that long");
    assert_eq!(held(&world.catalog), json!({}));
    let backlog = Backlog::take(&world.live);
    let text = serde_json::to_string(&backlog).unwrap();
    assert_eq!((backlog.len(), world.live.waiting()), (3, 0));

    let mut next = World::with(catalog(&json!({"query": "true"}), ".Properties.Id"), options, None);
    next.aws.put("one", json!({"Size": 1}));
    next.aws.put("two", json!({"Size": 2}));
    put(&next.catalog, "four", 4);
    assert_eq!(serde_json::from_str::<Backlog>(&text).unwrap().restore(&next.live), 3);
    let ends = [next.end().await, next.end().await, next.end().await];
    assert_eq!(ends.iter().filter(|end| **end == Refreshed::Upserted).count(), 2, "{ends:?}");
    assert_eq!(held(&next.catalog), json!({"one": 1, "two": 2}));
}

#[tokio::test(start_paused = true)]
async fn many_events_are_written_in_few_requests_and_each_is_reported() {
    let catalog = FakeCatalog {
        upsert_delay: Duration::from_millis(200),
        ..catalog(&json!({"query": "true"}), ".Properties.Id")
    };
    let mut world = World::with(catalog, LiveOptions::default(), None);
    let ids: Vec<String> = (0..1000).map(|number| format!("thing-{number}")).collect();
    for id in &ids {
        world.aws.put(id, json!({"Size": 1}));
        assert_eq!(world.send("Create", &[id]), Submission::Queued(1));
    }
    for _ in &ids {
        assert_eq!(world.end().await, Refreshed::Upserted);
    }
    assert_eq!(held(&world.catalog).as_object().unwrap().len(), 1000);
    let requests = world.catalog.upserts.lock().unwrap().clone();
    assert!(requests.len() <= 15 && requests.iter().all(|count| *count <= 100), "{requests:?}");
}

/// Two resources that map to one entity.
#[tokio::test(start_paused = true)]
async fn an_entity_is_never_twice_in_one_request() {
    let mut world = World::of(catalog(&json!({"query": "true"}), ".__ExtraContext.AccountId"));
    for id in ["one", "two", "three"] {
        world.aws.put(id, json!({"Size": 1}));
    }
    assert_eq!(world.send("Create", &["one", "two", "three"]), Submission::Queued(3));
    for _ in 0..3 {
        assert_eq!(world.end().await, Refreshed::Upserted);
    }
    assert_eq!(*world.catalog.upserts.lock().unwrap(), [1, 1, 1]);
}
