//! The parts of a service, by the settings: at the start, and when they are read again.

use berth_embed::{Problem, ProblemCode};
use berth_service::{HttpServer, LoadedPlugins, ServiceConfig, ServiceError, ServiceHost};
use tokio_util::sync::CancellationToken;

use super::host::{Host, HostOptions, assemble};
use crate::settings::{self, Settings};

/// Returns the service's configuration from the settings.
pub(super) fn config(settings: &mut Settings, service: &settings::ServiceSettings) -> ServiceConfig {
    ServiceConfig {
        listener: service.listener.clone(),
        schedule: settings.port.schedule,
        http: HttpServer {
            bind: service.bind,
            port: service.port,
            path_prefix: service.path_prefix.clone(),
            status_page: service.status_page,
            access: service.access(&settings.port.client_secret),
        },
        live_events: settings.live.take().filter(|_| service.process_webhooks),
        removal_after: settings.deletion.removal.after,
    }
}

/// Builds the service's host. This takes time if plugins have to be compiled.
///
/// # Errors
/// [`ServiceError::Start`] and [`ServiceError::Internal`].
pub(super) async fn host(
    settings: Settings,
    options: HostOptions,
    stop: CancellationToken,
) -> Result<ServiceHost, ServiceError> {
    let (dirs, lock) = (settings.engine.plugin_dirs.clone(), Some(settings.trust.lock.clone()));
    let host_depends = settings.narrow_sessions;
    let made = tokio::task::spawn_blocking(move || assemble(settings, options, stop)).await;
    let made = made
        .map_err(|panicked| ServiceError::Internal(Problem::from_error(ProblemCode::Internal, &panicked)))?;
    let Host { sync: host, engine, notes, .. } = made.map_err(ServiceError::Start)?;
    for note in notes {
        tracing::warn!("{note}");
    }
    Ok(ServiceHost { host, plugins: Some(LoadedPlugins { engine, dirs, lock, host_depends }) })
}
