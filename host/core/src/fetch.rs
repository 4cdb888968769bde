//! What passes between reading AWS and mapping.

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AccountId, KindManifest, Partition, Problem, Region};

/// An AWS account that is part of the sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's id.
    pub id: AccountId,
    /// Its name from Organizations, else `Account <id>`.
    pub name: String,
    /// The partition it lives in.
    pub partition: Partition,
}

impl Account {
    /// An account whose real name is not known; named as the integration Berth replaces does.
    pub fn unnamed(id: AccountId, partition: Partition) -> Self {
        Self { name: format!("Account {id}"), id, partition }
    }
}

/// Asks a [`Source`](crate::Source) for the resources of one unit.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The account to read.
    pub account: Arc<Account>,
    /// The regions to try, in order; see [`Unit::regions`](crate::Unit::regions).
    pub regions: Vec<Region>,
    /// The kind, with its fetch plan.
    pub kind: Arc<KindManifest>,
    /// The options that are switched on.
    pub options: BTreeSet<String>,
    /// When one resource is asked for, and not all of them.
    pub one: Option<One>,
    /// Whether every AWS call is made again, instead of sharing answers of earlier calls: for a
    /// second look at what seems to be gone.
    pub fresh: bool,
}

/// The resource that an event names. It is read anew: no answer of an earlier call is good enough.
#[derive(Debug, Clone)]
pub struct One {
    /// Its name: the placeholder `{resource}`.
    pub resource: Value,
    /// The event's `detail`: the placeholder `{event…}`.
    pub event: Arc<Value>,
}

/// A batch of raw resources, ready for a mapping.
///
/// `resources` is the text of a JSON array. Each element is
/// `{"item": <list item>, "steps": {"<step id>": <result>}, "parents": {"<step id>": <item>}}`:
/// a step that was not asked for, or whose answer the plan declares absent, has no entry in
/// `steps`. Kinds of [`Scope::Account`](crate::Scope::Account) have
/// `{"item": {"Id": …, "Name": …}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct RawPage {
    /// The region that was read; `None` for kinds that read no region.
    pub region: Option<Region>,
    /// A JSON array as UTF-8 text.
    pub resources: Vec<u8>,
    /// How many elements the array has.
    pub count: usize,
    /// Resources of this page that could not be read completely, and are not in `resources`.
    pub failures: Vec<ItemFailure>,
    /// Steps of the plan whose result is not known for any resource of this page: they were denied, and
    /// the plan says that the resources are mapped without them. What the steps fill must not be taken
    /// for empty.
    pub unread: Vec<UnreadStep>,
    /// What its source keeps for it.
    pub reservation: Reservation,
}

/// What a source keeps for a batch until that is dropped, such as its part of the memory for batches
/// that are not mapped yet. Says nothing about the batch: all are equal.
#[derive(Clone, Default)]
pub struct Reservation(Option<Arc<dyn Any + Send + Sync>>);

impl Reservation {
    /// Keeps a value.
    pub fn of(kept: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(kept)))
    }
}

impl PartialEq for Reservation {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Reservation(kept)" } else { "Reservation(none)" })
    }
}

/// A step of a plan whose result is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadStep {
    /// The step's name in the plan.
    pub step: String,
    /// The call (`s3:GetBucketTagging`).
    pub call: String,
    /// The IAM actions that allow it, where it was denied; else none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// Why, for the first resource.
    pub problem: Problem,
}

/// One resource that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFailure {
    /// Which one: the most telling name at hand.
    pub resource: String,
    /// Why.
    pub problem: Problem,
}

/// Why reading a unit stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Access is denied, or the service is not available there: the unit is skipped and protected.
    #[error("{0}")]
    Skipped(Problem),
    /// Anything else: the unit has failed and is protected.
    #[error("{0}")]
    Failed(Problem),
}
