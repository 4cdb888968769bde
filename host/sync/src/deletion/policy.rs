//! Decides about each stale entity: do all its producers prove that it is gone? Pure.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use berth_core::{
    AccountId, BlueprintId, EntityKey, Kind, MissingScopes, Place, Producer, Producers, Region, RemovedScope,
    Scope, UnitId,
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
    fn may_fill(&self, blueprint: &BlueprintId) -> bool {
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
    /// The account that it states, by the [rules](Policy::rules) of its blueprint.
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

/// The rules of deletion, for one resync.
pub struct Policy<'a> {
    facts: &'a Facts,
    units: &'a (dyn Units + Sync),
    /// Positions of units, by account, kind and place.
    order: Vec<u32>,
    /// The first unit that did not complete, in planning order.
    incomplete: Option<usize>,
    /// Accounts that have left the list.
    departed: BTreeSet<AccountId>,
}

impl fmt::Debug for Policy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("facts", self.facts).finish_non_exhaustive()
    }
}

/// What a producer says about an entity that it did not produce.
enum Absence {
    /// It read everything, and the entity was not there.
    Proven,
    /// Its scope is not read any more, and that is meant.
    Removed,
}

impl<'a> Policy<'a> {
    /// The rules for a resync that knows these facts and whose units ended so.
    pub fn new(facts: &'a Facts, units: &'a (dyn Units + Sync)) -> Self {
        let mut order: Vec<u32> = (0..u32::try_from(units.count()).unwrap_or(u32::MAX)).collect();
        order.sort_unstable_by(|a, b| {
            let key = |at: &u32| {
                let id = units.id(*at as usize);
                (&id.account, &id.kind)
            };
            key(a).cmp(&key(b)).then(a.cmp(b))
        });
        let incomplete = (0..units.count()).find(|at| units.proof(*at) != Proof::Complete);
        Self { facts, units, order, incomplete, departed: BTreeSet::new() }
    }

    /// Says that the catalog still holds entities of this account, or one that stands for it. If it is
    /// not on the list any more, whatever is not certainly of another account may be its own.
    pub fn note_account(&mut self, account: &AccountId) {
        if !self.facts.accounts.contains_key(account) {
            self.departed.insert(account.clone());
        }
    }

    /// Whether every unit of the resync completed.
    pub fn is_complete(&self) -> bool {
        self.incomplete.is_none()
    }

    /// The fields of a blueprint's entities that prove which account and region they belong to. Empty
    /// unless all entries that fill the blueprint are of one kind whose resources belong to a single
    /// account, and all state the account in the same relation.
    pub fn rules(&self, blueprint: &BlueprintId) -> AttributionRules {
        self.attribution(blueprint).map(|(_, rules)| rules).unwrap_or_default()
    }

    fn attribution(&self, blueprint: &BlueprintId) -> Option<(&'a Kind, AttributionRules)> {
        let mut filling = self.facts.entries.iter().filter(|entry| entry.may_fill(blueprint));
        let first = filling.next()?;
        let mut rules = first.rules.clone();
        if first.blueprint.is_none() || !first.single_account {
            return None;
        }
        for other in filling {
            if other.blueprint.is_none() || !other.single_account || other.kind != first.kind {
                return None;
            }
            rules = rules.common(&other.rules);
        }
        (!rules.account_relations.is_empty()).then_some((&first.kind, rules))
    }

    /// Decides about one stale entity.
    pub fn decide(&self, stale: &Stale<'_>) -> Decision {
        match self.basis(stale) {
            Ok(basis) => Decision::Delete(basis),
            Err(keep) => Decision::Keep(keep),
        }
    }

    fn basis(&self, stale: &Stale<'_>) -> Result<Basis, Keep> {
        let blueprint = &stale.key.blueprint;
        match stale.producers {
            Producers::SomebodyElse => Err(Keep::SomebodyElse),
            Producers::Known(producers) => {
                let mut basis = Basis::default();
                for producer in &**producers {
                    basis.removed |= matches!(self.absence(producer, blueprint)?, Absence::Removed);
                    basis.parts.insert(Part {
                        kind: Some(producer.kind.clone()),
                        account: Some(producer.account.clone()),
                        blueprint: None,
                    });
                }
                Ok(basis)
            }
            Producers::Unknown => self.unrecorded(stale),
        }
    }

