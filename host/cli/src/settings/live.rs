//! Live events: whether and how to process them.

use berth_embed::{LiveOptions, core::AccountId};
use berth_service::config::{LiveKey, LiveSettings};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    check::{Section, SettingsCheck},
    schema::Setting,
    values::{Count, Time, UnparsedValue, is_empty},
};

#[derive(Debug, Deserialize)]
pub(super) struct LiveTable {
    base_url: Setting<Url>,
    event_workers_count: Setting<Count>,
    max_event_processing_seconds: Setting<Time>,
    max_wait_seconds_before_shutdown: Setting<Time>,
    integration: Integration,
}

#[derive(Debug, Deserialize)]
struct Integration {
    config: Config,
}

#[derive(Debug, Deserialize)]
struct Config {
    live_events_api_key: Setting<SecretString>,
    live_events_keys: Setting<UnparsedValue>,
}

impl LiveTable {
    /// Returns whether a key is set, so that callers may send events.
    pub(super) fn has_key(&self) -> bool {
        let Config { live_events_api_key, live_events_keys } = &self.integration.config;
        live_events_api_key.is_set() || live_events_keys.is_set()
    }
}

/// Live events are processed if there is a key for them.
impl Section for Option<LiveSettings> {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let table: LiveTable = check.table()?;
        let base_url = check.value(&table.base_url);
        let workers = check.value(&table.event_workers_count);
        let deadline = check.value(&table.max_event_processing_seconds);
        let drain = check.value(&table.max_wait_seconds_before_shutdown);
        let config = table.integration.config;
        let mut keys = keys_of_accounts(check, &config.live_events_keys);
        let one = check.value(&config.live_events_api_key);
        keys.extend(one.map(|key| LiveKey { key, accounts: None }));
        let options = LiveOptions {
            workers: workers?.0,
            deadline: deadline?.0,
            drain: drain?.0,
            ..LiveOptions::default()
        };
        Some((!keys.is_empty()).then_some(LiveSettings { keys, base_url, options }))
    }
}

/// Returns the keys that may send events of some accounts only. A key without accounts is a mistake: it could
/// mean all or none.
fn keys_of_accounts(check: &mut SettingsCheck<'_>, setting: &Setting<UnparsedValue>) -> Vec<LiveKey> {
    let Some(given) = setting.given() else { return Vec::new() };
    let list = match &given.value {
        Value::String(text) => serde_json::from_str::<Value>(text).unwrap_or_default(),
        other => other.clone(),
    };
    let example = setting.example();
    let remedy = format!("use a list such as `{example}`; `live_events_api_key` is valid for all accounts");
    let items = match list {
        Value::Array(items) if !items.is_empty() => items,
        // Never show the value: it may be a key.
        _ => {
            check.issue(setting, "not a list of keys with their accounts", remedy);
            return Vec::new();
        }
    };
    let mut keys = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match live_key(item) {
            Ok(key) => keys.push(key),
            Err(problem) => check.issue(setting, format!("element {index}: {problem}"), remedy.clone()),
        }
    }
    keys
}

