//! The small world: AWS, Port's catalog, the ledger, and a resync that a crash may end between any two writes.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    rc::Rc,
};

use berth_sync::deletion::{Decision, Keep};

use crate::{
    mutant::Mutant,
    rules::{
        ACCOUNT_KEYS, AFTER, Decided, Held, KEYS, NOTHING, Outcome, Record, Resync, Rules, SCOPES,
        SOMEBODY_ELSE, StaleKey, UNITS, UNKNOWN, UnitRef, account_scope, count_of, is_known, kind_scope,
        region_scope, with_count,
    },
    scenario::{Entry, SHARED, SINGLE, Scenario},
};

/// What the catalog holds under a key: nothing, something of somebody else, or an own entity with the
/// account and the region that it states.
type Cell = u8;
const ABSENT: Cell = 0;
/// Of another integration.
const OTHER: Cell = 1;
/// Of a person.
const PERSON: Cell = 2;
/// Of a person, and a search query of the mapping found it: it has this integration's data source now.
const FOUND: Cell = 3;
/// An own entity that states nothing. Others follow: `OWN + 3 × account + region`, both plus one.
const OWN: Cell = 4;

fn is_own(cell: Cell) -> bool {
    cell >= OWN
}

/// Where a resync is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// Units are read, and what they give is written.
    Reading,
    /// All units have ended.
    Deciding,
    /// What was decided is deleted, one by one.
    Deleting,
    /// What was not recorded yet is recorded.
    Flushing,
    /// Producers are recorded, and what is gone is forgotten.
    Recording,
    /// The ledger's session ends.
    Ending,
}

/// A state of the world.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// Of each resource: 0 it is not there, 1 its owner lists it, 2 both accounts do.
    resources: [u8; 2],
    /// The resync's plan, and what its units did. In an idle state only its facts of now count.
    run: Resync,
    catalog: [Cell; KEYS],
    ledger: [Record; KEYS],
    /// Records that count as unknown unless the resync ends, as bits.
    provisional: u16,
    phase: Phase,
    /// How many units have ended.
    unit: u8,
    /// What the ledger held when the resync began.
    view: [Record; KEYS],
    /// What the catalog held then, as bits.
    owned: u16,
    /// Who produced what in this resync.
    seen: [Record; KEYS],
    /// Who did last; only for a mistake that needs it.
    last: [Record; KEYS],
    /// What waits to be recorded.
    pending: [Record; KEYS],
    /// What records become when the resync ends.
    exact: [Record; KEYS],
    /// What live events wrote during this resync, as bits.
    touched: u16,
    doomed: u16,
    /// The scopes for which something is kept, as bits.
    kept: u32,
    /// Known to the model only: in how many complete resyncs in a row each scope was missing.
    away: u64,
    /// Known to the model only: which account has begun to list which resource (or its list did not show
    /// it) and was not seen to produce it since; bit `2 × resource + account`.
    fresh: u8,
    /// Known to the model only: which accounts produced what the catalog holds, two bits each.
    made_by: u32,
}

impl State {
    /// Whether no resync is running.
    pub fn is_idle(&self) -> bool {
        self.phase == Phase::Idle
    }

    fn made_by(&self, key: usize, account: u8) -> bool {
        self.made_by >> (2 * key + usize::from(account)) & 1 == 1
    }
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A resync begins; these accounts cannot be read, and a unit of this kind (plus one) will fail that
    /// lists none of the resources.
    Begin {
        /// As bits.
        denied: u8,
        /// The kind, plus one.
        rest: u8,
    },
    /// The next unit is read.
    Unit(Outcome),
    /// The next step of a resync after its units.
    Step,
    /// All of them, where no fault can come between.
    Finish,
    /// A resource is created, or is there in one account only.
    Appear(u8),
    /// A resource is deleted.
    Disappear(u8),
    /// A resource is shared with the other account.
    Share(u8),
    /// It is not any more.
    Unshare(u8),
    /// An account leaves the list.
    Leave(u8),
    /// An account comes to the list.
    Return(u8),
    /// The second region of an account is opted out of, or in.
    Opt(u8),
    /// The mapping is edited.
    Edit(u8),
    /// An operator confirms that an account was removed.
    Confirm(u8),
    /// A live event of an account names a resource.
    Event(u8, u8),
    /// The state directory is lost.
    Lose,
    /// The process is killed. Of what waited to be recorded this much was, as bits.
    Crash(u16),
    /// A person creates an entity.
    PersonCreates(u8),
    /// Another integration does.
    OtherCreates(u8),
    /// A person deletes an entity and makes an own one.
    PersonReplaces(u8),
    /// A person deletes an entity.
    PersonDeletes(u8),
    /// A person removes what an entity states.
    PersonBlanks(u8),
}

impl Action {
    /// How many faults it counts for.
    pub fn cost(self) -> u8 {
        match self {
            Self::Begin { .. } | Self::Step | Self::Finish => 0,
            Self::Unit(outcome) => u8::from(outcome == Outcome::Missed),
            _ => 1,
        }
    }

