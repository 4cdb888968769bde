//! The operations about accounts and regions, not about resources.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::{
    caller,
    error::Refusal,
    protocol::{query, xml::escaped},
    template::iso8601,
    world::{World, account_id, account_name},
};

/// The organization and its only root.
const ORGANIZATION: &str = "o-simulated1";
const ROOT: &str = "r-sim1";
/// AWS's own limit for the accounts of a page.
const ACCOUNTS_PAGE: usize = 20;

/// What STS asks of those who assume roles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    pub(crate) role_name: Option<String>,
    pub(crate) external_id: Option<String>,
}

/// The body of an answer by name (`organizations:ListAccounts`).
pub(crate) fn answer(world: &World, name: &str, input: &Value) -> Result<Vec<u8>, Refusal> {
    let answer = match name {
        "account:ListRegions" => {
            let status = |region: &str| if region == "us-east-1" { "ENABLED_BY_DEFAULT" } else { "ENABLED" };
            let regions = world.regions.iter();
            json!({"Regions": regions.map(|region| json!({"RegionName": region, "RegionOptStatus": status(region)})).collect::<Value>()})
        }
        "ec2:DescribeRegions" => {
            let mut body = String::from(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeRegionsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>00000000-0000-4000-8000-000000000000</requestId><regionInfo>",
            );
            for region in &world.regions {
                let _ = write!(
                    body,
                    "<item><regionName>{region}</regionName><regionEndpoint>ec2.{region}.amazonaws.com</regionEndpoint><optInStatus>opt-in-not-required</optInStatus></item>"
                );
            }
            body.push_str("</regionInfo></DescribeRegionsResponse>");
            return Ok(body.into_bytes());
        }
        "organizations:DescribeOrganization" => {
            let management = id(world.first_account);
            json!({"Organization": {
                "Id": ORGANIZATION, "FeatureSet": "ALL", "MasterAccountId": management,
                "Arn": format!("arn:aws:organizations::{management}:organization/{ORGANIZATION}"),
                "MasterAccountArn": account_arn(world, world.first_account),
                "MasterAccountEmail": "management@example.com"}})
        }
        "organizations:ListAccounts" => accounts(world, input)?,
        "organizations:ListAccountsForParent" if input["ParentId"] == ROOT => accounts(world, input)?,
        "organizations:ListAccountsForParent" | "organizations:ListOrganizationalUnitsForParent"
            if input["ParentId"] != ROOT =>
        {
            return Err(Refusal::new(400, "ParentNotFoundException", "There is no such parent"));
        }
        "organizations:ListOrganizationalUnitsForParent" => json!({"OrganizationalUnits": []}),
        "organizations:ListParents" => json!({"Parents": [{"Id": ROOT, "Type": "ROOT"}]}),
        "organizations:ListRoots" => {
            let arn =
                format!("arn:aws:organizations::{}:root/{ORGANIZATION}/{ROOT}", id(world.first_account));
            json!({"Roots": [{"Id": ROOT, "Arn": arn, "Name": "Root", "PolicyTypes": []}]})
        }
        _ => json!({"Tags": [{"Key": "team", "Value": "platform"}]}),
    };
    Ok(answer.to_string().into_bytes())
}

fn id(account: u64) -> String {
    let mut text = String::new();
    account_id(account, &mut text);
    text
}

fn account_arn(world: &World, account: u64) -> String {
    format!("arn:aws:organizations::{}:account/{ORGANIZATION}/{}", id(world.first_account), id(account))
}

fn accounts(world: &World, input: &Value) -> Result<Value, Refusal> {
    let asked = input["MaxResults"].as_u64().and_then(|max| usize::try_from(max).ok());
    let size = asked.unwrap_or(ACCOUNTS_PAGE).clamp(1, ACCOUNTS_PAGE);
    let first = match input["NextToken"].as_str() {
        None => 0,
        Some(token) => token
            .strip_prefix("accounts-")
            .and_then(|number| number.parse::<usize>().ok())
            .filter(|first| *first < world.accounts)
            .ok_or_else(|| Refusal::new(400, "InvalidInputException", "The page token is not one of ours"))?,
    };
    let page = world.account_ids().enumerate().skip(first).take(size).map(|(position, account)| {
        json!({"Id": id(account), "Arn": account_arn(world, account), "Name": account_name(position),
               "Email": format!("{}@example.com", account_name(position)), "Status": "ACTIVE", "State": "ACTIVE",
               "JoinedMethod": "CREATED", "JoinedTimestamp": 1_704_164_645 + position})
    });
    let mut answer = json!({"Accounts": page.collect::<Value>()});
    if first + size < world.accounts {
        answer["NextToken"] = json!(format!("accounts-{}", first + size));
    }
    Ok(answer)
}

