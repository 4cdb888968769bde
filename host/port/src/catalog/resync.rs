//! A resync as Port sees it, from start to end.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use berth_core::{
    BegunResync, CatalogError, CatalogInfo, CatalogSession, Document, DocumentBatch, DocumentsError, Kind,
    Milestone, Problem, Processing, ResyncStart, ResyncStatus,
};
use uuid::Uuid;

use super::{
    examples::ExampleCollector,
    heartbeat, ingest,
    lifecycle::Lifecycle,
    metrics::{self, Receiver, ReportedMapping, ResyncMetrics},
    outage,
    parts::Parts,
    phases,
    raw::RawBuffers,
    reporter,
    session::{PortSession, Writes},
    start_time::StartTime,
};
use crate::api::{entities::WriteOrigin, error::PortError};

/// A resync that has not started. It has its ID and, if there is to be raw data, its buffers.
pub(crate) struct PreparedResync {
    resync: Uuid,
    /// The resource mappings of the app-config.
    entries: Arc<[ReportedMapping]>,
    /// The raw data of the resync, if there is any.
    raw: Option<RawBuffers>,
    /// Reports a resync whose raw data Port maps.
    lifecycle: Option<Arc<Lifecycle>>,
    started: Arc<StartTime>,
}

/// A running resync.
pub(crate) struct ActiveResync {
    origin: WriteOrigin,
    entries: Arc<[ReportedMapping]>,
    raw: Option<RawBuffers>,
    lifecycle: Option<Arc<Lifecycle>>,
    examples: ExampleCollector,
    metrics: ResyncMetrics,
}

impl PreparedResync {
    /// Prepares the raw data of a resync, if there is to be any. `named` is the address that Port names for
    /// it.
    ///
    /// # Errors
    /// [`PortError`] if Port is to map it, and it cannot be sent.
    pub(crate) fn new(parts: &Parts, info: &mut CatalogInfo, named: Option<&str>) -> Result<Self, PortError> {
        let mut prepared = Self {
            resync: Uuid::new_v4(),
            entries: metrics::entries(&info.config),
            raw: None,
            lifecycle: None,
            started: Arc::default(),
        };
        if info.processing == Processing::Entities {
            return Ok(prepared);
        }
        let Parts { client, config, .. } = parts;
        let address = match ingest::raw_address(config, named) {
            Ok(address) => address,
            Err(problem) => {
                without_raw_data(info, problem)?;
                return Ok(prepared);
            }
        };
        let resync = prepared.resync;
        let started = || Arc::clone(&prepared.started);
        let mut lifecycle = None;
        if info.processing == Processing::Documents {
            let (client, config) = (Arc::clone(client), Arc::clone(config));
            lifecycle = Some(Arc::new(Lifecycle::new(resync, &info.config, started(), client, config)?));
        }
        let raw = RawBuffers::new(resync, address, parts.raw_sender(), started(), lifecycle.clone());
        prepared.raw = Some(raw);
        prepared.lifecycle = lifecycle;
        Ok(prepared)
    }
}

/// Continues without raw data if its address is unusable, unless Port is to map it.
fn without_raw_data(info: &mut CatalogInfo, problem: Problem) -> Result<(), PortError> {
    if info.processing == Processing::Documents {
        return Err(PortError::Other(problem.remedy(
            "Set OCEAN__PROCESSING_MODE=ocean-core, so that Berth maps by itself, and report this to \
                Port.",
        )));
    }
    // Entities must not be affected.
    info.notes.push(format!("Berth writes no raw data: {problem}"));
    info.processing = Processing::Entities;
    Ok(())
}

