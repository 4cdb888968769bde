//! A scenario: the resources, the changes and the faults, all drawn from one seed. Plain data, so that a failing
//! scenario can be minimized.

use crate::world::{Key, Kind};

/// Random numbers of the scenario, apart from those that the host draws.
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// Begins with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(1))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or_default()
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }
}

/// Which calls of AWS a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// The list.
    List,
    /// What describes an item or a batch.
    Describe,
    /// The tags of an item.
    Tags,
}

/// What a call of AWS comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AwsFault {
    /// It is denied.
    Denied,
    /// Too many requests.
    Throttled,
    /// No answer.
    Hang,
    /// The connection is cut.
    Reset,
    /// The answer breaks off.
    Truncated,
    /// The answer is no answer of AWS.
    Malformed,
    /// The service fails.
    Failed,
    /// The session has expired.
    Expired,
    /// The page tokens turn in a circle.
    TokenCycle,
    /// A page has no item, and says that there are more.
    EmptyPage,
    /// The list is not in the answer.
    NoList,
    /// The answer says that there are more, but not how to get them.
    NoToken,
    /// The list lags behind: one resource is not in it.
    LaggingList,
    /// A resource that is there is said to be missing.
    LaggingDescribe,
    /// A batch names a resource as failed for a moment.
    BatchThrottled,
    /// A batch does not mention a resource.
    BatchSilent,
}

/// Which requests to Port a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// All.
    Any,
    /// Upserts.
    Upsert,
    /// Deletions.
    Delete,
    /// Searches.
    Search,
    /// The list of what the integration owns.
    Owned,
    /// The integration's document.
    Integration,
    /// Tokens.
    Token,
}

/// What a request to Port comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortFault {
    /// 429, with the headers that tell when to come back.
    Limited,
    /// 500.
    Failed,
    /// 502.
    BadGateway,
    /// No answer.
    Hang,
    /// The connection is cut before anything is done.
    ResetBefore,
    /// The connection is cut after it is done.
    ResetAfter,
    /// It is done, and the answer breaks off.
    Truncated,
    /// It is done, and the answer is no answer of Port.
    Malformed,
    /// One entity of a bulk is not written.
    Partial,
    /// The token has expired.
    Expired,
}

/// How the mapping of a batch fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapFault {
    /// The plugin traps.
    Trap,
    /// The plugin does not end.
    Loop,
    /// The plugin answers nonsense.
    Nonsense,
    /// The plugin refuses one resource.
    Refuses,
}

/// A change of the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Creates a resource, or changes it.
    Put(Key, Option<usize>),
    /// Changes its tags.
    Tag(Key),
    /// Removes it.
    Remove(Key),
    /// Removes it and creates it again at once.
    Replace(Key),
}

impl Change {
    /// Which resource.
    pub fn key(&self) -> Key {
        match self {
            Self::Put(key, _) | Self::Tag(key) | Self::Remove(key) | Self::Replace(key) => *key,
        }
    }
}

/// How the events about something come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// How long after it happened, in milliseconds.
    pub delay: u64,
    /// How often.
    pub times: u32,
    /// Whether they say that the resource is gone, whatever happened.
    pub gone: bool,
    /// Whether they name another account than the resource's.
    pub elsewhere: bool,
}

/// A change of what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeChange {
    /// A person renames the blueprint that an entry fills.
    Rename(Kind),
    /// A person deletes an entry.
    DropEntry(Kind),
    /// A person adds it again.
    AddEntry(Kind),
    /// A person breaks the identifier of an entry.
    Nameless(Kind),
    /// A person reverses the order of the entries.
    Reorder,
    /// A person restricts an entry to a region.
    Restrict(Kind, usize),
    /// A person takes that back.
    Widen(Kind),
    /// The settings name an account no more. Before the next process only.
    Unlist(usize),
    /// The settings name it again. Before the next process only.
    List(usize),
    /// A region of an account is switched off.
    Off(usize, usize),
    /// It is switched on.
    On(usize, usize),
}

/// What a person or another integration does in Port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Creates an entity that has a resource's identifier.
    Create(Key),
    /// Edits one of the integration's entities.
    Edit(u64),
    /// Deletes one.
    Delete(u64),
    /// Another integration writes one.
    TakeOver(u64),
    /// Changes the type of a property.
    BreakBlueprint(Kind),
    /// Deletes a blueprint, with its entities.
    DropBlueprint(Kind),
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// The truth changes, so many milliseconds after the process began.
    Change(u64, Change, Option<Delivery>),
    /// An event comes although nothing happened.
    Event(u64, Key, Delivery),
    /// What is read changes; at 0 before the process begins.
    Scope(u64, ScopeChange),
    /// Somebody is at work in Port.
    Act(u64, Act),
    /// Calls of AWS fail: of a kind, in an account and a region, after so many, so many times.
    Aws(AwsFault, Call, Key, u32, u32),
    /// A role is not given.
    Role(AwsFault, usize, u32),
    /// The regions of an account are not told.
    Regions(AwsFault, usize, u32),
    /// Requests to Port fail, after so many, so many times.
    Port(PortFault, Route, u32, u32),
    /// The host is killed at that call, before or after it is done.
    Crash(u64, bool),
    /// The ledger is lost before the process begins.
    LedgerLost,
    /// The file of the ledger is damaged before the process begins.
    LedgerTorn,
    /// The disk is full, after so many writes, for so many.
    DiskFull(u32, u32),
    /// Batches of a kind are not mapped, after so many, so many times.
    Map(MapFault, Kind, u32, u32),
    /// The machine's clock is off by so many seconds.
    Skew(i64),
    /// A second host runs, and begins so many milliseconds later.
    SecondHost(u64),
}

