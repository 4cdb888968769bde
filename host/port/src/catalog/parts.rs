//! What all work with one Port shares.

use std::sync::Arc;

use super::{
    flags::FeatureFlags, ingest::IngestAddresses, installation::Installation, ownership::DataSource,
    process_state::ProcessState, raw::RawSender,
};
use crate::{PortConfig, api::client::PortClient};

/// The shared state of all resyncs of a process, or of all its live events.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) config: Arc<PortConfig>,
    pub(crate) client: Arc<PortClient>,
    pub(crate) flags: Arc<FeatureFlags>,
    pub(crate) addresses: Arc<IngestAddresses>,
    pub(crate) state: Arc<ProcessState>,
    pub(crate) data_source: Arc<DataSource>,
}

impl Parts {
    pub(crate) fn installation(&self) -> Installation<'_> {
        Installation {
            client: &self.client,
            config: &self.config,
            flags: &self.flags,
            addresses: &self.addresses,
            data_source: &self.data_source,
            state: &self.state,
        }
    }

    pub(crate) fn raw_sender(&self) -> RawSender {
        RawSender::new(Arc::clone(&self.client), Arc::clone(&self.config))
    }
}
