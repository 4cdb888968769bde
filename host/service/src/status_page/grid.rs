//! The units of a resync: accounts × places × kinds.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use berth_embed::{
    UnitReport,
    core::{Account, AccountId, Kind, Place, UnitId, UnitState},
};
use serde::Serialize;

/// The state of a unit, as one letter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mark {
    #[default]
    Queued,
    Running,
    Complete,
    Skipped,
    Failed,
}

impl Mark {
    fn of(state: &UnitState) -> Self {
        match state {
            UnitState::Complete => Self::Complete,
            UnitState::Skipped(_) => Self::Skipped,
            UnitState::Failed(_) => Self::Failed,
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Queued => 'q',
            Self::Running => 'r',
            Self::Complete => 'c',
            Self::Skipped => 's',
            Self::Failed => 'f',
        }
    }
}

/// A unit, and when it last changed.
#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    account: u32,
    place: u32,
    kind: u32,
    mark: Mark,
    fetched: u64,
    millis: u64,
    group: Option<u32>,
    version: u64,
}

/// A unit that has changed: the positions of account, place and kind; its state; resources read;
/// milliseconds; the position of its problem.
#[derive(Debug, Serialize)]
pub(super) struct UnitRow(u32, u32, u32, char, u64, u64, Option<u32>);

/// All units of one account in one place, by kind.
#[derive(Debug, Serialize)]
struct Cell {
    account: u32,
    place: u32,
    /// A letter for each kind, `-` if there is no unit.
    states: String,
    fetched: Vec<u64>,
    millis: Vec<u64>,
    /// Positions of problems, by kind.
    #[serde(rename = "troubles")]
    problems: BTreeMap<u32, u32>,
}

/// The complete grid.
#[derive(Debug, Serialize)]
pub(super) struct Layout {
    /// ID and name.
    accounts: Vec<(String, String)>,
    places: Vec<String>,
    kinds: Vec<String>,
    cells: Vec<Cell>,
}

#[derive(Debug, Default)]
pub(super) struct Grid {
    accounts: Vec<(AccountId, String)>,
    /// `None` stands for all regions of an account whose regions are unknown.
    places: Vec<Option<Place>>,
    /// With their positions in the mapping, because a kind can occur several times.
    kinds: Vec<(usize, Kind)>,
    known: HashMap<UnitId, u32>,
    entries: Vec<Entry>,
}

impl Grid {
    /// Adds an account of the resync.
    pub(super) fn account(&mut self, account: &Account) {
        self.accounts.push((account.id.clone(), account.name.clone()));
    }

