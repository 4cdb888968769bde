//! AWS: which accounts to read, with which credentials, and within which limits.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use berth_embed::{
    AwsConfig, CredentialProvider, StaticKeys, WebIdentity,
    core::{AccountId, Partition, Region, RoleArn},
};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    addresses,
    check::{Section, SettingsCheck},
    environment::Environment,
    network,
    schema::Setting,
    tree::variable,
    values::{Count, FromValue, Seconds, UnparsedValue, ValueProblem, split},
};

#[derive(Debug, Deserialize)]
pub(super) struct AwsTable {
    integration: Integration,
    narrow_sessions: Setting<bool>,
    client_timeout: Setting<Seconds>,
    #[serde(alias = "BERTH_MAX_PAGES_PER_LIST")]
    max_pages_per_list: Setting<Count>,
    #[serde(alias = "BERTH_MAX_RESPONSE_BYTES")]
    max_response_bytes: Setting<Count>,
    #[serde(alias = "BERTH_UNIT_DEADLINE_SECONDS")]
    unit_deadline_seconds: Setting<Seconds>,
}

#[derive(Debug, Deserialize)]
struct Integration {
    config: Config,
    secrets: Keys,
}

#[derive(Debug, Deserialize)]
struct Config {
    account_role_arn: Setting<String>,
    account_role_arns: Setting<UnparsedValue>,
    external_id: Setting<SecretString>,
    external_ids: Setting<ExternalIds>,
    hop_role_arn: Setting<String>,
    granted_reads: Setting<Vec<String>>,
    session_duration_seconds: Setting<Seconds>,
    ou_id: Setting<String>,
    credential_provider_priority: Setting<String>,
    aws_partition: Setting<String>,
    use_dualstack_endpoint: Setting<bool>,
    use_fips_endpoint: Setting<bool>,
    aws_access_key_id: Setting<SecretString>,
    aws_secret_access_key: Setting<SecretString>,
    aws_session_token: Setting<SecretString>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the settings have these names")]
struct Keys {
    aws_access_key_id: Setting<SecretString>,
    aws_secret_access_key: Setting<SecretString>,
    aws_session_token: Setting<SecretString>,
}

/// The settings to read AWS.
#[derive(Debug)]
pub(super) struct Aws {
    pub(super) config: AwsConfig,
    /// Whether to restrict the sessions of assumed roles to what the loaded plugins read.
    pub(super) narrow_sessions: bool,
}

impl Section for Aws {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let table: AwsTable = check.table()?;
        let attempt_timeout = check.value(&table.client_timeout);
        let narrow_sessions = check.value(&table.narrow_sessions);
        let mut config = read(check, &table)?;
        config.retry.attempt_timeout = attempt_timeout?.0;
        Some(Self { config, narrow_sessions: narrow_sessions? })
    }
}

fn read(check: &mut SettingsCheck<'_>, table: &AwsTable) -> Option<AwsConfig> {
    let config = &table.integration.config;
    let role_arns = role_arns(check, &config.account_role_arns);
    let account_role_arn = check.value(&config.account_role_arn);
    // A list of roles says what to read.
    if role_arns.is_empty() {
        check.refuse_empty(&config.account_role_arn, "to read a single account instead of the organization");
    }
    if let Some(arn) = &account_role_arn
        && let Err(error) = RoleArn::new(arn)
    {
        let remedy = "use the ARN of the role in the management account";
        check.issue(&config.account_role_arn, error.to_string(), remedy);
    }
    let partition = parsed(
        check,
        &config.aws_partition,
        |text| text.parse::<Partition>().map_err(|error| error.to_string()),
        "use the partition in the ARNs of your roles",
    );
    let hop_role_arn = parsed(
        check,
        &config.hop_role_arn,
        |text| RoleArn::new(text).map_err(|error| error.to_string()),
        "use the ARN of the role between the base identity and the accounts' roles",
    );
    let session_duration = check.value(&config.session_duration_seconds).map(|Seconds(duration)| duration);
    let granted_reads = granted_reads(check, &config.granted_reads);
    let ou_ids = ou_ids(check, &config.ou_id);
    let max_pages = check.value(&table.max_pages_per_list);
    let max_response_bytes = check.value(&table.max_response_bytes);
    let unit_deadline = check.value(&table.unit_deadline_seconds);
    let proxies = network::proxies(check);
    let endpoints = addresses::endpoints(check, &proxies);
    let fips = addresses::endpoint_flag(check, &config.use_fips_endpoint, "AWS_USE_FIPS_ENDPOINT");
    let dual_stack =
        addresses::endpoint_flag(check, &config.use_dualstack_endpoint, "AWS_USE_DUALSTACK_ENDPOINT");
    let static_keys = static_keys(check, &table.integration);
    let credential_provider_priority = provider_priority(check, &config.credential_provider_priority);
    let external_id = check.value(&config.external_id);
    let external_ids = external_ids(check, &config.external_ids);
    // Without a role's ARN, only the region of AWS's tools names the partition.
    let has_roles = !role_arns.is_empty() || account_role_arn.is_some();
    let of_region = || partition_of_region(check.environment()).filter(|_| !has_roles);
    Some(AwsConfig {
        fips,
        dual_stack,
        static_keys,
        web_identity: web_identity(check.environment()),
        credential_provider_priority,
        external_id,
        external_ids,
        account_role_arns: role_arns,
        account_role_arn,
        hop_role_arn,
        session_duration,
        granted_reads,
        ou_ids,
        partition: partition.or_else(of_region),
        endpoints,
        max_pages_per_list: u32::try_from(max_pages?.0).unwrap_or(u32::MAX),
        max_response_bytes: max_response_bytes?.0,
        unit_deadline: unit_deadline?.0,
        ..AwsConfig::default()
    })
}

