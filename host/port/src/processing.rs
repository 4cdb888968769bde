//! Who maps what is read: Berth, or Port itself from raw data.

use berth_core::Processing;

use crate::{PortCatalog, ProcessingMode, error::PortError};

/// The flag of organizations that take raw data, and that of those whose raw data Port can map.
const TAKES_RAW_DATA: &str = "LAKEHOUSE_ELIGIBLE";
const MAPS_RAW_DATA: &str = "DATA_SOURCE_PROCESSOR_ENABLED";

/// Who maps; asks for the flags only where they matter.
pub(crate) async fn of(port: &PortCatalog) -> Result<Processing, PortError> {
    if !port.config.raw_data.enabled {
        return Ok(Processing::Entities);
    }
    Ok(decide(port, &port.flags().await?))
}

/// Who maps: what the settings want, as far as the organization has it.
pub(crate) fn decide(port: &PortCatalog, flags: &[String]) -> Processing {
    let has = |flag: &str| flags.iter().any(|found| found == flag);
    if !port.config.raw_data.enabled || !has(TAKES_RAW_DATA) {
        Processing::Entities
    } else if port.config.processing_mode == ProcessingMode::Dsp && has(MAPS_RAW_DATA) {
        Processing::Documents
    } else {
        Processing::EntitiesAndDocuments
    }
}

/// What Port is told of it: what is really done, whatever the settings want. An organization without
/// the flags would else show a mode that its entities do not come by.
pub(crate) fn mode(processing: Processing) -> &'static str {
    match processing {
        Processing::Documents => ProcessingMode::Dsp.as_str(),
        Processing::Entities | Processing::EntitiesAndDocuments => ProcessingMode::OceanCore.as_str(),
    }
}
