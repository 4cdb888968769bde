//! The lifecycle of a resync whose raw data Port maps by itself: Port is told when the resync and
//! each kind begin and end, and may abort it.
//!
//! Port reconciles from what it is told: what a kind that is `finished` did not bring is gone to it.
//! The peer calls every resync `finished`, whatever happened to its kinds, and leaves out regions and
//! accounts in silence. Here a kind is `finished` only when all its units were read to the end and all
//! their documents arrived, and the resync only when all its kinds are. Else they are `failed`: at
//! worst entities then stay until the next good resync, while `finished` could delete some whose
//! resources are still there.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use berth_core::{AppConfig, Milestone, Problem, ResyncStatus};
use reqwest::Method;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    OCEAN_CORE_VERSION, PortCatalog, RetryPolicy,
    client::Call,
    error::PortError,
    iso,
    wire::raw::{KindStatus, SyncEnded, SyncReply, SyncStarted, Whose, listed_mappings},
};

/// The lifecycle of one resync.
pub(crate) struct Lifecycle {
    id: Uuid,
    /// The app-config as Port maps by it.
    mapping: Value,
    /// What each entry of `resources[]` is called.
    kinds: Vec<String>,
    told: watch::Sender<Told>,
    /// Port wants to hear no more of it.
    over: AtomicBool,
}

/// What Port was told, and whether it took it.
#[derive(Default)]
struct Told {
    begun: Option<Result<(), Problem>>,
    kinds: BTreeMap<usize, Result<(), Problem>>,
}

impl Lifecycle {
    pub(crate) fn new(id: Uuid, config: &AppConfig) -> Result<Self, PortError> {
        let mapping = listed_mappings(config)
            .map_err(|error| PortError::Other(Problem::new(format!("the mapping is no JSON: {error}"))))?;
        let kinds = config.resources.iter().enumerate();
        Ok(Self {
            id,
            mapping,
            kinds: kinds.map(|(index, resource)| format!("{}-{index}", resource.kind)).collect(),
            told: watch::Sender::new(Told::default()),
            over: AtomicBool::new(false),
        })
    }

    /// Ends what is told: Port has stopped the resync, or goes on with another.
    pub(crate) fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Waits until Port knows that an entry has begun, since raw data of it makes no sense before.
    ///
    /// # Errors
    /// Why Port does not want it.
    pub(crate) async fn begun(&self, resource: usize) -> Result<(), Problem> {
        let mut told = self.told.subscribe();
        let told =
            told.wait_for(|told| matches!(told.begun, Some(Err(_))) || told.kinds.contains_key(&resource));
        // The sender lives as long as `self`.
        let Ok(told) = told.await else { return Ok(()) };
        match (&told.begun, told.kinds.get(&resource)) {
            (Some(Err(problem)), _) | (_, Some(Err(problem))) => Err(problem.clone()),
            _ => Ok(()),
        }
    }

    /// Why Port did not take the begin of the resync, as far as that is known.
    pub(crate) fn refused(&self) -> Option<Problem> {
        self.told.borrow().begun.clone()?.err()
    }
}

/// Tells Port a step of the resync.
pub(crate) async fn milestone(port: &PortCatalog, milestone: &Milestone) -> Result<(), PortError> {
    let Some(lifecycle) = port.lifecycle().filter(|lifecycle| !lifecycle.over.load(Ordering::Relaxed)) else {
        return Ok(());
    };
    match milestone {
        Milestone::Planned => {
            let sent = begin(port, &lifecycle).await;
            let kept = sent.clone().map_err(PortError::into_problem);
            lifecycle.told.send_modify(|told| told.begun = Some(kept));
            sent
        }
        // Said once, when the resync began.
        _ if lifecycle.refused().is_some() => Ok(()),
        Milestone::ResourceStarted { resource } => {
            let sent = kind(port, &lifecycle, *resource, "started").await;
            let kept = sent.clone().map_err(PortError::into_problem);
            lifecycle.told.send_modify(|told| _ = told.kinds.insert(*resource, kept));
            sent
        }
        Milestone::ResourceEnded { resource, result } => {
            kind(port, &lifecycle, *resource, if result.is_whole() { "finished" } else { "failed" }).await
        }
        Milestone::DeletionStarted | Milestone::DeletionEnded { .. } => Ok(()),
    }
}

