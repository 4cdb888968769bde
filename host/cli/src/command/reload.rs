//! Settings that change while the service runs: read anew on SIGHUP, and when their files change.
//!
//! They are checked as a whole first. What is wrong is told like at the start, and the former
//! settings stay. What is right holds from the next resync on; one that runs ends as it began.

use std::{
    mem::discriminant,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use berth_embed::{Engine, Observer, PortConfig, Problem};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::host::{Assembled, Build, Refusal, assemble};
use crate::{
    args::Global,
    http::Status,
    listener::Live,
    settings::{Environment, Issue, Service, Settings},
    telemetry::{self, Shipping},
};

/// How often is looked whether a file has changed. It is read when it looks the same twice, so that
/// nobody is caught writing.
const LOOK: Duration = Duration::from_secs(2);

/// Reads settings anew.
pub(super) struct Reloader<'r> {
    pub(super) global: &'r Global,
    pub(super) environment: &'r Environment,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) concurrency: Option<usize>,
    pub(super) status: &'r Status,
    pub(super) stop: CancellationToken,
    pub(super) hangups: Hangups,
    pub(super) logs: Option<Shipping>,
}

impl Reloader<'_> {
    /// Takes new settings whenever there are some. Never returns.
    pub(super) async fn run(mut self, live: watch::Sender<Arc<Live>>) {
        let mut files = Files::watch(Settings::files(self.global, self.environment));
        loop {
            let reason = tokio::select! {
                () = self.hangups.next() => "SIGHUP",
                () = files.change() => "a file has changed",
            };
            files.seen();
            tracing::info!(reason, "reading the settings anew");
            let former = Arc::clone(&live.borrow());
            match self.read(&former).await {
                Ok((new, engine)) => {
                    self.status.metrics.watch(&new.host, &engine);
                    live.send_replace(Arc::new(new));
                    self.status.metrics.reloaded("applied");
                    tracing::info!("the settings were taken; they hold from the next resync on");
                }
                Err(issues) => {
                    for Issue { setting, problem, remedy } in issues {
                        tracing::error!(setting, problem, remedy, "wrong setting");
                    }
                    self.status.metrics.reloaded("refused");
                    tracing::error!("the settings were not taken; the former ones stay");
                }
            }
        }
    }

    async fn read(&self, former: &Live) -> Result<(Live, Arc<Engine>), Vec<Issue>> {
        let (mut settings, mut service) = Settings::load_service(self.global, self.environment)?;
        let mut kept = keep(&former.service, &former.changelog_destination, &mut settings.port, &mut service);
        // The ledger is open already, and nobody else can open it.
        if settings.state.dir != former.state_dir {
            kept.push("BERTH_STATE_DIR");
        }
        for setting in kept {
            tracing::warn!(setting, "this setting cannot change while the service runs: restart it");
        }
        for note in &settings.notes {
            tracing::warn!("{note}");
        }
        if service.scheduled_minutes == former.service.scheduled_minutes {
            // Ticks go on as they began.
            settings.port.schedule = former.schedule;
        }
        let schedule = settings.port.schedule;
        let changelog_destination = settings.port.changelog_destination.clone();
        let log_level = settings.log_level.clone();
        let build = Build {
            concurrency: self.concurrency,
            ledger: former.host.ledger(),
            journal: Some(former.host.journal()),
            logs: self.logs.clone(),
            ..Build::new(Arc::clone(&self.observer))
        };
        let state_dir = former.state_dir.clone();
        let stop = self.stop.clone();
        // Plugins may have to be compiled, and a resync may be running.
        let made = tokio::task::spawn_blocking(move || assemble(settings, build, stop)).await;
        let whole = |title: &str, Problem { message, remedy }| {
            vec![Issue { setting: title.into(), problem: message, remedy: remedy.unwrap_or_default() }]
        };
        let made = made.map_err(|panicked| whole("the host", Problem::from_error(&panicked)))?;
        let Assembled { host, engine } = made.map_err(|Refusal { title, problem }| whole(title, problem))?;
        telemetry::follow(log_level.as_deref());
        Ok((Live { host, service, schedule, changelog_destination, state_dir }, engine))
    }
}

