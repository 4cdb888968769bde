//! The settings of the KAFKA listener.

use berth_service::config::{Kafka, Mechanism, Security};
use serde_json::Value;

use super::{
    check::SettingsCheck,
    kafka_protocol::KafkaProtocol,
    listener,
    schema::Setting,
    values::{OneOf, UnparsedValue, Words},
};

impl Words for Mechanism {
    const WORDS: &'static [(&'static str, Self)] =
        &[("SCRAM-SHA-512", Self::ScramSha512), ("SCRAM-SHA-256", Self::ScramSha256), ("PLAIN", Self::Plain)];
    const ANY_CASE: bool = true;
}

/// Port's brokers, from its documentation.
const BROKERS: [&str; 3] = [
    "b-1-public.publicclusterprod.t9rw6w.c1.kafka.eu-west-1.amazonaws.com:9196",
    "b-2-public.publicclusterprod.t9rw6w.c1.kafka.eu-west-1.amazonaws.com:9196",
    "b-3-public.publicclusterprod.t9rw6w.c1.kafka.eu-west-1.amazonaws.com:9196",
];

/// The brokers for organizations in the US, which Ocean requires to be named.
const US_BROKERS: [&str; 3] = [
    "b-1-public.production.5v06xt.c21.kafka.us-east-1.amazonaws.com:9196",
    "b-2-public.production.5v06xt.c21.kafka.us-east-1.amazonaws.com:9196",
    "b-3-public.production.5v06xt.c21.kafka.us-east-1.amazonaws.com:9196",
];

/// Reads the settings of the listener.
pub(super) fn read(check: &mut SettingsCheck<'_>, table: &listener::ListenerSettings) -> Option<Kafka> {
    let brokers = brokers(check, &table.brokers);
    let protocol = check.value(&table.security_protocol);
    let mechanism = check.value(&table.authentication_mechanism);
    let enabled = check.value(&table.kafka_security_enabled);
    let poll_timeout = check.value(&table.consumer_poll_timeout);
    let resync_on_start = check.value(&table.resync_on_start);
    let (OneOf(KafkaProtocol { tls, sasl }), OneOf(mechanism)) = (protocol?, mechanism?);
    let on = Security::On { tls, mechanism: sasl.then_some(mechanism) };
    let security = if enabled? { on } else { Security::Off };
    Some(Kafka { brokers, security, poll_timeout: poll_timeout?.0, resync_on_start: resync_on_start? })
}

/// Reads a comma-separated list, a JSON array in a text, or an array.
fn brokers(check: &mut SettingsCheck<'_>, setting: &Setting<UnparsedValue>) -> Vec<String> {
    let value = match check.value(setting).map(|UnparsedValue(value)| value) {
        None => return port_brokers(check),
        Some(Value::String(text)) if text.trim_start().starts_with('[') => {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        }
        Some(value) => value,
    };
    let listed: Vec<Option<String>> = match &value {
        Value::String(text) => text.split(',').map(|broker| Some(broker.trim().to_owned())).collect(),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(|broker| broker.trim().to_owned())).collect()
        }
        _ => vec![None],
    };
    let brokers: Vec<String> = listed.iter().flatten().filter(|broker| is_address(broker)).cloned().collect();
    if brokers.is_empty() || brokers.len() < listed.len() {
        check.issue(
            setting,
            format!("found `{value}`, which is not a list of `host:port`"),
            format!("use a list such as `{}`, or comma-separated names", setting.example()),
        );
    }
    brokers
}

fn port_brokers(check: &SettingsCheck<'_>) -> Vec<String> {
    let base_url = check.tree().get("port.base_url").and_then(Value::as_str);
    let us = base_url.is_some_and(|url| url.contains("//api.us."));
    let brokers = if us { US_BROKERS } else { BROKERS };
    brokers.map(ToOwned::to_owned).to_vec()
}