/// Tells Port how the resync ended.
pub(crate) async fn end(port: &PortCatalog, status: ResyncStatus) -> Result<(), PortError> {
    let Some(lifecycle) = port.lifecycle() else { return Ok(()) };
    // What Port does not know, or ended itself, it is not told the end of.
    let known = matches!(lifecycle.told.borrow().begun, Some(Ok(())));
    if lifecycle.over.swap(true, Ordering::Relaxed) || !known {
        return Ok(());
    }
    let config = &port.config;
    let whose = || Whose {
        integration_id: &config.integration_identifier,
        integration_type: &config.integration_type,
        integration_version: &config.integration_version,
        ocean_version: OCEAN_CORE_VERSION,
    };
    let body = match status {
        ResyncStatus::Completed => SyncEnded { status: "finished", whose: Some(whose()) },
        ResyncStatus::Failed => SyncEnded { status: "failed", whose: None },
        ResyncStatus::Aborted => SyncEnded { status: "aborted", whose: None },
    };
    tell(port, &lifecycle, "report the end of the resync's raw data", &[], &body).await
}

/// Looks, from time to time, whether somebody wants the resync stopped. Returns when so.
pub(crate) async fn watch(port: &PortCatalog) -> Problem {
    let Some(lifecycle) = port.lifecycle() else { return std::future::pending().await };
    loop {
        tokio::time::sleep(port.config.abort_poll).await;
        match status(port, &lifecycle).await {
            Ok(Some(status)) if status.eq_ignore_ascii_case("aborted") => {
                lifecycle.close();
                return Problem::new("it was aborted in Port");
            }
            Ok(_) => {}
            // The next look may find out.
            Err(error) => tracing::debug!(%error, "could not look whether the resync was aborted in Port"),
        }
    }
}

async fn status(port: &PortCatalog, lifecycle: &Lifecycle) -> Result<Option<String>, PortError> {
    let url = port.client.url(&["lifecycle", &lifecycle.id.to_string()])?;
    let call = Call::new("look whether the resync was aborted", Method::GET, url).once();
    // It is not known before it has begun.
    let Some(reply) = port.client.find(call).await? else { return Ok(None) };
    Ok(reply.json::<SyncReply>()?.status)
}

async fn begin(port: &PortCatalog, lifecycle: &Lifecycle) -> Result<(), PortError> {
    let config = &port.config;
    let body = SyncStarted {
        status: "started",
        integration_id: &config.integration_identifier,
        integration_type: &config.integration_type,
        integration_version: &config.integration_version,
        sync_type: "full_sync",
        ocean_version: OCEAN_CORE_VERSION,
        started_at: iso(port.resync_started().unwrap_or_else(|| port.client.clock.now())),
        mapping: &lifecycle.mapping,
        kind_identifiers: &lifecycle.kinds,
    };
    tell(port, lifecycle, "report the begin of the resync's raw data", &[], &body).await
}

async fn kind(
    port: &PortCatalog,
    lifecycle: &Lifecycle,
    resource: usize,
    status: &'static str,
) -> Result<(), PortError> {
    let Some(kind_identifier) = lifecycle.kinds.get(resource) else { return Ok(()) };
    let config = &port.config;
    let started = status == "started";
    let body = KindStatus {
        status,
        integration_version: &config.integration_version,
        ocean_version: OCEAN_CORE_VERSION,
        kind_identifier,
        integration_id: started.then_some(&config.integration_identifier),
        integration_type: (started || status == "finished").then_some(&config.integration_type),
        started_at: started.then(|| iso(port.client.clock.now())),
    };
    tell(port, lifecycle, "report a kind's raw data", &["kind"], &body).await
}

/// As in the contract: refusals count, silence does not.
async fn tell(
    port: &PortCatalog,
    lifecycle: &Lifecycle,
    name: &'static str,
    route: &[&str],
    body: &impl Serialize,
) -> Result<(), PortError> {
    let id = lifecycle.id.to_string();
    let url = port.client.url(&[&["lifecycle", id.as_str()], route].concat())?;
    let call = Call::new(name, Method::POST, url).retry(patience(port.config.retry)).json(body)?;
    // Its end is told when the resync is stopped, too.
    let call = if lifecycle.over.load(Ordering::Relaxed) { call.closing() } else { call };
    match port.client.send(call).await {
        Ok(_) => Ok(()),
        Err(error @ (PortError::Transport { .. } | PortError::Stopped { .. })) => {
            tracing::warn!(%error, "Port could not be told a step of the resync");
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The contract's, unless Port's other calls are to be less patient.
fn patience(all: RetryPolicy) -> RetryPolicy {
    RetryPolicy {
        retries: all.retries,
        base: all.base.min(Duration::from_millis(100)),
        cap: all.cap.min(Duration::from_mins(1)),
        timeout: all.timeout.min(Duration::from_secs(10)),
    }
}
