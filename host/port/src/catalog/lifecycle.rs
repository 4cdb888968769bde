//! The lifecycle of a resync whose raw data Port maps itself: Port learns when the resync and each kind start
//! and end, and may abort it.
//!
//! Port deletes by these reports: whatever a `finished` kind did not send counts as gone. Ocean reports every
//! resync as `finished`, whatever happened to its kinds, and silently leaves out regions and accounts. Berth
//! reports a kind as `finished` only if all its units were read to the end and all their documents arrived,
//! and the resync only if all its kinds are. Otherwise they are `failed`: at worst entities then stay until
//! the next successful resync, while `finished` could delete some whose resources still exist.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use berth_core::{AppConfig, Milestone, Problem, ProblemCode, ResyncStatus};
use serde_json::Value;
use tokio::sync::watch;
use uuid::Uuid;

use super::start_time::StartTime;
use crate::{
    OCEAN_CORE_VERSION, PortConfig, RetryPolicy,
    api::{
        client::PortClient,
        error::PortError,
        lifecycle::{KindStatus, LifecycleReport, SyncEnded, SyncStarted, Whose, listed_mappings},
        values::iso,
    },
};

/// The lifecycle of one resync.
pub(crate) struct Lifecycle {
    client: Arc<PortClient>,
    config: Arc<PortConfig>,
    id: Uuid,
    started: Arc<StartTime>,
    /// The app-config in the form for Port's mapping.
    mapping: Value,
    /// The name of each resource mapping.
    kinds: Vec<String>,
    reported: watch::Sender<Reported>,
    /// Port wants no more reports.
    over: AtomicBool,
}

/// What was reported, and whether Port accepted it.
#[derive(Default)]
struct Reported {
    begun: Option<Result<(), Problem>>,
    kinds: BTreeMap<usize, Result<(), Problem>>,
}

impl Lifecycle {
    pub(crate) fn new(
        id: Uuid,
        app_config: &AppConfig,
        started: Arc<StartTime>,
        client: Arc<PortClient>,
        config: Arc<PortConfig>,
    ) -> Result<Self, PortError> {
        let mapping = listed_mappings(app_config).map_err(|error| {
            PortError::Other(Problem::new(
                ProblemCode::MappingInvalid,
                format!("the mapping is not JSON: {error}"),
            ))
        })?;
        let kinds = app_config.resources.iter().enumerate();
        Ok(Self {
            client,
            config,
            id,
            started,
            mapping,
            kinds: kinds.map(|(index, resource)| format!("{}-{index}", resource.kind)).collect(),
            reported: watch::Sender::new(Reported::default()),
            over: AtomicBool::new(false),
        })
    }