/// The reads of secrets and bulk data that are granted.
#[derive(Debug)]
pub(crate) struct GrantedReads(pub(crate) BTreeSet<String>);

impl Section for GrantedReads {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let table: AwsTable = check.table()?;
        Some(Self(granted_reads(check, &table.integration.config.granted_reads)))
    }
}

/// Parses a text into another type.
fn parsed<T>(
    check: &mut SettingsCheck<'_>,
    setting: &Setting<String>,
    parse: impl FnOnce(&str) -> Result<T, String>,
    remedy: &str,
) -> Option<T> {
    let text = check.value(setting)?;
    parse(&text).map_err(|problem| check.issue(setting, problem, remedy)).ok()
}

fn web_identity(environment: &Environment) -> Option<WebIdentity> {
    environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").map(|file| WebIdentity {
        token_file: file.into(),
        role_arn: environment.get("AWS_ROLE_ARN").and_then(|arn| RoleArn::new(arn).ok()),
    })
}

/// The organizational units whose accounts are read.
fn ou_ids(check: &mut SettingsCheck<'_>, setting: &Setting<String>) -> Vec<String> {
    if check.refuse_empty(setting, "to read the whole organization") {
        return Vec::new();
    }
    check.value(setting).map(|text| split(&text)).unwrap_or_default()
}

fn role_arns(check: &mut SettingsCheck<'_>, setting: &Setting<UnparsedValue>) -> Vec<String> {
    let without = "to read a single account (or, with `account_role_arn`, an organization)";
    if check.refuse_empty(setting, without) {
        return Vec::new();
    }
    let Some(UnparsedValue(found)) = check.value(setting) else { return Vec::new() };
    let example = setting.example();
    let list = match &found {
        Value::String(text) => serde_json::from_str::<Value>(text).ok(),
        other => Some(other.clone()),
    };
    let Some(Value::Array(list)) = list else {
        let shown = found.as_str().map_or_else(|| found.to_string(), ToOwned::to_owned);
        check.issue(
            setting,
            format!("found `{shown}`, which is not a JSON array of role ARNs"),
            format!("use a JSON array of texts, as in `{example}`"),
        );
        return Vec::new();
    };
    let mut arns: Vec<String> = Vec::new();
    let mut known: HashSet<&str> = HashSet::new();
    for (index, item) in list.iter().enumerate() {
        let Some(text) = item.as_str().map(str::trim) else {
            check.issue(
                setting,
                format!("element {index} is `{item}`, which is not a text"),
                format!("use a JSON array of texts, as in `{example}`"),
            );
            continue;
        };
        if text.is_empty() {
            check.issue(
                setting,
                format!("element {index} is empty"),
                format!("give the role's ARN, or remove the element; as in `{example}`"),
            );
            continue;
        }
        match RoleArn::new(text) {
            Ok(_) if !known.insert(text) => {
                check.note(format!("{}: `{text}` is listed twice", variable(setting.path())));
            }
            Ok(_) => arns.push(text.to_owned()),
            Err(error) => check.issue(
                setting,
                format!("element {index}: {error}"),
                format!("use role ARNs, as in `{example}`"),
            ),
        }
    }
    arns
}

