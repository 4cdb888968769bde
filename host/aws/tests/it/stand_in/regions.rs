//! Enabled regions, if policies deny access to the list.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use aws_smithy_types::date_time::{DateTime, Format};
use berth_aws::{AwsConfig, EndpointOverrides};
use berth_core::{EnabledRegions, Problem, Region, RegionHints};
use berth_http::{HttpParts, Proxies, ProxyUrl};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Answer, Seen, StandIn, from_now};
use crate::support::{Resync, account, config, source, source_over, with_roles};

const A: &str = "111111111111";
const CALL: &str = "ec2:DescribeRegions";

/// An AWS whose EC2 answers `ec2` to the list of regions, and whose Account service answers with this code.
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
    let enabled = ask_with(settings, hints).await.1;
    (enabled, aws.seen(CALL).into_iter().map(|seen| seen.region).collect())
}

async fn ask_with(settings: AwsConfig, hints: &RegionHints) -> (Resync, Result<EnabledRegions, Problem>) {
    let source = source(settings);
    source.accounts().await.unwrap();
    let enabled = source.enabled_regions(&account(A), hints).await;
    (source, enabled)
}

#[tokio::test]
async fn ec2_is_asked_for_enabled_regions_and_others_are_ignored() {
    let aws = aws("AccessDeniedException", |_| {
        let item = |name: &str, status: &str| {
            format!("<item><regionName>{name}</regionName><optInStatus>{status}</optInStatus></item>")
        };
        let items = [
            item("us-east-1", "opt-in-not-required"),
            item("me-south-1", "not-opted-in"),
            item("af-south-1", "opted-in"),
        ];
        let items = items.concat();
        Answer::text(
            200,
            format!("<DescribeRegionsResponse><regionInfo>{items}</regionInfo></DescribeRegionsResponse>"),
        )
    })
    .await;
    let (enabled, _) = ask(&aws, &RegionHints::default()).await;
    assert_eq!(enabled.unwrap(), EnabledRegions::Listed(regions(&["af-south-1", "us-east-1"])));
    let seen = aws.seen(CALL).remove(0);
    let input = ["Filter.1.Name", "Filter.1.Value.1", "Filter.1.Value.2"].map(|name| &seen.input[name]);
    assert_eq!(input, ["opt-in-status", "opt-in-not-required", "opted-in"]);
    assert_eq!((seen.input.get("AllRegions"), seen.key), (None, format!("ASIA{A}")), "{}", seen.input);
}

#[tokio::test]
async fn an_empty_list_of_regions_is_an_error() {
    for (body, reason) in [
        (
            "<DescribeRegionsResponse><regionInfo></regionInfo></DescribeRegionsResponse>",
            "EC2 returned no region",
        ),
        ("<DescribeRegionsResponse></DescribeRegionsResponse>", "has no list `Regions[]`"),
        ("<DescribeRegionsResponse><regionInfo><item><regionName>us-ea", "cannot read the response"),
        ("<html><body>Welcome to this network</body></html>", "cannot read the response"),
    ] {
        let aws = aws("AccessDeniedException", move |_| Answer::text(200, body)).await;
        let problem = ask(&aws, &hints(&["eu-central-1"], true)).await.0.unwrap_err();
        assert!(problem.message.contains(reason), "{body}: {problem}");
    }
}

#[tokio::test]
async fn temporary_rejections_by_ec2_are_retried() {
    let expired = || Answer { status: 400, ..refused("RequestExpired") };
    let aws = aws("AccessDeniedException", move |seen| match seen.before {
        0 => Answer { status: 503, ..refused("RequestLimitExceeded") },
        1 => Answer::text(
            500,
            "<Response><Errors><Error><Code>InternalError</Code></Error></Errors></Response>",
        ),
        2 => expired(),
        3 => refused("AuthFailure"),
        _ => listed(["us-east-1"]),
    })
    .await;
    let (source, enabled) = ask_with(with_roles(&aws.endpoint, &[A]), &RegionHints::default()).await;
    assert_eq!(enabled.unwrap(), EnabledRegions::Listed(regions(&["us-east-1"])));
    let calls = source.stats().calls[CALL];
    assert_eq!((calls.requests, calls.retries, calls.throttled, calls.errors), (5, 4, 1, 0));
    assert_eq!(aws.seen("sts:AssumeRole").len(), 3, "renewed when expired, and in doubt");
}

