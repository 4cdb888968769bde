//! Throttling: token buckets for each account and region, with the sizes and rates that AWS documents.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use crate::hash;

/// Whether requests are throttled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Throttle {
    /// Never.
    #[default]
    Off,
    /// As AWS documents it.
    Aws,
}

impl std::str::FromStr for Throttle {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "aws" => Ok(Self::Aws),
            _ => Err(format!("`{text}` is neither `off` nor `aws`")),
        }
    }
}

/// Which requests share a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    /// Those of one operation.
    Operation,
    /// All of the service.
    Service,
}

#[derive(Debug, Clone, Copy)]
struct Limit {
    shared: Shared,
    size: f64,
    /// Tokens a second.
    rate: f64,
}

const fn operation(size: f64, rate: f64) -> Limit {
    Limit { shared: Shared::Operation, size, rate }
}

const fn service(size: f64, rate: f64) -> Limit {
    Limit { shared: Shared::Service, size, rate }
}

/// By operation, else by service. The figures are those of the services' pages on quotas and throttling, which
/// AWS changes now and then and raises for single accounts; where a page tells a rate alone, the bucket holds
/// one second of it.
const LIMITS: [(&str, Limit); 37] = [
    ("account:ListRegions", operation(5.0, 5.0)),
    ("acm:ListCertificates", operation(8.0, 8.0)),
    ("acm:DescribeCertificate", operation(10.0, 10.0)),
    ("acm:ListTagsForCertificate", operation(10.0, 10.0)),
    ("apigateway", service(40.0, 10.0)),
    ("apigatewayv2", service(40.0, 10.0)),
    ("cloudwatch:DescribeAlarms", operation(9.0, 9.0)),
    ("cloudwatch:ListTagsForResource", operation(10.0, 10.0)),
    ("ec2", operation(100.0, 20.0)),
    ("ecs:ListClusters", operation(50.0, 20.0)),
    ("ecs:DescribeClusters", operation(50.0, 20.0)),
    ("ecs:ListServices", operation(100.0, 20.0)),
    ("ecs:DescribeServices", operation(100.0, 20.0)),
    ("ecs:ListTaskDefinitions", operation(100.0, 20.0)),
    ("ecs:DescribeTaskDefinition", operation(100.0, 20.0)),
    ("elbv2", operation(40.0, 10.0)),
    ("kinesis:ListStreams", operation(5.0, 5.0)),
    ("kinesis:DescribeStreamSummary", operation(20.0, 20.0)),
    ("kinesis:ListTagsForStream", operation(5.0, 5.0)),
    ("kms:DescribeKey", operation(2000.0, 2000.0)),
    ("kms:ListKeys", operation(500.0, 500.0)),
    ("kms:ListAliases", operation(500.0, 500.0)),
    ("kms:ListResourceTags", operation(2000.0, 2000.0)),
    ("kms:GetKeyRotationStatus", operation(1000.0, 1000.0)),
    ("lambda", service(15.0, 15.0)),
    ("logs:DescribeLogGroups", operation(10.0, 10.0)),
    ("logs:ListTagsForResource", operation(10.0, 10.0)),
    ("organizations", operation(8.0, 5.0)),
    ("route53", service(5.0, 5.0)),
    ("s3", operation(5500.0, 5500.0)),
    ("secretsmanager:ListSecrets", operation(100.0, 100.0)),
    ("sns:ListTopics", operation(30.0, 30.0)),
    ("sns:ListTagsForResource", operation(10.0, 10.0)),
    ("stepfunctions:ListStateMachines", operation(100.0, 5.0)),
    ("stepfunctions:DescribeStateMachine", operation(200.0, 20.0)),
    ("stepfunctions:ListTagsForResource", operation(100.0, 1.0)),
    ("sts", service(600.0, 600.0)),
];

/// What EC2 lets through of these when they ask for everything at once.
const EC2_UNBOUNDED: Limit = operation(50.0, 10.0);
const EC2_BOUNDED_BETTER: [&str; 8] = [
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceStatus",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSnapshots",
    "ec2:DescribeSubnets",
    "ec2:DescribeVolumes",
    "ec2:DescribeTags",
];

/// For services that document nothing.
const OTHERS: Limit = operation(40.0, 20.0);

fn limit(name: &str, is_bounded: bool) -> Limit {
    if !is_bounded && EC2_BOUNDED_BETTER.contains(&name) {
        return EC2_UNBOUNDED;
    }
    let find = |name: &str| LIMITS.iter().find(|(known, _)| *known == name).map(|(_, limit)| *limit);
    let service = name.split(':').next().unwrap_or_default();
    find(name).or_else(|| find(service)).unwrap_or(OTHERS)
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// All buckets.
#[derive(Debug, Default)]
pub(crate) struct Buckets(Mutex<HashMap<(u64, u64, u64), Bucket>>);

impl Buckets {
    /// Takes a token for an operation (`ecs:ListClusters`), if there is one. `is_bounded` tells whether the
    /// request asks for a page, or for some resources only.
    pub(crate) fn take(
        &self,
        name: &str,
        account: u64,
        region: &str,
        is_bounded: bool,
        now: Instant,
    ) -> bool {
        let limit = limit(name, is_bounded);
        let shared = match limit.shared {
            Shared::Operation => name,
            Shared::Service => name.split(':').next().unwrap_or_default(),
        };
        let key = (hash::text(shared), account, hash::text(region));
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: limit.size, at: now });
        let filled = now.saturating_duration_since(bucket.at).as_secs_f64() * limit.rate;
        bucket.tokens = (bucket.tokens + filled).min(limit.size);
        bucket.at = now;
        let has = bucket.tokens >= 1.0;
        if has {
            bucket.tokens -= 1.0;
        }
        has
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn taken(buckets: &Buckets, name: &str, region: &str, bounded: bool, now: Instant) -> usize {
        (0..1_000).filter(|_| buckets.take(name, 1, region, bounded, now)).count()
    }

    #[test]
    fn buckets_hold_what_aws_documents_and_fill_again() {
        let (buckets, now) = (Buckets::default(), Instant::now());
        assert_eq!(taken(&buckets, "ec2:DescribeVpcs", "eu-west-1", true, now), 100);
        assert_eq!(taken(&buckets, "ec2:DescribeVpcs", "eu-west-1", true, now), 0);
        assert_eq!(taken(&buckets, "ec2:DescribeVpcs", "us-east-1", true, now), 100, "another region");
        assert_eq!(taken(&buckets, "ec2:DescribeSubnets", "eu-west-1", true, now), 100, "another operation");
        assert_eq!(taken(&buckets, "ec2:DescribeInstances", "eu-west-1", false, now), 50, "unbounded");
        let later = now + Duration::from_secs(2);
        assert_eq!(taken(&buckets, "ec2:DescribeVpcs", "eu-west-1", true, later), 40);
        // One bucket for the whole service.
        assert_eq!(taken(&buckets, "lambda:ListFunctions", "eu-west-1", true, now), 15);
        assert_eq!(taken(&buckets, "lambda:ListTags", "eu-west-1", true, now), 0);
    }
}
