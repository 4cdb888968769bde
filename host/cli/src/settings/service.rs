//! The additional settings of `berth run`: what triggers resyncs, and where to listen.

use std::{collections::BTreeMap, time::SystemTime};

use berth_embed::{PortConfig, ResyncSchedule};
use berth_service::config::{BindAddress, HttpAccess, KnownNames, Listener, ResyncAccess};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

#[cfg(feature = "kafka")]
use super::kafka;
use super::{
    Issue,
    check::{Section, SettingsCheck},
    listener::{self, Kind},
    live,
    schema::Setting,
    values::Count,
};

/// How the service runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceSettings {
    /// Whether to run one resync and exit instead of a service.
    pub(crate) once: bool,
    pub(crate) listener: Listener,
    /// Minutes between two scheduled resyncs; `None` without a schedule.
    pub(crate) scheduled_minutes: Option<u32>,
    /// Where the HTTP server listens.
    pub(crate) bind: BindAddress,
    /// Its port; 0 lets the system choose one.
    pub(crate) port: u16,
    /// The host names that requests may use, in addition to those of private networks.
    pub(crate) names: KnownNames,
    /// The key that a resync request needs; `None` for no key.
    pub(crate) resync_key: Option<ResyncKey>,
    /// The prefix of the routes of health and metrics: empty, or `/…` without a slash at its end.
    pub(crate) path_prefix: String,
    /// Whether to take live events.
    pub(crate) process_webhooks: bool,
    /// Whether to serve the status page.
    pub(crate) status_page: bool,
    /// The settings that only a restart changes, as they are given.
    pub(crate) at_start: AtStart,
}

/// The settings in [`AT_START`], as they are given.
pub(crate) type AtStart = BTreeMap<&'static str, Value>;

/// Settings that a running service does not change: where it listens, what triggers a resync, and what its
/// ledger belongs to.
pub(crate) const AT_START: &[&str] = &[
    "port.base_url",
    "integration.identifier",
    "integration.type",
    "event_listener.type",
    "event_listener.should_resync",
    "event_listener.resync_on_start",
    "event_listener.brokers",
    "event_listener.security_protocol",
    "event_listener.authentication_mechanism",
    "event_listener.kafka_security_enabled",
    "event_listener.consumer_poll_timeout",
    "bind_address",
    "path_prefix",
    "status_page",
    "state_dir",
    "state_verify_interval_hours",
];

/// The key for resync requests to the webhook.
#[derive(Debug, Clone)]
pub(crate) struct ResyncKey(pub(crate) SecretString);

impl PartialEq for ResyncKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for ResyncKey {}

/// The port of the contract's HTTP server.
const PORT: u16 = 8000;

impl ServiceSettings {
    /// Returns the access rules of a process with this client secret.
    pub(crate) fn access(&self, client_secret: &SecretString) -> HttpAccess {
        let resync = self
            .resync_key
            .as_ref()
            .map(|ResyncKey(key)| ResyncAccess { key: key.clone(), client_secret: client_secret.clone() });
        HttpAccess { names: self.names.clone(), resync }
    }

