//! A malformed text, or a member that does not match the model, does not affect the rest.

use berth_aws_protocol::{AwsService, DecodeError, Operation, Repairs};
use berth_core::Path;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

fn operation(name: &str) -> Operation {
    let (service, operation) = name.split_once('.').unwrap();
    AwsService::load(service).unwrap().operation(operation).unwrap()
}

/// Returns the result of both ways of reading a response with a list.
#[track_caller]
fn read(name: &str, items: &str, body: &[u8]) -> Result<(Vec<Value>, Repairs), DecodeError> {
    let (operation, path) = (operation(name), Path::parse(items).unwrap());
    let list = operation.decode_list(200, &HeaderMap::new(), body, &[&path]);
    let page = operation.decode_page(200, &HeaderMap::new(), body, &path);
    match (page, list) {
        (Ok(page), Ok((mut whole, repairs))) => {
            let found: Vec<Value> =
                page.items.iter().map(|item| serde_json::from_slice(item).unwrap()).collect();
            assert_eq!((&found, page.repairs), (&path.take_all(&mut whole), repairs));
            Ok((found, repairs))
        }
        (Err(page), Err(list)) => {
            assert_eq!(page, list);
            Err(page)
        }
        (page, list) => panic!("{page:?}, but {list:?}"),
    }
}

fn replaced(replaced: u64) -> Repairs {
    Repairs { replaced, unreadable: 0 }
}

fn subnets(tag: &[u8]) -> Vec<u8> {
    let item = |id: &str, tag: &[u8]| {
        let start = format!("<item><subnetId>{id}</subnetId><tagSet><item><key>Name</key><value>");
        [start.as_bytes(), tag, b"</value></item></tagSet></item>"].concat()
    };
    let [one, two] = [item("subnet-1", tag), item("subnet-2", b"fine")];
    let end = b"</subnetSet></DescribeSubnetsResponse>".as_slice();
    [b"<?xml version=\"1.0\"?><DescribeSubnetsResponse><subnetSet>".as_slice(), &one, &two, end].concat()
}

#[test]
fn xml_texts_are_replaced_where_they_are_malformed() {
    for (text, expected, count) in [
        (&b"a&#0;b"[..], "a\u{fffd}b", 1),
        (
            b"a&#x0;&#xD800;&#x110000;&#99999999999;&#;&#x;&#xg;b",
            "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}b",
            7,
        ),
        (b"&nbsp;a&amp;&undefined;", "\u{fffd}a&\u{fffd}", 2),
        (b"a & b &c", "a & b &c", 0),
        (b"a\0b", "a\u{fffd}b", 1),
        (b"a\xffb\xc3", "a\u{fffd}b\u{fffd}", 2),
        (b"a\xff&#0;\0b", "a\u{fffd}\u{fffd}\u{fffd}b", 3),
        (b"<![CDATA[a\xfeb]]>", "a\u{fffd}b", 1),
        // Not part of XML 1.0, but valid characters.
        (b"a&#x1f;\x1f&#xFFFE;b", "a\u{1f}\u{1f}\u{fffe}b", 0),
        ("\u{1f600}".as_bytes(), "\u{1f600}", 0),
    ] {
        let (subnets, repairs) = read("ec2.DescribeSubnets", "Subnets[]", &subnets(text)).unwrap();
        let value = |at: usize| &subnets[at]["Tags"][0]["Value"];
        assert_eq!(
            (value(0), value(1)),
            (&expected.into(), &"fine".into()),
            "{}",
            String::from_utf8_lossy(text)
        );
        assert_eq!(repairs, replaced(count), "{}", String::from_utf8_lossy(text));
    }
    let marked = [b"\xef\xbb\xbf", &*subnets(b"a")].concat();
    assert_eq!(read("ec2.DescribeSubnets", "Subnets[]", &marked).unwrap().0.len(), 2);
}