/// Takes back what the running service cannot change: where it listens, and what for. Returns the
/// names of what was taken back.
fn keep(
    former: &Service,
    changelog_destination: &Value,
    port: &mut PortConfig,
    service: &mut Service,
) -> Vec<&'static str> {
    let mut kept = Vec::new();
    if service.port != former.port {
        kept.push("APPLICATION__PORT");
        service.port = former.port;
    }
    if service.path_prefix != former.path_prefix {
        kept.push("OCEAN__PATH_PREFIX");
        service.path_prefix.clone_from(&former.path_prefix);
    }
    if service.status_page != former.status_page {
        kept.push("OCEAN__STATUS_PAGE");
        service.status_page = former.status_page;
    }
    if discriminant(&service.listener) != discriminant(&former.listener) {
        kept.push("OCEAN__EVENT_LISTENER__TYPE");
        service.listener.clone_from(&former.listener);
        port.changelog_destination.clone_from(changelog_destination);
    }
    kept
}

/// SIGHUP, where there is such a thing. Until this exists the signal ends the process, so that it
/// is made before anything that takes its time.
pub(super) struct Hangups(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangups {
    /// Listens from now on. Must be called inside a runtime.
    #[cfg(unix)]
    pub(super) fn listen() -> Self {
        Self(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok())
    }

    /// Listens from now on.
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

/// When a file was written, and how long it is; none for a file that is not there.
type Stamp = Vec<Option<(SystemTime, u64)>>;

/// Files that are looked at.
struct Files {
    paths: Vec<PathBuf>,
    seen: Stamp,
}

impl Files {
    fn watch(paths: Vec<PathBuf>) -> Self {
        let seen = stamp(&paths);
        Self { paths, seen }
    }

    /// Waits until they are other than they were seen, and stay so for a moment.
    async fn change(&self) {
        let mut before = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = stamp(&self.paths);
            if now != self.seen && before.as_ref() == Some(&now) {
                return;
            }
            before = Some(now);
        }
    }

    /// Takes note of how they are.
    fn seen(&mut self) {
        self.seen = stamp(&self.paths);
    }
}

fn stamp(paths: &[PathBuf]) -> Stamp {
    // Links are followed: Kubernetes exchanges one to exchange a mounted file.
    let look = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    paths.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::settings::Listener;

    fn service(port: u16, prefix: &str, listener: Listener) -> Service {
        Service {
            listener,
            scheduled_minutes: None,
            port,
            path_prefix: prefix.to_owned(),
            process_webhooks: false,
            status_page: true,
        }
    }

    fn polling(seconds: u64) -> Listener {
        Listener::Polling { interval: Duration::from_secs(seconds), resync_on_start: true }
    }

    #[test]
    fn what_cannot_change_is_kept_and_told() {
        let mut port = PortConfig::new("id", "secret".to_owned().into(), "aws");
        let told = json!({"type": "WEBHOOK", "url": "https://berth.example/resync"});
        let webhook =
            Listener::Webhook { app_host: "https://berth.example".parse().unwrap(), resync_on_start: true };
        let former = service(8000, "/a", webhook.clone());
        let mut new = service(8001, "/b", polling(60));
        let kept = keep(&former, &told, &mut port, &mut new);
        assert_eq!(kept, ["APPLICATION__PORT", "OCEAN__PATH_PREFIX", "OCEAN__EVENT_LISTENER__TYPE"]);
        assert_eq!((new, port.changelog_destination), (former, told));
    }

    #[test]
    fn what_can_change_does() {
        let mut port = PortConfig::new("id", "secret".to_owned().into(), "aws");
        let mut new = Service { scheduled_minutes: Some(5), ..service(8000, "", polling(7)) };
        let kept = keep(&service(8000, "", polling(60)), &json!({}), &mut port, &mut new);
        assert!(kept.is_empty(), "{kept:?}");
        assert_eq!((new.listener, new.scheduled_minutes), (polling(7), Some(5)));
    }
}
