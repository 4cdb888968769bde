//! The organization's feature flags.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::Instant};

use crate::api::{client::PortClient, error::PortError};

/// The flags, cached for a while. Concurrent callers share one request.
pub(crate) struct FeatureFlags {
    ttl: Duration,
    known: Mutex<Option<(Instant, Arc<[String]>)>>,
}

impl FeatureFlags {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { ttl, known: Mutex::default() }
    }

    pub(crate) async fn get(&self, client: &PortClient) -> Result<Arc<[String]>, PortError> {
        // Held during the request, so that there is only one.
        let mut known = self.known.lock().await;
        if let Some((at, flags)) = &*known
            && at.elapsed() < self.ttl
        {
            return Ok(Arc::clone(flags));
        }
        let flags: Arc<[String]> = client.organization().await?.feature_flags.unwrap_or_default().into();
        *known = Some((Instant::now(), Arc::clone(&flags)));
        Ok(flags)
    }
}
