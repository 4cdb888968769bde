//! The configuration of a service, as typed values. The program reads them from files or variables.

use std::{collections::BTreeSet, mem::discriminant, net::IpAddr, time::Duration};

use berth_embed::{LiveOptions, Problem, ProblemCode, RemovalAfter, ResyncSchedule, core::AccountId};
use secrecy::SecretString;
use url::Url;

/// Configures a service.
#[derive(Debug, Clone, Default)]
pub struct ServiceConfig {
    /// What triggers resyncs.
    pub listener: Listener,
    /// Scheduled resyncs, with any listener. Port shows them if
    /// [`PortConfig::schedule`](berth_embed::PortConfig::schedule) has the same value.
    pub schedule: Option<ResyncSchedule>,
    /// The HTTP server.
    pub http: HttpServer,
    /// How to process live events; `None` to process none.
    pub live_events: Option<LiveSettings>,
    /// When to delete the entities of removed accounts and regions; the same as in the host's
    /// [options](berth_embed::SyncOptions::removal). The status page explains it.
    pub removal_after: RemovalAfter,
}

impl ServiceConfig {
    /// Checks the values, each alone and together.
    ///
    /// # Errors
    /// A [`Problem`] that names the first invalid value.
    pub fn validate(&self) -> Result<(), Problem> {
        let wrong = |message: &str, remedy: &str| {
            Err(Problem::new(ProblemCode::SettingsInvalid, message).remedy(remedy))
        };
        match &self.listener {
            Listener::Polling { interval, .. } if interval.is_zero() => {
                return wrong("the interval of the POLLING listener is zero", "use at least one second");
            }
            #[cfg(feature = "kafka")]
            Listener::Kafka(kafka) if kafka.brokers.is_empty() => {
                return wrong("the KAFKA listener has no broker", "name one as `host:port`");
            }
            _ => {}
        }
        let prefix = &self.http.path_prefix;
        if !prefix.is_empty() && (!prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains("//"))
        {
            return wrong(
                &format!("the path prefix is `{prefix}`"),
                "use a path such as `/berth`, without a slash at its end",
            );
        }
        if self.live_events.as_ref().is_some_and(|events| events.keys.is_empty()) {
            return wrong("live events are on, but there is no key for them", "set at least one key");
        }
        Ok(())
    }

    /// Restores what a running service cannot change: where its server listens, what it serves, and the type
    /// of its listener.
    pub(crate) fn keep_fixed(&mut self, running: &Self) {
        let access = std::mem::take(&mut self.http.access);
        self.http = HttpServer { access, ..running.http.clone() };
        if discriminant(&self.listener) != discriminant(&running.listener) {
            self.listener.clone_from(&running.listener);
        }
    }
}

/// What triggers a resync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Listener {
    /// Polls Port for resync requests.
    Polling {
        /// The interval.
        interval: Duration,
        /// Whether to resync at the start.
        resync_on_start: bool,
    },
    /// `POST /resync`, where Port sends requests because of
    /// [`PortConfig::changelog_destination`](berth_embed::PortConfig::changelog_destination).
    Webhook {
        /// The address of this service from outside.
        app_host: Url,
        /// Whether to resync at the start.
        resync_on_start: bool,
    },
    /// Messages of Port's Kafka brokers.
    #[cfg(feature = "kafka")]
    Kafka(Kafka),
    /// Nothing: only the schedule triggers resyncs, or another process runs them.
    #[default]
    Idle,
}

/// How to consume messages of Port's Kafka brokers.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    /// How to secure connections.
    pub security: Security,
    /// The longest time of one poll for messages.
    pub poll_timeout: Duration,
    /// Whether to resync at the start.
    pub resync_on_start: bool,
}

/// How to secure connections to Kafka.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// No security, and no credentials.
    Off,
    /// TLS, a user name and password, or both.
    On {
        /// Whether to use TLS.
        tls: bool,
        /// How to authenticate, if there is a user name.
        mechanism: Option<Mechanism>,
    },
}

/// How to authenticate to Kafka.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM with SHA-512.
    ScramSha512,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// Plain text.
    Plain,
}

