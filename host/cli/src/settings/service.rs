//! What `berth run` needs to know besides: what triggers resyncs, and where to listen.

use std::time::{Duration, SystemTime};

use berth_embed::{PortConfig, ResyncSchedule};
use url::Url;

#[cfg(feature = "kafka")]
use super::Kafka;
use super::{Issue, Reader, live};

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
    /// Whether live events are taken.
    pub(crate) process_webhooks: bool,
    /// Whether the status page is served.
    pub(crate) status_page: bool,
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
    /// A message of Port's Kafka brokers.
    #[cfg(feature = "kafka")]
    Kafka(Kafka),
    /// Nothing: another process resyncs.
    Idle,
}

/// Port of the contract's HTTP server.
const PORT: u16 = 8000;

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
    let kind = reader.text("event_listener.type").unwrap_or_else(|| "POLLING".into());
    let listener = reader.trigger(&kind);
    let only = matches!(kind.as_str(), "WEBHOOKS_ONLY" | "ACTIONS_ONLY");
    let resyncs = reader.flag("event_listener.should_resync", !only);
    if listener == Listener::Once && !resyncs {
        reader.issue(
            "event_listener.should_resync",
            "with the listener ONCE, nothing is left to do",
            "remove it, or use WEBHOOKS_ONLY for a process that only takes live events",
        );
    }
    let webhooks = !matches!(kind.as_str(), "ONCE" | "ACTIONS_ONLY");
    let process_webhooks = reader.flag("event_listener.should_process_webhooks", webhooks);
    if kind == "ACTIONS_ONLY" || reader.flag("event_listener.should_run_actions", false) {
        reader.notes.push(
            "there are no actions to run: the integration that Berth replaces has none; this asks for \
             nothing (OCEAN__EVENT_LISTENER)"
                .into(),
        );
    }
    // Where the port is there to be reached from outside, nothing is shown to everybody unasked.
    let outside = matches!(listener, Listener::Webhook { .. })
        || process_webhooks && live::KEYS.iter().any(|path| reader.tree.get(path).is_some());
    Service {
        listener: if resyncs { listener } else { Listener::Idle },
        scheduled_minutes: reader.schedule(resyncs),
        port: reader.http_port(),
        path_prefix: reader.path_prefix(),
        process_webhooks,
        status_page: reader.flag("status_page", !outside),
    }
}

