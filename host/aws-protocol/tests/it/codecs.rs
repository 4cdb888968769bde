//! Tests the codecs through the public API: requests in AWS's format, and responses as the AWS CLI prints
//! them. `tests/differential` compares every operation with botocore; this file has cases for readers, and
//! cases where botocore cannot serve as a reference.

use berth_aws_protocol::{AwsService, DecodeError, Operation, WireRequest};
use berth_core::Path;
use http::HeaderMap;
use proptest::prelude::*;
use serde_json::{Value, json};

fn operation(name: &str) -> Operation {
    let (service, operation) = name.split_once('.').unwrap();
    AwsService::load(service).unwrap().operation(operation).unwrap()
}

fn decode(name: &str, body: &str) -> Value {
    operation(name).decode(200, &HeaderMap::new(), body.as_bytes()).unwrap()
}

/// Checks that decoding a page, with its items apart, has the same result as [`decode`].
#[track_caller]
fn page(name: &str, body: &str, items: &str) -> (Vec<String>, Value) {
    let path = Path::parse(items).unwrap();
    let page = operation(name).decode_page(200, &HeaderMap::new(), body.as_bytes(), &path).unwrap();
    let mut whole = decode(name, body);
    let expected = path.take_all(&mut whole);
    let items: Vec<Value> = page.items.iter().map(|item| serde_json::from_slice(item).unwrap()).collect();
    assert_eq!(items, expected);
    let texts = page.items.iter().map(|item| String::from_utf8(item.to_vec()).unwrap());
    (texts.collect(), page.rest)
}

fn encode(name: &str, input: &Value) -> WireRequest {
    operation(name).encode(input).unwrap()
}

const INSTANCES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>8f7724cf</requestId>
    <reservationSet>
        <item>
            <reservationId>r-1</reservationId>
            <groupSet/>
            <instancesSet>
                <item>
                    <instanceId>i-1</instanceId>
                    <launchTime>2024-01-02T03:04:05.000Z</launchTime>
                    <instanceState><code>16</code><name>running</name></instanceState>
                    <ebsOptimized>false</ebsOptimized>
                    <tagSet><item><key>Name</key><value>a &amp; b</value></item></tagSet>
                    <aMemberOfTomorrow><item>x</item></aMemberOfTomorrow>
                </item>
            </instancesSet>
        </item>
    </reservationSet>
    <nextToken>more</nextToken>
</DescribeInstancesResponse>"#;

#[test]
fn ec2_uses_forms_and_xml() {
    let request = encode(
        "ec2.DescribeInstances",
        &json!({"Filters": [{"Name": "tag:Name", "Values": ["a b", "c"]}], "MaxResults": 5}),
    );
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/"));
    assert_eq!(
        String::from_utf8(request.body).unwrap(),
        "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3AName&Filter.1.Value.1=a+b\
         &Filter.1.Value.2=c&MaxResults=5"
    );
    let answer = decode("ec2.DescribeInstances", INSTANCES);
    assert_eq!(
        answer,
        json!({
            "NextToken": "more",
            "Reservations": [{
                "ReservationId": "r-1",
                "Groups": [],
                "Instances": [{
                    "InstanceId": "i-1",
                    "LaunchTime": "2024-01-02T03:04:05Z",
                    "State": {"Code": 16, "Name": "running"},
                    "EbsOptimized": false,
                    "Tags": [{"Key": "Name", "Value": "a & b"}],
                }],
            }],
        })
    );
    let mut input = json!({"MaxResults": 5});
    let instances = operation("ec2.DescribeInstances");
    assert!(instances.pagination().unwrap().advance(&answer, &mut input).unwrap());
    assert_eq!(input, json!({"MaxResults": 5, "NextToken": "more"}));
}

