//! The input and output of the rules: facts of a resync, stale entities, decisions. Plain data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use berth_core::{
    AccountId, BlueprintId, EntityKey, Kind, MissingScopes, Producers, Region, RemovedScope, Scope, UnitId,
};
use serde::Serialize;

use super::{AttributionRules, part::Part};

/// What a unit proves about the entities that it did not produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It read everything, and every resource became an entity or was excluded by the selector.
    Complete,
    /// It did not read everything.
    Incomplete,
    /// It read everything, but this many resources became no entity: each may be any of the entities that the
    /// unit produced before.
    Unmapped(u64),
}

/// The units of a resync, by position, and what each proves.
pub trait Units {
    /// Returns the number of units.
    fn count(&self) -> usize;
    /// Returns the name of a unit.
    fn id(&self, position: usize) -> &UnitId;
    /// Returns what a unit proves.
    fn proof(&self, position: usize) -> Proof;
}

impl Units for Vec<(UnitId, Proof)> {
    fn count(&self) -> usize {
        self.len()
    }

    fn id(&self, position: usize) -> &UnitId {
        &self[position].0
    }

    fn proof(&self, position: usize) -> Proof {
        self[position].1
    }
}

/// An account of the resync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountScope {
    /// Its enabled regions; `None` if unknown.
    pub regions: Option<BTreeSet<Region>>,
    /// The region of its partition's services that are not bound to a region.
    pub main_region: Region,
}

/// A resource mapping, as far as deletion depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MappingFacts {
    /// Its kind.
    pub kind: Kind,
    /// Where the kind's resources live; `None` if no plugin maps it.
    pub scope: Option<Scope>,
    /// The blueprint that it fills; `None` if only evaluating the mapping shows it.
    pub blueprint: Option<BlueprintId>,
    /// Whether it names entities by a search query: then it may fill entities of another owner.
    pub searched: bool,
    /// Whether each of its entities comes from one account only: the kind's resources belong to a single
    /// account, and its identifier is that of the kind's default mapping.
    pub single_account: bool,
    /// What it states about the account and the region.
    pub rules: AttributionRules,
}

impl MappingFacts {
    pub(super) fn may_fill(&self, blueprint: &BlueprintId) -> bool {
        self.blueprint.as_ref().is_none_or(|own| own == blueprint)
    }
}

/// After how many complete resyncs in a row without a scope its entities are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RemovalAfter {
    /// After this many, including the current one. Zero and one: at once.
    Resyncs(u32),
    /// Only if an operator confirms the removal.
    Never,
}

impl Default for RemovalAfter {
    fn default() -> Self {
        Self::Resyncs(2)
    }
}

impl fmt::Display for RemovalAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resyncs(count) => write!(f, "{count}"),
            Self::Never => f.write_str("never"),
        }
    }
}

impl FromStr for RemovalAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "never" => Ok(Self::Never),
            number => number
                .parse()
                .map(Self::Resyncs)
                .map_err(|_| format!("`{number}` is neither a number of resyncs nor `never`")),
        }
    }
}

/// When to delete the entities of a scope that is no longer read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovalOptions {
    /// The removals that an operator has confirmed.
    pub confirmed: BTreeSet<RemovedScope>,
    /// After how many complete resyncs a removal counts as intended. Needs a ledger.
    pub after: RemovalAfter,
}

/// The facts of a resync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The accounts of the resync, including those that cannot be read.
    pub accounts: BTreeMap<AccountId, AccountScope>,
    /// The mapping.
    pub entries: Vec<MappingFacts>,
    /// What operators say about removed scopes.
    pub removal: RemovalOptions,
    /// How many complete resyncs in a row before this one scopes were missing in; `None` without a ledger.
    pub missing: Option<MissingScopes>,
}

/// A stale entity, and what is known about it.
#[derive(Debug, Clone)]
pub struct Stale<'a> {
    /// Its key.
    pub key: &'a EntityKey,
    /// Who produced it, as far as recorded.
    pub producers: &'a Producers,
    /// The account that it states, by the [rules](super::DeletionPolicy::rules) of its blueprint.
    pub account: Option<&'a AccountId>,
    /// The region that it states.
    pub region: Option<&'a Region>,
}

/// What to do with a stale entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// All possible producers prove that it is gone.
    Delete(Basis),
    /// It is kept.
    Keep(Keep),
}

/// Why a stale entity may be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// The parts of the catalog that lose it.
    pub parts: BTreeSet<Part>,
    /// Whether someone removed its whole scope: its account, its region or its resource mapping. Then it is
    /// intended that a part loses everything.
    pub removed: bool,
}

/// Why a stale entity is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Keep {
    /// A unit that may produce it did not complete.
    Incomplete {
        /// The unit.
        unit: UnitId,
    },
    /// A unit that may produce it read resources that became no entity.
    Unmapped {
        /// The unit.
        unit: UnitId,
        /// How many resources.
        resources: u64,
    },
    /// Its account or region is no longer read.
    ScopeRemoved {
        /// The scope.
        scope: RemovedScope,
        /// How many complete resyncs in a row it was missing in; `None` if nothing counts them, because there
        /// is no state directory.
        resyncs: Option<u32>,
    },
    /// Another owner created it, and the mapping only adds to it.
    SomebodyElse,
    /// Its data source is not exactly this integration's.
    NotOwned,
    /// The second listing found it.
    FoundAgain {
        /// The unit that lists it.
        unit: UnitId,
    },
    /// Its unit could not be listed a second time, or too many would have to be.
    NotLookedTwice {
        /// The unit.
        unit: UnitId,
    },
    /// A kept entity relates to it: the catalog would create it again, or delete the other one with it.
    Related,
}