    /// What it is, in words.
    pub fn describe(self, scenario: &Scenario) -> String {
        let account = |at: u8| ["A", "B"][usize::from(at & 1)];
        let resource = |at: u8| ["the first resource", "the second resource"][usize::from(at & 1)];
        match self {
            Self::Begin { denied, rest } => {
                let mut text = "a resync begins".to_owned();
                for at in (0..2).filter(|at| denied >> at & 1 == 1) {
                    _ = write!(text, ", account {} cannot be read", account(at));
                }
                if rest > 0 {
                    _ = write!(
                        text,
                        ", a unit of {} in another place fails",
                        ["Shared", "Single"][usize::from(rest - 1)]
                    );
                }
                text
            }
            Self::Unit(outcome) => format!("the next unit: {outcome:?}"),
            Self::Step => "the resync goes on".to_owned(),
            Self::Finish => "the resync goes on to its end".to_owned(),
            Self::Appear(at) => format!("{} appears", resource(at)),
            Self::Disappear(at) => format!("{} disappears", resource(at)),
            Self::Share(at) => format!("{} is shared with the other account", resource(at)),
            Self::Unshare(at) => format!("{} is not shared any more", resource(at)),
            Self::Leave(at) => format!("account {} leaves the list", account(at)),
            Self::Return(at) => format!("account {} comes to the list", account(at)),
            Self::Opt(at) => format!("region 1 of account {} is switched off or on", account(at)),
            Self::Edit(at) => format!("the mapping becomes {:?}", scenario.mappings[usize::from(at)]),
            Self::Confirm(at) => format!("an operator confirms the removal of account {}", account(at)),
            Self::Event(at, of) => format!("a live event of account {} names {}", account(at), resource(of)),
            Self::Lose => "the state directory is lost".to_owned(),
            Self::Crash(recorded) => {
                let mut text = "the process is killed".to_owned();
                for key in (0..KEYS).filter(|key| recorded >> key & 1 == 1) {
                    _ = write!(text, ", {} was recorded", name(key));
                }
                text
            }
            Self::PersonCreates(key) => format!("a person creates {}", name(usize::from(key))),
            Self::OtherCreates(key) => format!("another integration creates {}", name(usize::from(key))),
            Self::PersonReplaces(key) => format!("a person replaces {}", name(usize::from(key))),
            Self::PersonDeletes(key) => format!("a person deletes {}", name(usize::from(key))),
            Self::PersonBlanks(key) => format!("a person empties {}", name(usize::from(key))),
        }
    }
}

fn name(key: usize) -> String {
    match key.checked_sub(ACCOUNT_KEYS) {
        Some(account) => format!("account/{}", ["A", "B"][account & 1]),
        None => format!("b{}/{}", key / 3, ["first", "second", "name"][key % 3]),
    }
}

/// Something that must never happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// An entity was deleted, and this is why it is live.
    LiveDeleted(String),
    /// Something was deleted that this integration does not own.
    ForeignDeleted(String),
    /// More was deleted at once than the limit of a part allows.
    LimitExceeded(String),
    /// Complete resyncs do not delete what is gone, or do not create what is there.
    NeverSettled(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LiveDeleted(why) => write!(f, "a live entity is deleted: {why}"),
            Self::ForeignDeleted(what) => write!(f, "what somebody else owns is deleted: {what}"),
            Self::LimitExceeded(what) => write!(f, "a limit is exceeded: {what}"),
            Self::NeverSettled(what) => write!(f, "complete resyncs do not put it right: {what}"),
        }
    }
}

/// A scenario's world.
#[derive(Debug)]
pub struct World<'a> {
    scenario: &'a Scenario,
    rules: &'a Rules,
    /// How many entities were deleted.
    pub deletions: usize,
    /// Why the last decision kept what it kept; `None` where a limit did.
    kept: BTreeMap<u8, Option<Keep>>,
    /// The keys that some mapping fills.
    keys: Vec<u8>,
}

impl<'a> World<'a> {
    /// The world of a scenario.
    pub fn new(scenario: &'a Scenario, rules: &'a Rules) -> Self {
        let mut keys: Vec<u8> = scenario
            .mappings
            .iter()
            .flatten()
            .flat_map(|entry| (0..2).filter_map(|resource| key_of(scenario, *entry, resource)))
            .filter_map(|key| u8::try_from(key).ok())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        Self { scenario, rules, deletions: 0, kept: BTreeMap::new(), keys }
    }

    /// Where exploring begins: each selection of resources, before the first resync, after it, and after
    /// it with an empty state directory.
    pub fn first_states(&mut self) -> Vec<State> {
        let empty = State {
            resources: [0, 0],
            run: Resync {
                mapping: 0,
                accounts: 3,
                denied: 0,
                regions: 15,
                confirmed: 0,
                missing: 0,
                outcomes: [0; UNITS],
                rest: 0,
                departed: 0,
            },
            catalog: [ABSENT; KEYS],
            ledger: [NOTHING; KEYS],
            provisional: 0,
            phase: Phase::Idle,
            unit: 0,
            view: [NOTHING; KEYS],
            owned: 0,
            seen: [NOTHING; KEYS],
            last: [NOTHING; KEYS],
            pending: [NOTHING; KEYS],
            exact: [NOTHING; KEYS],
            touched: 0,
            doomed: 0,
            kept: 0,
            away: 0,
            fresh: 0,
            made_by: 0,
        };
        let most = |resource: usize| if self.scenario.resources[resource].kind == SHARED { 2 } else { 1 };
        let mut states = Vec::new();
        for first in 0..=most(0) {
            for second in 0..=most(1) {
                let state = State { resources: [first, second], ..empty.clone() };
                if let Ok(synced) = self.complete_resync(&state) {
                    states.push(State { ledger: [NOTHING; KEYS], ..synced.clone() });
                    states.push(synced);
                }
                states.push(state);
            }
        }
        states
    }

    /// What may happen in a state; what counts as a fault comes last, and only if faults may happen.
    pub fn actions(&self, state: &State, faults: bool) -> Vec<Action> {
        let mut actions = Vec::new();
        match state.phase {
            Phase::Idle => {
                for denied in (0..3).filter(|denied| denied & !state.run.accounts == 0) {
                    actions.push(Action::Begin { denied, rest: 0 });
                    let run = Resync { denied, ..state.run };
                    let rest = self.rules.rest(&run).into_iter().take(1);
                    actions.extend(rest.map(|kind| Action::Begin { denied, rest: kind + 1 }));
                }
            }
            Phase::Reading => {
                let units = self.unit_refs(&state.run);
                match units.get(usize::from(state.unit)) {
                    None => actions.push(if faults { Action::Step } else { Action::Finish }),
                    Some(unit) => {
                        actions.push(Action::Unit(Outcome::Complete));
                        actions.push(Action::Unit(Outcome::Failed));
                        if (0..2).any(|resource| self.unit_lists(state, *unit, resource)) {
                            actions.push(Action::Unit(Outcome::Interrupted));
                            // To the rules these are failures like others.
                            if self.scenario.unmapped {
                                actions.push(Action::Unit(Outcome::Unmapped));
                            }
                            if self.rules.has(Mutant::LieIsComplete) {
                                actions.push(Action::Unit(Outcome::Lied));
                            }
                        }
                    }
                }
            }
            _ => actions.push(if faults { Action::Step } else { Action::Finish }),
        }
        if faults {
            self.faults(state, &mut actions);
        }
        actions
    }

