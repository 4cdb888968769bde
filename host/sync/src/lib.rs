//! The core of Berth: what to read, what changed, what to delete, the driver that runs it all, and the live
//! events that change single resources between resyncs.
//!
//! # Invariants
//! - `plan`, `diff`, `order`, `plan_file`, and in `deletion` the policy, the limits and the attribution are
//!   pure: plain functions on plain data.
//! - Depends on `berth-core` only: no AWS, no WASM, no Port, no HTTP. It uses them through traits.
//! - What could not be read is never treated as gone: an entity is deleted only if every unit that produced
//!   it has completed without it. Only [`deletion`] decides.
//! - Memory does not grow with the size of entities: until the end, a resync keeps only a 128-bit digest of
//!   each entity's key, and the key itself if a relation of it is a search query.

mod blocking;
mod catalog_access;
mod check;
mod content;
pub mod deletion;
mod diff;
mod documents;
mod index;
mod ledger_view;
mod live;
mod misconfigured;
mod options;
mod order;
mod outcome;
mod owned;
mod pending;
mod plan;
mod plan_file;
mod problems;
mod progress;
mod queue;
mod refreshed;
mod report;
mod resync;
mod schedule;
mod unit_task;
mod unread;
mod version;
mod write;
mod written;

pub use berth_core::UnitCounts;
pub use check::{Check, Finding, check};
pub use content::digest_of;
pub use diff::{Change, FieldChange};
pub use live::{AccountCache, Backlog, Gate, LiveEvents, LiveOptions, LiveParts, Submission, WriteArbiter};
pub use misconfigured::Misconfiguration;
pub use options::{Mode, SyncOptions};
pub use outcome::{SyncError, map_problem};
pub use plan::{Planned, ResolvedResource, maps_like, plan, resolve};
pub use plan_file::{Approved, ChangeKind, PlanFile, PlannedChange, PlannedDeletion};
pub use refreshed::Refreshed;
pub use report::{
    ChangeRecord, Deletion, Event, ForeignIdentifier, Gone, Kept, NullObserver, Observer, Outcome, Refusal,
    Report, SecondLook, Totals, UnitReport, UnreadCall,
};
pub use resync::run;
