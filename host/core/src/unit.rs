//! Units: the smallest scope that Berth reads, reports, and protects from deletion.

use std::{fmt, sync::Arc};

use serde::Serialize;

use crate::{Account, AccountId, Kind, KindManifest, Problem, Region, ResourceConfig};

/// The place that a unit reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// No region: global kinds, and properties of the account itself.
    Global,
    /// One region.
    Region(Region),
}

impl Place {
    /// Returns the region, if the place is one.
    pub fn region(&self) -> Option<&Region> {
        match self {
            Self::Global => None,
            Self::Region(region) => Some(region),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.pad("global"),
            Self::Region(region) => f.pad(region.as_str()),
        }
    }
}

/// Identifies a unit: one account, one place, one entry of the app-config's `resources[]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct UnitId {
    /// The account that is read.
    pub account: AccountId,
    /// The place that is read. `None` if the regions of the account are unknown; the unit then stands for
    /// all of them.
    pub place: Option<Place>,
    /// The kind that is read.
    pub kind: Kind,
    /// The entry of `resources[]` that the unit reads for (a kind may be mapped several times).
    pub resource: usize,
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.account)?;
        match &self.place {
            Some(place) => write!(f, "{place} ")?,
            None => f.write_str("all regions ")?,
        }
        write!(f, "{}", self.kind)
    }
}

/// A planned unit, with everything that is needed to run it.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its id.
    pub id: UnitId,
    /// The account, with its name and partition.
    pub account: Arc<Account>,
    /// The regions to try, in order. A regional unit has exactly one; a global unit reads through the first
    /// region that does not deny access.
    pub regions: Vec<Region>,
    /// The kind's manifest.
    pub kind: Arc<KindManifest>,
    /// The app-config entry.
    pub resource: Arc<ResourceConfig>,
}

/// How a unit ended. Each unit ends in exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum UnitState {
    /// Everything was read and mapped: an entity in Port without a resource here no longer exists in AWS.
    Complete,
    /// Not read, for a reason that is not an error of Berth or AWS (for example, denied access).
    Skipped(Problem),
    /// Not read or mapped completely.
    Failed(Problem),
}

impl UnitState {
    /// Returns whether the unit's scope was read completely. Only then may anything in it be deleted.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }

    /// Returns why the unit did not complete.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Complete => None,
            Self::Skipped(problem) | Self::Failed(problem) => Some(problem),
        }
    }
}

/// Counts of one unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct UnitCounts {
    /// Raw resources read from AWS.
    pub fetched: u64,
    /// Entities that the mapping produced.
    pub mapped: u64,
    /// Resources that the selector excluded.
    pub filtered: u64,
    /// Entities created (or, in a plan, to be created): the catalog did not hold them for this integration.
    pub created: u64,
    /// Entities updated (or, in a plan, to be updated).
    pub updated: u64,
    /// Entities that the catalog already holds unchanged.
    pub unchanged: u64,
    /// Entities that the catalog rejected.
    pub refused: u64,
    /// Resources that could not be read or mapped.
    pub failed: u64,
    /// Resources without an entity, because the mapping returned no identifier or no blueprint.
    pub unmapped: u64,
    /// Resource documents that the catalog maps (or, in a plan, would map).
    pub documents: u64,
}

impl UnitCounts {
    /// Adds another unit's counts.
    pub fn add(&mut self, other: &Self) {
        self.fetched += other.fetched;
        self.mapped += other.mapped;
        self.filtered += other.filtered;
        self.created += other.created;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.refused += other.refused;
        self.failed += other.failed;
        self.unmapped += other.unmapped;
        self.documents += other.documents;
    }
}
