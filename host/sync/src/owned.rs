//! What the catalog held before a resync.

use std::collections::HashSet;

use berth_core::Problem;

/// What the catalog held for this integration when the resync started.
#[derive(Debug)]
pub(crate) enum Owned {
    /// Digests of all keys.
    Known(HashSet<u128>),
    /// The list failed: every entity may exist, and nothing may be deleted.
    Unknown(Problem),
}