    /// Tells Port the schedule.
    pub(super) fn apply_to(&self, port: &mut PortConfig) {
        port.schedule = self
            .scheduled_minutes
            .map(|interval_minutes| ResyncSchedule { interval_minutes, since: SystemTime::now() });
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct ServiceTable {
    bind_address: Setting<String>,
    allowed_hosts: Setting<Vec<String>>,
    path_prefix: Setting<String>,
    status_page: Setting<bool>,
}

impl Section for ServiceSettings {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let table: ServiceTable = check.table()?;
        let listener::ListenerTable { event_listener, scheduled_resync_interval } = check.table()?;
        let keys: live::LiveTable = check.table()?;
        let kind = event_listener.kind(check);
        let listener = kind.and_then(|kind| trigger(check, kind, &event_listener));
        let resyncs = check.value(&event_listener.should_resync);
        let resyncs = resyncs.unwrap_or(kind.is_some_and(Kind::resyncs));
        if kind == Some(Kind::Once) && !resyncs {
            check.issue(
                &event_listener.should_resync,
                "with the listener ONCE, the service has nothing to do",
                "remove it, or use WEBHOOKS_ONLY for a process that only takes live events",
            );
        }
        let process_webhooks = check.value(&event_listener.should_process_webhooks);
        let process_webhooks = process_webhooks.unwrap_or(kind.is_some_and(Kind::takes_events));
        let actions = check.value(&event_listener.should_run_actions);
        if kind == Some(Kind::ActionsOnly) || actions == Some(true) {
            check.note(
                "there are no actions to run, because Port's own integration has none; this service does \
                nothing (OCEAN__EVENT_LISTENER)",
            );
        }
        let is_webhook = kind == Some(Kind::Webhook);
        // If the port is meant to be reached from outside, the status page is off by default.
        let outside = is_webhook || process_webhooks && keys.has_key();
        let resync_key = check.value(&event_listener.resync_key).map(ResyncKey);
        if is_webhook && resyncs && resync_key.is_none() {
            check.note(
                "anyone who reaches this service can request resyncs: set OCEAN__EVENT_LISTENER__RESYNC_KEY \
                to require a key or Port's signature",
            );
        }
        let bind = bind_address(check, &table.bind_address, outside);
        let names = names(check, &table.allowed_hosts);
        let scheduled_minutes = schedule(check, &scheduled_resync_interval, resyncs);
        let port = http_port(check);
        let path_prefix = path_prefix(check, &table.path_prefix);
        let status_page = check.value(&table.status_page);
        let given = |path: &&'static str| Some((*path, check.tree().get(path)?.clone()));
        Some(Self {
            once: kind == Some(Kind::Once),
            bind,
            names,
            resync_key,
            listener: if resyncs { listener? } else { Listener::Idle },
            scheduled_minutes,
            port: port?,
            path_prefix,
            process_webhooks,
            status_page: status_page.unwrap_or(!outside),
            at_start: AT_START.iter().filter_map(given).collect(),
        })
    }
}

fn trigger(
    check: &mut SettingsCheck<'_>,
    kind: Kind,
    settings: &listener::ListenerSettings,
) -> Option<Listener> {
    let resync_on_start = check.value(&settings.resync_on_start);
    Some(match kind {
        Kind::Polling => {
            let interval = check.value(&settings.interval);
            Listener::Polling { interval: interval?.0, resync_on_start: resync_on_start? }
        }
        Kind::Webhook => {
            let remedy = "set the address at which Port reaches this service";
            let app_host = check.required(&settings.app_host, remedy);
            Listener::Webhook { app_host: app_host?, resync_on_start: resync_on_start? }
        }
        #[cfg(feature = "kafka")]
        Kind::Kafka => Listener::Kafka(kafka::read(check, settings)?),
        #[cfg(not(feature = "kafka"))]
        Kind::Kafka => {
            check.issue(
                &settings.r#type,
                "this build of Berth has no KAFKA listener",
                "use a build with the feature `kafka`, as every default build is, or POLLING, which \
                supports the resync button in Port without a broker",
            );
            return None;
        }
        // ONCE does not listen.
        Kind::Once | Kind::WebhooksOnly | Kind::ActionsOnly => Listener::Idle,
    })
}

fn schedule(check: &mut SettingsCheck<'_>, setting: &Setting<Count>, resyncs: bool) -> Option<u32> {
    let Count(minutes) = check.value(setting)?;
    if !resyncs {
        check.note(
            "OCEAN__SCHEDULED_RESYNC_INTERVAL is ignored: with its OCEAN__EVENT_LISTENER this process does \
            not resync",
        );
        return None;
    }
    Some(u32::try_from(minutes).unwrap_or(u32::MAX))
}

fn http_port(check: &mut SettingsCheck<'_>) -> Option<u16> {
    const NAME: &str = "APPLICATION__PORT";
    let Some(text) = check.environment().get(NAME) else { return Some(PORT) };
    text.trim()
        .parse()
        .map_err(|_| {
            check.push(Issue {
                setting: NAME.into(),
                problem: format!("found `{text}`"),
                remedy: format!("use a port number, as in `{PORT}`"),
            });
        })
        .ok()
}

/// Returns where to listen; by default, listens on all addresses only if requests come from outside.
fn bind_address(check: &mut SettingsCheck<'_>, setting: &Setting<String>, outside: bool) -> BindAddress {
    let default = if outside { BindAddress::Everywhere } else { BindAddress::Loopback };
    let Some(text) = check.value(setting) else { return default };
    match text.as_str() {
        "localhost" => BindAddress::Loopback,
        "*" | "::" | "[::]" => BindAddress::Everywhere,
        address => address.trim_start_matches('[').trim_end_matches(']').parse().map_or_else(
            |_| {
                let remedy = "use an IP address, `localhost`, or `*` for all addresses";
                check.issue(setting, format!("found `{text}`"), remedy);
                default
            },
            BindAddress::Only,
        ),
    }
}

/// Returns the host names of this service: those of the addresses that others use, and the additionally
/// allowed ones.
fn names(check: &mut SettingsCheck<'_>, setting: &Setting<Vec<String>>) -> KnownNames {
    // The code that uses them checks whether they are URLs.
    let addresses = ["base_url", "event_listener.app_host"];
    let tree = check.tree();
    let known = addresses.into_iter().filter_map(|path| {
        let url = Url::parse(tree.get(path)?.as_str()?.trim()).ok()?;
        Some(url.host_str()?.to_owned())
    });
    let allowed = check.value(setting).unwrap_or_default();
    for name in &allowed {
        if name.is_empty() || name.contains([':', '/', '*', ' ']) {
            let remedy = "use host names without a port, as in `berth.example.com`";
            check.issue(setting, format!("found `{name}`"), remedy);
        }
    }
    KnownNames::new(known.chain(allowed))
}

fn path_prefix(check: &mut SettingsCheck<'_>, setting: &Setting<String>) -> String {
    let text = check.value(setting).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
    if !text.chars().all(plain) {
        check.issue(setting, format!("found `{text}`"), "use a path such as `/berth`");
    }
    text.split('/').filter(|segment| !segment.is_empty()).flat_map(|segment| ["/", segment]).collect()
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Duration};