    fn faults(&self, state: &State, actions: &mut Vec<Action>) {
        if let Phase::Reading = state.phase
            && let Some(unit) = self.unit_refs(&state.run).get(usize::from(state.unit))
            && (0..2).any(|resource| self.unit_lists(state, *unit, resource))
        {
            actions.push(Action::Unit(Outcome::Missed));
        }
        if !state.is_idle() {
            let waiting: u16 =
                (0..KEYS).filter(|key| state.pending[*key] != NOTHING).map(|key| 1 << key).sum();
            let mut recorded = waiting;
            loop {
                actions.push(Action::Crash(recorded));
                if recorded == 0 {
                    break;
                }
                recorded = (recorded - 1) & waiting;
            }
        }
        if !matches!(state.phase, Phase::Idle | Phase::Reading) {
            return;
        }
        for at in 0..2u8 {
            let shared = self.scenario.resources[usize::from(at)].kind == SHARED;
            match state.resources[usize::from(at)] {
                0 => actions.push(Action::Appear(at)),
                1 if shared => actions.extend([Action::Disappear(at), Action::Share(at)]),
                1 => actions.push(Action::Disappear(at)),
                _ => actions.extend([Action::Disappear(at), Action::Unshare(at)]),
            }
            let on_list = (0..2u8).filter(|account| state.run.accounts >> account & 1 == 1);
            actions.extend(on_list.map(|account| Action::Event(account, at)));
        }
        if !state.is_idle() {
            return;
        }
        for account in 0..2u8 {
            match (state.run.accounts >> account & 1, state.run.accounts) {
                (1, 3) => actions.push(Action::Leave(account)),
                (0, _) => {
                    actions.push(Action::Return(account));
                    if state.run.confirmed >> account & 1 == 0 {
                        actions.push(Action::Confirm(account));
                    }
                }
                _ => {}
            }
            if self.scenario.resources.iter().any(|resource| resource.region == 1) {
                actions.push(Action::Opt(account));
            }
        }
        let mappings = u8::try_from(self.scenario.mappings.len()).unwrap_or(u8::MAX);
        actions.extend((0..mappings).filter(|at| *at != state.run.mapping).map(Action::Edit));
        if state.ledger != [NOTHING; KEYS] {
            actions.push(Action::Lose);
        }
        for key in self.keys.iter().filter(|_| self.scenario.people) {
            match state.catalog[usize::from(*key)] {
                ABSENT => actions.extend([Action::PersonCreates(*key), Action::OtherCreates(*key)]),
                OTHER | PERSON | FOUND => {}
                cell => {
                    actions.extend([Action::PersonReplaces(*key), Action::PersonDeletes(*key)]);
                    if cell != OWN {
                        actions.push(Action::PersonBlanks(*key));
                    }
                }
            }
        }
    }

    /// What follows.
    ///
    /// # Errors
    /// What must never happen, and does.
    pub fn apply(&mut self, state: &State, action: Action) -> Result<State, Violation> {
        let mut next = state.clone();
        let bit = |account: u8| 1u8 << account;
        match action {
            Action::Begin { denied, rest } => self.begin(&mut next, denied, rest),
            Action::Unit(outcome) => self.read(&mut next, outcome),
            Action::Step => self.step(&mut next)?,
            Action::Finish => {
                while !next.is_idle() {
                    self.step(&mut next)?;
                }
            }
            Action::Appear(at) => {
                next.resources[usize::from(at)] = 1;
                next.fresh |= 1 << (2 * at + self.scenario.resources[usize::from(at)].owner);
            }
            Action::Unshare(at) => next.resources[usize::from(at)] = 1,
            Action::Disappear(at) => next.resources[usize::from(at)] = 0,
            Action::Share(at) => {
                next.resources[usize::from(at)] = 2;
                next.fresh |= 2 >> self.scenario.resources[usize::from(at)].owner << (2 * at);
            }
            Action::Leave(account) => {
                next.run.accounts &= !bit(account);
                next.fresh &= !(5 << account);
            }
            Action::Return(account) => {
                next.run.accounts |= bit(account);
                next.run.confirmed &= !bit(account);
                next.fresh |= 5 << account;
            }
            Action::Opt(account) => {
                next.run.regions ^= 2 << (2 * account);
                if next.run.regions & 2 << (2 * account) != 0 {
                    next.fresh |= 5 << account;
                }
            }
            Action::Edit(mapping) => next.run.mapping = mapping,
            Action::Confirm(account) => next.run.confirmed |= bit(account),
            Action::Event(account, resource) => self.event(&mut next, account, usize::from(resource))?,
            Action::Lose => {
                next.ledger = [NOTHING; KEYS];
                next.run.missing = 0;
            }
            Action::Crash(recorded) => {
                for key in (0..KEYS).filter(|key| recorded >> key & 1 == 0) {
                    next.pending[key] = NOTHING;
                }
                flush(&mut next);
                self.crash(&mut next);
            }
            Action::PersonCreates(key) | Action::PersonReplaces(key) => set(&mut next, key, PERSON),
            Action::OtherCreates(key) => set(&mut next, key, OTHER),
            Action::PersonDeletes(key) => set(&mut next, key, ABSENT),
            Action::PersonBlanks(key) => next.catalog[usize::from(key)] = OWN,
        }
        Ok(next)
    }

