//! Following S3 to the region of a bucket, in every form in which it says that a bucket is elsewhere (those
//! that botocore's `S3RegionRedirector` follows).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use berth_aws_wire::{Operation, Service, WireError};
use berth_core::Region;
use serde_json::{Value, json};

use super::{Answer, Client, Target, send::Attempt};

/// The regions in which buckets were found.
#[derive(Debug, Default)]
pub(super) struct BucketRegions(Mutex<HashMap<String, Region>>);

impl BucketRegions {
    pub(super) fn get(&self, bucket: &str) -> Option<Region> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned()
    }

    fn keep(&self, bucket: &str, region: &Region) {
        let mut regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        regions.insert(bucket.to_owned(), region.clone());
    }
}

/// The bucket that a call is about, unless it is named by the ARN of an access point.
pub(super) fn bucket_of<'i>(service: &str, input: &'i Value) -> Option<&'i str> {
    let bucket = (service == "s3").then(|| input.get("Bucket")?.as_str()).flatten()?;
    (!bucket.starts_with("arn:")).then_some(bucket)
}

/// Whether S3 says that the bucket is in another region.
pub(super) fn is_elsewhere(operation: &Operation, answer: &Answer, error: &WireError) -> bool {
    let is_head = operation.model().method == http::Method::HEAD;
    matches!(answer.status, 301 | 302 | 307 | 308)
        || ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"]
            .contains(&error.code.as_str())
        || (answer.status == 400 && (is_head || region_of_header(answer).is_some()))
}

fn region_of_header(answer: &Answer) -> Option<Region> {
    Region::new(answer.headers.get("x-amz-bucket-region")?.to_str().ok()?).ok()
}

/// The region that an error names: in an element of its own, or only in its message
/// (`the region 'us-east-1' is wrong; expecting 'eu-west-1'`).
fn region_of_error(error: &WireError) -> Option<Region> {
    let named =
        error.region.as_deref().or_else(|| error.message.split("expecting '").nth(1)?.split('\'').next());
    match named? {
        // How S3 used to call its first regions.
        "EU" => Region::new("eu-west-1").ok(),
        "US" => Region::new("us-east-1").ok(),
        region => Region::new(region).ok(),
    }
}

impl Client {
    /// The region in which a bucket is that is not in `asked`. Kept for the calls after this one.
    pub(super) async fn region_of(
        &self,
        target: &Target,
        bucket: &str,
        asked: &Region,
        answer: &Answer,
        error: &WireError,
    ) -> Option<Region> {
        let other = |region: &Region| region != asked;
        let named = region_of_header(answer).or_else(|| region_of_error(error)).filter(other);
        // Another call may have found it meanwhile.
        let found = match named.or_else(|| self.buckets.get(bucket).filter(other)) {
            Some(region) => region,
            None => self.locate(target, bucket, asked).await.filter(other)?,
        };
        self.buckets.keep(bucket, &found);
        Some(found)
    }

    /// Asks with `HEAD`, whose answer names the region even where it refuses.
    async fn locate(&self, target: &Target, bucket: &str, asked: &Region) -> Option<Region> {
        let operation = Service::load("s3").ok()?.operation("HeadBucket").ok()?;
        let wire = operation.encode(&json!({"Bucket": bucket})).ok()?;
        let (endpoint, url) = self.url(&operation, &wire, asked).ok()?;
        let lane = self.lane("s3");
        let _lane = lane.acquire().await;
        let _seat = self.in_flight.acquire().await;
        self.count(&operation, |calls| calls.requests += 1);
        match self.attempt(target, &operation, &wire, &endpoint, &url).await {
            Ok(Attempt::Answered(answer, _)) => region_of_header(&answer),
            Ok(Attempt::Silent(_)) | Err(_) => None,
        }
    }
}