    /// Adds all units, as queued, and accounts that were not named before.
    pub(super) fn plan<'u>(&mut self, units: impl Iterator<Item = &'u UnitId> + Clone) {
        let known: BTreeSet<AccountId> = self.accounts.iter().map(|(id, _)| id.clone()).collect();
        let missing: BTreeSet<&AccountId> =
            units.clone().map(|unit| &unit.account).filter(|id| !known.contains(*id)).collect();
        self.accounts.extend(missing.into_iter().map(|id| (id.clone(), String::new())));
        self.places =
            units.clone().map(|unit| unit.place.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        self.kinds = units
            .clone()
            .map(|unit| (unit.resource, unit.kind.clone()))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let accounts: HashMap<&AccountId, u32> = self.accounts.iter().map(|(id, _)| id).zip(0..).collect();
        let places: BTreeMap<&Option<Place>, u32> = self.places.iter().zip(0..).collect();
        let kinds: BTreeMap<usize, u32> = self.kinds.iter().map(|(index, _)| *index).zip(0..).collect();
        let at = |unit: &UnitId| Entry {
            account: accounts.get(&unit.account).copied().unwrap_or_default(),
            place: places.get(&unit.place).copied().unwrap_or_default(),
            kind: kinds.get(&unit.resource).copied().unwrap_or_default(),
            ..Entry::default()
        };
        self.entries = units.clone().map(at).collect();
        self.known = units.cloned().zip(0..).collect();
    }

    pub(super) fn started(&mut self, unit: &UnitId, version: u64) {
        self.change(unit, version, |entry| entry.mark = Mark::Running);
    }

    /// Records how many resources a unit has read; returns how many more than before.
    pub(super) fn progress(&mut self, unit: &UnitId, fetched: u64, version: u64) -> u64 {
        let mut more = 0;
        self.change(unit, version, |entry| {
            more = fetched.saturating_sub(entry.fetched);
            entry.fetched += more;
        });
        more
    }

    /// Records a unit that ended before it started.
    pub(super) fn settled(&mut self, unit: &UnitId, state: &UnitState, group: Option<u32>, version: u64) {
        self.change(unit, version, |entry| {
            entry.mark = Mark::of(state);
            entry.group = group;
        });
    }

    pub(super) fn ended(&mut self, report: &UnitReport, group: Option<u32>, version: u64) {
        self.change(&report.unit, version, |entry| {
            entry.mark = Mark::of(&report.state);
            entry.fetched = report.counts.fetched;
            entry.millis = u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX);
            entry.group = group;
        });
    }

    fn change(&mut self, unit: &UnitId, version: u64, change: impl FnOnce(&mut Entry)) {
        let position = self.known.get(unit).copied();
        if let Some(entry) = position.and_then(|at| self.entries.get_mut(at as usize)) {
            change(entry);
            entry.version = version;
        }
    }

    /// Returns the number of units, and how many are complete, were skipped, and failed.
    pub(super) fn states(&self) -> [u64; 4] {
        let count = |mark| self.entries.iter().filter(|entry| entry.mark == mark).count() as u64;
        [self.entries.len() as u64, count(Mark::Complete), count(Mark::Skipped), count(Mark::Failed)]
    }

    /// Returns the units that changed since a version.
    pub(super) fn since(&self, version: u64) -> Vec<UnitRow> {
        let changed = self.entries.iter().filter(|entry| entry.version > version);
        changed
            .map(|entry| {
                let Entry { account, place, kind, mark, fetched, millis, group, .. } = *entry;
                UnitRow(account, place, kind, mark.letter(), fetched, millis, group)
            })
            .collect()
    }

    pub(super) fn layout(&self) -> Layout {
        let kinds = self.kinds.len();
        let mut cells: BTreeMap<(u32, u32), (Vec<char>, Cell)> = BTreeMap::new();
        for entry in &self.entries {
            let at = (entry.account, entry.place);
            let (states, cell) = cells.entry(at).or_insert_with(|| (vec!['-'; kinds], Cell::new(at, kinds)));
            let kind = entry.kind as usize;
            if let (Some(state), Some(fetched), Some(millis)) =
                (states.get_mut(kind), cell.fetched.get_mut(kind), cell.millis.get_mut(kind))
            {
                (*state, *fetched, *millis) = (entry.mark.letter(), entry.fetched, entry.millis);
            }
            if let Some(group) = entry.group {
                cell.problems.insert(entry.kind, group);
            }
        }
        let place = |place: &Option<Place>| place.as_ref().map_or("all regions".into(), ToString::to_string);
        Layout {
            accounts: self.accounts.iter().map(|(id, name)| (id.to_string(), name.clone())).collect(),
            places: self.places.iter().map(place).collect(),
            kinds: self.kinds.iter().map(|(_, kind)| kind.to_string()).collect(),
            cells: cells
                .into_values()
                .map(|(states, cell)| Cell { states: states.into_iter().collect(), ..cell })
                .collect(),
        }
    }
}

impl Cell {
    fn new((account, place): (u32, u32), kinds: usize) -> Self {
        Self {
            account,
            place,
            states: String::new(),
            fetched: vec![0; kinds],
            millis: vec![0; kinds],
            problems: BTreeMap::new(),
        }
    }
}
