//! What Port is told beside the entities: signs of life, metrics, logs; and what no log may hold.

use std::time::Duration;

use berth_embed::{AwsConfig, PortConfig};
use secrecy::SecretString;

use super::Reader;

/// Ambient credentials of AWS.
const AMBIENT: &[&str] = &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

impl Reader<'_> {
    /// Sets what Port is told of a resync; returns whether the log is shipped.
    pub(super) fn reporting(&mut self, port: Option<&mut PortConfig>, aws: &AwsConfig) -> bool {
        let seconds = self.number("status_heartbeat_interval_seconds", 10);
        let enabled = self.flag("metrics.enabled", false);
        let webhook = self.url("metrics.webhook_url", "https://metrics.example.com/berth");
        if let Some(port) = port {
            port.heartbeat_interval = Duration::from_secs(seconds as u64);
            port.metrics_webhook = webhook.filter(|_| enabled);
            port.secrets = self.secrets(aws);
        }
        self.flag("ship_logs", true)
    }

    /// The secrets among the settings, beside those of the client of Port.
    fn secrets(&self, aws: &AwsConfig) -> Vec<SecretString> {
        let keys = aws.static_keys.iter().flat_map(|keys| {
            [Some(&keys.access_key_id), Some(&keys.secret_access_key), keys.session_token.as_ref()]
        });
        let external = aws.external_id.iter().chain(aws.external_ids.values());
        let ambient = AMBIENT.iter().filter_map(|name| self.environment.get(name));
        keys.flatten().chain(external).cloned().chain(ambient.map(SecretString::from)).collect()
    }
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
        assert_eq!(load(&[hook]).port.metrics_webhook, None, "it has to be enabled");
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
