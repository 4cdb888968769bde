//! Tests against moto: the source reads the same data as boto3.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use berth_core::KindManifest;
use serde_json::{Value, json};

use crate::support::{account, kind, read, source, with_roles};

struct Moto {
    server: Child,
    endpoint: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The interpreter that has moto and boto3.
pub(crate) fn python() -> PathBuf {
    std::env::var_os("BERTH_TEST_PYTHON").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/venv/bin/python")),
        PathBuf::from,
    )
}

fn moto() -> Moto {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new(python())
        .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{}: {error}; run `cargo xtask venv` or set BERTH_TEST_PYTHON", python().display())
        });
    let moto = Moto { server, endpoint: format!("http://127.0.0.1:{port}") };
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_mins(1), "moto does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    moto
}

fn seeded(moto: &Moto) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/boto.py");
    let output = Command::new(python()).args([script, &moto.endpoint]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Sorted, since neither side guarantees an order across batches.
fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(ToString::to_string);
    values
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

fn reservations() -> Arc<KindManifest> {
    kind(
        "regional",
        &json!({"steps": [{"id": "reservations", "service": "ec2", "operation": "DescribeInstances",
            "items": "Reservations[]"}]}),
    )
}

fn clusters() -> Arc<KindManifest> {
    kind(
        "regional",
        &json!({"chunk": 7, "steps": [
            {"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"},
            {"id": "details", "batch": {"of": "arns", "size": 5}, "service": "ecs", "operation": "DescribeClusters",
             "input": {"clusters": "{items[]}",
                       "include": ["TAGS", "ATTACHMENTS", "SETTINGS", "CONFIGURATIONS", "STATISTICS"]},
             "items": "clusters[]", "match": {"item": "@", "result": "clusterArn"}}]}),
    )
}

fn services() -> Arc<KindManifest> {
    kind(
        "regional",
        &json!({"resources": "services", "steps": [
            {"id": "clusters", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"},
            {"id": "services", "each": "clusters", "service": "ecs", "operation": "ListServices",
             "input": {"cluster": "{item}"}, "items": "serviceArns[]"},
            {"id": "details", "batch": {"of": "services", "size": 10}, "service": "ecs",
             "operation": "DescribeServices", "result": "serviceName",
             "input": {"cluster": "{parents.clusters}", "services": "{items[]}"},
             "items": "services[]", "match": {"item": "@", "result": "serviceArn"}}]}),
    )
}

fn buckets() -> Arc<KindManifest> {
    kind(
        "global",
        &json!({"steps": [
            {"id": "buckets", "service": "s3", "operation": "ListBuckets", "items": "Buckets[]"},
            {"id": "tags", "each": "buckets", "service": "s3", "operation": "GetBucketTagging",
             "input": {"Bucket": "{item.Name}"}, "region": "{item.BucketRegion}", "result": "TagSet",
             "errors": {"NoSuchTagSet": {"use": {"TagSet": []}}}},
            {"id": "location", "each": "buckets", "service": "s3", "operation": "GetBucketLocation",
             "input": {"Bucket": "{item.Name}"}, "result": "LocationConstraint"}]}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_read_the_same_data_as_boto3() {
    let moto = moto();
    let expected = seeded(&moto);
    let accounts = ["111111111111", "222222222222"];
    let source = source(with_roles(&moto.endpoint, &accounts));
    for access in source.accounts().await.unwrap() {
        access.access.unwrap();
    }
    for account in accounts {
        for region in ["us-east-1", "eu-west-1"] {
            let expected = &expected[account][region];
            let found = read(&source, account, &[region], &reservations(), &[]).await.complete();
            let items: Vec<Value> = found.iter().map(|resource| resource["item"].clone()).collect();
            assert_eq!(sorted(items), sorted(list(&expected["reservations"])));

            let found = read(&source, account, &[region], &clusters(), &[]).await;
            assert_eq!(found.pages, [7, 5]);
            let details: Vec<Value> =
                found.complete().iter().map(|resource| resource["steps"]["details"].clone()).collect();
            assert_eq!(sorted(details), sorted(list(&expected["clusters"])));

            let found = read(&source, account, &[region], &services(), &[]).await.complete();
            let pairs = found
                .iter()
                .map(|resource| {
                    let name = resource["steps"]["details"].as_str().unwrap();
                    assert!(resource["item"].as_str().unwrap().ends_with(name));
                    json!({"cluster": resource["parents"]["clusters"], "service": resource["item"]})
                })
                .collect();
            assert_eq!(sorted(pairs), sorted(list(&expected["services"])));
        }
        let found = read(&source, account, &["us-east-1"], &buckets(), &[]).await.complete();
        let found = found
            .iter()
            .map(|resource| {
                let steps = &resource["steps"];
                json!({"bucket": resource["item"], "tags": steps["tags"], "location": steps["location"]})
            })
            .collect();
        assert_eq!(sorted(found), sorted(list(&expected[account]["buckets"])));
    }
    // Both ECS kinds list the clusters of an account and region; only one sends the request.
    let lists = source.stats().calls["ecs:ListClusters"];
    assert_eq!((lists.requests, lists.shared), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn regions_come_from_ec2_if_the_account_service_fails() {
    let moto = moto();
    let source = source(with_roles(&moto.endpoint, &["111111111111"]));
    source.accounts().await.unwrap();
    let regions = source.regions(&account("111111111111")).await.unwrap();
    let names: Vec<&str> = regions.iter().map(berth_core::Region::as_str).collect();
    assert!(names.contains(&"us-east-1") && names.contains(&"eu-west-1") && names.is_sorted(), "{names:?}");
    // Moto ignores the filter and always lists these.
    assert!(!names.contains(&"me-south-1"), "what nobody opted in to is not enabled: {names:?}");
    let stats = source.stats();
    assert_eq!(stats.calls["account:ListRegions"].requests, 1);
    assert_eq!(stats.calls["ec2:DescribeRegions"].requests, 1);
}