    /// Whether a producer proves that an entity of this blueprint is gone.
    fn absence(&self, producer: &Producer, blueprint: &BlueprintId) -> Result<Absence, Keep> {
        let Producer { account, place, kind } = producer;
        let mut of_kind = self.facts.entries.iter().filter(|entry| entry.kind == *kind).peekable();
        if of_kind.peek().is_some() && of_kind.clone().all(|entry| entry.scope == Some(Scope::Organization)) {
            // Read once, through whichever account may.
            if self.all(|unit| unit.kind == *kind)? {
                return Ok(Absence::Proven);
            }
        }
        let Some(scope) = self.facts.accounts.get(account) else {
            return self.removed(RemovedScope::Account(account.clone()));
        };
        if let Place::Region(region) = place
            && scope.regions.as_ref().is_some_and(|enabled| !enabled.contains(region))
        {
            return self.removed(RemovedScope::Region(Some(account.clone()), region.clone()));
        }
        let mapped = of_kind.peek().is_some();
        let filled = of_kind.any(|entry| entry.may_fill(blueprint));
        if !filled {
            // Somebody took the entry out of the mapping. Its account may still hold the resource under
            // another entry, so that has to be read, and everything else too.
            self.everything()?;
            if !mapped {
                return Ok(Absence::Removed);
            }
        }
        let units = self.units_of(account, kind).iter().map(|at| *at as usize);
        let mut found = false;
        for at in units.filter(|at| same_place(place, self.units.id(*at).place.as_ref())) {
            found = true;
            self.proven(at)?;
        }
        if found {
            return Ok(if filled { Absence::Proven } else { Absence::Removed });
        }
        // The entries that are left do not read that place.
        let region = place.region().unwrap_or(&scope.main_region);
        self.removed(RemovedScope::KindRegion(account.clone(), region.clone(), kind.clone()))
    }

    /// Decides about an entity of which no producer is recorded.
    fn unrecorded(&self, stale: &Stale<'_>) -> Result<Basis, Keep> {
        let blueprint = &stale.key.blueprint;
        let mut kinds = BTreeSet::new();
        for entry in self.facts.entries.iter().filter(|entry| entry.may_fill(blueprint)) {
            if entry.searched {
                return Err(Keep::SomebodyElse);
            }
            kinds.insert(&entry.kind);
        }
        if let Some(region) = stale.region {
            self.stated_region(stale.account, region)?;
        }
        if let (Some((kind, _)), Some(account)) = (self.attribution(blueprint), stale.account) {
            let part = Part { kind: Some(kind.clone()), account: Some(account.clone()), blueprint: None };
            let basis = |removed| Basis { parts: BTreeSet::from([part]), removed };
            let Some(scope) = self.facts.accounts.get(account) else {
                self.removed(RemovedScope::Account(account.clone()))?;
                return Ok(basis(true));
            };
            let units = self.units_of(account, kind);
            if units.is_empty() {
                let region = scope.main_region.clone();
                self.removed(RemovedScope::KindRegion(account.clone(), region, kind.clone()))?;
                return Ok(basis(true));
            }
            // A region that is not enabled was asked about above.
            let enabled =
                |region: &&Region| scope.regions.as_ref().is_none_or(|known| known.contains(*region));
            let stated = stale.region.filter(enabled);
            let mut read = stated.is_none();
            for at in units {
                let place = self.units.id(*at as usize).place.as_ref();
                read |= stated.is_some_and(|own| same_place(&Place::Region(own.clone()), place));
                self.proven(*at as usize)?;
            }
            if let Some(region) = stated.filter(|_| !read) {
                self.removed(RemovedScope::KindRegion(account.clone(), region.clone(), kind.clone()))?;
            }
            return Ok(basis(!read || stated != stale.region));
        }
        self.everything()?;
        self.entries_are_read(blueprint)?;
        // It may belong to any account that was read before.
        for account in &self.departed {
            self.removed(RemovedScope::Account(account.clone()))?;
        }
        let mut single = kinds.iter();
        let part = match (single.next(), single.next()) {
            (Some(kind), None) => Part { kind: Some((*kind).clone()), account: None, blueprint: None },
            _ => Part { kind: None, account: None, blueprint: Some(blueprint.clone()) },
        };
        Ok(Basis { parts: BTreeSet::from([part]), removed: kinds.is_empty() })
    }

    /// An entry that may fill a blueprint and that no unit reads proves nothing: its `regionPolicy` leaves
    /// it without any region.
    fn entries_are_read(&self, blueprint: &BlueprintId) -> Result<(), Keep> {
        for (position, entry) in self.facts.entries.iter().enumerate() {
            let read = || (0..self.units.count()).any(|at| self.units.id(at).resource == position);
            if entry.may_fill(blueprint)
                && !read()
                && let Some((account, scope)) = self.facts.accounts.first_key_value()
            {
                let region = scope.main_region.clone();
                self.removed(RemovedScope::KindRegion(account.clone(), region, entry.kind.clone()))?;
            }
        }
        Ok(())
    }

