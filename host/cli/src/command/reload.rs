//! Reloads settings while the service runs: on SIGHUP, and when a settings file changes.

use std::path::PathBuf;

use async_trait::async_trait;
use berth_embed::{PortConfig, Problem, ProblemCode, ResyncSchedule};
use berth_engine::EngineConfig;
use berth_port::service::PortService;
use berth_service::{
    Reload, ReloadSource, RunningService, ServiceError, StartError, WrongSetting, telemetry::LogShipping,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    host::{HostMemory, HostOptions},
    service_host,
};
use crate::{
    args::Global,
    settings::{AT_START, Environment, Issue, Listener, ServiceSettings, Settings, StateSettings, variable},
    telemetry,
    trust::PluginTrust,
};

/// Reloads the settings.
pub(super) struct SettingsSource {
    pub(super) global: Global,
    pub(super) environment: Environment,
    pub(super) concurrency: Option<usize>,
    pub(super) logs: Option<LogShipping>,
    pub(super) stop: CancellationToken,
    pub(super) sighup: Sighup,
    pub(super) taken: Taken,
}

/// The settings of the running service.
pub(super) struct Taken {
    former: Former,
    engine: EngineConfig,
    trust: PluginTrust,
}

#[async_trait]
impl ReloadSource for SettingsSource {
    fn files(&self) -> Vec<PathBuf> {
        Settings::files(&self.global, &self.environment)
    }

    async fn requested(&mut self) -> &'static str {
        self.sighup.next().await;
        "SIGHUP"
    }

    async fn reload(&mut self, running: &RunningService<'_>) -> Result<Reload, Vec<WrongSetting>> {
        let loaded = Settings::load_service(&self.global, &self.environment);
        let (mut settings, mut service) =
            loaded.map_err(|issues| issues.into_iter().map(wrong).collect::<Vec<_>>())?;
        for setting in keep(&self.taken.former, &mut settings, &mut service) {
            tracing::warn!(setting, "this setting cannot change while the service runs: restart the service");
        }
        // Only a start installs again what someone deleted in Port.
        settings.port.install =
            !running.host().port().is_some_and(|port| PortService::of(port).is_installed());
        for note in &settings.notes {
            tracing::warn!("{note}");
        }
        let log_level = settings.log_level.clone();
        let config = service_host::config(&mut settings, &service);
        let taken = Self::taken(&settings, &service);
        // An engine with the same settings keeps its plugins, even if a plugin's file is broken now.
        let alike = taken.engine == self.taken.engine && taken.trust == self.taken.trust;
        let engine = running.plugins().filter(|_| alike).map(|plugins| plugins.engine.clone());
        if engine.is_some() {
            running.reload_plugins().await;
        }
        let options = HostOptions {
            concurrency: self.concurrency,
            memory: HostMemory::of(running.host()),
            engine,
            logs: self.logs.clone(),
            ..HostOptions::default()
        };
        let host = service_host::host(settings, options, self.stop.clone())
            .await
            .map_err(|error| vec![whole(error)])?;
        self.taken = taken;
        telemetry::follow(log_level.as_deref());
        Ok(Reload { host, config })
    }
}

impl SettingsSource {
    /// Returns what the service runs with, for the next comparison.
    pub(super) fn taken(settings: &Settings, service: &ServiceSettings) -> Taken {
        Taken {
            former: Former::of(settings, service),
            engine: settings.engine.clone(),
            trust: settings.trust.clone(),
        }
    }
}

fn wrong(Issue { setting, problem, remedy }: Issue) -> WrongSetting {
    WrongSetting { setting, problem, remedy }
}

/// Wraps an error that no single setting causes.
fn whole(error: ServiceError) -> WrongSetting {
    let (title, problem) = match error {
        ServiceError::Start(StartError { title, problem }) => (title, problem),
        ServiceError::Internal(problem) => ("the host", problem),
        other => ("the host", Problem::from_error(ProblemCode::Internal, &other)),
    };
    let remedy = problem.remedy.unwrap_or_default();
    WrongSetting { setting: title.into(), problem: problem.message, remedy }
}

/// The former settings that new ones are compared with.
struct Former {
    service: ServiceSettings,
    /// The identity of the integration in Port. The ledger and Port's records of the process belong to it.
    identity: Identity,
    /// The place of the ledger.
    state: StateSettings,
    /// The schedule that Port has.
    schedule: Option<ResyncSchedule>,
    /// Where Port sends resync requests.
    changelog_destination: Value,
}

impl Former {
    fn of(settings: &Settings, service: &ServiceSettings) -> Self {
        Self {
            service: service.clone(),
            identity: Identity::of(&settings.port),
            state: settings.state.clone(),
            schedule: settings.port.schedule,
            changelog_destination: settings.port.changelog_destination.clone(),
        }
    }
}

/// The settings that identify an integration of Port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    base_url: Url,
    identifier: String,
    integration_type: String,
}

impl Identity {
    fn of(port: &PortConfig) -> Self {
        Self {
            base_url: port.base_url.clone(),
            identifier: port.integration_identifier.clone(),
            integration_type: port.integration_type.clone(),
        }
    }

    /// Restores the identity of this integration in these settings.
    fn keep(&self, port: &mut PortConfig) {
        let Self { base_url, identifier, integration_type } = self.clone();
        (port.base_url, port.integration_identifier, port.integration_type) =
            (base_url, identifier, integration_type);
    }
}

/// Restores the settings that a running service cannot change: where it listens, what triggers a resync, and
/// which integration it is. Returns the names of the settings that need a restart.
fn keep(former: &Former, settings: &mut Settings, service: &mut ServiceSettings) -> Vec<String> {
    let mut kept: Vec<String> = AT_START
        .iter()
        .filter(|path| service.at_start.get(*path) != former.service.at_start.get(*path))
        .map(|path| variable(path))
        .collect();
    let (old, port) = (&former.service, &mut settings.port);
    // Settings without a value depend on other settings.
    let changed =
        [("status_page", service.status_page != old.status_page), ("bind_address", service.bind != old.bind)];
    for (path, changed) in changed {
        if changed && !kept.contains(&variable(path)) {
            kept.push(variable(path));
        }
    }
    service.path_prefix.clone_from(&old.path_prefix);
    (service.status_page, service.bind) = (old.status_page, old.bind);
    service.at_start.clone_from(&old.at_start);
    let idle = |it: &ServiceSettings| it.listener == Listener::Idle && !it.once;
    if idle(service) != idle(old) {
        service.scheduled_minutes = old.scheduled_minutes;
    }
    match (&mut service.listener, &old.listener) {
        (Listener::Polling { resync_on_start, .. }, Listener::Polling { resync_on_start: old, .. })
        | (Listener::Webhook { resync_on_start, .. }, Listener::Webhook { resync_on_start: old, .. }) => {
            *resync_on_start = *old;
        }
        (new, old) => {
            new.clone_from(old);
            port.changelog_destination.clone_from(&former.changelog_destination);
        }
    }
    // This process has the ledger open already, and no other process can open it.
    settings.state.clone_from(&former.state);
    former.identity.keep(port);
    if service.scheduled_minutes == old.scheduled_minutes {
        // The schedule does not change.
        port.schedule = former.schedule;
    }
    kept
}

/// SIGHUP, on systems that have it. Until this value exists the signal ends the process, so create it before
/// any slow step.
pub(super) struct Sighup(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Sighup {
    /// Starts to listen. Must be called inside a runtime.
    #[cfg(unix)]
    pub(super) fn listen() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    /// Starts to listen.
    #[cfg(not(unix))]
    pub(super) fn listen() -> Self {
        Self()
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.0
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