#[tokio::test]
async fn ec2_is_given_up_if_it_does_not_respond() {
    let aws = aws("AccessDeniedException", |_| listed(["us-east-1"]).after(Duration::from_secs(30))).await;
    let mut settings = with_roles(&aws.endpoint, &[A]);
    (settings.retry.attempts, settings.retry.attempt_timeout) = (2, Duration::from_millis(300));
    let (source, enabled) = ask_with(settings, &hints(&["eu-central-1"], true)).await;
    let problem = enabled.unwrap_err();
    assert!(problem.message.contains("no response from 127.0.0.1 after 2 attempts"), "{problem}");
    assert!(problem.remedy.is_some(), "{problem}");
    assert_eq!(source.stats().calls[CALL].requests, 2);
}

#[tokio::test]
async fn requests_to_ec2_use_the_clock_of_aws() {
    let date = || from_now(1200).fmt(Format::HttpDate).unwrap();
    let aws = aws("AccessDeniedException", move |seen| {
        let answer = if seen.before == 0 { refused("AuthFailure") } else { listed(["us-east-1"]) };
        answer.header("date", date())
    })
    .await;
    let (enabled, _) = ask(&aws, &RegionHints::default()).await;
    assert_eq!(enabled.unwrap(), EnabledRegions::Listed(regions(&["us-east-1"])));
    let ahead = DateTime::from_secs(DateTime::from(SystemTime::now()).secs() + 600);
    let ahead = ahead.fmt(Format::DateTime).unwrap().replace(['-', ':'], "");
    let dates: Vec<bool> = aws.seen(CALL).iter().map(|seen| seen.date > ahead).collect();
    assert_eq!(dates, [false, true]);
}

/// A proxy that refuses every connection, and the requested addresses.
async fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 2048];
            let length = stream.read(&mut request).await.unwrap_or_default();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            kept.lock().unwrap().extend(request.split(' ').nth(1).map(str::to_owned));
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
            _ = stream.write_all(refusal.as_bytes()).await;
        }
    });
    (port, asked)
}

#[tokio::test]
async fn ec2_is_asked_at_the_endpoint_of_the_partition_and_of_the_settings() {
    let stand_in = StandIn::start(|_| None).await;
    for (partition, fips, dual_stack, expected) in [
        ("aws", false, false, "ec2.us-east-1.amazonaws.com"),
        ("aws", true, false, "ec2-fips.us-east-1.amazonaws.com"),
        ("aws", false, true, "ec2.us-east-1.api.aws"),
        ("aws-cn", false, false, "ec2.cn-north-1.amazonaws.com.cn"),
        ("aws-us-gov", false, false, "ec2.us-gov-west-1.amazonaws.com"),
        ("aws-eusc", false, false, "ec2.eusc-de-east-1.amazonaws.eu"),
    ] {
        let (port, asked) = proxy().await;
        let proxies = Proxies {
            https: ProxyUrl::parse(&format!("http://berth:hush@127.0.0.1:{port}")).ok(),
            ..Proxies::default()
        };
        let http = HttpParts { proxies, ..HttpParts::default() }.client().unwrap();
        let mut settings = config(&stand_in.endpoint);
        settings.account_role_arns = vec![format!("arn:{partition}:iam::{A}:role/Reader")];
        settings.endpoints = EndpointOverrides::new().service("STS", stand_in.endpoint.parse().unwrap());
        (settings.fips, settings.dual_stack) = (fips, dual_stack);
        let source = source_over(settings, http);
        let accounts = source.accounts().await.unwrap();
        let problem = source.regions(&accounts[0].account).await.unwrap_err().to_string();
        let asked = asked.lock().unwrap().clone();
        assert!(asked.contains(&format!("{expected}:443")), "{partition}: {asked:?} {problem}");
        assert!(problem.contains("HTTPS_PROXY") && !problem.contains("hush"), "{problem}");
        assert!(problem.contains(&format!("no response from {expected} after 1 attempt:")), "{problem}");
    }
}

