//! The metrics for Prometheus.
#![expect(clippy::expect_used, clippy::panic, reason = "a helper that fails is a test that fails")]
#![expect(clippy::float_cmp, reason = "counts are exact")]

use std::collections::{BTreeMap, BTreeSet};

use berth_e2e::World;
use serde_json::json;

use crate::service::{Service, listen, reported, slow_down, wait_for};

/// A page as a strict reader takes it: the value of each series.
struct Page(BTreeMap<String, f64>);

impl Page {
    /// Reads a page. Panics on whatever Prometheus would refuse, or only tolerates.
    fn read(page: &str, open_metrics: bool) -> Self {
        let lines = page.strip_suffix("# EOF\n").expect("the page ends with its end");
        let (mut names, mut series) = (BTreeSet::new(), BTreeMap::new());
        let (mut name, mut kind) = ("", "");
        for line in lines.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (new, text) = help.split_once(' ').expect("a help text");
                assert!(names.insert(new), "{new} is told twice");
                assert!(is_name(new) && text.ends_with('.'), "{line}");
                (name, kind) = (new, "");
            } else if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (typed, new) = declared.split_once(' ').expect("a type");
                assert_eq!((typed, kind), (name, ""), "one type after its help: {line}");
                assert!(["gauge", "counter"].contains(&new), "{line}");
                let counts = name.ends_with("_total");
                assert_eq!(counts, new == "counter" && !open_metrics, "{line}");
                kind = new;
            } else {
                assert!(!line.starts_with('#') && !kind.is_empty(), "{line}");
                let (key, value) = line.rsplit_once(' ').expect("a value");
                let ending = if open_metrics && kind == "counter" { "_total" } else { "" };
                let labels = key.strip_prefix(name).and_then(|rest| rest.strip_prefix(ending)).expect(line);
                check_labels(labels);
                let value: f64 = value.parse().expect(line);
                assert!(value.is_finite() && value >= 0.0, "{line}");
                assert!(series.insert(key.to_owned(), value).is_none(), "{line} is there twice");
            }
        }
        Self(series)
    }

    fn value(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// All series of a name added up.
    fn sum(&self, name: &str) -> f64 {
        let of_name = |key: &&String| key.split('{').next() == Some(name);
        self.0.iter().filter(|(key, _)| of_name(key)).map(|(_, value)| value).sum()
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(plain) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// `{name="value",…}`, or nothing; no name twice, quotes inside values escaped.
fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let mut rest = labels.strip_prefix('{').and_then(|l| l.strip_suffix('}')).expect(labels);
    let mut names = BTreeSet::new();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").expect(labels);
        assert!(is_name(name) && names.insert(name), "{labels}");
        let mut escaped = false;
        let end = value
            .find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            })
            .expect(labels);
        rest = &value[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

#[test]
fn the_page_shows_the_names_of_the_contract_and_ours_to_a_strict_reader() {
    let mut world = World::with_accounts(1).buckets(1).instances(1).build();
    listen(&mut world, &json!({"type": "POLLING", "interval": 1}));
    let service = Service::start(&world);
    let first = Page::read(&service.ask("GET", "/metrics").1, false);
    assert_eq!(first.value(&format!(r#"berth_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"))), 1.0);
    wait_for("the first resync", || reported(&world).len() == 2);
    // The second lasts long enough to be looked at while it runs.
    slow_down(&world);
    world.port().request_resync("aws-e2e");
    wait_for("the second resync", || reported(&world).len() == 4);
    wait_for("its metrics", || {
        service.ask("GET", "/metrics").1.contains("berth_resyncs_total{outcome=\"done\"} 2")
    });
    let (head, page) = service.ask_for("GET", "/metrics", "*/*");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let page = Page::read(&page, false);

    for (series, value) in [
        (r#"object_count{kind="AWS::EC2::Instance",phase="extract",object_count_type="raw_extracted"}"#, 2.0),
        (r#"object_count{kind="AWS::S3::Bucket",phase="transform",object_count_type="transformed"}"#, 2.0),
        (r#"object_count{kind="AWS::S3::Bucket",phase="load",object_count_type="skipped"}"#, 2.0),
        (r#"object_count{kind="AWS::S3::Bucket",phase="load",object_count_type="loaded"}"#, 0.0),
        (r#"success{kind="__runtime__",phase="resync"}"#, 1.0),
        (r#"success{kind="__reconciliation__",phase="delete"}"#, 1.0),
        (r#"berth_units{kind="AWS::EC2::Instance",state="complete"}"#, 2.0),
        (r#"berth_units{kind="AWS::EC2::Instance",state="failed"}"#, 0.0),
        ("berth_resync_running", 0.0),
        ("berth_plugins_refused", 0.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    for above_zero in [
        r#"duration_seconds{kind="__runtime__",phase="resync"}"#,
        r#"duration_seconds{kind="AWS::S3::Bucket",phase="resync"}"#,
        r#"cpu_max_percent{kind="__runtime__"}"#,
        r#"memory_max_bytes{kind="__runtime__"}"#,
        r#"memory_avg_bytes{kind="__runtime__"}"#,
        r#"memory_median_bytes{kind="__runtime__"}"#,
        r#"event_loop_latency_max_ms{kind="__runtime__"}"#,
        r#"response_size_total_bytes{kind="AWS::EC2::Instance"}"#,
        r#"response_size_avg_bytes{kind="AWS::EC2::Instance"}"#,
        r#"response_size_median_bytes{kind="AWS::EC2::Instance"}"#,
        r#"berth_aws_requests_total{service="ec2",operation="DescribeInstances"}"#,
        r#"berth_port_requests_total{call="upsert entities"}"#,
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "berth_resync_last_end_seconds",
    ] {
        assert!(page.value(above_zero) > 0.0, "{above_zero}");
    }
    page.value(r#"rate_limit_wait_seconds{kind="__runtime__",phase="load",endpoint="port"}"#);
    assert!(page.sum("berth_plugin_seconds_total") > 0.0);
    assert!(page.sum("berth_plugin_batches_total") >= 8.0, "two resyncs of two kinds in two regions");
    assert!(page.sum("berth_plugin_peak_memory_bytes") > 0.0);
    let account = format!(r#"berth_account_units{{account="{}",state="complete"}}"#, world.accounts()[0]);
    assert!(page.value(&account) >= 4.0);

    let (head, page) = service.ask_for("GET", "/metrics/", "application/openmetrics-text; version=1.0.0");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(Page::read(&page, true).value(r#"berth_resyncs_total{outcome="done"}"#) >= 2.0);
}
