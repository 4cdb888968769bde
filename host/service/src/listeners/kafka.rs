//! Consumes resync requests from Port's Kafka brokers, as the contract's KAFKA listener does: same topic,
//! group and messages, and each message is committed as soon as it is handled.
//!
//! Better than Ocean: unreachable brokers never end the process. Berth retries with newly fetched
//! credentials, also if the credentials change while it is connected. One resync serves all requests that
//! arrive together, and requests from before it started. A request whose resync could not start is not lost.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use berth_embed::{Problem, ProblemCode};
use berth_port::service::{FeedError, KafkaCredentials, PortService, RequestFeed};
use krafka::{
    CloseOptions, KrafkaError,
    auth::{AuthConfig, TlsConfig},
    consumer::{
        AutoOffsetReset, Consumer, ConsumerRebalanceListener, PartitionAssignmentStrategy, TopicPartition,
    },
};
use secrecy::ExposeSecret;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Reason, Resyncs, polling::served};
use crate::config::{Kafka, Mechanism, Security};

/// How long the brokers keep the place of a process that was killed. Its successor waits that long, so it is
/// shorter than the usual default (45 s).
const SESSION: Duration = Duration::from_secs(15);
/// How long leaving the group may take at the end.
const LEAVE: Duration = Duration::from_secs(3);
/// The shortest and the longest wait between two attempts to reach the brokers.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// The interval of checking Port for new credentials. The client reconnects by itself forever and without an
/// error, even if the credentials are no longer valid.
const LOOK: Duration = Duration::from_mins(1);
/// Temporary failures in a row that a connection survives.
const FAILURES: u32 = 3;
/// The wait before a resync that could not start is requested again.
const AGAIN: Duration = Duration::from_mins(1);

/// Consumes until `stop`, or until another process consumes for the same integration.
///
/// # Errors
/// A [`Problem`] if a retry cannot help: the organization has no Kafka.
pub(crate) async fn listen(
    port: &PortService,
    settings: &Kafka,
    resyncs: &Resyncs,
    stop: &CancellationToken,
) -> Result<(), Problem> {
    let asks = Asks { resyncs, start_due: settings.resync_on_start, again: AGAIN, waiting: JoinSet::new() };
    let mut listening = Listening { port, settings, stop, asks, first: Arc::default(), wait: WAITS.0 };
    loop {
        match listening.connection().await {
            Ok(()) => return Ok(()),
            Err(Failure::Lasting(problem)) => return Err(problem),
            Err(Failure::Passing(problem)) => {
                let wait = listening.wait;
                tracing::warn!(%problem, ?wait, "cannot consume resync requests from Kafka; retrying");
                // An outage must not delay the resync at the start.
                listening.asks.start().await;
                listening.wait = (2 * wait).min(WAITS.1);
                stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            }
        }
    }
}

/// Why a connection ended.
enum Failure {
    Passing(Problem),
    Lasting(Problem),
}

impl From<FeedError> for Failure {
    fn from(error: FeedError) -> Self {
        match error {
            FeedError::NotProvided(problem) => Self::Lasting(problem),
            FeedError::Unavailable(problem) => Self::Passing(problem),
        }
    }
}

impl From<KrafkaError> for Failure {
    fn from(error: KrafkaError) -> Self {
        let remedy = match error {
            KrafkaError::Auth { .. } => {
                "check that OCEAN__EVENT_LISTENER__AUTHENTICATION_MECHANISM and __SECURITY_PROTOCOL match \
                the brokers"
            }
            _ => {
                "check OCEAN__EVENT_LISTENER__BROKERS, and that this machine can reach the brokers; the \
                POLLING listener needs none"
            }
        };
        Self::Passing(Problem::from_error(ProblemCode::KafkaUnavailable, &error).remedy(remedy))
    }
}

struct Listening<'a> {
    port: &'a PortService,
    settings: &'a Kafka,
    stop: &'a CancellationToken,
    asks: Asks<'a>,
    /// The number of partitions in the first assignment.
    first: Arc<OnceLock<usize>>,
    /// The wait after the next failure.
    wait: Duration,
}

