//! From arguments, environment and file to validated settings: every problem at once, each with
//! the variable's name, what was found, and the remedy.

mod addresses;
mod deletion;
mod environment;
mod found;
#[cfg(feature = "kafka")]
mod kafka;
mod live;
mod network;
mod plugins;
mod raw;
mod reporting;
mod service;
mod state;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::PathBuf,
    time::Duration,
};

use berth_embed::{
    AwsConfig, CredentialProvider, EngineConfig, HttpConfig, PortConfig, Proxies, ResourcesOrigin,
    StaticKeys, Variables, WebIdentity,
    core::{AccountId, Partition, Region, RoleArn},
};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use url::Url;

pub(crate) use berth_service::config::{Listener, LiveSettings};
pub(crate) use deletion::DeletionSettings;
pub(crate) use environment::Environment;
#[cfg(test)]
pub(crate) use service::ResyncKey;
pub(crate) use service::{AT_START, Service};
pub(crate) use state::{State, StateDir};
use tree::{Origin, Tree};

use crate::{args::Global, telemetry, trust::Trust};

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issue {
    /// The variable or file concerned.
    pub(crate) setting: String,
    /// What was found. Never a secret.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// Everything a command needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) aws: AwsConfig,
    pub(crate) port: PortConfig,
    /// Without the rules that say which plugins are trusted: [`EngineConfig::trust`] is set where it
    /// starts.
    pub(crate) engine: EngineConfig,
    /// Which plugins are trusted.
    pub(crate) trust: Trust,
    pub(crate) http: HttpConfig,
    /// Where AWS is asked in another way than Port.
    pub(crate) aws_http: Option<HttpConfig>,
    /// Whether assumed roles are narrowed to what the loaded plugins read.
    pub(crate) narrow_sessions: bool,
    pub(crate) state: State,
    /// What may be deleted and taken over.
    pub(crate) deletion: DeletionSettings,
    /// Whether the log is shipped to Port.
    pub(crate) ship_logs: bool,
    /// Units read at once, where the command line does not say.
    pub(crate) concurrency: Option<usize>,
    /// The level of the log, where the command line and the environment give none.
    pub(crate) log_level: Option<String>,
    /// How a service follows live events; `None`: it does not.
    pub(crate) live: Option<LiveSettings>,
    /// Remarks for the operator.
    pub(crate) notes: Vec<String>,
    /// The files that they were read from.
    files: Vec<PathBuf>,
}

/// What reads AWS and maps.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) aws: AwsConfig,
    pub(crate) engine: EngineConfig,
    pub(crate) trust: Trust,
    pub(crate) http: HttpConfig,
    /// Port, and how it is asked, where it is to be written to.
    pub(crate) port: Option<(PortConfig, HttpConfig)>,
}

/// Settings of the drop-in contract that Berth understands, as paths. What a settings file holds
/// beyond them is a mistake worth telling; variables beyond them are tolerated, because the chart
/// and older releases set more.
pub(crate) const KNOWN: &[&str] = &[
    "port.client_id",
    "port.client_secret",
    "port.base_url",
    "initialize_port_resources",
    "create_port_resources_origin",
    "event_listener.type",
    "event_listener.interval",
    "event_listener.resync_on_start",
    "event_listener.app_host",
    "event_listener.resync_key",
    "event_listener.brokers",
    "event_listener.security_protocol",
    "event_listener.authentication_mechanism",
    "event_listener.kafka_security_enabled",
    "event_listener.consumer_poll_timeout",
    "event_listener.should_resync",
    "event_listener.should_process_webhooks",
    "event_listener.should_run_actions",
    "scheduled_resync_interval",
    "bind_address",
    "allowed_hosts",
    "path_prefix",
    "status_page",
    "processing_mode",
    "lakehouse_enabled",
    "lakehouse_buffer_interval_seconds",
    "lakehouse_buffer_max_count",
    "send_raw_data_examples",
    "allow_environment_variables_jq_access",
    "status_heartbeat_interval_seconds",
    "metrics.enabled",
    "metrics.webhook_url",
    "ingest_domains",
    "ship_logs",
    "client_timeout",
    "log_level",
    "concurrency",
    "ssl.port.verify",
    "ssl.port.x509.strict",
    "ssl.third_party.verify",
    "ssl.third_party.x509.strict",
    "base_url",
    "event_workers_count",
    "max_event_processing_seconds",
    "max_wait_seconds_before_shutdown",
    "upsert_entities_batch_max_length",
    "upsert_entities_batch_max_size_in_bytes",
    "delete_entities_max_batch_size",
    "integration.identifier",
    "integration.type",
    "integration.config.account_role_arn",
    "integration.config.account_role_arns",
    "integration.config.external_id",
    "integration.config.external_ids",
    "integration.config.hop_role_arn",
    "integration.config.granted_reads",
    "integration.config.session_duration_seconds",
    "integration.config.ou_id",
    "integration.config.credential_provider_priority",
    "integration.config.aws_partition",
    "integration.config.use_dualstack_endpoint",
    "integration.config.use_fips_endpoint",
    "integration.config.aws_access_key_id",
    "integration.config.aws_secret_access_key",
    "integration.config.aws_session_token",
    "integration.config.live_events_api_key",
    "integration.config.live_events_keys",
    "integration.secrets.aws_access_key_id",
    "integration.secrets.aws_secret_access_key",
    "integration.secrets.aws_session_token",
    "narrow_sessions",
    "state_dir",
    "state_verify_interval_hours",
    "removal_after",
    "confirm_removal",
    "max_deletions",
    "adopt_existing_entities",
    "max_pages_per_list",
    "max_response_bytes",
    "unit_deadline_seconds",
    "outage_seconds",
    "plugins",
    "plugins_lock",
    "plugin_trust",
    "plugin_keys",
    "plugin_isolation",
    "cache_dir",
    "plugin_deadline_seconds",
    "plugin_memory_mib",
    "wasi",
    "jq_environment",
];

const LISTENERS: &[&str] = &["POLLING", "ONCE", "WEBHOOK", "KAFKA", "WEBHOOKS_ONLY", "ACTIONS_ONLY"];

const ARNS_EXAMPLE: &str = r#"["arn:aws:iam::111111111111:role/PortOceanReadRole","arn:aws:iam::222222222222:role/PortOceanReadRole"]"#;

