//! Entities that a resync did not find and kept all the same: grouped by the reason, each with what an
//! operator can do about it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use berth_embed::{
    Deletion, Keep, Kept, Problem, ProblemCode, RemovalAfter, Report,
    core::{EntityKey, RemovedScope},
};
use indicatif::HumanCount;

/// Scopes for which the command is written out.
const CONFIRMED: usize = 3;
/// Entities that are named.
pub const EXAMPLES: usize = 3;

/// Why entities are kept, in a word: the label of metrics. What waits for a decision comes first.
pub const REASONS: [&str; 8] = [
    "scope-removed",
    "unmapped",
    "not-listed-twice",
    "incomplete",
    "found-again",
    "related",
    "somebody-else",
    "not-owned",
];

/// The position in [`REASONS`].
fn rank(keep: &Keep) -> usize {
    match keep {
        Keep::ScopeRemoved { .. } => 0,
        Keep::Unmapped { .. } => 1,
        Keep::NotLookedTwice { .. } => 2,
        Keep::Incomplete { .. } => 3,
        Keep::FoundAgain { .. } => 4,
        Keep::Related => 5,
        Keep::SomebodyElse => 6,
        Keep::NotOwned => 7,
    }
}

/// How many entities are kept for each reason, in the order of [`REASONS`].
pub fn counts(deletion: &Deletion) -> [(&'static str, u64); REASONS.len()] {
    let mut counts = REASONS.map(|reason| (reason, 0));
    for kept in &deletion.kept {
        counts[rank(&kept.keep)].1 += 1;
    }
    counts
}

/// How many deletions are held back by limits.
pub(crate) fn held_back(deletion: &Deletion) -> u64 {
    deletion.held_back.iter().map(|held| held.entities.len() as u64).sum()
}

/// Entities that are kept for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// Whether it waits for somebody to decide or to correct something.
    pub waits: bool,
    /// What they are, after the count: `entities of …`.
    pub what: String,
    /// The accounts, regions or units concerned, with their counts and what is to be known of each.
    pub scopes: Vec<Scope>,
    /// Some of them.
    pub examples: Vec<EntityKey>,
    /// What can be done.
    pub steps: Vec<String>,
}

/// An account, a region or a unit that entities are kept for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Its name, for people.
    pub name: String,
    /// How many entities are kept for it.
    pub count: u64,
    /// What else is to be known of it.
    pub remark: Option<String>,
    /// What confirms its removal, as `--confirm-removal` takes it.
    confirms: Option<String>,
}

impl Group {
    /// In one sentence.
    pub fn title(&self) -> String {
        format!("{} {}", HumanCount(self.count), self.what)
    }

    /// As a problem, for where those are listed.
    pub(crate) fn problem(&self) -> Problem {
        let problem = Problem::new(
            ProblemCode::DeletionUnproven,
            format!("kept, although not found: {}", self.title()),
        );
        if self.steps.is_empty() { problem } else { problem.remedy(self.steps.join("\n")) }
    }
}

/// What is kept, by reason; what waits for a decision comes first.
pub fn groups(report: &Report, after: RemovalAfter) -> Vec<Group> {
    let mut by_reason: BTreeMap<usize, Vec<&Kept>> = BTreeMap::new();
    for kept in &report.deletion.kept {
        by_reason.entry(rank(&kept.keep)).or_default().push(kept);
    }
    by_reason.into_values().map(|kept| group(&kept, report, after)).collect()
}