    fn mapping(&self, run: &Resync) -> &'a [Entry] {
        &self.scenario.mappings[usize::from(run.mapping)]
    }

    fn unit_refs(&self, run: &Resync) -> Vec<UnitRef> {
        self.rules.unit_refs(run.mapping, run.accounts, run.denied, run.regions)
    }

    /// The accounts that list a resource, as bits.
    fn listed_by(&self, state: &State, resource: usize) -> u8 {
        match state.resources[resource] {
            0 => 0,
            1 => 1 << self.scenario.resources[resource].owner,
            _ => 3,
        }
    }

    fn unit_lists(&self, state: &State, unit: UnitRef, resource: usize) -> bool {
        let of = self.scenario.resources[resource];
        let entry = self.mapping(&state.run)[usize::from(unit.entry)];
        (of.kind, of.region) == (entry.kind, unit.region)
            && self.listed_by(state, resource) >> unit.account & 1 == 1
    }

    fn begin(&self, state: &mut State, denied: u8, rest: u8) {
        state.phase = Phase::Reading;
        state.run.denied = denied;
        state.run.rest = rest;
        state.view = state.ledger;
        let suffix = self.rules.has(Mutant::SuffixOwnership);
        state.owned = (0..KEYS)
            .filter(|key| matches!(state.catalog[*key], FOUND..) || suffix && state.catalog[*key] == OTHER)
            .map(|key| 1 << key)
            .sum();
        for account in (0..2u8).filter(|account| state.run.accounts & !denied & 1 << account != 0) {
            let key = ACCOUNT_KEYS + usize::from(account);
            let bit = 16 << account;
            state.seen[key] = bit;
            if state.catalog[key] == ABSENT {
                state.catalog[key] = OWN;
            }
            state.made_by |= 1 << (2 * key + usize::from(account));
            if self.scenario.ledger && state.view[key] != bit {
                state.pending[key] = bit;
            }
        }
        flush(state);
    }

    /// Whether an entity of an entry can come from one account only.
    fn single(&self, entry: Entry) -> bool {
        let kind = entry.kind == SINGLE || self.rules.has(Mutant::SharedKindAttributed);
        kind && !entry.name && !entry.searched
    }

    fn read(&self, state: &mut State, outcome: Outcome) {
        let units = self.unit_refs(&state.run);
        let at = usize::from(state.unit);
        let unit = units[at];
        state.run.outcomes[at] = outcome as u8;
        state.unit += 1;
        if !matches!(outcome, Outcome::Complete | Outcome::Interrupted) {
            return;
        }
        let entry = self.mapping(&state.run)[usize::from(unit.entry)];
        for resource in (0..2).filter(|resource| self.unit_lists(state, unit, *resource)).collect::<Vec<_>>()
        {
            let Some(key) = key_of(self.scenario, entry, resource) else { continue };
            let bit = self.rules.producer_bit(resource, unit.account);
            if entry.searched {
                if state.catalog[key] != ABSENT {
                    if !is_own(state.catalog[key]) {
                        state.catalog[key] = FOUND;
                    }
                    let mistaken = self.rules.has(Mutant::SearchCountsAsOwn);
                    state.seen[key] |= if mistaken { bit } else { SOMEBODY_ELSE };
                    if self.scenario.ledger {
                        state.pending[key] = if mistaken { bit } else { SOMEBODY_ELSE };
                    }
                }
                continue;
            }
            state.seen[key] |= bit;
            if self.rules.has(Mutant::LastWriterWins) {
                state.last[key] = bit;
            }
            let refused = !self.write(state, key, unit.account, entry, resource);
            let known = state.view[key];
            if self.scenario.ledger && (!refused || known != NOTHING) {
                let small = self.rules.has(Mutant::ProvisionalTooSmall);
                state.pending[key] = match known {
                    _ if self.rules.has(Mutant::LastWriterWins) => bit,
                    SOMEBODY_ELSE => SOMEBODY_ELSE,
                    NOTHING | UNKNOWN if self.single(entry) || small => bit,
                    NOTHING | UNKNOWN => UNKNOWN,
                    _ if self.rules.has(Mutant::CrashForgetsProducers) => bit,
                    known => known | bit,
                };
            }
        }
    }

    /// Writes an entity, unless somebody else owns it.
    fn write(&self, state: &mut State, key: usize, account: u8, entry: Entry, resource: usize) -> bool {
        if matches!(state.catalog[key], OTHER | PERSON) {
            return false;
        }
        let region = self.scenario.resources[resource].region;
        let stated = |is: bool, name: u8| if is { name + 1 } else { 0 };
        state.catalog[key] = OWN + 3 * stated(entry.account, account) + stated(entry.region, region);
        state.made_by |= 1 << (2 * key + usize::from(account));
        true
    }

    fn step(&mut self, state: &mut State) -> Result<(), Violation> {
        match state.phase {
            Phase::Idle => {}
            Phase::Reading => state.phase = Phase::Deciding,
            Phase::Deciding => {
                self.decide(state)?;
                state.phase = if state.doomed == 0 { Phase::Flushing } else { Phase::Deleting };
            }
            Phase::Deleting => {
                let key = state.doomed.trailing_zeros();
                let key = usize::try_from(key).unwrap_or(0);
                state.doomed &= state.doomed - 1;
                self.delete(state, key, false)?;
                if state.doomed == 0 {
                    state.phase = Phase::Flushing;
                }
            }
            Phase::Flushing => {
                flush(state);
                state.phase = Phase::Recording;
            }
            Phase::Recording => {
                if self.scenario.ledger {
                    self.remember(state);
                }
                state.phase = Phase::Ending;
            }
            Phase::Ending => self.end(state),
        }
        Ok(())
    }

    fn decide(&mut self, state: &mut State) -> Result<(), Violation> {
        self.kept.clear();
        let suffix = self.rules.has(Mutant::SuffixOwnership);
        let is_owned = |cell: Cell| cell >= FOUND || suffix && cell == OTHER;
        let stale: Vec<usize> = (0..KEYS)
            .filter(|key| state.owned >> key & 1 == 1 && state.seen[*key] == NOTHING)
            .filter(|key| is_owned(state.catalog[*key]))
            .collect();
        let known: Vec<StaleKey> =
            stale.iter().map(|key| self.stale(state, *key, state.view[*key])).collect();
        for stale in &known {
            let mut accounts = 0;
            if is_known(stale.record) {
                accounts = (stale.record | stale.record >> 2 | stale.record >> 4) & 3;
            }
            if stale.account > 0 {
                accounts |= 1 << (stale.account - 1);
            }
            if let Some(account) = usize::from(stale.key).checked_sub(ACCOUNT_KEYS) {
                accounts |= 1 << account;
            }
            state.run.departed |= accounts & !state.run.accounts;
        }
        let mut doomed: Vec<(u8, Rc<Decided>)> = Vec::new();
        for stale in known {
            let decided = self.rules.decide(&state.run, stale);
            match &decided.decision {
                Decision::Delete(_) => doomed.push((stale.key, decided)),
                Decision::Keep(keep) => {
                    if let Some(scope) = decided.scope {
                        state.kept |= 1 << scope;
                    }
                    self.kept.insert(stale.key, Some(keep.clone()));
                }
            }
        }
        if doomed.is_empty() {
            return Ok(());
        }
        let held = self.held(state);
        let allowed = self.rules.limit(&doomed, &held, state.owned.count_ones());
        for (key, decided) in doomed {
            if !allowed.contains(&key) {
                self.kept.insert(key, None);
            } else if state.touched >> key & 1 == 0 && !self.found_again(state, usize::from(key), &decided) {
                state.doomed |= 1 << key;
                self.exceeds(state, &decided, &held)?;
            }
        }
        Ok(())
    }

    fn stale(&self, state: &State, key: usize, record: Record) -> StaleKey {
        let stated = state.catalog[key].saturating_sub(OWN);
        let key = u8::try_from(key).unwrap_or(u8::MAX);
        let (account, region) = if is_known(record) || record == SOMEBODY_ELSE {
            (false, false)
        } else {
            self.rules.reads(state.run.mapping, key)
        };
        StaleKey {
            key,
            record,
            account: if account { stated / 3 } else { 0 },
            region: if region { stated % 3 } else { 0 },
        }
    }

    /// Whether a second look finds an entity.
    fn found_again(&self, state: &State, key: usize, decided: &Decided) -> bool {
        !self.rules.has(Mutant::NoSecondLook)
            && decided.behind.iter().filter(|unit| !self.is_unmapped(state, **unit)).any(|unit| {
                let entry = self.mapping(&state.run)[usize::from(unit.entry)];
                (0..2).any(|resource| {
                    self.unit_lists(state, *unit, resource)
                        && key_of(self.scenario, entry, resource) == Some(key)
                })
            })
    }

    /// Whether what a unit read became no entity: a second look makes none of it, either.
    fn is_unmapped(&self, state: &State, unit: UnitRef) -> bool {
        let mut units = self.unit_refs(&state.run).into_iter().zip(state.run.outcomes);
        units.any(|(of, outcome)| of == unit && Outcome::of(outcome) == Outcome::Unmapped)
    }

    fn held(&self, state: &State) -> Held {
        let mut held = Held::default();
        for key in (0..KEYS).filter(|key| state.owned >> key & 1 == 1) {
            let seen = state.seen[key];
            if is_known(seen) {
                let first = seen.trailing_zeros();
                let kind = match self.scenario.resources.get((first / 2) as usize) {
                    Some(resource) => resource.kind,
                    None => 2,
                };
                *held.held.entry((kind, (first % 2) as u8)).or_default() += 1;
                held.by_blueprint[key / 3] += 1;
            }
        }
        let units = self.unit_refs(&state.run);
        for (position, entry) in self.mapping(&state.run).iter().enumerate() {
            let (mut resources, mut identifiers) = (0, 0);
            for (unit, outcome) in units.iter().zip(state.run.outcomes) {
                if usize::from(unit.entry) != position {
                    continue;
                }
                let listed =
                    (0..2).filter(|resource| self.unit_lists(state, *unit, *resource)).count() as u64;
                match Outcome::of(outcome) {
                    Outcome::Complete | Outcome::Interrupted => {
                        resources += listed;
                        identifiers += if entry.name { listed.min(1) } else { listed };
                    }
                    Outcome::Unmapped => resources += listed,
                    _ => {}
                }
            }
            if identifiers * 2 < resources {
                held.mistaken.push((position, *entry, resources, identifiers));
            }
        }
        held
    }

    /// Checks the limit of a part, apart from the code that applies it.
    fn exceeds(&self, state: &State, decided: &Decided, held: &Held) -> Result<(), Violation> {
        let Decision::Delete(basis) = &decided.decision else { return Ok(()) };
        if self.scenario.weight < 20 || basis.removed {
            return Ok(());
        }
        for account in 0..2u8 {
            for kind in 0..3u8 {
                let of_part = |key: &usize| {
                    state.made_by(*key, account)
                        && match key.checked_sub(ACCOUNT_KEYS) {
                            Some(_) => kind == 2,
                            None => self.scenario.resources[key % 3 % 2].kind == kind,
                        }
                };
                let lost =
                    (0..KEYS).filter(|key| state.doomed >> key & 1 == 1).filter(of_part).count() as u64;
                let kept = held.held.get(&(kind, account)).copied().unwrap_or(0);
                if lost > 0 && kept == 0 && is_certain(basis) {
                    return Err(Violation::LimitExceeded(format!(
                        "all entities of kind {kind} and account {account} at once"
                    )));
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, state: &mut State, key: usize, event: bool) -> Result<(), Violation> {
        let cell = state.catalog[key];
        if !is_own(cell) {
            return if cell == ABSENT { Ok(()) } else { Err(Violation::ForeignDeleted(name(key))) };
        }
        if let Some(why) = self.why_live(state, key, event) {
            return Err(Violation::LiveDeleted(format!("{}: {why}", name(key))));
        }
        self.deletions += 1;
        set(state, u8::try_from(key).unwrap_or(u8::MAX), ABSENT);
        Ok(())
    }

    /// Why an entity must not be deleted, by what is true in AWS, what operators said, and what this
    /// resync has read; whatever the rules think.
    fn why_live(&self, state: &State, key: usize, event: bool) -> Option<String> {
        let run = &state.run;
        let complete = !event && self.rules.is_complete(run);
        let meant = |account: u8, scope: usize| {
            let counted = count_of(state.away, scope) + u8::from(complete);
            run.confirmed >> account & 1 == 1 || self.scenario.ledger && counted >= AFTER
        };
        let name = |account: u8| ["A", "B"][usize::from(account)];
        if let Some(account) = key.checked_sub(ACCOUNT_KEYS) {
            let account = u8::try_from(account).unwrap_or(0);
            if run.accounts >> account & 1 == 1 {
                return Some("the account is on the list".into());
            }
            return (!meant(account, account_scope(account))).then(|| "nobody means that".to_owned());
        }
        // Nothing records nor states where it was: what is not read cannot be told from what is gone.
        let record = if event { state.ledger[key] } else { state.view[key] };
        let stale = self.stale(state, key, record);
        let reported = is_known(record) || stale.account > 0 && stale.region > 0;
        let account_reported = |account: u8| {
            is_known(record)
                || stale.account > 0
                || is_own(state.catalog[ACCOUNT_KEYS + usize::from(account)])
                || state.doomed >> (ACCOUNT_KEYS + usize::from(account)) & 1 == 1
        };
        for resource in (0..2).filter(|resource| self.represents(key, *resource)) {
            let of = self.scenario.resources[resource];
            // By rule 2 an entity without a record is of the one kind that fills its blueprint today, and
            // one resource made it.
            let mut fill = self.mapping(run).iter().filter(|entry| usize::from(entry.blueprint) == key / 3);
            let other = fill.all(|entry| entry.kind != of.kind) || key % 3 == 2;
            if !is_known(record) && stale.account > 0 && other {
                continue;
            }
            for account in (0..2).filter(|account| self.listed_by(state, resource) >> account & 1 == 1) {
                let made = state.made_by(key, account);
                if run.accounts >> account & 1 == 0 {
                    if made && account_reported(account) && !meant(account, account_scope(account)) {
                        return Some(format!(
                            "account {} left the list, which nobody confirmed",
                            name(account)
                        ));
                    }
                    continue;
                }
                if state.fresh >> (2 * resource + usize::from(account)) & 1 == 1 {
                    continue;
                }
                let entries: Vec<(usize, Entry)> = self
                    .mapping(run)
                    .iter()
                    .copied()
                    .enumerate()
                    .filter(|(_, e)| e.kind == of.kind)
                    .collect();
                if entries.is_empty() {
                    if made && !complete {
                        return Some("its entry was deleted, and not everything was read".into());
                    }
                    continue;
                }
                let enabled = run.regions >> (2 * account + of.region) & 1 == 1;
                let same = entries
                    .iter()
                    .filter(|(_, entry)| key_of(self.scenario, *entry, resource) == Some(key))
                    .collect::<Vec<_>>();
                let read = |entry: &Entry| enabled && entry.allowed >> of.region & 1 == 1;
                if same.iter().any(|(_, entry)| read(entry)) {
                    return Some(format!("account {} lists it", name(account)));
                }
                // Its entity under today's key.
                let stands = |entry: &Entry| {
                    key_of(self.scenario, *entry, resource).is_some_and(|today| {
                        today != key && is_own(state.catalog[today]) && state.doomed >> today & 1 == 0
                    })
                };
                let considered: Vec<(usize, Entry)> =
                    if same.is_empty() { entries.clone() } else { same.into_iter().copied().collect() };
                if event || !made || entries.iter().any(|(_, entry)| stands(entry)) {
                    continue;
                }
                for (position, entry) in considered {
                    if !read(&entry) {
                        let scope = if enabled {
                            kind_scope(account, of.region, of.kind)
                        } else {
                            region_scope(account, of.region)
                        };
                        let recorded = record & self.rules.producer_bit(resource, account) != 0;
                        if reported && (recorded || !is_known(record)) && !meant(account, scope) {
                            return Some(format!(
                                "account {} still has it where nothing is read any more, which nobody confirmed",
                                name(account)
                            ));
                        }
                        continue;
                    }
                    if !self.was_read(state, account, position, of.region) {
                        return Some(format!(
                            "account {} lists it under another key, and was not read completely",
                            name(account)
                        ));
                    }
                }
            }
        }
        None
    }

    /// Whether an entity under a key can stand for a resource.
    fn represents(&self, key: usize, resource: usize) -> bool {
        let entries = self.scenario.mappings.iter().flatten();
        entries.into_iter().any(|entry| key_of(self.scenario, *entry, resource) == Some(key))
    }

    fn was_read(&self, state: &State, account: u8, entry: usize, region: u8) -> bool {
        let units = self.unit_refs(&state.run);
        let at = units.iter().position(|unit| {
            (unit.account, usize::from(unit.entry), unit.region) == (account, entry, region)
        });
        at.is_some_and(|at| Outcome::of(state.run.outcomes[at]).is_complete())
    }

    /// Brings the ledger up to date.
    fn remember(&self, state: &mut State) {
        let complete = self.rules.is_complete(&state.run);
        for key in 0..KEYS {
            let vanished = state.view[key] != NOTHING && state.owned >> key & 1 == 0;
            if complete && vanished && state.seen[key] == NOTHING {
                state.ledger[key] = NOTHING;
                state.provisional &= !(1 << key);
                state.exact[key] = NOTHING;
            }
            if state.touched >> key & 1 == 1 {
                if state.view[key] != NOTHING {
                    store(state, key, state.view[key]);
                } else if state.seen[key] != NOTHING {
                    state.ledger[key] = NOTHING;
                    state.provisional &= !(1 << key);
                    state.exact[key] = NOTHING;
                }
                continue;
            }
            let (before, seen) = (state.view[key], state.seen[key]);
            if !is_known(seen) || state.ledger[key] == NOTHING {
                continue;
            }
            let single = key >= ACCOUNT_KEYS
                || self
                    .mapping(&state.run)
                    .iter()
                    .filter(|entry| {
                        (0..2).any(|resource| key_of(self.scenario, **entry, resource) == Some(key))
                    })
                    .all(|entry| self.single(*entry));
            let one = seen.is_power_of_two();
            let settled = one && (before == seen || single && !is_known(before)) || before == SOMEBODY_ELSE;
            if !settled || self.rules.has(Mutant::LastWriterWins) {
                let at = u8::try_from(key).unwrap_or(u8::MAX);
                let last = if key >= ACCOUNT_KEYS { seen } else { state.last[key] };
                let after = self.rules.producers_after(&state.run, at, before, seen, last, single);
                store(state, key, after);
            }
        }
    }

    fn end(&self, state: &mut State) {
        for key in 0..KEYS {
            if state.exact[key] != NOTHING {
                state.ledger[key] = state.exact[key];
            }
        }
        let run = state.run;
        state.run.missing = self.rules.missing_after(&run, state.kept);
        let complete = self.rules.is_complete(&run);
        let mapping = self.mapping(&run);
        for scope in 0..SCOPES {
            if let Some(missing) = is_missing(&run, mapping, scope) {
                let count = if missing { count_of(state.away, scope) + u8::from(complete) } else { 0 };
                state.away = with_count(state.away, scope, count);
            }
        }
        for (unit, outcome) in self.unit_refs(&run).iter().zip(run.outcomes) {
            for resource in 0..2 {
                if !self.unit_lists(state, *unit, resource) {
                    continue;
                }
                let bit = 1 << (2 * resource + usize::from(unit.account));
                let entry = self.mapping(&run)[usize::from(unit.entry)];
                let seen = key_of(self.scenario, entry, resource).is_some_and(|key| {
                    state.seen[key] & self.rules.producer_bit(resource, unit.account) != 0
                });
                match Outcome::of(outcome) {
                    Outcome::Missed => state.fresh |= bit,
                    Outcome::Complete if seen => state.fresh &= !bit,
                    _ => {}
                }
            }
        }
        for resource in 0..2 {
            let others = 3 & !self.listed_by(state, resource);
            state.fresh &= !(others << (2 * resource));
        }
        idle(state);
    }

    fn crash(&self, state: &mut State) {
        for key in 0..KEYS {
            if self.rules.has(Mutant::CrashForgetsProducers) {
                if state.exact[key] != NOTHING {
                    state.ledger[key] = state.exact[key];
                }
            } else if state.provisional >> key & 1 == 1 {
                state.ledger[key] = UNKNOWN;
            }
        }
        idle(state);
    }

    fn event(&mut self, state: &mut State, account: u8, resource: usize) -> Result<(), Violation> {
        let of = self.scenario.resources[resource];
        let exists = self.listed_by(state, resource) >> account & 1 == 1;
        let bit = self.rules.producer_bit(resource, account);
        let entries: Vec<Entry> = self
            .mapping(&state.run)
            .iter()
            .filter(|entry| entry.kind == of.kind && entry.allowed >> of.region & 1 == 1)
            .copied()
            .collect();
        for entry in entries {
            let Some(key) = key_of(self.scenario, entry, resource) else { continue };
            if entry.searched {
                continue;
            }
            if exists {
                state.touched |= 1 << key;
                if self.scenario.ledger && self.single(entry) {
                    state.ledger[key] = match state.ledger[key] {
                        NOTHING => bit,
                        record if is_known(record) => record | bit,
                        other => other,
                    };
                }
                self.write(state, key, account, entry, resource);
            } else if !entry.name && state.catalog[key] >= FOUND {
                state.touched |= 1 << key;
                let record = match state.provisional >> key & 1 {
                    1 => UNKNOWN,
                    _ => state.ledger[key],
                };
                let stale = self.stale(state, key, record);
                if self.rules.allows_event(state.run.mapping, stale, bit) {
                    self.delete(state, key, true)?;
                }
            }
        }
        if state.is_idle() {
            state.touched = 0;
        }
        Ok(())
    }

    /// Runs a resync in which nothing fails.
    ///
    /// # Errors
    /// What must never happen, and does.
    pub fn complete_resync(&mut self, state: &State) -> Result<State, Violation> {
        let mut state = self.apply(state, Action::Begin { denied: 0, rest: 0 })?;
        while !state.is_idle() {
            let units = self.unit_refs(&state.run).len();
            let reads = state.phase == Phase::Reading && usize::from(state.unit) < units;
            let action = if reads { Action::Unit(Outcome::Complete) } else { Action::Step };
            state = self.apply(&state, action)?;
        }
        Ok(state)
    }

    /// After how many complete resyncs what is gone is deleted at the latest.
    pub fn enough_resyncs(&self) -> u8 {
        AFTER + 2
    }

    /// Checks the state after enough complete resyncs.
    ///
    /// # Errors
    /// What must never happen, and does.
    pub fn check_settled(&self, state: &State) -> Result<(), Violation> {
        for key in 0..KEYS {
            let (wanted, searched) = (self.is_wanted(state, key, false), self.is_wanted(state, key, true));
            let stale = !wanted && !searched;
            if is_own(state.catalog[key]) && stale {
                let at = u8::try_from(key).unwrap_or(u8::MAX);
                let excused = match self.kept.get(&at) {
                    // A limit, which an operator can lift; or a search query found it.
                    Some(None | Some(Keep::SomebodyElse)) => true,
                    // Without a state directory nobody counts, and an operator has to confirm.
                    Some(Some(Keep::ScopeRemoved { resyncs, .. })) => resyncs.is_none(),
                    _ => false,
                };
                if !excused {
                    let why = self.kept.get(&at);
                    return Err(Violation::NeverSettled(format!("{} stays: {why:?}", name(key))));
                }
            }
            if wanted && state.catalog[key] == ABSENT {
                return Err(Violation::NeverSettled(format!("{} is not there", name(key))));
            }
        }
        Ok(())
    }

    /// Whether today's mapping makes an entity of something that is read.
    fn is_wanted(&self, state: &State, key: usize, searched: bool) -> bool {
        let run = &state.run;
        if let Some(account) = key.checked_sub(ACCOUNT_KEYS) {
            return !searched && run.accounts >> account & 1 == 1;
        }
        (0..2).any(|resource| {
            let of = self.scenario.resources[resource];
            let listing = self.listed_by(state, resource) & run.accounts;
            self.mapping(run).iter().any(|entry| {
                entry.searched == searched
                    && entry.allowed >> of.region & 1 == 1
                    && key_of(self.scenario, *entry, resource) == Some(key)
                    && (0..2u8).any(|a| listing >> a & run.regions >> (2 * a + of.region) & 1 == 1)
            })
        })
    }

    /// A state, in words.
    pub fn describe(&self, state: &State) -> String {
        let there = |at: usize| ["gone", "there", "shared"][usize::from(state.resources[at].min(2))];
        let mut text = format!("resources {}, {};", there(0), there(1));
        _ = write!(text, " accounts {:02b}, regions {:04b};", state.run.accounts, state.run.regions);
        for (key, cell) in state.catalog.iter().enumerate().filter(|(_, cell)| **cell != ABSENT) {
            let of = match *cell {
                OTHER => " (other integration)".to_owned(),
                PERSON => " (person)".to_owned(),
                FOUND => " (found by search)".to_owned(),
                own => match (own - OWN) / 3 {
                    0 => String::new(),
                    account => format!(" (of {})", ["A", "B"][usize::from(account - 1)]),
                },
            };
            _ = write!(text, " {}{of}", name(key));
            let record = match state.ledger[key] {
                NOTHING => continue,
                UNKNOWN => "unknown".to_owned(),
                SOMEBODY_ELSE => "somebody else".to_owned(),
                known => format!("{known:06b}"),
            };
            _ = write!(text, " [{record}]");
        }
        if state.run.missing > 0 {
            _ = write!(text, "; missing {:b}", state.run.missing);
        }
        text
    }
}

/// The key of the entity that an entry makes of a resource.
fn key_of(scenario: &Scenario, entry: Entry, resource: usize) -> Option<usize> {
    let of = scenario.resources[resource];
    (of.kind == entry.kind).then(|| 3 * usize::from(entry.blueprint) + if entry.name { 2 } else { resource })
}

/// Whether the parts of a deletion name kind and account, so that the limit of a part applies.
fn is_certain(basis: &berth_sync::deletion::Basis) -> bool {
    basis.parts.iter().any(|part| part.kind.is_some() && part.account.is_some())
}

/// Whether a scope is missing in a resync; `None` where that cannot be told.
fn is_missing(run: &Resync, mapping: &[Entry], scope: usize) -> Option<bool> {
    let on_list = |account: u8| run.accounts >> account & 1 == 1;
    let denied = |account: u8| run.denied >> account & 1 == 1;
    let enabled = |account: u8, region: u8| run.regions >> (2 * account + region) & 1 == 1;
    let number = |scope: usize| u8::try_from(scope).unwrap_or(0);
    match scope {
        0 | 1 => Some(!on_list(number(scope))),
        2..6 => {
            let (account, region) = (number(scope - 2) / 2, number(scope - 2) % 2);
            match on_list(account) && !denied(account) {
                true => Some(!enabled(account, region)),
                false if denied(account) => None,
                false => Some(false),
            }
        }
        8..16 => {
            let (account, rest) = (number(scope - 8) / 4, number(scope - 8) % 4);
            let (region, kind) = (rest / 2, rest % 2);
            if denied(account) {
                return None;
            }
            let of_kind: Vec<&Entry> = mapping.iter().filter(|entry| entry.kind == kind).collect();
            let left_out = of_kind.iter().all(|entry| entry.allowed >> region & 1 == 0);
            Some(on_list(account) && !of_kind.is_empty() && left_out)
        }
        _ => Some(false),
    }
}

fn set(state: &mut State, key: u8, cell: Cell) {
    state.catalog[usize::from(key)] = cell;
    state.made_by &= !(3 << (2 * key));
}

/// Records producers as the ledger does: until the resync ends they are added to what was known.
fn store(state: &mut State, key: usize, set: Record) {
    let fresh = state.ledger[key] == NOTHING || state.provisional >> key & 1 == 1;
    let former = if fresh { UNKNOWN } else { state.ledger[key] };
    state.provisional &= !(1 << key);
    state.exact[key] = NOTHING;
    if !is_known(set) {
        state.ledger[key] = set;
        return;
    }
    match former {
        UNKNOWN => {
            state.ledger[key] = set;
            state.provisional |= 1 << key;
        }
        SOMEBODY_ELSE => {
            state.ledger[key] = SOMEBODY_ELSE;
            state.exact[key] = set;
        }
        known => {
            state.ledger[key] = known | set;
            if known | set != set {
                state.exact[key] = set;
            }
        }
    }
}

fn flush(state: &mut State) {
    for key in 0..KEYS {
        if state.pending[key] != NOTHING {
            store(state, key, state.pending[key]);
            state.pending[key] = NOTHING;
        }
    }
}

/// Forgets everything that only counts during a resync.
fn idle(state: &mut State) {
    state.phase = Phase::Idle;
    state.provisional = 0;
    state.unit = 0;
    state.view = [NOTHING; KEYS];
    state.owned = 0;
    state.seen = [NOTHING; KEYS];
    state.last = [NOTHING; KEYS];
    state.pending = [NOTHING; KEYS];
    state.exact = [NOTHING; KEYS];
    state.touched = 0;
    state.doomed = 0;
    state.kept = 0;
    state.run.denied = 0;
    state.run.outcomes = [0; UNITS];
    state.run.rest = 0;
    state.run.departed = 0;
}
