//! Calls the real rules, or rules with one seeded [mistake](Mutant).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use berth_core::{
    AccountId, BlueprintId, EntityKey, Kind, MissingScopes, Place, Producer, Producers, Region, RemovedScope,
    Scope, UnitId,
};
use berth_sync::deletion::{
    AccountScope, AttributionRules, Basis, Counts, Decision, DeletionPolicy, Doomed, Facts, Keep,
    LimitOptions, MappingFacts as RealEntry, Mistaken, Proof, RemovalAfter, RemovalOptions, Stale,
    apply_limits, check_total,
};

use crate::{
    mutant::Mutant,
    scenario::{Entry, SHARED, SINGLE, Scenario},
};

/// How many keys of entities there are: three of each of three blueprints, and one for each account.
pub const KEYS: usize = 11;
/// The first key of the entities that stand for accounts.
pub const ACCOUNT_KEYS: usize = 9;
/// How many units there are that can list a resource, at most.
pub const UNITS: usize = 12;
/// After how many complete resyncs a removal counts as meant.
pub const AFTER: u8 = 2;

/// Recorded producers in one byte: none, several as bits, or one of the two below.
pub type Record = u8;
/// Nothing is recorded.
pub const NOTHING: Record = 0;
/// It is recorded that nobody knows.
pub const UNKNOWN: Record = 64;
/// It is recorded that somebody else made it.
pub const SOMEBODY_ELSE: Record = 128;

/// Whether a record names producers.
pub fn is_known(record: Record) -> bool {
    record != NOTHING && record < UNKNOWN
}

/// What a unit of a resync did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// It has not run.
    Waiting,
    /// It read everything.
    Complete,
    /// It failed, or was skipped, before it read anything.
    Failed,
    /// It read something and failed then.
    Interrupted,
    /// It read everything, and a resource became no entity.
    Unmapped,
    /// It completed, and AWS's list did not show what is there.
    Missed,
    /// The list was cut off. The codecs reject that, so it is a failure.
    Lied,
}

impl Outcome {
    /// What a number stands for.
    pub fn of(number: u8) -> Self {
        [
            Self::Waiting,
            Self::Complete,
            Self::Failed,
            Self::Interrupted,
            Self::Unmapped,
            Self::Missed,
            Self::Lied,
        ]
        .get(usize::from(number))
        .copied()
        .unwrap_or(Self::Waiting)
    }

    /// Whether the unit read everything, and everything became an entity.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::Missed)
    }
}

/// A unit that can list a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitRef {
    /// The account.
    pub account: u8,
    /// The position of the entry.
    pub entry: u8,
    /// The region.
    pub region: u8,
}

/// What a resync knows when it begins, and how its units ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resync {
    /// The position of the mapping.
    pub mapping: u8,
    /// The accounts on the list, as bits.
    pub accounts: u8,
    /// Those that could not be read at all.
    pub denied: u8,
    /// The enabled regions: bit `2 × account + region`.
    pub regions: u8,
    /// The removals that an operator confirmed, by account.
    pub confirmed: u8,
    /// In how many complete resyncs scopes were missing before, two bits each.
    pub missing: u64,
    /// How the units ended that can list a resource, in order.
    pub outcomes: [u8; UNITS],
    /// The kind of which another unit failed, plus one; zero when none did.
    pub rest: u8,
    /// Accounts that have left the list and of which the catalog holds something.
    pub departed: u8,
}

impl Resync {
    /// Its identity, for what was decided before.
    fn bits(&self) -> u128 {
        let mut bits = u128::from(self.mapping);
        for (value, width) in [
            (self.accounts, 2),
            (self.denied, 2),
            (self.regions, 4),
            (self.confirmed, 2),
            (self.rest, 2),
            (self.departed, 2),
        ] {
            bits = bits << width | u128::from(value);
        }
        for outcome in self.outcomes {
            bits = bits << 3 | u128::from(outcome);
        }
        bits << 36 | u128::from(self.missing)
    }
}

/// How many scopes there are that may be missing.
pub const SCOPES: usize = 18;

/// The number of the scope that an account is.
pub fn account_scope(account: u8) -> usize {
    usize::from(account)
}

/// The number of the scope that a region of an account is.
pub fn region_scope(account: u8, region: u8) -> usize {
    2 + usize::from(account * 2 + region)
}

