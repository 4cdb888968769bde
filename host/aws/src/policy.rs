//! Generates IAM policies for the reads of the loaded kinds.

use std::collections::{BTreeMap, BTreeSet};

use berth_aws_protocol::AwsService;
use berth_core::{KindManifest, KindReads, RoleArn, Step};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

/// The actions that list an account's regions: the first is preferred, the second is the fallback.
const REGIONS: [&str; 2] = ["account:ListRegions", "ec2:DescribeRegions"];

/// The actions that Organizations discovery needs in the management account.
const ORGANIZATION: [&str; 3] = [
    "organizations:ListAccounts",
    "organizations:ListAccountsForParent",
    "organizations:ListOrganizationalUnitsForParent",
];

/// IAM prefixes of services that sign with a different name.
const PREFIXES: [(&str, &str); 1] = [("monitoring", "cloudwatch")];

/// The maximum length of a session policy that STS accepts, in characters.
pub const LONGEST_SESSION_POLICY: usize = 2048;

/// Returns the IAM actions that a step needs. Without actions in the manifest, this is the operation's name
/// with the service's signing name, which is usually its IAM prefix (`sesv2` is `ses`).
pub fn actions(step: &Step) -> Vec<String> {
    match AwsService::load(&step.service) {
        Ok(service) if step.iam.is_empty() => {
            let name = service.signing_name();
            let prefix = PREFIXES.iter().find(|(signed, _)| *signed == name).map_or(name, |(_, iam)| *iam);
            vec![format!("{prefix}:{}", step.operation)]
        }
        _ => step.iam_actions(),
    }
}

fn all_actions<'k>(kinds: impl IntoIterator<Item = &'k KindManifest>) -> BTreeSet<String> {
    let steps =
        kinds.into_iter().flat_map(|kind| kind.plan().steps.iter().cloned().chain(kind.event_steps()));
    steps.flat_map(|step| actions(&step)).chain(REGIONS.map(str::to_owned)).collect()
}

/// Returns the minimal policy with which a role can read these kinds, including all their options and the
/// reads after live events: one statement per service, every action by its name.
pub fn read_policy<'k>(kinds: impl IntoIterator<Item = &'k KindManifest>) -> Value {
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for action in all_actions(kinds) {
        let service = action.split(':').next().unwrap_or_default().to_owned();
        services.entry(service).or_default().push(action);
    }
    let statements = services.into_iter().map(|(service, actions)| {
        // A statement's id consists of letters and digits.
        let id: String = service.chars().filter(char::is_ascii_alphanumeric).collect();
        json!({"Sid": format!("BerthReads{id}"), "Effect": "Allow", "Action": actions, "Resource": "*"})
    });
    json!({"Version": "2012-10-17", "Statement": statements.collect::<Vec<_>>()})
}

/// Returns the policy that the role for Organizations discovery needs in addition to [`read_policy`].
pub fn organization_policy() -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "BerthFindsAccounts", "Effect": "Allow", "Action": ORGANIZATION, "Resource": "*"}
    ]})
}

/// Returns the trust policy of a role that `principal` (an ARN) assumes, with the external ID if there is
/// one. The result contains the external ID: show it only to the operator.
pub fn trust_policy(principal: &str, external_id: Option<&SecretString>) -> Value {
    let mut statement = json!({
        "Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"
    });
    if let Some(id) = external_id {
        statement["Condition"] = json!({"StringEquals": {"sts:ExternalId": id.expose_secret()}});
    }
    json!({"Version": "2012-10-17", "Statement": [statement]})
}

/// Returns the policy of the base identity, which may only assume these roles.
pub fn assume_policy(roles: &[RoleArn]) -> Value {
    let roles: Vec<&str> = roles.iter().map(RoleArn::as_str).collect();
    json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "BerthAssumesRoles", "Effect": "Allow", "Action": "sts:AssumeRole", "Resource": roles}
    ]})
}

