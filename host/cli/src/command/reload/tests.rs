use std::{collections::BTreeMap, sync::LazyLock};

use berth_service::config::LiveKey;
use clap::Parser;
use secrecy::ExposeSecret;
use serde_json::json;

use super::*;
use crate::{
    args::Args,
    settings::{Listener, ResyncKey, names},
};

type Variables<'v> = BTreeMap<String, &'v str>;

fn load(variables: &Variables<'_>) -> (Settings, ServiceSettings) {
    static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.pub", "b.pub"] {
            let keys = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
            std::fs::create_dir(dir.path().join(format!("{name}.dir"))).unwrap();
            std::fs::write(dir.path().join(name), keys.pk.to_box().unwrap().into_string()).unwrap();
        }
        dir
    });
    let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
    let mut all: Variables<'_> = seed.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    all.extend(variables.iter().map(|(name, value)| (name.clone(), *value)));
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    // The command line wins over the setting.
    let plugins = (!variables.contains_key("OCEAN__PLUGINS")).then_some(["--plugins", "/"]);
    let args = Args::parse_from(["berth"].into_iter().chain(plugins.into_iter().flatten()).chain(["run"]));
    let mut environment = Environment::of(&all);
    environment.working_dir = DIR.path().to_owned();
    Settings::load_service(&args.global, &environment).unwrap_or_else(|issues| panic!("{all:?}: {issues:?}"))
}

/// Reloads with the second settings while a service runs with the first. Returns what needs a restart, and
/// what the service has then.
fn take(first: &Variables<'_>, second: &Variables<'_>) -> (Vec<String>, (Settings, ServiceSettings)) {
    let (settings, service) = load(first);
    let former = Former::of(&settings, &service);
    let (mut settings, mut service) = load(second);
    let kept = keep(&former, &mut settings, &mut service);
    (kept, (settings, service))
}

/// Formats all settings, with the secrets and everything else that `Debug` leaves out.
fn everything((settings, service): &(Settings, ServiceSettings)) -> String {
    let mut all = format!("{settings:#?} {service:#?}");
    let mut add = |text: &str| all.push_str(text);
    add(settings.port.client_secret.expose_secret());
    for LiveKey { key, .. } in settings.live.iter().flat_map(|live| &live.keys) {
        add(key.expose_secret());
    }
    if let Some(keys) = &settings.aws.static_keys {
        add(keys.access_key_id.expose_secret());
        add(keys.secret_access_key.expose_secret());
        add(keys.session_token.as_ref().map_or("", ExposeSecret::expose_secret));
    }
    add(settings.aws.external_id.as_ref().map_or("", ExposeSecret::expose_secret));
    for id in settings.aws.external_ids.values() {
        add(id.expose_secret());
    }
    if let Some(ResyncKey(key)) = &service.resync_key {
        add(key.expose_secret());
    }
    if let Some(live) = &settings.live {
        add(&format!("{:?} {:?}", live.options.deadline, live.options.drain));
    }
    all
}

/// Settings of the contract that Berth accepts and that change nothing.
const WITHOUT_EFFECT: [&str; 2] = ["ssl.port.x509.strict", "ssl.third_party.x509.strict"];

/// Two values of a setting, and the settings that it needs beside it.
type Values = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