/// The number of the scope that a region of an account is for one kind.
pub fn kind_scope(account: u8, region: u8, kind: u8) -> usize {
    8 + usize::from(account * 4 + region * 2 + kind)
}

/// A count in two bits.
pub fn count_of(counts: u64, scope: usize) -> u8 {
    (counts >> (2 * scope) & 3) as u8
}

/// Counts with another count in it; more than three stays three.
#[must_use]
pub fn with_count(counts: u64, scope: usize, count: u8) -> u64 {
    counts & !(3 << (2 * scope)) | u64::from(count.min(3)) << (2 * scope)
}

/// What was decided about a stale entity.
#[derive(Debug)]
pub struct Decided {
    /// The decision.
    pub decision: Decision,
    /// The number of the scope for which it is kept.
    pub scope: Option<usize>,
    /// The units that are listed again before it is deleted.
    pub behind: Vec<UnitRef>,
}

/// What is known of a stale entity.
#[derive(Debug, Clone, Copy)]
pub struct StaleKey {
    /// Its key.
    pub key: u8,
    /// The record.
    pub record: Record,
    /// The account that it states, plus one.
    pub account: u8,
    /// The region that it states, plus one.
    pub region: u8,
}

/// The names of everything.
struct Names {
    accounts: [AccountId; 2],
    regions: [Region; 2],
    kinds: [Kind; 3],
    blueprints: [BlueprintId; 4],
    stating: [AttributionRules; 4],
    scopes: Vec<RemovedScope>,
}

impl Names {
    /// # Panics
    /// Never: the names are valid.
    #[expect(clippy::expect_used, reason = "constants that are valid names")]
    fn new() -> Self {
        let accounts = ["111111111111", "222222222222"].map(|id| AccountId::new(id).expect("valid"));
        let regions = ["us-east-1", "eu-west-1"].map(|name| Region::new(name).expect("valid"));
        let kinds = ["X::Shared", "X::Single", "X::Account"].map(|name| Kind::new(name).expect("valid"));
        let blueprints = ["b0", "b1", "b2", "account"].map(|name| BlueprintId::new(name).expect("valid"));
        let stating = [0, 1, 2, 3].map(|bits| AttributionRules {
            account_relations: if bits & 1 == 0 { Vec::new() } else { vec!["account".to_owned()] },
            region_properties: if bits & 2 == 0 { Vec::new() } else { vec!["region".to_owned()] },
        });
        let mut scopes: Vec<RemovedScope> = accounts.iter().cloned().map(RemovedScope::Account).collect();
        for account in &accounts {
            scopes.extend(regions.iter().map(|r| RemovedScope::Region(Some(account.clone()), r.clone())));
        }
        scopes.extend(regions.iter().map(|region| RemovedScope::Region(None, region.clone())));
        for account in &accounts {
            for region in &regions {
                scopes.extend(
                    kinds[..2]
                        .iter()
                        .map(|k| RemovedScope::KindRegion(account.clone(), region.clone(), k.clone())),
                );
            }
        }
        scopes.extend(
            accounts
                .iter()
                .map(|a| RemovedScope::KindRegion(a.clone(), regions[0].clone(), kinds[2].clone())),
        );
        Self { accounts, regions, kinds, blueprints, stating, scopes }
    }
}

/// The units of a resync as the rules see them, and which of them can list a resource.
type Units = (Vec<(UnitId, Proof)>, Vec<Option<UnitRef>>);

/// The rules, with what they decided before.
pub struct Rules {
    scenario: Scenario,
    mutant: Option<Mutant>,
    names: Names,
    decided: RefCell<HashMap<(u128, u32), Rc<Decided>>>,
    producers: RefCell<HashMap<(u128, u32), Record>>,
    events: RefCell<HashMap<u64, bool>>,
    complete: RefCell<HashMap<u128, bool>>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("mutant", &self.mutant).finish_non_exhaustive()
    }
}

impl Rules {
    /// The rules in a scenario.
    pub fn new(scenario: &Scenario, mutant: Option<Mutant>) -> Self {
        Self {
            scenario: scenario.clone(),
            mutant,
            names: Names::new(),
            decided: RefCell::default(),
            producers: RefCell::default(),
            events: RefCell::default(),
            complete: RefCell::default(),
        }
    }

