//! A saved plan: `berth plan --out` writes it, people review it, and `berth apply` makes its changes.

use std::collections::{BTreeSet, HashMap, HashSet};

use berth_core::{
    AccountId, Adoption, Dependent, Entity, EntityKey, Kind, Problem, ProblemCode, RemovedScope, place,
};
use serde::{Deserialize, Serialize};

use crate::{
    Change, Report,
    content::{change_digest, key_digest},
    diff::FieldChange,
};

/// The version of the format.
const FORMAT: u32 = 1;

/// Changes to a catalog, as planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    /// The version of the format: 1.
    pub format: u32,
    /// The catalog and the integration that the plan is for.
    pub catalog: String,
    /// Which entities of other owners are taken over.
    #[serde(default)]
    pub adoption: Adoption,
    /// The confirmed removals of accounts and regions.
    #[serde(default)]
    pub confirmed_removals: BTreeSet<RemovedScope>,
    /// Entities to create, update or take over.
    pub changes: Vec<PlannedChange>,
    /// Entities to delete.
    pub deletions: Vec<PlannedDeletion>,
    /// Entities that the catalog also deletes, because they depend on one of these.
    #[serde(default)]
    pub dependents: Vec<Dependent>,
}

/// An entity to write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedChange {
    /// The entity.
    pub entity: EntityKey,
    /// `create`, `update` or `adopt`.
    pub change: ChangeKind,
    /// A digest of everything that is written.
    pub digest: String,
    /// The fields that an update changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// What happens to an entity that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Create,
    /// It has other values.
    Update,
    /// Another owner has it, and it is taken over.
    Adopt,
}

/// An entity to delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedDeletion {
    /// The entity.
    pub entity: EntityKey,
    /// The kind of its resource, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// The account of its resource, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// Why a resync skips the deletion. Applying the plan approves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
}

impl PlanFile {
    /// Creates the plan from a report.
    pub fn of(report: &Report, adoption: Adoption, confirmed_removals: BTreeSet<RemovedScope>) -> Self {
        let changes = report.changes.iter().filter_map(|record| {
            let (change, fields) = match &record.change {
                Change::Create => (ChangeKind::Create, Vec::new()),
                Change::Adopt => (ChangeKind::Adopt, Vec::new()),
                Change::Update { fields } => (ChangeKind::Update, fields.clone()),
                Change::Foreign | Change::Unchanged => return None,
            };
            let (entity, digest) = (record.entity.clone(), record.digest.clone());
            Some(PlannedChange { entity, change, digest, fields })
        });
        let deleted = report.deletion.deleted.iter().map(|gone| PlannedDeletion {
            entity: gone.entity.clone(),
            kind: gone.kind.clone(),
            account: gone.account.clone(),
            held_back: None,
        });
        let held_back = report.deletion.held_back.iter().flat_map(|held| {
            held.entities.iter().map(|entity| PlannedDeletion {
                entity: entity.clone(),
                kind: None,
                account: None,
                held_back: Some(held.problem.message.clone()),
            })
        });
        let held_along = report.deletion.held_back.iter().flat_map(|held| &held.dependents);
        let dependents = report.deletion.dependents.iter().chain(held_along);
        let mut file = Self {
            format: FORMAT,
            catalog: report.catalog.clone(),
            adoption,
            confirmed_removals,
            changes: changes.collect(),
            deletions: deleted.chain(held_back).collect(),
            dependents: dependents.cloned().collect(),
        };
        file.changes.sort_by(|a, b| a.entity.cmp(&b.entity));
        file.deletions.sort_by(|a, b| a.entity.cmp(&b.entity));
        file.dependents.sort();
        file.dependents.dedup();
        file
    }

    /// Parses a plan.
    ///
    /// # Errors
    /// A [`Problem`] that names the place, or the unknown format.
    pub fn parse(json: &[u8]) -> Result<Self, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let file: Self = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            Problem::new(
                ProblemCode::PlanUnusable,
                format!("not a plan, at `{}`: {}", place(error.path()), error.inner()),
            )
        })?;
        if file.format != FORMAT {
            return Err(Problem::new(
                ProblemCode::PlanUnusable,
                format!("the plan has format {}, not {FORMAT}", file.format),
            )
            .remedy("apply it with the version of Berth that created it, or make a new plan"));
        }
        Ok(file)
    }

    /// Returns how many entities are written and deleted.
    pub fn counts(&self) -> (usize, usize) {
        (self.changes.len(), self.deletions.len())
    }

    /// Compares the plan with a new one: each change and deletion must still be planned, exactly as it was.
    /// Additional changes are left to the next resync.
    ///
    /// # Errors
    /// Everything that differs, one line each.
    pub fn approve(&self, now: &Self) -> Result<Approved, Vec<String>> {
        let mut differences = Vec::new();
        if self.catalog != now.catalog {
            differences.push(format!("the plan is for {}, and this is {}", self.catalog, now.catalog));
        }
        let changes: HashMap<&EntityKey, &PlannedChange> =
            now.changes.iter().map(|change| (&change.entity, change)).collect();
        for change in &self.changes {
            match changes.get(&change.entity) {
                None => differences.push(format!("{}: there is nothing to write any longer", change.entity)),
                Some(now) if *now != change => {
                    differences.push(format!("{}: something else would be written now", change.entity));
                }
                Some(_) => {}
            }
        }
        let deletions: HashSet<&EntityKey> = now.deletions.iter().map(|deletion| &deletion.entity).collect();
        for deletion in self.deletions.iter().filter(|deletion| !deletions.contains(&deletion.entity)) {
            differences.push(format!("{}: it would no longer be deleted", deletion.entity));
        }
        if !differences.is_empty() {
            return Err(differences);
        }
        let deletes = self.deletions.iter().map(|deletion| deletion.entity.clone());
        let dependents = self.dependents.iter().map(|dependent| dependent.entity.clone());
        Ok(Approved {
            writes: self
                .changes
                .iter()
                .map(|change| (key_digest(&change.entity), change.digest.clone()))
                .collect(),
            deletes: deletes.chain(dependents).collect(),
        })
    }
}

/// The changes of an approved plan: a resync makes only these.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Approved {
    /// What is written, by the digest of its key.
    writes: HashMap<u128, String>,
    /// What is deleted, including dependents.
    deletes: HashSet<EntityKey>,
}

impl Approved {
    /// Returns whether the plan writes this entity, exactly as it is.
    pub(crate) fn allows(&self, entity: &Entity) -> bool {
        self.writes.get(&key_digest(&entity.key)).is_some_and(|digest| *digest == change_digest(entity))
    }

    /// Returns whether the plan deletes this entity.
    pub(crate) fn deletes(&self, key: &EntityKey) -> bool {
        self.deletes.contains(key)
    }
}
