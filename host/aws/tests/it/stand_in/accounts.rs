//! Identities and accounts.

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use berth_aws::{AwsConfig, CredentialProvider, WebIdentity};
use berth_core::{AccountAccess, AccountId, RoleArn};
use serde_json::{Value, json};

use super::{Answer, StandIn, assumed};
use crate::support::{config, source, with_roles};

const A: &str = "111111111111";
const B: &str = "222222222222";
const C: &str = "333333333333";

fn summary(accounts: &[AccountAccess]) -> Vec<String> {
    accounts
        .iter()
        .map(|AccountAccess { account, access }| match access {
            Ok(()) => format!("{} {} ok", account.id, account.name),
            Err(problem) => format!("{} {} {}", account.id, account.name, problem.message),
        })
        .collect()
}

fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/Reader")
}

#[tokio::test]
async fn a_refused_external_id_comes_with_four_things_to_check() {
    let aws = StandIn::start(|seen| {
        let wrong = seen.call == "sts:AssumeRole" && seen.input["ExternalId"] != "right-id";
        let message = format!("no entry for {}", seen.input["ExternalId"]);
        wrong.then(|| Answer::xml_error(403, "AccessDenied", &message))
    })
    .await;
    let mut settings = with_roles(&aws.endpoint, &[A, B]);
    settings.external_id = Some("wrong-id".into());
    settings.external_ids = BTreeMap::from([(AccountId::new(B).unwrap(), "right-id".into())]);
    let accounts = source(settings).accounts().await.unwrap();
    assert_eq!(summary(&accounts)[1], format!("{B} Account {B} ok"));
    let problem = accounts[0].access.clone().unwrap_err();
    assert!(
        problem.message.starts_with(&format!("Unable to assume role {}: AccessDenied: ", role(A))),
        "{problem}"
    );
    let remedy = problem.remedy.clone().unwrap();
    let lines: Vec<&str> = remedy.lines().collect();
    assert_eq!(lines.len(), 4, "{remedy}");
    assert!(lines[0].contains("role `Reader` exists in account 111111111111"), "{remedy}");
    assert!(lines[1].contains("trust policy names `arn:aws:iam::999999999999:role/Base`"), "{remedy}");
    assert!(
        lines[2].contains("`sts:ExternalId`") && lines[2].contains("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID")
    );
    assert!(lines[3].contains(&format!("allows `sts:AssumeRole` on `{}`", role(A))), "{remedy}");
    assert!(!problem.to_string().contains("wrong-id"), "{problem}");
    let call = &aws.seen("sts:AssumeRole")[0];
    assert_eq!((call.key.as_str(), call.region.as_str()), ("AKIAIOSFODNN7EXAMPLE", "us-east-1"));
    assert_eq!(call.input["RoleSessionName"], "OceanRoleSession");
    assert_eq!(call.input.get("DurationSeconds"), None);
}

#[tokio::test]
async fn a_role_of_another_account_is_refused() {
    let aws = StandIn::start(|seen| {
        (seen.call == "sts:AssumeRole").then(|| assumed(&seen.call, B, Duration::from_hours(1)))
    })
    .await;
    let accounts = source(with_roles(&aws.endpoint, &[A, B])).accounts().await.unwrap();
    assert!(summary(&accounts)[0].ends_with("STS returned a role of account 222222222222"), "{accounts:?}");
    assert!(accounts[1].access.is_ok());
}

