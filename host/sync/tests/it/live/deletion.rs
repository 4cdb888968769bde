//! What an event deletes.

use berth_core::{AccountId, Kind, Ledger, Place, Producer, Region};
use berth_sync::Refreshed;
use berth_test_support::FakeCatalog;
use serde_json::json;

use super::{A, B, World, catalog, held, put, states};

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
