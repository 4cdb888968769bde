//! Values of members that do not name resources. They follow from the members' names, for all services alike.

use crate::{hash, template::Piece};

/// 2021-01-01 to 2026-01-01, in seconds since 1970.
const PAST: (u64, u64) = (1_609_459_200, 1_767_225_600);
/// 2027-01-01 to 2030-01-01.
const FUTURE: (u64, u64) = (1_798_761_600, 1_893_456_000);

/// Texts by the end of their member's path, in lower case; the first that fits.
const TEXTS: [(&str, &[&str]); 33] = [
    (".instances[].state.name", &["running", "stopped"]),
    ("deploymenttargettype", &["InstanceTarget"]),
    ("healthcheckprotocol", &["HTTP", "HTTPS"]),
    ("protocol", &["HTTPS", "TCP"]),
    ("instancetype", &["t3.micro", "m5.large", "c6g.xlarge"]),
    ("instanceclass", &["db.t4g.micro", "db.r6g.large"]),
    ("nodetype", &["cache.t4g.micro", "ra3.xlplus"]),
    ("certificate.status", &["ISSUED"]),
    ("stackstatus", &["CREATE_COMPLETE", "UPDATE_COMPLETE"]),
    ("statevalue", &["OK", "ALARM"]),
    ("runtime", &["python3.12", "nodejs22.x", "provided.al2023"]),
    ("engineversion", &["8.0.35", "16.3"]),
    ("engine", &["mysql", "postgres"]),
    ("version", &["1.31", "1.32"]),
    ("email", &["owner@example.com"]),
    ("macaddress", &["02:2f:8f:b0:cf:75"]),
    ("domain", &["example.com"]),
    ("dnsname", &["a.example.com"]),
    ("architecture", &["x86_64", "arm64"]),
    ("platformtype", &["Linux", "Windows"]),
    ("scheme", &["internet-facing", "internal"]),
    ("vpcid", &[]),
    ("partition", &["aws"]),
    ("tenancy", &["default"]),
    ("resourcetype", &["ManagedInstance"]),
    ("description", &["Made up by the simulator"]),
    ("launchtype", &["FARGATE", "EC2"]),
    ("runningmode", &["AUTO_STOP"]),
    ("healthstatus", &["HEALTHY"]),
    ("health", &["green"]),
    ("status", &["active", "available"]),
    ("state", &["active", "available"]),
    ("statename", &["active"]),
];

/// Names of members that hold an account's id.
const ACCOUNTS: [&str; 10] = [
    "accountid",
    "awsaccountid",
    "owneraccountid",
    "ownerid",
    "instanceownerid",
    "requesterid",
    "registryid",
    "owneraccount",
    "masteraccountid",
    "owner",
];

/// JSON texts.
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[]}"#;

