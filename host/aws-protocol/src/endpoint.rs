//! Resolves the endpoint of a service in a region, and the names with which a request to it is signed.

use berth_core::{PARTITIONS, Partition, Region, partition_of};
use url::Url;

use crate::{Operation, endpoint_table::EndpointRow};

/// The address of a request, and the names with which it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme and host, such as `https://ec2.eu-west-1.amazonaws.com/`.
    pub url: Url,
    /// The region of the signature's credential scope. For global services, it differs from the requested
    /// one.
    pub signing_region: String,
    /// The service of the signature's credential scope.
    pub signing_name: String,
}

/// Selects one of a service's endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointOptions {
    /// Whether to use the endpoint with FIPS 140 validated cryptography.
    pub fips: bool,
    /// Whether to use the endpoint that also supports IPv6.
    pub dual_stack: bool,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The region belongs to none of the partitions that Berth knows.
    #[error("region `{region}` is not in a known partition ({})", known_partitions())]
    UnknownPartition {
        /// The requested region.
        region: String,
    },
    /// AWS has no such endpoint.
    #[error("AWS service `{service}` has no {}endpoint for region `{region}`", describe(*options))]
    NotOffered {
        /// The service, by its botocore name.
        service: String,
        /// The requested region.
        region: String,
        /// The requested options.
        options: EndpointOptions,
    },
}

fn known_partitions() -> String {
    PARTITIONS.map(Partition::as_str).join(", ")
}

fn describe(options: EndpointOptions) -> &'static str {
    match (options.fips, options.dual_stack) {
        (false, false) => "",
        (true, false) => "FIPS ",
        (false, true) => "dual-stack ",
        (true, true) => "dual-stack FIPS ",
    }
}

impl Operation {
    /// Returns the endpoint of the operation in a region.
    ///
    /// The table behind it contains botocore's endpoint rules, evaluated for each service and region, so
    /// that global services (IAM, Organizations, Route 53, …) have the region they are signed for. STS and
    /// S3 use regional endpoints throughout. Rules that depend on an input are not covered: account-based
    /// endpoints of DynamoDB and Kinesis (their regional endpoints work as well), multi-region
    /// `EventBridge` endpoints, S3 access points, S3 on Outposts and S3 Express buckets, and services whose
    /// endpoint is in an ARN (`cloudfront-keyvaluestore`).
    ///
    /// # Errors
    /// [`EndpointError`] if AWS has no such endpoint.
    pub fn endpoint(&self, region: &Region, options: EndpointOptions) -> Result<Endpoint, EndpointError> {
        let service = self.service();
        let partition = partition_of(region);
        // The standard partition's regions have three parts. A region with more parts is in a partition
        // that botocore does not know yet, like `us-iso-east-1` in an isolated one.
        if partition == Partition::Aws && region.as_str().split('-').count() != 3 {
            return Err(EndpointError::UnknownPartition { region: region.to_string() });
        }
        let not_offered = || EndpointError::NotOffered {
            service: service.name().to_owned(),
            region: region.to_string(),
            options,
        };
        let variants = service
            .model()
            .endpoints
            .get(self.model().endpoint)
            .and_then(|table| table.get(&partition))
            .ok_or_else(not_offered)?;
        let rows = match (options.fips, options.dual_stack) {
            (false, false) => &variants.plain,
            (true, false) => &variants.fips,
            (false, true) => &variants.dual,
            (true, true) => &variants.fips_dual,
        };
        let EndpointRow(url, signing_region, signing_name) =
            rows.regions.get(region.as_str()).unwrap_or(&rows.default).as_ref().ok_or_else(not_offered)?;
        let or = |text: &String, default: &str| {
            if text.is_empty() { default.to_owned() } else { text.clone() }
        };
        Ok(Endpoint {
            url: url.replace("{region}", region.as_str()).parse().map_err(|_| not_offered())?,
            signing_region: or(signing_region, region.as_str()),
            signing_name: or(signing_name, service.signing_name()),
        })
    }
}

#[cfg(test)]
mod tests {
    use berth_core::{Partition, home_region};

    use crate::{AwsService, EndpointOptions};

