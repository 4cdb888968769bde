//! A live event deletes only entities that are recorded for its own account and region.

use berth_e2e::REGIONS;
use serde_json::{Value, json};

use super::{
    super::{
        live::{call, outcome, send, start, switch_on},
        service::{listen, wait_for},
    },
    ACCOUNT, STATES, Scene, VOLUME, default_entry, mappings, name,
};

/// A `DeleteVolume` of this account and region.
fn delete_volume(account: &str, region: &str, volume: &str) -> Value {
    let detail = json!({"requestParameters": {"volumeId": volume}});
    call(account, region, "ec2.amazonaws.com", "DeleteVolume", &detail)
}

/// A scene that was synced, whose service follows events and begins no resync by itself.
fn followed(state: &str, count: usize, entries: &[Value]) -> Scene {
    let mut scene = Scene::with(&[], count);
    scene.map(entries);
    scene.sync(state).exits(0);
    listen(&mut scene.world, &json!({"type": "POLLING", "interval": 1, "resync_on_start": false}));
    switch_on(&mut scene.world);
    scene.world.set("OCEAN__STATE_DIR", state);
    scene
}

/// Volumes whose entities state their account and region.
fn stating_volumes() -> Value {
    let mut volumes = default_entry(VOLUME);
    mappings(&mut volumes)["properties"]["availabilityZone"] = json!(".__ExtraContext.Region");
    volumes
}

#[test]
fn events_of_another_account_or_region_delete_nothing() {
    for state in STATES {
        let scene = followed(state, 3, &[default_entry(ACCOUNT), stating_volumes()]);
        let before = scene.world.entities();
        let service = start(&scene.world);
        // These volumes live in account A. Neither account B nor another region has them.
        let mut events: Vec<Value> = Vec::new();
        for region in REGIONS {
            for at in 0..3 {
                events.push(delete_volume(&scene.b, region, &name("vol", &scene.a, region, at)));
            }
        }
        events.push(delete_volume(&scene.a, REGIONS[1], &name("vol", &scene.a, REGIONS[0], 0)));
        send(&service, &json!(events));
        wait_for("the events", || outcome(&service, "unchanged") >= 7);
        assert_eq!(scene.world.entities(), before, "{state}");
        assert_eq!(outcome(&service, "deleted"), 0);
    }
}

#[test]
fn an_event_of_the_own_account_and_region_deletes_its_entity() {
    for state in STATES {
        let scene = followed(state, 3, &[default_entry(ACCOUNT), stating_volumes()]);
        let mut expected = scene.world.entities();
        let service = start(&scene.world);
        let gone = scene.remove_volume(&scene.a, REGIONS[0], 0);
        assert!(expected.remove(&gone).is_some());
        let kept = name("vol", &scene.a, REGIONS[0], 1);
        let events =
            [gone.split_once('/').unwrap().1, &kept].map(|it| delete_volume(&scene.a, REGIONS[0], it));
        send(&service, &json!(events));
        wait_for("the deletion", || outcome(&service, "deleted") == 1);
        // The other one is looked at again: AWS may not have heard of its deletion yet.
        wait_for("the volume that is still there", || outcome(&service, "retried") >= 1);
        assert_eq!(scene.world.entities(), expected, "{state}");
    }
}

#[test]
fn an_entity_that_neither_states_its_region_nor_is_recorded_is_left_to_the_next_resync() {
    for (state, deletes) in [("state", true), ("none", false)] {
        let scene = followed(state, 3, &[default_entry(ACCOUNT), default_entry(VOLUME)]);
        let service = start(&scene.world);
        let gone = scene.remove_volume(&scene.a, REGIONS[0], 0);
        send(&service, &delete_volume(&scene.a, REGIONS[0], gone.split_once('/').unwrap().1));
        let ended = if deletes { "deleted" } else { "unchanged" };
        wait_for(ended, || outcome(&service, ended) == 1);
        assert_eq!(scene.world.entities().contains_key(&gone), !deletes, "{state}");
    }
}

#[test]
fn events_count_against_the_limits() {
    let scene = followed("state", 10, &[default_entry(ACCOUNT), default_entry(VOLUME)]);
    let service = start(&scene.world);
    let mut events = Vec::new();
    for (region, at) in REGIONS.iter().flat_map(|region| (0..10).map(move |at| (region, at))) {
        let gone = scene.remove_volume(&scene.a, region, at);
        events.push(delete_volume(&scene.a, region, gone.split_once('/').unwrap().1));
    }
    send(&service, &json!(events));
    wait_for("all events", || {
        outcome(&service, "deleted") + outcome(&service, "failed") + outcome(&service, "unchanged") >= 20
    });
    assert_eq!(outcome(&service, "deleted"), 18, "90 % of 20");
    assert_eq!(scene.identifiers("ec2Volume", &scene.a).len(), 2);
    assert_eq!(scene.identifiers("ec2Volume", &scene.b).len(), 20);
}
