//! Wrong clocks.

use std::{
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use aws_smithy_types::date_time::{DateTime, Format};
use berth_aws::WebIdentity;
use serde_json::json;

use super::{Answer, Seen, StandIn, from_now, issued};
use crate::support::{Resync, kind, read, source, with_roles};

const CALL: &str = "ecs:ListClusters";
const SIX: [&str; 6] =
    ["111111111111", "222222222222", "333333333333", "444444444444", "555555555555", "666666666666"];

/// An AWS whose clock is `ahead` seconds ahead of ours; if `later`, only from the first request to a service
/// on. Requests that are signed for another time are rejected with `code`.
async fn aws(ahead: i64, later: bool, code: &'static str) -> StandIn {
    let clock = Arc::new(AtomicI64::new(if later { 0 } else { ahead }));
    StandIn::start(move |seen: &Seen| {
        if seen.call == CALL {
            clock.store(ahead, Ordering::SeqCst);
        }
        let ahead = clock.load(Ordering::SeqCst);
        let answer = if is_off(&seen.date, ahead) {
            if seen.call.starts_with("sts:") {
                Answer::xml_error(403, "SignatureDoesNotMatch", "Signature expired")
            } else {
                // By then, the other requests are in progress.
                Answer::error(400, code).after(Duration::from_millis(100))
            }
        } else if seen.call == CALL {
            Answer::json(&json!({"clusterArns": ["arn:c"]}))
        } else {
            let account = seen.input["RoleArn"].as_str()?.split(':').nth(4)?.to_owned();
            let key = format!("ASIA{account}N{}", seen.before);
            issued(&seen.call, &account, &key, ahead + 3600)
        };
        Some(answer.header("date", from_now(ahead).fmt(Format::HttpDate).unwrap()))
    })
    .await
}

/// An unsigned request never has a wrong time.
fn is_off(date: &str, ahead: i64) -> bool {
    if date.is_empty() {
        return false;
    }
    let part = |from: usize, to: usize| &date[from..to];
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(9, 11),
        part(11, 13),
        part(13, 15)
    );
    let signed = DateTime::from_str(&text, Format::DateTime).unwrap();
    (signed.secs() - from_now(ahead).secs()).abs() > 300
}

/// Reads all accounts at once, in this many regions.
async fn read_all(source: &Resync, accounts: &[&str], regions: &[&str]) -> usize {
    let plan = json!({"steps": [
        {"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"}]});
    let kind = kind("regional", &plan);
    let units = accounts.iter().flat_map(|account| regions.iter().map(move |region| (*account, *region)));
    let reads = units.map(|(account, region)| {
        let kind = &kind;
        async move { read(source, account, &[region], kind, &[]).await.complete().len() }
    });
    futures::future::join_all(reads).await.into_iter().sum()
}

#[tokio::test]
async fn each_request_in_progress_is_signed_again() {
    for (ahead, code) in [
        (-1200, "AuthFailure"),
        (1200, "RequestExpired"),
        (-1200, "SignatureDoesNotMatch"),
        (1200, "InvalidSignatureException"),
        (-1200, "RequestTimeTooSkewed"),
        (1200, "InvalidSignature"),
        (1200, "SignatureExpired"),
        (-1200, "RequestInTheFuture"),
    ] {
        let aws = aws(ahead, true, code).await;
        let source = source(with_roles(&aws.endpoint, &SIX));
        source.accounts().await.unwrap();
        assert_eq!(read_all(&source, &SIX, &["eu-west-1"]).await, 6, "{code}");
        assert_eq!(aws.seen(CALL).len(), 12, "{code}: each is refused once");
        assert_eq!(aws.seen("sts:AssumeRole").len(), 6, "{code}: no session has ended");
    }
}

#[tokio::test]
async fn a_clock_correction_from_sts_applies_to_services() {
    for ahead in [-7200, 7200] {
        let aws = aws(ahead, false, "AuthFailure").await;
        let source = source(with_roles(&aws.endpoint, &SIX[..2]));
        assert!(source.accounts().await.unwrap().iter().all(|access| access.access.is_ok()));
        let regions = ["eu-west-1", "eu-west-2", "eu-west-3", "us-east-1", "us-east-2"];
        assert_eq!(read_all(&source, &SIX[..2], &regions).await, 10);
        assert_eq!(read_all(&source, &SIX[..2], &["us-west-1", "us-west-2"]).await, 4);
        assert_eq!(aws.seen(CALL).len(), 14, "{ahead}: none is refused");
        let assumed = aws.seen("sts:AssumeRole").len();
        assert!(assumed <= 4, "{ahead}: {assumed}; each role once, beside what the clock cost");
    }
}

#[tokio::test]
async fn unsigned_requests_correct_the_clock_too() {
    // Two hours ahead of AWS, so that each session looks expired on arrival.
    let aws = aws(-7200, false, "AuthFailure").await;
    let mut token = tempfile::NamedTempFile::new().unwrap();
    writeln!(token, "the-token").unwrap();
    let mut settings = with_roles(&aws.endpoint, &SIX[..2]);
    settings.web_identity = Some(WebIdentity { token_file: token.path().to_owned(), role_arn: None });
    let source = source(settings);
    source.accounts().await.unwrap();
    assert_eq!(read_all(&source, &SIX[..2], &["eu-west-1", "us-east-1"]).await, 4);
    assert_eq!(aws.seen(CALL).len(), 4);
    assert_eq!(aws.seen("sts:AssumeRoleWithWebIdentity").len(), 2);
}
