//! Entities that a resync did not find but kept: grouped by reason, each with what an operator can do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

use berth_embed::{
    Deletion, Keep, Kept, Problem, ProblemCode, RemovalAfter, Report,
    core::{EntityKey, RemovedScope},
};
use indicatif::HumanCount;

/// The most scopes in the command.
const CONFIRMED: usize = 3;
/// The most entities that are named.
pub const EXAMPLES: usize = 3;

/// Why entities are kept, as the label of metrics. Reasons that need a decision come first.
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

/// Returns the position in [`REASONS`].
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

/// Returns how many entities are kept for each reason, in the order of [`REASONS`].
pub fn counts(deletion: &Deletion) -> [(&'static str, u64); REASONS.len()] {
    let mut counts = REASONS.map(|reason| (reason, 0));
    for kept in &deletion.kept {
        counts[rank(&kept.keep)].1 += 1;
    }
    counts
}

/// Returns how many deletions are skipped because of limits.
pub(crate) fn held_back(deletion: &Deletion) -> u64 {
    deletion.held_back.iter().map(|held| held.entities.len() as u64).sum()
}

/// Entities that are kept for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// How many.
    pub count: u64,
    /// Whether someone has to decide or correct something.
    pub waits: bool,
    /// What they are, after the count: `entities of …`.
    pub what: String,
    /// The affected accounts, regions or units, with their counts and remarks.
    pub scopes: Vec<KeptScope>,
    /// Some of them.
    pub examples: Vec<EntityKey>,
    /// What the operator can do.
    pub steps: Vec<String>,
}

/// An account, a region or a unit that entities are kept for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptScope {
    /// Its name, for people.
    pub name: String,
    /// How many entities are kept for it.
    pub count: u64,
    /// A remark, if there is one.
    pub remark: Option<String>,
    /// The value of `--confirm-removal` that confirms its removal.
    confirms: Option<String>,
}

impl Group {
    /// Returns the group as one sentence.
    pub fn title(&self) -> String {
        format!("{} {}", HumanCount(self.count), self.what)
    }

    /// Returns the group as a problem, for lists of problems.
    pub(crate) fn problem(&self) -> Problem {
        let problem = Problem::new(
            ProblemCode::DeletionUnproven,
            format!("kept, although not found: {}", self.title()),
        );
        if self.steps.is_empty() { problem } else { problem.remedy(self.steps.join("\n")) }
    }
}

/// Returns what is kept, by reason; reasons that need a decision come first.
pub fn groups(report: &Report, after: RemovalAfter) -> Vec<Group> {
    let mut by_reason: BTreeMap<usize, Vec<&Kept>> = BTreeMap::new();
    for kept in &report.deletion.kept {
        by_reason.entry(rank(&kept.keep)).or_default().push(kept);
    }
    by_reason.into_values().map(|kept| group(&kept, report, after)).collect()
}

fn group(kept: &[&Kept], report: &Report, after: RemovalAfter) -> Group {
    // By name; a scope's remark is the same for all its entities.
    let mut scopes: BTreeMap<String, KeptScope> = BTreeMap::new();
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
        let scope = KeptScope { name: name.clone(), count: 0, remark, confirms };
        scopes.entry(name).or_insert(scope).count += 1;
    }
    let mut scopes: Vec<KeptScope> = scopes.into_values().collect();
    // A stable sort: scopes with the same count stay ordered by name.
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
            vec!["Fix what stops these units: see the problems.".to_owned()],
        ),
        Keep::FoundAgain { .. } => ("that the second listing found".to_owned(), Vec::new()),
        Keep::Related => (
            "that other kept entities relate to".to_owned(),
            vec!["They are deleted when no kept entity relates to them any longer.".to_owned()],
        ),
        Keep::SomebodyElse => {
            ("that another owner created, and the mapping only adds to".to_owned(), Vec::new())
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

/// Describes removed scopes, and how to confirm their removal.
fn removed_scopes(scopes: &BTreeSet<&RemovedScope>, largest: &[KeptScope]) -> (String, Vec<String>) {
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
            "To delete them now (`berth plan` with the same options shows what would be deleted; in a \
            service, set `confirm_removal`):\nberth sync {}{more}",
            flags.join(" \\\n  ")
        ),
    ];
    (format!("of {of} that {verb} no longer read"), steps)
}

/// Returns the name of a scope for people.
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

/// Returns when the entities of a removed scope are deleted without a confirmation.
fn until(resyncs: Option<u32>, after: RemovalAfter, report: &Report) -> String {
    let (resyncs, after) = match (resyncs, after) {
        (_, RemovalAfter::Never) => return "kept until confirmed: `removal_after` is `never`".to_owned(),
        (None, _) => {
            return "kept until confirmed: Berth counts no resyncs without a state directory".to_owned();
        }
        (Some(resyncs), RemovalAfter::Resyncs(after)) => (resyncs, after),
    };
    // A dry run counts itself, and is not recorded.
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

/// Returns a number with its noun.
pub fn counted(count: u64, one: &str, many: impl Display) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{} {many}", HumanCount(count)) }
}