    use clap::Parser;

    use serde_json::json;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Result<(Settings, ServiceSettings), Vec<Issue>> {
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
            ServiceSettings {
                once: false,
                listener: Listener::Polling { interval, resync_on_start: true },
                scheduled_minutes: None,
                bind: BindAddress::Loopback,
                port: 8000,
                names: KnownNames::default(),
                resync_key: None,
                path_prefix: String::new(),
                process_webhooks: true,
                status_page: true,
                at_start: AtStart::new(),
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
        let at_start = service.at_start.clone();
        assert_eq!(
            service,
            ServiceSettings {
                once: false,
                listener: Listener::Polling { interval, resync_on_start: false },
                scheduled_minutes: Some(1440),
                bind: BindAddress::Loopback,
                port: 9000,
                names: KnownNames::default(),
                resync_key: None,
                path_prefix: "/a/b".into(),
                process_webhooks: true,
                status_page: false,
                at_start,
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
    fn it_listens_for_others_only_where_there_is_something_to_take() {
        let webhook = r#"{"type": "WEBHOOK", "app_host": "https://berth.example.com"}"#;
        let key = ("OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY", "key");
        let given = |address| ("OCEAN__BIND_ADDRESS", address);
        let (four, six) = (IpAddr::from([10, 1, 2, 3]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        for (variables, bind) in [
            (&[][..], BindAddress::Loopback),
            (&[key], BindAddress::Everywhere),
            (&[("OCEAN__EVENT_LISTENER", webhook)], BindAddress::Everywhere),
            (&[given("*")], BindAddress::Everywhere),
            (&[given("::")], BindAddress::Everywhere),
            (&[key, given("localhost")], BindAddress::Loopback),
            (&[given("10.1.2.3")], BindAddress::Only(four)),
            (&[given("0.0.0.0")], BindAddress::Only(IpAddr::from([0, 0, 0, 0]))),
            (&[given("[::1]")], BindAddress::Only(six)),
        ] {
            assert_eq!(load(variables).unwrap().1.bind, bind, "{variables:?}");
        }
        for wrong in ["berth", "10.1.2.3:8000"] {
            let issues = load(&[given(wrong)]).unwrap_err();
            assert_eq!((issues.len(), issues[0].setting.as_str()), (1, "OCEAN__BIND_ADDRESS"), "{issues:?}");
        }
    }

    #[test]
    fn its_names_are_those_that_others_were_reported() {
        let (_, service) = load(&[
            ("OCEAN__EVENT_LISTENER", r#"{"type": "WEBHOOK", "app_host": "https://hooks.example.com:8443"}"#),
            ("OCEAN__BASE_URL", "https://berth.example.com/a"),
            ("OCEAN__ALLOWED_HOSTS", "one.example, Two.example"),
        ])
        .unwrap();
        let names = ["hooks.example.com", "berth.example.com", "one.example", "two.example"];
        assert_eq!(service.names, KnownNames::new(names));
        let issues = load(&[("OCEAN__ALLOWED_HOSTS", r#"["https://one.example", "*"]"#)]).unwrap_err();
        assert_eq!(issues.len(), 2, "{issues:?}");
    }

    #[test]
    fn the_key_of_the_webhook_is_a_secret_and_missed_where_there_is_none() {
        let webhook = |key: &str| {
            json!({"type": "WEBHOOK", "app_host": "https://berth.example.com", "resync_key": key}).to_string()
        };
        let (settings, service) = load(&[("OCEAN__EVENT_LISTENER", &webhook("hush"))]).unwrap();
        assert_eq!(service.resync_key, Some(ResyncKey("hush".to_owned().into())));
        assert!(!format!("{service:?} {settings:?}").contains("hush"));
        assert!(
            settings.port.secrets.iter().any(|secret| secret.expose_secret() == "hush"),
            "masked in logs"
        );
        assert!(settings.notes.is_empty(), "{:?}", settings.notes);
        let (settings, _) = load(&[("OCEAN__EVENT_LISTENER", &webhook(""))]).unwrap();
        assert!(settings.notes[0].contains("RESYNC_KEY"), "{:?}", settings.notes);
    }

    #[test]
    fn port_is_informed_where_the_webhook_is() {
        for host in ["https://berth.example.com", "https://berth.example.com/"] {
            let listener = json!({"type": "WEBHOOK", "app_host": host}).to_string();
            let (settings, _) = load(&[("OCEAN__EVENT_LISTENER", &listener)]).unwrap();
            let expected = json!({"type": "WEBHOOK", "url": "https://berth.example.com/resync"});
            assert_eq!(settings.port.changelog_destination, expected);
        }
    }

    #[test]
    fn each_process_does_what_its_listener_says_unless_set_otherwise() {
        let schedule = 60;
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
            assert_eq!(service.once, listener["type"] == "ONCE", "{listener}");
            let live = ServiceSettings { process_webhooks: webhooks, ..service.clone() };
            assert_eq!(service, live, "{listener}");
            if !resyncs {
                assert_eq!(service.listener, Listener::Idle, "{listener}");
            }
            assert_eq!(settings.notes.len(), notes, "{listener}: {:?}", settings.notes);
        }
    }

    #[test]
    fn what_makes_no_sense_is_reported_once() {
        for (listener, setting, expected) in [
            (r#"{"type":"SOMETIMES"}"#, "OCEAN__EVENT_LISTENER", "SOMETIMES"),
            (r#"{"type":"WEBHOOK"}"#, "OCEAN__EVENT_LISTENER__APP_HOST", "not set"),
            (r#"{"type":"ONCE","should_resync":"no"}"#, "OCEAN__EVENT_LISTENER", "nothing to do"),
            #[cfg(not(feature = "kafka"))]
            (r#"{"type":"KAFKA"}"#, "OCEAN__EVENT_LISTENER", "this build"),
        ] {
            let issues = load(&[("OCEAN__EVENT_LISTENER", listener)]).unwrap_err();
            assert_eq!(issues.len(), 1, "{issues:?}");
            assert_eq!(issues[0].setting, setting);
            assert!(issues[0].problem.contains(expected), "{issues:?}");
        }
        let issues = load(&[("OCEAN__PATH_PREFIX", "/{a}"), ("APPLICATION__PORT", "http")]).unwrap_err();
        assert_eq!(issues.len(), 2, "{issues:?}");
    }
}
