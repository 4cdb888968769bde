//! `berth run` with the KAFKA listener, against a third-party broker.

use std::time::Duration;

use berth_e2e::{Kafka, World};
use port_stand_in::{Fault, ORGANIZATION};
use serde_json::{Value, json};

use crate::service::{INTEGRATION, Service, listen, reported, wait_for};

/// The topic of every change in the organization.
fn changes() -> String {
    format!("{ORGANIZATION}.change.log")
}

/// The topic of resync requests alone, where the organization has one.
fn requests() -> String {
    format!("{ORGANIZATION}.integration.resync.requests")
}

fn group() -> String {
    format!("{ORGANIZATION}.aws-v3.{INTEGRATION}")
}

/// A world whose Port announces resync requests over this broker.
fn world(kafka: &Kafka) -> World {
    let mut world = World::with_accounts(1).buckets(1).build();
    let credentials = (Kafka::USERNAME.to_owned(), Kafka::PASSWORD.to_owned());
    world.port().change_options(|options| options.kafka_credentials = Some(credentials));
    listen_to(&mut world, kafka, true);
    world.set("SSL_CERT_FILE", kafka.authority());
    world
}

fn listen_to(world: &mut World, kafka: &Kafka, resync_on_start: bool) {
    let brokers = json!([kafka.broker()]).to_string();
    listen(world, &json!({"type": "KAFKA", "brokers": brokers, "resyncOnStart": resync_on_start}));
}

/// The button in Port.
fn request() -> Value {
    json!({"action": "RESYNC", "context": {"integrationId": INTEGRATION}})
}

fn done(times: usize) -> Value {
    json!(["running", "completed"].repeat(times))
}

#[test]
fn a_request_over_kafka_is_served_once_and_all_else_ignored() {
    let kafka = Kafka::start(&changes());
    let mut world = world(&kafka);
    let service = Service::start(&world);
    wait_for("the first resync", || json!(reported(&world)) == done(1));
    assert_eq!(world.entities(), world.expected());
    let integration = world.port().integration(INTEGRATION).expect("the integration is there");
    assert_eq!(integration["changelogDestination"], json!({"type": "KAFKA"}));

    let change = |identifier: &str, updated: &str, noted: &str| {
        json!({
            "action": "UPDATE", "changelogDestination": {"type": "KAFKA"},
            "diff": {"after": {
                "identifier": identifier, "updatedAt": updated, "resyncState": {"updatedAt": noted},
            }},
        })
    };
    let (past, future) = ("2001-01-01T00:00:00.000Z", "2100-01-01T00:00:00.000Z");
    for other in [
        json!({"action": "RESYNC", "context": {"integrationId": "another"}}),
        json!({"action": "UPDATE", "context": {"integrationId": INTEGRATION}}),
        change("another", future, past),
        // The note of a resync's state.
        change(INTEGRATION, future, future),
        // Made before the resync that there was.
        change(INTEGRATION, past, "2000-01-01T00:00:00.000Z"),
        json!("no object"),
    ] {
        kafka.send(&changes(), &other);
    }
    wait_for("the confirmation of all", || kafka.confirmed(&group()) == Some(6));
    assert_eq!(json!(reported(&world)), done(1), "none of them is a request");

    world.seed(&world.accounts()[0], &["--buckets=0", "--instances=1", "--clusters=0"]);
    kafka.send(&changes(), &change(INTEGRATION, future, past));
    wait_for("the second resync", || json!(reported(&world)) == done(2));
    assert_eq!(world.entities(), world.expected());
    wait_for("its confirmation", || kafka.confirmed(&group()) == Some(7));
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(Kafka::PASSWORD), "{log}");

    // Asked while nobody listened: the next process serves it, and that one alone.
    kafka.send(&changes(), &request());
    listen_to(&mut world, &kafka, false);
    let service = Service::start(&world);
    wait_for("the third resync", || json!(reported(&world)) == done(3));
    wait_for("its confirmation", || kafka.confirmed(&group()) == Some(8));
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(json!(reported(&world)), done(3), "{log}");
}

