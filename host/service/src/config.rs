//! What a service is to do, as typed values. Reading them from files or variables is up to the program.

use std::{collections::BTreeSet, mem::discriminant, net::IpAddr, time::Duration};

use berth_embed::{LiveOptions, Problem, ProblemCode, RemovalAfter, ResyncSchedule, core::AccountId};
use secrecy::SecretString;
use url::Url;

/// How a service runs.
#[derive(Debug, Clone, Default)]
pub struct ServiceConfig {
    /// What triggers resyncs.
    pub listener: Listener,
    /// Resyncs that nobody asks for, whatever the listener. Port shows them where
    /// [`PortConfig::schedule`](berth_embed::PortConfig::schedule) has the same.
    pub schedule: Option<ResyncSchedule>,
    /// The HTTP server.
    pub http: HttpServer,
    /// How live events are followed; `None`: they are not.
    pub live_events: Option<LiveSettings>,
    /// When entities of removed accounts and regions are deleted, as the
    /// [options](berth_embed::SyncOptions::removal) of the host say; the status page explains it.
    pub removal_after: RemovalAfter,
}

impl ServiceConfig {
    /// Whether the values make sense, each by itself and together.
    ///
    /// # Errors
    /// A [`Problem`] that names the first that does not.
    pub fn validate(&self) -> Result<(), Problem> {
        let wrong = |message: &str, remedy: &str| {
            Err(Problem::new(ProblemCode::SettingsInvalid, message).remedy(remedy))
        };
        match &self.listener {
            Listener::Polling { interval, .. } if interval.is_zero() => {
                return wrong("the interval of the POLLING listener is zero", "give it a second or more");
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
            return wrong("live events are followed, but there is no key for them", "give at least one key");
        }
        Ok(())
    }

    /// Takes back what a running service does not change: where its server listens, what it serves, and the kind
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
    /// A look at the resync request at Port, each interval.
    Polling {
        /// How often.
        interval: Duration,
        /// Whether a resync is run at the start.
        resync_on_start: bool,
    },
    /// `POST /resync`, which Port is told to send here by
    /// [`PortConfig::changelog_destination`](berth_embed::PortConfig::changelog_destination).
    Webhook {
        /// The address of this service on the outside.
        app_host: Url,
        /// Whether a resync is run at the start.
        resync_on_start: bool,
    },
    /// A message of Port's Kafka brokers.
    #[cfg(feature = "kafka")]
    Kafka(Kafka),
    /// Nothing: another process resyncs, or only the schedule.
    #[default]
    Idle,
}

/// How Port's Kafka brokers are listened to.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`, at least one.
    pub brokers: Vec<String>,
    /// How connections are secured.
    pub security: Security,
    /// How long one look for messages lasts at most.
    pub poll_timeout: Duration,
    /// Whether a resync is run at the start.
    pub resync_on_start: bool,
}

/// How connections to Kafka are secured.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all; nor are credentials fetched.
    Off,
    /// By TLS, by a name and a password, or by both.
    On {
        /// Whether TLS is used.
        tls: bool,
        /// How name and password are proven, where there are any.
        mechanism: Option<Mechanism>,
    },
}

/// How name and password are proven to Kafka.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM with SHA-512.
    ScramSha512,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// In plain text.
    Plain,
}

/// The HTTP server.
#[derive(Debug, Clone, Default)]
pub struct HttpServer {
    /// Where it listens.
    pub bind: BindAddress,
    /// Its port; 0 lets the system choose one.
    pub port: u16,
    /// What stands before the routes of health and metrics: nothing, or `/…` without a slash at its
    /// end.
    pub path_prefix: String,
    /// Whether the status page is served.
    pub status_page: bool,
    /// Who may ask for what.
    pub access: HttpAccess,
}

/// Who may ask for what. It is exchanged as a whole when settings are read anew.
#[derive(Debug, Clone, Default)]
pub struct HttpAccess {
    /// The names of this service.
    pub names: KnownNames,
    /// Who may ask for resyncs; `None`: whoever reaches the port.
    pub resync: Option<ResyncAccess>,
}

/// The names that this service may be asked by, beside addresses and names of private networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownNames(BTreeSet<String>);

impl KnownNames {
    /// These names, in any case of their letters.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(|name| name.into().to_ascii_lowercase()).collect())
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.0.contains(name)
    }
}

/// Who may ask for resyncs, where not everybody may.
#[derive(Debug, Clone)]
pub struct ResyncAccess {
    /// The key that a request has after `Authorization: Bearer`.
    pub key: SecretString,
    /// The secret of Port's client, by which Port signs its requests.
    pub client_secret: SecretString,
}

/// Where the HTTP server listens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BindAddress {
    /// On this machine alone, by IPv4 and IPv6.
    #[default]
    Loopback,
    /// At all addresses, by IPv4 and IPv6.
    Everywhere,
    /// At one address, or at all of its family.
    Only(IpAddr),
}

/// What the sender of a live event has to know.
#[derive(Debug, Clone)]
pub struct LiveKey {
    /// The key.
    pub key: SecretString,
    /// The accounts whose events it may bring; `None`: all.
    pub accounts: Option<BTreeSet<AccountId>>,
}

/// How live events are followed, where they are.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    /// Who may bring events; at least one.
    pub keys: Vec<LiveKey>,
    /// The address of this service on the outside, to tell people where events go.
    pub base_url: Option<Url>,
    /// How many are followed at once, and for how long.
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
