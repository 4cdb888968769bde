//! Completeness: a resource that may still exist never looks deleted.

use std::{sync::Arc, time::Duration};

use berth_aws::AwsConfig;
use berth_core::{FetchError, FetchRequest, KindManifest, KindReads, Region};
use serde_json::{Value, json};

use super::{Answer, Seen, StandIn};
use crate::support::{Read, Resync, account, fetch, kind, read, source, with_roles};

const A: &str = "111111111111";
const B: &str = "222222222222";

async fn ready(config: AwsConfig) -> Resync {
    let source = source(config);
    source.accounts().await.unwrap();
    source
}

async fn run(
    plan: &Value,
    handler: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static,
) -> (StandIn, Read) {
    run_with(plan, |_| {}, handler).await
}

/// Runs a plan with other settings.
async fn run_with(
    plan: &Value,
    set: impl Fn(&mut AwsConfig),
    handler: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static,
) -> (StandIn, Read) {
    let aws = StandIn::start(handler).await;
    let mut config = with_roles(&aws.endpoint, &[A]);
    set(&mut config);
    let source = ready(config).await;
    let found = read(&source, A, &["eu-west-1"], &kind("regional", plan), &[]).await;
    (aws, found)
}

fn list() -> Value {
    json!({"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"})
}

fn services() -> Value {
    json!({"id": "services", "each": "arns", "service": "ecs", "operation": "ListServices",
           "input": {"cluster": "{item}"}, "items": "serviceArns[]", "errors": {"missing": "drop"}})
}

#[track_caller]
fn assert_failed(found: &Read, message: &str) {
    assert!(
        matches!(&found.error, Some(FetchError::Failed(p)) if p.to_string().contains(message)),
        "{found:?}"
    );
}

#[tokio::test]
async fn an_answer_without_its_list_is_an_error() {
    let plan = json!({"steps": [list()]});
    let (_, found) =
        run(&plan, |seen| (seen.call == "ecs:ListClusters").then(|| Answer::json(&json!({})))).await;
    assert_failed(&found, "no list `clusterArns[]`");
    let (_, found) = run(&plan, |seen| {
        (seen.call == "ecs:ListClusters").then(|| Answer::json(&json!({"clusterArns": []})))
    })
    .await;
    assert_eq!(found.complete(), [Value::Null; 0]);

    let volumes = json!({"steps": [
        {"id": "volumes", "service": "ec2", "operation": "DescribeVolumes", "items": "Volumes[]"}]});
    let answer = |inside: &str| {
        Answer::text(
            200,
            format!("<DescribeVolumesResponse><requestId>x</requestId>{inside}</DescribeVolumesResponse>"),
        )
    };
    let (_, found) =
        run(&volumes, move |seen| (seen.call == "ec2:DescribeVolumes").then(|| answer(""))).await;
    assert_failed(&found, "no list `Volumes[]`");
    let (_, found) =
        run(&volumes, move |seen| (seen.call == "ec2:DescribeVolumes").then(|| answer("<volumeSet/>"))).await;
    assert_eq!(found.complete(), [Value::Null; 0]);
}

#[tokio::test]
async fn a_plan_may_declare_that_an_empty_list_is_omitted() {
    let mut plan = json!({"steps": [
        {"id": "queues", "service": "sqs", "operation": "ListQueues", "items": "QueueUrls[]", "empty": "omitted"}]});
    let handler = |seen: &Seen| (seen.call == "sqs:ListQueues").then(|| Answer::json(&json!({})));
    assert_eq!(run(&plan, handler).await.1.complete(), [Value::Null; 0]);
    plan["steps"][0]["empty"] = Value::Null;
    assert_failed(&run(&plan, handler).await.1, "no list `QueueUrls[]`");
}