#[tokio::test]
async fn a_custom_endpoint_overrides_everything_else() {
    let aws = aws("AccessDeniedException", |_| listed(["eu-west-1"])).await;
    let mut settings = with_roles("http://127.0.0.1:1", &[A]);
    let stand_in = || aws.endpoint.parse().unwrap();
    settings.endpoints = EndpointOverrides::new().service("STS", stand_in()).service("ACCOUNT", stand_in());
    settings.endpoints =
        settings.endpoints.service("EC2", format!("{}/below/", aws.endpoint).parse().unwrap());
    let (_, enabled) = ask_with(settings, &RegionHints::default()).await;
    assert_eq!(enabled.unwrap(), EnabledRegions::Listed(regions(&["eu-west-1"])));
    let url = aws.seen(CALL)[0].raw["url"].clone();
    assert_eq!(url, json!(format!("{}/below/", aws.endpoint)));
}

#[tokio::test]
async fn a_policy_that_denies_the_home_region_is_no_obstacle() {
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
async fn without_a_list_the_regions_of_the_entries_are_assumed() {
    for code in ["UnauthorizedOperation", "AuthFailure"] {
        let aws = aws("AccessDeniedException", move |_| refused(code)).await;
        let (enabled, asked) = ask(&aws, &hints(&["eu-central-1", "sa-east-1"], true)).await;
        let expected = regions(&["eu-central-1", "sa-east-1"]);
        assert_eq!(enabled.unwrap(), EnabledRegions::Assumed(expected));
        assert!(asked.len() < 25, "{asked:?}");
    }
    // An entry without regions would read unknown regions.
    let aws = aws("AccessDeniedException", |_| denied()).await;
    let problem = ask(&aws, &hints(&["eu-central-1"], false)).await.0.unwrap_err();
    assert!(problem.message.contains("in us-east-1: UnauthorizedOperation"), "{problem}");
    let remedy = problem.remedy.unwrap();
    assert!(remedy.contains("`account:ListRegions` or `ec2:DescribeRegions`"), "{remedy}");
    assert!(remedy.contains("`regionPolicy.allow`"), "{remedy}");
}

#[tokio::test]
async fn no_region_is_assumed_if_aws_does_not_respond() {
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
    let mut settings = config(&aws.endpoint);
    settings.account_role_arns = vec![format!("arn:aws-eusc:iam::{A}:role/Reader")];
    let source = source(settings);
    let accounts = source.accounts().await.unwrap();
    assert_eq!(accounts[0].account.partition.as_str(), "aws-eusc");
    let enabled = source.regions(&accounts[0].account).await.unwrap();
    assert_eq!(enabled, regions(&["eusc-de-east-1"]));
    assert!(aws.all().iter().all(|seen| seen.region == "eusc-de-east-1"), "STS included");
    // The error for an unknown partition lists the known ones.
    let mut settings = config(&aws.endpoint);
    settings.account_role_arns = vec![format!("arn:aws-mars:iam::{A}:role/Reader")];
    let accounts = crate::support::source(settings).accounts().await.unwrap();
    let problem = accounts[0].access.clone().unwrap_err().to_string();
    assert!(problem.contains("partition that Berth knows") && problem.contains("`aws-eusc`"), "{problem}");
}