#[async_trait]
impl ResyncStart for PortSession<PreparedResync> {
    async fn begin(self: Box<Self>, started: SystemTime) -> BegunResync {
        let Parts { config, client, addresses, state, .. } = &self.parts;
        let PreparedResync { resync, .. } = self.work;
        self.work.started.set(client.clock.convert(started));
        state.set_running(Some(resync));
        let reported = reporter::report_begin(client, config, started).await;
        let mut opened = self.opened;
        if let Ok(begun) = reported {
            state.set_begun(begun);
            if let Some(begun) = begun
                && client.clock.learn_stamp(begun, SystemTime::now())
            {
                // Without a `Date` header, nothing else gives Port's time.
                opened = begun;
            }
        }
        let receiver = Receiver {
            client: Arc::clone(client),
            ingest: addresses.metrics(),
            webhook: config.metrics_webhook.clone(),
            resync,
        };
        let metrics = ResyncMetrics::begin(receiver, config, &self.work.entries);
        let origin = WriteOrigin { event_type: config.event_type, resync };
        let examples = ExampleCollector::new(Arc::clone(client), Arc::clone(config));
        let mut session = self.with_work(|PreparedResync { entries, raw, lifecycle, .. }| ActiveResync {
            origin,
            entries,
            raw,
            lifecycle,
            examples,
            metrics,
        });
        session.opened = opened;
        let session = Arc::new(session);
        session.parts.state.set_session(Arc::clone(&session) as Arc<dyn CatalogSession>);
        BegunResync { session, reported: reported.map(drop).map_err(CatalogError::from) }
    }
}

impl Writes for ActiveResync {
    fn origin(&self) -> WriteOrigin {
        self.origin
    }
}

#[async_trait]
impl CatalogSession for PortSession<ActiveResync> {
    async fn watch_for_abort(&self) -> Problem {
        let aborted = async {
            match &self.work.lifecycle {
                Some(lifecycle) => lifecycle.watch().await,
                None => std::future::pending().await,
            }
        };
        let Parts { client, config, addresses, state, .. } = &self.parts;
        let running = || state.running();
        let interval: Duration = config.heartbeat_interval;
        tokio::select! {
            biased;
            problem = aborted => problem,
            problem = outage::watch(client, config.outage) => problem,
            never = heartbeat::beat(client, addresses, running, interval) => match never {},
        }
    }

    async fn milestone(&self, milestone: &Milestone) -> Result<(), CatalogError> {
        let ActiveResync { entries, lifecycle, metrics, .. } = &self.work;
        phases::log(entries, milestone);
        let Some(lifecycle) = lifecycle else {
            metrics.milestone(milestone, Processing::Entities);
            return Ok(());
        };
        metrics.milestone(milestone, Processing::Documents);
        Ok(lifecycle.milestone(milestone).await?)
    }

    async fn documents(&self, batch: DocumentBatch) -> Result<(), DocumentsError> {
        match &self.work.raw {
            Some(raw) => raw.add(batch).await,
            None => Ok(()),
        }
    }

    async fn documents_end(&self, resource: usize) -> Result<(), DocumentsError> {
        match &self.work.raw {
            Some(raw) => raw.end(resource).await,
            None => Ok(()),
        }
    }

    async fn examples(&self, kind: &Kind, documents: &[Document]) -> Result<(), CatalogError> {
        Ok(self.work.examples.add(kind, documents).await?)
    }

    async fn end(self: Arc<Self>, status: ResyncStatus) -> Result<(), CatalogError> {
        let ActiveResync { lifecycle, examples, metrics, .. } = &self.work;
        let Parts { client, config, state, .. } = &self.parts;
        if status != ResyncStatus::Aborted {
            examples.finish().await;
        }
        let ended = match lifecycle {
            Some(lifecycle) => lifecycle.end(status).await,
            None => Ok(()),
        };
        // A resync that Port's processor does not know is not complete.
        let status =
            if ended.is_err() && status == ResyncStatus::Completed { ResyncStatus::Failed } else { status };
        let closing = metrics.settle(status).await;
        let reported = reporter::report_end(client, config, status).await;
        if let Some(closing) = closing {
            closing.conclude(status).await;
        }
        state.set_running(None);
        reported?;
        Ok(ended?)
    }
}
