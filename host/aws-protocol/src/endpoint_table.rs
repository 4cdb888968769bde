//! The endpoints of a service, as its model lists them.

use std::collections::BTreeMap;

use berth_core::Partition;
use serde::Deserialize;

/// A service's endpoints by partition.
pub(crate) type EndpointTable = BTreeMap<Partition, Variants>;

/// The endpoints for each combination of options.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Variants {
    pub(crate) plain: Rows,
    pub(crate) fips: Rows,
    pub(crate) dual: Rows,
    pub(crate) fips_dual: Rows,
}

/// The row of most regions, and of those that botocore did not know when the table was generated, and the
/// rows of the other regions.
#[derive(Debug, Deserialize)]
pub(crate) struct Rows {
    pub(crate) default: Option<EndpointRow>,
    #[serde(default)]
    pub(crate) regions: BTreeMap<String, Option<EndpointRow>>,
}

/// The URL with `{region}` for the region, the signing region and the signing name; empty for the region
/// itself and the service's own signing name.
#[derive(Debug, Deserialize)]
pub(crate) struct EndpointRow(pub(crate) String, pub(crate) String, pub(crate) String);