/// The HTTP server.
#[derive(Debug, Clone, Default)]
pub struct HttpServer {
    /// Where to listen.
    pub bind: BindAddress,
    /// The port; 0 lets the system choose one.
    pub port: u16,
    /// The prefix of the routes of health and metrics: empty, or `/…` without a slash at its end.
    pub path_prefix: String,
    /// Whether to serve the status page.
    pub status_page: bool,
    /// Who may send which requests.
    pub access: HttpAccess,
}

/// Who may send which requests. A reload replaces it as a whole.
#[derive(Debug, Clone, Default)]
pub struct HttpAccess {
    /// The host names of this service.
    pub names: KnownNames,
    /// Who may request resyncs; `None` for anyone who reaches the port.
    pub resync: Option<ResyncAccess>,
}

/// The host names that requests may use, in addition to addresses and names of private networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownNames(BTreeSet<String>);

impl KnownNames {
    /// Creates the set; the case of letters does not matter.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(|name| name.into().to_ascii_lowercase()).collect())
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Who may request resyncs, if access is restricted.
#[derive(Debug, Clone)]
pub struct ResyncAccess {
    /// The key that a request sends as `Authorization: Bearer`.
    pub key: SecretString,
    /// The secret of Port's client, which signs Port's requests.
    pub client_secret: SecretString,
}

/// Where the HTTP server listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BindAddress {
    /// Only on this machine, on IPv4 and IPv6.
    #[default]
    Loopback,
    /// On all addresses, IPv4 and IPv6.
    Everywhere,
    /// On one address, or on all of its family.
    Only(IpAddr),
}

/// The key of a sender of live events.
#[derive(Debug, Clone)]
pub struct LiveKey {
    /// The key.
    pub key: SecretString,
    /// The accounts whose events it may send; `None` for all.
    pub accounts: Option<BTreeSet<AccountId>>,
}

/// How to process live events.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    /// Who may send events; at least one.
    pub keys: Vec<LiveKey>,
    /// The address of this service from outside, to show people where to send events.
    pub base_url: Option<Url>,
    /// How many events to process at once, and for how long.
    pub options: LiveOptions,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn polling(seconds: u64) -> Listener {
        Listener::Polling { interval: Duration::from_secs(seconds), resync_on_start: true }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let http =
            |path_prefix: &str| HttpServer { path_prefix: path_prefix.into(), ..HttpServer::default() };
        let no_key = LiveSettings { keys: Vec::new(), base_url: None, options: LiveOptions::default() };
        for (config, named) in [
            (ServiceConfig::default(), None),
            (ServiceConfig { listener: polling(1), http: http("/a/b"), ..ServiceConfig::default() }, None),
            (ServiceConfig { listener: polling(0), ..ServiceConfig::default() }, Some("interval")),
            (ServiceConfig { http: http("a"), ..ServiceConfig::default() }, Some("`a`")),
            (ServiceConfig { http: http("/a/"), ..ServiceConfig::default() }, Some("`/a/`")),
            (ServiceConfig { live_events: Some(no_key), ..ServiceConfig::default() }, Some("no key")),
        ] {
            let problem = config.validate().err().map(|problem| problem.message);
            match named {
                None => assert_eq!(problem, None),
                Some(named) => assert!(problem.as_ref().is_some_and(|it| it.contains(named)), "{problem:?}"),
            }
        }
    }

    #[test]
    fn a_running_service_stays_where_it_is_and_listens_as_it_did() {
        let running = ServiceConfig {
            listener: polling(60),
            http: HttpServer { port: 8000, status_page: true, ..HttpServer::default() },
            ..ServiceConfig::default()
        };
        let names = KnownNames::new(["berth.example"]);
        let access = HttpAccess { names: names.clone(), resync: None };
        let http = HttpServer { port: 9000, bind: BindAddress::Everywhere, access, ..HttpServer::default() };
        let mut new = ServiceConfig { listener: Listener::Idle, http, ..ServiceConfig::default() };
        new.keep_fixed(&running);
        assert_eq!((&new.listener, new.http.port, new.http.status_page), (&running.listener, 8000, true));
        assert_eq!((new.http.bind, new.http.access.names), (BindAddress::Loopback, names));
        let mut faster = ServiceConfig { listener: polling(5), ..running.clone() };
        faster.keep_fixed(&running);
        assert_eq!(faster.listener, polling(5), "an interval changes");
    }
}
