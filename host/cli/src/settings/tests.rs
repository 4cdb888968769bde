use std::collections::BTreeMap;

use clap::Parser;

use super::*;
use crate::args::Args;

const ARNS_EXAMPLE: &str = r#"["arn:aws:iam::111111111111:role/PortOceanReadRole","arn:aws:iam::222222222222:role/PortOceanReadRole"]"#;

/// The variables of the documented command.
pub(super) const SEED: &[(&str, &str)] = &[
    ("OCEAN__PORT__CLIENT_ID", "client"),
    ("OCEAN__PORT__CLIENT_SECRET", "hush-port"),
    ("OCEAN__PORT__BASE_URL", "https://api.us.getport.io"),
    ("OCEAN__INITIALIZE_PORT_RESOURCES", "true"),
    ("OCEAN__INTEGRATION__IDENTIFIER", "My-Aws"),
    ("OCEAN__EVENT_LISTENER", r#"{"type":"ONCE"}"#),
    ("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID", "hush-id"),
    ("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", "hush-key"),
    (
        "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
        r#"["arn:aws:iam::111111111111:role/PortOceanReadRole", "arn:aws:iam::222222222222:role/PortOceanReadRole"]"#,
    ),
    ("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", "hush-external"),
];

pub(super) fn load(changes: &[(&str, &str)]) -> Result<Settings, Vec<Issue>> {
    let dir = tempfile::tempdir().unwrap();
    let mut variables: BTreeMap<&str, &str> = SEED.iter().copied().collect();
    variables.extend(changes.iter().copied());
    let variables: Vec<_> = variables.into_iter().collect();
    let mut environment = Environment::of(&variables);
    environment.working_dir = dir.path().to_owned();
    let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
    Settings::load(&args.global, &environment)
}

#[test]
fn the_documented_command_is_understood() {
    let settings = load(&[
        ("AWS_ENDPOINT_URL", "http://localhost:5000"),
        ("AWS_ENDPOINT_URL_S3", "http://localhost:5001"),
    ])
    .unwrap();
    assert_eq!(settings.port.integration_identifier, "My-Aws");
    assert_eq!(settings.port.base_url.as_str(), "https://api.us.getport.io/");
    assert_eq!(settings.aws.account_role_arns.len(), 2);
    assert!(settings.aws.static_keys.is_some() && settings.aws.external_id.is_some());
    assert_eq!(settings.aws.endpoints.get(&["s3"]).unwrap().port(), Some(5001));
    assert_eq!(settings.aws.endpoints.get(&["ec2"]).unwrap().port(), Some(5000));
    assert!(!format!("{settings:?}").contains("hush"), "{settings:?}");
}

#[test]
fn every_issue_is_reported_at_once() {
    let issues = load(&[
        ("OCEAN__PORT__CLIENT_ID", ""),
        ("OCEAN__PORT__BASE_URL", "api.getport.io"),
        ("OCEAN__INITIALIZE_PORT_RESOURCES", "maybe"),
        ("OCEAN__EVENT_LISTENER", r#"{"type":"SOMETIMES"}"#),
        ("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", ""),
        (
            "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
            "arn:aws:iam::111111111111:role/a,arn:aws:iam::222222222222:role/b",
        ),
        ("OCEAN__INTEGRATION__CONFIG__AWS_PARTITION", "mars"),
    ])
    .unwrap_err();
    let mut settings: Vec<&str> = issues.iter().map(|issue| issue.setting.as_str()).collect();
    settings.sort_unstable();
    assert_eq!(
        settings,
        [
            "OCEAN__EVENT_LISTENER",
            "OCEAN__INITIALIZE_PORT_RESOURCES",
            "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
            "OCEAN__INTEGRATION__CONFIG__AWS_PARTITION",
            "OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY",
            "OCEAN__PORT__BASE_URL",
            "OCEAN__PORT__CLIENT_ID",
        ]
    );
    let arns = issues.iter().find(|issue| issue.setting.ends_with("ROLE_ARNS")).unwrap();
    assert!(arns.problem.contains("not a JSON array") && arns.remedy.contains(ARNS_EXAMPLE), "{arns:?}");
    assert!(!format!("{issues:?}").contains("hush"));
}

#[test]
fn the_example_file_is_right() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/config/berth.toml");
    let dir = tempfile::tempdir().unwrap();
    let all = dir.path().join("all.toml");
    // These name files that must exist.
    let named = ["plugins = [", "plugin_keys = ["];
    let text_of_all = defaults::switched_on();
    let text_of_all = text_of_all
        .lines()
        .filter(|line| !named.iter().any(|name| line.starts_with(name)))
        .collect::<Vec<_>>();
    std::fs::write(&all, text_of_all.join("\n")).unwrap();
    // The file holds the defaults, and is also valid with every commented setting enabled.
    let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
    for (file, variables, roles) in [(file, &seed[..], 0), (all.to_str().unwrap(), &[][..], 2)] {
        let args = Args::parse_from(["berth", "--plugins", "/", "--config", file, "run"]);
        let environment = Environment::of(variables);
        let (settings, _) = Settings::load_service(&args.global, &environment).unwrap();
        assert_eq!(settings.aws.account_role_arns.len(), roles, "{file}");
    }
}

#[test]
fn the_defaults_are_those_of_the_libraries() {
    let args = Args::parse_from(["berth", "--plugins", "/", "run"]);
    let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
    let Settings { aws, engine, .. } = Settings::load(&args.global, &Environment::of(&seed)).unwrap();
    assert_eq!(format!("{aws:#?}"), format!("{:#?}", AwsConfig::default()));
    let library = EngineConfig::default();
    assert_eq!((engine.limits, engine.wasi), (library.limits, library.wasi));
    let units = berth_embed::SyncOptions::default().unit_concurrency;
    assert_eq!(defaults::default("concurrency"), Some(&units.into()));
    let live = [&seed[..], &[("OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY", "key")]].concat();
    let live = Settings::load(&args.global, &Environment::of(&live)).unwrap().live.unwrap();
    assert_eq!(format!("{:?}", live.options), format!("{:?}", berth_embed::LiveOptions::default()));
}

#[test]
fn a_misspelt_key_of_the_file_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("berth.toml"),
        "[port]\nclient_id = 'a'\nclient_secret = 'b'\n[integration]\naccountRoleArns = []\n",
    )
    .unwrap();
    let mut environment = Environment::of(&[]);
    environment.working_dir = dir.path().to_owned();
    let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
    let issues = Settings::load(&args.global, &environment).unwrap_err();
    assert_eq!(issues.len(), 1, "{issues:?}");
    assert!(issues[0].remedy.contains("integration.config.account_role_arns"), "{issues:?}");
}