fn values(path: &str) -> Values {
    const WEBHOOK: &[(&str, &str)] =
        &[("event_listener.type", "WEBHOOK"), ("event_listener.app_host", "https://berth.example")];
    const KAFKA: &[(&str, &str)] = &[("event_listener.type", "KAFKA")];
    const EVENTS: &[(&str, &str)] = &[("integration.config.live_events_api_key", "key")];
    match path {
        "port.client_id"
        | "port.client_secret"
        | "integration.identifier"
        | "integration.type"
        | "integration.config.live_events_api_key" => ("a", "b", &[]),
        "port.base_url" => ("https://a.example", "https://b.example", &[]),
        "create_port_resources_origin" => ("Port", "Ocean", &[]),
        "event_listener.type" => ("POLLING", "WEBHOOKS_ONLY", &[]),
        "event_listener.app_host" => ("https://a.example", "https://b.example", WEBHOOK),
        "event_listener.resync_key" => ("a", "b", WEBHOOK),
        "bind_address" => ("127.0.0.1", "0.0.0.0", &[]),
        "allowed_hosts" | "ingest_domains" => ("a.example", "b.example", &[]),
        "event_listener.brokers" => ("a.example:1", "b.example:1", KAFKA),
        "event_listener.security_protocol" => ("SASL_SSL", "SSL", KAFKA),
        "event_listener.authentication_mechanism" => ("PLAIN", "SCRAM-SHA-256", KAFKA),
        "event_listener.kafka_security_enabled" => ("true", "false", KAFKA),
        "event_listener.consumer_poll_timeout" => ("1", "2", KAFKA),
        "event_listener.interval"
        | "scheduled_resync_interval"
        | "lakehouse_buffer_interval_seconds"
        | "lakehouse_buffer_max_count"
        | "status_heartbeat_interval_seconds"
        | "client_timeout"
        | "concurrency"
        | "upsert_entities_batch_max_length"
        | "delete_entities_max_batch_size"
        | "state_verify_interval_hours"
        | "removal_after"
        | "max_deletions"
        | "max_pages_per_list"
        | "unit_deadline_seconds"
        | "outage_seconds"
        | "plugin_deadline_seconds"
        | "plugin_memory_mib" => ("7", "8", &[]),
        "upsert_entities_batch_max_size_in_bytes" | "max_response_bytes" => ("1000000", "2000000", &[]),
        "processing_mode" => ("dsp", "ocean-core", &[]),
        "metrics.webhook_url" => ("https://a.example", "https://b.example", &[("metrics.enabled", "true")]),
        "log_level" => ("INFO", "DEBUG", &[]),
        "base_url" => ("https://a.example", "https://b.example", EVENTS),
        "event_workers_count" | "max_event_processing_seconds" | "max_wait_seconds_before_shutdown" => {
            ("7", "8", EVENTS)
        }
        "plugins" => ("a.pub.dir", "b.pub.dir", &[]),
        "allow_environment_variables_jq_access" => ("true", "false", &[("STAGE", "test")]),
        "metrics.enabled" => ("true", "false", &[("metrics.webhook_url", "https://a.example")]),
        "path_prefix" | "state_dir" | "plugins_lock" | "cache_dir" => ("/a", "/b", &[]),
        "confirm_removal" => ("account=111111111111", "account=222222222222", &[]),
        "plugin_trust" => ("pinned", "any", &[]),
        "plugin_isolation" => ("none", "process", &[]),
        "wasi" => ("empty", "deny", &[]),
        "plugin_keys" => ("a.pub", "b.pub", &[]),
        "jq_environment" => ("PATH_A", "PATH_B", &[("PATH_A", "a"), ("PATH_B", "b")]),
        path if path.starts_with("integration.") => values_of_integration(path),
        _ => ("true", "false", &[]),
    }
}