    /// Whether there is this mistake.
    pub fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// The bit of the producer that an account is, of what is where this resource is.
    pub fn producer_bit(&self, resource: usize, account: u8) -> Record {
        let [first, second] = self.scenario.resources;
        let slot = usize::from(resource == 1 && (first.kind, first.region) != (second.kind, second.region));
        1 << (slot * 2 + usize::from(account))
    }

    fn producer(&self, bit: u8) -> Producer {
        let account = self.names.accounts[usize::from(bit % 2)].clone();
        match self.scenario.resources.get(usize::from(bit / 2)) {
            Some(resource) => Producer {
                account,
                place: Place::Region(self.names.regions[usize::from(resource.region)].clone()),
                kind: self.names.kinds[usize::from(resource.kind)].clone(),
            },
            None => Producer { account, place: Place::Global, kind: self.names.kinds[2].clone() },
        }
    }

    fn list(&self, bits: Record) -> Vec<Producer> {
        (0..6).filter(|bit| bits >> bit & 1 == 1).map(|bit| self.producer(bit)).collect()
    }

    fn producers(&self, record: Record) -> Producers {
        match record {
            NOTHING | UNKNOWN => Producers::Unknown,
            SOMEBODY_ELSE => Producers::SomebodyElse,
            bits => Producers::these(self.list(bits)),
        }
    }

    fn record(&self, producers: &Producers) -> Record {
        match producers {
            Producers::Unknown => UNKNOWN,
            Producers::SomebodyElse => SOMEBODY_ELSE,
            Producers::Known(known) => {
                let second = self.producer_bit(1, 0) == 1;
                let bits = (0..6).filter(|bit| !(second && matches!(bit, 2 | 3)));
                bits.filter(|bit| known.contains(&self.producer(*bit))).map(|bit| 1 << bit).sum()
            }
        }
    }

    fn key(&self, key: u8) -> EntityKey {
        let identifier = match usize::from(key).checked_sub(ACCOUNT_KEYS) {
            Some(account) => self.names.accounts[account].as_str().to_owned(),
            None => ["first", "second", "name"][usize::from(key % 3)].to_owned(),
        };
        EntityKey { blueprint: self.names.blueprints[usize::from(key / 3)].clone(), identifier }
    }

    fn entry(&self, entry: Entry) -> RealEntry {
        let own = entry.kind == SINGLE || self.has(Mutant::SharedKindAttributed) && entry.kind == SHARED;
        let stated = usize::from(entry.account) | usize::from(entry.region) << 1;
        RealEntry {
            kind: self.names.kinds[usize::from(entry.kind)].clone(),
            scope: Some(Scope::Regional),
            blueprint: (!entry.computed).then(|| self.names.blueprints[usize::from(entry.blueprint)].clone()),
            searched: entry.searched,
            single_account: own && !entry.name && !entry.searched,
            rules: self.names.stating[stated].clone(),
        }
    }

    fn entries(&self, mapping: u8) -> Vec<RealEntry> {
        let mapping = &self.scenario.mappings[usize::from(mapping)];
        let accounts = RealEntry {
            kind: self.names.kinds[2].clone(),
            scope: Some(Scope::Account),
            blueprint: Some(self.names.blueprints[3].clone()),
            searched: false,
            single_account: true,
            rules: AttributionRules::default(),
        };
        mapping.iter().map(|entry| self.entry(*entry)).chain([accounts]).collect()
    }

    fn facts(&self, resync: &Resync) -> Facts {
        let names = &self.names;
        let scope = |account: u8| AccountScope {
            regions: (resync.denied >> account & 1 == 0).then(|| {
                let enabled = (0..2u8).filter(|region| resync.regions >> (2 * account + region) & 1 == 1);
                enabled.map(|region| names.regions[usize::from(region)].clone()).collect()
            }),
            main_region: names.regions[0].clone(),
        };
        let on_list = (0..2u8).filter(|account| resync.accounts >> account & 1 == 1);
        let mut confirmed: BTreeSet<RemovedScope> = (0..2u8)
            .filter(|account| resync.confirmed >> account & 1 == 1)
            .map(|account| names.scopes[account_scope(account)].clone())
            .collect();
        let mistake = match self.mutant {
            Some(Mutant::MissingAccountGone) => 0..2,
            Some(Mutant::RegionOptedOutGone) => 2..8,
            Some(Mutant::RegionPolicyGone) => 8..18,
            _ => 0..0,
        };
        confirmed.extend(names.scopes[mistake].iter().cloned());
        Facts {
            accounts: on_list
                .map(|account| (names.accounts[usize::from(account)].clone(), scope(account)))
                .collect(),
            entries: self.entries(resync.mapping),
            removal: RemovalOptions { confirmed, after: RemovalAfter::Resyncs(u32::from(AFTER)) },
            missing: self.scenario.ledger.then(|| {
                (0..SCOPES)
                    .filter(|scope| count_of(resync.missing, *scope) > 0)
                    .map(|scope| (names.scopes[scope].clone(), u32::from(count_of(resync.missing, scope))))
                    .collect()
            }),
        }
    }