/// Reads one of `live_events_keys`. Never shows the value: it may be a key in the wrong place.
fn live_key(item: &Value) -> Result<LiveKey, &'static str> {
    let members = item.as_object().ok_or("not a table with `key` and `accounts`")?;
    if members.keys().any(|name| !["key", "accounts"].contains(&name.as_str())) {
        return Err("there is a member that is neither `key` nor `accounts`");
    }
    let key = members.get("key").and_then(Value::as_str).map(str::trim).filter(|key| !key.is_empty());
    let key = key.ok_or("`key` is missing or empty")?;
    let accounts = members.get("accounts").filter(|accounts| !is_empty(accounts));
    let accounts = accounts.and_then(Value::as_array).ok_or("`accounts` is missing, empty or not a list")?;
    let account = |account: &Value| AccountId::new(account.as_str()?.trim()).ok();
    let accounts = accounts.iter().map(account).collect::<Option<_>>();
    let accounts = accounts.ok_or("an account is not a text of twelve digits")?;
    Ok(LiveKey { key: SecretString::from(key), accounts: Some(accounts) })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use clap::Parser;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        args::Args,
        settings::{Environment, Issue, Settings},
    };

    fn load(variables: &[(&str, &str)]) -> Result<Option<LiveSettings>, Vec<Issue>> {
        let seed = [("OCEAN__PORT__CLIENT_ID", "client"), ("OCEAN__PORT__CLIENT_SECRET", "secret")];
        let environment = Environment::of(&[&seed, variables].concat());
        let args = Args::parse_from(["berth", "--plugins", "/", "run"]);
        Settings::load_service(&args.global, &environment).map(|(settings, _)| settings.live)
    }

    #[test]
    fn they_are_followed_when_there_is_a_key() {
        assert!(load(&[]).unwrap().is_none());
        assert!(load(&[("OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY", " ")]).unwrap().is_none());
        for name in [
            "OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY",
            "ocean__integration__config__live_events_api_key",
        ] {
            let live = load(&[(name, "k3y")]).unwrap().unwrap();
            assert_eq!(live.keys[0].key.expose_secret(), "k3y");
            assert_eq!((live.keys.len(), &live.keys[0].accounts), (1, &None));
            assert_eq!((live.options.workers, live.options.deadline), (4, Duration::from_secs(90)));
            assert!(!format!("{live:?}").contains("k3y"));
        }
        let live = load(&[
            ("OCEAN__INTEGRATION__CONFIG", r#"{"liveEventsApiKey": "k3y"}"#),
            ("OCEAN__BASE_URL", "https://berth.example.com"),
            ("OCEAN__EVENT_WORKERS_COUNT", "2"),
            ("OCEAN__MAX_EVENT_PROCESSING_SECONDS", "7.5"),
            ("OCEAN__MAX_WAIT_SECONDS_BEFORE_SHUTDOWN", "1"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(live.options.workers, 2);
        assert_eq!(live.options.deadline, Duration::from_millis(7500));
        assert_eq!(live.options.drain, Duration::from_secs(1));
        assert_eq!(live.base_url.unwrap().host_str(), Some("berth.example.com"));
    }

    #[test]
    fn keys_may_be_restricted_to_accounts() {
        const NAME: &str = "OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_KEYS";
        let json = r#"[{"key": "hush-1", "accounts": ["111111111111", "222222222222"]}, {"key": "hush-2", "accounts": ["333333333333"]}]"#;
        let live = load(&[(NAME, json), ("OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_API_KEY", "k3y")])
            .unwrap()
            .unwrap();
        let keys: Vec<(&str, Option<usize>)> = live
            .keys
            .iter()
            .map(|known| (known.key.expose_secret(), known.accounts.as_ref().map(BTreeSet::len)))
            .collect();
        assert_eq!(keys, [("hush-1", Some(2)), ("hush-2", Some(1)), ("k3y", None)]);
        assert!(!["hush", "k3y"].iter().any(|key| format!("{live:?}").contains(key)), "{live:?}");

        let dir = tempfile::tempdir().unwrap();
        let file = "[port]\nclient_id = 'a'\nclient_secret = 'b'\n\
                    [[integration.config.live_events_keys]]\nkey = 'one'\naccounts = ['111111111111']\n";
        std::fs::write(dir.path().join("berth.toml"), file).unwrap();
        let mut environment = Environment::of(&[]);
        environment.working_dir = dir.path().to_owned();
        let args = Args::parse_from(["berth", "--plugins", "/", "run"]);
        let (settings, service) = Settings::load_service(&args.global, &environment).unwrap();
        assert_eq!(settings.live.unwrap().keys.len(), 1);
        assert!(!service.status_page, "the port is reachable from outside");
        assert!(settings.port.secrets.iter().any(|secret| secret.expose_secret() == "one"), "masked in logs");
    }

    #[test]
    fn a_key_that_names_no_account_or_is_empty_is_a_mistake() {
        const NAME: &str = "OCEAN__INTEGRATION__CONFIG__LIVE_EVENTS_KEYS";
        for wrong in [
            "",
            "[]",
            "{}",
            "hush",
            r#"["hush"]"#,
            r#"[{"key": "hush"}]"#,
            r#"[{"key": "hush", "accounts": []}]"#,
            r#"[{"key": "hush", "accounts": [""]}]"#,
            r#"[{"key": "hush", "accounts": "111111111111"}]"#,
            r#"[{"key": "hush", "accounts": ["1"]}]"#,
            r#"[{"key": "hush", "accounts": [111111111111]}]"#,
            r#"[{"key": " ", "accounts": ["111111111111"]}]"#,
            r#"[{"accounts": ["111111111111"]}]"#,
            r#"[{"key": "hush", "accounts": ["111111111111"], "regions": []}]"#,
        ] {
            let issues = load(&[(NAME, wrong)]).unwrap_err();
            assert_eq!((issues.len(), issues[0].setting.as_str()), (1, NAME), "{wrong}: {issues:?}");
            assert!(!format!("{issues:?}").contains("hush"), "{issues:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_reported_at_once() {
        let issues = load(&[
            ("OCEAN__BASE_URL", "berth"),
            ("OCEAN__EVENT_WORKERS_COUNT", "0"),
            ("OCEAN__MAX_EVENT_PROCESSING_SECONDS", "soon"),
            ("OCEAN__MAX_WAIT_SECONDS_BEFORE_SHUTDOWN", "-1"),
        ])
        .unwrap_err();
        assert_eq!(issues.len(), 4, "{issues:?}");
    }
}
