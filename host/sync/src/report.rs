//! What a resync did, told in units; and the events that tell it while it runs.

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
    Change, Misconfiguration, Refreshed,
    deletion::{HeldBack, Keep},
};

/// How one unit went.
#[derive(Debug, Clone, Serialize)]
pub struct UnitReport {
    /// Which unit.
    pub unit: UnitId,
    /// How it ended.
    #[serde(flatten)]
    pub state: UnitState,
    /// What it did.
    pub counts: UnitCounts,
    /// Steps that were denied for some of its resources. What they tell stays as the catalog has it.
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
    /// The IAM actions that allow it, where it was denied; else none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// For how many resources.
    pub resources: u64,
    /// Why, for the first of them.
    pub problem: Problem,
}

fn millis<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// An entity that the catalog refused.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// Which entity.
    pub entity: EntityKey,
    /// The unit that produced it.
    pub unit: UnitId,
    /// Why.
    pub problem: Problem,
}

/// An entity that is not written, because somebody else owns one with the same identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignIdentifier {
    /// Which entity.
    pub entity: EntityKey,
    /// The unit whose resource has that identifier.
    pub unit: UnitId,
}

/// One entity that a plan would write.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeRecord {
    /// Which entity.
    pub entity: EntityKey,
    /// The unit that produced it.
    pub unit: UnitId,
    /// What would be written.
    #[serde(flatten)]
    pub change: Change,
    /// A digest of everything that would be written.
    pub digest: String,
}

/// What became of stale entities.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Deletion {
    /// How many entities the catalog held for this integration when the resync began.
    pub owned: u64,
    /// Deleted (or, in a plan, to be deleted).
    pub deleted: Vec<Gone>,
    /// Deleted along (or, in a plan, to be), because they depend on one of these.
    pub dependents: Vec<Dependent>,
    /// Stale, and kept because it is not proven that they are gone.
    pub kept: Vec<Kept>,
    /// Could not be deleted.
    pub failed: Vec<(EntityKey, Problem)>,
    /// Proven to be gone, and held back by a limit.
    pub held_back: Vec<HeldBack>,
    /// Why nothing was deleted although something may be stale, if so.
    pub stopped: Option<Problem>,
    /// What was listed a second time before anything was deleted.
    pub second_look: SecondLook,
}

impl Deletion {
    /// Whether something is kept that an operator can decide about: a limit holds it back, its scope was
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
    /// Which.
    pub entity: EntityKey,
    /// Why.
    #[serde(flatten)]
    pub keep: Keep,
}

/// What was listed a second time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SecondLook {
    /// How many units.
    pub units: u64,
    /// How many entities were there after all.
    pub found: u64,
}

/// An entity whose resource is gone in AWS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// Which entity.
    pub entity: EntityKey,
    /// The kind whose mapping fills the blueprint, where one does.
    pub kind: Option<Kind>,
    /// The account, where the entity told it.
    pub account: Option<AccountId>,
}

/// How a resync ended as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was read and written.
    Done,
    /// Some unit, entity or deletion failed; the rest is done.
    Partial,
    /// Nothing could be read at all.
    NothingRead,
    /// Everything was read, but deletions were held back.
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

/// What a resync did.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether this was a plan (nothing was written).
    pub dry_run: bool,
    /// Who makes entities of what was read. With [`Processing::Documents`] it is the catalog, and the
    /// units count documents instead of entities.
    pub processing: Processing,
    /// The catalog and the integration.
    pub catalog: String,
    /// When it began.
    #[serde(skip)]
    pub started: SystemTime,
    /// How long it took, in milliseconds.
    #[serde(serialize_with = "millis")]
    pub duration: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// Every unit, in planning order.
    pub units: Vec<UnitReport>,
    /// The accounts of the sync, with the problem of those that cannot be read.
    pub accounts: Vec<(Account, Option<Problem>)>,
    /// Entities that the catalog refused.
    pub refusals: Vec<Refusal>,
    /// Entities that somebody else owns, and that were left alone.
    pub foreign: Vec<ForeignIdentifier>,
    /// Resources that could not be read or mapped, with their unit (at most 100 are listed).
    pub item_failures: Vec<(UnitId, String, Problem)>,
    /// Fields of the app-config's mappings that gave nothing.
    pub misconfigurations: Vec<Misconfiguration>,
    /// What a plan would write. Empty in a real run.
    pub changes: Vec<ChangeRecord>,
    /// What became of stale entities.
    pub deletion: Deletion,
    /// Plugins that were found but are not used.
    pub refused_plugins: Vec<RefusedPlugin>,
    /// Remarks for the operator.
    pub notes: Vec<String>,
}

impl Report {
    /// All problems of the resync: of accounts, units, steps, entities, deletions and plugins. Those of single
    /// resources are counted in their units.
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

    /// Totals over all units.
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

    /// The units grouped by kind and account, in planning order of the kinds.
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
    /// The catalog is ready; what was done for it.
    Opened {
        /// One line each.
        notes: &'e [String],
    },
    /// An account was authenticated to, or not.
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
    /// A unit begins.
    UnitStarted {
        /// Which.
        unit: &'e UnitId,
    },
    /// A unit has read and mapped another batch.
    UnitProgress {
        /// Which.
        unit: &'e UnitId,
        /// Resources read so far.
        fetched: u64,
    },
    /// A unit has ended: read and mapped, its entities on their way.
    UnitFinished {
        /// The report so far; writes may still be counted.
        report: &'e UnitReport,
    },
    /// The catalog took an entity.
    Upserted {
        /// Which: with the identifier that the catalog found, for one that is named by a search query.
        entity: &'e EntityKey,
        /// The unit that produced it.
        unit: &'e UnitId,
        /// Whether the catalog did not hold it for this integration before.
        created: bool,
    },
    /// The catalog refused an entity.
    Refused {
        /// Which, and why.
        refusal: &'e Refusal,
    },
    /// Entities were compared and written. Counts what [`Upserted`](Self::Upserted) and
    /// [`Refused`](Self::Refused) tell one by one, and what needed no write.
    Written {
        /// How many were created.
        created: u64,
        /// How many were updated.
        updated: u64,
        /// How many are unchanged.
        unchanged: u64,
        /// How many were refused.
        refused: u64,
    },
    /// Stale entities are being judged and deleted.
    Deleting {
        /// How many will be deleted.
        count: usize,
    },
    /// A stale entity was deleted.
    Deleted {
        /// Which.
        gone: &'e Gone,
    },
    /// A resource that a live event named was read again.
    Refreshed {
        /// Its kind.
        kind: &'e Kind,
        /// What became of it.
        refreshed: Refreshed,
    },
}

/// Listens to a resync. Called from many tasks at once; must be quick.
pub trait Observer: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullObserver;

impl Observer for NullObserver {
    fn event(&self, _: &Event<'_>) {}
}