impl Settings {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn load(args: &Global, environment: &Environment) -> Result<Self, Vec<Issue>> {
        Self::read(args, environment, |_| ()).map(|(settings, ())| settings)
    }

    /// Reads and checks everything, and what `berth run` needs besides.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn load_service(
        args: &Global,
        environment: &Environment,
    ) -> Result<(Self, Service), Vec<Issue>> {
        let (mut settings, service) = Self::read(args, environment, service::read)?;
        service.tell_port(&mut settings.port);
        settings.port.secrets.extend(service.resync_key.iter().map(|key| key.0.clone()));
        settings.engine.reloads = true;
        Ok((settings, service))
    }

    fn read<T>(
        args: &Global,
        environment: &Environment,
        more: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Result<(Self, T), Vec<Issue>> {
        let mut issues = Vec::new();
        let tree = Tree::load(args.config.as_deref(), environment, &mut issues);
        let mut reader = Reader { tree: &tree, environment, issues, notes: Vec::new() };
        reader.unknown_keys();
        let (engine, trust) = reader.engine(args);
        reader.wants_plugins(&engine);
        let mut port = reader.port();
        let network = reader.network();
        reader.check_port_address(&network.http.proxies);
        let log_level = reader.log_level();
        let concurrency = reader.tree.get("concurrency").is_some().then(|| reader.number("concurrency", 64));
        let mut aws = reader.aws(&network.http.proxies);
        aws.retry.attempt_timeout = network.timeout.unwrap_or(aws.retry.attempt_timeout);
        bound_answers(port.as_mut(), &aws);
        let ship_logs = reader.reporting(port.as_mut(), &aws);
        let narrow_sessions = reader.flag("narrow_sessions", false);
        let state = reader.state(port.as_ref());
        let deletion = reader.deletion();
        let live = reader.live();
        if let (Some(port), Some(live)) = (&mut port, &live) {
            port.secrets.extend(live.keys.iter().map(|known| known.key.clone()));
        }
        let more = more(&mut reader);
        let Reader { issues, notes, .. } = reader;
        match port {
            Some(port) if issues.is_empty() => {
                let network::Network { http, aws_http, .. } = network;
                let settings = Self {
                    aws,
                    port,
                    engine,
                    trust,
                    http,
                    aws_http,
                    narrow_sessions,
                    state,
                    deletion,
                    ship_logs,
                    concurrency,
                    log_level,
                    live,
                    notes,
                    files: tree.files().to_owned(),
                };
                Ok((settings, more))
            }
            _ => Err(issues),
        }
    }

    /// Only how requests leave, for what is sent before the settings are read as a whole. Mistakes are
    /// told there.
    #[cfg(feature = "otlp")]
    pub(crate) fn http_only(args: &Global, environment: &Environment) -> HttpConfig {
        let tree = Tree::load(args.config.as_deref(), environment, &mut Vec::new());
        let mut reader = Reader { tree: &tree, environment, issues: Vec::new(), notes: Vec::new() };
        reader.third_party()
    }

    /// Logs which files they were read from: one may be there by accident.
    pub(crate) fn log_files(&self) {
        for file in &self.files {
            tracing::info!(file = %file.display(), "settings are read from a file");
        }
    }

    /// The files that settings come from, whether or not they are there.
    pub(crate) fn files(args: &Global, environment: &Environment) -> Vec<PathBuf> {
        tree::files(args.config.as_deref(), environment).into()
    }

    /// What reads AWS and maps, and Port only where that is wanted: for `berth plugin run`.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn sources(
        args: &Global,
        environment: &Environment,
        with_port: bool,
    ) -> Result<Sources, Vec<Issue>> {
        Self::part(args, environment, |reader| {
            let (engine, trust) = reader.engine(args);
            let mut port = if with_port { reader.port() } else { None };
            let network = reader.network();
            if with_port {
                reader.check_port_address(&network.http.proxies);
            }
            let mut aws = reader.aws(&network.http.proxies);
            aws.retry.attempt_timeout = network.timeout.unwrap_or(aws.retry.attempt_timeout);
            bound_answers(port.as_mut(), &aws);
            let port = port.map(|port| (port, network.http.clone()));
            Sources { aws, engine, trust, http: network.aws_http.unwrap_or(network.http), port }
        })
    }

    /// Only what plugins need: `berth plugin …` runs without credentials, and what is about one
    /// plugin without a directory of them.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn engine_only(
        args: &Global,
        environment: &Environment,
    ) -> Result<(EngineConfig, Trust), Vec<Issue>> {
        Self::part(args, environment, |reader| reader.engine(args))
    }

    /// The same, where there must be plugins.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn engine_with_plugins(
        args: &Global,
        environment: &Environment,
    ) -> Result<(EngineConfig, Trust), Vec<Issue>> {
        Self::part(args, environment, |reader| {
            let (engine, trust) = reader.engine(args);
            reader.wants_plugins(&engine);
            (engine, trust)
        })
    }

    /// The reads of secrets and bulk data that are granted.
    ///
    /// # Errors
    /// All issues at once.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is of one lifetime only"
    )]
    pub(crate) fn granted(args: &Global, environment: &Environment) -> Result<BTreeSet<String>, Vec<Issue>> {
        Self::part(args, environment, |reader| reader.granted_reads())
    }

    /// How requests leave that go to a registry.
    ///
    /// # Errors
    /// All issues at once.
    #[cfg(feature = "oci")]
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method itself is of one lifetime only"
    )]
    pub(crate) fn registry_http(args: &Global, environment: &Environment) -> Result<HttpConfig, Vec<Issue>> {
        Self::part(args, environment, |reader| reader.third_party())
    }

    fn part<T>(
        args: &Global,
        environment: &Environment,
        read: impl FnOnce(&mut Reader<'_>) -> T,
    ) -> Result<T, Vec<Issue>> {
        let mut issues = Vec::new();
        let tree = Tree::load(args.config.as_deref(), environment, &mut issues);
        let mut reader = Reader { tree: &tree, environment, issues, notes: Vec::new() };
        let read = read(&mut reader);
        if reader.issues.is_empty() { Ok(read) } else { Err(reader.issues) }
    }
}

