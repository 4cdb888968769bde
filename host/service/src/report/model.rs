//! Groups the problems of a resync: each once, with everything it affects. The status page and the summary of
//! the command line show them.

use std::collections::HashMap;

use berth_embed::{
    Misconfiguration, Problem, ProblemCode, RemovalAfter, Report, UnreadCall,
    core::{Account, RefusedPlugin, UnitId, UnitState},
};
use serde::Serialize;

use super::kept;

/// The most groups; further problems are only counted.
const GROUPS: usize = 300;
/// The most affected items that are listed for a problem; the rest is only counted.
const LISTED: usize = 20;
/// The maximum length of a text: some texts come from outside.
const TEXT: usize = 4_000;

/// What a problem is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum About {
    /// The resync could not start.
    Resync,
    /// An account cannot be read.
    Account,
    /// A unit failed.
    Failed,
    /// A unit was skipped.
    Skipped,
    /// A step was denied for resources that are mapped without its result.
    Unread,
    /// Port rejected an entity.
    Refused,
    /// An entity could not be deleted.
    Deletion,
    /// Deletions were skipped.
    HeldBack,
    /// Entities are kept, although they were not found, until someone decides or corrects something.
    Waiting,
    /// Entities are kept, although they were not found.
    Kept,
    /// An entity is deleted together with another.
    Dependent,
    /// A plugin is not used.
    Plugin,
    /// A resource could not be read or mapped.
    Resource,
    /// A field of the mapping gave no value, but is needed.
    Mistake,
    /// A field of the mapping gave no value.
    Mapping,
}

/// A problem, and what it affects.
#[derive(Debug, Clone, Serialize)]
pub struct ProblemGroup {
    /// What it is about.
    pub about: About,
    /// The problem and its remedy.
    #[serde(flatten)]
    pub problem: Problem,
    /// The first affected items.
    pub concerns: Vec<String>,
    /// How many there are.
    pub count: u64,
    #[serde(skip)]
    pub(crate) version: u64,
}

/// All problems of a resync, in the order in which they occurred. Bounded.
#[derive(Debug, Default)]
pub struct ProblemGroups {
    groups: Vec<ProblemGroup>,
    known: HashMap<Problem, u32>,
    /// Problems beyond the limit.
    pub omitted: u64,
    /// The version of all further additions.
    pub(crate) version: u64,
}

impl ProblemGroups {
    /// Collects everything that went wrong in a resync that ended.
    pub fn of(report: &Report) -> Self {
        let mut problems = Self::default();
        for (account, problem) in &report.accounts {
            if let Some(problem) = problem {
                problems.account(account, problem);
            }
        }
        for unit in &report.units {
            problems.unit(&unit.unit, &unit.state);
        }
        for unit in &report.units {
            for call in &unit.unread {
                problems.unread(&unit.unit, call);
            }
        }
        for refusal in &report.refusals {
            let concern = format!("entity {} ({})", refusal.entity, refusal.unit);
            problems.add(About::Refused, &refusal.problem, &concern);
        }
        for (key, problem) in &report.deletion.failed {
            problems.add(About::Deletion, problem, &format!("deleting entity {key}"));
        }
        for plugin in &report.refused_plugins {
            problems.plugin(plugin);
        }
        problems
    }

    /// Adds what other lists of problems leave out.
    pub(crate) fn add_remarks(&mut self, report: &Report, after: RemovalAfter) {
        for (unit, resource, problem) in &report.item_failures {
            self.add(About::Resource, problem, &format!("{resource} ({unit})"));
        }
        for held in &report.deletion.held_back {
            for entity in &held.entities {
                self.add(About::HeldBack, &held.problem, &entity.to_string());
            }
        }
        let held = report.deletion.held_back.iter().map(|held| &held.problem);
        if let Some(problem) =
            report.deletion.stopped.iter().find(|problem| held.clone().all(|p| p != *problem))
        {
            self.add(About::HeldBack, problem, "all deletions");
        }
        for group in kept::groups(report, after) {
            let about = if group.waits { About::Waiting } else { About::Kept };
            let remarked = |scope: &kept::KeptScope| match &scope.remark {
                Some(remark) => format!("{} ({remark})", scope.name),
                None => scope.name.clone(),
            };
            let mut concerns: Vec<String> = group.scopes.iter().map(remarked).collect();
            if concerns.is_empty() {
                concerns.extend(group.examples.iter().map(ToString::to_string));
            }
            let problem = group.problem();
            for concern in &concerns {
                self.add(about, &problem, concern);
            }
        }
        for dependent in &report.deletion.dependents {
            let verb = if report.dry_run { "would be" } else { "was" };
            let whose = if dependent.owned { "" } else { ", and another owner has it" };
            let problem = Problem::new(
                ProblemCode::DeletionUnproven,
                format!("{verb} deleted, because it depends on {}{whose}", dependent.depends_on),
            );
            self.add(About::Dependent, &problem, &dependent.entity.to_string());
        }
        for found in &report.misconfigurations {
            let Misconfiguration { resource, kind, field, expression, count, of, reason, .. } = found;
            let message = format!(
                "{field}, by `{}`, gave no value for {count} of {of} resources: {reason}",
                expression.as_deref().unwrap_or("null")
            );
            let serious = found.required || found.drops();
            let about = if serious { About::Mistake } else { About::Mapping };
            self.add(
                about,
                &Problem::new(ProblemCode::MappingFailed, message),
                &format!("resources[{resource}] ({kind})"),
            );
        }
    }

