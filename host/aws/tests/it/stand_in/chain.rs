//! Credentials that AWS rejects before they expire.

use std::{
    collections::BTreeSet,
    io::Write as _,
    sync::{Arc, Mutex},
};

use berth_aws::WebIdentity;
use berth_core::{FetchError, KindManifest, RoleArn};
use serde_json::json;

use super::{Answer, Seen, StandIn, issued};
use crate::support::{Resync, kind, read, source, with_roles};

const A: &str = "111111111111";
const B: &str = "222222222222";
const C: &str = "333333333333";
const CALL: &str = "ecs:ListClusters";
const BASE: &str = "AKIAIOSFODNN7EXAMPLE";
const REGIONS: [&str; 5] = ["eu-west-1", "eu-west-2", "eu-west-3", "us-east-1", "us-east-2"];
/// Regions in which nothing was read before.
const OTHERS: [&str; 3] = ["us-west-1", "us-west-2", "ca-central-1"];

fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/Reader")
}

fn clusters() -> Arc<KindManifest> {
    let plan = json!({"steps": [
        {"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"}]});
    kind("regional", &plan)
}

/// Keys that AWS rejects from now on.
#[derive(Clone, Default)]
struct Dead(Arc<Mutex<BTreeSet<String>>>);

impl Dead {
    fn add_all(&self, aws: &StandIn) {
        let keys = aws.all().into_iter().map(|seen| seen.key).filter(|key| !key.is_empty() && key != BASE);
        self.0.lock().unwrap().extend(keys);
    }

    fn holds(&self, key: &str) -> bool {
        self.0.lock().unwrap().contains(key)
    }
}

/// An AWS that rejects dead keys with these codes, and gives each session its own key.
async fn aws(dead: &Dead, sts: &'static str, service: &'static str) -> StandIn {
    let dead = dead.clone();
    StandIn::start(move |seen: &Seen| {
        if seen.call == CALL {
            return Some(if dead.holds(&seen.key) {
                Answer::error(400, service)
            } else {
                Answer::json(&json!({"clusterArns": ["arn:c"]}))
            });
        }
        let account = seen.input["RoleArn"].as_str()?.split(':').nth(4)?.to_owned();
        if dead.holds(&seen.key) {
            return Some(Answer::xml_error(403, sts, "because"));
        }
        Some(issued(&seen.call, &account, &format!("ASIA{account}{}N{}", seen.call.len(), seen.before), 3600))
    })
    .await
}

