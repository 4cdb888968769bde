//! Heartbeats: Port gives up a resync that sends none for some ten minutes.

use std::{convert::Infallible, time::Duration};

use uuid::Uuid;

use super::ingest::IngestAddresses;
use crate::api::{client::Client, error::PortError};

/// How long one may take. A late one is no better than none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends heartbeats of a resync as long as the future is polled; none to a Port that names no address
/// for them.
pub(crate) async fn beat(
    client: &Client,
    addresses: &IngestAddresses,
    resync: impl Fn() -> Option<Uuid>,
    interval: Duration,
) -> Infallible {
    let mut failing = false;
    loop {
        tokio::time::sleep(interval).await;
        match once(client, addresses, resync()).await {
            Ok(()) => failing = false,
            // Once, not each time: an endpoint that is down is down for a while.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(%error, "Port does not take the resync's sign of life");
            }
            Err(error) => tracing::debug!(%error, "Port still does not take the resync's sign of life"),
        }
    }
}

async fn once(client: &Client, addresses: &IngestAddresses, resync: Option<Uuid>) -> Result<(), PortError> {
    let (Some(base), Some(resync)) = (addresses.metrics(), resync) else { return Ok(()) };
    client.send_heartbeat(&base, resync, PATIENCE).await
}
