//! The event listener: what triggers a resync, and what else the process does.

use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

#[cfg(feature = "kafka")]
use super::kafka_protocol::KafkaProtocol;
use super::{
    check::SettingsCheck,
    schema::Setting,
    values::{Count, OneOf, Seconds, UnparsedValue, Words},
};
use secrecy::SecretString;

#[derive(Debug, Deserialize)]
pub(super) struct ListenerTable {
    pub(super) event_listener: ListenerSettings,
    pub(super) scheduled_resync_interval: Setting<Count>,
}

#[derive(Debug, Deserialize)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "builds without Kafka have no KAFKA listener"))]
pub(super) struct ListenerSettings {
    pub(super) r#type: Setting<OneOf<Kind>>,
    pub(super) interval: Setting<Seconds>,
    pub(super) resync_on_start: Setting<bool>,
    pub(super) should_resync: Setting<bool>,
    pub(super) should_process_webhooks: Setting<bool>,
    pub(super) should_run_actions: Setting<bool>,
    pub(super) app_host: Setting<Url>,
    pub(super) resync_key: Setting<SecretString>,
    pub(super) brokers: Setting<UnparsedValue>,
    #[cfg(feature = "kafka")]
    pub(super) security_protocol: Setting<OneOf<KafkaProtocol>>,
    #[cfg(not(feature = "kafka"))]
    security_protocol: Setting<UnparsedValue>,
    #[cfg(feature = "kafka")]
    pub(super) authentication_mechanism: Setting<OneOf<berth_service::config::Mechanism>>,
    #[cfg(not(feature = "kafka"))]
    authentication_mechanism: Setting<UnparsedValue>,
    pub(super) kafka_security_enabled: Setting<bool>,
    pub(super) consumer_poll_timeout: Setting<Seconds>,
}

/// The listener types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Polling,
    Once,
    Webhook,
    Kafka,
    WebhooksOnly,
    ActionsOnly,
}

impl Words for Kind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("POLLING", Self::Polling),
        ("ONCE", Self::Once),
        ("WEBHOOK", Self::Webhook),
        ("KAFKA", Self::Kafka),
        ("WEBHOOKS_ONLY", Self::WebhooksOnly),
        ("ACTIONS_ONLY", Self::ActionsOnly),
    ];
}

impl Kind {
    /// Returns whether a process with this listener resyncs by default.
    pub(super) fn resyncs(self) -> bool {
        !matches!(self, Self::WebhooksOnly | Self::ActionsOnly)
    }

    /// Returns whether it takes live events by default.
    pub(super) fn takes_events(self) -> bool {
        !matches!(self, Self::Once | Self::ActionsOnly)
    }
}

impl ListenerSettings {
    /// Returns the type, or `None` if the listener is not an object.
    pub(super) fn kind(&self, check: &mut SettingsCheck<'_>) -> Option<Kind> {
        if let Some(text) = check.text_at_table("event_listener") {
            check.issue_at(
                "event_listener",
                format!("found `{text}`, which is not a JSON object"),
                r#"use an object such as `{"type":"ONCE"}`"#,
            );
        }
        check.value(&self.r#type).map(|OneOf(kind)| kind)
    }
}

/// Returns where Port sends resync requests. Every command that writes reports it, so that a `berth sync`
/// next to a service does not reset it.
pub(super) fn changelog_destination(check: &mut SettingsCheck<'_>) -> Option<Value> {
    let table: ListenerTable = check.table()?;
    let listener = table.event_listener;
    let app_host = listener.app_host.value().and_then(Value::as_str).map(str::trim);
    Some(match (listener.kind(check)?, app_host) {
        (Kind::Webhook, Some(host)) => {
            json!({"type": "WEBHOOK", "url": format!("{}/resync", host.trim_end_matches('/'))})
        }
        (Kind::Kafka, _) => json!({"type": "KAFKA"}),
        _ => json!({}),
    })
}
