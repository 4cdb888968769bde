//! Ends a resync when Port is unreachable for too long.

use std::time::Duration;

use berth_core::{Problem, ProblemCode};

use crate::api::client::Client;

/// How often the outage is checked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Returns when no request to Port has succeeded for `limit`. Requests end from then on.
pub(crate) async fn watch(client: &Client, limit: Duration) -> Problem {
    loop {
        tokio::time::sleep(INTERVAL.min(limit)).await;
        if let Some(silent) = client.outage() {
            client.stop().ask(Duration::ZERO);
            let problem = format!("Port has not answered one request for {} s", silent.as_secs());
            return Problem::new(ProblemCode::PortUnavailable, problem).remedy(
                "Run the sync again later; Port's state is shown at https://status.port.io. `outage_seconds` says \
                 how long a resync goes on without an answer.",
            );
        }
    }
}
