//! Heartbeats: Port aborts a resync that sends none for about ten minutes.

use std::{convert::Infallible, time::Duration};

use uuid::Uuid;

use super::ingest::IngestAddresses;
use crate::api::{client::PortClient, error::PortError};

/// The timeout of a heartbeat. A late one is useless.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends heartbeats of a resync as long as the future is polled; sends none if Port names no address for
/// them.
pub(crate) async fn beat(
    client: &PortClient,
    addresses: &IngestAddresses,
    resync: impl Fn() -> Option<Uuid>,
    interval: Duration,
) -> Infallible {
    let mut failing = false;
    loop {
        tokio::time::sleep(interval).await;
        match once(client, addresses, resync()).await {
            Ok(()) => failing = false,
            // Logged once, not each time: an endpoint that is down stays down for a while.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "Port rejected the heartbeat");
            }
            Err(error) => tracing::debug!(%error, "Port still rejects the heartbeat"),
        }
    }
}

async fn once(
    client: &PortClient,
    addresses: &IngestAddresses,
    resync: Option<Uuid>,
) -> Result<(), PortError> {
    let (Some(base), Some(resync)) = (addresses.metrics(), resync) else { return Ok(()) };
    client.send_heartbeat(&base, resync, PATIENCE).await
}
