//! Lists the enabled regions of an account.

#[cfg(feature = "aws-sdk-ec2")]
mod sdk;

use std::{collections::BTreeSet, sync::Arc};

use berth_core::{
    EnabledRegions, ErrorClass, Partition, Problem, ProblemCode, Region, RegionHints, partition_of,
};
use serde_json::{Value, json};

use crate::{
    client::{AwsClient, RegionalSession},
    errors::{AWS, CallError},
};

/// The statuses of enabled regions, as EC2 names them.
const ENABLED: [&str; 2] = ["opt-in-not-required", "opted-in"];

/// Asks the Account service and, if that fails, EC2: in the home region, which no account can disable but
/// which a policy may deny, then in the wanted regions, then in others that are enabled in every account.
/// Each of them lists the regions of the whole partition. `target` is the home region.
///
/// If all of them deny access, Berth assumes that the wanted regions are enabled, provided that every entry
/// names its regions.
///
/// # Errors
/// A [`Problem`] with the responses and the IAM actions, one of which is enough.
pub(crate) async fn enabled(
    client: &Arc<AwsClient>,
    target: &RegionalSession,
    hints: &RegionHints,
) -> Result<EnabledRegions, Problem> {
    let account_service = match by_account_service(client, target).await {
        Ok(regions) if !regions.is_empty() => return Ok(listed(regions)),
        Ok(_) => RefusedRegions { text: "the Account service returned no region".into(), is_final: true },
        Err(error) => {
            tracing::debug!(account = %target.account, %error, "the Account service does not list regions; asking EC2");
            let unanswered = error.is_busy() || (error.transport().is_some() && !error.is_unavailable());
            RefusedRegions { text: error.to_string(), is_final: !unanswered }
        }
    };
    let mut denied: Vec<(Region, String)> = Vec::new();
    for region in asked(&target.region, hints) {
        let target = RegionalSession { region: region.clone(), ..target.clone() };
        #[cfg(feature = "aws-sdk-ec2")]
        let answer = sdk::by_ec2(client, &target).await;
        #[cfg(not(feature = "aws-sdk-ec2"))]
        let answer = by_ec2(client, &target).await;
        let error = match answer {
            Ok(regions) if !regions.is_empty() => return Ok(listed(regions)),
            Ok(_) => ("EC2 returned no region".to_owned(), None),
            Err(error) if error.class() == ErrorClass::Denied || error.is_unavailable() => {
                tracing::debug!(account = %target.account, %region, %error, "EC2 does not list regions there");
                denied.push((region, error.to_string()));
                continue;
            }
            Err(error) => (error.to_string(), error.transport().map(|error| error.remedy(AWS))),
        };
        // Other regions would fail as well.
        let (error, remedy) = error;
        let ec2 = format!("in {region}: {error}");
        return Err(Problem { remedy, ..cannot_list(&target, &account_service.text, &ec2) });
    }
    if hints.complete && !hints.allowed.is_empty() && account_service.is_final {
        return Ok(EnabledRegions::Assumed(hints.allowed.iter().cloned().collect()));
    }
    Err(denied_everywhere(target, &account_service.text, &denied))
}

/// Why the Account service does not list the regions.
struct RefusedRegions {
    text: String,
    /// Whether the service denied the call, instead of being too busy or unreachable.
    is_final: bool,
}

fn listed(regions: BTreeSet<Region>) -> EnabledRegions {
    EnabledRegions::Listed(regions.into_iter().collect())
}

/// Returns the regions in which EC2 is asked, in order.
fn asked(home: &Region, hints: &RegionHints) -> Vec<Region> {
    let partition = partition_of(home);
    let wanted = hints.allowed.iter().filter(|region| partition_of(region) == partition).cloned();
    let others = always_enabled(partition).iter().filter_map(|name| Region::new(name).ok());
    let mut seen = BTreeSet::new();
    std::iter::once(home.clone())
        .chain(wanted)
        .chain(others)
        .filter(|region| seen.insert(region.clone()))
        .collect()
}

