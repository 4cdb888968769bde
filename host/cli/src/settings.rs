//! Loads settings from arguments, environment and file, and validates them. Reports all problems at once,
//! each with the variable's name, the finding and the remedy.
//!
//! Each section has a file here: a struct whose fields are the settings, and a function that validates them.
//! To add a setting, change three places:
//!
//! 1. the field in the section's struct, here;
//! 2. the documented defaults, `examples/config/berth.toml`;
//! 3. the place that uses it.
//!
//! The list of known names, the default, the example in a remedy and the reference page (`cargo xtask
//! readme`) follow from these.

mod addresses;
mod aws;
mod check;
mod defaults;
mod deletion;
mod environment;
mod found;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_protocol;
mod listener;
mod live;
mod network;
mod plugins;
mod port;
mod port_access;
mod raw;
mod reporting;
mod schema;
mod service;
mod setting_names;
mod similar;
mod state;
#[cfg(test)]
mod tests;
mod tree;
mod unknown;
mod values;

use std::{path::PathBuf, sync::LazyLock};

use berth_embed::{AwsConfig, PortConfig};
use berth_engine::EngineConfig;
use berth_http::HttpParts;
use serde::Deserialize;

use aws::Aws;
pub(crate) use aws::GrantedReads;
pub(crate) use berth_service::config::{Listener, LiveSettings};
use check::SettingsCheck;
pub(crate) use check::{Section, SettingsInputs};
pub(crate) use deletion::DeletionSettings;
pub(crate) use environment::Environment;
use network::Network;
#[cfg(any(feature = "oci", feature = "otlp"))]
pub(crate) use network::ThirdParty;
pub(crate) use plugins::{FoundPlugins, PluginSettings};
use schema::Setting;
#[cfg(test)]
pub(crate) use service::ResyncKey;
pub(crate) use service::{AT_START, ServiceSettings};
use setting_names::Names;
pub(crate) use state::{StateDir, StateSettings};
pub(crate) use tree::variable;
use values::Count;

use crate::{args::Global, trust::PluginTrust};

/// Returns the names of all settings, from the sections' structs.
pub(crate) fn names() -> &'static Names {
    static NAMES: LazyLock<Names> = LazyLock::new(|| {
        Names::default()
            .of::<Table>()
            .of::<aws::AwsTable>()
            .of::<deletion::DeletionTable>()
            .of::<listener::ListenerTable>()
            .of::<live::LiveTable>()
            .of::<network::NetworkTable>()
            .of::<plugins::PluginsTable>()
            .of::<port::PortTable>()
            .of::<raw::RawTable>()
            .of::<reporting::ReportingTable>()
            .of::<service::ServiceTable>()
            .of::<state::StateTable>()
    });
    &NAMES
}

/// A problem with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issue {
    /// The variable or file.
    pub(crate) setting: String,
    /// The finding. Never holds a secret.
    pub(crate) problem: String,
    /// The remedy.
    pub(crate) remedy: String,
}

/// The settings of a command.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) aws: AwsConfig,
    pub(crate) port: PortConfig,
    /// Without the rules about trusted plugins: [`EngineConfig::trust`] is set where the engine starts.
    pub(crate) engine: EngineConfig,
    /// Which plugins are trusted.
    pub(crate) trust: PluginTrust,
    pub(crate) http: HttpParts,
    /// Where AWS is asked in another way than Port.
    pub(crate) aws_http: Option<HttpParts>,
    /// Whether to restrict the sessions of assumed roles to what the loaded plugins read.
    pub(crate) narrow_sessions: bool,
    pub(crate) state: StateSettings,
    /// What a resync may delete and take over.
    pub(crate) deletion: DeletionSettings,
    /// Whether to ship the log to Port.
    pub(crate) ship_logs: bool,
    /// Units to read at once, if the command line does not say.
    pub(crate) concurrency: Option<usize>,
    /// The level of the log, if neither the command line nor the environment gives one.
    pub(crate) log_level: Option<String>,
    /// How a service processes live events; `None` if it does not.
    pub(crate) live: Option<LiveSettings>,
    /// Warnings for the operator.
    pub(crate) notes: Vec<String>,
    /// The files that the settings come from.
    files: Vec<PathBuf>,
}