#[tokio::test]
async fn lists_of_parents_and_of_enrichments_must_be_complete_too() {
    let plan = json!({"resources": "services", "steps": [list(), services(),
        {"id": "tags", "each": "services", "service": "iam", "operation": "ListRoleTags",
         "input": {"RoleName": "{item}"}, "items": "Tags[]"}]});
    let (_, found) = run(&plan, |seen| {
        Some(match (seen.call.as_str(), seen.input["cluster"].as_str(), seen.input["RoleName"].as_str()) {
            ("ecs:ListClusters", ..) => Answer::json(&json!({"clusterArns": ["whole", "cut", "gone"]})),
            ("ecs:ListServices", Some("whole"), _) => Answer::json(&json!({"serviceArns": ["s1", "s2"]})),
            ("ecs:ListServices", Some("gone"), _) => Answer::error(400, "ClusterNotFoundException"),
            ("ecs:ListServices", ..) => Answer::json(&json!({})),
            ("iam:ListRoleTags", _, role) => {
                let tags = if role == Some("s1") { "<Tags/>" } else { "" };
                Answer::text(
                    200,
                    format!("<ListRoleTagsResponse><ListRoleTagsResult>{tags}<IsTruncated>false</IsTruncated></ListRoleTagsResult></ListRoleTagsResponse>"),
                )
            }
            _ => return None,
        })
    })
    .await;
    assert_eq!(found.error, None);
    assert_eq!(found.resources.len(), 1);
    assert_eq!(found.resources[0]["steps"]["tags"], json!([]));
    let mut failed: Vec<&str> = found.failures.iter().map(|failure| failure.resource.as_str()).collect();
    failed.sort_unstable();
    assert_eq!(failed, ["cut", "s2"]);
}

#[tokio::test]
async fn a_truncated_list_without_a_token_fails() {
    let plan =
        json!({"steps": [{"id": "users", "service": "iam", "operation": "ListUsers", "items": "Users[]"}]});
    let (_, found) = run(&plan, |seen| {
        let user = "<member><UserName>u</UserName></member>";
        (seen.call == "iam:ListUsers").then(|| Answer::text(200, format!("<ListUsersResponse><ListUsersResult><IsTruncated>true</IsTruncated><Users>{user}</Users></ListUsersResult></ListUsersResponse>")))
    })
    .await;
    assert_failed(&found, "`IsTruncated`");
}

#[tokio::test]
async fn page_tokens_in_a_circle_fail_after_few_calls() {
    let next = |seen: &Seen| match seen.input["nextToken"].as_str() {
        None | Some("C") => "A",
        Some("A") => "B",
        Some(_) => "C",
    };
    let plan = json!({"steps": [list()]});
    let (aws, found) = run(&plan, move |seen| {
        let page = json!({"clusterArns": ["c"], "nextToken": next(seen)});
        (seen.call == "ecs:ListClusters").then(|| Answer::json(&page))
    })
    .await;
    assert_failed(&found, "the page token `");
    assert_eq!(aws.seen("ecs:ListClusters").len(), 4);

    // The pages of one parent's children, and those of an enrichment.
    let plan = json!({"resources": "services", "steps": [list(), services()]});
    let (_, found) = run(&plan, move |seen| {
        let page = json!({"serviceArns": ["s"], "nextToken": next(seen)});
        Some(match seen.call.as_str() {
            "ecs:ListClusters" => Answer::json(&json!({"clusterArns": ["c"]})),
            "ecs:ListServices" => Answer::json(&page),
            _ => return None,
        })
    })
    .await;
    assert_eq!((found.error, found.failures[0].resource.as_str()), (None, "c"));
    let plan = json!({"steps": [list(),
        {"id": "services", "each": "arns", "service": "ecs", "operation": "ListServices",
         "input": {"cluster": "{item}"}, "items": "serviceArns[]"}]});
    let (_, found) = run(&plan, move |seen| {
        let page = json!({"serviceArns": ["s"], "nextToken": next(seen)});
        Some(match seen.call.as_str() {
            "ecs:ListClusters" => Answer::json(&json!({"clusterArns": ["c"]})),
            "ecs:ListServices" => Answer::json(&page),
            _ => return None,
        })
    })
    .await;
    assert_eq!((found.resources.len(), found.failures.len()), (0, 1));
    assert!(found.failures[0].problem.message.contains("page token"), "{found:?}");
}