#[test]
fn json_texts_are_replaced_where_they_are_malformed() {
    for (name, items) in
        [("lambda.ListFunctions", "Functions[]"), ("secretsmanager.ListSecrets", "SecretList[]")]
    {
        let list = items.trim_end_matches("[]");
        for (text, expected, count) in [
            (&br"cut \ud83d"[..], "cut \u{fffd}", 1),
            (br"\uDE00\uD83D \\\ud83d\u00e9", "\u{fffd}\u{fffd} \\\u{fffd}é", 3),
            (br"\x41", "\u{fffd}x41", 1),
            (b"a\xff\x01b\nc", "a\u{fffd}\u{1}b\nc", 3),
            (br"a\u0000b", "a\0b", 0),
        ] {
            let description = [br#"{"Description": ""#, text, br#"", "NotInTheModel": "\ud83d"}"#].concat();
            let body = [
                b"\xef\xbb\xbf{\"",
                list.as_bytes(),
                b"\": [",
                &description,
                b", {\"Description\": \"b\"}]}",
            ]
            .concat();
            let (found, repairs) = read(name, items, &body).unwrap();
            assert_eq!(found, [json!({"Description": expected}), json!({"Description": "b"})]);
            // The byte order mark, and a text outside the model.
            assert_eq!(repairs, replaced(count + 2), "{}", String::from_utf8_lossy(text));
        }
    }
}

#[test]
fn other_texts_are_replaced_too() {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-meta-a", HeaderValue::from_bytes(b"a\xffb").unwrap());
    headers.insert("content-length", HeaderValue::from_static("many"));
    headers.insert("last-modified", HeaderValue::from_static("soon"));
    let (head, repairs) = operation("s3.HeadObject").decode_list(200, &headers, b"", &[]).unwrap();
    assert_eq!(head, json!({"Metadata": {"a": "a\u{fffd}b"}}));
    assert_eq!(repairs, Repairs { replaced: 1, unreadable: 2 });

    let (policy, repairs) =
        operation("s3.GetBucketPolicy").decode_list(200, &HeaderMap::new(), b"{\xff}", &[]).unwrap();
    assert_eq!((policy, repairs), (json!({"Policy": "{\u{fffd}}"}), replaced(1)));

    let code = operation("cloudfront.GetFunction").decode(200, &HeaderMap::new(), b"a\0\xff").unwrap();
    assert_eq!(code, json!({"FunctionCode": "YQD/"}), "bytes are no text");

    let role = r"<GetRolePolicyResponse><GetRolePolicyResult><PolicyDocument>%7B%22Sid%22%3A%22\ud83d%22%7D</PolicyDocument></GetRolePolicyResult></GetRolePolicyResponse>";
    let role = operation("iam.GetRolePolicy").decode(200, &HeaderMap::new(), role.as_bytes()).unwrap();
    assert_eq!(role, json!({"PolicyDocument": {"Sid": "\u{fffd}"}}));

    let cbor = b"\xa2\x66__type\x68E.x#Deny\x67message\x62a\xff";
    let error = operation("cloudwatchomni.ListAlerts").decode_error(400, &HeaderMap::new(), cbor);
    assert_eq!((error.code.as_str(), error.message.as_str()), ("Deny", "a\u{fffd}"));
}

#[test]
fn errors_are_read_with_any_message() {
    for (name, body) in [
        ("ecs.ListClusters", &b"{\"__type\": \"x#AccessDenied\", \"message\": \"no \\ud83d\xff\"}"[..]),
        ("lambda.ListFunctions", b"\xef\xbb\xbf{\"code\": \"AccessDenied\", \"message\": \"no \x01\"}"),
        ("ec2.DescribeVpcs", b"<Response><Errors><Error><Code>AccessDenied</Code><Message>&#0;\xff&nbsp;</Message></Error></Errors></Response>"),
    ] {
        assert_eq!(operation(name).decode_error(403, &HeaderMap::new(), body).code, "AccessDenied", "{name}");
    }
}

#[test]
fn a_member_that_does_not_match_the_model_affects_nothing_else() {
    for (member, expected, unreadable) in [
        (r#""CreatedDate": "soon""#, json!({}), 1),
        (r#""CreatedDate": 1e30"#, json!({}), 1),
        (r#""CreatedDate": {"a": 1}"#, json!({}), 1),
        (r#""CreatedDate": 0"#, json!({"CreatedDate": "1970-01-01T00:00:00Z"}), 0),
        (r#""RotationEnabled": "maybe""#, json!({}), 1),
        (r#""RotationEnabled": "False""#, json!({"RotationEnabled": false}), 0),
        (r#""Name": 5"#, json!({"Name": "5"}), 1),
        (r#""Name": {"a": [1]}"#, json!({"Name": "{\"a\":[1]}"}), 1),
        (r#""Tags": "none""#, json!({}), 1),
        (r#""Tags": [3, {"Key": "a"}]"#, json!({"Tags": [null, {"Key": "a"}]}), 1),
        (r#""RotationRules": []"#, json!({}), 1),
        (
            r#""RotationRules": {"AutomaticallyAfterDays": "x", "Duration": "3h"}"#,
            json!({"RotationRules": {"Duration": "3h"}}),
            1,
        ),
        (
            r#""RotationRules": {"AutomaticallyAfterDays": "30"}"#,
            json!({"RotationRules": {"AutomaticallyAfterDays": 30}}),
            0,
        ),
        (
            r#""SecretVersionsToStages": {"v": 1, "w": ["A"]}"#,
            json!({"SecretVersionsToStages": {"v": null, "w": ["A"]}}),
            1,
        ),
    ] {
        let body = format!(r#"{{"SecretList": [{{{member}}}, {{"ARN": "b"}}], "NextToken": "t"}}"#);
        let (found, repairs) = read("secretsmanager.ListSecrets", "SecretList[]", body.as_bytes()).unwrap();
        assert_eq!(found, [expected, json!({"ARN": "b"})], "{member}");
        assert_eq!(repairs.unreadable, unreadable, "{member}");
    }
    for (member, expected, unreadable) in [
        ("<launchTime>soon</launchTime>", json!({}), 1),
        ("<amiLaunchIndex/>", json!({}), 1),
        ("<amiLaunchIndex>x</amiLaunchIndex>", json!({}), 1),
        ("<tagSet>none</tagSet>", json!({"Tags": []}), 1),
        ("<placement>somewhere</placement>", json!({"Placement": {}}), 1),
        ("<instanceId><a/>i-1</instanceId>", json!({"InstanceId": ""}), 0),
    ] {
        let body = format!(
            "<DescribeInstancesResponse><reservationSet><item><instancesSet><item>{member}</item><item><instanceId>i</instanceId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>"
        );
        let (found, repairs) =
            read("ec2.DescribeInstances", "Reservations[].Instances[]", body.as_bytes()).unwrap();
        assert_eq!(found, [expected, json!({"InstanceId": "i"})], "{member}");
        assert_eq!(repairs.unreadable, unreadable, "{member}");
    }
    let attributes = "<GetTopicAttributesResponse><GetTopicAttributesResult><Attributes><entry><key>a</key></entry><entry><key>b</key><odd/><value>1</value></entry></Attributes></GetTopicAttributesResult></GetTopicAttributesResponse>";
    let attributes =
        operation("sns.GetTopicAttributes").decode(200, &HeaderMap::new(), attributes.as_bytes());
    assert_eq!(attributes.unwrap(), json!({"Attributes": {"b": "1"}}));
}

#[test]
fn a_repair_that_may_hide_further_items_is_an_error() {
    for (name, items, body) in [
        ("ecs.ListClusters", "clusterArns[]", r#"{"clusterArns":{}}"#),
        ("ecs.ListClusters", "clusterArns[]", r#"{"clusterArns":"a"}"#),
        (
            "ecs.ListClusters",
            "clusterArns[]",
            r#"{"clusterArns":[],"nextToken":{}}"#.replace("{}", "[1]").as_str(),
        ),
        ("lambda.ListFunctions", "Functions[]", r#"{"Functions":[1]}"#),
        ("sqs.ListQueues", "QueueUrls[]", r#"{"QueueUrls":7}"#),
        ("sqs.GetQueueAttributes", "Attributes.QueueArn", r#"{"Attributes":"x"}"#),
        (
            "ec2.DescribeSubnets",
            "Subnets[]",
            "<DescribeSubnetsResponse><subnetSet>busy</subnetSet></DescribeSubnetsResponse>",
        ),
        ("ec2.DescribeSubnets", "Subnets[]", "<DescribeSubnetsResponse>busy</DescribeSubnetsResponse>"),
        (
            "ec2.DescribeInstances",
            "Reservations[].Instances[]",
            "<DescribeInstancesResponse><reservationSet><item>busy</item></reservationSet></DescribeInstancesResponse>",
        ),
    ] {
        let result = read(name, items, body.as_bytes());
        let is_token = body.contains("nextToken");
        // A token of another type becomes its text, so that the next page is still requested.
        assert!(
            is_token || matches!(result, Err(DecodeError::Malformed { .. })),
            "{name} {body}: {result:?}"
        );
        assert!(!is_token || result.is_ok_and(|(_, repairs)| repairs.unreadable == 1), "{name} {body}");
    }
    // The key that matches the results of a batch.
    let services = Path::parse("services[]").unwrap();
    let key = Path::parse("deployments").unwrap();
    let body = br#"{"services": [{"serviceName": "a", "deployments": 5}]}"#;
    let decode =
        |items: &[&Path]| operation("ecs.DescribeServices").decode_list(200, &HeaderMap::new(), body, items);
    assert!(decode(&[&services]).is_ok());
    assert!(decode(&[&services, &key]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a text contains, everything around it is read unchanged.
    #[test]
    fn a_malformed_byte_in_a_text_changes_only_that_text(at in 0_usize..12, byte in any::<u8>(), second in any::<u8>()) {
        let mut text = b"plain text 12".to_vec();
        (text[at], text[at + 1]) = (byte, second);
        if !text.iter().any(|byte| b"<&".contains(byte)) {
            let (mut found, _) = read("ec2.DescribeSubnets", "Subnets[]", &subnets(&text)).unwrap();
            prop_assert!(found[0]["Tags"][0]["Value"].take().is_string());
            let rest = json!([
                {"SubnetId": "subnet-1", "Tags": [{"Key": "Name", "Value": null}]},
                {"SubnetId": "subnet-2", "Tags": [{"Key": "Name", "Value": "fine"}]}
            ]);
            prop_assert_eq!(Value::from(found), rest);
        }
        if !text.iter().any(|byte| b"\"\\".contains(byte)) {
            let body = [br#"{"Functions": [{"FunctionName": "a", "Description": ""#, &*text, br#"", "Timeout": 3}, {"FunctionName": "b"}]}"#].concat();
            let (mut found, _) = read("lambda.ListFunctions", "Functions[]", &body).unwrap();
            prop_assert!(found[0]["Description"].take().is_string());
            let rest = json!([{"FunctionName": "a", "Description": null, "Timeout": 3}, {"FunctionName": "b"}]);
            prop_assert_eq!(Value::from(found), rest);
        }
    }
}