/// What STS answers to an `Action`, and the account that is asked for.
pub(crate) fn sts(
    world: &World,
    trust: &Trust,
    form: &query::Form,
    caller: Option<(u64, &str)>,
    now: u64,
) -> Result<(Vec<u8>, u64), Refusal> {
    let get = |name: &str| form.get(name).map(String::as_str);
    match (get("Action").unwrap_or_default(), caller) {
        ("GetCallerIdentity", Some((account, key))) => {
            let arn = if key.starts_with("ASIA") {
                format!("arn:aws:sts::{}:assumed-role/{}/session", id(account), role_name(trust))
            } else {
                format!("arn:aws:iam::{}:user/berth", id(account))
            };
            let result =
                format!("<Arn>{arn}</Arn><UserId>AIDASIMULATED</UserId><Account>{}</Account>", id(account));
            Ok((sts_body("GetCallerIdentity", &result), account))
        }
        ("AssumeRole", Some((account, _))) => assume(world, trust, form, "AssumeRole", account, now),
        ("AssumeRoleWithWebIdentity", _) => {
            assume(world, trust, form, "AssumeRoleWithWebIdentity", world.first_account, now)
        }
        ("AssumeRole" | "GetCallerIdentity", None) => Err(unsigned()),
        (action, _) => Err(Refusal::new(400, "InvalidAction", format!("STS here has no action {action}"))),
    }
}

/// A request without a signature.
pub(crate) fn unsigned() -> Refusal {
    Refusal::new(403, "MissingAuthenticationToken", "Request is missing Authentication Token")
}

fn role_name(trust: &Trust) -> &str {
    trust.role_name.as_deref().unwrap_or("PortOceanReadRole")
}

fn assume(
    world: &World,
    trust: &Trust,
    form: &query::Form,
    action: &str,
    caller: u64,
    now: u64,
) -> Result<(Vec<u8>, u64), Refusal> {
    let get = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let role = get("RoleArn");
    let session = get("RoleSessionName");
    let denied = || {
        Refusal::new(
            403,
            "AccessDenied",
            format!(
                "User: arn:aws:iam::{}:user/berth is not authorized to perform: sts:{action} on resource: {role}",
                id(caller)
            ),
        )
    };
    if session.is_empty() {
        return Err(Refusal::new(400, "ValidationError", "RoleSessionName is missing"));
    }
    let (account, name) = role
        .strip_prefix("arn:aws:iam::")
        .and_then(|rest| rest.split_once(":role/"))
        .and_then(|(account, name)| Some((account.parse::<u64>().ok()?, name)))
        .ok_or_else(|| Refusal::new(400, "ValidationError", format!("{role} is invalid")))?;
    world.position(account).ok_or_else(denied)?;
    if trust.role_name.as_deref().is_some_and(|known| known != name) {
        return Err(denied());
    }
    let external_id = form.get("ExternalId");
    if action == "AssumeRole" && trust.external_id.is_some() && external_id != trust.external_id.as_ref() {
        return Err(denied());
    }
    let seconds = form.get("DurationSeconds").and_then(|seconds| seconds.parse::<u64>().ok()).unwrap_or(3600);
    let mut expiration = String::new();
    iso8601(now + seconds, &mut expiration);
    let key = caller::key_id(account, now);
    let (account_text, session, name) = (id(account), escaped(session), escaped(name));
    let result = format!(
        "<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>simulated{key}</SecretAccessKey><SessionToken>simulated-session-{key}</SessionToken><Expiration>{expiration}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>AROASIMULATED:{session}</AssumedRoleId><Arn>arn:aws:sts::{account_text}:assumed-role/{name}/{session}</Arn></AssumedRoleUser>"
    );
    Ok((sts_body(action, &result), account))
}

fn sts_body(action: &str, result: &str) -> Vec<u8> {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result>{result}</{action}Result><ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId></ResponseMetadata></{action}Response>"
    )
    .into_bytes()
}