#[tokio::test]
async fn lists_and_units_are_bounded() {
    let plan = json!({"chunk": 2, "steps": [list()]});
    let endless = |seen: &Seen| {
        let page = json!({"clusterArns": ["c"], "nextToken": seen.before.to_string()});
        (seen.call == "ecs:ListClusters").then(|| Answer::json(&page).after(Duration::from_millis(20)))
    };
    let (aws, found) = run_with(&plan, |config| config.max_pages_per_list = 5, endless).await;
    assert_failed(&found, "`max_pages_per_list`");
    assert_eq!(aws.seen("ecs:ListClusters").len(), 5);
    let (_, found) =
        run_with(&plan, |config| config.unit_deadline = Duration::from_millis(300), endless).await;
    assert_failed(&found, "`unit_deadline_seconds`");
    assert!(!found.resources.is_empty(), "what was read before is handed over");
}

#[tokio::test]
async fn only_the_first_page_can_report_an_empty_list() {
    let plan = json!({"resources": "services", "steps": [list(), services()]});
    let (_, found) = run(&plan, |seen| {
        Some(match (seen.call.as_str(), seen.input["nextToken"].as_str()) {
            ("ecs:ListClusters", _) => Answer::json(&json!({"clusterArns": ["c"]})),
            ("ecs:ListServices", None) => Answer::json(&json!({"serviceArns": ["s1"], "nextToken": "t"})),
            ("ecs:ListServices", _) => Answer::error(400, "ClusterNotFoundException"),
            _ => return None,
        })
    })
    .await;
    assert_eq!((found.resources.len(), found.failures.len()), (1, 1));
    assert_eq!(found.failures[0].resource, "c");
}

#[tokio::test]
async fn a_batch_reports_missing_and_failed_items() {
    let details = |matching: Value| {
        json!({"steps": [list(),
            {"id": "details", "batch": {"of": "arns", "size": 100}, "service": "ecs", "operation": "DescribeClusters",
             "input": {"clusters": "{items[]}"}, "items": "clusters[]", "match": matching}]})
    };
    let handler = |seen: &Seen| {
        Some(match seen.call.as_str() {
            "ecs:ListClusters" => {
                Answer::json(&json!({"clusterArns": ["here", "gone", "busy", "odd", "unmentioned"]}))
            }
            "ecs:DescribeClusters" => Answer::json(&json!({
                "clusters": [{"clusterArn": "here"}],
                "failures": [{"arn": "gone", "reason": "MISSING"}, {"arn": "busy", "reason": "MISSING"},
                             {"arn": "busy", "reason": "THROTTLED"},
                             {"arn": "odd"}]})),
            _ => return None,
        })
    };
    let failures = json!({"items": "failures[]", "key": "arn", "reason": "reason", "missing": ["MISSING"]});
    let plan = details(json!({"item": "@", "result": "clusterArn", "failures": failures}));
    let (_, found) = run(&plan, handler).await;
    assert_eq!((found.resources.len(), &found.resources[0]["item"]), (1, &json!("here")));
    let failed: Vec<(&str, &str)> = (found.failures.iter())
        .map(|failure| (failure.resource.as_str(), failure.problem.message.as_str()))
        .collect();
    assert_eq!(
        failed,
        [
            ("busy", "`ecs:DescribeClusters` reports a failure for busy: THROTTLED"),
            ("odd", "`ecs:DescribeClusters` reports a failure for odd: no reason given"),
            ("unmentioned", "`ecs:DescribeClusters` does not mention unmentioned: it may or may not exist"),
        ]
    );
    // Without reasons, every entry of the list of failures does not exist.
    let failures = json!({"items": "failures[]", "key": "arn"});
    let plan =
        details(json!({"item": "@", "result": "clusterArn", "failures": failures, "unmatched": "absent"}));
    let (_, found) = run(&plan, handler).await;
    let items: Vec<Value> = found.complete().iter().map(|resource| resource["item"].clone()).collect();
    assert_eq!(items, [json!("here"), json!("unmentioned")]);
    // By default, nothing is dropped.
    let (_, found) = run(&details(json!({"item": "@", "result": "clusterArn"})), handler).await;
    assert_eq!((found.resources.len(), found.failures.len()), (1, 4));
}

