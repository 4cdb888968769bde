//! Units: the smallest scope that is read, reported, and protected from deletion.

use std::{fmt, sync::Arc};

use serde::Serialize;

use crate::{Account, AccountId, Kind, KindManifest, Problem, Region, ResourceConfig};

/// Where a unit reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// Not bound to a region: global kinds and facts about the account itself.
    Global,
    /// One region.
    Region(Region),
}

impl Place {
    /// The region, if the place is one.
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

/// Names a unit: one account, one place, one entry of the app-config's `resources[]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct UnitId {
    /// The account that is read.
    pub account: AccountId,
    /// Where it is read. `None` when the regions of the account could not be told, so that the
    /// unit stands for all of them.
    pub place: Option<Place>,
    /// The kind that is read.
    pub kind: Kind,
    /// Which entry of `resources[]` asked for it (a kind may be mapped several times).
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

/// A unit as planned: everything that is needed to run it.
#[derive(Debug, Clone)]
pub struct Unit {
    /// Its name.
    pub id: UnitId,
    /// The account, with its name and partition.
    pub account: Arc<Account>,
    /// Regions to try, in order. A regional unit has exactly one; a global one reads through the
    /// first that does not deny access.
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
    /// Everything was read and mapped: what Port holds beyond it is gone in AWS.
    Complete,
    /// Not read, for a reason that is not an error of Berth or AWS (denied, for example).
    Skipped(Problem),
    /// Could not be read or mapped completely.
    Failed(Problem),
}

impl UnitState {
    /// Whether the unit's scope was read completely. Only then may anything in it be deleted.
    pub fn is_complete(&self) -> bool {
        matches!(self, Self::Complete)
    }

    /// The reason of a unit that did not complete.
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
    /// Entities that the mapping made of them.
    pub mapped: u64,
    /// Resources that the selector left out.
    pub filtered: u64,
    /// Entities that the catalog did not hold for this integration, written (or, in a plan, to be).
    pub created: u64,
    /// Entities updated (or, in a plan, that would be).
    pub updated: u64,
    /// Entities that the catalog holds already.
    pub unchanged: u64,
    /// Entities that the catalog refused.
    pub refused: u64,
    /// Resources that could not be read or mapped.
    pub failed: u64,
    /// Resources that became no entity, because the mapping gave them no identifier or no blueprint.
    pub unmapped: u64,
    /// Resource documents for the catalog to map (or, in a plan, that would be).
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
