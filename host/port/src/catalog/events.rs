//! Writes of live events. Port records that an external request caused them, not a resync.

use async_trait::async_trait;
use berth_core::{CatalogError, EventDocuments, EventSession, Kind};
use url::Url;
use uuid::Uuid;

use super::{
    ingest,
    session::{PortSession, Writes},
};
use crate::{
    EventType,
    api::{entities::WriteOrigin, error::PortError},
};

/// Live events.
pub(crate) struct Following;

impl Writes for Following {
    fn origin(&self) -> WriteOrigin {
        WriteOrigin { event_type: EventType::HttpRequest, resync: Uuid::nil() }
    }
}

#[async_trait]
impl EventSession for PortSession<Following> {
    async fn documents(&self, kind: &Kind, documents: &[EventDocuments]) -> Result<(), CatalogError> {
        let address: Url =
            ingest::raw_address(&self.parts.config, self.parts.addresses.raw_data().as_deref())
                .map_err(PortError::Other)?;
        Ok(self.parts.raw_sender().send_event(&address, kind, documents).await?)
    }
}