#[test]
fn a_newer_request_over_kafka_stops_the_running_resync() {
    let kafka = Kafka::start(&requests());
    let world = world(&kafka);
    world.port().change_options(|options| {
        options.feature_flags = vec!["OCEAN_KAFKA_INTEGRATION_RESYNC_REQUESTS_TOPIC_ENABLED".into()];
    });
    let service = Service::start(&world);
    wait_for("the first resync", || json!(reported(&world)) == done(1));
    world.port().clear_requests();
    // Until it is stopped.
    world.port().fail(Fault::on("datasource-entities").latency(Duration::from_mins(1)));
    kafka.send(&requests(), &request());
    wait_for("the start of the second resync", || !reported(&world).is_empty());
    // Confirmed before it has ended: it must not come again after a crash.
    wait_for("the confirmation", || kafka.confirmed(&group()) == Some(1));
    kafka.send(&requests(), &request());
    let stopped = json!(["running", "aborted", "running", "completed"]);
    wait_for("the third resync", || json!(reported(&world)) == stopped);
    assert_eq!(world.entities(), world.expected());
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn an_outage_of_the_brokers_ends_nothing_and_loses_nothing() {
    let kafka = Kafka::start(&changes());
    let world = world(&kafka);
    kafka.set_away(true);
    let service = Service::start(&world);
    wait_for("the first resync, in spite of the outage", || json!(reported(&world)) == done(1));
    kafka.set_away(false);
    // Heard from when the group has let it in, which nobody else is told.
    wait_for("a request that is heard", || {
        kafka.send(&changes(), &json!({}));
        kafka.confirmed(&group()).is_some()
    });
    kafka.send(&changes(), &request());
    wait_for("the second resync", || json!(reported(&world)) == done(2));

    kafka.set_away(true);
    kafka.send(&changes(), &request());
    let before = kafka.turned_away();
    wait_for("a try in vain", || kafka.turned_away() > before);
    assert_eq!(json!(reported(&world)), done(2));
    kafka.set_away(false);
    wait_for("the third resync", || json!(reported(&world)) == done(3));
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("cannot consume resync requests from Kafka")
            && log.contains("OCEAN__EVENT_LISTENER__BROKERS"),
        "{log}"
    );
}

#[test]
fn a_second_instance_says_so_and_stops() {
    let kafka = Kafka::start(&changes());
    let world = world(&kafka);
    let first = Service::start(&world);
    wait_for("the first resync", || json!(reported(&world)) == done(1));
    let second = world.start(&["run"]).wait_with_output().expect("the second instance ends");
    let log = String::from_utf8(second.stderr).expect("the log is UTF-8");
    assert_eq!(second.status.code(), Some(0), "{log}");
    assert!(log.contains("another instance is running"), "{log}");
    assert_eq!(json!(reported(&world)), done(1), "it did not resync: {log}");

    // The first one goes on.
    kafka.send(&changes(), &request());
    wait_for("the second resync", || json!(reported(&world)) == done(2));
    assert_eq!(first.terminate().0, Some(0));
}

#[test]
fn credentials_are_asked_for_at_port_with_each_try_and_their_absence_is_reported() {
    let kafka = Kafka::start(&changes());
    let world = world(&kafka);
    let options = |password: Option<&str>| {
        let credentials = password.map(|password| (Kafka::USERNAME.to_owned(), password.to_owned()));
        world.port().change_options(|options| options.kafka_credentials = credentials);
    };
    options(Some("rotated-hush"));
    let service = Service::start(&world);
    wait_for("a second try", || world.port().count("kafka-credentials") >= 2);
    options(Some(Kafka::PASSWORD));
    wait_for("a message that is heard", || {
        kafka.send(&changes(), &json!({}));
        kafka.confirmed(&group()).is_some()
    });
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("__AUTHENTICATION_MECHANISM") && !log.contains("hush"), "{log}");

    options(None);
    let ended = world.start(&["run"]).wait_with_output().expect("the service ends");
    let log = String::from_utf8(ended.stderr).expect("the log is UTF-8");
    assert_eq!(ended.status.code(), Some(2), "{log}");
    assert!(log.contains("no Kafka credentials") && log.contains("POLLING"), "{log}");
}

#[test]
fn credentials_that_expire_while_it_listens_are_fetched_anew() {
    let kafka = Kafka::start(&changes());
    let world = world(&kafka);
    let service = Service::start(&world);
    wait_for("the first resync", || json!(reported(&world)) == done(1));
    kafka.send(&changes(), &json!({}));
    wait_for("a message that is heard", || kafka.confirmed(&group()) == Some(1));

    let credentials = (Kafka::USERNAME.to_owned(), "rotated-hush".to_owned());
    world.port().change_options(|options| options.kafka_credentials = Some(credentials));
    kafka.rotate("rotated-hush");
    kafka.set_away(true);
    kafka.send(&changes(), &request());
    kafka.set_away(false);
    wait_for("the second resync", || json!(reported(&world)) == done(2));
    wait_for("its confirmation", || kafka.confirmed(&group()) == Some(2));
    let (code, log) = service.terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("hush"), "{log}");
}