/// The keys may be under `secrets` (the documented variables) or `config` (what the chart sets).
fn static_keys(check: &mut SettingsCheck<'_>, integration: &Integration) -> Option<StaticKeys> {
    let Integration { config, secrets } = integration;
    let mut either = |secrets: &Setting<SecretString>, config: &Setting<SecretString>| {
        check.value(secrets).or_else(|| check.value(config))
    };
    let id = either(&secrets.aws_access_key_id, &config.aws_access_key_id);
    let key = either(&secrets.aws_secret_access_key, &config.aws_secret_access_key);
    let token = either(&secrets.aws_session_token, &config.aws_session_token);
    match (id, key) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Some(StaticKeys { access_key_id, secret_access_key, session_token: token })
        }
        (None, None) => None,
        (id, _) => {
            let missing =
                if id.is_none() { &secrets.aws_access_key_id } else { &secrets.aws_secret_access_key };
            check.issue(
                missing,
                "not set, while the other half of the key is",
                "set both halves of the IAM user's access key, or neither to use the ambient credentials",
            );
            None
        }
    }
}

fn provider_priority(check: &mut SettingsCheck<'_>, setting: &Setting<String>) -> Vec<CredentialProvider> {
    let names = check.value(setting).map(|text| split(&text)).unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| {
            let provider = CredentialProvider::parse(&name);
            if provider.is_none() {
                // The contract says to skip unknown names with a warning.
                let place = variable(setting.path());
                check.note(format!("{place}: there is no provider `{name}`; Berth skips it"));
            }
            provider
        })
        .collect()
}

/// Returns the reads of secrets or bulk data that the operator grants by name (`ssm:GetParameter`).
fn granted_reads(check: &mut SettingsCheck<'_>, setting: &Setting<Vec<String>>) -> BTreeSet<String> {
    let names = check.value(setting).unwrap_or_default();
    let (good, bad): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| {
        name.split_once(':').is_some_and(|(service, operation)| !service.is_empty() && !operation.is_empty())
    });
    for name in bad {
        check.issue(
            setting,
            format!("found `{name}`"),
            "name operations as `<service>:<Operation>`, as in `ssm:GetParameter`",
        );
    }
    good.into_iter().collect()
}

/// External IDs by account. They count as secrets.
struct ExternalIds(Map<String, Value>);

