//! Logs each problem once, no matter how many accounts and units have it. Problems of single resources and
//! entities are logged by name, up to a limit.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use berth_core::Kind;

/// The most groups of problems; of further ones, only the number is logged.
const GROUPS: usize = 300;

/// How many problems of a group are logged individually.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemLog {
    /// The first: the others differ only in account and region.
    Once,
    /// Enough that users find their resource by its name.
    ByName,
}

impl ProblemLog {
    fn most(self) -> u64 {
        match self {
            Self::Once => 1,
            Self::ByName => 200,
        }
    }
}

/// The problems of one resync.
#[derive(Debug, Default)]
pub(crate) struct Problems(Mutex<ProblemGroups>);

#[derive(Debug, Default)]
struct ProblemGroups {
    groups: HashMap<Group, Repeats>,
    /// The number of problems beyond the limit of groups.
    others: u64,
}

/// Identifies a group of equal problems.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Group {
    what: &'static str,
    /// The kind, if there is one.
    kind: Option<Kind>,
    /// The text without the names of the affected items.
    text: String,
}

#[derive(Debug)]
struct Repeats {
    /// The first problem of the group.
    problem: String,
    /// How often it was logged.
    logged: u64,
    /// How often it occurred without being logged.
    count: u64,
}

impl Problems {
    fn known(&self) -> MutexGuard<'_, ProblemGroups> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a problem. `names` are the affected items, which do not distinguish problems. Returns whether
    /// to log it, as one of the first of its group.
    pub(crate) fn should_log(
        &self,
        (what, log): (&'static str, ProblemLog),
        kind: Option<&Kind>,
        problem: &str,
        names: &[&str],
    ) -> bool {
        let named = names.iter().filter(|name| !name.is_empty());
        let text = named.fold(problem.to_owned(), |text, name| text.replace(name, "…"));
        let group = Group { what, kind: kind.cloned(), text };
        let mut known = self.known();
        if let Some(repeats) = known.groups.get_mut(&group) {
            if repeats.logged < log.most() {
                repeats.logged += 1;
                return true;
            }
            repeats.count += 1;
        } else if known.groups.len() < GROUPS {
            known.groups.insert(group, Repeats { problem: problem.to_owned(), logged: 1, count: 0 });
            return true;
        } else {
            known.others += 1;
        }
        false
    }

    /// Logs, at the end, how often each problem occurred again.
    pub(crate) fn log_repeats(&self) {
        let ProblemGroups { groups, others } = std::mem::take(&mut *self.known());
        let mut groups: Vec<_> = groups.into_iter().filter(|(_, repeats)| repeats.count > 0).collect();
        groups.sort_by(|(a, _), (b, _)| (&a.kind, a.what, &a.text).cmp(&(&b.kind, b.what, &b.text)));
        for (Group { what, kind, .. }, Repeats { problem, count, .. }) in groups {
            let kind = kind.as_ref().map(tracing::field::display);
            tracing::warn!(kind, problem, more = count, "{what}: {count} more like it");
        }
        if others > 0 {
            tracing::warn!(more = others, "{others} more problems; the report lists them");
        }
    }
}

/// Logs the first problems of a group as warnings, and the others at debug level.
macro_rules! warn_if {
    ($should_log:expr, $($line:tt)*) => {
        if $should_log {
            tracing::warn!($($line)*);
        } else {
            tracing::debug!($($line)*);
        }
    };
}
pub(crate) use warn_if;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_the_same_whatever_it_concerns() {
        let problems = Problems::default();
        let (instance, bucket) =
            (Kind::new("A::EC2::Instance").unwrap(), Kind::new("A::S3::Bucket").unwrap());
        let note = |kind: &Kind, problem: &str, names: &[&str]| {
            problems.should_log(("unit skipped", ProblemLog::Once), Some(kind), problem, names)
        };
        assert!(note(&instance, "111: denied in eu-west-1", &["111", "eu-west-1"]));
        assert!(!note(&instance, "222: denied in us-east-1", &["222", "us-east-1"]));
        assert!(note(&instance, "222: throttled in us-east-1", &["222", "us-east-1", ""]));
        assert!(note(&bucket, "111: denied in eu-west-1", &["111", "eu-west-1"]));
        assert!(problems.should_log(
            ("unit failed", ProblemLog::Once),
            Some(&instance),
            "111: denied in eu-west-1",
            &["111", "eu-west-1"]
        ));
        let counts: u64 = problems.known().groups.values().map(|repeats| repeats.count).sum();
        assert_eq!((problems.known().groups.len(), counts), (4, 1));
    }

    #[test]
    fn resources_are_logged_by_name_until_they_are_too_many() {
        let problems = Problems::default();
        let kind = Kind::new("A::B::C").unwrap();
        let logged = |n: &u64| {
            let name = n.to_string();
            problems.should_log(
                ("unread", ProblemLog::ByName),
                Some(&kind),
                &format!("{name} is denied"),
                &[&name],
            )
        };
        assert_eq!((0..250).filter(logged).count(), 200);
        assert_eq!(problems.known().groups.values().map(|repeats| repeats.count).sum::<u64>(), 50);
    }

    #[test]
    fn many_different_problems_take_bounded_room() {
        let problems = Problems::default();
        let kind = Kind::new("A::B::C").unwrap();
        let first = (0..GROUPS + 7)
            .filter(|n| problems.should_log(("w", ProblemLog::Once), Some(&kind), &n.to_string(), &[]))
            .count();
        assert_eq!((first, problems.known().others), (GROUPS, 7));
    }
}
