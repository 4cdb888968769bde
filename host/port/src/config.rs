//! The settings of this crate: everything that may differ between two deployments.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

/// The host of Port's API in the EU, the default.
pub const DEFAULT_BASE_URL: &str = "https://api.getport.io";

/// The most entities that Port accepts in one bulk deletion.
const DELETE_BATCH_LIMIT: usize = 100;

/// Settings of a [`PortCatalog`](crate::PortCatalog).
///
/// [`PortConfig::new`] fills in the defaults of the Ocean contract; change the fields that differ.
/// `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// The API root without `/v1`; a trailing slash is tolerated. `OCEAN__PORT__BASE_URL`.
    pub base_url: Url,
    /// `OCEAN__PORT__CLIENT_ID`.
    pub client_id: String,
    /// `OCEAN__PORT__CLIENT_SECRET`.
    pub client_secret: SecretString,
    /// The integration's identifier, with its case. Part of the data source that marks every entity.
    pub integration_identifier: String,
    /// The integration's type, lower-cased by [`open`](crate::open). Part of
    /// the datasource: another type is another owner.
    pub integration_type: String,
    /// The version that Port shows for the integration. Part of the data source, but an upgrade keeps its
    /// entities.
    pub integration_version: String,
    /// Whether to create the integration if it does not exist. A process does so only once: an integration
    /// that is deleted in Port later stays deleted.
    pub install: bool,
    /// Whether a new installation gets the default blueprints and mapping.
    pub initialize_port_resources: bool,
    /// Who creates the default resources of a new installation; `None` for the contract's choice.
    pub create_port_resources_origin: Option<ResourcesOrigin>,
    /// How Port reaches the integration: `{}` for ONCE and POLLING.
    pub changelog_destination: Value,
    /// What triggered the run; part of every write.
    pub event_type: EventType,
    /// The schedule of resyncs, for Port to show; `None` without one.
    pub schedule: Option<ResyncSchedule>,
    /// The most entities in one bulk upsert.
    pub upsert_batch_max_length: usize,
    /// The most bytes in the body of one bulk upsert. A single larger entity is still sent, alone.
    pub upsert_batch_max_bytes: usize,
    /// The most entities in one bulk deletion; Port accepts 100.
    pub delete_batch_max: usize,
    /// How many entity requests run at once.
    pub concurrency: usize,
    /// How failed requests are retried.
    pub retry: RetryPolicy,
    /// How long requests are retried without a success before a resync ends.
    pub outage: Duration,
    /// The most bytes of one response, including after decompression.
    pub max_response_bytes: usize,
    /// Who maps what is read, if the organization supports the choice. `OCEAN__PROCESSING_MODE`.
    pub processing_mode: ProcessingMode,
    /// Whether and how raw data is written, if the organization accepts it.
    pub raw_data: RawDataConfig,
    /// Whether to show a few documents of each kind in Port's mapping editor, without values that look like
    /// secrets. `OCEAN__SEND_RAW_DATA_EXAMPLES`.
    pub send_raw_data_examples: bool,
    /// Variables that a mapping may request with `selector.exportEnvVariables`; others are sent as null.
    pub exported_variables: BTreeMap<String, SecretString>,
    /// How long the organization's feature flags are cached.
    pub feature_flags_ttl: Duration,
    /// How often to check whether someone aborted a resync whose raw data Port maps.
    pub abort_poll: Duration,
    /// How often to send a heartbeat while a resync runs.
    pub heartbeat_interval: Duration,
    /// Additional domains that Port may have metrics, logs and raw data sent to, besides the API's own and
    /// Port's. The token goes there, too. `OCEAN__INGEST_DOMAINS`.
    pub ingest_domains: Vec<String>,
    /// The receiver of a copy of each metric, if any. `OCEAN__METRICS__WEBHOOK_URL`.
    pub metrics_webhook: Option<Url>,
    /// Secrets that no shipped log may hold, in addition to the client's own. Very short ones are ignored:
    /// they would match everywhere.
    pub secrets: Vec<SecretString>,
}

impl PortConfig {
    /// Creates a configuration with the defaults of the contract.
    pub fn new(
        client_id: impl Into<String>,
        client_secret: SecretString,
        integration_identifier: impl Into<String>,
    ) -> Self {
        Self {
            base_url: default_base_url(),
            client_id: client_id.into(),
            client_secret,
            integration_identifier: integration_identifier.into(),
            integration_type: "aws-v3".into(),
            integration_version: env!("CARGO_PKG_VERSION").into(),
            install: true,
            initialize_port_resources: true,
            create_port_resources_origin: None,
            changelog_destination: Value::Object(serde_json::Map::new()),
            event_type: EventType::Resync,
            schedule: None,
            upsert_batch_max_length: 20,
            upsert_batch_max_bytes: 1024 * 1024,
            delete_batch_max: DELETE_BATCH_LIMIT,
            concurrency: 5,
            retry: RetryPolicy::default(),
            outage: Duration::from_mins(10),
            max_response_bytes: 256 << 20,
            processing_mode: ProcessingMode::Dsp,
            raw_data: RawDataConfig::default(),
            send_raw_data_examples: true,
            exported_variables: BTreeMap::new(),
            feature_flags_ttl: Duration::from_mins(5),
            abort_poll: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(10),
            ingest_domains: Vec::new(),
            metrics_webhook: None,
            secrets: Vec::new(),
        }
    }