async fn read_all(source: &Resync, regions: &[&'static str]) -> usize {
    let kind = clusters();
    let reads = regions.iter().map(|region| read(source, A, std::slice::from_ref(region), &kind, &[]));
    let found = futures::future::join_all(reads).await;
    found.into_iter().map(|found| found.complete().len()).sum()
}

#[tokio::test]
async fn a_hop_whose_session_has_ended_is_renewed_before_the_member() {
    for (sts, service) in [
        ("ExpiredToken", "RequestExpired"),
        ("ExpiredTokenException", "ExpiredTokenException"),
        ("InvalidClientTokenId", "UnrecognizedClientException"),
    ] {
        let dead = Dead::default();
        let aws = aws(&dead, sts, service).await;
        let mut settings = with_roles(&aws.endpoint, &[A]);
        settings.hop_role_arn = Some(RoleArn::new(&role(C)).unwrap());
        let source = source(settings);
        source.accounts().await.unwrap();
        assert_eq!(read_all(&source, &REGIONS).await, 5);
        assert_eq!(aws.seen("sts:AssumeRole").len(), 2);
        dead.add_all(&aws);
        assert_eq!(read_all(&source, &OTHERS).await, 3, "{sts}");
        // The member with the ended hop session, then the hop, then the member, for any number of callers.
        let roles = aws.seen("sts:AssumeRole");
        let roles: Vec<&str> =
            roles[2..].iter().map(|seen| seen.input["RoleArn"].as_str().unwrap()).collect();
        assert_eq!(roles, [role(A), role(C), role(A)], "{sts}");
    }
}

#[tokio::test]
async fn a_chain_that_is_always_rejected_is_given_up() {
    let aws = StandIn::start(|seen| match seen.call.as_str() {
        CALL => Some(Answer::error(400, "ExpiredTokenException")),
        "sts:AssumeRole" if seen.key.starts_with("ASIA") && seen.before > 2 => {
            Some(Answer::xml_error(403, "ExpiredToken", "because"))
        }
        _ => None,
    })
    .await;
    let mut settings = with_roles(&aws.endpoint, &[A]);
    settings.hop_role_arn = Some(RoleArn::new(&role(C)).unwrap());
    let source = source(settings);
    source.accounts().await.unwrap();
    let found = read(&source, A, &["eu-west-1"], &clusters(), &[]).await;
    let Some(FetchError::Failed(problem)) = found.error else { panic!("{found:?}") };
    assert!(problem.message.contains("ExpiredToken"), "{problem}");
    assert!(aws.all().len() < 20, "{}", aws.all().len());
}

#[tokio::test]
async fn a_web_identity_session_is_renewed_with_the_current_token() {
    let dead = Dead::default();
    let tokens = tempfile::tempdir().unwrap();
    let file = tokens.path().join("token");
    std::fs::write(&file, "token-1\n").unwrap();
    let aws = aws(&dead, "ExpiredToken", "ExpiredTokenException").await;
    let mut settings = with_roles(&aws.endpoint, &[A]);
    settings.hop_role_arn = Some(RoleArn::new(&role(C)).unwrap());
    settings.web_identity =
        Some(WebIdentity { token_file: file.clone(), role_arn: Some(RoleArn::new(&role(B)).unwrap()) });
    let source = source(settings);
    source.accounts().await.unwrap();
    assert_eq!(read_all(&source, &REGIONS).await, 5);
    dead.add_all(&aws);
    std::fs::write(&file, "token-2\n").unwrap();
    assert_eq!(read_all(&source, &OTHERS).await, 3);
    let with_token = aws.seen("sts:AssumeRoleWithWebIdentity");
    let used: Vec<&str> =
        with_token.iter().map(|seen| seen.input["WebIdentityToken"].as_str().unwrap()).collect();
    assert_eq!(used, ["token-1", "token-2"]);
}

#[tokio::test]
async fn a_replaced_token_is_read_again() {
    let mut token = tempfile::NamedTempFile::new().unwrap();
    writeln!(token, "token-1").unwrap();
    let path = token.path().to_owned();
    let aws = StandIn::start(move |seen| {
        if seen.call != "sts:AssumeRoleWithWebIdentity" || seen.input["WebIdentityToken"] != "token-1" {
            return None;
        }
        std::fs::write(&path, "token-2").unwrap();
        Some(Answer::xml_error(400, "ExpiredTokenException", "Token expired"))
    })
    .await;
    let mut settings = with_roles(&aws.endpoint, &[A]);
    settings.web_identity = Some(WebIdentity { token_file: token.path().to_owned(), role_arn: None });
    let accounts = source(settings).accounts().await.unwrap();
    assert!(accounts[0].access.is_ok(), "{accounts:?}");
    assert_eq!(aws.seen("sts:AssumeRoleWithWebIdentity").len(), 2);
}

#[tokio::test]
async fn a_refusal_with_two_meanings_is_not_final_at_a_list_or_an_item() {
    let plan = json!({"steps": [
        {"id": "names", "service": "dynamodb", "operation": "ListTables", "items": "TableNames[]"},
        {"id": "table", "each": "names", "service": "dynamodb", "operation": "DescribeTable",
         "input": {"TableName": "{item}"}, "result": "Table"}]});
    for code in [
        "com.amazon.coral.service#UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidSignatureException",
        "AuthFailure",
    ] {
        for at in ["dynamodb:ListTables", "dynamodb:DescribeTable"] {
            let aws = StandIn::start(move |seen| match seen.call.as_str() {
                call if call == at && seen.before == 0 => Some(Answer::error(400, code)),
                "dynamodb:ListTables" => Some(Answer::json(&json!({"TableNames": ["a", "b", "c"]}))),
                "dynamodb:DescribeTable" => {
                    Some(Answer::json(&json!({"Table": {"TableName": seen.input["TableName"]}})))
                }
                _ => None,
            })
            .await;
            let source = source(with_roles(&aws.endpoint, &[A]));
            source.accounts().await.unwrap();
            let found = read(&source, A, &["eu-west-1"], &kind("regional", &plan), &[]).await;
            assert_eq!(found.complete().len(), 3, "{code} at {at}");
            assert_eq!(aws.seen("sts:AssumeRole").len(), 2, "{code} at {at}: the session is renewed");
        }
    }
}

#[tokio::test]
async fn a_region_that_is_not_enabled_stays_denied_and_costs_little() {
    for code in ["UnrecognizedClientException", "AuthFailure"] {
        let aws = StandIn::start(move |seen| (seen.call == CALL).then(|| Answer::error(400, code))).await;
        let source = source(with_roles(&aws.endpoint, &[A]));
        source.accounts().await.unwrap();
        for region in REGIONS {
            let found = read(&source, A, &[region], &clusters(), &[]).await;
            let Some(FetchError::Skipped(problem)) = found.error else { panic!("{code}: {found:?}") };
            assert!(problem.message.contains("rejects the session's credentials"), "{problem}");
        }
        assert_eq!(aws.seen(CALL).len(), 2 * REGIONS.len());
        assert_eq!(aws.seen("sts:AssumeRole").len(), 2, "new credentials were of no use");
    }
}

#[tokio::test]
async fn a_temporary_rejection_by_sts_is_retried() {
    let aws = StandIn::start(|seen| {
        (seen.call == "sts:AssumeRole" && seen.before == 0)
            .then(|| Answer::xml_error(403, "InvalidClientTokenId", "no such key"))
    })
    .await;
    let accounts = source(with_roles(&aws.endpoint, &[A])).accounts().await.unwrap();
    assert!(accounts[0].access.is_ok(), "{accounts:?}");
}

#[tokio::test]
async fn keys_that_work_elsewhere_are_not_blamed() {
    for caller_works in [true, false] {
        let aws = StandIn::start(move |seen| {
            let refused = match seen.call.as_str() {
                "sts:AssumeRole" => seen.input["RoleArn"] == role(B),
                "sts:GetCallerIdentity" => !caller_works,
                _ => false,
            };
            refused.then(|| Answer::xml_error(403, "InvalidClientTokenId", "no such key"))
        })
        .await;
        let mut settings = with_roles(&aws.endpoint, &[A, B]);
        settings.concurrency.roles = std::num::NonZeroUsize::MIN;
        let accounts = source(settings).accounts().await.unwrap();
        assert!(accounts[0].access.is_ok(), "{accounts:?}");
        let problem = accounts[1].access.clone().unwrap_err();
        assert!(problem.message.contains("InvalidClientTokenId"), "{problem}");
        let remedy = problem.remedy.unwrap();
        assert!(!remedy.contains("SECRETS__AWS_ACCESS_KEY_ID"), "{remedy}");
        assert!(remedy.contains("work for other calls"), "{remedy}");
    }
}
