//! The state of a resync in Port: `resyncState`.

use std::time::SystemTime;

use berth_core::ResyncStatus;

use crate::{
    PortConfig,
    api::{
        client::PortClient,
        error::PortError,
        integrations::{ResyncEnded, ResyncStarted, ResyncState},
        values::iso,
    },
};

/// Reports the start of a resync. Returns when Port recorded it, if Port says so.
pub(crate) async fn report_begin(
    client: &PortClient,
    config: &PortConfig,
    started: SystemTime,
) -> Result<Option<SystemTime>, PortError> {
    let state = ResyncState::Started(ResyncStarted {
        status: "running",
        last_resync_end: None,
        last_resync_start: iso(started),
        next_resync: next_resync(config),
        interval_in_minutes: interval(config),
    });
    client.report_resync_state(&config.integration_identifier, &state).await
}

/// Reports the end of a resync.
pub(crate) async fn report_end(
    client: &PortClient,
    config: &PortConfig,
    status: ResyncStatus,
) -> Result<(), PortError> {
    let status = match status {
        ResyncStatus::Completed => "completed",
        ResyncStatus::Failed => "failed",
        ResyncStatus::Aborted => "aborted",
    };
    tracing::info!("Resync {status}");
    let state = ResyncState::Ended(ResyncEnded {
        status,
        last_resync_end: iso(SystemTime::now()),
        next_resync: next_resync(config),
        interval_in_minutes: interval(config),
    });
    client.report_resync_state(&config.integration_identifier, &state).await.map(drop)
}

fn next_resync(config: &PortConfig) -> Option<String> {
    config.schedule.map(|schedule| iso(schedule.next(SystemTime::now())))
}

fn interval(config: &PortConfig) -> Option<u32> {
    config.schedule.map(|schedule| schedule.interval_minutes)
}
