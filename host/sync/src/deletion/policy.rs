//! Decides about each stale entity: do all its producers prove that it is gone? Pure.

use std::{cmp::Ordering, collections::BTreeSet, fmt};

use berth_core::{
    AccountId, BlueprintId, Kind, MissingScopes, Place, Producer, Producers, Region, RemovedScope, Scope,
    UnitId,
};

use super::{
    AttributionRules,
    facts::{AccountScope, Basis, Decision, Facts, Keep, Proof, RemovalAfter, Stale, Units},
    part::Part,
};

/// The rules of deletion, for one resync.
pub struct DeletionPolicy<'a> {
    facts: &'a Facts,
    units: &'a (dyn Units + Sync),
    /// Positions of units, by account, kind and place.
    order: Vec<u32>,
    /// The first unit that did not complete, in planning order.
    incomplete: Option<usize>,
    /// Accounts that are no longer listed.
    departed: BTreeSet<AccountId>,
}

impl fmt::Debug for DeletionPolicy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("facts", self.facts).finish_non_exhaustive()
    }
}

/// What a producer says about an entity that it did not produce.
enum Absence {
    /// It read everything, and the entity was not there.
    Proven,
    /// Its scope is no longer read, and that is intended.
    Removed,
}

impl<'a> DeletionPolicy<'a> {
    /// Creates the rules for a resync with these facts and unit outcomes.
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

    /// Records that the catalog still holds entities of this account, or one that stands for it. If the
    /// account is no longer listed, it may own every entity that is not proven to belong to another one.
    pub fn note_account(&mut self, account: &AccountId) {
        if !self.facts.accounts.contains_key(account) {
            self.departed.insert(account.clone());
        }
    }

    /// Returns whether every unit of the resync completed.
    pub fn is_complete(&self) -> bool {
        self.incomplete.is_none()
    }

    /// Returns the fields of a blueprint's entities that prove their account and region. Empty unless all
    /// resource mappings that fill the blueprint have one kind whose resources belong to a single account,
    /// and all state the account in the same relation.
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