impl FromValue for ExternalIds {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let map = match value {
            Value::Object(map) => Some(map.clone()),
            Value::String(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        map.map(Self).ok_or_else(|| {
            let remedy = format!("use an object such as `{example}`");
            ValueProblem::new("not a JSON object of account ids and external IDs", remedy)
        })
    }
}

fn external_ids(
    check: &mut SettingsCheck<'_>,
    setting: &Setting<ExternalIds>,
) -> BTreeMap<AccountId, SecretString> {
    let Some(ExternalIds(map)) = check.value(setting) else { return BTreeMap::new() };
    let remedy = format!("use an object such as `{}`", setting.example());
    map.into_iter()
        .filter_map(|(account, id)| match (AccountId::new(&account), id) {
            (Ok(account), Value::String(id)) => Some((account, SecretString::from(id))),
            (Ok(account), _) => {
                let problem = format!("the external ID of {account} is not a text");
                check.issue(setting, problem, remedy.clone());
                None
            }
            (Err(error), _) => {
                check.issue(setting, error.to_string(), remedy.clone());
                None
            }
        })
        .collect()
}

/// Returns the partition of the region that AWS's own tools use.
fn partition_of_region(environment: &Environment) -> Option<Partition> {
    let region = environment.get("AWS_REGION").or_else(|| environment.get("AWS_DEFAULT_REGION"))?;
    Region::new(region.trim()).ok().map(|region| berth_core::partition_of(&region))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::{
        args::Args,
        settings::{
            Environment, Settings,
            tests::{SEED, load},
        },
    };

    #[test]
    fn a_single_account_is_in_the_partition_of_its_region() {
        let of = |variables: &[(&str, &str)]| partition_of_region(&Environment::of(variables));
        assert_eq!(of(&[("AWS_REGION", "eusc-de-east-1")]), Some(Partition::AwsEusc));
        assert_eq!(of(&[("AWS_DEFAULT_REGION", "us-gov-east-1")]), Some(Partition::AwsUsGov));
        assert_eq!(of(&[("AWS_REGION", "somewhere")]), None);
        // The ARNs of roles are more specific.
        let settings = load(&[("AWS_REGION", "eusc-de-east-1")]).unwrap();
        assert_eq!(settings.aws.partition, None);
    }

    #[test]
    fn a_list_of_accounts_that_is_set_but_empty_is_a_mistake() {
        const ARNS: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS";
        let spellings = [
            "",
            " ",
            "\t\n",
            "[]",
            "[ ]",
            "\"\"",
            "''",
            "null",
            "[\"\"]",
            "[\" \", null]",
            ",",
            " , ",
            "[,]",
            "{}",
            "\"[]\"",
        ];
        for empty in spellings {
            for name in [ARNS, "ocean__integration__config__account_role_arns"] {
                let mut changes = vec![(name, empty)];
                if name != ARNS {
                    // With two spellings of one name the environment's order decides; this test uses only
                    // one.
                    changes.push((ARNS, empty));
                }
                let issues = load(&changes).unwrap_err();
                assert_eq!(issues.len(), 1, "{empty:?}: {issues:?}");
                assert!(issues[0].setting.eq_ignore_ascii_case(ARNS), "{issues:?}");
                assert!(issues[0].remedy.contains("unset it to read a single account"), "{issues:?}");
            }
        }
        for (value, position) in [
            (r#"["arn:aws:iam::111111111111:role/a", ""]"#, 1),
            (r#"["  ", "arn:aws:iam::111111111111:role/a"]"#, 0),
        ] {
            let issues = load(&[(ARNS, value)]).unwrap_err();
            assert!(issues[0].problem.contains(&format!("element {position} is empty")), "{issues:?}");
        }
    }

    #[test]
    fn an_empty_list_in_the_file_or_in_nested_json_is_the_same_mistake() {
        let dir = tempfile::tempdir().unwrap();
        for list in ["[]", "\"\"", "[\"\"]", "\" \""] {
            let file = format!(
                "[port]\nclient_id = 'a'\nclient_secret = 'b'\n[integration.config]\naccount_role_arns = {list}\n"
            );
            std::fs::write(dir.path().join("berth.toml"), file).unwrap();
            let mut environment = Environment::of(&[]);
            environment.working_dir = dir.path().to_owned();
            let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
            let issues = Settings::load(&args.global, &environment).unwrap_err();
            assert_eq!(issues.len(), 1, "{list}: {issues:?}");
            assert!(issues[0].setting.starts_with("integration.config.account_role_arns in "), "{issues:?}");
        }
        for json in
            [r#"{"accountRoleArns": null}"#, r#"{"account_role_arns": []}"#, r#"{"accountRoleArns": ""}"#]
        {
            let seed = [
                ("OCEAN__PORT__CLIENT_ID", "client"),
                ("OCEAN__PORT__CLIENT_SECRET", "secret"),
                ("OCEAN__INTEGRATION__CONFIG", json),
            ];
            let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
            let issues = Settings::load(&args.global, &Environment::of(&seed)).unwrap_err();
            assert!(issues[0].remedy.contains("unset it"), "{json}: {issues:?}");
        }
    }

    #[test]
    fn an_empty_organization_or_unit_does_not_read_something_else() {
        const ROLE: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARN";
        const UNITS: &str = "OCEAN__INTEGRATION__CONFIG__OU_ID";
        assert!(load(&[(ROLE, "")]).is_ok(), "the list of roles says what to read");
        let mut seed: Vec<(&str, &str)> =
            SEED.iter().copied().filter(|(name, _)| !name.ends_with("ROLE_ARNS")).collect();
        seed.push((ROLE, " "));
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        let issues = Settings::load(&args.global, &Environment::of(&seed)).unwrap_err();
        assert_eq!((issues.len(), issues[0].setting.as_str()), (1, ROLE), "{issues:?}");
        for empty in ["", ",", "[]"] {
            let issues = load(&[(UNITS, empty)]).unwrap_err();
            assert_eq!((issues.len(), issues[0].setting.as_str()), (1, UNITS), "{issues:?}");
        }
    }

    #[test]
    fn what_one_list_and_one_unit_may_take_is_bounded() {
        let aws = load(&[]).unwrap().aws;
        assert_eq!((aws.max_pages_per_list, aws.unit_deadline), (10_000, Duration::from_hours(1)));
        let set = [("BERTH_MAX_PAGES_PER_LIST", "50"), ("OCEAN__UNIT_DEADLINE_SECONDS", "7200")];
        let aws = load(&set).unwrap().aws;
        assert_eq!((aws.max_pages_per_list, aws.unit_deadline), (50, Duration::from_hours(2)));
        assert_eq!(aws.max_response_bytes, 256 << 20);
        assert_eq!(load(&[("BERTH_MAX_RESPONSE_BYTES", "1000")]).unwrap().aws.max_response_bytes, 1000);
        assert_eq!(load(&[("BERTH_MAX_PAGES_PER_LIST", "0")]).unwrap_err().len(), 1);
    }

    #[test]
    fn each_bad_arn_is_named_with_its_position() {
        let issues = load(&[(
            "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
            r#"["arn:aws:iam::111111111111:role/a", "arn:aws:iam::1:role/b", 3]"#,
        )])
        .unwrap_err();
        assert_eq!(issues.len(), 2);
        assert!(
            issues[0].problem.contains("element 1") && issues[0].problem.contains("arn:aws:iam::1:role/b")
        );
        assert!(issues[1].problem.contains("element 2"));
    }
}