    #[test]
    fn global_and_regional_services_are_found() {
        for (service, operation, region, expected) in [
            ("ec2", "DescribeInstances", "eu-west-1", "https://ec2.eu-west-1.amazonaws.com/ eu-west-1 ec2"),
            (
                "ec2",
                "DescribeInstances",
                "us-berth-9",
                "https://ec2.us-berth-9.amazonaws.com/ us-berth-9 ec2",
            ),
            (
                "ec2",
                "DescribeInstances",
                "cn-north-1",
                "https://ec2.cn-north-1.amazonaws.com.cn/ cn-north-1 ec2",
            ),
            ("iam", "ListRoles", "eu-west-1", "https://iam.amazonaws.com/ us-east-1 iam"),
            ("iam", "ListRoles", "us-gov-east-1", "https://iam.us-gov.amazonaws.com/ us-gov-west-1 iam"),
            (
                "organizations",
                "ListAccounts",
                "eu-west-1",
                "https://organizations.us-east-1.amazonaws.com/ us-east-1 organizations",
            ),
            ("route53", "ListHostedZones", "eu-west-1", "https://route53.amazonaws.com/ us-east-1 route53"),
            (
                "cloudfront",
                "ListDistributions",
                "eu-west-1",
                "https://cloudfront.amazonaws.com/ us-east-1 cloudfront",
            ),
            (
                "account",
                "ListRegions",
                "eu-west-1",
                "https://account.us-east-1.amazonaws.com/ us-east-1 account",
            ),
            ("sts", "GetCallerIdentity", "eu-west-1", "https://sts.eu-west-1.amazonaws.com/ eu-west-1 sts"),
            ("s3", "ListBuckets", "us-east-1", "https://s3.us-east-1.amazonaws.com/ us-east-1 s3"),
            (
                "s3",
                "ListDirectoryBuckets",
                "us-east-1",
                "https://s3express-control.us-east-1.amazonaws.com/ us-east-1 s3express",
            ),
            (
                "sesv2",
                "ListEmailIdentities",
                "eu-west-1",
                "https://email.eu-west-1.amazonaws.com/ eu-west-1 ses",
            ),
        ] {
            let operation = AwsService::load(service).unwrap().operation(operation).unwrap();
            let endpoint = operation.endpoint(&region.parse().unwrap(), EndpointOptions::default()).unwrap();
            let found = format!("{} {} {}", endpoint.url, endpoint.signing_region, endpoint.signing_name);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn an_endpoint_that_aws_does_not_have_is_an_error() {
        let operation = AwsService::load("s3").unwrap().operation("ListBuckets").unwrap();
        let fips = EndpointOptions { fips: true, dual_stack: false };
        let error = operation.endpoint(&"cn-north-1".parse().unwrap(), fips).unwrap_err();
        assert_eq!(error.to_string(), "AWS service `s3` has no FIPS endpoint for region `cn-north-1`");
        let error = operation.endpoint(&"us-mars-east-1".parse().unwrap(), fips).unwrap_err().to_string();
        assert!(error.contains("not in a known partition (aws, ") && error.contains("aws-eusc"), "{error}");
    }

    #[test]
    fn every_partition_has_its_own_names() {
        for (service, operation, region, plain, dual) in [
            (
                "sts",
                "GetCallerIdentity",
                "eusc-de-east-1",
                "sts.eusc-de-east-1.amazonaws.eu",
                "api.amazonwebservices.eu",
            ),
            (
                "ec2",
                "DescribeSubnets",
                "eusc-de-east-1",
                "ec2.eusc-de-east-1.amazonaws.eu",
                "api.amazonwebservices.eu",
            ),
            ("ec2", "DescribeSubnets", "us-iso-west-1", "ec2.us-iso-west-1.c2s.ic.gov", "api.aws.ic.gov"),
            (
                "ec2",
                "DescribeSubnets",
                "us-isob-east-1",
                "ec2.us-isob-east-1.sc2s.sgov.gov",
                "api.aws.scloud",
            ),
            (
                "ec2",
                "DescribeSubnets",
                "eu-isoe-west-1",
                "ec2.eu-isoe-west-1.cloud.adc-e.uk",
                "api.cloud-aws.adc-e.uk",
            ),
            (
                "ec2",
                "DescribeSubnets",
                "us-isof-south-1",
                "ec2.us-isof-south-1.csp.hci.ic.gov",
                "api.aws.hci.ic.gov",
            ),
        ] {
            let operation = AwsService::load(service).unwrap().operation(operation).unwrap();
            let region = region.parse().unwrap();
            let endpoint = operation.endpoint(&region, EndpointOptions::default()).unwrap();
            assert_eq!(endpoint.url.host_str(), Some(plain));
            assert_eq!(endpoint.signing_region, region.as_str());
            let options = EndpointOptions { dual_stack: true, fips: true };
            let host = operation.endpoint(&region, options).unwrap().url;
            assert_eq!(host.host_str(), Some(format!("{service}-fips.{region}.{dual}").as_str()));
        }
        // Requests to global services are signed for the region where the service runs.
        for (partition, expected) in [
            (Partition::AwsEusc, "https://iam.eusc-de-east-1.amazonaws.eu/ eusc-de-east-1"),
            (Partition::AwsIso, "https://iam.us-iso-east-1.c2s.ic.gov/ us-iso-east-1"),
        ] {
            let operation = AwsService::load("iam").unwrap().operation("ListRoles").unwrap();
            let endpoint = operation.endpoint(&home_region(partition), EndpointOptions::default()).unwrap();
            assert_eq!(format!("{} {}", endpoint.url, endpoint.signing_region), expected);
        }
    }
}