/// One thing that happens, and in which process of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The process.
    pub round: usize,
    /// What happens.
    pub what: What,
}

/// A scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// What it was drawn from; also what the host draws from.
    pub seed: u64,
    /// How many accounts there are.
    pub accounts: usize,
    /// How many regions there are.
    pub regions: usize,
    /// The resources at the beginning.
    pub resources: Vec<(Key, Option<usize>)>,
    /// Whether the host has a ledger.
    pub ledger: bool,
    /// Whether the host follows live events.
    pub live: bool,
    /// How many processes of the host run before the last, which meets no fault.
    pub rounds: usize,
    /// What happens.
    pub items: Vec<Item>,
}

fn key(draws: &mut Draws, Place { accounts, regions, kinds, .. }: Place<'_>) -> Key {
    let kind = draws.of(kinds);
    let region = draws.index(regions);
    Key {
        kind,
        account: draws.index(accounts),
        region: if kind.is_regional() { region } else { 0 },
        number: u32::try_from(draws.below(9)).unwrap_or_default(),
    }
}

fn shared(draws: &mut Draws, key: Key, accounts: usize) -> Option<usize> {
    let other = (key.account + 1) % accounts;
    (key.kind == Kind::Subnet && other != key.account && draws.one_in(2)).then_some(other)
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut draws = Draws::new(seed);
        let draws = &mut draws;
        // Half of all worlds are narrow: lists have several pages there, and what happens often happens to the
        // same resources.
        let narrow = draws.one_in(2);
        let accounts = 1 + draws.index(if narrow { 2 } else { 3 });
        let regions = 1 + draws.index(if narrow { 1 } else { 3 });
        let first = draws.index(Kind::WITH_RESOURCES.len() - 1);
        let kinds = if narrow { &Kind::WITH_RESOURCES[first..first + 2] } else { &Kind::WITH_RESOURCES };
        let empty = Place { accounts, regions, kinds, resources: &[] };
        let resources = (0..draws.below(28)).map(|_| {
            let key = key(draws, empty);
            (key, shared(draws, key, accounts))
        });
        let resources: Vec<(Key, Option<usize>)> = resources.collect();
        let (ledger, live) = (!draws.one_in(4), draws.one_in(3));
        let rounds = 1 + draws.index(3);
        let mut items = Vec::new();
        for round in 0..rounds {
            // Some processes meet no fault, so that something is in the catalog.
            let (changes, faults) = if round == 0 && draws.one_in(2) { (2, 0) } else { (8, 6) };
            for _ in 0..draws.below(changes) {
                items.push(Item {
                    round,
                    what: change(draws, Place { resources: &resources, ..empty }, live),
                });
            }
            for _ in 0..draws.below(faults) {
                items.push(Item {
                    round,
                    what: fault(draws, Place { resources: &resources, ..empty }, ledger),
                });
            }
        }
        Self { seed, accounts, regions, resources, ledger, live, rounds, items }
    }
}

/// What a world has.
#[derive(Clone, Copy)]
struct Place<'p> {
    accounts: usize,
    regions: usize,
    /// The kinds that have resources.
    kinds: &'p [Kind],
    /// The resources at the beginning.
    resources: &'p [(Key, Option<usize>)],
}

/// Most often a resource that is there.
fn chosen(draws: &mut Draws, place: Place<'_>) -> Key {
    match place.resources {
        [_, ..] if !draws.one_in(3) => draws.of(place.resources).0,
        _ => key(draws, place),
    }
}

