//! The data that passes from reading AWS to mapping.

use std::{any::Any, collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{AccountId, KindManifest, Partition, Problem, Region};

/// An AWS account that is part of the sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's id.
    pub id: AccountId,
    /// Its name in Organizations, else `Account <id>`.
    pub name: String,
    /// The partition of the account.
    pub partition: Partition,
}

impl Account {
    /// Creates an account whose name is unknown, with the same name that Ocean uses.
    pub fn unnamed(id: AccountId, partition: Partition) -> Self {
        Self { name: format!("Account {id}"), id, partition }
    }
}

/// A request to a [`Source`](crate::Source) for the resources of one unit.
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
    /// Set to read a single resource instead of all of them.
    pub one: Option<One>,
    /// Whether every AWS call is made again, without cached responses: for a second look at resources that
    /// seem to be gone.
    pub fresh: bool,
}

/// The resource that an event names. It is read again, without cached responses.
#[derive(Debug, Clone)]
pub struct One {
    /// Its name: the placeholder `{resource}`.
    pub resource: Value,
    /// The event's `detail`: the placeholder `{event…}`.
    pub event: Arc<Value>,
}

/// A batch of raw resources, ready to be mapped.
///
/// `resources` is the text of a JSON array. Each element is `{"item": <list item>, "steps": {"<step id>":
/// <result>}, "parents": {"<step id>": <item>}}`. A step that was not requested, or whose result the plan
/// declares absent, has no entry in `steps`. Kinds of [`Scope::Account`](crate::Scope::Account) have
/// `{"item": {"Id": …, "Name": …}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct RawPage {
    /// The region that was read; `None` for kinds that read no region.
    pub region: Option<Region>,
    /// A JSON array as UTF-8 text.
    pub resources: Vec<u8>,
    /// The number of elements of the array.
    pub count: usize,
    /// Resources of this page that could not be read completely. They are not in `resources`.
    pub failures: Vec<ItemFailure>,
    /// Steps of the plan whose result is unknown for all resources of this page: access was denied, and the
    /// plan maps the resources without them. The fields that these steps fill must not be treated as empty.
    pub unread: Vec<UnreadStep>,
    /// Resources that the source reserves for the batch.
    pub reservation: Reservation,
}

/// Something that a source reserves for a batch until the batch is dropped, such as a share of the memory
/// for unmapped batches. Not part of the batch's data: all reservations are equal.
#[derive(Clone, Default)]
pub struct Reservation(Option<Arc<dyn Any + Send + Sync>>);

impl Reservation {
    /// Reserves a value.
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

/// A step of a plan whose result is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnreadStep {
    /// The step's id in the plan.
    pub step: String,
    /// The call (`s3:GetBucketTagging`).
    pub call: String,
    /// The IAM actions that allow the call, if it was denied; otherwise empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// The reason, for the first resource.
    pub problem: Problem,
}

/// One resource that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemFailure {
    /// The resource: its most descriptive name.
    pub resource: String,
    /// The reason.
    pub problem: Problem,
}

/// Why reading a unit stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// Access is denied, or the service is not available there: the unit is skipped and its entities are
    /// protected.
    #[error("{0}")]
    Skipped(Problem),
    /// Any other reason: the unit has failed and its entities are protected.
    #[error("{0}")]
    Failed(Problem),
}
