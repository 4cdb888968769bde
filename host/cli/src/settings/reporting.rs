//! What Berth reports to Port in addition to entities: heartbeats, metrics and logs; and what logs must not
//! hold.

use berth_embed::{AwsConfig, PortConfig};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    check::SettingsCheck,
    environment::Environment,
    schema::Setting,
    values::{FromValue, Seconds, ValueProblem},
};
use crate::telemetry;

/// AWS's ambient credentials.
const AMBIENT: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

#[derive(Debug, Deserialize)]
pub(super) struct ReportingTable {
    status_heartbeat_interval_seconds: Setting<Seconds>,
    metrics: Metrics,
    ship_logs: Setting<bool>,
    log_level: Setting<LogLevel>,
}

#[derive(Debug, Deserialize)]
struct Metrics {
    enabled: Setting<bool>,
    webhook_url: Setting<Url>,
}

/// A log level or a filter.
struct LogLevel(String);

impl FromValue for LogLevel {
    fn from_value(value: &Value, example: &str) -> Result<Self, ValueProblem> {
        let level = String::from_value(value, example)?;
        if telemetry::is_level(&level) {
            return Ok(Self(level));
        }
        Err(ValueProblem::new(format!("found `{level}`"), "use ERROR, WARNING, INFO or DEBUG"))
    }
}

/// What to report, and where to.
pub(super) struct Reporting {
    heartbeat: Seconds,
    metrics_webhook: Option<Url>,
    /// Whether to ship the log to Port.
    pub(super) ship_logs: bool,
    /// The level of the log, if neither the command line nor the environment gives one.
    pub(super) log_level: Option<String>,
}

pub(super) fn read(check: &mut SettingsCheck<'_>) -> Option<Reporting> {
    let table: ReportingTable = check.table()?;
    let log_level = check.value(&table.log_level).map(|LogLevel(level)| level);
    let heartbeat = check.value(&table.status_heartbeat_interval_seconds);
    let enabled = check.value(&table.metrics.enabled);
    let webhook = check.value(&table.metrics.webhook_url);
    let ship_logs = check.value(&table.ship_logs);
    let enabled = enabled?;
    Some(Reporting {
        heartbeat: heartbeat?,
        metrics_webhook: webhook.filter(|_| enabled),
        ship_logs: ship_logs?,
        log_level,
    })
}

impl Reporting {
    pub(super) fn apply(&self, port: &mut PortConfig) {
        port.heartbeat_interval = self.heartbeat.0;
        port.metrics_webhook.clone_from(&self.metrics_webhook);
    }
}

/// Returns the secrets among the settings, in addition to those of Port's client.
pub(super) fn secrets(environment: &Environment, aws: &AwsConfig) -> Vec<SecretString> {
    let keys = aws.static_keys.iter().flat_map(|keys| {
        [Some(&keys.access_key_id), Some(&keys.secret_access_key), keys.session_token.as_ref()]
    });
    let external = aws.external_id.iter().chain(aws.external_ids.values());
    let ambient = AMBIENT.iter().filter_map(|name| environment.get(name));
    keys.flatten().chain(external).cloned().chain(ambient.map(SecretString::from)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use secrecy::ExposeSecret;

    use crate::{
        args::Args,
        settings::{Environment, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Settings {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let environment = Environment::of(&[&seed, variables].concat());
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        Settings::load(&args.global, &environment).unwrap()
    }

    #[test]
    fn the_contracts_settings_are_understood() {
        let settings = load(&[]);
        assert_eq!(settings.port.heartbeat_interval.as_secs(), 10);
        assert_eq!((settings.port.metrics_webhook, settings.ship_logs), (None, true));
        let hook = ("OCEAN__METRICS__WEBHOOK_URL", "https://metrics.example.com/x");
        assert_eq!(load(&[hook]).port.metrics_webhook, None, "it must be enabled");
        let settings = load(&[
            hook,
            ("OCEAN__METRICS__ENABLED", "true"),
            ("OCEAN__STATUS_HEARTBEAT_INTERVAL_SECONDS", "3"),
            ("OCEAN__SHIP_LOGS", "off"),
        ]);
        assert_eq!(settings.port.heartbeat_interval.as_secs(), 3);
        assert_eq!(settings.port.metrics_webhook.unwrap().as_str(), hook.1);
        assert!(!settings.ship_logs);
    }

    #[test]
    fn no_secret_is_forgotten() {
        let settings = load(&[
            ("OCEAN__INTEGRATION__CONFIG__AWS_ACCESS_KEY_ID", "one"),
            ("OCEAN__INTEGRATION__CONFIG__AWS_SECRET_ACCESS_KEY", "two"),
            ("OCEAN__INTEGRATION__CONFIG__AWS_SESSION_TOKEN", "three"),
            ("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", "four"),
            ("OCEAN__INTEGRATION__CONFIG__EXTERNAL_IDS", r#"{"111111111111": "five"}"#),
            ("AWS_ACCESS_KEY_ID", "six"),
            ("AWS_SECRET_ACCESS_KEY", "seven"),
            ("AWS_SESSION_TOKEN", "eight"),
        ]);
        let secrets: Vec<&str> = settings.port.secrets.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(secrets, ["one", "two", "three", "four", "five", "six", "seven", "eight"]);
    }
}