    /// An entity that states a region which is not read any more is kept until that is confirmed.
    fn stated_region(&self, account: Option<&AccountId>, region: &Region) -> Result<(), Keep> {
        let reads = |scope: &AccountScope| scope.regions.as_ref().is_none_or(|known| known.contains(region));
        let read = match account.map(|id| self.facts.accounts.get(id)) {
            Some(Some(scope)) => reads(scope),
            // That its account is gone is the graver reason.
            Some(None) => true,
            None => self.facts.accounts.values().any(reads),
        };
        if !read {
            self.removed(RemovedScope::Region(account.cloned(), region.clone()))?;
        }
        Ok(())
    }

    /// Whether the removal of a scope is meant.
    fn removed(&self, scope: RemovedScope) -> Result<Absence, Keep> {
        if self.facts.removal.confirmed.iter().any(|confirmed| confirmed.covers(&scope)) {
            return Ok(Absence::Removed);
        }
        let before = self.facts.missing.as_ref().map(|missing| missing.get(&scope).copied().unwrap_or(0));
        let resyncs = before.map(|count| count.saturating_add(u32::from(self.is_complete())));
        match (self.facts.removal.after, resyncs) {
            (RemovalAfter::Resyncs(after), Some(resyncs)) if self.is_complete() && resyncs >= after => {
                Ok(Absence::Removed)
            }
            _ => Err(Keep::ScopeRemoved { scope, resyncs }),
        }
    }

    fn everything(&self) -> Result<(), Keep> {
        self.incomplete.map_or(Ok(()), |at| self.proven(at))
    }

    /// Whether there are such units; all of them must prove absence.
    fn all(&self, concerns: impl Fn(&UnitId) -> bool) -> Result<bool, Keep> {
        let mut found = false;
        for at in (0..self.units.count()).filter(|at| concerns(self.units.id(*at))) {
            found = true;
            self.proven(at)?;
        }
        Ok(found)
    }

    fn proven(&self, at: usize) -> Result<(), Keep> {
        let unit = || self.units.id(at).clone();
        match self.units.proof(at) {
            Proof::Complete => Ok(()),
            Proof::Incomplete => Err(Keep::Incomplete { unit: unit() }),
            Proof::Unmapped(resources) => Err(Keep::Unmapped { unit: unit(), resources }),
        }
    }

    /// The units that may have produced a stale entity, by position, as far as they are in this resync:
    /// what is looked at again before it is deleted.
    pub fn units_behind(&self, stale: &Stale<'_>) -> Vec<usize> {
        let blueprint = &stale.key.blueprint;
        let mut units: Vec<usize> = match (stale.producers, self.attribution(blueprint), stale.account) {
            (Producers::SomebodyElse, ..) => Vec::new(),
            (Producers::Known(producers), ..) => producers
                .iter()
                .flat_map(|Producer { account, place, kind }| {
                    let units = self.units_of(account, kind).iter().map(|at| *at as usize);
                    units.filter(move |at| same_place(place, self.units.id(*at).place.as_ref()))
                })
                .collect(),
            (Producers::Unknown, Some((kind, _)), Some(account)) => {
                self.units_of(account, kind).iter().map(|at| *at as usize).collect()
            }
            (Producers::Unknown, ..) => {
                (0..self.units.count()).filter(|at| self.may_fill(self.units.id(*at), blueprint)).collect()
            }
        };
        units.sort_unstable();
        units.dedup();
        units
    }

    /// Whether a live event may delete an entity, after the resource that it names was looked for and not
    /// found as `producer`: that one alone must be recorded to have produced the entity or, where nothing
    /// is recorded, the entity must state the event's account and region.
    pub fn allows_event(&self, stale: &Stale<'_>, producer: &Producer) -> bool {
        match stale.producers {
            Producers::SomebodyElse => false,
            Producers::Known(known) => known.iter().all(|known| known == producer),
            Producers::Unknown => {
                let certain = self.attribution(&stale.key.blueprint);
                certain.is_some_and(|(kind, _)| *kind == producer.kind)
                    && stale.account == Some(&producer.account)
                    && producer.place.region().is_none_or(|region| stale.region == Some(region))
            }
        }
    }