#[tokio::test]
async fn a_failure_wins_over_a_drop() {
    let step = |id: &str, operation: &str, input: &str| {
        json!({"id": id, "each": "arns", "service": "ecs", "operation": operation, "input": {input: "{item}"},
               "errors": {"missing": "drop"}})
    };
    for (dropping, failing) in
        [("ListTagsForResource", "ListAttributes"), ("ListAttributes", "ListTagsForResource")]
    {
        let plan = json!({"steps": [list(), step("tags", "ListTagsForResource", "resourceArn"),
            step("attributes", "ListAttributes", "cluster")]});
        let (_, found) = run(&plan, move |seen| {
            Some(match seen.call.strip_prefix("ecs:")? {
                "ListClusters" => Answer::json(&json!({"clusterArns": ["c"]})),
                call if call == dropping => Answer::error(400, "ResourceNotFoundException"),
                call if call == failing => {
                    Answer::error(400, "SomethingElse").after(Duration::from_millis(50))
                }
                _ => return None,
            })
        })
        .await;
        assert_eq!((found.resources.len(), found.failures.len()), (0, 1), "{failing} fails");
    }
}

#[tokio::test]
async fn a_bare_404_does_not_mean_that_a_resource_is_gone() {
    let plan = json!({"steps": [
        {"id": "clusters", "service": "eks", "operation": "ListClusters", "items": "clusters[]"},
        {"id": "describe", "each": "clusters", "service": "eks", "operation": "DescribeCluster",
         "input": {"name": "{item}"}, "result": "cluster", "errors": {"missing": "drop"}}]});
    let (_, found) = run(&plan, |seen| {
        Some(match seen.call.as_str() {
            "eks:/clusters" => Answer::json(&json!({"clusters": ["proxied", "gone"]})),
            "eks:/clusters/gone" => {
                Answer::text(404, "{}").header("x-amzn-errortype", "ResourceNotFoundException")
            }
            "eks:/clusters/proxied" => Answer::text(404, "<html>no such page</html>"),
            _ => return None,
        })
    })
    .await;
    assert_eq!((found.resources.len(), found.failures.len()), (0, 1));
    assert_eq!(found.failures[0].resource, "proxied");
}

#[tokio::test]
async fn an_organization_is_missing_only_if_every_account_reports_it() {
    let kind = kind(
        "organization",
        &json!({"steps": [
            {"id": "accounts", "service": "organizations", "operation": "ListAccounts", "items": "Accounts[]",
             "errors": {"AWSOrganizationsNotInUseException": "drop"}}]}),
    );
    let found = async |second: fn() -> Answer| {
        let aws = StandIn::start(move |seen| {
            let by_first = seen.key == format!("ASIA{A}");
            (seen.call == "organizations:ListAccounts").then(|| {
                if by_first { Answer::error(400, "AWSOrganizationsNotInUseException") } else { second() }
            })
        })
        .await;
        let source = ready(with_roles(&aws.endpoint, &[A, B])).await;
        read(&source, A, &["us-east-1"], &kind, &[]).await
    };
    let listed = found(|| Answer::json(&json!({"Accounts": [{"Id": B}]}))).await;
    assert_eq!(listed.complete().len(), 1);
    assert_eq!(found(|| Answer::error(400, "AWSOrganizationsNotInUseException")).await.complete().len(), 0);
    let denied = found(|| Answer::error(400, "AccessDeniedException")).await;
    assert!(matches!(denied.error, Some(FetchError::Skipped(_))), "{denied:?}");
}