/// Settings that belong to no other section.
#[derive(Debug, Deserialize)]
struct Table {
    concurrency: Setting<Count>,
}

/// The settings to read AWS and map, without Port.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) aws: AwsConfig,
    pub(crate) engine: EngineConfig,
    pub(crate) trust: PluginTrust,
    pub(crate) http: HttpParts,
}

/// The settings for Port.
#[derive(Debug)]
pub(crate) struct PortDestination {
    pub(crate) port: PortConfig,
    pub(crate) http: HttpParts,
}

impl Settings {
    /// Loads and validates the settings.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn load(args: &Global, environment: &Environment) -> Result<Self, Vec<Issue>> {
        let (mut settings, notes): (Self, _) =
            SettingsInputs::read(args, environment).section_with_notes()?;
        settings.notes = notes;
        Ok(settings)
    }

    /// Loads and validates the settings, and those of `berth run`.
    ///
    /// # Errors
    /// All issues at once.
    pub(crate) fn load_service(
        args: &Global,
        environment: &Environment,
    ) -> Result<(Self, ServiceSettings), Vec<Issue>> {
        let source = SettingsInputs::read(args, environment);
        let ((mut settings, service), notes): ((Self, ServiceSettings), _) = source.section_with_notes()?;
        settings.notes = notes;
        service.apply_to(&mut settings.port);
        settings.port.secrets.extend(service.resync_key.iter().map(|key| key.0.clone()));
        settings.engine.reloads = true;
        Ok((settings, service))
    }

    /// Logs the files that settings come from: a file may be there by accident.
    pub(crate) fn log_files(&self) {
        for file in &self.files {
            tracing::info!(file = %file.display(), "read settings from a file");
        }
    }

    /// Returns the files that settings come from, whether or not they exist.
    pub(crate) fn files(args: &Global, environment: &Environment) -> Vec<PathBuf> {
        tree::files(args.config.as_deref(), environment).into()
    }
}

impl Section for Settings {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        unknown::check(check);
        let table: Table = check.table()?;
        let plugins = FoundPlugins::read(check);
        let port = port::read(check);
        let network = Network::read(check);
        let reporting = reporting::read(check);
        // The library has the same default.
        let given = table.concurrency.is_set();
        let concurrency = check.value(&table.concurrency).map(|Count(units)| units).filter(|_| given);
        let aws = Aws::read(check);
        let state = state::read(check, port.as_ref());
        let deletion = DeletionSettings::read(check);
        let live: Option<Option<LiveSettings>> = Section::read(check);

        let FoundPlugins(PluginSettings { engine, trust }) = plugins?;
        let (mut port, network, reporting, aws, live) = (port?, network?, reporting?, aws?, live?);
        port.max_response_bytes = aws.config.max_response_bytes;
        reporting.apply(&mut port);
        port.secrets = reporting::secrets(check.environment(), &aws.config);
        port.secrets.extend(live.iter().flat_map(|live| &live.keys).map(|known| known.key.clone()));
        Some(Self {
            aws: aws.config,
            port,
            engine,
            trust,
            http: network.http,
            aws_http: network.aws_http,
            narrow_sessions: aws.narrow_sessions,
            state: state?,
            deletion: deletion?,
            ship_logs: reporting.ship_logs,
            concurrency,
            log_level: reporting.log_level,
            live,
            notes: Vec::new(),
            files: check.tree().files().to_owned(),
        })
    }
}

impl Section for Sources {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let plugins = PluginSettings::read(check);
        let network = Network::read(check);
        let aws = Aws::read(check);
        let (PluginSettings { engine, trust }, Network { http, aws_http, .. }) = (plugins?, network?);
        Some(Self { aws: aws?.config, engine, trust, http: aws_http.unwrap_or(http) })
    }
}

impl Section for PortDestination {
    fn read(check: &mut SettingsCheck<'_>) -> Option<Self> {
        let port = port::read(check);
        let network = Network::read(check);
        let aws = Aws::read(check);
        let (mut port, aws, network) = (port?, aws?, network?);
        port.max_response_bytes = aws.config.max_response_bytes;
        Some(Self { port, http: network.http })
    }
}
