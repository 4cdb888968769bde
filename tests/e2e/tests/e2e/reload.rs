//! Settings that change while the service runs.
#![expect(clippy::expect_used, reason = "a helper that fails is a test that fails")]

use std::{fs, process::Command, time::Duration};

use berth_e2e::{Entities, World};
use port_stand_in::Fault;
use serde_json::json;

use crate::service::{Service, listen, reported, wait_for};

const ARNS: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS";

/// A service whose accounts stand in its settings file, at first the first one alone.
fn service() -> (World, Service) {
    let mut world = World::with_accounts(2).buckets(1).build();
    world.unset(ARNS);
    // Only one host at a time can have it open.
    world.set("BERTH_STATE_DIR", "state");
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    name(&world, 1);
    let service = Service::start(&world);
    wait_for("the first resync", || reported(&world).len() == 2);
    assert_eq!(world.entities(), expected(&world, 1));
    (world, service)
}

/// Writes the settings file: so many of the accounts.
fn name(world: &World, accounts: usize) {
    let role = |account: &String| format!("arn:aws:iam::{account}:role/PortOceanReadRole");
    let roles: Vec<String> = world.accounts().iter().take(accounts).map(role).collect();
    world.file("berth.toml", &format!("[integration.config]\naccount_role_arns = {}\n", json!(roles)));
}

/// What the first accounts must give.
fn expected(world: &World, accounts: usize) -> Entities {
    let others = &world.accounts()[accounts..];
    let mut expected = world.expected();
    expected.retain(|key, _| !others.iter().any(|other| key.contains(other.as_str())));
    expected
}

/// How often settings were read anew, by what came of it.
fn reloads(service: &Service, outcome: &str) -> u32 {
    let page = service.ask("GET", "/metrics").1;
    let series = format!("berth_settings_reloads_total{{outcome=\"{outcome}\"}} ");
    let count = page.lines().find_map(|line| line.strip_prefix(&series));
    count.map_or(0, |count| count.parse().expect("a count"))
}

fn hang_up(service: &Service) {
    let pid = service.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill starts").success());
}

