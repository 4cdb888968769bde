//! Ends a resync when Port is unreachable for too long.

use std::time::Duration;

use berth_core::{Problem, ProblemCode};

use crate::api::client::PortClient;

/// How often the outage is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Returns when no request to Port has succeeded for `limit`. Requests end from then on.
pub(crate) async fn watch(client: &PortClient, limit: Duration) -> Problem {
    loop {
        tokio::time::sleep(INTERVAL.min(limit)).await;
        if let Some(silent) = client.outage() {
            client.stop().ask(Duration::ZERO);
            let problem = format!("Port has not responded to any request for {} s", silent.as_secs());
            return Problem::new(ProblemCode::PortUnavailable, problem).remedy(
                "Run the sync again later; see Port's status at https://status.port.io. `outage_seconds` \
                sets how long a resync continues without a response.",
            );
        }
    }
}
