//! Sending: retries, throttling, credentials.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use berth_aws::{AwsConfig, AwsSource, EndpointOverrides};
use berth_core::{FetchError, KindManifest};
use berth_http::{HttpParts, Proxies, ProxyUrl};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{Answer, Seen, StandIn, assumed};
use crate::support::{Read, Resync, http, kind, read, source, source_over, with_roles};

const A: &str = "111111111111";
const CALL: &str = "ecs:ListClusters";

fn clusters() -> Arc<KindManifest> {
    kind(
        "regional",
        &json!({"steps": [{"id": "arns", "service": "ecs", "operation": "ListClusters", "items": "clusterArns[]"}]}),
    )
}

fn some() -> Answer {
    Answer::json(&json!({"clusterArns": ["arn:c"]}))
}

async fn ready(aws: &StandIn) -> Resync {
    let source = source(with_roles(&aws.endpoint, &[A]));
    source.accounts().await.unwrap();
    source
}

async fn read_clusters(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (StandIn, Resync, Read) {
    let aws = StandIn::start(move |seen| (seen.call == CALL).then(|| answer(seen))).await;
    let source = ready(&aws).await;
    let found = read(&source, A, &["eu-west-1"], &clusters(), &[]).await;
    (aws, source, found)
}

#[tokio::test]
async fn throttled_requests_are_retried() {
    let (aws, source, found) = read_clusters(|seen| match seen.before {
        0..3 => Answer::error(400, "ThrottlingException"),
        _ => some(),
    })
    .await;
    assert_eq!(found.complete().len(), 1);
    let stats = source.stats().calls[CALL];
    assert_eq!((stats.requests, stats.retries, stats.throttled, stats.errors), (4, 3, 3, 0));
    assert_eq!(aws.seen(CALL)[0].region, "eu-west-1");
}

#[tokio::test]
async fn a_throttled_service_slows_no_other() {
    let aws = StandIn::start(|seen| match seen.call.as_str() {
        CALL if seen.region == "eu-west-1" && seen.before == 0 => {
            Some(Answer::error(429, "TooManyRequestsException").header("retry-after", "1"))
        }
        CALL => Some(some()),
        _ => None,
    })
    .await;
    let source = ready(&aws).await;
    let (kind, start) = (clusters(), Instant::now());
    let timed = |region: &'static str| {
        let (source, kind) = (&source, &kind);
        async move {
            // The throttled call is in progress before the other starts.
            tokio::time::sleep(Duration::from_millis(if region == "eu-west-1" { 0 } else { 100 })).await;
            read(source, A, &[region], kind, &[]).await.complete();
            start.elapsed()
        }
    };
    let (slow, fast) = tokio::join!(timed("eu-west-1"), timed("us-east-1"));
    assert!(slow >= Duration::from_secs(1), "Retry-After is honoured: {slow:?}");
    assert!(fast < Duration::from_millis(900), "{fast:?}");
}

#[tokio::test]
async fn failures_are_retried_ten_times() {
    let (_, source, found) = read_clusters(|_| Answer::text(503, "")).await;
    let Some(FetchError::Failed(problem)) = found.error else { panic!("{found:?}") };
    assert!(problem.message.contains("`ecs:ListClusters`"), "{problem}");
    assert_eq!(source.stats().calls[CALL].requests, 10);
}

#[tokio::test]
async fn an_invalid_request_is_not_retried() {
    let (_, source, found) = read_clusters(|_| Answer::error(400, "ClientException")).await;
    let Some(FetchError::Failed(problem)) = found.error else { panic!("{found:?}") };
    assert!(problem.message.ends_with("ClientException: because"), "{problem}");
    assert_eq!(source.stats().calls[CALL].requests, 1);
}

#[tokio::test]
async fn a_dead_endpoint_is_named() {
    let aws = StandIn::start(|_| None).await;
    let mut config = with_roles(&aws.endpoint, &[A]);
    config.endpoints = config.endpoints.service("ECS", "http://127.0.0.1:9".parse().unwrap());
    let source = source(config);
    source.accounts().await.unwrap();
    let found = read(&source, A, &["eu-west-1"], &clusters(), &[]).await;
    let Some(FetchError::Failed(problem)) = found.error else { panic!("{found:?}") };
    assert!(problem.message.contains("no response from 127.0.0.1 after 10 attempts"), "{problem}");
    assert!(problem.remedy.unwrap().contains("AWS_ENDPOINT_URL"));
}