    /// Ends the reports: Port has stopped the resync, or continues with another one.
    pub(crate) fn close(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Waits until Port knows that a resource mapping has started, because its raw data is only valid after
    /// that.
    ///
    /// # Errors
    /// Why Port rejected it.
    pub(crate) async fn begun(&self, resource: usize) -> Result<(), Problem> {
        let mut reported = self.reported.subscribe();
        let reported = reported.wait_for(|reported| {
            matches!(reported.begun, Some(Err(_))) || reported.kinds.contains_key(&resource)
        });
        // The sender lives as long as `self`.
        let Ok(reported) = reported.await else { return Ok(()) };
        match (&reported.begun, reported.kinds.get(&resource)) {
            (Some(Err(problem)), _) | (_, Some(Err(problem))) => Err(problem.clone()),
            _ => Ok(()),
        }
    }

    /// Returns why Port rejected the start of the resync, if known.
    pub(crate) fn refused(&self) -> Option<Problem> {
        self.reported.borrow().begun.clone()?.err()
    }

    /// Reports a step of the resync.
    pub(crate) async fn milestone(&self, milestone: &Milestone) -> Result<(), PortError> {
        if self.is_over() {
            return Ok(());
        }
        match milestone {
            Milestone::Planned => {
                let sent = self.report_begin().await;
                let kept = sent.clone().map_err(PortError::into_problem);
                self.reported.send_modify(|reported| reported.begun = Some(kept));
                sent
            }
            // Already reported when the resync started.
            _ if self.refused().is_some() => Ok(()),
            Milestone::ResourceStarted { resource } => {
                let sent = self.report_kind(*resource, "started").await;
                let kept = sent.clone().map_err(PortError::into_problem);
                self.reported.send_modify(|reported| _ = reported.kinds.insert(*resource, kept));
                sent
            }
            Milestone::ResourceEnded { resource, result } => {
                let status = if result.is_whole() { "finished" } else { "failed" };
                self.report_kind(*resource, status).await
            }
            Milestone::DeletionStarted | Milestone::DeletionEnded { .. } => Ok(()),
        }
    }

    /// Reports how the resync ended.
    pub(crate) async fn end(&self, status: ResyncStatus) -> Result<(), PortError> {
        // Port needs no end of a resync that it does not know, or has ended itself.
        let known = matches!(self.reported.borrow().begun, Some(Ok(())));
        if self.over.swap(true, Ordering::Relaxed) || !known {
            return Ok(());
        }
        let config = &self.config;
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
        self.report(&LifecycleReport::Ended(body)).await
    }

    /// Checks regularly whether someone aborted the resync. Returns when so.
    pub(crate) async fn watch(&self) -> Problem {
        loop {
            tokio::time::sleep(self.config.abort_poll).await;
            match self.client.lifecycle_status(self.id).await {
                Ok(Some(status)) if status.eq_ignore_ascii_case("aborted") => {
                    self.close();
                    return Problem::new(ProblemCode::ResyncStopped, "it was aborted in Port");
                }
                // Port does not know it before it has started.
                Ok(_) => {}
                // The next check may succeed.
                Err(error) => {
                    tracing::debug!(%error, "could not check whether the resync was aborted in Port");
                }
            }
        }
    }

    async fn report_begin(&self) -> Result<(), PortError> {
        let config = &self.config;
        let body = SyncStarted {
            status: "started",
            integration_id: &config.integration_identifier,
            integration_type: &config.integration_type,
            integration_version: &config.integration_version,
            sync_type: "full_sync",
            ocean_version: OCEAN_CORE_VERSION,
            started_at: iso(self.started.get().unwrap_or_else(|| self.client.clock.now())),
            mapping: &self.mapping,
            kind_identifiers: &self.kinds,
        };
        self.report(&LifecycleReport::Started(body)).await
    }

    async fn report_kind(&self, resource: usize, status: &'static str) -> Result<(), PortError> {
        let Some(kind_identifier) = self.kinds.get(resource) else { return Ok(()) };
        let config = &self.config;
        let started = status == "started";
        let body = KindStatus {
            status,
            integration_version: &config.integration_version,
            ocean_version: OCEAN_CORE_VERSION,
            kind_identifier,
            integration_id: started.then_some(&config.integration_identifier),
            integration_type: (started || status == "finished").then_some(&config.integration_type),
            started_at: started.then(|| iso(self.client.clock.now())),
        };
        self.report(&LifecycleReport::Kind(body)).await
    }

    /// As in the contract: refusals count, missing responses do not.
    async fn report(&self, report: &LifecycleReport<'_>) -> Result<(), PortError> {
        // The end is also reported if the resync is stopped.
        let retry = patience(self.config.retry);
        match self.client.report_lifecycle(self.id, report, retry, self.is_over()).await {
            Err(error @ (PortError::Transport { .. } | PortError::Stopped { .. })) => {
                tracing::warn!(%error, "cannot report a step of the resync to Port");
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Returns the contract's patience, unless Port's other calls are less patient.
fn patience(all: RetryPolicy) -> RetryPolicy {
    RetryPolicy {
        retries: all.retries,
        base: all.base.min(Duration::from_millis(100)),
        cap: all.cap.min(Duration::from_mins(1)),
        timeout: all.timeout.min(Duration::from_secs(10)),
    }
}