    fn may_fill(&self, unit: &UnitId, blueprint: &BlueprintId) -> bool {
        self.facts.entries.get(unit.resource).is_none_or(|entry| entry.may_fill(blueprint))
    }

    /// The positions of the units of an account and kind.
    pub fn units_of(&self, account: &AccountId, kind: &Kind) -> &[u32] {
        let key = |at: &u32| -> Ordering {
            let id = self.units.id(*at as usize);
            (&id.account, &id.kind).cmp(&(account, kind))
        };
        let start = self.order.partition_point(|at| key(at) == Ordering::Less);
        let length = self.order[start..].partition_point(|at| key(at) == Ordering::Equal);
        &self.order[start..start + length]
    }

    /// Who counts as a producer of an entity from now on that was produced by `seen_by` in this resync,
    /// where `before` is what was recorded until now. `single_account` is that of the
    /// [entry](Entry::single_account) that produced it.
    ///
    /// A recorded producer goes only when it proves absence. An entity without a record gets one only
    /// when no unit that may fill its blueprint is left to be read, and no account has
    /// [left](Self::note_account) that may hold it, too.
    pub fn producers_after(
        &self,
        blueprint: &BlueprintId,
        before: &Producers,
        seen_by: Vec<Producer>,
        single_account: bool,
    ) -> Producers {
        match before {
            Producers::SomebodyElse => Producers::SomebodyElse,
            Producers::Known(known) => {
                let left = known
                    .iter()
                    .filter(|producer| !seen_by.contains(producer))
                    .filter(|producer| self.absence(producer, blueprint).is_err())
                    .cloned()
                    .collect::<Vec<_>>();
                Producers::these(seen_by.into_iter().chain(left))
            }
            Producers::Unknown if single_account || self.is_settled(blueprint) => Producers::these(seen_by),
            Producers::Unknown => Producers::Unknown,
        }
    }

    /// Whether nobody else can have produced an entity of a blueprint than who was seen to: every unit
    /// completed that may fill it, and no account has left the list whose removal is not meant.
    fn is_settled(&self, blueprint: &BlueprintId) -> bool {
        let meant = |account: &AccountId| self.removed(RemovedScope::Account(account.clone())).is_ok();
        self.departed.iter().all(meant)
            && (self.is_complete() || self.all(|unit| self.may_fill(unit, blueprint)).is_ok())
    }

    /// The count of missing scopes after this resync, where `kept` are those for which entities are
    /// kept. A scope that was missing before and still is, is counted on: another one may be the reason
    /// that is told for an entity of both.
    pub fn missing_after<'s>(&self, kept: impl IntoIterator<Item = &'s RemovedScope>) -> MissingScopes {
        let before = || self.facts.missing.iter().flatten();
        let mut after: MissingScopes = before()
            .filter(|(scope, _)| self.is_missing(scope))
            .map(|(scope, count)| (scope.clone(), *count))
            .collect();
        for scope in kept {
            let count = self.facts.missing.as_ref().and_then(|missing| missing.get(scope));
            after.insert(scope.clone(), count.copied().unwrap_or(0));
        }
        for count in after.values_mut() {
            *count = count.saturating_add(u32::from(self.is_complete()));
        }
        after.retain(|_, count| *count > 0);
        after
    }

    /// Whether a scope is certainly not read in this resync.
    fn is_missing(&self, scope: &RemovedScope) -> bool {
        let enabled =
            |of: &AccountScope, region: &Region| of.regions.as_ref().map(|known| known.contains(region));
        match scope {
            RemovedScope::Account(account) => !self.facts.accounts.contains_key(account),
            RemovedScope::Region(None, region) => {
                self.facts.accounts.values().all(|of| enabled(of, region) == Some(false))
            }
            RemovedScope::Region(Some(account), region) => {
                self.facts.accounts.get(account).is_some_and(|of| enabled(of, region) == Some(false))
            }
            RemovedScope::KindRegion(account, region, kind) => {
                let place = Place::Region(region.clone());
                let mut units = self.units_of(account, kind).iter().map(|at| self.units.id(*at as usize));
                self.facts.accounts.get(account).is_some_and(|of| enabled(of, region) == Some(true))
                    && units.all(|unit| !same_place(&place, unit.place.as_ref()))
            }
        }
    }
}

/// Whether a unit reads where a producer did. One that is not bound to a region reads everywhere.
fn same_place(place: &Place, unit: Option<&Place>) -> bool {
    match (place, unit) {
        (Place::Region(own), Some(Place::Region(other))) => own == other,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
