//! When Port is away for too long, a resync ends.

use std::time::Duration;

use berth_core::Problem;

use crate::PortCatalog;

/// How often it is looked whether Port is still away.
const LOOK: Duration = Duration::from_secs(1);

/// Returns when nothing that was sent to Port has succeeded for
/// [`outage`](crate::PortConfig::outage). Requests end from then on.
pub(crate) async fn watch(port: &PortCatalog) -> Problem {
    loop {
        tokio::time::sleep(LOOK.min(port.config.outage)).await;
        if let Some(silent) = port.client.outage() {
            port.client.stop().ask(Duration::ZERO);
            let problem = format!("Port has not answered one request for {} s", silent.as_secs());
            return Problem::new(problem).remedy(
                "Run the sync again later; Port's state is shown at https://status.port.io. `outage_seconds` says \
                 how long a resync goes on without an answer.",
            );
        }
    }
}