    /// Whether a unit can ever list a resource. The others only ever complete or fail.
    fn can_list(&self, account: u8, kind: u8, region: u8) -> bool {
        let mut resources = self.scenario.resources.iter();
        resources.any(|of| (of.kind, of.region) == (kind, region) && (kind == SHARED || of.owner == account))
    }

    /// The units that can list a resource, in order.
    pub fn unit_refs(&self, mapping: u8, accounts: u8, denied: u8, regions: u8) -> Vec<UnitRef> {
        let entries = self.scenario.mappings[usize::from(mapping)].iter().enumerate();
        let mut units = Vec::new();
        for (entry, of) in entries {
            for account in (0..2u8).filter(|account| accounts & !denied & 1 << account != 0) {
                for region in (0..2u8).filter(|r| of.allowed >> r & regions >> (2 * account + r) & 1 == 1) {
                    let lists = self.can_list(account, of.kind, region);
                    if lists {
                        let entry = u8::try_from(entry).unwrap_or(u8::MAX);
                        units.push(UnitRef { account, entry, region });
                    }
                }
            }
        }
        units
    }

    /// The kinds of units that can list no resource.
    pub fn rest(&self, resync: &Resync) -> Vec<u8> {
        (0..2u8)
            .filter(|kind| {
                let entries = &self.scenario.mappings[usize::from(resync.mapping)];
                entries.iter().filter(|entry| entry.kind == *kind).any(|entry| {
                    (0..2u8).filter(|a| resync.accounts & !resync.denied & 1 << a != 0).any(|a| {
                        (0..2u8)
                            .filter(|r| entry.allowed >> r & resync.regions >> (2 * a + r) & 1 == 1)
                            .any(|r| !self.can_list(a, *kind, r))
                    })
                })
            })
            .collect()
    }

    fn proof(&self, outcome: Outcome) -> Proof {
        match outcome {
            Outcome::Complete | Outcome::Missed => Proof::Complete,
            Outcome::Unmapped if self.has(Mutant::UnmappedIsComplete) => Proof::Complete,
            Outcome::Unmapped => Proof::Unmapped(self.scenario.weight),
            Outcome::Lied if self.has(Mutant::LieIsComplete) => Proof::Complete,
            Outcome::Waiting | Outcome::Failed | Outcome::Interrupted | Outcome::Lied => Proof::Incomplete,
        }
    }

    fn units(&self, resync: &Resync) -> Units {
        let names = &self.names;
        let mapping = &self.scenario.mappings[usize::from(resync.mapping)];
        let (mut units, mut refs) = (Vec::new(), Vec::new());
        let mut next = 0;
        let mut rest = resync.rest;
        for (position, entry) in mapping.iter().enumerate() {
            for account in (0..2u8).filter(|account| resync.accounts >> account & 1 == 1) {
                let id = |place| UnitId {
                    account: names.accounts[usize::from(account)].clone(),
                    place,
                    kind: names.kinds[usize::from(entry.kind)].clone(),
                    resource: position,
                };
                if resync.denied >> account & 1 == 1 {
                    units.push((id(None), Proof::Incomplete));
                    refs.push(None);
                    continue;
                }
                for region in
                    (0..2u8).filter(|r| entry.allowed >> r & resync.regions >> (2 * account + r) & 1 == 1)
                {
                    let lists = self.can_list(account, entry.kind, region);
                    let id = id(Some(Place::Region(names.regions[usize::from(region)].clone())));
                    if lists {
                        let outcome = Outcome::of(resync.outcomes[next]);
                        next += 1;
                        units.push((id, self.proof(outcome)));
                        let entry = u8::try_from(position).unwrap_or(u8::MAX);
                        refs.push(Some(UnitRef { account, entry, region }));
                    } else {
                        let fails = rest == entry.kind + 1;
                        if fails {
                            rest = 0;
                        }
                        units.push((id, if fails { Proof::Incomplete } else { Proof::Complete }));
                        refs.push(None);
                    }
                }
            }
        }
        for account in (0..2u8).filter(|account| resync.accounts >> account & 1 == 1) {
            let denied = resync.denied >> account & 1 == 1;
            let id = UnitId {
                account: names.accounts[usize::from(account)].clone(),
                place: (!denied).then_some(Place::Global),
                kind: names.kinds[2].clone(),
                resource: mapping.len(),
            };
            units.push((id, if denied { Proof::Incomplete } else { Proof::Complete }));
            refs.push(None);
        }
        (units, refs)
    }

