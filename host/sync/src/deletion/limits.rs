//! Skips deletions that look like a mistake. Pure.
//!
//! Every entity here is proven to be gone; the limits bound the damage of a mistake that no proof can detect,
//! such as an edited mapping or an account that lost its contents.

use std::collections::{BTreeMap, BTreeSet};

use berth_core::{AccountId, BlueprintId, Dependent, EntityKey, Kind, Problem, ProblemCode};
use serde::Serialize;

use super::{facts::Basis, part::Part};

/// A part with fewer entities than this has no limit of its own: losing most of three is not suspicious.
const PART_MINIMUM: u64 = 20;
/// The largest share of a part, in percent, that may be deleted at once.
const PART_SHARE: u64 = 90;

/// A stale entity that is proven to be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doomed {
    /// The entity.
    pub key: EntityKey,
    /// Why it may be deleted.
    pub basis: Basis,
}

/// What remains in the catalog after the resync, and what is wrong with the mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entities that existed before and remain, by kind and account.
    pub kept: BTreeMap<(Kind, AccountId), u64>,
    /// The same by blueprint.
    pub kept_by_blueprint: BTreeMap<BlueprintId, u64>,
    /// Resource mappings most of whose resources had no identifier of their own.
    pub mistaken: Vec<Mistaken>,
}

/// A resource mapping most of whose resources have no identifier of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistaken {
    /// Its position.
    pub entry: usize,
    /// Its kind.
    pub kind: Kind,
    /// The blueprint that it fills, if the mapping names it.
    pub blueprint: Option<BlueprintId>,
    /// The number of resources.
    pub resources: u64,
    /// The number of different identifiers.
    pub identifiers: u64,
}

/// The limits of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitOptions {
    /// The largest share of all entities that may be deleted at once, from 0 to 1.
    pub threshold: f64,
    /// The largest number of entities that may be deleted at once.
    pub maximum: Option<u64>,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self { threshold: 0.9, maximum: None }
    }
}

/// Deletions that a limit skips.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldBack {
    /// The entities.
    pub entities: Vec<EntityKey>,
    /// Why, and how to approve them.
    pub problem: Problem,
    /// What the catalog would also delete; for the limits of parts, only a plan lists it.
    pub dependents: Vec<Dependent>,
}

/// The result of the limits of parts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limited {
    /// Deletions within the limits.
    pub allowed: Vec<Doomed>,
    /// Deletions beyond a limit.
    pub held_back: Vec<HeldBack>,
}

/// The remedy for skipped deletions.
pub(crate) const APPROVE: &str =
    "review them with `berth plan --out FILE`; if they are right, run `berth apply FILE`";

/// Applies the limits of parts: they do not affect the rest of the catalog.
pub fn apply_limits(doomed: Vec<Doomed>, counts: &Counts) -> Limited {
    let mut lost: BTreeMap<Part, u64> = BTreeMap::new();
    for Doomed { basis, .. } in &doomed {
        for part in basis.parts.iter().filter(|_| !basis.removed) {
            *lost.entry(part.clone()).or_default() += 1;
        }
    }
    let exceeded: BTreeMap<Part, (u64, u64)> = lost
        .into_iter()
        .filter_map(|(part, lost)| {
            let all = lost + kept(&part, counts);
            let too_many = all >= PART_MINIMUM && lost * 100 > all * PART_SHARE;
            too_many.then_some((part, (lost, all)))
        })
        .collect();
    let mut limited = Limited::default();
    let mut parts: BTreeMap<&Part, Vec<EntityKey>> = BTreeMap::new();
    let mut mistakes: BTreeMap<usize, Vec<EntityKey>> = BTreeMap::new();
    for Doomed { key, basis } in doomed {
        let mistake = counts.mistaken.iter().position(|entry| concerns(entry, &key, &basis.parts));
        let part =
            basis.parts.iter().filter(|_| !basis.removed).find_map(|part| exceeded.get_key_value(part));
        match (mistake, part) {
            (Some(at), _) => mistakes.entry(at).or_default().push(key),
            (None, Some((part, _))) => parts.entry(part).or_default().push(key),
            (None, None) => limited.allowed.push(Doomed { key, basis }),
        }
    }
    for (at, entities) in mistakes {
        let Mistaken { entry, kind, resources, identifiers, .. } = &counts.mistaken[at];
        let problem = Problem::new(ProblemCode::DeletionLimit, format!(
            "resources[{entry}] ({kind}): {resources} resources have {identifiers} different identifiers, \
            so its deletions are skipped"
        ))
        .remedy(format!("correct the identifier in the mapping in Port, or {APPROVE}"));
        limited.held_back.push(HeldBack { entities, problem, dependents: Vec::new() });
    }
    for (part, entities) in parts {
        let (lost, all) = exceeded[part];
        let problem = Problem::new(
            ProblemCode::DeletionLimit,
            format!("{part}: {lost} of {all} entities would be deleted at once, more than {PART_SHARE} %"),
        )
        .remedy(APPROVE);
        limited.held_back.push(HeldBack { entities, problem, dependents: Vec::new() });
    }
    limited
}

fn concerns(entry: &Mistaken, key: &EntityKey, parts: &BTreeSet<Part>) -> bool {
    entry.blueprint.as_ref() == Some(&key.blueprint)
        || parts.iter().any(|part| part.kind.as_ref() == Some(&entry.kind))
}

fn kept(part: &Part, counts: &Counts) -> u64 {
    match (&part.kind, &part.account, &part.blueprint) {
        (Some(kind), Some(account), _) => {
            counts.kept.get(&(kind.clone(), account.clone())).copied().unwrap_or(0)
        }
        (Some(kind), None, _) => {
            counts.kept.iter().filter(|((own, _), _)| own == kind).map(|(_, count)| count).sum()
        }
        (None, _, Some(blueprint)) => counts.kept_by_blueprint.get(blueprint).copied().unwrap_or(0),
        (None, _, None) => counts.kept.values().sum(),
    }
}

/// Checks whether deleting `deleting` of `owned` entities exceeds a limit of the whole; dependents count.
///
/// # Errors
/// The [`Problem`] that skips all of them.
pub fn check_total(deleting: u64, owned: u64, options: &LimitOptions) -> Result<(), Problem> {
    #[expect(clippy::cast_precision_loss, reason = "a share of counts far below 2^52")]
    let share = deleting as f64 / owned.max(1) as f64;
    if deleting > 0 && share > options.threshold {
        return Err(Problem::new(ProblemCode::DeletionLimit, format!(
            "{deleting} of {owned} entities would be deleted ({:.0} %), more than `entityDeletionThreshold` \
             allows ({:.0} %)",
            share * 100.0,
            options.threshold * 100.0
        ))
        .remedy(APPROVE));
    }
    match options.maximum {
        Some(maximum) if deleting > maximum => Err(Problem::new(
            ProblemCode::DeletionLimit,
            format!(
                "{deleting} entities would be deleted at once, more than `max_deletions` allows ({maximum})"
            ),
        )
        .remedy(APPROVE)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
