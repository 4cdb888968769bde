//! The regions of an account that a resync reads.

use std::collections::BTreeSet;

use crate::Region;

/// The regions that the mapping asks for, collected before the enabled regions are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionHints {
    /// The regions that entries of `resources[]` allow by name (`regionPolicy.allow`), without those that
    /// the same entry denies.
    pub allowed: BTreeSet<Region>,
    /// Whether every entry allows regions by name, so that no other region is read.
    pub complete: bool,
}

/// The regions of an account that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnabledRegions {
    /// The enabled regions, as AWS lists them.
    Listed(Vec<Region>),
    /// The regions that the entries of `resources[]` allow by name, because AWS denies access to the list.
    /// Some may not be enabled. A region that is not among them may still exist.
    Assumed(Vec<Region>),
}

impl EnabledRegions {
    /// Returns the regions, independent of their origin.
    pub fn regions(&self) -> &[Region] {
        match self {
            Self::Listed(regions) | Self::Assumed(regions) => regions,
        }
    }

    /// Returns whether AWS did not list the regions.
    pub fn is_assumed(&self) -> bool {
        matches!(self, Self::Assumed(_))
    }
}