    fn policy<'a>(
        &self,
        resync: &Resync,
        facts: &'a Facts,
        units: &'a Vec<(UnitId, Proof)>,
    ) -> DeletionPolicy<'a> {
        let mut policy = DeletionPolicy::new(facts, units);
        for account in (0..2u8).filter(|account| resync.departed >> account & 1 == 1) {
            policy.note_account(&self.names.accounts[usize::from(account)]);
        }
        policy
    }

    /// Whether every unit completed.
    pub fn is_complete(&self, resync: &Resync) -> bool {
        *self.complete.borrow_mut().entry(resync.bits()).or_insert_with(|| {
            let (facts, (units, _)) = (self.facts(resync), self.units(resync));
            self.policy(resync, &facts, &units).is_complete()
        })
    }

    /// Decides about a stale entity.
    pub fn decide(&self, resync: &Resync, stale: StaleKey) -> Rc<Decided> {
        let StaleKey { key, record, account, region } = stale;
        let bits =
            u32::from(key) << 16 | u32::from(record) << 4 | u32::from(account) << 2 | u32::from(region);
        let memory = (resync.bits(), bits);
        if let Some(decided) = self.decided.borrow().get(&memory) {
            return Rc::clone(decided);
        }
        let decided = Rc::new(self.decide_anew(resync, stale));
        self.decided.borrow_mut().insert(memory, Rc::clone(&decided));
        decided
    }

    fn decide_anew(&self, resync: &Resync, stale: StaleKey) -> Decided {
        let (facts, (units, refs)) = (self.facts(resync), self.units(resync));
        let policy = self.policy(resync, &facts, &units);
        let key = self.key(stale.key);
        let mut record = stale.record;
        if self.has(Mutant::FirstProducerOnly) && is_known(record) {
            record &= record.wrapping_neg();
        }
        let producers = self.producers(record);
        let stated = |name: u8| usize::from(name).checked_sub(1);
        let stale = Stale {
            key: &key,
            producers: &producers,
            account: stated(stale.account).map(|at| &self.names.accounts[at]),
            region: stated(stale.region).map(|at| &self.names.regions[at]),
        };
        let decision =
            self.mistaken(&policy, &facts, &units, &stale).unwrap_or_else(|| policy.decide(&stale));
        let scope = match &decision {
            Decision::Keep(Keep::ScopeRemoved { scope, .. }) => {
                self.names.scopes.iter().position(|known| known == scope)
            }
            _ => None,
        };
        let behind =
            policy.units_behind(&stale).into_iter().filter_map(|at| refs.get(at).copied()?).collect();
        Decided { decision, scope, behind }
    }

    /// What a mistake decides instead.
    fn mistaken(
        &self,
        policy: &DeletionPolicy<'_>,
        facts: &Facts,
        units: &[(UnitId, Proof)],
        stale: &Stale<'_>,
    ) -> Option<Decision> {
        let blueprint = &stale.key.blueprint;
        if *blueprint == self.names.blueprints[3] && self.mutant != Some(Mutant::RemovedForever) {
            // Mistakes about the entities of accounts would show by themselves.
            return None;
        }
        let may_fill = |entry: &RealEntry| entry.blueprint.as_ref().is_none_or(|own| own == blueprint);
        let filling = || facts.entries.iter().filter(|entry| may_fill(entry));
        let gone = || Some(Decision::Delete(Basis::default()));
        let all = |concerns: &dyn Fn(&UnitId) -> bool| {
            units.iter().filter(|(id, _)| concerns(id)).all(|(_, proof)| *proof == Proof::Complete)
        };
        let fills = |unit: &UnitId| facts.entries.get(unit.resource).is_some_and(may_fill);
        let known = stale.producers.known().is_some();
        let unknown = *stale.producers == Producers::Unknown;
        // What nothing attributes.
        let uncertain =
            unknown && (stale.account.is_none() || policy.rules(blueprint).account_relations.is_empty());
        match self.mutant? {
            Mutant::BlueprintRenamedGone if filling().next().is_none() => gone(),
            Mutant::TodaysMapping if known && all(&fills) => gone(),
            Mutant::UnknownIgnoresOtherKinds if uncertain && all(&fills) => gone(),
            Mutant::ArnEvidence if uncertain => {
                let central = &self.names.accounts[0];
                let kinds: BTreeSet<&Kind> = filling().map(|entry| &entry.kind).collect();
                all(&|unit| unit.account == *central && kinds.contains(&unit.kind)).then(gone).flatten()
            }
            Mutant::UnknownForever if unknown => Some(Decision::Keep(Keep::Related)),
            Mutant::RemovedForever => match policy.decide(stale) {
                Decision::Delete(basis) if basis.removed => Some(Decision::Keep(Keep::Related)),
                other => Some(other),
            },
            Mutant::IncompleteResyncsCount => match policy.decide(stale) {
                Decision::Keep(Keep::ScopeRemoved { scope, .. })
                    if facts
                        .missing
                        .as_ref()
                        .and_then(|missing| missing.get(&scope))
                        .copied()
                        .unwrap_or(0)
                        + 1
                        >= u32::from(AFTER) =>
                {
                    gone()
                }
                other => Some(other),
            },
            _ => None,
        }
    }

    /// Who counts as a producer from now on.
    pub fn producers_after(
        &self,
        resync: &Resync,
        key: u8,
        before: Record,
        seen_by: Record,
        last: Record,
        single: bool,
    ) -> Record {
        match self.mutant {
            Some(Mutant::LastWriterWins) => return last,
            Some(Mutant::ProducersReplaced) if is_known(before) => return seen_by,
            Some(Mutant::ProvisionalTooSmall) if before == UNKNOWN || before == NOTHING => return seen_by,
            _ => {}
        }
        let bits =
            u32::from(key) << 24 | u32::from(before) << 16 | u32::from(seen_by) << 8 | u32::from(single) << 1;
        *self.producers.borrow_mut().entry((resync.bits(), bits)).or_insert_with(|| {
            let (facts, (units, _)) = (self.facts(resync), self.units(resync));
            let policy = self.policy(resync, &facts, &units);
            let before = self.producers(before);
            let blueprint = &self.names.blueprints[usize::from(key / 3)];
            self.record(&policy.producers_after(blueprint, &before, self.list(seen_by), single))
        })
    }

    /// In how many complete resyncs scopes were missing after this one; `kept` as bits.
    pub fn missing_after(&self, resync: &Resync, kept: u32) -> u64 {
        if !self.scenario.ledger {
            return 0;
        }
        let (facts, (units, _)) = (self.facts(resync), self.units(resync));
        let policy = self.policy(resync, &facts, &units);
        let kept = (0..SCOPES).filter(|scope| kept >> scope & 1 == 1).map(|scope| &self.names.scopes[scope]);
        let mut after: MissingScopes = match self.mutant {
            Some(Mutant::IncompleteResyncsCount) => {
                let before = |scope| facts.missing.as_ref().and_then(|m| m.get(scope)).copied().unwrap_or(0);
                kept.map(|scope| (scope.clone(), before(scope) + 1)).collect()
            }
            _ => policy.missing_after(kept),
        };
        if self.has(Mutant::ReturnIsForgotten) {
            for (scope, count) in facts.missing.iter().flatten() {
                after.entry(scope.clone()).or_insert(*count);
            }
        }
        let mut counts = 0;
        for (scope, count) in after {
            if let Some(at) = self.names.scopes.iter().position(|known| *known == scope) {
                counts = with_count(counts, at, u8::try_from(count).unwrap_or(3));
            }
        }
        counts
    }

    /// Whether a live event may delete an entity, in this mapping, where `producer` did not find the resource.
    pub fn allows_event(&self, mapping: u8, stale: StaleKey, producer: Record) -> bool {
        let StaleKey { key, record, account, region } = stale;
        match self.mutant {
            Some(Mutant::EventWithoutRecord) if !is_known(record) && record != SOMEBODY_ELSE => return true,
            Some(Mutant::EventOfOneProducer) if record & producer != 0 => return true,
            Some(Mutant::EventOfAnyAccount) if is_known(record) => return true,
            _ => {}
        }
        let memory = u64::from(mapping) << 32
            | u64::from(key) << 24
            | u64::from(record) << 16
            | u64::from(producer) << 8
            | u64::from(account) << 4
            | u64::from(region);
        *self.events.borrow_mut().entry(memory).or_insert_with(|| {
            let facts = Facts { entries: self.entries(mapping), ..Facts::default() };
            let units: Vec<(UnitId, Proof)> = Vec::new();
            let policy = DeletionPolicy::new(&facts, &units);
            let producers = self.producers(record);
            let stated = |name: u8| usize::from(name).checked_sub(1);
            let key = self.key(key);
            let stale = Stale {
                key: &key,
                producers: &producers,
                account: stated(account).map(|at| &self.names.accounts[at]),
                region: stated(region).map(|at| &self.names.regions[at]),
            };
            self.list(producer).first().is_some_and(|producer| policy.allows_event(&stale, producer))
        })
    }

    /// What an entity states that the rules of its blueprint read: only that is fetched.
    pub fn reads(&self, mapping: u8, key: u8) -> (bool, bool) {
        let facts = Facts { entries: self.entries(mapping), ..Facts::default() };
        let units: Vec<(UnitId, Proof)> = Vec::new();
        let rules = DeletionPolicy::new(&facts, &units).rules(&self.names.blueprints[usize::from(key / 3)]);
        (!rules.account_relations.is_empty(), !rules.region_properties.is_empty())
    }

    /// Which of these deletions the limits leave.
    pub fn limit(&self, doomed: &[(u8, Rc<Decided>)], counts: &Held, owned: u32) -> Vec<u8> {
        let keys = || doomed.iter().map(|(key, _)| *key).collect();
        if self.has(Mutant::NoLimits) || doomed.is_empty() {
            return keys();
        }
        let weight = self.scenario.weight;
        let all = doomed
            .iter()
            .flat_map(|(key, decided)| {
                let basis = match &decided.decision {
                    Decision::Delete(basis) => basis.clone(),
                    Decision::Keep(_) => Basis::default(),
                };
                (0..weight).map(move |_| Doomed { key: self.key(*key), basis: basis.clone() })
            })
            .collect();
        let names = &self.names;
        let kept: BTreeMap<(Kind, AccountId), u64> = counts
            .held
            .iter()
            .map(|((kind, account), held)| {
                let (kind, account) = (usize::from(*kind), usize::from(*account));
                ((names.kinds[kind].clone(), names.accounts[account].clone()), held * weight)
            })
            .collect();
        let by_blueprint = counts.by_blueprint.iter().enumerate().filter(|(_, held)| **held > 0);
        let counts = Counts {
            kept,
            kept_by_blueprint: by_blueprint
                .map(|(blueprint, held)| (names.blueprints[blueprint].clone(), held * weight))
                .collect(),
            mistaken: counts
                .mistaken
                .iter()
                .map(|(entry, of, resources, identifiers)| Mistaken {
                    entry: *entry,
                    kind: names.kinds[usize::from(of.kind)].clone(),
                    blueprint: (!of.computed).then(|| names.blueprints[usize::from(of.blueprint)].clone()),
                    resources: resources * weight,
                    identifiers: identifiers * weight,
                })
                .collect(),
        };
        let limited = apply_limits(all, &counts);
        let allowed: Vec<u8> = doomed
            .iter()
            .map(|(key, _)| *key)
            .filter(|key| {
                let key = self.key(*key);
                limited.allowed.iter().any(|doomed| doomed.key == key)
            })
            .collect();
        let total = allowed.len() as u64 * weight;
        match check_total(total, u64::from(owned) * weight, &LimitOptions::default()) {
            Ok(()) => allowed,
            Err(_) => Vec::new(),
        }
    }
}

/// What a resync leaves in the catalog.
#[derive(Debug, Default)]
pub struct Held {
    /// Entities that were held before and were produced again, by kind and account.
    pub held: BTreeMap<(u8, u8), u64>,
    /// The same by blueprint.
    pub by_blueprint: [u64; 4],
    /// Entries most of whose resources have no identifier of their own: position, entry, resources,
    /// identifiers.
    pub mistaken: Vec<(usize, Entry, u64, u64)>,
}