#[tokio::test]
async fn no_request_to_another_machine_is_unencrypted() {
    let overrides = |all: &str, sts: &str| {
        EndpointOverrides::new().all(all.parse().unwrap()).service("STS", sts.parse().unwrap())
    };
    let here = "http://127.0.0.1:5000";
    for (endpoints, may) in [
        (overrides(here, "http://localhost:1"), true),
        (overrides("https://aws.example", here), true),
        (overrides("http://aws.example", here), false),
        (overrides(here, "http://10.0.0.1:5000"), false),
    ] {
        let config = AwsConfig { endpoints, ..with_roles(here, &[A]) };
        let made = AwsSource::new(config, http());
        assert_eq!(made.as_ref().err().map(|error| error.setting), (!may).then_some("AWS_ENDPOINT_URL"));
    }
}

/// Answers every request with a 407, like a proxy with a different password; returns its port.
async fn proxy_that_refuses() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            _ = stream.read(&mut [0; 1024]).await;
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
            _ = stream.write_all(refusal.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn a_lasting_failure_is_not_retried_and_not_blamed_on_the_keys() {
    let proxy = proxy_that_refuses().await;
    let proxies = Proxies {
        https: ProxyUrl::parse(&format!("http://berth:hush@127.0.0.1:{proxy}")).ok(),
        ..Proxies::default()
    };
    let http = HttpParts { proxies, ..HttpParts::default() }.client().unwrap();
    let aws = StandIn::start(|_| None).await;
    let mut config = with_roles(&aws.endpoint, &[A]);
    // Only the STS requests use the proxy.
    config.endpoints = config.endpoints.service("STS", "https://sts.invalid".parse().unwrap());
    let begun = Instant::now();
    let source = source_over(config, http.clone());
    let problems = [
        source.base_identity().await.unwrap_err(),
        source.accounts().await.unwrap().remove(0).access.unwrap_err(),
    ];
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for problem in problems {
        let text = problem.to_string();
        assert!(text.contains("407") && text.contains("HTTPS_PROXY"), "{text}");
        for other in ["ACCESS_KEY", "trust policy", "hush"] {
            assert!(!text.contains(other), "{other}: {text}");
        }
    }

    // Only the service requests use the proxy.
    let mut config = with_roles(&aws.endpoint, &[A]);
    config.endpoints = config.endpoints.service("ECS", "https://ecs.invalid".parse().unwrap());
    let source = source_over(config, http);
    source.accounts().await.unwrap();
    let found = read(&source, A, &["eu-west-1"], &clusters(), &[]).await;
    let Some(FetchError::Failed(problem)) = found.error else { panic!("{found:?}") };
    let text = problem.to_string();
    assert!(text.contains("after 1 attempt:") && text.contains("HTTPS_PROXY"), "{text}");
    assert_eq!(source.stats().calls[CALL].requests, 1);
}

#[tokio::test]
async fn denial_names_action_account_and_region() {
    for code in ["AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "OptInRequired"] {
        let (_, source, found) = read_clusters(move |_| Answer::error(400, code)).await;
        let Some(FetchError::Skipped(problem)) = found.error else { panic!("{code}: {found:?}") };
        let text = problem.to_string();
        assert!(text.contains(code) && text.contains("allow `ecs:ListClusters`"), "{text}");
        assert!(text.contains(A) && text.contains("eu-west-1"), "{text}");
        assert_eq!(source.stats().calls[CALL].requests, 1);
    }
}

#[tokio::test]
async fn expired_credentials_are_renewed() {
    let (aws, _, found) = read_clusters(|seen| match seen.before {
        0 => Answer::error(400, "ExpiredTokenException"),
        _ => some(),
    })
    .await;
    assert_eq!(found.complete().len(), 1);
    assert_eq!(aws.seen("sts:AssumeRole").len(), 2);
}

#[tokio::test]
async fn credentials_are_renewed_ahead_of_their_expiry_by_one_caller() {
    let aws = StandIn::start(|seen| match seen.call.as_str() {
        CALL => Some(some()),
        // A response that was received twenty seconds ago is stale when fifteen of eighty seconds are left.
        "sts:AssumeRole" if seen.before == 0 => Some(assumed(&seen.call, A, Duration::from_secs(2))),
        "sts:AssumeRole" => {
            Some(assumed(&seen.call, A, Duration::from_hours(1)).after(Duration::from_millis(50)))
        }
        _ => None,
    })
    .await;
    let source = ready(&aws).await;
    let kind = clusters();
    tokio::time::sleep(Duration::from_millis(1700)).await;
    let regions = ["eu-west-1", "eu-west-2", "eu-west-3", "us-east-1"];
    let reads = regions.iter().map(|region| read(&source, A, std::slice::from_ref(region), &kind, &[]));
    for found in futures::future::join_all(reads).await {
        assert_eq!(found.complete().len(), 1);
    }
    assert_eq!(aws.seen("sts:AssumeRole").len(), 2);
}

#[tokio::test]
async fn concurrent_equal_calls_share_a_request() {
    let aws =
        StandIn::start(|seen| (seen.call == CALL).then(|| some().after(Duration::from_millis(50)))).await;
    let source = ready(&aws).await;
    let (one, other) = (clusters(), clusters());
    let (one, other) = tokio::join!(
        read(&source, A, &["eu-west-1"], &one, &[]),
        read(&source, A, &["eu-west-1"], &other, &[])
    );
    assert_eq!(one.complete(), other.complete());
    assert_eq!(aws.seen(CALL).len(), 1);
    // The next resync sends the request again.
    source.accounts().await.unwrap();
    read(&source, A, &["eu-west-1"], &clusters(), &[]).await.complete();
    assert_eq!(aws.seen(CALL).len(), 2);
}

#[tokio::test]
async fn requests_are_signed_as_botocore_signs_them() {
    let aws = StandIn::start(|_| None).await;
    let source = ready(&aws).await;
    for (service, operation, input) in [
        ("ecs", "ListClusters", json!({"maxResults": 7})),
        ("ec2", "DescribeInstances", json!({"Filters": [{"Name": "tag:ü & v", "Values": ["a b*~", "c/d"]}]})),
        ("sns", "ListTopics", json!({"NextToken": "a+b/c=="})),
        ("lambda", "ListTags", json!({"Resource": "arn:aws:lambda:eu-west-1:111111111111:function:f"})),
        ("eks", "DescribeCluster", json!({"name": "a b+c"})),
        ("eks", "ListClusters", json!({"nextToken": "x y+z/=%&é", "maxResults": 3})),
        ("s3", "GetBucketTagging", json!({"Bucket": "bucket.with.dots"})),
        ("s3", "ListObjectsV2", json!({"Bucket": "b", "Prefix": "a b/ü+c", "Delimiter": "/"})),
    ] {
        let plan = json!({"steps": [
            {"id": "x", "service": service, "operation": operation, "input": input, "items": "x[]"}]});
        read(&source, A, &["eu-west-1"], &kind("regional", &plan), &[]).await;
    }
    let seen: Vec<serde_json::Value> = aws
        .all()
        .into_iter()
        .filter(|seen| !seen.call.starts_with("sts:"))
        .map(|seen| {
            let mut raw = seen.raw;
            raw["call"] = json!(seen.call);
            raw
        })
        .collect();
    assert_eq!(seen.len(), 8);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/signatures.py");
    let mut python = Command::new(crate::moto::python())
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(json!(seen).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "{}");
}

#[tokio::test]
async fn a_response_that_is_too_large_fails_its_request() {
    let arns: Vec<String> = (0..1000).map(|n| format!("arn:{n:0100}")).collect();
    let clusters_of =
        move |seen: &Seen| (seen.call == CALL).then(|| Answer::json(&json!({"clusterArns": arns})));
    let aws = StandIn::start(clusters_of).await;
    let source = source(AwsConfig { max_response_bytes: 50_000, ..with_roles(&aws.endpoint, &[A]) });
    source.accounts().await.unwrap();
    let found = read(&source, A, &["eu-west-1"], &clusters(), &[]).await;
    let Some(FetchError::Failed(problem)) = found.error else { panic!("{found:?}") };
    assert!(problem.message.contains("larger than 50000 bytes"), "{problem:?}");
    assert_eq!(source.stats().calls[CALL].requests, 1, "asking again gives the same");
}

/// Malformed text in an unused member does not fail the unit.
#[tokio::test]
async fn malformed_text_affects_nothing_else() {
    let (_, _, found) = read_clusters(|_| {
        let mut answer = some();
        answer.body = r#"{"clusterArns": ["arn:a", "cut \ud83d", "arn:c"]}"#.to_owned();
        answer
    })
    .await;
    let items: Vec<_> = found.complete().iter().map(|resource| resource["item"].clone()).collect();
    assert_eq!(items, ["arn:a", "cut \u{fffd}", "arn:c"]);
}
