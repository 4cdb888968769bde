//! Decides when an entity may be deleted. `policy`, `limits` and `attribution` are pure: they take records
//! and unit outcomes and return decisions. `lookup` does what they decide.
//!
//! An entity that this integration owns and that a resync did not produce is *stale*. `policy` decides about
//! each stale entity, `limits` about all of them together, and `attribution` finds what a mapping's entities
//! prove about their account and region. Resyncs, live events, `berth plan` and `berth apply` use this
//! module; no other code decides about deletions.
//!
//! The rules, in this order:
//! 1. An entity that another owner created is never deleted.
//! 2. Every recorded producer must have completed without producing the entity. A producer whose account or
//!    region is no longer read proves nothing, until an operator confirms the removal or the scope was
//!    missing in several complete resyncs in a row.
//! 3. Without a record every unit of the resync counts as a producer, unless the mapping and the kind
//!    together prove which account the entity belongs to.
//! 4. The remaining deletions must not exceed the limits of a part, or of the whole.

pub(crate) mod attribution;
pub(crate) mod facts;
pub(crate) mod limits;
pub(crate) mod lookup;
pub(crate) mod part;
pub(crate) mod policy;
mod second_look;

pub use attribution::AttributionRules;
pub use facts::{
    AccountScope, Basis, Decision, Facts, Keep, MappingFacts, Proof, RemovalAfter, RemovalOptions, Stale,
    Units,
};
pub use limits::{Counts, Doomed, HeldBack, LimitOptions, Limited, Mistaken, apply_limits, check_total};
pub use part::Part;
pub use policy::DeletionPolicy;