#[test]
fn json_services_name_the_operation_in_a_header() {
    let request = encode("ecs.ListClusters", &json!({"maxResults": 10}));
    assert_eq!(request.headers["x-amz-target"], "AmazonEC2ContainerServiceV20141113.ListClusters");
    assert_eq!(request.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(request.body, br#"{"maxResults":10}"#);
    assert_eq!(encode("ecs.ListClusters", &Value::Null).body, b"{}");
    assert_eq!(
        decode(
            "organizations.DescribeAccount",
            r#"{"Account":{"Id":"111122223333","JoinedTimestamp":1.704164645123E9,"New":[{}]}}"#
        ),
        json!({"Account": {"Id": "111122223333", "JoinedTimestamp": "2024-01-02T03:04:05.123000Z"}})
    );
}

#[test]
fn s3_has_buckets_in_the_path_or_the_host() {
    let request = encode("s3.ListObjectsV2", &json!({"Bucket": "my-bucket", "Prefix": "a/b c"}));
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/my-bucket"));
    assert_eq!(
        request.query,
        [("list-type".to_owned(), "2".to_owned()), ("prefix".to_owned(), "a/b c".to_owned())]
    );
    let hosted = request.virtual_hosted();
    assert_eq!((hosted.host_prefix.as_deref(), hosted.path.as_str()), (Some("my-bucket."), "/"));

    let hosted = encode("s3.HeadObject", &json!({"Bucket": "my-bucket", "Key": "a/b c"})).virtual_hosted();
    assert_eq!((hosted.host_prefix.as_deref(), hosted.path.as_str()), (Some("my-bucket."), "/a/b%20c"));
    let dotted = encode("s3.GetBucketTagging", &json!({"Bucket": "my.bucket"})).virtual_hosted();
    assert_eq!((dotted.host_prefix.as_deref(), dotted.path.as_str()), (None, "/my.bucket"));
    let none = encode("s3.ListBuckets", &json!({})).virtual_hosted();
    assert_eq!((none.host_prefix.as_deref(), none.path.as_str()), (None, "/"));
}

#[test]
fn the_account_can_be_a_part_of_the_host() {
    let request = encode("s3control.ListJobs", &json!({"AccountId": "111122223333"}));
    assert_eq!(request.host_prefix.as_deref(), Some("111122223333."));
    assert_eq!(request.headers["x-amz-account-id"], "111122223333");
}

#[test]
fn additions_of_the_cli_to_the_models_are_implemented() {
    let location = |text: &str| {
        decode("s3.GetBucketLocation", &format!("<LocationConstraint>{text}</LocationConstraint>"))
    };
    assert_eq!(location("eu-west-1"), json!({"LocationConstraint": "eu-west-1"}));
    assert_eq!(location(""), json!({"LocationConstraint": null}));

    let role = decode(
        "iam.GetRole",
        "<GetRoleResponse><GetRoleResult><Role><RoleName>x</RoleName><AssumeRolePolicyDocument>\
         %7B%22Version%22%3A%222012-10-17%22%7D</AssumeRolePolicyDocument></Role></GetRoleResult></GetRoleResponse>",
    );
    assert_eq!(role["Role"]["AssumeRolePolicyDocument"], json!({"Version": "2012-10-17"}));

    let zone = encode("route53.GetHostedZone", &json!({"Id": "/hostedzone/Z1"}));
    assert_eq!(zone.path, "/2013-04-01/hostedzone/Z1");
    let vaults = encode("glacier.ListVaults", &json!({}));
    assert_eq!(
        (vaults.path.as_str(), vaults.headers.contains_key("x-amz-glacier-version")),
        ("/-/vaults", true)
    );
}

#[test]
fn an_error_with_status_200_is_an_error() {
    let body = "<?xml version=\"1.0\"?>\n<Error><Code>InternalError</Code><Message>again</Message></Error>";
    let error = operation("s3.GetBucketAcl").decode(200, &HeaderMap::new(), body.as_bytes()).unwrap_err();
    let DecodeError::Service { error, .. } = error else { panic!("{error}") };
    assert_eq!((error.code.as_str(), error.message.as_str()), ("InternalError", "again"));
}

#[test]
fn an_error_without_a_body_has_its_status_for_a_code() {
    let error = operation("s3.HeadBucket").decode_error(404, &HeaderMap::new(), b"");
    assert_eq!(error.to_string(), "404: Not Found");
    let page = b"<html><body>gateway</body></html>";
    let error = operation("ec2.DescribeInstances").decode_error(503, &HeaderMap::new(), page);
    assert_eq!(error.to_string(), "503: Service Unavailable");
}

#[test]
fn a_wrong_input_is_reported_with_its_place() {
    for (name, input, expected) in [
        ("ec2.DescribeInstances", json!({"Filter": []}), "at `Filter`: unknown member; the known ones are: "),
        (
            "ec2.DescribeInstances",
            json!({"Filters": [{"Values": [1]}]}),
            "at `Filters[0].Values[0]`: a number is not a text",
        ),
        (
            "ec2.DescribeInstances",
            json!({"MaxResults": 1.5}),
            "at `MaxResults`: a number with a fraction is not a whole number",
        ),
        ("ec2.DescribeInstances", json!({"DryRun": null}), "at `DryRun`: null is not true or false"),
        ("ec2.DescribeInstances", json!([]), "at `.`: a list is not an object"),
        ("s3.GetBucketTagging", json!({}), "at `Bucket`: a required member is missing"),
        ("s3.GetBucketTagging", json!({"Bucket": ""}), "at `Bucket`: must not be empty"),
        (
            "s3.GetBucketTagging",
            json!({"Bucket": "x", "ExpectedBucketOwner": "a\nb"}),
            "at `ExpectedBucketOwner`: not a valid header value",
        ),
        (
            "s3control.ListJobs",
            json!({"AccountId": "evil.example.com/"}),
            "at `AccountId`: must contain only letters",
        ),
        ("cloudtrail.LookupEvents", json!({"StartTime": "soon"}), "at `StartTime`: not a time"),
    ] {
        let error = operation(name).encode(&input).unwrap_err().to_string();
        assert!(error.starts_with(&format!("input of {name}, ")) && error.contains(expected), "{error}");
    }
}

#[test]
fn items_stay_text_in_the_order_of_the_model() {
    let (instances, rest) = page("ec2.DescribeInstances", INSTANCES, "Reservations[].Instances[]");
    assert_eq!(
        instances,
        [concat!(
            r#"{"EbsOptimized":false,"Tags":[{"Key":"Name","Value":"a & b"}],"InstanceId":"i-1","#,
            r#""State":{"Code":16,"Name":"running"},"LaunchTime":"2024-01-02T03:04:05Z"}"#
        )]
    );
    assert_eq!(
        rest,
        json!({"NextToken": "more", "Reservations": [{"ReservationId": "r-1", "Groups": [], "Instances": [null]}]})
    );

    let tasks = r#"{"taskDefinition": {"containerDefinitions": [{"name": "a"}, null, {"cpu": 1, "cpu": 2,
        "name": "b", "image": null}]}, "tags": [], "taskDefinition": {"containerDefinitions": [{"name": "c"},
        {"cpu": 3, "name": "d\n"}], "family": null}}"#;
    let (containers, rest) =
        page("ecs.DescribeTaskDefinition", tasks, "taskDefinition.containerDefinitions[]");
    assert_eq!(containers, [r#"{"name":"c"}"#, r#"{"name":"d\n","cpu":3}"#], "the last of two counts");
    assert_eq!(rest, json!({"tags": [], "taskDefinition": {"containerDefinitions": [null, null]}}));
    assert_eq!(
        page("ecs.DescribeTaskDefinition", tasks, "taskDefinition.containerDefinitions[1]").0.len(),
        1
    );
    assert_eq!(page("ecs.DescribeTaskDefinition", tasks, "taskDefinition.family").0.len(), 0);
    assert_eq!(page("ecs.DescribeTaskDefinition", tasks, "@").0.len(), 1);
}

#[test]
fn tokens_within_items_are_kept() {
    let objects = "<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key></Contents>\
        <Name>b</Name><Contents><Key>c</Key></Contents></ListBucketResult>";
    let (keys, rest) = page("s3.ListObjects", objects, "Contents[]");
    assert_eq!(keys, [r#"{"Key":"a"}"#, r#"{"Key":"c"}"#]);
    let mut input = json!({"Bucket": "b"});
    assert!(operation("s3.ListObjects").pagination().unwrap().advance(&rest, &mut input).unwrap());
    assert_eq!(input, json!({"Bucket": "b", "Marker": "c"}));
}

/// One response for each protocol.
const ANSWERS: [(&str, &str); 5] = [
    ("ec2.DescribeInstances", INSTANCES),
    (
        "sts.GetCallerIdentity",
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>1</Account></GetCallerIdentityResult></GetCallerIdentityResponse>",
    ),
    (
        "s3.ListBuckets",
        "<ListAllMyBucketsResult><Buckets><Bucket><Name>a</Name></Bucket></Buckets></ListAllMyBucketsResult>",
    ),
    ("ecs.ListClusters", r#"{"clusterArns":["a","b"]}"#),
    ("lambda.ListFunctions", r#"{"Functions":[{"FunctionName":"a","Timeout":3}]}"#),
];

#[test]
fn a_truncated_response_is_never_a_shorter_response() {
    for (name, body) in ANSWERS {
        let operation = operation(name);
        let whole = operation.decode(200, &HeaderMap::new(), body.as_bytes()).unwrap();
        assert!(whole.as_object().is_some_and(|members| !members.is_empty()), "{name}");
        for end in 0..body.len() {
            let cut = &body.as_bytes()[..end];
            let result = operation.decode(200, &HeaderMap::new(), cut);
            assert!(result.is_err(), "{name} cut at {end}: {result:?}");
        }
    }
}

#[test]
fn a_response_in_another_format_is_an_error() {
    for (name, body) in [
        ("ecs.ListClusters", "<html>a portal's login page</html>"),
        ("ecs.ListClusters", "[]"),
        ("ecs.ListClusters", "null"),
        ("lambda.ListFunctions", r#"{"Functions":[]} {}"#),
        ("sts.GetCallerIdentity", "<html><body>a portal's login page</body></html>"),
        ("ec2.DescribeInstances", "{}"),
        ("ec2.DescribeInstances", "<html/>"),
        ("ec2.DescribeInstances", "<DescribeInstancesResponse/><b/>"),
        ("s3.ListBuckets", "<HTML><BODY>a portal's login page</BODY></HTML>"),
    ] {
        let result = operation(name).decode(200, &HeaderMap::new(), body.as_bytes());
        assert!(matches!(result, Err(DecodeError::Malformed { .. })), "{name} {body}: {result:?}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = format!("{}{}", r#"{"x":"#.repeat(100_000), "}".repeat(100_000));
    assert!(operation("ecs.ListClusters").decode(200, &HeaderMap::new(), deep.as_bytes()).is_err());
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert_eq!(decode("ec2.DescribeInstances", &format!("<XResponse>{deep}</XResponse>")), json!({}));
    assert_eq!(
        operation("ec2.DescribeInstances").decode_error(400, &HeaderMap::new(), deep.as_bytes()).code,
        "400"
    );
    let deep = vec![0x81; 100_000];
    assert!(operation("cloudwatchomni.ListAlerts").decode(200, &HeaderMap::new(), &deep).is_err());
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let mangled =
        (0..ANSWERS.len(), any::<prop::sample::Index>(), any::<Vec<u8>>()).prop_map(|(answer, at, bytes)| {
            let mut body = ANSWERS[answer].1.as_bytes().to_vec();
            let at = at.index(body.len());
            body.splice(at..at, bytes);
            body
        });
    prop_oneof![any::<Vec<u8>>(), mangled]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_response_panics(body in any_body(), status in 100_u16..600) {
        let others = ["cloudwatchomni.ListAlerts", "s3.GetBucketLocation", "iam.GetRole"];
        for name in ANSWERS.iter().map(|(name, _)| *name).chain(others) {
            let operation = operation(name);
            let _ = operation.decode(status, &HeaderMap::new(), &body);
            let _ = operation.decode_error(status, &HeaderMap::new(), &body);
            for items in ["Reservations[].Instances[]", "Buckets[].Name", "clusterArns[]", "Functions[0]", "Role"] {
                let path = Path::parse(items).unwrap();
                let whole = operation.decode_list(status, &HeaderMap::new(), &body, &[&path]);
                match (operation.decode_page(status, &HeaderMap::new(), &body, &path), whole) {
                    (Ok(page), Ok((mut whole, repairs))) => {
                        prop_assert_eq!(page.repairs, repairs);
                        let expected = path.take_all(&mut whole);
                        let items = page.items.iter().map(|item| serde_json::from_slice(item).unwrap());
                        prop_assert_eq!(items.collect::<Vec<Value>>(), expected);
                        prop_assert_eq!(page.rest, whole);
                    }
                    (page, whole) => prop_assert_eq!(page.err(), whole.err()),
                }
            }
        }
    }
}