/// Regions other than the main region that are enabled in every account. These are the regions to which
/// organizations most often limit themselves.
fn always_enabled(partition: Partition) -> &'static [&'static str] {
    match partition {
        Partition::Aws => &[
            "eu-west-1",
            "eu-central-1",
            "us-west-2",
            "us-east-2",
            "ap-southeast-2",
            "ap-northeast-1",
            "ap-south-1",
            "ca-central-1",
        ],
        Partition::AwsUsGov => &["us-gov-east-1"],
        Partition::AwsCn => &["cn-northwest-1"],
        Partition::AwsIso => &["us-iso-west-1"],
        Partition::AwsIsoB => &["us-isob-west-1"],
        Partition::AwsIsoF => &["us-isof-east-1"],
        // The other partitions have one region, or their regions are unknown.
        _ => &[],
    }
}

fn cannot_list(target: &RegionalSession, account_service: &str, ec2: &str) -> Problem {
    let account = &target.account;
    Problem::new(
        ProblemCode::AwsRegionsUnknown,
        format!(
            "cannot list the enabled regions of account {account}: `account:ListRegions`: {account_service}; `ec2:DescribeRegions` {ec2}"
        ),
    )
}

fn denied_everywhere(
    target: &RegionalSession,
    account_service: &str,
    denied: &[(Region, String)],
) -> Problem {
    let others: Vec<&str> = denied.iter().skip(1).map(|(region, _)| region.as_str()).collect();
    let ec2 = match denied.first() {
        Some((region, error)) if others.is_empty() => format!("in {region}: {error}"),
        Some((region, error)) => {
            format!("in {region}: {error}; it does not respond in {} either", others.join(", "))
        }
        None => "was not asked".to_owned(),
    };
    cannot_list(target, account_service, &ec2).remedy(format!(
        "allow `account:ListRegions` or `ec2:DescribeRegions` for the role that reads account {}, or list the regions to read in `regionPolicy.allow` of every selector",
        target.account
    ))
}

async fn by_account_service(
    client: &Arc<AwsClient>,
    target: &RegionalSession,
) -> Result<BTreeSet<Region>, CallError> {
    let input = json!({"MaxResults": 50, "RegionOptStatusContains": ["ENABLED", "ENABLED_BY_DEFAULT"]});
    Ok(names(&client.all(target, "account", "ListRegions", input, "Regions").await?))
}

/// Without `AllRegions`, EC2 omits regions that are not opted in.
#[cfg(not(feature = "aws-sdk-ec2"))]
async fn by_ec2(client: &Arc<AwsClient>, target: &RegionalSession) -> Result<BTreeSet<Region>, CallError> {
    let input = json!({"Filters": [
        {"Name": "opt-in-status", "Values": ENABLED}
    ]});
    Ok(names(&client.all(target, "ec2", "DescribeRegions", input, "Regions").await?))
}

/// Sorted, so that every resync reads in the same order.
fn names(listed: &[Value]) -> BTreeSet<Region> {
    let enabled = |region: &Value| named(region["RegionName"].as_str(), region["OptInStatus"].as_str());
    listed.iter().filter_map(enabled).collect()
}

/// Returns a region by its name, unless EC2 reports that it is not enabled. An emulator of AWS may ignore
/// the filter.
fn named(name: Option<&str>, opt_in_status: Option<&str>) -> Option<Region> {
    let is_enabled = opt_in_status.is_none_or(|status| ENABLED.contains(&status));
    name.filter(|_| is_enabled).and_then(|name| Region::new(name).ok())
}

#[cfg(test)]
mod tests {
    use berth_core::{PARTITIONS, home_region};

    use super::*;

    #[test]
    fn ec2_is_asked_at_home_then_where_it_is_wanted_then_elsewhere() {
        let region = |name: &str| Region::new(name).unwrap();
        let hints = RegionHints {
            allowed: ["eu-central-1", "cn-north-1", "us-east-1", "sa-east-1"].map(region).into(),
            complete: true,
        };
        let order = asked(&region("us-east-1"), &hints);
        let order: Vec<&str> = order.iter().map(Region::as_str).collect();
        assert_eq!(order[..4], ["us-east-1", "eu-central-1", "sa-east-1", "eu-west-1"]);
        assert_eq!(order.iter().filter(|name| **name == "eu-central-1").count(), 1);
        assert!(!order.contains(&"cn-north-1"), "{order:?}");
        for partition in PARTITIONS {
            for region in asked(&home_region(partition), &RegionHints::default()) {
                assert_eq!(partition_of(&region), partition);
            }
        }
    }
}
