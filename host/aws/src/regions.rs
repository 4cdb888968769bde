//! The regions that are enabled in an account.

#[cfg(feature = "aws-sdk-ec2")]
mod sdk;

use std::{collections::BTreeSet, sync::Arc};

use berth_core::{ErrorClass, Problem, Region};
use serde_json::{Value, json};

use crate::{
    client::{Client, Target},
    errors::CallError,
};

/// Asks the Account service and, where that does not answer, EC2. `target` is the partition's home
/// region, which no account can switch off.
///
/// # Errors
/// A [`Problem`] with both answers and the IAM actions, either of which would do.
pub(crate) async fn enabled(client: &Arc<Client>, target: &Target) -> Result<Vec<Region>, Problem> {
    let first = match by_account_service(client, target).await {
        Ok(regions) if !regions.is_empty() => return Ok(regions.into_iter().collect()),
        Ok(_) => "the Account service names no region".to_owned(),
        Err(error) => {
            tracing::debug!(account = %target.account, %error, "the Account service does not list regions; asking EC2");
            error.to_string()
        }
    };
    #[cfg(feature = "aws-sdk-ec2")]
    let second = sdk::by_ec2(client, target).await;
    #[cfg(not(feature = "aws-sdk-ec2"))]
    let second = by_ec2(client, target).await;
    match second {
        Ok(regions) if !regions.is_empty() => Ok(regions.into_iter().collect()),
        Ok(_) => Err(told(target, &first, "EC2 names no region", false)),
        Err(error) => Err(told(target, &first, &error.to_string(), error.class() == ErrorClass::Denied)),
    }
}

fn told(target: &Target, account_service: &str, ec2: &str, denied: bool) -> Problem {
    let account = &target.account;
    let problem = Problem::new(format!(
        "the enabled regions of account {account} cannot be listed: `account:ListRegions`: {account_service}; `ec2:DescribeRegions`: {ec2}"
    ));
    if denied {
        problem.remedy(format!(
            "allow `account:ListRegions` or `ec2:DescribeRegions` for the role that reads account {account}"
        ))
    } else {
        problem
    }
}

async fn by_account_service(client: &Arc<Client>, target: &Target) -> Result<BTreeSet<Region>, CallError> {
    let input = json!({"MaxResults": 50, "RegionOptStatusContains": ["ENABLED", "ENABLED_BY_DEFAULT"]});
    Ok(names(&client.all(target, "account", "ListRegions", input, "Regions").await?))
}

/// Without `AllRegions` EC2 leaves out what is not opted in.
#[cfg(not(feature = "aws-sdk-ec2"))]
async fn by_ec2(client: &Arc<Client>, target: &Target) -> Result<BTreeSet<Region>, CallError> {
    let input = json!({"Filters": [
        {"Name": "opt-in-status", "Values": ["opt-in-not-required", "opted-in"]}
    ]});
    Ok(names(&client.all(target, "ec2", "DescribeRegions", input, "Regions").await?))
}

/// Sorted, so that every resync reads in the same order.
fn names(listed: &[Value]) -> BTreeSet<Region> {
    let name = |region: &Value| region.get("RegionName").and_then(Value::as_str).map(Region::new);
    listed.iter().filter_map(name).filter_map(Result::ok).collect()
}
