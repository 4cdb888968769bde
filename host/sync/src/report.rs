//! The report of a resync in units, and the events while it runs.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use berth_core::{
    Account, AccountId, Dependent, EntityKey, Kind, Problem, Processing, RefusedPlugin, UnitCounts, UnitId,
    UnitState,
};
use serde::Serialize;

use crate::{
    Change, Misconfiguration,
    deletion::{HeldBack, Keep},
    refreshed::Refreshed,
};

/// The outcome of one unit.
#[derive(Debug, Clone, Serialize)]
pub struct UnitReport {
    /// The unit.
    pub unit: UnitId,
    /// How it ended.
    #[serde(flatten)]
    pub state: UnitState,
    /// What it did.
    pub counts: UnitCounts,
    /// Steps that were denied for some of its resources. Their values stay unchanged in the catalog.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<UnreadCall>,
    /// From its first request to the end of its mapping, in milliseconds.
    #[serde(serialize_with = "millis")]
    pub duration: Duration,
}

/// A step of a plan that could not be read for some resources of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadCall {
    /// The step's name in the plan.
    pub step: String,
    /// The call (`s3:GetBucketTagging`).
    pub call: String,
    /// The IAM actions that allow it, if it was denied; otherwise empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// The number of resources.
    pub resources: u64,
    /// Why, for the first of them.
    pub problem: Problem,
}

fn millis<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// An entity that the catalog rejected.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// The entity.
    pub entity: EntityKey,
    /// The unit that produced it.
    pub unit: UnitId,
    /// The reason.
    pub problem: Problem,
}

/// An entity that is not written, because another owner has one with the same identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignIdentifier {
    /// The entity.
    pub entity: EntityKey,
    /// The unit whose resource has that identifier.
    pub unit: UnitId,
}

/// One entity that a plan would write.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeRecord {
    /// The entity.
    pub entity: EntityKey,
    /// The unit that produced it.
    pub unit: UnitId,
    /// What would be written.
    #[serde(flatten)]
    pub change: Change,
    /// A digest of everything that would be written.
    pub digest: String,
}

/// What happened to stale entities.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Deletion {
    /// How many entities the catalog held for this integration when the resync started.
    pub owned: u64,
    /// Deleted (or, in a plan, to be deleted).
    pub deleted: Vec<Gone>,
    /// Also deleted (or, in a plan, to be deleted), because they depend on one of these.
    pub dependents: Vec<Dependent>,
    /// Stale, but kept because it is not proven that they are gone.
    pub kept: Vec<Kept>,
    /// Could not be deleted.
    pub failed: Vec<(EntityKey, Problem)>,
    /// Proven to be gone, but skipped because of a limit.
    pub held_back: Vec<HeldBack>,
    /// Why nothing was deleted although something may be stale, if so.
    pub stopped: Option<Problem>,
    /// What was listed a second time before anything was deleted.
    pub second_look: SecondLook,
}

impl Deletion {
    /// Returns whether an operator can decide about something that is kept: a limit skips it, its scope was
    /// removed, or the mapping gives resources no identifier.
    pub(crate) fn needs_decision(&self) -> bool {
        !self.held_back.is_empty()
            || self.stopped.is_some()
            || self.kept.iter().any(|kept| {
                matches!(
                    kept.keep,
                    Keep::ScopeRemoved { .. } | Keep::Unmapped { .. } | Keep::NotLookedTwice { .. }
                )
            })
    }
}

/// A stale entity that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The entity.
    pub entity: EntityKey,
    /// The reason.
    #[serde(flatten)]
    pub keep: Keep,
}

/// What was listed a second time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SecondLook {
    /// The number of units.
    pub units: u64,
    /// The number of entities that were found.
    pub found: u64,
}

/// An entity whose resource is gone in AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// The entity.
    pub entity: EntityKey,
    /// The kind whose mapping fills the blueprint, if there is one.
    pub kind: Option<Kind>,
    /// The account, if the entity stated it.
    pub account: Option<AccountId>,
}

/// How a resync ended as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was read and written.
    Done,
    /// Some unit, entity or deletion failed; everything else succeeded.
    Partial,
    /// Nothing could be read at all.
    NothingRead,
    /// Everything was read, but deletions were skipped.
    DeletionsHeldBack,
    /// Stopped before the end.
    Aborted,
}

/// Totals over all units.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Totals {
    /// Units planned.
    pub units: u64,
    /// Units that completed.
    pub complete: u64,
    /// Units that were skipped.
    pub skipped: u64,
    /// Units that failed.
    pub failed: u64,
    /// The units' counts added up.
    #[serde(flatten)]
    pub counts: UnitCounts,
}

/// The report of a resync.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether this was a plan (nothing was written).
    pub dry_run: bool,
    /// Who creates entities from what was read. With [`Processing::Documents`] the catalog does, and the
    /// units count documents instead of entities.
    pub processing: Processing,
    /// The catalog and the integration.
    pub catalog: String,
    /// When it started.
    #[serde(skip)]
    pub started: SystemTime,
    /// How long it took, in milliseconds.
    #[serde(serialize_with = "millis")]
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Every unit, in planning order.
    pub units: Vec<UnitReport>,
    /// The accounts of the integration, with the problem of those that cannot be read.
    pub accounts: Vec<(Account, Option<Problem>)>,
    /// Entities that the catalog rejected.
    pub refusals: Vec<Refusal>,
    /// Entities of another owner, which were left unchanged.
    pub foreign: Vec<ForeignIdentifier>,
    /// Resources that could not be read or mapped, with their unit (at most 100 are listed).
    pub item_failures: Vec<(UnitId, String, Problem)>,
    /// Fields of the app-config's mappings that gave no value.
    pub misconfigurations: Vec<Misconfiguration>,
    /// What a plan would write. Empty in a real run.
    pub changes: Vec<ChangeRecord>,
    /// What happened to stale entities.
    pub deletion: Deletion,
    /// Plugins that were found but are not used.
    pub refused_plugins: Vec<RefusedPlugin>,
    /// Warnings for the operator.
    pub notes: Vec<String>,
}

