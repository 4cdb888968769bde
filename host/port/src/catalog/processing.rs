//! Who maps what is read: Berth, or Port itself from raw data.

use berth_core::Processing;

use super::flags::FeatureFlags;
use crate::{
    PortConfig, ProcessingMode,
    api::{client::PortClient, error::PortError},
};

/// The flag of organizations that accept raw data, and that of those whose raw data Port can map.
const TAKES_RAW_DATA: &str = "LAKEHOUSE_ELIGIBLE";
const MAPS_RAW_DATA: &str = "DATA_SOURCE_PROCESSOR_ENABLED";

/// Returns who maps; reads the flags only if they matter.
pub(crate) async fn of(
    config: &PortConfig,
    flags: &FeatureFlags,
    client: &PortClient,
) -> Result<Processing, PortError> {
    if !config.raw_data.enabled {
        return Ok(Processing::Entities);
    }
    Ok(decide(config, &flags.get(client).await?))
}

/// Returns who maps: the setting, if the organization supports it.
pub(crate) fn decide(config: &PortConfig, flags: &[String]) -> Processing {
    let has = |flag: &str| flags.iter().any(|found| found == flag);
    if !config.raw_data.enabled || !has(TAKES_RAW_DATA) {
        Processing::Entities
    } else if config.processing_mode == ProcessingMode::Dsp && has(MAPS_RAW_DATA) {
        Processing::Documents
    } else {
        Processing::EntitiesAndDocuments
    }
}

/// Returns the mode that Port shows: the actual one, whatever the settings say. Without the flags, an
/// organization would otherwise show a mode that is not used.
pub(crate) fn mode(processing: Processing) -> &'static str {
    match processing {
        Processing::Documents => ProcessingMode::Dsp.as_str(),
        Processing::Entities | Processing::EntitiesAndDocuments => ProcessingMode::OceanCore.as_str(),
    }
}
