//! Running fetch plans: pages, fan-out, batches, error rules, bounds.

use std::{sync::Arc, time::Duration};

use berth_core::{FetchError, FetchRequest, KindReads, One, Region};
use futures::StreamExt;
use serde_json::{Value, json};

use super::{Answer, Seen, StandIn};
use crate::support::{Read, Resync, account, kind, read, read_with, source, with_roles};

const A: &str = "111111111111";

async fn ready(aws: &StandIn) -> Resync {
    let source = source(with_roles(&aws.endpoint, &[A]));
    source.accounts().await.unwrap();
    source
}

async fn run(plan: &Value, handler: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) -> Read {
    let source = ready(&StandIn::start(handler).await).await;
    read(&source, A, &["eu-west-1"], &kind("regional", plan), &[]).await
}

/// Lists `count` clusters in pages of `size`.
fn paged(seen: &Seen, count: usize, size: usize) -> Answer {
    let from: usize = seen.input["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
    let to = (from + size).min(count);
    let arns: Vec<String> = (from..to).map(|n| format!("c{n}")).collect();
    let mut page = json!({"clusterArns": arns});
    if to < count {
        page["nextToken"] = json!(to.to_string());
    }
    Answer::json(&page)
}

fn list() -> Value {
    json!({"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"})
}

#[tokio::test]
async fn pages_become_chunks() {
    let plan = json!({"chunk": 40, "steps": [list()]});
    let found =
        run(&plan, |seen| Some(paged(seen, 100, 33)).filter(|_| seen.call == "ecs:ListClusters")).await;
    assert_eq!(found.pages, [40, 40, 20]);
    let items: Vec<Value> = found.complete().iter().map(|resource| resource["item"].clone()).collect();
    assert_eq!(items, (0..100).map(|n| json!(format!("c{n}"))).collect::<Vec<_>>());
}

#[tokio::test]
async fn reading_stays_close_to_mapping() {
    let aws =
        StandIn::start(|seen| Some(paged(seen, 5000, 50)).filter(|_| seen.call == "ecs:ListClusters")).await;
    let source = ready(&aws).await;
    let mut pages = source.fetch(FetchRequest {
        account: account(A),
        regions: vec![Region::new("eu-west-1").unwrap()],
        kind: kind("regional", &json!({"chunk": 50, "steps": [list()]})),
        options: [].into(),
        one: None,
        fresh: false,
    });
    pages.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ahead = aws.seen("ecs:ListClusters").len();
    assert!((2..=6).contains(&ahead), "{ahead} pages are read after one was taken");
    drop(pages);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(aws.seen("ecs:ListClusters").len() <= ahead + 1, "a dropped stream reads on");
}

#[tokio::test]
async fn pages_that_go_in_circles_fail() {
    let found = run(&json!({"steps": [list()]}), |seen| {
        let page = json!({"clusterArns": ["c"], "nextToken": "again"});
        (seen.call == "ecs:ListClusters").then(|| Answer::json(&page))
    })
    .await;
    assert!(
        matches!(&found.error, Some(FetchError::Failed(p)) if p.message.contains("page token")),
        "{found:?}"
    );
}

#[tokio::test]
async fn children_are_listed_under_their_parents() {
    let plan = json!({"resources": "services", "chunk": 4, "steps": [
        list(),
        {"id": "names", "each": "arns", "service": "ecs", "operation": "ListTagsForResource",
         "input": {"resourceArn": "{item}"}, "result": "tags[0].value"},
        {"id": "services", "each": "arns", "service": "ecs", "operation": "ListServices",
         "input": {"cluster": "{item}", "launchType": "{steps.names}"}, "items": "serviceArns[]",
         "errors": {"ClusterGone": "drop"}},
        {"id": "details", "batch": {"of": "services", "size": 10}, "service": "ecs",
         "operation": "DescribeServices", "result": "status",
         "input": {"cluster": "{parents.arns}", "services": "{items[]}"},
         "items": "services[]", "match": {"item": "@", "result": "serviceArn"}}]});
    let found = run(&plan, |seen| {
        let cluster = seen.input["cluster"].as_str().unwrap_or_default().to_owned();
        Some(match (seen.call.as_str(), cluster.as_str()) {
            ("ecs:ListClusters", _) => paged(seen, 5, 2),
            ("ecs:ListTagsForResource", _) => {
                let name = format!("name of {}", seen.input["resourceArn"].as_str().unwrap());
                Answer::json(&json!({"tags": [{"key": "k", "value": name}]}))
            }
            ("ecs:ListServices", "c1") => Answer::error(400, "ClusterGone"),
            ("ecs:ListServices", "c2") => Answer::error(400, "InvalidParameterException"),
            ("ecs:ListServices", cluster) => {
                assert_eq!(seen.input["launchType"], format!("name of {cluster}"));
                let page = seen.input["nextToken"].as_str().unwrap_or("0").to_owned();
                let mut answer = json!({"serviceArns": [format!("{cluster}/{page}")]});
                if page == "0" {
                    answer["nextToken"] = json!("1");
                }
                Answer::json(&answer)
            }
            ("ecs:DescribeServices", cluster) => {
                let services = seen.input["services"].as_array().unwrap();
                let described: Vec<Value> = services
                    .iter()
                    .rev()
                    .map(|arn| {
                        assert!(arn.as_str().unwrap().starts_with(cluster), "{arn} is not of {cluster}");
                        json!({"serviceArn": arn, "status": format!("status of {}", arn.as_str().unwrap())})
                    })
                    .collect();
                Answer::json(&json!({"services": described}))
            }
            _ => return None,
        })
    })
    .await;
    assert_eq!(found.error, None);
    let mut resources: Vec<String> = found
        .resources
        .iter()
        .map(|r| format!("{} {} {}", r["item"], r["parents"]["arns"], r["steps"]["details"]))
        .collect();
    resources.sort();
    let expected: Vec<String> = ["c0", "c3", "c4"]
        .iter()
        .flat_map(|c| [0, 1].map(|n| format!("\"{c}/{n}\" \"{c}\" \"status of {c}/{n}\"")))
        .collect();
    assert_eq!(resources, expected);
    assert_eq!(found.failures.len(), 1);
    assert_eq!(found.failures[0].resource, "c2");
}

#[tokio::test]
async fn batches_match_by_key_and_omit_deleted_items() {
    let unmatched = |policy: &str| {
        json!({"steps": [list(),
            {"id": "details", "batch": {"of": "arns", "size": 4}, "service": "ecs", "operation": "DescribeClusters",
             "input": {"clusters": "{items[]}"}, "items": "clusters[]",
             "match": {"item": "@", "result": "clusterArn", "unmatched": policy}}]})
    };
    let handler = |seen: &Seen| match seen.call.as_str() {
        "ecs:ListClusters" => Some(paged(seen, 10, 10)),
        "ecs:DescribeClusters" => {
            let asked = seen.input["clusters"].as_array().unwrap();
            assert!(asked.len() <= 4);
            let found = asked.iter().rev().filter(|arn| *arn != "c5");
            let found: Vec<Value> = found.map(|arn| json!({"clusterArn": arn, "clusterName": arn})).collect();
            Some(Answer::json(&json!({"clusters": found})))
        }
        _ => None,
    };
    let dropped = run(&unmatched("drop"), handler).await.complete();
    assert_eq!(dropped.len(), 9);
    assert!(dropped.iter().all(|resource| resource["steps"]["details"]["clusterName"] == resource["item"]));
    let absent = run(&unmatched("absent"), handler).await.complete();
    assert_eq!((absent.len(), &absent[5]["steps"]), (10, &json!({})));
    let failed = run(&unmatched("fail"), handler).await;
    assert_eq!((failed.resources.len(), failed.failures[0].resource.as_str()), (9, "c5"));
}

#[tokio::test]
async fn one_deleted_item_does_not_fail_its_batch() {
    // With and without a plan that drops missing items.
    for errors in [json!({}), json!({"missing": "drop"}), json!({"ClusterNotFoundException": "drop"})] {
        let plan = json!({"steps": [list(),
            {"id": "details", "batch": {"of": "arns", "size": 100}, "service": "ecs",
             "operation": "DescribeClusters", "input": {"clusters": "{items[]}"}, "items": "clusters[]",
             "match": {"item": "@", "result": "clusterArn"}, "errors": errors}]});
        let found = run(&plan, |seen| match seen.call.as_str() {
            "ecs:ListClusters" => Some(paged(seen, 16, 100)),
            "ecs:DescribeClusters" => {
                let asked = seen.input["clusters"].as_array().unwrap();
                if asked.contains(&json!("c11")) {
                    return Some(Answer::error(400, "ClusterNotFoundException"));
                }
                let found: Vec<Value> = asked.iter().map(|arn| json!({"clusterArn": arn})).collect();
                Some(Answer::json(&json!({"clusters": found})))
            }
            _ => None,
        })
        .await
        .complete();
        assert_eq!(found.len(), 15);
        assert!(found.iter().all(|resource| resource["item"] == resource["steps"]["details"]["clusterArn"]));
    }
}

#[tokio::test]
async fn the_plan_decides_about_errors() {
    let plan = json!({"steps": [list(),
        {"id": "tags", "each": "arns", "service": "ecs", "operation": "ListTagsForResource",
         "input": {"resourceArn": "{item}"}, "result": "tags[]",
         "errors": {"GoneNotFound": {"use": {"tags": [{"key": "used"}]}}, "missing": "drop", "denied": "absent",
                    "*": "absent"}}]});
    let aws = StandIn::start(|seen| match (seen.call.as_str(), seen.input["resourceArn"].as_str()) {
        ("ecs:ListClusters", _) => Some(paged(seen, 7, 10)),
        ("ecs:ListTagsForResource", Some(arn)) => Some(match arn {
            "c0" => Answer::json(&json!({"tags": [{"key": "own"}]})),
            "c1" => Answer::error(400, "GoneNotFound"),
            "c2" => Answer::error(400, "ClusterNotFoundException"),
            "c3" => Answer::error(400, "AccessDeniedException"),
            "c4" => Answer::error(400, "SomethingElse"),
            "c5" => Answer::error(400, "ThrottlingException"),
            _ => Answer::error(500, "ServerException"),
        }),
        _ => None,
    })
    .await;
    let mut config = with_roles(&aws.endpoint, &[A]);
    config.retry.attempts = 3;
    let source = source(config);
    source.accounts().await.unwrap();
    let found = read(&source, A, &["eu-west-1"], &kind("regional", &plan), &[]).await;
    assert_eq!(found.error, None);
    // Denied access and `*` hide possible results; the other rules mean that there is no result.
    assert_eq!(found.unread, [("tags".to_owned(), 2)].into());
    let found_steps: Vec<String> =
        found.resources.iter().map(|r| format!("{} {}", r["item"], r["steps"])).collect();
    assert_eq!(
        found_steps,
        [r#""c0" {"tags":[{"key":"own"}]}"#, r#""c1" {"tags":[{"key":"used"}]}"#, r#""c3" {}"#, r#""c4" {}"#,]
    );
    // A service that is too busy has not responded, whatever `*` says.
    let mut failed: Vec<&str> = found.failures.iter().map(|failure| failure.resource.as_str()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["c5", "c6"]);
}

#[tokio::test]
async fn denial_skips_the_unit_unless_the_plan_says_otherwise() {
    let plan = json!({"steps": [list(),
        {"id": "tags", "each": "arns", "service": "ecs", "operation": "ListTagsForResource",
         "input": {"resourceArn": "{item}"}, "iam": ["ecs:ReadTags"]}]});
    let found = run(&plan, |seen| match seen.call.as_str() {
        "ecs:ListClusters" => Some(paged(seen, 3, 10)),
        _ => seen.call.starts_with("ecs:").then(|| Answer::error(400, "AccessDeniedException")),
    })
    .await;
    assert!(
        matches!(&found.error, Some(FetchError::Skipped(p)) if p.to_string().contains("allow `ecs:ReadTags`"))
    );
}

#[tokio::test]
async fn options_switch_steps_on() {
    let aws = StandIn::start(|seen| match seen.call.as_str() {
        "ecs:ListClusters" => Some(paged(seen, 1, 10)),
        _ => seen.call.starts_with("ecs:").then(|| Answer::json(&json!({"tags": []}))),
    })
    .await;
    let source = ready(&aws).await;
    let kind = kind(
        "regional",
        &json!({"steps": [list(),
        {"id": "tags", "each": "arns", "service": "ecs", "operation": "ListTagsForResource", "option": "Tags",
         "input": {"resourceArn": "{item}"}}]}),
    );
    let off = read(&source, A, &["eu-west-1"], &kind, &[]).await.complete();
    assert_eq!(off[0]["steps"], json!({}));
    let on = read(&source, A, &["eu-west-1"], &kind, &["Tags"]).await.complete();
    assert_eq!(on[0]["steps"], json!({"tags": {"tags": []}}));
}

#[tokio::test]
async fn enrichments_are_bounded() {
    let plan = json!({"steps": [list(),
        {"id": "tags", "each": "arns", "service": "ecs", "operation": "ListTagsForResource",
         "input": {"resourceArn": "{item}"}}]});
    let aws = StandIn::start(|seen| match seen.call.as_str() {
        "ecs:ListClusters" => Some(paged(seen, 300, 100)),
        _ => seen
            .call
            .starts_with("ecs:")
            .then(|| Answer::json(&json!({"tags": []})).after(Duration::from_millis(10))),
    })
    .await;
    let source = ready(&aws).await;
    let found = read(&source, A, &["eu-west-1"], &kind("regional", &plan), &[]).await.complete();
    assert_eq!(found.len(), 300);
    // Ten enrichments and the page that is read ahead.
    assert!((8..=11).contains(&aws.most_in_flight()), "{}", aws.most_in_flight());
}

#[tokio::test]
async fn global_kinds_use_a_region_that_allows_access() {
    let aws = StandIn::start(|seen| match (seen.call.as_str(), seen.region.as_str()) {
        ("ecs:ListClusters", "eu-west-3") => Some(paged(seen, 2, 10)),
        ("ecs:ListClusters", _) => Some(Answer::error(400, "AccessDeniedException")),
        _ => None,
    })
    .await;
    let source = ready(&aws).await;
    let kind = kind("global", &json!({"steps": [list()]}));
    let regions = ["eu-west-1", "eu-west-2", "eu-west-3", "us-east-1"];
    assert_eq!(read(&source, A, &regions, &kind, &[]).await.complete().len(), 2);
    assert_eq!(aws.seen("ecs:ListClusters").len(), 3);
    let denied = read(&source, A, &regions[..2], &kind, &[]).await;
    assert!(matches!(denied.error, Some(FetchError::Skipped(_))), "{denied:?}");
}

#[tokio::test]
async fn the_organization_is_read_through_an_account_with_access() {
    let aws = StandIn::start(|seen| match (seen.call.as_str(), seen.key.as_str()) {
        ("organizations:ListAccounts", "ASIA222222222222") => {
            Some(Answer::json(&json!({"Accounts": [{"Id": A}, {"Id": "222222222222"}]})))
        }
        ("organizations:ListAccounts", "ASIA111111111111") => {
            Some(Answer::error(400, "AWSOrganizationsNotInUseException"))
        }
        ("organizations:ListAccounts", _) => Some(Answer::error(400, "AccessDeniedException")),
        _ => None,
    })
    .await;
    let source = source(with_roles(&aws.endpoint, &[A, "333333333333", "222222222222"]));
    source.accounts().await.unwrap();
    let kind = kind(
        "organization",
        &json!({"steps": [
            {"id": "x", "service": "organizations", "operation": "ListAccounts", "items": "Accounts[]"}]}),
    );
    let regions = ["us-east-1", "eu-west-1"];
    assert_eq!(read(&source, A, &regions, &kind, &[]).await.complete().len(), 2);
    assert_eq!(aws.seen("organizations:ListAccounts").len(), 3);
}

#[tokio::test]
async fn unknown_and_ungranted_reads_are_refused() {
    let plan = |service: &str, operation: &str| json!({"steps": [{"id": "x", "service": service, "operation": operation, "items": "x[]"}]});
    let unknown = run(&plan("ecs", "ListCluster"), |_| None).await;
    assert!(
        matches!(&unknown.error, Some(FetchError::Failed(p)) if p.message.contains("`ListClusters`")),
        "{unknown:?}"
    );
    let write = run(&plan("ecs", "DeleteCluster"), |_| None).await;
    assert!(
        matches!(&write.error, Some(FetchError::Failed(p)) if p.message.contains("no read operation")),
        "{write:?}"
    );
    let secret = run(&plan("secretsmanager", "GetSecretValue"), |_| None).await;
    assert!(
        matches!(&secret.error, Some(FetchError::Skipped(p)) if p.to_string().contains("grant")),
        "{secret:?}"
    );
}

#[tokio::test]
async fn the_account_itself_needs_no_call() {
    let aws = StandIn::start(|_| None).await;
    let source = ready(&aws).await;
    let manifest = json!({"name": "test", "version": "1.0.0", "kinds": [
        {"kind": "AWS::Account::Info", "scope": "account"}]});
    let manifest = berth_core::Manifest::parse(manifest.to_string().as_bytes()).unwrap();
    let kind = Arc::new(manifest.kinds[0].clone());
    let found = read(&source, A, &[], &kind, &[]).await.complete();
    assert_eq!(found[0]["item"], json!({"Id": A, "Name": format!("Account {A}")}));
}

/// Reads the one resource that an event names.
async fn read_one(source: &Resync, plan: &Value, resource: &str, event: &Value) -> Read {
    // Narrowed like a plan after an event; otherwise the manifest would reject the placeholders.
    let mut narrowed = kind("regional", &json!({"steps": [list()]}));
    *Arc::make_mut(&mut narrowed).plan_mut() = serde_json::from_value(plan.clone()).unwrap();
    let one = One { resource: json!(resource), event: Arc::new(event.clone()) };
    read_with(source, A, &["eu-west-1"], &narrowed, &[], Some(one)).await
}

#[tokio::test]
async fn one_resource_is_selected_from_its_list_and_read_again() {
    let plan = json!({"resources": "services", "steps": [
        {"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]",
         "only": {"path": "@", "is": "{event.cluster}"}},
        {"id": "services", "each": "arns", "service": "ecs", "operation": "ListServices",
         "input": {"cluster": "{item}"}, "items": "serviceArns[]", "only": {"path": "@", "is": "{resource}"}},
        {"id": "tags", "each": "services", "service": "ecs", "operation": "ListTagsForResource",
         "input": {"resourceArn": "{item}"}, "result": "tags"}]});
    let aws = StandIn::start(|seen| {
        Some(match seen.call.as_str() {
            "ecs:ListClusters" => paged(seen, 5, 2),
            "ecs:ListServices" => Answer::json(&json!({"serviceArns": ["s1", "s2", "s3"]})),
            "ecs:ListTagsForResource" => Answer::json(&json!({"tags": []})),
            _ => return None,
        })
    })
    .await;
    let source = ready(&aws).await;
    let event = json!({"cluster": "c3"});
    for round in 1..=2 {
        let found = read_one(&source, &plan, "s2", &event).await.complete();
        assert_eq!(found, [json!({"item": "s2", "steps": {"tags": []}, "parents": {"arns": "c3"}})]);
        for (call, times) in
            [("ecs:ListClusters", 3), ("ecs:ListServices", 1), ("ecs:ListTagsForResource", 1)]
        {
            assert_eq!(
                aws.seen(call).len(),
                times * round,
                "{call}: nothing is taken from an earlier answer"
            );
        }
    }
    assert_eq!(read_one(&source, &plan, "s9", &event).await.complete(), [Value::Null; 0]);
    // Without a value to compare with, no resource may look deleted.
    let found = read_one(&source, &plan, "s2", &json!({})).await;
    assert!(matches!(&found.error, Some(FetchError::Failed(p)) if p.message.contains("`only`")), "{found:?}");
}