/// Returns a session policy that limits an assumed role to the reads of these kinds: by the names of the
/// actions or, if that is too long for STS, by service and verb (`ecs:Describe*`), which are reads as well.
///
/// `None` if even the shorter form is too long.
pub fn session_policy<'k>(kinds: impl IntoIterator<Item = &'k KindManifest>) -> Option<String> {
    let exact = all_actions(kinds);
    let verbs: BTreeSet<String> = exact
        .iter()
        .map(|action| {
            let (service, name) = action.split_once(':').unwrap_or((action, "*"));
            let verb = name.char_indices().skip(1).find(|(_, c)| c.is_ascii_uppercase());
            format!("{service}:{}*", &name[..verb.map_or(name.len(), |(at, _)| at)])
        })
        .collect();
    [exact, verbs].iter().find_map(|actions| {
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": "*"}
        ]});
        Some(policy.to_string()).filter(|policy| policy.chars().count() <= LONGEST_SESSION_POLICY)
    })
}

#[cfg(test)]
mod tests {
    use berth_core::Manifest;

    use super::*;

    fn kinds(operations: &[(&str, &str)]) -> Vec<KindManifest> {
        let kinds: Vec<Value> = operations
            .iter()
            .enumerate()
            .map(|(n, (service, operation))| {
                json!({"kind": format!("AWS::K{n}"), "scope": "regional", "plan": {"steps": [
                    {"id": "x", "service": service, "operation": operation, "items": "x[]",
                     "iam": if *service == "s3" { json!(["s3:ListAllMyBuckets"]) } else { json!([]) }}]}})
            })
            .collect();
        let manifest = json!({"name": "x", "version": "1.0.0", "kinds": kinds});
        Manifest::parse(manifest.to_string().as_bytes()).unwrap().kinds
    }

    #[test]
    fn the_policy_includes_the_reads_after_events() {
        let manifest = json!({"name": "x", "version": "1.0.0", "kinds": [{
            "kind": "AWS::Lambda::Function", "scope": "regional",
            "plan": {"steps": [
                {"id": "x", "service": "lambda", "operation": "ListFunctions", "items": "Functions[]"}]},
            "events": {
                "on": [{"source": "lambda.amazonaws.com", "upsert": ["Create"], "resource": ["name"]}],
                "read": {"x": {"operation": "GetFunctionConfiguration", "items": "@",
                               "input": {"FunctionName": "{resource}"}}}}}]});
        let kinds = Manifest::parse(manifest.to_string().as_bytes()).unwrap().kinds;
        for policy in [read_policy(&kinds).to_string(), session_policy(&kinds).unwrap()] {
            assert!(
                policy.contains(r#""lambda:GetFunctionConfiguration","lambda:ListFunctions""#),
                "{policy}"
            );
        }
    }

    #[test]
    fn policies_name_iam_actions() {
        let kinds = kinds(&[
            ("sesv2", "ListEmailIdentities"),
            ("s3", "ListBuckets"),
            ("ec2", "DescribeRegions"),
            ("cloudwatch", "DescribeAlarms"),
        ]);
        let policy = read_policy(&kinds);
        let actions: Vec<&str> = policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|statement| statement["Action"].as_array().unwrap())
            .map(|action| action.as_str().unwrap())
            .collect();
        assert_eq!(
            actions,
            [
                "account:ListRegions",
                "cloudwatch:DescribeAlarms",
                "ec2:DescribeRegions",
                "s3:ListAllMyBuckets",
                "ses:ListEmailIdentities",
            ]
        );
        assert!(session_policy(&kinds).unwrap().contains("ses:ListEmailIdentities"));
    }

    #[test]
    fn a_long_session_policy_uses_verbs() {
        let service = AwsService::load("ec2").unwrap();
        let operations: Vec<(&str, &str)> =
            service.operations().map(|operation| ("ec2", operation)).collect();
        let policy = session_policy(&kinds(&operations)).unwrap();
        assert!(policy.chars().count() <= LONGEST_SESSION_POLICY);
        assert!(policy.contains("ec2:Describe*") && !policy.contains("ec2:*"), "{policy}");
    }

    #[test]
    fn a_trust_policy_requires_the_external_id() {
        let policy = trust_policy("arn:aws:iam::111122223333:user/berth", Some(&"id".into()));
        assert_eq!(policy["Statement"][0]["Condition"]["StringEquals"]["sts:ExternalId"], "id");
    }
}