    /// Brings limits into their valid range, so that no other module has to check them.
    pub(crate) fn normalized(mut self) -> Self {
        self.integration_type = self.integration_type.to_lowercase();
        self.upsert_batch_max_length = self.upsert_batch_max_length.max(1);
        self.delete_batch_max = self.delete_batch_max.clamp(1, DELETE_BATCH_LIMIT);
        self.concurrency = self.concurrency.max(1);
        self.outage = self.outage.max(Duration::from_millis(1));
        self.heartbeat_interval = self.heartbeat_interval.max(Duration::from_millis(1));
        self
    }
}

fn default_base_url() -> Url {
    Url::parse(DEFAULT_BASE_URL).unwrap_or_else(|_| unreachable!("a constant that a test parses"))
}

/// `OCEAN__CREATE_PORT_RESOURCES_ORIGIN`: who creates the default resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourcesOrigin {
    /// Nobody: the mapping starts empty.
    Empty,
    /// This integration; an older name of [`Default`](Self::Default).
    Ocean,
    /// This integration.
    Default,
    /// Port itself, from its own store of defaults.
    Port,
}

impl ResourcesOrigin {
    /// Returns the value as in settings and Port's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ocean => "Ocean",
            Self::Default => "Default",
            Self::Port => "Port",
        }
    }
}

impl std::str::FromStr for ResourcesOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Empty, Self::Ocean, Self::Default, Self::Port]
            .into_iter()
            .find(|origin| origin.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of `Empty`, `Ocean`, `Default` and `Port`"))
    }
}

/// `OCEAN__PROCESSING_MODE`: who creates entities from what is read. The organization's feature flags decide
/// as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessingMode {
    /// Port, from raw data (its "data source processor"), if the organization supports it; otherwise like
    /// [`OceanCore`](Self::OceanCore).
    Dsp,
    /// The integration.
    OceanCore,
}

impl ProcessingMode {
    /// Returns the value as in settings and Port's JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dsp => "dsp",
            Self::OceanCore => "ocean-core",
        }
    }
}

impl std::str::FromStr for ProcessingMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Dsp, Self::OceanCore]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("`{text}` is neither `dsp` nor `ocean-core`"))
    }
}

/// How raw data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawDataConfig {
    /// Whether to write raw data. `OCEAN__LAKEHOUSE_ENABLED`.
    pub enabled: bool,
    /// A batch that arrives this long after its kind's last write is written, with all before it.
    /// `OCEAN__LAKEHOUSE_BUFFER_INTERVAL_SECONDS`.
    pub flush_interval: Duration,
    /// How many batches of a kind are written together. `OCEAN__LAKEHOUSE_BUFFER_MAX_COUNT`.
    pub flush_batches: usize,
    /// The most bytes of raw data that are collected or being written at any time, over all kinds. The
    /// contract allows 100 MiB for one kind, but Berth reads several at once.
    pub memory_bytes: usize,
}

impl Default for RawDataConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            flush_interval: Duration::from_secs(10),
            flush_batches: 50,
            memory_bytes: 64 << 20,
        }
    }
}

/// What triggered a run: `ocean_info_event_type` of every write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// A full resync. Only this one has a resync ID.
    Resync,
    /// An incremental resync.
    IncrementalResync,
    /// A webhook (a live event).
    HttpRequest,
}

impl EventType {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Resync => "resync",
            Self::IncrementalResync => "incremental_resync",
            Self::HttpRequest => "http_request",
        }
    }

    /// Returns its name in raw data.
    pub(crate) fn as_raw(self) -> &'static str {
        match self {
            Self::Resync | Self::IncrementalResync => "resync",
            Self::HttpRequest => "live-event",
        }
    }
}

/// A schedule of resyncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResyncSchedule {
    /// Minutes between two resyncs, 1 or more.
    pub interval_minutes: u32,
    /// The start of the intervals: the start of the process.
    pub since: SystemTime,
}

impl ResyncSchedule {
    /// Returns the first tick after `now`.
    pub(crate) fn next(&self, now: SystemTime) -> SystemTime {
        let interval = Duration::from_secs(60 * u64::from(self.interval_minutes.max(1)));
        let passed = now.duration_since(self.since).unwrap_or_default();
        let ticks = passed.as_secs() / interval.as_secs() + 1;
        self.since + interval * u32::try_from(ticks).unwrap_or(u32::MAX)
    }
}

/// How failed requests are retried: the delay before retry `n` is `base × 2^(n-1)`, plus or minus a tenth,
/// unless the response says how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most retries of a request.
    pub retries: u32,
    /// The delay before the first retry.
    pub base: Duration,
    /// The longest delay, even if Port asks for a longer one.
    pub cap: Duration,
    /// The timeout of one request.
    pub timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 10,
            base: Duration::from_millis(300),
            cap: Duration::from_mins(5),
            timeout: Duration::from_mins(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_base_url_parses_and_the_secret_is_not_shown() {
        let config = PortConfig::new("id", SecretString::from("hush-hush"), "berth");
        assert_eq!(config.base_url.as_str(), "https://api.getport.io/");
        assert!(!format!("{config:?}").contains("hush"), "{config:?}");
    }

    #[test]
    fn the_next_tick_is_the_first_in_the_future() {
        let since = SystemTime::UNIX_EPOCH;
        let schedule = ResyncSchedule { interval_minutes: 10, since };
        let at = |seconds| since + Duration::from_secs(seconds);
        assert_eq!(schedule.next(at(0)), at(600));
        assert_eq!(schedule.next(at(599)), at(600));
        assert_eq!(schedule.next(at(600)), at(1200));
        assert_eq!(schedule.next(at(1801)), at(2400));
    }
}