#[tokio::test]
async fn roles_are_assumed_at_once() {
    let aws = StandIn::start(|seen| {
        let answer = super::sts(seen)?;
        Some(answer.after(Duration::from_millis(100)))
    })
    .await;
    let ids: Vec<String> = (0..30).map(|n| format!("{:012}", 100_000_000_000_u64 + n)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let accounts = source(with_roles(&aws.endpoint, &ids)).accounts().await.unwrap();
    let found: Vec<&str> = accounts.iter().map(|access| access.account.id.as_str()).collect();
    assert_eq!(found, ids);
    assert!((10..=20).contains(&aws.most_in_flight()), "{}", aws.most_in_flight());
}

#[tokio::test]
async fn a_single_account_needs_no_role() {
    let aws = StandIn::start(|_| None).await;
    let accounts = source(config(&aws.endpoint)).accounts().await.unwrap();
    assert_eq!(summary(&accounts), ["999999999999 Account 999999999999 ok"]);

    let aws = StandIn::start(|_| Some(Answer::xml_error(403, "InvalidClientTokenId", "no such key"))).await;
    let problem = source(config(&aws.endpoint)).accounts().await.unwrap_err();
    assert!(problem.message.contains("InvalidClientTokenId"), "{problem}");
    assert!(problem.remedy.unwrap().contains("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID"));

    // The same keys with a role: the remedy must not blame the role.
    let accounts = source(with_roles(&aws.endpoint, &[A])).accounts().await.unwrap();
    let problem = accounts[0].access.clone().unwrap_err();
    assert!(problem.message.starts_with("Unable to assume role"), "{problem}");
    assert!(problem.remedy.unwrap().contains("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID"));
}

#[tokio::test]
async fn the_base_identity_is_named_as_a_trust_policy_names_it() {
    let aws = StandIn::start(|_| None).await;
    let identity = source(config(&aws.endpoint)).base_identity().await.unwrap();
    assert_eq!(identity.principal, "arn:aws:iam::999999999999:role/Base");
    assert_eq!(
        (identity.provider, identity.account.as_str()),
        (CredentialProvider::StaticCredential, "999999999999")
    );
}

#[tokio::test]
async fn a_session_policy_scopes_down_the_roles_of_accounts() {
    let aws = StandIn::start(|_| None).await;
    let mut settings = with_roles(&aws.endpoint, &[A]);
    settings.hop_role_arn = Some(RoleArn::new(&role(C)).unwrap());
    settings.session_policy = Some("{}".into());
    settings.session_duration = Some(Duration::from_mins(30));
    source(settings.clone()).accounts().await.unwrap();
    let roles = aws.seen("sts:AssumeRole");
    assert_eq!((roles[0].input.get("Policy"), &roles[1].input["Policy"]), (None, &json!("{}")));
    assert_eq!(roles[1].input["DurationSeconds"], "1800");
    settings.session_policy = Some("x".repeat(2049));
    assert!(berth_aws::AwsSource::new(settings, crate::support::http()).is_err());
}

#[tokio::test]
async fn a_hop_lies_between_base_and_member() {
    let aws = StandIn::start(|_| None).await;
    let mut settings = with_roles(&aws.endpoint, &[A, B]);
    settings.hop_role_arn = Some(RoleArn::new(&role(C)).unwrap());
    let accounts = source(settings).accounts().await.unwrap();
    assert!(accounts.iter().all(|access| access.access.is_ok()));
    let signers: Vec<(String, Value)> = aws
        .seen("sts:AssumeRole")
        .into_iter()
        .map(|seen| (seen.key, seen.input["RoleArn"].clone()))
        .collect();
    assert_eq!(signers[0], ("AKIAIOSFODNN7EXAMPLE".into(), json!(role(C))));
    assert_eq!(signers.len(), 3, "the hop is taken once");
    assert!(signers[1..].iter().all(|(key, _)| key == "ASIA333333333333"), "{signers:?}");
}

#[tokio::test]
async fn a_hop_that_fails_is_reported() {
    let aws = StandIn::start(|seen| {
        let hop = seen.call == "sts:AssumeRole" && seen.input["RoleArn"] == role(C);
        hop.then(|| Answer::xml_error(403, "AccessDenied", "no"))
    })
    .await;
    let mut settings = with_roles(&aws.endpoint, &[A]);
    settings.hop_role_arn = Some(RoleArn::new(&role(C)).unwrap());
    let accounts = source(settings).accounts().await.unwrap();
    let problem = accounts[0].access.clone().unwrap_err();
    assert!(
        problem.message.starts_with(&format!("Unable to assume role {}: AccessDenied", role(C))),
        "{problem}"
    );
    assert!(problem.remedy.unwrap().contains("`arn:aws:iam::999999999999:role/Base`"));
}

#[tokio::test]
async fn a_web_identity_assumes_roles_directly_or_through_its_own() {
    let aws = StandIn::start(|seen| {
        let refused = seen.call == "sts:AssumeRoleWithWebIdentity" && seen.input["RoleArn"] == role(B);
        refused.then(|| Answer::xml_error(403, "AccessDenied", "not trusted"))
    })
    .await;
    let mut token = tempfile::NamedTempFile::new().unwrap();
    writeln!(token, "the-token").unwrap();
    let mut settings = with_roles(&aws.endpoint, &[A, B]);
    settings.external_id = Some("id".into());
    let web_identity =
        WebIdentity { token_file: token.path().to_owned(), role_arn: Some(RoleArn::new(&role(C)).unwrap()) };
    settings.web_identity = Some(web_identity);
    let accounts = source(settings.clone()).accounts().await.unwrap();
    assert!(accounts.iter().all(|access| access.access.is_ok()), "{accounts:?}");
    let direct = aws.seen("sts:AssumeRoleWithWebIdentity");
    assert!(direct.iter().all(|seen| seen.input["WebIdentityToken"] == "the-token"), "{direct:?}");
    let signed = aws.seen("sts:AssumeRole");
    assert_eq!(signed.len(), 1);
    assert_eq!((signed[0].key.as_str(), &signed[0].input["ExternalId"]), ("ASIA333333333333", &json!("id")));

    // The priority list decides if both are configured.
    settings.credential_provider_priority = vec![CredentialProvider::StaticCredential];
    source(settings).accounts().await.unwrap();
    assert_eq!(aws.seen("sts:AssumeRole")[1].key, "AKIAIOSFODNN7EXAMPLE");
}

fn organization(seen: &super::Seen) -> Option<Answer> {
    let account = |id: &str, state: &str| json!({"Id": id, "Name": format!("name of {id}"), "State": state});
    let of_unit = |accounts: Value| json!({"Accounts": accounts});
    Some(Answer::json(&match (seen.call.as_str(), seen.input["ParentId"].as_str()) {
        ("organizations:ListAccounts", _) if seen.input["NextToken"] == "2" => {
            json!({"Accounts": [{"Id": C, "Name": "c", "Status": "ACTIVE"}]})
        }
        ("organizations:ListAccounts", _) => {
            json!({"Accounts": [account(A, "ACTIVE"), account(B, "SUSPENDED")], "NextToken": "2"})
        }
        ("organizations:ListAccountsForParent", Some("ou-a")) => of_unit(json!([account(A, "ACTIVE")])),
        ("organizations:ListAccountsForParent", Some("ou-c")) => of_unit(json!([account(C, "ACTIVE")])),
        ("organizations:ListAccountsForParent", _) => of_unit(json!([])),
        ("organizations:ListOrganizationalUnitsForParent", Some("ou-a")) => {
            json!({"OrganizationalUnits": [{"Id": "ou-b"}, {"Id": "ou-a"}]})
        }
        ("organizations:ListOrganizationalUnitsForParent", Some("ou-b")) => {
            json!({"OrganizationalUnits": [{"Id": "ou-c"}]})
        }
        ("organizations:ListOrganizationalUnitsForParent", _) => json!({"OrganizationalUnits": []}),
        _ => return None,
    }))
}

fn of_organization(endpoint: &str, units: &[&str]) -> AwsConfig {
    AwsConfig {
        account_role_arn: Some("arn:aws:iam::111111111111:role/path/Reader".into()),
        ou_ids: units.iter().map(ToString::to_string).collect(),
        ..config(endpoint)
    }
}

#[tokio::test]
async fn an_organization_lists_its_accounts() {
    let aws = StandIn::start(organization).await;
    let accounts = source(of_organization(&aws.endpoint, &[])).accounts().await.unwrap();
    assert_eq!(
        summary(&accounts),
        [
            format!("{A} name of {A} ok"),
            format!("{B} name of {B} account {B} is SUSPENDED in the organization"),
            format!("{C} c ok"),
        ]
    );
    let roles = aws.seen("sts:AssumeRole");
    let names: Vec<&str> = roles.iter().map(|seen| seen.input["RoleSessionName"].as_str().unwrap()).collect();
    assert_eq!(names[0], "OceanOrgAssumeRoleSession");
    assert_eq!(names[1..], ["OceanMemberAssumeRoleSession"; 2]);
    assert!(roles.iter().any(|seen| seen.input["RoleArn"] == "arn:aws:iam::333333333333:role/path/Reader"));
}

#[tokio::test]
async fn organizational_units_are_listed_recursively() {
    let aws = StandIn::start(organization).await;
    let accounts = source(of_organization(&aws.endpoint, &["ou-a"])).accounts().await.unwrap();
    let ids: Vec<&str> = accounts.iter().map(|access| access.account.id.as_str()).collect();
    assert_eq!(ids, [A, C]);
}

#[tokio::test]
async fn an_unlistable_organization_is_not_treated_as_one_account() {
    let aws = StandIn::start(|seen| {
        seen.call.starts_with("organizations:").then(|| Answer::error(400, "AccessDeniedException"))
    })
    .await;
    let problem = source(of_organization(&aws.endpoint, &[])).accounts().await.unwrap_err();
    assert!(problem.remedy.unwrap().contains("`organizations:ListAccounts`"));

    let aws = StandIn::start(|seen| {
        seen.call
            .starts_with("organizations:")
            .then(|| Answer::error(400, "AWSOrganizationsNotInUseException"))
    })
    .await;
    let accounts = source(of_organization(&aws.endpoint, &[])).accounts().await.unwrap();
    assert_eq!(summary(&accounts), [format!("{A} Account {A} ok")]);
}
