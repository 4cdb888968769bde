//! What Berth sends to an OpenTelemetry collector.

use std::{collections::BTreeSet, net::TcpListener};

use berth_e2e::{Collector, REGIONS, World};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The names of the spans around one, the innermost first.
fn around(collector: &Collector, name: &str) -> BTreeSet<Vec<String>> {
    let all: Vec<_> = ["sync", "unit", "fetch", "map", "upsert"].map(|name| collector.spans(name)).concat();
    let chain = |mut parent: Vec<u8>| {
        let mut names = Vec::new();
        while let Some(span) = all.iter().find(|span| span.id == parent) {
            names.push(span.name.clone());
            parent.clone_from(&span.parent);
        }
        names
    };
    collector.spans(name).into_iter().map(|span| chain(span.parent)).collect()
}

#[test]
fn one_sync_is_a_trace_of_its_units_and_the_numbers_of_prometheus() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let collector = world.start_collector();
    world.set(ENDPOINT, &collector.url());
    world.set("OTEL_EXPORTER_OTLP_HEADERS", "x-token=hush-token");
    world.set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=e2e");
    world.sync().exits(0).hides("hush-token");

    let units: BTreeSet<(String, String, String)> = collector
        .spans("unit")
        .into_iter()
        .map(|unit| {
            let attribute = |name: &str| unit.attributes.get(name).cloned().unwrap_or_default();
            (attribute("account"), attribute("region"), attribute("kind"))
        })
        .collect();
    for region in REGIONS {
        let unit = (world.accounts()[0].clone(), region.to_owned(), "AWS::EC2::Instance".to_owned());
        assert!(units.contains(&unit), "{unit:?} of {units:?}");
    }
    let chain = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(collector.spans("sync").len(), 1);
    assert_eq!(around(&collector, "unit"), [chain(&["sync"])].into());
    assert_eq!(around(&collector, "fetch"), [chain(&["unit", "sync"])].into());
    // Those outside of units make the documents that Port is shown as examples.
    assert_eq!(around(&collector, "map"), [chain(&["unit", "sync"]), chain(&["sync"])].into());
    assert_eq!(around(&collector, "upsert"), [chain(&["sync"])].into());
    assert!(collector.spans("map").iter().all(|map| map.attributes.contains_key("plugin")));

    let resource = collector.resource();
    assert_eq!(resource.get("service.name").map(String::as_str), Some("berth"), "{resource:?}");
    assert_eq!(resource.get("deployment.environment.name").map(String::as_str), Some("e2e"), "{resource:?}");
    assert!(collector.tokens().iter().all(|token| token == "hush-token"));

    let labels = |labels: &[(&str, &str)]| {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let bucket = labels(&[("kind", "AWS::S3::Bucket"), ("phase", "load"), ("object_count_type", "loaded")]);
    assert_eq!(collector.values("object_count").get(&bucket), Some(&2.0));
    assert_eq!(collector.values("berth_resyncs").get(&labels(&[("outcome", "done")])), Some(&1.0));
    assert!(collector.values("process_resident_memory_bytes").values().all(|bytes| *bytes > 1e6));
}

#[test]
fn nothing_is_sent_where_it_is_switched_off_or_sampled_away() {
    let mut world = World::with_accounts(1).buckets(1).build();
    let collector = world.start_collector();
    world.set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &format!("{}/v1/traces", collector.url()));
    world.set("OTEL_SDK_DISABLED", "true");
    world.sync().exits(0);
    assert_eq!(collector.tokens().len(), 0);
    world.unset("OTEL_SDK_DISABLED");
    world.set("OTEL_TRACES_SAMPLER", "always_off");
    world.sync().exits(0);
    assert_eq!(collector.tokens().len(), 0, "an endpoint for traces is none for metrics");
}

#[test]
fn a_collector_that_does_not_answer_neither_fails_nor_holds_up_a_sync() {
    let mut world = World::with_accounts(1).buckets(1).build();
    // It takes connections, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, _listener) = silent.unwrap_or_else(|error| panic!("{error}"));
    world.set(ENDPOINT, &format!("http://{address}"));
    // Nobody waits for all its timeouts and repeats.
    world.sync().exits(0).says("could not send all remaining data to the OpenTelemetry collector");
    assert_eq!(world.entities(), world.expected());

    world.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    world.sync().exits(0).says("http/protobuf");
}