fn is_address(broker: &str) -> bool {
    broker.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && !host.contains(char::is_whitespace)
            && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Issue, Listener, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Result<Kafka, Vec<Issue>> {
        let seed = [
            ("OCEAN__PORT__CLIENT_ID", "client"),
            ("OCEAN__PORT__CLIENT_SECRET", "secret"),
            ("OCEAN__EVENT_LISTENER__TYPE", "KAFKA"),
        ];
        let environment = Environment::of(&[&seed, variables].concat());
        let args = Args::parse_from(["berth", "--plugins", "/", "run"]);
        let (settings, service) = Settings::load_service(&args.global, &environment)?;
        assert_eq!(settings.port.changelog_destination, json!({"type": "KAFKA"}));
        match service.listener {
            Listener::Kafka(kafka) => Ok(kafka),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_more_it_is_what_the_chart_means() {
        let kafka = load(&[]).unwrap();
        assert_eq!(kafka.brokers, BROKERS);
        assert_eq!(kafka.security, Security::On { tls: true, mechanism: Some(Mechanism::ScramSha512) });
        assert_eq!((kafka.poll_timeout, kafka.resync_on_start), (Duration::from_secs(1), true));
        let us = load(&[("OCEAN__PORT__BASE_URL", "https://api.us.getport.io")]).unwrap();
        assert_eq!(us.brokers, US_BROKERS);
    }

    #[test]
    fn both_forms_and_every_setting_are_understood() {
        let json = r#"{"type": "KAFKA", "brokers": "a:1, b:2", "securityProtocol": "sasl_plaintext",
            "authenticationMechanism": "scram-sha-256", "consumerPollTimeout": 3}"#;
        let kafka = load(&[("OCEAN__EVENT_LISTENER", json)]).unwrap();
        assert_eq!(kafka.brokers, ["a:1", "b:2"]);
        assert_eq!(kafka.security, Security::On { tls: false, mechanism: Some(Mechanism::ScramSha256) });
        assert_eq!(kafka.poll_timeout, Duration::from_secs(3));

        let nested = load(&[
            ("OCEAN__EVENT_LISTENER", json),
            ("OCEAN__EVENT_LISTENER__BROKERS", r#"["c:3", "[::1]:4"]"#),
            ("OCEAN__EVENT_LISTENER__SECURITY_PROTOCOL", "SSL"),
            ("OCEAN__EVENT_LISTENER__RESYNC_ON_START", "no"),
        ])
        .unwrap();
        assert_eq!((nested.brokers, nested.resync_on_start), (vec!["c:3".into(), "[::1]:4".into()], false));
        assert_eq!(nested.security, Security::On { tls: true, mechanism: None });

        let array = load(&[("OCEAN__EVENT_LISTENER", r#"{"brokers": ["d:5"]}"#)]).unwrap();
        assert_eq!(array.brokers, ["d:5"]);
        let off = load(&[("OCEAN__EVENT_LISTENER__KAFKA_SECURITY_ENABLED", "false")]).unwrap();
        assert_eq!(off.security, Security::Off);
    }

    #[test]
    fn each_mistake_is_reported_with_its_setting() {
        for (name, value) in [
            ("BROKERS", "broker-1"),
            ("BROKERS", "a:1,"),
            ("BROKERS", "a:0"),
            ("BROKERS", r#"["a:1", 2]"#),
            ("BROKERS", r#"["a:1""#),
            ("BROKERS", "[]"),
            ("SECURITY_PROTOCOL", "TLS"),
            ("AUTHENTICATION_MECHANISM", "GSSAPI"),
            ("KAFKA_SECURITY_ENABLED", "perhaps"),
            ("CONSUMER_POLL_TIMEOUT", "0"),
        ] {
            let variable = format!("OCEAN__EVENT_LISTENER__{name}");
            let issues = load(&[(&variable, value)]).unwrap_err();
            assert_eq!(issues.len(), 1, "{issues:?}");
            assert_eq!(issues[0].setting, variable);
            assert!(issues[0].problem.contains("found `"), "{issues:?}");
        }
    }
}