/// The text of a member, where its name tells what it is. `regions` are those there are, for members of
/// resources that are in no region themselves.
pub(crate) fn text(path: &str, member: &str, salt: u64, regions: Option<&[String]>) -> Option<Vec<Piece>> {
    let name = member.to_ascii_lowercase();
    let path = path.to_ascii_lowercase();
    if ACCOUNTS.contains(&name.as_str()) {
        return Some(vec![Piece::Account]);
    }
    if let Some((_, of)) = TEXTS.iter().find(|(end, of)| !of.is_empty() && path.ends_with(end)) {
        return Some(vec![choice(salt, of)]);
    }
    let number = |salt_more| Piece::Number { salt: hash::mix(salt, salt_more), from: 1, to: 254 };
    let plain = |text: &str| Piece::Text(text.to_owned());
    Some(match name.as_str() {
        "locationconstraint" | "region" | "regionname" | "awsregion" => vec![region(regions)],
        _ if name.ends_with("region") => vec![region(regions)],
        _ if name.contains("availabilityzoneid") => vec![plain("az1")],
        _ if name.contains("availabilityzone") || name == "zonename" => {
            vec![region(regions), choice(salt, &["a", "b", "c"])]
        }
        _ if name.contains("ipv6") => vec![plain("2001:db8::"), Piece::Hex { salt, digits: 4 }],
        _ if name.contains("cidr") => vec![plain("10."), number(1), plain(".0.0/16")],
        _ if name.ends_with("ipaddress") || name.ends_with("ip") => {
            vec![plain("10."), number(1), plain("."), number(2), plain("."), number(3)]
        }
        _ if name.contains("policy")
            && !name.ends_with("name")
            && !name.ends_with("arn")
            && !name.ends_with("id") =>
        {
            vec![plain(POLICY)]
        }
        "definition" => vec![plain(r#"{"StartAt":"Done","States":{"Done":{"Type":"Succeed"}}}"#)],
        "properties" => vec![plain(r#"{"Name":"simulated"}"#)],
        _ if name.ends_with("date")
            || name.ends_with("time")
            || name.ends_with("timestamp")
            || name.ends_with("modified") =>
        {
            vec![time(member, salt, true)]
        }
        _ if name.ends_with("link") || name.ends_with("endpoint") => {
            vec![plain("https://"), Piece::Hex { salt, digits: 12 }, plain(".example.com/")]
        }
        _ => return None,
    })
}

/// The region of what is in no region by itself is one of all.
fn region(regions: Option<&[String]>) -> Piece {
    match regions {
        Some(regions) => Piece::Choice { salt: hash::text("region"), of: regions.to_vec() },
        None => Piece::Region,
    }
}

pub(crate) fn choice(salt: u64, of: &[&str]) -> Piece {
    Piece::Choice { salt, of: of.iter().map(ToString::to_string).collect() }
}

/// A point in time: what ends lies ahead.
pub(crate) fn time(member: &str, salt: u64, iso: bool) -> Piece {
    let name = member.to_ascii_lowercase();
    let ahead = ["after", "expir", "deprecat", "next", "valid"].iter().any(|word| name.contains(word));
    let (from, to) = if ahead { FUTURE } else { PAST };
    Piece::Time { salt, from, to, iso }
}

/// A whole number; times are milliseconds since 1970 where they are numbers.
pub(crate) fn number(member: &str, salt: u64) -> Vec<Piece> {
    let name = member.to_ascii_lowercase();
    if name.ends_with("time") || name.ends_with("timestamp") {
        return vec![time(member, salt, false), Piece::Text("000".to_owned())];
    }
    vec![Piece::Number { salt, from: 1, to: 60 }]
}

/// What maps hold whose keys the models do not tell.
pub(crate) enum Entry {
    Arn,
    Text(&'static str),
}

/// The keys of maps from texts to texts, by operation.
pub(crate) const MAPS: [(&str, &[(&str, Entry)]); 2] = [
    (
        "sqs:GetQueueAttributes",
        &[
            ("QueueArn", Entry::Arn),
            ("ApproximateNumberOfMessages", Entry::Text("0")),
            ("ApproximateNumberOfMessagesNotVisible", Entry::Text("0")),
            ("ApproximateNumberOfMessagesDelayed", Entry::Text("0")),
            ("CreatedTimestamp", Entry::Text("1704164645")),
            ("LastModifiedTimestamp", Entry::Text("1704164645")),
            ("VisibilityTimeout", Entry::Text("30")),
            ("MaximumMessageSize", Entry::Text("262144")),
            ("MessageRetentionPeriod", Entry::Text("345600")),
            ("DelaySeconds", Entry::Text("0")),
            ("ReceiveMessageWaitTimeSeconds", Entry::Text("0")),
            ("SqsManagedSseEnabled", Entry::Text("true")),
        ],
    ),
    (
        "sns:GetTopicAttributes",
        &[
            ("TopicArn", Entry::Arn),
            ("DisplayName", Entry::Text("")),
            ("SubscriptionsConfirmed", Entry::Text("1")),
            ("SubscriptionsDeleted", Entry::Text("0")),
            ("SubscriptionsPending", Entry::Text("0")),
            ("Policy", Entry::Text(POLICY)),
        ],
    ),
];