fn group(kept: &[&Kept], report: &Report, after: RemovalAfter) -> Group {
    // By name; what is to be known of a scope is the same for all its entities.
    let mut scopes: BTreeMap<String, Scope> = BTreeMap::new();
    let mut removed: BTreeSet<&RemovedScope> = BTreeSet::new();
    let mut unmapped: BTreeMap<String, u64> = BTreeMap::new();
    for Kept { keep, .. } in kept {
        let (name, remark, confirms) = match keep {
            Keep::ScopeRemoved { scope, resyncs } => {
                removed.insert(scope);
                (name_of(scope), Some(until(*resyncs, after, report)), Some(scope.to_string()))
            }
            Keep::Unmapped { unit, resources } => {
                unmapped.insert(unit.to_string(), *resources);
                (unit.to_string(), Some(format!("{} of its resources", HumanCount(*resources))), None)
            }
            Keep::Incomplete { unit } | Keep::FoundAgain { unit } | Keep::NotLookedTwice { unit } => {
                (unit.to_string(), None, None)
            }
            Keep::Related | Keep::SomebodyElse | Keep::NotOwned => continue,
        };
        let scope = Scope { name: name.clone(), count: 0, remark, confirms };
        scopes.entry(name).or_insert(scope).count += 1;
    }
    let mut scopes: Vec<Scope> = scopes.into_values().collect();
    // Stable: those of one count stay in the order of their names.
    scopes.sort_by_key(|scope| std::cmp::Reverse(scope.count));
    let Some(first) = kept.first() else {
        return Group {
            count: 0,
            waits: false,
            what: String::new(),
            scopes,
            examples: Vec::new(),
            steps: Vec::new(),
        };
    };
    let (what, steps) = match &first.keep {
        Keep::ScopeRemoved { .. } => removed_scopes(&removed, &scopes),
        Keep::Unmapped { .. } => {
            let resources = unmapped.values().sum();
            let what = format!(
                "that may stand for {} without an identifier",
                counted(resources, "resource", "resources")
            );
            let step = "Correct the mapping in Port, which gives these resources no identifier.";
            (what, vec![step.to_owned()])
        }
        Keep::NotLookedTwice { .. } => (
            "that could not be listed a second time".to_owned(),
            vec!["The next resync tries again.".to_owned()],
        ),
        Keep::Incomplete { .. } => (
            "that units may hold which were not read completely".to_owned(),
            vec!["Correct what stops these units: see the problems.".to_owned()],
        ),
        Keep::FoundAgain { .. } => ("that the second listing found".to_owned(), Vec::new()),
        Keep::Related => (
            "that other kept entities relate to".to_owned(),
            vec!["They are deleted when no kept entity relates to them any more.".to_owned()],
        ),
        Keep::SomebodyElse => {
            ("that somebody else made, and the mapping only adds to".to_owned(), Vec::new())
        }
        Keep::NotOwned => ("of another data source".to_owned(), Vec::new()),
    };
    let count = kept.len() as u64;
    let noun = if count == 1 { "entity" } else { "entities" };
    Group {
        count,
        waits: rank(&first.keep) <= 2,
        what: format!("{noun} {what}"),
        scopes,
        examples: kept.iter().take(EXAMPLES).map(|kept| kept.entity.clone()).collect(),
        steps,
    }
}

/// What removed scopes are, and how to confirm that.
fn removed_scopes(scopes: &BTreeSet<&RemovedScope>, largest: &[Scope]) -> (String, Vec<String>) {
    let accounts = scopes.iter().filter(|scope| matches!(scope, RemovedScope::Account(_))).count();
    let regions = scopes.len() - accounts;
    let of = match (accounts, regions) {
        (accounts, 0) => counted(accounts as u64, "account", "accounts"),
        (0, regions) => counted(regions as u64, "region", "regions"),
        (accounts, regions) => format!(
            "{} and {}",
            counted(accounts as u64, "account", "accounts"),
            counted(regions as u64, "region", "regions")
        ),
    };
    let verb = if scopes.len() == 1 { "is" } else { "are" };
    let confirms = largest.iter().filter_map(|scope| scope.confirms.as_ref());
    let flags: Vec<String> =
        confirms.take(CONFIRMED).map(|scope| format!("--confirm-removal {scope}")).collect();
    let more = if scopes.len() > CONFIRMED { " …" } else { "" };
    let steps = vec![
        "To keep them, read the accounts and regions again: correct the settings or the mapping.".to_owned(),
        format!(
            "To delete them now (`berth plan` with the same options shows what goes; in a service, set \
         `confirm_removal`):\nberth sync {}{more}",
            flags.join(" \\\n  ")
        ),
    ];
    (format!("of {of} that {verb} not read any more"), steps)
}

/// A scope, for people.
fn name_of(scope: &RemovedScope) -> String {
    match scope {
        RemovedScope::Account(account) => format!("account {account}"),
        RemovedScope::Region(None, region) => format!("region {region}"),
        RemovedScope::Region(Some(account), region) => format!("region {region} of account {account}"),
        RemovedScope::KindRegion(account, region, kind) => {
            format!("{kind} in region {region} of account {account}")
        }
    }
}

/// When the entities of a removed scope are deleted by themselves.
fn until(resyncs: Option<u32>, after: RemovalAfter, report: &Report) -> String {
    let (resyncs, after) = match (resyncs, after) {
        (_, RemovalAfter::Never) => return "kept until confirmed: `removal_after` is `never`".to_owned(),
        (None, _) => return "kept until confirmed: nothing is counted without a state directory".to_owned(),
        (Some(resyncs), RemovalAfter::Resyncs(after)) => (resyncs, after),
    };
    // A plan counts itself, and is not remembered.
    let counts_itself = report.dry_run && report.units.iter().all(|unit| unit.state.is_complete());
    let remembered = if counts_itself { resyncs.saturating_sub(1) } else { resyncs };
    match after.saturating_sub(remembered) {
        0 | 1 => "deleted by the next complete resync without it".to_owned(),
        more => format!("deleted by the {} complete resync without it from now on", ordinal(more)),
    }
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

/// A number with its noun.
pub fn counted(count: u64, one: &str, many: impl Display) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{} {many}", HumanCount(count)) }
}
