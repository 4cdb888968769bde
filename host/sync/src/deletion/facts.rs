//! What the rules take and give: facts of a resync, stale entities, decisions. Plain data.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use berth_core::{
    AccountId, BlueprintId, EntityKey, Kind, MissingScopes, Producers, Region, RemovedScope, Scope, UnitId,
};
use serde::Serialize;

use super::{AttributionRules, limits::Part};

/// What a unit proves about the entities that it did not produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// It read everything, and every resource became an entity or was left out by the selector.
    Complete,
    /// It did not read everything.
    Incomplete,
    /// It read everything, and so many resources became no entity: each may be any of the entities that
    /// the unit produced before.
    Unmapped(u64),
}

/// The units of a resync, by position, with what each proves.
pub trait Units {
    /// How many there are.
    fn count(&self) -> usize;
    /// The name of one.
    fn id(&self, position: usize) -> &UnitId;
    /// What it proves.
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
    /// Its enabled regions; `None` when they are not known.
    pub regions: Option<BTreeSet<Region>>,
    /// The region in which the services of its partition live that are not bound to a region.
    pub main_region: Region,
}

/// An entry of `resources[]`, as far as deletion depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub kind: Kind,
    /// Where the kind's resources live; `None` when no plugin serves it.
    pub scope: Option<Scope>,
    /// The blueprint that it fills; `None` when only the mapping's evaluation tells.
    pub blueprint: Option<BlueprintId>,
    /// Whether it names entities by a search query: then it may fill entities of somebody else.
    pub searched: bool,
    /// Whether an entity of it can come from one account only: the kind's resources belong to a single
    /// account, and its identifier is the one of the kind's default mapping.
    pub single_account: bool,
    /// What it states about the account and the region.
    pub rules: AttributionRules,
}

impl Entry {
    pub(super) fn may_fill(&self, blueprint: &BlueprintId) -> bool {
        self.blueprint.as_ref().is_none_or(|own| own == blueprint)
    }
}

/// After how many complete resyncs in a row without a scope its entities are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum RemovalAfter {
    /// After so many, this one included. Zero and one: at once.
    Resyncs(u32),
    /// Only when an operator confirms the removal.
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

/// When the entities of a scope are deleted that is not read any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovalOptions {
    /// The removals that an operator has confirmed.
    pub confirmed: BTreeSet<RemovedScope>,
    /// After how many complete resyncs a removal counts as meant. Needs a ledger.
    pub after: RemovalAfter,
}

/// What a resync knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The accounts on the list, whether or not they can be read.
    pub accounts: BTreeMap<AccountId, AccountScope>,
    /// The mapping.
    pub entries: Vec<Entry>,
    /// What operators say about removed scopes.
    pub removal: RemovalOptions,
    /// In how many complete resyncs in a row before this one scopes were missing; `None` without a
    /// ledger.
    pub missing: Option<MissingScopes>,
}

/// A stale entity, and what is known of it.
#[derive(Debug, Clone)]
pub struct Stale<'a> {
    /// Its key.
    pub key: &'a EntityKey,
    /// Who produced it, as far as that was recorded.
    pub producers: &'a Producers,
    /// The account that it states, by the [rules](super::Policy::rules) of its blueprint.
    pub account: Option<&'a AccountId>,
    /// The region that it states.
    pub region: Option<&'a Region>,
}

/// What is to be done about a stale entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// All who may have produced it prove that it is gone.
    Delete(Basis),
    /// It stays.
    Keep(Keep),
}

/// Why a stale entity may be deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Basis {
    /// The parts of the catalog that lose it.
    pub parts: BTreeSet<Part>,
    /// Whether somebody removed its whole scope: its account, its region or its entry of the mapping.
    /// That a part loses everything is then what was asked for.
    pub removed: bool,
}

/// Why a stale entity is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum Keep {
    /// A unit that may produce it did not complete.
    Incomplete {
        /// That unit.
        unit: UnitId,
    },
    /// A unit that may produce it read resources that became no entity.
    Unmapped {
        /// That unit.
        unit: UnitId,
        /// How many resources.
        resources: u64,
    },
    /// Its account or region is not read any more.
    ScopeRemoved {
        /// The scope.
        scope: RemovedScope,
        /// In how many complete resyncs in a row it was missing; `None` where nobody counts, for lack
        /// of a state directory.
        resyncs: Option<u32>,
    },
    /// Somebody else made it, and the mapping only adds to it.
    SomebodyElse,
    /// Its data source is not exactly this integration's.
    NotOwned,
    /// The second look found it.
    FoundAgain {
        /// The unit that lists it.
        unit: UnitId,
    },
    /// Its unit could not be listed a second time, or too many would have to be.
    NotLookedTwice {
        /// The unit.
        unit: UnitId,
    },
    /// A kept entity relates to it: the catalog would create it again, or delete that one with it.
    Related,
}
