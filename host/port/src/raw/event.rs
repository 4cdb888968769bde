//! Raw data of resources that live events named.

use berth_core::{EventDocuments, Kind};
use uuid::Uuid;

use super::{Write, entry, send_batches};
use crate::{
    PortCatalog,
    error::PortError,
    upsert::{BODY_LIMIT, batches},
};

/// Writes documents, in few requests.
pub(crate) async fn send(
    port: &PortCatalog,
    kind: &Kind,
    documents: &[EventDocuments],
) -> Result<(), PortError> {
    let address = port.raw_address(port.ingest.raw_data().as_deref()).map_err(PortError::Other)?;
    let entries = documents.iter().map(|of_resource| {
        let EventDocuments { resource, config, gone, documents } = of_resource;
        entry(port, config, *resource, documents, if *gone { "delete" } else { "upsert" })
    });
    let entries = entries.collect::<Result<Vec<_>, _>>().map_err(PortError::Other)?;
    let lengths: Vec<usize> = entries.iter().map(|entry| entry.get().len()).collect();
    let mut entries = entries.into_iter();
    for range in batches(&lengths, port.config.raw_data.flush_batches, BODY_LIMIT) {
        let event = Uuid::new_v4();
        let write =
            Write { address: &address, sync: event, event: Some(event), started: None, kind: kind.as_str() };
        send_batches(port, &write, entries.by_ref().take(range.len()).collect()).await?;
    }
    Ok(())
}
