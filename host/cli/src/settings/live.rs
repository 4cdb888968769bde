//! Live events: whether they are followed, and how.

use std::time::Duration;

use berth_embed::LiveOptions;
use secrecy::SecretString;
use url::Url;

use super::Reader;

/// How live events are followed, where they are.
#[derive(Debug)]
pub(crate) struct LiveSettings {
    /// What the sender of an event has to know.
    pub(crate) key: SecretString,
    /// The address of this service on the outside, to tell people where events go.
    pub(crate) base_url: Option<Url>,
    pub(crate) options: LiveOptions,
}

impl Reader<'_> {
    /// Live events are followed when there is a key for them.
    pub(super) fn live(&mut self) -> Option<LiveSettings> {
        let defaults = LiveOptions::default();
        let base_url = self.url("base_url", "https://berth.example.com");
        let options = LiveOptions {
            workers: self.number("event_workers_count", defaults.workers),
            deadline: self.seconds("max_event_processing_seconds", defaults.deadline),
            drain: self.seconds("max_wait_seconds_before_shutdown", defaults.drain),
            ..defaults
        };
        let key = self.secret("integration.config.live_events_api_key")?;
        Some(LiveSettings { key, base_url, options })
    }

    /// A time, which may have a fraction.
    fn seconds(&mut self, path: &str, default: Duration) -> Duration {
        let Some(text) = self.text(path) else { return default };
        let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        seconds.filter(|seconds| !seconds.is_zero()).unwrap_or_else(|| {
            let example = default.as_secs();
            self.issue(
                path,
                format!("found `{text}`"),
                format!("use a number of seconds, as in `{example}`"),
            );
            default
        })
    }
}

#[cfg(test)]
mod tests {
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
            assert_eq!(live.key.expose_secret(), "k3y");
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
    fn what_is_wrong_is_told_at_once() {
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