    /// Returns whether a producer proves that an entity of this blueprint is gone.
    fn absence(&self, producer: &Producer, blueprint: &BlueprintId) -> Result<Absence, Keep> {
        let Producer { account, place, kind } = producer;
        let mut of_kind = self.facts.entries.iter().filter(|entry| entry.kind == *kind).peekable();
        if of_kind.peek().is_some() && of_kind.clone().all(|entry| entry.scope == Some(Scope::Organization)) {
            // Read once, through any account.
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
            // Someone removed the resource mapping. Its account may still hold the resource under another
            // mapping, so that has to be read, and everything else too.
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
        // The remaining resource mappings do not read that place.
        let region = place.region().unwrap_or(&scope.main_region);
        self.removed(RemovedScope::KindRegion(account.clone(), region.clone(), kind.clone()))
    }

    /// Decides about an entity without a recorded producer.
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
        self.named_scope(stale, &kinds)?;
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
            // The code above handles a region that is not enabled.
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

    /// Checks that some unit reads each resource mapping that may fill a blueprint. A mapping whose
    /// `regionPolicy` leaves no region proves nothing.
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

    /// An identifier that is an ARN names the account and the region of its resource. That is evidence
    /// against deletion, never for it: if they are no longer read, the entity is kept until the removal is
    /// confirmed.
    fn named_scope(&self, stale: &Stale<'_>, kinds: &BTreeSet<&Kind>) -> Result<(), Keep> {
        let (account, region) = named_by_arn(&stale.key.identifier);
        let account = match (stale.account, &account) {
            // A proven account is more reliable than an identifier.
            (Some(certain), _) => Some(certain),
            (None, Some(named)) if !self.facts.accounts.contains_key(named) => {
                self.removed(RemovedScope::Account(named.clone()))?;
                None
            }
            (None, named) => named.as_ref(),
        };
        let Some(region) = &region else { return Ok(()) };
        self.stated_region(account, region)?;
        let mut unread = None;
        for kind in kinds {
            let of_account = account.map(|account| self.units_of(account, kind));
            for at in of_account.unwrap_or(&self.order) {
                let unit = self.units.id(*at as usize);
                if unit.kind != **kind {
                    continue;
                }
                match &unit.place {
                    Some(Place::Region(place)) if place != region => unread = Some(unit),
                    _ => return Ok(()),
                }
            }
        }
        unread.map_or(Ok(()), |unit| {
            let scope = RemovedScope::KindRegion(unit.account.clone(), region.clone(), unit.kind.clone());
            self.removed(scope).map(drop)
        })
    }

    /// Keeps an entity that states a region which is no longer read, until the removal is confirmed.
    fn stated_region(&self, account: Option<&AccountId>, region: &Region) -> Result<(), Keep> {
        let reads = |scope: &AccountScope| scope.regions.as_ref().is_none_or(|known| known.contains(region));
        let read = match account.map(|id| self.facts.accounts.get(id)) {
            Some(Some(scope)) => reads(scope),
            // A removed account is the more serious reason.
            Some(None) => true,
            None => self.facts.accounts.values().any(reads),
        };
        if !read {
            self.removed(RemovedScope::Region(account.cloned(), region.clone()))?;
        }
        Ok(())
    }

    /// Returns whether the removal of a scope is intended.
    fn removed(&self, scope: RemovedScope) -> Result<Absence, Keep> {
        if self.facts.removal.confirmed.iter().any(|confirmed| confirmed.covers(&scope)) {
            return Ok(Absence::Removed);
        }
        let before = self.facts.missing.as_ref().map(|missing| missing.get(&scope).copied().unwrap_or(0));
        let resyncs = before.map(|count| count.saturating_add(u32::from(self.is_complete())));
        if self.has_unknown_regions(&scope) {
            return Err(Keep::ScopeRemoved { scope, resyncs: before });
        }
        match (self.facts.removal.after, resyncs) {
            (RemovalAfter::Resyncs(after), Some(resyncs)) if self.is_complete() && resyncs >= after => {
                Ok(Absence::Removed)
            }
            _ => Err(Keep::ScopeRemoved { scope, resyncs }),
        }
    }

    /// Returns whether a scope is a region of an account that does not list its regions. The regions that are
    /// read there are only assumed, so leaving one out is never intended without a confirmation.
    fn has_unknown_regions(&self, scope: &RemovedScope) -> bool {
        let unknown = |account| self.facts.accounts.get(account).is_some_and(|of| of.regions.is_none());
        match scope {
            RemovedScope::Account(_) => false,
            RemovedScope::Region(None, _) => self.facts.accounts.keys().any(unknown),
            RemovedScope::Region(Some(account), _) | RemovedScope::KindRegion(account, ..) => {
                unknown(account)
            }
        }
    }

    fn everything(&self) -> Result<(), Keep> {
        self.incomplete.map_or(Ok(()), |at| self.proven(at))
    }

    /// Returns whether such units exist; all of them must prove absence.
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

    /// Returns the positions of the units in this resync that may have produced a stale entity: they are
    /// listed again before it is deleted.
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

    /// Returns whether a live event may delete an entity, after its resource was looked up as `producer` and
    /// not found: the record must name only that producer or, without a record, the entity must state the
    /// event's account and region.
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

    /// Returns the positions of the units of an account and kind.
    pub fn units_of(&self, account: &AccountId, kind: &Kind) -> &[u32] {
        let key = |at: &u32| -> Ordering {
            let id = self.units.id(*at as usize);
            (&id.account, &id.kind).cmp(&(account, kind))
        };
        let start = self.order.partition_point(|at| key(at) == Ordering::Less);
        let length = self.order[start..].partition_point(|at| key(at) == Ordering::Equal);
        &self.order[start..start + length]
    }

    /// Returns the producers to record for an entity that `seen_by` produced in this resync, where `before`
    /// was recorded until now. `single_account` is that of the [entry](super::MappingFacts::single_account) that
    /// produced it.
    ///
    /// A recorded producer is removed only if it proves absence. An entity without a record gets one only if
    /// every unit that may fill its blueprint was read, and no account that may also hold it has
    /// [left](Self::note_account).
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

    /// Returns whether all possible producers of a blueprint's entities are known: every unit that may fill
    /// it completed, and every account that left the list was removed intentionally.
    fn is_settled(&self, blueprint: &BlueprintId) -> bool {
        let meant = |account: &AccountId| self.removed(RemovedScope::Account(account.clone())).is_ok();
        self.departed.iter().all(meant)
            && (self.is_complete() || self.all(|unit| self.may_fill(unit, blueprint)).is_ok())
    }

    /// Returns the count of missing scopes after this resync, where `kept` are those for which entities are
    /// kept. A scope that was missing before and still is keeps counting: an entity of two missing scopes
    /// reports only one of them.
    pub fn missing_after<'s>(&self, kept: impl IntoIterator<Item = &'s RemovedScope>) -> MissingScopes {
        let before = || self.facts.missing.iter().flatten();
        let mut after: MissingScopes = before()
            .filter(|(scope, _)| self.is_missing(scope))
            .map(|(scope, count)| (scope.clone(), *count))
            .collect();
        for scope in kept.into_iter().filter(|scope| !self.has_unknown_regions(scope)) {
            let count = self.facts.missing.as_ref().and_then(|missing| missing.get(scope));
            after.insert(scope.clone(), count.copied().unwrap_or(0));
        }
        for count in after.values_mut() {
            *count = count.saturating_add(u32::from(self.is_complete()));
        }
        after.retain(|_, count| *count > 0);
        after
    }

    /// Returns whether a scope is certainly not read in this resync.
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

/// Returns the account and the region in an ARN, as far as it has them.
fn named_by_arn(identifier: &str) -> (Option<AccountId>, Option<Region>) {
    let mut parts = identifier.splitn(6, ':');
    match (parts.next(), parts.nth(2), parts.next(), parts.next()) {
        (Some("arn"), Some(region), Some(account), Some(_)) => {
            (AccountId::new(account).ok(), Region::new(region).ok())
        }
        _ => (None, None),
    }
}

/// Returns whether a unit reads where a producer did. A unit that is not bound to a region reads everywhere.
fn same_place(place: &Place, unit: Option<&Place>) -> bool {
    match (place, unit) {
        (Place::Region(own), Some(Place::Region(other))) => own == other,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
