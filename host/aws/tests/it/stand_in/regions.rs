//! Which regions are enabled, where policies deny access to the list.

use berth_core::{EnabledRegions, Problem, Region, RegionHints, Source};

use super::{Answer, Seen, StandIn};
use crate::support::{account, source, with_roles};

const A: &str = "111111111111";

/// An AWS that lists its regions where `ec2` says so, and answers elsewhere with these codes.
async fn aws(account_code: &'static str, ec2: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> StandIn {
    StandIn::start(move |seen| match seen.call.as_str() {
        call if call.starts_with("account:") => Some(Answer::error(403, account_code)),
        "ec2:DescribeRegions" => Some(ec2(seen)),
        _ => None,
    })
    .await
}

fn denied() -> Answer {
    refused("UnauthorizedOperation")
}

fn refused(code: &str) -> Answer {
    Answer::text(
        403,
        format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>no</Message></Error></Errors></Response>"
        ),
    )
}

fn listed<const N: usize>(names: [&str; N]) -> Answer {
    let items = names.map(|name| format!("<item><regionName>{name}</regionName></item>")).concat();
    Answer::text(
        200,
        format!("<DescribeRegionsResponse><regionInfo>{items}</regionInfo></DescribeRegionsResponse>"),
    )
}

fn regions(names: &[&str]) -> Vec<Region> {
    names.iter().map(|name| Region::new(name).unwrap()).collect()
}

fn hints(allowed: &[&str], complete: bool) -> RegionHints {
    RegionHints { allowed: regions(allowed).into_iter().collect(), complete }
}

async fn ask(aws: &StandIn, hints: &RegionHints) -> (Result<EnabledRegions, Problem>, Vec<String>) {
    let mut settings = with_roles(&aws.endpoint, &[A]);
    settings.retry.attempts = 2;
    let source = source(settings);
    source.accounts().await.unwrap();
    let enabled = source.enabled_regions(&account(A), hints).await;
    (enabled, aws.seen("ec2:DescribeRegions").into_iter().map(|seen| seen.region).collect())
}

#[tokio::test]
async fn a_region_lock_that_closes_the_home_region_is_no_obstacle() {
    for open in ["eu-central-1", "ca-central-1"] {
        let aws = aws("AccessDeniedException", move |seen| {
            if seen.region == open { listed(["us-east-1", "eu-central-1"]) } else { denied() }
        })
        .await;
        let (enabled, asked) = ask(&aws, &hints(&["eu-central-1"], true)).await;
        let expected = regions(&["eu-central-1", "us-east-1"]);
        assert_eq!(enabled.unwrap(), EnabledRegions::Listed(expected), "what EC2 lists is a list");
        assert_eq!(asked[..2], ["us-east-1", "eu-central-1"]);
        assert_eq!(asked.last().unwrap(), open);
    }
}

#[tokio::test]
async fn without_any_list_the_regions_that_every_entry_names_are_assumed() {
    for code in ["UnauthorizedOperation", "AuthFailure"] {
        let aws = aws("AccessDeniedException", move |_| refused(code)).await;
        let (enabled, asked) = ask(&aws, &hints(&["eu-central-1", "sa-east-1"], true)).await;
        let expected = regions(&["eu-central-1", "sa-east-1"]);
        assert_eq!(enabled.unwrap(), EnabledRegions::Assumed(expected));
        assert!(asked.len() < 25, "{asked:?}");
    }
    // An entry that names none would read what nobody knows.
    let aws = aws("AccessDeniedException", |_| denied()).await;
    let problem = ask(&aws, &hints(&["eu-central-1"], false)).await.0.unwrap_err();
    assert!(problem.message.contains("in us-east-1: UnauthorizedOperation"), "{problem}");
    let remedy = problem.remedy.unwrap();
    assert!(remedy.contains("`account:ListRegions` or `ec2:DescribeRegions`"), "{remedy}");
    assert!(remedy.contains("`regionPolicy.allow`"), "{remedy}");
}

#[tokio::test]
async fn nothing_is_assumed_where_aws_does_not_answer() {
    let aws = aws("AccessDeniedException", |_| Answer::text(503, "")).await;
    let (enabled, asked) = ask(&aws, &hints(&["eu-central-1"], true)).await;
    assert!(enabled.unwrap_err().remedy.is_none());
    assert!(asked.iter().all(|region| region == "us-east-1"), "{asked:?}");
    let aws = self::aws("ThrottlingException", |_| denied()).await;
    assert!(ask(&aws, &hints(&["eu-central-1"], true)).await.0.is_err());
}

#[tokio::test]
async fn other_partitions_are_asked_in_their_own_regions() {
    let aws = StandIn::start(|seen| match seen.call.as_str() {
        "sts:AssumeRole" => {
            let answer = super::sts(seen)?;
            Some(Answer { body: answer.body.replace("arn:aws:", "arn:aws-eusc:"), ..answer })
        }
        call if call.starts_with("account:") => Some(Answer::error(403, "AccessDeniedException")),
        "ec2:DescribeRegions" => Some(listed(["eusc-de-east-1"])),
        _ => None,
    })
    .await;
    let mut settings = crate::support::config(&aws.endpoint);
    settings.account_role_arns = vec![format!("arn:aws-eusc:iam::{A}:role/Reader")];
    let source = source(settings);
    let accounts = source.accounts().await.unwrap();
    assert_eq!(accounts[0].account.partition.as_str(), "aws-eusc");
    let enabled = source.regions(&accounts[0].account).await.unwrap();
    assert_eq!(enabled, regions(&["eusc-de-east-1"]));
    assert!(aws.all().iter().all(|seen| seen.region == "eusc-de-east-1"), "STS included");
    // An unknown partition is named, beside those that are known.
    let mut settings = crate::support::config(&aws.endpoint);
    settings.account_role_arns = vec![format!("arn:aws-mars:iam::{A}:role/Reader")];
    let accounts = crate::support::source(settings).accounts().await.unwrap();
    let problem = accounts[0].access.clone().unwrap_err().to_string();
    assert!(problem.contains("partition that Berth knows") && problem.contains("`aws-eusc`"), "{problem}");
}