impl Reader<'_> {
    fn trigger(&mut self, kind: &str) -> Listener {
        let resync_on_start = self.flag("event_listener.resync_on_start", true);
        match kind {
            "POLLING" => {
                let interval = Duration::from_secs(self.number("event_listener.interval", 60) as u64);
                Listener::Polling { interval, resync_on_start }
            }
            "WEBHOOK" => {
                self.required(
                    "event_listener.app_host",
                    "give the address at which Port reaches this service",
                );
                match self.url("event_listener.app_host", "https://berth.example.com") {
                    Some(app_host) => Listener::Webhook { app_host, resync_on_start },
                    None => Listener::Idle,
                }
            }
            #[cfg(feature = "kafka")]
            "KAFKA" => Listener::Kafka(self.kafka(resync_on_start)),
            #[cfg(not(feature = "kafka"))]
            "KAFKA" => {
                self.issue(
                    "event_listener.type",
                    "this build of Berth has no KAFKA listener",
                    "use a build with the feature `kafka`, as every default build is, or POLLING, which \
                     answers the resync button in Port without a broker",
                );
                Listener::Idle
            }
            "ONCE" => Listener::Once,
            // What is no listener at all is told where all commands look at it.
            _ => Listener::Idle,
        }
    }

    fn schedule(&mut self, resyncs: bool) -> Option<u32> {
        self.tree.get("scheduled_resync_interval")?;
        let minutes = self.number("scheduled_resync_interval", 60);
        if !resyncs {
            self.notes.push(
                "OCEAN__SCHEDULED_RESYNC_INTERVAL is not heeded: by its OCEAN__EVENT_LISTENER this process \
                 does not resync"
                    .into(),
            );
            return None;
        }
        Some(u32::try_from(minutes).unwrap_or(u32::MAX))
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
                process_webhooks: true,
                status_page: true,
            }
        );
        assert_eq!((settings.port.changelog_destination, settings.port.schedule), (json!({}), None));

        let (settings, service) = load(&[
            ("OCEAN__EVENT_LISTENER", r#"{"type": "POLLING", "interval": 7}"#),
            ("OCEAN__EVENT_LISTENER__RESYNC_ON_START", "false"),
            ("OCEAN__SCHEDULED_RESYNC_INTERVAL", "1440"),
            ("OCEAN__PATH_PREFIX", "a//b/"),
            ("APPLICATION__PORT", "9000"),
            ("OCEAN__STATUS_PAGE", "false"),
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
                process_webhooks: true,
                status_page: false,
            }
        );
        assert_eq!(settings.port.schedule.unwrap().interval_minutes, 1440);
    }

    #[test]
    fn nothing_is_shown_to_everybody_unasked() {
        let webhook = r#"{"type": "WEBHOOK", "app_host": "https://berth.example.com"}"#;
        let key = ("OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY", "key");
        let idle = r#"{"type": "POLLING", "should_process_webhooks": false}"#;
        for (variables, shown) in [
            (&[][..], true),
            (&[("OCEAN__EVENT_LISTENER", webhook)], false),
            (&[("OCEAN__EVENT_LISTENER", webhook), ("OCEAN__STATUS_PAGE", "true")], true),
            (&[key], false),
            (&[key, ("OCEAN__STATUS_PAGE", "true")], true),
            (&[key, ("OCEAN__EVENT_LISTENER", idle)], true),
        ] {
            assert_eq!(load(variables).unwrap().1.status_page, shown, "{variables:?}");
        }
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
    fn each_process_does_what_its_listener_says_unless_told_otherwise() {
        let (schedule, once) = (60, Listener::Once);
        for (listener, resyncs, webhooks, notes) in [
            (json!({"type": "POLLING"}), true, true, 0),
            (json!({"type": "POLLING", "should_resync": false}), false, true, 1),
            (json!({"type": "POLLING", "should_process_webhooks": false}), true, false, 0),
            (json!({"type": "POLLING", "should_run_actions": true}), true, true, 1),
            (json!({"type": "ONCE"}), true, false, 0),
            (json!({"type": "WEBHOOKS_ONLY"}), false, true, 1),
            (json!({"type": "WEBHOOKS_ONLY", "should_resync": true}), true, true, 0),
            (json!({"type": "ACTIONS_ONLY"}), false, false, 2),
        ] {
            let (settings, service) = load(&[
                ("OCEAN__EVENT_LISTENER", &listener.to_string()),
                ("OCEAN__SCHEDULED_RESYNC_INTERVAL", "60"),
            ])
            .unwrap();
            assert_eq!(service.scheduled_minutes, resyncs.then_some(schedule), "{listener}");
            assert_eq!(settings.port.schedule.is_some(), resyncs, "{listener}");
            assert_eq!(service.listener == once, listener["type"] == "ONCE", "{listener}");
            let live = Service { process_webhooks: webhooks, ..service.clone() };
            assert_eq!(service, live, "{listener}");
            if !resyncs {
                assert_eq!(service.listener, Listener::Idle, "{listener}");
            }
            assert_eq!(settings.notes.len(), notes, "{listener}: {:?}", settings.notes);
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_once() {
        for (listener, setting, told) in [
            (r#"{"type":"SOMETIMES"}"#, "OCEAN__EVENT_LISTENER", "SOMETIMES"),
            (r#"{"type":"WEBHOOK"}"#, "OCEAN__EVENT_LISTENER__APP_HOST", "not set"),
            (r#"{"type":"ONCE","should_resync":"no"}"#, "OCEAN__EVENT_LISTENER", "nothing is left"),
            #[cfg(not(feature = "kafka"))]
            (r#"{"type":"KAFKA"}"#, "OCEAN__EVENT_LISTENER", "this build"),
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
