//! Tests of the simulator other than the content of responses: authentication, throttling, counts.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use aws_simulator::{AwsSimulator, Latency, Options, Throttle};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const FORM: &str = "application/x-www-form-urlencoded";
const EXTERNAL_ID: &str = "an-external-id";

fn options() -> Options {
    Options {
        accounts: 3,
        role_name: Some("Reader".to_owned()),
        external_id: Some(EXTERNAL_ID.to_owned()),
        ..Options::default()
    }
}

/// A simulator, asked by hand.
struct Asked(AwsSimulator);

impl Asked {
    async fn start(options: Options) -> Self {
        Self(AwsSimulator::start(options).await.unwrap())
    }

    /// One request; the status and the whole answer.
    async fn send(&self, head: &str, headers: &[(&str, String)], body: &str) -> (u16, String) {
        let address = self.0.base_url().socket_addrs(|| None).unwrap()[0];
        let mut stream = TcpStream::connect(address).await.unwrap();
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let request = format!(
            "{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
    }

    async fn assume(&self, role: &str, external_id: &str) -> (u16, String) {
        let body = format!(
            "Action=AssumeRole&Version=2011-06-15&RoleSessionName=test&RoleArn={role}&ExternalId={external_id}"
        );
        self.query("AKIABASE", "us-east-1", "sts", &body).await
    }

    /// The key of the role in the account at this position.
    async fn key(&self, account: usize) -> String {
        let role = format!("arn:aws:iam::{}:role/Reader", self.0.accounts()[account]);
        let (status, answer) = self.assume(&role, EXTERNAL_ID).await;
        assert_eq!(status, 200, "{answer}");
        between(&answer, "<AccessKeyId>", "</AccessKeyId>").to_owned()
    }

    async fn query(&self, key: &str, region: &str, service: &str, body: &str) -> (u16, String) {
        let mut headers = signed(key, region, service);
        headers.push(("Content-Type", FORM.to_owned()));
        self.send("POST /", &headers, body).await
    }

    async fn vpcs(&self, key: &str, region: &str) -> (u16, String) {
        self.query(key, region, "ec2", "Action=DescribeVpcs&Version=2016-11-15&MaxResults=100").await
    }

    async fn ecs(&self, key: &str, region: &str, operation: &str, body: &str) -> (u16, String) {
        let mut headers = signed(key, region, "ecs");
        headers.push(("X-Amz-Target", format!("AmazonEC2ContainerServiceV20141113.{operation}")));
        self.send("POST /", &headers, body).await
    }

    async fn functions(&self, key: &str, region: &str) -> (u16, String) {
        self.send("GET /2015-03-31/functions", &signed(key, region, "lambda"), "").await
    }
}

fn signed(key: &str, region: &str, service: &str) -> Vec<(&'static str, String)> {
    let signature = "a".repeat(64);
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature={signature}"
    );
    vec![("Authorization", authorization), ("X-Amz-Security-Token", "token".to_owned())]
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    text.split_once(before).unwrap().1.split_once(after).unwrap().0
}

#[tokio::test]
async fn roles_are_assumed_with_the_right_external_id_and_keys_show_their_account() {
    let aws = Asked::start(options()).await;
    let account = aws.0.accounts()[2].clone();
    let role = format!("arn:aws:iam::{account}:role/Reader");
    for (role, external_id) in [
        (role.as_str(), "another"),
        (role.as_str(), ""),
        (&role.replace("Reader", "Writer"), EXTERNAL_ID),
        ("arn:aws:iam::999999999999:role/Reader", EXTERNAL_ID),
    ] {
        let (status, answer) = aws.assume(role, external_id).await;
        assert_eq!(status, 403, "{role} {external_id}");
        assert!(answer.contains("<Code>AccessDenied</Code>"), "{answer}");
    }
    let key = aws.key(2).await;
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    let (_, answer) = aws.query(&key, "us-east-1", "sts", identity).await;
    assert_eq!(between(&answer, "<Account>", "</Account>"), account);
    let (_, answer) = aws.vpcs(&key, "eu-west-1").await;
    assert!(answer.contains(&format!("<ownerId>{account}</ownerId>")), "{answer}");
    assert_eq!(aws.0.stats().by_account[&account], 2);
}