fn change(draws: &mut Draws, place: Place<'_>, live: bool) -> What {
    let (key, accounts) = (chosen(draws, place), place.accounts);
    let at = if draws.one_in(2) { 0 } else { draws.below(4_000) };
    let delivery = Delivery {
        delay: draws.of(&[0, 5, 300, 5_000, 90_000]),
        times: draws.of(&[1, 1, 2, 30]),
        gone: draws.one_in(4),
        elsewhere: draws.one_in(8),
    };
    match draws.below(20) {
        0..=4 => What::Change(at, Change::Put(key, shared(draws, key, accounts)), live.then_some(delivery)),
        5..=8 => What::Change(at, Change::Remove(key), live.then_some(delivery)),
        9 => What::Change(at, Change::Replace(key), live.then_some(delivery)),
        10 => What::Change(at, Change::Tag(Key { kind: Kind::Table, ..key }), live.then_some(delivery)),
        11 if live => What::Event(at, key, delivery),
        11..=14 => {
            let kind = if draws.one_in(5) { Kind::Account } else { draws.of(place.kinds) };
            let account = draws.index(accounts);
            let change = match draws.below(12) {
                0 | 1 => ScopeChange::Rename(kind),
                2 => ScopeChange::DropEntry(kind),
                3 => ScopeChange::AddEntry(kind),
                4 => ScopeChange::Nameless(kind),
                5 => ScopeChange::Reorder,
                6 => ScopeChange::Restrict(kind, key.region),
                7 => ScopeChange::Widen(kind),
                8 => return What::Scope(0, ScopeChange::Unlist(account)),
                9 => return What::Scope(0, ScopeChange::List(account)),
                10 => ScopeChange::Off(account, key.region),
                _ => ScopeChange::On(account, key.region),
            };
            What::Scope(at, change)
        }
        15 | 16 => What::Act(at, Act::Create(key)),
        17 => What::Act(at, Act::Edit(draws.number())),
        18 => What::Act(
            at,
            if draws.one_in(3) { Act::TakeOver(draws.number()) } else { Act::Delete(draws.number()) },
        ),
        _ => {
            let kind = draws.of(place.kinds);
            What::Act(at, if draws.one_in(2) { Act::BreakBlueprint(kind) } else { Act::DropBlueprint(kind) })
        }
    }
}

/// What any call of AWS may meet.
const ANY_CALL: [AwsFault; 8] = [
    AwsFault::Denied,
    AwsFault::Throttled,
    AwsFault::Hang,
    AwsFault::Reset,
    AwsFault::Truncated,
    AwsFault::Malformed,
    AwsFault::Failed,
    AwsFault::Expired,
];

fn fault(draws: &mut Draws, place: Place<'_>, ledger: bool) -> What {
    use AwsFault as A;
    use PortFault as P;
    let key = chosen(draws, place);
    let skip = u32::try_from(draws.below(4)).unwrap_or_default();
    let times = draws.of(&[1, 1, 2, 6, 40]);
    match draws.below(32) {
        0..=8 => {
            let fault = draws.of(&[
                &ANY_CALL[..],
                &[A::TokenCycle, A::EmptyPage, A::NoList, A::NoToken, A::LaggingList, A::LaggingList],
            ]
            .concat());
            let once = matches!(fault, A::LaggingList);
            What::Aws(
                fault,
                Call::List,
                key,
                if draws.one_in(2) { 0 } else { skip },
                if once { 1 } else { times },
            )
        }
        9..=12 => {
            let key = Key { kind: if draws.one_in(2) { Kind::Cluster } else { Kind::Table }, ..key };
            let fault =
                draws.of(&[&ANY_CALL[..], &[A::LaggingDescribe, A::BatchThrottled, A::BatchSilent]].concat());
            What::Aws(fault, Call::Describe, key, skip, times)
        }
        13 => {
            let fault = draws.of(&[A::Denied, A::Throttled, A::Failed, A::LaggingDescribe, A::NoList]);
            What::Aws(fault, Call::Tags, Key { kind: Kind::Table, ..key }, skip, times)
        }
        14 => {
            What::Role(draws.of(&[A::Denied, A::Failed, A::Hang, A::Throttled, A::Reset]), key.account, times)
        }
        15 => What::Regions(
            draws.of(&[A::Denied, A::Failed, A::Truncated, A::TokenCycle, A::NoList]),
            key.account,
            times,
        ),
        16..=23 => {
            let fault = draws.of(&[
                P::Limited,
                P::Failed,
                P::BadGateway,
                P::Hang,
                P::ResetBefore,
                P::ResetAfter,
                P::Truncated,
                P::Malformed,
                P::Partial,
                P::Expired,
            ]);
            let route = match fault {
                P::Partial => Route::Upsert,
                _ => draws.of(&[
                    Route::Any,
                    Route::Upsert,
                    Route::Delete,
                    Route::Search,
                    Route::Owned,
                    Route::Integration,
                    Route::Token,
                ]),
            };
            What::Port(fault, route, skip * 2, times)
        }
        24 | 25 => What::Crash(1 + draws.below(90), draws.one_in(2)),
        26 if ledger => match draws.below(3) {
            0 => What::LedgerLost,
            1 => What::LedgerTorn,
            _ => What::DiskFull(skip, times),
        },
        27 | 28 => {
            let fault = draws.of(&[MapFault::Trap, MapFault::Loop, MapFault::Nonsense, MapFault::Refuses]);
            let kind = if draws.one_in(5) { Kind::Account } else { draws.of(place.kinds) };
            What::Map(fault, kind, skip, times)
        }
        29 => What::Skew(draws.of(&[-7_200, -400, 400, 7_200])),
        30 => What::SecondHost(draws.below(1_500)),
        _ => What::Port(P::Limited, Route::Any, skip, times),
    }
}