/// The same, for what AWS is read by.
fn values_of_integration(path: &str) -> Values {
    const KEY: &[(&str, &str)] = &[
        ("integration.secrets.aws_access_key_id", "id"),
        ("integration.secrets.aws_secret_access_key", "key"),
    ];
    const OTHER_KEY: &[(&str, &str)] = &[
        ("integration.config.aws_access_key_id", "id"),
        ("integration.config.aws_secret_access_key", "key"),
    ];
    const ORGANIZATION: &[(&str, &str)] =
        &[("integration.config.account_role_arn", "arn:aws:iam::111111111111:role/Read")];
    match path {
        "integration.config.account_role_arn" | "integration.config.hop_role_arn" => {
            ("arn:aws:iam::111111111111:role/Read", "arn:aws:iam::111111111111:role/Other", &[])
        }
        "integration.config.account_role_arns" => {
            (r#"["arn:aws:iam::111111111111:role/Read"]"#, r#"["arn:aws:iam::111111111111:role/Other"]"#, &[])
        }
        "integration.config.external_id" => ("a", "b", ORGANIZATION),
        "integration.config.external_ids" => {
            (r#"{"111111111111": "a"}"#, r#"{"111111111111": "b"}"#, ORGANIZATION)
        }
        "integration.config.granted_reads" => ("ssm:GetParameter", "s3:GetObject", &[]),
        "integration.config.session_duration_seconds" => ("900", "1800", &[]),
        "integration.config.ou_id" => ("ou-abcd-11111111", "ou-abcd-22222222", ORGANIZATION),
        "integration.config.credential_provider_priority" => {
            ("AssumeRole", "StaticCredential,AssumeRole", &[])
        }
        "integration.config.aws_partition" => ("aws", "aws-cn", &[]),
        "integration.config.live_events_keys" => (
            r#"[{"key": "a", "accounts": ["111111111111"]}]"#,
            r#"[{"key": "b", "accounts": ["111111111111"]}]"#,
            &[],
        ),
        path if path.starts_with("integration.secrets.") => ("a", "b", KEY),
        path if path.starts_with("integration.config.aws_") => ("a", "b", OTHER_KEY),
        _ => ("true", "false", &[]),
    }
}

/// For every setting, the service has the new value from the next resync on, or reports that it needs a
/// restart.
#[test]
fn each_setting_is_taken_or_reported_to_need_a_restart() {
    let mut wrong = Vec::new();
    for path in names().settings.iter().map(String::as_str) {
        let (before, after, beside) = values(path);
        if WITHOUT_EFFECT.contains(&path) {
            continue;
        }
        if cfg!(not(feature = "kafka")) && beside.contains(&("event_listener.type", "KAFKA")) {
            continue;
        }
        let variables = |value: &'static str| {
            let name = |path: &str| {
                if path.chars().any(|c| c.is_ascii_uppercase()) { path.to_owned() } else { variable(path) }
            };
            let mut all: Variables<'_> = beside.iter().map(|(path, value)| (name(path), *value)).collect();
            all.insert(variable(path), value);
            all
        };
        let (first, second) = (variables(before), variables(after));
        let (kept, had) = take(&first, &second);
        let restarts = kept.contains(&variable(path));
        assert_eq!(restarts, AT_START.contains(&path), "{path}: {kept:?}");
        let taken = everything(&had) != everything(&take(&first, &first).1);
        if taken == restarts {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "applied and reported as needing a restart, or neither: {wrong:?}");
}

#[test]
fn what_cannot_change_is_as_it_was() {
    let of = |pairs: &[(&str, &'static str)]| -> Variables<'static> {
        pairs.iter().map(|(path, value)| (variable(path), *value)).collect()
    };
    let first = of(&[
        ("event_listener.type", "WEBHOOK"),
        ("event_listener.app_host", "https://berth.example"),
        ("path_prefix", "/a"),
        ("integration.identifier", "one"),
    ]);
    let second = of(&[
        ("event_listener.type", "POLLING"),
        ("path_prefix", "/b"),
        ("integration.identifier", "two"),
        ("concurrency", "3"),
    ]);
    let (kept, (settings, service)) = take(&first, &second);
    let names =
        ["integration.identifier", "event_listener.type", "path_prefix", "status_page", "bind_address"]
            .map(variable);
    assert_eq!(kept, names, "including what depends on the listener");
    let (former, former_service) = load(&first);
    assert_eq!(
        (&service.listener, &service.path_prefix),
        (&former_service.listener, &former_service.path_prefix)
    );
    assert_eq!((service.status_page, service.bind), (former_service.status_page, former_service.bind));
    assert_eq!(settings.port.integration_identifier, "one");
    assert_eq!(
        settings.port.changelog_destination,
        json!({"type": "WEBHOOK", "url": "https://berth.example/resync"})
    );
    assert_eq!((former.concurrency, settings.concurrency), (None, Some(3)));
}

#[test]
fn ticks_go_on_unless_the_interval_changes() {
    let every = |minutes: &'static str| {
        [(variable("scheduled_resync_interval"), minutes), (variable("event_listener.interval"), minutes)]
            .into_iter()
            .collect::<Variables<'_>>()
    };
    let (settings, service) = load(&every("5"));
    let former = Former::of(&settings, &service);
    for (minutes, same) in [("5", true), ("6", false)] {
        let (mut settings, mut service) = load(&every(minutes));
        assert!(keep(&former, &mut settings, &mut service).is_empty());
        assert_eq!(settings.port.schedule == former.schedule, same, "{minutes}");
        let Listener::Polling { interval, .. } = service.listener else { panic!("{service:?}") };
        assert_eq!(interval.as_secs().to_string(), minutes);
    }
}