impl Report {
    /// Returns all problems of the resync: of accounts, units, steps, entities, deletions and plugins.
    /// Problems of single resources are counted in their units.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let accounts = self.accounts.iter().filter_map(|(_, problem)| problem.as_ref());
        let units = self.units.iter().filter_map(|unit| match &unit.state {
            UnitState::Complete => None,
            UnitState::Skipped(problem) | UnitState::Failed(problem) => Some(problem),
        });
        let unread = self.units.iter().flat_map(|unit| unit.unread.iter().map(|call| &call.problem));
        let deletion = &self.deletion;
        accounts
            .chain(units)
            .chain(unread)
            .chain(self.refusals.iter().map(|refusal| &refusal.problem))
            .chain(deletion.failed.iter().map(|(_, problem)| problem))
            .chain(deletion.held_back.iter().map(|held| &held.problem))
            .chain(&deletion.stopped)
            .chain(self.refused_plugins.iter().map(|plugin| &plugin.problem))
    }

    /// Returns totals over all units.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for unit in &self.units {
            totals.units += 1;
            match unit.state {
                UnitState::Complete => totals.complete += 1,
                UnitState::Skipped(_) => totals.skipped += 1,
                UnitState::Failed(_) => totals.failed += 1,
            }
            totals.counts.add(&unit.counts);
        }
        totals
    }

    /// Returns the units grouped by kind and account, in planning order of the kinds.
    pub fn by_kind_and_account(&self) -> Vec<(Kind, AccountId, Vec<&UnitReport>)> {
        let mut order: Vec<(&Kind, &AccountId)> = Vec::new();
        let mut groups: BTreeMap<(&Kind, &AccountId), Vec<&UnitReport>> = BTreeMap::new();
        for unit in &self.units {
            let key = (&unit.unit.kind, &unit.unit.account);
            let group = groups.entry(key).or_default();
            if group.is_empty() {
                order.push(key);
            }
            group.push(unit);
        }
        let position = |kind: &Kind| order.iter().position(|(other, _)| *other == kind);
        let mut keys = order.clone();
        keys.sort_by_key(|(kind, account)| (position(kind), (*account).clone()));
        keys.into_iter()
            .map(|key| (key.0.clone(), key.1.clone(), groups.remove(&key).unwrap_or_default()))
            .collect()
    }
}

/// What happens while a resync runs.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// The catalog is ready; the notes say what was done for it.
    Opened {
        /// One line each.
        notes: &'e [String],
    },
    /// Authentication to an account succeeded or failed.
    Account {
        /// The account.
        account: &'e Account,
        /// Why it cannot be read.
        problem: Option<&'e Problem>,
    },
    /// All units are known.
    Planned {
        /// Units that will run.
        units: &'e [UnitId],
        /// Units that ended before they began.
        settled: &'e [(UnitId, UnitState)],
    },
    /// A unit starts.
    UnitStarted {
        /// The unit.
        unit: &'e UnitId,
    },
    /// A unit has read and mapped another batch.
    UnitProgress {
        /// The unit.
        unit: &'e UnitId,
        /// Resources read so far.
        fetched: u64,
    },
    /// A unit has ended: it is read and mapped, and its entities are on their way.
    UnitFinished {
        /// The report so far; writes may still be counted.
        report: &'e UnitReport,
    },
    /// The catalog accepted an entity.
    Upserted {
        /// The entity: with the identifier that the catalog found, if a search query names it.
        entity: &'e EntityKey,
        /// The unit that produced it.
        unit: &'e UnitId,
        /// Whether the catalog did not hold it for this integration before.
        created: bool,
    },
    /// The catalog rejected an entity.
    Refused {
        /// The entity, and the reason.
        refusal: &'e Refusal,
    },
    /// Entities were compared and written. Counts what [`Upserted`](Self::Upserted) and
    /// [`Refused`](Self::Refused) report individually, and what needed no write.
    Written {
        /// How many were created.
        created: u64,
        /// How many were updated.
        updated: u64,
        /// How many are unchanged.
        unchanged: u64,
        /// How many were rejected.
        refused: u64,
    },
    /// Stale entities are being evaluated and deleted.
    Deleting {
        /// How many will be deleted.
        count: usize,
    },
    /// A stale entity was deleted.
    Deleted {
        /// The entity.
        gone: &'e Gone,
    },
    /// A resource that a live event named was read again.
    Refreshed {
        /// Its kind.
        kind: &'e Kind,
        /// The result.
        refreshed: Refreshed,
    },
}

/// Observes a resync. Called from many tasks at once; must be fast.
pub trait Observer: Send + Sync {
    /// Receives one event.
    fn event(&self, event: &Event<'_>);
}

/// Ignores all events.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullObserver;

impl Observer for NullObserver {
    fn event(&self, _: &Event<'_>) {}
}
