//! Buckets in a region other than the requested one.

use std::sync::Arc;

use berth_core::KindManifest;
use serde_json::{Value, json};

use super::{Answer, Seen, StandIn};
use crate::support::{kind, read, source, with_roles};

const A: &str = "111111111111";
const THERE: &str = "eu-south-1";

fn buckets() -> Arc<KindManifest> {
    let step = |id: &str, operation: &str| {
        json!({"id": id, "each": "buckets", "service": "s3", "operation": operation,
            "input": {"Bucket": "{item.Name}", "ExpectedBucketOwner": "{account}"}, "errors": {"missing": "absent"}})
    };
    let mut encryption = step("encryption", "GetBucketEncryption");
    // This step runs after the first, so it finds the region known.
    encryption["input"]["ExpectedBucketOwner"] = json!("{steps.tags.Nope}");
    let plan = json!({"steps": [
        {"id": "buckets", "service": "s3", "operation": "ListBuckets", "items": "Buckets[]"},
        step("tags", "GetBucketTagging"), encryption]});
    kind("global", &plan)
}

/// An S3 whose other regions answer `elsewhere`, and `head` to `HEAD`.
async fn s3(
    elsewhere: impl Fn() -> Answer + Send + Sync + 'static,
    head: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> StandIn {
    StandIn::start(move |seen| {
        let list = "<ListAllMyBucketsResult><Buckets><Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>";
        Some(match seen.call.as_str() {
            "s3:/?x-id=ListBuckets" | "s3:/" => Answer::text(200, list),
            call if call.starts_with("s3:/b") && seen.raw["method"] == "HEAD" => head(seen),
            call if call.starts_with("s3:/b?") && seen.region != THERE => elsewhere(),
            call if call.starts_with("s3:/b?tagging") => Answer::text(
                200,
                "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>",
            ),
            call if call.starts_with("s3:/b?encryption") => Answer::text(
                404,
                "<Error><Code>ServerSideEncryptionConfigurationNotFoundError</Code></Error>",
            ),
            _ => return None,
        })
    })
    .await
}

/// Returns the resources, and the number of `HEAD` requests.
async fn read_buckets(aws: &StandIn) -> (Result<Value, String>, usize) {
    let source = source(with_roles(&aws.endpoint, &[A]));
    source.accounts().await.unwrap();
    let found = read(&source, A, &["us-east-1"], &buckets(), &[]).await;
    let heads = aws.all().iter().filter(|seen| seen.raw["method"] == "HEAD").count();
    if let Some(failure) = found.failures.first() {
        return (Err(failure.problem.to_string()), heads);
    }
    let stats = source.stats().calls;
    assert_eq!(stats["s3:GetBucketTagging"].requests, 2);
    assert_eq!(stats["s3:GetBucketEncryption"].requests, 1, "the region is known by then");
    (Ok(found.complete()[0]["steps"]["tags"].clone()), heads)
}

fn error(status: u16, code: &str, more: &str) -> Answer {
    Answer::text(status, format!("<Error><Code>{code}</Code><Message>m</Message>{more}</Error>"))
}

fn tags() -> Value {
    json!({"TagSet": [{"Key": "k", "Value": "v"}]})
}

#[tokio::test]
async fn a_bucket_is_followed_in_every_form_of_redirect() {
    type Form = (&'static str, fn() -> Answer, usize);
    let forms: [Form; 9] = [
        ("301, header", || error(301, "PermanentRedirect", "").header("x-amz-bucket-region", THERE), 0),
        ("301, neither", || error(301, "PermanentRedirect", ""), 1),
        ("301, no body", || Answer::text(301, ""), 1),
        ("307, header", || error(307, "TemporaryRedirect", "").header("x-amz-bucket-region", THERE), 0),
        (
            "400, region in the body",
            || error(400, "AuthorizationHeaderMalformed", "<Region>eu-south-1</Region>"),
            0,
        ),
        (
            "400, region in the message",
            || {
                Answer::text(
                    400,
                    "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-south-1'</Message></Error>",
                )
            },
            0,
        ),
        ("400, neither", || error(400, "AuthorizationHeaderMalformed", ""), 1),
        ("400, opt-in region", || error(400, "IllegalLocationConstraintException", ""), 1),
        ("400, header", || error(400, "BadRequest", "").header("x-amz-bucket-region", THERE), 0),
    ];
    for (form, elsewhere, heads) in forms {
        let aws = s3(elsewhere, |_| Answer::text(400, "").header("x-amz-bucket-region", THERE)).await;
        assert_eq!(read_buckets(&aws).await, (Ok(tags()), heads), "{form}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_nowhere_is_not_followed_forever() {
    // No response names the region.
    let aws = s3(|| error(301, "PermanentRedirect", ""), |_| Answer::text(403, "")).await;
    let (outcome, heads) = read_buckets(&aws).await;
    assert!(outcome.unwrap_err().contains("PermanentRedirect"));
    assert!(heads <= 2, "{heads}");
    // Each region names another one.
    let aws = s3(
        || error(301, "PermanentRedirect", "").header("x-amz-bucket-region", "eu-west-1"),
        |_| Answer::text(301, "").header("x-amz-bucket-region", "eu-west-2"),
    )
    .await;
    let (outcome, _) = read_buckets(&aws).await;
    assert!(outcome.unwrap_err().contains("PermanentRedirect"));
    assert!(aws.all().len() < 20, "{}", aws.all().len());
}

#[tokio::test]
async fn a_head_is_followed_without_a_body() {
    let aws = StandIn::start(|seen| {
        (seen.call.starts_with("s3:/b")).then(|| match seen.region.as_str() {
            THERE => Answer::text(200, "").header("x-amz-bucket-region", THERE),
            _ => Answer::text(400, "").header("x-amz-bucket-region", THERE),
        })
    })
    .await;
    let source = source(with_roles(&aws.endpoint, &[A]));
    source.accounts().await.unwrap();
    let plan = json!({"steps": [
        {"id": "head", "service": "s3", "operation": "HeadBucket", "input": {"Bucket": "b"}, "items": "@"}]});
    let found = read(&source, A, &["us-east-1"], &kind("global", &plan), &[]).await.complete();
    assert_eq!(found[0]["item"]["BucketRegion"], THERE);
}
