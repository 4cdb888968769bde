//! Signs of life: Port gives up a resync that it has not heard of for some ten minutes.

use std::{convert::Infallible, time::Duration};

use reqwest::Method;

use crate::{PortCatalog, client::Call, error::PortError, ingest, wire::reporting::Heartbeat};

/// How long one may take. A late one is no better than none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells Port again and again that the resync is alive, as long as the future is polled. Nothing is
/// told to a Port that names no address for it.
pub(crate) async fn beat(port: &PortCatalog) -> Infallible {
    let mut failing = false;
    loop {
        tokio::time::sleep(port.config.heartbeat_interval).await;
        match once(port).await {
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

async fn once(port: &PortCatalog) -> Result<(), PortError> {
    let (Some(base), Some(resync)) = (port.ingest.metrics(), port.running()) else { return Ok(()) };
    let call = Call::new("send a sign of life", Method::POST, ingest::below(&base, &["heartbeat"])?)
        .json(&Heartbeat { event_id: resync.to_string() })?;
    port.client.tell(&call, PATIENCE).await
}
