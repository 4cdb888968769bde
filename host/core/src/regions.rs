//! Which regions of an account a resync reads.

use std::collections::BTreeSet;

use crate::Region;

/// What a resync knows of the regions that it wants, before it knows which are enabled.
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
    /// Those that are enabled, as AWS lists them.
    Listed(Vec<Region>),
    /// Those that the entries of `resources[]` allow by name, since AWS denies access to the list. Some may
    /// not be enabled. That a region is not among them proves nothing.
    Assumed(Vec<Region>),
}

impl EnabledRegions {
    /// The regions, whoever named them.
    pub fn regions(&self) -> &[Region] {
        match self {
            Self::Listed(regions) | Self::Assumed(regions) => regions,
        }
    }

    /// Whether AWS did not list them.
    pub fn is_assumed(&self) -> bool {
        matches!(self, Self::Assumed(_))
    }
}
