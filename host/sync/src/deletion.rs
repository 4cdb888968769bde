//! When an entity may be deleted. `policy`, `limits` and `attribution` are pure: they take records
//! and unit outcomes and return decisions. `lookup` does what they decide.
//!
//! An entity that this integration owns and that a resync did not produce is *stale*. `policy`
//! decides about each stale entity, `limits` about all of them together, and `attribution` reads
//! from a mapping what its entities prove about themselves. Resyncs, live events, `berth plan` and
//! `berth apply` ask this module; nothing else decides.
//!
//! The rules, in the order in which they are asked:
//! 1. An entity that somebody else made is never deleted.
//! 2. Every producer that is recorded must have completed without producing the entity. A producer
//!    whose account or region is not read any more proves nothing, until an operator confirms the
//!    removal or the scope was missing in several complete resyncs in a row.
//! 3. Without a record every unit of the resync counts as a producer, unless the mapping and the kind
//!    together make certain which account the entity belongs to.
//! 4. What is left must not exceed the limits of a part, or of the whole.

pub(crate) mod attribution;
pub(crate) mod facts;
pub(crate) mod limits;
pub(crate) mod lookup;
pub(crate) mod policy;
mod second_look;

pub use attribution::AttributionRules;
pub use facts::{
    AccountScope, Basis, Decision, Entry, Facts, Keep, Proof, RemovalAfter, RemovalOptions, Stale, Units,
};
pub use limits::{
    Counts, Doomed, HeldBack, LimitOptions, Limited, Mistaken, Part, apply_limits, check_total,
};
pub use policy::Policy;
