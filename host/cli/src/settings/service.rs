//! What `berth run` needs to know besides: what triggers resyncs, and where to listen.

use std::time::{Duration, SystemTime};

use berth_embed::{PortConfig, ResyncSchedule};
use url::Url;

use super::{Issue, LISTENERS, Reader};

/// How the service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) listener: Listener,
    /// Minutes between two resyncs that nobody asks for; `None` without a schedule.
    pub(crate) scheduled_minutes: Option<u32>,
    /// The port of the HTTP server; 0 lets the system choose one.
    pub(crate) port: u16,
    /// What stands before the routes of health and metrics: nothing, or `/…` without a slash at its
    /// end.
    pub(crate) path_prefix: String,
}

/// What triggers a resync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listener {
    /// One resync, then the process ends.
    Once,
    /// A look at the resync request at Port, each interval.
    Polling { interval: Duration, resync_on_start: bool },
    /// `POST /resync`, which Port is told to send here.
    Webhook { app_host: Url, resync_on_start: bool },
}

/// Port of the contract's HTTP server.
const PORT: u16 = 8000;
const SUPPORTED: &str = "POLLING, WEBHOOK and ONCE";

impl Service {
    /// What Port is told of it: when resyncs repeat.
    pub(super) fn tell_port(&self, port: &mut PortConfig) {
        port.schedule = self
            .scheduled_minutes
            .map(|interval_minutes| ResyncSchedule { interval_minutes, since: SystemTime::now() });
    }
}

/// Reads the service's settings. What it returns after an issue does not matter.
pub(super) fn read(reader: &mut Reader<'_>) -> Service {
    let listener = reader.trigger();
    let scheduled_minutes = reader.tree.get("scheduled_resync_interval").is_some().then(|| {
        let minutes = reader.number("scheduled_resync_interval", 60);
        u32::try_from(minutes).unwrap_or(u32::MAX)
    });
    Service { listener, scheduled_minutes, port: reader.http_port(), path_prefix: reader.path_prefix() }
}

impl Reader<'_> {
    fn trigger(&mut self) -> Listener {
        let kind = self.text("event_listener.type").unwrap_or_else(|| "POLLING".into());
        let resync_on_start = self.flag("event_listener.resync_on_start", true);
        match kind.as_str() {
            "POLLING" => {
                let interval = Duration::from_secs(self.number("event_listener.interval", 60) as u64);
                return Listener::Polling { interval, resync_on_start };
            }
            "WEBHOOK" => {
                self.required(
                    "event_listener.app_host",
                    "give the address at which Port reaches this service",
                );
                if let Some(app_host) = self.url("event_listener.app_host", "https://berth.example.com") {
                    return Listener::Webhook { app_host, resync_on_start };
                }
            }
            // What is no listener at all is told where all commands look at it.
            other if other != "ONCE" && LISTENERS.contains(&other) => {
                let remedy = match other {
                    "KAFKA" => "use POLLING: it answers the resync button in Port, without a broker",
                    _ => "run the integration's own image for what this listener does",
                };
                self.issue(
                    "event_listener.type",
                    format!("`{other}` is not supported; {SUPPORTED} are"),
                    remedy,
                );
            }
            _ => {}
        }
        Listener::Once
    }

    fn http_port(&mut self) -> u16 {
        const NAME: &str = "APPLICATION__PORT";
        let Some(text) = self.environment.get(NAME) else { return PORT };
        text.trim().parse().unwrap_or_else(|_| {
            self.issues.push(Issue {
                setting: NAME.into(),
                problem: format!("found `{text}`"),
                remedy: format!("use a port number, as in `{PORT}`"),
            });
            PORT
        })
    }

    fn path_prefix(&mut self) -> String {
        let text = self.text("path_prefix").unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !text.chars().all(plain) {
            self.issue("path_prefix", format!("found `{text}`"), "use a path such as `/berth`");
        }
        text.split('/').filter(|segment| !segment.is_empty()).flat_map(|segment| ["/", segment]).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use serde_json::json;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Result<(Settings, Service), Vec<Issue>> {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let environment = Environment::of(&[&seed, variables].concat());
        let args = Args::parse_from(["berth", "--plugins", "/", "run"]);
        Settings::load_service(&args.global, &environment)
    }

    #[test]
    fn what_the_chart_sets_is_understood() {
        let (settings, service) = load(&[]).unwrap();
        let interval = Duration::from_mins(1);
        assert_eq!(
            service,
            Service {
                listener: Listener::Polling { interval, resync_on_start: true },
                scheduled_minutes: None,
                port: 8000,
                path_prefix: String::new(),
            }
        );
        assert_eq!((settings.port.changelog_destination, settings.port.schedule), (json!({}), None));

        let (settings, service) = load(&[
            ("OCEAN__EVENT_LISTENER", r#"{"type": "POLLING", "interval": 7}"#),
            ("OCEAN__EVENT_LISTENER__RESYNC_ON_START", "false"),
            ("OCEAN__SCHEDULED_RESYNC_INTERVAL", "1440"),
            ("OCEAN__PATH_PREFIX", "a//b/"),
            ("APPLICATION__PORT", "9000"),
        ])
        .unwrap();
        let interval = Duration::from_secs(7);
        assert_eq!(
            service,
            Service {
                listener: Listener::Polling { interval, resync_on_start: false },
                scheduled_minutes: Some(1440),
                port: 9000,
                path_prefix: "/a/b".into(),
            }
        );
        assert_eq!(settings.port.schedule.unwrap().interval_minutes, 1440);
    }

    #[test]
    fn port_is_told_where_the_webhook_is() {
        for host in ["https://berth.example.com", "https://berth.example.com/"] {
            let listener = json!({"type": "WEBHOOK", "app_host": host}).to_string();
            let (settings, _) = load(&[("OCEAN__EVENT_LISTENER", &listener)]).unwrap();
            let told = json!({"type": "WEBHOOK", "url": "https://berth.example.com/resync"});
            assert_eq!(settings.port.changelog_destination, told);
        }
    }

    #[test]
    fn what_is_not_supported_is_told_once_with_what_is() {
        for (listener, setting, told) in [
            (r#"{"type":"KAFKA"}"#, "OCEAN__EVENT_LISTENER", "POLLING, WEBHOOK and ONCE"),
            (r#"{"type":"WEBHOOKS_ONLY"}"#, "OCEAN__EVENT_LISTENER", "POLLING, WEBHOOK and ONCE"),
            (r#"{"type":"SOMETIMES"}"#, "OCEAN__EVENT_LISTENER", "SOMETIMES"),
            (r#"{"type":"WEBHOOK"}"#, "OCEAN__EVENT_LISTENER__APP_HOST", "not set"),
        ] {
            let issues = load(&[("OCEAN__EVENT_LISTENER", listener)]).unwrap_err();
            assert_eq!(issues.len(), 1, "{issues:?}");
            assert_eq!(issues[0].setting, setting);
            assert!(issues[0].problem.contains(told), "{issues:?}");
        }
        let issues = load(&[("OCEAN__PATH_PREFIX", "/{a}"), ("APPLICATION__PORT", "http")]).unwrap_err();
        assert_eq!(issues.len(), 2, "{issues:?}");
    }
}