struct Reader<'a> {
    tree: &'a Tree,
    environment: &'a Environment,
    issues: Vec<Issue>,
    notes: Vec<String>,
}

/// The variable that sets a path.
pub(crate) fn variable(path: &str) -> String {
    format!("OCEAN__{}", path.replace('.', "__").to_uppercase())
}

impl Reader<'_> {
    fn issue(&mut self, path: &str, problem: impl Into<String>, remedy: impl Into<String>) {
        let setting = match self.tree.given(path).map(|setting| &setting.origin) {
            Some(Origin::Variable(name)) => name.clone(),
            Some(Origin::Dotenv { name, file }) => format!("{name} in {file}"),
            Some(Origin::File { name: file, .. }) => format!("{path} in {file} (or {})", variable(path)),
            None => variable(path),
        };
        self.issues.push(Issue { setting, problem: problem.into(), remedy: remedy.into() });
    }

    fn text(&mut self, path: &str) -> Option<String> {
        match &self.tree.get(path)?.value {
            Value::String(text) => Some(text.trim().to_owned()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => {
                self.issue(path, "found a list or a table where a text is expected", "give a plain text");
                None
            }
        }
    }

    fn required(&mut self, path: &str, remedy: &str) -> Option<String> {
        let text = self.text(path);
        if text.is_none() && self.tree.get(path).is_none() {
            self.issue(path, "not set", remedy);
        }
        text
    }

    fn secret(&mut self, path: &str) -> Option<SecretString> {
        self.text(path).map(SecretString::from)
    }

    /// Booleans as the contract takes them.
    fn flag(&mut self, path: &str, default: bool) -> bool {
        let Some(text) = self.text(path) else { return default };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "t" | "yes" | "y" | "on" => true,
            "0" | "false" | "f" | "no" | "n" | "off" => false,
            _ => {
                self.issue(path, format!("found `{text}`"), "use `true` or `false`");
                default
            }
        }
    }

    /// A list of texts: as such, as JSON in a text, or with commas between them. `None` where it is
    /// something else.
    fn texts(&self, path: &str) -> Option<Vec<String>> {
        let of_array = |items: &[Value]| {
            let texts = items.iter().map(|item| item.as_str().map(|text| text.trim().to_owned()));
            texts.collect::<Option<Vec<String>>>()
        };
        match self.tree.get(path).map(|setting| &setting.value) {
            None => Some(Vec::new()),
            Some(Value::Array(items)) => of_array(items),
            Some(Value::String(text)) => match serde_json::from_str::<Value>(text) {
                Ok(Value::Array(items)) => of_array(&items),
                _ => Some(split(text)),
            },
            Some(_) => None,
        }
    }

    /// Refuses a setting that is given and holds nothing, where that would silently mean something
    /// else than not to give it. Returns whether it is so.
    fn refuse_empty(&mut self, path: &str, without: &str) -> bool {
        let empty = self.tree.given(path).is_some_and(|setting| is_empty(&setting.value));
        if empty {
            self.issue(path, "it is set, and empty", format!("give it a value; or unset it {without}"));
        }
        empty
    }

    fn number(&mut self, path: &str, default: usize) -> usize {
        let Some(text) = self.text(path) else { return default };
        text.parse().ok().filter(|number| *number > 0).unwrap_or_else(|| {
            self.issue(
                path,
                format!("found `{text}`"),
                format!("use a whole number above zero, as in `{default}`"),
            );
            default
        })
    }

    fn unknown_keys(&mut self) {
        let unknown: Vec<String> =
            self.tree.file_paths().filter(|path| !KNOWN.contains(path)).map(ToOwned::to_owned).collect();
        for path in unknown {
            let leaf = path.rsplit('.').next().unwrap_or_default().to_owned();
            let near = KNOWN.iter().find(|known| known.ends_with(&format!(".{leaf}")) || **known == leaf);
            let remedy = match near {
                Some(known) => format!("did you mean `{known}`?"),
                None => "remove it, or see the README for the settings there are".into(),
            };
            self.issue(&path, "there is no such setting", remedy);
        }
    }

    fn url(&mut self, path: &str, example: &str) -> Option<Url> {
        let text = self.text(path)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => {
                self.issue(
                    path,
                    format!("found `{text}`, which is not an http(s) address"),
                    format!("use one such as `{example}`"),
                );
                None
            }
        }
    }

    fn port(&mut self) -> Option<PortConfig> {
        let where_from = "copy it from Port: … menu > Credentials";
        let client_id = self.required("port.client_id", where_from);
        let client_secret = self.required("port.client_secret", where_from).map(SecretString::from);
        let base_url = self.url("port.base_url", "https://api.getport.io");
        let kind = self.text("integration.type").unwrap_or_else(|| "aws-v3".into()).to_lowercase();
        let identifier =
            self.text("integration.identifier").unwrap_or_else(|| format!("my-{kind}-integration"));
        let initialize = self.flag("initialize_port_resources", true);
        let origin = self.text("create_port_resources_origin").and_then(|text| {
            let known = [
                ("Empty", ResourcesOrigin::Empty),
                ("Ocean", ResourcesOrigin::Ocean),
                ("Default", ResourcesOrigin::Default),
                ("Port", ResourcesOrigin::Port),
            ];
            let found = known.iter().find(|(name, _)| *name == text).map(|(_, origin)| *origin);
            if found.is_none() {
                self.issue(
                    "create_port_resources_origin",
                    format!("found `{text}`"),
                    "use `Empty`, `Ocean`, `Default` or `Port`",
                );
            }
            found
        });
        self.listener();
        let changelog_destination = self.changelog_destination();
        let length = self.number("upsert_entities_batch_max_length", 20);
        let bytes = self.number("upsert_entities_batch_max_size_in_bytes", 1024 * 1024);
        let delete = self.number("delete_entities_max_batch_size", 1000);
        let outage = self.number("outage_seconds", 600);
        let ingest_domains = self.ingest_domains();
        let raw = self.raw();
        let mut config = PortConfig::new(client_id?, client_secret?, identifier);
        if let Some(base_url) = base_url {
            config.base_url = base_url;
        }
        config.integration_type = kind;
        config.changelog_destination = changelog_destination;
        config.initialize_port_resources = initialize;
        config.create_port_resources_origin = origin;
        config.upsert_batch_max_length = length;
        config.upsert_batch_max_bytes = bytes;
        config.delete_batch_max = delete;
        config.outage = Duration::from_secs(outage as u64);
        config.ingest_domains = ingest_domains;
        raw.apply(&mut config);
        Some(config)
    }

    /// Where Port sends resync requests, by the listener: told by every command that writes, so that
    /// a `berth sync` beside a service does not take it back.
    fn changelog_destination(&mut self) -> Value {
        let kind = self.text("event_listener.type").unwrap_or_default();
        let app_host = self.text("event_listener.app_host").filter(|_| kind == "WEBHOOK");
        match (kind.as_str(), app_host) {
            ("WEBHOOK", Some(host)) => {
                json!({"type": "WEBHOOK", "url": format!("{}/resync", host.trim_end_matches('/'))})
            }
            ("KAFKA", _) => json!({"type": "KAFKA"}),
            _ => json!({}),
        }
    }

    fn listener(&mut self) {
        if let Some(setting) = self.tree.get("event_listener")
            && let Value::String(text) = &setting.value
        {
            let text = text.clone();
            self.issue(
                "event_listener",
                format!("found `{text}`, which is not a JSON object"),
                r#"use an object such as `{"type":"ONCE"}`"#,
            );
        }
        if let Some(kind) = self.text("event_listener.type")
            && !LISTENERS.contains(&kind.as_str())
        {
            self.issue(
                "event_listener.type",
                format!("found `{kind}`"),
                format!("use one of {}", LISTENERS.join(", ")),
            );
        }
    }

    fn log_level(&mut self) -> Option<String> {
        const PATH: &str = "log_level";
        let level = self.text(PATH)?;
        if !telemetry::is_level(&level) {
            self.issue(PATH, format!("found `{level}`"), "use ERROR, WARNING, INFO or DEBUG");
        }
        Some(level)
    }

    fn aws(&mut self, proxies: &Proxies) -> AwsConfig {
        const ACCOUNT_ROLE: &str = "integration.config.account_role_arn";
        let role_arns = self.role_arns();
        let account_role_arn = self.text(ACCOUNT_ROLE);
        // With a list of roles it is clear what is to be read.
        if role_arns.is_empty() {
            self.refuse_empty(ACCOUNT_ROLE, "to read a single account instead of the organization");
        }
        if let Some(arn) = &account_role_arn
            && let Err(error) = RoleArn::new(arn)
        {
            self.issue(
                "integration.config.account_role_arn",
                error.to_string(),
                "use the ARN of the role in the management account",
            );
        }
        let partition = self.text("integration.config.aws_partition").and_then(|text| {
            text.parse::<Partition>()
                .map_err(|error| {
                    self.issue(
                        "integration.config.aws_partition",
                        error.to_string(),
                        "use the partition that stands in the ARNs of your roles",
                    );
                })
                .ok()
        });
        let hop_role_arn = self.text("integration.config.hop_role_arn").and_then(|text| {
            RoleArn::new(&text)
                .map_err(|error| {
                    self.issue(
                        "integration.config.hop_role_arn",
                        error.to_string(),
                        "use the ARN of the role between the base identity and the accounts' roles",
                    );
                })
                .ok()
        });
        let session_duration =
            self.tree.get("integration.config.session_duration_seconds").is_some().then(|| {
                Duration::from_secs(self.number("integration.config.session_duration_seconds", 3600) as u64)
            });
        let granted_reads = self.granted_reads();
        let ou_ids = self.ou_ids();
        let defaults = AwsConfig::default();
        let max_pages = self.number("max_pages_per_list", defaults.max_pages_per_list as usize);
        let max_response_bytes = self.number("max_response_bytes", defaults.max_response_bytes);
        let unit_deadline = self.number("unit_deadline_seconds", 3600);
        let endpoints = self.endpoints(proxies);
        // Without the ARN of a role nothing names the partition but the region that AWS's tools use.
        let has_roles = !role_arns.is_empty() || account_role_arn.is_some();
        let partition =
            if has_roles { partition } else { partition.or_else(|| partition_of_region(self.environment)) };
        let web_identity = self.environment.get("AWS_WEB_IDENTITY_TOKEN_FILE").map(|file| WebIdentity {
            token_file: file.into(),
            role_arn: self.environment.get("AWS_ROLE_ARN").and_then(|arn| RoleArn::new(arn).ok()),
        });
        AwsConfig {
            fips: self.endpoint_flag("integration.config.use_fips_endpoint", "AWS_USE_FIPS_ENDPOINT"),
            dual_stack: self
                .endpoint_flag("integration.config.use_dualstack_endpoint", "AWS_USE_DUALSTACK_ENDPOINT"),
            static_keys: self.static_keys(),
            web_identity,
            credential_provider_priority: self.provider_priority(),
            external_id: self.secret("integration.config.external_id"),
            external_ids: self.external_ids(),
            account_role_arns: role_arns,
            account_role_arn,
            hop_role_arn,
            session_duration,
            granted_reads,
            ou_ids,
            partition,
            endpoints,
            max_pages_per_list: u32::try_from(max_pages).unwrap_or(u32::MAX),
            max_response_bytes,
            unit_deadline: Duration::from_secs(unit_deadline as u64),
            ..defaults
        }
    }

    /// The organizational units whose accounts are read.
    fn ou_ids(&mut self) -> Vec<String> {
        const PATH: &str = "integration.config.ou_id";
        if self.refuse_empty(PATH, "to read the whole organization") {
            return Vec::new();
        }
        self.text(PATH).map(|text| split(&text)).unwrap_or_default()
    }

    fn role_arns(&mut self) -> Vec<String> {
        const PATH: &str = "integration.config.account_role_arns";
        if self.refuse_empty(PATH, "to read a single account (or, with `account_role_arn`, an organization)")
        {
            return Vec::new();
        }
        let Some(setting) = self.tree.get(PATH) else { return Vec::new() };
        let found = setting.value.clone();
        let list = match &found {
            Value::String(text) => serde_json::from_str::<Value>(text).ok(),
            other => Some(other.clone()),
        };
        let Some(Value::Array(list)) = list else {
            let shown = found.as_str().map_or_else(|| found.to_string(), ToOwned::to_owned);
            self.issue(
                PATH,
                format!("found `{shown}`, which is not a JSON array of role ARNs"),
                format!("use a JSON array of texts, as in `{ARNS_EXAMPLE}`"),
            );
            return Vec::new();
        };
        let mut arns: Vec<String> = Vec::new();
        let mut known: HashSet<&str> = HashSet::new();
        for (index, item) in list.iter().enumerate() {
            let Some(text) = item.as_str().map(str::trim) else {
                self.issue(
                    PATH,
                    format!("element {index} is `{item}`, which is not a text"),
                    format!("use a JSON array of texts, as in `{ARNS_EXAMPLE}`"),
                );
                continue;
            };
            if text.is_empty() {
                self.issue(
                    PATH,
                    format!("element {index} is empty"),
                    format!("give the role's ARN, or remove the element; as in `{ARNS_EXAMPLE}`"),
                );
                continue;
            }
            match RoleArn::new(text) {
                Ok(_) if !known.insert(text) => {
                    self.notes.push(format!("{}: `{text}` is listed twice", variable(PATH)));
                }
                Ok(_) => arns.push(text.to_owned()),
                Err(error) => self.issue(
                    PATH,
                    format!("element {index}: {error}"),
                    format!("use role ARNs, as in `{ARNS_EXAMPLE}`"),
                ),
            }
        }
        arns
    }

    /// Keys may stand under `secrets` (the documented variables) or `config` (what the chart sets).
    fn static_keys(&mut self) -> Option<StaticKeys> {
        let mut either = |name: &str| {
            let (secrets, config) =
                (format!("integration.secrets.{name}"), format!("integration.config.{name}"));
            self.secret(&secrets).or_else(|| self.secret(&config))
        };
        let (id, key, token) =
            (either("aws_access_key_id"), either("aws_secret_access_key"), either("aws_session_token"));
        match (id, key) {
            (Some(access_key_id), Some(secret_access_key)) => {
                Some(StaticKeys { access_key_id, secret_access_key, session_token: token })
            }
            (None, None) => None,
            (id, _) => {
                let missing = if id.is_none() { "aws_access_key_id" } else { "aws_secret_access_key" };
                self.issue(
                    &format!("integration.secrets.{missing}"),
                    "not set, while the other half of the key is",
                    "set both halves of the IAM user's access key, or neither to use the ambient credentials",
                );
                None
            }
        }
    }

    fn provider_priority(&mut self) -> Vec<CredentialProvider> {
        const PATH: &str = "integration.config.credential_provider_priority";
        let names = self.text(PATH).map(|text| split(&text)).unwrap_or_default();
        names
            .into_iter()
            .filter_map(|name| {
                let provider = CredentialProvider::parse(&name);
                if provider.is_none() {
                    // Unknown names are skipped with a warning: that is the contract.
                    self.notes
                        .push(format!("{}: there is no provider `{name}`; it is skipped", variable(PATH)));
                }
                provider
            })
            .collect()
    }

    /// Reads of secrets or bulk data that the operator grants by name (`ssm:GetParameter`).
    fn granted_reads(&mut self) -> BTreeSet<String> {
        const PATH: &str = "integration.config.granted_reads";
        let names = match self.tree.get(PATH).map(|setting| setting.value.clone()) {
            None => Vec::new(),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
            }
            Some(value) => split(value.as_str().unwrap_or_default()),
        };
        let (good, bad): (Vec<String>, Vec<String>) = names.into_iter().partition(|name| {
            name.split_once(':')
                .is_some_and(|(service, operation)| !service.is_empty() && !operation.is_empty())
        });
        for name in bad {
            self.issue(
                PATH,
                format!("found `{name}`"),
                "name operations as `<service>:<Operation>`, as in `ssm:GetParameter`",
            );
        }
        good.into_iter().collect()
    }

    fn external_ids(&mut self) -> BTreeMap<AccountId, SecretString> {
        const PATH: &str = "integration.config.external_ids";
        let Some(setting) = self.tree.get(PATH) else { return BTreeMap::new() };
        let map = match &setting.value {
            Value::Object(map) => Some(map.clone()),
            Value::String(text) => serde_json::from_str::<Map<String, Value>>(text).ok(),
            _ => None,
        };
        let example = json!({"111111111111": "external-id-of-that-account"});
        let Some(map) = map else {
            self.issue(
                PATH,
                "not a JSON object of account ids and external IDs",
                format!("use an object such as `{example}`"),
            );
            return BTreeMap::new();
        };
        map.into_iter()
            .filter_map(|(account, id)| match (AccountId::new(&account), id) {
                (Ok(account), Value::String(id)) => Some((account, SecretString::from(id))),
                (Ok(account), _) => {
                    self.issue(
                        PATH,
                        format!("the external ID of {account} is not a text"),
                        format!("use an object such as `{example}`"),
                    );
                    None
                }
                (Err(error), _) => {
                    self.issue(PATH, error.to_string(), format!("use an object such as `{example}`"));
                    None
                }
            })
            .collect()
    }

    fn engine(&mut self, args: &Global) -> (EngineConfig, Trust) {
        // Only a service exchanges plugins while it runs, and asks for it.
        let mut config = EngineConfig { reloads: false, ..EngineConfig::default() };
        let trust = self.plugins(args, &mut config);
        config.cache_dir = self.cache_dir();
        config.limits.deadline = Duration::from_secs(self.number("plugin_deadline_seconds", 10) as u64);
        config.limits.memory_bytes = self.number("plugin_memory_mib", 128) << 20;
        config.wasi = self.wasi();
        config.jq_environment = self.jq_environment();
        (config, trust)
    }

    /// The names in a list; what is no text in it is passed over.
    fn names_in(&self, path: &str) -> Vec<String> {
        match self.tree.get(path).map(|setting| &setting.value) {
            None => Vec::new(),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
            }
            // A variable holds a JSON list, or names with commas between them.
            Some(value) => {
                let text = value.as_str().unwrap_or_default();
                serde_json::from_str(text).unwrap_or_else(|_| split(text))
            }
        }
    }

    /// The variables that mappings in JQ see. Whoever may edit the mapping in Port can read them
    /// there, so that none of the host's own is among them, which hold its credentials.
    fn jq_environment(&mut self) -> Variables {
        const PATH: &str = "jq_environment";
        let names = self.names_in(PATH);
        let own = |name: &String| {
            let name = name.to_ascii_uppercase();
            ["OCEAN__", "BERTH_", "AWS_"].iter().any(|prefix| name.starts_with(prefix))
        };
        let (own, shown): (Vec<String>, Vec<String>) = names.into_iter().partition(own);
        for name in own {
            self.issue(
                PATH,
                format!("`{name}` is a setting of Berth or of AWS, which may hold credentials"),
                "name other variables: whoever edits the mapping in Port can read them",
            );
        }
        let environment = self.environment;
        let value = |name: String| environment.get(&name).map(|value| (name.clone(), value.to_owned()));
        shown.into_iter().filter_map(value).collect()
    }

    /// Where compiled plugins are kept. Without a home directory they are compiled at each start.
    fn cache_dir(&mut self) -> Option<PathBuf> {
        let configured =
            self.environment.get("BERTH_CACHE_DIR").map(ToOwned::to_owned).or_else(|| self.text("cache_dir"));
        if let Some(dir) = configured {
            return Some(self.environment.working_dir.join(dir));
        }
        self.environment.cache_home.as_ref().map(|home| home.join("berth"))
    }
}