impl Listening<'_> {
    /// Consumes over one connection until `stop` or another process; then leaves the group.
    async fn connection(&mut self) -> Result<(), Failure> {
        let stop = self.stop;
        let Some(opened) = stop.run_until_cancelled(self.open()).await else { return Ok(()) };
        let (feed, consumer) = opened?;
        let ended = stop.run_until_cancelled(self.consume(&feed, &consumer)).await;
        if let Err(error) = consumer.close_with(CloseOptions::new().timeout(LEAVE)).await {
            tracing::debug!(%error, "cannot leave the Kafka group");
        }
        ended.unwrap_or(Ok(()))
    }

    async fn open(&self) -> Result<(RequestFeed, Consumer), Failure> {
        let secured = self.settings.security != Security::Off;
        let feed = self.port.request_feed(secured).await?;
        let kafka = krafka::Kafka::builder(self.settings.brokers.join(","))
            .client_id("berth")
            .security(authentication(self.settings.security, feed.credentials.as_ref()))
            .connect()
            .await?;
        let consumer = kafka
            .consumer(&feed.group)
            .partition_assignment_strategy(PartitionAssignmentStrategy::CooperativeSticky)
            // The resync at the start serves earlier requests.
            .auto_offset_reset(AutoOffsetReset::Latest)
            .enable_auto_commit(false)
            .session_timeout(SESSION)
            .metrics_push(false)
            .rebalance_listener(Assignments { first: Arc::clone(&self.first) })
            .build()
            .await?;
        Ok((feed, consumer))
    }

    /// Ends the connection if Port has other credentials now. A failed check changes nothing.
    async fn compare(&self, feed: &RequestFeed) -> Result<(), Failure> {
        match self.port.request_feed(true).await {
            Ok(now) if now.credentials != feed.credentials => Err(Failure::Passing(Problem::new(
                ProblemCode::KafkaUnavailable,
                "the Kafka credentials changed in Port; reconnecting with the new ones",
            ))),
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::debug!(?error, "cannot get the Kafka credentials from Port");
                Ok(())
            }
        }
    }

    /// Handles requests. Returns if another process has all partitions.
    async fn consume(&mut self, feed: &RequestFeed, consumer: &Consumer) -> Result<(), Failure> {
        consumer.subscribe([&feed.topic]).await?;
        let mut failures = 0;
        let mut looked = Instant::now();
        loop {
            if feed.credentials.is_some() && looked.elapsed() >= LOOK {
                self.compare(feed).await?;
                looked = Instant::now();
            }
            let records = match consumer.poll(self.settings.poll_timeout).await {
                Ok(records) => records,
                Err(error) if error.is_retriable() && failures < FAILURES => {
                    failures += 1;
                    tracing::debug!(%error, "polling for messages failed");
                    tokio::time::sleep(WAITS.0).await;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            match self.first.get() {
                None => continue,
                Some(0) => {
                    tracing::error!(
                        group = feed.group,
                        "another instance is running: it receives the resync requests of this integration; \
                         this one stops"
                    );
                    return Ok(());
                }
                Some(_) => {
                    (failures, self.wait) = (0, WAITS.0);
                    self.asks.start().await;
                }
            }
            if records.is_empty() {
                continue;
            }
            let begun = self.port.last_begun();
            let asked = records
                .iter()
                .filter_map(|record| feed.request(record.value.as_deref()?))
                .any(|request| !served(request.at, begun));
            tracing::debug!(messages = records.len(), asked, "received messages");
            if asked {
                self.asks.ask(Reason::Requested).await;
            }
            // Not after the resync: a request that ends the process must not end the next one, too.
            if let Err(error) = consumer.commit().await {
                tracing::warn!(%error, "cannot commit messages; they may be delivered again");
            }
        }
    }
}

fn authentication(security: Security, credentials: Option<&KafkaCredentials>) -> AuthConfig {
    let Security::On { tls, mechanism } = security else { return AuthConfig::plaintext() };
    // The system's root certificates, as for Port and AWS.
    let tls = tls.then(|| TlsConfig::new().with_native_roots());
    let Some((mechanism, KafkaCredentials { username, password })) = mechanism.zip(credentials) else {
        return tls.map_or_else(AuthConfig::plaintext, AuthConfig::ssl);
    };
    let password = password.expose_secret();
    let named = match mechanism {
        Mechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(username, password),
        Mechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(username, password),
        Mechanism::Plain => AuthConfig::sasl_plain(username, password),
    };
    match tls {
        Some(tls) => named.with_tls(tls),
        None => named,
    }
}

/// Records the partitions that the group assigns to this process.
struct Assignments {
    first: Arc<OnceLock<usize>>,
}

impl ConsumerRebalanceListener for Assignments {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        tracing::info!(partitions = partitions.len(), "subscribed to Kafka resync requests");
        // Only the first assignment counts: later ones list only new partitions.
        _ = self.first.set(partitions.len());
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        tracing::debug!(partitions = partitions.len(), "Kafka partitions revoked");
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        tracing::debug!(partitions = partitions.len(), "Kafka partitions lost");
    }
}