    /// Adds an account that cannot be read.
    pub(crate) fn account(&mut self, account: &Account, problem: &Problem) {
        self.add(About::Account, problem, &format!("account {}", account.id));
    }

    /// Adds how a unit ended; returns the problem's position, if it has one.
    pub(crate) fn unit(&mut self, unit: &UnitId, state: &UnitState) -> Option<u32> {
        let (about, problem) = match state {
            UnitState::Complete => return None,
            UnitState::Skipped(problem) => (About::Skipped, problem),
            UnitState::Failed(problem) => (About::Failed, problem),
        };
        // The account stands for all its units.
        if let Some(known) = self.known.get(&bounded(problem))
            && self.groups.get(*known as usize).is_some_and(|group| group.about == About::Account)
        {
            return Some(*known);
        }
        self.add(about, problem, &unit.to_string())
    }

    /// Adds a step that could not be read for some resources of a unit: the same one everywhere is one
    /// problem.
    fn unread(&mut self, unit: &UnitId, unread: &UnreadCall) {
        let UnreadCall { call, denied, resources, problem, .. } = unread;
        let problem = match &denied[..] {
            [] => problem
                .clone()
                .map_message(|why| format!("{why}; the values from `{call}` stay unchanged in Port")),
            actions => Problem::new(
                ProblemCode::AwsAccessDenied,
                format!("`{call}` is denied: its values stay unchanged in Port"),
            )
            .remedy(format!(
                "allow `{}` for the roles that read these accounts, or find the policy that denies it",
                actions.join("`, `")
            )),
        };
        self.add(About::Unread, &problem, &format!("{unit} ({resources} resources)"));
    }

    /// Adds a plugin that is not used.
    pub(crate) fn plugin(&mut self, plugin: &RefusedPlugin) {
        self.add(About::Plugin, &plugin.problem, &format!("plugin {}", plugin.plugin));
    }

    pub(crate) fn add(&mut self, about: About, problem: &Problem, concern: &str) -> Option<u32> {
        let problem = bounded(problem);
        let position = match self.known.get(&problem) {
            Some(position) => *position,
            None if self.groups.len() >= GROUPS => {
                self.omitted += 1;
                return None;
            }
            None => {
                let position = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
                self.known.insert(problem.clone(), position);
                let concerns = Vec::new();
                self.groups.push(ProblemGroup { about, problem, concerns, count: 0, version: 0 });
                position
            }
        };
        let group = self.groups.get_mut(position as usize)?;
        group.count += 1;
        group.version = self.version;
        if group.concerns.len() < LISTED {
            group.concerns.push(cut(concern));
        }
        Some(position)
    }

    /// Returns the position of a problem, if it has one.
    pub(crate) fn position(&self, problem: Option<&Problem>) -> Option<u32> {
        problem.and_then(|problem| self.known.get(&bounded(problem)).copied())
    }

    /// Returns all groups.
    pub fn iter(&self) -> impl Iterator<Item = &ProblemGroup> {
        self.groups.iter()
    }
}

fn bounded(problem: &Problem) -> Problem {
    let remedy = problem.remedy.as_deref().map(cut);
    Problem { remedy, ..Problem::new(problem.code, cut(&problem.message)) }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_listed_once_and_nothing_grows_without_end() {
        let mut problems = ProblemGroups::default();
        let denied = Problem::new(ProblemCode::Other, "denied").remedy("grant it");
        for unit in 0..50 {
            assert_eq!(problems.add(About::Failed, &denied, &format!("unit {unit}")), Some(0));
        }
        for other in 0..GROUPS as u64 + 5 {
            problems.add(
                About::Skipped,
                &Problem::new(ProblemCode::Other, format!("{other} {}", "é".repeat(TEXT))),
                "x",
            );
        }
        let groups: Vec<&ProblemGroup> = problems.iter().collect();
        assert_eq!((groups[0].count, groups[0].concerns.len()), (50, LISTED));
        assert_eq!((groups.len(), problems.omitted), (GROUPS, 6));
        assert!(groups[1].problem.message.chars().count() == TEXT + 1);
    }
}