/// Whether a value holds nothing, however that is spelled: no text, `[]`, `[""]`, `null`, `,`.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(value @ (Value::Null | Value::Array(_) | Value::Object(_))) => is_empty(&value),
            Ok(Value::String(inner)) => is_empty(&Value::String(inner)),
            Ok(_) => false,
            Err(_) => text.chars().all(|c| c.is_whitespace() || ",;[]{}()\"'".contains(c)),
        },
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

/// One setting bounds the answers of AWS and those of Port.
fn bound_answers(port: Option<&mut PortConfig>, aws: &AwsConfig) {
    if let Some(port) = port {
        port.max_response_bytes = aws.max_response_bytes;
    }
}

/// The partition of the region that AWS's own tools would use.
fn partition_of_region(environment: &Environment) -> Option<Partition> {
    let region = environment.get("AWS_REGION").or_else(|| environment.get("AWS_DEFAULT_REGION"))?;
    Region::new(region.trim()).ok().map(|region| Partition::of_region(&region))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{args::Args, trust::Demand};

    /// The documented command's variables.
    const SEED: &[(&str, &str)] = &[
        ("OCEAN__PORT__CLIENT_ID", "client"),
        ("OCEAN__PORT__CLIENT_SECRET", "hush-port"),
        ("OCEAN__PORT__BASE_URL", "https://api.us.getport.io"),
        ("OCEAN__INITIALIZE_PORT_RESOURCES", "true"),
        ("OCEAN__INTEGRATION__IDENTIFIER", "My-Aws"),
        ("OCEAN__EVENT_LISTENER", r#"{"type":"ONCE"}"#),
        ("OCEAN__INTEGRATION__SECRETS__AWS_ACCESS_KEY_ID", "hush-id"),
        ("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", "hush-key"),
        (
            "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
            r#"["arn:aws:iam::111111111111:role/PortOceanReadRole", "arn:aws:iam::222222222222:role/PortOceanReadRole"]"#,
        ),
        ("OCEAN__INTEGRATION__CONFIG__EXTERNAL_ID", "hush-external"),
    ];

    fn load(changes: &[(&str, &str)]) -> Result<Settings, Vec<Issue>> {
        let dir = tempfile::tempdir().unwrap();
        let mut variables: BTreeMap<&str, &str> = SEED.iter().copied().collect();
        variables.extend(changes.iter().copied());
        let variables: Vec<_> = variables.into_iter().collect();
        let mut environment = Environment::of(&variables);
        environment.working_dir = dir.path().to_owned();
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        Settings::load(&args.global, &environment)
    }

    #[test]
    fn the_documented_command_is_understood() {
        let settings = load(&[
            ("AWS_ENDPOINT_URL", "http://localhost:5000"),
            ("AWS_ENDPOINT_URL_S3", "http://localhost:5001"),
        ])
        .unwrap();
        assert_eq!(settings.port.integration_identifier, "My-Aws");
        assert_eq!(settings.port.base_url.as_str(), "https://api.us.getport.io/");
        assert_eq!(settings.aws.account_role_arns.len(), 2);
        assert!(settings.aws.static_keys.is_some() && settings.aws.external_id.is_some());
        assert_eq!(settings.aws.endpoints.get(&["s3"]).unwrap().port(), Some(5001));
        assert_eq!(settings.aws.endpoints.get(&["ec2"]).unwrap().port(), Some(5000));
        assert!(!format!("{settings:?}").contains("hush"), "{settings:?}");
    }

    #[test]
    fn a_single_account_is_in_the_partition_of_its_region() {
        let of = |variables: &[(&str, &str)]| partition_of_region(&Environment::of(variables));
        assert_eq!(of(&[("AWS_REGION", "eusc-de-east-1")]), Some(Partition::AwsEusc));
        assert_eq!(of(&[("AWS_DEFAULT_REGION", "us-gov-east-1")]), Some(Partition::AwsUsGov));
        assert_eq!(of(&[("AWS_REGION", "somewhere")]), None);
        // The ARNs of roles say it better.
        let settings = load(&[("AWS_REGION", "eusc-de-east-1")]).unwrap();
        assert_eq!(settings.aws.partition, None);
    }

    #[test]
    fn a_list_of_accounts_that_is_set_but_empty_is_a_mistake() {
        const ARNS: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS";
        let spellings = [
            "",
            " ",
            "\t\n",
            "[]",
            "[ ]",
            "\"\"",
            "''",
            "null",
            "[\"\"]",
            "[\" \", null]",
            ",",
            " , ",
            "[,]",
            "{}",
            "\"[]\"",
        ];
        for empty in spellings {
            for name in [ARNS, "ocean__integration__config__account_role_arns"] {
                let mut changes = vec![(name, empty)];
                if name != ARNS {
                    // Of two spellings of one name the environment's order decides; here is only one.
                    changes.push((ARNS, empty));
                }
                let issues = load(&changes).unwrap_err();
                assert_eq!(issues.len(), 1, "{empty:?}: {issues:?}");
                assert!(issues[0].setting.eq_ignore_ascii_case(ARNS), "{issues:?}");
                assert!(issues[0].remedy.contains("unset it to read a single account"), "{issues:?}");
            }
        }
        for (value, position) in [
            (r#"["arn:aws:iam::111111111111:role/a", ""]"#, 1),
            (r#"["  ", "arn:aws:iam::111111111111:role/a"]"#, 0),
        ] {
            let issues = load(&[(ARNS, value)]).unwrap_err();
            assert!(issues[0].problem.contains(&format!("element {position} is empty")), "{issues:?}");
        }
    }

    #[test]
    fn an_empty_list_in_the_file_or_in_nested_json_is_the_same_mistake() {
        let dir = tempfile::tempdir().unwrap();
        for list in ["[]", "\"\"", "[\"\"]", "\" \""] {
            let file = format!(
                "[port]\nclient_id = 'a'\nclient_secret = 'b'\n[integration.config]\naccount_role_arns = {list}\n"
            );
            std::fs::write(dir.path().join("berth.toml"), file).unwrap();
            let mut environment = Environment::of(&[]);
            environment.working_dir = dir.path().to_owned();
            let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
            let issues = Settings::load(&args.global, &environment).unwrap_err();
            assert_eq!(issues.len(), 1, "{list}: {issues:?}");
            assert!(issues[0].setting.starts_with("integration.config.account_role_arns in "), "{issues:?}");
        }
        for json in
            [r#"{"accountRoleArns": null}"#, r#"{"account_role_arns": []}"#, r#"{"accountRoleArns": ""}"#]
        {
            let seed = [
                ("OCEAN__PORT__CLIENT_ID", "client"),
                ("OCEAN__PORT__CLIENT_SECRET", "secret"),
                ("OCEAN__INTEGRATION__CONFIG", json),
            ];
            let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
            let issues = Settings::load(&args.global, &Environment::of(&seed)).unwrap_err();
            assert!(issues[0].remedy.contains("unset it"), "{json}: {issues:?}");
        }
    }

    #[test]
    fn an_empty_organization_or_unit_does_not_read_something_else() {
        const ROLE: &str = "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARN";
        const UNITS: &str = "OCEAN__INTEGRATION__CONFIG__OU_ID";
        assert!(load(&[(ROLE, "")]).is_ok(), "the list of roles says what is read");
        let mut seed: Vec<(&str, &str)> =
            SEED.iter().copied().filter(|(name, _)| !name.ends_with("ROLE_ARNS")).collect();
        seed.push((ROLE, " "));
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        let issues = Settings::load(&args.global, &Environment::of(&seed)).unwrap_err();
        assert_eq!((issues.len(), issues[0].setting.as_str()), (1, ROLE), "{issues:?}");
        for empty in ["", ",", "[]"] {
            let issues = load(&[(UNITS, empty)]).unwrap_err();
            assert_eq!((issues.len(), issues[0].setting.as_str()), (1, UNITS), "{issues:?}");
        }
    }

    #[test]
    fn what_one_list_and_one_unit_may_take_is_bounded() {
        let aws = load(&[]).unwrap().aws;
        assert_eq!((aws.max_pages_per_list, aws.unit_deadline), (10_000, Duration::from_hours(1)));
        let set = [("BERTH_MAX_PAGES_PER_LIST", "50"), ("OCEAN__UNIT_DEADLINE_SECONDS", "7200")];
        let aws = load(&set).unwrap().aws;
        assert_eq!((aws.max_pages_per_list, aws.unit_deadline), (50, Duration::from_hours(2)));
        assert_eq!(aws.max_response_bytes, 256 << 20);
        assert_eq!(load(&[("BERTH_MAX_RESPONSE_BYTES", "1000")]).unwrap().aws.max_response_bytes, 1000);
        assert_eq!(load(&[("BERTH_MAX_PAGES_PER_LIST", "0")]).unwrap_err().len(), 1);
    }

    #[test]
    fn every_issue_is_told_at_once() {
        let issues = load(&[
            ("OCEAN__PORT__CLIENT_ID", ""),
            ("OCEAN__PORT__BASE_URL", "api.getport.io"),
            ("OCEAN__INITIALIZE_PORT_RESOURCES", "maybe"),
            ("OCEAN__EVENT_LISTENER", r#"{"type":"SOMETIMES"}"#),
            ("OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY", ""),
            (
                "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
                "arn:aws:iam::111111111111:role/a,arn:aws:iam::222222222222:role/b",
            ),
            ("OCEAN__INTEGRATION__CONFIG__AWS_PARTITION", "mars"),
        ])
        .unwrap_err();
        let mut settings: Vec<&str> = issues.iter().map(|issue| issue.setting.as_str()).collect();
        settings.sort_unstable();
        assert_eq!(
            settings,
            [
                "OCEAN__EVENT_LISTENER",
                "OCEAN__INITIALIZE_PORT_RESOURCES",
                "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
                "OCEAN__INTEGRATION__CONFIG__AWS_PARTITION",
                "OCEAN__INTEGRATION__SECRETS__AWS_SECRET_ACCESS_KEY",
                "OCEAN__PORT__BASE_URL",
                "OCEAN__PORT__CLIENT_ID",
            ]
        );
        let arns = issues.iter().find(|issue| issue.setting.ends_with("ROLE_ARNS")).unwrap();
        assert!(arns.problem.contains("not a JSON array") && arns.remedy.contains(ARNS_EXAMPLE), "{arns:?}");
        assert!(!format!("{issues:?}").contains("hush"));
    }

    #[test]
    fn each_bad_arn_is_named_with_its_position() {
        let issues = load(&[(
            "OCEAN__INTEGRATION__CONFIG__ACCOUNT_ROLE_ARNS",
            r#"["arn:aws:iam::111111111111:role/a", "arn:aws:iam::1:role/b", 3]"#,
        )])
        .unwrap_err();
        assert_eq!(issues.len(), 2);
        assert!(
            issues[0].problem.contains("element 1") && issues[0].problem.contains("arn:aws:iam::1:role/b")
        );
        assert!(issues[1].problem.contains("element 2"));
    }

    #[test]
    fn the_example_file_is_right() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/config/berth.toml");
        // Also with everything that is commented out there.
        let text = std::fs::read_to_string(file).unwrap();
        let switched_on = text.lines().map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => setting,
            _ => line,
        });
        let dir = tempfile::tempdir().unwrap();
        let all = dir.path().join("all.toml");
        // These name what must be there.
        let named = ["plugins = [", "plugin_keys = ["];
        let text_of_all = switched_on
            .filter(|line| !named.iter().any(|name| line.starts_with(name)))
            .collect::<Vec<_>>()
            .join("\n");
        std::fs::write(&all, text_of_all).unwrap();
        for file in [file, all.to_str().unwrap()] {
            let args = Args::parse_from(["berth", "--plugins", "/", "--config", file, "sync"]);
            let settings = Settings::load(&args.global, &Environment::of(&[])).unwrap();
            assert_eq!(settings.aws.account_role_arns.len(), 2, "{file}");
        }
    }

    #[test]
    fn mappings_see_the_variables_that_are_named_and_no_credentials() {
        let settings =
            load(&[("OCEAN__JQ_ENVIRONMENT", r#"["STAGE", "UNSET"]"#), ("STAGE", "hush-stage")]).unwrap();
        let shown = format!("{:?}", settings.engine.jq_environment);
        assert_eq!(shown, r#"{"STAGE"}"#);
        let issues = load(&[("OCEAN__JQ_ENVIRONMENT", "STAGE, aws_secret_access_key")]).unwrap_err();
        assert_eq!((issues.len(), issues[0].setting.as_str()), (1, "OCEAN__JQ_ENVIRONMENT"));
        assert!(issues[0].problem.contains("aws_secret_access_key"), "{issues:?}");
    }

    #[test]
    fn the_rules_for_plugins_of_others_are_checked() {
        let trust = |changes: &[(&str, &str)]| load(changes).map(|settings| settings.trust);
        let default = trust(&[]).unwrap();
        assert_eq!((default.demand, default.lock_given), (Demand::Pinned, false));
        assert!(default.lock.ends_with("plugins.lock") && default.lock.is_absolute());

        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("vendor.pub");
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        let key = file.to_str().unwrap();
        for text in [pair.pk.to_box().unwrap().to_string(), pair.pk.to_base64()] {
            std::fs::write(&file, text).unwrap();
            let signed = trust(&[("BERTH_PLUGIN_TRUST", "signed"), ("BERTH_PLUGIN_KEYS", key)]).unwrap();
            assert_eq!((signed.demand, signed.keys.len()), (Demand::Signed, 1));
        }

        let setting = |changes: &[(&str, &str)]| trust(changes).unwrap_err()[0].setting.clone();
        assert_eq!(setting(&[("OCEAN__PLUGIN_TRUST", "some")]), "OCEAN__PLUGIN_TRUST");
        assert_eq!(setting(&[("BERTH_PLUGIN_TRUST", "signed")]), "OCEAN__PLUGIN_KEYS");
        std::fs::write(&file, "no key").unwrap();
        assert_eq!(setting(&[("BERTH_PLUGIN_KEYS", key)]), "OCEAN__PLUGIN_KEYS");
        std::fs::write(&file, "[plugins.x]\nsha256 = 3").unwrap();
        let issues = trust(&[("BERTH_PLUGINS_LOCK", key)]).unwrap_err();
        assert!(issues[0].problem.contains("vendor.pub is not understood"), "{issues:?}");
    }

    #[test]
    fn a_checkout_finds_what_it_built_and_nothing_else_passes_for_bundled() {
        let dir = tempfile::tempdir().unwrap();
        let (target, components) = (dir.path().join("target"), dir.path().join("target/components/plugins"));
        let others = dir.path().join("others");
        for dir in [&components, &others, &target.join("release")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let mut environment = Environment::of(&[]);
        environment.working_dir = dir.path().to_owned();
        environment.executable = Some(target.join("release/berth"));
        let found = |environment: &Environment, given: &[&str]| {
            let mut args = vec!["berth", "sync"];
            args.extend(given.iter().flat_map(|dir| ["--plugins", dir]));
            let args = Args::parse_from(args);
            assert!(Settings::engine_only(&args.global, environment).is_ok(), "one plugin needs no other");
            Settings::engine_with_plugins(&args.global, environment)
        };
        assert!(found(&environment, &[]).is_err(), "a folder of any name is not cargo's");
        std::fs::write(target.join("CACHEDIR.TAG"), "").unwrap();
        let (config, trust) =
            found(&environment, &["target/components/../components/plugins", "others"]).unwrap();
        assert_eq!(config.plugin_dirs, [components.clone(), others.clone()], "no directory twice");
        assert!(trust.is_bundled(&components.join("x.wasm")) && !trust.is_bundled(&others.join("x.wasm")));

        // What an image names.
        let with = |value: &str| {
            let mut environment = Environment::of(&[("BERTH_BUNDLED_PLUGINS", value)]);
            environment.working_dir = dir.path().to_owned();
            environment
        };
        let (config, trust) = found(&with(others.to_str().unwrap()), &[]).unwrap();
        assert_eq!(config.plugin_dirs, [others.as_path()]);
        assert!(trust.is_bundled(&others.join("x.wasm")) && !trust.is_bundled(&components.join("x.wasm")));
        let args = Args::parse_from(["berth", "sync"]);
        let issues = Settings::engine_only(&args.global, &with("nowhere")).unwrap_err();
        assert_eq!(issues[0].setting, "BERTH_BUNDLED_PLUGINS");
    }

    #[test]
    fn a_misspelt_key_of_the_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("berth.toml"),
            "[port]\nclient_id = 'a'\nclient_secret = 'b'\n[integration]\naccountRoleArns = []\n",
        )
        .unwrap();
        let mut environment = Environment::of(&[]);
        environment.working_dir = dir.path().to_owned();
        let args = Args::parse_from(["berth", "--plugins", "/", "sync"]);
        let issues = Settings::load(&args.global, &environment).unwrap_err();
        assert_eq!(issues.len(), 1, "{issues:?}");
        assert!(issues[0].remedy.contains("integration.config.account_role_arns"), "{issues:?}");
    }
}
