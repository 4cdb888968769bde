//! A denial affects only the resource that was requested.

use berth_core::FetchError;
use serde_json::{Value, json};

use super::{Answer, Seen, StandIn};
use crate::support::{Read, kind, read, source, with_roles};

const A: &str = "111111111111";

async fn run(
    plan: &Value,
    handler: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static,
) -> (StandIn, Read) {
    let aws = StandIn::start(handler).await;
    let source = source(with_roles(&aws.endpoint, &[A]));
    source.accounts().await.unwrap();
    let found = read(&source, A, &["eu-west-1"], &kind("regional", plan), &[]).await;
    (aws, found)
}

fn clusters(count: usize) -> Answer {
    let arns: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
    Answer::json(&json!({"clusterArns": arns}))
}

fn denied() -> Answer {
    Answer::error(400, "AccessDeniedException")
}

fn list() -> Value {
    json!({"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"})
}

fn tags(errors: &Value) -> Value {
    json!({"id": "tags", "each": "arns", "service": "ecs", "operation": "ListTagsForResource",
           "input": {"resourceArn": "{item}"}, "result": "tags[]", "errors": errors})
}

fn described(errors: &Value) -> Value {
    json!({"id": "details", "batch": {"of": "arns", "size": 100}, "service": "ecs",
           "operation": "DescribeClusters", "input": {"clusters": "{items[]}"}, "items": "clusters[]",
           "match": {"item": "@", "result": "clusterArn"}, "errors": errors})
}

fn failed(found: &Read) -> Vec<&str> {
    let mut failed: Vec<&str> = found.failures.iter().map(|failure| failure.resource.as_str()).collect();
    failed.sort_unstable();
    failed
}

#[tokio::test]
async fn one_denied_item_fails_one_resource() {
    let plan = json!({"steps": [list(), tags(&json!({}))]});
    let (_, found) = run(&plan, |seen| match (seen.call.as_str(), seen.input["resourceArn"].as_str()) {
        ("ecs:ListClusters", _) => Some(clusters(5)),
        ("ecs:ListTagsForResource", Some("c3")) => Some(denied()),
        ("ecs:ListTagsForResource", _) => Some(Answer::json(&json!({"tags": []}))),
        _ => None,
    })
    .await;
    assert_eq!((found.error.clone(), found.resources.len(), failed(&found)), (None, 4, vec!["c3"]));
    assert!(found.failures[0].problem.to_string().contains("allow `ecs:ListTagsForResource`"));
}

#[tokio::test]
async fn one_denied_item_of_a_batch_is_found_by_halving() {
    for (errors, absent) in [(json!({}), false), (json!({"denied": "absent"}), true)] {
        let plan = json!({"steps": [list(), described(&errors)]});
        let (aws, found) = run(&plan, |seen| match seen.call.as_str() {
            "ecs:ListClusters" => Some(clusters(16)),
            "ecs:DescribeClusters" => {
                let asked = seen.input["clusters"].as_array().unwrap();
                if asked.contains(&json!("c11")) {
                    return Some(denied());
                }
                let found: Vec<Value> = asked.iter().map(|arn| json!({"clusterArn": arn})).collect();
                Some(Answer::json(&json!({"clusters": found})))
            }
            _ => None,
        })
        .await;
        assert_eq!(found.error, None);
        assert_eq!(found.resources.len(), if absent { 16 } else { 15 });
        assert_eq!(failed(&found), if absent { vec![] } else { vec!["c11"] });
        assert_eq!(found.unread.get("details").copied(), absent.then_some(1));
        assert_eq!(aws.seen("ecs:DescribeClusters").len(), 9);
    }
}

#[tokio::test]
async fn a_fully_denied_batch_is_split_once() {
    let plan = json!({"chunk": 8, "steps": [list(), described(&json!({}))]});
    let (aws, found) = run(&plan, |seen| match seen.call.as_str() {
        "ecs:ListClusters" => Some(clusters(80)),
        "ecs:DescribeClusters" => Some(denied()),
        _ => None,
    })
    .await;
    assert_eq!(found.failures.len(), 80);
    let Some(FetchError::Skipped(problem)) = &found.error else { panic!("{found:?}") };
    assert!(problem.message.starts_with("none of 80 resources can be read"), "{problem}");
    // Two batches are enriched at once; each of them may be the first.
    let calls = aws.seen("ecs:DescribeClusters").len();
    assert!((15 + 9..=2 * 15 + 8).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn a_denied_list_of_children_fails_its_parent() {
    let plan = json!({"resources": "services", "steps": [list(),
        {"id": "services", "each": "arns", "service": "ecs", "operation": "ListServices",
         "input": {"cluster": "{item}"}, "items": "serviceArns[]"}]});
    let (_, found) = run(&plan, |seen| match (seen.call.as_str(), seen.input["cluster"].as_str()) {
        ("ecs:ListClusters", _) => Some(clusters(3)),
        ("ecs:ListServices", Some("c1")) => Some(denied()),
        ("ecs:ListServices", _) => Some(Answer::json(&json!({"serviceArns": []}))),
        _ => None,
    })
    .await;
    assert_eq!((found.error.clone(), found.resources.len(), failed(&found)), (None, 0, vec!["c1"]));
}

#[tokio::test]
async fn the_result_of_a_denied_option_is_unknown() {
    // Also for the children of a parent, and if the plan sets a value to map with.
    let plan = json!({"resources": "services", "steps": [list(),
        tags(&json!({"denied": {"use": {"tags": [{"key": "none"}]}}})),
        {"id": "services", "each": "arns", "service": "ecs", "operation": "ListServices",
         "input": {"cluster": "{item}"}, "items": "serviceArns[]"}]});
    let (_, found) = run(&plan, |seen| match (seen.call.as_str(), seen.input["cluster"].as_str()) {
        ("ecs:ListClusters", _) => Some(clusters(2)),
        ("ecs:ListTagsForResource", _) if seen.input["resourceArn"] == "c0" => Some(denied()),
        ("ecs:ListTagsForResource", _) => Some(Answer::json(&json!({"tags": [{"key": "own"}]}))),
        ("ecs:ListServices", Some(cluster)) => {
            Some(Answer::json(&json!({"serviceArns": [format!("{cluster}/s0"), format!("{cluster}/s1")]})))
        }
        _ => None,
    })
    .await;
    assert_eq!((found.error.clone(), found.failures.len()), (None, 0));
    assert_eq!(found.unread, [("tags".to_owned(), 2)].into());
    let mut names: Vec<String> =
        found.resources.iter().map(|r| format!("{} {}", r["item"], r["steps"]["tags"][0]["key"])).collect();
    names.sort_unstable();
    assert_eq!(names, [r#""c0/s0" "none""#, r#""c0/s1" "none""#, r#""c1/s0" "own""#, r#""c1/s1" "own""#]);
}