#[test]
fn a_changed_account_is_read_by_the_next_resync_and_a_broken_file_by_none() {
    let (world, service) = service();
    name(&world, 2);
    hang_up(&service);
    wait_for("the new settings", || reloads(&service, "applied") >= 1);
    assert_eq!(world.entities(), expected(&world, 1), "nothing happens before the next resync");
    world.port().request_resync("aws-e2e");
    wait_for("the second resync", || reported(&world).len() == 4);
    assert_eq!(world.entities(), expected(&world, 2));

    world.file("berth.toml", "[integration.config]\naccount_role_arns = [\"not-an-arn\"]\nno_such = 1\n");
    hang_up(&service);
    wait_for("the refusal", || reloads(&service, "refused") >= 1);
    world.port().request_resync("aws-e2e");
    wait_for("the third resync", || reported(&world).len() == 6);
    assert_eq!(world.entities(), expected(&world, 2), "the former settings go on");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    for part in ["not-an-arn", "no_such", "remedy=", "the former ones stay"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_changed_file_is_noticed_and_a_running_resync_ends_as_it_began() {
    let (world, service) = service();
    world.port().fail(Fault::on("datasource-entities").latency(Duration::from_secs(12)));
    world.port().request_resync("aws-e2e");
    wait_for("the start of the second resync", || reported(&world).len() == 3);
    // The port cannot change meanwhile; what else is new is taken.
    name(&world, 2);
    world.file(".env", "OCEAN__PATH_PREFIX=/other\n");
    wait_for("the new settings", || reloads(&service, "applied") == 1);
    assert_eq!(reported(&world).len(), 3, "the resync still runs");
    wait_for("the second resync", || reported(&world).len() == 4);
    assert_eq!(world.entities(), expected(&world, 1));
    world.port().request_resync("aws-e2e");
    wait_for("the third resync", || reported(&world).len() == 6);
    assert_eq!(world.entities(), expected(&world, 2));
    let (_, log) = service.terminate();
    assert!(log.contains("OCEAN__PATH_PREFIX") && log.contains("restart the service"), "{log}");
}

#[test]
fn a_secret_that_was_rotated_starts_what_could_not_begin() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let secret = world.variable("OCEAN__PORT__CLIENT_SECRET");
    world.unset("OCEAN__PORT__CLIENT_SECRET");
    listen(&mut world, &json!({"type": "POLLING", "interval": 600}));
    world.file(".env", "OCEAN__PORT__CLIENT_SECRET=an-old-one\n");
    let service = Service::start(&world);
    let not_begun = "berth_resyncs_total{outcome=\"not-begun\"} 1";
    wait_for("the failure", || service.ask("GET", "/metrics").1.contains(not_begun));
    world.file(".env", &format!("OCEAN__PORT__CLIENT_SECRET={secret}\n"));
    hang_up(&service);
    // Long before the interval has passed.
    wait_for("the resync", || reported(&world).len() == 2);
    assert_eq!(world.entities(), world.expected());
    let (_, log) = service.terminate();
    assert!(!log.contains(&secret) && !log.contains("an-old-one"), "{log}");
}

/// Posts a live event with this key: the status line.
fn send_event(service: &Service, world: &World, key: &str) -> String {
    let event = json!({"account": world.accounts()[0], "region": "us-east-1", "detail": {
        "eventSource": "s3.amazonaws.com", "eventName": "ListBuckets", "requestParameters": {},
    }});
    service.post("/integration/webhook", &[("x-port-aws-ocean-api-key", key)], &event.to_string()).0
}

#[test]
fn live_events_are_switched_on_and_their_key_replaced_and_revoked() {
    const KEY: &str = "OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY";
    let (world, service) = service();
    let (ok, unknown, none) = ("HTTP/1.1 200 OK", "HTTP/1.1 401 Unauthorized", "HTTP/1.1 404 Not Found");
    assert_eq!(send_event(&service, &world, "old"), none);
    let mut applied = 0;
    for (settings, old, new) in [
        (format!("{KEY}=old\n"), ok, unknown),
        (format!("{KEY}=new\n"), unknown, ok),
        ("\n".to_owned(), none, none),
    ] {
        world.file(".env", &settings);
        hang_up(&service);
        // The change of the file may be noticed besides.
        wait_for("the new settings", || reloads(&service, "applied") > applied);
        applied = reloads(&service, "applied");
        wait_for("the new key", || send_event(&service, &world, "new") == new);
        assert_eq!(send_event(&service, &world, "old"), old, "{settings}");
    }
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    // There was nothing to take from outside when it began.
    assert!(log.contains("OCEAN__BIND_ADDRESS") && log.contains("restart the service"), "{log}");
    assert!(log.contains("live events are accepted at") && log.contains("no longer accepted"), "{log}");
}

#[test]
fn the_first_reload_leaves_a_broken_plugin_in_use() {
    let mut world = World::with_accounts(1).buckets(1).guest("honest").build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    let service = Service::start(&world);
    wait_for("the first resync", || reported(&world).len() == 2);
    fs::write(world.folder().join("hostile/honest.wasm"), "not WebAssembly").expect("a file");
    hang_up(&service);
    wait_for("the reload", || reloads(&service, "applied") == 1);
    let before = title(&world);
    world.port().delete_entity("honest", &world.accounts()[0]).expect("it is there");
    world.port().request_resync("aws-e2e");
    wait_for("the second resync", || reported(&world).len() == 4);
    assert_eq!(title(&world), before, "the kind is read on");
    let (_, log) = service.terminate();
    assert!(log.contains("stays in use"), "{log}");
}

/// How often plugin files changed, by what came of it.
fn plugin_changes(service: &Service, outcome: &str) -> u32 {
    let page = service.ask("GET", "/metrics").1;
    let series = format!("berth_plugin_changes_total{{outcome=\"{outcome}\"}} ");
    let count = page.lines().find_map(|line| line.strip_prefix(&series));
    count.map_or(0, |count| count.parse().expect("a count"))
}

/// What the guest that behaves makes of the account: its title.
fn title(world: &World) -> String {
    let entities = world.port().entities();
    let entity = &entities["honest"][world.accounts()[0].as_str()];
    entity["title"].as_str().unwrap_or_default().to_owned()
}

/// The same guest, but that its titles begin with a `v`.
fn another_version(guest: &[u8]) -> Vec<u8> {
    let (text, by, before) = (br#"", "title": ""#, br#"", "title":"v"#, br#"", "blueprint": ""#);
    let mut bytes = guest.to_vec();
    // The manifest has the same text, with something else after it.
    let at = (0..bytes.len() - 2 * text.len() - before.len()).find(|&at| {
        let rest = &bytes[at + text.len()..][..before.len() + 4];
        bytes[at..].starts_with(text) && rest.windows(before.len()).any(|part| part == before)
    });
    bytes[at.expect("the guest makes titles")..][..by.len()].copy_from_slice(by);
    bytes
}

#[test]
fn a_replaced_plugin_is_taken_a_broken_one_leaves_the_old_in_place_and_a_removed_one_deletes_nothing() {
    let mut world = World::with_accounts(1).buckets(1).guest("honest").build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    let service = Service::start(&world);
    wait_for("the first resync", || reported(&world).len() == 2);
    let before = title(&world);
    assert!(!before.is_empty());

    let file = world.folder().join("hostile/honest.wasm");
    let another = another_version(&fs::read(&file).expect("the guest"));
    fs::write(&file, another).expect("a file");
    wait_for("the new version", || plugin_changes(&service, "loaded") == 1);
    world.port().request_resync("aws-e2e");
    wait_for("the second resync", || reported(&world).len() == 4);
    assert_eq!(title(&world), format!("v{before}"));

    fs::write(&file, "not WebAssembly").expect("a file");
    wait_for("the refusal", || plugin_changes(&service, "refused") == 1);
    world.port().request_resync("aws-e2e");
    wait_for("the third resync", || reported(&world).len() == 6);
    assert_eq!(title(&world), format!("v{before}"));

    fs::remove_file(&file).expect("the file is there");
    wait_for("the removal", || plugin_changes(&service, "removed") == 1);
    world.port().request_resync("aws-e2e");
    wait_for("the fourth resync", || reported(&world).len() == 8);
    assert_eq!(title(&world), format!("v{before}"), "what nothing maps any more stays as it is");
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    for part in [
        "it applies from the next unit",
        "plugin=\"honest\"",
        "is not WebAssembly; `honest 1.0.0`, loaded from it before, stays in use",
        "remedy=",
        "a plugin is gone",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}
