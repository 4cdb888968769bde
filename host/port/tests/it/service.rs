//! What a service that runs on tells Port and asks of it: the state, requests for resyncs, events.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use berth_core::ResyncStatus;
use berth_port::{
    ResyncSchedule,
    service::{FeedError, LIVE_EVENTS_FLAG, PortService},
};
use port_stand_in::{Fault, LoggedRequest, PortStandIn};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::common::{
    ID, catalog, config,
    fixtures::{WRITE, calls, defaults, furnished, id, instance_entity, key, sent, stand_in},
};

#[tokio::test]
async fn the_resync_state_is_reported_with_the_schedule() {
    let stand_in = furnished().await;
    let mut config = config(&stand_in);
    let since = SystemTime::now() - Duration::from_mins(5);
    config.schedule = Some(ResyncSchedule { interval_minutes: 60, since });
    let catalog = catalog(config);
    catalog.open(&defaults()).await.unwrap();
    let started = SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_433_830_801_273);
    catalog.begin(started).await.unwrap();
    catalog.end(ResyncStatus::Aborted).await.unwrap();
    let states = sent(&stand_in, "resync-state");
    let begin = states[0].body.as_object().unwrap();
    assert_eq!(begin["status"], "running");
    assert_eq!(begin["lastResyncEnd"], Value::Null);
    assert_eq!(begin["lastResyncStart"], "2026-11-23T11:37:10.801273+00:00");
    assert_eq!(begin["intervalInMinuets"], 60);
    assert!(begin["nextResync"].is_string());
    let end = states[1].body.as_object().unwrap();
    let keys: BTreeSet<&str> = end.keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["status", "lastResyncEnd", "nextResync", "intervalInMinuets"]));
    assert_eq!(end["status"], "aborted");
}

#[tokio::test]
async fn a_resync_request_is_newer_than_the_resync_before_it_and_older_than_the_one_after() {
    let stand_in = furnished().await;
    let catalog = catalog(config(&stand_in));
    assert_eq!(
        (PortService::of(&catalog).resync_request().await.unwrap(), PortService::of(&catalog).last_begun()),
        (None, None)
    );
    let last_call = |stand_in: &PortStandIn| calls(&stand_in.requests()).pop().unwrap();
    assert_eq!(last_call(&stand_in), format!("GET /v1/integration/{ID}/resync-request"));

    catalog.open(&[]).await.unwrap();
    catalog.begin(SystemTime::now()).await.unwrap();
    let first = PortService::of(&catalog).last_begun().unwrap();
    // Port's times are in milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    stand_in.request_resync(ID);
    let request = PortService::of(&catalog).resync_request().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    catalog.end(ResyncStatus::Completed).await.unwrap();
    assert_eq!(PortService::of(&catalog).last_begun(), Some(first), "the end of a resync serves no request");
    catalog.open(&[]).await.unwrap();
    catalog.begin(SystemTime::now()).await.unwrap();
    let second = PortService::of(&catalog).last_begun().unwrap();
    assert!(first < request && request < second, "{first:?} {request:?} {second:?}");
}

#[tokio::test]
async fn resync_requests_of_an_unknown_integration_are_a_problem() {
    let stand_in = stand_in().await;
    let problem = PortService::of(&catalog(config(&stand_in))).resync_request().await.unwrap_err();
    assert!(problem.message.contains("404") && problem.message.contains(ID), "{problem}");
}

#[tokio::test]
async fn the_feed_of_requests_follows_the_organization_and_the_settings() {
    let stand_in = stand_in().await;
    let catalog = catalog(config(&stand_in));
    stand_in.change_options(|options| {
        options.kafka_credentials = Some(("port-name".into(), "port-hush".into()));
    });
    let feed = PortService::of(&catalog).request_feed(true).await.unwrap();
    let credentials = feed.credentials.as_ref().unwrap();
    assert_eq!(
        (feed.topic.as_str(), feed.group.as_str()),
        ("org_stand_in.change.log", "org_stand_in.aws-v3.My-Berth")
    );
    assert_eq!(credentials.username, "port-name");
    assert_eq!(credentials.password.expose_secret(), "port-hush");
    assert!(!format!("{feed:?}").contains("port-hush"), "{feed:?}");

    stand_in.change_options(|options| {
        options.feature_flags = vec!["OCEAN_KAFKA_INTEGRATION_RESYNC_REQUESTS_TOPIC_ENABLED".into()];
    });
    let asked = stand_in.count("kafka-credentials");
    let feed = PortService::of(&catalog).request_feed(false).await.unwrap();
    assert_eq!(
        (feed.topic.as_str(), feed.group.as_str()),
        ("org_stand_in.integration.resync.requests", "no-security")
    );
    assert!(feed.credentials.is_none());
    assert_eq!(stand_in.count("kafka-credentials"), asked, "no unneeded request is sent");
}

#[tokio::test]
async fn an_organization_without_kafka_is_distinguished_from_a_port_that_is_away() {
    let stand_in = stand_in().await;
    let catalog = catalog(config(&stand_in));
    let error = PortService::of(&catalog).request_feed(true).await.unwrap_err();
    assert!(
        matches!(&error, FeedError::NotProvided(problem) if problem.remedy.as_ref().unwrap().contains("POLLING")),
        "{error:?}"
    );
    stand_in.change_options(|options| options.kafka_credentials = Some((String::new(), String::new())));
    let error = PortService::of(&catalog).request_feed(true).await.unwrap_err();
    assert!(matches!(error, FeedError::NotProvided(_)), "{error:?}");
    stand_in.fail(Fault::on("kafka-credentials").status(500).times(2));
    let error = PortService::of(&catalog).request_feed(true).await.unwrap_err();
    assert!(matches!(error, FeedError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn events_are_written_as_such_and_do_not_disturb_a_resync() {
    let port = furnished().await;
    port.change_options(|options| options.feature_flags = vec!["AWS_V3_LIVE_EVENTS_ENABLED".into()]);
    let resync = catalog(config(&port));
    let events = resync.another();
    resync.open(&defaults()).await.unwrap();
    let written = [instance_entity("i-1", json!({}), json!({}))];
    resync.upsert(&id("ec2Instance"), &written, WRITE).await;
    port.clear_requests();
    // An event arrives during the resync.
    events.follow(&defaults()).await.unwrap();
    events.upsert(&id("ec2Instance"), &written, WRITE).await;
    resync.upsert(&id("ec2Instance"), &written, WRITE).await;
    events.delete(&[key("ec2Instance", "i-1")], true).await;
    let described = |request: &LoggedRequest| {
        let has_id = request.query_value("ocean_info_resync_id").is_some();
        (request.query_value("ocean_info_event_type").unwrap(), has_id)
    };
    let writes = port.requests().into_iter().filter(LoggedRequest::writes);
    let writes: Vec<_> = writes.map(|request| described(&request)).collect();
    let (event, of_resync) = (("http_request".to_owned(), false), ("resync".to_owned(), true));
    assert_eq!(writes, [event.clone(), of_resync, event]);
    assert_eq!(port.count("/auth/access_token"), 0, "they share the token");

    // The organization's flags were read when the resync started, and are cached for a while.
    for catalog in [&events, &resync, &events] {
        assert!(PortService::of(catalog).has_flag(LIVE_EVENTS_FLAG).await.unwrap());
        assert!(!PortService::of(catalog).has_flag("ANOTHER").await.unwrap());
    }
    assert_eq!(sent(&port, "/v1/organization").len(), 0);
}
