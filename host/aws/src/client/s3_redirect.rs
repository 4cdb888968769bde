//! Detects in S3's responses that a bucket is in another region, in every form that botocore's
//! `S3RegionRedirector` follows.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use berth_aws_protocol::{Operation, WireError};
use berth_core::Region;
use serde_json::Value;

use super::answer::AwsResponse;

/// The known regions of buckets.
#[derive(Debug, Default)]
pub(super) struct BucketRegions(Mutex<HashMap<String, Region>>);

impl BucketRegions {
    pub(super) fn get(&self, bucket: &str) -> Option<Region> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(bucket).cloned()
    }

    pub(super) fn keep(&self, bucket: &str, region: &Region) {
        let mut regions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        regions.insert(bucket.to_owned(), region.clone());
    }
}

/// Returns the bucket of a call, unless the input names it by the ARN of an access point.
pub(super) fn bucket_of<'i>(service: &str, input: &'i Value) -> Option<&'i str> {
    let bucket = (service == "s3").then(|| input.get("Bucket")?.as_str()).flatten()?;
    (!bucket.starts_with("arn:")).then_some(bucket)
}

/// Returns whether S3 reports that the bucket is in another region.
pub(super) fn is_elsewhere(operation: &Operation, answer: &AwsResponse, error: &WireError) -> bool {
    let is_head = operation.model().method == http::Method::HEAD;
    matches!(answer.status, 301 | 302 | 307 | 308)
        || ["PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"]
            .contains(&error.code.as_str())
        || (answer.status == 400 && (is_head || region_of_header(answer).is_some()))
}

/// Returns the region that a response names, in a header or in its error.
pub(super) fn named_region(answer: &AwsResponse, error: &WireError) -> Option<Region> {
    region_of_header(answer).or_else(|| region_of_error(error))
}

/// Returns the region that the header of a response names.
pub(super) fn region_of_header(answer: &AwsResponse) -> Option<Region> {
    Region::new(answer.header("x-amz-bucket-region")?).ok()
}

/// Returns the region that an error names: in its own element, or only in its message (`the region
/// 'us-east-1' is wrong; expecting 'eu-west-1'`).
fn region_of_error(error: &WireError) -> Option<Region> {
    let named =
        error.region.as_deref().or_else(|| error.message.split("expecting '").nth(1)?.split('\'').next());
    match named? {
        // S3's legacy name of its first European region.
        "EU" => Region::new("eu-west-1").ok(),
        "US" => Region::new("us-east-1").ok(),
        region => Region::new(region).ok(),
    }
}