#[tokio::test]
async fn a_partial_list_of_the_organizations_accounts_is_an_error() {
    let accounts = async |answer: fn(&Seen) -> Value| {
        let aws = StandIn::start(move |seen| {
            (seen.call == "organizations:ListAccounts").then(|| Answer::json(&answer(seen)))
        })
        .await;
        let role = Some(format!("arn:aws:iam::{A}:role/Reader"));
        let source = source(AwsConfig { account_role_arn: role, ..with_roles(&aws.endpoint, &[]) });
        source.accounts().await.map(|accounts| accounts.len()).map_err(|problem| problem.message)
    };
    let whole = accounts(|_| json!({"Accounts": [{"Id": A, "Status": "ACTIVE"}]})).await;
    assert_eq!(whole, Ok(1));
    assert!(accounts(|_| json!({})).await.unwrap_err().contains("no list `Accounts[]`"));
    assert!(
        accounts(|_| json!({"Accounts": [{"Id": A}, {"Name": "x"}]})).await.unwrap_err().contains("`Id`")
    );
    let circle = |seen: &Seen| {
        let next = if seen.input["NextToken"] == "x" { "y" } else { "x" };
        json!({"Accounts": [], "NextToken": next})
    };
    assert!(accounts(circle).await.unwrap_err().contains("page token"));
}

/// A unit of clusters with their tags.
fn clusters() -> Arc<KindManifest> {
    let plan = json!({"resources": "services", "steps": [list(),
        {"id": "names", "each": "arns", "service": "ecs", "operation": "ListTagsForResource",
         "input": {"resourceArn": "{item}"}, "result": "tags[0].value"},
        {"id": "services", "each": "arns", "service": "ecs", "operation": "ListServices",
         "input": {"cluster": "{steps.names}"}, "items": "serviceArns[]"},
        {"id": "details", "batch": {"of": "services", "size": 10}, "service": "ecs", "operation": "DescribeServices",
         "input": {"cluster": "{parents.arns}", "services": "{items[]}"}, "items": "services[]",
         "match": {"item": "@", "result": "serviceArn"}}]});
    kind("regional", &plan)
}

#[tokio::test]
async fn a_fresh_request_bypasses_the_cache_and_a_list_only_plan_does_not_enrich() {
    let aws = StandIn::start(|seen| {
        Some(match seen.call.as_str() {
            "ecs:ListClusters" => Answer::json(&json!({"clusterArns": ["c"]})),
            "ecs:ListTagsForResource" => Answer::json(&json!({"tags": [{"key": "k", "value": "name"}]})),
            "ecs:ListServices" => Answer::json(&json!({"serviceArns": ["s"]})),
            "ecs:DescribeServices" => Answer::json(&json!({"services": [{"serviceArn": "s"}]})),
            _ => return None,
        })
    })
    .await;
    let source = ready(with_roles(&aws.endpoint, &[A])).await;
    let request = |kind: &Arc<KindManifest>, fresh: bool| FetchRequest {
        account: account(A),
        regions: vec![Region::new("eu-west-1").unwrap()],
        kind: kind.clone(),
        options: [].into(),
        one: None,
        fresh,
    };
    let calls = || {
        ["ListClusters", "ListTagsForResource", "ListServices", "DescribeServices"]
            .map(|operation| aws.seen(&format!("ecs:{operation}")).len())
    };
    let kind = clusters();
    let whole = fetch(&source, request(&kind, false)).await.complete();
    assert_eq!(whole[0]["steps"]["details"]["serviceArn"], "s");
    assert_eq!(calls(), [1, 1, 1, 1]);
    // A response to an unplanned read is cached for others that make the same call.
    fetch(&source, request(&kind, false)).await.complete();
    assert_eq!(calls()[..3], [1, 1, 1]);
    let described = calls()[3];
    let listed = fetch(&source, request(&Arc::new(kind.list_only()), true)).await.complete();
    assert_eq!(listed, [json!({"item": "s", "steps": {"names": "name"}, "parents": {"arns": "c"}})]);
    assert_eq!(calls(), [2, 2, 2, described], "asked again, without the details");
}