#[tokio::test]
async fn requests_without_a_whole_signature_are_refused() {
    let aws = Asked::start(options()).await;
    let form = [("Content-Type", FORM.to_owned())];
    let (status, answer) = aws.send("POST /", &form, "Action=DescribeVpcs&Version=2016-11-15").await;
    assert_eq!(status, 403, "{answer}");
    assert!(answer.contains("MissingAuthenticationToken"), "{answer}");
    let (status, answer) = aws.vpcs("ASIAAAAAAAAAAAAAAAAA", "us-east-1").await;
    assert_eq!(status, 403, "{answer}");
    assert!(answer.contains("<Errors><Error><Code>InvalidClientTokenId"), "{answer}");
    let broken = [("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c".to_owned())];
    let (status, answer) = aws.send("GET /", &broken, "").await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer.contains("IncompleteSignature"), "{answer}");
}

#[tokio::test]
async fn faults_and_denied_regions_come_in_the_words_of_each_service() {
    let aws = Asked::start(Options {
        denied_regions: vec!["eu-west-1".to_owned()],
        faults: vec![("ecs:ListClusters".to_owned(), "ServerException".to_owned())],
        ..options()
    })
    .await;
    let key = aws.key(0).await;
    let (status, answer) = aws.vpcs(&key, "eu-west-1").await;
    assert_eq!(status, 403);
    assert!(answer.contains("<Response><Errors><Error><Code>UnauthorizedOperation</Code>"), "{answer}");
    assert_eq!(aws.vpcs(&key, "us-east-1").await.0, 200);
    let (status, answer) = aws.functions(&key, "eu-west-1").await;
    assert_eq!(status, 403);
    assert!(answer.contains("x-amzn-errortype: AccessDeniedException"), "{answer}");
    let (status, answer) = aws.ecs(&key, "us-east-1", "ListClusters", "{}").await;
    assert_eq!(status, 400);
    assert!(answer.contains(r#""__type":"ServerException""#), "{answer}");
}

#[tokio::test]
async fn each_account_and_region_is_throttled_on_its_own_in_the_words_of_the_service() {
    let aws = Asked::start(Options { throttle: Throttle::Aws, ..options() }).await;
    let (first, second) = (aws.key(0).await, aws.key(1).await);
    // All at once, more than the bucket holds and than it gets meanwhile.
    let asked = futures::future::join_all((0..500).map(|_| aws.functions(&first, "eu-west-1"))).await;
    let throttled = asked.into_iter().find(|(status, _)| *status != 200);
    let (status, answer) = throttled.unwrap();
    assert_eq!(status, 429);
    assert!(answer.contains("x-amzn-errortype: TooManyRequestsException"), "{answer}");
    assert_eq!(aws.functions(&second, "eu-west-1").await.0, 200, "another account");
    assert_eq!(aws.functions(&first, "us-east-1").await.0, 200, "another region");
    let stats = aws.0.stats();
    assert!(stats.throttled > 0);
    assert_eq!(stats.errors, stats.throttled);
}

#[tokio::test]
async fn what_is_asked_is_counted_until_it_is_reset() {
    let latency: Latency = "constant:1ms".parse().unwrap();
    let aws = Asked::start(Options { latency, ..options() }).await;
    let key = aws.key(1).await;
    assert_eq!(aws.vpcs(&key, "eu-west-1").await.0, 200);
    assert_eq!(aws.ecs(&key, "us-east-1", "ListClusters", "{}").await.0, 200);
    let (_, answer) = aws.send("GET /_simulator/stats", &[], "").await;
    let stats: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(stats["requests"], 3);
    for operation in ["sts:AssumeRole", "ec2:DescribeVpcs", "ecs:ListClusters"] {
        assert_eq!(stats["by_operation"][operation], 1, "{operation}");
    }
    assert_eq!(stats["by_region"]["eu-west-1"], 1);
    assert_eq!(stats["by_account"][&aws.0.accounts()[1]], 2);
    assert_eq!(aws.send("POST /_simulator/reset", &[], "").await.0, 200);
    assert_eq!(aws.0.stats().requests, 0);
}

#[tokio::test]
async fn what_answers_refer_to_is_in_the_lists() {
    let aws = Asked::start(options()).await;
    let key = aws.key(0).await;
    let (_, listed) = aws.vpcs(&key, "eu-west-1").await;
    let (_, subnets) = aws.query(&key, "eu-west-1", "ec2", "Action=DescribeSubnets&Version=2016-11-15").await;
    let vpcs = subnets.split("<vpcId>").skip(1).map(|rest| rest.split('<').next().unwrap());
    let vpcs: Vec<&str> = vpcs.collect();
    assert_eq!(vpcs.len(), 3);
    for vpc in vpcs {
        assert!(listed.contains(&format!("<vpcId>{vpc}</vpcId>")), "{vpc} is not in {listed}");
    }
    let (_, clusters) = aws.ecs(&key, "eu-west-1", "ListClusters", "{}").await;
    let arn = between(&clusters, "[\"", "\"");
    let asked = format!(r#"{{"cluster":"{arn}"}}"#);
    let (_, services) = aws.ecs(&key, "eu-west-1", "ListServices", &asked).await;
    let service = between(&services, "[\"", "\"");
    let both = format!(r#"{{"cluster":"{arn}","services":["{service}"]}}"#);
    let (_, described) = aws.ecs(&key, "eu-west-1", "DescribeServices", &both).await;
    assert!(described.contains(&format!(r#""serviceArn":"{service}","#)), "{described}");
    assert!(described.contains(&format!(r#""clusterArn":"{arn}""#)), "{described}");
    // Another account does not have it.
    let (status, answer) = aws.ecs(&aws.key(1).await, "eu-west-1", "ListServices", &asked).await;
    assert_eq!(status, 400);
    assert!(answer.contains("ClusterNotFoundException"), "{answer}");
}

#[tokio::test]
async fn units_are_empty_in_the_share_that_is_asked_for() {
    let aws = Asked::start(Options { accounts: 1_000, empty_share: 0.9, ..options() }).await;
    let accounts = aws.0.accounts();
    let count = |kind: &str, account: &str| aws.0.resources(kind, account, "eu-west-1");
    let filled = accounts.iter().filter(|account| count("AWS::EC2::VPC", account) > 0).count();
    assert!((70..130).contains(&filled), "{filled} of a thousand");
    // What belongs to something is where that is.
    for account in &accounts {
        let (services, clusters) = (count("AWS::ECS::Service", account), count("AWS::ECS::Cluster", account));
        assert_eq!(services > 0, clusters > 0, "{account}");
    }
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    for (options, reported) in [
        (Options { accounts: 0, ..options() }, "accounts"),
        (Options { regions: Vec::new(), ..options() }, "regions"),
        (Options { empty_share: 1.5, ..options() }, "empty share"),
        (Options { kinds: vec![("AWS::EC2::Instanze".to_owned(), 1)], ..options() }, "AWS::EC2::Instanze"),
        (
            Options { faults: vec![("ecs:ListClusterz".to_owned(), "X".to_owned())], ..options() },
            "ecs:ListClusterz",
        ),
        (Options { plugins: "/nowhere".into(), ..options() }, "/nowhere"),
    ] {
        let error = AwsSimulator::start(options).await.unwrap_err().to_string();
        assert!(error.contains(reported), "{error}");
    }
}