/// Requests resyncs, one at a time; the newest replaces all before it.
struct Asks<'a> {
    resyncs: &'a Resyncs,
    /// Whether the resync at the start has not been requested yet.
    start_due: bool,
    /// The wait before a resync that could not start is requested again.
    again: Duration,
    /// Waits for the end of the newest resync.
    waiting: JoinSet<()>,
}

impl Asks<'_> {
    /// Requests the resync at the start, if it is still due.
    async fn start(&mut self) {
        if self.start_due {
            self.ask(Reason::Start).await;
        }
    }

    /// Returns when the resync is requested, not when it has ended.
    async fn ask(&mut self, reason: Reason) {
        self.start_due = false;
        // The service may be stopping.
        let Some(mut ended) = self.resyncs.ask(reason).await else { return };
        self.waiting = JoinSet::new();
        let (resyncs, again) = (self.resyncs.clone(), self.again);
        self.waiting.spawn(async move {
            // Nothing else would request it again.
            while ended.await == Ok(super::ResyncEnd::NotBegun) {
                tokio::time::sleep(again).await;
                match resyncs.ask(reason).await {
                    Some(next) => ended = next,
                    None => return,
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::listeners::{ResyncEnd, channel, run};

    /// A service that reports each resync it starts; the first ones cannot start.
    fn service(failing: usize) -> (Resyncs, mpsc::UnboundedReceiver<Reason>, CancellationToken) {
        let (resyncs, requests) = channel();
        let (sender, begun) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut tries = 0;
        let resync = move |reason, _| {
            sender.send(reason).unwrap();
            tries += 1;
            let ended = if tries <= failing { ResyncEnd::NotBegun } else { ResyncEnd::Ran };
            async move { ended }
        };
        tokio::spawn(run(requests, stop.clone(), resync));
        (resyncs, begun, stop)
    }

    fn asks(resyncs: &Resyncs, again: Duration) -> Asks<'_> {
        Asks { resyncs, start_due: true, again, waiting: JoinSet::new() }
    }

    #[tokio::test]
    async fn a_resync_that_could_not_begin_is_asked_for_again() {
        let (resyncs, mut begun, stop) = service(2);
        let mut asks = asks(&resyncs, Duration::from_millis(1));
        asks.start().await;
        asks.start().await;
        asks.waiting.join_next().await.unwrap().unwrap();
        stop.cancel();
        let mut all = Vec::new();
        begun.recv_many(&mut all, 10).await;
        assert_eq!(all, [Reason::Start; 3], "due once, and retried until it started");
    }

    #[tokio::test]
    async fn a_newer_request_stands_for_one_that_could_not_begin() {
        let (resyncs, mut begun, _stop) = service(1);
        let mut asks = asks(&resyncs, Duration::from_hours(1));
        asks.start().await;
        assert_eq!(begun.recv().await, Some(Reason::Start));
        asks.ask(Reason::Requested).await;
        assert_eq!(begun.recv().await, Some(Reason::Requested));
        asks.waiting.join_next().await.unwrap().unwrap();
        assert!(asks.waiting.is_empty(), "nothing requests the first one again");
    }
}
